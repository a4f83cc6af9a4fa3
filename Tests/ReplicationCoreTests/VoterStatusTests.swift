import Model
import ReplicationCore
import Testing

/// What `status` and refusals say with quorum.
@Suite struct VoterStatusTests {
    private func disk(of node: String, in bench: VoterBench) -> DiskState? {
        bench.core.status(at: bench.now).peers.first { $0.node == node }?.disk
    }

    @Test func `who is left out by a record that nobody chose is not called outdated`() {
        let bench = VoterBench.primary()
        bench.leave(beta)
        bench.ask(0, .flush)
        bench.pass(milliseconds: 8000)
        #expect(bench.proposal?.record.inStep == NodeSet(alpha, gamma))
        #expect(disk(of: "beta", in: bench) == .unknown)
        #expect(bench.core.status(at: bench.now).votes?.isDecided == false)
        bench.accept(from: gamma)
        #expect(disk(of: "beta", in: bench) == .outdated)
        #expect(bench.core.status(at: bench.now).votes?.isDecided == true)
    }

    @Test func `a disk made anew counts the votes of the record that the others have`() {
        let others = VoterBench.superblock(alpha).record
        let bench = VoterBench(gamma) {
            $0 = Superblock(
                node: gamma, instance: InstanceID(rawValue: 0x77), size: Bench.size, logExtents: 4, zeroes: true)
        }
        #expect(bench.core.status(at: bench.now).votes?.present == ["gamma"])
        bench.open(alpha) { $0.record = others }
        let status = bench.core.status(at: bench.now)
        #expect(status.votes?.voters == ["alpha", "beta", "gamma"] && status.votes?.present == ["alpha"])
        #expect(status.quorum == false)
    }

    @Test func `a copy that was left out says who is in step when a voter knows`() {
        let bench = VoterBench(beta) { $0.record.primary = alpha }
        #expect(bench.core.status(at: bench.now).inStep == ["alpha", "beta", "gamma"])
        bench.open(gamma) {
            $0.record.number.index += 1
            $0.record.inStep = NodeSet(alpha, gamma)
        }
        let status = bench.core.status(at: bench.now)
        #expect(status.inStep == ["alpha", "gamma"] && status.votes?.isDecided == false)
        #expect(QuorumForecast(status, lost: ["gamma"]).outcome == .noPrimary)
    }

    @Test func `a voter that heard the primary a moment ago is waited for, not forced`() {
        let bench = VoterBench(alpha) { $0.record.primary = beta }
        bench.meet(gamma)
        let promotion = bench.command(.promote(force: false, peerFenced: nil, deadline: bench.now, dryRun: true))
        bench.answerInquiry(from: gamma, .heardPrimary)
        guard case .timedOut(let refusal)? = bench.outcomes[promotion] else {
            Issue.record("it is not refused, nor promised")
            return
        }
        #expect(refusal.remedy.contains("--peer-fenced beta") && !refusal.remedy.contains("--force"), "\(refusal)")
    }

    @Test func `who follows another line is no vote`() {
        let bench = VoterBench.primary()
        #expect(bench.core.status(at: bench.now).votes?.present == ["alpha", "beta", "gamma"])
        bench.leave(gamma)
        bench.ask(0, .flush)
        bench.pass(milliseconds: 8000)
        bench.accept(from: beta)
        #expect(bench.stable.record.inStep == NodeSet(alpha, beta))
        bench.open(gamma) { $0.record.lineage = LineageID(rawValue: 0x99) }
        #expect(bench.core.status(at: bench.now).votes?.present == ["alpha", "beta"])
    }

    @Test func `force said to a primary is done when nothing is missing, and refused without a majority`() {
        let bench = VoterBench.primary()
        let needless = bench.promote(force: true)
        #expect(bench.outcomes[needless] == .done("already primary"))
        for node in [beta, gamma] { bench.leave(node) }
        let forced = bench.promote(force: true)
        guard case .refused(let refusal)? = bench.outcomes[forced] else {
            Issue.record("it changes nothing, and says that it is done")
            return
        }
        #expect(refusal.reason == "no-quorum" && refusal.remedy.contains("demote vol --force"), "\(refusal)")
        let plain = bench.promote()
        #expect(bench.outcomes[plain] == .done("already primary"))
    }
}
