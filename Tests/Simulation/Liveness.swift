import Model
import ReplicationCore

/// How far the second phase has come.
struct LivenessState {
    var began: UInt64 = 0
    var ends: UInt64 = 0
    var resumedResync = false
    var nextDeed: UInt64 = 0
    /// The side whose data is given away to heal a split brain.
    var loser: Int?
    var splitBrainSeenAt: UInt64?
    var settledSince: UInt64?
    /// Whether this seed promotes a node before it looks for rest.
    var wantsPrimary = false
    var forcedOnce = false
}

/// The second phase: faults stop, the network heals, everybody is started, and within the budget all must come to rest:
/// copies equal, nothing marked, no request waiting.
extension Cluster {
    private static let budget: UInt64 = 240_000_000_000

    /// Beside that the time to copy the whole volume twice, a window of pulls there and back, as the seed drew volume, window and
    /// link: no source can do it faster (seed 33700157 of `--modes`: of 32 MiB in windows of 16 KiB, over 46 ms, one was left).
    private var fillingTime: UInt64 {
        let windows = options.size / options.limits.resyncWindow + 1
        return 2 * windows * 2 * (options.networkDelay + options.distance + options.diskLatency)
    }

    func watch() {
        heap.push(.watch, at: now + 250_000_000)
        checkDeeply()
        checkStatus()
        checkCommands()
        checkBustle()
        guard phase == .liveness else {
            let isTired = now > options.longestSafety
            if operationsLeft == 0 || isTired { beginLiveness() }
            return
        }
        if isAtRest() {
            let since = liveness.settledSince ?? now
            liveness.settledSince = since
            if now >= since + 1_000_000_000 { finish() }
            return
        }
        liveness.settledSince = nil
        if now > liveness.ends { return failLiveness() }
        if now >= liveness.nextDeed {
            liveness.nextDeed = now + 500_000_000
            help()
        }
    }

    func beginLiveness() {
        phase = .liveness
        operationsLeft = 0
        if trace.isOn { trace.add(now, Trace.world, "phase", "faults stop") }
        liveness.began = now
        liveness.ends = now + Self.budget + fillingTime
        liveness.wantsPrimary = administratorRandom.chance(2, in: 3)
        for toward in nodes.indices { heal(toward: toward) }
        if options.isByMajority || options.faults.contains(.growing) { liveness.wantsPrimary = true }
        endMishaps()
        endMemberships()
        endGrowths()
        for node in nodes {
            node.isHeldDown = false
            node.clientLeaves = false
            resume(node)
        }
    }

    // MARK: Helping

    /// What an administrator does who wants the volume whole again.
    private func help() {
        for node in nodes {
            if !node.isUp {
                start(node)
            } else if !node.usesDisk, node.commands.isEmpty {
                // A primary takes no disk.
                if node.isPrimary {
                    ask(node, .demote(force: true, deadline: node.localTime(now + 10_000_000_000)))
                } else {
                    _ = attach(node)
                }
            }
        }
        guard nodes.allSatisfy(\.isUp) else { return }
        helpToGrow()
        if !liveness.resumedResync {
            liveness.resumedResync = true
            for node in nodes { ask(node, .resumeResync) }
            for node in nodes { ask(node, .resyncRate(nil)) }
        }
        if options.isByMajority {
            healLines()
            // Before all that is asked again and again.
            servePrimary()
            reconnectAll()
            return
        }
        if healParting() {
            return
        }
        endDouble()
        servePrimary()
    }

    func status(_ node: SimulatedNode) -> VolumeStatus? {
        node.live?.core.pointee.status(at: node.localTime(now))
    }

    private func isWaiting(_ node: SimulatedNode) -> Bool { !node.commands.isEmpty }

    /// Both sides say why they are parted; then one gives its data away.
    private func healParting() -> Bool {
        guard let first = status(nodes[0])?.peers.first, let second = status(nodes[1])?.peers.first else {
            return false
        }
        guard first.connection == .standalone || second.connection == .standalone else {
            liveness.splitBrainSeenAt = nil
            return false
        }
        let parting = ["split-brain", "unrelated-data", "rolled-back"]
        let reasons = [first.reason, second.reason]
        let parted = reasons.map { reason in reason.map { parting.contains($0) } ?? false }
        if !parted[0], !parted[1] {
            for node in nodes where !isWaiting(node) {
                ask(
                    node,
                    .connect(
                        peer: nil, discardMyData: false, dryRun: false, deadline: node.localTime(now + 5_000_000_000)))
            }
            return false
        }
        if areTwoVolumes(reasons) { return true }
        checkPartingIsExplained(reasons)
        let seen = liveness.splitBrainSeenAt ?? now
        liveness.splitBrainSeenAt = seen
        guard parted[0], parted[1] else {
            if now > seen + 30_000_000_000, liveness.loser == nil {
                oracle.fail(
                    .liveness, "I8",
                    "only one side says that they are parted: \(reasons[0] ?? "-") / \(reasons[1] ?? "-")")
            }
            guard liveness.loser == nil else {
                giveAway()
                return true
            }
            // The other side learns it at the next meeting.
            let ignorant = nodes[parted[0] ? 1 : 0]
            if !isWaiting(ignorant) {
                ask(
                    ignorant,
                    .connect(
                        peer: nil, discardMyData: false, dryRun: false,
                        deadline: ignorant.localTime(now + 5_000_000_000)))
            }
            return true
        }
        giveAway()
        return true
    }

    /// Each copy was founded or given a volume while they did not hear each other, or one was made anew and promoted by force as it
    /// was (seed 12800947): named, on both sides, and for ever.
    private func areTwoVolumes(_ reasons: [String?]) -> Bool {
        let states = nodes.compactMap { $0.live?.core.pointee.durableState.volume }
        let isForced = hasForced && hasMadeAnew
        guard reasons == ["unrelated-data", "unrelated-data"], states.count == 2, states[0] != states[1],
            !oracle.haveBeenInStep || isForced
        else { return false }
        isDone = true
        return true
    }

    /// The same, of a disk that failed while its node founded a volume with the other: that one heard nothing of it, and
    /// founded its own. The disk is refused by name, for ever.
    func findsTwoVolumes(_ node: SimulatedNode) {
        guard phase == .liveness, !oracle.haveBeenInStep, let known = node.live?.core.pointee.durableState.volume,
            known != durableSuperblock(node).volume
        else { return }
        isDone = true
    }

    /// Promoted apart, nobody asked for anything, and neither gives way by itself: one is demoted.
    private func endDouble() {
        guard !options.isByMajority, nodes.allSatisfy(\.isPrimary),
            nodes.allSatisfy({ status($0)?.peers.first?.reason == "both-primary" })
        else { return }
        let node = nodes[administratorRandom.below(options.copies)]
        guard !isWaiting(node) else { return }
        ask(node, .demote(force: true, deadline: node.localTime(now + 10_000_000_000)))
    }

    /// One copy was put back as it was, and the other's data is thrown away: nothing is left but to say that the old one counts.
    private func reviveOld() -> Bool {
        let flags = nodes.map { $0.live?.core.pointee.durableState.flags ?? [] }
        guard let old = nodes.first(where: { flags[$0.side].contains(.rolledBack) }),
            !flags[old.side].contains(.inconsistent), flags[other(old).side].contains(.inconsistent)
        else { return false }
        guard !isWaiting(old) else { return true }
        old.isRestored = false
        ask(
            old,
            .promote(force: true, peerFenced: nil, deadline: old.localTime(now + 10_000_000_000), dryRun: false))
        return true
    }

    /// A source was put back to a time when it was a target itself, and the other, which had all, was told to be filled by what it
    /// had sent before (seed 12097630); or a reckless administrator threw both away (seed 12444281). Both say that they are not
    /// whole, and why they are parted: nothing is left but to say that one of the two counts: the half that nobody put back, or
    /// with the reckless one either.
    private func reviveHalf() -> Bool {
        let flags = nodes.map { $0.live?.core.pointee.durableState.flags ?? [] }
        let isReckless = options.faults.contains(.reckless)
        guard let old = nodes.first(where: { ($0.wasSource || isReckless) && flags[$0.side].contains(.rolledBack) }),
            flags.allSatisfy({ $0.contains(.inconsistent) })
        else { return false }
        let half = isReckless && options.seed % 2 == 0 ? old : other(old)
        guard !isWaiting(half) else { return true }
        ask(
            half,
            .promote(force: true, peerFenced: nil, deadline: half.localTime(now + 10_000_000_000), dryRun: false))
        return true
    }

    private func giveAway() {
        if reviveOld() || reviveHalf() { return }
        let loser = liveness.loser ?? drawLoser()
        liveness.loser = loser
        let node = nodes[loser]
        guard !isWaiting(node) else { return }
        if node.isPrimary {
            ask(node, .demote(force: true, deadline: node.localTime(now + 10_000_000_000)))
        } else {
            ask(
                node,
                .connect(peer: nil, discardMyData: true, dryRun: false, deadline: node.localTime(now + 10_000_000_000)))
        }
    }

    /// Never the last whole copy.
    private func drawLoser() -> Int {
        if let old = nodes.first(where: \.isRestored) { return old.side }
        let whole = nodes.map { $0.live?.core.pointee.durableState.flags.contains(.inconsistent) == false }
        if whole[0] != whole[1] { return whole[0] ? 1 : 0 }
        let drawn = administratorRandom.below(options.copies)
        guard !options.faults.isDisjoint(with: .mishaps) else { return drawn }
        // One that says itself that it was put back is no source.
        let outdated = nodes.map { $0.live?.core.pointee.durableState.flags.contains(.outdated) == true }
        return outdated[0] != outdated[1] ? (outdated[0] ? 0 : 1) : drawn
    }

    /// I8: a split brain is said only where both went on by themselves.
    private func checkPartingIsExplained(_ reasons: [String?]) {
        guard reasons.contains("split-brain"), !options.faults.contains(.reckless) else { return }
        // A peer without its disk is left out without being ended, as with DRBD: its next run may have the disk again.
        let mistaken = FaultKinds.failingDisks.union([.foreignDisk, .newDisk]).union(.damagingMetadata)
        if options.fencing == .stonith, !hasForced, options.faults.isDisjoint(with: mistaken) {
            oracle.fail("I8", "a split brain though each copy that went on alone had ended the other")
        }
        if oracle.wentOnAlone[0], oracle.wentOnAlone[1] { return }
        // Promoted by force because nobody else could be, a copy begins a lineage: what the other holds is not thrown away
        // without a word, though nobody served it alone (seed 12018277 before its outdated copy was a source again).
        if hasForced, areOfTwoLineages { return }
        oracle.fail("I8", "split brain is reported though not both copies went on alone")
    }

    private func servePrimary() {
        // One who was promoted by force takes what is offered to it once it serves.
        let waits = nodes.contains { node in
            node.commands.contains { pending in
                if case .connect(_, true, _, _) = pending.command { return !options.isByMajority }
                return true
            }
        }
        guard !waits, !nodes.contains(where: \.isPrimary) else { return }
        guard liveness.wantsPrimary || now > liveness.began + Self.budget / 2 else { return }
        let node = nodes[administratorRandom.below(options.copies)]
        // A copy that was replaced or put back holds nothing that the others, who may all have lost their caches, could wait for.
        let isLost: (SimulatedNode) -> Bool = {
            $0.isMadeAnew || self.durableSuperblock($0).flags.contains(.rolledBack)
        }
        let lost = options.isByMajority ? copyNodes.first { $0 !== node && isLost($0) } : nil
        let isLate = !options.isByMajority && now > liveness.began + Self.budget / 4 * 3
        ask(
            node,
            .promote(
                force: isLate, peerFenced: lost?.id, deadline: node.localTime(now + 5_000_000_000), dryRun: false))
    }

    // MARK: Rest

    private func isAtRest() -> Bool {
        guard copies.differing.count == 0, hasGrown else { return false }
        for node in nodes {
            guard node.isUp, !node.isPaused, node.commands.isEmpty, node.operationsInFlight == 0 else { return false }
            guard node.buffers.outstanding == 0, node.usesDisk else { return false }
        }
        if options.isByMajority { return isMajorityAtRest() }
        for node in nodes {
            guard let status = status(node), let peer = status.peers.first else { return false }
            guard status.disk == .upToDate, peer.connection == .connected, peer.replication == .established,
                peer.outOfSyncBytes == 0, peer.resync == nil, peer.disk == .upToDate
            else { return false }
        }
        return !liveness.wantsPrimary || nodes.contains(where: \.isPrimary)
    }

    /// One node leads, and every copy is in step with it.
    private func isMajorityAtRest() -> Bool {
        guard let primary = nodes.first(where: \.isPrimary), let status = status(primary) else { return false }
        guard status.inStep.count == options.copies, status.disk == .upToDate else { return false }
        let copies = status.peers.filter { peer in !nodes[Int(peer.id)].isWitness }
        for copy in copies {
            guard copy.connection == .connected, copy.replication == .established, copy.outOfSyncBytes == 0,
                copy.resync == nil, copy.disk == .upToDate
            else { return false }
        }
        return true
    }

    /// Whoever an administrator parted meets again.
    private func reconnectAll() {
        for node in nodes where !isWaiting(node) {
            guard let status = status(node), status.peers.contains(where: { $0.connection == .standalone }) else {
                continue
            }
            // What was put back as it was counts for nothing: it says so itself.
            let isOld = node.live?.core.pointee.durableState.flags.contains(.rolledBack) ?? false
            ask(
                node,
                .connect(
                    peer: nil, discardMyData: isOld, dryRun: false,
                    deadline: node.localTime(now + 5_000_000_000)))
        }
    }

    private func finish() {
        checkOneLine()
        oracle.checkAtRest(primary: nodes.first { $0.isPrimary }?.side, at: step)
        isDone = true
    }

    /// I3, C12: at rest there is one volume, one generation, one record, and nobody has a stain.
    private func checkOneLine() {
        let states = copyNodes.compactMap { $0.live?.core.pointee.durableState }
        guard states.count == options.copies,
            states.allSatisfy({ state in
                state.volume == states[0].volume && state.current.id == states[0].current.id
                    && state.record == states[0].record && state.required == state.record.inStep
            }),
            states.allSatisfy({ $0.flags.intersection([.suspect, .inconsistent, .outdated]).isEmpty })
        else {
            let text = states.map {
                "\(TraceText.of($0.record)) required \($0.required) current \(TraceText.short($0.current.id)) flags "
                    + "\($0.flags.rawValue)"
            }
            return oracle.fail(.liveness, "I3", "at rest they are not one: " + text.joined(separator: " / "))
        }
    }

    private func failLiveness() {
        var text = "no rest in \((liveness.ends - liveness.began) / 1_000_000_000) s without faults;"
        if let first = copies.differing.members.first {
            text += " \(copies.differing.count) blocks differ, as block \(first);"
        }
        for node in nodes {
            for case let operation? in node.operations {
                text += " node \(node.side) never answered \(operation.description);"
            }
            for command in node.commands {
                text += " node \(node.side) never answered \(command.command.map { "\($0)" } ?? "attach");"
            }
            if node.buffers.outstanding > 0 { text += " node \(node.side) holds \(node.buffers.outstanding) buffers;" }
            guard let status = status(node), let peer = status.peers.first else {
                text += " node \(node.side) is down;"
                continue
            }
            text +=
                " node \(node.side): \(status.role.rawValue) \(status.disk.rawValue) in step \(status.inStep)"
                + " suspended \(status.suspended.map(\.rawValue)) suspect \(status.suspect), peer \(peer.connection.rawValue)"
                + " \(peer.role.rawValue) \(peer.disk.rawValue) \(peer.replication?.rawValue ?? "-") out of sync"
                + " \(peer.outOfSyncBytes) \(peer.reason ?? "-");"
            for peer in status.peers.dropFirst() {
                text +=
                    " \(peer.node) \(peer.connection.rawValue) \(peer.disk.rawValue) out of sync \(peer.outOfSyncBytes);"
            }
        }
        oracle.fail(.liveness, "I3", text)
    }
}
