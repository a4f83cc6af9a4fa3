import Model
import Testing

@Suite struct QuorumForecastTests {
    /// As alpha, the primary, sees two copies and a witness, all there.
    private func status() -> VolumeStatus {
        func peer(_ name: String, _ id: UInt8, _ role: Role) -> VolumeStatus.Peer {
            VolumeStatus.Peer(
                node: name, id: id, connection: .connected, role: role, disk: .upToDate, replication: .established,
                outOfSyncBytes: 0, lagBytes: 0, lagSeconds: 0, resync: nil, lastResync: nil, reason: nil, message: nil)
        }
        var status = VolumeStatus(
            volume: "r0", node: "alpha", role: .primary, disk: .upToDate, size: 1 << 20, generation: nil, term: 3,
            inStep: ["alpha", "bravo"], quorum: true, suspended: [], suspect: false, nbd: "", device: nil, clients: 0,
            pid: 1, reason: nil, message: nil, peers: [peer("bravo", 1, .secondary), peer("charlie", 2, .witness)])
        let names = ["alpha", "bravo", "charlie"]
        status.votes = .init(voters: names, present: names, witnesses: ["charlie"], leaseSeconds: 1.5, isDecided: true)
        return status
    }

    @Test(
        arguments: [
            ([], .goesOn, ["alpha"]), (["bravo"], .goesOn, ["alpha"]), (["charlie"], .goesOn, ["alpha"]),
            (["alpha"], .failsOver, ["bravo"]), (["bravo", "charlie"], .waits, []),
            (["alpha", "charlie"], .noPrimary, []),
            (["alpha", "bravo"], .noPrimary, []),
        ] as [([String], QuorumForecast.Outcome, [String])])
    func oneLossIsBorneAndTwoAreNot(_ lost: [String], _ outcome: QuorumForecast.Outcome, _ candidates: [String]) {
        let forecast = QuorumForecast(status(), lost: lost)
        #expect(forecast.outcome == outcome && forecast.candidates == candidates, "\(forecast.message)")
    }

    @Test func whoIsOutOfReachAlreadyCountsAsLost() {
        var status = status()
        status.votes?.present = ["alpha", "bravo"]
        #expect(QuorumForecast(status, lost: ["bravo"]).outcome == .waits)
        status.peers[0].connection = .connecting
        #expect(QuorumForecast(status, lost: ["alpha"]).outcome == .noPrimary)
    }

    @Test func aPrimaryThatWaitsForVotesDoesNotGoOn() {
        var status = status()
        status.inStep = ["alpha"]
        status.votes?.present = ["alpha"]
        status.suspended = [.quorum, .record]
        #expect(QuorumForecast(status, lost: ["charlie"]).outcome == .waits)
    }

    @Test func aPrimaryThatIsAloneInStepNeedsNoVote() {
        var status = status()
        status.inStep = ["alpha"]
        #expect(QuorumForecast(status, lost: ["bravo", "charlie"]).outcome == .goesOn)
    }

    @Test func aCopyThatIsNotInStepCannotTakeOver() {
        var status = status()
        status.inStep = ["alpha"]
        #expect(QuorumForecast(status, lost: ["alpha"]).outcome == .noPrimary)
    }

    @Test func withoutQuorumTheDangerIsNamed() {
        var status = status()
        status.votes = nil
        status.quorum = nil
        #expect(QuorumForecast(status, lost: ["bravo"]).outcome == .goesOn)
        let forecast = QuorumForecast(status, lost: ["alpha"])
        #expect(forecast.outcome == .failsOver && forecast.message.contains("fence"))
    }
}
