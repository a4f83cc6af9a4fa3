import Model
import ReplicationCore

/// What nodes keep aside of what they give up (`discarded-data: keep`), and whether that is all.
struct Keepings {
    /// What each node acknowledged as primary, by sector: the newest, and at which step.
    var acknowledged: [[Int: (value: UInt64, step: UInt64)]]
    /// What it kept, by sector, of all times.
    var kept: [[Int: UInt64]]
    /// Being kept.
    var copying: [[Int: UInt64]]
    /// By node and peer: it told that peer that it is whole, in its newest handshake.
    var isWhole: [[Bool]]
    /// By node and peer: in which session it said that it is ready to be filled.
    var readyIn: [[SessionID]]
    /// Where some client made zeroes at some time: nobody can tell when the zeroes that lie there were made.
    var zeroed: Set<Int> = []
    var random: SplitMix
    /// Of nodes whose script holds steps back, or lets them fail: those that wait.
    var held: [Int: [KeepingStep]] = [:]
    var failing: Set<Int> = []

    init(nodes: Int, seed: UInt64) {
        acknowledged = Array(repeating: [:], count: nodes)
        kept = Array(repeating: [:], count: nodes)
        copying = kept
        isWhole = Array(repeating: Array(repeating: false, count: nodes), count: nodes)
        readyIn = Array(repeating: Array(repeating: .none, count: nodes), count: nodes)
        random = SplitMix(seed: seed, subject: "keepings")
    }

    mutating func began(_ operation: ClientOperation) {
        guard operation.kind == .zero || operation.kind == .trim else { return }
        zeroed.formUnion(operation.sectors)
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

    func noteAcknowledged(_ operation: ClientOperation, by node: SimulatedNode) {
        guard options.faults.contains(.keeping) else { return }
        for sector in operation.sectors {
            keepings.acknowledged[node.side][sector] = (operation.value(of: sector), step)
        }
    }

    /// What it is about to give up, and was acknowledged here: newer than what its source has, it must have been kept. (But not what its
    /// source had as well, and lost with its power.)
    func checkKept(_ message: PeerMessage, _ session: SessionID, to peer: NodeID, from node: SimulatedNode) {
        guard options.faults.contains(.keeping) else { return }
        let (side, other) = (node.side, Int(peer.rawValue))
        if case .state(let state) = message {
            keepings.isWhole[side][other] = state.hasDisk && !state.flags.contains(.inconsistent)
        }
        guard case .resyncReady = message, keepings.readyIn[side][other] != session else { return }
        keepings.readyIn[side][other] = session
        guard keepings.isWhole[side][other], !nodes[other].isWitness else { return }
        for (sector, (value, told)) in keepings.acknowledged[side].sorted(by: { $0.key < $1.key })
        where copies[side, sector] == value && isNewer(value, sector, than: other)
            && keepings.kept[side][sector] != value && nodes[other].lastPowerLoss < told
        {
            return oracle.fail(
                "I14",
                "node \(side) gives up \(WriteValue.describe(value)) in sector \(sector), which it acknowledged, for "
                    + "\(WriteValue.describe(copies[other, sector])) of node \(other), and has not kept it")
        }
    }

    private func isNewer(_ value: UInt64, _ sector: Int, than other: Int) -> Bool {
        let theirs = copies[other, sector]
        return value > theirs && (theirs > 0 || !keepings.zeroed.contains(sector))
    }
}
