package import Model

/// What came of a client's request.
package enum ClientResult: Equatable, Sendable {
    case done
    /// The data cannot be read or written (EIO).
    case failed
    /// This node is not primary (any more) (ESHUTDOWN).
    case notPrimary
}

/// All that a replica can want. The interpreter performs them in order.
package enum Effect: Sendable {
    // Data of the volume, always whole blocks. Each is answered by `.dataDone`.
    /// With `detectZeroes` the answer is `.zeroes` when all that was read is zero.
    case readData(OperationID, ByteRange, BufferID, detectZeroes: Bool)
    /// Reads the block or two that `exact` covers only in part and fills the bytes *outside* `exact` into the buffer,
    /// which stands for `exact.widenedToBlocks` and already holds the payload. Answered by `.dataDone`.
    case fillEdges(OperationID, exact: ByteRange, BufferID)
    case writeData(OperationID, ByteRange, BufferID)
    /// The range reads as zeroes afterwards; `trim` may give its space back.
    case zeroData(OperationID, ByteRange, trim: Bool)
    /// Everything written before is stable when `.dataDone` says success. Never retried.
    case flushData(OperationID)

    // Buffers.
    /// Answered by `.bufferTaken`, when the pool has one of that many bytes.
    case takeBuffer(OperationID, bytes: UInt32)
    /// `from` holds the whole blocks of `covering`, got from a peer: its bytes outside `exact` go to their place in `into`,
    /// which stands for `exact.widenedToBlocks`. Done at once.
    case mergeEdge(from: BufferID, covering: ByteRange, exact: ByteRange, into: BufferID)
    /// The first `bytes` of one buffer to another (a read that a peer answered). Done at once.
    case copyBuffer(from: BufferID, into: BufferID, bytes: UInt32)
    /// A digest of each block of the range, whose data the buffer holds. Answered by `.digested`.
    case digestData(OperationID, ByteRange, BufferID)

    // Metadata. Each write is durable (FUA) when it is answered.
    /// Writes `Replica.superblockImage` to copy 0 or 1. Answered by `.superblockWritten`.
    case writeSuperblock(copy: Int)
    /// Writes `Replica.logImage` at its place in the ring. Answered by `.logWritten`.
    case writeLog
    /// How many bytes of data can this disk hold as it is now? `wanted`: a file may be made longer for. Answered by
    /// `.diskMeasured`; nothing is changed.
    case measureDisk(wanted: UInt64)
    /// The disk prepares to have room for that many bytes, beside all else, and for as long as it takes: what it has goes on being
    /// used. Answered by `.diskPrepared`.
    case prepareDisk(size: UInt64)
    /// It is not wanted any more: is left off soon, or forgotten. Answered by nothing of its own.
    case leaveOffPreparing
    /// The copy gets the room that was prepared: its metadata moves if it must, and `Replica.superblockImage` is durable in both
    /// its places, or nothing is changed. No other metadata is written meanwhile. Answered by `.diskGrown`.
    case growDisk(size: UInt64)
    /// Keeps blocks of this copy aside. Answered by `.keptAside`, one step after the other.
    case keepAside(KeepingStep)
    /// Writes the page as `Replica.bitmapPage` gives it now. Answered by `.bitmapPageWritten`.
    case writeBitmapPage(NodeID, page: UInt32)

    // Peers. Sending keeps its own hold on a payload's buffer.
    case send(NodeID, FrameStamp, PeerMessage)
    case dial(NodeID)
    case cancelDial(NodeID)
    /// The next hello to that node says (or no longer says) that this copy's data may be thrown away.
    case offerToDiscard(NodeID, Bool)
    /// After what was sent; `.sessionClosed` follows only when the other side closed first.
    case closeSession(NodeID, SessionID, String)

    // Clients.
    case reply(UInt32, ClientResult)
    case releaseBuffer(BufferID)
    /// All client connections end (demotion, supersession). Their requests were answered before, but for those whose
    /// buffers the disk still has: their answers follow when it gives them back.
    case closeClients(String)

    // The administrator and the log.
    case commandDone(CommandID, CommandOutcome)
    case note(Note)
    /// The backing disk is no longer used (detach, failure): close it once nothing is in flight.
    case releaseDisk
    /// Runs the fence command for a peer that this node lost. Answered by `.fenceAnswered` with the same request; one that is
    /// not waited for any more may still be answered.
    case fence(NodeID, request: UInt64)
    /// The comparison with that peer ended: `Replica.verifyResult(of:)` is what a restart is to know.
    case verified(NodeID)
    /// The answer to `.stop`: nothing more will come.
    case stopped
}

/// One line of the log: a state that changed. `peer` is nil when it is about this node.
package struct Note: Equatable, Sendable {
    package enum Level: Sendable { case info, warning, error }
    package var level: Level
    package var peer: NodeID?
    /// `role`, `disk`, `connection`, `replication`, `record`, `resync`, `handshake`, `io`.
    package var subject: String
    package var text: String

    package init(_ level: Level, _ subject: String, _ text: String, peer: NodeID? = nil) {
        self.level = level
        self.subject = subject
        self.text = text
        self.peer = peer
    }
}

/// A queue that keeps its memory: after warm-up, deciding allocates nothing.
package struct EffectQueue {
    // Not of optionals: what a place held would be given up through a table of witnesses each time.
    private var slots: [Effect]
    private var head = 0
    package private(set) var count = 0

    package init(capacity: Int = 4096) {
        var size = 16
        while size < capacity { size *= 2 }
        slots = Array(repeating: .stopped, count: size)
    }

    package var isEmpty: Bool { count == 0 }

    package mutating func append(_ effect: consuming Effect) {
        if count == slots.count { grow() }
        slots[(head + count) & (slots.count - 1)] = effect
        count += 1
    }

    package mutating func popFirst() -> Effect? {
        guard count > 0 else { return nil }
        var effect = Effect.stopped
        swap(&slots[head], &effect)
        head = (head + 1) & (slots.count - 1)
        count -= 1
        return effect
    }

    /// Bounded by operations × peers, which the initial capacity already covers but for the largest `Limits`.
    private mutating func grow() {
        var larger = Array(repeating: Effect.stopped, count: slots.count * 2)
        for index in 0..<count { larger[index] = slots[(head + index) & (slots.count - 1)] }
        slots = larger
        head = 0
    }
}
