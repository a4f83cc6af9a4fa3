import Model

/// With `quorum: off` nothing but fencing keeps a lost peer from being promoted too (`6-protocol`, QUORUM OFF). The command is
/// run where this node would go on without its peer: with `stonith` it is waited for, with `resource` only before a
/// promotion. Its answer counts for the absence that it was asked for: a peer that is back makes it void.
struct Fencing {
    enum Phase: Equatable {
        case running
        case succeeded
        /// Asked again then, if something waits for it.
        case failed(FencingOutcome, again: MonotonicTime)
    }

    /// Of the question whose answer counts.
    var request: UInt64
    var phase = Phase.running

    /// Between two attempts, while requests are held. Nanoseconds.
    static let pause: UInt64 = 15_000_000_000
}

extension Replica {
    /// Whether this primary may make a record without `node`; the command is begun when it has to be.
    mutating func mayGoOn(without node: NodeID) -> Bool {
        guard configuration.fencing != .none, !isByMajority, !hasDeparted(node) else { return true }
        if self[peer: node].isConnected { return !awaitsWord(of: node) }
        fence(node)
        return configuration.fencing == .resource || self[peer: node].fencing?.phase == .succeeded
            || isLeftOut(.fencedBeforeLeft)
    }

    // MARK: Left out, and there

    /// A primary leaves nobody out under `fencing: stonith` who is heard and may still take itself for whole: it says first, durably,
    /// that it is out of step. Else it could be promoted after a crash, years later, by a node that fences this one; and what a
    /// record without it says is not to be remembered with a condition.
    func awaitsWord(of node: NodeID) -> Bool {
        configuration.fencing == .stonith && role == .primary && !isByMajority && self[peer: node].isConnected
            && !isOutOfStep(node) && !isLeftOut(.heardBeforeLeft)
    }

    /// It is heard again, and is to say that it is out of step: should it go before that, it is away like any member, and is fenced
    /// when its time is over.
    mutating func expectWord(of node: NodeID) {
        guard awaitsWord(of: node), required.contains(node) else { return }
        self[peer: node].isCutOff = false
        self[peer: node].lostAt = nil
    }

    /// It was asked for that long ago, and what waits for it may wait for ever: it answers pings, and its disk hangs.
    func isWordOverdue(of node: NodeID, since asked: MonotonicTime) -> Bool {
        guard now.since(asked) > configuration.timing.cutOff, awaitsWord(of: node) else { return false }
        if isPreparingSource(node) { return true }
        return lostMembers.contains(node) && (table.clientWrites > 0 || !flushQueue.isEmpty)
    }

    private func isPreparingSource(_ node: NodeID) -> Bool {
        if case .sourcePreparing = self[peer: node].relation { return true }
        return false
    }

    /// The other side of it: this copy is to be filled by a primary that waits for this word.
    mutating func sayOutdated(to theirs: HandshakeState) {
        guard configuration.fencing == .stonith, theirs.isPrimary, hasDisk, !isByMajority,
            superblock.flags.isDisjoint(with: [.inconsistent, .outdated]), !isLeftOut(.targetSaysOutdated)
        else { return }
        superblock.flags.insert(.outdated)
        persistSuperblock()
    }

    /// By its own word of this session, which is durable. One whose disk is gone says nothing of what its next run finds there.
    private func isOutOfStep(_ node: NodeID) -> Bool {
        let peer = self[peer: node]
        guard peer.isConnected else { return false }
        if peer.relation == .source { return true }
        if let theirs = peer.theirs {
            if !theirs.hasDisk || !theirs.flags.isDisjoint(with: [.inconsistent, .outdated]) { return true }
        }
        switch peer.presence?.disk {
        case .outdated, .inconsistent, .diskless, .failed: return true
        default: return false
        }
    }

    /// Asks for it unless that was done for this absence; after a failure again in a while.
    private mutating func fence(_ node: NodeID) {
        switch self[peer: node].fencing?.phase {
        case .running, .succeeded: return
        case .failed(_, let again) where now < again: return
        case .failed, nil: break
        }
        fenceRequests += 1
        self[peer: node].fencing = Fencing(request: fenceRequests)
        note(.warning, "fencing", "the fence command is called", peer: node)
        emit(.fence(node, request: fenceRequests))
    }

    mutating func fenceAnswered(_ node: NodeID, _ request: UInt64, _ outcome: FencingOutcome) {
        guard self[peer: node].fencing?.request == request, self[peer: node].fencing?.phase == .running else {
            note(.info, "fencing", "a late answer is ignored: \(outcome.words)", peer: node)
            return
        }
        attention = true
        if isEnough(outcome) {
            self[peer: node].fencing?.phase = .succeeded
            note(.info, "fencing", outcome.words, peer: node)
            return
        }
        let again = now + Fencing.pause
        self[peer: node].fencing?.phase = .failed(outcome, again: again)
        let isWaiting = configuration.fencing == .stonith || role != .primary
        let consequence =
            isWaiting
            ? "asked again in \(Fencing.pause / 1_000_000_000) s while requests wait; when it is off: hablk promote "
                + "\(configuration.volume) --peer-fenced \(name(node))"
            : "this primary goes on without it all the same (`fencing: resource`)"
        note(.error, "fencing", "\(outcome.words); \(consequence)", peer: node)
        // It goes on without this copy, which must not be promoted before it was filled.
        if outcome == .peerIsPrimary, role != .primary, change == nil, acceptance == nil, hasWholeCopy {
            superblock.flags.insert(.outdated)
            persistSuperblock()
        }
    }

    private func isEnough(_ outcome: FencingOutcome) -> Bool {
        switch outcome {
        case .peerInconsistent, .peerOutdated, .peerFenced: true
        case .peerUnreachable: hasWholeCopy && !superblock.flags.contains(.suspect)
        case .peerIsPrimary, .failed: false
        }
    }

    /// `promote --peer-fenced` at a primary: what is held for that peer's fencing goes on.
    mutating func stayingPrimary(_ promotion: Promotion) -> String {
        guard let node = promotion.peerFenced, !promotion.dryRun, configuration.fencing != .none else {
            return "already primary"
        }
        guard !self[peer: node].isConnected else {
            return "already primary; \(name(node)) is connected: it is not taken for fenced"
        }
        takeAsFenced(node)
        attention = true
        return "already primary; \(name(node)) is taken for fenced"
    }

    /// An administrator, or a cluster manager, knows that it is off.
    mutating func takeAsFenced(_ node: NodeID) {
        guard isPeer(node), !self[peer: node].isConnected else { return }
        fenceRequests += 1
        self[peer: node].fencing = Fencing(request: fenceRequests, phase: .succeeded)
    }

    /// The peer is heard again: whatever the command still says is of no use.
    mutating func endFencing(_ node: NodeID) {
        if !isLeftOut(.fencedForOneAbsence) { self[peer: node].fencing = nil }
    }

    /// A promotion that would go on without a member, or begin a volume alone, waits for the command.
    mutating func fencingObstacle(_ promotion: Promotion, offeringTo members: NodeSet) -> PromotionObstacle? {
        guard configuration.fencing != .none, !isByMajority, !promotion.force, !isLeftOut(.fencedBeforePromoted) else {
            return nil
        }
        let isFirst = superblock.record.isEmpty
        for node in others
        where (isFirst || required.contains(node)) && !members.contains(node) && node != promotion.peerFenced {
            guard !self[peer: node].isConnected, !hasDeparted(node) else { continue }
            if promotion.dryRun { return nil }
            fence(node)
            guard let fencing = self[peer: node].fencing else { continue }
            switch fencing.phase {
            case .succeeded: continue
            case .running:
                return .passing(
                    Refusal(
                        reason: "fencing", message: "\(name(node)) is being fenced",
                        remedy: "wait for it, or say that it is off: hablk promote \(configuration.volume) "
                            + "--peer-fenced \(name(node))"))
            case .failed(.peerIsPrimary, _): return .lasting(peerIsPrimary(node))
            case .failed(let outcome, _):
                return .lasting(
                    Refusal(
                        reason: "fencing-failed", message: "\(name(node)) was not fenced: \(outcome.words)",
                        remedy: "see to the fence command, or make sure that it is off and say so: hablk promote "
                            + "\(configuration.volume) --peer-fenced \(name(node))"))
            }
        }
        return nil
    }

    /// Requests are held because a peer is not fenced yet, or has not said yet that it is out of step.
    var isHeldForFencing: Bool {
        guard configuration.fencing == .stonith, role == .primary, !isByMajority else { return false }
        let isWaiting = table.clientWrites > 0 || !flushQueue.isEmpty
        if isWaiting, others.contains(where: { required.contains($0) && isPreparingSource($0) && awaitsWord(of: $0) }) {
            return true
        }
        return lostMembers.contains { self[peer: $0].fencing.map { $0.phase != .succeeded } ?? false }
    }
}
