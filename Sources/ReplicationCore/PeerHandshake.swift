import Model

/// The meeting of two copies: each tells its state, both judge, both compare, and each begins its part.
extension Replica {
    mutating func advanceHandshakes() {
        for node in others where self[peer: node].handshake == .preparing && isReadyToTell(node) {
            let state = handshakeState(toward: node)
            self[peer: node].mine = state
            self[peer: node].handshake = .exchanging
            self[peer: node].toldAt = now
            send(.state(state), to: node)
            judge(node)
        }
    }

    /// Every disk write of an older session is complete, and nothing is under way that would change what is told.
    private func isReadyToTell(_ node: NodeID) -> Bool {
        // With quorum the vote of the node that comes back may be the very one that a record waits for.
        let isOffered = isByMajority && change?.phase == .offering && !isOfferedByName
        guard change == nil || isOffered, acceptance == nil, detaching == nil, stopping == nil, disk != .failed else {
            return false
        }
        guard !hasDisk || (metadata.phase == .idle && metadata.durable == metadata.wanted) else { return false }
        if isLeftOut(.oldWritesEndFirst) { return true }
        return !table.contains { !$0.isClient && $0.peer == node } && !self[peer: node].arrivals.isHolding
    }

    private func handshakeState(toward node: NodeID) -> HandshakeState {
        let slot = superblock.peers[node]
        return HandshakeState(
            node: me, instance: superblock.instance, volume: superblock.volume, capacity: toldCapacity,
            record: superblock.record, promised: superblock.promised, required: superblock.required,
            current: superblock.current, history: superblock.history, base: slot.base,
            dirtyBlocks: hasDisk ? self[bitmap: node].count : 0,
            unconfirmedBlocks: unconfirmed.blockCount, seenInstance: slot.seenInstance, seen: slot.seen, mark: mark,
            flags: superblock.flags, hasDisk: hasDisk, isPrimary: role == .primary, isKeeper: isKeeper,
            discardMyData: self[peer: node].discardMine && role != .primary, run: run,
            resumes: self[peer: node].resumableRun, foundSequence: metadata.foundSequence)
    }

    mutating func stateTold(_ state: HandshakeState, by node: NodeID) {
        guard state.node == node, self[peer: node].handshake != .finished else {
            dropSession(node, "it told its state out of turn")
            return
        }
        guard state.record.isPossible else {
            dropSession(node, "its record is one that cannot be")
            return
        }
        self[peer: node].theirs = state
        self[peer: node].claimsPrimary = state.isPrimary
        if !isOfOtherLine(state.record) || isLeftOut(.linesHaveTheirTerms) {
            highestPromise = max(highestPromise, state.promised)
        }
        judge(node)
    }

    private mutating func judge(_ node: NodeID) {
        guard self[peer: node].handshake == .exchanging, self[peer: node].verdict == nil,
            let mine = self[peer: node].mine, let theirs = self[peer: node].theirs
        else { return }
        let verdict =
            isByMajority && !isLeftOut(.recordDecidesSource)
            ? HandshakeVerdict.judgeByRecord(mine: mine, theirs: theirs)
            : HandshakeVerdict.judge(
                mine: mine, theirs: theirs, policies: configuration.afterSplitBrain,
                isAsynchronous: asynchronous.contains(node))
        self[peer: node].verdict = verdict
        if verdict.rule == .tooSmall {
            // Its numbers rise with what it writes for that.
            if isPutBack(mine, theirs), !isLeftOut(.putBackIsSaidFirst) { rememberBeingPutBack(theirs) }
            lacksRoom(theirs)
        }
        send(.verdict(outcome: verdict.outcome.rawValue, rule: verdict.rule.rawValue), to: node)
        conclude(node)
    }

    mutating func verdictTold(_ outcome: UInt8, _ rule: UInt8, by node: NodeID) {
        self[peer: node].theirVerdict = (outcome, rule)
        conclude(node)
    }

    /// With quorum a record of this very node may be being taken: its answer goes out before anything else.
    mutating func concludePostponed() {
        guard isByMajority, acceptance == nil else { return }
        for node in others where self[peer: node].handshake == .exchanging { conclude(node) }
    }

    private mutating func conclude(_ node: NodeID) {
        if isByMajority, isTakingRecord(with: node) { return }
        guard self[peer: node].handshake == .exchanging, let verdict = self[peer: node].verdict,
            let told = self[peer: node].theirVerdict, let theirs = self[peer: node].theirs
        else { return }
        // A build from before volumes could grow parts for good with what may make room.
        let isParted = verdict.rule == .tooSmall && told.rule == verdict.rule.rawValue
        guard told.outcome == verdict.outcome.mirrored.rawValue || isParted else {
            note(.error, "handshake", "the two verdicts differ: here \(verdict.outcome) (\(verdict.rule))", peer: node)
            dropSession(node, "the two verdicts differ")
            return
        }
        self[peer: node].handshake = .finished
        attention = true
        note(.info, "handshake", "verdict: \(verdict.outcome), because \(verdict.rule.words)", peer: node)
        if verdict.outcome != .refused, verdict.outcome != .parted {
            self[peer: node].isStandalone = false
            self[peer: node].backoff = 0
            setReason(node, nil, nil)
            noteWhoWasPutBack(verdict, node, theirs)
            remember(theirs, of: node)
            switch verdict.outcome {
            case .targetOfMarked, .targetOfEverything: break
            case .nothing where isOfOtherLine(theirs.record) && !isLeftOut(.offerWaitsForLeader): break
            default: offerToDiscard(node, false)
            }
        }
        guard restsOnPresent(node) else {
            beginAnew(node, "a record was begun meanwhile")
            return
        }
        endFencing(node)
        // Both told their records: the peer's says what became of an offer.
        if hasDisk { hasOfferedWithoutMe = false }
        act(on: verdict, node, theirs)
        learn(theirs.record, from: node)
        concludeConnects(node)
    }

    /// A record waits for one node, of which more depends than who votes (seed 421).
    private var isOfferedByName: Bool { change.map { !$0.pending.isEmpty && !$0.isHarmless } ?? false }

    /// Nothing changed since the state was told that the verdict rests on.
    private func restsOnPresent(_ node: NodeID) -> Bool {
        guard isByMajority else { return change == nil && acceptance == nil }
        guard let mine = self[peer: node].mine, acceptance == nil, !isOfferedByName else { return false }
        return !hasTaken(node) && mine.record == superblock.record && mine.promised == superblock.promised
            && mine.isPrimary == (role == .primary) && mine.isKeeper == isKeeper
    }

    private mutating func remember(_ theirs: HandshakeState, of node: NodeID) {
        guard theirs.hasDisk else { return }
        if superblock.peers[node].seenInstance != theirs.instance {
            // The marks were another copy's: whatever becomes of this handshake, the next one must not believe them.
            if !superblock.peers[node].seenInstance.isNone, superblock.peers[node].base != .inStep,
                !isLeftOut(.marksKnowInstance)
            {
                superblock.peers[node].base = .everything(.none)
            }
            superblock.peers[node].seenInstance = theirs.instance
            superblock.peers[node].seen = theirs.mark
        } else {
            remember(theirs.mark, of: node)
        }
    }

    /// The offer to throw this copy's data away ends with the handshake it was meant for.
    mutating func offerToDiscard(_ node: NodeID, _ offers: Bool) {
        guard self[peer: node].discardMine != offers else { return }
        self[peer: node].discardMine = offers
        emit(.offerToDiscard(node, offers))
    }

    mutating func setReason(_ node: NodeID, _ reason: String?, _ message: String?) {
        self[peer: node].reason = reason
        self[peer: node].message = message
        noteStatus()
    }

    private mutating func act(on verdict: HandshakeVerdict, _ node: NodeID, _ theirs: HandshakeState) {
        switch verdict.outcome {
        case .resume: resume(node)
        case .inSync: beginEstablishing(node, theirs)
        case .sourceOfMarked, .sourceOfEverything:
            if verdict.rule == .discardedByPolicy { noteDiscarded(by: me, theirs) }
            beginSource(node, everything: verdict.outcome == .sourceOfEverything, because: verdict.rule)
        case .targetOfMarked, .targetOfEverything:
            if verdict.rule == .discardedByPolicy { noteDiscarded(by: node, theirs) }
            noteDropped(by: node)
            // What it meant to lead is given away with its data.
            if isOfOtherLine(theirs.record), !isLeftOut(.giverKeepsNothing) { yield(to: node) }
            self[peer: node].relation = .targetWaiting
            self[peer: node].target = ResyncTarget()
            self[peer: node].target.because = verdict.rule.words
            self[peer: node].target.began = now
            rememberBeingBehind(theirs)
            sayOutdated(to: theirs)
        case .nothing:
            self[peer: node].relation = .nothing
            // Without its disk it has nothing that this copy lacks.
            if theirs.hasDisk { rememberBeingBehind(theirs) }
        case .carrier:
            self[peer: node].relation = .carrier
            self[peer: node].resentThrough = unconfirmed.newest
            self[peer: node].isCutOff = true
            rememberBeingBehind(theirs)
        case .carried: beginCarried(node, theirs)
        case .refused: refuseForNow(verdict, node, theirs)
        case .parted: part(verdict, node, theirs)
        }
    }

    /// Others went on from this copy's line: it says so durably, so that it is not promoted should the peer vanish now.
    mutating func rememberBeingBehind(_ theirs: HandshakeState) {
        guard hasDisk, !isByMajority, !isLeftOut(.behindSaysOutdated), theirs.current.id != superblock.current.id,
            theirs.lineContains(superblock.current.id),
            !superblock.flags.contains(.outdated)
        else { return }
        superblock.flags.insert(.outdated)
        persistSuperblock()
    }

    // MARK: Together

    /// Nothing was lost but the connection: frames not answered are sent again, in order.
    private mutating func resume(_ node: NodeID) {
        self[peer: node].relation = .established
        note(.info, "connection", "resumed", peer: node)
        clearOutdated()
        setConnected(node)
        self[peer: node].resentThrough = unconfirmed.newest
        resend(to: node)
    }

    mutating func resend(to node: NodeID) {
        let unanswered = table.slots(where: { $0.isReplicated && $0.phase == .running && $0.legs.contains(node) })
        if isLeftOut(.unansweredIsSentAgain) { return }
        tellConfirmedAgain(node)
        if relaxed.contains(node) {
            resendHeld(to: node)
        } else {
            for slot in unanswered.sorted(by: { table[$0].sequence < table[$1].sequence }) { sendWrite(slot, to: node) }
        }
        askForFlushesAgain(node)
    }

    /// Everything unanswered goes (again) to the peer on whose disk this primary lives: what an earlier session of it took
    /// may be lost with its cache, and what a record held back is looked at again when it has it.
    mutating func resendUnanswered(to node: NodeID) {
        for slot in table.slots(where: { $0.isClientWrite && !$0.isGivenUp && !isLeftOut(.carrierGetsAllAgain) }) {
            if table[slot].phase == .waitingFlush {
                leaveFlushQueues(slot)
                table[slot].phase = .running
            }
            if table[slot].phase == .running { table[slot].legs.insert(node) }
        }
        if rounds.current != nil {
            rounds.current = nil
            wantRound()
        }
        resend(to: node)
    }

    mutating func setConnected(_ node: NodeID) {
        self[peer: node].isCutOff = false
        self[peer: node].lostAt = nil
        // A handshake that ends with what lay in the socket since before the pause says nothing of the time between: the next
        // pong does.
        if self[peer: node].toldAt >= wokeAt || isLeftOut(.pausedNewsIsOld) { settleDoubt(node) }
        attention = true
    }

    /// In step with a connected peer: nothing went on without this copy.
    private mutating func clearOutdated() {
        guard superblock.flags.contains(.outdated) else { return }
        superblock.flags.remove(.outdated)
        persistSuperblock()
    }

    /// The copies are equal. One of the two makes the record that names both: the primary, else the newer record's holder,
    /// else the lower node.
    private mutating func beginEstablishing(_ node: NodeID, _ theirs: HandshakeState) {
        self[peer: node].relation = .establishing
        if isLeftOut(.equalIDsProveNothing) {
            self[bitmap: node].clearAll()
            dropAllUnconfirmed()
        }
        // No record ever named either copy, and nobody wrote: what is marked comes from metadata that does not verify. Kept,
        // it would end each such handshake in a new one.
        if self[peer: node].verdict?.rule == .bothZero { self[bitmap: node].clearAll() }
        guard let mine = self[peer: node].mine, self[bitmap: node].count == 0, unconfirmed.isEmpty else {
            restartSession(node, "blocks were written meanwhile")
            return
        }
        if isByMajority {
            establishByRecord(node)
            return
        }
        let leads: Bool
        if mine.isPrimary != theirs.isPrimary {
            leads = mine.isPrimary
        } else if mine.record.number != theirs.record.number {
            leads = theirs.record.number < mine.record.number
        } else {
            leads = me < node
        }
        if leads { begin(.establish(node), losing: NodeSet(), offeringTo: NodeSet(node)) }
    }

    /// The record names both already; who missed it is told again. One that is not chosen yet establishes nobody.
    private mutating func establishByRecord(_ node: NodeID) {
        guard leads, change == nil else { return }
        guard lastChosen == superblock.record.number || isLeftOut(.undecidedEstablishesNobody) else {
            // It was given up undecided: another one takes its place.
            if holdsTerm, candidacy == nil { begin(.exclude, losing: NodeSet(), offeringTo: NodeSet()) }
            return
        }
        if self[peer: node].theirs?.record == superblock.record {
            becomeEstablished(node)
            send(.chosen(superblock.record.number), to: node)
        } else {
            send(
                .propose(
                    Proposal(volume: superblock.volume, record: superblock.record, current: superblock.current)),
                to: node)
        }
    }

    mutating func becomeEstablished(_ node: NodeID) {
        let relation = self[peer: node].relation
        self[peer: node].relation = .established
        if relation == .target {
            let target = self[peer: node].target
            recordResync(node, bytes: target.pulledBytes, since: target.began, because: target.because)
            endResync(node, relation)
            beginLine()
        } else {
            recordResync(
                node, bytes: 0, since: now, because: self[peer: node].verdict.map { $0.rule.words } ?? "equal")
            if unconfirmed.isEmpty { beginLine() }
        }
        clearOutdated()
        note(.info, "replication", "established: in sync", peer: node)
        setConnected(node)
        // A primary that was filled has sent everything in this session already.
        if relation != .target { resend(to: node) }
    }

    mutating func recordResync(_ node: NodeID, bytes: UInt64, since began: MonotonicTime, because: String) {
        self[peer: node].lastResync = VolumeStatus.LastResync(
            bytes: bytes, seconds: Double(now.since(began)) / 1e9, because: because)
    }

    // MARK: Served by the peer

    /// Without a disk this node takes the peer's line (a disk that was here for a moment left its own in memory); a
    /// primary's unanswered writes are sent again.
    private mutating func beginCarried(_ node: NodeID, _ theirs: HandshakeState) {
        self[peer: node].relation = .carried
        let isOther = superblock.current.id != theirs.current.id && !isLeftOut(.disklessActsUnderItsRecord)
        if isByMajority, role == .primary, !isLeftOut(.carriersRecordIsNotChosen) {
            beginCarriedLeader(node, theirs, isOther: isOther)
            return
        }
        let isBehind = superblock.record.number < theirs.record.number || isOther
        if role != .primary || isBehind {
            superblock.volume = theirs.volume
            superblock.record = theirs.record
            superblock.required = theirs.required
            superblock.current = theirs.current
            superblock.history = theirs.history
            superblock.promised = max(superblock.promised, theirs.record.number.term)
        }
        setConnected(node)
        resendUnanswered(to: node)
    }

    /// With quorum the records of this term are this node's to make. One that the member has and this node does not know to be
    /// chosen may be nowhere else; one that was made when the disk failed may be on that disk. A newer one without it takes the
    /// place of either (`startLeaving`), and what is unanswered goes out under that.
    private mutating func beginCarriedLeader(_ node: NodeID, _ theirs: HandshakeState, isOther: Bool) {
        setConnected(node)
        guard superblock.record.number == theirs.record.number else { return }
        if isOther {
            superblock.volume = theirs.volume
            superblock.current = theirs.current
            superblock.history = theirs.history
        }
        resendUnanswered(to: node)
    }

    /// Without a disk: a member that serves this primary has a record that it does not know to be chosen.
    var hasMissedRecord: Bool {
        mutating get {
            isByMajority
                && others.contains { node in
                    guard self[peer: node].relation == .carried, let theirs = self[peer: node].theirs else {
                        return false
                    }
                    return superblock.record.number < theirs.record.number && !isLeftOut(.carriersRecordIsNotChosen)
                }
        }
    }

    /// A record without this node's disk is chosen: with members that were met under another one the handshake is made anew, and
    /// what is unanswered is sent.
    mutating func leftDisk() {
        for node in others where self[peer: node].relation == .carried && isByMajority {
            guard let mine = self[peer: node].mine, let theirs = self[peer: node].theirs,
                mine.record.number != theirs.record.number, mine.record.number < superblock.record.number
            else { continue }
            restartSession(node, "the record that it had is chosen, or a newer one")
        }
    }

    // MARK: Apart

    private mutating func refuseForNow(_ verdict: HandshakeVerdict, _ node: NodeID, _ theirs: HandshakeState) {
        setReason(node, verdict.rule.reason, words(of: verdict.rule, toward: node, theirs))
        let mine = self[peer: node].mine
        dropSession(node, verdict.rule.words)
        // The peer's line goes on from this one's: whatever waits here was never acknowledged and never will be.
        let isBehind = mine.map { $0.current.id != theirs.current.id && theirs.lineContains($0.current.id) } ?? false
        if verdict.rule == .wouldOverwritePrimary, role == .primary, isBehind, !(mine?.discardMyData ?? false) {
            supersede(by: node)
            rememberBeingBehind(theirs)
        }
        if verdict.rule == .primaryLost, let mine {
            let isLost = HandshakeVerdict.loser(mine, theirs, by: configuration.afterSplitBrain) == me
            noteDiscarded(by: isLost ? node : me, theirs)
            if isLost, role == .primary {
                supersede(by: node)
                offerToDiscard(node, true)
            }
        }
        let livesThere = !hasDisk || !required.contains(me) && !isLeftOut(.filledPrimaryIsSuperseded)
        if verdict.rule == .lostLine, role == .primary, livesThere, theirs.record.primary != me,
            theirs.record.lineage == superblock.record.lineage, superblock.record.number < theirs.record.number
        {
            supersede(by: node)
        }
    }

    private mutating func part(_ verdict: HandshakeVerdict, _ node: NodeID, _ theirs: HandshakeState) {
        var words = verdict.rule == .splitBrain ? splitBrainWords : verdict.rule.words
        if verdict.rule == .splitBrain {
            words += ": here \(describe(superblock.current)), \(marked(toward: node)) written since; "
            words += "there \(describe(theirs.current)), \(theirs.dirtyBlocks * Geometry.blockSize) bytes written since"
        }
        if verdict.rule == .tooSmall { words += tooSmall(toward: node, theirs) }
        if verdict.rule == .rolledBack, let mine = self[peer: node].mine, isPutBack(mine, theirs) {
            words += "; it is this one"
            rememberBeingPutBack(theirs)
        }
        if verdict.rule == .rolledBack, let mine = self[peer: node].mine, !isByMajority,
            !HandshakeVerdict.hasNewerCopy(mine, theirs)
        {
            words += "; the newer one is not whole: first promote the copy that counts, with --force"
        }
        setReason(node, verdict.rule.reason, words)
        note(.error, "handshake", "\(verdict.rule.reason): \(words)", peer: node)
        becomeStandalone(node)
    }

    /// A split brain that a policy of the configuration heals is told like any other.
    private mutating func noteDiscarded(by winner: NodeID, _ theirs: HandshakeState) {
        let (loser, changed) =
            winner == me
            ? (theirs.node, "\(theirs.dirtyBlocks * Geometry.blockSize) bytes") : (me, marked(toward: theirs.node))
        let policies = configuration.afterSplitBrain.describe { name($0) }
        note(
            .warning, "handshake",
            "split-brain: both copies went on alone; after-sb policies (\(policies)): what \(name(loser)) wrote since, "
                + "\(changed), is discarded", peer: theirs.node)
    }

    private func marked(toward node: NodeID) -> String {
        "\(self[bitmap: node].count * Geometry.blockSize) bytes"
    }

    private func describe(_ generation: Generation) -> String {
        "generation \(generation.id), begun by \(name(generation.node)) at \(generation.began)"
    }
}
