import Model
import ReplicationCore
import Testing

/// What a term and its leases allow (`6-protocol`, READ and ACK), among three voters.
@Suite struct VoterLeaseTests {
    private func higher(_ node: NodeID) -> PeerMessage {
        let bench = VoterBench(node)
        return .standing(bench.standing(of: node) { $0.promised = Term(counter: 9, node: node) })
    }

    /// `beta`, following `alpha`, who is primary.
    private func follower() -> VoterBench {
        let bench = VoterBench(beta) { $0.record.primary = alpha }
        bench.meet(alpha) { $0.isPrimary = true }
        bench.hear(.chosen(bench.stable.record.number), from: alpha)
        bench.meet(gamma)
        return bench
    }

    private func zero(_ sequence: UInt64) -> PeerMessage {
        .zero(sequence: sequence, range: ByteRange(offset: 0, length: 4096), trim: false)
    }

    @Test func `a read is answered under the lease of each member only`() {
        for members in [[], [beta]] as [Set<NodeID>] {
            let bench = VoterBench.primary()
            bench.ponging = members
            bench.pass(milliseconds: 2500)
            bench.ask(0, .read)
            #expect(bench.replies[0] == nil)
        }
    }

    @Test func `a lease counts from the sending of the ping`() {
        let bench = VoterBench.primary()
        bench.ponging = []
        let start = bench.sent.count
        bench.pass(milliseconds: 1300)
        for node in [beta, gamma] {
            for case .ping(let number) in bench.messages(to: node, since: start).prefix(1) {
                bench.hear(.pong(number), from: node)
            }
        }
        bench.pass(milliseconds: 1350)
        bench.ask(0, .read)
        #expect(bench.replies[0] == nil)
    }

    @Test func `a read whose data comes after a higher promise is not answered`() {
        let bench = VoterBench.primary()
        bench.held = [.read]
        bench.ask(0, .read)
        bench.hear(higher(gamma), from: gamma)
        bench.letGo(.read)
        #expect(bench.replies[0] == nil)
    }

    @Test func `a write that is complete after a higher promise is not answered`() {
        let bench = VoterBench.primary()
        bench.ask(0, .write)
        bench.hear(higher(gamma), from: gamma)
        for node in [beta, gamma] { bench.hear(.written(sequence: 1, succeeded: true), from: node) }
        #expect(bench.replies[0] == nil)
    }

    @Test func `a write that is complete when the lease is over waits for the next answer`() {
        let bench = VoterBench.primary()
        bench.held = [.write]
        bench.ask(0, .write)
        for node in [beta, gamma] { bench.hear(.written(sequence: 1, succeeded: true), from: node) }
        bench.ponging = []
        for _ in 0..<3 {
            bench.pass(milliseconds: 900)
            for node in [beta, gamma] { bench.hear(.ping(1), from: node) }
        }
        bench.letGo(.write)
        #expect(bench.replies[0] == nil)
        for node in [beta, gamma] {
            for case .ping(let number) in bench.messages(to: node).suffix(1) { bench.hear(.pong(number), from: node) }
        }
        #expect(bench.replies[0] == .done)
    }

    @Test func `a record that names a primary counts as an answer to its ping`() {
        let bench = VoterBench(beta)
        bench.meet(alpha)
        bench.meet(gamma)
        bench.pass(milliseconds: 5000)
        var record = bench.stable.record
        record.number = RecordNumber(term: Term(counter: 9, node: alpha), index: 1)
        record.primary = alpha
        let proposal = Proposal(volume: bench.stable.volume, record: record, current: bench.stable.current)
        bench.hear(.propose(proposal), from: alpha, under: record.number)
        #expect(bench.stable.record.primary == alpha)
        bench.leave(alpha)
        _ = bench.promote()
        bench.answerInquiry(from: gamma)
        bench.vote(from: gamma)
        bench.accept(from: gamma)
        #expect(bench.stable.record.primary == beta)
        bench.pass(milliseconds: 1900)
        #expect(!bench.core.isPrimary)
        bench.pass(milliseconds: 200)
        #expect(bench.core.isPrimary)
    }

    @Test func `whom the newest record names waits after its start, for it may have died before it served`() {
        let bench = VoterBench(alpha) { $0.record.primary = alpha }
        for node in [beta, gamma] { bench.meet(node) }
        _ = bench.promote()
        for node in [beta, gamma] { bench.answerInquiry(from: node) }
        for node in [beta, gamma] { bench.vote(from: node) }
        for node in [beta, gamma] { bench.accept(from: node) }
        #expect(bench.stable.record.primary == alpha)
        bench.pass(milliseconds: 1900)
        #expect(!bench.core.isPrimary)
        bench.pass(milliseconds: 200)
        #expect(bench.core.isPrimary)
    }

    @Test func `a vote of the newest record's primary ends no lease of the one before it`() {
        let bench = VoterBench(alpha) { $0.record.primary = gamma }
        bench.meet(beta)
        bench.meet(gamma)
        bench.pass(milliseconds: 5000)
        bench.open(gamma)
        bench.hear(.ping(7), from: gamma)
        bench.leave(gamma)
        bench.meet(beta)
        // It led without ever serving: its record is the newest.
        var record = bench.stable.record
        record.number = RecordNumber(term: Term(counter: 9, node: beta), index: 1)
        record.primary = beta
        let proposal = Proposal(volume: bench.stable.volume, record: record, current: bench.stable.current)
        bench.hear(.propose(proposal), from: beta, under: record.number)
        #expect(bench.stable.record.primary == beta)
        _ = bench.promote()
        var wasAsked = false
        for _ in 0..<40 where !wasAsked {
            bench.pass(milliseconds: 10)
            bench.answerInquiry(from: beta)
            wasAsked = bench.termAsked(of: beta) != nil
        }
        #expect(wasAsked)
        bench.vote(from: beta)
        bench.accept(from: beta)
        #expect(bench.stable.record.primary == alpha)
        #expect(!bench.core.isPrimary)
        bench.pass(milliseconds: 2100)
        #expect(bench.core.isPrimary)
    }

    @Test func `a successor without a disk waits for the lease of the members that voted`() {
        let bench = VoterBench(alpha) {
            $0.record.primary = NodeID(3)!
            $0.record.inStep = NodeSet(beta, gamma)
        }
        bench.meet(beta)
        bench.meet(gamma)
        bench.pass(milliseconds: 5000)
        bench.command(.detach(force: true))
        for node in [beta, gamma] { bench.open(node) }
        _ = bench.promote()
        for node in [beta, gamma] { bench.answerInquiry(from: node) }
        for node in [beta, gamma] { bench.vote(from: node) }
        for node in [beta, gamma] { bench.accept(from: node) }
        #expect(bench.proposal?.record.primary == alpha)
        bench.pass(milliseconds: 1900)
        #expect(!bench.core.isPrimary)
        bench.pass(milliseconds: 200)
        #expect(bench.core.isPrimary)
    }

    @Test func `a primary tells the voters that it is one`() {
        let bench = VoterBench.primary()
        let told = bench.messages(to: gamma).contains {
            if case .standing(let standing) = $0 { standing.isPrimary } else { false }
        }
        #expect(told)
    }

    @Test func `writes of the old term have ended when a voter answers`() {
        let bench = follower()
        bench.held = [.write]
        bench.hear(zero(1), from: alpha)
        bench.hear(.vote(Term(counter: 9, node: gamma)), from: gamma)
        #expect(bench.termVoted == nil)
        bench.letGo(.write)
        #expect(bench.termVoted == Term(counter: 9, node: gamma))
    }

    @Test func `a frame of a term below the promise is refused`() {
        let bench = follower()
        bench.hear(zero(1), from: alpha)
        #expect(bench.messages(to: alpha).contains(.written(sequence: 1, succeeded: true)))
        bench.hear(.vote(Term(counter: 9, node: gamma)), from: gamma)
        bench.hear(zero(2), from: alpha)
        #expect(!bench.messages(to: alpha).contains(.written(sequence: 2, succeeded: true)))
    }

    @Test func `what is remembered of a copy's numbers counts at a member that has no older record`() {
        let mine = copyState(of: beta) { $0.seen = StartMark(startNumber: 3, sequence: 200) }
        let older = copyState(of: alpha)
        #expect(HandshakeVerdict.judgeByRecord(mine: mine, theirs: older).rule == .rolledBack)
        let later = copyState(of: alpha) {
            $0.record.number = RecordNumber(term: $0.record.number.term, index: $0.record.number.index + 1)
        }
        #expect(HandshakeVerdict.judgeByRecord(mine: mine, theirs: later).outcome == .nothing)
        var outsider = mine
        outsider.record.inStep = NodeSet(alpha)
        #expect(HandshakeVerdict.judgeByRecord(mine: outsider, theirs: older).outcome == .nothing)
    }
}
