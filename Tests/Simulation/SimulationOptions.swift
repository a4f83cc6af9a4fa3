package import Model
package import ReplicationCore

/// Everything that a seed draws before the simulation begins, printed with every failure.
package struct SimulationOptions: Sendable {
    package var seed: UInt64
    package var faults: FaultKinds
    /// Nodes with a copy. More than two nodes in all: `quorum: majority`.
    package var copies = 2
    package var witnesses = 0
    package var fencing = ReplicaConfiguration.Fencing.none
    package var afterSplitBrain = SplitBrainPolicies()
    /// Of each copy.
    package var replication = [ReplicationMode.sync, .sync]
    /// Nanoseconds more on each link to an asynchronous copy (`FaultKinds.mixed`).
    package var distance: UInt64 = 0
    /// `max-lag`, nanoseconds; 0: none.
    package var maximumLag: UInt64 = 0
    package var fallsBehind = false
    /// `on-quorum-lost: error`.
    package var failsWithoutQuorum = false
    package var duel: Duel?
    /// `reads: confirm`.
    package var confirmsReads = false
    /// Client requests in the safety phase.
    package var operations: Int
    package var queueDepth: Int
    package var blocks: UInt64
    /// With `FaultKinds.growing`: what the volume has at first; else `blocks`.
    package var growsFrom: UInt64?
    package var firstBlocks: UInt64 { faults.contains(.growing) ? min(growsFrom ?? blocks, blocks) : blocks }
    package var logExtents: UInt32
    /// `FaultKinds.smallLog`: of which node.
    package var smallLog: (node: Int, extents: UInt32)?
    /// Blocks of each extent that requests go to.
    package var hotBlocks: UInt64
    package var largestRequestBlocks: UInt64
    /// Out of 100.
    package var readShare: UInt64
    package var flushShare: UInt64
    package var forcedShare: UInt64
    /// Nanoseconds: means.
    package var diskLatency: UInt64
    package var networkDelay: UInt64
    package var thinkTime: UInt64
    package var faultGap: UInt64
    package var administratorGap: UInt64
    package var timing: Timing
    package var limits: Limits
    package var resyncRate: UInt64?
    /// `verify-every`, seconds, with `FaultKinds.verifying`; 0: only when an administrator says so.
    package var verifyEvery: UInt64 = 0
    /// The kernel's monotonic clock at the start of each node.
    package var clockOffsets: [UInt64]
    /// Parts in a million by which each node's clock runs fast (`drift`).
    package var clockDrifts: [Int64]
    /// The node whose disk fails.
    package var errorNode: Int
    /// Simulated nanoseconds after which no more faults come, though requests are left.
    package var longestSafety: UInt64 = 90_000_000_000
    package var planted: PlantedFault?
    /// A sector whose every change the trace shows.
    package var watched: Int?
    /// The oracle's deepest look, after every so many events.
    package var deepCheckEvery: Int

    package init(seed: UInt64) {
        var random = SplitMix(seed: seed, subject: "options")
        self.seed = seed
        faults = Self.drawFaults(&random)
        operations = random.chance(1, in: 10) ? random.within(600...1500) : random.within(40...400)
        queueDepth = random.within(1...16)
        if random.chance(1, in: 2) {
            blocks = random.within(32...512)
        } else {
            blocks = random.within(2...10) * Geometry.blocksPerExtent - random.below(UInt64(200))
        }
        logExtents = UInt32(random.within(2...7))
        hotBlocks = random.within(4...40)
        largestRequestBlocks = random.pick([1, 1, 2, 4, 8, 16])
        readShare = random.within(5...60)
        flushShare = random.within(0...12)
        forcedShare = random.within(0...20)
        diskLatency = random.within(20_000...3_000_000)
        networkDelay = random.within(20_000...5_000_000)
        faultGap = random.within(300_000_000...4_000_000_000)
        thinkTime = faultGap * random.within(2...8) / UInt64(operations)
        administratorGap = random.within(300_000_000...4_000_000_000)
        timing = Self.drawTiming(&random)
        limits = Self.drawLimits(&random)
        if blocks > Geometry.blocksPerExtent { limits.resyncPiece = max(limits.resyncPiece, 64 << 10) }
        resyncRate = random.chance(1, in: 6) ? random.within(1 << 20...64 << 20) : nil
        clockOffsets = [random.within(1...1 << 40), random.within(1...1 << 40)]
        errorNode = random.below(2)
        deepCheckEvery = random.pick([64, 256, 1024])
        var mishapRandom = SplitMix(seed: seed, subject: "mishap options")
        faults.formUnion(Self.drawMishaps(&mishapRandom))
        var stepsRandom = SplitMix(seed: seed, subject: "step options")
        if stepsRandom.chance(1, in: 2) { faults.insert(.steps) }
        clockDrifts = (0...1).map { _ in Int64(mishapRandom.below(Self.largestDrift * 2 + 1)) - Int64(Self.largestDrift)
        }
        drawPace()
        drawSmallLog()
        drawAnnouncing()
        var verifyRandom = SplitMix(seed: seed, subject: "verify options")
        if verifyRandom.chance(1, in: 4) { faults.insert(.verifying) }
        if verifyRandom.chance(1, in: 2) { verifyEvery = verifyRandom.within(30...120) }
    }

    /// Two nodes that fence each other: what `seed` draws for two nodes, and how.
    package init(fencing seed: UInt64) {
        self.init(seed: seed)
        var random = SplitMix(seed: seed, subject: "fencing options")
        fencing = random.pick([.stonith, .stonith, .resource])
        // A copy that was put back and started twice before it met its peer passes (`Invariants.md`, known limits), and who
        // is fenced is started again and again.
        faults.subtract([.reckless, .rolledBack])
    }

    /// Two nodes of which one or both need not have a write on disk before it is answered: what `seed` draws for two, and how.
    package init(modes seed: UInt64) {
        self.init(seed: seed)
        var random = SplitMix(seed: seed, subject: "mode options")
        let lax: ReplicationMode = random.pick([.memory, .asynchronous, .asynchronous])
        replication = random.pick([[lax, lax], [.sync, lax], [lax, .sync]])
        limits.sendBuffer = random.pick([16 << 10, 64 << 10, 256 << 10, 4 << 20])
        if random.chance(1, in: 4) { maximumLag = random.within(timing.pingInterval / 10...timing.cutOff) }
        fallsBehind = lax == .asynchronous && random.chance(1, in: 3)
        if random.chance(1, in: 3) { networkDelay = min(networkDelay * 10, timing.pingTimeout / 10) }
        faults.subtract([.reckless, .rolledBack])
        // With what else they may be combined.
        if random.chance(1, in: 3), !fallsBehind { fencing = random.pick([.stonith, .resource]) }
        if random.chance(1, in: 3) { drawPolicies(&random) }
        drawKeeping()
    }

    /// A volume that grows: what `seed` draws for two nodes, for two that need not have a write on disk, or for a cluster with
    /// quorum, and how.
    package init(growing seed: UInt64) {
        var random = SplitMix(seed: seed, subject: "growth options")
        switch random.below(UInt64(4)) {
        case 0: self.init(seed: seed)
        case 1: self.init(modes: seed)
        case 2 where seed >= Self.firstMixedGrowth: self.init(mixed: seed)
        default: self.init(quorum: seed, duels: false)
        }
        // Another node's disk may be too small for ever; and what is compared is the volume of one size.
        faults.subtract([.foreignDisk, .verifying, .reckless])
        if random.chance(1, in: 2) { faults.subtract([.membership, .turnover]) }
        if random.chance(1, in: 2) { faults.subtract([.rolledBack, .newDisk]) }
        if random.chance(1, in: 2) { faults.subtract(FaultKinds.damagingMetadata) }
        faults.insert(.growing)
        growsFrom = random.within(blocks / 4 + 1...blocks - 1)
    }

    private mutating func drawPolicies(_ random: inout SplitMix) {
        let choices = SplitBrainPolicies.choices.map(\.choice) + NodeID.all.prefix(2).map { .discardNode($0) }
        afterSplitBrain.withoutPrimary = random.pick(choices)
        afterSplitBrain.withOnePrimary = random.pick(SplitBrainPolicies.WithOnePrimary.allCases)
        afterSplitBrain.withTwoPrimaries = random.pick(SplitBrainPolicies.WithTwoPrimaries.allCases)
    }

    /// A cluster with quorum: what `seed` draws for one, with some copies that writes need not wait for.
    package init(mixed seed: UInt64) {
        self.init(quorum: seed)
        var random = SplitMix(seed: seed, subject: "mixed options")
        // Taken in, a node is of a mode that others do not know.
        faults.subtract([.membership, .turnover])
        faults.insert(.mixed)
        let lax: ReplicationMode = random.pick([.memory, .asynchronous, .asynchronous, .asynchronous])
        replication = (0..<copies).map { _ in random.chance(1, in: 2) ? lax : .sync }
        if !replication.contains(lax) { replication[Int(random.below(UInt64(copies)))] = lax }
        limits.sendBuffer = random.pick([16 << 10, 64 << 10, 256 << 10, 4 << 20])
        if random.chance(1, in: 4) { maximumLag = random.within(timing.pingInterval / 10...timing.cutOff) }
        fallsBehind = lax == .asynchronous && random.chance(1, in: 3)
        if lax == .asynchronous, random.chance(2, in: 3) {
            distance = random.within(networkDelay...timing.pingTimeout / 4)
        }
        drawKeeping()
    }

    /// Between the two nodes, or the laxest of all with quorum.
    package var mode: ReplicationMode {
        isByMajority && !faults.contains(.mixed) ? .sync : replication.max() ?? .sync
    }

    /// The laxer of the two holds between them; with a witness nothing does.
    package func mode(between one: Int, and other: Int) -> ReplicationMode {
        guard mode != .sync, one < replication.count, other < replication.count else { return .sync }
        return max(replication[one], replication[other])
    }

    /// Two nodes that heal their split brains by a policy: what `seed` draws for two nodes, and how.
    package init(splitBrain seed: UInt64) {
        self.init(seed: seed)
        var random = SplitMix(seed: seed, subject: "split-brain options")
        drawPolicies(&random)
        faults.formUnion([.failover, .cut])
        drawKeeping()
    }

    /// A cluster with quorum: what `seed` draws for two nodes, on two to four copies and perhaps a witness.
    /// - Parameters:
    ///   - duels: false: as the seeds did before there were duels.
    ///   - exact: false: as the seeds did before there were exact duels.
    ///   - duel: this one, whatever the seed would draw.
    package init(quorum seed: UInt64, duels: Bool = true, exact: Bool = true, duel: Duel? = nil) {
        self.init(seed: seed)
        var random = SplitMix(seed: seed, subject: "quorum options")
        copies = random.pick([2, 2, 3, 3, 3, 4])
        witnesses = copies == 2 || copies == 4 && random.chance(1, in: 2) ? 1 : 0
        failsWithoutQuorum = random.chance(1, in: 4)
        confirmsReads = random.chance(1, in: 5)
        faults.formIntersection(.withQuorum.union([.givingWay, .smallLog, .verifying, .announcing]))
        timing.lease = timing.pingInterval + timing.pingTimeout * random.within(1...3)
        while clockOffsets.count < nodes { clockOffsets.append(random.within(1...1 << 40)) }
        clockDrifts = (0..<nodes).map { _ in Int64(random.below(UInt64(9000))) - 4500 }
        if random.chance(1, in: 3) { faults.insert(.unplugging) }
        if duels { drawDuel(duel, exact: exact) }
        var membershipRandom = SplitMix(seed: seed, subject: "membership options")
        if membershipRandom.chance(1, in: 3) { faults.insert(.membership) }
        var turnoverRandom = SplitMix(seed: seed, subject: "turnover options")
        if nodes > 2, faults.contains(.membership), turnoverRandom.chance(1, in: 3) {
            faults.insert(.turnover)
            // Two voters may be left: one of them put back has no vote, and only force goes on (seed 370000266).
            faults.remove(.rolledBack)
        }
    }

    private mutating func drawSmallLog() {
        var random = SplitMix(seed: seed, subject: "small log")
        guard random.chance(1, in: 8) else { return }
        faults.insert(.smallLog)
        smallLog = (Int(random.below(2)), UInt32(random.within(1...2)))
    }

    /// In most seeds; the first of them, before there were announcements, do what they did then.
    private mutating func drawKeeping() {
        var random = SplitMix(seed: seed, subject: "keeping")
        if random.chance(1, in: 3) { faults.insert(.keeping) }
    }

    private mutating func drawAnnouncing() {
        var random = SplitMix(seed: seed, subject: "announcing")
        guard seed >= Self.firstWithAnnouncements, random.chance(3, in: 4) else { return }
        faults.insert(.announcing)
    }

    private static let firstWithAnnouncements: UInt64 = 140_000_000
    /// From here on volumes with copies of several modes grow, too.
    private static let firstMixedGrowth: UInt64 = 890_000_000

    package func logExtents(of node: Int) -> UInt32 {
        guard faults.contains(.smallLog), let smallLog, smallLog.node == node else { return logExtents }
        return smallLog.extents
    }

    private mutating func drawPace() {
        var random = SplitMix(seed: seed, subject: "pace options")
        limits.resyncWindowUnderLoad = random.pick([4 << 10, 16 << 10, 64 << 10])
        limits.resyncPieceUnderLoad = random.pick([4 << 10, 16 << 10])
        limits.resyncGivesWay = random.within(1_000_000...500_000_000)
        if random.chance(1, in: 2) { faults.insert(.givingWay) }
    }

    package var nodes: Int { copies + witnesses }
    package var isByMajority: Bool { nodes > 2 }

    /// Parts in a million: a hundred times what a quartz does.
    private static let largestDrift: UInt64 = 10_000

    /// None in every second seed.
    private static func drawMishaps(_ random: inout SplitMix) -> FaultKinds {
        guard random.chance(1, in: 2) else { return [] }
        var faults: FaultKinds = []
        for (kind, _) in FaultKinds.names where FaultKinds.mishaps.contains(kind) {
            if random.chance(1, in: 4) { faults.insert(kind) }
        }
        return faults
    }

    private static func drawFaults(_ random: inout SplitMix) -> FaultKinds {
        var faults: FaultKinds = []
        let common: [FaultKinds] = [
            .processCrash, .powerLoss, .pause, .cut, .oneWay, .reset, .lateFrames, .failover, .administrator,
            .unaligned, .zeroing,
        ]
        for kind in common where random.chance(1, in: 2) { faults.insert(kind) }
        if random.chance(1, in: 8) { faults.insert(.diskErrors) }
        if random.chance(1, in: 6) { faults.insert(.totalPowerLoss) }
        if random.chance(1, in: 5) { faults.insert(.reckless) }
        if random.chance(1, in: 8) { faults.insert(.blank) }
        if random.chance(1, in: 4) { faults.insert(.slowDisk) }
        if random.chance(1, in: 12) { faults = [.failover] }
        return faults
    }

    private static func drawTiming(_ random: inout SplitMix) -> Timing {
        var timing = Timing()
        let scale = random.pick([1, 2, 5, 10])
        timing.cutOff = UInt64(6_000_000_000 / scale)
        timing.pingInterval = UInt64(500_000_000 / scale)
        timing.pingTimeout = UInt64(1_000_000_000 / scale)
        timing.reconnectMinimum = UInt64(100_000_000 / scale)
        timing.reconnectMaximum = UInt64(5_000_000_000 / scale)
        return timing
    }

    private static func drawLimits(_ random: inout SplitMix) -> Limits {
        var limits = Limits()
        limits.clientOperations = 16
        limits.peerOperations = random.pick([64, 256])
        limits.unconfirmedEntries = random.pick([32, 128, 1024])
        limits.epochBytes = random.pick([16 << 10, 128 << 10, 1 << 20])
        limits.epochIdle = random.pick([5_000_000, 50_000_000, 200_000_000])
        limits.resyncWindow = random.pick([16 << 10, 64 << 10, 512 << 10])
        limits.resyncPiece = random.pick([4 << 10, 16 << 10, 64 << 10])
        limits.resyncFlushBytes = random.pick([16 << 10, 256 << 10, 4 << 20])
        limits.logRingBlocks = random.pick([16, 64])
        return limits
    }

    package var sectors: Int { Int(blocks) * 8 }
    package var size: UInt64 { blocks * Geometry.blockSize }

    /// What the seed drew, for people.
    package var description: String {
        """
        seed \(seed): \(operations) requests, depth \(queueDepth), \(blocks) blocks, \(hotBlocks) hot an extent, \
        log \(logExtents)\(smallLog.map { " (\($0.extents) at node \($0.node))" } ?? ""), requests to \(largestRequestBlocks) blocks, \(readShare)% reads, \(flushShare)% flushes, \
        \(forcedShare)% forced
          disk \(micro(diskLatency)), network \(micro(networkDelay)), think \(micro(thinkTime)), faults every \
        \(micro(faultGap)), administrator every \(micro(administratorGap)), ping \(micro(timing.pingInterval)), cut off \
        \(micro(timing.cutOff)), epochs \(limits.epochBytes) B / \(micro(limits.epochIdle)), unconfirmed \
        \(limits.unconfirmedEntries), resync \(limits.resyncPiece)/\(limits.resyncWindow)/\(limits.resyncFlushBytes) B, \
        ring \(limits.logRingBlocks), errors at node \(errorNode), clocks \(clockDrifts) ppm fast\(cluster)
          faults: \(faults.description)
        """
    }

    private var cluster: String {
        guard isByMajority else {
            return (fencing == .none ? "" : "\n  fencing: \(fencing)") + (mode == .sync ? "" : modes)
                + (afterSplitBrain == SplitBrainPolicies()
                    ? "" : "\n  after split brain: \(afterSplitBrain.describe { $0.description })")
        }
        return "\n  \(copies) copies, \(witnesses) witnesses, lease \(micro(timing.lease)), without quorum "
            + "\(failsWithoutQuorum ? "errors" : "waiting")\(confirmsReads ? ", reads confirmed" : "")"
            + (duel.map { ", duel \($0.rawValue)" } ?? "") + (mode == .sync ? "" : modes)
    }

    private var modes: String {
        let lag = maximumLag > 0 ? ", lag at most \(micro(maximumLag))" : ""
        return "\n  modes: \(replication.map(\.rawValue)), send buffer \(limits.sendBuffer) B\(lag)"
            + (fallsBehind ? ", falls behind" : "") + (distance > 0 ? ", distance \(micro(distance))" : "")
    }

    private func micro(_ nanoseconds: UInt64) -> String {
        nanoseconds >= 10_000_000 ? "\(nanoseconds / 1_000_000) ms" : "\(nanoseconds / 1000) µs"
    }
}
