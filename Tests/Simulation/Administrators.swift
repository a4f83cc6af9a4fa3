import Model
import ReplicationCore

/// Something that an administrator or a cluster manager does in several steps.
struct AdministratorTask {
    enum Kind {
        /// The primary is dead or was killed: the survivor takes over, and the dead one may come back.
        case failover(survivor: Int, dead: Int)
        /// Clients leave, one side is demoted, the other promoted.
        case switchover(from: Int)
        /// `down`, and up again later.
        case restart(Int)
        /// The disk is taken away and given back.
        case replug(Int)
        /// Two commands at one node, with time between them.
        case both(Int, Command, Command)
    }

    var kind: Kind
    var stage = 0
    var command: UInt32?
    var incarnation = 0
    /// Nanoseconds; the task is given up then.
    var ends: UInt64
    var isOver = false
}

extension Cluster {
    /// Every so often: keeps the volume served, and does one deed.
    func administrator() {
        guard phase == .safety else { return }
        heap.push(.administrator, at: now + 100_000_000 + administratorRandom.skewed(mean: options.administratorGap))
        let running = tasks.lazy.filter { !$0.isOver }.count
        if running == 0 { keepServing() }
        if options.faults.contains(.administrator), running < 2, administratorRandom.chance(2, in: 3) { deed() }
        if options.faults.contains(.reckless), administratorRandom.chance(1, in: 2) { recklessDeed() }
    }

    private func keepServing() {
        guard !nodes.contains(where: { $0.isUp && $0.isPrimary }) else {
            // A primary that nobody reaches: some managers shoot it.
            guard options.faults.contains(.failover), !network.isWhole, administratorRandom.chance(1, in: 3),
                let primary = nodes.first(where: { $0.isPrimary }), let heir = heir(of: primary)
            else { return }
            crash(primary, losesPower: administratorRandom.chance(1, in: 2))
            return begin(.failover(survivor: heir.side, dead: primary.side))
        }
        let up = copyNodes.filter(\.isUp)
        guard let chosen = up.isEmpty ? nil : administratorRandom.pick(up) else { return }
        if up.count == options.copies || (options.isByMajority && administratorRandom.chance(2, in: 3)) {
            ask(chosen, .promote(force: false, peerFenced: nil, deadline: deadline(chosen), dryRun: false))
        } else if options.faults.contains(.failover), let dead = copyNodes.first(where: { !$0.isUp }) {
            begin(.failover(survivor: chosen.side, dead: dead.side))
        }
    }

    private func heir(of primary: SimulatedNode) -> SimulatedNode? {
        let up = copyNodes.filter { $0 !== primary && $0.isUp }
        return up.count > 1 ? administratorRandom.pick(up) : up.first
    }

    func deadline(_ node: SimulatedNode) -> MonotonicTime {
        let patience = administratorRandom.pick([0, 500, 2_000, 10_000] as [UInt64])
        return node.localTime(now + patience * 1_000_000)
    }

    /// What a careful administrator does.
    private func deed() {
        let side = administratorRandom.below(options.copies)
        let node = nodes[side]
        let peer = other(node).id
        let drawn = administratorRandom.below(9)
        if options.isByMajority, (5...7).contains(drawn), !options.faults.contains(.unplugging) { return }
        switch drawn {
        case 0, 1:
            if let primary = nodes.first(where: { $0.isPrimary && $0.isUp }) { begin(.switchover(from: primary.side)) }
        case 2: if !node.isPrimary { begin(.restart(side)) }
        case 3:
            begin(
                .both(
                    side, .disconnect(peer: nil, force: false),
                    .connect(peer: nil, discardMyData: false, dryRun: false, deadline: deadline(node))))
        case 4: begin(.both(side, .pauseResync, .resumeResync))
        case 5: if !node.isPrimary { begin(.replug(side)) }
        case 6:
            guard !node.isPrimary, options.isByMajority ? isSpared(node) : other(node).isUp else { return }
            ask(node, .invalidate(peer: nil, force: false, deadline: deadline(node)))
        case 7:
            guard node.isPrimary else { return }
            ask(node, .invalidate(peer: peer, force: false, deadline: deadline(node)))
        default:
            ask(
                node,
                .resyncRate(administratorRandom.chance(1, in: 2) ? nil : administratorRandom.within(1 << 20...1 << 26)))
        }
    }

    /// Anything, anywhere.
    private func recklessDeed() {
        let node = nodes[administratorRandom.below(options.copies)]
        guard node.isUp else { return }
        let peer = other(node).id
        let flip = administratorRandom.chance(1, in: 2)
        switch administratorRandom.below(15) {
        case 0, 1, 2: ask(node, .promote(force: false, peerFenced: nil, deadline: deadline(node), dryRun: false))
        case 3: ask(node, .promote(force: false, peerFenced: peer, deadline: deadline(node), dryRun: false))
        case 4: ask(node, .promote(force: true, peerFenced: nil, deadline: deadline(node), dryRun: false))
        case 5, 6: ask(node, .demote(force: flip, deadline: deadline(node)))
        case 7: ask(node, .connect(peer: nil, discardMyData: false, dryRun: flip, deadline: deadline(node)))
        case 8: ask(node, .connect(peer: peer, discardMyData: true, dryRun: false, deadline: deadline(node)))
        case 9: ask(node, .disconnect(peer: nil, force: flip))
        case 10: begin(.replug(node.side))
        case 11: ask(node, .outdate(force: false))
        case 12: ask(node, .invalidate(peer: flip ? peer : nil, force: false, deadline: deadline(node)))
        case 13: ask(node, flip ? .pauseResync : .resumeResync)
        default: begin(.restart(node.side))
        }
    }

    // MARK: Asking

    @discardableResult
    func ask(_ node: SimulatedNode, _ command: Command, inTheseWords: Bool = false) -> UInt32? {
        guard node.isUp, !node.isPaused, mayBeAsked(node, command) else { return nil }
        var command = command
        if case .promote(let force, .some, let deadline, let dryRun, _) = command, options.fencing != .none {
            // Whoever has a fence command lets it see to that.
            command = .promote(force: force, peerFenced: nil, deadline: deadline, dryRun: dryRun)
        }
        if case .promote(force: true, _, _, _, _) = command {
            hasForced = true
            let isFirst = !node.commands.contains {
                if case .promote(force: true, _, _, _, _) = $0.command { true } else { false }
            }
            if isFirst { node.forcedFrom = node.glimpse.lineage }
        }
        if case .promote(let force, let fenced, let deadline, let dryRun, _) = command, options.mode == .asynchronous,
            !inTheseWords
        {
            let acceptsLoss = administratorRandom.chance(1, in: fenced == nil ? 4 : 2)
            command = .promote(
                force: force, peerFenced: fenced, deadline: deadline, dryRun: dryRun, acceptsLoss: acceptsLoss)
        }
        let id = node.nextCommand
        node.nextCommand += 1
        var mustEnd = now + 60_000_000_000
        switch command {
        case .promote(_, _, let deadline, _, _), .demote(_, let deadline), .connect(_, _, _, let deadline),
            .invalidate(_, _, let deadline), .resize(_, _, let deadline):
            mustEnd = node.globalTime(deadline) + 30_000_000_000
        default: break
        }
        var pending = SimulatedNode.PendingCommand(id: CommandID(rawValue: id), command: command, mustEnd: mustEnd)
        if let copy = copyGivenAway(by: command, at: node) { pending.givesAway = oracle.gaveAway(copy) ? nil : copy }
        node.commands.append(pending)
        throwAway(by: command, at: node)
        deliver(.command(CommandID(rawValue: id), command), to: node)
        return id
    }

    private func isGivenAwayElsewhere(_ copy: Int) -> Bool {
        nodes.contains { node in
            node.commands.contains { $0.command.flatMap { copyGivenAway(by: $0, at: node) } == copy }
        }
    }

    private func copyGivenAway(by command: Command, at node: SimulatedNode) -> Int? {
        switch command {
        case _ where options.isByMajority: nil
        case .connect(_, let discards, _, _): discards ? node.side : nil
        case .invalidate(let peer, _, _): peer.map { Int($0.rawValue) } ?? node.side
        default: nil
        }
    }

    /// With quorum: a copy that is thrown away has lost what it had, flushed or not, as with its power: what was acknowledged lies in
    /// the caches of the other members (seed 40012724).
    private func throwAway(by command: Command, at node: SimulatedNode) {
        guard options.isByMajority, case .invalidate(let peer, _, _) = command else { return }
        nodes[peer.map { Int($0.rawValue) } ?? node.side].lastPowerLoss = step
    }

    /// Two copies that never met must not both be founded: they would be two volumes for ever.
    private func mayBeAsked(_ node: SimulatedNode, _ command: Command) -> Bool {
        // Alone, a copy cannot tell that it is an old one: its administrator lets it meet the other first.
        if case .promote = command, node.isRestored { return false }
        if case .promote = command, isOutOfLine(node) { return false }
        if options.isByMajority { return true }
        guard witness == nil, case .promote = command, let live = node.live,
            live.core.pointee.durableState.record.isEmpty
        else {
            return true
        }
        if node.isMadeAnew { return false }
        if let founder { return founder == node.side }
        guard MetadataBytes.isEmpty(other(node), layout: layout) else { return false }
        founder = node.side
        return true
    }

    func commandDone(_ id: CommandID, _ outcome: CommandOutcome, _ node: SimulatedNode) {
        guard let index = node.commands.firstIndex(where: { $0.id == id }) else {
            if let place = node.withdrawn.firstIndex(of: id.rawValue) {
                node.withdrawn.remove(at: place)
                return
            }
            return oracle.fail("I7", "node \(node.side) answered command \(id.rawValue) twice")
        }
        let pending = node.commands.remove(at: index)
        node.outcomes[id.rawValue] = outcome
        if pending.command == nil, case .refused(let refusal) = outcome, refusal.reason == "unrelated-data" {
            findsTwoVolumes(node)
        }
        // Refused because its node stops, it may have taken effect: the copy is being filled.
        if case .refused = outcome, let copy = pending.givesAway, !isGivenAwayElsewhere(copy),
            !durableSuperblock(nodes[copy]).flags.contains(.inconsistent)
        {
            oracle.keeps(copy)
        }
        if let command = pending.command { throwAway(by: command, at: node) }
        if case .promote(let force, let fenced, _, _, let acceptsLoss) = pending.command {
            node.lastPromotion.append((force, fenced, acceptsLoss))
        }
    }

    /// `attach`: the same reading as at a start.
    func attach(_ node: SimulatedNode) -> UInt32? {
        guard node.isUp, !node.isPaused, !node.usesDisk, !node.disk.hasOperations, now >= node.disk.faults.deadUntil
        else { return nil }
        findsOldCopyAgain(node)
        guard case .success(let metadata) = MetadataBytes.load(node, layout: layout, repairing: true) else {
            return nil
        }
        noteLoaded(metadata, node)
        let id = node.nextCommand
        node.nextCommand += 1
        node.commands.append(
            SimulatedNode.PendingCommand(
                id: CommandID(rawValue: id), command: nil, mustEnd: now + 60_000_000_000))
        node.usesDisk = true
        oracle.terms.forget(node.side)
        oracle.found(node.side, inStep: metadata.superblock.record.inStep)
        deliver(.attached(metadata, CommandID(rawValue: id)), to: node)
        return id
    }

    // MARK: Tasks

    func begin(_ kind: AdministratorTask.Kind) {
        tasks.append(AdministratorTask(kind: kind, ends: now + 20_000_000_000))
        heap.push(.task(tasks.count - 1), at: now + 1)
    }
}
