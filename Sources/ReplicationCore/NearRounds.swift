import Model

/// FLUSH and FUA beside asynchronous copies: answered when they are stable here and on the members that writes wait for. An epoch
/// closes later, when the others have everything too (`Rounds`): no client waits for a slow link.
extension Rounds {
    struct Near {
        var id: UInt64
        var localFlush: UInt64
        /// Members whose answer is missing.
        var pending: NodeSet
        var began: MonotonicTime
    }
}

extension Replica {
    private var nearMembers: NodeSet { required.removing(me).subtracting(asynchronous) }

    mutating func waitForNearRound(_ slot: Int) {
        table[slot].phase = .waitingFlush
        table[slot].round = rounds.lastID + (isLeftOut(.flushBeginsAfterRequest) ? 0 : 1)
        rounds.nearQueue.append(slot)
        attention = true
    }

    mutating func leaveFlushQueues(_ slot: Int) {
        flushQueue.remove(slot)
        guard !relaxed.isEmpty else { return }
        localFlushQueue.remove(slot)
        rounds.nearQueue.remove(slot)
    }

    mutating func advanceNearRounds() {
        guard hasDisk else {
            // The members' disks are all there is: each of them counts.
            rounds.near = nil
            while let slot = rounds.nearQueue.popFirst() { waitForRound(slot) }
            return
        }
        finishNearRound()
        guard rounds.near == nil, !rounds.nearQueue.isEmpty, leads, change.map(\.isHarmless) ?? true, candidacy == nil
        else { return }
        let members = nearMembers
        for node in members where !self[peer: node].receivesWrites { return }
        rounds.lastID += 1
        let pending = isLeftOut(.nearMembersFlush) ? NodeSet() : members
        rounds.near = Rounds.Near(id: rounds.lastID, localFlush: requestFlush(), pending: pending, began: now)
        for node in pending { send(.flush(round: rounds.lastID), to: node) }
        finishNearRound()
    }

    private mutating func finishNearRound() {
        guard let round = rounds.near, round.pending.isEmpty, isFlushed(round.localFlush) || isLeftOut(.flushHere),
            mayReply()
        else { return }
        rounds.near = nil
        while let slot = rounds.nearQueue.first, table[slot].round <= round.id {
            _ = rounds.nearQueue.popFirst()
            isFlushBetween = true
            complete(slot, .done)
        }
        attention = true
    }

    /// - Returns: whether it answers such a round.
    mutating func flushedNear(_ round: UInt64, _ succeeded: Bool, from node: NodeID) -> Bool {
        guard rounds.near?.id == round else { return false }
        guard rounds.near?.pending.contains(node) == true else { return true }
        guard succeeded else {
            peerDiskFailed(node)
            return true
        }
        rounds.near?.pending.remove(node)
        attention = true
        return true
    }

    /// The session is another one: what was asked is asked again.
    mutating func askForFlushesAgain(_ node: NodeID) {
        if let round = rounds.near, round.pending.contains(node) { send(.flush(round: round.id), to: node) }
        if let round = rounds.current, round.pending.contains(node) { send(.flush(round: round.id), to: node) }
    }
}
