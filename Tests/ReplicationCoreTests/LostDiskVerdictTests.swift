import Model
import ReplicationCore
import Testing

/// What a run remembers of a disk that it no longer has, and what the next run on that disk does not know.
@Suite struct LostDiskVerdictTests {
    private func judge(_ one: HandshakeState, _ other: HandshakeState) -> HandshakeVerdict {
        let here = HandshakeVerdict.judge(mine: one, theirs: other)
        let there = HandshakeVerdict.judge(mine: other, theirs: one)
        #expect(there == .init(here.outcome.mirrored, because: here.rule))
        return here
    }

    @Test func `who lost its disk remembers the other's, and is not served by an older one`() {
        let bare = copyState(of: alpha) { $0.hasDisk = false }
        #expect(judge(bare, copyState(of: beta)) == .init(.carried, because: .oneDiskless))
        let older = copyState(of: beta) {
            $0.mark = StartMark(startNumber: 4, sequence: 101)
            $0.foundSequence = 99
        }
        #expect(judge(bare, older) == .init(.parted, because: .rolledBack))
        let primary = copyState(of: alpha) {
            $0.hasDisk = false
            $0.isPrimary = true
            $0.record.inStep = NodeSet(beta)
        }
        #expect(judge(primary, older) == .init(.parted, because: .rolledBack))
        #expect(judge(disklessState(of: alpha), older) == .init(.carried, because: .oneDiskless))
    }

    @Test func `who lost its disk is not served by a copy that lacks its line, of whatever lineage`() {
        let bare = copyState(of: alpha) { $0.hasDisk = false }
        var other = copyState(of: beta) { $0.current = generation(8) }
        #expect(judge(bare, other) == .init(.refused, because: .lostLine))
        other.record.lineage = LineageID(rawValue: 78)
        #expect(judge(bare, other) == .init(.refused, because: .lostLine))
        let forced = copyState(of: beta) {
            $0.goesOnAlone(in: 10)
            $0.record.lineage = LineageID(rawValue: 78)
        }
        #expect(judge(bare, forced) == .init(.carried, because: .oneDiskless))
    }

    @Test func `a term takes back only what a run made that had its disk`() {
        let maker = copyState(of: alpha) {
            $0.goesOnAlone(in: 11)
            $0.record.number = RecordNumber(term: Term(counter: 5, node: alpha), index: 2)
        }
        var other = copyState(of: beta) {
            $0.goesOnAlone(in: 10)
            $0.record.number = RecordNumber(term: Term(counter: 5, node: alpha), index: 1)
        }
        #expect(judge(maker, other) == .init(.sourceOfMarked, because: .supersededRecord))
        // Made when the maker had lost its disk: what was acknowledged under it, that disk does not know.
        other.record.instances[alpha] = .none
        #expect(judge(maker, other) == .init(.parted, because: .splitBrain))
    }

    @Test func `in one generation the copy that lost its cache is filled by one called outdated`() {
        let suspect = copyState(of: beta) { $0.flags.insert(.suspect) }
        let outdated = copyState(of: alpha) {
            $0.flags.insert(.outdated)
            $0.dirtyBlocks = 1
        }
        #expect(judge(outdated, suspect) == .init(.sourceOfMarked, because: .oneSuspect))
    }
}
