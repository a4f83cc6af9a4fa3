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
            for place in everyone.indices { considerPeer(Int(everyone[place].rawValue), &earliest) }
            if isByMajority { considerElection(&earliest) }
            if role == .primary, rounds.hasNews, !unconfirmed.isEmpty, !rounds.isWanted, rounds.current == nil {
                earliest = min(earliest, (rounds.lastWrite + configuration.limits.epochIdle).nanoseconds)
            }
            if hasDisk, log.extents > 0 { earliest = min(earliest, nextCooling.nanoseconds) }
            considerCommands(&earliest)
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
        for pending in connects { earliest = min(earliest, pending.deadline.nanoseconds) }
    }

    private mutating func considerPeer(_ index: Int, _ earliest: inout UInt64) {
        let pause = configuration.timing.pingInterval
        if !peers[index].session.isNone {
            let silence = pause + configuration.timing.pingTimeout
            earliest = min(earliest, peers[index].lastPing.nanoseconds &+ pause)
            earliest = min(earliest, peers[index].lastHeard.nanoseconds &+ silence)
        } else if stopping == nil, !peers[index].isDialing, !peers[index].isStandalone {
            if let nextDial = peers[index].nextDial { earliest = min(earliest, nextDial.nanoseconds) }
            if promotion != nil, let back = peers[index].expectedBack { earliest = min(earliest, back.nanoseconds) }
        }
        if let lostAt = peers[index].lostAt, !peers[index].isCutOff {
            earliest = min(earliest, (lostAt + configuration.timing.cutOff).nanoseconds)
        }
        if case .failed(_, let again) = peers[index].fencing?.phase, now < again {
            earliest = min(earliest, again.nanoseconds)
        }
        if let behind = peers[index].behindUntil, now < behind, !peers[index].session.isNone {
            earliest = min(earliest, behind.nanoseconds)
        }
        if peers[index].target.bytesInFlight == 0, now < peers[index].target.notBefore,
            peers[index].relation == .target
        {
            earliest = min(earliest, peers[index].target.notBefore.nanoseconds)
        }
    }
}
