import ArgumentParser
import Model

/// What `wait --for` can wait for.
enum WaitCondition: String, CaseIterable, ExpressibleByArgument {
    case running, stopped, connected, disconnected, primary, secondary, promotable, quorum
    case inSync = "in-sync"
    /// In sync, and nothing that was answered is still on its way (`memory`, `async`). Only the primary knows that.
    case caughtUp = "caught-up"
    case upToDate = "up-to-date"
    case noResync = "no-resync"

    /// Whether it is so. `status` nil: no daemon answers. `peer`: only that one. `promotable` asks `dryRun`.
    func holds(_ status: VolumeStatus?, peer: String?, dryRun: () -> Bool) -> Bool {
        guard let status else { return self == .stopped }
        let peers = status.peers.filter { peer == nil || $0.node == peer }
        // The one that is asked about: a peer when it was named, else this node.
        let named = peer == nil ? nil : peers.first
        switch self {
        case .running: return true
        case .stopped: return false
        case .connected: return !peers.isEmpty && peers.allSatisfy { $0.connection == .connected }
        case .disconnected: return peers.allSatisfy { $0.connection != .connected }
        case .primary: return (named?.role ?? status.role) == .primary
        case .secondary: return (named?.role ?? status.role) == .secondary
        case .upToDate: return (named?.disk ?? status.disk) == .upToDate
        case .quorum: return status.quorum != false
        case .noResync: return peers.allSatisfy { $0.resync == nil && !$0.isResyncing }
        case .promotable: return status.role == .primary || dryRun()
        case .caughtUp:
            let isKnown = !status.peers.contains { $0.role == .primary && $0.mode != .sync }
            return isKnown && Self.inSync.holds(status, peer: peer, dryRun: dryRun)
                && peers.allSatisfy { $0.lagBytes == 0 }
        case .inSync:
            let copies = peers.filter { !(status.votes?.witnesses.contains($0.node) ?? false) }
            return status.disk == .upToDate && !copies.isEmpty
                && copies.allSatisfy {
                    $0.connection == .connected && $0.disk == .upToDate && $0.outOfSyncBytes == 0
                        && $0.resync == nil && !$0.isResyncing
                }
        }
    }

    /// What is so instead, in words, for the message when time is over.
    static func describe(_ status: VolumeStatus?, peer: String?) -> String {
        guard let status else { return "it is not running" }
        let peers = status.peers.filter { peer == nil || $0.node == peer }.map { peer in
            var words = "\(peer.node) \(peer.connection.rawValue) \(peer.role.rawValue) \(peer.disk.rawValue)"
            if peer.lagBytes > 0 { words += " (\(peer.lagBytes) bytes behind)" }
            if peer.outOfSyncBytes > 0 { words += " (\(peer.outOfSyncBytes) bytes out of sync)" }
            if let reason = peer.reason { words += " (\(reason))" }
            return words
        }
        return (["\(status.node) \(status.role.rawValue) \(status.disk.rawValue)"] + peers).joined(separator: "; ")
    }
}

extension VolumeStatus.Peer {
    var isResyncing: Bool { replication == .resyncSource || replication == .resyncTarget }
}
