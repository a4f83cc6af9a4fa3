package import Model

/// What the simulator's oracle looks at after every event.
package struct Glimpse: Sendable {
    package var isPrimary = false
    package var required = NodeSet()
    /// Of its record.
    package var inStep = NodeSet()
    package var deadline: MonotonicTime?
    /// Its own record names it, or it has none yet, and it is whole.
    package var isInStep = false
    package var hasRecord = false
    // Of its record.
    package var lineage = LineageID.none
    package var number = RecordNumber(term: .zero, index: 0)
    package var primary: NodeID?
    /// The highest term that it promised.
    package var promised = Term.zero

    package init() {}
}

/// What of a replica's memory is not of a fixed size: each has its bound in `Limits`.
package struct Footprint: Sendable {
    package var waitingAtGate = 0
    package var waitingForLog = 0
    package var waitingForFlush = 0
    package var sequences = 0
    package var unconfirmed = 0
    package var peerFlushes = 0
    /// Toward the peer that has most.
    package var pullsAsked = 0
    package var pullsUnflushed = 0

    package init() {}
}

/// For the simulator's oracle. What it asks after every event is `mutating` and never inlined: asked from another module
/// by way of a pointer, anything else copies the whole replica first.
extension Replica {
    @inline(never) package mutating func glimpse() -> Glimpse {
        var glimpse = Glimpse()
        glimpse.isPrimary = role == .primary
        glimpse.required = superblock.required
        glimpse.inStep = superblock.record.inStep
        glimpse.deadline = nextDeadline
        glimpse.lineage = superblock.record.lineage
        glimpse.hasRecord = !glimpse.lineage.isNone
        glimpse.number = superblock.record.number
        glimpse.primary = superblock.record.primary
        glimpse.promised = superblock.promised
        let isMember = !glimpse.hasRecord || superblock.record.inStep.contains(me)
        glimpse.isInStep = isMember && !superblock.flags.contains(.inconsistent)
        return glimpse
    }

    /// Whether a crash of this node now, or a handshake, would find that the block may differ: it is marked, in a hot
    /// extent, unconfirmed, or being written.
    @inline(never) package mutating func knows(block: UInt64, toward node: NodeID) -> Bool {
        let bitmap = Int(node.rawValue)
        if block < bitmaps[bitmap].blocks, bitmaps[bitmap].contains(block) { return true }
        return log.contains(UInt32(block / Geometry.blocksPerExtent)) || unconfirmed.contains(block: block)
            || isInFlight(block: block)
    }

    package mutating func footprint() -> Footprint {
        var footprint = Footprint()
        footprint.waitingAtGate = gateQueue.count
        footprint.waitingForLog = logQueue.count
        footprint.waitingForFlush = flushQueue.count + rounds.nearQueue.count
        footprint.sequences = slotOfSequence.count
        footprint.unconfirmed = unconfirmed.count
        footprint.peerFlushes = peerFlushes.count
        for node in others {
            let index = Int(node.rawValue)
            footprint.pullsAsked = max(footprint.pullsAsked, peers[index].target.inFlight.count)
            let unflushed = peers[index].target.written.count + peers[index].target.flushing.count
            footprint.pullsUnflushed = max(footprint.pullsUnflushed, unflushed)
        }
        return footprint
    }

    package func isMarked(block: UInt64, toward node: NodeID) -> Bool {
        block < self[bitmap: node].blocks && self[bitmap: node].contains(block)
    }
    /// A round of flushes that clients wait for, and that closes no epoch.
    @inline(never) package mutating func isNearRound(_ id: UInt64) -> Bool { rounds.near?.id == id }
    /// Of the writes that this run ordered.
    package var newestSequence: UInt64 { @inline(never) mutating get { sequence } }
    package func isHot(extent: UInt32) -> Bool { log.contains(extent) }
    package func isUnconfirmed(block: UInt64) -> Bool { unconfirmed.contains(block: block) }
    @inline(never) package mutating func isInFlight(block: UInt64) -> Bool {
        if isUnsettled(ByteRange(blocks: block..<block + 1)) { return true }
        return table.contains { $0.isWrite && $0.range.blocks.contains(block) }
    }
    package var durableState: Superblock { @inline(never) mutating get { superblock } }
}
