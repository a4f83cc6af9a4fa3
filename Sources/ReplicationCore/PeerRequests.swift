import Model

/// What peers ask of this copy: frames of the primary's writes, reads, and the two ends of a resync's data. Operations that
/// overlap are done in the order in which they arrived.
extension Replica {
    /// Enters a peer's operation; the session ends when it has begun more than the limit.
    private mutating func enter(
        _ kind: Operation.Kind, _ range: ByteRange, _ id: UInt64, _ buffer: BufferID?, _ node: NodeID
    ) {
        guard hasDisk, range.end <= volumeEnd, let slot = table.takePeerSlot() else {
            if let buffer { emit(.releaseBuffer(buffer)) }
            if hasDisk { dropSession(node, "it asked for more than it may") } else { refuse(kind, id, node) }
            return
        }
        var operation = Operation()
        operation.kind = kind
        operation.range = range
        operation.exact = range
        operation.sequence = id
        operation.buffer = buffer
        operation.peer = node
        operation.session = self[peer: node].session
        operation.began = now
        table.insert(operation, at: slot, ordered: kind != .digestRead || !isLeftOut(.digestBehindFrames))
        if operation.isFrame, isInMemoryMode(toward: node) { send(.received(sequence: id), to: node) }
        if table[slot].blockers == 0 { enterPeerOperation(slot) }
    }

    /// Without a disk nothing can be done: the peer is told so.
    private mutating func refuse(_ kind: Operation.Kind, _ id: UInt64, _ node: NodeID) {
        switch kind {
        case .peerWrite, .peerZero, .peerTrim: send(.written(sequence: id, succeeded: false), to: node)
        case .peerRead: send(.readFailed(id: UInt32(truncatingIfNeeded: id)), to: node)
        case .pullRead: send(.pullFailed(id: id), to: node)
        case .digestRead: send(.digestFailed(id: UInt32(truncatingIfNeeded: id), unreadable: hasDisk), to: node)
        default: break
        }
    }

    /// A frame of the primary. Applied only by a copy that the primary's record names or that is joining.
    mutating func receiveWrite(
        _ kind: Operation.Kind, _ sequence: UInt64, _ range: ByteRange, _ buffer: BufferID?, _ node: NodeID
    ) {
        let relation = self[peer: node].relation
        let isServing = relation == .source && self[peer: node].theirs?.isPrimary == true
        guard relation == .established || relation == .target || relation == .carrier || isServing, role != .primary
        else {
            if let buffer { emit(.releaseBuffer(buffer)) }
            dropSession(node, "it sent a write that this copy may not take")
            return
        }
        clientsAskedAt = now
        guard relaxed.contains(node), hasDisk, range.end <= volumeEnd,
            self[peer: node].arrivals.isHolding || table.freePeerCount <= configuration.limits.resyncPulls
        else { return enterFrame(kind, range, sequence, buffer, node) }
        hold(Arrivals.Frame(kind: kind, sequence: sequence, range: range, buffer: buffer), from: node)
        attention = true
    }

    /// What waits before it is entered is covered by no flush of this copy's (seed 1933).
    mutating func enterFrame(
        _ kind: Operation.Kind, _ range: ByteRange, _ sequence: UInt64, _ buffer: BufferID?, _ node: NodeID
    ) {
        if kind == .peerWrite || kind == .peerZero || kind == .peerTrim {
            self[peer: node].target.lastWrite = max(self[peer: node].target.lastWrite, sequence)
        }
        enter(kind, range, sequence, buffer, node)
    }

    /// What is asked after frames that wait finds them written (seed 3736).
    mutating func enterBehindArrivals(
        _ kind: Operation.Kind, _ range: ByteRange, _ id: UInt64, _ node: NodeID
    ) {
        guard !relaxed.isEmpty, self[peer: node].arrivals.isHolding else { return enter(kind, range, id, nil, node) }
        hold(Arrivals.Frame(kind: kind, sequence: id, range: range, buffer: nil), from: node)
    }

    mutating func receiveRead(_ id: UInt32, _ range: ByteRange, _ node: NodeID) {
        guard range.end <= volumeEnd, mayServeReads(to: node) else {
            send(.readFailed(id: id), to: node)
            return
        }
        enterBehindArrivals(.peerRead, range, UInt64(id), node)
    }

    private func mayServeReads(to node: NodeID) -> Bool {
        hasDisk && required.contains(me) && !superblock.flags.contains(.inconsistent)
            && (self[peer: node].relation == .carrier || self[peer: node].relation == .established
                || self[peer: node].relation == .source)
    }

    mutating func receivePull(_ id: UInt64, _ range: ByteRange, _ node: NodeID) {
        guard self[peer: node].relation == .source, hasDisk, !superblock.flags.contains(.inconsistent) else {
            send(.pullFailed(id: id), to: node)
            return
        }
        guard self[peer: node].source.held.count < configuration.limits.peerOperations else {
            dropSession(node, "it asked for more than it may")
            return
        }
        guard range.end <= volumeEnd || !isOfTheirDisk(range, node) else {
            // Asked for anew, block by block, it lies on this side of the end or behind it.
            send(range.offset < volumeEnd ? .pullFailed(id: id) : .pullZero(id: id, range: range), to: node)
            return
        }
        self[peer: node].source.held.append(ResyncSource.Pull(id: id, range: range))
        servePulls(node)
    }

    /// A build from before volumes could grow asks for all that its disk can hold.
    private func isOfTheirDisk(_ range: ByteRange, _ node: NodeID) -> Bool {
        range.end <= min(self[peer: node].theirs?.capacity ?? 0, Geometry.maximumVolumeSize)
    }

    /// Clients whose reads the target does not see are given way to here: one piece is read after the other. And what clients
    /// write takes the same link: a target that would fall behind for what it is filled with gets a piece now and then only.
    /// What is not settled another member may lack: it may lead next, and would know of no difference (seed 95378).
    private mutating func mayServePull(_ range: ByteRange, _ node: NodeID) -> Bool {
        if isUnsettled(range) { return false }
        if isGivingWay, self[peer: node].source.reading > 0 { return false }
        return !isNearlyCongested || now.since(self[peer: node].source.servedAt) >= Self.resyncFlushInterval
    }

    mutating func servePulls(_ node: NodeID) {
        while self[peer: node].relation == .source, let next = self[peer: node].source.held.first,
            mayServePull(next.range, node)
        {
            self[peer: node].source.held.removeFirst()
            guard hasDisk else {
                send(.pullFailed(id: next.id), to: node)
                continue
            }
            self[peer: node].source.reading += 1
            self[peer: node].source.servedAt = now
            enterBehindArrivals(.pullRead, next.range, next.id, node)
        }
    }

    mutating func receivePullData(_ id: UInt64, _ range: ByteRange, _ buffer: BufferID?, _ node: NodeID) {
        let isAsked =
            self[peer: node].relation == .target
            && self[peer: node].target.inFlight.contains { $0.id == id && $0.range == range }
        guard isAsked else {
            if let buffer { emit(.releaseBuffer(buffer)) }
            dropSession(node, "it sent resync data that was not asked for")
            return
        }
        if range.offset >= volumeEnd {
            if let buffer { emit(.releaseBuffer(buffer)) }
            return pulled(id, range, node)
        }
        // Only at a target that is primary was the range locked when it was asked for.
        if role == .primary,
            let asked = table.firstSlot(where: { $0.kind == .pullAsk && $0.peer == node && $0.sequence == id })
        {
            table[asked].kind = buffer == nil ? .pullZero : .pullWrite
            table[asked].buffer = buffer
            submitPeerWrite(asked)
        } else {
            enter(buffer == nil ? .pullZero : .pullWrite, range, id, buffer, node)
        }
    }

    /// No earlier overlapping operation is left.
    mutating func enterPeerOperation(_ slot: Int) {
        switch table[slot].kind {
        case .peerWrite, .peerZero, .peerTrim:
            if acquireExtent(slot) { submitPeerWrite(slot) }
        case .peerRead, .pullRead, .digestRead:
            table[slot].phase = .waitingBuffer
            emit(.takeBuffer(OperationID(rawValue: UInt32(slot)), bytes: UInt32(table[slot].range.length)))
        case .pullWrite, .pullZero: enterPulled(slot)
        case .settle: takeForSettling(slot)
        case .verify: compareLocked(slot)
        case .pullAsk:
            table[slot].phase = .running
            send(.pull(id: table[slot].sequence, range: table[slot].range), to: table[slot].peer)
        default: preconditionFailure("a client's operation is not a peer's")
        }
    }

    mutating func bufferTaken(_ id: OperationID, _ buffer: BufferID) {
        let slot = Int(id.rawValue)
        precondition(slot < table.count && table[slot].phase == .waitingBuffer, "a buffer comes to who asked for it")
        if slot == repairSlot {
            repairHasBuffer(buffer)
            return
        }
        if table[slot].kind == .verify {
            lockCompared(slot, buffer)
            return
        }
        table[slot].buffer = buffer
        guard hasDisk else {
            table[slot].localFailed = true
            endPeerOperation(slot)
            return
        }
        table[slot].phase = .running
        table[slot].localPending = true
        outstanding += 1
        emit(.readData(id, table[slot].range, buffer, detectZeroes: table[slot].kind == .pullRead))
    }

    /// The extent is durable in the log, or the copy is being filled and its source holds the marks (resync data).
    mutating func submitPeerWrite(_ slot: Int) {
        if table[slot].kind == .settle {
            takeForSettling(slot)
            return
        }
        guard hasDisk else {
            table[slot].localFailed = true
            endPeerOperation(slot)
            return
        }
        let operation = table[slot]
        let isFrame = operation.isFrame
        let isLive = operation.session == self[peer: operation.peer].session
        // What was received in memory may have been answered, and its sender be gone.
        let isOwed = isFrame && !isLive && isInMemoryMode(toward: operation.peer) && !isLeftOut(.receivedIsWritten)
        var isKnown = false
        if isOwed, unconfirmed.isFull {
            for node in others { self[bitmap: node].mark(operation.range.blocks) }
            // Sent again, nothing would tell that it is here already: the next session goes by the marks.
            self[peer: operation.peer].resumableRun = .none
        } else if isFrame, isLive || isOwed {
            isKnown = isLive && isSentAgain(operation)
            guard isKnown || !unconfirmed.isFull else {
                dropSession(operation.peer, "it confirms nothing")
                table[slot].localFailed = true
                endPeerOperation(slot)
                return
            }
            noteFrame(operation, isKnown: isKnown)
        }
        if isFrame, !isLive, !isOwed, !isLeftOut(.oldWritesEndFirst) {
            // A frame of a session that ended before it reached the disk: its sender holds it and sends it again.
            table[slot].localFailed = true
            endPeerOperation(slot)
            return
        }
        // It has been written here, and perhaps a newer one over it, which was answered too, and which nobody would send again should
        // the sender die now (F14).
        if isKnown, relaxed.contains(operation.peer), !isLeftOut(.knownIsNotWritten) { return endPeerOperation(slot) }
        table[slot].phase = .running
        table[slot].localPending = true
        outstanding += 1
        let id = OperationID(rawValue: UInt32(slot))
        switch operation.kind {
        case .peerZero, .pullZero: emit(.zeroData(id, operation.range, trim: false))
        case .peerTrim: emit(.zeroData(id, operation.range, trim: true))
        default:
            guard let buffer = operation.buffer else { preconditionFailure("a write has a buffer") }
            emit(.writeData(id, operation.range, buffer))
        }
        if isFrame, isLeftOut(.diskBeforePeerAnswers) {
            send(.written(sequence: operation.sequence, succeeded: true), to: operation.peer)
        }
        if isLeftOut(.bufferKeptUntilWritten), let buffer = table[slot].buffer {
            emit(.releaseBuffer(buffer))
            table[slot].buffer = nil
        }
    }

    /// It lies in the list already, which would fill up with each session that breaks.
    private func isSentAgain(_ frame: Operation) -> Bool {
        frame.sequence <= self[peer: frame.peer].resentThrough && unconfirmed.holds(frame.sequence, frame.range)
    }

    /// A frame is about to be written: it is not confirmed yet, and who is away lacks it.
    private mutating func noteFrame(_ frame: Operation, isKnown: Bool) {
        // A resync's source keeps the marks of what it sends until this copy has flushed it.
        let relation = self[peer: frame.peer].relation
        // Alone in step there is nobody to hear from: the marks toward the others say it all.
        let isAlone = relation == .carrier && required == NodeSet(me)
        if relation != .target, !isAlone, !isKnown, !isLeftOut(.receiverKeepsUnconfirmed) {
            let holder = relation == .source ? NodeSet(frame.peer) : NodeSet()
            addUnconfirmed(frame.sequence, frame.range, sentTo: holder)
        }
        // A primary that is being filled writes its own copy itself, and its own log names what it wrote. A member may lack what
        // a copy that is being filled has by now, and be its next source: the marks of the present one die with that.
        for node in others where !(relation == .source && node == frame.peer) {
            let isMarking = isByMajority && !isLeftOut(.targetMarksTowardMembers)
            let isNextSource = isMarking && relation == .target && node != frame.peer
            if required.contains(node) && !isNextSource || isLeftOut(.receiverMarksAbsent) { continue }
            self[bitmap: node].mark(frame.range.blocks)
        }
    }

    mutating func peerOperationDone(_ slot: Int, _ result: DiskResult) {
        if table[slot].kind == .settle {
            settle(slot, result)
            return
        }
        if table[slot].kind == .verify || table[slot].kind == .digestRead {
            comparedRead(slot, result)
            return
        }
        let operation = table[slot]
        let isCurrent = operation.session == self[peer: operation.peer].session
        if result == .failed { table[slot].localFailed = true }
        switch operation.kind {
        case .peerWrite, .peerZero, .peerTrim, .pullWrite, .pullZero:
            if result == .failed {
                failDisk("a write failed")
            } else if isCurrent, self[peer: operation.peer].relation == .target {
                // The source keeps the mark of a frame until this copy has flushed it: it need not be pulled any more.
                if operation.kind != .pullWrite, operation.kind != .pullZero {
                    self[bitmap: operation.peer].clear(operation.range.blocks)
                }
            }
        case .peerRead:
            if isCurrent, result != .failed, let buffer = operation.buffer {
                send(
                    .readData(
                        id: UInt32(truncatingIfNeeded: operation.sequence), range: operation.range, buffer: buffer),
                    to: operation.peer)
            }
        case .pullRead:
            if isCurrent, result != .failed { answerPull(operation, zeroes: result == .zeroes) }
        default: break
        }
        endPeerOperation(slot)
    }

    private mutating func answerPull(_ operation: Operation, zeroes: Bool) {
        guard let buffer = operation.buffer else { preconditionFailure("a read has a buffer") }
        self[peer: operation.peer].source.pulls.append(
            ResyncSource.Pull(id: operation.sequence, range: operation.range))
        self[peer: operation.peer].source.pulledBytes += operation.range.length
        if isLeftOut(.targetFlushClearsMarks) { self[bitmap: operation.peer].clear(operation.range.blocks) }
        if zeroes {
            send(.pullZero(id: operation.sequence, range: operation.range), to: operation.peer)
        } else {
            send(.pullData(id: operation.sequence, range: operation.range, buffer: buffer), to: operation.peer)
        }
    }

    /// Answers what has an answer and takes the operation out.
    mutating func endPeerOperation(_ slot: Int) {
        if table[slot].kind == .settle {
            endSettling(slot, isSettled: false)
            return
        }
        let operation = table[slot]
        if operation.session == self[peer: operation.peer].session, self[peer: operation.peer].hasSession {
            switch operation.kind {
            case .peerWrite, .peerZero, .peerTrim:
                send(.written(sequence: operation.sequence, succeeded: !operation.localFailed), to: operation.peer)
            case .pullWrite, .pullZero:
                if !operation.localFailed { pulled(operation.sequence, operation.range, operation.peer) }
            case .peerRead, .pullRead, .digestRead:
                if operation.localFailed { refuse(operation.kind, operation.sequence, operation.peer) }
            default: break
            }
        }
        if let buffer = operation.buffer { emit(.releaseBuffer(buffer)) }
        releaseExtent(slot)
        remove(slot)
        let isOfNow = operation.session == self[peer: operation.peer].session
        if operation.kind == .pullRead, isOfNow, self[peer: operation.peer].relation == .source {
            self[peer: operation.peer].source.reading -= 1
            servePulls(operation.peer)
        }
    }
}
