import Model
import ReplicationCore

/// Protocols break between one step and the next. In some seeds a fault falls, more often than chance would have it, when
/// a message goes out that carries a record or a step of a resync.
extension Cluster {
    /// A node did something after which a fault tells more than at other times.
    func tempt(_ node: SimulatedNode) {
        guard options.faults.contains(.steps), phase == .safety, momentRandom.chance(1, in: 8) else { return }
        let kinds: [FaultKinds] = [.processCrash, .powerLoss, .reset, .pause].filter { options.faults.contains($0) }
        guard !kinds.isEmpty else { return }
        let kind = momentRandom.pick(kinds)
        let victim =
            momentRandom.chance(2, in: 3)
            ? node.side : options.isByMajority ? momentRandom.below(nodes.count) : other(node).side
        let delay =
            momentRandom.chance(1, in: 3) ? 0 : momentRandom.below(2 * (options.networkDelay + options.diskLatency))
        heap.push(.moment(kind, node: victim), at: now + 1 + delay)
    }

    func moment(_ kind: FaultKinds, _ node: SimulatedNode) {
        guard phase == .safety, node.isUp else { return }
        let longest = momentRandom.chance(1, in: 2) ? options.timing.pingTimeout : 2 * options.timing.cutOff
        let duration = 1_000_000 + momentRandom.below(longest)
        switch kind {
        case .reset: for index in network.openSessions { reset(index, "connection reset at a step") }
        case .pause: pause(node, for: duration)
        default:
            crash(node, losesPower: kind == .powerLoss)
            heap.push(.restart(node: node.side, incarnation: node.incarnation), at: now + duration)
        }
    }
}

extension PeerMessage {
    /// It carries a record or a step of a resync.
    var isStep: Bool {
        switch self {
        case .propose, .accepted, .chosen, .resyncBegin, .resyncReady, .bitmapEnd, .resyncFlushed, .resyncComplete,
            .joinOffer,
            .verdict:
            true
        default: false
        }
    }
}
