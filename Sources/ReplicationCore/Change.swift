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
    var current: Generation
    /// Members that have not accepted yet.
    var pending = NodeSet()
    var offeredAt = MonotonicTime(nanoseconds: 0)
    /// The record is in the superblock already (`persisting` comes before `offering`).
    var isApplied = false
}

extension Replica {
    // MARK: Need

    /// Something waits that only a record without an absent member can let go.
    private var replyWaits: Bool {
        guard role == .primary else { return false }
        return isLeftOut(.goesOnOnlyForReplies) || table.clientWrites > 0 || !flushQueue.isEmpty
            || (table.clients > 0 && (isUnsettled || !doubts.isEmpty))
    }

    private var lostMembers: NodeSet {
        var lost = NodeSet()
        for node in others where required.contains(node) {
            let peer = self[peer: node]
            // One whose record is being made is on its way back; it has the cut-off time for that.
            let isReturning = peer.handshake == .exchanging || peer.relation == .establishing
            if peer.isCutOff, !peer.receivesWrites, !isReturning { lost.insert(node) }
        }
        return lost
    }

    var isHandshaking: Bool { others.contains { self[peer: $0].handshake == .exchanging } }

    mutating func advanceChange() {
        startNeededChange()
        while change != nil, stepChange() {}
    }

    private mutating func startNeededChange() {
        guard acceptance == nil, !isHandshaking, stopping?.isLeaving != true else { return }
        if change != nil, change?.phase != .offering || change?.loses.isEmpty != true { return }
        if !hasDisk || detaching?.wantsToLeave == true, role == .primary, required.contains(me) {
            let canInherit: (Peer.Relation) -> Bool = { $0 == .established || $0 == .carried }
            if change == nil, let heir = others.first(where: { canInherit(self[peer: $0].relation) }) {
                // The record without this copy goes to the heir alone. Its term must be on this disk before: another run
                // on it would make it again. So a record of this run, that still names both, comes first.
                let isNewTerm = hasDisk && !isLeftOut(.termIsOnItsMakersDisk) && nextNumber.term != superblock.promised
                begin(
                    isNewTerm ? .promote : .leaveSelf, losing: isNewTerm ? NodeSet() : NodeSet(me),
                    offeringTo: NodeSet(heir))
                return
            }
        }
        guard hasDisk, required.contains(me) else { return }
        if isLeaveUndecided, role == .primary {
            abortChange()
            begin(.exclude, losing: required.removing(me), offeringTo: NodeSet())
            return
        }
        guard replyWaits else { return }
        let lost = lostMembers
        if !lost.isEmpty {
            abortChange()
            begin(.exclude, losing: lost, offeringTo: NodeSet())
            if isLeftOut(.recordBeforeReply) { lost.forEach { dropLegs(to: $0) } }
        } else if isUnsettled {
            isUnsettled = false
            attention = true
        }
    }

    mutating func begin(_ purpose: Change.Purpose, losing loses: NodeSet, offeringTo members: NodeSet) {
        precondition(change == nil, "one record after the other")
        change = Change(purpose: purpose, loses: loses, current: superblock.current, pending: members)
        for node in others where loses.contains(node) && self[peer: node].theirs?.isPrimary == true {
            change?.served.insert(node)
        }
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
        case .exclude, .establish, .leaveSelf, .join: break
        }
    }

    /// The session to a node ended: nothing is offered there any more.
    mutating func changeLost(_ node: NodeID) {
        guard let change, change.pending.contains(node) else { return }
        if change.purpose == .leaveSelf, change.phase == .offering, hasDisk {
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
            guard !isWritingLocally, !isJoinBusy(current) else { return false }
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
            if current.pending.isEmpty { finishChange() } else { offer() }
        case .offering: return false
        }
        return true
    }

    private var isWritingLocally: Bool {
        table.contains { $0.isWrite && $0.localPending }
    }

    /// A join waits until nothing that was sent to the target is unanswered.
    private func isJoinBusy(_ change: Change) -> Bool {
        guard case .join(let node) = change.purpose, !isLeftOut(.joinHoldsWrites) else { return false }
        return table.contains {
            ($0.isClientWrite && $0.phase == .running) || ($0.kind == .pullRead && $0.peer == node)
        }
    }

    /// The number of the next record: this run's term goes on, or a higher one begins. A term belongs to one run and a
    /// number to one record, also to one that was offered and never heard of again: else two different records could bear
    /// one number, and `HandshakeVerdict` could not tell which of a term's records took the other's place.
    private var nextNumber: RecordNumber {
        var other = RecordNumber(term: .zero, index: 0)
        for node in others where !isLeftOut(.termAboveBoth) {
            if let theirs = self[peer: node].theirs { other = max(other, theirs.record.number) }
        }
        let isReused = isLeftOut(.offeredNumbersCount)
        let number = isReused ? superblock.record.number : max(superblock.record.number, proposed)
        if number == proposed || isReused && number.term.counter > 0, number.term.node == me,
            superblock.promised == number.term, other < number
        {
            let index = isLeftOut(.recordsAreNumbered) ? number.index : number.index + 1
            return RecordNumber(term: number.term, index: index)
        }
        let counter = max(superblock.promised.counter, number.term.counter, other.term.counter) + 1
        return RecordNumber(term: Term(counter: counter, node: me), index: 1)
    }

    private mutating func formRecord() {
        guard var change else { return }
        var record = superblock.record
        record.number = nextNumber
        proposed = record.number
        if record.isEmpty {
            record.lineage = LineageID(rawValue: random.identity())
            record.size = superblock.size
            for member in configuration.members { record.voters.insert(member.id) }
        }
        if hasDisk { record.instances[me] = superblock.instance }
        // `.zero` says that a copy holds nothing but zeroes: the first record ends that, or a copy made anew would look as
        // if it had missed nothing.
        let members = isLeftOut(.requiredDecidesGeneration) ? record.inStep : required
        var newGeneration = !change.loses.intersection(members).isEmpty && !isLeftOut(.generationForLostMember)
        newGeneration = newGeneration || superblock.current.id == .zero && !isLeftOut(.zeroEndsWithRecord)
        switch change.purpose {
        case .exclude:
            record.inStep = required.subtracting(change.loses)
            if record.inStep.isEmpty { record.inStep = NodeSet(me) }
            // One that is served by this copy, and filled by it, stays primary, also when its session ended meanwhile.
            let served = change.loses.first { self[peer: $0].theirs?.isPrimary ?? change.served.contains($0) }
            record.primary = role == .primary ? me : isLeftOut(.servedStaysNamed) ? nil : served
            // Nobody writes: no acknowledgement can come to lack the copy, so the line goes on. `required` keeps it, and
            // whoever writes here later needs it, or a generation of its own.
            if role != .primary, !isLeftOut(.idleSourceKeepsTarget) { newGeneration = superblock.current.id == .zero }
        case .establish(let node): establish(node, &record)
        case .promote:
            record.primary = me
            record.inStep = (hasDisk ? required : required.removing(me)).subtracting(change.loses)
            newGeneration = newGeneration || (required.contains(me) && !hasDisk)
        case .handOver: record.primary = nil
        case .leaveSelf:
            record.inStep = required.removing(me)
            // Promoted apart, and no reply has waited yet: the record does not name this primary.
            if role == .primary, !isLeftOut(.leavingPrimaryIsNamed) { record.primary = me }
        case .join(let node):
            record.inStep = record.inStep.inserting(node)
            // Promoted while it was the source of a record that nobody served under.
            if role == .primary, !isLeftOut(.whoServesIsNamed) { record.primary = me }
            record.instances[node] = self[peer: node].theirs?.instance ?? .none
        case .found, .force:
            if change.purpose == .force, !isLeftOut(.forceBeginsLineage) {
                record.lineage = LineageID(rawValue: random.identity())
            }
            record.inStep = NodeSet(me)
            record.primary = me
            newGeneration = true
        }
        // Made without its maker's disk: a later run on that one knows nothing of it (`HandshakeVerdict.tookBack`).
        if !hasDisk, !record.inStep.contains(me), !isLeftOut(.termIsOnItsMakersDisk) { record.instances[me] = .none }
        if newGeneration {
            change.current = Generation(id: GenerationID(rawValue: random.identity()), node: me, began: wallTime)
        }
        record.generation = change.current.id
        change.record = record
        self.change = change
        switch change.purpose {
        case .join(let node): requireJoining(node)
        case .leaveSelf: offer()
        case .promote where !hasDisk: offer()
        default: applyAndPersist()
        }
    }

    private mutating func establish(_ node: NodeID, _ record: inout Record) {
        guard let theirs = self[peer: node].theirs else { return }
        if superblock.record.isEmpty {
            record.size = min(superblock.size, theirs.capacity / Geometry.blockSize * Geometry.blockSize)
        }
        record.inStep = NodeSet(me, node)
        record.instances[node] = theirs.instance
        record.primary = role == .primary ? me : nil
    }

    /// The record, the line and the bases become durable in one superblock write. The marks of what was unconfirmed are
    /// held by hot extents until their pages are written.
    private mutating func applyAndPersist() {
        guard var change else { return }
        adoptRecord(change.record, change.current, losing: change.loses)
        if superblock.volume.isNone { superblock.volume = VolumeID(rawValue: random.identity()) }
        superblock.promised = change.record.number.term
        let keepsLost = change.purpose == .exclude && role != .primary && !isLeftOut(.idleSourceKeepsTarget)
        superblock.required = keepsLost ? required.union(change.record.inStep) : change.record.inStep
        if change.purpose == .force { superblock.flags.subtract([.inconsistent, .suspect, .outdated, .rolledBack]) }
        // Alone in step: what this copy holds is what counts from now on.
        if change.record.inStep == NodeSet(me) { superblock.flags.subtract([.suspect, .outdated]) }
        change.isApplied = true
        change.phase = .persisting(persistSuperblock())
        self.change = change
        advanceMetadata()
    }

    /// ACCEPT's effect on the line: who is left out gets a base, and everything unconfirmed is marked toward it.
    mutating func adoptRecord(_ record: Record, _ current: Generation, losing loses: NodeSet) {
        for node in others where !record.inStep.contains(node) {
            if superblock.peers[node].base == .inStep, !superblock.current.id.isNone {
                superblock.peers[node].base = .since(superblock.current.id)
            }
            if hasDisk, !isLeftOut(.unconfirmedMarkedAtLoss) {
                for index in 0..<unconfirmed.count { self[bitmap: node].mark(unconfirmed[index].range.blocks) }
            }
        }
        for node in others where record.inStep.contains(node) && !loses.contains(node) {
            superblock.peers[node].base = .inStep
        }
        extendLine(with: current)
        superblock.record = record
        noteStatus()
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

    // MARK: Offering

    private mutating func offer() {
        guard var change else { return }
        change.phase = .offering
        change.offeredAt = now
        self.change = change
        let proposal = Proposal(volume: superblock.volume, record: change.record, current: change.current)
        for node in change.pending { send(.propose(proposal), to: node) }
    }

    /// `required` with the copy to be joined is durable before the offer: should this node crash in between, it must not
    /// acknowledge alone in a generation that the joined copy also has.
    private mutating func requireJoining(_ node: NodeID) {
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
        send(
            .joinOffer(
                JoinOffer(
                    volume: superblock.volume, record: change.record, current: superblock.current,
                    history: superblock.history)), to: node)
    }

    mutating func accepted(_ number: RecordNumber, by node: NodeID) {
        guard let current = change, current.phase == .offering, current.record.number == number,
            current.pending.contains(node)
        else { return }
        change?.pending.remove(node)
        attention = true
        guard change?.pending.isEmpty == true else { return }
        if case .join(let joined) = current.purpose {
            superblock.record = current.record
            superblock.required = current.record.inStep
            superblock.peers[joined].base = .inStep
            clearJoined(joined)
            change?.isApplied = true
            let version = persistSuperblock()
            change?.phase = .persisting(version)
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
        note(.warning, "record", "record \(number) refused: \(reason)", peer: node)
        abortChange()
        switch current.purpose {
        case .promote: promotionRejected(reason, by: node)
        case .handOver: break
        default: restartSession(node, "it refused the record")
        }
    }

    // MARK: Chosen

    private mutating func finishChange() {
        guard let done = change else { return }
        change = nil
        attention = true
        let members = done.record.inStep.map { name($0) }.joined(separator: ", ")
        note(.info, "record", "record \(done.record.number): in step: \(members); generation \(done.record.generation)")
        if done.record.inStep == NodeSet(me) || done.loses.contains(me) {
            if hasDisk { dropAllUnconfirmed() }
            isUnsettled = false
        }
        for node in done.loses where node != me { leftOut(node) }
        for node in done.record.inStep where node != me { send(.chosen(done.record.number), to: node) }
        switch done.purpose {
        case .establish(let node): becomeEstablished(node)
        case .join(let node): joined(node)
        case .promote, .found, .force: becomePrimary()
        case .handOver: handedOver()
        case .leaveSelf: selfLeft()
        case .exclude: isLeaveUndecided = false
        }
        doubts = doubts.intersection(required)
        recheckHeld()
    }

    private mutating func leftOut(_ node: NodeID) {
        doubts.remove(node)
        self[peer: node].lostAt = nil
        self[peer: node].resumableRun = .none
        dropLegs(to: node)
        dropFromRound(node)
        note(.warning, "replication", "left behind: goes on without it", peer: node)
        if self[peer: node].relation == .establishing || self[peer: node].relation == .established {
            restartSession(node, "left behind")
        }
    }

    private mutating func selfLeft() {
        for slot in table.slots(where: { $0.isClientWrite && $0.localFailed }) { finishWriteIfDone(slot) }
        if detaching != nil { failDisk("detached") }
    }

    /// Replies that a pending record, a doubt or the role held back are looked at again.
    mutating func recheckHeld() {
        for slot in table.slots(where: { $0.isClientWrite && $0.phase == .running }) { finishWriteIfDone(slot) }
        attention = true
    }

    /// The peer says that its record is chosen.
    mutating func chosen(_ number: RecordNumber, told node: NodeID) {
        guard superblock.record.number == number, acceptance == nil else { return }
        if self[peer: node].relation == .establishing || self[peer: node].relation == .target {
            becomeEstablished(node)
        }
    }

    /// The peer's disk is gone: its copy counts no more, its node may still rely on this one.
    mutating func peerDiskFailed(_ node: NodeID) {
        guard self[peer: node].isConnected, self[peer: node].relation != .carrier else { return }
        let relation = self[peer: node].relation
        note(.warning, "disk", "its disk failed or was detached", peer: node)
        unconfirmed.forgetSending(to: node)
        endResync(node, relation)
        self[peer: node].relation = hasDisk ? .carrier : .nothing
        self[peer: node].isCutOff = true
        self[peer: node].resumableRun = .none
        changeLost(node)
        if !required.contains(node) {
            dropLegs(to: node)
            dropFromRound(node)
        }
        attention = true
    }
}
