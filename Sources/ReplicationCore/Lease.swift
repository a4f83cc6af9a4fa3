import Model

/// Reads stay linearizable by a lease from the *other* required members (`6-protocol`, READ; with quorum): who answers a ping
/// says "I will not begin to serve for a while", and a successor must be one of them. That no write is lost never rests on it;
/// that none is answered after another node's answer does.
///
/// `reads: confirm` asks once more after the read arrived: right also where a machine's clocks stood still.
struct Lease {
    struct Ping {
        var number: UInt64 = 0
        var sent = MonotonicTime(nanoseconds: 0)
    }

    /// Of the newest ping to anybody.
    var number: UInt64 = 0
    /// Reads that wait for an answer.
    var waiting = SlotQueue()
    /// The round asked for because reads wait; 0: none is on its way.
    var round: UInt64 = 0
    /// Replies to writes and flushes wait for it.
    var holdsReplies = false
}

extension Replica {
    mutating func ping(_ node: NodeID) {
        lease.number += 1
        sendPing(node)
    }

    private mutating func sendPing(_ node: NodeID) {
        let number = lease.number
        self[peer: node].lastPing = now
        self[peer: node].pinged = number
        self[peer: node].pings[Int(number % UInt64(Peer.pingMemory))] = Lease.Ping(number: number, sent: now)
        send(.ping(number), to: node)
    }

    /// A node that promised a higher term, or wants one, gives no lease: it says why instead.
    mutating func pinged(_ number: UInt64, _ stamp: FrameStamp, by node: NodeID) {
        guard isByMajority else {
            send(.pong(number), to: node)
            return
        }
        let isPromised = stamp.number.term < superblock.promised && !isLeftOut(.promiseEndsLease)
        let isCandidate = candidacy?.isBinding == true && !isLeftOut(.candidateGivesNoLease)
        guard !isPromised, !isCandidate else {
            send(.standing(standing), to: node)
            return
        }
        if self[peer: node].claimsPrimary || superblock.record.primary == node { gaveLease(to: node) }
        send(.pong(number), to: node)
    }

    mutating func gaveLease(to node: NodeID) { self[peer: node].leaseGivenAt = now }

    /// When a lease was last given that may run still. Not only whom the newest record names may have one: that node may have died,
    /// or this one, before it served, and the primary before it reads on (seed 80806).
    func lastLease(votedAt: MonotonicTime, hasVoted: (NodeID) -> Bool) -> MonotonicTime {
        // What an earlier run of this node gave, nobody knows.
        var last = earlierLeases
        for node in others where !hasVoted(node) && node != promotion?.peerFenced {
            last = max(last, self[peer: node].leaseGivenAt)
        }
        // A primary that serves asks members only. One without a disk is none: the lease is that of those that voted.
        let isLossy = candidacy?.isLossy == true && !isLeftOut(.lossWaitsALease)
        let restsOnMembers = !hasDisk && !isLeftOut(.disklessWaitsForMembers) || isLossy
        return restsOnMembers ? max(last, votedAt) : last
    }

    mutating func ponged(_ number: UInt64, by node: NodeID) {
        self[peer: node].ponged = max(self[peer: node].ponged, number)
        let ping = self[peer: node].pings[Int(number % UInt64(Peer.pingMemory))]
        if ping.number == number {
            let from = isLeftOut(.leaseBeginsWithPing) ? now : ping.sent
            self[peer: node].leaseFrom = max(self[peer: node].leaseFrom, from)
        }
        if doubts.contains(node), self[peer: node].ponged >= self[peer: node].pinged, self[peer: node].isConnected {
            settleDoubt(node)
        }
        if !lease.waiting.isEmpty { answerLeasedReads() }
        if lease.holdsReplies, isLeaseValid {
            lease.holdsReplies = false
            recheckHeld()
        }
    }

    /// Every other required member said lately that it will not begin to serve.
    var isLeaseValid: Bool {
        mutating get {
            let held = configuration.timing.leaseHeld
            for node in others where leaseGivers.contains(node) {
                let isValid = now < self[peer: node].leaseFrom + held
                if isLeftOut(.leaseOfEachMember), isValid { return true }
                guard isValid else { return false }
            }
            return true
        }
    }

    /// Nanoseconds for which a primary's lease still holds; nil: no primary. Alone in step nobody else can begin to serve.
    func leaseLeft(at now: MonotonicTime) -> UInt64? {
        guard role == .primary else { return nil }
        let held = configuration.timing.leaseHeld
        var left = held
        for node in others where leaseGivers.contains(node) {
            left = min(left, (self[peer: node].leaseFrom + held).since(now))
        }
        return left
    }

    /// The right to answer a read whose data is here (`round`: the ping round that must have been answered).
    private mutating func mayAnswerRead(_ round: UInt64) -> Bool {
        guard role == .primary, doubts.isEmpty else { return false }
        guard isByMajority else { return true }
        guard candidacy == nil && holdsTerm || isLeftOut(.readsNeedTheTerm) else { return false }
        guard isLeaseValid || isLeftOut(.readsNeedLease) else { return false }
        guard configuration.confirmsReads, !isLeftOut(.confirmedReadsAsk) else { return true }
        for node in others where leaseGivers.contains(node) && self[peer: node].ponged < round { return false }
        return true
    }

    /// The data of a read is in its buffer.
    mutating func answerRead(_ slot: Int) {
        if mayAnswerRead(table[slot].round) {
            complete(slot, .done)
        } else if isByMajority, role == .primary {
            table[slot].phase = .waitingLease
            lease.waiting.append(slot)
            renewLease()
        } else {
            waitAtGate(slot)
        }
    }

    /// The ping round that a read which arrives now needs.
    var nextPingRound: UInt64 { lease.number + 1 }

    mutating func renewLease() {
        guard isByMajority, role == .primary, doubts.isEmpty, candidacy == nil, holdsTerm else { return }
        // While one is away no round can help: its lease comes with the ping that follows the next session.
        guard !others.contains(where: { leaseGivers.contains($0) && !self[peer: $0].hasSession }) else { return }
        let isUnderWay = others.contains {
            leaseGivers.contains($0) && self[peer: $0].hasSession && self[peer: $0].ponged < lease.round
        }
        guard lease.round == 0 || !isUnderWay else { return }
        lease.number += 1
        lease.round = lease.number
        for node in others where leaseGivers.contains(node) && self[peer: node].hasSession { sendPing(node) }
    }

    mutating func answerLeasedReads() {
        var waiting = lease.waiting.count
        while waiting > 0, let slot = lease.waiting.popFirst() {
            waiting -= 1
            guard table[slot].phase == .waitingLease else { continue }
            if table[slot].isGivenUp { endClient(slot) } else { answerRead(slot) }
        }
    }
}
