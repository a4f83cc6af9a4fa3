import Model

/// What this run knows of one other node. The durable part is the superblock's `PeerSlot`.
struct Peer {
    /// What the last handshake made of the two copies, and how far that has come.
    enum Relation: Equatable {
        /// No handshake yet.
        case none
        /// Connected; nothing to copy, nothing to replicate.
        case nothing
        /// Equal; the record that names both is being made.
        case establishing
        /// In step: writes go there and count.
        case established
        /// The record without the target is being made; then it is told; then it pulls.
        case sourcePreparing(everything: Bool)
        case sourceBeginning
        case source
        /// The other way round.
        case targetWaiting
        case target
        /// It has no disk and may read and write here.
        case carrier
        /// This node has no disk and reads and writes there.
        case carried
    }

    enum Handshake: Equatable {
        case none
        /// Waits until nothing is in flight that the state would not tell of.
        case preparing
        /// The state is told, and nothing that it rests on may change.
        case exchanging
        case finished
    }

    let id: NodeID

    // The connection.
    var isStandalone = false
    var isDialing = false
    var nextDial: MonotonicTime?
    var backoff: UInt64 = 0
    var session = SessionID.none
    var dialedHere = false
    var discardsItsData = false
    var run = RunID.none
    var openedAt = MonotonicTime(nanoseconds: 0)
    /// When this side told its state.
    var toldAt = MonotonicTime(nanoseconds: 0)
    var lastHeard = MonotonicTime(nanoseconds: 0)
    var lastPing = MonotonicTime(nanoseconds: 0)
    /// The last session was ended to begin a new one at once: until then, or until a dial fails, the other side is there.
    var expectedBack: MonotonicTime?
    /// The newest ping sent there, and the newest answered.
    var pinged: UInt64 = 0
    var ponged: UInt64 = 0
    /// When the last pings were sent, by number.
    var pings = Array(repeating: Lease.Ping(), count: Peer.pingMemory)
    static let pingMemory = 16
    /// When the newest answered ping was sent: a lease counts from then.
    var leaseFrom = MonotonicTime(nanoseconds: 0)
    /// What it said of itself as a voter, in this session.
    var standing: Standing?
    /// When it last asked whether it may lead.
    var askedToLead: MonotonicTime?
    /// It said that it is primary, and not yet that it is none.
    var claimsPrimary = false

    // The handshake.
    var handshake = Handshake.none
    var mine: HandshakeState?
    var theirs: HandshakeState?
    /// Its numbers are below the remembered ones, and it has not said yet that it is ready to be filled: what is remembered is all
    /// that tells, should this session end.
    var isPutBack = false
    var verdict: HandshakeVerdict?
    var theirVerdict: (outcome: UInt8, rule: UInt8)?
    var relation = Relation.none
    /// The peer's run with which all that was sent is still held: a session with it can be resumed.
    var resumableRun = RunID.none
    /// Frames up to here may have come in an earlier session, or under an earlier term.
    var resentThrough: UInt64 = 0
    /// The last word that writes are confirmed. It may be lost with the session that it was told in.
    var confirmed: Confirmed?
    struct Confirmed {
        var sequence: UInt64
        var settled: Bool
        var term: Term
        var run: RunID
    }
    /// The next handshake offers to throw this copy's data away.
    var discardMine = false

    // Being away.
    var lostAt: MonotonicTime?
    /// Its time is over, or it said goodbye: the next reply that waits goes on without it.
    var isCutOff = true

    var fencing: Fencing?

    /// When this node last let it rest its reads on an answer to a ping.
    var leaseGivenAt = MonotonicTime(nanoseconds: 0)

    // `memory` and `async`.
    /// When a held write was last said to be on its disk.
    var lastWritten = MonotonicTime(nanoseconds: 0)
    /// It lacks writes since then, and is not being sent them.
    var behindSince: MonotonicTime?
    /// Of its lag, as it was told last (`VolumeStatus.Peer.lagStep`).
    var toldLag: UInt8 = 0
    /// It fell behind, and is not filled before that.
    var behindUntil: MonotonicTime?
    var behindPause: UInt64 = 0
    var caughtUpAt = MonotonicTime(nanoseconds: 0)
    var arrivals = Arrivals()

    // What it told.
    var presence: Presence?
    var lastPresenceSent: Presence?
    var reason: String?
    var message: String?

    var source = ResyncSource()
    var target = ResyncTarget()
    var lastResync: VolumeStatus.LastResync?

    init(id: NodeID) { self.id = id }

    var hasSession: Bool { !session.isNone }
    /// Frames of writes go there. (A primary that is a target writes to its source, which serves it.)
    var receivesWrites: Bool {
        relation == .established || relation == .source || relation == .carried || relation == .target
    }
    var isConnected: Bool { handshake == .finished }
}

/// The source's side of a resync.
struct ResyncSource {
    struct Pull {
        var id: UInt64
        var range: ByteRange
    }

    struct Flushed {
        var pulls: UInt64
        var writes: UInt64
        var localFlush: UInt64
    }

    /// Flushes the target told of that wait for one of this copy's own.
    var flushed: [Flushed] = []
    var totalBlocks: UInt64 = 0
    var pulledBytes: UInt64 = 0
    var began = MonotonicTime(nanoseconds: 0)
    var because = ""
    /// All bits are set; before the target is told, they and the base that says so become durable.
    var basePersisted: UInt64?
    /// Answered pulls that no flush of the target covers yet, in order.
    var pulls: [Pull] = []
    /// Pieces being read for the target, and those that wait while clients are given way to.
    var reading = 0
    var held: [Pull] = []
    /// When the last of them was let go.
    var servedAt = MonotonicTime(nanoseconds: 0)
    /// Next block whose bitmap run has not been told.
    var bitmapCursor: UInt64 = 0
    /// The target said that it lacks nothing: join it.
    var isComplete = false
    var completeAt = MonotonicTime(nanoseconds: 0)
}

/// The target's side of a resync.
struct ResyncTarget {
    struct Pull {
        var id: UInt64
        var range: ByteRange
    }

    var totalBlocks: UInt64 = 0
    var pulledBytes: UInt64 = 0
    var began = MonotonicTime(nanoseconds: 0)
    var because = ""
    var everything = false
    /// All runs are known: pulling may begin.
    var bitmapKnown = false
    /// Nodes that the configuration names since it began: marks toward them may have been told before.
    var entered = NodeSet()
    var cursor: UInt64 = 0
    /// Behind the volume's end, still to be asked for.
    var behind: Range<UInt64> = 0..<0
    var nextID: UInt64 = 1
    /// Asked for and not yet written here.
    var inFlight: [Pull] = []
    var bytesInFlight: UInt64 = 0
    /// How many it asks for at once: few to begin with, more as they come, few again while clients ask.
    var window: UInt64 = 0
    /// Written, and no flush begun since.
    var written: [Pull] = []
    var bytesSinceFlush: UInt64 = 0
    var flushedAt = MonotonicTime(nanoseconds: 0)
    /// The flush that covers `flushing`.
    var flushNumber: UInt64?
    var flushing: [Pull] = []
    var flushedPulls: UInt64 = 0
    var flushingPulls: UInt64 = 0
    var flushingWrites: UInt64 = 0
    /// Highest sequence of the frames that came in this session.
    var lastWrite: UInt64 = 0
    /// A primary that is filled itself holds its clients' writes for the join.
    var isHolding = false
    var completeSent = false
    /// Pulls that failed since the last that did not: as long as there are any, one is asked for at a time.
    var failures = 0
    /// Something of this pass could not be read at the source.
    var hasFailures = false
    /// After such a pass each block is asked for by itself.
    var isCareful = false
    /// Blocks that could not be read when that was last said.
    var unreadable: UInt64 = 0
    /// The next pull may not be asked for before (`resync-rate`).
    var notBefore = MonotonicTime(nanoseconds: 0)
}
