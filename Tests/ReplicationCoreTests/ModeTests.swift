import Model
import ReplicationCore
import Testing

/// `memory` and `async` (`6-protocol`, ACK, FLUSH, CONFIRM).
@Suite struct ModeTests {
    private static func mode(_ mode: ReplicationMode) -> (inout ReplicaConfiguration) -> Void {
        { configuration in
            for index in configuration.members.indices { configuration.members[index].replication = mode }
        }
    }

    private static func asynchronous(sendBuffer: UInt64, fallsBehind: Bool = false) -> Bench {
        Bench.primary(configured: {
            mode(.asynchronous)(&$0)
            $0.limits.sendBuffer = sendBuffer
            $0.fallsBehind = fallsBehind
        })
    }

    /// Sequences of frames, and 0 for a flush between them.
    private func sent(_ bench: Bench, since start: Int) -> [UInt64] {
        bench.messages(since: start).compactMap {
            switch $0 {
            case .write(let sequence, _, _): sequence
            case .flush(0): 0
            default: nil
            }
        }
    }

    @Test func `in memory a write is answered when the peer received it, and a forced one when that is stable`() {
        let bench = Bench.primary(configured: Self.mode(.memory))
        bench.ask(0, .write, block: 5)
        let first = bench.lastSequence
        #expect(bench.reply(to: 0) == nil)
        bench.hear(.received(sequence: first))
        #expect(bench.reply(to: 0) == .done)

        bench.ask(1, .flush)
        #expect(bench.reply(to: 1) == nil)
        #expect(!bench.messages().contains { if case .flush = $0 { true } else { false } }, "it is not on its disk")
        bench.hear(.written(sequence: first, succeeded: true))
        bench.hear(.flushed(round: 1, succeeded: true, mark: StartMark(startNumber: 1, sequence: 60)))
        #expect(bench.reply(to: 1) == .done)
        bench.expectNothingLeft()
    }

    @Test func `in async a write and a flush need the own disk alone, and the flush lies between what is sent`() {
        let bench = Self.asynchronous(sendBuffer: 1 << 20)
        let start = bench.moments.count
        bench.ask(0, .write, block: 5)
        #expect(bench.reply(to: 0) == .done)
        bench.held = [.flush]
        bench.ask(1, .flush)
        #expect(bench.reply(to: 1) == nil)
        bench.ask(2, .write, block: 6)
        bench.letGo(.flush)
        #expect(bench.reply(to: 1) == .done)
        bench.ask(3, .write, block: 7)
        bench.ask(4, .write, block: 8)
        #expect(sent(bench, since: start) == [1, 2, 0, 3, 4])
    }

    @Test func `a full send buffer holds writes until the peer has some of it on disk`() {
        let bench = Self.asynchronous(sendBuffer: 8192)
        for ticket in 0..<3 { bench.ask(UInt32(ticket), .write, block: UInt64(ticket)) }
        #expect(bench.reply(to: 1) == .done)
        #expect(bench.reply(to: 2) == nil)
        let status = bench.core.status(at: bench.now + 3_000_000_000).peers[0]
        #expect(status.lagBytes == 8192)
        #expect(status.lagSeconds == 3)
        bench.hear(.written(sequence: 1, succeeded: true))
        #expect(bench.reply(to: 2) == .done)
    }

    @Test func `writes wait while the oldest that the peer lacks is too old`() {
        let bench = Bench.primary(configured: {
            Self.mode(.asynchronous)(&$0)
            $0.maximumLag = 2_000_000_000
        })
        bench.ask(0, .write, block: 0)
        bench.pass(milliseconds: 1900)
        bench.ask(1, .write, block: 1)
        #expect(bench.reply(to: 1) == .done)
        bench.pass(milliseconds: 200)
        bench.ask(2, .write, block: 2)
        #expect(bench.reply(to: 2) == nil)
        bench.hear(.written(sequence: 1, succeeded: true))
        #expect(bench.reply(to: 2) == .done)
    }

    @Test func `writes queue up while the link is away, and go out in order when it is back`() {
        let bench = Self.asynchronous(sendBuffer: 1 << 20)
        bench.ask(0, .write, block: 0)
        bench.breakLink()
        bench.ask(1, .flush)
        bench.ask(2, .write, block: 2)
        #expect(bench.reply(to: 2) == .done)
        let start = bench.moments.count
        #expect(bench.meet(bench.peerState { $0.resumes = RunID(rawValue: 0x800) }) == .resume)
        #expect(sent(bench, since: start) == [1, 0, 2])
    }

    @Test func `a trim takes a block of the send buffer, however long it is`() {
        let bench = Self.asynchronous(sendBuffer: 8192)
        bench.ask(0, .trim, block: 0, count: 256)
        bench.ask(1, .write, block: 300)
        #expect(bench.reply(to: 1) == .done)
        bench.ask(2, .write, block: 301)
        #expect(bench.reply(to: 2) == nil)
        bench.hear(.written(sequence: 1, succeeded: true))
        #expect(bench.reply(to: 2) == .done)
    }

    @Test func `a stop waits while what was answered arrives, and not for a copy that takes nothing`() {
        for arrives in [true, false] {
            let bench = Self.asynchronous(sendBuffer: 1 << 20)
            for block in 0..<20 { bench.ask(UInt32(block % 4), .write, block: UInt64(block)) }
            bench.command(.stop)
            for sequence in 1..<20 {
                bench.pass(milliseconds: 500)
                bench.hear(arrives ? .written(sequence: UInt64(sequence), succeeded: true) : .ping(1))
            }
            #expect(bench.core.isPrimary == arrives)
        }
    }

    @Test func `who falls behind is left out, and filled after a while`() throws {
        let bench = Self.asynchronous(sendBuffer: 8192, fallsBehind: true)
        for ticket in 0..<3 { bench.ask(UInt32(ticket), .write, block: UInt64(ticket)) }
        #expect(bench.reply(to: 2) == .done)
        #expect(bench.stable.record.inStep == NodeSet(alpha))
        for block in 0..<3 { #expect(bench.core.isMarked(block: UInt64(block), toward: beta)) }
        let before = try #require(bench.stable.history.first)
        let start = bench.moments.count
        let theirs = bench.peerState {
            $0.current = before
            $0.history.removeFirst()
            $0.record.inStep = NodeSet(alpha, beta)
            $0.record.number.index -= 1
        }
        #expect(bench.meet(theirs) == .sourceOfMarked)
        let begins: () -> Bool = {
            bench.messages(since: start).contains { if case .resyncBegin = $0 { true } else { false } }
        }
        #expect(bench.core.status(at: bench.now).peers[0].replication == .behind)
        #expect(!begins())
        bench.pass(milliseconds: 1500)
        #expect(begins())
        // Once more before it was filled: it is given twice the time.
        bench.hear(.resyncReady)
        for ticket in 3..<7 { bench.ask(UInt32(ticket), .write, block: UInt64(ticket)) }
        #expect(bench.reply(to: 6) == .done)
        let again = bench.moments.count
        #expect(bench.meet(theirs) == .sourceOfMarked)
        let beginsAgain: () -> Bool = {
            bench.messages(since: again).contains { if case .resyncBegin = $0 { true } else { false } }
        }
        let wait: (Int) -> Void = { steps in
            for _ in 0..<steps {
                bench.pass(milliseconds: 500)
                bench.hear(.ping(1))
            }
        }
        wait(3)
        #expect(!beginsAgain())
        wait(2)
        #expect(beginsAgain())
    }

    @Test func `what comes after a flush is not written before what came is stable`() {
        let bench = Bench.secondary(configured: Self.mode(.asynchronous))
        bench.held = [.write, .flush]
        let start = bench.moments.count
        bench.hearWrite(1, block: 1)
        bench.hear(.flush(round: 0))
        bench.hearWrite(2, block: 2)
        let second = Moment.writing(ByteRange(blocks: 2..<3))
        #expect(bench.position(of: .writing(ByteRange(blocks: 1..<2)), after: start) != nil)
        #expect(!bench.isHeld(.flush))
        bench.letGo(.write)
        #expect(bench.isHeld(.flush))
        #expect(bench.position(of: second, after: start) == nil)
        bench.letGo(.flush)
        #expect(bench.position(of: second, after: start) != nil)
    }

    @Test func `what waits for frames goes on when they are written, also while the disk prepares room`() {
        let bench = Bench.secondary(configured: Self.mode(.asynchronous))
        bench.held = [.preparation, .write]
        bench.hear(.room(number: 7, size: Bench.size + (8 << 20), make: true))
        let start = bench.moments.count
        bench.hearWrite(1, block: 1)
        bench.hear(.flush(round: 0))
        bench.hearWrite(2, block: 2)
        bench.letGo(.write)
        #expect(bench.position(of: .wrote(ByteRange(blocks: 2..<3)), after: start) != nil)
        #expect(bench.isHeld(.preparation))
    }

    @Test func `frames that waited for a place are written when there is one, without an asynchronous peer too`() {
        let bench = Bench.secondary(configured: Self.mode(.memory))
        bench.held = [.write]
        let start = bench.moments.count
        for sequence in 1...24 { bench.hearWrite(UInt64(sequence), block: UInt64(sequence)) }
        #expect(bench.heldCount(.write) < 24)
        bench.letGo(.write)
        for block in 1...24 as ClosedRange<UInt64> {
            #expect(bench.position(of: .wrote(ByteRange(blocks: block..<block + 1)), after: start) != nil, "\(block)")
        }
    }

    @Test func `what was received in memory is written though its sender is gone, and before a promotion`() {
        let bench = Bench.secondary(configured: Self.mode(.memory))
        bench.held = [.log]
        let start = bench.moments.count
        bench.hearWrite(1, block: 5)
        #expect(bench.messages(since: start).contains(.received(sequence: 1)))
        bench.breakLink()
        let promotion = bench.promote(fenced: alpha)
        #expect(bench.end(of: promotion) == nil)
        bench.letGo(.log)
        #expect(bench.position(of: .wrote(ByteRange(blocks: 5..<6)), after: start) != nil)
        #expect(bench.end(of: promotion) == "done")
    }

    @Test func `an asynchronous copy is promoted without its primary on a word only`() {
        let bench = Bench.secondary(configured: Self.mode(.asynchronous))
        bench.hearWrite(1, block: 5)
        bench.breakLink()
        #expect(bench.end(of: bench.promote()) == "data-loss")
        #expect(bench.end(of: bench.promote(fenced: alpha)) == "data-loss")
        #expect(bench.end(of: bench.promote(acceptsLoss: true)) == "done")
    }

    @Test func `a crashed asynchronous primary fills the other copy, its cache lost or not`() {
        let bench = Bench.secondary(configured: Self.mode(.asynchronous))
        bench.hearWrite(1, block: 5)
        bench.breakLink()
        #expect(bench.meet(bench.peerState { $0.flags = [.suspect] }) == .targetOfMarked)
        let synchronous = Bench.secondary()
        synchronous.hearWrite(1, block: 5)
        synchronous.breakLink()
        #expect(synchronous.meet(synchronous.peerState { $0.flags = [.suspect] }) == .sourceOfMarked)
    }

    @Test func `a restart in memory mode makes suspect`() {
        let before = Bench.secondary(configured: Self.mode(.memory))
        before.hearWrite(1, block: 5)
        for mode in ReplicationMode.allCases {
            // The write may have been answered before its extent was in the log.
            for log in [[0], []] as [[UInt32]] {
                let again = Bench(beta, superblock: before.stable, log: log, configured: Self.mode(mode))
                #expect(again.core.durableState.flags.contains(.suspect) == (mode == .memory))
            }
        }
    }
}
