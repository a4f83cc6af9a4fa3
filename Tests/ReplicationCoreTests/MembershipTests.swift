import Model
import ReplicationCore
import Testing

/// Nodes that the configuration names no more, or again (`hablk adjust`).
@Suite struct MembershipTests {
    private let all = NodeSet(alpha, beta).inserting(gamma)

    @Test func `a departed copy and its vote go by one record, though nobody writes`() {
        let bench = VoterBench.primary()
        let start = bench.sent.count
        let id = bench.adjust(naming: [alpha, beta])
        #expect(bench.outcomes[id] == .done("vol: removed gamma"))
        #expect(!bench.hasSession(gamma))
        #expect(bench.messages(to: gamma, since: start).isEmpty)
        #expect(bench.proposal?.record.inStep == NodeSet(alpha, beta))
        #expect(bench.proposal?.record.voters == NodeSet(alpha, beta))
        bench.accept(from: beta)
        let status = bench.core.status(at: bench.now)
        #expect(status.inStep == ["alpha", "beta"])
        #expect(status.votes?.voters == ["alpha", "beta"])
        #expect(status.votes?.isDecided == true)
        #expect(status.peers.map(\.node) == ["beta"])
    }

    @Test func `a vote without which the record could not be chosen stays`() {
        let bench = VoterBench.primary()
        bench.leave(beta)
        bench.adjust(naming: [alpha, beta])
        #expect(bench.stable.record.inStep == NodeSet(alpha, beta))
        #expect(bench.stable.record.voters == all)
    }

    @Test func `a witness's vote goes by a record of its own`() {
        let bench = VoterBench(alpha) {
            $0.record.inStep = NodeSet(alpha, beta)
            $0.required = NodeSet(alpha, beta)
        }
        for node in [beta, gamma] { bench.meet(node) }
        bench.becomePrimary()
        bench.adjust(naming: [alpha, beta])
        #expect(bench.proposal?.record.voters == NodeSet(alpha, beta))
        #expect(bench.proposal?.record.inStep == NodeSet(alpha, beta))
        bench.accept(from: beta)
        #expect(bench.stable.record.voters == NodeSet(alpha, beta))
    }

    @Test func `who comes back before the record let it go is a member still`() {
        let bench = VoterBench.primary()
        bench.leave(beta)
        bench.adjust(naming: [alpha, beta])
        bench.adjust(naming: [alpha, beta, gamma])
        #expect(bench.core.status(at: bench.now).peers.map(\.node) == ["beta", "gamma"])
        bench.meet(gamma)
        #expect(bench.hasSession(gamma))
        #expect(bench.stable.required.contains(gamma))
    }

    @Test func `of a copy that is not in the configuration nothing is known`() {
        let bench = VoterBench(alpha, naming: [alpha, beta]) {
            $0.record.inStep = NodeSet(alpha, beta)
            $0.required = NodeSet(alpha, beta)
            $0.peers[gamma].base = .since(GenerationID(rawValue: 8))
        }
        #expect(bench.stable.peers[gamma].base == .everything(.none))
        #expect(bench.stable.peers[beta].base == .inStep)
    }

    @Test func `a member that is not in the configuration any more is tracked until a record lets it go`() {
        let bench = VoterBench(alpha, naming: [alpha, beta])
        #expect(bench.stable.peers[gamma].base == .inStep)
        bench.meet(beta)
        bench.becomePrimary()
        bench.pass(milliseconds: 100)
        #expect(bench.proposal?.record.inStep == NodeSet(alpha, beta))
        #expect(bench.proposal?.record.voters == NodeSet(alpha, beta))
        bench.accept(from: beta)
        #expect(bench.stable.peers[gamma].base != .inStep)
    }

    @Test func `an adjustment is answered once its bitmaps' places are durable`() {
        let bench = VoterBench(alpha, naming: [alpha, beta]) {
            $0.record.inStep = NodeSet(alpha, beta)
            $0.required = NodeSet(alpha, beta)
        }
        bench.held = [.superblock]
        let id = bench.adjust(naming: [alpha, beta, gamma])
        #expect(bench.outcomes[id] == nil)
        bench.letGo(.superblock)
        #expect(bench.outcomes[id] == .done("vol: added gamma"))
    }
}
