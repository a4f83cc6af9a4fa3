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
        /// The dial it came from.
        var attempt: Int
        var incarnations: [Int]
        var runs: [RunID]
        var discards: [Bool]
        /// What goes toward node 0 and toward node 1.
        var lanes = [Lane(), Lane()]
        /// The side was told of the session.
        var opened = [false, false]
        /// The side closed it, was told that it is closed, or is dead.
        var ended = [false, false]
        /// The other side's machine vanished without a word; it is told when that machine is back.
        var isSilent = false
    }

    private(set) var sessions: [Session] = []
    /// Of each session: looked for with every frame.
    private var ids: [SessionID] = []
    /// Nothing arrives at node 0, at node 1.
    var blocked = [false, false]
    /// Which cut blocked a direction: healing an earlier one does not heal a later one.
    var cuts = [0, 0]
    var dials = 0

    var isWhole: Bool { !blocked[0] && !blocked[1] }

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
    var isEmpty: Bool { sessions.allSatisfy { $0.lanes[0].isEmpty && $0.lanes[1].isEmpty } }

    func index(of id: SessionID) -> Int? { ids.lastIndex(of: id) }

    /// Sessions that some side has not ended.
    var openSessions: [Int] { sessions.indices.filter { !(sessions[$0].ended[0] && sessions[$0].ended[1]) } }
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
