import Model

/// Writes applied here and not yet known to be durable on all that must have them, in the order of their sequences. What
/// lies in here is covered on disk by hot extents, or, once spilled, by the bitmaps toward every peer.
struct Unconfirmed {
    struct Entry {
        var sequence: UInt64
        var range: ByteRange
        /// Peers to which the frame went.
        var sentTo: NodeSet
        /// Marked durably toward every peer, and no longer holding its extent in the log.
        var spilled: Bool
        /// Of which run of sequences: entries of an earlier one are never confirmed by a later one's number.
        var line: UInt32
    }

    private var ring: [Entry]
    private var head = 0
    private(set) var count = 0
    private(set) var bytes: UInt64 = 0
    private(set) var spilledCount = 0
    /// Rises when another node (or another run of it) begins to number the writes.
    private(set) var line: UInt32 = 0
    /// The highest sequence of the present line.
    private(set) var newest: UInt64 = 0

    init(capacity: Int) {
        ring = Array(
            repeating: Entry(
                sequence: 0, range: ByteRange(offset: 0, length: 0), sentTo: NodeSet(), spilled: false, line: 0),
            count: capacity)
    }

    var capacity: Int { ring.count }
    var isFull: Bool { count == ring.count }
    var isEmpty: Bool { count == 0 }

    /// What is in the list is complete everywhere it must be: the first round of the new line covers it.
    mutating func beginLine() {
        if isLeftOut(.primariesNumberApart) { return }
        line += 1
        newest = 0
        for index in 0..<count {
            ring[(head + index) % ring.count].line = line
            ring[(head + index) % ring.count].sequence = 0
        }
    }

    mutating func append(sequence: UInt64, range: ByteRange, sentTo: NodeSet) {
        precondition(!isFull, "writes wait while the list is full")
        ring[(head + count) % ring.count] = Entry(
            sequence: sequence, range: range, sentTo: sentTo, spilled: false, line: line)
        count += 1
        bytes += range.length
        newest = max(newest, sequence)
    }

    /// Whether this very write lies in here already.
    func holds(_ sequence: UInt64, _ range: ByteRange) -> Bool {
        for index in (0..<count).reversed() {
            let entry = self[index]
            if entry.line == line, entry.sequence == sequence, entry.range == range { return true }
        }
        return false
    }

    subscript(index: Int) -> Entry {
        get { ring[(head + index) % ring.count] }
        set {
            let slot = (head + index) % ring.count
            if newValue.spilled != ring[slot].spilled { spilledCount += newValue.spilled ? 1 : -1 }
            ring[slot] = newValue
        }
    }

    mutating func forgetSending(to node: NodeID) {
        for index in 0..<count { ring[(head + index) % ring.count].sentTo.remove(node) }
    }

    /// Whether the oldest entry is at most `sequence` of the present line.
    func isFirstCovered(by sequence: UInt64) -> Bool {
        count > 0 && ring[head].line == line && ring[head].sequence <= sequence
    }

    mutating func removeFirst() -> Entry {
        let entry = ring[head]
        head = (head + 1) % ring.count
        count -= 1
        bytes -= entry.range.length
        if entry.spilled { spilledCount -= 1 }
        return entry
    }

    /// Blocks, counted once per write.
    var blockCount: UInt64 { bytes / Geometry.blockSize }

    func contains(block: UInt64) -> Bool {
        for index in 0..<count where self[index].range.blocks.contains(block) { return true }
        return false
    }
}
