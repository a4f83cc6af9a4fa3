import Model
import ReplicationCore
import Testing

/// A copy that was put back as it was, and what both sides keep in mind of that.
@Suite struct PutBackTests {
    /// `alpha`, alone in step, was told `seen` by `beta` once.
    private func remembering() -> Bench {
        let bench = Bench.primary()
        bench.hear(.confirm(sequence: 0, mark: StartMark(startNumber: 3, sequence: 61), settled: false))
        bench.hear(.goodbye(.stopping))
        bench.ask(0, .write, block: 5)
        #expect(bench.stable.record.inStep == NodeSet(alpha))
        bench.peerRun = RunID(rawValue: 0x901)
        return bench
    }

    /// `beta`, put back to half of what it was and started once: its last number is as high as the remembered one.
    private func putBack(_ bench: Bench) -> HandshakeState {
        bench.peerState {
            $0.current = bench.core.durableState.history[0]
            $0.history = Array(bench.core.durableState.history.dropFirst())
            $0.record.number.index = 1
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
        #expect(bench.stable.peers[beta].seen == StartMark(startNumber: 4, sequence: 61))
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

        let half = Bench(beta, superblock: Self.halfFilled())
        let source = half.peerState {
            $0.seenInstance = instance(of: beta)
            $0.seen = StartMark(startNumber: 9, sequence: 9000)
            $0.record.inStep = NodeSet(alpha)
        }
        #expect(half.meet(source) == .targetOfEverything)
        #expect(half.stable.flags.isSuperset(of: [.outdated, .rolledBack, .inconsistent]))
    }

    private static func halfFilled() -> Superblock {
        var superblock = Bench.secondary().stable
        superblock.flags = [.inconsistent, .outdated]
        superblock.record.inStep = NodeSet(alpha)
        superblock.required = NodeSet(alpha)
        return superblock
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
        #expect(bench.end(of: bench.promote(force: true)) == "done")
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
