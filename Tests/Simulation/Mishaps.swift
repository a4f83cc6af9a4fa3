import Model
import ReplicationCore

/// The second generation of faults: their streams, and what they have left. Nothing here is drawn from when none of them
/// is enabled, so that a seed without them does what it always did.
struct Mishaps {
    var schedule: SplitMix
    var disk: SplitMix
    var metadata: SplitMix
    var network: SplitMix
    /// Blocks of metadata that may still come to harm.
    var damagesLeft = 8
    /// One direction loses packets before, by the node to which it leads.
    var lossyUntil: [UInt64]

    init(seed: UInt64, nodes: Int = 2) {
        lossyUntil = Array(repeating: 0, count: nodes)
        schedule = SplitMix(seed: seed, subject: "mishaps")
        disk = SplitMix(seed: seed, subject: "mishaps of disks")
        metadata = SplitMix(seed: seed, subject: "mishaps of metadata")
        network = SplitMix(seed: seed, subject: "mishaps of the network")
    }
}

extension Cluster {
    /// Those that happen at a moment of their own.
    var mishapKinds: [FaultKinds] {
        [
            .metadataRot, .badSectors, .deadDisk, .noSpace, .hungDisk, .rolledBack, .foreignDisk, .newDisk, .lossy,
            .heldBytes, .meddling,
        ].filter { options.faults.contains($0) }
    }

    func mishap() {
        guard phase == .safety else { return }
        let gap = mishaps.schedule.chance(1, in: 3) ? options.faultGap / 20 : options.faultGap
        heap.push(.mishap, at: now + 1_000_000 + mishaps.schedule.skewed(mean: gap))
        checkMeetings()
        if mishaps.schedule.chance(1, in: 3) { mend() }
        happen(mishaps.schedule.pick(mishapKinds))
    }

    private func happen(_ kind: FaultKinds) {
        let node = nodes[options.errorNode]
        let duration = drawDuration(&mishaps.schedule)
        switch kind {
        case .metadataRot: rotMetadata(node)
        case .badSectors: spoilSectors(node)
        case .deadDisk:
            guard mishaps.schedule.chance(1, in: 3), isSpared(node) else { return }
            tell(node, "the disk is dead for \(duration / 1_000_000) ms")
            node.disk.faults.deadUntil = now + duration
        case .noSpace:
            tell(node, "the disk is full for \(duration / 1_000_000) ms")
            node.disk.faults.fullUntil = now + duration
        case .hungDisk:
            tell(node, "the disk hangs for \(duration / 1_000_000) ms")
            node.disk.faults.hungUntil = now + duration
        case .rolledBack: if mishaps.schedule.chance(1, in: 3) { rollBack(node) } else { takeImage(node) }
        case .foreignDisk:
            guard !node.isUp else { return }
            tell(node, "the other node's disk is in its place for \(duration / 1_000_000) ms")
            node.disk.faults.foreignUntil = now + duration
        case .newDisk:
            if options.witnesses > 0, mishaps.schedule.chance(1, in: 3) { return forgetWitness() }
            if mishaps.schedule.chance(1, in: 3) { makeAnew(node, isBlank: mishaps.schedule.chance(1, in: 2)) }
        case .lossy:
            let toward = mishaps.schedule.below(nodes.count)
            if trace.isOn { trace.add(now, Trace.world, "fault", "packets toward node \(toward) are lost") }
            mishaps.lossyUntil[toward] = now + duration
        case .heldBytes: holdBytes()
        default: meddle()
        }
    }

    private func spoilSectors(_ node: SimulatedNode) {
        guard isSpared(node) else { return }
        let extents = (options.blocks + Geometry.blocksPerExtent - 1) / Geometry.blocksPerExtent
        let first = mishaps.disk.below(extents) * Geometry.blocksPerExtent + mishaps.disk.below(options.hotBlocks)
        let sector = Int(min(first, options.blocks - 1)) * 8
        let count = mishaps.disk.within(1...16)
        for bad in sector..<min(sector + count, options.sectors) where !node.disk.faults.badSectors.contains(bad) {
            node.disk.faults.badSectors.append(bad)
        }
        tell(node, "sectors \(sector)+\(count) cannot be read")
    }

    /// What an administrator does who looks after the disks.
    private func mend() {
        let node = nodes[options.errorNode]
        for node in nodes where node.isUp && !node.usesDisk && node.commands.isEmpty { _ = attach(node) }
        guard node.isRestored, node.isUp, !node.isPaused, node.commands.isEmpty, let live = node.live else { return }
        let status = live.core.pointee.status(at: node.localTime(now))
        guard status.peers.contains(where: { $0.reason == "rolled-back" }) else { return }
        ask(
            node,
            .connect(peer: nil, discardMyData: true, dryRun: false, deadline: node.localTime(now + 5_000_000_000)))
    }

    /// Hasty administrators.
    private func meddle() {
        let node = nodes[mishaps.schedule.below(options.copies)]
        guard node.isUp else { return }
        let deadline = node.localTime(now + mishaps.schedule.pick([0, 500, 5000] as [UInt64]) * 1_000_000)
        switch mishaps.schedule.below(4) {
        case 0: ask(node, .detach(force: true))
        case 1:
            ask(
                node,
                .promote(force: false, peerFenced: nil, deadline: deadline, dryRun: true))
        case 2: ask(node, .connect(peer: nil, discardMyData: false, dryRun: false, deadline: deadline))
        default: withdraw(node)
        }
    }

    /// Whoever asked is gone: the command is not to succeed later, and is not answered if it waits.
    private func withdraw(_ node: SimulatedNode) {
        let index = node.commands.firstIndex { pending in
            switch pending.command {
            case .promote(let force, let fenced, _, let dryRun, _): !force && fenced == nil && !dryRun
            case .connect(_, let discards, _, _): !discards
            default: false
            }
        }
        guard let index, !node.isPaused else { return }
        let id = node.commands.remove(at: index).id
        node.withdrawn.append(id.rawValue)
        deliver(.commandWithdrawn(id), to: node)
    }

    /// Faults stop: disks work again and are their nodes' own.
    func endMishaps() {
        for toward in mishaps.lossyUntil.indices { mishaps.lossyUntil[toward] = 0 }
        for node in nodes {
            node.disk.faults.hungUntil = 0
            node.disk.faults.deadUntil = 0
            node.disk.faults.fullUntil = 0
            node.disk.faults.foreignUntil = 0
            node.disk.faults.badSectors = []
        }
    }

    private func tell(_ node: SimulatedNode, _ what: String) {
        if trace.isOn { trace.add(now, node.side, "fault", what) }
    }
}
