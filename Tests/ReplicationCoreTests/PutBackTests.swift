import Model
import ReplicationCore
import Testing

/// A copy that was put back as it was, and what both sides keep in mind of that.
@Suite struct PutBackTests {
    /// `alpha`, alone in step, was told `seen` by `beta` once.
    private func remembering() -> Bench {
        let bench = Bench.primary()
        bench.hear(.confirm(sequence: 0, mark: StartMark(startNumber: 3, sequence: 61), settled: false))
        bench.goOnAlone(writing: 5)
        return bench
    }

    /// `beta`, put back to half of what it was and started once: its last number is as high as the remembered one.
    private func putBack(_ bench: Bench) -> HandshakeState {
        bench.stateLeftBehind {
            $0.record.inStep = NodeSet(alpha)
            $0.flags = [.inconsistent]
            $0.mark = StartMark(startNumber: 4, sequence: 61)
            $0.foundSequence = 60
        }
    }

    @Test func `a source remembers the old numbers until everything is marked`() {
        let bench = remembering()
        bench.held = [.page]
        #expect(bench.meet(putBack(bench)) == .sourceOfEverything)
        bench.hear(.confirm(sequence: 0, mark: StartMark(startNumber: 4, sequence: 62), settled: false))
        bench.breakLink()
        #expect(bench.core.durableState.peers[beta].seen == StartMark(startNumber: 3, sequence: 61))
        bench.held = []
        bench.letGo(.page)
        #expect(bench.meet(putBack(bench)) == .sourceOfEverything)
        #expect(bench.stable.peers[beta].base == .everything(instance(of: beta)))
        #expect(bench.stable.peers[beta].seen == StartMark(startNumber: 3, sequence: 61))
    }

    @Test func `put back to the same image while it is filled it is noticed again`() {
        let half = Self.halfFilled()
        #expect(half.stable.startNumber > 9 && half.stable.sequence > 9000)
        half.breakLink()
        half.peerRun = RunID(rawValue: 0x901)
        // It says so itself: nobody needs its numbers any more, until it is put back once more.
        half.open()
        let told = half.told
        #expect(told?.flags.contains(.rolledBack) == true)
        #expect(told.map { $0.mark.startNumber > 9 && $0.mark.sequence > 9000 } == true)

        let bench = remembering()
        #expect(bench.meet(putBack(bench)) == .sourceOfEverything)
        bench.hear(.resyncReady)
        bench.breakLink()
        bench.peerRun = RunID(rawValue: 0x902)
        #expect(bench.meet(putBack(bench)) == .sourceOfEverything)
    }

    @Test func `what a copy that was put back tells before it is ready to be filled is not remembered`() {
        let bench = remembering()
        #expect(bench.meet(putBack(bench)) == .sourceOfEverything)
        bench.hear(.accepted(RecordNumber(term: .zero, index: 9), mark: StartMark(startNumber: 4, sequence: 70)))
        bench.breakLink()
        bench.open()
        bench.hear(.accepted(RecordNumber(term: .zero, index: 9), mark: StartMark(startNumber: 4, sequence: 71)))
        #expect(bench.core.durableState.peers[beta].seen == StartMark(startNumber: 3, sequence: 61))
    }

    @Test func `a number that leaves no room to count on is not outbid`() {
        let half = Self.halfFilled(seen: StartMark(startNumber: 1 << 62, sequence: 1 << 62))
        #expect(half.stable.flags.contains(.rolledBack))
        #expect(half.stable.startNumber < 1 << 61 && half.stable.sequence < 1 << 61)
    }

    @Test func `put back and promoted before it met anybody, it stays what it is when it is demoted`() {
        let bench = Bench.secondary()
        bench.breakLink()
        var superblock = bench.stable
        superblock.record.primary = nil
        let old = Bench(beta, superblock: superblock)
        let theirs = old.peerState {
            $0.seenInstance = instance(of: beta)
            $0.seen = StartMark(startNumber: 9, sequence: 9000)
        }
        old.pass(milliseconds: 7000)
        #expect(old.end(of: old.promote(fenced: alpha)) == "done")
        #expect(old.meet(theirs) == .parted)
        old.ask(0, .write, block: 3)
        #expect(old.end(of: old.demote()) == "done")
        #expect(old.stable.flags.isSuperset(of: [.outdated, .rolledBack]))
        #expect(old.end(of: old.promote()) == "outdated")
        #expect(old.end(of: old.promote(force: true)) == "done")
        #expect(old.stable.flags.isDisjoint(with: [.outdated, .rolledBack]))
    }

    @Test func `a copy that is to be filled since it was put back says so itself`() {
        let bench = Bench.secondary()
        let theirs = bench.peerState {
            $0.seenInstance = instance(of: beta)
            $0.seen = StartMark(startNumber: 9, sequence: 9000)
        }
        bench.breakLink()
        bench.peerRun = RunID(rawValue: 0x901)
        #expect(bench.meet(theirs) == .parted)
        #expect(bench.stable.flags.isSuperset(of: [.outdated, .rolledBack]))

        let half = Self.halfFilled()
        #expect(half.stable.flags.isSuperset(of: [.outdated, .rolledBack, .inconsistent]))
    }

    /// `beta`, put back to the middle of being filled, is told so by its source and is filled anew.
    private static func halfFilled(seen: StartMark = StartMark(startNumber: 9, sequence: 9000)) -> Bench {
        var superblock = Bench.secondary().stable
        superblock.flags = [.inconsistent, .outdated]
        superblock.record.inStep = NodeSet(alpha)
        superblock.required = NodeSet(alpha)
        let half = Bench(beta, superblock: superblock)
        let source = half.peerState {
            $0.seenInstance = instance(of: beta)
            $0.seen = seen
            $0.record.inStep = NodeSet(alpha)
        }
        #expect(half.meet(source) == .targetOfEverything)
        return half
    }

    @Test func `promoted by force it outbids what is remembered of it, and fills the other from the beginning`() {
        var superblock = Bench.secondary().stable
        superblock.flags = [.outdated, .rolledBack]
        let bench = Bench(beta, superblock: superblock)
        #expect(bench.end(of: bench.promote()) == "outdated")
        let other = bench.peerState {
            $0.seenInstance = instance(of: beta)
            $0.seen = StartMark(startNumber: 9, sequence: 9000)
            $0.current = Generation(id: .none, node: alpha, began: 0)
            $0.flags = [.inconsistent]
        }
        #expect(bench.meet(other) == .parted)
        #expect(bench.end(of: bench.promote(force: true)) == "done")
        bench.command(.connect(peer: nil, discardMyData: false, dryRun: false, deadline: bench.now))
        #expect(bench.stable.record.inStep == NodeSet(beta))
        #expect(bench.stable.flags.isDisjoint(with: [.outdated, .rolledBack]))
        #expect(bench.meet(other) == .sourceOfEverything)
        // The other way round, too: what it lacks is written nowhere.
        #expect(bench.stable.peers[alpha].base != .inStep)
        bench.expectNothingLeft()
    }

    @Test func `with quorum a copy that is put back once more while it is filled is filled from the beginning`() {
        let source = copyState(of: alpha) {
            $0.isPrimary = true
            $0.record.primary = alpha
            $0.record.inStep = NodeSet(alpha)
            $0.base = .everything(instance(of: beta))
            $0.seen = StartMark(startNumber: 3, sequence: 200)
        }
        let target = copyState(of: beta) {
            $0.record = source.record
            $0.flags = [.inconsistent, .rolledBack]
            $0.mark = StartMark(startNumber: 3, sequence: 200)
        }
        #expect(HandshakeVerdict.judgeByRecord(mine: source, theirs: target).outcome == .sourceOfMarked)
        var again = target
        again.mark.sequence = 150
        #expect(HandshakeVerdict.judgeByRecord(mine: source, theirs: again).outcome == .sourceOfEverything)
        #expect(HandshakeVerdict.judgeByRecord(mine: again, theirs: source).outcome == .targetOfEverything)
    }
}
