import Model
import ReplicationCore
import Testing

@Suite struct ResyncTargetTests {
    /// `beta`, in step once, meets `alpha`, which went on alone; the resync of three runs is ready to pull.
    private func target(
        runs: [BlockRun] = [BlockRun(first: 10, count: 4)], everything: Bool = false, capacity: UInt64 = Bench.size
    ) -> Bench {
        let bench = Bench.secondary()
        bench.breakLink()
        bench.peerRun = RunID(rawValue: 0x901)
        let theirs = bench.peerState {
            $0.goesOnAlone(in: 40)
            $0.isPrimary = true
            $0.dirtyBlocks = 4
            $0.capacity = capacity
            if everything { $0.base = .everything(InstanceID(rawValue: 1)) }
        }
        #expect(bench.meet(theirs) == (everything ? .targetOfEverything : .targetOfMarked))
        bench.hear(.presence(Presence(role: .primary, disk: .upToDate, mark: .none, resyncPaused: false)))
        let proposal = Proposal(volume: theirs.volume, record: theirs.record, current: theirs.current)
        bench.hear(.resyncBegin(proposal, everything: everything))
        if !bench.held.contains(.superblock), !runs.isEmpty { bench.hear(.bitmapRuns(runs)) }
        return bench
    }

    private func pulls(_ bench: Bench, since start: Int = 0) -> [(id: UInt64, range: ByteRange)] {
        bench.messages(since: start).compactMap { if case .pull(let id, let range) = $0 { (id, range) } else { nil } }
    }

    private func deliverAll(_ bench: Bench) {
        var done = 0
        while true {
            let all = pulls(bench)
            guard done < all.count else { return }
            for pull in all[done...] { bench.hearPullData(pull.id, pull.range) }
            done = all.count
        }
    }

    /// An earlier build marks all of a disk that is larger than the volume, and lets nobody join before all of it was taken.
    @Test func `what an earlier build marks behind the volume's end is asked for and thrown away`() {
        let end = Bench.size / 4096
        let runs = [BlockRun(first: end - 2, count: 5), BlockRun(first: end + 3, count: 3000)]
        let bench = target(runs: runs, capacity: Bench.size + (64 << 20))
        bench.hear(.bitmapEnd)
        let first = pulls(bench).filter { $0.range.offset >= Bench.size }
        // One that cannot be read there is asked for again.
        #expect(!first.isEmpty)
        bench.hear(.pullFailed(id: first[0].id))
        var done: Set<UInt64> = [first[0].id]
        for _ in 0..<20 {
            for pull in pulls(bench) where !done.contains(pull.id) {
                done.insert(pull.id)
                bench.hearPullData(pull.id, pull.range)
            }
            bench.pass(milliseconds: Timing().cutOff / 1_000_000 + 10)
        }
        let asked = pulls(bench).filter { done.contains($0.id) && $0.id != first[0].id }.map(\.range.blocks)
        #expect(Set(asked.flatMap { Array($0) }) == Set(end - 2..<end + 3003))
        #expect(bench.messages().contains(.resyncComplete))
        #expect(
            bench.position { if case .writing(let range) = $0 { range.end > Bench.size } else { false } } == nil)
        bench.expectNothingLeft()
    }

    @Test func `marks behind what the source's disk can hold end the session`() {
        let end = Bench.size / 4096
        for (run, capacity) in [
            (BlockRun(first: end, count: 5), Bench.size + 4 * 4096), (BlockRun(first: end - 1, count: 2), Bench.size),
            (BlockRun(first: Geometry.maximumVolumeSize / 4096, count: 1), .max),
            (BlockRun(first: end, count: .max), .max),
        ] {
            #expect(target(runs: [run], everything: true, capacity: capacity).session.isNone, "\(run) of \(capacity)")
        }
    }

    @Test func `what the source cannot read stays marked, and is asked for now and then in the same session`() throws {
        let bench = target(runs: [BlockRun(first: 10, count: 4), BlockRun(first: 20, count: 2)])
        bench.hear(.bitmapEnd)
        let session = bench.session
        let first = pulls(bench)
        #expect(first.map(\.range) == [ByteRange(blocks: 10..<14), ByteRange(blocks: 20..<22)])
        var start = bench.moments.count
        bench.hear(.pullFailed(id: first[0].id))
        bench.hearPullData(first[1].id, first[1].range)
        // Block by block, so that only those stay that cannot be read.
        let second = pulls(bench, since: start)
        #expect(second.map(\.range) == (10..<14).map { ByteRange(blocks: $0..<$0 + 1) })
        for pull in second {
            if pull.range.offset == 12 * 4096 {
                bench.hear(.pullFailed(id: pull.id))
            } else {
                bench.hearPullData(pull.id, pull.range)
            }
        }
        #expect(bench.core.isMarked(block: 12, toward: alpha) && !bench.core.isMarked(block: 11, toward: alpha))
        start = bench.moments.count
        for _ in 0..<3 {
            let seen = bench.moments.count
            bench.pass(milliseconds: Timing().cutOff / 1_000_000 + 10)
            let again = pulls(bench, since: seen)
            #expect(again.map(\.range) == [ByteRange(blocks: 12..<13)])
            bench.hear(.pullFailed(id: try #require(again.last).id))
        }
        #expect(bench.session == session)
        #expect(!bench.messages(since: start).contains(.resyncComplete))
        bench.pass(milliseconds: Timing().cutOff / 1_000_000 + 10)
        let last = try #require(pulls(bench).last)
        bench.hearPullData(last.id, last.range)
        #expect(bench.messages(since: start).contains(.resyncComplete))
        bench.expectNothingLeft()
    }

    @Test func `a resync asks for little at first, for more as that comes, and for little again when clients write`() {
        let bench = target(runs: [BlockRun(first: 0, count: 4096)])
        bench.pass(milliseconds: 200)
        bench.hear(.bitmapEnd)
        let limits = Limits()
        #expect(pulls(bench).map(\.range.length).reduce(0, +) == limits.resyncWindowUnderLoad)
        var done = 0
        while pulls(bench).last?.range.length != limits.resyncPiece, done < 20 {
            let next = pulls(bench)[done]
            bench.hearPullData(next.id, next.range)
            done += 1
        }
        #expect(done < 20)
        bench.hearWrite(1, block: 5000)
        var start = bench.moments.count
        for pull in pulls(bench)[done...] { bench.hearPullData(pull.id, pull.range) }
        let gentle = pulls(bench, since: start)
        #expect(gentle.map(\.range.length).reduce(0, +) == limits.resyncWindowUnderLoad)
        #expect(gentle.allSatisfy { $0.range.length == limits.resyncPieceUnderLoad })
        bench.pass(milliseconds: limits.resyncGivesWay / 1_000_000 + 1)
        start = bench.moments.count
        bench.hearPullData(gentle[0].id, gentle[0].range)
        let more = pulls(bench, since: start)
        #expect(more.allSatisfy { $0.range.length > limits.resyncPieceUnderLoad })
        #expect(more.map(\.range.length).reduce(0, +) == 3 * limits.resyncPieceUnderLoad)
    }

    @Test func `a source that can read nothing is not asked for each block at once`() {
        let bench = target(runs: [BlockRun(first: 0, count: 4096)])
        bench.hear(.bitmapEnd)
        var asked = 0
        let start = bench.moments.count
        for _ in 0..<4000 {
            let all = pulls(bench)
            for pull in all[asked...] { bench.hear(.pullFailed(id: pull.id)) }
            asked = all.count
            bench.pass(milliseconds: 5)
        }
        // 20 seconds: the window of the beginning, then sixteen each time.
        #expect(asked < 130)
        #expect(!bench.moments[start...].contains { if case .sessionEnded = $0 { true } else { false } })
        #expect(bench.core.isMarked(block: 7, toward: alpha))
    }

    @Test func `a target is durably inconsistent before it says that it is ready`() throws {
        let bench = Bench.secondary()
        bench.breakLink()
        bench.peerRun = RunID(rawValue: 0x901)
        let theirs = bench.peerState { $0.goesOnAlone(in: 40) }
        #expect(bench.meet(theirs) == .targetOfMarked)
        // It is behind, which is durable before anything is copied: it is not to be promoted should the peer vanish.
        #expect(bench.stable.flags.contains(.outdated))
        #expect(!bench.stable.flags.contains(.inconsistent))
        bench.held = [.superblock]
        bench.hear(
            .resyncBegin(
                Proposal(volume: theirs.volume, record: theirs.record, current: theirs.current), everything: false))
        #expect(!bench.messages().contains(.resyncReady))
        bench.letGo(.superblock)
        #expect(bench.messages().contains(.resyncReady))
        #expect(bench.stable.flags.contains(.inconsistent))
        #expect(bench.stable.record == theirs.record)
        #expect(bench.stable.required == NodeSet(alpha))
        let durable = try #require(
            bench.position { if case .stable(let state) = $0 { state.flags.contains(.inconsistent) } else { false } })
        #expect(try durable < #require(bench.position(of: .sent(.resyncReady))))
    }

    @Test func `it pulls what is marked on either side, once it knows all runs`() {
        let bench = Bench.secondary()
        bench.hearWrite(1, block: 700)
        bench.breakLink()
        bench.peerRun = RunID(rawValue: 0x901)
        let theirs = bench.peerState { $0.goesOnAlone(in: 40) }
        bench.meet(theirs)
        bench.hear(
            .resyncBegin(
                Proposal(volume: theirs.volume, record: theirs.record, current: theirs.current), everything: false))
        bench.hear(.bitmapRuns([BlockRun(first: 10, count: 4), BlockRun(first: 1022, count: 4)]))
        #expect(pulls(bench).isEmpty)
        bench.hear(.bitmapEnd)
        let ranges = pulls(bench).map(\.range)
        // Cut at the extent's end; the block that only this side had written is among them.
        let wanted = [10..<14, 700..<701, 1022..<1024, 1024..<1026] as [Range<UInt64>]
        #expect(ranges == wanted.map { ByteRange(blocks: $0) })
    }

    @Test func `a block stays marked until a flush covers it, and only then the source hears so`() {
        let bench = target()
        bench.hear(.bitmapEnd)
        bench.held = [.flush]
        deliverAll(bench)
        bench.pass(milliseconds: 1)
        #expect(bench.core.isMarked(block: 10, toward: alpha))
        #expect(!bench.messages().contains { if case .resyncFlushed = $0 { true } else { false } })
        bench.letGo(.flush)
        #expect(!bench.core.isMarked(block: 10, toward: alpha))
        #expect(bench.messages().contains(.resyncFlushed(pulls: 1, writes: 0)))
        #expect(bench.messages().last == .resyncComplete)
    }

    @Test func `a flush speaks of no pull and no frame that was in flight when it began`() {
        let bench = target(runs: [BlockRun(first: 0, count: 512)])
        bench.hear(.bitmapEnd)
        let asked = pulls(bench)
        #expect(asked.count >= 2)
        bench.hearWrite(7, block: 2000)
        bench.held = [.write]
        bench.hearWrite(8, block: 2001)
        bench.held = []
        // All but the first: more than the bytes after which the target flushes.
        var done = 1
        while done < pulls(bench).count {
            let pull = pulls(bench)[done]
            bench.hearPullData(pull.id, pull.range)
            done += 1
        }
        bench.pass(milliseconds: 1100)
        bench.hear(.ping(1))
        for case .resyncFlushed(let through, let writes) in bench.messages() {
            #expect(through == 0)
            #expect(writes <= 7)
        }
    }

    @Test func `frames and resync data of one block are applied in the order of their arrival`() {
        let bench = target()
        bench.hear(.bitmapEnd)
        guard let pull = pulls(bench).first else {
            Issue.record("nothing was asked for")
            return
        }
        bench.held = [.write]
        bench.hearPullData(pull.id, pull.range)
        bench.hearWrite(3, block: 11)
        let writing = { bench.moments.filter { if case .writing = $0 { true } else { false } } }
        #expect(writing().count == 1)
        bench.letGo(.write, onlyFirst: true)
        #expect(writing() == [.writing(pull.range), .writing(ByteRange(blocks: 11..<12))])
    }

    @Test func `what was not asked for ends the session`() {
        let bench = target()
        bench.hear(.bitmapEnd)
        bench.hearPullData(99, ByteRange(blocks: 3..<4))
        #expect(bench.session.isNone)
        bench.expectNothingLeft()
        let beyond = target(runs: [BlockRun(first: Bench.size / 4096 - 1, count: 2)])
        #expect(beyond.session.isNone)
    }

    @Test func `it joins by one superblock write that takes line, record and flags together`() throws {
        let bench = target()
        bench.hear(.bitmapEnd)
        deliverAll(bench)
        var record = bench.core.durableState.record
        record.number.index += 1
        record.inStep = NodeSet(alpha, beta)
        record.instances[beta] = instance(of: beta)
        let line = bench.peerState()
        let offer = JoinOffer(
            volume: line.volume, record: record, current: generation(40), history: bench.core.durableState.history,
            bases: PerNode(repeating: .inStep))
        bench.held = [.superblock]
        let start = bench.moments.count
        bench.hear(.joinOffer(offer))
        #expect(!bench.messages(since: start).contains { if case .accepted = $0 { true } else { false } })
        bench.letGo(.superblock)
        #expect(
            bench.messages(since: start).contains { if case .accepted(record.number, _) = $0 { true } else { false } })
        // What came before is flushed first.
        #expect(
            try #require(bench.position(of: .flushed, after: start)) < #require(
                bench.position(after: start) {
                    if case .stable = $0 { true } else { false }
                }))
        #expect(bench.stable.record == record)
        #expect(bench.stable.current.id == GenerationID(rawValue: 40))
        #expect(bench.stable.flags.isDisjoint(with: [.inconsistent, .suspect, .outdated]))
        #expect(bench.stable.peers[alpha].base == .inStep)
        // Not even by force is it promoted under a record that the other has yet to hear of.
        bench.hear(.presence(Presence(role: .secondary, disk: .upToDate, mark: .none, resyncPaused: false)))
        let promotion = bench.promote(force: true)
        #expect(bench.end(of: promotion) == nil)
        #expect(!bench.core.isPrimary)
        bench.hear(.chosen(record.number))
        #expect(bench.core.diskState == .upToDate)
        #expect(try #require(bench.proposal).record.primary == beta)
    }

    @Test func `an offer to join that comes too early is not taken`() {
        let bench = target()
        bench.hear(.bitmapEnd)
        var record = bench.core.durableState.record
        record.number.index += 1
        record.inStep = NodeSet(alpha, beta)
        bench.hear(
            .joinOffer(
                JoinOffer(
                    volume: bench.stable.volume, record: record, current: generation(40), history: [],
                    bases: PerNode(repeating: .inStep))))
        #expect(bench.session.isNone)
        #expect(bench.stable.flags.contains(.inconsistent))
    }

    @Test func `a target is neither promoted nor read`() {
        let bench = target()
        bench.hear(.presence(Presence(role: .secondary, disk: .upToDate, mark: .none, resyncPaused: false)))
        #expect(bench.end(of: bench.promote()).map { $0 != "done" } == true)
        bench.hear(.read(id: 1, range: ByteRange(blocks: 0..<1)))
        #expect(bench.messages().last == .readFailed(id: 1))
        bench.breakLink()
        #expect(bench.end(of: bench.promote()) == "inconsistent")
    }

    @Test func `many frames during a long resync are taken like any others`() {
        let bench = target()
        for sequence in 1...400 as ClosedRange<UInt64> {
            bench.hearWrite(sequence, block: sequence % 8 * 1024 + sequence)
        }
        #expect(!bench.session.isNone)
        #expect(bench.messages().filter { if case .written(_, true) = $0 { true } else { false } }.count == 400)
        bench.expectNothingLeft()
    }

    @Test func `after a break only what is left is pulled`() {
        let bench = target(runs: [BlockRun(first: 10, count: 4), BlockRun(first: 20, count: 1)])
        bench.hear(.bitmapEnd)
        let asked = pulls(bench)
        bench.hearPullData(asked[0].id, asked[0].range)
        bench.breakLink()
        #expect(bench.stable.flags.contains(.inconsistent))
        let start = bench.moments.count
        let theirs = bench.peerState {
            $0.current = generation(40)
            $0.history.insert(bench.core.durableState.current, at: 0)
            $0.base = .since(bench.core.durableState.current.id)
            $0.record.inStep = NodeSet(alpha)
        }
        #expect(bench.meet(theirs) == .targetOfMarked)
        var again = theirs.record
        again.number.index += 1
        bench.hear(
            .resyncBegin(Proposal(volume: theirs.volume, record: again, current: theirs.current), everything: false))
        bench.hear(.bitmapRuns([BlockRun(first: 20, count: 1)]))
        bench.hear(.bitmapEnd)
        let ranges = pulls(bench, since: start).map(\.range)
        #expect(ranges.contains(ByteRange(blocks: 20..<21)))
    }

    @Test func `everything is pulled when everything is asked for`() {
        let bench = target(runs: [], everything: true)
        bench.hear(.bitmapEnd)
        deliverAll(bench)
        let blocks = pulls(bench).reduce(0) { $0 + $1.range.length } / 4096
        #expect(blocks == Bench.size / 4096)
        #expect(bench.messages().last == .resyncComplete)
    }

    @Test func `a paused resync asks for nothing and goes on where it was`() {
        let bench = target()
        bench.command(.pauseResync)
        bench.hear(.bitmapEnd)
        #expect(pulls(bench).isEmpty)
        bench.command(.resumeResync)
        #expect(pulls(bench).map(\.range) == [ByteRange(blocks: 10..<14)])
    }

    @Test func `a source of more than the disk has room for is left`() {
        let bench = Bench.secondary()
        bench.breakLink()
        bench.peerRun = RunID(rawValue: 0x901)
        var theirs = bench.peerState { $0.goesOnAlone(in: 40) }
        #expect(bench.meet(theirs) == .targetOfMarked)
        theirs.record.size = Bench.size + 4096
        bench.hear(
            .resyncBegin(
                Proposal(volume: theirs.volume, record: theirs.record, current: theirs.current), everything: false))
        #expect(!bench.messages().contains(.resyncReady))
        #expect(bench.session.isNone)
        #expect(bench.core.volumeSize == Bench.size)
    }
}
