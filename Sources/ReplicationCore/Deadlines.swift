package import Model

/// When something is to be done though nothing happens.
extension Replica {
    /// When `.tick` is due; nil: never.
    /// `mutating`, field by field of each peer, and without a closure: asked after every event, it copies no replica and
    /// no peer, and checks no access.
    package var nextDeadline: MonotonicTime? {
        @inline(never) mutating get {
            guard !isStopped else { return nil }
            var earliest = UInt64.max
            for place in everyone.indices {
                let due = peers[Int(everyone[place].rawValue)].nextDeadline(
                    configuration.timing, isStopping: stopping != nil, isPromoting: promotion != nil, at: now)
                earliest = min(earliest, due)
            }
            if isByMajority { considerElection(&earliest) }
            if role == .primary, rounds.hasNews, !unconfirmed.isEmpty, !rounds.isWanted, rounds.current == nil {
                earliest = min(earliest, (rounds.lastWrite + configuration.limits.epochIdle).nanoseconds)
            }
            if hasDisk, log.extents > 0 { earliest = min(earliest, cooling.next.nanoseconds) }
            considerCommands(&earliest)
            if !comparison.running.isEmpty { considerComparisons(&earliest) }
            return earliest == .max ? nil : MonotonicTime(nanoseconds: earliest)
        }
    }

    private mutating func considerElection(_ earliest: inout UInt64) {
        if let due = candidacyDeadline { earliest = min(earliest, due.nanoseconds) }
        if change?.phase == .offering, let offered = change?.offeredAt {
            earliest = min(earliest, (offered + configuration.timing.pingInterval).nanoseconds)
        }
    }

    private mutating func considerCommands(_ earliest: inout UInt64) {
        if let promotion {
            let isOver = isByMajority && promotion.deadline <= now
            if !promotion.isUnderWay, !isOver { earliest = min(earliest, promotion.deadline.nanoseconds) }
            let last = promotion.deadline + configuration.timing.cutOff
            if isOver, now < last { earliest = min(earliest, last.nanoseconds) }
            if isPromotionStuck { earliest = min(earliest, promotion.patience.nanoseconds) }
        }
        if let demotion, demotion.phase != .handingOver { earliest = min(earliest, demotion.deadline.nanoseconds) }
        if let demotion, demotion.phase == .handingOver, isByMajority, now < demotion.patience {
            earliest = min(earliest, demotion.patience.nanoseconds)
        }
        if let detaching, detaching.wantsToLeave, isByMajority, now < detaching.patience {
            earliest = min(earliest, detaching.patience.nanoseconds)
        }
        if let growth, now < growth.deadline {
            earliest = min(earliest, growth.deadline.nanoseconds)
            if let again = growth.askAgain { earliest = min(earliest, again.nanoseconds) }
        }
        if let room, case .pausing(_, let until) = room.phase { earliest = min(earliest, until.nanoseconds) }
        for pending in connects { earliest = min(earliest, pending.deadline.nanoseconds) }
    }
}

extension Peer {
    /// When something is to be done about it; `.max`: never. A mutating method of its own, so that the peer is looked at where
    /// it lies: field by field of the array's element, or not mutating, copied it each time.
    @inline(never) fileprivate mutating func nextDeadline(
        _ timing: Timing, isStopping: Bool, isPromoting: Bool, at now: MonotonicTime
    ) -> UInt64 {
        var earliest = UInt64.max
        if !session.isNone {
            let silence = timing.pingInterval + timing.pingTimeout
            earliest = min(lastPing.nanoseconds &+ timing.pingInterval, lastHeard.nanoseconds &+ silence)
        } else if !isStopping, !isDialing, !isStandalone {
            if let nextDial { earliest = min(earliest, nextDial.nanoseconds) }
            if isPromoting, let expectedBack { earliest = min(earliest, expectedBack.nanoseconds) }
        }
        if let lostAt, !isCutOff { earliest = min(earliest, (lostAt + timing.cutOff).nanoseconds) }
        if case .failed(_, let again) = fencing?.phase, now < again { earliest = min(earliest, again.nanoseconds) }
        if let behindUntil, now < behindUntil, !session.isNone { earliest = min(earliest, behindUntil.nanoseconds) }
        if target.bytesInFlight == 0, now < target.notBefore, relation == .target {
            earliest = min(earliest, target.notBefore.nanoseconds)
        }
        return earliest
    }
}
