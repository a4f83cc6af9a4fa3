package import Model

/// What two copies are to each other. The two sides' verdicts are mirror images, or the session is refused.
package enum HandshakeOutcome: UInt8, Sendable, CaseIterable {
    /// Same runs, nothing lost: frames not answered are sent again.
    case resume = 1
    case inSync
    /// The other side takes what is marked on either side.
    case sourceOfMarked
    case sourceOfEverything
    case targetOfMarked
    case targetOfEverything
    /// Connected, nothing to copy: nobody has data, or a side has no disk.
    case nothing
    /// This side serves the other, which has no disk and relies on it.
    case carrier
    /// The other side serves this one, which has no disk.
    case carried
    /// Refused for now; tried again, since it can pass.
    case refused
    /// Refused until an administrator decides: both stay standalone.
    case parted

    package var mirrored: HandshakeOutcome {
        switch self {
        case .sourceOfMarked: .targetOfMarked
        case .sourceOfEverything: .targetOfEverything
        case .targetOfMarked: .sourceOfMarked
        case .targetOfEverything: .sourceOfEverything
        case .carrier: .carried
        case .carried: .carrier
        case .resume, .inSync, .nothing, .refused, .parted: self
        }
    }
}

/// The rule that decided, printed with each verdict.
package enum HandshakeRule: UInt8, Sendable, CaseIterable {
    case sameInstance = 1, differentVolumes, sessionResumed, bothDiskless, oneDiskless, disklessPrimary, lostLine
    case tooSmall, rolledBack, rolledBackDiscarded, bothPrimary, bothDiscard
    case bothZero, bothBlank, blankCopy, zeroMeetsLine
    case bothInconsistent, inconsistentCopy, equalGenerations, oneSuspect, primaryLeads, newerRecord, lowerNode
    case containsGeneration, crossedLines, splitBrain, discardedData, unrelatedLines, wouldOverwritePrimary
    case servedPrimary, oneOutdated, supersededRecord
    case higherTerm, nobodyLeads
    case discardedByPolicy, primaryLost
    case crashedPrimary

    /// The `reason` that `status` and refusals show.
    package var reason: String {
        switch self {
        case .sameInstance: "cloned"
        case .differentVolumes, .unrelatedLines: "unrelated-data"
        case .tooSmall: "mismatch"
        case .rolledBack: "rolled-back"
        case .bothPrimary: "both-primary"
        case .bothDiscard: "both-discard"
        case .bothInconsistent, .bothBlank: "no-good-copy"
        case .lostLine: "lost-line"
        case .splitBrain, .crossedLines: "split-brain"
        case .wouldOverwritePrimary: "would-overwrite-primary"
        case .primaryLost: "split-brain"
        default: words
        }
    }

    /// The rule's name in words, for the log.
    package var words: String {
        switch self {
        case .sameInstance: "both copies bear the same instance id: one is a clone"
        case .differentVolumes: "the copies belong to different volumes"
        case .sessionResumed: "session-resumed"
        case .bothDiskless: "both-diskless"
        case .oneDiskless: "one-diskless"
        case .disklessPrimary: "diskless-primary"
        case .lostLine: "the copy does not hold what the diskless primary wrote"
        case .tooSmall: "the copy is smaller than the volume"
        case .rolledBack: "a copy is older than its peer remembers it: it was restored, rolled back or cloned"
        case .rolledBackDiscarded: "rolled-back-discarded"
        case .bothPrimary: "both nodes are primary"
        case .bothDiscard: "both nodes offer to discard their data"
        case .bothZero: "both-zero"
        case .bothBlank: "neither copy has data"
        case .blankCopy: "blank-copy"
        case .zeroMeetsLine: "zero-meets-line"
        case .bothInconsistent: "neither copy is whole"
        case .inconsistentCopy: "inconsistent-copy"
        case .equalGenerations: "equal-generations"
        case .oneSuspect: "one-suspect"
        case .oneOutdated: "one-outdated"
        case .higherTerm: "a higher term was promised"
        case .nobodyLeads: "no-primary"
        case .primaryLeads: "primary-leads"
        case .newerRecord: "newer-record"
        case .crashedPrimary: "crashed-primary"
        case .supersededRecord: "superseded-record"
        case .lowerNode: "lower-node"
        case .containsGeneration: "line-contains-generation"
        case .crossedLines: "each line contains the other's generation"
        case .splitBrain: "both copies went on alone"
        case .discardedData: "discarded-data"
        case .discardedByPolicy: "after-split-brain-policy"
        case .primaryLost:
            "both copies went on alone, and by policy a primary's writes are discarded: it is demoted first"
        case .unrelatedLines: "the copies have no generation in common"
        case .servedPrimary: "a primary's new disk is filled by the peer that serves it"
        case .wouldOverwritePrimary: "the copy to be overwritten is in use"
        }
    }
}

package struct HandshakeVerdict: Equatable, Sendable {
    package var outcome: HandshakeOutcome
    package var rule: HandshakeRule

    package init(_ outcome: HandshakeOutcome, because rule: HandshakeRule) {
        self.outcome = outcome
        self.rule = rule
    }

    /// A total function of both sides' state (`3-replication`, "The verdict"): who is the source, are they equal, how much.
    /// `policies` are the same on both sides.
    package static func judge(
        mine: HandshakeState, theirs: HandshakeState, policies: SplitBrainPolicies = SplitBrainPolicies(),
        isAsynchronous: Bool = false
    ) -> HandshakeVerdict {
        if mine.hasDisk, theirs.hasDisk, mine.instance == theirs.instance {
            return .init(.parted, because: .sameInstance)
        }
        if !mine.isEmpty, !theirs.isEmpty, mine.volume != theirs.volume {
            return .init(.parted, because: .differentVolumes)
        }
        if canResume(mine, theirs) { return .init(.resume, because: .sessionResumed) }
        if !mine.hasDisk || !theirs.hasDisk { return judgeDiskless(mine, theirs) }
        let size = max(mine.record.size, theirs.record.size, Geometry.minimumVolumeSize)
        if mine.capacity < size || theirs.capacity < size { return tooSmall(mine, theirs) }
        let mineOlder = isRolledBack(mine, rememberedBy: theirs)
        let theirsOlder = isRolledBack(theirs, rememberedBy: mine)
        if mineOlder || theirsOlder {
            return judgeRolledBack(mine, theirs, mineOlder: mineOlder, theirsOlder: theirsOlder)
        }
        if mine.isPrimary, theirs.isPrimary, mine.current.id == theirs.current.id || mine.isEmpty || theirs.isEmpty {
            return .init(.refused, because: .bothPrimary)
        }
        if mine.discardMyData, theirs.discardMyData { return .init(.parted, because: .bothDiscard) }
        if let verdict = judgeServed(mine, theirs) { return verdict }
        if mine.isEmpty || theirs.isEmpty { return judgeEmpty(mine, theirs) }
        let (mineBroken, theirsBroken) = (isBroken(mine), isBroken(theirs))
        if mineBroken, theirsBroken { return .init(.nothing, because: .bothInconsistent) }
        if mineBroken { return target(mine, theirs, because: mine.current.id.isNone ? .blankCopy : .inconsistentCopy) }
        if theirsBroken {
            return source(mine, theirs, because: theirs.current.id.isNone ? .blankCopy : .inconsistentCopy)
        }
        if mine.current.id == theirs.current.id {
            return judgeEqual(mine, theirs, isAsynchronous: isAsynchronous)
        }
        return judgeLines(mine, theirs, policies)
    }

    /// A primary whose own copy is out of its record lives on the other's: its new or returned disk is filled while it goes
    /// on serving.
    private static func judgeServed(_ mine: HandshakeState, _ theirs: HandshakeState) -> HandshakeVerdict? {
        func isServed(_ side: HandshakeState, by holder: HandshakeState) -> Bool {
            side.isPrimary && side.flags.contains(.inconsistent) && !side.record.inStep.contains(side.node)
                && side.record.lineage == holder.record.lineage && !side.record.isEmpty && !holder.isPrimary
        }
        guard isServed(mine, by: theirs) || isServed(theirs, by: mine) else { return nil }
        let mineIsTarget = isServed(mine, by: theirs)
        let (target, source) = mineIsTarget ? (mine, theirs) : (theirs, mine)
        let holds =
            isSourceInStep(source) && !isBroken(source) && source.record.inStep == target.record.inStep
            && source.record.instances[source.node] == target.record.instances[source.node]
            && (source.record.number == target.record.number || source.record.primary == target.node)
            && source.record.inStep.contains(source.node)
        guard holds else { return .init(.refused, because: .lostLine) }
        let marked = coversDifference(source, target)
        if mineIsTarget { return .init(marked ? .targetOfMarked : .targetOfEverything, because: .servedPrimary) }
        return .init(marked ? .sourceOfMarked : .sourceOfEverything, because: .servedPrimary)
    }

    private static func isBroken(_ side: HandshakeState) -> Bool {
        side.flags.contains(.inconsistent) && !isLeftOut(.sourceIsWholeInStep) || side.current.id.isNone
    }

    /// A primary that was promoted apart acts under a record that does not name it: it makes one first. For a copy that
    /// lost its cache takes a record without a primary as the word that all was handed over, and would be promoted alone.
    private static func isNamed(_ side: HandshakeState) -> Bool {
        !side.isPrimary || side.record.primary == side.node || isLeftOut(.whoServesIsNamed)
    }

    static func canResume(_ mine: HandshakeState, _ theirs: HandshakeState) -> Bool {
        (!mine.resumes.isNone && mine.resumes == theirs.run && theirs.resumes == mine.run
            || isLeftOut(.resumesSameRun))
            && mine.record == theirs.record && mine.current.id == theirs.current.id
            && !mine.discardMyData && !theirs.discardMyData && !(mine.isPrimary && theirs.isPrimary)
            && isNamed(mine) && isNamed(theirs) && !mine.flags.contains(.inconsistent)
            && !theirs.flags.contains(.inconsistent)
            && mine.hasDisk && theirs.hasDisk
    }

    /// Neither number ever falls over the life of a copy, and what was told was durable before. A copy that heard the
    /// verdict remembers it: both numbers rise again with each write of its superblock, and soon hide what it lacks.
    static func isRolledBack(_ side: HandshakeState, rememberedBy other: HandshakeState) -> Bool {
        if isLeftOut(.rollbackIsNoticed) { return false }
        if side.flags.contains(.rolledBack), !isLeftOut(.rollbackIsRemembered) { return true }
        return isBehind(side, ofNumbersRememberedBy: other)
    }

    static func isBehind(_ side: HandshakeState, ofNumbersRememberedBy other: HandshakeState) -> Bool {
        other.seenInstance == side.instance && isBehind(side.mark, of: other.seen, found: side.foundSequence)
    }

    /// - Parameter found: the newest sequence that its run found on the disk.
    static func isBehind(_ mark: StartMark, of seen: StartMark, found: UInt64) -> Bool {
        if mark.startNumber > seen.startNumber { return found < seen.sequence }
        return mark.startNumber < seen.startNumber || mark.sequence < seen.sequence
    }

    static func judgeDiskless(_ mine: HandshakeState, _ theirs: HandshakeState) -> HandshakeVerdict {
        if !mine.hasDisk, !theirs.hasDisk { return .init(.nothing, because: .bothDiskless) }
        let (bare, holder) = mine.hasDisk ? (theirs, mine) : (mine, theirs)
        // Who lost its disk remembers the other's all the same: what that one lacks would be read as if never written.
        if isRolledBack(holder, rememberedBy: bare), !isLeftOut(.disklessRemembersNumbers) {
            return .init(.parted, because: .rolledBack)
        }
        if bare.isPrimary {
            // The very record this primary acts under, or the next one that names it: of its own, whose acceptance it did
            // not hear of, or of the holder that was filling its disk. By the record's generation: a disk that was here
            // for a moment left a line of its own in memory.
            let line = isLeftOut(.disklessActsUnderItsRecord) ? bare.current.id : bare.record.generation
            let isSame = holder.record.number == bare.record.number && holder.current.id == line
            let isNext =
                bare.record.number < holder.record.number && holder.record.primary == bare.node
                && (holder.current.id == line
                    || (holder.record.number.term.node == bare.node && holder.lineContains(line)))
            let holds =
                !isBroken(holder) && (isSame || isNext) && !holder.isPrimary
                && holder.record.lineage == bare.record.lineage && holder.record.inStep.contains(holder.node)
                && bare.record.instances[holder.node] == holder.instance
            guard holds else { return .init(.refused, because: .lostLine) }
            return .init(mine.hasDisk ? .carrier : .carried, because: .disklessPrimary)
        }
        if isBroken(holder) || holder.isEmpty { return .init(.nothing, because: .oneDiskless) }
        // This run knows a line that the copy lacks: were it served from there, it would forget what was acknowledged in it.
        if !bare.record.isEmpty, !holder.lineContains(bare.current.id), !isLeftOut(.disklessKnowsItsLine) {
            return .init(.refused, because: .lostLine)
        }
        return .init(mine.hasDisk ? .carrier : .carried, because: .oneDiskless)
    }

    /// What a rolled-back copy lacks is written nowhere: it is refused, and filled from scratch on an explicit word.
    static func judgeRolledBack(
        _ mine: HandshakeState, _ theirs: HandshakeState, mineOlder: Bool, theirsOlder: Bool
    ) -> HandshakeVerdict {
        if mineOlder != theirsOlder {
            let (older, newer) = mineOlder ? (mine, theirs) : (theirs, mine)
            let expendable = older.discardMyData || isBroken(older)
            if expendable, !older.isPrimary, !newer.discardMyData, !isBroken(newer) {
                return .init(mineOlder ? .targetOfEverything : .sourceOfEverything, because: .rolledBackDiscarded)
            }
        }
        return .init(.parted, because: .rolledBack)
    }

    /// Of two copies of which one was put back, the other is whole: it can fill that one.
    static func hasNewerCopy(_ one: HandshakeState, _ other: HandshakeState) -> Bool {
        !isBroken(one) && !isRolledBack(one, rememberedBy: other)
            || !isBroken(other) && !isRolledBack(other, rememberedBy: one)
    }

    private static func judgeEmpty(_ mine: HandshakeState, _ theirs: HandshakeState) -> HandshakeVerdict {
        // What a half-filled copy holds may be all there is: an empty disk is no reason to overwrite it.
        if (!mine.isEmpty && isBroken(mine)) || (!theirs.isEmpty && isBroken(theirs)) {
            return .init(.nothing, because: .bothInconsistent)
        }
        let (mineBlank, theirsBlank) = (isBroken(mine), isBroken(theirs))
        if mineBlank, theirsBlank { return .init(.nothing, because: .bothBlank) }
        if mineBlank { return target(mine, theirs, because: .blankCopy) }
        if theirsBlank { return source(mine, theirs, because: .blankCopy) }
        if mine.isEmpty, theirs.isEmpty { return .init(.inSync, because: .bothZero) }
        return mine.isEmpty
            ? target(mine, theirs, because: .zeroMeetsLine) : source(mine, theirs, because: .zeroMeetsLine)
    }

    /// Equal generations: neither acknowledged what the other lacks; what was in flight is made equal.
    private static func judgeEqual(
        _ mine: HandshakeState, _ theirs: HandshakeState, isAsynchronous: Bool
    ) -> HandshakeVerdict {
        let marks = mine.dirtyBlocks + mine.unconfirmedBlocks + theirs.dirtyBlocks + theirs.unconfirmedBlocks
        let counts = !isLeftOut(.suspectIsTarget)
        let mineSuspect = counts && mine.flags.contains(.suspect)
        let theirsSuspect = counts && theirs.flags.contains(.suspect)
        let known = trustsMarks(mine, theirs)
        if marks == 0 || isLeftOut(.equalIDsProveNothing), known, !mineSuspect, !theirsSuspect {
            return .init(.inSync, because: .equalGenerations)
        }
        if isAsynchronous, let former = formerPrimary(mine, theirs) {
            return former == mine.node
                ? source(mine, theirs, because: .crashedPrimary) : target(mine, theirs, because: .crashedPrimary)
        }
        if mineSuspect != theirsSuspect {
            return mineSuspect ? target(mine, theirs, because: .oneSuspect) : source(mine, theirs, because: .oneSuspect)
        }
        let (mineOutdated, theirsOutdated) = (mine.flags.contains(.outdated), theirs.flags.contains(.outdated))
        if mineOutdated != theirsOutdated {
            return mineOutdated
                ? target(mine, theirs, because: .oneOutdated) : source(mine, theirs, because: .oneOutdated)
        }
        if mine.isPrimary != theirs.isPrimary, !isLeftOut(.primaryLeads) {
            return mine.isPrimary
                ? source(mine, theirs, because: .primaryLeads) : target(mine, theirs, because: .primaryLeads)
        }
        if mine.record.number != theirs.record.number {
            return theirs.record.number < mine.record.number
                ? source(mine, theirs, because: .newerRecord) : target(mine, theirs, because: .newerRecord)
        }
        return mine.node < theirs.node
            ? source(mine, theirs, because: .lowerNode) : target(mine, theirs, because: .lowerNode)
    }

    /// `async`: a primary that crashed alone has what it acknowledged, its cache lost or not, as long as nobody was promoted since.
    private static func formerPrimary(_ mine: HandshakeState, _ theirs: HandshakeState) -> NodeID? {
        if isLeftOut(.crashedPrimaryLeads) { return nil }
        if mine.isPrimary || theirs.isPrimary { return mine.isPrimary ? mine.node : theirs.node }
        var record = mine.record.number < theirs.record.number ? theirs.record : mine.record
        // One that names both and that only one of them has was offered, and nobody served under it (seed 4276).
        let isOffered =
            mine.record.number != theirs.record.number && NodeSet(mine.node, theirs.node).isSubset(of: record.inStep)
        if isOffered { record = record.number == mine.record.number ? theirs.record : mine.record }
        guard let former = record.primary, former == mine.node || former == theirs.node else { return nil }
        let side = former == mine.node ? mine : theirs
        return side.flags.contains(.outdated) ? nil : former
    }

    private static func judgeLines(
        _ mine: HandshakeState, _ theirs: HandshakeState, _ policies: SplitBrainPolicies
    ) -> HandshakeVerdict {
        let mineContains = mine.lineContains(theirs.current.id)
        let theirsContains = theirs.lineContains(mine.current.id)
        if mineContains, theirsContains { return .init(.parted, because: .crossedLines) }
        // A forced copy began a lineage of its own: what the other holds is not thrown away without a word.
        let isForced = !mine.record.isEmpty && !theirs.record.isEmpty && mine.record.lineage != theirs.record.lineage
        if isForced, !mine.discardMyData, !theirs.discardMyData { return .init(.parted, because: .splitBrain) }
        if mineContains { return source(mine, theirs, because: .containsGeneration) }
        if theirsContains { return target(mine, theirs, because: .containsGeneration) }
        if tookBack(mine, theirs) { return source(mine, theirs, because: .supersededRecord) }
        if tookBack(theirs, mine) { return target(mine, theirs, because: .supersededRecord) }
        if isLeftOut(.splitBrainStops) {
            return theirs.record.number < mine.record.number
                ? source(mine, theirs, because: .newerRecord) : target(mine, theirs, because: .newerRecord)
        }
        let related = commonGeneration(mine, theirs) != nil
        if mine.discardMyData { return target(mine, theirs, because: .discardedData) }
        if theirs.discardMyData { return source(mine, theirs, because: .discardedData) }
        guard related else { return .init(.parted, because: .unrelatedLines) }
        guard let loser = loser(mine, theirs, by: policies) else { return .init(.parted, because: .splitBrain) }
        if loser == mine.node ? mine.isPrimary : theirs.isPrimary { return .init(.refused, because: .primaryLost) }
        return loser == mine.node
            ? target(mine, theirs, because: .discardedByPolicy) : source(mine, theirs, because: .discardedByPolicy)
    }

    /// One run made all records of a term, one after the other. Had anything been acknowledged under the older one that the
    /// other side holds, its generation were in the line of its maker, who holds the newer: it was an offer whose fate the
    /// maker did not hear of. But only a run that has its disk leaves its term there: one made without is made again by the
    /// next run, which knows nothing of it, and names no copy of its maker.
    private static func tookBack(_ maker: HandshakeState, _ other: HandshakeState) -> Bool {
        if isLeftOut(.supersededRecordYields) { return false }
        let (newer, older) = (maker.record, other.record)
        return !newer.isEmpty && newer.lineage == older.lineage && newer.number.term == older.number.term
            && newer.number.term.node == maker.node && older.number < newer.number
            && older.instances[maker.node] == maker.instance
    }

    // MARK: How much

    static func source(
        _ mine: HandshakeState, _ theirs: HandshakeState, because rule: HandshakeRule
    ) -> HandshakeVerdict {
        if theirs.isPrimary, !isLeftOut(.primaryIsNotOverwritten) {
            return .init(.refused, because: .wouldOverwritePrimary)
        }
        if !isSourceInStep(mine, because: rule), !isOutdatedByMistake(mine, theirs) {
            return .init(.nothing, because: .bothInconsistent)
        }
        return .init(coversDifference(mine, theirs) ? .sourceOfMarked : .sourceOfEverything, because: rule)
    }

    /// A copy of this volume may make room for what it became while it was away (`lacksRoom`); any other is too small for good.
    static func tooSmall(_ mine: HandshakeState, _ theirs: HandshakeState) -> HandshakeVerdict {
        let areOfOneLine =
            !mine.record.isEmpty && !theirs.record.isEmpty && mine.volume == theirs.volume
            && mine.record.lineage == theirs.record.lineage
        return .init(areOfOneLine && !isLeftOut(.tooSmallMayGrow) ? .refused : .parted, because: .tooSmall)
    }

    private static func target(
        _ mine: HandshakeState, _ theirs: HandshakeState, because rule: HandshakeRule
    ) -> HandshakeVerdict {
        if mine.isPrimary, !isLeftOut(.primaryIsNotOverwritten) {
            return .init(.refused, because: .wouldOverwritePrimary)
        }
        if !isSourceInStep(theirs, because: rule), !isOutdatedByMistake(theirs, mine) {
            return .init(.nothing, because: .bothInconsistent)
        }
        return .init(coversDifference(theirs, mine) ? .targetOfMarked : .targetOfEverything, because: rule)
    }

    /// A copy that others went on without is no source: what it lacks would be forgotten (I5). Unless it is just that which
    /// an administrator gave away: the lines parted, and the other's goes. Or nobody went on at all, whatever an
    /// administrator said: in one generation it is the other copy that lost something, with its cache.
    static func isSourceInStep(_ side: HandshakeState, because rule: HandshakeRule? = nil) -> Bool {
        if isLeftOut(.sourceIsWholeInStep) { return true }
        let isWord =
            rule == .discardedData && !isLeftOut(.givenAwayMakesSource)
            || rule == .oneSuspect && !isLeftOut(.suspectIsFilledByOutdated)
        if side.flags.contains(.outdated), !isWord { return false }
        return side.record.isEmpty
            || (side.record.inStep.contains(side.node)
                && side.record.instances[side.node] == side.instance)
    }

    /// Nobody went on without this copy, though it says so: the other one, which was thrown away, has no record that leaves it
    /// out. So it did not take the offer that a run made when this disk had failed, and nothing was acknowledged elsewhere.
    private static func isOutdatedByMistake(_ side: HandshakeState, _ other: HandshakeState) -> Bool {
        func areNamed(by record: Record) -> Bool {
            [side, other].allSatisfy {
                record.inStep.contains($0.node) && record.instances[$0.node] == $0.instance
            }
        }
        return other.current.id.isNone && side.record.lineage == other.record.lineage && areNamed(by: side.record)
            && areNamed(by: other.record) && !isLeftOut(.outdatedByMistakeIsSource)
    }

    private static func trustsMarks(_ one: HandshakeState, _ other: HandshakeState) -> Bool {
        coversDifference(one, other) && coversDifference(other, one)
    }

    /// Whether the union of both sides' marks covers every block in which `target` differs from `source`: the newest
    /// common generation is at or after the base of each side's bitmap.
    static func coversDifference(_ source: HandshakeState, _ target: HandshakeState) -> Bool {
        if case .everything(let instance) = source.base {
            return instance == target.instance || isLeftOut(.fullCopyKnowsInstance)
        }
        // Marks say what one copy lacks: those that a former disk of that node took are gone, and a new one lacks them.
        if !source.seenInstance.isNone, source.seenInstance != target.instance { return isLeftOut(.marksKnowInstance) }
        if target.current.id.isNone { return false }
        guard let common = commonGeneration(source, target) else { return false }
        return reaches(back: source, to: common) && reaches(back: target, to: common) || isLeftOut(.marksReachBack)
    }

    private static func reaches(back side: HandshakeState, to generation: GenerationID) -> Bool {
        guard let depth = depth(of: generation, in: side) else { return false }
        switch side.base {
        case .inStep: return depth == 0
        case .since(let base): return self.depth(of: base, in: side).map { depth <= $0 } ?? false
        case .everything: return false
        }
    }

    /// 0 for the current generation, then backwards.
    static func depth(of generation: GenerationID, in side: HandshakeState) -> Int? {
        if generation.isNone { return nil }
        if side.current.id == generation { return 0 }
        return side.history.firstIndex { $0.id == generation }.map { $0 + 1 }
    }

    static func commonGeneration(_ one: HandshakeState, _ other: HandshakeState) -> GenerationID? {
        if other.lineContains(one.current.id) { return one.current.id }
        return one.history.first { other.lineContains($0.id) }?.id
    }
}
