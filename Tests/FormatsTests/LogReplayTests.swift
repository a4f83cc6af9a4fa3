import Formats
import Model
import Testing

@Suite struct LogReplayTests {
    static let instance = InstanceID(rawValue: 0x1234_5678)

    static func transaction(_ number: UInt64, _ sequence: UInt64) -> LogTransaction {
        LogTransaction(
            instance: instance, sequence: sequence, number: number,
            updates: [.init(slot: 1, extent: 7), .init(slot: 2, extent: nil)], contextStart: 0,
            context: [nil, 7, nil], seen: PerNode(repeating: StartMark(startNumber: number, sequence: sequence)))
    }

    static func block(_ transaction: LogTransaction) -> [UInt8] {
        var block = [UInt8](repeating: 0xaa, count: 4096)
        block.withUnsafeMutableBytes { LogCoding.encode(transaction, into: $0) }
        return block
    }

    private static func decode(_ block: [UInt8]) throws(BlockFault) -> LogTransaction {
        let result: Result<LogTransaction, BlockFault> = block.withUnsafeBytes { bytes in
            do throws(BlockFault) { return .success(try LogCoding.decode(bytes, instance: instance)) } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    /// A copy that writes a log, and what its table should be.
    struct Writer {
        var ring: [UInt8]
        var table: [UInt32?]
        var number: UInt64 = 0
        var sequence: UInt64 = 0
        var logBase: UInt64 = 0
        var sequences: [UInt64: UInt64] = [:]
        let blocks: UInt64
        let extents: UInt32

        init(slots: Int, extents: UInt32, blocks: Int) {
            table = Array(repeating: nil, count: slots)
            ring = Array(repeating: 0, count: (blocks + 1) * 4096)
            self.blocks = UInt64(blocks)
            self.extents = extents
        }

        mutating func step(_ dice: inout SeededDice) {
            var updates: [LogTransaction.Update] = []
            var touched: Set<Int> = []
            for _ in 0..<(1 + dice.pick(LogTransaction.updateLimit)) {
                let slot = dice.pick(table.count)
                guard touched.insert(slot).inserted else { continue }
                let extent = UInt32(dice.below(UInt64(extents)))
                let free = dice.pick(4) == 0 || table.contains(extent)
                table[slot] = free ? nil : extent
                updates.append(.init(slot: UInt32(slot), extent: table[slot]))
            }
            number += 1
            sequence += 1 + dice.below(3)
            sequences[number] = sequence
            let window = LogTransaction.window(for: table.count)
            let start = Int(number % UInt64(window)) * LogTransaction.contextLimit
            let end = min(start + LogTransaction.contextLimit, table.count)
            let transaction = LogTransaction(
                instance: instance, sequence: sequence, number: number, updates: updates, contextStart: UInt32(start),
                context: Array(table[start..<end]),
                seen: PerNode(repeating: StartMark(startNumber: 1, sequence: sequence)))
            put(LogReplayTests.block(transaction), number)
        }

        /// Everything before is void: the log was emptied.
        mutating func void() {
            sequence += 1
            logBase = sequence
            table = table.map { _ in nil }
        }

        /// With its echo.
        mutating func put(_ block: [UInt8], _ number: UInt64) {
            putAlone(block, number)
            putAlone(block, number, inBlock: 1)
        }

        mutating func putAlone(_ block: [UInt8], _ number: UInt64, inBlock index: Int = 0) {
            let start = (Int(number % blocks) + index) * 4096
            ring.replaceSubrange(start..<start + 4096, with: block)
        }

        /// A byte of the transaction, or of the block behind it.
        mutating func spoil(_ number: UInt64, _ dice: inout SeededDice, inBlock index: Int = 0) {
            ring[(Int(number % blocks) + index) * 4096 + 16 + dice.pick(4000)] ^= UInt8(1 + dice.pick(255))
        }

        func replay() -> LogReplay {
            ring.withUnsafeBytes {
                LogReplayer.replay(
                    $0, instance: instance, logBase: logBase, slots: table.count, extents: extents)
            }
        }

        /// The copy is as if nothing had gone wrong.
        func expectIntact(_ note: Comment) {
            let replay = replay()
            #expect(!replay.damaged, note)
            #expect(replay.table == table, note)
            #expect(replay.lastNumber == number, note)
            #expect(replay.lastSequence == max(logBase, sequences[number] ?? 0), note)
        }
    }

    @Test(arguments: [3, 64, 640, 641, 1280, 2000])
    func `the table is rebuilt after any number of transactions, wrapped and emptied`(slots: Int) {
        var dice = SeededDice(UInt64(slots))
        var writer = Writer(slots: slots, extents: UInt32(slots * 4), blocks: 64)
        writer.expectIntact("fresh")
        for step in 0..<300 {
            writer.step(&dice)
            if dice.pick(40) == 0 {
                writer.void()
                writer.expectIntact("emptied")
            }
            if step < 70 || step % 5 == 0 { writer.expectIntact("\(step)") }
            #expect(writer.number < 1 || writer.replay().seen[NodeID(3)!].startNumber == 1)
        }
    }

    @Test(arguments: [3, 641, 2000])
    func `a torn write is as if it had not been, unless the transaction or its echo is whole`(slots: Int) {
        var dice = SeededDice(50 + UInt64(slots))
        var writer = Writer(slots: slots, extents: UInt32(slots * 4), blocks: 64)
        for _ in 0..<200 {
            let before = writer
            writer.step(&dice)
            var torn = before
            let start = Int(writer.number % 64) * 4096
            // Some sectors of the new blocks over the old ones.
            let new = [dice.pick(1 << 16), 0xff, 0xff00, 0xffff][dice.pick(4)]
            for sector in 0..<16 where new >> sector & 1 == 1 {
                let part = start + sector * 512..<start + sector * 512 + 512
                torn.ring.replaceSubrange(part, with: writer.ring[part])
            }
            // A block may be whole although sectors are missing, when they are the same in both.
            let whole = (0...1).map { index in
                let block = start + index * 4096..<start + index * 4096 + 4096
                return torn.ring[block] == writer.ring[block]
            }
            guard whole != [false, false] else {
                torn.expectIntact("torn")
                continue
            }
            var mended = writer
            mended.ring = torn.ring
            mended.expectIntact("one is whole")
            let mend = mended.replay().mend
            #expect((mend == nil) == (whole == [true, true]))
            if let mend {
                mended.put(LogReplayTests.block(mend), mend.number)
                #expect(mended.ring == writer.ring)
            }
        }
    }

    @Test(arguments: [3, 640, 641, 2000])
    func `a rotten block that is needed is noticed, one that is not is not minded`(slots: Int) {
        var dice = SeededDice(80 + UInt64(slots))
        let window = UInt64(LogTransaction.window(for: slots))
        for _ in 0..<60 {
            var writer = Writer(slots: slots, extents: UInt32(slots * 4), blocks: 64)
            for _ in 0..<(1 + dice.pick(150)) { writer.step(&dice) }
            let age = dice.below(min(writer.number, 63))
            var spoiled = writer
            spoiled.spoil(writer.number - age, &dice)
            #expect(spoiled.replay().spoiled == 1)
            // The newest has its echo behind it, and so has the last of the ring.
            let hasEcho = age == 0 || (writer.number - age) % 64 == 63
            if age < window, !hasEcho {
                #expect(spoiled.replay().damaged)
                #expect(spoiled.replay().table == Array(repeating: nil, count: slots))
            } else {
                spoiled.expectIntact("age \(age)")
            }
        }
    }

    @Test func `what is before the log's base is not needed`() {
        var dice = SeededDice(90)
        var writer = Writer(slots: 2000, extents: 8000, blocks: 64)
        for _ in 0..<30 { writer.step(&dice) }
        writer.void()
        let base = writer.number
        writer.spoil(base - 1, &dice)
        writer.expectIntact("a void one is rotten")
        for gap: UInt64 in [0, 5] {
            var later = writer
            later.sequence += gap
            while later.number < base + 2 { later.step(&dice) }
            later.expectIntact("young again")
            let first = later.sequences[base + 1]! - later.logBase
            later.spoil(base, &dice)
            // Whether the rotten one was void can be told only when no sequence lies between it and the base.
            #expect(later.replay().damaged == (first > 1))
        }
    }

    @Test func `two lost in a row, a lost write and a write gone astray are noticed`() {
        var dice = SeededDice(91)
        var writer = Writer(slots: 1000, extents: 4000, blocks: 64)
        for _ in 0..<100 { writer.step(&dice) }
        var lost = writer
        lost.spoil(100, &dice)
        lost.spoil(99, &dice)
        #expect(lost.replay().damaged)
        lost = writer
        for index in 0...2 { lost.spoil(99, &dice, inBlock: index) }
        #expect(lost.replay().damaged)
        // A disk that did not do the write of the block, but of its echo.
        var early = writer
        early.putAlone([UInt8](repeating: 0, count: 4096), 100)
        early.expectIntact("the echo")
        // The disk kept what was there before.
        let older = writer.ring[Int(UInt64(99) % 64) * 4096..<Int(UInt64(99) % 64) * 4096 + 4096]
        for _ in 0..<64 { writer.step(&dice) }
        var stale = writer
        stale.putAlone(Array(older), 163)
        #expect(stale.replay().damaged)
        // One block over another's place.
        var astray = writer
        astray.putAlone(Array(writer.ring[Int(UInt64(164) % 64) * 4096..<Int(UInt64(164) % 64) * 4096 + 4096]), 163)
        #expect(astray.replay().damaged)
    }

    @Test func `a ring with nothing of this copy is empty, one with nothing readable is damaged`() {
        var dice = SeededDice(92)
        var writer = Writer(slots: 100, extents: 400, blocks: 64)
        var first = writer
        first.ring[4096 + 5] = 1
        first.expectIntact("the first transaction torn")
        var more = first
        more.ring[8192 + 5] = 1
        more.expectIntact("and its echo")
        more.ring[12288 + 5] = 1
        #expect(more.replay().damaged)
        writer.ring = dice.bytes(64 * 4096)
        #expect(writer.replay().damaged)
        writer.ring = []
        #expect(!writer.replay().damaged)
        writer.ring = dice.bytes(5000)
        #expect(writer.replay().damaged)
        // Another copy's log from before `create`.
        var other = Writer(slots: 100, extents: 400, blocks: 64)
        for _ in 0..<64 { other.step(&dice) }
        other.ring.withUnsafeBytes { ring in
            let replay = LogReplayer.replay(
                ring, instance: InstanceID(rawValue: 1), logBase: 5, slots: 100, extents: 400)
            #expect(!replay.damaged && replay.lastNumber == 0 && replay.lastSequence == 5)
        }
    }

    @Test func `an impossible table is damaged`() {
        func replay(_ updates: [LogTransaction.Update], _ start: UInt32, _ context: [UInt32?]) -> Bool {
            var writer = Writer(slots: 10, extents: 40, blocks: 64)
            writer.put(
                Self.block(
                    LogTransaction(
                        instance: Self.instance, sequence: 1, number: 1, updates: updates, contextStart: start,
                        context: context, seen: PerNode(repeating: .none))), 1)
            return writer.replay().damaged
        }
        #expect(!replay([.init(slot: 9, extent: 39)], 0, [1, 2]))
        #expect(replay([.init(slot: 10, extent: 1)], 0, []))
        #expect(replay([.init(slot: .max, extent: 1)], 0, []))
        #expect(replay([.init(slot: 1, extent: 40)], 0, []))
        #expect(replay([.init(slot: 1, extent: 5)], 0, [5]))
        #expect(replay([], 9, [1, 2]))
        #expect(replay([], .max, [1, 2]))
    }

    @Test func `every changed byte is refused, and nonsense that verifies never traps`() throws {
        var dice = SeededDice(93)
        let block = Self.block(Self.transaction(3, 9))
        #expect(try Self.decode(block) == Self.transaction(3, 9))
        for index in block.indices {
            var changed = block
            changed[index] ^= UInt8(1 << dice.pick(8))
            #expect(throws: BlockFault.checksum) { try Self.decode(changed) }
        }
        #expect(throws: BlockFault.truncated) { try Self.decode(Array(block.dropLast())) }
        for _ in 0..<20_000 {
            var changed = block
            for _ in 0..<(1 + dice.pick(4)) {
                changed[8 + dice.pick(200)] =
                    [0, 1, 0x7f, 0x80, 0xff, UInt8(dice.pick(256))].randomElement(using: &dice)!
            }
            SuperblockCodingTests.reseal(&changed)
            _ = try? Self.decode(changed)
            changed.withUnsafeBytes {
                _ = LogReplayer.replay($0, instance: Self.instance, logBase: 0, slots: 10, extents: 40)
            }
        }
    }
}
