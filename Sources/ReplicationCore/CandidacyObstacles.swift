import Model

/// What stands between a candidate and its term, in words an administrator can act on.
extension Replica {
    /// What this node knows against it before it asks anybody.
    func localObstacle(_ promotion: Promotion) -> PromotionObstacle? {
        // A primary among the peers says so itself, when it is asked: one that does not answer may pass.
        guard hasDisk else { return nil }
        guard !superblock.flags.contains(.suspect) || superblock.isBlank else { return nil }
        return dataObstacle(peerFenced: promotion.peerFenced)
    }

    /// What the answers put in the way.
    func obstacle(in current: Candidacy) -> PromotionObstacle? {
        let newest = current.newest
        if let rival = current.asked.first(where: { current.answers[$0]?.objection == .isPrimary }) {
            return .lasting(peerIsPrimary(rival))
        }
        if !newest.isEmpty, hasDisk, !isInStep(me, superblock.instance, by: newest) {
            return .lasting(leftOut(of: newest))
        }
        let behind = laggardObstacle(
            current,
            isThere: { node in
                guard let answer = current.answers[node], self[peer: node].hasSession else { return false }
                return isNamed(node, answer.standing.instance, by: newest) && isToldWhole(node)
            }, hasAnswered: { current.answers[$0] != nil })
        if let behind { return behind }
        let willing = willing(in: current)
        let voters = voters(of: newest)
        if isMajority(willing, of: voters) { return nil }
        return .passing(noQuorum(current, willing.intersection(voters), voters))
    }

    /// By what it said of its disk last; before that it may be.
    private func isToldWhole(_ node: NodeID) -> Bool {
        if self[peer: node].theirs?.flags.contains(.rolledBack) == true { return false }
        switch self[peer: node].presence?.disk {
        case .diskless, .failed, .outdated, .inconsistent: return false
        default: return true
        }
    }

    /// Voters without an objection, as the instances that the newest record names.
    private func willing(in current: Candidacy) -> NodeSet {
        var willing = canVote(current.newest) ? NodeSet(me) : NodeSet()
        for node in current.asked {
            guard let answer = current.answers[node], isNamed(node, answer.standing.instance, by: current.newest) else {
                continue
            }
            // Who missed the newest record, which names this copy, or has one that was never chosen, has nothing to say against it.
            let isOutdated = answer.objection == .notInStep && answer.standing.record.number != current.newest.number
            if answer.objection == nil || isOutdated && !isLeftOut(.outdatedVoterHasNoSay) { willing.insert(node) }
        }
        return willing
    }

    /// What a promotion that nothing stands in the way of would rest on, in words.
    func prospect(_ current: Candidacy) -> String {
        let voters = voters(of: current.newest)
        let willing = willing(in: current).intersection(voters)
        var words = "\(willing.count) of \(voters.count) votes (\(willing.map { name($0) }.joined(separator: ", ")))"
        let lost = current.newest.inStep.subtracting(willing).removing(me)
        if !lost.isEmpty { words += "; left out: \(lost.map { name($0) }.joined(separator: ", "))" }
        guard let former = current.newest.primary else { return words }
        if isLaggard(current) {
            words += "; up to \(mostLost) bytes of acknowledged writes may be dropped\(lostCacheWords)"
        }
        let last = lastLease(votedAt: now) { current.answers[$0] != nil }
        let lease = (last + configuration.timing.leaseWaited).since(now) / 1_000_000
        if former != me, former != promotion?.peerFenced, current.answers[former] == nil {
            words += "; \(name(former)) was primary and does not answer: its lease "
            words += lease > 0 ? "ends in \(lease) ms" : "is over"
        } else if lease > 0 {
            words += "; a lease that was given ends in \(lease) ms"
        }
        return words
    }

    /// This node or one that answered heard a primary within a lease, and nobody said that it is off.
    var isPrimaryHeard: Bool {
        let fenced = promotion?.peerFenced
        return others.contains { $0 != fenced && isHeardAsPrimary($0) }
            || everyone.contains { candidacy?.answers[$0]?.objection == .heardPrimary }
    }

    func canVote(_ record: Record) -> Bool { hasDisk && isNamed(me, superblock.instance, by: record) }

    private func leftOut(of record: Record) -> Refusal {
        let members = record.inStep.map { name($0) }.joined(separator: ", ")
        return Refusal(
            reason: "outdated",
            message: "record \(record.number) leaves this copy out: others went on without it (in step: \(members))",
            remedy: "connect them and wait: hablk wait \(configuration.volume) --for up-to-date")
    }

    func noQuorum(_ current: Candidacy, _ willing: NodeSet, _ voters: NodeSet) -> Refusal {
        var reasons: [String] = []
        for node in voters where !willing.contains(node) && node != me {
            switch current.answers[node]?.objection {
            case .heardPrimary: reasons.append("\(name(node)) heard the primary a moment ago")
            case .notInStep: reasons.append("\(name(node)) has a record that leaves this copy out")
            case .otherLineage: reasons.append("\(name(node)) belongs to another line (promoted by force)")
            case .cannotVote: reasons.append("\(name(node)) cannot vote now")
            case .isPrimary: reasons.append("\(name(node)) is primary")
            case nil:
                let isOther = current.answers[node] != nil
                reasons.append(
                    "\(name(node)) \(isOther ? "is a new instance that no record names" : "does not answer")")
            }
        }
        let volume = configuration.volume
        let doubtful = voters.filter { current.answers[$0]?.objection == .heardPrimary }
        let former = current.newest.primary.map { name($0) } ?? "NODE"
        let passes = (willing.count + doubtful.count) * 2 > voters.count
        let remedy =
            passes
            ? "wait: that passes within \(configuration.timing.leaseWaited / 1_000_000) ms when \(former) is gone; or, when it is "
                + "off: hablk promote \(volume) --peer-fenced \(former)"
            : "bring one of them back; or, when they are lost for ever and nothing else serves this volume: "
                + "hablk promote \(volume) --force"
        return Refusal(
            reason: "no-quorum",
            message: "\(willing.count) of \(voters.count) votes, \(voters.count / 2 + 1) are needed: "
                + reasons.joined(separator: "; "), remedy: remedy)
    }

    /// Why this copy's data, as the voters know it now, may not be served (PROMOTE 4 and 5).
    func dataObstacle(_ current: Candidacy) -> PromotionObstacle? {
        let newest = current.newest
        if !hasDisk {
            // Nor does it found a volume: whoever does so says with its own copy what it begins with.
            guard current.kept.isEmpty || newest.isEmpty && !isLeftOut(.disklessFoundsNothing) else { return nil }
            if let node = unfinished(current), self[peer: node].theirs != nil {
                return .passing(
                    Refusal(
                        reason: VolumeStatus.dataLoss,
                        message:
                            "no disk here, and a promotion of \(name(node)) that gives up writes was begun and not finished",
                        remedy: "hablk attach \(configuration.volume); or, when they are lost, on \(name(node)): "
                            + "hablk promote \(configuration.volume) --accept-data-loss"))
            }
            return .passing(
                Refusal(
                    reason: "no-good-copy", message: "no disk here, and no member with a whole copy answered",
                    remedy: "hablk attach \(configuration.volume), or connect a member"))
        }
        if !newest.isEmpty, !isInStep(me, superblock.instance, by: newest) { return .lasting(leftOut(of: newest)) }
        guard hasWholeCopy else {
            return .lasting(
                Refusal(
                    reason: "inconsistent", message: "this copy is not whole",
                    remedy: "wait for the resync: hablk wait \(configuration.volume) --for up-to-date"))
        }
        let behind = laggardObstacle(
            current,
            isThere: { node in
                guard let vote = current.votes[node] else { return false }
                return vote.hasCopy && isNamed(node, vote.standing.instance, by: newest)
            }, hasAnswered: { current.votes[$0] != nil })
        if let behind { return behind }
        guard superblock.flags.contains(.suspect), newest.primary != nil, !isLeftOut(.suspectIsNotElected) else {
            return nil
        }
        // What names this copy is its own record: one that it does not hold was never chosen (`newestRecord`). A disk made anew is
        // another copy than the one that the record means, and holds nothing of it.
        // One that lags itself is better than one that lags and lost its cache.
        let isLossy = isLaggard(current)
        // Of one whose mode nobody knows it is not known that it lacked anything.
        var vouching = holders(of: newest)
        for node in newest.inStep where isOfUnknownMode(node) { vouching.insert(node) }
        let rest = (isLeftOut(.holdersVouch) || isLossy ? newest.inStep : vouching).removing(me)
        // Where a record that was never chosen lies about, a copy may have been called outdated because of it, and have all.
        let isAnyRefuted = everyone.contains { node in
            current.votes[node].map { newest.number < $0.standing.record.number } ?? false
        }
        let isMeant: (NodeID) -> Bool = { node in
            guard let instance = current.votes[node]?.standing.instance else { return false }
            return self.isNamed(node, instance, by: newest) || isLeftOut(.newDiskIsNoMember)
        }
        let isClean: (NodeID) -> Bool = { node in
            guard isMeant(node), let vote = current.votes[node] else { return false }
            return !vote.isSuspect && (vote.hasCopy || isAnyRefuted)
        }
        if let clean = rest.first(where: isClean) {
            return .passing(
                suspectRefusal("\(name(clean)) did not: it re-admits this copy by itself", "wait, or promote that node")
            )
        }
        // The word gives up what those that do not answer have.
        if isLossy { return nil }
        let away = rest.first { !isMeant($0) && $0 != promotion?.peerFenced }
        guard let away else { return nil }
        return .passing(suspectRefusal("\(name(away)) may hold what it lost", absent: away))
    }

    /// A node that the configuration does not name cannot be connected, and nothing can be said of it.
    func suspectRefusal(_ what: String, absent node: NodeID) -> Refusal {
        let volume = configuration.volume
        guard hasDeparted(node) else {
            return suspectRefusal(
                what,
                "connect \(name(node)), or say that it is off: hablk promote \(volume) --peer-fenced \(name(node))")
        }
        return suspectRefusal(
            "\(what), which was taken out of the configuration",
            "write it into the file again, hablk adjust \(volume), and connect it or name it with --peer-fenced; or, when it "
                + "is lost for ever: hablk promote \(volume) --force")
    }

    private func suspectRefusal(_ what: String, _ remedy: String) -> Refusal {
        Refusal(reason: "suspect", message: "this copy may have lost its cache, and \(what)", remedy: remedy)
    }
}
