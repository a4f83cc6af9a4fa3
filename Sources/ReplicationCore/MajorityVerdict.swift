package import Model

/// With quorum the record decides who is the source: one node at most holds the newest term, and generations only say how much
/// must be copied (`3-replication`, "The verdict"; `protocol-reasons` F8). Between two nodes of which neither leads there
/// is nothing to do.
extension HandshakeVerdict {
    package static func judgeByRecord(mine: HandshakeState, theirs: HandshakeState) -> HandshakeVerdict {
        if mine.hasDisk, theirs.hasDisk, mine.instance == theirs.instance {
            return .init(.parted, because: .sameInstance)
        }
        // A volume whose first record nobody chose is none.
        let areFounded = mine.flags.contains(.founded) && theirs.flags.contains(.founded)
        if areFounded, mine.volume != theirs.volume {
            return .init(.parted, because: .differentVolumes)
        }
        if isForcedApart(mine, theirs) { return judgeForced(mine, theirs) }
        if isOutlived(mine, by: theirs) || isOutlived(theirs, by: mine) { return .init(.nothing, because: .higherTerm) }
        if leads(mine), leads(theirs) { return .init(.nothing, because: .higherTerm) }
        if canResume(mine, theirs) { return .init(.resume, because: .sessionResumed) }
        if !mine.hasDisk || !theirs.hasDisk { return judgeBare(mine, theirs) }
        let size = max(mine.record.size, theirs.record.size)
        if mine.capacity < size || theirs.capacity < size { return tooSmall(mine, theirs) }
        let mineOlder = isRolledBack(mine, rememberedByMember: theirs)
        let theirsOlder = isRolledBack(theirs, rememberedByMember: mine)
        if mineOlder || theirsOlder {
            let verdict = judgeRolledBack(mine, theirs, mineOlder: mineOlder, theirsOlder: theirsOlder)
            return verdict.outcome == .parted ? verdict : goingOn(verdict, mine, theirs)
        }
        if !leads(mine), !leads(theirs) { return .init(.nothing, because: .nobodyLeads) }
        return leads(mine) ? judgeFollower(mine, theirs) : judgeFollower(theirs, mine).mirrored
    }

    /// A term is won for a record: without one nobody leads, whatever it says.
    private static func leads(_ side: HandshakeState) -> Bool {
        !side.record.isEmpty && (side.isPrimary || side.isKeeper)
    }

    /// A leader whose term another node does not accept any more: it learns so, and wins one again or yields. A newer record of
    /// its own term is its own: a join whose acceptance it did not hear of, and another record takes its place.
    private static func isOutlived(_ side: HandshakeState, by other: HandshakeState) -> Bool {
        guard leads(side), other.record.isEmpty || side.record.lineage == other.record.lineage else { return false }
        return side.record.number.term < other.promised || side.record.number.term < other.record.number.term
    }

    /// A full copy that its source has begun goes on where it was. Not when the target was put back once more meanwhile: it lost
    /// again what it had got.
    private static func goingOn(
        _ verdict: HandshakeVerdict, _ mine: HandshakeState, _ theirs: HandshakeState
    ) -> HandshakeVerdict {
        let isSource = verdict.outcome == .sourceOfEverything
        let (source, target) = isSource ? (mine, theirs) : (theirs, mine)
        let isOnceMore = isBehind(target, ofNumbersRememberedBy: source) && !isLeftOut(.putBackTwiceBeginsAnew)
        guard source.base == .everything(target.instance), target.flags.contains(.inconsistent), !isOnceMore else {
            return verdict
        }
        return .init(isSource ? .sourceOfMarked : .targetOfMarked, because: verdict.rule)
    }

    /// Whoever was put back as it was is filled by the leader only, and the others need not have been there: what one remembers that
    /// is left out itself, or that has an older record than the copy took since, may be from before that. (Put back to before
    /// what a member remembers, a copy has no newer record than that member.)
    static func isRolledBack(_ side: HandshakeState, rememberedByMember other: HandshakeState) -> Bool {
        let isMember = other.record.inStep.contains(other.node) && other.record.instances[other.node] == other.instance
        let isCurrent = !(other.record.number < side.record.number)
        let counts = isMember && isCurrent || isLeftOut(.membersRememberNumbers)
        return counts ? isRolledBack(side, rememberedBy: other) : side.flags.contains(.rolledBack)
    }

    /// A node without a disk is served by members of its record. Any other copy is no part of what it does, and stays a voter.
    private static func judgeBare(_ mine: HandshakeState, _ theirs: HandshakeState) -> HandshakeVerdict {
        let (bare, holder) = mine.hasDisk ? (theirs, mine) : (mine, theirs)
        let isWhole = holder.flags.isDisjoint(with: [.inconsistent, .outdated, .suspect])
        if bare.isPrimary, holder.hasDisk, !isRolledBack(holder, rememberedBy: bare) {
            let isMember =
                bare.record.inStep.contains(holder.node) && bare.record.instances[holder.node] == holder.instance
                && holder.record.inStep.contains(holder.node)
            if isMember, isWhole, !holder.isPrimary {
                return .init(mine.hasDisk ? .carrier : .carried, because: .disklessPrimary)
            }
            return .init(.nothing, because: .disklessPrimary)
        }
        let verdict = judgeDiskless(mine, theirs)
        return verdict.outcome == .refused ? .init(.nothing, because: verdict.rule) : verdict
    }

    private var mirrored: HandshakeVerdict { .init(outcome.mirrored, because: rule) }

    private static func judgeFollower(_ leader: HandshakeState, _ follower: HandshakeState) -> HandshakeVerdict {
        let isBlank = follower.current.id.isNone
        if leader.flags.contains(.inconsistent) { return .init(.nothing, because: .bothInconsistent) }
        let isMember =
            leader.record.inStep.contains(follower.node)
            && leader.record.instances[follower.node] == follower.instance
            && follower.flags.intersection([.inconsistent, .outdated]).isEmpty && !isBlank
            && leader.lineContains(follower.current.id)
        if isMember {
            let marks =
                leader.dirtyBlocks + leader.unconfirmedBlocks + follower.dirtyBlocks + follower.unconfirmedBlocks
            if follower.flags.contains(.suspect) { return source(leader, follower, because: .oneSuspect) }
            if marks == 0 { return .init(.inSync, because: .equalGenerations) }
            return source(leader, follower, because: .primaryLeads)
        }
        if isBlank { return source(leader, follower, because: .blankCopy) }
        if follower.flags.contains(.inconsistent) { return source(leader, follower, because: .inconsistentCopy) }
        return source(leader, follower, because: .newerRecord)
    }

    // MARK: Another lineage

    private static func isForcedApart(_ mine: HandshakeState, _ theirs: HandshakeState) -> Bool {
        !mine.record.isEmpty && !theirs.record.isEmpty && mine.record.lineage != theirs.record.lineage
    }

    /// Promoted by force: neither line is thrown away without a word.
    private static func judgeForced(_ mine: HandshakeState, _ theirs: HandshakeState) -> HandshakeVerdict {
        guard mine.hasDisk, theirs.hasDisk, mine.discardMyData != theirs.discardMyData else {
            return .init(.parted, because: .splitBrain)
        }
        let (guest, host) = mine.discardMyData ? (mine, theirs) : (theirs, mine)
        guard leads(host), !leads(guest) else { return .init(.nothing, because: .nobodyLeads) }
        var verdict = source(host, guest, because: .discardedData)
        // Marks say nothing of what a copy lacks that was put back as it was, in whatever line it did that.
        if verdict.outcome == .sourceOfMarked || verdict.outcome == .sourceOfEverything,
            isRolledBack(guest, rememberedBy: host), !isLeftOut(.forcedGuestIsJudged)
        {
            verdict = goingOn(.init(.sourceOfEverything, because: .rolledBackDiscarded), host, guest)
        }
        return mine.discardMyData ? verdict.mirrored : verdict
    }
}
