import Daemon
import Formats
import Model
import ReplicationCore
import Testing

private func pieces(
    _ command: NBDCommand, _ flags: NBDCommandFlags = [], _ offset: UInt64, _ length: UInt32
) -> [NBDPiece] {
    var cutter = NBDPieces(NBDRequest(command, flags: flags, cookie: 1, offset: offset, length: length))
    var found: [NBDPiece] = []
    while let piece = cutter.next {
        cutter.take(piece)
        found.append(piece)
    }
    return found
}

@Test func `Pieces of any request are whole, in order, within an extent and a payload`() {
    let offsets: [UInt64] = [0, 1, 511, 4095, 4096, 4097, (4 << 20) - 1, (4 << 20) - 4096, (1 << 20) + 7]
    let lengths: [UInt32] = [1, 512, 4095, 4096, 4097, 8191, 1 << 20, (1 << 20) + 1, 9 << 20, 49_865_728]
    for command in [NBDCommand.read, .write, .trim, .writeZeroes] {
        for offset in offsets {
            for length in lengths {
                var place = offset
                for piece in pieces(command, [], offset, length) {
                    #expect(piece.range.offset == place && !piece.range.isEmpty)
                    #expect(piece.range.extent == ByteRange(offset: piece.range.end - 1, length: 1).extent)
                    if piece.kind == .zero || piece.kind == .trim {
                        #expect(piece.range.isBlockAligned)
                        #expect(piece.bufferBytes == 0)
                    } else {
                        #expect(piece.bufferBytes <= Int(Geometry.maximumPayload))
                    }
                    place = piece.range.end
                }
                #expect(place == offset + UInt64(length))
            }
        }
    }
}

@Test func `What is no range has no pieces, whatever its numbers say`() {
    for command in [NBDCommand.flush, .cache, .blockStatus, .disconnect] {
        #expect(pieces(command, [], .max - 511, .max).isEmpty)
    }
    #expect(NBDPieces.none.isAtEnd)
}

@Test func `Ragged ends of a trim are written, its middle is not; NO_HOLE asks for the space`() {
    let found = pieces(.trim, [], 4097, 8190)
    #expect(found.map(\.kind) == [.write, .write])
    #expect(pieces(.trim, [], 4095, 8194).map(\.kind) == [.write, .trim, .write])
    #expect(pieces(.writeZeroes, .noHole, 0, 8192).map(\.kind) == [.zero])
    #expect(pieces(.writeZeroes, [], 0, 8192).map(\.kind) == [.trim])
}

@Test func `An aligned mebibyte is one piece, an unaligned one ends on a block`() {
    #expect(pieces(.write, [], 1 << 20, 1 << 20).count == 1)
    let found = pieces(.read, [], 100, 1 << 20)
    #expect(found.map(\.range.end) == [1 << 20, (1 << 20) + 100])
    #expect(found[0].cut(toBuffer: 64 << 10).range == ByteRange(offset: 100, length: (64 << 10) - 100))
}
