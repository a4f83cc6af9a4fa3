import Model
import Yams

/// What the file says of `after-sb-0pri`, `after-sb-1pri` and `after-sb-2pri`, before the nodes' names are known.
struct SplitBrainDraft {
    var withoutPrimary: (word: String, mark: Mark?)?
    var withOnePrimary: SplitBrainPolicies.WithOnePrimary?
    var withTwoPrimaries: SplitBrainPolicies.WithTwoPrimaries?
    /// Of the last one.
    var mark: Mark?
}

/// The policies after a split brain, in the words of drbd.conf(5).
extension ConfigurationReader {
    private static let violently = "violently-as0p"
    private static let violentlyRemedy =
        "`call-pri-lost-after-sb` decides alike, and ends the clients of a primary first: data never change under a file system"

    /// False: another key.
    func readPolicy(_ name: String, _ value: Node, into draft: inout SplitBrainDraft) throws(CommandFailure) -> Bool {
        switch name {
        case "after-sb-0pri":
            let text = try scalar(value, of: name)
            let isNode =
                text.hasPrefix(SplitBrainPolicies.discardNodePrefix)
                && text.count > SplitBrainPolicies.discardNodePrefix.count
            let words = SplitBrainPolicies.choices.map(\.word)
            guard words.contains(text) || isNode else {
                let known = words.map { "`\($0)`" }.joined(separator: ", ")
                throw wrong(value, name, text, remedy: "write \(known) or `discard-node-NAME`")
            }
            draft.withoutPrimary = (text, value.mark)
        case "after-sb-1pri":
            draft.withOnePrimary = try policy(name, value, among: SplitBrainPolicies.WithOnePrimary.self, \.word)
        case "after-sb-2pri":
            draft.withTwoPrimaries = try policy(name, value, among: SplitBrainPolicies.WithTwoPrimaries.self, \.word)
        default: return false
        }
        draft.mark = value.mark
        return true
    }

    private func policy<Policy: CaseIterable>(
        _ name: String, _ value: Node, among: Policy.Type, _ word: (Policy) -> String
    ) throws(CommandFailure) -> Policy {
        let text = try scalar(value, of: name)
        if let found = Policy.allCases.first(where: { word($0) == text }) { return found }
        if text == Self.violently { throw wrong(value, name, text, remedy: Self.violentlyRemedy) }
        let known = Policy.allCases.map { "`\(word($0))`" }.joined(separator: ", ")
        throw wrong(value, name, text, remedy: "write one of \(known)")
    }

    func policies(
        _ draft: SplitBrainDraft, _ quorum: String, _ copies: [Configuration.Node]
    ) throws(CommandFailure) -> SplitBrainPolicies {
        var policies = SplitBrainPolicies()
        if let mark = draft.mark, quorum != "off" {
            throw failure(
                mark, "wrong-value", "with a majority no copy goes on alone, so that nothing is there to decide",
                remedy: "leave `after-sb-0pri`, `after-sb-1pri` and `after-sb-2pri` out")
        }
        policies.withOnePrimary = draft.withOnePrimary ?? .disconnect
        policies.withTwoPrimaries = draft.withTwoPrimaries ?? .disconnect
        guard let (word, mark) = draft.withoutPrimary else { return policies }
        if let known = SplitBrainPolicies.choices.first(where: { $0.word == word }) {
            policies.withoutPrimary = known.choice
            return policies
        }
        let name = String(word.dropFirst(SplitBrainPolicies.discardNodePrefix.count))
        guard let node = copies.first(where: { $0.name == name }) else {
            throw failure(
                mark, "wrong-value", "`after-sb-0pri`: no node is called `\(name)`",
                remedy: "there are: \(copies.map(\.name).joined(separator: ", "))")
        }
        policies.withoutPrimary = .discardNode(node.id)
        return policies
    }
}
