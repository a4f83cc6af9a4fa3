import Model
import ReplicationCore

/// The fence command of a simulated cluster: it ends the peer for good, until somebody starts it again, or it fails. It
/// never says what is not so. And as every cluster manager's: whoever was ended may end nobody before it met the one that
/// ended it (Corosync's `wait_for_all`), or two nodes without a link would take turns, each losing what the other wrote.
extension Cluster {
    func fence(_ peer: NodeID, _ request: UInt64, by node: SimulatedNode) {
        // A script says what its commands come to.
        guard witness == nil else { return }
        heap.push(
            .fenced(node: node.side, incarnation: node.incarnation, peer: peer, request: request),
            at: now + 20_000_000 + fencingRandom.skewed(mean: 800_000_000))
    }

    func fenced(_ node: SimulatedNode, _ incarnation: Int, _ peer: NodeID, _ request: UInt64) {
        // A command outlives a process that was killed, and nobody hears its answer.
        let target = nodes[Int(peer.rawValue)]
        var outcome = FencingOutcome.peerFenced
        if phase != .liveness, fencingRandom.chance(1, in: 6) {
            outcome = target.isUp && target.isPrimary ? .peerIsPrimary : .failed(code: 1)
        } else if endedNodes.contains(node.side) {
            outcome = .failed(code: 1)
        } else if target.isUp {
            endedNodes.insert(target.side)
            crash(target, losesPower: true)
            heap.push(
                .restart(node: target.side, incarnation: target.incarnation),
                at: now + 50_000_000 + fencingRandom.skewed(mean: options.faultGap))
        } else {
            endedNodes.insert(target.side)
        }
        guard node.incarnation == incarnation, node.isUp else { return }
        deliver(.fenceAnswered(peer, request: request, outcome), to: node)
    }
}
