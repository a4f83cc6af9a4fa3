/// Everything a verdict rests on, as one side says it of itself (`ReplicationCore/HandshakeVerdict`).
package struct HandshakeState: Equatable, Sendable {
    package var node: NodeID
    package var instance: InstanceID
    package var volume: VolumeID
    /// Bytes of data the copy can hold; 0 without a disk.
    package var capacity: UInt64
    package var record: Record
    package var promised: Term
    package var required: NodeSet
    package var current: Generation
    package var history: [Generation]
    /// Towards the receiver of this message.
    package var base: BitmapBase
    package var dirtyBlocks: UInt64
    package var unconfirmedBlocks: UInt64
    /// What this side remembers of the receiver's copy.
    package var seenInstance: InstanceID
    package var seen: StartMark
    package var mark: StartMark
    package var flags: Superblock.Flags
    package var hasDisk: Bool
    package var isPrimary: Bool
    /// No node is primary, and this one re-admits copies meanwhile (KEEPER).
    package var isKeeper: Bool
    package var discardMyData: Bool
    package var run: RunID
    /// The run this side was last established with, when all it sent since is still held; else none.
    package var resumes: RunID
    /// The metadata sequence that this run found on its disk: an older copy that was put back shows here, although its
    /// start raised the start number again.
    package var foundSequence: UInt64

    package init(
        node: NodeID, instance: InstanceID, volume: VolumeID, capacity: UInt64, record: Record, promised: Term,
        required: NodeSet, current: Generation, history: [Generation], base: BitmapBase, dirtyBlocks: UInt64,
        unconfirmedBlocks: UInt64,
        seenInstance: InstanceID, seen: StartMark, mark: StartMark, flags: Superblock.Flags, hasDisk: Bool,
        isPrimary: Bool, isKeeper: Bool, discardMyData: Bool, run: RunID, resumes: RunID, foundSequence: UInt64
    ) {
        self.node = node
        self.instance = instance
        self.volume = volume
        self.capacity = capacity
        self.record = record
        self.promised = promised
        self.required = required
        self.current = current
        self.history = history
        self.base = base
        self.dirtyBlocks = dirtyBlocks
        self.unconfirmedBlocks = unconfirmedBlocks
        self.seenInstance = seenInstance
        self.seen = seen
        self.mark = mark
        self.flags = flags
        self.hasDisk = hasDisk
        self.isPrimary = isPrimary
        self.isKeeper = isKeeper
        self.discardMyData = discardMyData
        self.run = run
        self.resumes = resumes
        self.foundSequence = foundSequence
    }

    /// Never met a peer, never promoted.
    package var isEmpty: Bool { volume.isNone }

    package func lineContains(_ generation: GenerationID) -> Bool {
        !generation.isNone && (current.id == generation || history.contains { $0.id == generation })
    }
}
