import Model

/// The activity log's life: acquiring extents for operations, group commit, and letting extents leave.
extension Replica {
    /// Takes the operation's extent into the log, or queues for it. True: hot, go on.
    mutating func acquireExtent(_ slot: Int) -> Bool {
        guard hasDisk else { return true }
        if table[slot].holdsExtent {
            if log.isHot(table[slot].range.extent) { return true }
        } else {
            switch log.acquire(table[slot].range.extent, at: now) {
            case .hot:
                table[slot].holdsExtent = true
                return true
            case .pending:
                table[slot].holdsExtent = true
                if isLeftOut(.logBeforeWrite) || isLeftOut(.secondaryLogs) && !table[slot].isClient { return true }
            case .full: break
            }
        }
        table[slot].phase = .waitingLog
        logQueue.append(slot)
        attention = true
        if table[slot].isClient, !log.isShared(table[slot].range.extent) { announce(table[slot].range) }
        return false
    }

    /// The receivers of a write that waits for this log may record its extent at the same time, not only when it comes: else a
    /// cold write takes one disk's time more. The log may name what nobody writes; that is only cautious.
    private mutating func announce(_ range: ByteRange) {
        for node in others where self[peer: node].receivesWrites { send(.announce(range), to: node) }
    }

    /// Takes the extent into the log if there is room, or an extent that may leave at once.
    mutating func announced(_ range: ByteRange) {
        guard hasDisk, range.end <= volumeEnd, role != .primary, logQueue.isEmpty, detaching == nil,
            stopping == nil
        else { return }
        var acquisition = log.acquire(range.extent, at: now)
        if acquisition == .full, let idle = log.candidate(spilling: false, where: { arePagesWritten($0) }) {
            log.evict(idle)
            acquisition = log.acquire(range.extent, at: now)
        }
        guard acquisition != .full else { return }
        log.release(range.extent)
        attention = true
    }

    mutating func releaseExtent(_ slot: Int) {
        guard table[slot].holdsExtent else { return }
        table[slot].holdsExtent = false
        if hasDisk { log.release(table[slot].range.extent) }
        if !logQueue.isEmpty { attention = true }
    }

    /// The transaction is durable (FUA) before any write into its extents is submitted.
    mutating func logWritten(_ succeeded: Bool) {
        outstanding -= 1
        attention = true
        metadata.logImage = nil
        guard succeeded, hasDisk else {
            failDisk("the activity log cannot be written")
            return
        }
        log.finishTransaction()
        metadata.durableSequence = max(metadata.durableSequence, metadata.logSequence)
        var waiting = logQueue.count
        while waiting > 0, let slot = logQueue.popFirst() {
            waiting -= 1
            if table[slot].holdsExtent, log.isHot(table[slot].range.extent) {
                extentIsHot(slot)
            } else {
                logQueue.append(slot)
            }
        }
    }

    private mutating func extentIsHot(_ slot: Int) {
        if table[slot].isClient { submitWrite(slot) } else { submitPeerWrite(slot) }
    }

    mutating func advanceLog() {
        guard hasDisk else { return }
        if !logQueue.isEmpty { seatWaiting() }
        guard log.hasChanges, !log.isWriting, !restsForMove else { return }
        metadata.sequence += 1
        var seen = PerNode(repeating: StartMark.none)
        for node in others { seen[node] = superblock.peers[node].seen }
        guard
            let transaction = log.makeTransaction(
                instance: superblock.instance, sequence: metadata.sequence, seen: seen)
        else { return }
        metadata.logImage = transaction
        metadata.logSequence = transaction.sequence
        outstanding += 1
        emit(.writeLog)
    }

    /// Gives slots of the log to those that have none, making room where it can be made.
    private mutating func seatWaiting() {
        var waiting = logQueue.count
        var isFull = false
        while waiting > 0, let slot = logQueue.popFirst() {
            waiting -= 1
            if table[slot].holdsExtent {
                logQueue.append(slot)
                continue
            }
            if isFull, !log.contains(table[slot].range.extent) {
                logQueue.append(slot)
                continue
            }
            var acquisition = log.acquire(table[slot].range.extent, at: now)
            if acquisition == .full, makeRoom() { acquisition = log.acquire(table[slot].range.extent, at: now) }
            switch acquisition {
            case .hot:
                table[slot].holdsExtent = true
                extentIsHot(slot)
            case .pending:
                table[slot].holdsExtent = true
                logQueue.append(slot)
            case .full:
                isFull = true
                logQueue.append(slot)
            }
        }
    }

    /// An extent leaves once its blocks are confirmed and its marks toward absent peers are on disk. A primary closes an
    /// epoch to get there; a secondary, which must not wait for the primary's log, marks the blocks toward every peer.
    private mutating func makeRoom() -> Bool {
        let isSource = role == .primary
        let extent = log.candidate(spilling: false) { arePagesWritten($0) }
        if let extent {
            log.evict(extent)
            return true
        }
        if let extent = log.candidate(spilling: false, where: { _ in true }) {
            writePages(of: extent)
            return false
        }
        if isSource, releaseUnsettled() { return false }
        if isSource || isLeftOut(.secondaryMakesRoom) {
            if !unconfirmed.isEmpty { closeEpoch() }
            if isSource { spillHeld() }
            return false
        }
        if let extent = log.candidate(spilling: true, where: { _ in true }) {
            spill(extent)
            writePages(of: extent)
            attention = true
        }
        return false
    }

    /// Extents that only unsettled blocks hold make room at a primary too: settling the others may wait for it.
    private mutating func releaseUnsettled() -> Bool {
        guard !settlement.held.isEmpty else { return false }
        let isFree: (UInt32) -> Bool = { extent in
            self.settlement.held.contains(extent)
                && !(0..<self.unconfirmed.count).contains { self.unconfirmed[$0].range.extent == extent }
        }
        guard let extent = log.candidate(spilling: true, where: isFree) else { return false }
        spillUnsettled(extent)
        writePages(of: extent)
        attention = true
        return true
    }

    func arePagesWritten(_ extent: UInt32) -> Bool {
        // And the start's superblock: what it says of the copies that are not tracked any more (seed 70002934).
        guard isFlushed(replayFlush), metadata.durable > 0 || isLeftOut(.departedIsUnknown) else { return false }
        let page = DirtyBitmap.page(of: UInt64(extent) * Geometry.blocksPerExtent)
        for node in others where !self[bitmap: node].isWritten(page: page) { return isLeftOut(.pagesBeforeReuse) }
        return true
    }

    mutating func writePages(of extent: UInt32) {
        let page = DirtyBitmap.page(of: UInt64(extent) * Geometry.blocksPerExtent)
        for node in others where !self[bitmap: node].isWritten(page: page) && !self[bitmap: node].isWriting(page: page)
        {
            writePage(node, page)
        }
    }

    /// Beside asynchronous copies: what these lack holds no extent of a primary, whose other copies would wait with it. It is marked
    /// toward every member, until all have it. (Toward the others each write is marked anyhow.)
    private mutating func spillHeld() {
        // One that is being filled holds them too: a round asks it.
        let isFar: (NodeID) -> Bool = {
            self.asynchronous.contains($0) && (self.required.contains($0) || self[peer: $0].receivesWrites)
        }
        guard isMixed, others.contains(where: isFar), !isLeftOut(.laggardsHoldNoExtent),
            let extent = log.candidate(spilling: true, where: { _ in true })
        else { return }
        spillUnsettled(extent)
        for index in 0..<unconfirmed.count
        where unconfirmed[index].range.extent == extent && !unconfirmed[index].spilled {
            for node in others where required.contains(node) && !isLeftOut(.spilledIsMarked) {
                self[bitmap: node].mark(unconfirmed[index].range.blocks)
            }
            unconfirmed[index].spilled = true
            log.removeUnconfirmed(extent)
        }
        writePages(of: extent)
        attention = true
    }

    /// The extent's unconfirmed blocks are marked toward every peer and hold it no longer.
    private mutating func spill(_ extent: UInt32) {
        spillUnsettled(extent)
        for index in 0..<unconfirmed.count
        where unconfirmed[index].range.extent == extent && !unconfirmed[index].spilled {
            if isLeftOut(.spilledIsMarked) {
                unconfirmed[index].spilled = true
                log.removeUnconfirmed(extent)
                continue
            }
            // A resync's source keeps the marks of what it sent until this copy has flushed it.
            // A primary that is being filled here has written it itself.
            for node in others where self[peer: node].relation != .target && !unconfirmed[index].sentTo.contains(node) {
                self[bitmap: node].mark(unconfirmed[index].range.blocks)
            }
            unconfirmed[index].spilled = true
            log.removeUnconfirmed(extent)
        }
    }

    // MARK: Unconfirmed blocks

    mutating func addUnconfirmed(_ sequence: UInt64, _ range: ByteRange, sentTo: NodeSet) {
        unconfirmed.append(sequence: sequence, range: range, sentTo: sentTo)
        log.addUnconfirmed(range.extent)
    }

    /// Everything up to `sequence` is durable on all of `required` (CONFIRM).
    mutating func confirm(through sequence: UInt64, settled: Bool) {
        let hadSpilled = unconfirmed.spilledCount > 0
        if settled { forgetUnsettled() }
        while unconfirmed.isFirstCovered(by: sequence) { dropFirstUnconfirmed() }
        if hadSpilled || (isByMajority && hasMarksTowardMembers) { remarkSpilled() }
        if !logQueue.isEmpty || !gateQueue.isEmpty { attention = true }
    }

    /// Spilled, or replayed and settled since.
    private var hasMarksTowardMembers: Bool {
        mutating get {
            others.contains {
                self[bitmap: $0].count > 0 && superblock.peers[$0].base == .inStep && required.contains($0)
            }
        }
    }

    mutating func dropFirstUnconfirmed() {
        let entry = unconfirmed.removeFirst()
        if !entry.spilled { log.removeUnconfirmed(entry.range.extent) }
    }

    mutating func dropAllUnconfirmed() {
        while !unconfirmed.isEmpty { dropFirstUnconfirmed() }
    }

    /// Toward a peer in step the bitmap holds only what was spilled: what is confirmed leaves it.
    private mutating func remarkSpilled() {
        for node in others where superblock.peers[node].base == .inStep && required.contains(node) {
            self[bitmap: node].clearAll()
        }
        for index in 0..<unconfirmed.count where unconfirmed[index].spilled {
            for node in others where superblock.peers[node].base == .inStep {
                self[bitmap: node].mark(unconfirmed[index].range.blocks)
            }
        }
        for node in others
        where unsettled.count > 0 && superblock.peers[node].base == .inStep && required.contains(node) {
            self[bitmap: node].formUnion(unsettled)
        }
    }
}
