import Model
import ReplicationCore
import Testing

/// After-sb policies, judged from both sides: who loses, and that nobody does where the policy cannot tell.
@Suite struct SplitBrainPolicyTests {
    /// Whose writes go: alpha's, beta's, nobody's; and whether its clients are to be ended first.
    private enum Outcome: Equatable { case parted, loses(NodeID), isDemotedFirst }

    private func outcome(
        _ one: HandshakeState, _ other: HandshakeState, _ policies: SplitBrainPolicies,
        location: SourceLocation = #_sourceLocation
    ) -> Outcome {
        let here = HandshakeVerdict.judge(mine: one, theirs: other, policies: policies)
        let there = HandshakeVerdict.judge(mine: other, theirs: one, policies: policies)
        #expect(there.outcome == here.outcome.mirrored && there.rule == here.rule, sourceLocation: location)
        switch (here.outcome, here.rule) {
        case (.targetOfMarked, .discardedByPolicy), (.targetOfEverything, .discardedByPolicy): return .loses(one.node)
        case (.sourceOfMarked, .discardedByPolicy), (.sourceOfEverything, .discardedByPolicy): return .loses(other.node)
        case (.refused, .primaryLost): return .isDemotedFirst
        default:
            #expect(here == .init(.parted, because: .splitBrain), sourceLocation: location)
            return .parted
        }
    }

    private func policies(
        _ choice: SplitBrainPolicies.Choice, one: SplitBrainPolicies.WithOnePrimary = .disconnect,
        two: SplitBrainPolicies.WithTwoPrimaries = .disconnect
    ) -> SplitBrainPolicies {
        var policies = SplitBrainPolicies()
        policies.withoutPrimary = choice
        policies.withOnePrimary = one
        policies.withTwoPrimaries = two
        return policies
    }

    /// Alpha changed three blocks, first at second 200; beta five, first at second 100.
    private func parted(
        alphaIsPrimary: Bool = false, betaIsPrimary: Bool = false, blocks: (UInt64, UInt64) = (3, 5),
        began: (UInt64, UInt64) = (200, 100)
    ) -> (HandshakeState, HandshakeState) {
        let one = copyState(of: alpha) {
            $0.goesOnAlone(in: 10)
            $0.current.began = began.0
            $0.dirtyBlocks = blocks.0
            $0.isPrimary = alphaIsPrimary
        }
        let other = copyState(of: beta) {
            $0.goesOnAlone(in: 11)
            $0.current.began = began.1
            $0.dirtyBlocks = blocks.1
            $0.isPrimary = betaIsPrimary
        }
        return (one, other)
    }

    @Test func `without a primary the first policy chooses`() {
        let (one, other) = parted()
        #expect(outcome(one, other, policies(.disconnect)) == .parted)
        #expect(outcome(one, other, policies(.discardNode(alpha))) == .loses(alpha))
        #expect(outcome(one, other, policies(.discardNode(beta))) == .loses(beta))
        #expect(outcome(one, other, policies(.discardLeastChanges)) == .loses(alpha))
        #expect(outcome(one, other, policies(.discardYoungerPrimary)) == .loses(alpha))
        #expect(outcome(one, other, policies(.discardOlderPrimary)) == .loses(beta))
        #expect(outcome(one, other, policies(.discardZeroChanges)) == .parted)
    }

    @Test func `a node that changed nothing loses nothing`() {
        let (one, other) = parted(blocks: (3, 0))
        #expect(outcome(one, other, policies(.discardZeroChanges)) == .loses(beta))
        let (neither, nor) = parted(blocks: (0, 0))
        #expect(outcome(neither, nor, policies(.discardZeroChanges)) == .loses(beta))
        // What was written and not yet confirmed is a change.
        let (busy, idle) = parted(blocks: (0, 4))
        var unconfirmed = busy
        unconfirmed.unconfirmedBlocks = 1
        #expect(outcome(unconfirmed, idle, policies(.discardZeroChanges)) == .parted)
    }

    @Test func `of two that went on at the same second the one that changed less loses`() {
        let (one, other) = parted(began: (100, 100))
        #expect(outcome(one, other, policies(.discardYoungerPrimary)) == .loses(alpha))
        let (idle, busy) = parted(blocks: (0, 5), began: (100, 100))
        #expect(outcome(idle, busy, policies(.discardOlderPrimary)) == .loses(alpha))
    }

    @Test func `the age is that of the first generation apart, not of the newest`() {
        var (one, other) = parted()
        other.history.insert(other.current, at: 0)
        other.current = Generation(id: GenerationID(rawValue: 12), node: beta, began: 900)
        #expect(outcome(one, other, policies(.discardYoungerPrimary)) == .loses(alpha))
        one.history.insert(one.current, at: 0)
        one.current = Generation(id: GenerationID(rawValue: 13), node: alpha, began: 901)
        #expect(outcome(one, other, policies(.discardOlderPrimary)) == .loses(beta))
    }

    @Test func `marks that do not reach back to the parting do not count`() {
        var (one, other) = parted()
        one.base = .everything(instance(of: beta))
        #expect(outcome(one, other, policies(.discardLeastChanges)) == .parted)
        #expect(outcome(one, other, policies(.discardNode(alpha))) == .loses(alpha))
    }

    @Test func `with one primary the second policy decides`() {
        let (one, other) = parted(betaIsPrimary: true)
        #expect(outcome(one, other, policies(.discardLeastChanges)) == .parted)
        #expect(outcome(one, other, policies(.disconnect, one: .discardSecondary)) == .loses(alpha))
        #expect(outcome(one, other, policies(.discardLeastChanges, one: .consensus)) == .loses(alpha))
        #expect(outcome(one, other, policies(.discardOlderPrimary, one: .consensus)) == .parted)
        #expect(outcome(one, other, policies(.discardLeastChanges, one: .callPrimaryLost)) == .loses(alpha))
        #expect(outcome(one, other, policies(.discardOlderPrimary, one: .callPrimaryLost)) == .isDemotedFirst)
    }

    @Test func `of two primaries the one that loses is demoted first`() {
        let (one, other) = parted(alphaIsPrimary: true, betaIsPrimary: true)
        #expect(outcome(one, other, policies(.discardLeastChanges, one: .discardSecondary)) == .parted)
        #expect(outcome(one, other, policies(.discardLeastChanges, two: .callPrimaryLost)) == .isDemotedFirst)
    }

    @Test func `a word given now counts for more than a policy`() {
        var (one, other) = parted()
        other.discardMyData = true
        let here = HandshakeVerdict.judge(mine: one, theirs: other, policies: policies(.discardNode(alpha)))
        #expect(here == .init(.sourceOfMarked, because: .discardedData))
        one.discardMyData = true
        let both = HandshakeVerdict.judge(mine: one, theirs: other, policies: policies(.discardNode(alpha)))
        #expect(both == .init(.parted, because: .bothDiscard))
    }

    @Test func `what is no split brain of two whole copies is left to an administrator`() {
        let all = policies(.discardNode(alpha), one: .discardSecondary, two: .callPrimaryLost)
        var (one, other) = parted()
        other.record.lineage = LineageID(rawValue: 99)
        #expect(outcome(one, other, all) == .parted)
        (one, other) = parted()
        other.flags.insert(.outdated)
        #expect(outcome(one, other, all) == .parted)
        (one, other) = parted()
        other.flags.insert(.suspect)
        #expect(outcome(one, other, all) == .parted)
        one.flags.insert(.suspect)
        #expect(outcome(one, other, all) == .loses(alpha))
        (one, other) = parted()
        other.history = []
        #expect(
            HandshakeVerdict.judge(mine: one, theirs: other, policies: all)
                == .init(.parted, because: .unrelatedLines))
    }

    @Test func `every policy has a code and a word of its own`() {
        let choices = SplitBrainPolicies.choices.map(\.choice) + NodeID.all.map { .discardNode($0) }
        for choice in choices {
            #expect(SplitBrainPolicies.choice(code: SplitBrainPolicies.code(of: choice)) == choice)
        }
        #expect(Set(choices.map { SplitBrainPolicies.describe($0) { $0.description } }).count == choices.count)
        #expect(SplitBrainPolicies.choice(code: 13) == nil)
    }
}
