import Model
import ReplicationCore
import Testing

/// `gamma` is far: nothing waits for it, and it does not lead with less than others have.
@Suite struct VoterMixedTests {
    private static let far: [NodeID: ReplicationMode] = [gamma: .asynchronous]

    private func refusal(_ bench: VoterBench, _ command: CommandID) -> Refusal? {
        if case .refused(let refusal) = bench.outcomes[command] { return refusal }
        return nil
    }

    private func promote(_ bench: VoterBench, accepting: Bool = false, fenced: NodeID? = nil) -> CommandID {
        bench.command(
            .promote(
                force: false, peerFenced: fenced, deadline: bench.now + 5_000_000_000, dryRun: false,
                acceptsLoss: accepting))
    }

    @Test func `writes, flushes and reads wait for the near copy and for no lease of the far one`() {
        let bench = VoterBench.primary(modes: Self.far)
        bench.ponging = [beta]
        bench.pass(milliseconds: 1300)
        for node in [beta, gamma] {
            bench.hear(
                .presence(Presence(role: .secondary, disk: .upToDate, mark: .none, resyncPaused: false)), from: node)
        }
        bench.pass(milliseconds: 1300)
        bench.ask(0, .write, block: 3)
        #expect(bench.replies[0] == nil)
        bench.hear(.written(sequence: 1, succeeded: true), from: beta)
        #expect(bench.replies[0] == .done)
        let start = bench.sent.count
        bench.ask(1, .flush)
        #expect(bench.replies[1] == nil)
        for case .flush(let round) in bench.messages(to: beta, since: start).prefix(1) {
            bench.hear(
                .flushed(round: round, succeeded: true, mark: StartMark(startNumber: 1, sequence: 60)), from: beta)
        }
        #expect(bench.replies[1] == .done)
        bench.ask(2, .read, block: 3)
        #expect(bench.replies[2] == .done)
        // The next write follows the flush on the far link.
        bench.ask(3, .write, block: 4)
        #expect(bench.messages(to: gamma, since: start).contains(.flush(round: 0)))
    }

    @Test func `a far copy is not elected beside one that has everything, whatever is said`() {
        let bench = VoterBench(gamma, modes: Self.far) { $0.record.primary = alpha }
        bench.open(beta)
        let command = promote(bench, accepting: true, fenced: alpha)
        for _ in 0..<60 {
            bench.answerInquiry(from: beta)
            bench.pass(milliseconds: 100)
        }
        #expect(bench.termAsked(of: beta) == nil)
        guard case .timedOut(let refusal) = bench.outcomes[command] else {
            Issue.record("it was not refused")
            return
        }
        #expect(refusal.reason == "data-loss" && refusal.message.contains("beta"))
    }

    @Test func `a far copy has everything under a record of a primary without a disk`() {
        let bench = VoterBench(gamma, modes: Self.far) {
            $0.record.primary = alpha
            $0.record.inStep = NodeSet(beta, gamma)
            $0.required = $0.record.inStep
            $0.peers[alpha].base = .since(GenerationID(rawValue: 8))
        }
        bench.open(beta)
        _ = promote(bench)
        bench.answerInquiry(from: beta)
        #expect(bench.termAsked(of: beta) != nil)
    }

    @Test func `a record on the word names its maker alone, and says that nobody served under it`() {
        // `alpha` was primary and is off; `beta` is as far as this copy.
        let modes: [NodeID: ReplicationMode] = [beta: .asynchronous, gamma: .asynchronous]
        let bench = VoterBench(gamma, modes: modes) { $0.record.primary = alpha }
        bench.open(beta)
        var command = promote(bench)
        bench.answerInquiry(from: beta)
        #expect(refusal(bench, command)?.reason == "data-loss")
        command = promote(bench, accepting: true)
        bench.pass(milliseconds: 600)
        bench.answerInquiry(from: beta)
        #expect(refusal(bench, command)?.remedy.contains("--peer-fenced alpha") == true)
        command = promote(bench, accepting: true, fenced: alpha)
        bench.pass(milliseconds: 600)
        bench.answerInquiry(from: beta)
        bench.vote(from: beta)
        #expect(bench.stable.record.inStep == NodeSet(gamma) && bench.stable.record.primary == gamma)
        #expect(bench.stable.flags.contains(.offered))
        bench.accept(from: beta)
        #expect(!bench.core.isPrimary, "others may have given a lease")
        for _ in 0..<5 {
            bench.hear(.ping(1), from: beta)
            bench.pass(milliseconds: 500)
        }
        #expect(bench.core.isPrimary && !bench.stable.flags.contains(.offered))
    }

    @Test func `where something is to be settled a far copy is left out of the record`() {
        for runs in [[], [BlockRun(first: 5, count: 1)]] {
            let bench = VoterBench(beta, modes: Self.far) { $0.record.primary = alpha }
            bench.open(gamma)
            bench.open(alpha)
            let command = promote(bench)
            for node in [alpha, gamma] { bench.answerInquiry(from: node) }
            bench.vote(from: alpha, unconfirmed: runs)
            bench.vote(from: gamma)
            #expect(refusal(bench, command) == nil)
            let all = NodeSet(alpha, beta).inserting(gamma)
            #expect(bench.proposal?.record.inStep == (runs.isEmpty ? all : all.removing(gamma)))
        }
    }

    @Test func `a copy that lagged lags whatever the next configuration says`() {
        let bench = VoterBench(gamma) {
            $0.record.primary = alpha
            $0.flags.insert(.lags)
        }
        bench.open(beta)
        let command = promote(bench)
        bench.answerInquiry(from: beta)
        #expect(bench.termAsked(of: beta) == nil && bench.outcomes[command] == nil)
    }

    @Test func `a copy is suspect that was served from memory, and not one that served`() {
        let modes: [NodeID: ReplicationMode] = [alpha: .memory, beta: .memory, gamma: .memory]
        for (primary, isSuspect) in [(alpha, false), (beta, true), (nil, false)] as [(NodeID?, Bool)] {
            let bench = VoterBench(alpha, log: [0], modes: modes) {
                $0.record.primary = primary
                $0.flags = [.founded]
                $0.bootID = (1, 1)
            }
            #expect(bench.stable.flags.contains(.suspect) == isSuspect, "\(primary.map { "\($0)" } ?? "none")")
        }
    }

    @Test func `a copy is suspect that a node served from memory which the file names no more`() {
        for (mode, isSuspect) in [(ReplicationMode.memory, true), (.sync, false)] {
            let bench = VoterBench(
                alpha, log: [0], naming: [alpha, gamma], modes: [alpha: mode, gamma: mode]
            ) {
                $0.record.primary = beta
                $0.flags = [.founded]
                $0.bootID = (1, 1)
            }
            #expect(bench.stable.flags.contains(.suspect) == isSuspect)
        }
    }

    @Test func `who comes back in another mode is waited for as that says`() {
        let bench = VoterBench(alpha, modes: Self.far)
        bench.adjust(naming: [alpha, beta], modes: Self.far)
        bench.adjust(naming: [alpha, beta, gamma])
        for node in [beta, gamma] { bench.meet(node) }
        bench.becomePrimary()
        bench.ask(0, .write, block: 3)
        bench.hear(.written(sequence: 1, succeeded: true), from: beta)
        #expect(bench.replies[0] == nil)
        bench.hear(.written(sequence: 1, succeeded: true), from: gamma)
        #expect(bench.replies[0] == .done)
    }

    /// By a file that says `sync` of all of them; `alpha`, primary until then, is off.
    private func laggards(naming members: [NodeID] = [alpha, beta, gamma]) -> VoterBench {
        let bench = VoterBench(gamma, naming: members) {
            $0.record.primary = alpha
            $0.flags.insert(.lags)
        }
        bench.meet(beta, flags: .lags)
        return bench
    }

    @Test func `of two copies that lagged neither refers to the other, and the word is taken`() {
        let bench = laggards()
        var command = promote(bench)
        bench.answerInquiry(from: beta)
        #expect(refusal(bench, command)?.reason == "data-loss")
        #expect(refusal(bench, command)?.remedy.contains("--accept-data-loss --peer-fenced alpha") == true)
        #expect(refusal(bench, command)?.remedy.contains("promote beta") == false)
        command = promote(bench, accepting: true, fenced: alpha)
        bench.pass(milliseconds: 600)
        bench.answerInquiry(from: beta)
        bench.vote(from: beta)
        #expect(refusal(bench, command) == nil && bench.stable.record.primary == gamma)
    }

    @Test func `of a node that the file names no more no word is asked for`() {
        let bench = laggards(naming: [beta, gamma])
        let command = promote(bench)
        bench.answerInquiry(from: beta)
        let remedy = refusal(bench, command)?.remedy
        #expect(remedy?.contains("into the file again") == true && remedy?.contains("--force") == true)
    }

    @Test(arguments: [false, true])
    func `a copy that lagged lags no more once all is on it that was acknowledged, if writes wait for it`(isFar: Bool) {
        let bench = VoterBench(gamma, modes: isFar ? Self.far : [:]) {
            $0.record.primary = alpha
            $0.flags.insert(.lags)
        }
        bench.meet(alpha) { $0.isPrimary = true }
        let mark = StartMark(startNumber: 1, sequence: 60)
        bench.hear(.confirm(sequence: 1, mark: mark, settled: false), from: alpha)
        #expect(bench.stable.flags.contains(.lags))
        bench.hear(.confirm(sequence: 2, mark: mark, settled: true), from: alpha)
        #expect(bench.stable.flags.contains(.lags) == isFar)
    }
}
