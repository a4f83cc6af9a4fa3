import Model
import Testing

@Suite struct PromotionScoreTests {
    private static func peer(
        _ connection: ConnectionState, _ disk: DiskState, role: Role = .secondary, replication: ReplicationState? = nil
    ) -> VolumeStatus.Peer {
        VolumeStatus.Peer(
            node: "bravo", id: 1, connection: connection, role: connection == .connected ? role : .unknown, disk: disk,
            replication: replication ?? (connection == .connected ? .established : nil), outOfSyncBytes: 0, lagBytes: 0,
            lagSeconds: 0, resync: nil, lastResync: nil, reason: nil, message: nil)
    }

    private static func status(_ role: Role, _ disk: DiskState, _ peer: VolumeStatus.Peer) -> VolumeStatus {
        VolumeStatus(
            volume: "r0", node: "alpha", role: role, disk: disk, size: 4096, generation: nil, term: 1,
            inStep: ["alpha", "bravo"], quorum: nil, suspended: [], suspect: false, nbd: "", device: nil, clients: 0,
            pid: 1, reason: nil, message: nil, peers: [peer])
    }

    private static func judged(
        _ role: Role, _ disk: DiskState, _ peer: VolumeStatus.Peer, _ change: (inout VolumeStatus) -> Void = { _ in }
    ) -> PromotionScore {
        var status = status(role, disk, peer)
        change(&status)
        return PromotionScore(of: status)
    }

    @Test func `A copy that may lack what its asynchronous primary answered is promotable by a word only`() {
        var status = Self.status(.secondary, .consistent, away)
        status.reason = VolumeStatus.dataLoss
        #expect(PromotionScore(of: status).value == 0)
        #expect(PromotionScore(of: status, acceptsLoss: true).value == 1000)
        status.reason = "split-brain"
        #expect(PromotionScore(of: status, acceptsLoss: true).value == 0)
    }

    private static func score(
        _ role: Role, _ disk: DiskState, _ peer: VolumeStatus.Peer, _ change: (inout VolumeStatus) -> Void = { _ in }
    ) -> UInt32? { judged(role, disk, peer, change).value }

    private let here = peer(.connected, .upToDate)
    private let away = peer(.connecting, .unknown)
    private let leftOut = peer(.connecting, .outdated)

    @Test func `A primary has the top value, also while it waits`() {
        #expect(Self.score(.primary, .upToDate, here) == 10_000)
        #expect(Self.score(.primary, .upToDate, away) { $0.suspended = [.record] } == 10_000)
        #expect(Self.score(.primary, .failed, here) == 10_000)
    }

    @Test func `A primary that lacks quorum or data yields to who has it, and to nobody else`() {
        #expect(Self.score(.primary, .failed, away) { $0.suspended = [.noData] } == 10)
        #expect(Self.score(.primary, .upToDate, away) { $0.quorum = false } == 10)
    }

    @Test func `A copy in step ties with its primary, and yields to a better informed one when apart`() {
        #expect(Self.score(.secondary, .upToDate, Self.peer(.connected, .upToDate, role: .primary)) == 10_000)
        #expect(Self.score(.secondary, .upToDate, leftOut) == 10_000)
        #expect(Self.score(.secondary, .consistent, away) == 1000)
        #expect(Self.score(.secondary, .upToDate, away) == 1000)
    }

    @Test func `A new copy is promoted only when it has met its peers`() {
        #expect(Self.score(.secondary, .upToDate, away) { $0.inStep = [] } == 0)
        #expect(Self.score(.secondary, .upToDate, here) { $0.inStep = [] } == 10_000)
    }

    @Test(arguments: [DiskState.outdated, .inconsistent, .unknown])
    func `A copy that is not whole is not promoted`(disk: DiskState) {
        #expect(Self.score(.secondary, disk, here) == 0)
        #expect(Self.score(.secondary, disk, away) == 0)
    }

    @Test func `Without quorum, in a split brain and on a witness nobody is promoted`() {
        #expect(Self.score(.secondary, .upToDate, here) { $0.quorum = false } == 0)
        #expect(Self.score(.secondary, .upToDate, away) { $0.reason = "split-brain" } == 0)
        #expect(Self.score(.witness, .diskless, here) == 0)
    }

    @Test func `What only a peer, or the word of its end, can make good is the last resort`() {
        #expect(Self.score(.secondary, .diskless, here) == 10)
        #expect(Self.score(.secondary, .failed, away) == 0)
        #expect(Self.score(.secondary, .consistent, away) { $0.suspect = true } == 10)
    }

    @Test func `On the way to another state the value stays`() {
        #expect(Self.score(.secondary, .attaching, here) == nil)
        var meeting = Self.peer(.connected, .unknown)
        meeting.replication = nil
        #expect(Self.score(.secondary, .consistent, meeting) == nil)
    }

    @Test func `Who is not connected is apart, and only who lacks nothing is together`() {
        #expect(Self.judged(.primary, .upToDate, here).peers == .together)
        #expect(Self.judged(.secondary, .upToDate, here).peers == .together)
        #expect(Self.judged(.primary, .upToDate, away).peers == .apart)
        #expect(Self.judged(.primary, .upToDate, leftOut).peers == .apart)
        #expect(Self.judged(.primary, .failed, here).peers == .between)
        let filled = Self.peer(.connected, .inconsistent, replication: .resyncSource)
        #expect(Self.judged(.primary, .upToDate, filled).peers == .between)
        var marked = here
        marked.outOfSyncBytes = 4096
        #expect(Self.judged(.primary, .upToDate, marked).peers == .between)
    }

    @Test func `A witness is missed by nobody`() {
        func withWitness(_ connection: ConnectionState) -> (inout VolumeStatus) -> Void {
            { status in
                var witness = Self.peer(connection, .unknown, role: .witness)
                witness.node = "charlie"
                witness.replication = nil
                status.peers.append(witness)
                status.votes = VolumeStatus.Votes(
                    voters: ["alpha", "bravo", "charlie"], present: ["alpha", "bravo"], witnesses: ["charlie"],
                    leaseSeconds: nil, isDecided: true)
            }
        }
        for connection in [ConnectionState.connected, .connecting] {
            let judged = Self.judged(.secondary, .upToDate, here, withWitness(connection))
            #expect(judged.value == 10_000 && judged.peers == .together)
        }
    }
}
