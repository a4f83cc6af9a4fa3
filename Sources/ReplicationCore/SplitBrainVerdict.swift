import Model

/// Whose writes go when both copies went on alone and an administrator said beforehand how that is decided
/// (`SplitBrainPolicies`). Both sides come to the same answer, or to none.
extension HandshakeVerdict {
    /// - Returns: the node whose writes are discarded; nil: nobody's, both stay apart until an administrator decides.
    static func loser(
        _ one: HandshakeState, _ other: HandshakeState, by policies: SplitBrainPolicies
    ) -> NodeID? {
        guard let loser = loserOfWholeCopies(one, other, by: policies) else { return nil }
        let (losing, winning) = loser == one.node ? (one, other) : (other, one)
        // Which of the two lost more with its cache no policy can tell.
        return winning.flags.contains(.suspect) && !losing.flags.contains(.suspect) ? nil : loser
    }

    private static func loserOfWholeCopies(
        _ one: HandshakeState, _ other: HandshakeState, by policies: SplitBrainPolicies
    ) -> NodeID? {
        // Whoever is gone on from must be a whole copy that nobody left behind.
        guard isSourceInStep(one), isSourceInStep(other) else { return nil }
        if one.isPrimary, other.isPrimary {
            return policies.withTwoPrimaries == .callPrimaryLost
                ? chosen(one, other, by: policies.withoutPrimary) : nil
        }
        guard one.isPrimary || other.isPrimary else { return chosen(one, other, by: policies.withoutPrimary) }
        let secondary = one.isPrimary ? other.node : one.node
        switch policies.withOnePrimary {
        case .disconnect: return nil
        case .discardSecondary: return secondary
        case .consensus: return chosen(one, other, by: policies.withoutPrimary) == secondary ? secondary : nil
        case .callPrimaryLost: return chosen(one, other, by: policies.withoutPrimary)
        }
    }

    private static func chosen(
        _ one: HandshakeState, _ other: HandshakeState, by choice: SplitBrainPolicies.Choice
    ) -> NodeID? {
        switch choice {
        case .disconnect: return nil
        case .discardNode(let node): return node == one.node || node == other.node ? node : nil
        case .discardZeroChanges: return withoutChanges(one, other)
        case .discardLeastChanges: return withFewerChanges(one, other)
        case .discardYoungerPrimary, .discardOlderPrimary:
            guard let mine = wentOnAlone(one, from: other), let theirs = wentOnAlone(other, from: one) else {
                return nil
            }
            // Undecided, DRBD asks who changed nothing, and then who changed less.
            if mine == theirs { return withoutChanges(one, other) ?? withFewerChanges(one, other) }
            let younger = mine > theirs ? one.node : other.node
            let older = mine > theirs ? other.node : one.node
            return choice == .discardYoungerPrimary ? younger : older
        }
    }

    /// When the generation began that is this side's first of its own.
    private static func wentOnAlone(_ side: HandshakeState, from other: HandshakeState) -> UInt64? {
        guard let common = commonGeneration(side, other), let depth = depth(of: common, in: side), depth > 0 else {
            return nil
        }
        return depth == 1 ? side.current.began : side.history[depth - 2].began
    }

    private static func withoutChanges(_ one: HandshakeState, _ other: HandshakeState) -> NodeID? {
        guard let mine = changes(of: one, since: other), let theirs = changes(of: other, since: one),
            mine == 0 || theirs == 0
        else { return nil }
        return mine == 0 && theirs == 0 ? max(one.node, other.node) : mine == 0 ? one.node : other.node
    }

    private static func withFewerChanges(_ one: HandshakeState, _ other: HandshakeState) -> NodeID? {
        guard let mine = changes(of: one, since: other), let theirs = changes(of: other, since: one) else { return nil }
        return mine == theirs ? max(one.node, other.node) : mine < theirs ? one.node : other.node
    }

    /// Blocks; nil when the marks do not say it: they do not reach back to where the lines parted, or were another disk's.
    private static func changes(of side: HandshakeState, since other: HandshakeState) -> UInt64? {
        guard case .since = side.base, coversDifference(side, other) else { return nil }
        return side.dirtyBlocks + side.unconfirmedBlocks
    }
}
