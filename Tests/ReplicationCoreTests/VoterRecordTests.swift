import Model
import ReplicationCore
import Testing

/// Records among three voters: who votes for them, when they are chosen, and what becomes of those that are not.
@Suite struct VoterRecordTests {
    private func term(_ counter: UInt64, _ node: NodeID) -> Term { Term(counter: counter, node: node) }

    /// How often `node` was offered the record of that number.
    private func offers(_ bench: VoterBench, of number: RecordNumber, to node: NodeID, since start: Int = 0) -> Int {
        bench.messages(to: node, since: start).count {
            if case .propose(let proposal) = $0 { proposal.record.number == number } else { false }
        }
    }

    private func inquiries(_ bench: VoterBench, to node: NodeID, since start: Int) -> Int {
        bench.messages(to: node, since: start).count { if case .inquiry = $0 { true } else { false } }
    }

    // MARK: Voters

    @Test func `who is promoted by force votes alone`() {
        let bench = VoterBench(alpha)
        bench.pass(milliseconds: 5000)
        _ = bench.promote(force: true)
        bench.pass(milliseconds: 5000)
        #expect(bench.core.isPrimary)
        #expect(bench.stable.record.voters == NodeSet(alpha))
        #expect(bench.stable.record.inStep == NodeSet(alpha))
    }

    @Test func `all nodes of the configuration vote in the first record, heard or not`() {
        let bench = VoterBench(alpha) {
            $0 = Superblock(node: alpha, instance: instance(of: alpha), size: Bench.size, logExtents: 4, zeroes: true)
        }
        let created: (inout Standing) -> Void = {
            $0.volume = .none
            $0.promised = .zero
            $0.record = .empty
        }
        bench.open(beta, created)
        _ = bench.promote()
        bench.answerInquiry(from: beta, nil, created)
        bench.vote(from: beta) { $0.record = .empty }
        #expect(bench.proposal?.record.number == RecordNumber(term: term(1, alpha), index: 1))
        #expect(bench.proposal?.record.voters == NodeSet(alpha, beta).inserting(gamma))
    }

    /// `alpha`, primary and alone in step, of a volume whose voters are these.
    private func alone(voters: NodeSet) -> VoterBench {
        let bench = VoterBench(alpha) {
            $0.record.voters = voters
            $0.record.inStep = NodeSet(alpha)
            $0.required = NodeSet(alpha)
        }
        for node in voters where node != alpha { bench.meet(node) }
        _ = bench.promote()
        for node in voters where node != alpha { bench.answerInquiry(from: node) }
        for node in voters where node != alpha { bench.vote(from: node) }
        for node in voters where node != alpha { bench.accept(from: node) }
        #expect(bench.core.isPrimary)
        return bench
    }

    @Test func `one voter is added by each record`() {
        let bench = alone(voters: NodeSet(alpha))
        // Two come while a demotion is under way, of which nothing comes in the end.
        bench.held = [.write]
        bench.ask(0, .write)
        bench.command(.demote(force: false, deadline: bench.now + 500_000_000))
        for node in [beta, gamma] { bench.meet(node) }
        #expect(bench.proposal == nil)
        bench.pass(milliseconds: 600)
        #expect(bench.core.isPrimary)
        #expect(bench.proposal?.record.voters == NodeSet(alpha, beta))
        bench.accept(from: beta)
        #expect(bench.proposal?.record.voters == NodeSet(alpha, beta).inserting(gamma))
    }

    @Test func `a record that adds a voter needs a majority of those before it, too`() {
        let bench = alone(voters: NodeSet(alpha, beta))
        for node in [beta, gamma] { bench.meet(node) }
        guard let record = bench.proposal?.record, record.voters.contains(gamma) else {
            Issue.record("gamma is to vote")
            return
        }
        // Two of three have it then, and one of two.
        bench.accept(from: gamma)
        var start = bench.sent.count
        bench.pass(milliseconds: 2500)
        #expect(offers(bench, of: record.number, to: beta, since: start) > 0)
        bench.accept(from: beta)
        start = bench.sent.count
        bench.pass(milliseconds: 2500)
        #expect(offers(bench, of: record.number, to: beta, since: start) == 0)
    }

    // MARK: The first record

    /// `alpha`, whose copy no record has named yet, without its disk.
    private func unfounded(_ change: (inout Superblock) -> Void = { _ in }) -> VoterBench {
        let bench = VoterBench(alpha) {
            $0 = Superblock(node: alpha, instance: instance(of: alpha), size: Bench.size, logExtents: 4, zeroes: true)
            change(&$0)
        }
        bench.command(.detach(force: true))
        #expect(bench.core.diskState == .diskless)
        return bench
    }

    @Test func `who has no disk offers a first record that nobody chose with its volume`() {
        let bench = unfounded()
        let ballot: (inout Standing) -> Void = {
            $0.volume = VolumeID(rawValue: 77)
            $0.record = VoterBench.superblock(beta).record
            $0.record.number = RecordNumber(term: Term(counter: 3, node: beta), index: 1)
            $0.record.primary = beta
            $0.promised = $0.record.number.term
        }
        let created: (inout Standing) -> Void = {
            $0.volume = .none
            $0.record = .empty
        }
        bench.open(beta, ballot)
        bench.open(gamma, created)
        _ = bench.promote()
        bench.answerInquiry(from: beta, nil, ballot)
        bench.answerInquiry(from: gamma, nil, created)
        let term = bench.termAsked(of: beta)
        bench.vote(from: beta) {
            ballot(&$0)
            $0.promised = term ?? .zero
        }
        bench.vote(from: gamma, created)
        #expect(bench.proposal?.record.number.term == term)
        #expect(bench.proposal?.volume == VolumeID(rawValue: 77))
        for node in [beta, gamma] { bench.accept(from: node) }
        #expect(bench.core.durableState.volume == VolumeID(rawValue: 77))
    }

    @Test func `a disk with a first record that nobody chose is of no other volume`() {
        for isFounded in [false, true] {
            let bench = VoterBench(alpha)
            bench.command(.detach(force: true))
            let disk = VoterBench.superblock(alpha) {
                $0.volume = VolumeID(rawValue: 77)
                $0.flags = isFounded ? [.clean, .founded] : .clean
                $0.record.number = RecordNumber(term: Term(counter: 3, node: alpha), index: 1)
            }
            let id = CommandID(rawValue: 900)
            bench.handle(.attached(foundMetadata(disk, log: [], bootID: (1, 1)), id))
            #expect(bench.core.diskState == (isFounded ? .diskless : .consistent))
        }
    }

    // MARK: Candidates

    @Test func `a term above its own ends a candidate's attempt`() {
        let bench = VoterBench(alpha)
        for node in [beta, gamma] { bench.meet(node) }
        _ = bench.promote()
        for node in [beta, gamma] { bench.answerInquiry(from: node) }
        #expect(bench.termAsked(of: beta) == term(5, alpha))
        bench.hear(.standing(bench.standing(of: gamma) { $0.promised = term(9, gamma) }), from: gamma)
        bench.vote(from: beta)
        bench.leave(gamma)
        #expect(bench.proposal == nil)
        #expect(inquiries(bench, to: beta, since: 0) == 1)
        bench.pass(milliseconds: 2000)
        #expect(inquiries(bench, to: beta, since: 0) > 1)
    }

    @Test func `a voter that missed the newest record says nothing against a copy that this one names`() {
        let bench = VoterBench(alpha) { $0.record.primary = gamma }
        let older: (inout Standing) -> Void = {
            $0.record.number.index -= 1
            $0.record.inStep = NodeSet(beta, gamma)
        }
        bench.meet(beta, older)
        _ = bench.promote()
        bench.answerInquiry(from: beta, .notInStep, older)
        #expect(bench.termAsked(of: beta) == term(5, alpha))
    }

    @Test func `a keeper waits for the old lease before it makes a record`() {
        let bench = VoterBench(alpha) {
            $0.record.primary = gamma
            $0.record.inStep = NodeSet(alpha, gamma)
            $0.required = $0.record.inStep
        }
        bench.pass(milliseconds: 2500)
        // It was promoted a moment ago, and did not say so before its cable went.
        bench.open(gamma)
        bench.hear(.ping(7), from: gamma)
        bench.leave(gamma)
        bench.meet(beta)
        var wasAsked = false
        for _ in 0..<40 where !wasAsked {
            bench.pass(milliseconds: 50)
            bench.answerInquiry(from: beta)
            wasAsked = bench.termAsked(of: beta) != nil
        }
        #expect(wasAsked)
        bench.vote(from: beta)
        #expect(bench.proposal == nil)
        bench.pass(milliseconds: 2100)
        #expect(bench.proposal?.record.inStep == NodeSet(alpha))
    }

    @Test func `a candidacy whose record nobody can choose any more begins anew`() {
        let bench = VoterBench(alpha)
        for node in [beta, gamma] { bench.meet(node) }
        _ = bench.promote(within: 60_000)
        for node in [beta, gamma] { bench.answerInquiry(from: node) }
        for node in [beta, gamma] { bench.vote(from: node) }
        #expect(bench.proposal?.record.inStep == NodeSet(alpha, beta).inserting(gamma))
        bench.accept(from: beta)
        let start = bench.sent.count
        bench.leave(gamma)
        bench.pass(milliseconds: 2000)
        #expect(inquiries(bench, to: beta, since: start) > 0)
        bench.answerInquiry(from: beta)
        bench.vote(from: beta)
        #expect(bench.proposal?.record.inStep == NodeSet(alpha, beta))
        bench.accept(from: beta)
        // A lease that an earlier run gave is over 20 ms later.
        bench.pass(milliseconds: 100)
        #expect(bench.core.isPrimary)
    }

    @Test func `who was met while the old lease ran out is met anew by the primary`() {
        let bench = VoterBench.successor()
        let before = VoterBench.superblock(beta)
        bench.meet(beta) { $0.record = before.record }
        #expect(bench.hasSession(beta))
        #expect(!bench.core.isPrimary)
        bench.pass(milliseconds: 2100)
        #expect(bench.core.isPrimary)
        #expect(!bench.hasSession(beta))
    }

    @Test func `a record that was given up undecided establishes nobody`() {
        let bench = VoterBench.primary()
        bench.leave(beta)
        bench.ask(0, .flush)
        bench.pass(milliseconds: 8000)
        guard let record = bench.proposal?.record, record.inStep == NodeSet(alpha, gamma) else {
            Issue.record("it is to go on without beta")
            return
        }
        // A higher promise is heard: the term is to be won again, and the record with it.
        bench.open(beta) { $0.promised = term(9, beta) }
        bench.leave(gamma)
        bench.meet(gamma) { $0.record = record }
        #expect(!bench.messages(to: gamma).contains(.chosen(record.number)))
        #expect(bench.hasSession(gamma))
    }

    // MARK: Followers

    /// `beta`, following `alpha`, with a write that it has not heard confirmed.
    private func follower() -> VoterBench {
        let bench = VoterBench(beta) { $0.record.primary = alpha }
        bench.meet(alpha) { $0.isPrimary = true }
        bench.hear(.chosen(bench.stable.record.number), from: alpha)
        bench.meet(gamma)
        bench.hear(.zero(sequence: 1, range: ByteRange(offset: 40960, length: 4096), trim: false), from: alpha)
        return bench
    }

    private func proposal(_ bench: VoterBench, _ change: (inout Record) -> Void) -> Proposal {
        var record = bench.stable.record
        record.number.index += 1
        change(&record)
        return Proposal(volume: bench.stable.volume, record: record, current: bench.core.durableState.current)
    }

    private func hasAccepted(_ bench: VoterBench, _ number: RecordNumber) -> Bool {
        bench.messages(to: alpha).contains { if case .accepted(number, _) = $0 { true } else { false } }
    }

    @Test func `who is left out marks toward everybody what it had not heard confirmed`() {
        let bench = follower()
        let offer = proposal(bench) { $0.inStep = NodeSet(alpha, gamma) }
        bench.hear(.propose(offer), from: alpha, under: offer.record.number)
        #expect(hasAccepted(bench, offer.record.number))
        for node in [alpha, gamma] { #expect(bench.core.isMarked(block: 10, toward: node)) }
    }

    @Test func `who takes a hand-over flushes first`() {
        let bench = follower()
        let offer = proposal(bench) { $0.primary = nil }
        bench.held = [.flush]
        bench.hear(.propose(offer), from: alpha, under: offer.record.number)
        #expect(!hasAccepted(bench, offer.record.number))
        bench.letGo(.flush)
        #expect(hasAccepted(bench, offer.record.number))
    }

    @Test func `the word that a record is chosen is heard while that is answered once more`() {
        let bench = VoterBench(beta) { $0.record.primary = alpha }
        bench.meet(alpha) { $0.isPrimary = true }
        let number = bench.stable.record.number
        #expect(bench.core.diskState == .consistent)
        bench.held = [.superblock]
        bench.hear(
            .propose(
                Proposal(
                    volume: bench.stable.volume, record: bench.stable.record, current: bench.core.durableState.current)
            ), from: alpha)
        bench.hear(.chosen(number), from: alpha)
        bench.letGo(.superblock)
        #expect(bench.core.diskState == .upToDate)
    }

    @Test func `a record of the leader's that is being taken is answered before a handshake with it ends`() {
        let bench = VoterBench(beta)
        bench.open(alpha) { $0.isPrimary = true }
        bench.held = [.superblock]
        let offer = proposal(bench) { $0.primary = alpha }
        bench.hear(.propose(offer), from: alpha, under: offer.record.number)
        let start = bench.sent.count
        bench.shakeHands(with: alpha, since: start) { $0.isPrimary = true }
        #expect(bench.hasSession(alpha))
        bench.letGo(.superblock)
        #expect(hasAccepted(bench, offer.record.number))
    }

    @Test func `a copy that joins takes what its source knows of the nodes that stay out`() {
        let bench = VoterBench(beta) {
            $0.record.inStep = NodeSet(alpha, gamma)
            // Before it was put back, and filled while this copy was out.
            $0.peers[alpha].seenInstance = instance(of: alpha)
            $0.peers[alpha].seen = StartMark(startNumber: 9, sequence: 500)
        }
        var record = bench.stable.record
        record.number.index += 1
        record.primary = alpha
        record.inStep = NodeSet(alpha)
        bench.meet(alpha) {
            $0.record = record
            $0.isPrimary = true
        }
        let line = bench.core.durableState
        bench.hear(
            .resyncBegin(
                Proposal(volume: line.volume, record: record, current: line.current), everything: false),
            from: alpha, under: record.number)
        bench.hear(.bitmapEnd, from: alpha)
        #expect(bench.messages(to: alpha).contains(.resyncComplete))
        #expect(bench.stable.peers[alpha].seen == StartMark(startNumber: 9, sequence: 500))
        record.number.index += 1
        record.inStep = NodeSet(alpha, beta)
        var bases = PerNode(repeating: BitmapBase.inStep)
        bases[gamma] = .since(GenerationID(rawValue: 8))
        bench.hear(
            .joinOffer(
                JoinOffer(
                    volume: line.volume, record: record, current: line.current, history: line.history, bases: bases)),
            from: alpha, under: record.number)
        #expect(bench.stable.record == record)
        #expect(bench.stable.peers[gamma].base == .since(GenerationID(rawValue: 8)))
        #expect(bench.stable.peers[alpha].base == .inStep)
        #expect(bench.stable.peers[alpha].seen == StartMark(startNumber: 3, sequence: 100))
    }
}
