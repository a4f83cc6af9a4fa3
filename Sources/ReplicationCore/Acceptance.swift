import Model

/// A record that another node offers, on its way into this copy (ACCEPT).
struct Acceptance {
    enum Kind {
        case record(Proposal)
        case begin(Proposal, everything: Bool)
        case join(JoinOffer)
        /// No record: the promise of a term (`6-protocol`, PROMOTE 3).
        case vote(Term)
        /// A record that this copy has already: its answer was lost.
        case repeated(RecordNumber)
    }

    enum Phase: Equatable {
        case draining
        case flushing(UInt64)
        /// Marks that the record's durability rests on are written.
        case marking
        case persisting(UInt64)
    }

    var from: NodeID
    var session: SessionID
    var kind: Kind
    var phase = Phase.draining

    var isVote: Bool {
        if case .vote = kind { return true }
        return false
    }

    /// The record is here, though it was offered again: the word that it is chosen, which comes but once, means this copy.
    var isRepeated: Bool {
        if case .repeated = kind { return true }
        return false
    }

    /// Nothing was changed yet.
    var isAbandonable: Bool {
        if case .persisting = phase { return false }
        return true
    }
}

extension Record {
    /// Terms and indices up to here are taken from a peer. Frames and superblocks carry twice as much: with the highest
    /// that they carry, the next one of ours could not be read back from our own disk.
    private static let highestTaken: UInt64 = 1 << 61

    /// A volume of whole blocks, under a number that leaves enough above it.
    var isPossible: Bool {
        size % Geometry.blockSize == 0 && number.term.counter <= Self.highestTaken && number.index <= Self.highestTaken
    }
}

extension Replica {
    mutating func proposed(_ proposal: Proposal, by node: NodeID) {
        let number = proposal.record.number
        if let reason = isByMajority ? objectionByMajority(to: proposal, by: node) : objection(to: proposal, by: node) {
            send(.rejected(number, reason), to: node)
            // Whatever the number lacks, it gets at the next handshake.
            let isLower = proposal.record.primary == node && node < me && !isLeftOut(.higherCandidateYields)
            if isByMajority {
                send(.standing(standing), to: node)
            } else if change?.purpose == .promote, isLower {
                yieldPromotion(to: node)
            }
            return
        }
        let isKnown = isByMajority && number == superblock.record.number
        if isByMajority, !isKnown { yield(to: node) }
        abortChange()
        let kind: Acceptance.Kind = isKnown ? .repeated(number) : .record(proposal)
        acceptance = Acceptance(from: node, session: self[peer: node].session, kind: kind)
        // Nobody is left out and nobody else takes over: nothing that was written before rests on it.
        // A hand-over says that all is stable.
        let isHandOver =
            proposal.record.primary == nil && superblock.record.primary != nil && !isLeftOut(.takenHandOverIsFlushed)
        let losesNobody = superblock.record.inStep.isSubset(of: proposal.record.inStep) && !isHandOver
        if isKnown || (isByMajority && losesNobody && superblock.record.number.term == number.term) {
            acceptance?.phase = .flushing(0)
        }
        attention = true
    }

    /// Not more than the disk has: behind the data may lie its metadata. The handshake compares sizes too, but a record can
    /// come that names another one than the state did.
    private func hasRoom(for record: Record) -> Bool {
        if isLeftOut(.recordFitsDisk) { return true }
        // What it is to have zeroes in is not another's data yet.
        if let room, record.size > room.from, !isLeftOut(.roomIsMadeFirst) { return false }
        return record.isPossible && record.size > 0 && (!hasDisk || isWitness || record.size <= superblock.size)
    }

    /// With quorum every voter and member takes a newer record of a term that it did not outlive.
    private func objectionByMajority(to proposal: Proposal, by node: NodeID) -> RejectReason? {
        let record = proposal.record
        guard hasDisk else { return .noDisk }
        guard acceptance == nil, stopping == nil, detaching == nil, record.number.term.node == node else {
            return .notNow
        }
        // An acceptance is a vote: one that was put back as it was, and forgot its promises, has none. Who fills it knows that.
        let relation = self[peer: node].relation
        if !remembersPromises, relation != .target, relation != .targetWaiting { return .notNow }
        let isFounded = superblock.flags.contains(.founded)
        if isFounded, superblock.volume != proposal.volume { return .notNow }
        guard superblock.record.isEmpty || superblock.record.lineage == record.lineage else { return .notNow }
        let isOlder = record.number.term < superblock.promised || record.number < superblock.record.number
        if isOlder, !isLeftOut(.olderTermMakesNoRecord) { return .olderTerm }
        if record == superblock.record { return nil }
        if record.number == superblock.record.number { return .olderTerm }
        guard record.inStep.contains(me) else { return nil }
        let isWhole = hasWholeCopy && hasRoom(for: record) && !superblock.flags.contains(.suspect)
        return isWhole && isNamed(me, superblock.instance, by: record) ? nil : .notNow
    }

    private func objection(to proposal: Proposal, by node: NodeID) -> RejectReason? {
        let record = proposal.record
        guard hasRoom(for: record) else { return .notNow }
        let relation = self[peer: node].relation
        guard relation == .establishing || relation == .established || relation == .carrier || relation == .carried,
            acceptance == nil
        else { return .notNow }
        if !superblock.volume.isNone, superblock.volume != proposal.volume { return .notNow }
        let sameLine = superblock.record.isEmpty || superblock.record.lineage == record.lineage
        if sameLine, record.number <= superblock.record.number || record.number.term < superblock.promised {
            return .olderTerm
        }
        if record.primary == node, role == .primary, !isLeftOut(.primaryRefusesCandidates) { return .isPrimary }
        if let change, record.primary == node, change.purpose == .promote, me < node { return .candidateToo }
        if change != nil, change?.phase != .offering { return .notNow }
        if !hasDisk, record.inStep.contains(me) { return .noDisk }
        if relation == .carrier, superblock.record.primary != nil, record.inStep.contains(me),
            !superblock.flags.intersection([.suspect, .inconsistent, .outdated]).isEmpty
        {
            return .notNow
        }
        return nil
    }

    mutating func resyncBegun(_ proposal: Proposal, everything: Bool, by node: NodeID) {
        if postpone(.begin(proposal, everything: everything), by: node) { return }
        // It was on its way when a higher term was promised: what was promised to another line ends with that line only.
        let isOlder =
            isByMajority && !isOfOtherLine(proposal.record)
            && (proposal.record.number.term < superblock.promised || proposal.record.number < superblock.record.number)
        guard self[peer: node].relation == .targetWaiting, acceptance == nil, change == nil, hasDisk,
            !isOlder || isLeftOut(.promiseIsKept),
            role != .primary || !required.contains(me), hasRoom(for: proposal.record)
        else {
            restartSession(node, "a resync cannot begin now")
            return
        }
        if keepsAside(before: proposal, everything: everything, by: node) { return }
        acceptance = Acceptance(
            from: node, session: self[peer: node].session, kind: .begin(proposal, everything: everything))
        attention = true
    }

    mutating func joinOffered(_ offer: JoinOffer, by node: NodeID) {
        if postpone(.join(offer), by: node) { return }
        let isOlder =
            isByMajority
            && (offer.record.number.term < superblock.promised || offer.record.number < superblock.record.number)
        guard self[peer: node].relation == .target, acceptance == nil, change == nil, hasDisk, !isOlder,
            offer.record.inStep.contains(me), self[peer: node].target.completeSent, hasRoom(for: offer.record)
        else {
            restartSession(node, "it offers to join too early")
            return
        }
        acceptance = Acceptance(from: node, session: self[peer: node].session, kind: .join(offer))
        attention = true
    }

    /// With quorum a record goes to all voters, and what follows from it may come while it is being taken here.
    private mutating func postpone(_ kind: Acceptance.Kind, by node: NodeID) -> Bool {
        guard isByMajority, let acceptance, acceptance.from == node, postponed == nil else { return false }
        postponed = Acceptance(from: node, session: self[peer: node].session, kind: kind)
        return true
    }

    private mutating func takePostponed() {
        guard acceptance == nil, let later = postponed else { return }
        postponed = nil
        guard self[peer: later.from].session == later.session else { return }
        switch later.kind {
        case .begin(let proposal, let everything): resyncBegun(proposal, everything: everything, by: later.from)
        case .join(let offer): joinOffered(offer, by: later.from)
        default: break
        }
    }

    mutating func advanceAcceptance() {
        guard acceptance != nil || postponed != nil || isByMajority else { return }
        defer {
            takePostponed()
            concludePostponed()
        }
        while let current = acceptance {
            switch current.phase {
            case .draining:
                guard !isWritingOfOlderTerm || current.isVote && isLeftOut(.writesEndBeforeVote) else { return }
                let number = hasDisk ? requestFlush() : 0
                acceptance?.phase = .flushing(number)
            case .flushing(let number):
                guard
                    isFlushed(number) || isLeftOut(.flushBeforeAccepting)
                        || current.isVote && isLeftOut(.flushBeforeVote)
                else {
                    return
                }
                if case .join = current.kind { acceptance?.phase = .marking } else { adoptOffered(current) }
            case .marking:
                guard !isByMajority || writeBackPages() else { return }
                adoptOffered(current)
            case .persisting(let version):
                guard isDurable(version) || current.isVote && isLeftOut(.promiseBeforeVote) else { return }
                // The writes that a primary sends again began without this disk, and its source takes them for written here.
                if case .begin = current.kind, role == .primary, hasDisk, !isLeftOut(.sentAgainIsMarked),
                    !writeBackPages()
                {
                    return
                }
                acceptance = nil
                attention = true
                answer(current)
            }
        }
    }

    /// Everything that was finished before is flushed; now the offered record and what follows from it in one write.
    private mutating func adoptOffered(_ current: Acceptance) {
        if !current.isVote, !current.isRepeated { ceaseToFill(for: current.from) }
        switch current.kind {
        case .record(let proposal):
            if superblock.record.number.term < proposal.record.number.term { termTakenAt = now }
            if isByMajority, !proposal.record.inStep.contains(me) {
                adoptAsOutsider(proposal, from: current.from)
                break
            }
            let lost = superblock.record.inStep.subtracting(proposal.record.inStep)
            let isSameLeader =
                proposal.record.primary == superblock.record.primary
                && (!isByMajority || self[peer: current.from].run == leaderRun)
            if !isSameLeader { isByMajority ? gatherUnsettled() : beginLine() }
            self[peer: current.from].resentThrough = unconfirmed.newest
            superblock.mayHoldMore = false
            superblock.volume = proposal.volume
            for node in others where isByMajority && proposal.record.inStep.contains(node) {
                // Re-admitted: it holds what this copy holds.
                guard superblock.peers[node].base != .inStep else { continue }
                self[bitmap: node].clearAll()
                // It may have been put back as it was, and filled since.
                superblock.peers[node].seen = .none
            }
            adoptRecord(proposal.record, proposal.current, losing: lost)
            superblock.promised = max(superblock.promised, proposal.record.number.term)
            superblock.required = proposal.record.inStep
            countAsPong(proposal.record)
            // Alone in step, be it for a primary without a disk: what this copy holds is what counts from now on.
            if proposal.record.inStep == NodeSet(me) { superblock.flags.remove(.suspect) }
            if lost.isEmpty == false, proposal.record.inStep == NodeSet(me), hasDisk { dropAllUnconfirmed() }
        case .begin(let proposal, let everything):
            beginTarget(proposal, everything: everything, from: current.from)
        case .vote, .repeated: break
        case .join(let offer):
            superblock.volume = offer.volume
            superblock.record = offer.record
            countAsPong(offer.record)
            superblock.required = offer.record.inStep
            superblock.promised = offer.record.number.term
            superblock.current = offer.current
            superblock.history = offer.history
            for node in others where isByMajority && !isLeftOut(.joinTakesBases) {
                // The base says what the marks say, and those toward a node that was unknown then were not taken (seed 691513).
                let isMarked = !self[peer: current.from].target.entered.contains(node)
                superblock.peers[node].base = isMarked ? offer.bases[node] : .everything(.none)
            }
            for node in others where offer.record.inStep.contains(node) {
                // While this copy was out, they may have been put back as they were, and filled; so may the source.
                if isByMajority {
                    let isSource = node == current.from
                    superblock.peers[node].seen = isSource ? self[peer: node].theirs?.mark ?? .none : .none
                    self[peer: node].isPutBack = false
                }
                superblock.peers[node].base = .inStep
                self[bitmap: node].clearAll()
            }
            superblock.flags.subtract([.inconsistent, .suspect, .outdated, .rolledBack, .offered, .lags])
            noteLagging()
            dropAllUnconfirmed()
            forgetUnsettled()
            beginLine()
        }
        // A promise is no record: what is offered to clients here goes on.
        if !current.isVote, !current.isRepeated { formerSize = nil }
        fitBitmaps()
        let version = persistSuperblock()
        acceptance?.phase = .persisting(version)
        advanceMetadata()
    }

    /// Its primary may rest on an answer to a ping from before this copy knew whom the record names.
    private mutating func countAsPong(_ record: Record) {
        if isByMajority, let primary = record.primary, !isLeftOut(.recordCountsAsPong) { gaveLease(to: primary) }
    }

    /// ACCEPT, left out: the record is kept, line and bases stay; what was not confirmed may differ from anybody's.
    private mutating func adoptAsOutsider(_ proposal: Proposal, from node: NodeID) {
        for other in others where !isLeftOut(.outsiderMarks) { markUnconfirmed(toward: other) }
        forgetUnsettled()
        distrustUnnamed(proposal.record)
        // Who is left out by another leader than the one that it followed may hold more than that one, a copy that lags as well.
        let isOtherLeader = proposal.record.number.term.node != superblock.record.number.term.node
        let wasMember = isInStep(me, superblock.instance, by: superblock.record) && isOtherLeader
        if !relaxed.isEmpty, holders(of: superblock.record).contains(me) || wasMember { superblock.mayHoldMore = true }
        superblock.volume = proposal.volume
        superblock.record = proposal.record
        superblock.required = proposal.record.inStep
        superblock.promised = max(superblock.promised, proposal.record.number.term)
        noteStatus()
    }

    private mutating func beginTarget(_ proposal: Proposal, everything: Bool, from node: NodeID) {
        keptAside = nil
        superblock.mayHoldMore = false
        if !isLeftOut(.inconsistentBeforeResync) { superblock.flags.insert(.inconsistent) }
        if isLeftOut(.targetAddsItsMarks) { self[bitmap: node].clearAll() }
        superblock.volume = proposal.volume
        superblock.record = proposal.record
        superblock.required = proposal.record.inStep
        superblock.promised = proposal.record.number.term
        fitBitmaps()
        for index in 0..<unconfirmed.count where !isLeftOut(.targetAddsUnconfirmed) {
            self[bitmap: node].mark(unconfirmed[index].range.blocks)
        }
        // The source may die, and the next one knows nothing of what this copy took beside it (seed 80001990).
        for other in others where isByMajority { markUnconfirmed(toward: other) }
        dropAllUnconfirmed()
        forgetUnsettled()
        beginLine()
        // A primary's writes that went to the source alone, or may have not reached this disk.
        for slot in table.slots(where: { $0.isClientWrite && $0.phase == .running }) {
            self[bitmap: node].mark(table[slot].range.blocks)
        }
        if everything {
            self[bitmap: node].markAll()
            // With quorum another member may have to go on, and what it has marked says nothing of this copy.
            let endsHere = !isByMajority || isLeftOut(.rolledBackUntilJoin)
            if endsHere { superblock.flags.remove(.rolledBack) }
        }
        self[peer: node].target.everything = everything
    }

    private mutating func answer(_ current: Acceptance) {
        let node = current.from
        guard self[peer: node].session == current.session, self[peer: node].hasSession else { return }
        switch current.kind {
        case .record(let proposal):
            if isByMajority { follow(node, proposal.record) }
            send(.accepted(proposal.record.number, mark: mark), to: node)
        case .repeated(let number): send(.accepted(number, mark: mark), to: node)
        case .vote(let term): tellVote(term, to: node)
        case .begin: targetReady(node)
        case .join(let offer):
            leaderRun = self[peer: node].run
            send(.accepted(offer.record.number, mark: mark), to: node)
        }
    }
}
