import Formats
import Model
import Testing

@Suite struct BitmapPageTests {
    static let instance = InstanceID(rawValue: 0x0102_0304_0506_0708)
    static let node = NodeID(3)!

    static func page(_ words: [UInt64], number: UInt32 = 2, sequence: UInt64 = 9) -> [UInt8] {
        var block = [UInt8](repeating: 0xaa, count: 4096)
        block.withUnsafeMutableBytes {
            BitmapPage.encode(
                words[...], instance: instance, node: node, page: number, sequence: sequence, into: $0)
        }
        return block
    }

    private func judge(_ bytes: [UInt8], number: UInt32 = 2) -> BitmapPageState {
        bytes.withUnsafeBytes { BitmapPage.judge($0, instance: Self.instance, node: Self.node, page: number) }
    }

    @Test func `a page comes back, and no changed one does`() {
        var dice = SeededDice(4)
        let words = (0..<BitmapPage.words).map { _ in dice.next() }
        let block = Self.page(words)
        #expect(judge(block) == .valid(sequence: 9))
        for index in block.indices {
            var changed = block
            changed[index] ^= UInt8(1 << dice.pick(8))
            guard case .damaged = judge(changed) else {
                Issue.record("byte \(index)")
                continue
            }
        }
        for count in stride(from: 0, to: 4096, by: 7) {
            #expect(judge(Array(block[..<count])) == .damaged(.truncated))
            // Torn: the rest is what was there before.
            let torn = Array(block[..<count]) + [UInt8](repeating: 0, count: 4096 - count)
            #expect(count == 0 ? judge(torn) == .damaged(.zero) : judge(torn) != .valid(sequence: 9))
        }
    }

    @Test func `a page of another place or copy is not believed`() {
        let block = Self.page([1])
        #expect(judge(block, number: 3) == .damaged(.wrongPlace))
        block.withUnsafeBytes { bytes in
            #expect(
                BitmapPage.judge(bytes, instance: Self.instance, node: NodeID(4)!, page: 2) == .damaged(.wrongPlace))
            let other = InstanceID(rawValue: 5)
            #expect(
                BitmapPage.judge(bytes, instance: other, node: Self.node, page: 2)
                    == .damaged(.otherInstance(Self.instance)))
        }
    }

    @Test func `damage and zeroes are all dirty, and nothing lies beyond the end`() {
        let blocks: UInt64 = 31_744 * 2 + 100
        var loader = BitmapLoader(instance: Self.instance, node: Self.node, blocks: blocks)
        #expect(loader.pages == 3)
        Self.page([], number: 0).withUnsafeBytes { loader.take($0, first: 0) }
        #expect(loader.words.allSatisfy { $0 == 0 })
        [UInt8](repeating: 0, count: 4096).withUnsafeBytes { loader.take($0, first: 1) }
        #expect(loader.damagedPages == [1])
        #expect(loader.words.reduce(0) { $0 + $1.nonzeroBitCount } == 31_744)
        loader = BitmapLoader(instance: Self.instance, node: Self.node, blocks: blocks)
        var middle = Self.page([5], number: 1)
        middle[4000] ^= 1
        let last = Self.page([UInt64](repeating: .max, count: 496), number: 2)
        (middle + last + last).withUnsafeBytes { loader.take($0, first: 1) }
        #expect(loader.damagedPages == [1])
        #expect(loader.words.reduce(0) { $0 + $1.nonzeroBitCount } == 31_744 + 100)
        #expect(loader.words[992] == .max && loader.words[993] == (1 << 36) - 1)
        loader.takeUnreadable(page: 2)
        loader.takeUnreadable(page: 3)
        #expect(loader.damagedPages == [1, 2])
        #expect(loader.words.reduce(0) { $0 + $1.nonzeroBitCount } == 31_744 + 100)
    }

    @Test func `a volume of whole pages has no end within a word`() {
        for blocks: UInt64 in [64, 31_744, 63_488] {
            var loader = BitmapLoader(instance: Self.instance, node: Self.node, blocks: blocks)
            for page in 0..<loader.pages { loader.takeUnreadable(page: page) }
            #expect(UInt64(loader.words.reduce(0) { $0 + $1.nonzeroBitCount }) == blocks)
        }
    }
}
