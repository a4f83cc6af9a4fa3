import Model

/// Which blocks of a payload hold nothing but zeroes, and how it is carried without them: a mask, bit n % 8 of byte n / 8 is set when
/// block n follows; then those that do, in their order. The mask's unused bits are zero.
package struct ZeroBlocks: Equatable, Sendable {
    /// Of the longest payload.
    package static let maximumMaskLength = Int(Geometry.maximumPayload / Geometry.blockSize) / 8
    private static let block = Int(Geometry.blockSize)

    /// A bit is set where there is data.
    private var data: [4 of UInt64] = .init(repeating: 0)
    private let blocks: Int
    private var zeroes = 0

    package static func == (one: ZeroBlocks, other: ZeroBlocks) -> Bool {
        one.blocks == other.blocks && (0..<one.blocks).allSatisfy { one.holdsData($0) == other.holdsData($0) }
    }

    /// - Parameter payload: whole blocks, at most `Geometry.maximumPayload`. Of one with data only the beginning of each block is read.
    package init(_ payload: UnsafeRawBufferPointer) {
        precondition(payload.count % Self.block == 0 && payload.count <= Geometry.maximumPayload, "whole blocks")
        blocks = payload.count / Self.block
        for number in 0..<blocks {
            let start = number * Self.block
            if isAllZero(UnsafeRawBufferPointer(rebasing: payload[start..<start + Self.block])) {
                zeroes += 1
            } else {
                data[number >> 6] |= 1 << UInt64(number & 63)
            }
        }
    }

    package func holdsData(_ number: Int) -> Bool { data[number >> 6] >> UInt64(number & 63) & 1 != 0 }

    package var isAll: Bool { zeroes == blocks }
    /// What is left saves an eighth at least, as compression has to.
    package var isWorthLeavingOut: Bool { zeroes > 0 && zeroes * 8 >= blocks }
    package var maskLength: Int { (blocks + 7) / 8 }
    package var dataLength: Int { (blocks - zeroes) * Self.block }

    /// Bytes of the next run of blocks with data, from byte `start` of the payload on.
    package func nextRun(from start: Int) -> Range<Int>? {
        var first = start / Self.block
        while first < blocks, !holdsData(first) { first += 1 }
        guard first < blocks else { return nil }
        var end = first + 1
        while end < blocks, holdsData(end) { end += 1 }
        return first * Self.block..<end * Self.block
    }

    package var runs: Int {
        var (count, place) = (0, 0)
        while let run = nextRun(from: place) {
            count += 1
            place = run.upperBound
        }
        return count
    }

    package func writeMask(into output: UnsafeMutableRawBufferPointer) {
        for index in 0..<maskLength {
            output[index] = UInt8(truncatingIfNeeded: data[index >> 3] >> UInt64((index & 7) * 8))
        }
    }

    /// Whether so many bytes can carry a payload of so many.
    static func allows(wire: Int, of payloadLength: Int) -> Bool {
        let mask = (payloadLength / block + 7) / 8
        return wire >= mask && wire < payloadLength && (wire - mask) % block == 0
    }

    /// Makes the payload of what came on the wire.
    /// - Returns: false when that is not exactly a payload of `output.count` bytes, which is whole blocks.
    package static func expand(_ wire: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer) -> Bool {
        guard allows(wire: wire.count, of: output.count) else { return false }
        let blocks = output.count / block
        let mask = (blocks + 7) / 8
        var said = 0
        for index in 0..<mask { said += wire[index].nonzeroBitCount }
        let unused = blocks % 8 == 0 ? 0 : wire[mask - 1] >> UInt8(blocks % 8)
        guard unused == 0, said * block == wire.count - mask, let target = output.baseAddress,
            let source = wire.baseAddress
        else { return false }
        var place = mask
        for number in 0..<blocks {
            let start = target + number * block
            if wire[number >> 3] >> UInt8(number & 7) & 1 != 0 {
                start.copyMemory(from: source + place, byteCount: block)
                place += block
            } else {
                start.initializeMemory(as: UInt8.self, repeating: 0, count: block)
            }
        }
        return true
    }
}
