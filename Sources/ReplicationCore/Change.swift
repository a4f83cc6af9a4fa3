import Model

/// A new record on its way to being chosen (CHANGE). One at a time; a needed one that loses a member supersedes one that
/// waits for an answer.
struct Change {
    enum Purpose: Equatable {
        /// Goes on without `loses`.
        case exclude
        /// Names both after a handshake that found them equal.
        case establish(NodeID)
        case promote
        case handOver
        /// The own disk is gone; the members go on with this primary.
        case leaveSelf
        /// Re-admits a resynced copy.
        case join(NodeID)
        /// The first record of a volume nobody served yet, by one copy alone.
        case found
        case force
        /// With quorum: a term to re-admit copies.
        case keep
        /// A voter more, or less.
        case admit(NodeID)
        case dismiss(NodeID)
        /// Names a larger size (`resize`).
        case grow(UInt64)
    }

    enum Phase: Equatable {
        /// Local writes in flight finish.
        case draining
        case flushing(UInt64)
        /// `required` with the joining copy is on its way to disk, before anything is offered.
        case persistingRequired(UInt64)
        /// Offered to `pending`; their acceptance is missing.
        case offering
        /// The record is on its way to this disk.
        case persisting(UInt64)
    }

    var purpose: Purpose
    var loses: NodeSet
    /// Those of `loses` that were primary when the change began: it may outlive the session that told so.
    var served = NodeSet()
    var phase = Phase.draining
    var record = Record.empty
    /// Whose record it is: that of a first record that nobody chose yet goes on with it.
    var volume = VolumeID.none
    var current: Generation
    /// Members that have not accepted yet.
    var pending = NodeSet()
    /// With quorum: who has it durably, this node included, and who must vote besides the record's own voters.
    var accepted = NodeSet()
    var formerVoters = NodeSet()
    var offeredAt = MonotonicTime(nanoseconds: 0)
    /// With quorum: for the first time.
    var firstOfferedAt = MonotonicTime(nanoseconds: 0)
    var began = MonotonicTime(nanoseconds: 0)
    /// The record is in the superblock already (`persisting` comes before `offering`).
    var isApplied = false

    /// Writes go on meanwhile.
    var isHarmless: Bool {
        switch purpose {
        case .admit, .dismiss: true
        // With quorum; between two, who does not answer is waited for by name, and cut off.
        case .grow: pending.isEmpty
        default: false
        }
    }
}

extension Replica {
    // MARK: Need

    /// Something waits that only a record without an absent member can let go.
    private var replyWaits: Bool {
        mutating get {
            guard leads else { return false }
            if isByMajority, unsettled.count > 0 || !lease.waiting.isEmpty || isKeeper { return true }
            if isByMajority, others.contains(where: { self[peer: $0].source.isComplete }) { return true }
            return isLeftOut(.goesOnOnlyForReplies) || table.clientWrites > 0 || !flushQueue.isEmpty
                || !rounds.nearQueue.isEmpty || (table.clients > 0 && (isUnsettled || !doubts.isEmpty))
        }
    }

    var lostMembers: NodeSet {
        var lost = NodeSet()
        for node in others where required.contains(node) && isLost(node) { lost.insert(node) }
        return lost
    }

    @inline(__always) private func isLost(_ node: NodeID) -> Bool {
        // One whose record is being made is on its way back; it has the cut-off time for that.
        self[peer: node].isCutOff && !self[peer: node].receivesWrites && self[peer: node].handshake != .exchanging
            && self[peer: node].relation != .establishing
    }

    var isHandshaking: Bool { others.contains { self[peer: $0].handshake == .exchanging } }

    /// Nothing asks for a record: said at once, because it is so after nearly each event.
    private var isRecordRight: Bool {
        mutating get {
            guard change == nil, hasDisk, detaching == nil, required.contains(me), !isLeaveUndecided, !isUnsettled
            else {
                return false
            }
            for node in others where required.contains(node) && isLost(node) { return false }
            return true
        }
    }

    mutating func advanceChange() {
        if isByMajority, leads, !holdsTerm, candidacy == nil {
            stopKeeping()
            return
        }
        startNeededChange()
        advanceVoters()
        while change != nil, stepChange() {}
    }

    private mutating func startNeededChange() {
        guard !isRecordRight else { return }
        guard acceptance == nil, !isHandshaking, stopping?.isLeaving != true else { return }
        if isByMajority, candidacy != nil { return }
        if let phase = change?.phase, phase != .offering || change?.loses.isEmpty != true {
            if !isByMajority || !isChangeStuck { return }
        }
        if !hasDisk || detaching?.wantsToLeave == true, role == .primary, required.contains(me) || hasMissedRecord {
            if isByMajority {
                startLeaving()
                return
            }
            let canInherit: (Peer.Relation) -> Bool = { $0 == .established || $0 == .carried }
            if change == nil,
                let heir = others.first(where: { canInherit(self[peer: $0].relation) && required.contains($0) })
            {
                // The record without this copy goes to the heir alone. Its term must be on this disk before: another run
                // on it would make it again. So a record of this run, that still names both, comes first.
                let isNewTerm =
                    !isByMajority && hasDisk && !isLeftOut(.termIsOnItsMakersDisk)
                    && nextNumber.term != superblock.promised
                begin(
                    isNewTerm ? .promote : .leaveSelf, losing: isNewTerm ? NodeSet() : NodeSet(me),
                    offeringTo: NodeSet(heir))
                return
            }
        }
        guard hasDisk, required.contains(me) else { return }
        if isLeaveUndecided, role == .primary, !isByMajority {
            let others = required.removing(me)
            guard !others.contains(where: { !mayGoOn(without: $0) }) else { return }
            abortChange()
            begin(.exclude, losing: others, offeringTo: NodeSet())
            return
        }
        guard replyWaits || isByMajority && isChangeStuck || leads && isNamingDeparted else { return }
        let lost = lostMembers.union(giveUpTardy())
        if !lost.isEmpty {
            guard !lost.contains(where: { !mayGoOn(without: $0) }) else { return }
            let losing = isByMajority ? lost.union(change?.loses ?? NodeSet()) : lost
            abortChange()
            begin(.exclude, losing: losing, offeringTo: NodeSet())
            if isLeftOut(.recordBeforeReply) || isLeftOut(.changeHoldsReplies) { lost.forEach { dropLegs(to: $0) } }
        } else if isUnsettled {
            isUnsettled = false
            attention = true
        }
    }

    /// With quorum: the members that are there go on with this primary, and without its disk. Whoever is lost is left out with it;
    /// and all but one, if they may differ: from here nothing is settled any more.
    private mutating func startLeaving() {
        guard change == nil || isChangeStuck else { return }
        var losing = lostMembers.union(giveUpTardy()).union(change?.loses ?? NodeSet()).inserting(me)
        // Not who is about to join: it is not whole, and would not take the record; but others would, and it is the newest then.
        let heirs = required.intersection(isLeftOut(.heirIsMember) ? required : superblock.record.inStep)
            .subtracting(losing)
        let isHeir: (NodeID) -> Bool = { heirs.contains($0) && self[peer: $0].receivesWrites }
        guard let heir = nearFirst(isHeir) else { return }
        if unsettled.count > 0, !isLeftOut(.leaverKeepsOne) { losing = required.removing(heir) }
        abortChange()
        begin(.leaveSelf, losing: losing, offeringTo: NodeSet())
    }

    mutating func begin(_ purpose: Change.Purpose, losing loses: NodeSet, offeringTo members: NodeSet) {
        precondition(change == nil, "one record after the other")
        change = Change(purpose: purpose, loses: loses, current: superblock.current, pending: members)
        change?.began = now
        for node in others where loses.contains(node) && self[peer: node].theirs?.isPrimary == true {
            change?.served.insert(node)
        }
        // Nothing that was written before rests on it.
        if change?.isHarmless == true { change?.phase = .flushing(0) }
        attention = true
    }

    /// A change that only waited for an answer is given up; what it persisted names the same members.
    mutating func abortChange() {
        guard let given = change else { return }
        change = nil
        attention = true
        switch given.purpose {
        case .promote, .found, .force: promotion?.isUnderWay = false
        case .handOver: handedOver()
        case .grow: growthRecordAborted()
        case .exclude, .establish, .leaveSelf, .join, .keep, .admit, .dismiss: break
        }
    }

    /// The session to a node ended: nothing is offered there any more.
    mutating func changeLost(_ node: NodeID) {
        // What waits for a write that the lost member may hold is begun again without it, or when it is back.
        if let change, case .join = change.purpose, change.phase == .draining, required.contains(node) { abortChange() }
        guard let change, change.pending.contains(node) else { return }
        if change.phase == .offering, !hasDisk, !change.record.inStep.contains(me) { hasOfferedWithoutMe = true }
        // With quorum only the joining copy is waited for by name.
        if change.purpose == .leaveSelf, change.phase == .offering, hasDisk, !isByMajority {
            isLeaveUndecided = !isLeftOut(.undecidedLeaveIsReplaced)
        }
        abortChange()
    }

    // MARK: Steps

    /// True when it took a step.
    private mutating func stepChange() -> Bool {
        guard let current = change else { return false }
        switch current.phase {
        case .draining:
            guard !isWritingLocally, !isJoinBusy(current), !isLeavingHeld(current) else { return false }
            let number = hasDisk ? requestFlush() : 0
            change?.phase = .flushing(number)
        case .flushing(let number):
            guard isFlushed(number) || isLeftOut(.flushBeforeRecord) else { return false }
            formRecord()
        case .persistingRequired(let version):
            guard isDurable(version) else { return false }
            offerJoin()
        case .persisting(let version):
            guard isDurable(version) else { return false }
            if isByMajority {
                offerToVoters()
            } else if current.pending.isEmpty {
                finishChange()
            } else {
                offer()
            }
        case .offering: return false
        }
        return true
    }

    private var isWritingLocally: Bool {
        table.contains { $0.isWrite && $0.localPending }
    }

    /// What was answered, and the heir has not on its disk, is nowhere else once this disk is left.
    private func isLeavingHeld(_ change: Change) -> Bool {
        change.purpose == .leaveSelf && !isLeftOut(.leaverDrainsHeld)
            && (0..<held.count).contains { !held[$0].legs.subtracting(change.loses).isEmpty }
    }

    /// A join waits until nothing that was sent to the target is unanswered.
    private func isJoinBusy(_ change: Change) -> Bool {
        guard case .join(let node) = change.purpose, !isLeftOut(.joinHoldsWrites) else { return false }
        let concerned = required.inserting(node)
        let isBusy = (0..<held.count).contains { !held[$0].legs.intersection(concerned).isEmpty }
        if isBusy, !isLeftOut(.joinWaitsForHeld) { return true }
        return table.contains {
            ($0.isReplicated && $0.phase == .running) || ($0.kind == .pullRead && $0.peer == node)
        }
    }

    /// The record, the line and the bases become durable in one superblock write. The marks of what was unconfirmed are
    /// held by hot extents until their pages are written.
    mutating func applyAndPersist() {
        guard var change else { return }
        change.formerVoters = change.purpose == .force ? change.record.voters : voters(of: superblock.record)
        adoptRecord(change.record, change.current, losing: change.loses)
        if change.volume.isNone { change.volume = VolumeID(rawValue: random.identity()) }
        superblock.volume = change.volume
        superblock.promised = change.record.number.term
        let isOffered = !asynchronous.isEmpty && change.purpose == .promote && !change.pending.isEmpty
        if isOffered, !isByMajority { superblock.flags.insert(.offered) }
        if candidacy?.isLossy == true { superblock.flags.insert(.offered) }
        let keepsLost = change.purpose == .exclude && role != .primary && !isLeftOut(.idleSourceKeepsTarget)
        // With quorum a record that is not chosen yet lets nobody go.
        let isUndecided = isByMajority && change.purpose != .force && !isLeftOut(.undecidedLetsNobodyGo)
        let keepsAll = keepsLost || isUndecided
        superblock.required = keepsAll ? required.union(change.record.inStep) : change.record.inStep
        if change.purpose == .force { takeForWhole() }
        // Alone in step: what this copy holds is what counts from now on. Not where it was put back as it was: that only an
        // administrator's word ends, or being filled.
        if change.record.inStep == NodeSet(me) {
            superblock.flags.remove(.suspect)
            if !superblock.flags.contains(.rolledBack) { superblock.flags.remove(.outdated) }
        }
        change.isApplied = true
        change.phase = .persisting(persistSuperblock())
        self.change = change
        advanceMetadata()
    }

    /// An administrator says that this copy counts. The marks of one that was put back as it was, or with quorum half filled, say
    /// nothing of what it lacks beside others (than its source): between it and them everything is copied (seed 82863).
    private mutating func takeForWhole() {
        let isPutBack = superblock.flags.contains(.rolledBack)
        let isHalf = isByMajority && superblock.flags.contains(.inconsistent)
        for node in others where isPutBack || isHalf && !isLeftOut(.forcedHalfFillsAll) {
            superblock.peers[node].base = .everything(.none)
        }
        superblock.flags.subtract([.inconsistent, .suspect, .outdated, .rolledBack])
    }

    /// A candidate may hear only with the votes of a copy that joined meanwhile: it holds what this one holds, but for what is
    /// not settled.
    private mutating func takeJoined(_ node: NodeID) {
        guard isByMajority, candidacy != nil, superblock.peers[node].base != .inStep else { return }
        self[bitmap: node].clearAll()
        if unsettled.count > 0 { self[bitmap: node].formUnion(unsettled) }
    }

    /// ACCEPT's effect on the line: who is left out gets a base, and everything unconfirmed is marked toward it.
    mutating func adoptRecord(_ record: Record, _ current: Generation, losing loses: NodeSet) {
        if isByMajority, superblock.record.isEmpty { forgetMarksOfNoLine(toward: record.inStep) }
        for node in others where !record.inStep.contains(node) {
            if superblock.peers[node].base == .inStep, !superblock.current.id.isNone {
                superblock.peers[node].base = .since(superblock.current.id)
            }
            if !isLeftOut(.unconfirmedMarkedAtLoss) { markUnconfirmed(toward: node) }
        }
        for node in others where record.inStep.contains(node) && !loses.contains(node) {
            takeJoined(node)
            superblock.peers[node].base = .inStep
        }
        distrustUnnamed(record)
        extendLine(with: current)
        superblock.record = record
        superblock.flags.remove(.offered)
        noteLagging()
        noteStatus()
    }

    /// No record ever named any of those that found the volume, and nobody wrote: what is marked comes from metadata that does not
    /// verify. Kept, it is toward a member, in no round and nothing to settle, and never goes (seed 885000403).
    private mutating func forgetMarksOfNoLine(toward founders: NodeSet) {
        guard superblock.current.id == .zero, !isLeftOut(.firstRecordForgetsMarks) else { return }
        for node in others where founders.contains(node) { self[bitmap: node].clearAll() }
    }

    mutating func extendLine(with current: Generation) {
        guard current.id != superblock.current.id else { return }
        if !superblock.current.id.isNone, !isLeftOut(.lineKeepsGenerations) {
            superblock.history.removeAll { $0.id == superblock.current.id }
            superblock.history.insert(superblock.current, at: 0)
            if superblock.history.count > Superblock.historyLimit { superblock.history.removeLast() }
        }
        superblock.current = current
    }

    /// This copy counts no more, or there is none: the record is the others' to keep.
    mutating func offerFromElsewhere() {
        let former = voters(of: superblock.record)
        change?.pending = NodeSet()
        change?.formerVoters = former
        offerToVoters()
    }

    // MARK: Offering

    mutating func offer() {
        guard var change else { return }
        change.phase = .offering
        change.offeredAt = now
        self.change = change
        let proposal = Proposal(volume: change.volume, record: change.record, current: change.current)
        for node in change.pending { send(.propose(proposal), to: node) }
    }

    /// `required` with the copy to be joined is durable before the offer: should this node crash in between, it must not
    /// acknowledge alone in a generation that the joined copy also has.
    mutating func requireJoining(_ node: NodeID) {
        if !isLeftOut(.requiredBeforeJoin) { superblock.required.insert(node) }
        let version = persistSuperblock()
        change?.phase = .persistingRequired(version)
        advanceMetadata()
    }

    private mutating func offerJoin() {
        guard var change, case .join(let node) = change.purpose else { return }
        change.phase = .offering
        change.offeredAt = now
        self.change = change
        // Of a node that is not tracked here nothing is known.
        var bases = PerNode(repeating: BitmapBase.everything(.none))
        for other in others { bases[other] = superblock.peers[other].base }
        if !isLeftOut(.joinTakesMarks) { tellMarks(to: node) }
        send(
            .joinOffer(
                JoinOffer(
                    volume: superblock.volume, record: change.record, current: superblock.current,
                    history: superblock.history, bases: bases)), to: node)
    }

    mutating func accepted(_ number: RecordNumber, by node: NodeID) {
        guard let current = change, current.phase == .offering, current.record.number == number,
            current.pending.contains(node)
        else {
            if isByMajority { acceptedByVoter(number, node) }
            return
        }
        change?.accepted.insert(node)
        change?.pending.remove(node)
        attention = true
        guard change?.pending.isEmpty == true else { return }
        if case .join(let joined) = current.purpose {
            let former = voters(of: superblock.record)
            change?.formerVoters = former
            superblock.record = current.record
            superblock.required = required.union(current.record.inStep)
            superblock.peers[joined].base = .inStep
            clearJoined(joined)
            change?.isApplied = true
            let version = persistSuperblock()
            change?.phase = .persisting(version)
        } else if case .admit = current.purpose, !current.isApplied {
            applyAndPersist()
        } else if !current.isApplied {
            // Without a disk the record lives at the members, which have accepted it.
            extendLine(with: current.current)
            superblock.record = current.record
            superblock.required = current.record.inStep
            superblock.promised = current.record.number.term
            finishChange()
        } else {
            finishChange()
        }
    }

    mutating func rejected(_ number: RecordNumber, _ reason: RejectReason, by node: NodeID) {
        guard let current = change, current.phase == .offering, current.record.number == number else { return }
        // One voter of many: it will be offered again, or a higher term is heard of, or it is done without.
        if isByMajority, current.pending.isEmpty { return }
        note(.warning, "record", "record \(number) refused: \(reason)", peer: node)
        abortChange()
        switch current.purpose {
        case .promote: promotionRejected(reason, by: node)
        case .handOver: break
        default: restartSession(node, "it refused the record")
        }
    }
}
