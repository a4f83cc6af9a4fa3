import Model
import ReplicationCore
import Testing

/// Promises that are kept whatever comes by, and two lines of one volume after a promotion by force.
@Suite struct VoterLineTests {
    private static let forced = LineageID(rawValue: 0xF0)

    private func term(_ counter: UInt64, _ node: NodeID) -> Term { Term(counter: counter, node: node) }

    private func count(_ messages: [PeerMessage], _ isMeant: (PeerMessage) -> Bool) -> Int {
        messages.lazy.filter(isMeant).count
    }

    // MARK: Promises

    @Test func `a resync that was on its way when a higher term was promised does not begin`() {
        for isPromised in [false, true] {
            let bench = VoterBench(beta) { $0.record.inStep = NodeSet(alpha, gamma) }
            bench.meet(gamma)
            var record = bench.stable.record
            record.number.index += 1
            record.primary = alpha
            bench.meet(alpha) {
                $0.record = record
                $0.isPrimary = true
            }
            if isPromised {
                bench.hear(.vote(term(9, gamma)), from: gamma)
                #expect(bench.termVoted == term(9, gamma))
            }
            let line = bench.core.durableState
            bench.hear(
                .resyncBegin(
                    Proposal(volume: line.volume, record: record, current: line.current), everything: false),
                from: alpha, under: record.number)
            #expect(bench.stable.promised == (isPromised ? term(9, gamma) : term(4, alpha)))
            #expect(bench.messages(to: alpha).contains(.resyncReady) == !isPromised)
        }
    }

    @Test func `who wins its term again hands nothing over under the older one`() {
        let bench = VoterBench.primary()
        bench.hear(.standing(bench.standing(of: gamma) { $0.promised = self.term(9, gamma) }), from: gamma)
        for node in [beta, gamma] { bench.answerInquiry(from: node) }
        #expect(bench.stable.promised == term(10, alpha))
        bench.command(.demote(force: false, deadline: bench.now + 1_000_000_000))
        #expect(!bench.core.isPrimary)
        #expect(bench.stable.promised == term(10, alpha))
        #expect(bench.proposal?.record.primary == alpha)
    }

    @Test func `an answer to the question of a former candidacy is none to this one's`() {
        let bench = VoterBench(alpha)
        for node in [beta, gamma] { bench.meet(node) }
        _ = bench.promote(within: 0)
        let asked = bench.messages(to: beta).last { if case .inquiry = $0 { true } else { false } }
        bench.pass(milliseconds: 8000)
        _ = bench.promote()
        guard case .inquiry(let inquiry) = asked else {
            Issue.record("it asks")
            return
        }
        for node in [beta, gamma] {
            bench.hear(
                .inquiryAnswer(
                    InquiryAnswer(round: inquiry.round, objection: nil, standing: bench.standing(of: node))),
                from: node)
        }
        #expect(bench.termAsked(of: beta) == nil)
    }

    // MARK: Lines

    @Test func `the terms of another line deprive nobody of his own`() {
        for isOther in [false, true] {
            let bench = VoterBench.primary()
            let start = bench.sent.count
            bench.open(gamma) {
                if isOther { $0.record.lineage = Self.forced }
                $0.promised = self.term(9, gamma)
            }
            let questions = count(bench.messages(to: beta, since: start)) {
                if case .inquiry = $0 { true } else { false }
            }
            #expect((questions == 0) == isOther)
        }
    }

    @Test func `nobody votes for a candidate of another line`() {
        for isOther in [false, true] {
            let bench = VoterBench(beta)
            bench.open(gamma) { if isOther { $0.record.lineage = Self.forced } }
            bench.hear(.vote(term(9, gamma)), from: gamma, of: isOther ? Self.forced : nil)
            #expect((bench.termVoted == nil) == isOther)
        }
    }

    @Test func `a copy that is forced half filled is filled from by everybody from the beginning`() {
        for isHalf in [false, true] {
            let bench = VoterBench(beta) {
                $0.record.inStep = NodeSet(alpha, gamma)
                $0.flags = isHalf ? [.founded, .inconsistent] : [.founded, .outdated]
            }
            bench.pass(milliseconds: 5000)
            _ = bench.promote(force: true)
            bench.pass(milliseconds: 5000)
            #expect(bench.core.isPrimary)
            for node in [alpha, gamma] { #expect((bench.stable.peers[node].base == .everything(.none)) == isHalf) }
        }
    }

    /// `gamma`, promoted by force, secondary or leading.
    private func isForced(_ state: inout Standing, leads: Bool) {
        state.record.lineage = Self.forced
        state.record.inStep = NodeSet(gamma)
        state.record.voters = NodeSet(gamma)
        state.record.primary = gamma
        state.isPrimary = leads
    }

    private func offers(_ bench: VoterBench, since start: Int) -> Bool {
        bench.messages(to: gamma, since: start).contains {
            if case .state(let state) = $0 { state.discardMyData } else { false }
        }
    }

    @Test func `what is given away to another line stays offered until a node of that line leads`() {
        let bench = VoterBench(alpha)
        bench.meet(gamma) { isForced(&$0, leads: false) }
        #expect(!bench.hasSession(gamma))
        let command = bench.command(
            .connect(peer: gamma, discardMyData: true, dryRun: false, deadline: bench.now + 1_000_000_000))
        bench.meet(gamma) { isForced(&$0, leads: false) }
        #expect(bench.hasSession(gamma))
        #expect(bench.outcomes[command] == nil)
        bench.pass(milliseconds: 1100)
        guard case .timedOut(let refusal) = bench.outcomes[command] else {
            Issue.record("its time is over")
            return
        }
        #expect(refusal.reason == "no-primary")
        bench.leave(gamma)
        let start = bench.sent.count
        bench.meet(gamma) { isForced(&$0, leads: true) }
        #expect(offers(bench, since: start))
    }

    /// `alpha`, promoted by force and alone; `gamma`, which told nothing of another record, is offered the next.
    private func offeringVote() -> VoterBench {
        let bench = VoterBench(alpha)
        bench.pass(milliseconds: 5000)
        _ = bench.promote(force: true)
        bench.pass(milliseconds: 5000)
        bench.meet(gamma) {
            $0.record = .empty
            $0.promised = .zero
        }
        #expect(bench.proposal?.record.voters == NodeSet(alpha, gamma))
        return bench
    }

    @Test func `the second voter has the record that adds it before the first`() {
        for accepts in [true, false] {
            let bench = offeringVote()
            guard let number = bench.proposal?.record.number else { return }
            #expect(bench.stable.record.voters == NodeSet(alpha))
            if accepts { bench.accept(from: gamma) } else { bench.hear(.rejected(number, .notNow), from: gamma) }
            #expect(bench.stable.record.voters == (accepts ? NodeSet(alpha, gamma) : NodeSet(alpha)))
            #expect(bench.core.isPrimary)
        }
    }
}
