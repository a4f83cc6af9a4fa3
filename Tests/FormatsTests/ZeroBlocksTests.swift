import Formats
import Model
import Testing

/// Payloads without their blocks of zeroes.
@Suite struct ZeroBlocksTests {
    private static let block = Int(Geometry.blockSize)

    /// A payload with data in these blocks, each its own.
    private func payload(_ blocks: Int, data: some Sequence<Int>) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: blocks * Self.block)
        for number in data {
            // The last byte of a block is as much data as the first.
            bytes[number * Self.block + (number % 2 == 0 ? 0 : Self.block - 1)] = UInt8(number % 255) + 1
        }
        return bytes
    }

    private func wire(_ payload: [UInt8]) -> [UInt8] {
        payload.withUnsafeBytes { bytes in
            let zeroes = ZeroBlocks(bytes)
            var wire = [UInt8](repeating: 0xee, count: zeroes.maskLength)
            wire.withUnsafeMutableBytes { zeroes.writeMask(into: $0) }
            var (place, runs) = (0, 0)
            while let run = zeroes.nextRun(from: place) {
                wire += bytes[run]
                place = run.upperBound
                runs += 1
            }
            #expect(wire.count == zeroes.maskLength + zeroes.dataLength && runs == zeroes.runs)
            return wire
        }
    }

    private func expanded(_ wire: [UInt8], of count: Int) -> [UInt8]? {
        var output = [UInt8](repeating: 0xa5, count: count + 64)
        let isExpanded = wire.withUnsafeBytes { source in
            output.withUnsafeMutableBytes {
                ZeroBlocks.expand(source, into: UnsafeMutableRawBufferPointer(rebasing: $0[..<count]))
            }
        }
        #expect(output[count...].allSatisfy { $0 == 0xa5 })
        return isExpanded ? Array(output[..<count]) : nil
    }

    @Test(arguments: [1, 2, 7, 8, 9, 63, 64, 65, 255, 256])
    func `what is left out comes back as zeroes, and all else as it was`(_ blocks: Int) {
        var dice = SeededDice(UInt64(blocks))
        for density in [0, 1, 2, 5, 10] {
            let original = payload(blocks, data: (0..<blocks).filter { _ in dice.pick(10) < density })
            let wire = wire(original)
            // One of data alone has no shorter form.
            let isShorter = wire.count < original.count
            #expect(expanded(wire, of: original.count) == (isShorter ? original : nil), "\(blocks), \(density)")
        }
    }

    @Test func `it is worth it from an eighth on`() {
        for (blocks, zeroes, isWorth) in [(2, 0, false), (2, 1, true), (16, 1, false), (16, 2, true), (256, 31, false)]
        {
            let bytes = payload(blocks, data: zeroes..<blocks)
            bytes.withUnsafeBytes { bytes in
                let found = ZeroBlocks(bytes)
                #expect(found.isWorthLeavingOut == isWorth && !found.isAll && found.runs == 1)
                #expect(found.dataLength == (blocks - zeroes) * Self.block)
            }
        }
        payload(8, data: []).withUnsafeBytes { #expect(ZeroBlocks($0).isAll) }
    }

    @Test func `a mask that does not fit what follows it is refused`() {
        let good = wire(payload(12, data: [1, 4, 5, 11]))
        #expect(good.count == 2 + 4 * Self.block && expanded(good, of: 12 * Self.block) != nil)
        for (index, bit): (Int, UInt8) in [(0, 1), (1, 2), (1, 0x10), (1, 0x80)] {
            var changed = good
            changed[index] |= bit
            #expect(expanded(changed, of: 12 * Self.block) == nil)
        }
        // As many blocks as follow, of which one would lie behind the end.
        var behind = good
        behind[0] &= ~2
        behind[1] |= 0x10
        #expect(expanded(behind, of: 12 * Self.block) == nil)
        for wrong in [Array(good.dropLast()), good + [0], Array(good.prefix(1)), []] {
            #expect(expanded(wrong, of: 12 * Self.block) == nil)
        }
        #expect(expanded(good, of: 11 * Self.block) == nil)
    }
}
