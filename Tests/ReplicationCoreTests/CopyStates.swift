import Model
import ReplicationCore

/// The two nodes of all these tests.
let alpha = NodeID(0)!
let beta = NodeID(1)!

/// Generations by small numbers; 0 is "none", 1 is `.zero`.
func generation(_ number: UInt64) -> Generation {
    Generation(id: GenerationID(rawValue: number), node: alpha, began: number)
}

/// What a copy says of itself in a handshake: by default one of a pair in step, at rest, in generation 9.
func copyState(of node: NodeID, _ change: (inout HandshakeState) -> Void = { _ in }) -> HandshakeState {
    leaveOutRule()
    let other = node == alpha ? beta : alpha
    var instances = PerNode(repeating: InstanceID.none)
    for member in [alpha, beta] { instances[member] = instance(of: member) }
    let record = Record(
        lineage: LineageID(rawValue: 77), number: RecordNumber(term: Term(counter: 4, node: alpha), index: 2),
        generation: GenerationID(rawValue: 9), primary: nil, inStep: NodeSet(alpha, beta), voters: NodeSet(alpha, beta),
        instances: instances, size: 32 << 20)
    var state = HandshakeState(
        node: node, instance: instance(of: node), volume: VolumeID(rawValue: 55), capacity: 32 << 20, record: record,
        promised: record.number.term, required: NodeSet(alpha, beta), current: generation(9),
        history: [generation(8), generation(7)], base: .inStep,
        dirtyBlocks: 0, unconfirmedBlocks: 0, seenInstance: instance(of: other),
        seen: StartMark(startNumber: 3, sequence: 100), mark: StartMark(startNumber: 3, sequence: 100), flags: [],
        hasDisk: true, isPrimary: false, isKeeper: false, discardMyData: false, run: run(of: node), resumes: .none,
        foundSequence: 100)
    change(&state)
    return state
}

/// A copy as `create` leaves it: another instance than any before.
func emptyState(of node: NodeID, zeroes: Bool) -> HandshakeState {
    let instance = InstanceID(rawValue: 0x300 + UInt64(node.rawValue))
    let fresh = Superblock(node: node, instance: instance, size: 32 << 20, logExtents: 8, zeroes: zeroes)
    return copyState(of: node) {
        $0.instance = instance
        $0.volume = .none
        $0.record = .empty
        $0.required = NodeSet()
        $0.current = fresh.current
        $0.history = []
        $0.flags = zeroes ? [] : [.inconsistent]
        $0.seenInstance = .none
        $0.seen = .none
        $0.mark = StartMark(startNumber: 1, sequence: 1)
    }
}

/// A node without a disk that never had one in this run.
func disklessState(of node: NodeID) -> HandshakeState {
    copyState(of: node) {
        $0.hasDisk = false
        $0.instance = .none
        $0.volume = .none
        $0.capacity = 0
        $0.record = .empty
        $0.required = NodeSet()
        $0.current = generation(0)
        $0.history = []
        $0.seenInstance = .none
    }
}

func instance(of node: NodeID) -> InstanceID { InstanceID(rawValue: 0x100 + UInt64(node.rawValue)) }
func run(of node: NodeID) -> RunID { RunID(rawValue: 0x200 + UInt64(node.rawValue)) }

extension HandshakeState {
    /// It went on without the other: its record leaves it out, and a generation began.
    mutating func goesOnAlone(in number: UInt64) {
        history.insert(current, at: 0)
        base = .since(current.id)
        current = generation(number)
        record.generation = current.id
        record.inStep = NodeSet(node)
        required = NodeSet(node)
        record.number = RecordNumber(term: Term(counter: record.number.term.counter + 1, node: node), index: 1)
    }
}

/// What a start finds: that superblock, a log that names these extents, and no marks.
func foundMetadata(_ superblock: Superblock, log: [UInt32], bootID: (UInt64, UInt64)) -> LoadedMetadata {
    let table = (0..<Int(superblock.logExtents)).map { $0 < log.count ? log[$0] : nil }
    let replay = LogReplay(
        table: table, lastNumber: UInt64(log.count), lastSequence: superblock.sequence,
        seen: PerNode(repeating: .none), damaged: false)
    let clean = NodeID.all.map { ($0, BitmapWords(count: 0)) }
    return LoadedMetadata(superblock: superblock, log: replay, bitmaps: clean, bootID: bootID)
}
