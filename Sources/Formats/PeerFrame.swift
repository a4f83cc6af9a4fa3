package import Model

/// Frames between two peers, after hello and authentication.
///
///     header (64 bytes, little-endian)
///      0  magic             u32  "HBPF"
///      4  kind              u8
///      5  flags             u8   bit 0: yes (succeeded, trim, everything, paused, settled, unreadable); bits 1 to 3: how
///                                the payload is carried (`CarriedPayload`); others are refused
///      6  version           u16
///      8  payload length    u32  bulk data, as it lies on the disk; only write, readData and pullData have any
///     12  body length       u32  fields that do not fit here
///     16  session           u64
///     24  lineage           u64
///     32  term counter      u64
///     40  record index      u64
///     48  term node         u8
///     49  zero              3 bytes
///     52  compressed length u32  what follows in the payload's place, when it is made shorter; else 0
///     56  data checksum     u32  CRC32C of the body, then the payload as it lies on the disk
///     60  header checksum   u32  CRC32C of the 60 bytes before
///     64  body, then payload, or what it was made shorter to, or nothing when it is all zeroes
///
/// A header is judged alone, before a byte of what follows is received: both lengths are within the limits of its kind.
/// The length of a range whose data follows is the payload's, so that the two cannot differ.
package enum PeerFrame {
    package static let headerLength = 64
    /// "HBPF" as it lies in memory.
    package static let magic: UInt32 = 0x4650_4248
    package static let version: UInt16 = 2
    /// Runs that one `bitmapRuns` carries at most.
    package static let maximumRuns = 2000
    /// No kind has a longer body.
    package static let maximumBodyLength = maximumRuns * 16
    /// Room that `encode` needs for any message.
    package static let maximumEncodedLength = headerLength + maximumBodyLength

    static let flagYes: UInt8 = 1
    static let carriedMask: UInt8 = 14
}

/// The kinds of frames; the numbers are the format.
package enum PeerFrameKind: UInt8, Sendable, CaseIterable {
    case ping = 1
    case pong = 2
    case goodbye = 3
    case presence = 4
    case state = 5
    case verdict = 6
    case propose = 7
    case accepted = 8
    case rejected = 9
    case chosen = 10
    case write = 11
    case zero = 12
    case written = 13
    case flush = 14
    case flushed = 15
    case confirm = 16
    case read = 17
    case readData = 18
    case readFailed = 19
    case resyncBegin = 20
    case resyncReady = 21
    case bitmapRuns = 22
    case bitmapEnd = 23
    case pull = 24
    case pullData = 25
    case pullZero = 26
    case pullFailed = 27
    case resyncFlushed = 28
    case resyncComplete = 29
    case joinOffer = 30
    case invalidate = 31
    case standing = 32
    case inquiry = 33
    case inquiryAnswer = 34
    case vote = 35
    case voteRuns = 36
    case voted = 37
    case marksToward = 38
    case received = 39
    case digest = 40
    case digests = 41
    case digestFailed = 42
    case announce = 43
    case room = 44
    case roomAnswer = 45

    package var carriesPayload: Bool { self == .write || self == .readData || self == .pullData }

    /// Bits that may be set in the header's flags.
    var allowedFlags: UInt8 {
        switch self {
        case .zero, .written, .flushed, .resyncBegin, .presence, .confirm, .digestFailed, .room:
            PeerFrame.flagYes
        default: 0
        }
    }

    /// Whether a body of `length` bytes can be one of this kind.
    func allowsBody(of length: UInt32) -> Bool {
        switch self {
        case .resyncReady, .bitmapEnd, .resyncComplete, .invalidate: length == 0
        case .goodbye: length == 1
        case .verdict: length == 2
        case .readFailed, .digestFailed: length == 4
        case .written, .received, .flush, .pullFailed, .ping, .pong: length == 8
        case .vote: length == 9
        case .readData, .announce: length == 12
        case .digests: PeerBody.allowsDigests(length)
        case .write, .read, .pullData, .resyncFlushed, .digest, .room: length == 16
        case .chosen, .roomAnswer: length == 17
        case .presence, .rejected, .inquiry: length == 18
        case .zero, .pull, .pullZero: length == 20
        case .flushed, .confirm: length == 24
        case .accepted: length == 33
        case .propose, .resyncBegin: length == UInt32(PeerBody.proposalLength)
        case .state: PeerBody.allowsHistory(length, behind: PeerBody.stateLength)
        case .joinOffer: PeerBody.allowsHistory(length, behind: PeerBody.joinOfferLength)
        case .bitmapRuns, .voteRuns: length % 16 == 0 && length <= UInt32(PeerFrame.maximumBodyLength)
        case .marksToward: length % 16 == 1 && length <= UInt32(PeerFrame.maximumBodyLength)
        case .standing: length == UInt32(PeerBody.standingLength)
        case .inquiryAnswer: length == UInt32(9 + PeerBody.standingLength)
        case .voted: length == UInt32(19 + PeerBody.standingLength)
        }
    }
}

/// What a frame says of itself before the rest of it is received.
package struct PeerFrameHeader: Equatable, Sendable {
    package var kind: PeerFrameKind
    package var stamp: FrameStamp
    package var flags: UInt8
    /// Bytes to receive first.
    package var bodyLength: Int
    /// Bytes of the payload: whole blocks, at most `Geometry.maximumPayload`.
    package var payloadLength: Int
    /// How it is carried, and so how many bytes are to be received then.
    package var carried = CarriedPayload.plain
    /// CRC32C of the body, then the payload.
    package var dataChecksum: UInt32

    /// Bytes to receive behind the body.
    package var wireLength: Int { carried.wireLength(of: payloadLength) }

    var isYes: Bool { flags & PeerFrame.flagYes != 0 }
}

/// Why a frame is refused. The session that it came by is closed.
package enum PeerFrameError: Error, Equatable, CustomStringConvertible {
    case truncated
    case wrongMagic(UInt32)
    case otherVersion(theirs: UInt16)
    case headerChecksum
    case unknownKind(UInt8)
    case unknownFlags(PeerFrameKind, UInt8)
    case reservedBytes
    case bodyLength(PeerFrameKind, UInt32)
    case payloadLength(PeerFrameKind, UInt32)
    /// Bytes of a compressed payload that cannot be, or of one that is not compressed.
    case compressedLength(PeerFrameKind, UInt32)
    /// What is said to be a compressed payload of that length is none.
    case expansion(PeerFrameKind)
    /// What was received is not as long as the header said.
    case lengthsDiffer(PeerFrameKind)
    case dataChecksum(PeerFrameKind)
    case range(PeerFrameKind, ByteRange)
    case field(PeerFrameKind, FieldName)

    package var description: String {
        switch self {
        case .truncated: "the frame ends before its fields do"
        case .wrongMagic(let magic): "no frame begins here (0x\(String(magic, radix: 16)))"
        case .otherVersion(let theirs):
            "the peer speaks frame version \(theirs), this node version \(PeerFrame.version)"
        case .headerChecksum: "its header does not match its checksum: damaged on the way"
        case .unknownKind(let kind): "unknown frame kind \(kind)"
        case .unknownFlags(let kind, let flags): "\(kind): unknown flags 0x\(String(flags, radix: 16))"
        case .reservedBytes: "bytes of the frame's header that must be zero are not"
        case .bodyLength(let kind, let length): "\(kind): a body of \(length) bytes cannot be"
        case .payloadLength(let kind, let length): "\(kind): a payload of \(length) bytes cannot be"
        case .compressedLength(let kind, let length): "\(kind): a payload compressed to \(length) bytes cannot be"
        case .expansion(let kind):
            "\(kind): its compressed payload does not become what its header says: damaged on the way"
        case .lengthsDiffer(let kind): "\(kind): what was received is not as long as the header said"
        case .dataChecksum(let kind): "\(kind): its data does not match its checksum: damaged on the way"
        case .range(let kind, let range): "\(kind): the range \(range.offset)+\(range.length) cannot be"
        case .field(let kind, let field): "\(kind): the field `\(field)` has a value that cannot be"
        }
    }
}

extension PeerFrame {
    /// Judges a header alone. `bytes` are the first `headerLength` bytes of a frame.
    package static func decodeHeader(_ bytes: UnsafeRawBufferPointer) throws(PeerFrameError) -> PeerFrameHeader {
        guard bytes.count == headerLength else { throw .truncated }
        let magic = bytes.littleEndian(at: 0, as: UInt32.self)
        guard magic == self.magic else { throw .wrongMagic(magic) }
        // Before the checksum: another version may lie otherwise.
        let version = bytes.littleEndian(at: 6, as: UInt16.self)
        guard version == self.version else { throw .otherVersion(theirs: version) }
        let checksum = CRC32C.checksum(UnsafeRawBufferPointer(rebasing: bytes[..<60]))
        guard checksum == bytes.littleEndian(at: 60, as: UInt32.self) else { throw .headerChecksum }
        guard let kind = PeerFrameKind(rawValue: bytes[4]) else { throw .unknownKind(bytes[4]) }
        let flags = bytes[5]
        let carriedMask = kind.carriesPayload ? carriedMask : 0
        guard flags & ~(kind.allowedFlags | carriedMask) == 0 else { throw .unknownFlags(kind, flags) }
        // The node and the three reserved bytes, in one load.
        let nodeAndZeroes = bytes.littleEndian(at: 48, as: UInt32.self)
        guard nodeAndZeroes >> 8 == 0 else { throw .reservedBytes }
        guard let node = NodeID(UInt8(truncatingIfNeeded: nodeAndZeroes)) else { throw .field(kind, .node) }
        let number = RecordNumber(
            term: Term(counter: bytes.littleEndian(at: 32, as: UInt64.self), node: node),
            index: bytes.littleEndian(at: 40, as: UInt64.self))
        guard number.term.counter <= FieldLimits.counter, number.index <= FieldLimits.counter else {
            throw .field(kind, .counter)
        }
        let payloadLength = bytes.littleEndian(at: 8, as: UInt32.self)
        guard isPossible(payload: payloadLength, of: kind) else { throw .payloadLength(kind, payloadLength) }
        let compressedLength = bytes.littleEndian(at: 52, as: UInt32.self)
        guard
            let carried = CarriedPayload(
                code: (flags & carriedMask) >> 1, length: compressedLength, payloadLength: payloadLength)
        else { throw .compressedLength(kind, compressedLength) }
        let bodyLength = bytes.littleEndian(at: 12, as: UInt32.self)
        guard kind.allowsBody(of: bodyLength) else { throw .bodyLength(kind, bodyLength) }
        let stamp = FrameStamp(
            session: SessionID(rawValue: bytes.littleEndian(at: 16, as: UInt64.self)),
            lineage: LineageID(rawValue: bytes.littleEndian(at: 24, as: UInt64.self)),
            number: number)
        return PeerFrameHeader(
            kind: kind, stamp: stamp, flags: flags & ~carriedMask, bodyLength: Int(bodyLength),
            payloadLength: Int(payloadLength), carried: carried,
            dataChecksum: bytes.littleEndian(at: 56, as: UInt32.self))
    }

    private static func isPossible(payload length: UInt32, of kind: PeerFrameKind) -> Bool {
        guard kind.carriesPayload else { return length == 0 }
        return length > 0 && UInt64(length) <= Geometry.maximumPayload && UInt64(length) % Geometry.blockSize == 0
    }

    /// The message of a frame that was received whole.
    ///
    /// - Parameters:
    ///   - body: `header.bodyLength` bytes.
    ///   - payload: the `header.payloadLength` bytes where they landed or were expanded to; they are only checksummed.
    ///   - buffer: what stands for the payload in the message; needed exactly when there is one.
    package static func decode(
        _ header: PeerFrameHeader, body: UnsafeRawBufferPointer, payload: UnsafeRawBufferPointer?, buffer: BufferID?
    ) throws(PeerFrameError) -> PeerMessage {
        guard body.count == header.bodyLength, (payload?.count ?? 0) == header.payloadLength else {
            throw .lengthsDiffer(header.kind)
        }
        var checksum = CRC32C()
        checksum.update(body)
        if let payload { checksum.update(payload) }
        guard checksum.value == header.dataChecksum else { throw .dataChecksum(header.kind) }
        if header.kind.carriesPayload { precondition(buffer != nil, "a frame's payload was received without a buffer") }
        var reader = FieldReader(body)
        let message: PeerMessage
        do throws(FieldError) {
            message = try reader.readMessage(header, buffer: buffer ?? BufferID(index: -1))
        } catch {
            throw PeerFrameError(header.kind, error)
        }
        guard reader.isAtEnd else { throw .bodyLength(header.kind, UInt32(header.bodyLength)) }
        return message
    }

    /// Writes header and body of a frame and gives their length. The payload, if the message has one, is sent from its
    /// own buffer behind them; only its checksum is taken here. `output` has `maximumEncodedLength` bytes, or at least
    /// as many as the message needs.
    /// - Parameter carried: what of the payload is sent behind them.
    package static func encode(
        _ message: PeerMessage, _ stamp: FrameStamp, payload: UnsafeRawBufferPointer?,
        carried: CarriedPayload = .plain, into output: UnsafeMutableRawBufferPointer
    ) -> Int {
        precondition(output.count >= headerLength, "no room for a frame's header")
        var writer = FieldWriter(UnsafeMutableRawBufferPointer(rebasing: output[headerLength...]))
        let payloadLength = payload?.count ?? 0
        let (kind, flags) = writer.write(message, payloadLength: payloadLength)
        precondition(isPossible(payload: UInt32(payloadLength), of: kind), "a frame's payload is missing or too much")
        precondition(
            carried == .plain || payloadLength > carried.compressedLength, "a payload is carried longer than it is")
        var checksum = CRC32C()
        checksum.update(writer.written)
        if let payload { checksum.update(payload) }
        output.storeLittleEndian(magic, at: 0)
        output[4] = kind.rawValue
        output[5] = flags | carried.code << 1
        output.storeLittleEndian(version, at: 6)
        output.storeLittleEndian(UInt32(payloadLength), at: 8)
        output.storeLittleEndian(UInt32(writer.count), at: 12)
        output.storeLittleEndian(stamp.session.rawValue, at: 16)
        output.storeLittleEndian(stamp.lineage.rawValue, at: 24)
        output.storeLittleEndian(stamp.number.term.counter, at: 32)
        output.storeLittleEndian(stamp.number.index, at: 40)
        output.storeLittleEndian(UInt32(stamp.number.term.node.rawValue), at: 48)
        output.storeLittleEndian(UInt32(carried.compressedLength), at: 52)
        output.storeLittleEndian(checksum.value, at: 56)
        let headerChecksum = CRC32C.checksum(UnsafeRawBufferPointer(rebasing: output[..<60]))
        output.storeLittleEndian(headerChecksum, at: 60)
        return headerLength + writer.count
    }
}

extension PeerFrameError {
    init(_ kind: PeerFrameKind, _ error: FieldError) {
        switch error {
        case .truncated: self = .truncated
        case .value(let name): self = .field(kind, name)
        case .range(let range): self = .range(kind, range)
        }
    }
}

extension UnsafeRawBufferPointer {
    /// For places known to be within the buffer.
    @inline(__always) func littleEndian<T: FixedWidthInteger & BitwiseCopyable>(at offset: Int, as type: T.Type) -> T {
        T(littleEndian: loadUnaligned(fromByteOffset: offset, as: type))
    }
}

extension UnsafeMutableRawBufferPointer {
    @inline(__always) func storeLittleEndian<T: FixedWidthInteger & BitwiseCopyable>(_ value: T, at offset: Int) {
        storeBytes(of: value.littleEndian, toByteOffset: offset, as: T.self)
    }
}
