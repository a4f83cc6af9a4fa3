package import Model

// A message outside a frame, in a recording: kind, flags and what a frame's header says of lengths, then the frame's body.
// Payloads are not recorded, only which buffer stood for them.

extension FieldWriter {
    package mutating func recorded(_ message: PeerMessage) {
        let place = count
        // Kind and flags, known only when the body is written.
        u8(0)
        u8(0)
        var payloadLength = 0
        switch message {
        case .write(_, let range, let buffer), .readData(_, let range, let buffer), .pullData(_, let range, let buffer):
            payloadLength = Int(range.length)
            u64(range.length)
            u32(UInt32(bitPattern: buffer.index))
        case .bitmapRuns(let runs), .voteRuns(let runs), .marksToward(_, let runs): u64(UInt64(runs.count))
        case .digests(_, let digests): u64(UInt64(digests.count / Comparing.digestLength))
        default: break
        }
        let (kind, flags) = write(message, payloadLength: payloadLength)
        overwrite(kind.rawValue, at: place)
        overwrite(flags, at: place + 1)
    }
}

extension FieldReader {
    package mutating func recordedMessage() throws(FieldError) -> PeerMessage {
        guard let kind = PeerFrameKind(rawValue: try u8()) else { throw .value(.reason) }
        let flags = try u8()
        guard flags & ~kind.allowedFlags == 0 else { throw .value(.flags) }
        var payloadLength = 0
        var bodyLength = 0
        var buffer = BufferID(index: -1)
        if kind.carriesPayload {
            let length = try u64()
            guard length <= Geometry.maximumPayload else { throw .value(.size) }
            payloadLength = Int(length)
            buffer = BufferID(index: Int32(bitPattern: try u32()))
        } else if kind == .bitmapRuns || kind == .voteRuns || kind == .marksToward {
            let runs = try u64()
            guard runs <= UInt64(PeerFrame.maximumRuns) else { throw .value(.runs) }
            bodyLength = Int(runs) * 16 + (kind == .marksToward ? 1 : 0)
        } else if kind == .digests {
            let digests = try u64()
            guard (1...Comparing.mostBlocks).contains(digests) else { throw .value(.size) }
            bodyLength = 4 + Int(digests) * Comparing.digestLength
        }
        let stamp = FrameStamp(session: .none, lineage: .none, number: Record.empty.number)
        let header = PeerFrameHeader(
            kind: kind, stamp: stamp, flags: flags, bodyLength: bodyLength, payloadLength: payloadLength,
            dataChecksum: 0)
        return try readMessage(header, buffer: buffer)
    }
}
