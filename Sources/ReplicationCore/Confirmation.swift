import Model

/// Rounds of flushes over all copies: what a client's FLUSH and FUA wait for, and how epochs close (CONFIRM).
struct Rounds {
    struct Round {
        var id: UInt64
        /// Every write up to here was complete everywhere when the round began.
        var boundary: UInt64
        var localFlush: UInt64
        /// Peers whose answer is missing.
        var pending: NodeSet
        var began: MonotonicTime
        /// Peers that took part.
        var peers: NodeSet
    }

    var current: Round?
    var lastID: UInt64 = 0
    var completed: UInt64 = 0
    var isWanted = false
    /// Every write up to here was complete everywhere when the newest round began.
    var boundary: UInt64 = 0
    /// Writes have ended since then (or the list was numbered anew): only that can give another round more to confirm.
    var hasNews = false
    /// Written since the last round began.
    var bytes: UInt64 = 0
    /// When a client's write last began or ended.
    var lastWrite = MonotonicTime(nanoseconds: 0)
    /// Beside asynchronous copies: what clients wait for (`NearRounds`).
    var near: Near?
    var nearQueue = SlotQueue()

    /// When the older round began that waits for that peer's answer.
    func waiting(for node: NodeID) -> MonotonicTime? {
        let began = current.flatMap { $0.pending.contains(node) ? $0.began : nil }
        guard let near, near.pending.contains(node) else { return began }
        return min(began ?? near.began, near.began)
    }
}

extension Replica {
    mutating func wantRound() {
        rounds.isWanted = true
        attention = true
    }

    /// CONFIRM: an epoch is closed, if the flushes can confirm anything that none before them did. A write that hangs at a
    /// disk holds all that came after it: to flush again before it ends would confirm nothing, and nothing would keep the
    /// next from following at once, at the speed of the network, for as long as it hangs.
    mutating func closeEpoch() {
        guard rounds.hasNews, !rounds.isWanted else { return }
        let through = completeThrough()
        let isWorthIt =
            rounds.current == nil && !unconfirmed.isEmpty
            ? unconfirmed.isFirstCovered(by: through) : through > rounds.boundary
        if isWorthIt || isLeftOut(.epochConfirmsMore) { wantRound() } else { rounds.hasNews = false }
    }

    /// Epochs end by bytes and by entries when a write does, and not when it begins: it is no part of what it would close.
    mutating func clientWriteEnded() {
        rounds.hasNews = true
        rounds.lastWrite = now
        let limits = configuration.limits
        let isFull =
            unconfirmed.count > limits.unconfirmedEntries / 2
            || rounds.current == nil && hasDisk && log.needsConfirmation
        if rounds.bytes >= limits.epochBytes || isFull { closeEpoch() }
    }

    /// What is in the list is numbered as complete, and the first round of this node's covers it.
    mutating func beginLine() {
        unconfirmed.beginLine()
        rounds.hasNews = true
    }

    /// The operation is answered by the first round that begins from now on.
    mutating func waitForRound(_ slot: Int) {
        table[slot].phase = .waitingFlush
        table[slot].round = rounds.lastID + (isLeftOut(.flushBeginsAfterRequest) ? 0 : 1)
        if !held.isEmpty, !isLeftOut(.flushWaitsForHeld) { table[slot].through = heldThrough(slot) }
        flushQueue.append(slot)
        wantRound()
    }

    mutating func advanceRounds() {
        if !localFlushQueue.isEmpty { finishLocalFlushes() }
        if !rounds.nearQueue.isEmpty || rounds.near != nil { advanceNearRounds() }
        finishRound()
        guard rounds.current == nil, rounds.isWanted, leads, change.map(\.isHarmless) ?? true, candidacy == nil,
            !required.isEmpty
        else { return }
        for node in others where required.contains(node) && !self[peer: node].receivesWrites { return }
        if !hasDisk, required.contains(me) { return }
        // Also when what it waits for is held no more, its peer being left behind: a write before it may hang at this disk.
        if let slot = flushQueue.first, table[slot].through > 0, table[slot].through > completeThrough() { return }
        startRound()
        finishRound()
    }

    private mutating func startRound() {
        rounds.isWanted = false
        rounds.hasNews = isLeftOut(.epochConfirmsMore)
        rounds.bytes = 0
        log.roundBegins()
        rounds.boundary = completeThrough()
        rounds.lastID += 1
        var peers = NodeSet()
        for node in others where self[peer: node].receivesWrites { peers.insert(node) }
        rounds.current = Rounds.Round(
            id: rounds.lastID, boundary: rounds.boundary, localFlush: hasDisk ? requestFlush() : 0,
            pending: isLeftOut(.flushAtPeer) ? NodeSet() : peers,
            began: now, peers: peers)
        for node in peers { send(.flush(round: rounds.lastID), to: node) }
    }

    /// The highest sequence such that it and all before it are complete on all legs.
    private mutating func completeThrough() -> UInt64 {
        var lowest = sequence + 1
        // Peers' operations are numbered elsewhere; only a settlement's copies are writes of this node's own. Nearly always
        // there are none of either at a client's flush: then no slot is looked at.
        let clients = table.clientWrites > 0 ? table.clientSlots : 0
        for slot in 0..<(settlement.running > 0 ? table.count : clients)
        where !isLeftOut(.confirmOnlyComplete) {
            let operation = table[slot]
            if operation.isReplicated, operation.phase == .running, operation.sequence > 0,
                operation.localPending || !operation.legs.isEmpty
            {
                lowest = min(lowest, operation.sequence)
            }
        }
        if let first = held.first, !isLeftOut(.heldIsNotConfirmed) { lowest = min(lowest, first.sequence) }
        return lowest - 1
    }

    mutating func flushed(_ round: UInt64, _ succeeded: Bool, _ mark: StartMark, from node: NodeID) {
        remember(mark, of: node)
        if flushedNear(round, succeeded, from: node) { return }
        guard rounds.current?.id == round, rounds.current?.pending.contains(node) == true else { return }
        guard succeeded else {
            peerDiskFailed(node)
            return
        }
        rounds.current?.pending.remove(node)
        attention = true
    }

    /// The peer no longer counts (a chosen record without it, or a resync that broke off).
    mutating func dropFromRound(_ node: NodeID) {
        rounds.current?.pending.remove(node)
        rounds.current?.peers.remove(node)
        rounds.near?.pending.remove(node)
        attention = true
    }

    private mutating func finishRound() {
        guard let round = rounds.current, round.pending.isEmpty,
            isFlushed(round.localFlush) || isLeftOut(.flushHere), mayReply()
        else { return }
        if !hasDisk, required.contains(me) { return }
        rounds.current = nil
        rounds.completed = round.id
        for node in round.peers { clearFlushedFrames(through: round.boundary, at: node) }
        let settled = !leads || isSettled(through: round.boundary)
        confirm(through: round.boundary, settled: settled)
        // A joining copy forgets what is unconfirmed when it takes the join, and may have taken it: this would come under an older
        // record, and end the session.
        for node in round.peers where required.contains(node) && change?.purpose != .join(node) {
            self[peer: node].confirmed = Peer.Confirmed(
                sequence: round.boundary, settled: settled, term: stamp.term, run: self[peer: node].run)
            send(.confirm(sequence: round.boundary, mark: mark, settled: settled), to: node)
        }
        while let slot = flushQueue.first, table[slot].round <= round.id, table[slot].through <= round.boundary {
            _ = flushQueue.popFirst()
            complete(slot, .done)
        }
        if !flushQueue.isEmpty { rounds.isWanted = true }
        attention = true
    }

    /// In a session that goes on with what the one before left: its last word of what is confirmed. Lost, that would stay in the peer's
    /// list, while this node, which dropped it, sends on: the list is full, each session ends at the next frame, and no round, which
    /// waits for that frame, confirms anything any more (seed 5005 of `--mixed`).
    mutating func tellConfirmedAgain(_ node: NodeID) {
        guard leads, let told = self[peer: node].confirmed, told.term == stamp.term, told.run == self[peer: node].run,
            required.contains(node), !isLeftOut(.confirmedIsToldAgain)
        else { return }
        send(.confirm(sequence: told.sequence, mark: mark, settled: told.settled), to: node)
    }

    /// A target's flush covers the frames it was sent up to `sequence`: their bits go, those of later frames stay. Also while
    /// its join is under way and `required` names it: with the round the frames leave `unconfirmed`, and nothing else would
    /// say what their bits stand for.
    mutating func clearFlushedFrames(through sequence: UInt64, at node: NodeID) {
        guard !required.contains(node) || change?.purpose == .join(node) else { return }
        for index in 0..<unconfirmed.count {
            let entry = unconfirmed[index]
            let isCovered = entry.sequence <= sequence || isLeftOut(.laterFramesKeepMarks)
            if entry.sentTo.contains(node), entry.line == unconfirmed.line, isCovered {
                self[bitmap: node].clear(entry.range.blocks)
            }
        }
        remarkFrames(after: sequence, at: node)
    }

    /// Frames that no flush of the target covers keep their bits.
    mutating func remarkFrames(after sequence: UInt64, at node: NodeID) {
        for index in 0..<unconfirmed.count where !isLeftOut(.laterFramesKeepMarks) {
            let entry = unconfirmed[index]
            if entry.sentTo.contains(node), entry.line == unconfirmed.line, entry.sequence > sequence {
                self[bitmap: node].mark(entry.range.blocks)
            }
        }
    }
}
