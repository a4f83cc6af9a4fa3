import Formats
import Model

/// Chance with a seed: the same values in each run.
struct SeededDice: RandomNumberGenerator {
    private var place: UInt64
    init(_ seed: UInt64) { place = seed }

    mutating func next() -> UInt64 {
        place &+= 0x9e37_79b9_7f4a_7c15
        var word = place
        word = (word ^ (word >> 30)) &* 0xbf58_476d_1ce4_e5b9
        word = (word ^ (word >> 27)) &* 0x94d0_49bb_1331_11eb
        return word ^ (word >> 31)
    }

    mutating func below(_ limit: UInt64) -> UInt64 { next() % limit }
    mutating func pick(_ limit: Int) -> Int { Int(next() % UInt64(limit)) }
    mutating func flip() -> Bool { next() & 1 == 0 }
    mutating func counter() -> UInt64 { next() >> 2 }
    mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) } }

    mutating func node() -> NodeID { NodeID(UInt8(pick(8)))! }
    mutating func identity<T: RandomIdentity>() -> T { T(rawValue: next()) }
    mutating func mark() -> StartMark { StartMark(startNumber: counter(), sequence: counter()) }
    mutating func term() -> Term { Term(counter: counter(), node: node()) }
    mutating func number() -> RecordNumber { RecordNumber(term: term(), index: counter()) }
    mutating func generation() -> Generation { Generation(id: identity(), node: node(), began: next()) }
    mutating func history() -> [Generation] { (0..<pick(65)).map { _ in generation() } }
    mutating func stamp() -> FrameStamp { FrameStamp(session: identity(), lineage: identity(), number: number()) }

    mutating func base() -> BitmapBase {
        switch pick(3) {
        case 0: .inStep
        case 1: .since(identity())
        default: .everything(identity())
        }
    }

    mutating func record() -> Record {
        var record = Record.empty
        record.lineage = identity()
        record.number = number()
        record.generation = identity()
        record.primary = flip() ? node() : nil
        record.inStep = NodeSet(rawValue: UInt8(pick(256)))
        record.voters = NodeSet(rawValue: UInt8(pick(256)))
        for node in NodeID.all { record.instances[node] = identity() }
        record.size = below((1 << 50) + 1)
        return record
    }

    mutating func proposal() -> Proposal { Proposal(volume: identity(), record: record(), current: generation()) }

    mutating func state() -> HandshakeState {
        HandshakeState(
            node: node(), instance: identity(), volume: identity(), capacity: below((1 << 50) + 1), record: record(),
            promised: term(), required: NodeSet(rawValue: UInt8(pick(256))), current: generation(), history: history(),
            base: base(),
            dirtyBlocks: below(1 << 38), unconfirmedBlocks: below(1 << 38), seenInstance: identity(), seen: mark(),
            mark: mark(), flags: Superblock.Flags(rawValue: UInt8(pick(16))), hasDisk: flip(), isPrimary: flip(),
            isKeeper: flip(), discardMyData: flip(), run: identity(), resumes: identity(), foundSequence: counter())
    }

    /// Whole blocks, at most `longest` bytes, within one extent.
    mutating func range(atMost longest: UInt64 = 1 << 20) -> ByteRange {
        let length = (1 + below(longest / 4096)) * 4096
        let extentSize = Geometry.extentSize
        let extent = below(Geometry.maximumVolumeSize / extentSize)
        let block = below((extentSize - length) / 4096 + 1)
        return ByteRange(offset: extent * extentSize + block * 4096, length: length)
    }

    mutating func message(_ kind: PeerFrameKind) -> PeerMessage {
        let buffer = BufferID(index: 7)
        return switch kind {
        case .ping: .ping(next())
        case .pong: .pong(next())
        case .goodbye: .goodbye(GoodbyeReason.allCases.randomElement(using: &self)!)
        case .presence:
            .presence(
                Presence(
                    role: [.primary, .secondary, .unknown, .witness].randomElement(using: &self)!,
                    disk: [
                        .attaching, .diskless, .failed, .inconsistent, .outdated, .consistent, .unknown, .upToDate,
                    ].randomElement(using: &self)!, mark: mark(), resyncPaused: flip()))
        case .state: .state(state())
        case .verdict: .verdict(outcome: UInt8(pick(256)), rule: UInt8(pick(256)))
        case .propose: .propose(proposal())
        case .accepted: .accepted(number(), mark: mark())
        case .rejected: .rejected(number(), RejectReason.allCases.randomElement(using: &self)!)
        case .chosen: .chosen(number())
        case .write: .write(sequence: counter(), range: range(), buffer: buffer)
        case .zero: .zero(sequence: counter(), range: range(atMost: 4 << 20), trim: flip())
        case .written: .written(sequence: counter(), succeeded: flip())
        case .received: .received(sequence: counter())
        case .flush: .flush(round: counter())
        case .flushed: .flushed(round: counter(), succeeded: flip(), mark: mark())
        case .confirm: .confirm(sequence: counter(), mark: mark(), settled: flip())
        case .read: .read(id: UInt32(truncatingIfNeeded: next()), range: range())
        case .readData: .readData(id: UInt32(truncatingIfNeeded: next()), range: range(), buffer: buffer)
        case .readFailed: .readFailed(id: UInt32(truncatingIfNeeded: next()))
        case .resyncBegin: .resyncBegin(proposal(), everything: flip())
        case .resyncReady: .resyncReady
        case .bitmapRuns: .bitmapRuns(runs(pick(PeerFrame.maximumRuns + 1)))
        case .bitmapEnd: .bitmapEnd
        case .pull: .pull(id: next(), range: range())
        case .pullData: .pullData(id: next(), range: range(), buffer: buffer)
        case .pullZero: .pullZero(id: next(), range: range(atMost: 4 << 20))
        case .pullFailed: .pullFailed(id: next())
        case .announce: .announce(range(atMost: 4 << 20))
        case .resyncFlushed: .resyncFlushed(pulls: counter(), writes: counter())
        case .resyncComplete: .resyncComplete
        case .joinOffer:
            .joinOffer(
                JoinOffer(
                    volume: identity(), record: record(), current: generation(), history: history(), bases: bases()))
        case .invalidate: .invalidate
        case .digest: .digest(id: UInt32(truncatingIfNeeded: next()), range: range(atMost: 256 << 10))
        case .digests: .digests(id: UInt32(truncatingIfNeeded: next()), bytes((1 + pick(64)) * 32))
        case .digestFailed: .digestFailed(id: UInt32(truncatingIfNeeded: next()), unreadable: flip())
        case .room: .room(number: counter(), size: below(1 << 50), make: flip())
        case .roomAnswer: .roomAnswer(number: counter(), roomAnswer())
        case .standing: .standing(standing())
        case .inquiry:
            .inquiry(Inquiry(round: next(), instance: identity(), isDiskless: flip(), fenced: flip() ? node() : nil))
        case .inquiryAnswer:
            .inquiryAnswer(
                InquiryAnswer(
                    round: next(), objection: flip() ? VoteObjection.allCases.randomElement(using: &self) : nil,
                    standing: standing()))
        case .vote: .vote(term())
        case .voteRuns: .voteRuns(runs(pick(100)))
        case .voted:
            .voted(
                Vote(
                    term: term(), standing: standing(), hasCopy: flip(), isSuspect: flip(),
                    capacity: below((1 << 50) + 1)))
        case .marksToward: .marksToward(node(), runs(pick(100)))
        }
    }

    private mutating func roomAnswer() -> RoomAnswer {
        RoomAnswer(RoomAnswer.Word.allCases.randomElement(using: &self)!, bytes: below(1 << 50))
    }

    mutating func standing() -> Standing {
        Standing(instance: identity(), volume: identity(), promised: term(), record: record(), isPrimary: flip())
    }

    mutating func bases() -> PerNode<BitmapBase> {
        var bases = PerNode(repeating: BitmapBase.inStep)
        for node in NodeID.all { bases[node] = base() }
        return bases
    }

    mutating func runs(_ count: Int) -> [BlockRun] {
        (0..<count).map { _ in
            let length: UInt64 = 1 + below(1 << 20)
            let first: UInt64 = below((1 << 38) - length)
            return BlockRun(first: first, count: length)
        }
    }
}

extension PeerMessage {
    /// The range whose data follows the frame.
    var payloadRange: ByteRange? {
        switch self {
        case .write(_, let range, _), .readData(_, let range, _), .pullData(_, let range, _): range
        default: nil
        }
    }
}

/// A frame as it goes over the wire.
struct SampleFrame {
    /// Header and body.
    var bytes: [UInt8]
    var payload: [UInt8]

    init(_ message: PeerMessage, _ stamp: FrameStamp, payload: [UInt8], carried: CarriedPayload = .plain) {
        self.payload = payload
        var room = [UInt8](repeating: 0xaa, count: PeerFrame.maximumEncodedLength)
        let length = room.withUnsafeMutableBytes { room in
            payload.withUnsafeBytes { payload in
                PeerFrame.encode(
                    message, stamp, payload: payload.isEmpty ? nil : payload, carried: carried, into: room)
            }
        }
        bytes = Array(room[..<length])
    }

    /// What a receiver makes of header, body and payload.
    func decoded(buffer: Int32 = 7) throws -> (FrameStamp, PeerMessage) {
        try bytes.withUnsafeBytes { all in
            let first = UnsafeRawBufferPointer(rebasing: all[..<Swift.min(all.count, PeerFrame.headerLength)])
            let header = try PeerFrame.decodeHeader(first)
            let body = UnsafeRawBufferPointer(rebasing: all[PeerFrame.headerLength...])
            let message = try payload.withUnsafeBytes { payload in
                try PeerFrame.decode(
                    header, body: body, payload: payload.isEmpty ? nil : payload, buffer: BufferID(index: buffer))
            }
            return (header.stamp, message)
        }
    }
}

/// Hexadecimal, a line for each 48 bytes; four and more zeroes as their number in brackets.
func compactHex(_ bytes: [UInt8]) -> String {
    var pieces: [String] = []
    var index = 0
    while index < bytes.count {
        var zeroes = 0
        while index + zeroes < bytes.count, bytes[index + zeroes] == 0 { zeroes += 1 }
        if zeroes >= 4 {
            pieces.append("(\(zeroes))")
            index += zeroes
        } else {
            pieces.append(String(bytes[index] >> 4, radix: 16) + String(bytes[index] & 15, radix: 16))
            index += 1
        }
    }
    return stride(from: 0, to: pieces.count, by: 48).map { start in
        "  " + pieces[start..<Swift.min(start + 48, pieces.count)].joined()
    }.joined(separator: "\n")
}
