/// How far a peer's dirty bitmap reaches back.
package enum BitmapBase: Equatable, Sendable {
    /// The peer is in step: the bitmap holds at most blocks spilled from the activity log.
    case inStep
    /// Every block written since this generation, which the peer has, is marked.
    case since(GenerationID)
    /// Every block was marked when this copy became a target; what is still marked is what it lacks.
    case everything(InstanceID)
}

/// How often a peer's copy was started, and the newest metadata write it told of: lower than remembered means that the
/// copy was rolled back.
package struct StartMark: Equatable, Sendable {
    package var startNumber: UInt64
    package var sequence: UInt64

    package init(startNumber: UInt64, sequence: UInt64) {
        self.startNumber = startNumber
        self.sequence = sequence
    }

    package static let none = StartMark(startNumber: 0, sequence: 0)
    package func merged(with other: StartMark) -> StartMark {
        StartMark(startNumber: max(startNumber, other.startNumber), sequence: max(sequence, other.sequence))
    }
}

/// What a copy remembers of one other node.
package struct PeerSlot: Equatable, Sendable {
    package var base: BitmapBase
    package var seenInstance: InstanceID
    package var seen: StartMark

    package init(base: BitmapBase, seenInstance: InstanceID, seen: StartMark) {
        self.base = base
        self.seenInstance = seenInstance
        self.seen = seen
    }

    package static let empty = PeerSlot(base: .inStep, seenInstance: .none, seen: .none)
}

/// The durable state of one copy, adopted in one write (`6-protocol`, DURABLE). Two checksummed instances lie on disk.
package struct Superblock: Equatable, Sendable {
    /// Generations kept beside the current one.
    package static let historyLimit = 64

    package struct Flags: OptionSet, Equatable, Sendable {
        package let rawValue: UInt8
        package init(rawValue: UInt8) { self.rawValue = rawValue }
        /// The last stop wrote everything back: the activity log is empty.
        package static let clean = Flags(rawValue: 1)
        /// The copy may have lost its cache: not promotable, not kept in step.
        package static let suspect = Flags(rawValue: 2)
        /// In the middle of being filled: never read, promoted or a source.
        package static let inconsistent = Flags(rawValue: 4)
        /// An administrator or a peer's record said that others went on.
        package static let outdated = Flags(rawValue: 8)
        /// A peer found it older than it was once: restored, rolled back or cloned. What it lacks is written nowhere, so
        /// it says so until it is filled from scratch, however often it is started meanwhile.
        package static let rolledBack = Flags(rawValue: 16)
        /// With quorum: a record was chosen, so the volume's identity is final. A first record that nobody chose can
        /// still give way to another candidate's.
        package static let founded = Flags(rawValue: 32)
        /// `async`: a record that makes this copy primary was offered, and it is not known that the other took it, which may have gone
        /// on under the one before; with quorum one that gives up what others hold, and under which nobody served yet.
        package static let offered = Flags(rawValue: 64)
        /// With quorum: in step under a primary whose writes do not wait for this copy. Whatever the configuration says since, it is
        /// not known to hold them all.
        package static let lags = Flags(rawValue: 128)
    }

    package var node: NodeID
    package var instance: InstanceID
    package var volume: VolumeID
    /// Bytes of data.
    package var size: UInt64
    /// Counts every durable metadata write of this copy (superblock and activity log), never decreasing.
    package var sequence: UInt64
    package var startNumber: UInt64
    /// The kernel's boot id at the last start (16 bytes in two halves): another one means that caches were lost.
    package var bootID: (UInt64, UInt64)
    package var flags: Flags
    package var promised: Term
    package var record: Record
    /// In-step members whose loss begins a new generation: `record.inStep` and every copy that a record was offered to
    /// since. Durable before the first offer is sent (why: `ReplicationCore/Invariants`).
    package var required: NodeSet
    /// This copy may hold what clients were told of and whoever leads now lacks: its node led in a mode in which they are told before
    /// all copies have a write, and did not hand over; or it held what such a primary answered when a record left it out.
    package var mayHoldMore = false
    package var current: Generation
    /// Newest first.
    package var history: [Generation]
    package var peers: PerNode<PeerSlot>
    /// Activity-log transactions up to this sequence are void.
    package var logBase: UInt64
    /// Slots of the activity log, as created.
    package var logExtents: UInt32

    package init(node: NodeID, instance: InstanceID, size: UInt64, logExtents: UInt32, zeroes: Bool) {
        self.node = node
        self.instance = instance
        self.size = size
        self.logExtents = logExtents
        volume = .none
        sequence = 0
        startNumber = 0
        bootID = (0, 0)
        flags = zeroes ? [.clean] : [.clean, .inconsistent]
        promised = .zero
        record = .empty
        required = NodeSet()
        current = Generation(id: zeroes ? .zero : .none, node: node, began: 0)
        history = []
        peers = PerNode(repeating: .empty)
        logBase = 0
    }

    /// No identity yet: never met a peer, never promoted.
    package var isEmpty: Bool { volume.isNone }
    /// Created blank: what the disk holds means nothing.
    package var isBlank: Bool { current.id.isNone }

    /// Whether this copy's line of writes contains `generation`.
    package func lineContains(_ generation: GenerationID) -> Bool {
        !generation.isNone && (current.id == generation || history.contains { $0.id == generation })
    }

    package static func == (left: Superblock, right: Superblock) -> Bool {
        left.node == right.node && left.instance == right.instance && left.volume == right.volume
            && left.size == right.size && left.sequence == right.sequence && left.startNumber == right.startNumber
            && left.bootID == right.bootID && left.flags == right.flags && left.promised == right.promised
            && left.record == right.record && left.required == right.required && left.mayHoldMore == right.mayHoldMore
            && left.current == right.current
            && left.history == right.history && left.peers == right.peers && left.logBase == right.logBase
            && left.logExtents == right.logExtents
    }
}
