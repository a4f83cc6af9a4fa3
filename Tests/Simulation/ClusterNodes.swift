import Formats
import Model
import Recording
import ReplicationCore

/// Birth and death of processes and machines.
extension Cluster {
    static let nodeNames = ["alpha", "bravo", "charlie", "delta", "echo"]

    var members: [ReplicaConfiguration.Member] {
        zip(nodes, Self.nodeNames).map { node, name in
            ReplicaConfiguration.Member(
                id: node.id, name: name, isWitness: node.isWitness,
                replication: options.mode(between: node.side, and: node.side))
        }
    }

    /// As its file names them.
    func members(of node: SimulatedNode) -> [ReplicaConfiguration.Member] {
        members.filter { !node.misses.contains(Int($0.id.rawValue)) }
    }

    func configuration(of node: SimulatedNode) -> ReplicaConfiguration {
        var limits = options.limits
        limits.logRingBlocks = layout.logBlocks
        if !options.faults.contains(.givingWay) { limits.resyncGivesWay = 0 }
        var configuration = ReplicaConfiguration(
            volume: "r0", node: node.id, members: members(of: node), limits: limits, timing: options.timing,
            resyncRate: options.resyncRate)
        if options.isByMajority { configuration.quorum = .majority }
        configuration.failsWithoutQuorum = options.failsWithoutQuorum
        configuration.confirmsReads = options.confirmsReads
        configuration.fencing = options.fencing
        configuration.maximumLag = options.maximumLag
        configuration.fallsBehind = options.fallsBehind
        configuration.keepsDiscarded = options.faults.contains(.keeping)
        configuration.afterSplitBrain = options.afterSplitBrain
        if options.faults.contains(.verifying) { configuration.verifyEvery = options.verifyEvery }
        configuration.compared = node.verifyMemory
        return configuration
    }

    func start(_ node: SimulatedNode) {
        guard !node.isUp, findsItsDisk(node) else { return }
        node.isStopped = false
        node.formerMisses = []
        let metadata: LoadedMetadata
        switch MetadataBytes.load(node, layout: layout, repairing: true) {
        case .success(let loaded): metadata = loaded
        case .failure(let error):
            return oracle.fail("I7", "node \(node.side) cannot start: \(error)")
        }
        noteLoaded(metadata, node)
        node.run = RunID(rawValue: nodeRandoms[node.side].next() | 1)
        node.bornAt = step
        node.usesDisk = true
        node.durable = nil
        oracle.terms.forget(node.side)
        oracle.assertions.forget(node.side)
        oracle.elections.ended(node.side)
        oracle.requires(
            node.side, metadata.superblock.required, inStep: metadata.superblock.record.inStep, started: true)
        if trace.isOn {
            let hot = metadata.log.table.compactMap { $0 }
            trace.add(
                now, node.side, "start",
                "\(TraceText.of(metadata.superblock.record)) required \(metadata.superblock.required) current "
                    + "\(TraceText.short(metadata.superblock.current.id)) flags \(metadata.superblock.flags.rawValue) hot \(hot)"
            )
        }
        let start = RecordedStart(
            configuration: configuration(of: node), run: node.run, seed: nodeRandoms[node.side].next(),
            wallClock: 1_700_000_000 + now / 1_000_000_000, metadata: metadata, time: node.localTime(now))
        let core = Replica(start, deciding: &effects)
        let live = LiveReplica(core)
        if let recordingLayout { record(start, in: recordingLayout, node) }
        node.live = live
        breakSilence(of: node.side)
        settle(node, live)
    }

    /// - Parameter kept: of what is unstable exactly this survives; nil: chance decides.
    func crash(_ node: SimulatedNode, losesPower: Bool, keeping kept: [UnstableSector]? = nil) {
        guard node.isUp else {
            if losesPower { loseCache(node, kept) }
            return
        }
        if trace.isOn { trace.add(now, node.side, "fault", losesPower ? "power lost" : "process killed") }
        if losesPower {
            loseCache(node, kept)
        } else if let kept {
            node.disk.dies(losingPower: false, keeping: kept)
        } else {
            node.disk.losesProcess(&diskRandoms[node.side])
        }
        if forgetsWithProcess(node), !losesPower { losesMemory(node) }
        dropSessions(of: node.side, silently: losesPower)
        node.forgetProcess()
        checkCoverage(whole: true)
    }

    /// `memory`. With quorum what a primary answered is on its own disk first.
    func forgetsWithProcess(_ node: SimulatedNode) -> Bool {
        guard options.mode == .memory else { return false }
        guard options.isByMajority else { return true }
        return !node.isPrimary
            && copyNodes.contains { $0 !== node && options.mode(between: node.side, and: $0.side) == .memory }
    }

    /// `memory`: what was received, and answered, and had not come to the disk.
    func losesMemory(_ node: SimulatedNode) {
        node.lastPowerLoss = step
        oracle.lostPower(node.side)
    }

    private func loseCache(_ node: SimulatedNode, _ kept: [UnstableSector]?) {
        if let kept {
            node.disk.dies(losingPower: true, keeping: kept)
        } else {
            node.disk.faults.unbreakable = onlySuperblocks(node)
            node.disk.losesPower(&diskRandoms[node.side])
        }
        node.bootID = (nodeRandoms[node.side].next(), nodeRandoms[node.side].next())
        node.lastPowerLoss = step
        oracle.lostPower(node.side)
    }

    /// The core said that it is through.
    func stopped(_ node: SimulatedNode) {
        node.stopsNow = true
    }

    /// It came while the process stood still, behind what ended it.
    private func isUnheard(_ pending: SimulatedNode.PendingCommand, by node: SimulatedNode) -> Bool {
        node.inbox.contains {
            if case .adjusted(_, let command) = $0 { command == pending.id } else { false }
        }
    }

    /// The process ends by itself, after `.stopped`.
    func finishStop(_ node: SimulatedNode) {
        node.stopsNow = false
        if node.disk.hasOperations { oracle.fail("I7", "node \(node.side) stopped with operations at its disk") }
        for pending in node.commands where pending.command != .stop && !isUnheard(pending, by: node) {
            oracle.fail(
                "I7", "node \(node.side) stopped without an answer to \(pending.command.map { "\($0)" } ?? "attach")")
        }
        checkNothingHeld(node)
        dropSessions(of: node.side, silently: false)
        node.disk.losesProcess(&diskRandoms[node.side])
        node.forgetProcess()
        node.isStopped = true
        checkCoverage(whole: true)
    }

    func pause(_ node: SimulatedNode, for duration: UInt64) {
        guard node.isUp, !node.isPaused else { return }
        if trace.isOn { trace.add(now, node.side, "fault", "stopped for \(duration / 1_000_000) ms") }
        node.isPaused = true
        node.pausedAt = now
        node.wasConnected = status(node)?.peers.first?.connection == .connected
        heap.push(.resume(node: node.side, incarnation: node.incarnation), at: now + duration)
    }

    func resume(_ node: SimulatedNode) {
        guard node.isPaused else { return }
        if trace.isOn { trace.add(now, node.side, "fault", "goes on") }
        node.isPaused = false
        // It heard nothing while it stood still: what it began for one that came back ends that much later (seed 12465208).
        node.heardAt += now - node.pausedAt
        if node.standsStill {
            node.standsStill = false
            node.stoodStill += now - node.pausedAt
        }
        let timing = options.timing
        let isLong = now > node.pausedAt + 2 * (timing.pingInterval + timing.pingTimeout)
        node.mustHear =
            isLong && !options.isByMajority && node.isPrimary && node.wasConnected
            && node.glimpse.required.contains(other(node).id)
        node.isWaking = true
        while !node.inbox.isEmpty, !node.isPaused { deliver(node.inbox.removeFirst(), to: node) }
        node.isWaking = false
    }

    func checkNothingHeld(_ node: SimulatedNode) {
        for case let operation? in node.operations {
            oracle.fail(
                phase == .liveness ? .liveness : .safety, "I7",
                "node \(node.side) never answered \(operation.description)")
        }
        if node.buffers.outstanding > 0 {
            oracle.fail("I7", "node \(node.side) never released \(node.buffers.outstanding) buffers")
        }
    }
}
