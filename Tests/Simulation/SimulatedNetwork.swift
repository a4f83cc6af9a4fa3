import Formats
import Model

/// The link between two nodes: any number of sessions, each with an ordered lane in both directions.
///
/// Law: within a lane nothing overtakes. While a direction is blocked everything in its lanes waits, as TCP would send it
/// again; a reset drops the tail of both lanes; whoever closes is heard of after what it had sent.
struct SimulatedNetwork {
    enum Item {
        /// Hello and authentication are through.
        case opened
        case frame(head: [UInt8], payload: [UInt8])
        /// One of which bits flipped on the way.
        case damagedFrame(head: [UInt8], payload: [UInt8])
        case closed(String)
    }

    struct Lane {
        var items: [Item] = []
        var head = 0
        var lastArrival: UInt64 = 0
        /// Arrivals that came while the direction was blocked.
        var held = 0
        /// What is on its way arrives then, long after the connection broke.
        var heldUntil: UInt64 = 0

        var isEmpty: Bool { head == items.count }

        mutating func popFirst() -> Item? {
            guard head < items.count else { return nil }
            let item = items[head]
            items[head] = .opened
            head += 1
            if head == items.count {
                items.removeAll(keepingCapacity: true)
                head = 0
            }
            return item
        }

        /// A reset: of what has not arrived only the first `kept` does.
        mutating func dropTail(keeping kept: Int) {
            var keep = min(kept, items.count - head)
            if keep == 0, head < items.count, case .opened = items[head] { keep = 1 }
            items.removeLast(items.count - head - keep)
        }

        var waiting: Int { items.count - head }
    }

    struct Session {
        var id: SessionID
        var dialer: Int
        /// Who was dialed.
        var dialed: Int
        /// The dial it came from.
        var attempt: Int
        var incarnations: [Int]
        var runs: [RunID]
        var discards: [Bool]
        // By node; only the session's two ends count.
        /// What goes toward the node.
        var lanes: [Lane]
        /// The side was told of the session.
        var opened: [Bool]
        /// The side closed it, was told that it is closed, or is dead.
        var ended: [Bool]
        /// The other side's machine vanished without a word; it is told when that machine is back.
        var isSilent = false

        init(
            id: SessionID, dialer: Int, dialed: Int, attempt: Int, incarnations: [Int], runs: [RunID], discards: [Bool]
        ) {
            self.id = id
            self.dialer = dialer
            self.dialed = dialed
            self.attempt = attempt
            self.incarnations = incarnations
            self.runs = runs
            self.discards = discards
            lanes = Array(repeating: Lane(), count: runs.count)
            opened = Array(repeating: false, count: runs.count)
            ended = Array(repeating: false, count: runs.count)
        }

        var ends: [Int] { dialer < dialed ? [dialer, dialed] : [dialed, dialer] }
        func other(than side: Int) -> Int { side == dialer ? dialed : dialer }
        func concerns(_ side: Int) -> Bool { side == dialer || side == dialed }
        var isOver: Bool { ended[dialer] && ended[dialed] }
    }

    private(set) var sessions: [Session] = []
    /// Of each session: looked for with every frame.
    private var ids: [SessionID] = []
    let nodes: Int
    /// Nothing passes in the direction (`direction(from:to:)`).
    var blocked: [Bool]
    /// Which cut blocked a direction: healing an earlier one does not heal a later one.
    var cuts: [Int]
    var dials = 0

    init(nodes: Int = 2) {
        self.nodes = nodes
        blocked = Array(repeating: false, count: nodes * nodes)
        cuts = Array(repeating: 0, count: nodes * nodes)
    }

    func direction(from: Int, to: Int) -> Int { from * nodes + to }
    func isBlocked(from: Int, to: Int) -> Bool { blocked[direction(from: from, to: to)] }
    func connects(_ one: Int, _ other: Int) -> Bool {
        !isBlocked(from: one, to: other) && !isBlocked(from: other, to: one)
    }
    var isWhole: Bool { !blocked.contains(true) }

    mutating func add(_ session: Session) -> Int {
        sessions.append(session)
        ids.append(session.id)
        return sessions.count - 1
    }

    subscript(index: Int) -> Session {
        _read { yield sessions[index] }
        _modify { yield &sessions[index] }
    }

    /// Nothing is on its way.
    var isEmpty: Bool { sessions.allSatisfy { $0.lanes.allSatisfy(\.isEmpty) } }

    func index(of id: SessionID) -> Int? { ids.lastIndex(of: id) }

    /// Sessions that some side has not ended.
    var openSessions: [Int] { sessions.indices.filter { !sessions[$0].isOver } }
}

/// Payloads on the wire: each sector's value in its first eight bytes, zeroes behind. What was read is used again for
/// another of the same length: its zeroes are there already.
struct Payloads {
    private var spare: [[[UInt8]]] = []

    mutating func make(of sectors: ArraySlice<UInt64>) -> [UInt8] {
        var bytes = take(sectors.count) ?? [UInt8](repeating: 0, count: sectors.count * 512)
        bytes.withUnsafeMutableBytes { raw in
            var offset = 0
            for value in sectors {
                raw.storeBytes(of: value.littleEndian, toByteOffset: offset, as: UInt64.self)
                offset += 512
            }
        }
        return bytes
    }

    private mutating func take(_ sectors: Int) -> [UInt8]? {
        sectors < spare.count ? spare[sectors].popLast() : nil
    }

    mutating func giveBack(_ bytes: consuming [UInt8]) {
        let sectors = bytes.count / 512
        guard sectors > 0 else { return }
        while spare.count <= sectors { spare.append([]) }
        spare[sectors].append(bytes)
    }
}

/// Bytes of a frame, made and read by the production codec.
enum FrameBytes {
    static func encode(
        _ message: PeerMessage, _ stamp: FrameStamp, payload: [UInt8], scratch: UnsafeMutableRawBufferPointer
    ) -> [UInt8] {
        let length = payload.withUnsafeBytes { bytes in
            PeerFrame.encode(message, stamp, payload: bytes.isEmpty ? nil : bytes, into: scratch)
        }
        return Array(scratch[..<length])
    }

    static func decode(
        head: [UInt8], payload: [UInt8], buffer: () -> BufferID
    ) -> Result<(FrameStamp, PeerMessage), PeerFrameError> {
        head.withUnsafeBytes { bytes in
            payload.withUnsafeBytes { data in decode(bytes, data, buffer) }
        }
    }

    private static func decode(
        _ bytes: UnsafeRawBufferPointer, _ data: UnsafeRawBufferPointer, _ buffer: () -> BufferID
    ) -> Result<(FrameStamp, PeerMessage), PeerFrameError> {
        let length = PeerFrame.headerLength
        do throws(PeerFrameError) {
            let header = try PeerFrame.decodeHeader(UnsafeRawBufferPointer(rebasing: bytes[..<length]))
            let body = UnsafeRawBufferPointer(rebasing: bytes[length...])
            let message = try PeerFrame.decode(
                header, body: body, payload: data.isEmpty ? nil : data, buffer: data.isEmpty ? nil : buffer())
            return .success((header.stamp, message))
        } catch {
            return .failure(error)
        }
    }

    static func sectors(of payload: [UInt8]) -> [UInt64] {
        payload.withUnsafeBytes { raw in
            (0..<raw.count / 512).map {
                UInt64(littleEndian: raw.loadUnaligned(fromByteOffset: $0 * 512, as: UInt64.self))
            }
        }
    }
}
