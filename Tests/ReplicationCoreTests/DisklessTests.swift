import Model
import ReplicationCore
import Testing

/// A primary that lives on its peer's disk, a disk given to it, and the peer that carries it.
@Suite struct DisklessTests {
    /// `alpha`'s disk failed under a write; `beta` has the write, and the record without `alpha` is offered to it.
    private func losing() -> Bench {
        let bench = Bench.primary()
        bench.failing = [.write]
        bench.ask(0, .write, block: 5)
        bench.failing = []
        bench.hear(.written(sequence: bench.lastSequence, succeeded: true))
        #expect(bench.core.diskState == .diskless)
        #expect(bench.reply(to: 0) == nil)
        return bench
    }

    private func diskless() throws -> Bench {
        let bench = losing()
        bench.accept(try #require(bench.proposal).record.number)
        #expect(bench.reply(to: 0) == .done)
        #expect(bench.core.durableState.required == NodeSet(beta))
        return bench
    }

    private func holder(_ bench: Bench, _ record: Record) -> HandshakeState {
        bench.peerState {
            $0.record = record
            $0.required = record.inStep
            $0.history = [generation(1)]
            if $0.current.id != record.generation { $0.history.insert($0.current, at: 0) }
            $0.current = Generation(id: record.generation, node: alpha, began: 1)
        }
    }

    private func attach(_ bench: Bench, _ superblock: Superblock) -> CommandID {
        let table = [UInt32?](repeating: nil, count: Int(superblock.logExtents))
        let replay = LogReplay(
            table: table, lastNumber: 0, lastSequence: superblock.sequence, seen: PerNode(repeating: .none),
            damaged: false)
        let id = CommandID(rawValue: 900)
        bench.handle(
            .attached(
                LoadedMetadata(
                    superblock: superblock, log: replay, bitmaps: [(beta, BitmapWords(count: 0))], bootID: (1, 1)), id))
        return id
    }

    @Test func `an acceptance that came only with the next handshake lets the writes go on`() throws {
        let bench = losing()
        let record = try #require(bench.proposal).record
        bench.breakLink()
        // Another run by now: what the earlier one said that it has may be lost with its cache.
        bench.peerRun = RunID(rawValue: 0x901)
        let start = bench.moments.count
        #expect(bench.meet(holder(bench, record)) == .carried)
        #expect(bench.frames(since: start) == [bench.lastSequence])
        #expect(bench.reply(to: 0) == nil)
        bench.hear(.written(sequence: bench.lastSequence, succeeded: true))
        #expect(bench.reply(to: 0) == .done)
        bench.expectNothingLeft()
    }

    @Test func `a disk that was here for a moment leaves the primary its line`() throws {
        let bench = Bench.primary()
        let before = bench.stable
        bench.failing = [.write]
        bench.ask(0, .write, block: 5)
        bench.failing = []
        bench.hear(.written(sequence: bench.lastSequence, succeeded: true))
        let record = try #require(bench.proposal).record
        bench.accept(record.number)
        bench.held = [.superblock]
        #expect(bench.end(of: attach(bench, before)) == "done")
        #expect(bench.core.diskState == .inconsistent)
        bench.held = []
        bench.letGo(.superblock)
        let detach = bench.command(.detach(force: true))
        #expect(bench.end(of: detach) == "done")
        #expect(bench.meet(holder(bench, record)) == .carried)
        #expect(bench.core.durableState.current.id == record.generation)
        let demotion = bench.demote()
        #expect(bench.proposal?.current.id == record.generation)
        bench.accept(try #require(bench.proposal).record.number)
        #expect(bench.end(of: demotion) == "done")
    }

    @Test func `a disk with a line of its own is not given to a primary that serves another`() throws {
        let bench = try diskless()
        var found = bench.stable
        found.current = generation(99)
        #expect(bench.end(of: attach(bench, found)) == "split-brain")
        #expect(bench.core.diskState == .diskless)
        #expect(bench.moments.last == .diskReleased)
    }

    @Test func `a disk of another lineage is not given to a primary either`() throws {
        let bench = try diskless()
        var found = bench.stable
        found.record.lineage = LineageID(rawValue: 99)
        #expect(bench.end(of: attach(bench, found)) == "split-brain")
        found.flags.insert(.inconsistent)
        let half = try diskless()
        #expect(half.end(of: attach(half, found)) == "done")
    }

    @Test func `a carrier alone in step takes frames without end and without a confirmation`() {
        let bench = Bench.secondary()
        let mine = bench.core.durableState
        var record = mine.record
        record.number.index += 1
        record.inStep = NodeSet(beta)
        record.generation = GenerationID(rawValue: 40)
        bench.hear(.presence(Presence(role: .primary, disk: .diskless, mark: .none, resyncPaused: false)))
        bench.takeRecord(Proposal(volume: mine.volume, record: record, current: generation(40)))
        let start = bench.moments.count
        for sequence in UInt64(1)...200 { bench.hearWrite(sequence, block: sequence) }
        let answered = bench.messages(since: start).count {
            if case .written(_, succeeded: true) = $0 { true } else { false }
        }
        #expect(answered == 200)
        #expect(bench.core.isMarked(block: 200, toward: alpha))
        bench.expectNothingLeft()
    }

    @Test func `a carrier that a record names alone is suspect no more`() {
        var superblock = Bench.secondary().stable
        superblock.record.primary = nil
        superblock.flags = [.suspect]
        let bench = Bench(beta, superblock: superblock)
        #expect(bench.meet(bench.peerState { $0.hasDisk = false }) == .carrier)
        var record = superblock.record
        record.number.index += 1
        record.primary = alpha
        record.inStep = NodeSet(beta)
        record.generation = GenerationID(rawValue: 40)
        bench.takeRecord(Proposal(volume: superblock.volume, record: record, current: generation(40)))
        #expect(!bench.stable.flags.contains(.suspect))
    }

    @Test func `a suspect carrier is not asked for a record that it would refuse`() {
        let bench = Bench.secondary()
        #expect(bench.end(of: bench.command(.detach(force: true))) == "done")
        let suspect = bench.peerState { $0.flags = [.suspect] }
        #expect(bench.meet(suspect) == .carried)
        bench.hear(.presence(Presence(role: .secondary, disk: .consistent, mark: .none, resyncPaused: false)))
        let promotion = bench.promote()
        #expect(bench.proposal == nil)
        bench.pass(milliseconds: 6000)
        #expect(bench.end(of: promotion) == "no-good-copy")
    }

    @Test func `a detach by force lets the superblock that is on its way arrive first`() {
        let bench = Bench.primary()
        bench.hear(.goodbye(.stopping))
        bench.held = [.superblock]
        bench.ask(0, .write, block: 5)
        bench.letGo(.superblock, onlyFirst: true)
        let command = bench.command(.detach(force: true))
        #expect(bench.end(of: command) == nil)
        bench.letGo(.superblock)
        #expect(bench.end(of: command) == "done")
        #expect(bench.stable.record.inStep == NodeSet(alpha))
        #expect(bench.core.durableState.record == bench.stable.record)
    }

    @Test func `a disk that was away is not resumed on, though the run is the same`() {
        let bench = Bench.established(alpha)
        bench.breakLink()
        let before = bench.core.durableState
        #expect(bench.end(of: bench.command(.detach(force: true))) == "done")
        #expect(bench.end(of: attach(bench, before)) == "done")
        bench.open()
        #expect(bench.told?.resumes == RunID.none)
    }

    @Test func `a primary whose disk is being filled gives way to a newer record that does not name it`() throws {
        let bench = try diskless()
        #expect(bench.end(of: attach(bench, Bench.created(alpha).stable)) == "done")
        bench.ask(1, .write, block: 7)
        var record = bench.core.durableState.record
        record.number = RecordNumber(term: Term(counter: record.number.term.counter + 1, node: beta), index: 2)
        record.primary = nil
        #expect(bench.meet(holder(bench, record)) == .refused)
        #expect(!bench.core.isPrimary)
        #expect(bench.reply(to: 1) == .notPrimary)
    }

    @Test func `a record made after the disk failed names no copy of its maker`() throws {
        #expect(try #require(losing().proposal).record.instances[alpha] == .none)
    }

    @Test func `a primary leaves its disk only by a term that is on it`() throws {
        let bench = Bench.primary()
        let run = try #require(bench.told?.run)
        bench.breakLink()
        #expect(bench.meet(bench.peerState { $0.resumes = run }) == .resume)
        bench.hear(.presence(Presence(role: .secondary, disk: .upToDate, mark: .none, resyncPaused: false)))
        let command = bench.command(.detach(force: false))
        let first = try #require(bench.proposal).record
        #expect(first.inStep == NodeSet(alpha, beta))
        bench.accept(first.number)
        let second = try #require(bench.proposal).record
        #expect(second.inStep == NodeSet(beta))
        #expect(second.number.term == first.number.term)
        #expect(second.instances[alpha] == instance(of: alpha))
        #expect(bench.stable.promised == second.number.term)
        bench.accept(second.number)
        #expect(bench.end(of: command) == "done")
    }

    @Test func `a new disk begins no second volume where the run knows one`() {
        let bench = Bench.secondary()
        #expect(bench.end(of: bench.command(.detach(force: true))) == "done")
        bench.breakLink()
        let promotion = bench.promote(within: 100_000)
        var found = Bench.created(beta).stable
        found.instance = InstanceID(rawValue: 0x999)
        #expect(bench.end(of: attach(bench, found)) == "done")
        #expect(bench.core.diskState == .outdated)
        #expect(bench.stable.flags.contains(.outdated))
        bench.pass(milliseconds: 10_000)
        #expect(bench.end(of: promotion) == "outdated")
    }
}
