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
        #expect(bench.outcomes[id] == .done("vol runs as its file says"))
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
        #expect(bench.outcomes[id] == .done("vol runs as its file says"))
    }

    @Test func `a bitmap that is given to a node that comes is written`() {
        let bench = VoterBench(alpha, naming: [alpha, beta]) {
            $0.record.inStep = NodeSet(alpha, beta)
            $0.required = NodeSet(alpha, beta)
        }
        #expect(bench.pagesWritten.isEmpty)
        bench.held = [.page]
        let id = bench.adjust(naming: [alpha, beta, gamma])
        // Nobody waits for it.
        #expect(bench.outcomes[id] != nil)
        #expect(bench.pagesWritten == [gamma])
        bench.letGo(.page)
        #expect(bench.pagesWritten == [gamma])
    }

    @Test func `whoever waits for a node that is taken out hears so, or waits for the others alone`() {
        let bench = VoterBench(alpha)
        bench.meet(beta)
        let deadline = bench.now + 60_000_000_000
        let everyone = bench.command(.connect(peer: nil, discardMyData: false, dryRun: false, deadline: deadline))
        let one = bench.command(.connect(peer: gamma, discardMyData: false, dryRun: false, deadline: deadline))
        #expect(bench.outcomes.isEmpty)
        bench.adjust(naming: [alpha, beta])
        #expect(bench.outcomes[everyone] == .done("connected to beta"))
        guard case .refused(let refusal) = bench.outcomes[one] else { return #expect(bench.outcomes[one] != nil) }
        #expect(refusal.reason == "no-such-peer" && refusal.message == "gamma was taken out of the configuration")
    }

    @Test func `a resync rate that was said holds until the file says another one`() {
        let bench = VoterBench(alpha)
        bench.command(.resyncRate(5))
        bench.adjust(naming: [alpha, beta])
        #expect(bench.core.resyncRate == 5)
        bench.adjust(naming: [alpha, beta, gamma], resyncRate: 7)
        #expect(bench.core.resyncRate == 7)
        bench.command(.resyncRate(5))
        bench.adjust(naming: [alpha, beta])
        #expect(bench.core.resyncRate == nil)
    }

    @Test func `a suspect copy whose partner was taken out says how it is promoted`() {
        var crashed = Bench.established(alpha).stable
        crashed.record.primary = beta
        let bench = Bench(alpha, superblock: crashed, log: [3], bootID: (2, 2)) { $0.members.removeLast() }
        #expect(bench.stable.flags.contains(.suspect))
        let command = bench.promote(within: 100)
        bench.pass(milliseconds: 200)
        guard case .timedOut(let refusal) = bench.outcomes[command] else {
            return #expect(bench.end(of: command) == "suspect")
        }
        #expect(refusal.reason == "suspect" && refusal.message.contains("taken out of the configuration"))
        #expect(refusal.remedy.contains("hablk adjust vol") && refusal.remedy.contains("promote vol --force"))
    }

    @Test func `who was disconnected, or parted by a verdict, stays so though its file differs meanwhile`() {
        let bench = Bench.established(alpha)
        bench.command(.disconnect(peer: nil, force: false))
        bench.handle(.peerRefused(beta, reason: "mismatch", message: "`nodes` differ"))
        bench.open()
        #expect(bench.session == .none)
        #expect(bench.core.status(at: bench.now).peers[0].reason == nil)
    }

    @Test func `a copy that is to be filled, and is not yet, is not shown as up to date`() {
        let bench = Bench.established(alpha)
        bench.breakLink()
        bench.peerRun = RunID(rawValue: 0x901)
        let newer = bench.peerState {
            $0.history = [$0.current] + $0.history
            $0.current = generation(12)
            $0.record.number.index += 1
            $0.record.inStep = NodeSet(beta)
            $0.required = NodeSet(beta)
            $0.base = .since($0.history[0].id)
        }
        #expect(bench.meet(newer) == .targetOfMarked)
        #expect(bench.core.status(at: bench.now).disk == .outdated)
    }

    @Test func `a copy without room for the volume says how much it lacks, and what to do`() {
        let bench = Bench.established(alpha)
        bench.breakLink()
        bench.peerRun = RunID(rawValue: 0x901)
        bench.meet(bench.peerState { $0.capacity = Bench.size - 4096 })
        let message = bench.core.status(at: bench.now).peers[0].message
        #expect(
            message?.contains("beta's has room for \(Bench.size - 4096) bytes, the volume has \(Bench.size)") == true)
        #expect(message?.contains("hablk create vol --force --size \(Bench.size)") == true)
    }

    @Test func `an offer that its taker does not act on is not said to be of another line`() {
        let bench = VoterBench(alpha)
        let deadline = bench.now + 1_000_000_000
        let offer = bench.command(.connect(peer: beta, discardMyData: true, dryRun: false, deadline: deadline))
        bench.open(beta)
        let start = bench.sent.count
        bench.hear(
            .state(
                copyState(of: beta) {
                    $0.record = bench.stable.record
                    $0.seen = StartMark(startNumber: 90, sequence: 9000)
                    $0.seenInstance = instance(of: alpha)
                    $0.current = bench.stable.current
                    $0.history = bench.stable.history
                    $0.required = bench.stable.required
                    $0.flags = [.founded]
                }), from: beta)
        for case (beta, .verdict(let outcome, let rule)) in bench.sent[start...] {
            let verdict = HandshakeOutcome(rawValue: outcome)
            #expect(verdict == .targetOfEverything)
            bench.hear(.verdict(outcome: verdict?.mirrored.rawValue ?? 0, rule: rule), from: beta)
        }
        bench.pass(milliseconds: 1100)
        guard case .timedOut(let refusal) = bench.outcomes[offer] else { return #expect(bench.outcomes[offer] != nil) }
        #expect(refusal.message == "beta took the offer, and has not begun to fill this copy; it stays offered")
        #expect(refusal.remedy.contains("on a node whose copy counts"))
    }
}
