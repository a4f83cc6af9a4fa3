import Model

// The frames of `resize`, as `PeerMessageCoding` reads and writes the others.

extension FieldReader {
    mutating func readRoom(_ header: PeerFrameHeader) throws(FieldError) -> PeerMessage {
        let number = try counter()
        switch header.kind {
        case .room: return .room(number: number, size: try size(), make: header.isYes)
        case .roomAnswer:
            guard let word = RoomAnswer.Word(rawValue: try u8()) else { throw .value(.reason) }
            return .roomAnswer(number: number, RoomAnswer(word, bytes: try size()))
        default: preconditionFailure("not of a resize")
        }
    }
}

extension FieldWriter {
    mutating func writeRoom(_ message: PeerMessage) -> (PeerFrameKind, flags: UInt8) {
        switch message {
        case .room(let number, let size, let make):
            u64(number)
            u64(size)
            return (.room, make ? PeerFrame.flagYes : 0)
        case .roomAnswer(let number, let answer):
            u64(number)
            u8(answer.word.rawValue)
            u64(answer.bytes)
            return (.roomAnswer, 0)
        default: preconditionFailure("not of a resize")
        }
    }
}
