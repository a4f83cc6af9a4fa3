import Model

// The frames of votes (`quorum: majority`), as `PeerMessageCoding` reads and writes the others.

extension FieldReader {
    mutating func readVoting(_ header: PeerFrameHeader) throws(FieldError) -> PeerMessage {
        switch header.kind {
        case .standing: return .standing(try readStanding())
        case .inquiry:
            let round = try u64()
            let instance = try identity(InstanceID.self)
            return .inquiry(
                Inquiry(round: round, instance: instance, isDiskless: try truth(), fenced: try nodeOrNone()))
        case .inquiryAnswer:
            let round = try u64()
            let code = try u8()
            let objection = VoteObjection(rawValue: code)
            guard code == 0 || objection != nil else { throw .value(.reason) }
            return .inquiryAnswer(InquiryAnswer(round: round, objection: objection, standing: try readStanding()))
        case .vote: return .vote(try term())
        case .voteRuns: return .voteRuns(try readRuns(header.bodyLength / 16))
        case .voted:
            let term = try term()
            let standing = try readStanding()
            let hasCopy = try truth()
            let isSuspect = try truth()
            return .voted(
                Vote(term: term, standing: standing, hasCopy: hasCopy, isSuspect: isSuspect, capacity: try size()))
        default: preconditionFailure("not of the votes")
        }
    }

    private mutating func readStanding() throws(FieldError) -> Standing {
        let instance = try identity(InstanceID.self)
        let volume = try identity(VolumeID.self)
        let promised = try term()
        let record = try record()
        return Standing(
            instance: instance, volume: volume, promised: promised, record: record, isPrimary: try truth())
    }
}

extension FieldWriter {
    mutating func writeVoting(_ message: PeerMessage) -> PeerFrameKind {
        switch message {
        case .standing(let standing):
            write(standing)
            return .standing
        case .inquiry(let inquiry):
            u64(inquiry.round)
            identity(inquiry.instance)
            truth(inquiry.isDiskless)
            node(inquiry.fenced)
            return .inquiry
        case .inquiryAnswer(let answer):
            u64(answer.round)
            u8(answer.objection?.rawValue ?? 0)
            write(answer.standing)
            return .inquiryAnswer
        case .vote(let term):
            self.term(term)
            return .vote
        case .voteRuns(let runs):
            write(runs)
            return .voteRuns
        case .voted(let vote):
            term(vote.term)
            write(vote.standing)
            truth(vote.hasCopy)
            truth(vote.isSuspect)
            u64(vote.capacity)
            return .voted
        default: preconditionFailure("a message without a coding")
        }
    }

    private mutating func write(_ standing: Standing) {
        identity(standing.instance)
        identity(standing.volume)
        term(standing.promised)
        record(standing.record)
        truth(standing.isPrimary)
    }
}
