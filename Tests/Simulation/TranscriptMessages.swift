import Model
import ReplicationCore

/// The words of a transcript for what nodes say to each other, and for what they are.
extension Transcript {
    /// Nil for pings, for what each node tells the other of its status, and for announcements, which promise nothing.
    func text(of message: PeerMessage, _ sender: SimulatedNode) -> String? {
        switch message {
        case .ping, .pong, .presence, .announce: nil
        case .goodbye(let reason): "goodbye: \(reason)"
        case .state(let state): text(of: state)
        case .verdict(let outcome, let rule): verdict(outcome, rule)
        case .propose, .accepted, .rejected, .chosen, .joinOffer, .room, .roomAnswer: record(message)
        case .write(let sequence, let range, let buffer):
            "write #\(sequence): \(values(range, buffer, sender))"
        case .zero(let sequence, let range, let trim): "\(trim ? "trim" : "zero") #\(sequence): \(Self.text(of: range))"
        case .received(let sequence): "received #\(sequence)"
        case .written(let sequence, let succeeded): "written #\(sequence)\(succeeded ? "" : ": FAILED")"
        case .flush: "flush"
        case .flushed(_, let succeeded, _): "flushed\(succeeded ? "" : ": FAILED")"
        case .confirm(let sequence, _, let settled):
            "confirmed through #\(sequence)\(settled ? "" : ", not all settled")"
        case .read(_, let range): "read \(Self.text(of: range))"
        case .readData(_, let range, let buffer): "read: \(values(range, buffer, sender))"
        case .readFailed: "read: FAILED"
        default: resync(message, sender)
        }
    }

    private func resync(_ message: PeerMessage, _ sender: SimulatedNode) -> String? {
        switch message {
        case .resyncBegin(let proposal, let everything):
            "resync of \(everything ? "everything" : "what is marked"), under \(text(of: proposal.record))"
        case .resyncReady: "resync: ready"
        case .bitmapRuns(let runs):
            "marked here: \(text(of: runs))"
        case .bitmapEnd: "marked here: no more"
        case .pull(_, let range): "pull \(Self.text(of: range))"
        case .pullData(_, let range, let buffer): "data of \(values(range, buffer, sender))"
        case .pullZero(_, let range): "\(Self.text(of: range)) all zero"
        case .pullFailed: "pull: FAILED"
        case .resyncFlushed: "resync: flushed"
        case .resyncComplete: "resync: complete"
        case .invalidate: "invalidate"
        case .digest(_, let range): "digests of \(Self.text(of: range))?"
        case .digests(_, let digests): "\(digests.count / Comparing.digestLength) digests"
        case .digestFailed(_, let unreadable): "digests: \(unreadable ? "FAILED" : "not now")"
        default: election(message)
        }
    }

    private func record(_ message: PeerMessage) -> String? {
        switch message {
        case .propose(let proposal): "propose \(text(of: proposal.record))"
        case .accepted(let number, _): "accepted \(text(of: number))"
        case .rejected(let number, let reason): "rejected \(text(of: number)): \(Self.dashed(reason))"
        case .chosen(let number): "chosen \(text(of: number))"
        case .joinOffer(let offer): "join \(text(of: offer.record))"
        case .room(_, 0, let make): make ? "room: none any more" : "room: how much?"
        case .room(_, let size, let make):
            "room: \(make ? "make" : "is there") \(size / Geometry.blockSize)\(make ? "" : "?")"
        case .roomAnswer(_, let answer): "room: \(answer.word) \(answer.bytes / Geometry.blockSize)"
        default: nil
        }
    }

    private func verdict(_ outcome: UInt8, _ rule: UInt8) -> String {
        guard let outcome = HandshakeOutcome(rawValue: outcome), let rule = HandshakeRule(rawValue: rule) else {
            return "verdict that does not exist"
        }
        return "verdict: \(Self.dashed(outcome)) because \(Self.dashed(rule))"
    }

    /// `5 = 1`; of several blocks only those that are not zero.
    private func values(_ range: ByteRange, _ buffer: BufferID, _ node: SimulatedNode) -> String {
        let sectors = node.buffers.sectors(of: buffer)
        let blocks = range.blocks
        let found = (0..<blocks.count).map { (blocks.lowerBound + UInt64($0), block(sectors, $0)) }
        if found.count == 1 { return "\(found[0].0) = \(found[0].1)" }
        let rest = found.filter { $0.1 != "0" }.map { "\($0.0) = \($0.1)" }.joined(separator: ", ")
        return "\(Self.text(of: range)) (\(rest.isEmpty ? "zero" : rest))"
    }

    func text(of record: Record) -> String {
        guard !record.isEmpty else { return "no record" }
        let primary = record.primary.map { name(Int($0.rawValue)) } ?? "none"
        return "record \(text(of: record.number)) of \(names.of(record.lineage, "l")): in step "
            + "\(text(of: record.inStep)), primary \(primary), \(names.of(record.generation))"
            + (letters.count > 2 ? ", voters \(text(of: record.voters))" : "")
    }

    private func text(of state: HandshakeState) -> String {
        var text = "state: \(text(of: state.record)); "
        text += state.hasDisk ? "at \(line(state.current, state.history)), \(self.text(of: state.base))" : "no disk"
        if state.dirtyBlocks > 0 { text += ", \(state.dirtyBlocks) blocks marked" }
        if state.unconfirmedBlocks > 0 { text += ", \(state.unconfirmedBlocks) unconfirmed" }
        for word in Self.words(state.flags) where word != "clean" { text += ", \(word)" }
        if state.isPrimary { text += ", primary" }
        if state.discardMyData { text += ", may be thrown away" }
        return text
    }

    func line(_ current: Generation, _ history: [Generation]) -> String {
        let newest = names.of(current.id)
        guard !history.isEmpty else { return newest }
        let older = history.prefix(4).map { names.of($0.id) }.joined(separator: " ")
        return "\(newest) after \(older)" + (history.count > 4 ? " and \(history.count - 4) more" : "")
    }

    func text(of base: BitmapBase) -> String {
        switch base {
        case .inStep: "in step with the peer"
        case .since(let generation): "marks since \(names.of(generation))"
        case .everything: "marks for everything"
        }
    }

    static func words(_ flags: Superblock.Flags) -> [String] {
        var words: [String] = []
        if flags.contains(.clean) { words.append("clean") }
        if flags.contains(.suspect) { words.append("suspect") }
        if flags.contains(.inconsistent) { words.append("inconsistent") }
        if flags.contains(.outdated) { words.append("outdated") }
        return words
    }
}
