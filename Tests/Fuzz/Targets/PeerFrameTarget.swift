import Formats
import Model

/// Input: whether checksums are made right, then frames: header, body as far as the header says; a plain payload is made
/// up, a compressed one is read, or made and then changed.
///
/// Holds: what decodes has one encoding, its own bytes; one bit changed anywhere is refused; nothing expands beyond the
/// length that its header said.
func fuzzPeerFrames(_ input: inout InputBytes) throws(BrokenProperty) {
    let seals = input.u8()
    for _ in 0..<16 where !input.isAtEnd {
        var header = input.take(PeerFrame.headerLength)
        header += [UInt8](repeating: 0, count: PeerFrame.headerLength - header.count)
        if seals & 1 == 0 {
            header.replaceSubrange(0..<4, with: littleEndian(PeerFrame.magic))
            header.replaceSubrange(6..<8, with: littleEndian(PeerFrame.version))
            header.replaceSubrange(49..<52, with: [0, 0, 0])
            // As the fuzzer finds none: a length for what is compressed, none for what is not.
            let isCompressed = header[5] & 4 != 0
            let compressed = littleEndian(header[52..<56], as: UInt32.self)
            let wanted = isCompressed ? 1 + compressed % 4095 : 0
            header.replaceSubrange(52..<56, with: littleEndian(wanted))
        }
        let lengths = (
            payload: littleEndian(header[8..<12], as: UInt32.self), body: littleEndian(header[12..<16], as: UInt32.self)
        )
        guard lengths.payload <= UInt32(Geometry.maximumPayload), lengths.body <= UInt32(PeerFrame.maximumBodyLength)
        else {
            sealHeader(&header, if: true)
            try require((try? decodeHeader(header)) == nil, "a header with impossible lengths is accepted")
            continue
        }
        var body = input.take(Int(lengths.body))
        body += [UInt8](repeating: 0, count: Int(lengths.body) - body.count)
        sealHeader(&header, if: seals & 4 == 0)
        let carried = (try? decodeHeader(header))?.carried ?? .plain
        guard let payload = try FuzzedPayloads.receive(carried, of: Int(lengths.payload), &header, &input)
        else { continue }
        if seals & 2 == 0 { header.replaceSubrange(56..<60, with: littleEndian(checksum(body, payload))) }
        sealHeader(&header, if: seals & 4 == 0)
        guard let message = decode(header, body, payload) else { continue }
        try requireSealed(header, body, payload)
        let again = encode(message.0, message.1, payload, try? decodeHeader(header).carried)
        try require(again == header + body, "\(message.0) is encoded otherwise than it came")
        try requireFlipRefused(at: input.integer(UInt32.self), header, body, payload)
    }
}

private func decodeHeader(_ header: [UInt8]) throws(PeerFrameError) -> PeerFrameHeader {
    try header.withUnsafeBytes { bytes in Result { () throws(PeerFrameError) in try PeerFrame.decodeHeader(bytes) } }
        .get()
}

private func decode(_ header: [UInt8], _ body: [UInt8], _ payload: [UInt8]) -> (PeerMessage, FrameStamp)? {
    guard let stamp = try? decodeHeader(header).stamp,
        let message = decodeFrame(header + body, payload, BufferID(index: 5))
    else { return nil }
    return (message, stamp)
}

/// The message of a whole frame; nil when it is refused. `buffer` stands for the payload.
func decodeFrame(_ frame: [UInt8], _ payload: [UInt8], _ buffer: BufferID?) -> PeerMessage? {
    frame.withUnsafeBytes { frame in
        payload.withUnsafeBytes { payload in
            let head = UnsafeRawBufferPointer(rebasing: frame[..<PeerFrame.headerLength])
            let body = UnsafeRawBufferPointer(rebasing: frame[PeerFrame.headerLength...])
            guard let header = try? PeerFrame.decodeHeader(head) else { return nil }
            return try? PeerFrame.decode(header, body: body, payload: payload.isEmpty ? nil : payload, buffer: buffer)
        }
    }
}

func encode(
    _ message: PeerMessage, _ stamp: FrameStamp, _ payload: [UInt8], _ carried: CarriedPayload? = nil
) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: PeerFrame.maximumEncodedLength) { room, count in
        payload.withUnsafeBytes { payload in
            let payload = payload.isEmpty ? nil : payload
            count = PeerFrame.encode(
                message, stamp, payload: payload, carried: carried ?? .plain, into: UnsafeMutableRawBufferPointer(room))
        }
    }
}

private func requireSealed(_ header: [UInt8], _ body: [UInt8], _ payload: [UInt8]) throws(BrokenProperty) {
    try require(
        littleEndian(header[60..<64], as: UInt32.self) == checksum(Array(header[..<60]), []),
        "a header with a wrong checksum is accepted")
    try require(
        littleEndian(header[56..<60], as: UInt32.self) == checksum(body, payload),
        "data with a wrong checksum is accepted")
}

private func requireFlipRefused(
    at place: UInt32, _ header: [UInt8], _ body: [UInt8], _ payload: [UInt8]
) throws(BrokenProperty) {
    let bit = Int(place) % ((header.count + body.count + payload.count) * 8)
    var (header, body, payload) = (header, body, payload)
    let mask = UInt8(1) << UInt8(bit % 8)
    let byte = bit / 8
    if byte < header.count {
        header[byte] ^= mask
    } else if byte < header.count + body.count {
        body[byte - header.count] ^= mask
    } else {
        payload[byte - header.count - body.count] ^= mask
    }
    try require(decode(header, body, payload) == nil, "a frame is accepted with its bit \(bit) changed")
}

private func sealHeader(_ header: inout [UInt8], if isWanted: Bool) {
    guard isWanted else { return }
    header.replaceSubrange(60..<64, with: littleEndian(checksum(Array(header[..<60]), [])))
}

/// By tables, not by what the code under test uses.
func checksum(_ first: [UInt8], _ second: [UInt8]) -> UInt32 {
    (first + second).withUnsafeBytes { CRC32C.portableChecksum($0) }
}

func littleEndian<T: FixedWidthInteger>(_ value: T) -> [UInt8] { withUnsafeBytes(of: value.littleEndian) { Array($0) } }

func littleEndian<T: FixedWidthInteger>(_ bytes: some Sequence<UInt8>, as type: T.Type) -> T {
    bytes.enumerated().reduce(0) { $0 | T(truncatingIfNeeded: $1.element) << T($1.offset * 8) }
}
