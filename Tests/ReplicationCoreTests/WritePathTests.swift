import Model
import ReplicationCore
import Testing

@Suite struct WritePathTests {
    @Test func `a write is answered once both its legs are done, whichever comes first`() {
        let bench = Bench.primary()
        bench.held = [.write]
        bench.ask(0, .write, block: 5)
        let sequence = bench.lastSequence
        bench.hear(.written(sequence: sequence, succeeded: true))
        #expect(bench.reply(to: 0) == nil)
        bench.letGo(.write)
        #expect(bench.reply(to: 0) == .done)

        bench.ask(1, .write, block: 6)
        #expect(bench.reply(to: 1) == nil)
        bench.hear(.written(sequence: sequence + 1, succeeded: true))
        #expect(bench.reply(to: 1) == .done)
        bench.expectNothingLeft()
    }

    @Test func `the extent is durable in the log before the write goes anywhere`() throws {
        let bench = Bench.primary()
        bench.held = [.log]
        bench.ask(0, .write, block: 3 * 1024)
        bench.ask(1, .write, block: 3 * 1024 + 1)
        #expect(bench.frames().isEmpty)
        #expect(bench.position(of: .writing(ByteRange(blocks: 3072..<3073))) == nil)
        bench.letGo(.log)
        let logged = try #require(bench.position(of: .logged([3])))
        #expect(try logged < #require(bench.position(of: .writing(ByteRange(blocks: 3072..<3073)))))
        #expect(bench.frames() == [1, 2])
    }

    @Test func `a stranger's or a repeated answer counts for nothing`() {
        let bench = Bench.primary()
        bench.ask(0, .write, block: 5)
        bench.hear(.written(sequence: 99, succeeded: true))
        bench.hear(.written(sequence: 1, succeeded: true), of: SessionID(rawValue: 3))
        #expect(bench.reply(to: 0) == nil)
        bench.hear(.written(sequence: 1, succeeded: true))
        bench.hear(.written(sequence: 1, succeeded: true))
        #expect(bench.reply(to: 0) == .done)
    }

    @Test func `overlapping requests keep their order, reads among them`() {
        let bench = Bench.primary()
        bench.ask(0, .write, block: 8, count: 4)
        bench.ask(1, .read, block: 9)
        bench.ask(2, .write, block: 11, count: 2)
        bench.ask(3, .write, block: 13)
        #expect(bench.frames() == [1, 2])
        #expect(bench.reply(to: 1) == nil)
        bench.hear(.written(sequence: 1, succeeded: true))
        #expect(bench.reply(to: 0) == .done)
        #expect(bench.reply(to: 1) == .done)
        #expect(bench.frames() == [1, 2, 3])
        bench.hear(.written(sequence: 3, succeeded: true))
        bench.hear(.written(sequence: 2, succeeded: true))
        #expect(bench.reply(to: 2) == .done)
        #expect(bench.reply(to: 3) == .done)
        bench.expectNothingLeft()
    }

    @Test func `a request for part of a block is completed from the disk first, and travels whole`() throws {
        let bench = Bench.primary()
        bench.held = [.read]
        bench.ask(0, .write, block: 2, bytes: 512)
        #expect(bench.frames().isEmpty)
        bench.letGo(.read)
        let message = try #require(bench.messages().last)
        guard case .write(1, let range, _) = message else {
            Issue.record("\(message)")
            return
        }
        #expect(range == ByteRange(blocks: 2..<3))
    }

    @Test func `zeroes and trims travel as such`() {
        let bench = Bench.primary()
        bench.ask(0, .zero, block: 0, count: 16)
        bench.ask(1, .trim, block: 32, count: 16)
        #expect(bench.messages().contains(.zero(sequence: 1, range: ByteRange(blocks: 0..<16), trim: false)))
        #expect(bench.messages().contains(.zero(sequence: 2, range: ByteRange(blocks: 32..<48), trim: true)))
    }

    // MARK: Flush

    @Test func `a flush waits for the peer's flush and for its own`() {
        let bench = Bench.primary()
        bench.completeWrite(0, block: 5)
        bench.held = [.flush]
        bench.ask(1, .flush)
        let round = flushRound(bench)
        bench.hear(.flushed(round: round, succeeded: true, mark: .none))
        #expect(bench.reply(to: 1) == nil)
        bench.letGo(.flush)
        #expect(bench.reply(to: 1) == .done)
        #expect(bench.messages().contains { if case .confirm(1, _, true) = $0 { true } else { false } })
        #expect(!bench.core.isUnconfirmed(block: 5))
    }

    @Test func `a flush that comes while a round is under way is answered by the next`() {
        let bench = Bench.primary()
        bench.ask(0, .flush)
        let first = flushRound(bench)
        bench.completeWrite(1, block: 5)
        bench.ask(2, .flush)
        #expect(flushRound(bench) == first)
        bench.hear(.flushed(round: first, succeeded: true, mark: .none))
        #expect(bench.reply(to: 0) == .done)
        #expect(bench.reply(to: 2) == nil)
        #expect(bench.core.isUnconfirmed(block: 5))
        bench.hear(.flushed(round: first + 1, succeeded: true, mark: .none))
        #expect(bench.reply(to: 2) == .done)
        #expect(!bench.core.isUnconfirmed(block: 5))
    }

    @Test func `a forced write is answered when it is stable on both`() {
        let bench = Bench.primary()
        bench.ask(0, .write, block: 5, forced: true)
        bench.hear(.written(sequence: 1, succeeded: true))
        #expect(bench.reply(to: 0) == nil)
        bench.hear(.flushed(round: flushRound(bench), succeeded: true, mark: .none))
        #expect(bench.reply(to: 0) == .done)
        bench.expectNothingLeft()
    }

    @Test func `a write in flight when the round began stays unconfirmed`() {
        let bench = Bench.primary()
        bench.ask(0, .write, block: 5)
        bench.ask(1, .flush)
        bench.hear(.written(sequence: 1, succeeded: true))
        bench.hear(.flushed(round: flushRound(bench), succeeded: true, mark: .none))
        #expect(bench.reply(to: 1) == .done)
        #expect(bench.core.isUnconfirmed(block: 5))
    }

    @Test func `writes are confirmed by themselves after a while`() {
        let bench = Bench.primary()
        bench.completeWrite(0, block: 5)
        bench.pass(milliseconds: 300)
        bench.hear(.flushed(round: flushRound(bench), succeeded: true, mark: .none))
        #expect(!bench.core.isUnconfirmed(block: 5))
    }

    /// Time goes by, and the peer answers each flush at once.
    /// - Returns: how many it was asked for, those between `start` and now included.
    private func flushesAsked(of bench: Bench, since start: Int? = nil, milliseconds: UInt64) -> Int {
        var asked = 0
        var seen = start ?? bench.moments.count
        for _ in 0..<milliseconds {
            bench.pass(milliseconds: 1)
            let messages = bench.messages(since: seen)
            seen = bench.moments.count
            for case .flush(let round) in messages {
                asked += 1
                bench.hear(.flushed(round: round, succeeded: true, mark: .none))
            }
        }
        return asked
    }

    @Test func `while a write hangs at the peer, flushes that could confirm nothing are not asked for`() {
        let bench = Bench.primary()
        bench.ask(0, .write, block: 5)
        #expect(flushesAsked(of: bench, milliseconds: 2000) == 0)
        bench.ask(1, .write, block: 6)
        bench.hear(.written(sequence: 2, succeeded: true))
        #expect(flushesAsked(of: bench, milliseconds: 2000) == 0)
        bench.hear(.written(sequence: 1, succeeded: true))
        #expect(flushesAsked(of: bench, milliseconds: 2000) == 1)
        #expect(!bench.core.isUnconfirmed(block: 5) && !bench.core.isUnconfirmed(block: 6))
    }

    @Test func `while a write hangs here, what came before it is confirmed once, and nothing again`() {
        let bench = Bench.primary()
        bench.completeWrite(0, block: 5)
        bench.held = [.write]
        bench.ask(1, .write, block: 6)
        bench.hear(.written(sequence: 2, succeeded: true))
        #expect(flushesAsked(of: bench, milliseconds: 2000) == 1)
        #expect(!bench.core.isUnconfirmed(block: 5) && bench.core.isUnconfirmed(block: 6))
        bench.letGo(.write)
        #expect(flushesAsked(of: bench, milliseconds: 2000) == 1)
        #expect(!bench.core.isUnconfirmed(block: 6))
    }

    @Test func `a write that waits for room in the log asks for no flush while a hanging one holds all extents`() {
        let bench = Bench.primary()
        for ticket in 0..<4 { bench.ask(UInt32(ticket), .write, block: UInt64(ticket) * 1024) }
        bench.ask(4, .write, block: 5 * 1024)
        #expect(bench.frames() == [1, 2, 3, 4])
        for sequence in 2...4 { bench.hear(.written(sequence: UInt64(sequence), succeeded: true)) }
        #expect(flushesAsked(of: bench, milliseconds: 2000) == 0)
        let start = bench.moments.count
        bench.hear(.written(sequence: 1, succeeded: true))
        #expect(flushesAsked(of: bench, since: start, milliseconds: 10) == 1)
        #expect(bench.frames() == [1, 2, 3, 4, 5])
    }

    @Test func `beyond half of the list an epoch is closed without idle time, once what held it has ended`() {
        let bench = Bench.primary()
        bench.ask(0, .write, block: 5)
        for index in 0..<40 {
            bench.ask(1, .write, block: 100 + UInt64(index))
            bench.hear(.written(sequence: bench.lastSequence, succeeded: true))
        }
        #expect(bench.openTickets == [0])
        #expect(flushesAsked(of: bench, milliseconds: 10) == 0)
        let start = bench.moments.count
        bench.hear(.written(sequence: 1, succeeded: true))
        #expect(flushesAsked(of: bench, since: start, milliseconds: 10) == 1)
        #expect(!bench.core.isUnconfirmed(block: 139))
    }

    private func flushRound(_ bench: Bench) -> UInt64 {
        for case .flush(let round) in bench.messages().reversed() { return round }
        Issue.record("no flush was sent")
        return 0
    }

    // MARK: Failures

    @Test func `a peer that could not write is out of step, durably, before the answer`() throws {
        let bench = Bench.primary()
        let before = bench.stable
        bench.ask(0, .write, block: 5)
        bench.held = [.superblock]
        bench.hear(.written(sequence: 1, succeeded: false))
        #expect(bench.reply(to: 0) == nil)
        bench.letGo(.superblock)
        #expect(bench.reply(to: 0) == .done)
        #expect(bench.stable.record.inStep == NodeSet(alpha))
        #expect(bench.stable.current.id != before.current.id)
        #expect(bench.core.isMarked(block: 5, toward: beta))
        bench.expectNothingLeft()
    }

    @Test func `while a record that loses a copy is undecided, nothing is answered, nor begun`() {
        let bench = Bench.primary()
        bench.ask(0, .write, block: 5)
        bench.ask(1, .write, block: 6)
        bench.completeWrite(2, block: 7)
        bench.ask(3, .flush)
        let round = flushRound(bench)
        bench.held = [.superblock]
        bench.hear(.written(sequence: 1, succeeded: false))
        let frames = bench.frames()
        bench.hear(.written(sequence: 2, succeeded: true))
        bench.hear(.flushed(round: round, succeeded: true, mark: .none))
        bench.ask(4, .write, block: 8)
        #expect([0, 1, 3, 4].allSatisfy { bench.reply(to: $0) == nil })
        bench.letGo(.superblock)
        #expect([0, 1, 3, 4].allSatisfy { bench.reply(to: $0) == .done })
        #expect(bench.frames() == frames)
        #expect(bench.core.isMarked(block: 8, toward: beta))
        bench.expectNothingLeft()
    }

    @Test func `a peer whose flush failed is out of step before the flush is answered`() {
        let bench = Bench.primary()
        bench.completeWrite(0, block: 5)
        bench.ask(1, .flush)
        bench.hear(.flushed(round: flushRound(bench), succeeded: false, mark: .none))
        #expect(bench.reply(to: 1) == .done)
        #expect(bench.stable.record.inStep == NodeSet(alpha))
        #expect(bench.core.isMarked(block: 5, toward: beta))
    }

    @Test(arguments: [Work.write, .log, .flush]) func `a primary whose disk fails goes on through its peer`(work: Work)
        throws
    {
        let bench = Bench.primary()
        bench.failing = [work]
        bench.ask(0, work == .flush ? .flush : .write, block: 5)
        if work == .write { bench.hear(.written(sequence: 1, succeeded: true)) }
        let leaving = try #require(bench.proposal)
        #expect(leaving.record.inStep == NodeSet(beta))
        #expect(leaving.record.primary == alpha)
        #expect(bench.reply(to: 0) == nil)
        bench.accept(leaving.record.number)
        if work == .log { bench.hear(.written(sequence: bench.lastSequence, succeeded: true)) }
        if work == .flush { bench.hear(.flushed(round: flushRound(bench), succeeded: true, mark: .none)) }
        #expect(bench.reply(to: 0) == .done)
        #expect(bench.core.diskState == .diskless)
        // Reads and writes are served by the peer from now on.
        bench.ask(1, .read, block: 7)
        #expect(bench.messages().last == .read(id: 1, range: ByteRange(blocks: 7..<8)))
        bench.ask(2, .write, block: 9)
        bench.hear(.written(sequence: bench.lastSequence, succeeded: true))
        #expect(bench.reply(to: 2) == .done)
    }

    @Test func `the last copy says which read it cannot answer, and goes on`() {
        let bench = Bench.created(alpha)
        _ = bench.promote()
        bench.failing = [.read]
        bench.ask(0, .read, block: 3)
        #expect(bench.reply(to: 0) == .failed)
        bench.failing = []
        bench.ask(1, .read, block: 4)
        #expect(bench.reply(to: 1) == .done)
    }

    // MARK: Alone, and no primary

    @Test func `alone, what is written is marked toward the peer`() {
        let bench = Bench.created(alpha)
        _ = bench.promote()
        bench.ask(0, .write, block: 77, count: 2)
        #expect(bench.reply(to: 0) == .done)
        #expect(bench.core.isMarked(block: 77, toward: beta))
        #expect(bench.core.isMarked(block: 78, toward: beta))
        #expect(!bench.core.isMarked(block: 79, toward: beta))
    }

    @Test func `a slot of the log is used again only after its pages are durable`() throws {
        let bench = Bench.created(alpha)
        _ = bench.promote()
        for extent in 0..<4 as Range<UInt64> { bench.ask(0, .write, block: extent * 1024) }
        bench.held = [.page]
        bench.ask(0, .write, block: 5 * 1024)
        #expect(bench.reply(to: 0) == .done && !bench.openTickets.isEmpty)
        bench.letGo(.page)
        #expect(bench.openTickets.isEmpty)
        let page = try #require(bench.position { if case .pageWritten = $0 { true } else { false } })
        #expect(try page < #require(bench.position(of: .logged([5]))))
    }

    @Test func `no primary, no service: requests are answered and buffers come back`() {
        let bench = Bench.secondary()
        for (ticket, kind) in [ClientRequest.Kind.read, .write, .zero, .trim, .flush].enumerated() {
            bench.ask(UInt32(ticket), kind, block: 1)
            #expect(bench.reply(to: UInt32(ticket)) == .notPrimary)
        }
        bench.expectNothingLeft()
    }

    @Test func `a log smaller than what is written still lets every write through`() {
        let bench = Bench.primary()
        for number in 0..<40 as Range<UInt64> {
            let block = number * 37 % 8 * 1024 + number
            bench.ask(0, .write, block: block)
            for _ in 0..<8 where bench.openTickets.contains(0) {
                for case .flush(let round) in bench.messages().suffix(3) {
                    bench.hear(.flushed(round: round, succeeded: true, mark: .none))
                }
                bench.hear(.written(sequence: number + 1, succeeded: true))
            }
            #expect(bench.openTickets.isEmpty, "write \(number)")
        }
        bench.expectNothingLeft()
    }
}
