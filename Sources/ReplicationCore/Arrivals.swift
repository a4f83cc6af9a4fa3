import Model

/// Frames of a primary in `memory` or `async` that came and wait for those before them: the table is full, or a flush that its
/// client was told of lies in between (`async`).
struct Arrivals {
    struct Frame {
        /// `free`: a flush.
        var kind: Operation.Kind
        var sequence: UInt64
        var range: ByteRange
        var buffer: BufferID?
    }

    private(set) var frames: [Frame] = []
    private var head = 0
    /// A flush is under way that later frames wait for: nil before it could be asked for.
    var isFlushing = false
    var flush: UInt64?

    var isEmpty: Bool { head == frames.count }
    var count: Int { frames.count - head }
    var first: Frame? { isEmpty ? nil : frames[head] }
    /// What comes now waits.
    var isHolding: Bool { isFlushing || !isEmpty }

    mutating func append(_ frame: Frame) { frames.append(frame) }

    mutating func removeFirst() {
        head += 1
        if head == frames.count {
            frames.removeAll(keepingCapacity: true)
            head = 0
        } else if head > 1024, head * 2 > frames.count {
            frames.removeFirst(head)
            head = 0
        }
    }
}

extension Replica {
    /// A flush that a client was told of: what follows on this link is not written before what came is stable.
    mutating func flushArrived(from node: NodeID) {
        guard !isLeftOut(.flushIsBetween), hasDisk, asynchronous.contains(node) else { return }
        guard self[peer: node].arrivals.isHolding else {
            self[peer: node].arrivals.isFlushing = true
            attention = true
            return
        }
        hold(Arrivals.Frame(kind: .free, sequence: 0, range: ByteRange(offset: 0, length: 0), buffer: nil), from: node)
    }

    mutating func hold(_ frame: Arrivals.Frame, from node: NodeID) {
        guard self[peer: node].arrivals.count < unconfirmed.capacity * 2 else {
            if let buffer = frame.buffer { emit(.releaseBuffer(buffer)) }
            dropSession(node, "it sent more than it may")
            return
        }
        self[peer: node].arrivals.append(frame)
    }

    mutating func advanceArrivals() {
        for node in others where self[peer: node].arrivals.isHolding { advanceArrivals(from: node) }
    }

    private mutating func advanceArrivals(from node: NodeID) {
        while self[peer: node].arrivals.isHolding {
            if self[peer: node].arrivals.isFlushing {
                guard let flush = self[peer: node].arrivals.flush else {
                    guard !hasFrames(of: node) else { return }
                    self[peer: node].arrivals.flush = requestFlush()
                    continue
                }
                guard isFlushed(flush) else { return }
                self[peer: node].arrivals.isFlushing = false
                self[peer: node].arrivals.flush = nil
                continue
            }
            guard let frame = self[peer: node].arrivals.first else { return }
            if frame.kind == .free {
                self[peer: node].arrivals.removeFirst()
                self[peer: node].arrivals.isFlushing = true
                continue
            }
            guard table.freePeerCount > configuration.limits.resyncPulls || !hasDisk else { return }
            self[peer: node].arrivals.removeFirst()
            enterFrame(frame.kind, frame.range, frame.sequence, frame.buffer, node)
        }
    }

    /// Frames of that node, of whatever session, are not on this disk yet.
    func hasFrames(of node: NodeID) -> Bool { table.contains { $0.isFrame && $0.peer == node } }

    /// The session is over: its sender holds them and sends them again.
    mutating func dropArrivals(from node: NodeID) {
        while let frame = self[peer: node].arrivals.first {
            if let buffer = frame.buffer { emit(.releaseBuffer(buffer)) }
            self[peer: node].arrivals.removeFirst()
        }
        self[peer: node].arrivals = Arrivals()
    }
}
