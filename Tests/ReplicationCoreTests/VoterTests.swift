import Model
import ReplicationCore
import Testing

@Suite struct VoterTests {
    private func term(_ counter: UInt64, _ node: NodeID) -> Term { Term(counter: counter, node: node) }

    // MARK: Voting

    @Test func `a voter promises no term below the one that it promised`() {
        let bench = VoterBench(beta)
        bench.meet(alpha)
        bench.meet(gamma)
        bench.hear(.vote(term(9, gamma)), from: gamma)
        #expect(bench.termVoted == term(9, gamma))
        bench.hear(.vote(term(8, alpha)), from: alpha)
        #expect(bench.termVoted == term(9, gamma))
        #expect(bench.stable.promised == term(9, gamma))
    }

    @Test func `a promise is durable before it is told`() {
        let bench = VoterBench(beta)
        bench.meet(alpha)
        bench.held = [.superblock]
        bench.hear(.vote(term(9, alpha)), from: alpha)
        #expect(bench.termVoted == nil)
        bench.letGo(.superblock)
        #expect(bench.termVoted == term(9, alpha))
        #expect(bench.stable.promised == term(9, alpha))
    }

    @Test func `a voter flushes before it answers`() {
        let bench = VoterBench(beta)
        bench.meet(alpha)
        bench.held = [.flush]
        bench.hear(.vote(term(9, alpha)), from: alpha)
        #expect(bench.termVoted == nil)
        bench.letGo(.flush)
        #expect(bench.termVoted == term(9, alpha))
    }

    @Test func `a voter that heard a primary a moment ago objects, and promises nothing`() {
        let bench = VoterBench(gamma)
        bench.meet(alpha) { $0.isPrimary = true }
        bench.meet(beta)
        bench.hear(
            .inquiry(Inquiry(round: 1, instance: instance(of: beta), isDiskless: false, fenced: nil)), from: beta)
        #expect(bench.hasObjection(to: beta) == .heardPrimary)
        #expect(bench.stable.promised == term(4, alpha))
    }

    @Test func `a copy that was put back as it was has no vote`() {
        let bench = VoterBench(beta) { $0.flags = [.clean, .founded, .outdated, .rolledBack] }
        bench.open(alpha)
        bench.hear(
            .inquiry(Inquiry(round: 1, instance: instance(of: alpha), isDiskless: false, fenced: nil)), from: alpha)
        #expect(bench.hasObjection(to: alpha) == .cannotVote)
        bench.hear(.vote(term(9, alpha)), from: alpha)
        #expect(bench.termVoted == nil)
    }

    @Test(arguments: [false, true]) func `nor is its acceptance one: it forgot what it promised`(isPutBack: Bool) {
        let bench = VoterBench(beta) { if isPutBack { $0.flags = [.clean, .founded, .outdated, .rolledBack] } }
        bench.open(alpha)
        // A leader that was superseded meanwhile offers to go on alone.
        var record = bench.stable.record
        record.number.index += 1
        record.inStep = NodeSet(alpha)
        let before = bench.stable
        let proposal = Proposal(volume: before.volume, record: record, current: generation(10))
        bench.hear(.propose(proposal), from: alpha, under: record.number)
        let isAccepted = bench.messages(to: alpha).contains {
            if case .accepted(record.number, _) = $0 { true } else { false }
        }
        #expect(isAccepted == !isPutBack)
        #expect((bench.stable.record == before.record) == isPutBack)
    }

    @Test func `who promised a higher term gives no lease to an older one`() {
        let bench = VoterBench(gamma)
        bench.meet(alpha)
        bench.meet(beta)
        bench.hear(.vote(term(9, beta)), from: beta)
        let start = bench.sent.count
        bench.hear(.ping(77), from: alpha, under: RecordNumber(term: term(4, alpha), index: 2))
        #expect(!bench.messages(to: alpha, since: start).contains(.pong(77)))
    }

    // MARK: Being a candidate

    @Test func `a candidate asks without effect first`() {
        let bench = VoterBench(alpha)
        bench.meet(beta)
        bench.meet(gamma)
        _ = bench.promote()
        bench.answerInquiry(from: beta, .heardPrimary)
        bench.answerInquiry(from: gamma, .heardPrimary)
        #expect(bench.termAsked(of: beta) == nil)
        #expect(bench.stable.promised == term(4, alpha))
    }

    @Test(arguments: [Work.superblock, .flush])
    func `a candidate has flushed, and its promise on disk, before it asks for votes`(work: Work) {
        let bench = VoterBench(alpha)
        bench.meet(beta)
        bench.meet(gamma)
        bench.held = [work]
        _ = bench.promote()
        bench.answerInquiry(from: beta)
        bench.answerInquiry(from: gamma)
        #expect(bench.termAsked(of: beta) == nil)
        bench.letGo(work)
        #expect(bench.termAsked(of: beta) == term(5, alpha))
        #expect(bench.stable.promised == term(5, alpha))
    }

    @Test func `a candidate gives no lease`() {
        let bench = VoterBench(alpha)
        bench.meet(beta)
        bench.meet(gamma)
        _ = bench.promote()
        bench.answerInquiry(from: beta)
        bench.answerInquiry(from: gamma)
        let start = bench.sent.count
        bench.hear(.ping(77), from: beta, under: RecordNumber(term: term(6, beta), index: 1))
        #expect(!bench.messages(to: beta, since: start).contains(.pong(77)))
    }

    @Test func `a memory made anew votes for nobody until a record names it`() {
        let bench = VoterBench(alpha)
        bench.meet(gamma) { $0.instance = InstanceID(rawValue: 0x999) }
        let command = bench.promote(within: 0)
        bench.answerInquiry(from: gamma) { $0.instance = InstanceID(rawValue: 0x999) }
        #expect(bench.termAsked(of: gamma) == nil)
        #expect(!bench.core.isPrimary)
        guard case .timedOut(let refusal) = bench.outcomes[command] else {
            Issue.record("it is refused for want of a quorum")
            return
        }
        #expect(refusal.reason == "no-quorum")
    }

    @Test func `a copy that lost its cache does not go by a record that names it alone, and that it never had`() {
        // It was never chosen; beta, whom its own record names too, may hold what is lost.
        let bench = VoterBench(alpha, log: [3], bootID: (2, 2)) {
            $0.flags = [.founded]
            $0.bootID = (1, 1)
            $0.record.primary = alpha
        }
        #expect(bench.stable.flags.contains(.suspect))
        let newer: (inout Standing) -> Void = {
            $0.record.number = RecordNumber(term: self.term(6, gamma), index: 1)
            $0.record.primary = gamma
            $0.record.inStep = NodeSet(alpha)
            $0.promised = $0.record.number.term
        }
        bench.meet(gamma, newer)
        _ = bench.promote()
        bench.answerInquiry(from: gamma, nil, newer)
        bench.vote(from: gamma, newer)
        #expect(bench.proposal == nil)
        #expect(!bench.core.isPrimary)
    }

    @Test func `a record that a member does not have when it votes was never chosen`() {
        // A dead leader offered one that leaves this copy out, and gamma took it; beta, whom it names, did not.
        let bench = VoterBench(alpha) { $0.record.primary = gamma }
        let refuted: (inout Standing) -> Void = {
            $0.record.number = RecordNumber(term: self.term(4, alpha), index: 3)
            $0.record.inStep = NodeSet(beta, gamma)
        }
        bench.meet(beta)
        bench.meet(gamma, refuted)
        _ = bench.promote()
        bench.answerInquiry(from: beta)
        bench.answerInquiry(from: gamma, .notInStep, refuted)
        bench.vote(from: beta, isSuspect: true)
        bench.vote(from: gamma, isSuspect: true, refuted)
        #expect(bench.proposal?.record.number == RecordNumber(term: term(5, alpha), index: 1))
        #expect(bench.proposal?.record.inStep == NodeSet(alpha))
    }

    @Test func `a copy about to join proves nothing of the record that names it`() {
        // Its own record does not name it: it may lack one that was chosen in between, whose last word gamma overwrote.
        let bench = VoterBench(alpha) {
            $0.record.primary = gamma
            $0.record.inStep = NodeSet(alpha, gamma)
            $0.required = $0.record.inStep
        }
        let newer: (inout Standing) -> Void = {
            $0.record.number = RecordNumber(term: self.term(4, alpha), index: 4)
            $0.record.inStep = NodeSet(beta, gamma)
        }
        bench.meet(beta)
        bench.meet(gamma, newer)
        let command = bench.promote()
        bench.answerInquiry(from: beta)
        bench.answerInquiry(from: gamma, .notInStep, newer)
        #expect(bench.termAsked(of: beta) == nil)
        guard case .refused(let refusal) = bench.outcomes[command] else {
            Issue.record("it is refused")
            return
        }
        #expect(refusal.reason == "outdated")
    }

    @Test func `a record whose members that answer all have it leaves out whom it leaves out`() {
        let bench = VoterBench(alpha) { $0.record.primary = gamma }
        let newer: (inout Standing) -> Void = {
            $0.record.number = RecordNumber(term: self.term(4, alpha), index: 3)
            $0.record.inStep = NodeSet(beta, gamma)
        }
        bench.meet(gamma, newer)
        let command = bench.promote()
        bench.answerInquiry(from: gamma, .notInStep, newer)
        guard case .refused(let refusal) = bench.outcomes[command] else {
            Issue.record("it is refused")
            return
        }
        #expect(refusal.reason == "outdated")
    }

    @Test func `a successor that was started waits as if it had given a lease just before`() {
        let bench = VoterBench.successor()
        bench.pass(milliseconds: 1900)
        #expect(!bench.core.isPrimary)
        bench.pass(milliseconds: 200)
        #expect(bench.core.isPrimary)
    }

    // MARK: Leading

    @Test func `a record that is not chosen yet lets nobody go`() {
        let bench = VoterBench.primary()
        bench.leave(beta)
        bench.ask(0, .write)
        bench.pass(milliseconds: 8000)
        #expect(bench.proposal?.record.inStep == NodeSet(alpha, gamma))
        #expect(bench.stable.record.inStep == NodeSet(alpha, gamma))
        #expect(bench.stable.required.contains(beta))
        #expect(bench.replies[0] == nil)
        bench.accept(from: gamma)
        #expect(!bench.core.durableState.required.contains(beta))
    }

    @Test func `with reads confirmed a round of pings begins after the read came`() {
        let bench = VoterBench.primary(confirmsReads: true)
        bench.ponging = []
        bench.ask(0, .read)
        #expect(bench.replies[0] == nil)
        for node in [beta, gamma] {
            for case .ping(let number) in bench.messages(to: node).suffix(1) { bench.hear(.pong(number), from: node) }
        }
        #expect(bench.replies[0] == .done)
    }

    @Test func `a voter whose memory is new is taken away by one record and added by the next`() {
        let bench = VoterBench.primary()
        bench.leave(gamma)
        bench.ask(0, .write)
        bench.pass(milliseconds: 8000)
        bench.accept(from: beta)
        #expect(bench.core.durableState.record.inStep == NodeSet(alpha, beta))
        bench.meet(gamma) { $0.instance = InstanceID(rawValue: 0x999) }
        #expect(bench.proposal?.record.voters == NodeSet(alpha, beta))
        // That very memory's word does not count for the record that dismisses it.
        bench.hear(.accepted(bench.proposal!.record.number, mark: StartMark(startNumber: 1, sequence: 1)), from: gamma)
        #expect(bench.proposal?.record.voters == NodeSet(alpha, beta))
        bench.meet(gamma) { $0.instance = InstanceID(rawValue: 0x999) }
        for _ in 0..<4 where bench.proposal?.record.voters.contains(gamma) == false { bench.accept(from: beta) }
        #expect(bench.proposal?.record.voters == NodeSet(alpha, beta).inserting(gamma))
        #expect(bench.proposal?.record.instances[gamma] == InstanceID(rawValue: 0x999))
    }

    @Test func `a primary that answers late is not deposed`() {
        let bench = VoterBench(alpha)
        for node in [beta, gamma] { bench.meet(node) }
        bench.pass(milliseconds: 5000)
        let command = bench.promote()
        bench.answerInquiry(from: gamma)
        bench.held = [.superblock]
        bench.pass(milliseconds: 1100)
        #expect(bench.core.durableState.promised.node == alpha)
        #expect(bench.termAsked(of: gamma) == nil)
        bench.answerInquiry(from: beta, .isPrimary)
        bench.letGo(.superblock)
        #expect(bench.termAsked(of: gamma) == nil)
        guard case .refused(let refusal) = bench.outcomes[command] else {
            Issue.record("it is refused")
            return
        }
        #expect(refusal.reason == "peer-is-primary")
    }
}
