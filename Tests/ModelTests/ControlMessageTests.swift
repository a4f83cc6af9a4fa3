import Model
import Testing

@Suite struct ControlMessageTests {
    private let nodes = [
        Hello.Node(id: NodeID(unchecked: 0), name: "alpha", witness: false),
        Hello.Node(id: NodeID(unchecked: 1), name: "bravo", witness: false),
    ]
    private let deadline = MonotonicTime(nanoseconds: 9)

    @Test func `Names become nodes, and unknown ones are refused with those that are there`() throws {
        let command = ControlCommand.promote(force: false, peerFenced: "bravo", dryRun: true)
        let wanted = Command.promote(force: false, peerFenced: NodeID(unchecked: 1), deadline: deadline, dryRun: true)
        #expect(try command.resolved(among: nodes, deadline: deadline) == wanted)
        let error = #expect(throws: CommandFailure.self) {
            try ControlCommand.disconnect(peer: "zulu", force: false).resolved(among: nodes, deadline: deadline)
        }
        #expect(error?.kind == .refused && error?.refusal.reason == "no-such-node")
        #expect(error?.refusal.message.contains("alpha, bravo") == true)
    }

    @Test func `Attach is the daemon's own`() throws {
        #expect(try ControlCommand.attach.resolved(among: nodes, deadline: deadline) == nil)
    }

    @Test func `Each kind of failure has its exit code and its place among others`() {
        #expect(CommandFailure.Kind.byPrecedence.map(\.exitCode) == [64, 77, 78, 4, 3, 2, 1])
        #expect(Set(CommandFailure.Kind.byPrecedence) == Set(CommandFailure.Kind.allCases))
    }

    @Test func `A follower hears what is, then only what became different`() {
        var status = VolumeStatus(
            volume: "r0", node: "alpha", role: .secondary, disk: .upToDate, size: 4096, generation: nil, term: 1,
            inStep: ["alpha", "bravo"], quorum: nil, suspended: [], suspect: false, nbd: "", device: nil, clients: 0,
            pid: 1, reason: nil, message: nil,
            peers: [
                VolumeStatus.Peer(
                    node: "bravo", id: 1, connection: .connected, role: .secondary, disk: .upToDate,
                    replication: .established, outOfSyncBytes: 0, lagBytes: 0, lagSeconds: 0, resync: nil,
                    lastResync: nil, reason: nil, message: nil)
            ])
        let before = status
        #expect(ControlEvent.between(nil, status, at: 1).map(\.peer) == [nil, "bravo"])
        #expect(ControlEvent.between(before, status, at: 2).isEmpty)
        status.role = .primary
        status.peers[0].outOfSyncBytes = 4096
        let events = ControlEvent.between(before, status, at: 3)
        #expect(events.map(\.peer) == [nil, "bravo"])
        #expect(events.flatMap(\.changes).map(\.field) == ["role", "out-of-sync"])
        #expect(events[0].changes == [.init(field: "role", from: "secondary", to: "primary")])
        // A counter that runs is not news.
        let marked = status
        status.peers[0].outOfSyncBytes = 8192
        #expect(ControlEvent.between(marked, status, at: 4).isEmpty)
    }
}
