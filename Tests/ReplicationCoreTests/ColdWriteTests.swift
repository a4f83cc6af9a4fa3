import Model
import ReplicationCore
import Testing

/// What a write to an extent that is not in the log costs, and how it is kept from costing more.
@Suite struct ColdWriteTests {
    private func announced(_ bench: Bench, since start: Int = 0) -> [ByteRange] {
        bench.messages(since: start).compactMap { if case .announce(let range) = $0 { range } else { nil } }
    }

    private func logged(_ bench: Bench, since start: Int = 0) -> [Set<UInt32>] {
        bench.moments[start...].compactMap {
            if case .logged(let extents) = $0, !extents.isEmpty { extents } else { nil }
        }
    }

    /// `alpha`, primary, in step with `beta`; both have 24 extents and logs of `logExtents`.
    private func largePrimary(logExtents: UInt32) -> Bench {
        let size: UInt64 = 24 * Geometry.extentSize
        let bench = Bench(
            alpha,
            superblock: Superblock(
                node: alpha, instance: instance(of: alpha), size: size, logExtents: logExtents, zeroes: true))
        let theirs = bench.peerState {
            $0.mark = StartMark(startNumber: 1, sequence: 1)
            $0.volume = .none
            $0.capacity = size
        }
        #expect(bench.meet(theirs) == .inSync)
        if let number = bench.proposal?.record.number { bench.accept(number) }
        bench.hear(.presence(Presence(role: .secondary, disk: .upToDate, mark: .none, resyncPaused: false)))
        _ = bench.promote()
        if let number = bench.proposal?.record.number { bench.accept(number) }
        #expect(bench.core.isPrimary)
        return bench
    }

    // MARK: Announcements

    @Test func `a write that waits for the log is announced, one that does not is not`() throws {
        let bench = Bench.primary()
        bench.held = [.log]
        bench.ask(0, .write, block: 3 * 1024)
        // Once for all that wait for one extent.
        bench.ask(1, .write, block: 3 * 1024 + 7)
        #expect(announced(bench) == [ByteRange(blocks: 3072..<3073)])
        #expect(bench.frames().isEmpty)
        bench.letGo(.log)
        bench.hear(.written(sequence: 1, succeeded: true))
        let start = bench.moments.count
        bench.ask(0, .write, block: 3 * 1024 + 1)
        #expect(announced(bench, since: start).isEmpty)
        #expect(bench.frames() == [1, 2, 3])
    }

    @Test func `nobody hears of a write that is not sent to it`() {
        let bench = Bench.primary()
        bench.hear(.goodbye(.stopping))
        let start = bench.moments.count
        bench.ask(0, .write, block: 2 * 1024)
        #expect(bench.reply(to: 0) == .done)
        #expect(announced(bench, since: start).isEmpty)
    }

    @Test func `what is announced enters a secondary's log at once, and the write need not wait for it`() {
        let bench = Bench.secondary()
        bench.hear(.announce(ByteRange(blocks: 2048..<2049)))
        #expect(logged(bench) == [[2]])
        #expect(!bench.core.isUnconfirmed(block: 2048))
        bench.held = [.log]
        bench.hearWrite(1, block: 2048)
        #expect(bench.moments.contains(.wrote(ByteRange(blocks: 2048..<2049))))
    }

    @Test func `a write waits for the log's block though its announcement came`() {
        let bench = Bench.secondary()
        bench.held = [.log]
        bench.hear(.announce(ByteRange(blocks: 2048..<2049)))
        bench.hearWrite(1, block: 2048)
        #expect(bench.position(of: .writing(ByteRange(blocks: 2048..<2049))) == nil)
        bench.letGo(.log)
        #expect(bench.moments.contains(.wrote(ByteRange(blocks: 2048..<2049))))
    }

    @Test func `announcements take no room from unconfirmed blocks, and mark nothing`() {
        let bench = Bench.secondary()
        for extent in 0...3 as ClosedRange<UInt64> { bench.hearWrite(extent + 1, block: extent * 1024) }
        let start = bench.moments.count
        bench.hear(.announce(ByteRange(blocks: 5 * 1024..<5 * 1024 + 1)))
        #expect(logged(bench, since: start).isEmpty)
        #expect(bench.core.isUnconfirmed(block: 0))
        // Once they are confirmed, the oldest leaves.
        bench.hear(.confirm(sequence: 4, mark: .none, settled: true))
        bench.hear(.announce(ByteRange(blocks: 5 * 1024..<5 * 1024 + 1)))
        #expect(logged(bench, since: start) == [[5]])
    }

    @Test func `an announcement beyond the volume, or to a primary, is nothing`() {
        let secondary = Bench.secondary()
        secondary.hear(.announce(ByteRange(offset: Bench.size, length: 4096)))
        #expect(logged(secondary).isEmpty)
        #expect(!secondary.session.isNone)
        let primary = Bench.primary()
        primary.hear(.announce(ByteRange(blocks: 0..<1)))
        #expect(logged(primary).isEmpty)
    }

    // MARK: Room

    @Test func `an epoch is closed before the log has no room`() {
        let bench = largePrimary(logExtents: 16)
        bench.held = [.flush]
        for extent in 0..<12 as Range<UInt64> { bench.completeWrite(0, block: extent * 1024) }
        #expect(!bench.isHeld(.flush))
        bench.completeWrite(0, block: 12 * 1024)
        #expect(bench.isHeld(.flush))
        #expect(bench.heldCount(.flush) == 1)
        // Meanwhile the rest of the room is there to write into, and no second epoch waits behind the first.
        for extent in 13..<16 as Range<UInt64> { bench.completeWrite(0, block: extent * 1024) }
        #expect(bench.heldCount(.flush) == 1)
    }

    // MARK: Cooling

    /// Writes to six extents, one after the other, and then nothing for so long.
    private func writeHereAndThere(_ bench: Bench, idle seconds: UInt64) -> Int {
        let start = bench.moments.count
        for extent in 0..<6 as Range<UInt64> { bench.completeWrite(0, block: extent * 1024) }
        let cold = logged(bench, since: start).count
        bench.pass(milliseconds: seconds * 1000)
        return cold
    }

    @Test func `extents that come back stay in the log longer, and leave early again when none does`() {
        let bench = largePrimary(logExtents: 16)
        let costs = (0..<12).map { _ in writeHereAndThere(bench, idle: 12) }
        #expect(costs[0] == 6)
        #expect(costs[1..<5].contains(6), "they left too early at first: \(costs)")
        #expect(costs[5...].allSatisfy { $0 == 0 }, "\(costs)")
        // Nobody writes for long: what a crash marks is little again.
        bench.pass(milliseconds: 30 * 60 * 1000)
        #expect(writeHereAndThere(bench, idle: 11) == 6)
        #expect(writeHereAndThere(bench, idle: 1) == 6)
    }

    @Test func `extents that are new each time leave as early as ever`() {
        let bench = largePrimary(logExtents: 16)
        for extent in 0..<24 as Range<UInt64> {
            bench.completeWrite(0, block: extent * 1024)
            bench.pass(milliseconds: 1000)
        }
        bench.pass(milliseconds: 9000)
        let start = bench.moments.count
        bench.completeWrite(0, block: 23 * 1024)
        #expect(logged(bench, since: start) == [[23]])
    }
}
