import Model
import ReplicationCore

/// The words of a transcript for elections (`quorum: majority`).
extension Transcript {
    func election(_ message: PeerMessage) -> String? {
        switch message {
        case .standing(let standing): "stands: \(text(of: standing))"
        case .inquiry(let inquiry):
            "may I lead?\(inquiry.fenced.map { " (\(name(Int($0.rawValue))) is off)" } ?? "")"
                + (inquiry.isDiskless ? " (no disk here)" : "")
        case .inquiryAnswer(let answer):
            "\(answer.objection.map { "no, \(Self.dashed($0))" } ?? "yes"); \(text(of: answer.standing))"
        case .vote(let term): "vote for \(text(of: term))"
        case .voteRuns(let runs): "unconfirmed here: \(text(of: runs))"
        case .voted(let vote):
            "voted for \(text(of: vote.term)); \(text(of: vote.standing))"
                + (vote.isSuspect ? ", suspect" : "") + (vote.hasCopy ? "" : ", no whole copy")
        case .marksToward(let node, let runs): "marked here toward \(name(Int(node.rawValue))): \(text(of: runs))"
        default: nil
        }
    }

    private func text(of standing: Standing) -> String {
        let record = standing.record
        var text =
            record.isEmpty ? "no record" : "has \(self.text(of: record.number)) of \(names.of(record.lineage, "l"))"
        if record.number.term != standing.promised { text += ", promised \(self.text(of: standing.promised))" }
        if standing.isPrimary { text += ", primary" }
        return text
    }

    func text(of term: Term) -> String {
        term.counter == 0 ? "nobody" : "\(term.counter)@\(name(Int(term.node.rawValue)))"
    }

    func text(of runs: [BlockRun]) -> String {
        runs.map { Self.text(of: $0.first..<$0.first + $0.count) }.joined(separator: " ")
    }
}
