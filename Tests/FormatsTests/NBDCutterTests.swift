import Formats
import Testing

@Suite struct NBDCutterTests {
    private func pieces(_ offset: UInt64, _ length: UInt64, _ maximum: UInt32) -> [[UInt64]] {
        var cutter = RequestCutter(offset: offset, length: length, maximumPiece: maximum)
        var found: [[UInt64]] = []
        while let piece = cutter.next() { found.append([piece.offset, UInt64(piece.length)]) }
        #expect(cutter.isAtEnd)
        #expect(cutter.next() == nil)
        return found
    }

    @Test func `nothing gives nothing`() {
        #expect(pieces(77, 0, 1).isEmpty)
        #expect(pieces(.max, 0, 1).isEmpty)
        #expect(pieces(.max, .max, 1).isEmpty)
    }

    @Test func `known cuts`() {
        let mebibyte: UInt64 = 1 << 20
        #expect(pieces(0, 4096, 1 << 20) == [[0, 4096]])
        #expect(pieces(4 * mebibyte - 512, 1024, 1 << 20) == [[4 * mebibyte - 512, 512], [4 * mebibyte, 512]])
        #expect(pieces(0, 4 * mebibyte, 1 << 22) == [[0, 4 * mebibyte]])
        #expect(pieces(1, mebibyte, 1 << 20) == [[1, mebibyte]])
        #expect(pieces(1, mebibyte + 1, 1 << 20) == [[1, mebibyte - 1], [mebibyte, 2]])
        #expect(pieces(100, 2000, 1000) == [[100, 1000], [1100, 1000]])
        #expect(pieces(.max - 1, 5, 1 << 20) == [[.max - 1, 1]])
    }

    @Test func `a request is cut by its kind`() {
        let read = NBDRequest(.read, cookie: 0, offset: 0, length: 4 << 20)
        let zeroes = NBDRequest(.writeZeroes, cookie: 0, offset: 0, length: .max)
        var reading = RequestCutter(read)
        var zeroing = RequestCutter(zeroes)
        #expect(reading.next()?.length == 1 << 20)
        var count = 0
        while zeroing.next() != nil { count += 1 }
        #expect(count == 1024)
    }

    @Test func `pieces cover the range exactly, in order, within extents and the maximum`() {
        var random = NBDTestChance(state: 42)
        let extent = RequestCutter.extent
        for _ in 0..<20_000 {
            let maximum = ([1 << 20, 1 << 22, 512, 4096, 5000, .max] as [UInt32]).randomElement(using: &random) ?? 1
            let base = ([0, extent, 1 << 40, .max - (64 << 20)] as [UInt64]).randomElement(using: &random) ?? 0
            let offset = base + UInt64.random(in: 0...(9 << 20), using: &random)
            let length = UInt64.random(in: 0...UInt64(min(maximum, 1 << 22)) * 6, using: &random)
            var cutter = RequestCutter(offset: offset, length: length, maximumPiece: maximum)
            var at = offset
            var good = true
            while let (start, count) = cutter.next() {
                let last = start + UInt64(count) - 1
                good = good && start == at && count > 0 && count <= maximum && start / extent == last / extent
                at = last + 1
                // A cut in the middle lies between two blocks when a piece can hold a block.
                if at < offset + length, maximum >= 4096 { good = good && at % 4096 == 0 }
            }
            if !good || at != offset + length { Issue.record("offset \(offset) length \(length) maximum \(maximum)") }
        }
    }
}
