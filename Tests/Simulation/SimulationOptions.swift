package import Model

/// The kinds of faults and deeds that a seed may enable, each by itself.
package struct FaultKinds: OptionSet, Sendable {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }

    /// A process dies, its machine lives: what was submitted may still land.
    package static let processCrash = FaultKinds(rawValue: 1 << 0)
    /// A machine dies: what was not flushed survives sector by sector, or not.
    package static let powerLoss = FaultKinds(rawValue: 1 << 1)
    /// A process is stopped past its time-outs and goes on.
    package static let pause = FaultKinds(rawValue: 1 << 2)
    /// Nothing passes, both ways.
    package static let cut = FaultKinds(rawValue: 1 << 3)
    /// Nothing passes, one way.
    package static let oneWay = FaultKinds(rawValue: 1 << 4)
    /// A connection breaks in mid-frame; its tail is lost.
    package static let reset = FaultKinds(rawValue: 1 << 5)
    /// Frames of a session that this side closed arrive anyhow.
    package static let lateFrames = FaultKinds(rawValue: 1 << 6)
    /// EIO at one node's disk.
    package static let diskErrors = FaultKinds(rawValue: 1 << 7)
    /// Both nodes lose power at once.
    package static let totalPowerLoss = FaultKinds(rawValue: 1 << 8)
    /// A cluster manager fails over.
    package static let failover = FaultKinds(rawValue: 1 << 9)
    /// An administrator switches over, disconnects, pauses, stops and starts.
    package static let administrator = FaultKinds(rawValue: 1 << 10)
    /// An administrator without sense or mercy.
    package static let reckless = FaultKinds(rawValue: 1 << 11)
    /// Requests that do not begin or end at a block.
    package static let unaligned = FaultKinds(rawValue: 1 << 12)
    /// Zeroes and trims.
    package static let zeroing = FaultKinds(rawValue: 1 << 13)
    /// The second copy begins blank.
    package static let blank = FaultKinds(rawValue: 1 << 14)
    /// The disk is now and then very slow.
    package static let slowDisk = FaultKinds(rawValue: 1 << 15)

    package static let names: [(FaultKinds, String)] = [
        (.processCrash, "process-crash"), (.powerLoss, "power-loss"), (.pause, "pause"), (.cut, "cut"),
        (.oneWay, "one-way"), (.reset, "reset"), (.lateFrames, "late-frames"), (.diskErrors, "disk-errors"),
        (.totalPowerLoss, "total-power-loss"), (.failover, "failover"), (.administrator, "administrator"),
        (.reckless, "reckless"), (.unaligned, "unaligned"), (.zeroing, "zeroing"), (.blank, "blank"),
        (.slowDisk, "slow-disk"),
    ]

    package init?(name: some StringProtocol) {
        guard let found = Self.names.first(where: { $0.1 == name }) else { return nil }
        self = found.0
    }

    package var description: String {
        Self.names.filter { contains($0.0) }.map(\.1).joined(separator: ",")
    }
}

/// A fault that no correct core survives, put between the core and its disk: the oracle must find it, or it proves
/// nothing.
package enum PlantedFault: String, Sendable, CaseIterable {
    /// Flushes of data are answered and make nothing stable.
    case lostFlush = "lost-flush"
    /// One write of data in twenty is answered and never lands.
    case lostWrite = "lost-write"
    /// Log transactions are answered and never land.
    case lostLog = "lost-log"
    /// Bitmap pages are answered and never land.
    case lostPage = "lost-page"
    /// Superblocks are answered and never land.
    case lostSuperblock = "lost-superblock"
    /// Reads of data see what is stable, not what is in the cache.
    case staleRead = "stale-read"
}

/// Everything that a seed draws before the simulation begins, printed with every failure.
package struct SimulationOptions: Sendable {
    package var seed: UInt64
    package var faults: FaultKinds
    /// Client requests in the safety phase.
    package var operations: Int
    package var queueDepth: Int
    package var blocks: UInt64
    package var logExtents: UInt32
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
    /// The kernel's monotonic clock at the start of each node.
    package var clockOffsets: [UInt64]
    /// The node whose disk fails.
    package var errorNode: Int
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
        log \(logExtents), requests to \(largestRequestBlocks) blocks, \(readShare)% reads, \(flushShare)% flushes, \
        \(forcedShare)% forced
          disk \(micro(diskLatency)), network \(micro(networkDelay)), think \(micro(thinkTime)), faults every \
        \(micro(faultGap)), administrator every \(micro(administratorGap)), ping \(micro(timing.pingInterval)), cut off \
        \(micro(timing.cutOff)), epochs \(limits.epochBytes) B / \(micro(limits.epochIdle)), unconfirmed \
        \(limits.unconfirmedEntries), resync \(limits.resyncPiece)/\(limits.resyncWindow)/\(limits.resyncFlushBytes) B, \
        ring \(limits.logRingBlocks), errors at node \(errorNode)
          faults: \(faults.description)
        """
    }

    private func micro(_ nanoseconds: UInt64) -> String {
        nanoseconds >= 10_000_000 ? "\(nanoseconds / 1_000_000) ms" : "\(nanoseconds / 1000) µs"
    }
}
