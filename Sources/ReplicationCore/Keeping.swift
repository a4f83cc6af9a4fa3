import Model

/// What the holder of a term does beside serving (with quorum): a node without a primary re-admits copies (KEEPER), and either
/// brings the record's voters in line with the nodes that are there, one at a time (`protocol-reasons` F21).
extension Replica {
    /// Nobody leads, a copy waits to be re-admitted, and this is the lowest member that could.
    var wantsToKeep: Bool {
        guard isByMajority, role != .primary, !isKeeper, promotion == nil, demotion == nil, detaching == nil,
            hasWholeCopy, !superblock.flags.contains(.suspect), !superblock.record.isEmpty,
            isInStep(me, superblock.instance, by: superblock.record), isHolder(me) || isLeftOut(.keeperHoldsAll),
            superblock.flags.isDisjoint(with: [.offered, .lags]) || isLeftOut(.keeperHoldsAll),
            now >= startedAt + configuration.timing.leaseWaited
        else { return false }
        for node in others {
            if isHeardAsPrimary(node) || self[peer: node].theirs?.isKeeper == true { return false }
            // This copy's data is given away: whoever takes it fills no leader.
            if self[peer: node].discardMine, !isLeftOut(.giverKeepsNothing) { return false }
            if node < me, self[peer: node].isConnected, mayKeep(node) { return false }
        }
        return others.contains { self[peer: $0].relation == .nothing && waitsForAdmission($0) }
    }

    private func isMemberInOrder(_ node: NodeID) -> Bool {
        guard let theirs = self[peer: node].theirs, theirs.hasDisk else { return false }
        return isInStep(node, theirs.instance, by: superblock.record)
            && theirs.flags.intersection([.suspect, .inconsistent, .outdated]).isEmpty
    }

    private func isHolder(_ node: NodeID) -> Bool { holders(of: superblock.record).contains(node) }

    private func mayKeep(_ node: NodeID) -> Bool { isMemberInOrder(node) && isHolder(node) }

    /// One that lags and is not sent the rest any more is filled as well, when it is asked to serve.
    private func waitsForAdmission(_ node: NodeID) -> Bool {
        guard let theirs = self[peer: node].theirs, theirs.hasDisk else { return false }
        if isMemberInOrder(node), !isHolder(node) { return wantsToBeFilled(node) }
        return !mayKeep(node)
    }

    /// The term is lost, or a primary takes over.
    mutating func stopKeeping() {
        guard isKeeper else { return }
        isKeeper = false
        endSettlement()
        rounds.current = nil
        rounds.near = nil
        rounds.isWanted = false
        for node in others where isSource(of: node) { restartSession(node, "no longer re-admits copies") }
        attention = true
    }

    /// This copy's data is to be thrown away: it re-admits nobody with it, nor means to.
    mutating func ceaseToKeep() {
        if isLeftOut(.giverKeepsNothing) { return }
        if candidacy?.purpose == .keep { endCandidacy() }
        if change?.purpose == .keep { abortChange() }
        stopKeeping()
    }

    /// Another node leads: what this copy gave goes on from there. A record's answer may have nobody to go to, or the resync from the
    /// leader come first, and this copy, not in step any more, filled others still (seed 931808).
    mutating func ceaseToFill(for leader: NodeID) {
        guard isByMajority, !isLeftOut(.followerFillsNobody) else { return }
        for node in others where node != leader && isSource(of: node) {
            restartSession(node, "\(name(leader)) leads now")
        }
    }

    /// Writes of this node are given up, and a member may lack what others have of them. A copy that is filled here waits for their
    /// range: it would be given what they left, and that member has nothing marked toward it (seed 45001192).
    mutating func ceaseToFillFromGivenUp() {
        guard isByMajority, !isLeftOut(.givenUpFillsNobody) else { return }
        for node in others where isSource(of: node) { restartSession(node, "writes were given up") }
    }

    private func isSource(of node: NodeID) -> Bool {
        switch self[peer: node].relation {
        case .sourcePreparing, .sourceBeginning, .source: true
        default: false
        }
    }

    // MARK: Voters

    /// One voter is added or taken away by each record, and only after the one before is chosen: majorities of
    /// neighbouring records always meet. One that the first record did not hear of is only named.
    mutating func advanceVoters() {
        guard isByMajority, leads, holdsTerm, lastChosen == superblock.record.number, change == nil, acceptance == nil,
            candidacy == nil, hasDisk,
            !superblock.record.isEmpty, stopping == nil, demotion == nil
        else { return }
        let record = superblock.record
        if let departed = departedVoter {
            begin(.dismiss(departed), losing: NodeSet(), offeringTo: NodeSet())
            return
        }
        for node in everyone where self[peer: node].hasSession {
            guard let standing = self[peer: node].standing, !standing.instance.isNone else { continue }
            // One that follows another line, promoted by force here or there, would vote for nothing of this one.
            // What a member said before it gave its data up is no news.
            let isFollower = standing.record.isEmpty || standing.record.lineage == record.lineage
            guard isFollower || isInStep(node, standing.instance, by: record) else { continue }
            // One that was put back as it was takes no record before it is filled, and would be a voter without a vote.
            guard hasVote(node) || isLeftOut(.restHasVotes) else { continue }
            let instance = standing.instance
            if !record.voters.contains(node) || record.instances[node].isNone {
                begin(.admit(node), losing: NodeSet(), offeringTo: NodeSet())
                return
            }
            // A disk or a memory made anew: the old one's vote goes first.
            if record.instances[node] != instance, !record.inStep.contains(node) {
                let goesFirst = !isLeftOut(.oldVoteGoesFirst)
                begin(goesFirst ? .dismiss(node) : .admit(node), losing: NodeSet(), offeringTo: NodeSet())
                return
            }
        }
    }
}
