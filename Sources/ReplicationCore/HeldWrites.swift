import Model

/// Writes that some peer has not on its disk yet and that need not wait for that (`memory`, `async`), in the order of their
/// sequences. Their buffers are kept: after a blip of the link they are sent again, in order.
struct HeldWrites {
    struct Entry {
        var sequence: UInt64
        var range: ByteRange
        var kind: Operation.Kind
        var buffer: BufferID?
        /// Peers that have not said that it is on their disks.
        var legs: NodeSet
        var began: MonotonicTime
        /// The client's request is over: the buffer is given back with the entry.
        var ownsBuffer = false
        /// A flush was answered before this write began: on an asynchronous link it lies in between.
        var followsFlush: Bool

        /// What it takes of the send buffer: whole blocks, as its buffer. A trim or zeroes carry nothing, however long.
        var charge: UInt64 { buffer == nil ? Geometry.blockSize : range.widenedToBlocks.length }
    }

    private var ring: [Entry]
    private var head = 0
    private(set) var count = 0
    /// Of those that some peer lacks, in whole blocks: each keeps a buffer.
    private(set) var bytes: UInt64 = 0

    /// - Parameter capacity: 0 where every copy is synchronous.
    init(capacity: Int) {
        let none = Entry(
            sequence: 0, range: ByteRange(offset: 0, length: 0), kind: .free, buffer: nil, legs: NodeSet(),
            began: MonotonicTime(nanoseconds: 0), followsFlush: false)
        ring = Array(repeating: none, count: capacity)
    }

    var isEmpty: Bool { count == 0 }
    var isFull: Bool { count == ring.count }
    var isHalfFull: Bool { count >= ring.count / 2 }
    var first: Entry? { count == 0 ? nil : ring[head] }
    var last: Entry? { count == 0 ? nil : self[count - 1] }

    subscript(index: Int) -> Entry {
        get { ring[(head + index) % ring.count] }
        set { ring[(head + index) % ring.count] = newValue }
    }

    mutating func append(_ entry: Entry) {
        precondition(!isFull, "writes wait while the send buffer is full")
        ring[(head + count) % ring.count] = entry
        count += 1
        bytes += entry.charge
    }

    func index(of sequence: UInt64) -> Int? {
        var (low, high) = (0, count)
        while low < high {
            let middle = (low + high) / 2
            if self[middle].sequence < sequence { low = middle + 1 } else { high = middle }
        }
        return low < count && self[low].sequence == sequence ? low : nil
    }

    /// The request is over, and its buffer stays here as long as some peer lacks the write. False: none does.
    mutating func takeBuffer(of sequence: UInt64) -> Bool {
        guard let index = index(of: sequence), !self[index].legs.isEmpty else { return false }
        self[index].ownsBuffer = true
        return true
    }

    /// - Returns: whether it lacked the write, and the buffer to give back.
    mutating func has(_ sequence: UInt64, at node: NodeID) -> (isNews: Bool, released: BufferID?) {
        guard let index = index(of: sequence), self[index].legs.contains(node) else { return (false, nil) }
        let released = drop(node, at: index)
        removeFinished()
        return (true, released)
    }

    /// Takes the peer out of the entry; the buffer to give back when it was the last.
    mutating func drop(_ node: NodeID, at index: Int) -> BufferID? {
        guard self[index].legs.contains(node) else { return nil }
        self[index].legs.remove(node)
        guard self[index].legs.isEmpty else { return nil }
        bytes -= self[index].charge
        return self[index].ownsBuffer ? self[index].buffer : nil
    }

    mutating func removeFinished() {
        while count > 0, ring[head].legs.isEmpty {
            head = (head + 1) % ring.count
            count -= 1
        }
    }

    mutating func removeAll() {
        count = 0
        bytes = 0
    }
}

extension Replica {
    // MARK: Modes

    /// The laxer of the two nodes' modes: writes go by it in both directions.
    static func modes(of configuration: ReplicaConfiguration) -> (relaxed: NodeSet, asynchronous: NodeSet) {
        var (relaxed, asynchronous) = (NodeSet(), NodeSet())
        let own = configuration.members.first { $0.id == configuration.node }?.replication ?? .sync
        for member in configuration.members where member.id != configuration.node && !member.isWitness {
            let mode = max(own, member.replication)
            if mode != .sync { relaxed.insert(member.id) }
            if mode == .asynchronous { asynchronous.insert(member.id) }
        }
        return (relaxed, asynchronous)
    }

    func isInMemoryMode(toward node: NodeID) -> Bool { relaxed.contains(node) && !asynchronous.contains(node) }

    /// Only a copy on the own disk lets a write be answered before the others have it, under a record that says who serves.
    var isRelaxing: Bool {
        hasDisk && required.contains(me) && !(isByMajority && isUndecided)
            && (superblock.record.primary == me || required == NodeSet(me))
    }

    /// A flush needs nothing of any other copy (`async`).
    private var flushesLocally: Bool {
        mutating get {
            isRelaxing && !asynchronous.isEmpty && required.removing(me).isSubset(of: asynchronous)
        }
    }

    /// The link is away for a moment, and what was sent is all held: clients' writes queue up meanwhile.
    func isQueueing(_ node: NodeID) -> Bool {
        guard asynchronous.contains(node), isRelaxing, required.contains(node) else { return false }
        let index = Int(node.rawValue)
        return peers[index].session.isNone && !peers[index].isCutOff && !peers[index].resumableRun.isNone
    }

    /// What clients were told is written is still sent there: the link is away for a moment, or only just back.
    func isOwedHeld(_ node: NodeID) -> Bool {
        required.contains(node) && relaxed.contains(node) && !self[peer: node].isCutOff
            && !self[peer: node].receivesWrites && !self[peer: node].resumableRun.isNone
    }

    // MARK: Holding

    /// The write begins: what goes to peers that need not have it on disk is held until they do.
    mutating func hold(_ slot: Int, for receivers: NodeSet) {
        let legs = receivers.intersection(relaxed)
        guard isRelaxing, !legs.isEmpty, table[slot].kind != .settle else { return }
        held.append(
            HeldWrites.Entry(
                sequence: table[slot].sequence, range: table[slot].range, kind: table[slot].kind,
                buffer: table[slot].kind == .clientWrite ? table[slot].buffer : nil, legs: legs, began: now,
                followsFlush: isFlushBetween))
        isFlushBetween = false
        table[slot].legs = receivers.subtracting(asynchronous)
    }

    /// Before the frame of a held write: the flush that a client was told of before it began.
    mutating func sendFlush(before sequence: UInt64, to node: NodeID) {
        guard asynchronous.contains(node), let last = held.last, last.sequence == sequence, last.followsFlush else {
            return
        }
        send(.flush(round: 0), to: node)
    }

    /// It is in the peer's memory.
    mutating func received(_ sequence: UInt64, by node: NodeID) {
        guard isInMemoryMode(toward: node), let slot = slotOfSequence[sequence].map(Int.init),
            table[slot].legs.contains(node), !table[slot].forced || isLeftOut(.forcedWaitsForFlush)
        else { return }
        guard held.index(of: sequence) != nil else { return }
        table[slot].legs.remove(node)
        finishReplication(slot)
    }

    /// It is on the peer's disk, or cannot be.
    mutating func heldWritten(_ sequence: UInt64, _ succeeded: Bool, at node: NodeID) {
        guard succeeded else {
            if let index = held.index(of: sequence), held[index].legs.contains(node) { peerDiskFailed(node) }
            return
        }
        let (isNews, released) = held.has(sequence, at: node)
        guard isNews else { return }
        if let released { emit(.releaseBuffer(released)) }
        self[peer: node].lastWritten = now
        clientWriteEnded()
        let isResyncWaiting = self[peer: node].source.isComplete || !self[peer: node].source.held.isEmpty
        if !gateQueue.isEmpty || rounds.isWanted || change != nil || demotion != nil || isResyncWaiting {
            attention = true
        }
    }

    mutating func dropHeld(at node: NodeID) {
        guard relaxed.contains(node), !held.isEmpty else { return }
        for index in 0..<held.count {
            if let released = held.drop(node, at: index) { emit(.releaseBuffer(released)) }
        }
        held.removeFinished()
        // A round may confirm more now, and a full log wait for that (seed 427).
        clientWriteEnded()
        attention = true
    }

    /// This node orders no writes any more: what was not delivered is not sent again, and the next handshake tells both sides what
    /// differs. In `async` that may have been answered.
    mutating func abandonHeld() {
        guard !held.isEmpty else { return }
        var nodes = NodeSet()
        for index in 0..<held.count {
            nodes = nodes.union(held[index].legs)
            if held[index].ownsBuffer, !held[index].legs.isEmpty, let buffer = held[index].buffer {
                emit(.releaseBuffer(buffer))
            }
        }
        held.removeAll()
        for node in nodes { giveUpWrites(toward: node) }
        attention = true
    }

    /// What was not answered by that peer's disk, in order; held writes with the flushes between them.
    mutating func resendHeld(to node: NodeID) {
        var frames: [(sequence: UInt64, place: Int, isHeld: Bool)] = []
        for index in 0..<held.count where held[index].legs.contains(node) && !isLeftOut(.heldIsSentAgain) {
            frames.append((held[index].sequence, index, true))
        }
        for slot in table.slots(where: { $0.isReplicated && $0.phase == .running && $0.legs.contains(node) })
        where held.index(of: table[slot].sequence).map({ !held[$0].legs.contains(node) }) ?? true {
            frames.append((table[slot].sequence, slot, false))
        }
        for frame in frames.sorted(by: { $0.sequence < $1.sequence }) {
            guard frame.isHeld else {
                sendWrite(frame.place, to: node)
                continue
            }
            let entry = held[frame.place]
            if entry.followsFlush, asynchronous.contains(node) { send(.flush(round: 0), to: node) }
            if entry.kind == .clientWrite, let buffer = entry.buffer {
                send(.write(sequence: entry.sequence, range: entry.range, buffer: buffer), to: node)
            } else {
                let isTrim = entry.kind == .clientTrim
                send(.zero(sequence: entry.sequence, range: entry.range, trim: isTrim), to: node)
            }
        }
    }

    // MARK: Flushes

    /// FLUSH and FUA: by a round over all copies, or, where every other one is asynchronous, by the own disk alone.
    mutating func waitForStable(_ slot: Int) {
        if isMixed, isRelaxing, !isLeftOut(.flushWaitsForNear) { return waitForNearRound(slot) }
        guard flushesLocally else { return waitForRound(slot) }
        table[slot].phase = .waitingFlush
        table[slot].round = requestFlush()
        localFlushQueue.append(slot)
        attention = true
    }

    /// What was answered before, or this write itself, is not everywhere on disk yet: a round that covers it begins later.
    mutating func heldThrough(_ slot: Int) -> UInt64 {
        guard table[slot].isClientWrite else { return held.last?.sequence ?? 0 }
        return held.index(of: table[slot].sequence).map { held[$0].legs.isEmpty ? 0 : held[$0].sequence } ?? 0
    }

    mutating func finishLocalFlushes() {
        while let slot = localFlushQueue.first {
            guard hasDisk else {
                _ = localFlushQueue.popFirst()
                waitForRound(slot)
                continue
            }
            guard isFlushed(table[slot].round) || isLeftOut(.flushHere), mayAcknowledge else { return }
            _ = localFlushQueue.popFirst()
            isFlushBetween = true
            complete(slot, .done)
        }
    }

    // MARK: Congestion

    /// No write may begin: the send buffer is full, or the oldest write in it is too old (`send-buffer`, `max-lag`).
    var isCongested: Bool {
        guard let first = held.first, !isLeftOut(.sendBufferIsBounded) else { return false }
        let maximum = configuration.maximumLag
        return held.bytes >= configuration.limits.sendBuffer || held.isFull
            || maximum > 0 && now.since(first.began) >= maximum
    }

    /// Half of the way to falling behind. A link whose round trip alone takes that long is so always.
    var isNearlyCongested: Bool {
        guard configuration.fallsBehind, let first = held.first else { return false }
        let maximum = configuration.maximumLag
        return held.bytes >= configuration.limits.sendBuffer / 2 || held.isHalfFull
            || maximum > 0 && now.since(first.began) >= maximum / 2
    }

    /// What a client may have been told is done and a peer lacks when this node dies: as much as the buffer takes, and the last
    /// write that was let in.
    var mostLost: UInt64 { configuration.limits.sendBuffer + Geometry.extentSize }

    /// `on-congestion: fall-behind`: the peer that holds writes back is left behind, and filled again later.
    mutating func fallBehindIfCongested() {
        guard configuration.fallsBehind, isCongested, change == nil, let first = held.first,
            table.contains(where: { $0.isClientWrite && $0.phase == .waitingGate })
        else { return }
        for node in others where first.legs.contains(node) && asynchronous.contains(node) { fallBehind(node) }
    }

    private mutating func fallBehind(_ node: NodeID) {
        guard self[peer: node].behindUntil.map({ now >= $0 }) ?? true else { return }
        let timing = configuration.timing
        // Whoever falls behind again soon, or while it is being filled, is given more time each time: no flapping.
        let sinceThen = now.since(self[peer: node].caughtUpAt)
        let isAgain = self[peer: node].behindSince != nil || sinceThen < self[peer: node].behindPause * 16
        let pause = isAgain ? self[peer: node].behindPause * 2 : timing.pingTimeout
        self[peer: node].behindPause = min(max(pause, timing.pingTimeout), timing.pingTimeout * 64)
        self[peer: node].behindUntil = now + self[peer: node].behindPause
        let seconds = self[peer: node].behindPause / 1_000_000_000
        let isFull = held.bytes >= configuration.limits.sendBuffer || held.isFull
        let why = isFull ? "its send buffer is full, \(held.bytes) bytes" : "it lags by more than it may"
        note(.warning, "replication", "behind: \(why); it is filled in \(seconds) s or later", peer: node)
        if self[peer: node].behindSince == nil { self[peer: node].behindSince = held.first?.began }
        restartSession(node, "it falls behind")
        self[peer: node].resumableRun = .none
        if required.contains(node) { self[peer: node].isCutOff = true }
        attention = true
    }

    /// A peer that fell behind is not filled before that time.
    func isBehind(_ node: NodeID) -> Bool { self[peer: node].behindUntil.map { now < $0 } ?? false }

    /// What this node acknowledged as an asynchronous primary and did not deliver: whoever promoted the other copy said so.
    mutating func noteDropped(by node: NodeID) {
        guard asynchronous.contains(node), let mine = self[peer: node].mine, mine.record.primary == me,
            let theirs = self[peer: node].theirs, theirs.record.primary != me
        else { return }
        // With quorum it may have been filled before by a copy that had everything, whose generation went on.
        let isOnTheWord = theirs.current.node == node && theirs.history.first?.id == mine.current.id
        guard isByMajority ? isOnTheWord : self[peer: node].verdict?.rule == .containsGeneration else { return }
        let bytes = (mine.dirtyBlocks + mine.unconfirmedBlocks) * Geometry.blockSize
        note(
            .warning, "handshake", "\(name(node)) was promoted without \(name(me)): at most \(bytes) bytes are dropped",
            peer: node)
    }

    // MARK: Lag

    /// Bytes that clients were told are written and that are not on that peer's disk, as far as this primary knows.
    func lagBytes(of node: NodeID) -> UInt64 {
        guard relaxed.contains(node) else { return 0 }
        if self[peer: node].behindSince != nil {
            return hasDisk ? self[bitmap: node].count * Geometry.blockSize : 0
        }
        var bytes: UInt64 = 0
        for index in 0..<held.count where held[index].legs.contains(node) { bytes += held[index].range.length }
        return bytes
    }

    /// Whoever follows the state hears of a lag that grows or goes.
    mutating func noteLag(of node: NodeID) {
        guard relaxed.contains(node) else { return }
        let step = VolumeStatus.Peer.lagStep(nanoseconds: lagAge(of: node, at: now))
        guard step != self[peer: node].toldLag else { return }
        self[peer: node].toldLag = step
        noteStatus()
    }

    /// How old the oldest of them is, in nanoseconds.
    func lagAge(of node: NodeID, at now: MonotonicTime) -> UInt64 {
        guard relaxed.contains(node) else { return 0 }
        if let since = self[peer: node].behindSince { return now.since(since) }
        for index in 0..<held.count where held[index].legs.contains(node) { return now.since(held[index].began) }
        return 0
    }
}
