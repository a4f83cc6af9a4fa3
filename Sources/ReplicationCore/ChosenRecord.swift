import Model

/// With quorum a record is chosen once a majority of its voters, and of those before it, and every copy that it names in step
/// have it durably. It is offered to all of them again until then; whoever was offered one may have it.
extension Replica {
    private func isChosen(_ change: Change) -> Bool {
        guard change.record.inStep.isSubset(of: change.accepted) || isLeftOut(.membersChoose) else { return false }
        if isLeftOut(.majorityChooses) { return true }
        return isMajority(change.accepted, of: change.record.voters)
            && (isMajority(change.accepted, of: change.formerVoters) || isLeftOut(.formerVotersChoose))
    }

    /// This node's own acceptance is durable; without a disk there is none, and the others' must do.
    mutating func offerToVoters() {
        guard var current = change else { return }
        current.phase = .offering
        current.offeredAt = now
        current.firstOfferedAt = now
        if current.isApplied { current.accepted.insert(me) }
        change = current
        makeWayForRecord()
        for node in everyone { offerAgain(to: node) }
        chooseIfPossible()
    }

    /// To a node whose session began after the record was offered, or that did not answer.
    mutating func offerAgain(to node: NodeID) {
        guard isByMajority, let change, change.phase == .offering, change.pending.isEmpty,
            !change.accepted.contains(node), self[peer: node].hasSession
        else { return }
        let concerned = change.record.voters.union(change.formerVoters).union(change.record.inStep)
        guard concerned.contains(node) else { return }
        send(
            .propose(Proposal(volume: change.volume, record: change.record, current: change.current)), to: node)
    }

    mutating func offerOverdue() {
        guard isByMajority, !isLeftOut(.offeredAgain), let current = change, current.phase == .offering,
            now >= current.offeredAt + configuration.timing.pingInterval
        else { return }
        change?.offeredAt = now
        for node in everyone { offerAgain(to: node) }
    }

    /// A member that answers pings, and not the offer of a larger size: its disk hangs. Clients' writes wait for nobody meanwhile, and so
    /// nothing else would ever cut it off.
    func isGrowthUnanswered(by node: NodeID, since opened: MonotonicTime) -> Bool {
        guard isByMajority, let change, case .grow = change.purpose, change.phase == .offering,
            change.record.inStep.contains(node), !change.accepted.contains(node), !isLeftOut(.growthIsAnswered)
        else { return false }
        return now.since(max(change.firstOfferedAt, opened)) > configuration.timing.cutOff
    }

    /// An answer to an offer counts when it comes from the very disk or memory that the record means.
    mutating func acceptedByVoter(_ number: RecordNumber, _ node: NodeID) {
        guard let current = change, current.phase == .offering, current.record.number == number else {
            confirmEstablishing(number, node)
            return
        }
        guard let instance = self[peer: node].standing?.instance, isNamed(node, instance, by: current.record) else {
            return
        }
        change?.accepted.insert(node)
        chooseIfPossible()
    }

    private mutating func chooseIfPossible() {
        guard let current = change, current.phase == .offering, current.pending.isEmpty, isChosen(current) else {
            return
        }
        if !current.isApplied {
            // Without a disk the record lives at the members and voters, which have accepted it.
            extendLine(with: current.current)
            superblock.volume = current.volume
            superblock.record = current.record
            superblock.promised = current.record.number.term
        }
        finishChange()
    }

    /// Copies that met this node while their record was undecided, and have it.
    mutating func establishMembers(_ done: Change) {
        guard leads, change == nil, superblock.record.number == done.record.number else { return }
        for node in others where done.record.inStep.contains(node) && self[peer: node].relation == .establishing {
            guard done.accepted.contains(node) else { continue }
            becomeEstablished(node)
        }
    }

    /// A member that this node leads caught up with the record that names it.
    private mutating func confirmEstablishing(_ number: RecordNumber, _ node: NodeID) {
        guard leads, self[peer: node].relation == .establishing, superblock.record.number == number,
            superblock.record.inStep.contains(node), change == nil, lastChosen == number
        else { return }
        becomeEstablished(node)
        send(.chosen(number), to: node)
    }

    /// A record that waits for a member which is gone by now, or came back without its cache: the next one does without it. (A
    /// hand-over is given up instead.)
    var isChangeStuck: Bool {
        if !tardyMembers.isEmpty { return true }
        guard let change, change.phase == .offering, change.purpose != .handOver else { return false }
        let missing = change.record.inStep.subtracting(change.accepted).removing(me)
        return !missing.intersection(lostMembers).isEmpty
    }

    /// A candidacy whose record waits for a member that left again, or for voters that do not come, begins anew: nobody waits
    /// for the answer to a promotion for ever.
    mutating func giveUpStuckCandidacy() {
        guard let candidacy, candidacy.phase == .proposing, !isLeftOut(.stuckCandidacyEnds) else { return }
        guard let change else { return rest() }
        guard change.phase == .offering else { return }
        let missing = change.record.inStep.subtracting(change.accepted).removing(me)
        let isGone = missing.contains { !self[peer: $0].hasSession }
        guard isGone || now >= candidacy.began + configuration.timing.cutOff else { return }
        abortChange()
        rest()
    }

    // MARK: Voters

    /// What all first members can hold; nil when they did not say.
    var foundSize: UInt64? {
        guard let candidacy, hasDisk else { return nil }
        var size = superblock.size
        for node in candidacy.kept {
            if let vote = candidacy.votes[node] { size = min(size, vote.capacity) }
        }
        return size
    }

    func admit(_ node: NodeID, _ record: inout Record) {
        var admitted = NodeSet(node)
        if isLeftOut(.oneVoterAtATime) {
            for other in everyone where self[peer: other].standing != nil { admitted.insert(other) }
        }
        for new in admitted {
            record.voters.insert(new)
            record.instances[new] = self[peer: new].standing?.instance ?? .none
        }
    }

    /// Whoever knows that a record of its volume was chosen says so durably.
    mutating func noteFounded() {
        guard isByMajority, hasDisk, !superblock.flags.contains(.founded) else { return }
        superblock.flags.insert(.founded)
        persistSuperblock()
    }

    // MARK: Following

    /// This copy took a record of `leader`: whoever led before, does no more.
    mutating func follow(_ leader: NodeID, _ record: Record) {
        leaderRun = self[peer: leader].run
        self[peer: leader].claimsPrimary = record.primary == leader
        for node in others where node != leader {
            if record.primary != node { self[peer: node].claimsPrimary = false }
            switch self[peer: node].relation {
            case .established, .establishing: self[peer: node].relation = .nothing
            case .target, .targetWaiting, .source, .sourceBeginning, .sourcePreparing, .carrier, .carried:
                restartSession(node, "\(name(leader)) leads now")
            case .none, .nothing: break
            }
        }
        guard self[peer: leader].isConnected, record.inStep.contains(me) else { return }
        if self[peer: leader].relation == .nothing { self[peer: leader].relation = .establishing }
    }

    // MARK: Marks toward absent nodes

    /// Before a join the source tells what it has marked toward the nodes that stay out: the joining copy leads some day.
    mutating func tellMarks(to node: NodeID) {
        for absent in others where absent != node && !required.contains(absent) {
            var cursor: UInt64 = 0
            while true {
                let runs = Self.runs(of: self[bitmap: absent], from: &cursor)
                if runs.isEmpty { break }
                send(.marksToward(absent, runs), to: node)
            }
        }
    }

    mutating func marksTold(_ runs: [BlockRun], toward absent: NodeID, by node: NodeID) {
        guard hasDisk, self[peer: node].relation == .target, absent != me, absent != node else {
            dropSession(node, "it told marks out of turn")
            return
        }
        for run in runs where run.first < self[bitmap: absent].blocks {
            self[bitmap: absent].mark(run.first..<min(self[bitmap: absent].blocks, run.first + run.count))
        }
    }
}
