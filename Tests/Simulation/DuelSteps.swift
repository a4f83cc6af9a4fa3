import Model
import ReplicationCore

/// Something that happens in a duel, at a moment of its own.
enum DuelStep {
    case begin
    case promote(Int, fenced: Int?)
    case kill(Int, losesPower: Bool, startsAfter: UInt64?)
    /// Nothing of the first arrives at the second.
    case cut([Int], [Int], for: UInt64)
    case mend([Int], [Int])
    case stopClock(Int, for: UInt64)
    case detach(Int)
    case demote(Int)
    case attach(Int)
    case forgetWitness
    case release(Int)
    case force(Int)
    case healLines
    case requests(Int)
    /// That many at once.
    case fill(Int, writes: Int, reads: Int)
    /// What reaches its disk from now on is answered then.
    case holdData(Int, until: UInt64)
    /// Its clients go as soon as they are answered, and it is demoted.
    case handOver(Int, tries: Int)
    case hangDisk(Int, for: UInt64)
}

/// The duel of a seed.
struct DuelState {
    var random: SplitMix
    var steps: [DuelStep] = []
    /// The primary that another node is to follow: its clients read what those of the successor write.
    var former: Int?
    /// Kept off after they were powered off.
    var heldDown: Set<Int> = []
    /// The candidate whose disk hangs once it asked, and others hear the former primary again.
    var slowCandidate: Int?

    /// In an exact one: the node whose message it waits for, and from whom it came already.
    var awaited: Int?
    var hasCome: Set<Int> = []

    /// What else goes wrong in it.
    var spells: SplitMix

    init(seed: UInt64) {
        random = SplitMix(seed: seed, subject: "duel")
        spells = SplitMix(seed: seed, subject: "spells")
    }
}

extension Cluster {
    func after(_ delay: UInt64, _ step: DuelStep) {
        duels.steps.append(step)
        heap.push(.duel(duels.steps.count - 1), at: now + 1 + delay)
    }

    func duel(_ index: Int) {
        guard phase == .safety else { return }
        switch duels.steps[index] {
        case .begin: beginDuel()
        case .promote(let side, let fenced): wish(nodes[side], fenced)
        case .kill(let side, let losesPower, let startsAfter): kill(nodes[side], losesPower, startsAfter)
        case .cut(let from, let to, let duration):
            for one in from { for other in to where other != one { block(from: one, to: other, for: duration) } }
        case .mend(let from, let to):
            for one in from {
                for other in to where other != one {
                    let direction = network.direction(from: one, to: other)
                    heal(direction, network.cuts[direction])
                }
            }
        case .stopClock(let side, let duration):
            guard nodes[side].isUp, !nodes[side].isPaused else { return }
            nodes[side].standsStill = true
            nodes[side].stoodStillFrom = step
            pause(nodes[side], for: duration)
        case .demote(let side):
            if nodes[side].isPrimary {
                ask(nodes[side], .demote(force: false, deadline: nodes[side].localTime(now + 4 * options.timing.lease)))
            }
        case .detach(let side):
            if nodes[side].usesDisk { ask(nodes[side], .detach(force: true)) }
        case .attach(let side): if nodes[side].commands.isEmpty { _ = attach(nodes[side]) }
        case .forgetWitness: forgetWitness(isSure: true)
        case .release(let side): release(nodes[side])
        case .force(let side): force(nodes[side])
        case .healLines: healLines()
        case .requests(let left): requests(left)
        case .fill(let side, let writes, let reads): fill(nodes[side], writes: writes, reads: reads)
        case .holdData(let side, let until): nodes[side].disk.faults.dataHeldUntil = until
        case .handOver(let side, let tries): handOver(nodes[side], tries)
        case .hangDisk(let side, let duration): nodes[side].disk.faults.hungUntil = now + duration
        }
    }

    private func wish(_ node: SimulatedNode, _ fenced: Int?) {
        guard node.isUp, !node.isPaused, !node.isPrimary, node.commands.isEmpty else { return }
        let patience = duels.random.pick([1, 4, 8]) * options.timing.lease
        // Who is said to be off is off.
        let off = fenced.flatMap { nodes[$0].isUp ? nil : nodes[$0].id }
        ask(
            node,
            .promote(force: false, peerFenced: off, deadline: node.localTime(now + patience), dryRun: false))
    }

    private func kill(_ node: SimulatedNode, _ losesPower: Bool, _ startsAfter: UInt64?) {
        guard node.isUp else { return }
        crash(node, losesPower: losesPower)
        guard let startsAfter else { return }
        heap.push(.restart(node: node.side, incarnation: node.incarnation), at: now + 1 + startsAfter)
    }

    private func release(_ node: SimulatedNode) {
        guard duels.heldDown.contains(node.side), !isVouchedOff(node) else {
            return after(options.timing.lease, .release(node.side))
        }
        duels.heldDown.remove(node.side)
        node.isHeldDown = false
        heap.push(.restart(node: node.side, incarnation: node.incarnation), at: now + 1)
    }

    /// Somebody was told that it is off, and goes by that still.
    private func isVouchedOff(_ node: SimulatedNode) -> Bool {
        nodes.contains { other in
            other.commands.contains { pending in
                if case .promote(_, node.id, _, _, _) = pending.command { return true }
                return false
            }
        }
    }

    // MARK: Clients

    /// Of all who say that they are primary: the former one's read, those of another write.
    private func requests(_ left: Int) {
        if left > 0 { after(duels.random.below(options.timing.lease / 12), .requests(left - 1)) }
        for node in copyNodes where node.isPrimary { requestInDuel(node, reads: node.side == duels.former) }
    }

    private func handOver(_ node: SimulatedNode, _ tries: Int) {
        guard node.isUp, node.isPrimary, node.commands.isEmpty else { return }
        guard letClientGo(node) else {
            if tries > 0, node.isUp { after(options.timing.pingInterval / 16, .handOver(node.side, tries: tries - 1)) }
            node.clientLeaves = tries > 0
            return
        }
        guard node.isUp else { return }
        ask(node, .demote(force: false, deadline: node.localTime(now + 4 * options.timing.lease)))
    }

    private func fill(_ node: SimulatedNode, writes: Int, reads: Int) {
        for _ in 0..<writes { requestInDuel(node, reads: false, exactly: true) }
        for _ in 0..<reads { requestInDuel(node, reads: true) }
    }

    private func requestInDuel(_ node: SimulatedNode, reads: Bool, exactly: Bool = false) {
        guard node.isUp, node.isPrimary, !node.clientLeaves, !node.isPaused || node.standsStill else { return }
        if node.clients == 0 {
            guard !node.isPaused else { return }
            node.clients = 1
            deliver(.clientsChanged(count: 1), to: node)
            guard node.isUp else { return }
        }
        guard node.operationsInFlight < 12 else { return }
        var range = ByteRange(blocks: 0..<1)
        let block = duels.random.below(min(options.hotBlocks, options.blocks))
        range = ByteRange(blocks: block..<block + 1)
        let isRead = reads || !exactly && duels.random.chance(1, in: 4)
        if isRead, !recentWrites.isEmpty, duels.random.chance(2, in: 3) {
            range = recentWrites[duels.random.below(recentWrites.count)]
        }
        if !isRead { recentWrites = recentWrites.suffix(7) + [range] }
        give(node, isRead ? .read : .write, range, forced: false)
    }
}
