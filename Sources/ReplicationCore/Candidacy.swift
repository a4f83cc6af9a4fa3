import Model

/// The way to a term of one's own (`6-protocol`, PROMOTE, with quorum): ask without effect; promise and flush here; votes; the
/// record; the old lease's end.
struct Candidacy {
    enum Purpose {
        /// An administrator wants this node to be primary.
        case serve
        /// A primary heard of a higher promise and wins a term once more, its clients' I/O held.
        case again
        /// Nobody leads, and a copy waits to be re-admitted (KEEPER).
        case keep
    }

    enum Phase: Equatable {
        /// Nothing came of it; asked again then.
        case resting(MonotonicTime)
        case asking
        case draining
        case flushing(UInt64)
        case persisting(UInt64)
        case voting
        /// The lease that a primary of an earlier term may hold runs out.
        case waiting(MonotonicTime)
        case proposing
    }

    var purpose: Purpose
    var phase: Phase
    /// Of the question; no two of this run have the same, or an answer to a former candidacy would be one to this.
    var round: UInt64 = 0
    var attempts = 0
    /// Terms that it asked votes for in vain, since a node came.
    var raised = 0
    /// When this phase began.
    var began: MonotonicTime
    var term = Term.zero
    var asked = NodeSet()
    var answers = PerNode<InquiryAnswer?>(repeating: nil)
    var votes = PerNode<Vote?>(repeating: nil)
    var runs = PerNode<[BlockRun]>(repeating: [])
    /// The newest record that the voters know: what the next one follows.
    var newest = Record.empty
    /// Of the voter that told it; none: this copy's own.
    var volume = VolumeID.none
    /// Stay in step: they answered, and are whole.
    var kept = NodeSet()
    /// When they were counted: no member answered a ping of the former primary since.
    var votedAt = MonotonicTime(nanoseconds: 0)
    /// A keeper waits for the lease before it proposes, a primary after.
    var hasWaited = false
    /// On a word: what the copies have that did not answer is given up.
    var isLossy = false

    init(_ purpose: Purpose, at now: MonotonicTime) {
        self.purpose = purpose
        phase = .resting(now)
        began = now
    }

    /// No answer was judged yet.
    var isFirstAttempt: Bool { attempts == 0 || (attempts == 1 && phase == .asking) }

    /// Voters were asked to promise something.
    var isBinding: Bool {
        switch phase {
        case .resting, .asking: false
        default: true
        }
    }
}

extension Replica {
    /// Runs that one voter may tell of: more than a disk of the largest volume can have marked apart is a mistake.
    static var voteRunLimit: Int { 1 << 20 }

    mutating func advanceCandidacy() {
        guard isByMajority else { return }
        giveUpStuckCandidacy()
        startCandidacy()
        while candidacy != nil, stepCandidacy() {}
    }

    private mutating func startCandidacy() {
        // Who is to serve does not wait for a term to re-admit copies that nobody was asked for yet.
        if promotion != nil, let candidacy, candidacy.purpose == .keep, !candidacy.isBinding { endCandidacy() }
        guard stopping == nil, candidacy == nil, acceptance == nil, demotion == nil, now >= candidacyNotBefore else {
            return
        }
        if role == .primary {
            let isOutlived = !holdsTerm || superblock.record.number.term < highestPromise
            guard isOutlived, !isLeftOut(.primaryWinsAgain) else { return }
            note(.warning, "role", "a higher term was promised: winning this node's own again")
            begin(.again)
        } else if let promotion, !promotion.isUnderWay {
            begin(.serve)
        } else if wantsToKeep {
            begin(.keep)
        }
    }

    private mutating func begin(_ purpose: Candidacy.Purpose) {
        // What was proposed in the old term goes on in the new one.
        abortChange()
        candidacy = Candidacy(purpose, at: now)
        attention = true
    }

    /// Two candidates that outbid each other at once would do so for ever.
    mutating func giveWay() {
        let patience = configuration.timing.pingTimeout
        if isLeftOut(.candidatesGiveWay) { return }
        candidacyNotBefore = now + patience + random.next() % max(patience, 1)
    }

    mutating func endCandidacy() {
        guard candidacy != nil else { return }
        candidacy = nil
        promotion?.isUnderWay = false
        attention = true
    }

    // MARK: Steps

    /// True when it took a step.
    private mutating func stepCandidacy() -> Bool {
        guard let current = candidacy else { return false }
        switch current.phase {
        case .resting(let until):
            guard now >= until, change == nil, acceptance == nil else { return false }
            return ask()
        case .asking:
            guard isAnswered(current) || isOverdue(current) else { return false }
            judgeAnswers()
        case .draining:
            guard change == nil, !isWritingOfOlderTerm else { return false }
            enter(.flushing(hasDisk ? requestFlush() : 0))
        case .flushing(let number):
            guard isFlushed(number) || isLeftOut(.candidateFlushes) else { return false }
            enter(.persisting(persistSuperblock()))
            advanceMetadata()
        case .persisting(let version):
            guard isDurable(version) || isLeftOut(.candidatePromises) else { return false }
            askForVotes()
        case .voting:
            guard isVoted(current) || isOverdue(current) else { return false }
            judgeVotes()
        case .waiting(let until):
            guard now >= until else { return false }
            waited(current)
        case .proposing: return false
        }
        return true
    }

    private mutating func enter(_ phase: Candidacy.Phase) {
        candidacy?.phase = phase
        candidacy?.began = now
        attention = true
    }

    private func isOverdue(_ current: Candidacy) -> Bool {
        now >= current.began + configuration.timing.pingTimeout
    }

    /// When a candidacy needs a tick.
    var candidacyDeadline: MonotonicTime? {
        guard let candidacy else { return now < candidacyNotBefore ? candidacyNotBefore : nil }
        let due: MonotonicTime
        switch candidacy.phase {
        case .resting(let until), .waiting(let until): due = until
        case .asking, .voting: due = candidacy.began + configuration.timing.pingTimeout
        default: return nil
        }
        // What is overdue waits for something else, not for time.
        return now < due ? due : nil
    }

    /// Another attempt a little later, at a time that two candidates do not share.
    mutating func rest(_ obstacle: Refusal? = nil) {
        if let obstacle { promotion?.obstacle = obstacle }
        promotion?.isUnderWay = false
        // Whoever asks for votes in vain does so more and more seldom until another node comes: each attempt is a flush and a promise
        // on every disk (seed 80000090).
        let doublings = UInt64(min((candidacy?.raised ?? 0) / 8, 3))
        let pause = (configuration.timing.pingInterval / 2) << doublings
        enter(.resting(now + pause / 2 + random.next() % max(pause, 1)))
    }

    // MARK: Asking

    private mutating func ask() -> Bool {
        guard let purpose = candidacy?.purpose else { return false }
        switch purpose {
        case .serve:
            guard let promotion else {
                endCandidacy()
                return true
            }
            if let obstacle = localObstacle(promotion) {
                meet(obstacle)
                return true
            }
        case .again:
            if role != .primary {
                endCandidacy()
                return true
            }
        case .keep:
            if !wantsToKeep {
                endCandidacy()
                return true
            }
        }
        questions += isLeftOut(.answersAreToThisQuestion) ? 0 : 1
        candidacy?.attempts += 1
        candidacy?.round = questions
        candidacy?.answers = PerNode(repeating: nil)
        candidacy?.asked = NodeSet()
        let inquiry = Inquiry(
            round: candidacy?.round ?? 0, instance: superblock.instance, isDiskless: !hasDisk,
            fenced: promotion?.peerFenced)
        for node in everyone where self[peer: node].hasSession {
            candidacy?.asked.insert(node)
            send(.inquiry(inquiry), to: node)
        }
        enter(.asking)
        return true
    }

    private func isAnswered(_ current: Candidacy) -> Bool {
        !current.asked.contains { current.answers[$0] == nil && self[peer: $0].hasSession }
    }

    mutating func inquiryAnswered(_ answer: InquiryAnswer, by node: NodeID) {
        standingTold(answer.standing, by: node)
        guard let phase = candidacy?.phase, candidacy?.round == answer.round else { return }
        if answer.objection == .isPrimary, !isLeftOut(.latePrimaryIsHeeded) { heed(node, phase) }
        guard candidacy?.phase == .asking else { return }
        candidacy?.answers[node] = answer
        attention = true
    }

    /// It answers late that it is primary, while this node prepares its own promise or is voted for: it is not deposed for that
    /// (seed 931003).
    private mutating func heed(_ primary: NodeID, _ phase: Candidacy.Phase) {
        switch phase {
        case .draining, .flushing, .persisting, .voting: meet(.lasting(peerIsPrimary(primary)))
        case .resting, .asking, .waiting, .proposing: return
        }
    }

    private mutating func judgeAnswers() {
        guard var current = candidacy else { return }
        current.newest = newestRecord(told: { current.answers[$0]?.standing }).record
        candidacy = current
        if let obstacle = obstacle(in: current), !isLeftOut(.askedBeforePromise) {
            meet(obstacle)
            return
        }
        raise()
    }

    /// Refuses a promotion, or waits; other purposes just wait.
    private mutating func meet(_ obstacle: PromotionObstacle) {
        guard candidacy?.purpose == .serve else {
            rest()
            return
        }
        switch obstacle {
        case .none(let purpose, let members):
            candidacy = nil
            promotion?.isUnderWay = true
            promoteLocally(purpose, members)
        case .lasting(let refusal), .passing(let refusal):
            let isForced = promotion?.force == true && promotion?.dryRun == false && hasDisk
            if isForced, lacksRoom {
                candidacy = nil
                endPromotion(.refused(roomRefusal))
            } else if isForced, refusal.reason != "peer-is-primary" {
                // Force is for what is lost, not for a primary that is slow to answer.
                guard !isPrimaryHeard else {
                    rest(refusal)
                    return
                }
                candidacy = nil
                abortChange()
                promotion?.isUnderWay = true
                promoteLocally(.force, NodeSet())
            } else if case .lasting = obstacle {
                candidacy = nil
                endPromotion(.refused(refusal))
            } else if promotion?.dryRun == true {
                candidacy = nil
                endPromotion(.timedOut(refusal))
            } else {
                rest(refusal)
            }
        }
    }

    // MARK: The promise

    /// Frames of older terms are refused from now on; what came by is finished and flushed before anybody is asked.
    private mutating func raise() {
        // What is being taken here may set the promise to its own term.
        guard acceptance == nil || isLeftOut(.promiseIsKept) else { return rest() }
        // A disk that is being let go becomes nobody's: it is called clean before it goes.
        guard detaching == nil || isLeftOut(.detachAwaitsCandidacy) else { return rest() }
        guard var current = candidacy else { return }
        if current.purpose == .serve, promotion?.dryRun == true {
            candidacy = nil
            endPromotion(.done("would be promoted: \(prospect(current))"))
            return
        }
        var highest = max(superblock.promised, superblock.record.number.term, highestPromise)
        for node in current.asked {
            guard let standing = current.answers[node]?.standing else { continue }
            highest = max(highest, standing.promised, standing.record.number.term)
        }
        current.term = Term(counter: highest.counter + 1, node: me)
        candidacy = current
        candidacy?.raised += 1
        superblock.promised = current.term
        highestPromise = current.term
        stopKeeping()
        if current.purpose == .serve { promotion?.isUnderWay = true }
        enter(.draining)
    }

    private mutating func askForVotes() {
        guard let term = candidacy?.term else { return }
        candidacy?.votes = PerNode(repeating: nil)
        candidacy?.runs = PerNode(repeating: [])
        candidacy?.asked = NodeSet()
        for node in everyone where self[peer: node].hasSession {
            candidacy?.asked.insert(node)
            send(.vote(term), to: node)
        }
        enter(.voting)
    }

    /// Another node's word while this one is a candidate: a term above its own ends this attempt.
    mutating func candidateHeard(_ standing: Standing, from node: NodeID) {
        guard let current = candidacy, current.isBinding, current.term < standing.promised,
            !isLeftOut(.higherTermEndsAttempt)
        else { return }
        guard change?.purpose != .promote, change?.purpose != .keep else { return }
        rest()
    }

    mutating func voteRunsTold(_ runs: [BlockRun], by node: NodeID) {
        guard let current = candidacy, current.phase == .voting, current.votes[node] == nil,
            current.runs[node].count + runs.count <= Self.voteRunLimit
        else { return }
        candidacy?.runs[node] += runs
    }

    mutating func voted(_ vote: Vote, by node: NodeID) {
        standingTold(vote.standing, by: node)
        guard let current = candidacy, current.phase == .voting, current.term == vote.term else { return }
        candidacy?.votes[node] = vote
        attention = true
    }

    private func isVoted(_ current: Candidacy) -> Bool {
        !current.asked.contains { current.votes[$0] == nil && self[peer: $0].hasSession }
    }

    // MARK: The votes

    private mutating func judgeVotes() {
        guard var current = candidacy else { return }
        current.votedAt = now
        let (newest, teller) = newestRecord(told: { current.votes[$0]?.standing })
        if let teller { current.volume = current.votes[teller]?.standing.volume ?? .none }
        var voted = canVote(superblock.record) ? NodeSet(me) : NodeSet()
        for node in everyone where current.votes[node] != nil { voted.insert(node) }
        current.newest = newest
        var counted = NodeSet()
        for node in voted {
            let instance = node == me ? superblock.instance : current.votes[node]?.standing.instance ?? .none
            if isNamed(node, instance, by: newest) { counted.insert(node) }
        }
        current.kept = kept(current)
        current.isLossy = isLaggard(current)
        candidacy = current
        guard isMajority(counted, of: voters(of: newest)) else {
            rest(noQuorum(current, counted, voters(of: newest)))
            return
        }
        if let obstacle = dataObstacle(current) {
            meet(obstacle)
            return
        }
        collectUnsettled(current)
        if current.purpose == .keep, !isLeftOut(.keeperWaitsFirst) { wait() } else { propose() }
    }

    /// Members that answered, are whole, and did not lose a cache.
    private func kept(_ current: Candidacy) -> NodeSet {
        let newest = current.newest
        var kept = hasWholeCopy ? NodeSet(me) : NodeSet()
        if isLeftOut(.onlyWhoAnsweredIsKept) { kept = kept.union(newest.inStep) }
        for node in others {
            guard let vote = current.votes[node], vote.hasCopy else { continue }
            // It has a record that was never chosen, and made its line ready for that: it is met as one that is left out.
            guard !(newest.number < vote.standing.record.number) else { continue }
            guard !vote.isSuspect || isLeftOut(.suspectIsNotKept) else { continue }
            let isEqual = newest.isEmpty && vote.standing.record.isEmpty
            if isEqual || isInStep(node, vote.standing.instance, by: newest) { kept.insert(node) }
        }
        kept = withoutLaggards(kept, current)
        // Without a disk nothing is settled from here: where members may differ, one of them counts. What a primary has in flight it
        // sends again; not what it failed, or had to settle, when it had a disk (seed 841750).
        let isApart =
            current.purpose == .serve ? kept.contains { !current.runs[$0].isEmpty } : unsettled.count > 0
        if !hasDisk, isApart, !isLeftOut(.disklessKeepsOne),
            let one = nearFirst({ kept.contains($0) })
        {
            return NodeSet(one)
        }
        return kept
    }

    // MARK: The record, and the lease

    private mutating func propose() {
        guard let current = candidacy else { return }
        let members = superblock.required.union(superblock.record.inStep).union(current.newest.inStep)
        let left = members.subtracting(current.kept)
        enter(.proposing)
        abortChange()
        begin(current.purpose == .keep ? .keep : .promote, losing: left, offeringTo: NodeSet())
    }

    /// PROMOTE 7: an old primary may answer reads until its lease ends, unless it cannot exist, answered, or is off.
    private mutating func wait() {
        guard let current = candidacy else { return }
        candidacy?.hasWaited = true
        let isFree = current.newest.primary == nil || current.purpose == .again || isLeftOut(.successorWaits)
        let last = lastLease(votedAt: current.votedAt) { current.votes[$0] != nil }
        enter(.waiting(isFree ? now : last + configuration.timing.leaseWaited))
    }

    private mutating func waited(_ current: Candidacy) {
        switch current.purpose {
        case .keep where change == nil && !isKeeper: propose()
        case .keep: candidacy = nil
        case .serve, .again:
            candidacy = nil
            noteLossyPromotion(current)
            becomePrimary()
        }
    }

    /// The record of this candidacy is chosen.
    mutating func candidacyChosen() {
        guard let current = candidacy else { return }
        takeMembers(current.kept)
        switch current.purpose {
        case .serve: wait()
        case .again:
            candidacy = nil
            for node in others where required.contains(node) { resend(to: node) }
            renewLease()
            endPromotion(.done("already primary"))
        case .keep:
            candidacy = nil
            isKeeper = true
            note(.info, "role", "no primary: re-admitting copies meanwhile")
        }
        attention = true
    }

    /// It heard in the handshake that it is filled: that word is taken back by another handshake only (seed 821425).
    private func isAboutToFill(_ node: NodeID) -> Bool {
        switch self[peer: node].relation {
        case .sourcePreparing, .sourceBeginning: true
        default: false
        }
    }

    /// Those that answered are in step with this node from here on; with any other copy the handshake is made anew.
    private mutating func takeMembers(_ kept: NodeSet) {
        for node in others where self[peer: node].hasSession {
            if kept.contains(node), self[peer: node].isConnected, !isAboutToFill(node) {
                self[peer: node].relation = .established
                setConnected(node)
                send(.chosen(superblock.record.number), to: node)
            } else {
                restartSession(node, "this node leads now")
            }
        }
    }
}
