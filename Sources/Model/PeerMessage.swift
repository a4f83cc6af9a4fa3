/// A buffer of the daemon's pool. The core passes the number on and never sees the bytes.
package struct BufferID: Equatable, Hashable, Sendable {
    package var index: Int32
    package init(index: Int32) { self.index = index }
}

/// In every frame's header: a receiver refuses frames of other sessions, and of older records.
package struct FrameStamp: Equatable, Sendable {
    package var session: SessionID
    package var lineage: LineageID
    package var number: RecordNumber

    package init(session: SessionID, lineage: LineageID, number: RecordNumber) {
        self.session = session
        self.lineage = lineage
        self.number = number
    }
}

/// A run of dirty blocks.
package struct BlockRun: Equatable, Sendable {
    package var first: UInt64
    package var count: UInt64
    package init(first: UInt64, count: UInt64) {
        self.first = first
        self.count = count
    }
}

package enum GoodbyeReason: UInt8, Sendable, CaseIterable {
    /// The daemon stops; its copy is clean.
    case stopping = 1
    /// `hablk disconnect`.
    case disconnected = 2
    /// The verdict parted the two.
    case parted = 3
    /// The session is begun anew: what the last handshake rested on has changed.
    case again = 4
}

package enum RejectReason: UInt8, Sendable, CaseIterable {
    case olderTerm = 1
    case isPrimary = 2
    case candidateToo = 3
    case noDisk = 4
    case metadataFailed = 5
    case notNow = 6
}

/// What a node tells unasked, whenever it changes: for `status`, for who may do what, and for the memory of start marks.
package struct Presence: Equatable, Sendable {
    package var role: Role
    package var disk: DiskState
    package var mark: StartMark
    package var resyncPaused: Bool

    package init(role: Role, disk: DiskState, mark: StartMark, resyncPaused: Bool) {
        self.role = role
        self.disk = disk
        self.mark = mark
        self.resyncPaused = resyncPaused
    }
}

/// A record offered to a copy that is to accept it (CHANGE), with the generation it names.
package struct Proposal: Equatable, Sendable {
    package var volume: VolumeID
    package var record: Record
    package var current: Generation

    package init(volume: VolumeID, record: Record, current: Generation) {
        self.volume = volume
        self.record = record
        self.current = current
    }
}

/// The last step of a resync (JOIN 4): the target takes the source's whole line and the record that names it.
package struct JoinOffer: Equatable, Sendable {
    package var volume: VolumeID
    package var record: Record
    package var current: Generation
    package var history: [Generation]
    /// Of the source's bitmaps toward the nodes that stay out.
    package var bases: PerNode<BitmapBase>

    package init(
        volume: VolumeID, record: Record, current: Generation, history: [Generation], bases: PerNode<BitmapBase>
    ) {
        self.volume = volume
        self.record = record
        self.current = current
        self.history = history
        self.bases = bases
    }
}

/// The frames of a session after hello and authentication. A `BufferID` stands for the payload that follows.
package enum PeerMessage: Equatable, Sendable {
    /// Numbered: the answer tells when the question was asked, which a lease counts from.
    case ping(UInt64)
    case pong(UInt64)
    case goodbye(GoodbyeReason)
    case presence(Presence)

    // The handshake: both say what they are, both judge, both compare the verdicts.
    indirect case state(HandshakeState)
    case verdict(outcome: UInt8, rule: UInt8)

    // The record.
    indirect case propose(Proposal)
    case accepted(RecordNumber, mark: StartMark)
    case rejected(RecordNumber, RejectReason)
    case chosen(RecordNumber)

    // Votes (`quorum: majority`).
    indirect case standing(Standing)
    case inquiry(Inquiry)
    indirect case inquiryAnswer(InquiryAnswer)
    case vote(Term)
    /// The voter's unconfirmed blocks: as many frames as it takes, then `voted`.
    case voteRuns([BlockRun])
    indirect case voted(Vote)

    // The write path. Sequences begin at 1 in each run of a primary and rise by one.
    case write(sequence: UInt64, range: ByteRange, buffer: BufferID)
    case zero(sequence: UInt64, range: ByteRange, trim: Bool)
    case written(sequence: UInt64, succeeded: Bool)
    /// `memory`: the write is in the receiver's memory; `written` follows.
    case received(sequence: UInt64)
    /// Round 0 asks for no answer: on an asynchronous link a client's flush lies between what came before and what follows.
    case flush(round: UInt64)
    case flushed(round: UInt64, succeeded: Bool, mark: StartMark)
    /// A write to the range waits for the sender's activity log: the receiver may take the extent into its own meanwhile. It
    /// promises nothing, is not answered, and may be left out.
    case announce(ByteRange)
    /// Everything up to `sequence` is stable on all of `required`; `settled`: so is what a former primary had in flight.
    case confirm(sequence: UInt64, mark: StartMark, settled: Bool)

    // Reads through a peer, when the own disk is away.
    case read(id: UInt32, range: ByteRange)
    case readData(id: UInt32, range: ByteRange, buffer: BufferID)
    case readFailed(id: UInt32)

    // Resync.
    /// The source's record leaves the target out and is chosen; `everything` sets all bits first.
    indirect case resyncBegin(Proposal, everything: Bool)
    /// The target is durably inconsistent.
    case resyncReady
    case bitmapRuns([BlockRun])
    case bitmapEnd
    case pull(id: UInt64, range: ByteRange)
    case pullData(id: UInt64, range: ByteRange, buffer: BufferID)
    case pullZero(id: UInt64, range: ByteRange)
    case pullFailed(id: UInt64)
    /// Pulls up to `pulls` and writes up to `writes` are stable at the target.
    case resyncFlushed(pulls: UInt64, writes: UInt64)
    /// The target lacks nothing that it knows of.
    case resyncComplete
    /// What the source has marked toward a node that stays out, before the offer: as many frames as it takes.
    case marksToward(NodeID, [BlockRun])
    indirect case joinOffer(JoinOffer)

    /// `invalidate --peer`: the receiver throws its data away.
    case invalidate

    // Comparing. Asked while the primary holds back writes to the range: what lies there when it answers is what counts.
    case digest(id: UInt32, range: ByteRange)
    /// A digest of each block, `Comparing.digestLength` bytes, one behind the other.
    case digests(id: UInt32, [UInt8])
    /// A block of it cannot be read; or, not `unreadable`, the sender does not follow this primary now.
    case digestFailed(id: UInt32, unreadable: Bool)

    // Growing (`resize`). Asked by the primary, of copies in step.
    /// How much can the copy hold? Or, to `make` it so: it is to have room for `size` bytes, and zeroes behind the volume's
    /// present end. `size` 0: how much without asking for any.
    case room(number: UInt64, size: UInt64, make: Bool)
    case roomAnswer(number: UInt64, RoomAnswer)
}
