import Model
import ReplicationCore
import Testing

/// The numbers of a copy that may have been put back as it was, with quorum.
@Suite struct VoterNumbersTests {
    @Test func `what a run says before a verdict looked at it is not remembered of it`() {
        let bench = VoterBench(alpha) {
            $0.record.inStep = NodeSet(alpha, gamma)
            $0.required = NodeSet(alpha, gamma)
            $0.peers[beta].base = .since(GenerationID(rawValue: 8))
            $0.peers[beta].seenInstance = instance(of: beta)
            $0.peers[beta].seen = StartMark(startNumber: 9, sequence: 500)
        }
        bench.meet(gamma)
        bench.open(beta)
        bench.becomePrimary()
        bench.leave(beta)
        bench.open(beta)
        bench.hear(
            .accepted(bench.stable.record.number, mark: StartMark(startNumber: 10, sequence: 490)), from: beta)
        #expect(bench.core.durableState.peers[beta].seen == StartMark(startNumber: 9, sequence: 500))
    }
}
