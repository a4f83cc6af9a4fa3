package import Model

/// The superblock on its way to disk: copy 0, then copy 1, so that at every moment one of them is whole, and afterwards
/// both say the same. A state counts as durable when both are written.
struct MetadataWriter {
    enum Phase { case idle, copy0, copy1, moving }

    var phase = Phase.idle
    /// What both copies say.
    var stable = Superblock(node: NodeID(unchecked: 0), instance: .none, size: 0, logExtents: 1, zeroes: false)
    /// What is being written.
    var image = Superblock(node: NodeID(unchecked: 0), instance: .none, size: 0, logExtents: 1, zeroes: false)
    /// Rises with each change of the superblock that must become durable.
    var wanted: UInt64 = 0
    var writing: UInt64 = 0
    var durable: UInt64 = 0
    /// Of this copy: the next write of superblock or log takes one more.
    var sequence: UInt64 = 0
    var durableSequence: UInt64 = 0
    /// What was on disk when this run took it.
    var foundSequence: UInt64 = 0
    /// After a failed flush the disk is told once more: this copy is suspect. Should the daemon start on it again, what
    /// the disk forgot must not count. Best effort: the disk may refuse.
    var lastWord = LastWord.none
    enum LastWord { case none, wanted, writing }
    var logImage: LogTransaction?
    /// The log's block now in flight bears this sequence.
    var logSequence: UInt64 = 0
    /// Bitmap pages being written.
    var pagesInFlight = 0
    static let pageLimit = 8
}

/// Flushes of the local disk, shared by all that wait for one: a flush covers what was complete when it began.
struct LocalFlushes {
    var completed: UInt64 = 0
    var inFlight: UInt64?
    var wanted: UInt64 = 0
}

/// A peer's flush to be answered.
struct PeerFlush {
    var peer: NodeID
    var session: SessionID
    var round: UInt64
    var flush: UInt64
}

extension Replica {
    mutating func remember(_ mark: StartMark, of node: NodeID) {
        if self[peer: node].isPutBack || self[peer: node].handshake != .finished { return }
        superblock.peers[node].seen = superblock.peers[node].seen.merged(with: mark)
    }

    /// The operation id of local flushes; all others are slots of the table.
    static var flushOperation: OperationID { OperationID(rawValue: .max) }

    // What the effects `.writeSuperblock`, `.writeLog` and `.writeBitmapPage` write, valid while they are performed.
    // `mutating`, so that nobody copies the whole replica for it (as in `Glimpse`).
    package var superblockImage: Superblock { @inline(never) mutating get { metadata.image } }
    package var logImage: LogTransaction {
        @inline(never) mutating get {
            guard let image = metadata.logImage else {
                preconditionFailure("asked for only while a log write is performed")
            }
            return image
        }
    }
    /// The words of page `page` toward `node`: 496, or fewer when it is clean.
    @inline(never) package mutating func withBitmapPage<Result>(
        _ node: NodeID, page: UInt32, _ body: (ArraySlice<UInt64>) -> Result
    ) -> Result {
        body(self[bitmap: node].page(Int(page)))
    }

    /// This copy's newest durable metadata write: what peers remember of it.
    var mark: StartMark { StartMark(startNumber: superblock.startNumber, sequence: metadata.durableSequence) }

    // MARK: Start and attach

    /// START: the start number is raised durably before any message; the log's extents are marked toward every peer.
    mutating func adopt(_ metadata: LoadedMetadata) {
        disk = .good
        superblock = metadata.superblock
        trackMembers()
        madeRoom = MadeRoom()
        fittedBlocks = volumeBlocks
        unwritten = UnwrittenBitmaps()
        for node in others {
            let words = metadata.bitmaps.first { $0.node == node }?.words
            self[bitmap: node] = DirtyBitmap(
                blocks: fittedBlocks, room: superblock.size / Geometry.blockSize,
                isOnDisk: words != nil || isLeftOut(.newBitmapIsWritten))
            if let words { self[bitmap: node].load(words) } else { unwritten.nodes.insert(node) }
            if metadata.log.lastSequence > superblock.sequence {
                superblock.peers[node].seen = superblock.peers[node].seen.merged(with: metadata.log.seen[node])
            }
        }
        self.metadata = MetadataWriter()
        self.metadata.sequence = max(superblock.sequence, metadata.log.lastSequence)
        self.metadata.foundSequence = self.metadata.sequence
        let isLogEmpty = !metadata.log.damaged && !metadata.log.table.contains { $0 != nil }
        let isClean = superblock.flags.contains(.clean)
        let isForgotten = isClean || isLeftOut(.logIsReplayed)
        log = ActivityLog(slots: superblock.logExtents, replay: isForgotten ? emptied(metadata.log) : metadata.log)
        cooling = Cooling()
        if !isForgotten { markReplayed(damaged: metadata.log.damaged) }
        let isForgetful = isForgetfulInMemory && !isLeftOut(.memoryMakesSuspect)
        let lostCaches =
            (metadata.bootID != superblock.bootID || isForgetful) && !isLeftOut(.powerLossMakesSuspect)
        // What was received in memory, and answered, may not be in the log yet (seed 13400243).
        if !isClean, !isLogEmpty || isForgetful, lostCaches, superblock.record.inStep.removing(me).isEmpty == false {
            superblock.flags.insert(.suspect)
            let what = metadata.bootID != superblock.bootID ? "its cache at the last power loss" : "what was in memory"
            note(.warning, "disk", "this copy may have lost \(what): suspect until a peer vouches")
        }
        // A flush failed before any record named this copy: nobody was served from it, and no copy could vouch for it.
        if superblock.record.isEmpty { superblock.flags.remove(.suspect) }
        // What an earlier run wrote may be in a cache still: its extents stay in the log until a flush of this run.
        replayFlush = isClean || isLogEmpty || isLeftOut(.replayIsFlushed) ? 0 : requestFlush()
        if !isLeftOut(.cleanEndsAtStart) { superblock.flags.remove(.clean) }
        superblock.bootID = metadata.bootID
        superblock.startNumber += 1
        persistSuperblock()
        let heat = log.extents
        note(
            .info, "disk", "attached: \(diskState.rawValue), start \(superblock.startNumber), \(heat) extents replayed")
    }

    /// What came in memory may be lost with the process. With quorum the record says from whom it came: what this node served itself was
    /// on its disk first.
    private var isForgetfulInMemory: Bool {
        guard isByMajority else { return relaxed != asynchronous }
        guard let primary = superblock.record.primary, primary != me else { return false }
        // Of a node that the file names no more the mode is not known.
        return isInMemoryMode(toward: primary) || hasDeparted(primary) && mode(of: me) == .memory
    }

    /// Raises this copy's numbers above what a peer remembers of it, if that is more: from now on a flag says that it was put back
    /// as it was, and whoever puts it back once more is noticed by the numbers again. A number that leaves no room to
    /// count on is nobody's.
    mutating func outbid(_ known: StartMark) {
        guard known.startNumber < 1 << 61, known.sequence < 1 << 61, !isLeftOut(.putBackOutbids) else { return }
        superblock.startNumber = max(superblock.startNumber, known.startNumber + 1)
        metadata.sequence = max(metadata.sequence, known.sequence)
        metadata.foundSequence = max(metadata.foundSequence, known.sequence)
    }

    private func emptied(_ replay: LogReplay) -> LogReplay {
        LogReplay(
            table: [], lastNumber: replay.lastNumber, lastSequence: replay.lastSequence, seen: replay.seen,
            damaged: false)
    }

    private mutating func markReplayed(damaged: Bool) {
        if damaged {
            note(.error, "disk", "the activity log does not verify: every block counts as written")
            for node in others {
                self[bitmap: node].markAll()
                // Equal to no instance: whoever meets this copy copies everything, also after another crash.
                superblock.peers[node].base = .everything(.none)
            }
            return
        }
        var extents: [UInt32] = []
        log.forEachExtent { extents.append($0) }
        for extent in extents {
            let first = UInt64(extent) * Geometry.blocksPerExtent
            for node in others { self[bitmap: node].mark(first..<first + Geometry.blocksPerExtent) }
        }
    }

    // MARK: Superblock

    /// The superblock as it is now is to become durable; gives the version to compare with `metadata.durable`. Without a
    /// disk it counts as durable at once: it lives in memory, and the peers that must hold it do.
    @discardableResult
    mutating func persistSuperblock() -> UInt64 {
        metadata.wanted += 1
        attention = true
        noteStatus()
        return metadata.wanted
    }

    func isDurable(_ version: UInt64) -> Bool {
        !hasDisk || metadata.durable >= version || isLeftOut(.superblockIsAwaited)
    }

    mutating func advanceMetadata() {
        guard hasDisk, metadata.phase == .idle, metadata.wanted > metadata.durable, room?.phase != .resting else {
            return
        }
        metadata.sequence += 1
        superblock.sequence = metadata.sequence
        metadata.image = superblock
        metadata.writing = metadata.wanted
        metadata.phase = .copy0
        outstanding += 1
        emit(.writeSuperblock(copy: 0))
    }

    mutating func superblockWritten(_ succeeded: Bool) {
        outstanding -= 1
        attention = true
        guard disk != .failed else {
            writeLastWord(after: succeeded)
            return
        }
        guard succeeded, hasDisk else {
            metadata.phase = .idle
            failDisk("the superblock cannot be written")
            return
        }
        if metadata.phase == .copy0, !isLeftOut(.bothCopiesAreWritten) {
            metadata.phase = .copy1
            outstanding += 1
            emit(.writeSuperblock(copy: 1))
            return
        }
        imageIsDurable()
    }

    /// Both copies say what was to be written.
    mutating func imageIsDurable() {
        metadata.phase = .idle
        // Nothing is said before the raised start number is durable.
        if metadata.durable == 0 { beginDialing() }
        metadata.durable = metadata.writing
        metadata.stable = metadata.image
        metadata.durableSequence = max(metadata.durableSequence, metadata.image.sequence)
    }

    // MARK: Bitmap pages

    mutating func writePage(_ node: NodeID, _ page: Int) {
        guard hasDisk, metadata.pagesInFlight < MetadataWriter.pageLimit, !restsForMove else { return }
        self[bitmap: node].beginWriting(page: page)
        metadata.pagesInFlight += 1
        outstanding += 1
        emit(.writeBitmapPage(node, page: UInt32(page)))
    }

    mutating func bitmapPageWritten(_ node: NodeID, _ page: Int, _ succeeded: Bool) {
        outstanding -= 1
        metadata.pagesInFlight -= 1
        attention = true
        guard succeeded, hasDisk else {
            failDisk("a bitmap page cannot be written")
            return
        }
        self[bitmap: node].finishWriting(page: page)
    }

    /// Writes back up to the limit of changed pages; true when none is left.
    mutating func writeBackPages() -> Bool {
        var clean = true
        for node in others where self[bitmap: node].unwrittenPages > 0 {
            clean = false
            var page = 0
            while !restsForMove, metadata.pagesInFlight < MetadataWriter.pageLimit,
                let next = self[bitmap: node].firstUnwritten(from: page)
            {
                writePage(node, next)
                page = next + 1
            }
        }
        return clean
    }

    // MARK: Flushes

    /// A flush that covers everything complete by now; its number is done when `flushes.completed` reaches it.
    mutating func requestFlush() -> UInt64 {
        if let inFlight = flushes.inFlight {
            if isLeftOut(.flushCoversOnlyEarlier) { return inFlight }
            flushes.wanted = inFlight + 1
            return flushes.wanted
        }
        let number = flushes.completed + 1
        flushes.wanted = number
        startFlush(number)
        return number
    }

    private mutating func startFlush(_ number: UInt64) {
        guard hasDisk else { return }
        flushes.inFlight = number
        outstanding += 1
        emit(.flushData(Self.flushOperation))
    }

    /// A failed flush fails the disk for everything since its last good one, and is never tried again.
    mutating func flushDone(_ result: DiskResult) {
        outstanding -= 1
        attention = true
        let number = flushes.inFlight ?? flushes.completed
        flushes.inFlight = nil
        if result == .failed, isLeftOut(.failedFlushIsFinal) { return startFlush(number) }
        guard result != .failed, hasDisk else { return flushFailed("a flush failed") }
        flushes.completed = number
        if flushes.wanted > number { startFlush(number + 1) }
    }

    /// What was written since the last good one may be gone, and nobody is told so twice.
    mutating func flushFailed(_ why: String) {
        let isWriting = metadata.phase != .idle
        let isFirst = hasDisk
        failDisk(why)
        guard isFirst, metadata.stable.startNumber > 0, !isLeftOut(.failedFlushMakesSuspect) else { return }
        metadata.lastWord = .wanted
        if !isWriting { writeLastWord(after: true) }
    }

    /// The last durable superblock, suspect, to both places, once no other write of it is out.
    mutating func writeLastWord(after succeeded: Bool) {
        switch (metadata.lastWord, metadata.phase) {
        case (.wanted, _):
            metadata.lastWord = .writing
            metadata.phase = .copy0
            metadata.sequence += 1
            metadata.image = metadata.stable
            metadata.image.flags.insert(.suspect)
            metadata.image.sequence = metadata.sequence
            outstanding += 1
            emit(.writeSuperblock(copy: 0))
        case (.writing, .copy0) where succeeded:
            metadata.phase = .copy1
            outstanding += 1
            emit(.writeSuperblock(copy: 1))
        default:
            metadata.lastWord = .none
            metadata.phase = .idle
        }
    }

    func isFlushed(_ number: UInt64) -> Bool { !hasDisk || flushes.completed >= number }

    // MARK: Failure

    /// The disk is not used any more; what is in flight comes back first. Metadata is not written either: it may lie there.
    mutating func failDisk(_ why: String) {
        guard disk == .good else { return }
        disk = .failed
        attention = true
        flushes.completed = max(flushes.wanted, flushes.completed)
        flushes.inFlight = nil
        // What did not become durable did not happen.
        if metadata.wanted > metadata.durable, metadata.stable.startNumber > 0, !isLeftOut(.lostRecordIsTakenBack) {
            let regained = metadata.stable.required.subtracting(superblock.required).removing(me)
            let taken = superblock
            superblock = metadata.stable
            // A record without this copy is the others' to keep, and was never to be on this disk.
            let isElsewhere = taken.record.primary == me && !taken.record.inStep.contains(me) && role == .primary
            if isElsewhere, superblock.record.number < taken.record.number {
                superblock.record = taken.record
                superblock.required = taken.required
                superblock.promised = taken.promised
                superblock.current = taken.current
                superblock.history = taken.history
            } else {
                oweAgain(regained)
            }
        }
        metadata.durable = metadata.wanted
        metadata.phase = .idle
        acceptance = nil
        forgetRoom()
        stopKeeping()
        if change?.purpose != .leaveSelf { abortChange() }
        note(.error, "disk", "failed: \(why); going on without it")
        abandonLocalWork()
    }

    /// A record without these copies never became durable: what is unanswered waits for them again, and is sent again when
    /// they are back.
    private mutating func oweAgain(_ nodes: NodeSet) {
        for node in others where nodes.contains(node) {
            for slot in table.slots(where: { $0.isClientWrite && $0.phase == .running }) {
                table[slot].legs.insert(node)
            }
            rounds.current?.pending.insert(node)
            rounds.current?.peers.insert(node)
        }
    }

    /// What waited for this disk's log goes on without it (a client's, by the peers) or is answered as failed (a peer's).
    private mutating func abandonLocalWork() {
        while let slot = logQueue.popFirst() {
            table[slot].holdsExtent = false
            if table[slot].isClient {
                table[slot].phase = .waitingGate
                gateQueue.append(slot)
            } else {
                table[slot].localFailed = true
                endPeerOperation(slot)
            }
        }
        for slot in table.slots(where: { $0.holdsExtent }) { table[slot].holdsExtent = false }
        while !unconfirmed.isEmpty { _ = unconfirmed.removeFirst() }
        // A primary serves nothing of it before a record names one member that everybody goes by.
        if !isByMajority || role != .primary { unsettled = DirtyBitmap(blocks: 0) }
        settlement.held = []
        for index in peerFlushes.indices {
            let flush = peerFlushes[index]
            if self[peer: flush.peer].session == flush.session {
                send(.flushed(round: flush.round, succeeded: false, mark: mark), to: flush.peer)
            }
        }
        peerFlushes.removeAll(keepingCapacity: true)
    }

    mutating func advanceDisk() {
        answerPeerFlushes()
        // What is kept aside is read by a thread of its own: whoever hears that the disk is free may put another's data there.
        let isRead = keeping?.isOut == true && !isLeftOut(.keepingHoldsDisk)
        if disk == .failed, outstanding == 0, !isRead, !table.contains(where: { $0.localPending }) {
            disk = .none
            log = ActivityLog(slots: 1, replay: nil)
            emit(.releaseDisk)
            note(.warning, "disk", "diskless")
            for node in others where role != .primary || self[peer: node].relation == .target {
                restartSession(node, "its disk is gone")
            }
        }
        if others.contains(where: { self[bitmap: $0].unwrittenPages > 32 }), metadata.pagesInFlight == 0, hasDisk {
            writeColdPages()
        }
        let mayWrite = hasDisk && detaching == nil && stopping == nil && !restsForMove
        if !unwritten.nodes.isEmpty, mayWrite { writeNewBitmaps() }
    }

    /// Pages that only a finished or running resync changed are written back in passing, so that the next start knows.
    private mutating func writeColdPages() {
        for node in others {
            if let page = self[bitmap: node].firstUnwritten(from: 0) { writePage(node, page) }
        }
    }

    private mutating func answerPeerFlushes() {
        while let first = peerFlushes.first, isFlushed(first.flush) || isLeftOut(.flushBeforeAnswer) {
            peerFlushes.removeFirst()
            if self[peer: first.peer].session == first.session {
                send(.flushed(round: first.round, succeeded: hasDisk, mark: mark), to: first.peer)
            }
        }
    }
}
