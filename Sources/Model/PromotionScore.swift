/// How good a primary this node would be, for a cluster manager that compares nodes: from what this node knows itself.
///
/// Never negative: Pacemaker stops what has a negative score. A primary that serves has the top value, also while it waits
/// for a peer: the cluster manager moves the role at once to a higher one. That a peer still looks primary lowers
/// nothing: storage notices a dead primary later than the cluster manager, and its refusal is in the promotion itself.
package struct PromotionScore: Equatable, Sendable {
    /// Primary, or in step with nothing unknown of the others.
    package static let best: UInt32 = 10_000
    /// In step when the peer was last heard; it may have gone on alone since.
    package static let apart: UInt32 = 1_000
    /// Only with a peer's data, or with the word that the peer is off.
    package static let lastResort: UInt32 = 10

    /// How this copy stands with the others.
    package enum Peers: String, Sendable {
        /// All are connected, and nothing differs.
        case together
        /// One is not connected: it may be asked to take over what this one goes on without it.
        case apart
        /// Meeting, or being filled.
        case between
    }

    /// 0: not to be promoted. Nil: about to change, the earlier value stays.
    package var value: UInt32?
    package var peers: Peers
    /// In words.
    package var because: String

    /// - Parameter acceptsLoss: a copy that may lack what an asynchronous primary answered is promotable.
    package init(of status: VolumeStatus, acceptsLoss: Bool = false) {
        (value, because) = Self.judge(status, acceptsLoss)
        peers = Self.standing(status)
    }

    /// The peers that hold data; who only votes is missed by nobody.
    private static func copies(_ status: VolumeStatus) -> [VolumeStatus.Peer] {
        let witnesses = status.votes?.witnesses ?? []
        return status.peers.filter { $0.role != .witness && !witnesses.contains($0.node) }
    }

    private static func standing(_ status: VolumeStatus) -> Peers {
        let others = copies(status)
        if others.contains(where: { $0.connection != .connected }) { return .apart }
        let isWhole = others.allSatisfy {
            $0.disk == .upToDate && ($0.replication == .established || $0.replication == .verify)
                && $0.outOfSyncBytes == 0
        }
        return isWhole && status.disk == .upToDate ? .together : .between
    }

    private static func judge(_ status: VolumeStatus, _ acceptsLoss: Bool) -> (UInt32?, String) {
        if status.role == .primary {
            // Somebody who has what it lacks should serve; if nobody has, nothing changes.
            if status.suspended.contains(.noData) { return (lastResort, "primary, with no data in reach") }
            if status.quorum == false { return (lastResort, "primary, without quorum") }
            return (best, "primary")
        }
        if status.role == .witness { return (0, "a witness has no data") }
        if status.quorum == false { return (0, "no quorum") }
        if let reason = status.reason, !(acceptsLoss && reason == VolumeStatus.dataLoss) { return (0, reason) }
        switch status.disk {
        case .upToDate, .consistent: return judgeWhole(status)
        case .attaching: return (nil, "the disk is being attached")
        case .diskless, .failed:
            let holder = status.peers.first { $0.connection == .connected && $0.disk == .upToDate }
            guard let holder else { return (0, "no disk, and no peer with a whole copy") }
            return (lastResort, "no disk; \(holder.node) has the data")
        case .inconsistent, .outdated, .unknown: return (0, "this copy is \(status.disk.rawValue)")
        }
    }

    /// This copy was in step when it last heard of the others.
    private static func judgeWhole(_ status: VolumeStatus) -> (UInt32?, String) {
        let others = copies(status)
        if let peer = others.first(where: { $0.connection == .connected && $0.replication == nil }) {
            return (nil, "meeting \(peer.node)")
        }
        if status.suspect, status.disk == .consistent { return (lastResort, "may have lost its cache") }
        let unknown = others.filter { $0.disk == .unknown }.map(\.node)
        if unknown.isEmpty { return (best, "in step") }
        // A new disk's: what the others have it never saw.
        if status.inStep.isEmpty { return (0, "new, and has met nobody; unknown: \(unknown.joined(separator: ", "))") }
        return (apart, "in step; unknown: \(unknown.joined(separator: ", "))")
    }
}
