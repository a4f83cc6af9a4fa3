import Model

/// One thing in flight that touches the volume's data: a client's request, a peer's frame, a piece of a resync.
struct Operation {
    enum Kind: UInt8 {
        case free
        case clientRead, clientWrite, clientZero, clientTrim, clientFlush
        /// Frames of the primary, applied here.
        case peerWrite, peerZero, peerTrim
        /// Reads for a peer: its clients' (no disk there), or a resync target's.
        case peerRead, pullRead
        /// Resync data applied here.
        case pullWrite, pullZero
        /// Resync data asked for by a target that is primary: its clients' writes to the range wait until it is in place.
        case pullAsk
        /// Blocks that the members may hold differently, copied from here to all of them.
        case settle
        /// A range that is compared with a peer: clients' writes to it wait until both copies are read.
        case verify
        /// Its other side: what the primary sent before is written first.
        case digestRead
    }

    enum Phase: UInt8 {
        /// An earlier overlapping operation is not done.
        case waitingOverlap
        /// Not primary enough yet: a record is undecided, a peer's fate too, no data is reachable.
        case waitingGate
        case waitingEdges
        case waitingLog
        case waitingBuffer
        /// At the disk and at the peers.
        case running
        /// All legs are done; the right to answer, or a flush, is not there yet.
        case waitingFlush
        /// A read's data is here; the lease is not.
        case waitingLease
        /// It is read, and its digest is being taken.
        case waitingDigest
    }

    var kind = Kind.free
    var phase = Phase.waitingOverlap
    /// Whole blocks; empty for a flush.
    var range = ByteRange(offset: 0, length: 0)
    /// As the client said it.
    var exact = ByteRange(offset: 0, length: 0)
    var buffer: BufferID?
    /// Of a write in the primary's order, or the id that a peer gave.
    var sequence: UInt64 = 0
    var peer = NodeID(unchecked: 0)
    var session = SessionID.none
    /// Peers that must still answer.
    var legs = NodeSet()
    /// Peers to which the frame went in the present session.
    var sentTo = NodeSet()
    var localPending = false
    var localFailed = false
    var forced = false
    /// Given up by a demotion, or without quorum: no result counts any more. The client hears so when nothing touches its
    /// buffer any more.
    var isGivenUp = false
    /// What it hears.
    var givenUpResult = ClientResult.notPrimary
    var isReplied = false
    var holdsExtent = false
    /// The first round that covers this operation.
    var round: UInt64 = 0
    /// And it covers the writes up to this sequence.
    var through: UInt64 = 0
    var began = MonotonicTime(nanoseconds: 0)
    var blockers: Int32 = 0
    var order: UInt64 = 0
    var newer: Int32 = -1
    var older: Int32 = -1
    /// Edge blocks still to be had from a peer (diskless): bit 0 the first, bit 1 the last.
    var edges: UInt8 = 0
    /// Neither waits for what overlaps it nor holds it back.
    var isUnordered = false

    var isWrite: Bool {
        switch kind {
        case .clientWrite, .clientZero, .clientTrim, .peerWrite, .peerZero, .peerTrim, .pullWrite, .pullZero, .pullAsk:
            true
        case .free, .clientRead, .clientFlush, .peerRead, .pullRead, .settle, .verify, .digestRead: false
        }
    }

    var isClient: Bool {
        switch kind {
        case .clientRead, .clientWrite, .clientZero, .clientTrim, .clientFlush: true
        default: false
        }
    }

    var isResync: Bool { kind == .pullRead || kind == .pullWrite || kind == .pullZero || kind == .pullAsk }

    var isClientWrite: Bool { kind == .clientWrite || kind == .clientZero || kind == .clientTrim }

    /// A write of another node's clients.
    var isFrame: Bool { kind == .peerWrite || kind == .peerZero || kind == .peerTrim }

    /// Goes to the peers with a sequence, and waits for their answers.
    var isReplicated: Bool { isClientWrite || kind == .settle }
}

/// All operations in fixed slots, and who must wait for whom: operations that overlap run in the order of their arrival
/// when one of them writes. Client operations sit in the slots of their tickets, peers' operations above them.
struct OperationTable {
    private var slots: [Operation]
    private var buckets: [Int32]
    private var freePeerSlots: [Int32]
    private var order: UInt64 = 0
    private(set) var clients = 0
    private(set) var clientWrites = 0
    private(set) var peerOperations = 0
    let clientSlots: Int

    private static let bucketCount = 256

    init(clients: Int, peers: Int) {
        clientSlots = clients
        slots = Array(repeating: Operation(), count: clients + peers)
        buckets = Array(repeating: -1, count: Self.bucketCount)
        freePeerSlots = (0..<peers).reversed().map { Int32(clients + $0) }
    }

    var count: Int { slots.count }

    subscript(slot: Int) -> Operation {
        _read { yield slots[slot] }
        _modify { yield &slots[slot] }
    }

    var freePeerCount: Int { freePeerSlots.count }

    /// Nil when peers have begun more than the limit allows.
    mutating func takePeerSlot() -> Int? { freePeerSlots.popLast().map(Int.init) }

    /// Enters an operation and counts the earlier ones it must wait for.
    mutating func insert(_ operation: Operation, at slot: Int, ordered: Bool = true) {
        precondition(slots[slot].kind == .free, "a ticket is used for one operation at a time")
        order += 1
        slots[slot] = operation
        slots[slot].order = order
        if operation.isClient { clients += 1 } else { peerOperations += 1 }
        if operation.isClientWrite { clientWrites += 1 }
        slots[slot].isUnordered = !ordered
        guard ordered, !operation.range.isEmpty else { return }
        let bucket = Int(operation.range.extent) % Self.bucketCount
        var blockers: Int32 = 0
        var other = buckets[bucket]
        while other >= 0 {
            if Self.conflict(slots[Int(other)], operation) { blockers += 1 }
            other = slots[Int(other)].older
        }
        slots[slot].blockers = blockers
        slots[slot].older = buckets[bucket]
        slots[slot].newer = -1
        if buckets[bucket] >= 0 { slots[Int(buckets[bucket])].newer = Int32(slot) }
        buckets[bucket] = Int32(slot)
    }

    /// Takes an operation out; the ones that waited only for it are appended to `freed`.
    mutating func remove(_ slot: Int, freeing freed: inout [Int32]) {
        let operation = slots[slot]
        precondition(operation.kind != .free, "an operation ends once")
        if !operation.range.isEmpty, !operation.isUnordered {
            let bucket = Int(operation.range.extent) % Self.bucketCount
            if operation.newer >= 0 {
                slots[Int(operation.newer)].older = operation.older
            } else {
                buckets[bucket] = operation.older
            }
            if operation.older >= 0 { slots[Int(operation.older)].newer = operation.newer }
            var other = operation.newer
            while other >= 0 {
                if Self.conflict(operation, slots[Int(other)]) {
                    slots[Int(other)].blockers -= 1
                    if slots[Int(other)].blockers == 0 { freed.append(other) }
                }
                other = slots[Int(other)].newer
            }
        }
        if operation.isClient { clients -= 1 } else { peerOperations -= 1 }
        if operation.isClientWrite { clientWrites -= 1 }
        slots[slot] = Operation()
        if slot >= clientSlots { freePeerSlots.append(Int32(slot)) }
    }

    private static func conflict(_ one: Operation, _ other: Operation) -> Bool {
        if isLeftOut(.readsWaitForWrites), !one.isWrite || !other.isWrite { return false }
        if isLeftOut(.overlappingWritesWait), one.isClientWrite, other.isClientWrite { return false }
        if isLeftOut(.resyncLocksRanges), one.isResync != other.isResync { return false }
        if isLeftOut(.oldWritesEndFirst), !one.isClient, !other.isClient, one.session != other.session { return false }
        return (one.isWrite || other.isWrite) && one.range.overlaps(other.range)
    }

    /// Slots in use for which `isWanted` holds, in the order of their arrival. For rare moments: it allocates.
    func slots(where isWanted: (Operation) -> Bool) -> [Int] {
        var found: [Int] = []
        for slot in slots.indices where slots[slot].kind != .free && isWanted(slots[slot]) { found.append(slot) }
        return found.sorted { slots[$0].order < slots[$1].order }
    }

    /// Any slot in use for which `isWanted` holds.
    func firstSlot(where isWanted: (Operation) -> Bool) -> Int? {
        guard clients + peerOperations > 0 else { return nil }
        return slots.firstIndex { $0.kind != .free && isWanted($0) }
    }

    func contains(where isWanted: (Operation) -> Bool) -> Bool { firstSlot(where: isWanted) != nil }
}
