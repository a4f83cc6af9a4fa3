import Formats
package import Model
package import ReplicationCore

/// All that a `Replica` is made of.
package struct RecordedStart: Sendable {
    package var configuration: ReplicaConfiguration
    package var run: RunID
    package var seed: UInt64
    /// Seconds since 1970.
    package var wallClock: UInt64
    /// The copy as found; nil without a disk.
    package var metadata: LoadedMetadata?
    package var time: MonotonicTime

    package init(
        configuration: ReplicaConfiguration, run: RunID, seed: UInt64, wallClock: UInt64, metadata: LoadedMetadata?,
        time: MonotonicTime
    ) {
        self.configuration = configuration
        self.run = run
        self.seed = seed
        self.wallClock = wallClock
        self.metadata = metadata
        self.time = time
    }
}

extension RecordWriter {
    mutating func start(_ start: RecordedStart, _ metadata: MetadataPlace) {
        configuration(start.configuration)
        identity(start.run)
        u64(start.seed)
        u64(start.wallClock)
        u64(start.time.nanoseconds)
        u8(metadata.rawValue)
    }

    mutating func configuration(_ value: ReplicaConfiguration) {
        text(value.volume)
        node(value.node)
        u8(UInt8(value.members.count))
        for member in value.members {
            node(member.id)
            text(member.name)
            truth(member.isWitness)
            u8(member.replication.rank)
        }
        limits(value.limits)
        u64(value.timing.cutOff)
        u64(value.timing.pingInterval)
        u64(value.timing.pingTimeout)
        u64(value.timing.reconnectMinimum)
        u64(value.timing.reconnectMaximum)
        u64(value.timing.lease)
        u64(value.timing.clockDrift)
        optional(value.resyncRate)
        truth(value.quorum == .majority)
        truth(value.failsWithoutQuorum)
        truth(value.confirmsReads)
        u8(value.fencing.rawValue)
        u8(SplitBrainPolicies.code(of: value.afterSplitBrain.withoutPrimary))
        u8(value.afterSplitBrain.withOnePrimary.rawValue)
        u8(value.afterSplitBrain.withTwoPrimaries.rawValue)
        u64(value.maximumLag)
        truth(value.fallsBehind)
        truth(value.keepsDiscarded)
        u64(value.verifyRate)
        u64(value.verifyEvery)
        u8(UInt8(value.compared.count))
        for earlier in value.compared {
            node(earlier.node)
            compared(earlier.result)
        }
    }

    private mutating func compared(_ value: VerifyResult) {
        u8(value.end.rawValue)
        for number in [
            value.began, value.ended, value.reached, value.comparedBytes, value.differingBytes, value.unreadableBytes,
            value.skippedBytes, value.completed,
        ] { u64(number) }
        truth(value.reason != nil)
        if let reason = value.reason { text(reason) }
        // As many as outlive a run: for those of all peers one record has room.
        precondition(value.runs.count <= Comparing.mostKept, "more runs than are kept")
        u64(UInt64(value.runs.count))
        for run in value.runs {
            u64(run.first)
            u64(run.count)
        }
    }

    private mutating func limits(_ value: Limits) {
        u64(UInt64(value.clientOperations))
        u64(UInt64(value.peerOperations))
        u64(UInt64(value.unconfirmedEntries))
        u64(value.epochBytes)
        u64(value.epochIdle)
        u64(value.coolAfter)
        u64(value.resyncWindow)
        u64(value.resyncPiece)
        u64(value.resyncWindowUnderLoad)
        u64(value.resyncPieceUnderLoad)
        u64(value.resyncGivesWay)
        u64(value.resyncFlushBytes)
        u64(UInt64(value.logRingBlocks))
        u64(value.sendBuffer)
    }
}

extension FieldWriter {
    /// A copy as it was found.
    /// - Returns: false when there is no room for all of it.
    mutating func metadata(_ value: LoadedMetadata) -> Bool {
        // The superblock with its history, and a log transaction.
        let fixed = 16 << 10
        guard remaining >= fixed + value.log.table.count * 5 else { return false }
        identity(value.superblock.instance)
        u64(value.superblock.sequence)
        u32(value.superblock.logExtents)
        write(value.superblock)
        extents(value.log.table)
        u64(value.log.lastNumber)
        u64(value.log.lastSequence)
        for node in NodeID.all { mark(value.log.seen[node]) }
        truth(value.log.damaged)
        u64(UInt64(value.log.spoiled))
        truth(value.log.mend != nil)
        if let mend = value.log.mend { transaction(mend) }
        u64(value.bootID.0)
        u64(value.bootID.1)
        u8(UInt8(value.bitmaps.count))
        for bitmap in value.bitmaps {
            guard remaining >= 16 else { return false }
            node(bitmap.node)
            guard words(bitmap.words) else { return false }
        }
        return true
    }

    private mutating func extents(_ value: [UInt32?]) {
        u64(UInt64(value.count))
        for extent in value { u64(extent.map { UInt64($0) + 1 } ?? 0) }
    }

    private mutating func transaction(_ value: LogTransaction) {
        identity(value.instance)
        u64(value.sequence)
        u64(value.number)
        u32(value.contextStart)
        extents(value.context)
        u64(UInt64(value.updates.count))
        for update in value.updates {
            u32(update.slot)
            u64(update.extent.map { UInt64($0) + 1 } ?? 0)
        }
        for node in NodeID.all { mark(value.seen[node]) }
    }

    /// Runs: how many words, four times, and what they are: 0 zeroes, 1 ones, 2 one after the other.
    private mutating func words(_ words: BitmapWords) -> Bool {
        guard words.count <= BitmapRuns.longest else { return false }
        u64(UInt64(words.count))
        var index = 0
        while index < words.count {
            let kind = BitmapRuns.kind(words[index])
            var end = index + 1
            while end < words.count, BitmapRuns.kind(words[end]) == kind { end += 1 }
            let literals = kind == BitmapRuns.literal ? (end - index) * 10 : 0
            guard remaining >= 16 + literals else { return false }
            u64(UInt64(end - index) << 2 | kind)
            if kind == BitmapRuns.literal { for word in words[index..<end] { u64(word) } }
            index = end
        }
        return true
    }
}

/// A dirty bitmap is mostly zeroes, or mostly ones.
private enum BitmapRuns {
    static let zeroes: UInt64 = 0
    static let ones: UInt64 = 1
    static let literal: UInt64 = 2
    /// Words of one bitmap: a volume of 32 TiB. The bitmaps of larger ones are not recorded.
    static let longest = 1 << 27

    static func kind(_ word: UInt64) -> UInt64 { word == 0 ? zeroes : word == .max ? ones : literal }
}

extension FieldReader {
    /// - Returns: nil for a start whose metadata are not in the recording.
    mutating func start(
        metadata: (MetadataPlace) -> LoadedMetadata?
    ) throws(FieldError) -> (start: RecordedStart, isWhole: Bool) {
        var start = RecordedStart(
            configuration: try configuration(), run: try identity(), seed: try u64(), wallClock: try u64(),
            metadata: nil, time: MonotonicTime(nanoseconds: try u64()))
        guard let place = MetadataPlace(rawValue: try u8()) else { throw .value(.reason) }
        start.metadata = metadata(place)
        return (start, place == .none || start.metadata != nil)
    }

    mutating func configuration() throws(FieldError) -> ReplicaConfiguration {
        let volume = try text()
        let node = try node()
        var members: [ReplicaConfiguration.Member] = []
        let count = Int(try u8())
        guard count <= Int(NodeSet.capacity) else { throw .value(.node) }
        for _ in 0..<count {
            let (id, name, isWitness) = (try self.node(), try text(), try truth())
            guard let mode = ReplicationMode(rank: try u8()) else { throw .value(.flags) }
            members.append(.init(id: id, name: name, isWitness: isWitness, replication: mode))
        }
        let limits = try limits()
        var timing = Timing()
        timing.cutOff = try u64()
        timing.pingInterval = try u64()
        timing.pingTimeout = try u64()
        timing.reconnectMinimum = try u64()
        timing.reconnectMaximum = try u64()
        timing.lease = try u64()
        timing.clockDrift = try u64()
        var configuration = ReplicaConfiguration(
            volume: volume, node: node, members: members, limits: limits, timing: timing, resyncRate: try optional())
        configuration.quorum = try truth() ? .majority : .off
        configuration.failsWithoutQuorum = try truth()
        configuration.confirmsReads = try truth()
        guard let fencing = ReplicaConfiguration.Fencing(rawValue: try u8()) else { throw .value(.flags) }
        configuration.fencing = fencing
        configuration.afterSplitBrain = try splitBrainPolicies()
        configuration.maximumLag = try u64()
        configuration.fallsBehind = try truth()
        configuration.keepsDiscarded = try truth()
        configuration.verifyRate = try u64()
        configuration.verifyEvery = try u64()
        let earlier = Int(try u8())
        guard earlier <= Int(NodeSet.capacity) else { throw .value(.node) }
        for _ in 0..<earlier { configuration.compared.append(.init(node: try self.node(), result: try compared())) }
        return configuration
    }

    private mutating func compared() throws(FieldError) -> VerifyResult {
        guard let end = VerifyResult.End(rawValue: try u8()) else { throw .value(.reason) }
        var result = VerifyResult(end: end, began: try u64(), ended: try u64())
        result.reached = try u64()
        result.comparedBytes = try u64()
        result.differingBytes = try u64()
        result.unreadableBytes = try u64()
        result.skippedBytes = try u64()
        result.completed = try u64()
        result.reason = try truth() ? try text() : nil
        let runs = try u64()
        guard runs <= UInt64(Comparing.mostKept) else { throw .value(.counter) }
        for _ in 0..<runs { result.runs.append(BlockRun(first: try u64(), count: try u64())) }
        return result
    }

    private mutating func splitBrainPolicies() throws(FieldError) -> SplitBrainPolicies {
        guard let withoutPrimary = SplitBrainPolicies.choice(code: try u8()),
            let withOnePrimary = SplitBrainPolicies.WithOnePrimary(rawValue: try u8()),
            let withTwoPrimaries = SplitBrainPolicies.WithTwoPrimaries(rawValue: try u8())
        else { throw .value(.flags) }
        var policies = SplitBrainPolicies()
        policies.withoutPrimary = withoutPrimary
        policies.withOnePrimary = withOnePrimary
        policies.withTwoPrimaries = withTwoPrimaries
        return policies
    }

    private mutating func limits() throws(FieldError) -> Limits {
        var limits = Limits()
        limits.clientOperations = try small()
        limits.peerOperations = try small()
        limits.unconfirmedEntries = try small()
        limits.epochBytes = try u64()
        limits.epochIdle = try u64()
        limits.coolAfter = try u64()
        limits.resyncWindow = try u64()
        limits.resyncPiece = try u64()
        limits.resyncWindowUnderLoad = try u64()
        limits.resyncPieceUnderLoad = try u64()
        limits.resyncGivesWay = try u64()
        limits.resyncFlushBytes = try u64()
        limits.logRingBlocks = try small()
        limits.sendBuffer = try u64()
        return limits
    }

    /// A count of slots, for each of which a replay has memory.
    private mutating func small() throws(FieldError) -> Int {
        let value = try u64()
        guard value <= 1 << 20 else { throw .value(.slots) }
        return Int(value)
    }

    mutating func metadata() throws(FieldError) -> LoadedMetadata {
        let instance = try identity(InstanceID.self)
        let sequence = try counter()
        let logExtents = try u32()
        let superblock = try readSuperblock(
            instance: instance, sequence: sequence, logExtents: logExtents, room: Geometry.maximumVolumeSize)
        var log = LogReplay(
            table: try extents(), lastNumber: try counter(), lastSequence: try counter(), seen: try seen(),
            damaged: try truth(), spoiled: try small())
        if try truth() { log.mend = try transaction() }
        let bootID = (try u64(), try u64())
        let count = Int(try u8())
        guard count <= Int(NodeSet.capacity) else { throw .value(.node) }
        var bitmaps: [(node: NodeID, words: BitmapWords)] = []
        for _ in 0..<count { bitmaps.append((try node(), BitmapWords(try words()))) }
        guard isAtEnd else { throw .value(.size) }
        return LoadedMetadata(superblock: superblock, log: log, bitmaps: bitmaps, bootID: bootID)
    }

    private mutating func seen() throws(FieldError) -> PerNode<StartMark> {
        var seen = PerNode(repeating: StartMark.none)
        for node in NodeID.all { seen[node] = try mark() }
        return seen
    }

    private mutating func extent() throws(FieldError) -> UInt32? {
        let extent = try u64()
        guard extent <= UInt64(UInt32.max) else { throw .value(.slots) }
        return extent == 0 ? nil : UInt32(extent - 1)
    }

    private mutating func extents() throws(FieldError) -> [UInt32?] {
        var extents: [UInt32?] = []
        for _ in 0..<(try small()) { extents.append(try extent()) }
        return extents
    }

    private mutating func transaction() throws(FieldError) -> LogTransaction {
        var transaction = LogTransaction(
            instance: try identity(), sequence: try counter(), number: try counter(), updates: [],
            contextStart: try u32(), context: try extents(), seen: PerNode(repeating: .none))
        for _ in 0..<(try small()) {
            transaction.updates.append(LogTransaction.Update(slot: try u32(), extent: try extent()))
        }
        transaction.seen = try seen()
        return transaction
    }

    private mutating func words() throws(FieldError) -> [UInt64] {
        let count = try u64()
        guard count <= UInt64(BitmapRuns.longest) else { throw .value(.block) }
        var words: [UInt64] = []
        while words.count < Int(count) {
            let run = try u64()
            let length = run >> 2
            guard length > 0, length <= count - UInt64(words.count) else { throw .value(.runs) }
            switch run & 3 {
            case BitmapRuns.zeroes: words.append(contentsOf: repeatElement(0, count: Int(length)))
            case BitmapRuns.ones: words.append(contentsOf: repeatElement(.max, count: Int(length)))
            case BitmapRuns.literal: for _ in 0..<length { words.append(try u64()) }
            default: throw .value(.runs)
            }
        }
        return words
    }
}
