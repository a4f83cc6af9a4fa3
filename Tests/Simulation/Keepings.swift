import Model
import ReplicationCore

/// What nodes keep aside of what they give up (`discarded-data: keep`), and whether that is all.
struct Keepings {
    /// What clients were told of, by whomever: a value names its write and its sector.
    var answered: Set<UInt64> = []
    /// What it kept, by sector, of all times.
    var kept: [[Int: UInt64]]
    /// Being kept.
    var copying: [[Int: UInt64]]
    /// By node and peer: it told that peer that it is whole, in its newest handshake.
    var isWhole: [[Bool]]
    /// By node and peer: in which session it said that it is ready to be filled.
    var readyIn: [[SessionID]]
    var random: SplitMix
    /// Of nodes whose script holds steps back, or lets them fail: those that wait.
    var held: [Int: [KeepingStep]] = [:]
    var failing: Set<Int> = []

    init(nodes: Int, seed: UInt64) {
        kept = Array(repeating: [:], count: nodes)
        copying = kept
        isWhole = Array(repeating: Array(repeating: false, count: nodes), count: nodes)
        readyIn = Array(repeating: Array(repeating: .none, count: nodes), count: nodes)
        random = SplitMix(seed: seed, subject: "keepings")
    }
}

extension Cluster {
    /// A step takes a while; now and then there is no room.
    func keepAside(_ step: KeepingStep, _ node: SimulatedNode) {
        let takes = keepings.random.skewed(mean: options.diskLatency * keepings.random.pick([1, 10, 100] as [UInt64]))
        let fails = node.disk.script == nil && phase == .safety && keepings.random.chance(1, in: 40)
        switch step {
        case .begin: keepings.copying[node.side] = [:]
        case .leaveOff:
            if keepings.held[node.side] != nil { keepings.held[node.side] = [] }
            return
        case .copy, .end: break
        }
        if keepings.held[node.side] != nil {
            keepings.held[node.side]?.append(step)
            return
        }
        end(step, of: node, after: takes, fails: fails || keepings.failing.contains(node.side))
    }

    /// What a script held back goes on.
    func releaseKept(_ node: SimulatedNode) {
        for step in keepings.held.removeValue(forKey: node.side) ?? [] {
            end(step, of: node, after: 0, fails: keepings.failing.contains(node.side))
        }
    }

    private func end(_ step: KeepingStep, of node: SimulatedNode, after takes: UInt64, fails: Bool) {
        heap.push(
            .kept(node: node.side, incarnation: node.incarnation, step: step, succeeded: !fails), at: now + 1000 + takes
        )
    }

    func kept(_ node: SimulatedNode, _ incarnation: Int, _ step: KeepingStep, _ succeeded: Bool) {
        guard node.incarnation == incarnation else { return }
        if succeeded {
            switch step {
            case .copy(let runs):
                for run in runs {
                    for sector in Int(run.first) * 8..<Int(run.first + run.count) * 8 {
                        keepings.copying[node.side][sector] = copies[node.side, sector]
                    }
                }
            case .end: keepings.kept[node.side].merge(keepings.copying[node.side]) { $1 }
            case .begin, .leaveOff: break
            }
        }
        deliver(.keptAside(succeeded: succeeded, succeeded ? "r0.img" : "no room"), to: node)
    }

    func noteAcknowledged(_ operation: ClientOperation) {
        guard options.faults.contains(.keeping) else { return }
        // Zeroes are of no write: nobody can tell when those that lie somewhere were made.
        for sector in operation.sectors where operation.value(of: sector) > 0 {
            keepings.answered.insert(operation.value(of: sector))
        }
    }

    /// What a copy is about to give up, and clients were told of, by its own node or another: what is no part of its source's line must
    /// have been kept, also where that has something newer of its own.
    func checkKept(_ message: PeerMessage, _ session: SessionID, to peer: NodeID, from node: SimulatedNode) {
        guard options.faults.contains(.keeping) else { return }
        let (side, other) = (node.side, Int(peer.rawValue))
        switch message {
        case .state(let state):
            keepings.isWhole[side][other] = state.hasDisk && !state.flags.contains(.inconsistent)
        case .joinOffer: copies.takeLine(other, of: side)
        case .resyncReady where keepings.readyIn[side][other] != session:
            keepings.readyIn[side][other] = session
            guard keepings.isWhole[side][other], !nodes[other].isWitness else { return }
            for sector in 0..<copies.sectors {
                let value = copies[side, sector]
                guard keepings.answered.contains(value), !copies.known[other].contains(value),
                    keepings.kept[side][sector] != value
                else { continue }
                return oracle.fail(
                    "I14",
                    "node \(side) gives up \(WriteValue.describe(value)) in sector \(sector), which was acknowledged, for "
                        + "\(WriteValue.describe(copies[other, sector])) of node \(other), and has not kept it")
            }
        default: break
        }
    }
}
