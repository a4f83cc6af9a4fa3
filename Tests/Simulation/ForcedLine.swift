import Model
import ReplicationCore

/// `promote --force` in a cluster with quorum: an administrator who has lost the others begins a new line with what one copy
/// holds. From then on that copy rules; what it lacks is lost by his word. He forces only while all other copies are off, once
/// a seed, promotes nobody of the former line any more, has its copies thrown away, and deletes the witness's memory.
extension Cluster {
    func force(_ node: SimulatedNode) {
        guard options.isByMajority, !hasForced, node.isUp, !node.isPaused, !node.isPrimary, node.commands.isEmpty,
            node.usesDisk, !node.isRestored, durableSuperblock(node).flags.contains(.founded),
            copyNodes.allSatisfy({ $0 === node || !$0.isUp })
        else { return }
        let patience = duels.random.pick([1, 4, 8]) * options.timing.lease
        let asked = ask(
            node, .promote(force: true, peerFenced: nil, deadline: node.localTime(now + patience), dryRun: false))
        if asked != nil, ruler == nil { ruler = (node.side, false) }
    }

    /// It serves by force.
    func beginsLine(_ node: SimulatedNode) {
        ruler = (node.side, true)
        oracle.terms.beginsLine()
        oracle.terms.serves(under: node.glimpse.number.term)
        oracle.rebaseByMajority(node.side, at: step)
        if trace.isOn { trace.add(now, node.side, "oracle", "a new line begins with what this copy holds") }
    }

    func isFormerLine(_ lineage: LineageID) -> Bool { lineage.isNone || lineage == .founding }

    /// Nobody promotes it while another one rules, or is about to.
    func isOutOfLine(_ node: SimulatedNode) -> Bool {
        guard let ruler, ruler.side != node.side else { return false }
        return isFormerLine(durableSuperblock(node).record.lineage)
    }

    /// The administrator's duty after that.
    func healLines() {
        guard let ruler else { return }
        guard !isFormerLine(durableSuperblock(nodes[ruler.side]).record.lineage) else {
            // It came to nothing.
            if nodes[ruler.side].commands.isEmpty { self.ruler = nil }
            return
        }
        for node in nodes where node.isUp && !node.isPaused && isOutOfLine(node) {
            guard durableSuperblock(node).record.lineage == .founding else { continue }
            if node.isWitness { return forgetWitness(isOfFormerLine: true) }
            guard node.commands.isEmpty, !node.isPrimary else { continue }
            ask(
                node,
                .connect(
                    peer: nil, discardMyData: true, dryRun: false, deadline: node.localTime(now + 5_000_000_000)))
        }
    }
}

extension Oracle {
    /// What this copy holds is what there is.
    func rebaseByMajority(_ copy: Int, at step: UInt64) {
        unflushed.removeAll()
        for block in shadows[0].blocks {
            for sector in Int(block) * 8..<Int(block) * 8 + 8 {
                shadows[0].rebase(
                    sector, disks.value(copy, sector), stable: disks.stableValue(copy, sector), at: step)
            }
        }
    }
}
