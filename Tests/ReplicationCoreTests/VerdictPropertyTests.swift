import Model
import ReplicationCore
import Testing

/// What holds for any two states, possible or not: a peer may say anything.
@Suite struct VerdictPropertyTests {
    private static let pairs = 20_000

    private func randomPolicies(_ dice: inout Dice) -> SplitBrainPolicies {
        var policies = SplitBrainPolicies()
        // Most pairs have one that decides: lines that parted are rare among them.
        policies.withoutPrimary =
            dice.once(in: 2)
            ? .discardNode(dice.once(in: 2) ? alpha : beta)
            : SplitBrainPolicies.choice(code: UInt8(dice.pick(SplitBrainPolicies.choices.count))) ?? .disconnect
        policies.withOnePrimary = SplitBrainPolicies.WithOnePrimary(rawValue: UInt8(dice.pick(4))) ?? .disconnect
        policies.withTwoPrimaries = dice.once(in: 8) ? .disconnect : .callPrimaryLost
        return policies
    }

    private func forRandomPairs(
        _ seed: UInt64,
        _ body: (HandshakeState, HandshakeState, SplitBrainPolicies, HandshakeVerdict) -> Bool
    ) {
        var dice = Dice(seed: seed)
        for number in 0..<Self.pairs {
            let (one, other) = randomPair(&dice)
            let policies = randomPolicies(&dice)
            if !body(one, other, policies, HandshakeVerdict.judge(mine: one, theirs: other, policies: policies)) {
                Issue.record("pair \(number) of seed \(seed): \(one)\nand \(other)")
                return
            }
        }
    }

    @Test(arguments: [1, 2, 3] as [UInt64]) func `verdicts are mirror images, by one rule`(seed: UInt64) {
        var rules = Set<HandshakeRule>()
        var outcomes = Set<HandshakeOutcome>()
        forRandomPairs(seed) { one, other, policies, verdict in
            let mirror = HandshakeVerdict.judge(mine: other, theirs: one, policies: policies)
            rules.insert(verdict.rule)
            outcomes.insert(verdict.outcome)
            return mirror.outcome == verdict.outcome.mirrored && mirror.rule == verdict.rule
        }
        // The pairs reach everything there is without quorum.
        #expect(outcomes == Set(HandshakeOutcome.allCases))
        let missed = Set(HandshakeRule.allCases).subtracting(rules)
        // And without `async`.
        #expect(missed == [.higherTerm, .nobodyLeads, .crashedPrimary])
    }

    @Test(arguments: [11, 12] as [UInt64]) func `verdicts by record are mirror images, by one rule`(seed: UInt64) {
        var rules = Set<HandshakeRule>()
        var dice = Dice(seed: seed)
        for _ in 0..<Self.pairs {
            var (one, other) = randomPair(&dice)
            if dice.once(in: 3) { other.record = one.record }
            if dice.once(in: 10) { other.record.lineage = LineageID(rawValue: 4321) }
            one.isKeeper = !one.isPrimary && dice.once(in: 3)
            other.isKeeper = !other.isPrimary && dice.once(in: 6)
            one.promised.counter = UInt64(dice.pick(3))
            other.promised.counter = UInt64(dice.pick(3))
            let verdict = HandshakeVerdict.judgeByRecord(mine: one, theirs: other)
            let mirror = HandshakeVerdict.judgeByRecord(mine: other, theirs: one)
            rules.insert(verdict.rule)
            #expect(mirror.outcome == verdict.outcome.mirrored && mirror.rule == verdict.rule, "\(one)\nand \(other)")
        }
        let missed = Set([.higherTerm, .nobodyLeads, .newerRecord, .splitBrain]).subtracting(rules)
        #expect(missed.isEmpty)
    }

    @Test func `with quorum only one that leads, in a term that the other has not outlived, is a source`() {
        var dice = Dice(seed: 13)
        for _ in 0..<Self.pairs {
            var (one, other) = randomPair(&dice)
            one.isKeeper = !one.isPrimary && dice.once(in: 3)
            other.promised.counter = UInt64(dice.pick(3))
            let verdict = HandshakeVerdict.judgeByRecord(mine: one, theirs: other)
            let (source, target): (HandshakeState, HandshakeState)
            switch verdict.outcome {
            case .sourceOfMarked, .sourceOfEverything: (source, target) = (one, other)
            case .targetOfMarked, .targetOfEverything: (source, target) = (other, one)
            default: continue
            }
            if [.rolledBack, .rolledBackDiscarded, .discardedData].contains(verdict.rule) { continue }
            #expect(source.isPrimary || source.isKeeper, "\(verdict): \(one)\nand \(other)")
            #expect(!target.isPrimary && target.promised <= source.record.number.term, "\(verdict)")
        }
    }

    @Test func `a primary is never a target, but for one that lives on the source`() {
        forRandomPairs(4) { one, other, _, verdict in
            let target: HandshakeState
            switch verdict.outcome {
            case .targetOfMarked, .targetOfEverything: target = one
            case .sourceOfMarked, .sourceOfEverything: target = other
            default: return true
            }
            guard target.isPrimary else { return true }
            return verdict.rule == .servedPrimary && target.flags.contains(.inconsistent)
                && !target.record.inStep.contains(target.node)
        }
    }

    @Test func `a source is whole, named by its own record, and outdated only where the other's data is given away`() {
        forRandomPairs(5) { one, other, _, verdict in
            let source: HandshakeState
            switch verdict.outcome {
            case .sourceOfMarked, .sourceOfEverything: source = one
            case .targetOfMarked, .targetOfEverything: source = other
            default: return true
            }
            if verdict.rule == .rolledBackDiscarded { return source.hasDisk && isWhole(source) }
            let isNamed =
                source.record.isEmpty
                || source.record.inStep.contains(source.node) && source.record.instances[source.node] == source.instance
            let target = source.node == one.node ? other : one
            let isMistake =
                target.current.id.isNone && NodeSet(one.node, other.node).isSubset(of: target.record.inStep)
                && target.record.lineage == source.record.lineage
            let mayBeOutdated = verdict.rule == .discardedData || verdict.rule == .oneSuspect || isMistake
            return source.hasDisk && isWhole(source) && isNamed
                && (mayBeOutdated || !source.flags.contains(.outdated))
        }
    }

    @Test func `a rolled-back copy is never taken for equal, nor filled by marks alone`() {
        forRandomPairs(6) { one, other, _, verdict in
            guard one.hasDisk, other.hasDisk, verdict.outcome != .resume else { return true }
            guard isRolledBack(one, rememberedBy: other) || isRolledBack(other, rememberedBy: one) else { return true }
            let saysWho: [HandshakeRule] = [
                .rolledBack, .rolledBackDiscarded, .sameInstance, .differentVolumes, .tooSmall,
            ]
            let isCopiedWhole = verdict.outcome == .sourceOfEverything || verdict.outcome == .targetOfEverything
            let isApart = verdict.outcome == .parted || verdict.rule == .tooSmall
            return saysWho.contains(verdict.rule) && (isApart || isCopiedWhole)
        }
    }

    @Test func `copies that are in sync have one generation, no marks, and caches that count`() {
        forRandomPairs(7) { one, other, _, verdict in
            guard verdict.outcome == .inSync else { return true }
            let marks = one.dirtyBlocks + one.unconfirmedBlocks + other.dirtyBlocks + other.unconfirmedBlocks
            let areFresh = one.isEmpty && other.isEmpty
            return one.current.id == other.current.id && isWhole(one) && isWhole(other)
                && (areFresh || marks == 0 && !one.flags.union(other.flags).contains(.suspect))
        }
    }

    @Test func `nothing is copied by marks unless a generation is shared or all were set before`() {
        forRandomPairs(8) { one, other, _, verdict in
            let (source, target): (HandshakeState, HandshakeState)
            switch verdict.outcome {
            case .sourceOfMarked: (source, target) = (one, other)
            case .targetOfMarked: (source, target) = (other, one)
            default: return true
            }
            if source.base == .everything(target.instance) { return true }
            let shared = ([source.current] + source.history).contains { target.lineContains($0.id) }
            return shared && !target.current.id.isNone
        }
    }

    @Test func `data that nobody gave up is overwritten only by a line that goes on from it`() {
        forRandomPairs(9) { one, other, policies, verdict in
            let (source, target): (HandshakeState, HandshakeState)
            switch verdict.outcome {
            case .sourceOfMarked, .sourceOfEverything: (source, target) = (one, other)
            case .targetOfMarked, .targetOfEverything: (source, target) = (other, one)
            default: return true
            }
            if target.discardMyData || !isWhole(target) { return true }
            // Nobody ever acted under a record that its own term took back.
            if verdict.rule == .supersededRecord {
                return target.record.number < source.record.number && source.record.number.term.node == source.node
            }
            // An administrator gave it up beforehand: in words, of a line that parted from the other's, never under a primary.
            if verdict.rule == .discardedByPolicy {
                return policies != SplitBrainPolicies() && !target.isPrimary && !source.flags.contains(.outdated)
                    && !target.lineContains(source.current.id) && source.record.lineage == target.record.lineage
            }
            return source.lineContains(target.current.id) || target.isEmpty
        }
    }

    @Test func `a node without a disk never copies and is never copied from`() {
        forRandomPairs(10) { one, other, _, verdict in
            guard !one.hasDisk || !other.hasDisk, verdict.outcome != .resume else { return true }
            return [.nothing, .carrier, .carried, .refused, .parted].contains(verdict.outcome)
        }
    }

    private func isWhole(_ state: HandshakeState) -> Bool {
        !state.flags.contains(.inconsistent) && !state.current.id.isNone
    }

    private func isRolledBack(_ state: HandshakeState, rememberedBy other: HandshakeState) -> Bool {
        other.seenInstance == state.instance
            && (state.mark.startNumber < other.seen.startNumber || state.mark.sequence < other.seen.sequence)
    }
}

struct Dice: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed &* 0x2545_f491_4f6c_dd1d &+ 99 }

    mutating func next() -> UInt64 {
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        return state
    }

    mutating func pick(_ count: Int) -> Int { Int(next() >> 11) % count }
    /// True once in so many times.
    mutating func once(in count: Int) -> Bool { pick(count) == 0 }
}

/// Two states not far from sensible ones: every rule is met, the impossible included.
private func randomPair(_ dice: inout Dice) -> (HandshakeState, HandshakeState) {
    var one = randomState(of: alpha, &dice)
    var other = randomState(of: beta, &dice)
    if dice.once(in: 30) { other.instance = one.instance }
    if dice.once(in: 8) {
        other.record = one.record
        other.current = one.current
        one.resumes = other.run
        other.resumes = one.run
    }
    if dice.once(in: 3) {
        other.current = one.current
        other.history = one.history
    }
    if dice.once(in: 10) {
        // A primary without a copy that counts, and the peer that serves it.
        one.isPrimary = true
        one.flags.insert(.inconsistent)
        one.record.inStep = NodeSet(beta)
        other.isPrimary = false
        other.record = one.record
    }
    if dice.once(in: 6) {
        // A line that goes on from the other's.
        one.history = [other.current] + other.history
        one.base = .since(other.current.id)
    }
    return (one, other)
}

private func randomState(of node: NodeID, _ dice: inout Dice) -> HandshakeState {
    if dice.once(in: 12) { return emptyState(of: node, zeroes: dice.once(in: 2)) }
    if dice.once(in: 16) { return disklessState(of: node) }
    let other = node == alpha ? beta : alpha
    return copyState(of: node) { state in
        if dice.once(in: 20) { state.volume = VolumeID(rawValue: 56) }
        if dice.once(in: 20) { state.capacity = 16 << 20 }
        if dice.once(in: 12) { state.hasDisk = false }
        state.current = generation(UInt64(dice.once(in: 10) ? 0 : 6 + dice.pick(5)))
        state.history = (0..<dice.pick(4)).map { _ in generation(UInt64(1 + dice.pick(10))) }
        switch dice.pick(4) {
        case 0: state.base = .since(GenerationID(rawValue: UInt64(5 + dice.pick(6))))
        case 1: state.base = .everything(dice.once(in: 2) ? instance(of: other) : InstanceID(rawValue: 9))
        default: break
        }
        state.dirtyBlocks = UInt64(dice.once(in: 2) ? 0 : dice.pick(9))
        state.unconfirmedBlocks = UInt64(dice.once(in: 2) ? 0 : dice.pick(9))
        if dice.once(in: 8) {
            state.seen = StartMark(startNumber: UInt64(2 + dice.pick(3)), sequence: UInt64(99 + dice.pick(3)))
        }
        if dice.once(in: 4) { state.flags.insert(.inconsistent) }
        if dice.once(in: 5) { state.flags.insert(.suspect) }
        if dice.once(in: 6) { state.flags.insert(.outdated) }
        state.isPrimary = dice.once(in: 3)
        state.discardMyData = dice.once(in: 4)
        state.record.number.index = UInt64(1 + dice.pick(3))
        if dice.once(in: 4) { state.record.inStep = NodeSet(dice.once(in: 2) ? node : other) }
        if dice.once(in: 10) { state.record.instances[node] = InstanceID(rawValue: 9) }
        state.required = state.record.inStep
    }
}
