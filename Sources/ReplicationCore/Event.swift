package import Model

/// One operation of the core at the disk; the daemon and the simulator give it back with the result.
package struct OperationID: Equatable, Hashable, Sendable {
    package var rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }
}

/// How a data operation ended.
package enum DiskResult: Equatable, Sendable {
    case succeeded
    /// A `readData` with `detectZeroes` found nothing but zeroes.
    case zeroes
    case failed
}

package struct CommandID: Equatable, Hashable, Sendable {
    package var rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }
}

/// What a client wants. `ticket` is below `Limits.clientOperations` and free; the range is not empty (but for `flush`),
/// lies within the volume, within one extent, and carries at most `Geometry.maximumPayload` bytes for `read` and `write`
/// (counted in whole blocks). `zero` and `trim` come in whole blocks: the daemon writes their ragged ends as zeroes.
package struct ClientRequest: Equatable, Sendable {
    package enum Kind: Equatable, Sendable { case read, write, zero, trim, flush }

    package var ticket: UInt32
    package var kind: Kind
    package var range: ByteRange
    /// The write, zero or trim is answered only once it is stable.
    package var forced: Bool
    /// For `read` and `write`. Its bytes stand for the range *widened to whole blocks*: a write's payload begins
    /// `range.offset % blockSize` bytes into the buffer, and so does a read's result. The buffer is the core's from here
    /// to the reply (`read`: the daemon's again with the reply; `write`: until `.releaseBuffer`).
    package var buffer: BufferID?

    package init(ticket: UInt32, kind: Kind, range: ByteRange, forced: Bool, buffer: BufferID?) {
        self.ticket = ticket
        self.kind = kind
        self.range = range
        self.forced = forced
        self.buffer = buffer
    }
}

/// A copy as it was found on disk, the log replayed (`Formats` reads it; the same for start and `attach`).
package struct LoadedMetadata: Sendable {
    package var superblock: Superblock
    package var log: LogReplay
    /// For each node that has a bitmap: its words, bit per block, least significant first.
    /// A page that did not verify is all ones here.
    package var bitmaps: [(node: NodeID, words: BitmapWords)]
    /// The running kernel's.
    package var bootID: (UInt64, UInt64)

    package init(
        superblock: Superblock, log: LogReplay, bitmaps: [(node: NodeID, words: BitmapWords)], bootID: (UInt64, UInt64)
    ) {
        self.superblock = superblock
        self.log = log
        self.bitmaps = bitmaps
        self.bootID = bootID
    }
}

/// All that can happen to a replica: a log of these is a replay, a fuzz input, a transcript and a black box.
package enum Event: Sendable {
    /// Time passed: `Replica.nextDeadline` was reached.
    case tick

    // The disk. At most one superblock write, one log write and `Limits` many data operations are out at once.
    /// `attach` found a disk (at start it is given to `Replica.init`).
    indirect case attached(LoadedMetadata, CommandID)
    case dataDone(OperationID, DiskResult)
    /// Answers `.takeBuffer`; the buffer is the core's until `.releaseBuffer`.
    case bufferTaken(OperationID, BufferID)
    /// Answers `.digestData`.
    case digested(OperationID, [UInt8])
    case superblockWritten(succeeded: Bool)
    case logWritten(succeeded: Bool)
    case bitmapPageWritten(NodeID, page: UInt32, succeeded: Bool)

    /// Answers `.measureDisk`.
    case diskMeasured(RoomAnswer)
    /// Answers `.prepareDisk`.
    case diskPrepared(GrowOutcome)
    /// Answers `.growDisk`; unasked, `.failed`: writes of this disk may be lost, though nobody waited for them.
    case diskGrown(GrowOutcome)

    /// Answers `.keepAside`: with the name under which all of them are, or with what went wrong.
    case keptAside(succeeded: Bool, String)

    /// The configuration's nodes, times and rates are these from now on (`adjust`).
    indirect case adjusted(ReplicaConfiguration, CommandID)

    // Clients.
    case clientRequest(ClientRequest)
    /// How many clients hold a writable connection now.
    case clientsChanged(count: UInt32)

    // Peers. A session is opened after hello, comparison of the configurations and authentication.
    case sessionOpened(NodeID, SessionID, run: RunID, dialedHere: Bool, discardsItsData: Bool)
    case sessionClosed(NodeID, SessionID, String)
    /// Bytes of that session arrived, or wait for a buffer of ours: it is alive, whatever it still has to say.
    case heard(NodeID, SessionID)
    case dialFailed(NodeID, String)
    /// The other side's hello or authentication was refused for this named reason (`mismatch`, `authentication`, …).
    case peerRefused(NodeID, reason: String, message: String)
    case message(NodeID, FrameStamp, PeerMessage)

    // The administrator.
    case command(CommandID, Command)
    /// Whoever asked is gone: the command is not to succeed later.
    case commandWithdrawn(CommandID)

    /// Answers `.fence`.
    case fenceAnswered(NodeID, request: UInt64, FencingOutcome)
}
