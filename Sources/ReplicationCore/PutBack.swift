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

    /// With quorum: a record that names this very copy in step, in a term above all that its disk knows of. Whom a record names has
    /// promised its term on that disk: it made the record, voted for its maker, or was filled in that term. So the disk is
    /// an older one, whatever its numbers say. Any voter may tell it, a witness or a copy that is being filled too; the
    /// members, which remember numbers, may be gone, or taken out of the file (seed 640211). A record that does not name this copy
    /// proves nothing, of its own making either: there may have been no disk here at that time. Nor does one that was made without
    /// quorum, where each new run has a new term and whom it names may never have heard of it: so this copy must have known of one
    /// that a majority chose.
    mutating func noteForgottenTerm(_ record: Record, told node: NodeID) {
        guard isByMajority, hasDisk, !isWitness, !superblock.flags.contains(.rolledBack),
            superblock.flags.contains(.founded), !isLeftOut(.forgottenTermTells),
            superblock.record.isEmpty || record.lineage == superblock.record.lineage,
            superblock.promised < record.number.term || isForgotten(record, told: node),
            isInStep(me, superblock.instance, by: record)
        else { return }
        note(
            .error, "disk",
            "rolled-back: \(name(node)) has record \(record.number), which names this copy, and its disk knows of none above "
                + "\(max(superblock.record.number, RecordNumber(term: superblock.promised, index: 0))): it was restored, rolled back or cloned",
            peer: node)
        superblock.flags.formUnion([.outdated, .rolledBack])
        persistSuperblock()
        yield(to: node)
        // Whoever was met, or is being met, took it for what it is not.
        for other in others { restartSession(other, "this copy was put back as it was") }
    }

    /// A later record of the term that this copy's own one is of, made here by an earlier run: it was durable here before any voter had
    /// it. But a copy that joins has the record that names it before its maker, and so has the second voter.
    private func isForgotten(_ record: Record, told node: NodeID) -> Bool {
        let mine = superblock.record
        let isJoining = required.contains(node) && !mine.inStep.contains(node)
        let isSecondVoter =
            mine.voters == NodeSet(me) && record.voters == mine.voters.inserting(node) && record.inStep == mine.inStep
        return mine.number.term == record.number.term && record.number.term.node == me && mine.number < record.number
            && proposed < record.number && !isJoining && !isSecondVoter
    }

    /// A disk is attached. A witness, which is met by no handshake, said before it was here what it has.
    mutating func hearWitnessesAgain() {
        for node in witnesses where self[peer: node].hasSession {
            if let record = self[peer: node].standing?.record { noteForgottenTerm(record, told: node) }
        }
    }
}
