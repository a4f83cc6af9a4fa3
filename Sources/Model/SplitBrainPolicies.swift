/// What two nodes without quorum do when they meet and both went on alone: `after-sb-0pri`, `after-sb-1pri` and
/// `after-sb-2pri` of drbd.conf(5), by the number of primaries at that moment. All say `disconnect` unless an
/// administrator wrote otherwise: the others throw acknowledged writes away.
///
/// DRBD's `violently-as0p`, which changes data under a mounted file system, is not among them: `call-pri-lost-after-sb`
/// ends the clients of a primary first.
package struct SplitBrainPolicies: Equatable, Sendable {
    /// Whose writes go, as `after-sb-0pri` says it.
    package enum Choice: Equatable, Sendable {
        case disconnect
        /// Those of the node that went on alone later, by the nodes' clocks.
        case discardYoungerPrimary
        /// Those of the node that went on alone sooner, by the nodes' clocks.
        case discardOlderPrimary
        /// Of a node that changed nothing, there is nothing that goes; if both changed something: disconnect.
        case discardZeroChanges
        /// Those of the node that changed fewer blocks.
        case discardLeastChanges
        case discardNode(NodeID)
    }

    package enum WithOnePrimary: UInt8, Sendable, CaseIterable {
        case disconnect
        /// As `after-sb-0pri`, if that discards the secondary's; else disconnect.
        case consensus
        case discardSecondary
        /// As `after-sb-0pri`; if that discards the primary's, its clients are ended and it becomes secondary.
        case callPrimaryLost
    }

    package enum WithTwoPrimaries: UInt8, Sendable, CaseIterable {
        case disconnect
        /// As `after-sb-0pri`; the clients of the one that loses are ended and it becomes secondary.
        case callPrimaryLost
    }

    package var withoutPrimary = Choice.disconnect
    package var withOnePrimary = WithOnePrimary.disconnect
    package var withTwoPrimaries = WithTwoPrimaries.disconnect

    package init() {}
}

/// The words of drbd.conf(5).
extension SplitBrainPolicies {
    /// All but `discard-node-NAME`, which names a node.
    package static let choices: [(word: String, choice: Choice)] = [
        ("disconnect", .disconnect), ("discard-younger-primary", .discardYoungerPrimary),
        ("discard-older-primary", .discardOlderPrimary), ("discard-zero-changes", .discardZeroChanges),
        ("discard-least-changes", .discardLeastChanges),
    ]
    package static let discardNodePrefix = "discard-node-"

    /// One byte for a recording: the place in `choices`, or after them the node.
    package static func code(of choice: Choice) -> UInt8 {
        if case .discardNode(let node) = choice { return UInt8(choices.count) + node.rawValue }
        return UInt8(choices.firstIndex { $0.choice == choice } ?? 0)
    }

    package static func choice(code: UInt8) -> Choice? {
        if Int(code) < choices.count { return choices[Int(code)].choice }
        return NodeID(code - UInt8(choices.count)).map { .discardNode($0) }
    }

    package static func describe(_ choice: Choice, naming name: (NodeID) -> String) -> String {
        if case .discardNode(let node) = choice { return discardNodePrefix + name(node) }
        return choices.first { $0.choice == choice }?.word ?? "disconnect"
    }

    /// One line for both nodes to compare.
    package func describe(naming name: (NodeID) -> String) -> String {
        "\(Self.describe(withoutPrimary, naming: name)) \(withOnePrimary.word) \(withTwoPrimaries.word)"
    }
}

extension SplitBrainPolicies.WithOnePrimary {
    package var word: String {
        switch self {
        case .disconnect: "disconnect"
        case .consensus: "consensus"
        case .discardSecondary: "discard-secondary"
        case .callPrimaryLost: "call-pri-lost-after-sb"
        }
    }
}

extension SplitBrainPolicies.WithTwoPrimaries {
    package var word: String {
        switch self {
        case .disconnect: "disconnect"
        case .callPrimaryLost: "call-pri-lost-after-sb"
        }
    }
}
