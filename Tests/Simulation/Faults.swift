import Model
import ReplicationCore

/// What goes wrong, of the kinds that the seed enabled.
extension Cluster {
    func fault() {
        guard phase == .safety else { return }
        let gap = faultRandom.chance(1, in: 3) ? options.faultGap / 20 : options.faultGap
        heap.push(.fault, at: now + 1_000_000 + faultRandom.skewed(mean: gap))
        let kinds: [FaultKinds] = [
            .processCrash, .powerLoss, .totalPowerLoss, .pause, .cut, .oneWay, .reset,
        ].filter { options.faults.contains($0) }
        guard !kinds.isEmpty else { return }
        commit(faultRandom.pick(kinds))
    }

    private func commit(_ kind: FaultKinds) {
        let victim = drawVictim()
        switch kind {
        case .processCrash: strike(victim, losesPower: false)
        case .powerLoss: strike(victim, losesPower: true)
        case .totalPowerLoss:
            guard faultRandom.chance(1, in: 3) else { return }
            for node in nodes { strike(node, losesPower: true) }
        case .pause: pause(victim, for: drawDuration())
        case .cut:
            let duration = drawDuration()
            partition(victim, for: duration)
            if faultRandom.chance(1, in: 3) { resetAll("network unreachable") }
        case .oneWay: block(victim.side, for: drawDuration())
        default: resetAll("connection reset in mid-frame")
        }
    }

    /// Two nodes do not hear each other; of more, one is alone, or only one link is cut.
    private func partition(_ victim: SimulatedNode, for duration: UInt64) {
        let second = duration + faultRandom.below(options.timing.pingInterval)
        guard options.isByMajority else {
            block(0, for: duration)
            block(1, for: second)
            return
        }
        let only = faultRandom.chance(1, in: 3) ? faultRandom.below(nodes.count) : nil
        for other in nodes where other !== victim && only.map({ $0 == other.side }) ?? true {
            block(from: victim.side, to: other.side, for: duration)
            block(from: other.side, to: victim.side, for: second)
        }
    }

    /// The primary more often than not.
    private func drawVictim() -> SimulatedNode {
        let drawn = nodes[faultRandom.below(nodes.count)]
        guard faultRandom.chance(1, in: 3), let primary = nodes.first(where: { $0.isPrimary }) else { return drawn }
        return primary
    }

    private func drawDuration() -> UInt64 { drawDuration(&faultRandom) }

    /// From a blip to longer than any time-out.
    func drawDuration(_ random: inout SplitMix) -> UInt64 {
        switch random.below(4) {
        case 0: random.below(options.timing.pingInterval / 2)
        case 1: random.below(options.timing.pingTimeout * 2)
        case 2: random.below(options.timing.cutOff)
        default: options.timing.cutOff + random.below(options.timing.cutOff * 2)
        }
    }

    private func strike(_ node: SimulatedNode, losesPower: Bool) {
        crash(node, losesPower: losesPower)
        heap.push(.restart(node: node.side, incarnation: node.incarnation), at: now + 1_000_000 + drawDuration())
    }

    private func resetAll(_ reason: String) {
        for index in network.openSessions { reset(index, reason) }
        if trace.isOn { trace.add(now, Trace.world, "fault", reason) }
    }

    /// The other copy is whole and within reach, and this one did not go on without it.
    func isSpared(_ node: SimulatedNode) -> Bool {
        guard !options.isByMajority else { return isSparedByMajority(node) }
        let other = other(node)
        return other.isUp && !other.isPaused && other.usesDisk && other.glimpse.isInStep && node.glimpse.isInStep
            && (!node.glimpse.hasRecord || node.glimpse.inStep.contains(other.id)) && network.isWhole
    }

    /// A copy whose disk does not fail has what this one has: its record is as new, and names it.
    private func isSparedByMajority(_ node: SimulatedNode) -> Bool {
        let record = durableSuperblock(node).record
        guard !record.isEmpty else { return false }
        return copyNodes.contains { other in
            guard other !== node, other.side != options.errorNode, other.isUp, !other.isPaused, other.usesDisk,
                let state = other.live?.core.pointee.durableState
            else { return false }
            return state.record.inStep.contains(other.id) && record.number <= state.record.number
                && node.glimpse.number <= state.record.number
                && state.flags.isDisjoint(with: [.suspect, .outdated, .inconsistent])
        }
    }

    /// EIO, at one node only, and only while the other is whole.
    func failsDisk(_ deed: SimulatedDisk.Deed, _ node: SimulatedNode) -> Bool {
        if isUnreadable(deed, node) { return true }
        guard options.faults.contains(.diskErrors), phase == .safety, node.side == options.errorNode, errorsLeft > 0,
            diskRandoms[node.side].chance(1, in: 400)
        else { return false }
        guard isSpared(node) else { return false }
        errorsLeft -= 1
        if trace.isOn { trace.add(now, node.side, "fault", "this operation fails: \(deed.kindName)") }
        return true
    }
}

extension SimulatedDisk.Deed {
    var kindName: String {
        switch self {
        case .read: "read"
        case .fill: "read of an edge"
        case .write: "write"
        case .flush: "flush"
        case .metadata: "metadata"
        }
    }
}
