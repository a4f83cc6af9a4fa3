import Model

/// A copy that was put back as it was: who notices it, and what is remembered of that.
extension Replica {
    /// Whoever was put back as it was is filled from the beginning. The session may end before all is marked for it: then the numbers
    /// that showed it are still remembered here, and that copy says so itself (seed 12749575: the source had written down the
    /// new numbers with a record of its own, died, and filled what was marked).
    mutating func noteWhoWasPutBack(_ verdict: HandshakeVerdict, _ node: NodeID, _ theirs: HandshakeState) {
        guard let mine = self[peer: node].mine, !isLeftOut(.putBackIsKeptInMind) else { return }
        // Whatever the verdict is: one that comes before the numbers are compared makes nothing good.
        self[peer: node].isPutBack =
            theirs.hasDisk && mine.hasDisk && HandshakeVerdict.isBehind(theirs, ofNumbersRememberedBy: mine)
        if verdict == .init(.targetOfEverything, because: .rolledBackDiscarded) { rememberBeingPutBack(theirs) }
    }

    /// The peer, which may have no disk now, remembers newer numbers of this copy, or it says so itself.
    func isPutBack(_ mine: HandshakeState, _ theirs: HandshakeState) -> Bool {
        guard hasDisk, mine.hasDisk else { return false }
        return isByMajority
            ? HandshakeVerdict.isRolledBack(mine, rememberedByMember: theirs)
            : HandshakeVerdict.isRolledBack(mine, rememberedBy: theirs)
    }

    mutating func rememberBeingPutBack(_ theirs: HandshakeState) {
        let isTold = self[peer: theirs.node].mine.map { HandshakeVerdict.isBehind($0, ofNumbersRememberedBy: theirs) }
        guard isTold == true || !superblock.flags.isSuperset(of: [.outdated, .rolledBack]) else { return }
        if isTold == true { outbid(theirs.seen) }
        superblock.flags.formUnion([.outdated, .rolledBack])
        persistSuperblock()
    }

    /// With quorum: a record that this very copy led under, in a term above all that its disk knows of. The term was durable here before
    /// anybody was asked for it, so the disk is an older one, whatever its numbers say. Any voter may tell it, a witness or a copy
    /// that is being filled too; the members, which remember numbers, may be gone, or taken out of the file (seed 640211). A
    /// record that does not name this copy proves nothing: its maker may have had no disk at that time.
    mutating func noteForgottenTerm(_ record: Record, told node: NodeID) {
        guard isByMajority, hasDisk, !isWitness, !superblock.flags.contains(.rolledBack),
            !isLeftOut(.forgottenTermTells), record.number.term.node == me,
            superblock.record.isEmpty || record.lineage == superblock.record.lineage,
            superblock.promised < record.number.term, isInStep(me, superblock.instance, by: record)
        else { return }
        note(
            .error, "disk",
            "rolled-back: \(name(node)) has record \(record.number), which this copy made, and on its disk is no term above "
                + "\(superblock.promised): it was restored, rolled back or cloned", peer: node)
        superblock.flags.formUnion([.outdated, .rolledBack])
        persistSuperblock()
        yield(to: node)
        // Whoever was met, or is being met, took it for what it is not.
        for other in others { restartSession(other, "this copy was put back as it was") }
    }
}
