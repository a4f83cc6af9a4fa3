import Model
import ReplicationCore

/// What an administrator said beforehand counts like his word: the oracle is told whose writes a policy gives away, and
/// looks whether it may (I8, I9).
extension Cluster {
    func verdictSent(_ outcome: UInt8, _ rule: UInt8, by node: SimulatedNode) {
        guard rule == HandshakeRule.discardedByPolicy.rawValue, let outcome = HandshakeOutcome(rawValue: outcome),
            outcome == .targetOfMarked || outcome == .targetOfEverything
        else { return }
        checkPolicy(givesAway: node, whileSecondary: true)
        oracle.gaveAway(node.side)
    }

    /// A primary that loses by policy offers its own data; otherwise a command does.
    func offered(_ offers: Bool, by node: SimulatedNode) {
        node.offersDiscard = offers
        guard offers, options.afterSplitBrain != SplitBrainPolicies() else { return }
        let isCommanded = node.commands.contains { pending in
            if case .connect(_, true, _, _) = pending.command { true } else { false }
        }
        guard !isCommanded else { return }
        checkPolicy(givesAway: node, whileSecondary: false)
        oracle.gaveAway(node.side)
    }

    private func checkPolicy(givesAway node: SimulatedNode, whileSecondary: Bool) {
        let policies = options.afterSplitBrain
        let isOtherPrimary = other(node).isPrimary
        func fails(_ why: String) {
            oracle.fail(
                "I9", "a policy gives node \(node.side)'s writes away \(why): \(policies.describe { $0.description })")
        }
        if !whileSecondary, policies.withOnePrimary != .callPrimaryLost, policies.withTwoPrimaries != .callPrimaryLost {
            return fails("though it is primary")
        }
        let isForSecondary = policies.withOnePrimary == .discardSecondary && whileSecondary
        switch policies.withoutPrimary {
        case .disconnect where !isForSecondary: fails("though none says so")
        case .discardNode(let loser) where loser != node.id && !isForSecondary: fails("that are to stay")
        case .discardZeroChanges where !isForSecondary && whileSecondary && !isOtherPrimary:
            if oracle.aloneAcknowledgements(node.side) > 0 { fails("though it has some") }
        default: break
        }
        let mistaken = FaultKinds.failingDisks.union([.foreignDisk, .newDisk, .reckless]).union(.damagingMetadata)
        if options.faults.isDisjoint(with: mistaken), !oracle.wentOnAlone[0] || !oracle.wentOnAlone[1] {
            oracle.fail("I8", "a policy decides a split brain though not both copies went on alone")
        }
    }
}
