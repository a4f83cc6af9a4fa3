import Model
import ReplicationCore
import Testing

@Suite struct ResyncSourceTests {
    /// `alpha`, primary and alone in step, with blocks 5 and 9 written since `beta` was lost.
    private func ahead() -> Bench {
        let bench = Bench.primary()
        bench.goOnAlone(writing: 5, 9)
        return bench
    }

    /// The target is ready and knows all marks.
    private func source() -> Bench {
        let bench = ahead()
        #expect(bench.meet(bench.stateLeftBehind()) == .sourceOfMarked)
        bench.hear(.presence(Presence(role: .secondary, disk: .inconsistent, mark: .none, resyncPaused: false)))
        bench.hear(.resyncReady)
        bench.hear(.resyncReady)
        return bench
    }

    private func flushRound(_ bench: Bench) -> UInt64 {
        bench.messages().reversed().lazy.compactMap { if case .flush(let round) = $0 { round } else { nil } }.first ?? 0
    }

    @Test func `while clients ask, one piece is read after the other, in the order in which they were asked for`() {
        let bench = source()
        bench.pass(milliseconds: 200)
        bench.held = [.read]
        bench.ask(2, .read, block: 20)
        var start = bench.moments.count
        for id in UInt64(1)...3 { bench.hear(.pull(id: id, range: ByteRange(blocks: 4 * id..<4 * id + 2))) }
        #expect(bench.heldCount(.read) == 2, "the client's read, and the first piece")
        bench.letGo(.read, onlyFirst: true)
        bench.letGo(.read, onlyFirst: true)
        #expect(bench.heldCount(.read) == 1, "the second piece")
        #expect(answers(bench, since: start) == [1])
        start = bench.moments.count
        bench.letGo(.read)
        while bench.isHeld(.read) { bench.letGo(.read) }
        #expect(answers(bench, since: start) == [2, 3])
    }

    private func answers(_ bench: Bench, since start: Int) -> [UInt64] {
        bench.messages(since: start).compactMap { if case .pullData(let id, _, _) = $0 { id } else { nil } }
    }

    @Test func `what an earlier build asks for behind the volume's end is zeroes to it, within what its disk can hold`()
    {
        let bench = ahead()
        let end = Bench.size / 4096
        let theirs = bench.stateLeftBehind { $0.capacity = Bench.size + 64 * 4096 }
        #expect(bench.meet(theirs) == .sourceOfMarked)
        bench.hear(.presence(Presence(role: .secondary, disk: .inconsistent, mark: .none, resyncPaused: false)))
        bench.hear(.resyncReady)
        bench.hear(.resyncReady)
        let start = bench.moments.count
        let behind = ByteRange(blocks: end..<end + 64)
        bench.hear(.pull(id: 1, range: ByteRange(blocks: end - 1..<end + 1)))
        bench.hear(.pull(id: 2, range: behind))
        #expect(bench.messages(since: start) == [.pullFailed(id: 1), .pullZero(id: 2, range: behind)])
        #expect(!bench.session.isNone)
        bench.hear(.pull(id: 3, range: ByteRange(blocks: end + 60..<end + 65)))
        #expect(bench.session.isNone)
    }

    @Test func `the record without the target is durable before the target is told`() throws {
        let bench = Bench.primary()
        bench.completeWrite(0, block: 5)
        bench.breakLink()
        bench.peerRun = RunID(rawValue: 0x901)
        bench.held = [.superblock]
        #expect(bench.meet(bench.peerState()) == .sourceOfMarked)
        #expect(!bench.messages().contains { if case .resyncBegin = $0 { true } else { false } })
        bench.letGo(.superblock)
        let begun = try #require(bench.position { if case .sent(.resyncBegin) = $0 { true } else { false } })
        let durable = try #require(
            bench.position { if case .stable(let state) = $0 { state.record.inStep == NodeSet(alpha) } else { false } })
        #expect(durable < begun)
        #expect(bench.core.isMarked(block: 5, toward: beta))
    }

    @Test func `which disk is filled is durable before any of its marks can go`() throws {
        let bench = Bench.created(alpha)
        _ = bench.promote()
        bench.ask(0, .write, block: 5)
        let zero = emptyState(of: beta, zeroes: true)
        bench.held = [.superblock]
        #expect(bench.meet(zero) == .sourceOfMarked)
        #expect(!bench.messages().contains { if case .resyncBegin = $0 { true } else { false } })
        bench.letGo(.superblock)
        #expect(bench.stable.peers[beta].seenInstance == zero.instance)
        #expect(bench.messages().contains { if case .resyncBegin = $0 { true } else { false } })
        // Another disk of zeroes in its place lacks what that one was given, also when the first try breaks off.
        var other = zero
        other.instance = InstanceID(rawValue: 0x999)
        bench.held = [.page]
        for _ in 0..<2 {
            bench.breakLink()
            #expect(bench.meet(other) == .sourceOfEverything)
            #expect(bench.stable.peers[beta].base == .everything(.none))
        }
        bench.letGo(.page)
        #expect(bench.stable.peers[beta].base == .everything(other.instance))
        #expect(bench.core.isMarked(block: 6, toward: beta))
    }

    @Test func `for a copy of everything, all marks and the base are durable before the target is told`() throws {
        let bench = ahead()
        let blank = emptyState(of: beta, zeroes: false)
        bench.held = [.page]
        #expect(bench.meet(blank) == .sourceOfEverything)
        #expect(!bench.messages().contains { if case .resyncBegin = $0 { true } else { false } })
        bench.letGo(.page)
        #expect(bench.messages().contains { if case .resyncBegin(_, everything: true) = $0 { true } else { false } })
        #expect(bench.stable.peers[beta].base == .everything(blank.instance))
        #expect(bench.core.isMarked(block: Bench.size / 4096 - 1, toward: beta))
        let page = try #require(bench.position { if case .pageWritten = $0 { true } else { false } })
        let base = try #require(
            bench.position {
                if case .stable(let state) = $0 { state.peers[beta].base == .everything(blank.instance) } else { false }
            })
        #expect(page < base)
    }

    @Test func `the target hears what is marked, and gets what it asks for`() throws {
        let bench = source()
        let runs = bench.messages().compactMap { if case .bitmapRuns(let runs) = $0 { runs } else { nil } }
        #expect(runs == [[BlockRun(first: 5, count: 1), BlockRun(first: 9, count: 1)]])
        #expect(bench.messages().last == .bitmapEnd)
        bench.hear(.pull(id: 1, range: ByteRange(blocks: 5..<6)))
        guard case .pullData(1, ByteRange(blocks: 5..<6), _) = try #require(bench.messages().last) else {
            Issue.record("no data")
            return
        }
        bench.expectNothingLeft()
    }

    @Test func `a pull waits for a write that overlaps it, and sends what that wrote`() {
        let bench = source()
        bench.ask(2, .write, block: 5)
        bench.hear(.pull(id: 1, range: ByteRange(blocks: 5..<6)))
        #expect(!bench.messages().contains { if case .pullData = $0 { true } else { false } })
        bench.hear(.written(sequence: bench.lastSequence, succeeded: true))
        #expect(bench.messages().contains { if case .pullData = $0 { true } else { false } })
    }

    @Test func `live writes go to the target too, are waited for, and stay marked until it flushed them`() {
        let bench = source()
        bench.ask(2, .write, block: 700)
        let sequence = bench.lastSequence
        #expect(bench.reply(to: 2) == nil)
        #expect(bench.core.isMarked(block: 700, toward: beta))
        bench.hear(.written(sequence: sequence, succeeded: true))
        #expect(bench.reply(to: 2) == .done)
        bench.hear(.resyncFlushed(pulls: 0, writes: sequence - 1))
        #expect(bench.core.isMarked(block: 700, toward: beta))
        bench.hear(.resyncFlushed(pulls: 0, writes: sequence))
        #expect(!bench.core.isMarked(block: 700, toward: beta))
        #expect(bench.core.isMarked(block: 5, toward: beta))
    }

    @Test func `a flush of the target takes back the marks of the pulls that it names, and of no others`() {
        let bench = source()
        bench.hear(.pull(id: 1, range: ByteRange(blocks: 5..<6)))
        bench.hear(.pull(id: 2, range: ByteRange(blocks: 9..<10)))
        bench.hear(.resyncFlushed(pulls: 1, writes: 0))
        #expect(!bench.core.isMarked(block: 5, toward: beta))
        #expect(bench.core.isMarked(block: 9, toward: beta))
        bench.hear(.resyncFlushed(pulls: 2, writes: 0))
        #expect(!bench.core.isMarked(block: 9, toward: beta))
    }

    @Test func `a block that was pulled and written again stays marked until the write is flushed`() {
        let bench = source()
        bench.hear(.pull(id: 1, range: ByteRange(blocks: 5..<6)))
        bench.ask(2, .write, block: 5)
        let sequence = bench.lastSequence
        bench.hear(.resyncFlushed(pulls: 1, writes: sequence - 1))
        #expect(bench.core.isMarked(block: 5, toward: beta))
        bench.hear(.written(sequence: sequence, succeeded: true))
        bench.hear(.resyncFlushed(pulls: 1, writes: sequence))
        #expect(!bench.core.isMarked(block: 5, toward: beta))
    }

    @Test func `a target that is lost holds nobody up`() {
        let bench = source()
        bench.ask(2, .write, block: 700)
        bench.breakLink()
        #expect(bench.reply(to: 2) == .done)
        #expect(bench.core.isMarked(block: 700, toward: beta))
        bench.expectNothingLeft()
    }

    @Test func `a frame that was lost with its session keeps its mark, whatever a later session flushes`() {
        let bench = source()
        _ = bench.demote()
        bench.hear(.flushed(round: flushRound(bench), succeeded: true, mark: .none))
        _ = bench.promote()
        #expect(bench.core.isPrimary)
        bench.ask(2, .write, block: 700)
        bench.breakLink()
        var half = bench.stateLeftBehind()
        half.flags.insert(.inconsistent)
        half.record = bench.core.durableState.record
        half.record.number.index = 1
        half.record.number.term.counter = 1
        #expect(bench.meet(half) == .sourceOfMarked)
        bench.hear(.resyncReady)
        bench.hear(.resyncReady)
        bench.ask(3, .write, block: 701)
        let sequence = bench.lastSequence
        bench.hear(.written(sequence: sequence, succeeded: true))
        bench.ask(4, .flush)
        bench.hear(.flushed(round: flushRound(bench), succeeded: true, mark: .none))
        #expect(bench.reply(to: 4) == .done)
        bench.hear(.resyncFlushed(pulls: 0, writes: sequence))
        #expect(!bench.core.isMarked(block: 701, toward: beta))
        #expect(bench.core.isMarked(block: 700, toward: beta))
    }

    @Test
    func `at the gate writes wait, required is durable before the offer, and the reply after the join needs both`()
        throws
    {
        let bench = source()
        for (id, block) in [(1, 5), (2, 9)] as [(UInt64, UInt64)] {
            bench.hear(.pull(id: id, range: ByteRange(blocks: block..<block + 1)))
        }
        bench.hear(.resyncFlushed(pulls: 2, writes: 0))
        bench.held = [.superblock]
        bench.hear(.resyncComplete)
        bench.ask(2, .write, block: 30)
        let frames = bench.frames().count
        #expect(!bench.messages().contains { if case .joinOffer = $0 { true } else { false } })
        bench.held = []
        bench.letGo(.superblock)
        let offered = try #require(bench.position { if case .sent(.joinOffer) = $0 { true } else { false } })
        let durable = try #require(
            bench.position {
                if case .stable(let state) = $0 {
                    state.required == NodeSet(alpha, beta) && state.record.inStep == NodeSet(alpha)
                } else {
                    false
                }
            },
            "required is durable with the old record")
        #expect(durable < offered)
        #expect(bench.frames().count == frames)
        guard case .sent(.joinOffer(let offer)) = bench.moments[offered] else { return }
        #expect(offer.current == bench.core.durableState.current)
        bench.accept(offer.record.number)
        #expect(bench.stable.record == offer.record)
        #expect(bench.stable.peers[beta].base == .inStep)
        #expect(bench.messages().contains(.chosen(offer.record.number)))
        #expect(bench.frames().count == frames + 1)
        #expect(bench.reply(to: 2) == nil)
        bench.hear(.written(sequence: bench.lastSequence, succeeded: true))
        #expect(bench.reply(to: 2) == .done)
        #expect(!bench.core.isMarked(block: 30, toward: beta))
        bench.expectNothingLeft()
    }

    @Test func `an offer whose answer is lost begins a generation before anything is acknowledged alone`() {
        let bench = source()
        for (id, block) in [(1, 5), (2, 9)] as [(UInt64, UInt64)] {
            bench.hear(.pull(id: id, range: ByteRange(blocks: block..<block + 1)))
        }
        bench.hear(.resyncFlushed(pulls: 2, writes: 0))
        bench.hear(.resyncComplete)
        let before = bench.stable.current
        #expect(bench.stable.required == NodeSet(alpha, beta))
        bench.breakLink()
        bench.held = [.superblock]
        bench.ask(2, .write, block: 30)
        bench.pass(milliseconds: 8000)
        #expect(bench.reply(to: 2) == nil)
        bench.letGo(.superblock)
        #expect(bench.reply(to: 2) == .done)
        #expect(bench.stable.current.id != before.id)
        #expect(bench.stable.history.first?.id == before.id)
        #expect(bench.core.isMarked(block: 30, toward: beta))
    }

    // Found by a device under a file system: a flush that was on its way when the target said that it is done.
    @Test func `a round that ends while the join is under way takes the marks of its frames with it`() throws {
        let bench = source()
        for (id, block) in [(1, 5), (2, 9)] as [(UInt64, UInt64)] {
            bench.hear(.pull(id: id, range: ByteRange(blocks: block..<block + 1)))
        }
        bench.ask(2, .write, block: 700)
        bench.hear(.written(sequence: bench.lastSequence, succeeded: true))
        bench.ask(3, .flush)
        bench.hear(.resyncFlushed(pulls: 2, writes: bench.lastSequence - 1))
        bench.hear(.resyncComplete)
        #expect(bench.stable.required == NodeSet(alpha, beta))
        #expect(bench.core.isMarked(block: 700, toward: beta))
        bench.hear(.flushed(round: flushRound(bench), succeeded: true, mark: .none))
        #expect(bench.reply(to: 3) == .done)
        #expect(!bench.core.isMarked(block: 700, toward: beta))
    }

    @Test func `a target that says it is done while blocks are marked is not joined`() {
        let bench = source()
        bench.hear(.resyncComplete)
        #expect(!bench.messages().contains { if case .joinOffer = $0 { true } else { false } })
        #expect(bench.stable.record.inStep == NodeSet(alpha))
    }

    @Test func `a target that hangs at the join does not hold the clients up for ever`() {
        let bench = source()
        for (id, block) in [(1, 5), (2, 9)] as [(UInt64, UInt64)] {
            bench.hear(.pull(id: id, range: ByteRange(blocks: block..<block + 1)))
        }
        bench.hear(.resyncFlushed(pulls: 2, writes: 0))
        bench.hear(.resyncComplete)
        bench.ask(2, .write, block: 30)
        bench.pass(milliseconds: 20_000)
        #expect(bench.reply(to: 2) == .done)
        #expect(bench.stable.record.inStep == NodeSet(alpha))
    }

    @Test func `a source without clients makes no generation that nobody needs`() {
        let bench = Bench.established(alpha)
        bench.breakLink()
        bench.peerRun = RunID(rawValue: 0x901)
        let before = bench.stable.current
        #expect(bench.meet(bench.peerState { $0.dirtyBlocks = 3 }) == .sourceOfMarked)
        #expect(bench.messages().contains { if case .resyncBegin = $0 { true } else { false } })
        #expect(bench.stable.record.inStep == NodeSet(alpha))
        #expect(bench.stable.current == before)
        // Whoever acknowledges here alone begins one first.
        bench.breakLink()
        _ = bench.promote()
        bench.ask(0, .write, block: 3)
        bench.pass(milliseconds: 8000)
        #expect(bench.reply(to: 0) == .done)
        #expect(bench.stable.current.id != before.id)
    }

    @Test func `an offer to discard ends with the handshake it was meant for`() {
        let bench = Bench.established(beta)
        bench.breakLink()
        bench.command(.connect(peer: nil, discardMyData: true, dryRun: false, deadline: bench.now + 1_000_000_000))
        #expect(bench.meet(bench.peerState()) == .inSync)
        #expect(bench.told?.discardMyData == true)
        bench.breakLink()
        bench.open()
        #expect(bench.told?.discardMyData == false)
    }

    @Test func `a primary that was promoted apart leaves its target behind before it fills it`() throws {
        var superblock = Bench.secondary().stable
        superblock.record.inStep = NodeSet(beta)
        superblock.record.primary = nil
        superblock.record.number.index += 1
        let bench = Bench(beta, superblock: superblock)
        #expect(bench.end(of: bench.promote()) == "done")
        #expect(bench.core.durableState.required == NodeSet(alpha, beta))
        #expect(bench.meet(emptyState(of: alpha, zeroes: false)) == .sourceOfEverything)
        let begun = try #require(
            bench.messages().lazy.compactMap { if case .resyncBegin(let begun, _) = $0 { begun } else { nil } }.first)
        #expect(begun.record.primary == beta)
        #expect(bench.stable.required == NodeSet(beta))
    }

    @Test func `what a primary that is filled here writes itself is not marked toward it`() {
        var superblock = Bench.secondary().stable
        superblock.record.inStep = NodeSet(beta)
        superblock.required = NodeSet(beta)
        let bench = Bench(beta, superblock: superblock)
        let served = bench.peerState {
            $0.isPrimary = true
            $0.flags.insert(.inconsistent)
        }
        #expect(bench.meet(served) == .sourceOfMarked)
        bench.hear(.presence(Presence(role: .primary, disk: .inconsistent, mark: .none, resyncPaused: false)))
        bench.hear(.resyncReady)
        bench.hear(.resyncReady)
        bench.hearWrite(1, block: 700)
        bench.hear(.resyncFlushed(pulls: 0, writes: 0))
        bench.hear(.confirm(sequence: 1, mark: StartMark(startNumber: 2, sequence: 61), settled: true))
        #expect(!bench.core.isMarked(block: 700, toward: alpha))
        bench.hear(.resyncComplete)
        #expect(bench.messages().contains { if case .joinOffer = $0 { true } else { false } })
    }
}
