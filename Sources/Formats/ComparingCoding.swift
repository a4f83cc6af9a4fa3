import Model

// The frames of `verify`, as `PeerMessageCoding` reads and writes the others.

extension PeerBody {
    /// The question's number, and a digest of each block of what was asked for.
    static func allowsDigests(_ length: UInt32) -> Bool {
        guard length >= 4 else { return false }
        let digests = (length - 4) / UInt32(Comparing.digestLength)
        return (length - 4) % UInt32(Comparing.digestLength) == 0 && digests >= 1
            && digests <= UInt32(Comparing.mostBlocks)
    }
}

extension FieldReader {
    mutating func readComparing(_ header: PeerFrameHeader) throws(FieldError) -> PeerMessage {
        let id = try u32()
        switch header.kind {
        case .digest: return .digest(id: id, range: try range(header))
        case .digests: return .digests(id: id, Array(try bytes(header.bodyLength - 4)))
        case .digestFailed: return .digestFailed(id: id, unreadable: header.isYes)
        default: preconditionFailure("not of a comparison")
        }
    }
}

extension FieldWriter {
    mutating func writeComparing(_ message: PeerMessage) -> (PeerFrameKind, flags: UInt8) {
        switch message {
        case .digest(let id, let range):
            u32(id)
            self.range(range, .digest)
            return (.digest, 0)
        case .digests(let id, let digests):
            precondition(PeerBody.allowsDigests(UInt32(4 + digests.count)), "more digests than one frame carries")
            u32(id)
            bytes(digests)
            return (.digests, 0)
        case .digestFailed(let id, let unreadable):
            u32(id)
            return (.digestFailed, unreadable ? PeerFrame.flagYes : 0)
        default: preconditionFailure("not of a comparison")
        }
    }
}
