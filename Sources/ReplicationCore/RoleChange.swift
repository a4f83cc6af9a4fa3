import Model

/// A promotion that was asked for and is not decided.
struct Promotion {
    var command: CommandID
    var force: Bool
    var peerFenced: NodeID?
    var deadline: MonotonicTime
    var dryRun: Bool
    /// What an asynchronous primary had not sent is given up.
    var acceptsLoss = false
    /// The record that makes this node primary is under way.
    var isUnderWay = false
    /// When an attempt whose record is not formed by then is given up: who said "try once" has a disk that takes a while.
    var patience = MonotonicTime(nanoseconds: 0)
    /// Why it still waits.
    var obstacle = Refusal(reason: "", message: "", remedy: "")
}

/// A demotion under way: no new I/O, what is in flight finishes, everything is confirmed, then the hand-over.
struct Demotion {
    enum Phase { case draining, confirming, handingOver }
    var command: CommandID?
    var deadline: MonotonicTime
    /// A stop waits so long for a copy that is being given what it lacks (`memory`, `async`).
    var latest: MonotonicTime
    var force: Bool
    var phase = Phase.draining
    var round: UInt64 = 0
    /// With quorum: when a hand-over that is not chosen is given up.
    var patience = MonotonicTime(nanoseconds: 0)
    var isDraining: Bool { true }
}

extension Replica {
    mutating func advanceRole() {
        advancePromotion()
        advanceDemotion()
    }

    // MARK: Promotion

    private mutating func advancePromotion() {
        guard promotion != nil, let promotion else { return }
        guard !promotion.isUnderWay else {
            withdrawStuckPromotion(promotion)
            return
        }
        if isByMajority {
            advanceElection(promotion)
            return
        }
        guard change == nil, acceptance == nil, demotion == nil else {
            let busy = Refusal(
                reason: "busy", message: "a record or a demotion is under way", remedy: "try again in a moment")
            if now >= promotion.deadline { endPromotion(.timedOut(busy)) }
            return
        }
        if role == .primary {
            endPromotion(.done(stayingPrimary(promotion)))
            return
        }
        switch obstacle(force: promotion.force, peerFenced: promotion.peerFenced) {
        case .lasting(let refusal): endPromotion(.refused(refusal))
        case .passing(let refusal):
            self.promotion?.obstacle = refusal
            if promotion.dryRun || now >= promotion.deadline { endPromotion(.timedOut(refusal)) }
        case .none(let purpose, let members):
            if let obstacle = fencingObstacle(promotion, offeringTo: members) {
                waitForFencing(obstacle, promotion)
                return
            }
            if promotion.dryRun {
                endPromotion(.done("would be promoted"))
                return
            }
            self.promotion?.isUnderWay = true
            promoteLocally(purpose, members)
        }
    }

    private mutating func waitForFencing(_ obstacle: PromotionObstacle, _ promotion: Promotion) {
        switch obstacle {
        case .none: break
        case .lasting(let refusal): endPromotion(.refused(refusal))
        case .passing(let refusal):
            self.promotion?.obstacle = refusal
            if now >= promotion.deadline { endPromotion(.timedOut(refusal)) }
        }
    }

    /// The promotion's record is not formed yet: this disk does not finish what comes before it.
    var isPromotionStuck: Bool {
        guard promotion?.isUnderWay == true, candidacy == nil, let change else { return false }
        guard change.purpose == .promote || change.purpose == .found || change.purpose == .force else { return false }
        switch change.phase {
        case .draining, .flushing: return true
        case .persistingRequired, .offering, .persisting: return false
        }
    }

    /// A disk that hangs keeps nobody waiting who set a time, as long as nothing of the record can have gone anywhere.
    private mutating func withdrawStuckPromotion(_ promotion: Promotion) {
        guard now >= promotion.patience, isPromotionStuck else { return }
        abortChange()
        endPromotion(
            .timedOut(
                Refusal(
                    reason: "busy", message: "this node's disk did not answer in time",
                    remedy: "look at the disk: hablk status \(configuration.volume)")))
    }

    /// With quorum the candidacy does the work; here its time runs out.
    private mutating func advanceElection(_ promotion: Promotion) {
        if role == .primary, promotion.force, !promotion.dryRun, !hasQuorum {
            endPromotion(.refused(forcedWhilePrimary))
            return
        }
        if role == .primary, candidacy == nil {
            endPromotion(.done("already primary"))
            return
        }
        let own = candidacy.flatMap { $0.purpose == .serve ? $0 : nil }
        guard now >= promotion.deadline, own?.isBinding != true else { return }
        if let own, !own.isFirstAttempt {
            candidacy = nil
            endPromotion(.timedOut(promotion.obstacle))
        } else if now >= promotion.deadline + configuration.timing.cutOff {
            if own != nil { candidacy = nil }
            endPromotion(
                .timedOut(
                    Refusal(
                        reason: "busy", message: "another node's or an earlier record is under way",
                        remedy: "try again in a moment")))
        }
    }

    /// Force begins a line of its own with a promotion: said to a primary that lacks a majority it would change nothing.
    private var forcedWhilePrimary: Refusal {
        let volume = configuration.volume
        return Refusal(
            reason: "no-quorum",
            message: "this node is primary already and lacks a majority, which force does not change",
            remedy: "bring a voter back; or, when they are lost for ever and nothing else serves this volume: "
                + "hablk demote \(volume) --force, then hablk promote \(volume) --force")
    }

    mutating func promoteLocally(_ purpose: Change.Purpose?, _ members: NodeSet) {
        if let promotion {
            self.promotion?.patience = max(promotion.deadline, now + configuration.timing.cutOff)
            if let node = promotion.peerFenced { takeAsFenced(node) }
        }
        if purpose == .force {
            for node in others { restartSession(node, "promoted by force") }
        }
        if let purpose {
            // A target that is being filled is not waited for: writes begin a generation that it will take with its join.
            let left = purpose == .promote && members.isEmpty ? required.removing(me) : NodeSet()
            begin(purpose, losing: left, offeringTo: members)
            return
        }
        noteAcceptedLoss()
        // Alone, with the peer's fate unknown: nothing durable changes before a reply waits (`6-protocol`, QUORUM OFF).
        for node in others where required.contains(node) && !self[peer: node].receivesWrites {
            self[peer: node].isCutOff = true
            // An asynchronous primary may have answered what is not here: whoever reads is told of another line.
            if self[bitmap: node].count > 0 || !unconfirmed.isEmpty || asynchronous.contains(node) {
                isUnsettled = !isLeftOut(.settledBeforeRead)
            }
        }
        becomePrimary()
    }

    mutating func becomePrimary() {
        guard role != .primary else {
            endPromotion(.done("already primary"))
            return
        }
        role = .primary
        keptAside = nil
        if !relaxed.isEmpty { superblock.mayHoldMore = true }
        superblock.flags.remove(.clean)
        if superblock.flags.contains(.offered) {
            superblock.flags.remove(.offered)
            persistSuperblock()
        }
        if superblock.flags.contains(.suspect) {
            // Promoted all the same: an administrator said that who could vouch is off. From now on this copy counts.
            superblock.flags.remove(.suspect)
            persistSuperblock()
        }
        beginLine()
        for node in others { offerToDiscard(node, false) }
        for node in others where required.contains(node) && !self[peer: node].receivesWrites {
            self[peer: node].isCutOff = true
        }
        isKeeper = false
        // Voters, too, whom no handshake tells: they heard that this node does not serve yet.
        for node in everyone where isByMajority && self[peer: node].hasSession && !isLeftOut(.servingIsTold) {
            send(.standing(standing), to: node)
        }
        // Who was met while the old lease ran out heard that nobody leads.
        for node in others where isByMajority && self[peer: node].relation == .nothing && !isLeftOut(.metAnewByPrimary)
        {
            restartSession(node, "this node leads now")
        }
        renewLease()
        note(.info, "role", "primary")
        let forced = promotion?.force == true ? " by force" : ""
        endPromotion(.done("\(configuration.volume) is primary on \(name(me))\(forced)"))
        attention = true
    }

    mutating func promotionRejected(_ reason: RejectReason, by node: NodeID) {
        promotion?.isUnderWay = false
        if reason == .isPrimary || reason == .candidateToo { endPromotion(.refused(peerIsPrimary(node))) }
        // The next handshake tells both sides the numbers they lack.
        restartSession(node, "it refused the record")
    }

    /// Both nodes are being promoted at once: the lower one's offer ends this one's attempt.
    mutating func yieldPromotion(to node: NodeID) {
        abortChange()
        promotion?.isUnderWay = false
        endPromotion(.refused(peerIsPrimary(node)))
    }

    mutating func endPromotion(_ outcome: CommandOutcome) {
        guard let promotion else { return }
        self.promotion = nil
        emit(.commandDone(promotion.command, outcome))
    }

    // MARK: Demotion

    mutating func demote(_ command: CommandID?, force: Bool, deadline: MonotonicTime) {
        guard role == .primary else {
            if let command { emit(.commandDone(command, .done("already secondary"))) }
            return
        }
        demotion = Demotion(command: command, deadline: deadline, latest: now + Self.longestDelivery, force: force)
        if force { failClients("demoted by force") }
        attention = true
    }

    private mutating func advanceDemotion() {
        guard let demotion else { return }
        if role != .primary, demotion.phase != .handingOver {
            endDemotion()
            return
        }
        switch demotion.phase {
        case .draining:
            if isByMajority, demotion.force { abortChange() }
            let isOwed = isConfirmable || others.contains { isOwedHeld($0) }
            let isDrained = table.clients == 0 && (held.isEmpty || !isOwed || isLeftOut(.demotionDrainsHeld))
            guard isDrained || demotion.force || isLeftOut(.demotionDrains), change == nil,
                demotion.force || !isHandshaking
            else { break }
            let isStable = unconfirmed.isEmpty && (hasDisk || !isByMajority)
            if demotion.force || isStable || !isConfirmable || isLeftOut(.demotionConfirms) {
                handOver(isStable: isStable || isLeftOut(.demotionConfirms))
            } else {
                self.demotion?.phase = .confirming
                self.demotion?.round = rounds.lastID + 1
                wantRound()
            }
        case .confirming:
            let isStable = rounds.completed >= demotion.round
            if isStable || !isConfirmable || demotion.force { handOver(isStable: isStable) }
        case .handingOver:
            // DEMOTE: not chosen in time, still demoted; a successor waits for the lease.
            if isByMajority, now >= demotion.patience, change?.purpose == .handOver { abortChange() }
        }
        if let demotion = self.demotion, demotion.phase != .handingOver, now >= demotion.deadline { giveUp(demotion) }
    }

    private var isConfirmable: Bool {
        (hasDisk || isByMajority) && !others.contains { required.contains($0) && !self[peer: $0].receivesWrites }
    }

    /// A minute: service managers give a stop one and a half.
    private static let longestDelivery: UInt64 = 60_000_000_000

    /// What was answered arrives at the peers, though slowly.
    private var isDelivering: Bool {
        guard let first = held.first, isConfirmable else { return false }
        return first.legs.contains { now.since(self[peer: $0].lastWritten) < configuration.timing.cutOff }
    }

    /// The time is over: the attempt is withdrawn and I/O goes on. A stop does not give up: it goes on by force.
    private mutating func giveUp(_ demotion: Demotion) {
        guard demotion.command != nil else {
            if isDelivering, !demotion.force, now < demotion.latest {
                self.demotion?.deadline = now + 500_000_000
                return
            }
            if held.bytes > 0, !demotion.force {
                note(
                    .warning, "replication",
                    "stopping: up to \(held.bytes) bytes that were acknowledged have not reached every copy; a promotion there "
                        + "says data-loss")
            }
            self.demotion?.force = true
            self.demotion?.deadline = now + 1_000_000_000
            failClients("stopping")
            return
        }
        self.demotion = nil
        finish(
            demotion,
            .timedOut(
                Refusal(
                    reason: "busy", message: "requests in flight did not finish in time",
                    remedy:
                        "look at hablk status \(configuration.volume), or fail them: hablk demote \(configuration.volume) --force"
                )))
    }

    private mutating func finish(_ demotion: Demotion, _ outcome: CommandOutcome) {
        if let command = demotion.command { emit(.commandDone(command, outcome)) }
    }

    /// The clients' requests are answered; their legs go on where they can.
    mutating func failClients(_ why: String) {
        abandonHeld()
        ceaseToFillFromGivenUp()
        let slots = table.slots(where: { $0.isClient })
        var abandoned = NodeSet()
        for slot in slots {
            table[slot].isGivenUp = true
            if table[slot].isClientWrite { abandoned = abandoned.union(table[slot].legs) }
            table[slot].legs = NodeSet()
        }
        // Those that waited for a withdrawn one do not start: they are given up as well.
        for slot in slots where table[slot].kind != .free && table[slot].isGivenUp && !table[slot].localPending {
            withdraw(slot)
        }
        emit(.closeClients(why))
        // A write that may have reached only some copies: the next handshake makes them equal.
        for node in abandoned where !isLeftOut(.givenUpMeansHandshake) { giveUpWrites(toward: node) }
        attention = true
    }

    /// Frames that it may not have are not sent again.
    mutating func giveUpWrites(toward node: NodeID) {
        self[peer: node].resumableRun = .none
        restartSession(node, "writes were given up")
        self[peer: node].resumableRun = .none
    }

    mutating func withdraw(_ slot: Int) {
        // A repair whose buffer is on its way ends when that comes.
        if table[slot].phase == .waitingBuffer { return }
        gateQueue.remove(slot)
        logQueue.remove(slot)
        leaveFlushQueues(slot)
        endClient(slot)
    }

    private mutating func handOver(isStable: Bool) {
        demotion?.phase = .handingOver
        let patience = now + configuration.timing.pingTimeout
        let deadline = demotion?.deadline ?? patience
        demotion?.patience = max(patience, deadline)
        emit(.closeClients("demoted"))
        // With quorum a record without a primary counts for a copy that lost its cache before it is chosen: it says that nothing
        // unflushed was acknowledged.
        guard isStable || !isByMajority || isLeftOut(.handOverIsStable) else { return handedOver() }
        // Whoever wins its term again promised a higher one than a record now would have.
        guard !isByMajority || candidacy?.isBinding != true || isLeftOut(.promiseIsKept) else { return handedOver() }
        if change == nil, acceptance == nil, demotion?.force != true,
            let node = others.first(where: {
                !isByMajority && (self[peer: $0].relation == .established || self[peer: $0].relation == .carried)
            })
        {
            begin(.handOver, losing: NodeSet(), offeringTo: NodeSet(node))
        } else if isByMajority || required == NodeSet(me) && hasDisk, change == nil, acceptance == nil,
            demotion?.force != true
        {
            begin(.handOver, losing: NodeSet(), offeringTo: NodeSet())
        } else {
            handedOver()
        }
    }

    /// Demoted, whether or not the hand-over reached anybody.
    mutating func handedOver() {
        if superblock.record.primary == nil, demotion?.force != true { superblock.mayHoldMore = false }
        becomeSecondary()
        endDemotion()
    }

    private mutating func endDemotion() {
        guard let demotion else { return }
        self.demotion = nil
        finish(demotion, .done("\(configuration.volume) is secondary on \(name(me))"))
        attention = true
    }

    mutating func becomeSecondary() {
        guard role == .primary else { return }
        role = .secondary
        abandonHeld()
        if !isLeftOut(.deposedSettlesNothing) { endSettlement() }
        if candidacy?.purpose == .again { endCandidacy() }
        rounds.current = nil
        rounds.near = nil
        rounds.isWanted = false
        isUnsettled = false
        isLeaveUndecided = false
        doubts = NodeSet()
        note(.info, "role", "secondary")
        // The order of writes is made elsewhere from now on: what was locked here is asked for anew.
        for node in others where self[peer: node].relation == .target { restartSession(node, "demoted") }
        attention = true
    }

    /// Another node's line goes on from this one's: what waits here is failed, the clients' connections end.
    mutating func supersede(by node: NodeID) {
        note(.warning, "role", "superseded: another primary went on; this node's clients are ended", peer: node)
        abortChange()
        failClients("superseded by \(name(node))")
        becomeSecondary()
        if promotion != nil { promotion?.isUnderWay = false }
    }
}
