package import Model

/// What the configuration decides for the core.
package struct ReplicaConfiguration: Sendable {
    package struct Member: Sendable {
        package var id: NodeID
        package var name: String
        package var isWitness: Bool
        /// The laxer mode of two nodes holds between them, whichever is primary.
        package var replication: ReplicationMode

        package init(
            id: NodeID, name: String, isWitness: Bool = false, replication: ReplicationMode = .sync
        ) {
            self.id = id
            self.name = name
            self.isWitness = isWitness
            self.replication = replication
        }
    }

    package enum Quorum: Sendable {
        /// The record is local (`6-protocol`, QUORUM OFF).
        case off
        /// A record counts once a majority of the voters has it.
        case majority
    }

    package enum Fencing: UInt8, Sendable {
        /// A lost peer is not seen to.
        case none
        /// The command is called, and this primary goes on meanwhile.
        case resource
        /// Nothing is acknowledged without a peer before the command says that it is out of the way.
        case stonith
    }

    package var volume: String
    package var node: NodeID
    /// All nodes, this one and witnesses included.
    package var members: [Member]
    package var quorum = Quorum.off
    /// Without a majority requests that need one fail, instead of waiting (`on-quorum-lost: error`).
    package var failsWithoutQuorum = false
    /// A read is answered only after a ping round begun after it arrived (`reads: confirm`).
    package var confirmsReads = false
    /// What is done about a lost peer, without quorum.
    package var fencing = Fencing.none
    /// Whose writes go when both copies went on alone, without quorum; the same on both nodes.
    package var afterSplitBrain = SplitBrainPolicies()
    package var limits: Limits
    package var timing: Timing
    /// Bytes a second a resync may take; nil: as fast as it goes.
    package var resyncRate: UInt64?
    /// Nanoseconds: clients' writes wait while the oldest that a peer lacks is older (`max-lag`); 0: no limit.
    package var maximumLag: UInt64 = 0
    /// `on-congestion: fall-behind`: an asynchronous peer whose send buffer is full is left behind and filled later.
    package var fallsBehind = false
    /// What this copy gives up of what clients were told of is copied aside first (`discarded-data: keep`).
    package var keepsDiscarded = false
    /// Bytes a second that a comparison of the copies may read.
    package var verifyRate = Comparing.rate
    /// Seconds after which a primary compares the copies anew (`verify-every`); 0: only when it is told to.
    package var verifyEvery: UInt64 = 0
    /// What earlier runs of this node found.
    package var compared: [Compared] = []

    package struct Compared: Equatable, Sendable {
        package var node: NodeID
        package var result: VerifyResult
        package init(node: NodeID, result: VerifyResult) {
            self.node = node
            self.result = result
        }
    }

    package init(
        volume: String, node: NodeID, members: [Member], limits: Limits, timing: Timing, resyncRate: UInt64?
    ) {
        self.volume = volume
        self.node = node
        self.members = members
        self.limits = limits
        self.timing = timing
        self.resyncRate = resyncRate
    }

    package func name(of node: NodeID) -> String { members.first { $0.id == node }?.name ?? node.description }
}

/// One node of one volume: every decision, and nothing else. No I/O, no clock, no chance that was not given, no payload.
///
/// `handle` sorts an event to the part it concerns; whatever may let something else go on sets `attention`, and `advance`
/// then asks each part whether it can take its next step, until none can. Order that matters is a state (an operation's
/// phase, the change's phase, a peer's relation), never the order in a queue.
///
/// There is one `Replica` in a process and nobody copies it. It is not declared `~Copyable` because the compiler's checker
/// of move-only values takes a minute over a value of this size (measured: 64 s against 5 s for this target).
package struct Replica {
    enum Disk { case none, good, failed }

    var configuration: ReplicaConfiguration
    let me: NodeID
    /// The other data nodes: of the configuration, and those that left it and may be named by this copy's record (`Membership`).
    var others: [NodeID]
    var witnesses: [NodeID]
    /// Holds no data, only votes: its superblock, of a copy that stays blank for ever, is its memory.
    let isWitness: Bool
    /// All other nodes of the configuration.
    var everyone: [NodeID]
    /// All nodes of the configuration, this one too: who is not in it has departed (`Membership`).
    var configured: NodeSet
    /// `resync-rate` as the configuration has it; a command may say another one until that changes.
    var configuredResyncRate: UInt64?
    /// Nodes that left the configuration while this one ran, for their names.
    var departed: [ReplicaConfiguration.Member] = []
    /// `adjust` commands that wait until what they changed is durable.
    var adjustments: [Adjustment] = []
    /// `resize` at this primary.
    var growth: Growth?
    /// Of this run; an answer is to one of them.
    var roomQuestions: UInt64 = 0
    /// This copy is being given room.
    var room: RoomMaking?
    /// What it has zeroes in behind the volume's end, since this run looked to it.
    var madeRoom = MadeRoom()
    /// When room for a volume that grew while this copy was away is tried to be made again.
    var nextOwnRoom = MonotonicTime(nanoseconds: 0)
    /// Who waits to hear what the disk can hold.
    var measures: [Measure] = []
    /// Blocks are kept aside before a resync takes their places.
    var keeping: KeepingAside?
    /// What was kept last, and nothing was written here since.
    var keptAside: KeepingAside.Subject?
    /// What clients are offered while a record with a larger size is not known to be chosen.
    var formerSize: UInt64?
    /// What the bitmaps are for (`fitBitmaps`).
    var fittedBlocks: UInt64 = 0
    var unwritten = UnwrittenBitmaps()
    /// Copies that need not have a write on disk before it is answered, and of these the ones that need not have it at all.
    var relaxed: NodeSet
    var asynchronous: NodeSet
    let run: RunID
    let startedAt: MonotonicTime
    let wallClock: UInt64
    var random: Randomness
    var now: MonotonicTime
    var lastTurn: MonotonicTime
    var effects = EffectQueue(capacity: 16)
    var attention = false
    package internal(set) var statusRevision: UInt64 = 1

    // The disk and its metadata.
    var disk: Disk
    var superblock: Superblock
    var metadata: MetadataWriter
    var log: ActivityLog
    var bitmaps: [DirtyBitmap]
    var flushes = LocalFlushes()
    /// The flush before which replayed extents do not leave the log.
    var replayFlush: UInt64 = 0
    var cooling = Cooling()
    /// Disk operations not yet answered.
    var outstanding = 0
    /// `detach`: write everything back, then let the disk go.
    var detaching: Detaching?

    // Operations.
    var table: OperationTable
    var slotOfSequence: [UInt64: Int32] = [:]
    var sequence: UInt64 = 0
    var gateQueue = SlotQueue()
    var logQueue = SlotQueue()
    var flushQueue = SlotQueue()
    /// Flushes and forced writes that wait for the own disk alone.
    var localFlushQueue = SlotQueue()
    var held: HeldWrites
    /// A client was told that a flush is done, and no write has begun since.
    var isFlushBetween = false
    var unconfirmed: Unconfirmed
    var rounds = Rounds()
    var freed: [Int32] = []
    var peerFlushes: [PeerFlush] = []

    // Who may.
    package internal(set) var role = Role.secondary
    /// `required ∖ me` and the record are in the superblock; without a disk it lives in memory only.
    var change: Change?
    var acceptance: Acceptance?
    var postponed: Acceptance?
    /// The newest record that this run formed, whether or not anybody accepted it: its number is not used again.
    var proposed = RecordNumber(term: .zero, index: 0)
    /// The newest of them that names this primary without its disk (with quorum).
    var offeredWithoutDisk = RecordNumber(term: .zero, index: 0)
    /// A peer may have accepted a record without this copy, and its answer is lost: a newer one takes its place before
    /// anything else is said.
    var isLeaveUndecided = false
    /// This run, without a disk, offered a record that leaves its own copy out, and did not hear what became of it: a disk
    /// that is attached later is taken for left out.
    var hasOfferedWithoutMe = false
    /// Blocks may differ from an in-step copy that is away, and nobody knows which value counts.
    var isUnsettled = false
    /// This process stood still: a required peer must be heard before anything is answered.
    var doubts = NodeSet()
    /// Questions to the fence command so far.
    var fenceRequests: UInt64 = 0
    /// When it woke: what peers said before is no news.
    var wokeAt = MonotonicTime(nanoseconds: 0)
    var promotion: Promotion?
    /// With quorum: the way to a term of one's own.
    var candidacy: Candidacy?
    /// Asked of the other nodes by candidacies of this run.
    var questions: UInt64 = 0
    /// This node voted for another: that one gets its time before this one asks for votes itself.
    var candidacyNotBefore = MonotonicTime(nanoseconds: 0)
    /// When this run took the first record of its term, from another node.
    var termTakenAt: MonotonicTime?
    /// Nobody is primary, and this node holds a term to re-admit copies (KEEPER).
    var isKeeper = false
    /// Blocks that may differ between the members of the record: each is copied to all before it is served.
    var unsettled = DirtyBitmap(blocks: 0)
    var settlement = Settlement()
    var lease = Lease()
    /// The run of the node whose record this copy took last.
    var leaderRun = RunID.none
    /// When a client asked for something last, here or, at a secondary, through its primary.
    var clientsAskedAt = MonotonicTime(nanoseconds: 0)
    /// The newest record of this node's own that was chosen.
    var lastChosen = RecordNumber(term: .zero, index: 0)
    /// The newest record that another node told to be chosen: for `status` alone.
    var heardChosen = RecordNumber(term: .zero, index: 0)
    /// The highest term that any node told of.
    var highestPromise = Term.zero
    /// Leases that an earlier run of this node gave may run since then.
    let earlierLeases: MonotonicTime
    var demotion: Demotion?
    var stopping: Stopping?
    var isStopped = false
    var writableClients: UInt32 = 0
    var connects: [PendingConnect] = []
    var isResyncPaused = false
    var comparison = ComparisonState()
    var repair: Repair?

    var peers: [Peer]

    /// - Parameters:
    ///   - seed: all chance of this run (identities, jitter) comes from it.
    ///   - wallClock: seconds since 1970, shown beside generations, never compared.
    ///   - metadata: the copy as found, or nil to start without a disk.
    package init(
        configuration: ReplicaConfiguration, run: RunID, seed: UInt64, wallClock: UInt64, metadata: LoadedMetadata?,
        at now: MonotonicTime, deciding effects: inout EffectQueue
    ) {
        self.configuration = configuration
        me = configuration.node
        let rest = configuration.members.filter { $0.id != configuration.node }
        others = rest.filter { !$0.isWitness }.map(\.id).sorted()
        witnesses = rest.filter(\.isWitness).map(\.id).sorted()
        isWitness = configuration.members.contains { $0.id == configuration.node && $0.isWitness }
        everyone = rest.map(\.id).sorted()
        configured = Self.nodes(of: configuration)
        configuredResyncRate = configuration.resyncRate
        (relaxed, asynchronous) = Self.modes(of: configuration)
        self.run = run
        self.wallClock = wallClock
        self.now = now
        startedAt = now
        lastTurn = now
        earlierLeases = isLeftOut(.startCountsAsPong) ? MonotonicTime(nanoseconds: 0) : now
        random = Randomness(seed: seed)
        let limits = configuration.limits
        // The last of the clients' slots is a repair's.
        table = OperationTable(clients: limits.clientOperations + 1, peers: limits.peerOperations)
        unconfirmed = Unconfirmed(capacity: limits.unconfirmedEntries + limits.clientOperations)
        slotOfSequence.reserveCapacity(limits.clientOperations * 2)
        held = HeldWrites(capacity: relaxed.isEmpty ? 0 : limits.unconfirmedEntries + limits.clientOperations)
        peers = NodeID.all.map { Peer(id: $0) }
        disk = .none
        superblock = Superblock(
            node: configuration.node, instance: .none, size: 0, logExtents: 1, zeroes: false)
        self.metadata = MetadataWriter()
        log = ActivityLog(slots: 1, replay: nil)
        bitmaps = NodeID.all.map { _ in DirtyBitmap(blocks: 0) }
        for earlier in configuration.compared { comparison.results[earlier.node] = earlier.result }
        swap(&self.effects, &effects)
        if let metadata { adopt(metadata) } else { beginDialing() }
        advance()
        swap(&self.effects, &effects)
    }

    /// The one door.
    package mutating func handle(_ event: Event, at now: MonotonicTime, deciding effects: inout EffectQueue) {
        guard !isStopped else { return }
        swap(&self.effects, &effects)
        noticePause(at: now)
        self.now = now
        lastTurn = now
        dispatch(event)
        if attention { advance() }
        swap(&self.effects, &effects)
    }

    private mutating func dispatch(_ event: Event) {
        switch event {
        case .dataDone(let operation, let result): dataDone(operation, result)
        case .clientRequest(let request): begin(request)
        case .message(let node, let stamp, let message): receive(message, stamp, from: node)
        case .bufferTaken(let operation, let buffer): bufferTaken(operation, buffer)
        case .digested(let operation, let digests): digested(operation, digests)
        case .superblockWritten(let succeeded): superblockWritten(succeeded)
        case .logWritten(let succeeded): logWritten(succeeded)
        case .bitmapPageWritten(let node, let page, let succeeded): bitmapPageWritten(node, Int(page), succeeded)
        case .clientsChanged(let count):
            writableClients = count
            noteStatus()
            attention = true
        case .tick: tick()
        case .attached(let metadata, let command):
            attach(metadata, command)
            hearWitnessesAgain()
        case .sessionOpened(let node, let session, let run, let dialedHere, let discards):
            sessionOpened(node, session, run: run, dialedHere: dialedHere, discards: discards)
        case .sessionClosed(let node, let session, let why): sessionClosed(node, session, why)
        case .dialFailed(let node, let why): dialFailed(node, why)
        case .peerRefused(let node, let reason, let message): peerRefused(node, reason, message)
        case .heard(let node, let session):
            if self[peer: node].session == session { self[peer: node].lastHeard = now }
        case .command(let id, let command): perform(command, id)
        case .commandWithdrawn(let id): withdraw(id)
        case .fenceAnswered(let node, let request, let outcome): fenceAnswered(node, request, outcome)
        case .adjusted(let configuration, let command): adjust(to: configuration, command)
        case .diskMeasured(let answer): diskMeasured(answer)
        case .diskPrepared(let outcome): diskPrepared(outcome)
        case .diskGrown(let outcome): diskGrown(outcome)
        case .keptAside(let succeeded, let words): keptAside(succeeded, words)
        }
    }

    /// Asks every part for its next step until none has one.
    mutating func advance() {
        repeat {
            attention = false
            guard !isStopped else { return }
            fitBitmaps()
            if room != nil { advanceRoom() }
            if keeping != nil { advanceKeeping() }
            advanceMetadata()
            advanceDisk()
            advanceAcceptance()
            advanceCandidacy()
            advanceChange()
            advanceHandshakes()
            advanceRole()
            failWithoutQuorum()
            advanceGate()
            advanceLog()
            advanceSettlement()
            advanceRounds()
            if !relaxed.isEmpty { advanceArrivals() }
            advanceResync()
            if !comparison.running.isEmpty { advanceComparisons() }
            if repair != nil { advanceRepair() }
            if growth != nil { advanceGrowth() }
            advanceCommands()
            advanceStop()
        } while attention
        tellPresence()
    }

    mutating func emit(_ effect: Effect) { effects.append(effect) }

    mutating func note(_ level: Note.Level, _ subject: String, _ text: String, peer: NodeID? = nil) {
        emit(.note(Note(level, subject, text, peer: peer)))
        noteStatus()
    }

    mutating func noteStatus() { statusRevision &+= 1 }

    /// Seconds since 1970.
    var wallTime: UInt64 { wallClock + now.since(startedAt) / 1_000_000_000 }

    func name(_ node: NodeID) -> String {
        departed.first { $0.id == node }?.name ?? configuration.name(of: node)
    }

    // In place: called, they are handed a copy of the whole replica.
    subscript(peer node: NodeID) -> Peer {
        @inline(__always) _read { yield peers[Int(node.rawValue)] }
        @inline(__always) _modify { yield &peers[Int(node.rawValue)] }
    }

    subscript(bitmap node: NodeID) -> DirtyBitmap {
        @inline(__always) _read { yield bitmaps[Int(node.rawValue)] }
        @inline(__always) _modify { yield &bitmaps[Int(node.rawValue)] }
    }

    /// In-step members whose answers acknowledgements need, this node included.
    var required: NodeSet { superblock.required }
    var hasDisk: Bool { disk == .good }
    package var isPrimary: Bool { role == .primary }
    /// Bytes of the volume; 0 while it is not known.
    package var volumeSize: UInt64 {
        formerSize ?? (superblock.record.isEmpty ? superblock.size : superblock.record.size)
    }

    /// The primary as far as this node knows.
    package var knownPrimary: NodeID? {
        if role == .primary { return me }
        return others.first { self[peer: $0].isConnected && self[peer: $0].presence?.role == .primary }
    }
}

/// Slots waiting for one thing, in order.
struct SlotQueue {
    private(set) var slots: [Int32] = []
    private var head = 0

    var isEmpty: Bool { head == slots.count }
    var count: Int { slots.count - head }
    var first: Int? { isEmpty ? nil : Int(slots[head]) }

    mutating func append(_ slot: Int) {
        if head > 64, head * 2 > slots.count {
            slots.removeFirst(head)
            head = 0
        }
        slots.append(Int32(slot))
    }

    mutating func popFirst() -> Int? {
        guard head < slots.count else { return nil }
        let slot = Int(slots[head])
        head += 1
        if head == slots.count {
            slots.removeAll(keepingCapacity: true)
            head = 0
        }
        return slot
    }

    mutating func removeAll() {
        slots.removeAll(keepingCapacity: true)
        head = 0
    }

    mutating func remove(_ slot: Int) {
        guard let index = slots[head...].firstIndex(of: Int32(slot)) else { return }
        slots.remove(at: index)
    }
}
