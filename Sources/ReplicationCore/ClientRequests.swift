import Model

/// The clients' side of the write path (`6-protocol`, WRITE, READ, ACK): gate → overlaps → log → legs → right → reply.
extension Replica {
    mutating func begin(_ request: ClientRequest) {
        let slot = Int(request.ticket)
        precondition(slot < configuration.limits.clientOperations, "tickets are below Limits.clientOperations")
        guard role == .primary, demotion?.isDraining != true, stopping == nil else {
            if request.kind == .write, let buffer = request.buffer { emit(.releaseBuffer(buffer)) }
            emit(.reply(request.ticket, .notPrimary))
            return
        }
        var operation = Operation()
        switch request.kind {
        case .read: operation.kind = .clientRead
        case .write: operation.kind = .clientWrite
        case .zero: operation.kind = .clientZero
        case .trim: operation.kind = .clientTrim
        case .flush: operation.kind = .clientFlush
        }
        operation.exact = request.range
        operation.range = request.kind == .flush ? ByteRange(offset: 0, length: 0) : request.range.widenedToBlocks
        operation.buffer = request.buffer
        operation.forced = request.forced
        operation.began = now
        clientsAskedAt = now
        if request.kind == .read, isByMajority { operation.round = nextPingRound }
        table.insert(operation, at: slot)
        if isLeftOut(.workBeforeReply), operation.isClientWrite { emit(.reply(request.ticket, .done)) }
        if table[slot].blockers == 0 { enterClient(slot) }
    }

    /// No earlier overlapping operation is left.
    mutating func enterClient(_ slot: Int) {
        if table[slot].isGivenUp {
            endClient(slot)
            return
        }
        switch table[slot].kind {
        case .clientFlush: waitForStable(slot)
        case .clientRead: startRead(slot)
        default:
            if isWriteGateOpen, !isUnsettled(table[slot].range) { fillEdges(slot) } else { waitAtGate(slot) }
        }
    }

    mutating func waitAtGate(_ slot: Int) {
        table[slot].phase = .waitingGate
        gateQueue.append(slot)
        attention = true
    }

    /// Writes may start: this node is primary, every required peer is there, no record is undecided. (`mutating`, as others that are
    /// asked for each write: else the replica is copied for it, all 7 KiB.)
    var isWriteGateOpen: Bool {
        mutating get {
            let isFree = change.map(\.isHarmless) ?? true || isLeftOut(.joinHoldsWrites) && change?.phase == .offering
            guard role == .primary, isFree, candidacy == nil, doubts.isEmpty, !isUnsettled else { return false }
            guard unconfirmed.count < configuration.limits.unconfirmedEntries else { return false }
            if !hasDisk, disk == .failed || required.contains(me) { return false }
            guard !required.isEmpty else { return false }
            for node in others {
                let isJoining = isJoinDue(node) || self[peer: node].target.isHolding
                if isJoining, !isLeftOut(.joinHoldsWrites) { return false }
                let peer = self[peer: node]
                // One that was left behind may take its time over a handshake: more marks do not change the verdict.
                if required.contains(node), !peer.receivesWrites || peer.handshake == .exchanging, !isQueueing(node) {
                    return false
                }
            }
            return relaxed.isEmpty || !isCongested
        }
    }

    /// Reads need less: the data here, or at a member.
    private var isReadGateOpen: Bool {
        mutating get {
            guard role == .primary, doubts.isEmpty, !isUnsettled, candidacy == nil else { return false }
            return hasDisk && (required.contains(me) || isLeftOut(.readsNeedStep)) || readablePeer != nil
        }
    }

    mutating func advanceGate() {
        if !asynchronous.isEmpty { fallBehindIfCongested() }
        var waiting = gateQueue.count
        while waiting > 0, let slot = gateQueue.popFirst() {
            waiting -= 1
            guard table[slot].kind != .free else { continue }
            if isUnsettled(table[slot].range) {
                gateQueue.append(slot)
            } else if table[slot].kind == .clientRead, isReadGateOpen {
                startRead(slot)
            } else if table[slot].isClientWrite, isWriteGateOpen {
                resumeWrite(slot)
            } else {
                gateQueue.append(slot)
            }
        }
    }

    private mutating func resumeWrite(_ slot: Int) {
        if table[slot].holdsExtent || table[slot].edges == Self.edgesFilled {
            prepareLog(slot)
        } else {
            fillEdges(slot)
        }
    }

    private static var edgesFilled: UInt8 { 0x80 }

    // MARK: Writes

    /// A request that covers blocks only in part is completed to whole blocks first; its overlap lock is already held.
    private mutating func fillEdges(_ slot: Int) {
        if slot == repairSlot {
            readForRepair(slot)
            return
        }
        let operation = table[slot]
        guard operation.kind == .clientWrite, !operation.exact.isBlockAligned, let buffer = operation.buffer else {
            prepareLog(slot)
            return
        }
        table[slot].phase = .waitingEdges
        if hasDisk, required.contains(me) {
            table[slot].localPending = true
            outstanding += 1
            emit(.fillEdges(OperationID(rawValue: UInt32(slot)), exact: operation.exact, buffer))
            return
        }
        let head = operation.exact.offset % Geometry.blockSize != 0
        let tail = operation.exact.end % Geometry.blockSize != 0
        let single = operation.range.length == Geometry.blockSize
        table[slot].edges = (head || (tail && single) ? 1 : 0) | (tail && !single ? 2 : 0)
        askForEdge(slot)
    }

    private mutating func askForEdge(_ slot: Int) {
        guard let peer = readablePeer else {
            waitAtGate(slot)
            table[slot].edges = 0
            return
        }
        let range = table[slot].range
        let offset = table[slot].edges & 1 != 0 ? range.offset : range.end - Geometry.blockSize
        table[slot].legs = NodeSet(peer)
        send(.read(id: UInt32(slot), range: ByteRange(offset: offset, length: Geometry.blockSize)), to: peer)
    }

    private mutating func edgesFilled(_ slot: Int) {
        if table[slot].isGivenUp {
            endClient(slot)
            return
        }
        table[slot].edges = Self.edgesFilled
        if isWriteGateOpen { prepareLog(slot) } else { waitAtGate(slot) }
    }

    private mutating func prepareLog(_ slot: Int) {
        if !hasDisk || acquireExtent(slot) { submitWrite(slot) }
    }

    /// The extent is durable in the log (or there is no disk): the write gets its place in the order and goes to all.
    mutating func submitWrite(_ slot: Int) {
        if table[slot].isGivenUp {
            endClient(slot)
            return
        }
        guard isWriteGateOpen else {
            waitAtGate(slot)
            return
        }
        let receivers = takeSequence(slot)
        if hasDisk {
            table[slot].localPending = true
            outstanding += 1
            writeLocally(slot)
        }
        for node in receivers where relaxed.isEmpty || self[peer: node].receivesWrites { sendWrite(slot, to: node) }
        rounds.bytes += table[slot].range.length
        rounds.lastWrite = now
    }

    /// The write's place in the order, and the peers it goes to; toward every other one it is marked.
    private mutating func takeSequence(_ slot: Int) -> NodeSet {
        sequence += 1
        table[slot].sequence = sequence
        table[slot].phase = .running
        table[slot].began = now
        slotOfSequence[sequence] = Int32(slot)
        var receivers = NodeSet()
        for node in others {
            let isKept = isLeftOut(.trimReplicated) && table[slot].kind == .clientTrim
            if self[peer: node].receivesWrites || isQueueing(node), !isKept { receivers.insert(node) }
            if !required.contains(node), hasDisk, !isLeftOut(.absentIsMarked) {
                self[bitmap: node].mark(table[slot].range.blocks)
            }
        }
        table[slot].legs = receivers
        table[slot].sentTo = receivers
        if hasDisk, !receivers.isEmpty, !isLeftOut(.primaryKeepsUnconfirmed) {
            addUnconfirmed(sequence, table[slot].range, sentTo: receivers)
        }
        if !relaxed.isEmpty { hold(slot, for: receivers) }
        return receivers
    }

    /// What is here already goes to every member like a write.
    mutating func replicate(_ slot: Int) {
        for node in takeSequence(slot) { sendWrite(slot, to: node) }
        rounds.bytes += table[slot].range.length
        rounds.lastWrite = now
    }

    private mutating func writeLocally(_ slot: Int) {
        let id = OperationID(rawValue: UInt32(slot))
        let range = table[slot].range
        switch table[slot].kind {
        case .clientZero, .peerZero, .pullZero: emit(.zeroData(id, range, trim: false))
        case .clientTrim, .peerTrim: emit(.zeroData(id, range, trim: true))
        default:
            guard let buffer = table[slot].buffer else { preconditionFailure("a write has a buffer") }
            emit(.writeData(id, range, buffer))
        }
    }

    mutating func sendWrite(_ slot: Int, to node: NodeID) {
        let operation = table[slot]
        if !asynchronous.isEmpty { sendFlush(before: operation.sequence, to: node) }
        switch operation.kind {
        case .clientWrite, .settle:
            guard let buffer = operation.buffer else { preconditionFailure("a write has a buffer") }
            send(.write(sequence: operation.sequence, range: operation.range, buffer: buffer), to: node)
        default:
            send(
                .zero(sequence: operation.sequence, range: operation.range, trim: operation.kind == .clientTrim),
                to: node)
        }
    }

    /// A peer has (or refuses) the write.
    mutating func written(_ sequence: UInt64, _ succeeded: Bool, from node: NodeID) {
        if relaxed.contains(node) { heldWritten(sequence, succeeded, at: node) }
        guard let slot = slotOfSequence[sequence].map(Int.init), table[slot].legs.contains(node) else { return }
        guard succeeded else {
            peerDiskFailed(node)
            return
        }
        table[slot].legs.remove(node)
        finishReplication(slot)
    }

    mutating func finishReplication(_ slot: Int) {
        if table[slot].kind == .settle { finishSettling(slot) } else { finishWriteIfDone(slot) }
    }

    /// All legs are done. A leg that failed here, or at a peer that is being left out, holds the reply until the record
    /// that leaves it out is chosen; a record that loses a member holds all (ACK).
    mutating func finishWriteIfDone(_ slot: Int) {
        guard table[slot].phase == .running, !table[slot].localPending || isLeftOut(.diskBeforeReply),
            table[slot].legs.isEmpty || isLeftOut(.peerBeforeReply)
        else { return }
        if table[slot].isGivenUp {
            endClient(slot)
            return
        }
        let isUndone = table[slot].localFailed && required.contains(me) && !isLeftOut(.failedDiskLeavesBeforeReply)
        if isUndone || !mayReply() {
            attention = true
            return
        }
        if table[slot].forced, !isLeftOut(.forcedWaitsForFlush) { waitForStable(slot) } else { complete(slot, .done) }
    }

    /// No record that loses a member is undecided, and this process did not just wake from a long stop.
    var mayAcknowledge: Bool {
        mutating get {
            guard leads, doubts.isEmpty, candidacy == nil || isLeftOut(.repliesNeedTheTerm) else {
                return false
            }
            guard hasDisk || !required.contains(me) || isLeftOut(.failedDiskLeavesBeforeReply) else { return false }
            if isByMajority, !holdsTerm, !isLeftOut(.repliesNeedTheTerm) { return false }
            let isFree = isLeftOut(.recordBeforeReply) || isLeftOut(.changeHoldsReplies)
            return isFree || change.map { $0.loses.isEmpty } ?? true
        }
    }

    /// With quorum a reply rests on the lease of each member, as a read does: what the members had long answered, and only this
    /// disk kept waiting, may be complete after another node began to serve.
    mutating func mayReply() -> Bool {
        guard mayAcknowledge else { return false }
        guard isByMajority, role == .primary, !isLeaseValid, !isLeftOut(.repliesNeedLease) else { return true }
        lease.holdsReplies = true
        renewLease()
        return false
    }

    mutating func complete(_ slot: Int, _ result: ClientResult) {
        table[slot].isReplied = true
        answer(slot, result)
        endClient(slot)
    }

    private mutating func answer(_ slot: Int, _ result: ClientResult) {
        if slot == repairSlot { repairWritten(result) } else { emit(.reply(UInt32(slot), result)) }
    }

    mutating func endClient(_ slot: Int) {
        if !table[slot].isReplied { answer(slot, table[slot].givenUpResult) }
        let isNumbered = table[slot].isClientWrite && table[slot].sequence > 0
        let isHeld = isNumbered && !held.isEmpty && held.takeBuffer(of: table[slot].sequence)
        if let buffer = table[slot].buffer, table[slot].kind == .clientWrite, !isHeld { emit(.releaseBuffer(buffer)) }
        if isNumbered { slotOfSequence[table[slot].sequence] = nil }
        releaseExtent(slot)
        remove(slot)
        if isNumbered { clientWriteEnded() }
    }

    mutating func remove(_ slot: Int) {
        let isWrite = table[slot].isWrite
        table.remove(slot, freeing: &freed)
        let isAwaited = change != nil || demotion != nil || stopping != nil
        if isWrite, isAwaited || others.contains(where: { self[peer: $0].target.isHolding }) { attention = true }
        // Frames wait for those before them, or for a place: nothing else may happen here for long (seed 40297 of `--growth`).
        if !relaxed.isEmpty, others.contains(where: { self[peer: $0].arrivals.isHolding }) { attention = true }
        if table.clients == 0 || table.peerOperations == 0 { attention = attention || isIdleAwaited }
        while let next = freed.popLast() {
            if table[Int(next)].isClient { enterClient(Int(next)) } else { enterPeerOperation(Int(next)) }
        }
    }

    private var isIdleAwaited: Bool {
        mutating get {
            change != nil || acceptance != nil || demotion != nil || stopping != nil || detaching != nil
                || others.contains { self[peer: $0].handshake == .preparing || self[peer: $0].source.isComplete }
        }
    }

    // MARK: Reads

    /// A member with a whole copy that answers reads.
    var readablePeer: NodeID? {
        nearFirst { isReadable($0) && isLevel($0) }
    }

    private func isReadable(_ node: NodeID) -> Bool {
        required.contains(node) && self[peer: node].receivesWrites && self[peer: node].relation != .source
    }

    mutating func startRead(_ slot: Int) {
        guard isReadGateOpen, !isUnsettled(table[slot].range) else {
            waitAtGate(slot)
            return
        }
        guard let buffer = table[slot].buffer else { preconditionFailure("a read has a buffer") }
        if hasDisk, required.contains(me) || isLeftOut(.readsNeedStep) {
            table[slot].phase = .running
            table[slot].localPending = true
            outstanding += 1
            emit(.readData(OperationID(rawValue: UInt32(slot)), table[slot].range, buffer, detectZeroes: false))
        } else if let peer = readablePeer {
            table[slot].phase = .running
            table[slot].legs = NodeSet(peer)
            send(.read(id: UInt32(slot), range: table[slot].range), to: peer)
        }
    }

    /// A peer answered a read (or the edge of a write).
    mutating func peerRead(_ id: UInt32, _ range: ByteRange, _ buffer: BufferID, from node: NodeID) {
        defer { emit(.releaseBuffer(buffer)) }
        let slot = Int(id)
        guard slot < table.clientSlots, table[slot].legs.contains(node), let into = table[slot].buffer else { return }
        if table[slot].kind == .clientRead, table[slot].phase == .running, range == table[slot].range {
            table[slot].legs = NodeSet()
            emit(.copyBuffer(from: buffer, into: into, bytes: UInt32(range.length)))
            finishRead(slot)
        } else if table[slot].phase == .waitingEdges, range.length == Geometry.blockSize,
            table[slot].range.contains(range)
        {
            table[slot].legs = NodeSet()
            if slot == repairSlot {
                emit(.copyBuffer(from: buffer, into: into, bytes: UInt32(range.length)))
            } else {
                emit(.mergeEdge(from: buffer, covering: range, exact: table[slot].exact, into: into))
            }
            table[slot].edges &= table[slot].edges - 1
            if table[slot].edges == 0 { edgesFilled(slot) } else { askForEdge(slot) }
        }
    }

    mutating func peerReadFailed(_ id: UInt32, from node: NodeID) {
        let slot = Int(id)
        guard slot < table.clientSlots, table[slot].legs.contains(node) else { return }
        table[slot].legs = NodeSet()
        guard table[slot].kind == .clientRead || table[slot].phase == .waitingEdges else { return }
        // Asked before this copy was filled: it is read here now.
        guard !hasDisk || !required.contains(me) || slot == repairSlot else {
            table[slot].edges = 0
            waitAtGate(slot)
            return
        }
        complete(slot, .failed)
    }

    private mutating func finishRead(_ slot: Int) {
        if table[slot].isGivenUp {
            endClient(slot)
        } else {
            answerRead(slot)
        }
    }

    // MARK: The disk answers

    mutating func dataDone(_ id: OperationID, _ result: DiskResult) {
        if id == Self.flushOperation {
            flushDone(result)
            return
        }
        if id == Self.roomOperation {
            roomZeroed(result)
            return
        }
        let slot = Int(id.rawValue)
        precondition(slot < table.count && table[slot].localPending, "the disk answers what it was asked, once")
        outstanding -= 1
        if disk == .failed || outstanding == 0 { attention = true }
        table[slot].localPending = false
        guard table[slot].isClient else {
            peerOperationDone(slot, result)
            return
        }
        if result == .failed {
            clientIOFailed(slot)
        } else if table[slot].kind == .clientRead {
            finishRead(slot)
        } else if table[slot].phase == .waitingEdges {
            edgesFilled(slot)
        } else {
            if change != nil { attention = true }
            finishWriteIfDone(slot)
        }
    }

    /// While another copy can serve, a disk that failed once is not used any more; the last copy keeps what it can, and
    /// says which read it cannot.
    private mutating func clientIOFailed(_ slot: Int) {
        let isWrite = table[slot].isClientWrite && table[slot].phase == .running
        if slot == repairSlot, !isWrite, !table[slot].isGivenUp {
            complete(slot, .failed)
            return
        }
        if table[slot].isGivenUp {
            if isWrite { failDisk("a write failed") }
            endClient(slot)
            return
        }
        if isWrite {
            table[slot].localFailed = true
            failDisk("a write failed")
            finishWriteIfDone(slot)
        } else if hasDisk, !others.contains(where: { isReadable($0) }) {
            note(.error, "io", "a read of \(table[slot].range.length) bytes at \(table[slot].range.offset) failed")
            complete(slot, .failed)
        } else {
            failDisk("a read failed")
            waitAtGate(slot)
        }
    }
}
