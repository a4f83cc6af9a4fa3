/// One block of the activity-log ring: which slots changed, and a rotating part of the whole table, so that the newest
/// `ceil(extents / contextLimit)` transactions rebuild it (DRBD's layout, `drbd.md` 3.3).
package struct LogTransaction: Equatable, Sendable {
    package static let updateLimit = 64
    package static let contextLimit = 640

    package struct Update: Equatable, Sendable {
        package var slot: UInt32
        /// Nil: the slot became free.
        package var extent: UInt32?
        package init(slot: UInt32, extent: UInt32?) {
            self.slot = slot
            self.extent = extent
        }
    }

    package var instance: InstanceID
    /// The copy's metadata sequence; each transaction's is higher than the one before. Not dense: superblocks count too.
    package var sequence: UInt64
    /// Dense: the how-manieth transaction of this copy; its place in the ring is `number % ring blocks`.
    package var number: UInt64
    package var updates: [Update]
    /// The first slot of `context`.
    package var contextStart: UInt32
    /// Extents of the slots from `contextStart` on; nil: free.
    package var context: [UInt32?]
    /// What this copy remembers of its peers, as in the superblock; the newest of both holds.
    package var seen: PerNode<StartMark>

    package init(
        instance: InstanceID, sequence: UInt64, number: UInt64, updates: [Update], contextStart: UInt32,
        context: [UInt32?], seen: PerNode<StartMark>
    ) {
        self.instance = instance
        self.sequence = sequence
        self.number = number
        self.updates = updates
        self.contextStart = contextStart
        self.context = context
        self.seen = seen
    }
}

/// What reading the ring at start yields.
package struct LogReplay: Equatable, Sendable {
    /// The table of slots at the newest transaction; `logExtents` entries.
    package var table: [UInt32?]
    /// The number and sequence the next transaction must exceed.
    package var lastNumber: UInt64
    package var lastSequence: UInt64
    package var seen: PerNode<StartMark>
    /// A block inside the needed window did not verify: every block of the volume may have been written.
    package var damaged: Bool
    /// Blocks of the ring that do not hold what they should: rot, or a write that a crash tore.
    package var spoiled: Int
    /// The newest transaction lies there only once; to be written again, with its echo, before anything else is.
    package var mend: LogTransaction?

    package init(
        table: [UInt32?], lastNumber: UInt64, lastSequence: UInt64, seen: PerNode<StartMark>, damaged: Bool,
        spoiled: Int = 0, mend: LogTransaction? = nil
    ) {
        self.spoiled = spoiled
        self.mend = mend
        self.table = table
        self.lastNumber = lastNumber
        self.lastSequence = lastSequence
        self.seen = seen
        self.damaged = damaged
    }
}
