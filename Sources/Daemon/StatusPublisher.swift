import Formats
import Glibc
import LinuxIO
package import Model

/// What this node says of itself to who asks once and to who follows: the core's status, completed by what only the
/// daemon knows, and the differences between one and the next.
package struct StatusPublisher {
    /// A running resync is told so often.
    static let progressInterval: UInt64 = 500_000_000

    private let nbd: String
    private let device: () -> String?
    private let traffic: (NodeID) -> PeerTraffic
    private let read: () -> VolumeStatus
    private var last: VolumeStatus?
    private var lastProgress: UInt64 = 0

    /// - Parameters:
    ///   - nbd: the path of the NBD socket.
    ///   - device: the kernel's, when there is one.
    ///   - traffic: what was sent to a peer.
    ///   - read: the core's status as it is now; its counts of clients are taken as they are.
    package init(
        nbd: String, device: @escaping () -> String? = { nil },
        traffic: @escaping (NodeID) -> PeerTraffic = { _ in PeerTraffic() }, read: @escaping () -> VolumeStatus
    ) {
        self.nbd = nbd
        self.device = device
        self.traffic = traffic
        self.read = read
    }

    package func present() -> VolumeStatus {
        var status = read()
        status.nbd = nbd
        status.pid = getpid()
        status.device = device()
        for index in status.peers.indices {
            guard let node = NodeID(status.peers[index].id) else { continue }
            let traffic = traffic(node)
            status.peers[index].compression = traffic.compression
            status.peers[index].sentBytes = traffic.payloadBytes
            status.peers[index].wireBytes = traffic.wireBytes
        }
        return status
    }

    /// What a new follower is told, and from which on it hears of changes.
    mutating func beginning() -> [ControlEvent] {
        let status = last ?? present()
        last = status
        return ControlEvent.between(nil, status, at: Self.wallClock())
    }

    /// What became different since the last call; nobody followed before `beginning`.
    mutating func changes(now: UInt64) -> [ControlEvent] {
        let status = present()
        guard let previous = last else {
            last = status
            return []
        }
        let time = Self.wallClock()
        var events = ControlEvent.between(previous, status, at: time)
        let isProgressDue = now >= lastProgress &+ Self.progressInterval
        if isProgressDue {
            lastProgress = now
            for peer in status.peers {
                let told = events.contains { $0.peer == peer.node }
                if !told, let event = Self.progress(of: peer, since: previous, in: status, at: time) {
                    events.append(event)
                }
            }
        }
        // What was not told yet of a resync's progress stays news.
        last = status
        if !isProgressDue { keepProgress(of: previous) }
        return events
    }

    /// Nobody follows any more.
    mutating func forget() { last = nil }

    private mutating func keepProgress(of previous: VolumeStatus) {
        guard var status = last else { return }
        for index in status.peers.indices {
            guard let old = previous.peers.first(where: { $0.id == status.peers[index].id })?.resync else { continue }
            status.peers[index].resync?.doneBytes = old.doneBytes
        }
        last = status
    }

    private static func progress(
        of peer: VolumeStatus.Peer, since previous: VolumeStatus, in status: VolumeStatus, at time: Double
    ) -> ControlEvent? {
        let old = previous.peers.first { $0.id == peer.id }
        guard let now = peer.resync?.doneBytes, let before = old?.resync?.doneBytes, now != before else { return nil }
        let change = ControlEvent.Change(field: "resync-done-bytes", from: String(before), to: String(now))
        return ControlEvent(kind: .change, time: time, peer: peer.node, changes: [change], status: status)
    }

    private static func wallClock() -> Double { Double(wallClockNow() / 1_000_000) / 1000 }
}
