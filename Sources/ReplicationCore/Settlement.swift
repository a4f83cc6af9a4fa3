import Model

/// After a promotion with quorum the members may differ in what the former primary had in flight (`6-protocol`, PROMOTE 8). A
/// block of these is copied from here to all members before it is served; the rest follows in the background. Members
/// stay in step meanwhile: it is little, and each knows which blocks they are.
struct Settlement {
    /// Where to look for the next block.
    var cursor: UInt64 = 0
    /// Copies under way.
    var running = 0
    /// Rises when the blocks to settle become others, or none: a copy that began before settles nothing any more, and what it
    /// read may be older than what a client wrote since.
    var epoch: UInt64 = 0
    /// Everything is settled once writes up to this sequence are stable on all members.
    var through: UInt64 = 0
    /// Extents that stay in the log for the blocks' sake.
    var held: [UInt32] = []

    static let window = 8
    /// Blocks of one copy at most.
    static let piece: UInt64 = 32
}

extension Replica {
    /// Blocks of which not every member is known to hold the same.
    package var unsettledBlocks: UInt64 { unsettled.count }

    mutating func isUnsettled(_ range: ByteRange) -> Bool {
        unsettled.count > 0 && unsettled.containsAny(of: range.blocks) && !isLeftOut(.unsettledIsNotServed)
    }

    /// What the kept members told, and what is not confirmed here.
    mutating func collectUnsettled(_ current: Candidacy) {
        // The same primary goes on: what it has in flight is sent again, in order.
        settlement.through = sequence
        guard current.purpose != .again, hasDisk, !isLeftOut(.unconfirmedIsSettled) else { return }
        gatherUnsettled()
        for node in others where current.kept.contains(node) && !isLeftOut(.votersUnconfirmedIsSettled) {
            for run in current.runs[node] where run.first < unsettled.blocks {
                unsettled.mark(run.first..<min(unsettled.blocks, run.first + run.count))
            }
        }
        settlement.cursor = 0
        for node in others where current.kept.contains(node) { self[bitmap: node].formUnion(unsettled) }
    }

    /// Another node begins to order the writes: what is not confirmed by now is no more one write after the other, but
    /// blocks in which members may differ. Their extents stay in the log.
    mutating func gatherUnsettled() {
        guard hasDisk, !isWitness else { return }
        settlement.epoch += 1
        unsettled = unconfirmedBlocks()
        if isLeftOut(.ownUnconfirmedIsSettled) { unsettled = DirtyBitmap(blocks: unsettled.blocks) }
        while !unconfirmed.isEmpty {
            let entry = unconfirmed.removeFirst()
            guard !entry.spilled else { continue }
            let extent = entry.range.extent
            if settlement.held.contains(extent) {
                log.removeUnconfirmed(extent)
            } else {
                settlement.held.append(extent)
            }
        }
        beginLine()
    }

    /// The extent's unsettled blocks are marked toward every peer and hold it no longer.
    mutating func spillUnsettled(_ extent: UInt32) {
        guard let place = settlement.held.firstIndex(of: extent) else { return }
        settlement.held.remove(at: place)
        let first = UInt64(extent) * Geometry.blocksPerExtent
        var cursor = first
        while let run = unsettled.nextRun(from: cursor, limit: Geometry.blocksPerExtent),
            run.lowerBound < first + Geometry.blocksPerExtent
        {
            for node in others { self[bitmap: node].mark(run) }
            cursor = run.upperBound
        }
        log.removeUnconfirmed(extent)
    }

    /// All members hold the same, or this copy's blocks are marked toward all that may hold another.
    mutating func forgetUnsettled() {
        guard unsettled.blocks > 0 else { return }
        settlement.epoch += 1
        unsettled = DirtyBitmap(blocks: 0)
        if hasDisk { for extent in settlement.held { log.removeUnconfirmed(extent) } }
        settlement.held = []
        attention = true
    }

    func isSettled(through boundary: UInt64) -> Bool { unsettled.count == 0 && boundary >= settlement.through }

    mutating func advanceSettlement() {
        guard unsettled.count > 0, leads, hasDisk else { return }
        // A given-up write may still be on its way to this disk.
        guard isSettlingPossible, !table.contains(where: { $0.isGivenUp }) else { return }
        while settlement.running < Settlement.window, let range = nextUnsettled(), let slot = table.takePeerSlot() {
            settlement.cursor = range.blocks.upperBound
            settlement.running += 1
            var operation = Operation()
            operation.kind = .settle
            operation.range = range
            operation.exact = range
            operation.peer = me
            operation.round = settlement.epoch
            operation.began = now
            // Whatever overlaps it waits at the gate until the blocks are settled.
            table.insert(operation, at: slot, ordered: false)
            if acquireExtent(slot) { takeForSettling(slot) }
        }
    }

    private var isSettlingPossible: Bool {
        mutating get {
            guard change == nil, candidacy == nil, required.contains(me), !unconfirmed.isFull else { return false }
            return !others.contains {
                required.contains($0) && (!self[peer: $0].receivesWrites || self[peer: $0].handshake == .exchanging)
            }
        }
    }

    private mutating func nextUnsettled() -> ByteRange? {
        var run = unsettled.nextRun(from: settlement.cursor, limit: Settlement.piece)
        if run == nil, settlement.running == 0 {
            settlement.cursor = 0
            run = unsettled.nextRun(from: 0, limit: Settlement.piece)
        }
        guard let run else { return nil }
        let extentEnd = (run.lowerBound / Geometry.blocksPerExtent + 1) * Geometry.blocksPerExtent
        return ByteRange(blocks: run.lowerBound..<min(run.upperBound, extentEnd))
    }

    /// The extent is in the log.
    mutating func takeForSettling(_ slot: Int) {
        table[slot].phase = .waitingBuffer
        emit(.takeBuffer(OperationID(rawValue: UInt32(slot)), bytes: UInt32(table[slot].range.length)))
    }

    /// The block is read: it goes to every member as a write of its own.
    mutating func settle(_ slot: Int, _ result: DiskResult) {
        guard result != .failed else {
            endSettling(slot, isSettled: false)
            failDisk("a read failed")
            return
        }
        let isPresent = table[slot].round == settlement.epoch || isLeftOut(.settledForRecordAtHand)
        guard leads, isSettlingPossible, isPresent else {
            endSettling(slot, isSettled: false)
            return
        }
        replicate(slot)
        finishSettling(slot)
    }

    mutating func finishSettling(_ slot: Int) {
        guard table[slot].legs.isEmpty else { return }
        endSettling(slot, isSettled: true)
    }

    mutating func endSettling(_ slot: Int, isSettled: Bool) {
        settlement.running -= 1
        let range = table[slot].range
        let isStale = table[slot].round != settlement.epoch
        if table[slot].sequence > 0 { slotOfSequence[table[slot].sequence] = nil }
        if let buffer = table[slot].buffer { emit(.releaseBuffer(buffer)) }
        releaseExtent(slot)
        remove(slot)
        attention = true
        guard isSettled else { return }
        clientWriteEnded()
        guard unsettled.count > 0, !isStale else { return }
        unsettled.clear(range.blocks)
        guard unsettled.count == 0 else { return }
        settlement.through = sequence
        note(.info, "replication", "settled: all members hold the same")
        wantRound()
    }

    /// Nobody serves from here any more: what was to be settled is told with the next vote.
    mutating func endSettlement() {
        for slot in table.slots(where: { $0.kind == .settle && !$0.localPending && $0.phase == .running }) {
            endSettling(slot, isSettled: false)
        }
    }
}
