import Model

/// The connection to each peer: dialing, two sessions racing, pings, time-outs, and where each message goes.
extension Replica {
    // MARK: Sending

    var stamp: RecordNumber { superblock.record.number }

    mutating func send(_ message: PeerMessage, to node: NodeID) {
        guard self[peer: node].hasSession else { return }
        emit(
            .send(
                node,
                FrameStamp(
                    session: self[peer: node].session, lineage: superblock.record.lineage,
                    number: superblock.record.number), message))
    }

    // MARK: Dialing

    mutating func beginDialing() {
        for node in everyone { scheduleDial(node, after: 0) }
    }

    mutating func scheduleDial(_ node: NodeID, after delay: UInt64) {
        guard !self[peer: node].isStandalone, stopping == nil else { return }
        self[peer: node].nextDial = now + delay
    }

    private mutating func redial(_ node: NodeID) {
        let timing = configuration.timing
        let backoff = max(self[peer: node].backoff, timing.reconnectMinimum)
        // Until it is cut off somebody may wait for it: writes that are held, a demotion. A blip must not end after that
        // because nobody looked.
        let longest =
            self[peer: node].isCutOff ? timing.reconnectMaximum : max(timing.cutOff / 8, timing.reconnectMinimum)
        self[peer: node].backoff = min(backoff * 2, longest, timing.reconnectMaximum)
        scheduleDial(node, after: backoff / 2 + random.next() % max(backoff, 1))
    }

    mutating func dialFailed(_ node: NodeID, _ why: String) {
        self[peer: node].isDialing = false
        self[peer: node].expectedBack = nil
        attention = true
        if !self[peer: node].hasSession { redial(node) }
    }

    mutating func peerRefused(_ node: NodeID, _ reason: String, _ message: String) {
        // Who was parted by a verdict stays so by that name, and who was disconnected by an administrator is not let in for it.
        if self[peer: node].isStandalone, self[peer: node].reason != "authentication" { return }
        if self[peer: node].reason != reason || self[peer: node].message != message {
            self[peer: node].reason = reason
            self[peer: node].message = message
            note(.error, "connection", "refused: \(reason): \(message)", peer: node)
        }
        if reason == "authentication" { becomeStandalone(node) }
    }

    // MARK: Sessions

    mutating func sessionOpened(_ node: NodeID, _ session: SessionID, run: RunID, dialedHere: Bool, discards: Bool) {
        guard isPeer(node) else {
            emit(.closeSession(node, session, "not a member of the volume"))
            return
        }
        if dialedHere { self[peer: node].isDialing = false }
        let peer = self[peer: node]
        // Parted by a verdict (not by an administrator): the other side hears the verdict again, and a guest that throws
        // its data away is admitted.
        let isPartedByVerdict = peer.reason != nil && peer.reason != Self.cannotKeep
        guard stopping == nil, metadata.durable > 0 || !hasDisk, !peer.isStandalone || isPartedByVerdict else {
            emit(.closeSession(node, session, stopping == nil ? "standalone or starting" : "stopping"))
            if !peer.isStandalone { redial(node) }
            return
        }
        if peer.hasSession, peer.run == run, peer.handshake != .finished, now.since(peer.openedAt) < 2_000_000_000,
            peer.dialedHere != dialedHere
        {
            // Both dialed at once: the session that the lower node dialed stays, on both sides.
            let newIsLower = dialedHere == (me < node)
            if !newIsLower {
                emit(.closeSession(node, session, "another session is being opened"))
                return
            }
        }
        if peer.hasSession {
            emit(.closeSession(node, peer.session, "replaced by a newer session"))
            sessionEnded(node, "replaced by a newer session")
        }
        emit(.cancelDial(node))
        self[peer: node].isDialing = false
        self[peer: node].nextDial = nil
        self[peer: node].expectedBack = nil
        if self[peer: node].run != run { self[peer: node].claimsPrimary = false }
        self[peer: node].standing = nil
        self[peer: node].leaseFrom = MonotonicTime(nanoseconds: 0)
        self[peer: node].pinged = 0
        self[peer: node].ponged = 0
        self[peer: node].session = session
        self[peer: node].dialedHere = dialedHere
        self[peer: node].discardsItsData = discards
        self[peer: node].run = run
        self[peer: node].openedAt = now
        self[peer: node].lastHeard = now
        self[peer: node].lastPing = now
        self[peer: node].handshake = .preparing
        self[peer: node].lastPresenceSent = nil
        self[peer: node].resentThrough = 0
        attention = true
        if isByMajority { send(.standing(standing), to: node) }
        if isWitness || witnesses.contains(node) {
            self[peer: node].handshake = .finished
            self[peer: node].relation = .nothing
            setReason(node, nil, nil)
            note(.info, "connection", "connected", peer: node)
        }
    }

    mutating func sessionClosed(_ node: NodeID, _ session: SessionID, _ why: String) {
        guard self[peer: node].session == session, self[peer: node].hasSession else { return }
        sessionEnded(node, why)
        redial(node)
    }

    /// Ends a session from this side.
    mutating func dropSession(_ node: NodeID, _ why: String, isOrderly: Bool = false) {
        guard self[peer: node].hasSession else { return }
        emit(.closeSession(node, self[peer: node].session, why))
        sessionEnded(node, why, isOrderly: isOrderly)
        redial(node)
    }

    /// A handshake that must be made anew, because what it rested on has changed.
    mutating func restartSession(_ node: NodeID, _ why: String) {
        guard self[peer: node].hasSession else { return }
        send(.goodbye(.again), to: node)
        emit(.closeSession(node, self[peer: node].session, why))
        sessionEnded(node, why, isOrderly: true)
        expectBack(node)
        self[peer: node].backoff = 0
        redial(node)
    }

    private mutating func expectBack(_ node: NodeID) {
        let timing = configuration.timing
        if isLeftOut(.restartIsNoLoss) { return }
        self[peer: node].expectedBack = now + timing.pingInterval + timing.pingTimeout
    }

    /// The other side is alive and about to meet this one anew.
    func isExpectedBack(_ node: NodeID) -> Bool {
        guard !self[peer: node].hasSession, !self[peer: node].isStandalone else { return false }
        return self[peer: node].expectedBack.map { now < $0 } ?? false
    }

    mutating func becomeStandalone(_ node: NodeID) {
        if self[peer: node].hasSession {
            emit(.closeSession(node, self[peer: node].session, "standalone"))
            sessionEnded(node, "standalone", isOrderly: true)
        }
        if !self[peer: node].isStandalone { note(.warning, "connection", "standalone", peer: node) }
        // The command that offered is answered as refused: a later `connect` must not carry it out.
        if !isLeftOut(.discardEndsWithCommand) { offerToDiscard(node, false) }
        self[peer: node].isStandalone = true
        self[peer: node].isCutOff = true
        self[peer: node].nextDial = nil
        self[peer: node].isDialing = false
        emit(.cancelDial(node))
        attention = true
    }

    /// LINK LOSS. Frames to a required peer are held; those to a joining one are dropped: their bits are set.
    private mutating func sessionEnded(_ node: NodeID, _ why: String, isOrderly: Bool = false) {
        let wasConnected = self[peer: node].isConnected
        let relation = self[peer: node].relation
        self[peer: node].session = .none
        self[peer: node].handshake = .none
        self[peer: node].relation = .none
        self[peer: node].mine = nil
        self[peer: node].theirs = nil
        self[peer: node].isPutBack = false
        self[peer: node].verdict = nil
        self[peer: node].theirVerdict = nil
        self[peer: node].presence = nil
        // A blip during the handshake after a blip changes nothing: all that was sent is still held.
        if relation == .established {
            self[peer: node].resumableRun = self[peer: node].run
        } else if wasConnected {
            self[peer: node].resumableRun = .none
        }
        peerFlushes.removeAll { $0.peer == node }
        // It may be making the first record of the volume that names both: two would be made (seed 12327447).
        if superblock.record.isEmpty, !isOrderly { expectBack(node) }
        if wasConnected { note(isOrderly ? .info : .warning, "connection", "disconnected: \(why)", peer: node) }
        endResync(node, relation)
        interruptComparison(with: node, "the connection ended: \(why)")
        interruptGrowth(node)
        dropReads(from: node)
        dropArrivals(from: node)
        if required.contains(node), !isLeftOut(.repliesHeldAtLoss) {
            // From when it was last heard: writers stall for the configured time, not for the ping time-out on top.
            if self[peer: node].lostAt == nil { self[peer: node].lostAt = self[peer: node].lastHeard }
        } else {
            dropLegs(to: node)
            dropFromRound(node)
        }
        // A frame counts as sent only in the session that still lives.
        if !isLeftOut(.sentEndsWithSession) { unconfirmed.forgetSending(to: node) }
        changeLost(node)
        if acceptance?.from == node, acceptance?.isAbandonable == true { acceptance = nil }
        attention = true
        noteStatus()
    }

    /// Reads that were asked there are asked elsewhere, or wait.
    private mutating func dropReads(from node: NodeID) {
        for slot in table.slots(where: { $0.isClient && !$0.isClientWrite && $0.legs.contains(node) }) {
            table[slot].legs = NodeSet()
            table[slot].phase = .waitingGate
            gateQueue.append(slot)
        }
        for slot in table.slots(where: { $0.phase == .waitingEdges && $0.legs.contains(node) }) {
            table[slot].legs = NodeSet()
            table[slot].edges = 0
            table[slot].phase = .waitingGate
            gateQueue.append(slot)
        }
    }

    /// Nothing waits for that peer any more: neither writes, nor reads that were asked there.
    mutating func dropLegs(to node: NodeID) {
        if !isLeftOut(.lostReadsAreAskedAgain) { dropReads(from: node) }
        for slot in table.slots(where: { $0.isReplicated && $0.legs.contains(node) }) {
            table[slot].legs.remove(node)
            finishReplication(slot)
        }
        dropHeld(at: node)
    }

    // MARK: Time

    mutating func tick() {
        for node in everyone { tick(node) }
        offerOverdue()
        tickComparisons()
        if now >= cooling.next { coolLog() }
        if role == .primary, !unconfirmed.isEmpty, rounds.current == nil,
            now >= rounds.lastWrite + configuration.limits.epochIdle
        {
            closeEpoch()
        }
        attention = true
    }

    private mutating func tick(_ node: NodeID) {
        let timing = configuration.timing
        let index = Int(node.rawValue)
        if let expected = peers[index].expectedBack, now >= expected { peers[index].expectedBack = nil }
        if !peers[index].hasSession, !peers[index].isDialing, !peers[index].isStandalone, stopping == nil,
            let due = peers[index].nextDial, now >= due
        {
            peers[index].nextDial = nil
            peers[index].isDialing = true
            emit(.dial(node))
        }
        if let lostAt = peers[index].lostAt, !peers[index].isCutOff, now >= lostAt + timing.cutOff {
            peers[index].isCutOff = true
            note(.warning, "connection", "away for longer than it may: cut off", peer: node)
        }
        noteLag(of: node)
        guard peers[index].hasSession else { return }
        if now >= peers[index].lastHeard + timing.pingInterval + timing.pingTimeout {
            dropSession(node, "no answer to pings")
            return
        }
        if now >= peers[index].lastPing + timing.pingInterval {
            ping(node)
            cutOffIfUnanswered(node)
        }
    }

    /// A write, flush, record or handshake unanswered for `timeout × ko-count` cuts its peer off although it answers pings.
    private mutating func cutOffIfUnanswered(_ node: NodeID) {
        let limit = configuration.timing.cutOff
        // What was sent in an earlier session has been asked again in this one, or will be.
        // And what lies behind much else on a slow link takes its time, as long as that arrives.
        let opened = max(self[peer: node].openedAt, self[peer: node].lastWritten)
        var isStuck = table.contains {
            $0.isReplicated && $0.phase == .running && $0.legs.contains(node)
                && now.since(max($0.began, opened)) > limit
        }
        if let began = rounds.waiting(for: node), now.since(max(began, opened)) > limit { isStuck = true }
        if let first = held.first, first.legs.contains(node), now.since(max(first.began, opened)) > limit {
            isStuck = true
        }
        if let change, change.phase == .offering, change.pending.contains(node),
            now.since(max(change.offeredAt, self[peer: node].lastWritten)) > limit
        {
            isStuck = true
        }
        if self[peer: node].handshake == .exchanging, now.since(self[peer: node].toldAt) > limit { isStuck = true }
        let isOverdue = isWordOverdue(of: node, since: max(self[peer: node].toldAt, opened))
        if isOverdue || isGrowthUnanswered(by: node, since: opened) { isStuck = true }
        guard isStuck else { return }
        dropSession(node, "what it was asked stayed unanswered for \(limit / 1_000_000) ms")
        self[peer: node].isCutOff = true
        self[peer: node].resumableRun = .none
    }

    /// A process that stood still cannot know what happened meanwhile: peers get time to be heard, and nothing is answered
    /// before each required one was.
    mutating func noticePause(at time: MonotonicTime) {
        let timing = configuration.timing
        guard time.since(lastTurn) > timing.pingInterval + timing.pingTimeout else { return }
        guard let due = nextDeadline, time.since(due) > timing.pingTimeout else { return }
        wokeAt = time
        for node in others {
            self[peer: node].lastHeard = time
            if self[peer: node].lostAt != nil, !self[peer: node].isCutOff { self[peer: node].lostAt = time }
            guard role == .primary, leaseGivers.contains(node) else { continue }
            if !isLeftOut(.pauseMakesDoubt) { doubts.insert(node) }
            now = time
            ping(node)
        }
        note(.warning, "io", "this process stood still for \(time.since(lastTurn) / 1_000_000) ms")
    }

    // MARK: Receiving

    mutating func receive(_ message: PeerMessage, _ stamp: FrameStamp, from node: NodeID) {
        let isLive = self[peer: node].session == stamp.session || isLeftOut(.onlyLiveSession)
        guard self[peer: node].hasSession, isLive else {
            release(message)
            return
        }
        self[peer: node].lastHeard = now
        let isOutlived = stamp.number.term < superblock.promised && !isLeftOut(.olderTermHasNoRight)
        if carriesRight(message), isByMajority, isOutlived {
            // It holds what it sent; a new session begins after it won a term that this node does not refuse.
            send(.standing(standing), to: node)
            release(message)
            dropSession(node, "it acts under an older term")
            return
        }
        let isOlder = stamp.lineage != superblock.record.lineage || stamp.number < superblock.record.number
        if carriesRight(message), isOlder, !isLeftOut(.olderRecordHasNoRight) {
            release(message)
            dropSession(node, "it acts under an older record")
            return
        }
        switch message {
        case .ping(let number): pinged(number, stamp, by: node)
        case .pong(let number): ponged(number, by: node)
        case .announce(let range): announced(range)
        case .written(let sequence, let succeeded): written(sequence, succeeded, from: node)
        case .received(let sequence): received(sequence, by: node)
        case .write(let sequence, let range, let buffer): receiveWrite(.peerWrite, sequence, range, buffer, node)
        case .zero(let sequence, let range, let trim):
            receiveWrite(trim ? .peerTrim : .peerZero, sequence, range, nil, node)
        case .flush(let round): receiveFlush(round, node)
        case .flushed(let round, let succeeded, let mark): flushed(round, succeeded, mark, from: node)
        case .confirm(let sequence, let mark, let settled):
            remember(mark, of: node)
            confirm(through: sequence, settled: settled)
            noteCaughtUp(settled: settled)
        default: receiveRare(message, stamp, from: node)
        }
    }

    private mutating func receiveRare(_ message: PeerMessage, _ stamp: FrameStamp, from node: NodeID) {
        switch message {
        case .goodbye(let reason): goodbye(reason, from: node)
        case .presence(let presence): presenceTold(presence, by: node)
        case .state(let state): stateTold(state, by: node)
        case .verdict(let outcome, let rule): verdictTold(outcome, rule, by: node)
        case .propose(let proposal): proposed(proposal, by: node)
        case .accepted(let number, let mark):
            remember(mark, of: node)
            accepted(number, by: node)
        case .rejected(let number, let reason): rejected(number, reason, by: node)
        case .chosen(let number): chosen(number, told: node)
        case .read(let id, let range): receiveRead(id, range, node)
        case .readData(let id, let range, let buffer): peerRead(id, range, buffer, from: node)
        case .readFailed(let id): peerReadFailed(id, from: node)
        case .resyncBegin(let proposal, let everything): resyncBegun(proposal, everything: everything, by: node)
        case .resyncReady: resyncReady(node)
        case .bitmapRuns(let runs): bitmapTold(runs, by: node)
        case .bitmapEnd: bitmapEnded(by: node)
        case .pull(let id, let range): receivePull(id, range, node)
        case .pullData(let id, let range, let buffer): receivePullData(id, range, buffer, node)
        case .pullZero(let id, let range): receivePullData(id, range, nil, node)
        case .pullFailed(let id): pullFailed(id, by: node)
        case .resyncFlushed(let pulls, let writes): resyncFlushed(pulls: pulls, writes: writes, by: node)
        case .resyncComplete: resyncCompleted(by: node)
        case .joinOffer(let offer): joinOffered(offer, by: node)
        case .invalidate: invalidateAsked(by: node)
        case .standing(let standing): standingTold(standing, by: node)
        case .inquiry(let inquiry): inquired(inquiry, stamp, by: node)
        case .inquiryAnswer(let answer): inquiryAnswered(answer, by: node)
        case .vote(let term): voteAsked(term, stamp, by: node)
        case .voteRuns(let runs): voteRunsTold(runs, by: node)
        case .voted(let vote): voted(vote, by: node)
        case .marksToward(let absent, let runs): marksTold(runs, toward: absent, by: node)
        case .digest, .digests, .digestFailed: receiveComparing(message, stamp, from: node)
        case .room(let number, let size, let make): roomAsked(number, size, make: make, stamp, by: node)
        case .roomAnswer(let number, let answer): roomAnswered(number, answer, by: node)
        case .ping, .pong, .write, .zero, .announce, .written, .received, .flush, .flushed, .confirm: break
        }
    }

    /// Frames that act under a record; an older one than this copy's is refused.
    private func carriesRight(_ message: PeerMessage) -> Bool {
        switch message {
        case .write, .zero, .flush, .confirm, .pullData, .pullZero: true
        default: false
        }
    }

    private mutating func release(_ message: PeerMessage) {
        switch message {
        case .write(_, _, let buffer), .readData(_, _, let buffer), .pullData(_, _, let buffer):
            emit(.releaseBuffer(buffer))
        default: break
        }
    }

    /// The peer was heard after the pause, and nobody else became primary meanwhile.
    mutating func settleDoubt(_ node: NodeID) {
        guard doubts.contains(node) else { return }
        doubts.remove(node)
        guard doubts.isEmpty else { return }
        attention = true
        recheckHeld()
    }

    private mutating func receiveFlush(_ round: UInt64, _ node: NodeID) {
        guard round > 0 else { return flushArrived(from: node) }
        guard hasDisk else {
            send(.flushed(round: round, succeeded: false, mark: mark), to: node)
            return
        }
        guard peerFlushes.count < 64 else {
            dropSession(node, "too many flushes at once")
            return
        }
        peerFlushes.append(
            PeerFlush(peer: node, session: self[peer: node].session, round: round, flush: requestFlush()))
    }

    private mutating func goodbye(_ reason: GoodbyeReason, from node: NodeID) {
        let session = self[peer: node].session
        emit(.closeSession(node, session, "goodbye"))
        switch reason {
        case .stopping, .disconnected:
            note(.info, "connection", reason == .stopping ? "it stops" : "it disconnected", peer: node)
            sessionEnded(node, "goodbye", isOrderly: true)
            self[peer: node].isCutOff = true
            self[peer: node].resumableRun = .none
        case .parted, .again:
            sessionEnded(node, "to begin anew", isOrderly: true)
            if reason == .again { expectBack(node) }
        }
        redial(node)
    }

    /// Tells connected peers what `status` shows of this node, when it changed. After every event: by fields, so that no
    /// peer is copied.
    mutating func tellPresence() {
        let state = currentDiskState
        // A peer may go on without this copy because of that word.
        if state == .outdated || state == .inconsistent, hasDisk, metadata.wanted != metadata.durable { return }
        let told = isWitness ? Role.witness : role
        for place in everyone.indices {
            let index = Int(everyone[place].rawValue)
            guard peers[index].handshake == .finished else { continue }
            if let sent = peers[index].lastPresenceSent, sent.role == told, sent.disk == state,
                sent.resyncPaused == isResyncPaused
            {
                continue
            }
            let presence = Presence(role: told, disk: state, mark: .none, resyncPaused: isResyncPaused)
            peers[index].lastPresenceSent = presence
            send(.presence(presence), to: everyone[place])
        }
    }

    private mutating func presenceTold(_ presence: Presence, by node: NodeID) {
        let hadDisk = self[peer: node].presence.map { $0.disk != .failed && $0.disk != .diskless } ?? true
        self[peer: node].presence = presence
        self[peer: node].claimsPrimary = presence.role == .primary
        let lostDisk = presence.disk == .failed || presence.disk == .diskless
        if hadDisk, lostDisk, !isWitness, !witnesses.contains(node) { peerDiskFailed(node) }
        attention = true
        noteStatus()
    }
}
