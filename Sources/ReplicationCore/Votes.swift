import Model

/// Being asked (`quorum: majority`): inquiries are answered without effect; a vote is a promise, durable before it is told.
extension Replica {
    var isByMajority: Bool { configuration.quorum == .majority }

    /// Makes the order of writes or re-admits copies: no other node does at the same time (with quorum).
    var leads: Bool { role == .primary || isKeeper }

    /// The term of this node's record is its own, and it promised no higher one.
    var holdsTerm: Bool {
        let term = superblock.record.number.term
        return term.node == me && superblock.promised == term && term.counter > 0
    }

    var standing: Standing {
        Standing(
            instance: superblock.instance, volume: superblock.volume, promised: superblock.promised,
            record: superblock.record,
            isPrimary: role == .primary)
    }

    /// A disk that was put back as it was forgot what it had promised since: it votes again when it is filled.
    var remembersPromises: Bool {
        hasDisk && (!superblock.flags.contains(.rolledBack) || isLeftOut(.rolledBackHasNoVote))
    }

    /// What is on this disk is whole.
    var hasWholeCopy: Bool {
        hasDisk && !superblock.isBlank && superblock.flags.intersection([.inconsistent, .outdated]).isEmpty
    }

    // MARK: Majorities

    /// Before any record the configuration's nodes vote.
    func voters(of record: Record) -> NodeSet {
        guard record.isEmpty else { return record.voters }
        var voters = NodeSet()
        for member in configuration.members { voters.insert(member.id) }
        return voters
    }

    func isMajority(_ nodes: NodeSet, of voters: NodeSet) -> Bool {
        nodes.intersection(voters).count * 2 > voters.count
    }

    /// A disk or a memory made anew is another instance: it does not count until a record names it.
    func isNamed(_ node: NodeID, _ instance: InstanceID, by record: Record) -> Bool {
        record.isEmpty || (!instance.isNone && record.instances[node] == instance) || isLeftOut(.newInstanceIsNobody)
    }

    func isInStep(_ node: NodeID, _ instance: InstanceID, by record: Record) -> Bool {
        record.inStep.contains(node) && isNamed(node, instance, by: record)
    }

    /// Voters of the present record that this node has a session with, itself included.
    var reachableVoters: NodeSet {
        let record = superblock.record
        var reachable = NodeSet()
        if hasDisk, isNamed(me, superblock.instance, by: record) { reachable.insert(me) }
        for node in everyone where self[peer: node].hasSession {
            guard let standing = self[peer: node].standing, isNamed(node, standing.instance, by: record) else {
                continue
            }
            reachable.insert(node)
        }
        return reachable
    }

    package var hasQuorum: Bool { isMajority(reachableVoters, of: voters(of: superblock.record)) }

    // MARK: Standings

    /// What a node says of itself; a higher term than this primary's means that it has to win its own again, a newer
    /// record that it lost it.
    mutating func standingTold(_ standing: Standing, by node: NodeID) {
        let isFirst = self[peer: node].standing == nil
        self[peer: node].standing = standing
        self[peer: node].claimsPrimary = standing.isPrimary
        attention = true
        noteStatus()
        if !isOfOtherLine(standing.record) || isLeftOut(.linesHaveTheirTerms) {
            highestPromise = max(highestPromise, standing.promised)
            candidateHeard(standing, from: node)
        }
        noteForgottenTerm(standing.record, told: node)
        learn(standing.record, from: node)
        // A witness has no handshake: its word shows that it, and not only its listener, is there.
        if isFirst, isWitness || witnesses.contains(node) { self[peer: node].backoff = 0 }
        if isFirst {
            candidacy?.raised = 0
            offerAgain(to: node)
        }
    }

    /// Of a line that began with a promotion by force, here or there: its terms and records mean nothing in this one.
    func isOfOtherLine(_ record: Record) -> Bool { isOfOtherLine(record.lineage) }

    private func isOfOtherLine(_ lineage: LineageID) -> Bool {
        isByMajority && !lineage.isNone && !superblock.record.isEmpty && lineage != superblock.record.lineage
    }

    /// NEWER RECORD. It need not be chosen: who proposed it had a majority's promise.
    mutating func learn(_ record: Record, from node: NodeID) {
        // A candidate whose record was offered and not chosen is outbid like a primary.
        let isOutbid = candidacy.map { $0.isBinding && $0.term < record.number.term } ?? (change != nil)
        guard isByMajority, leads || isOutbid, !record.isEmpty, record.lineage == superblock.record.lineage,
            superblock.record.number < record.number, record.primary != me, record.number.term.node != me,
            !isLeftOut(.newerRecordDeposes)
        else { return }
        yield(to: node)
    }

    /// Another node holds a newer term.
    mutating func yield(to node: NodeID) {
        stopKeeping()
        endCandidacy()
        guard role == .primary else {
            abortChange()
            return
        }
        for other in others { markUnconfirmed(toward: other) }
        supersede(by: node)
    }

    mutating func markUnconfirmed(toward node: NodeID) {
        guard hasDisk else { return }
        for index in 0..<unconfirmed.count { self[bitmap: node].mark(unconfirmed[index].range.blocks) }
        if unsettled.count > 0 { self[bitmap: node].formUnion(unsettled) }
    }

    /// A node that was primary when it was last heard, less than a lease ago.
    func isHeardAsPrimary(_ node: NodeID) -> Bool {
        self[peer: node].claimsPrimary && now < self[peer: node].lastHeard + configuration.timing.leaseWaited
    }

    /// A node that is there, and whose term began less than a lease ago: it may serve when that is over. One without a disk waits a
    /// whole one, and whoever came sooner would outbid it, again and again.
    private func mayAwaitLease(_ node: NodeID) -> Bool {
        guard superblock.record.primary == node, self[peer: node].hasSession, let termTakenAt,
            !isLeftOut(.waitingOneObjects)
        else { return false }
        return now < termTakenAt + configuration.timing.leaseWaited
    }

    // MARK: Inquiries

    mutating func inquired(_ inquiry: Inquiry, _ stamp: FrameStamp, by node: NodeID) {
        self[peer: node].askedToLead = now
        let answer = InquiryAnswer(
            round: inquiry.round, objection: objection(to: inquiry, stamp, by: node), standing: standing)
        send(.inquiryAnswer(answer), to: node)
    }

    private func objection(to inquiry: Inquiry, _ stamp: FrameStamp, by node: NodeID) -> VoteObjection? {
        let record = superblock.record
        guard isByMajority, remembersPromises, stopping == nil, detaching == nil else { return .cannotVote }
        if isOfOtherLine(stamp.lineage) { return .otherLineage }
        if role == .primary { return .isPrimary }
        let isServed = others.contains {
            $0 != node && $0 != inquiry.fenced && (isHeardAsPrimary($0) || mayAwaitLease($0))
        }
        if isServed, !isLeftOut(.heardPrimaryObjects) { return .heardPrimary }
        return record.isEmpty || inquiry.isDiskless || isInStep(node, inquiry.instance, by: record) ? nil : .notInStep
    }

    // MARK: Votes

    /// What came of an older term is not all written: a promise waits for it. Also for a frame that waits for a slot of the log, or for
    /// a read of its range that a comparison makes: begun behind the flush, it was answered under a term that this node had promised
    /// not to serve any more (seed 80000026). Clients' writes that wait so have not begun: the gate holds them.
    var isWritingOfOlderTerm: Bool {
        isHoldingArrivals
            || table.contains {
                $0.isWrite
                    && ($0.localPending || !$0.isClient && ($0.phase == .waitingLog || $0.phase == .waitingOverlap))
            }
    }

    mutating func voteAsked(_ term: Term, _ stamp: FrameStamp, by node: NodeID) {
        let isFree = acceptance.map(\.isAbandonable) ?? true
        let isOfLine = !isOfOtherLine(stamp.lineage) || isLeftOut(.linesHaveTheirTerms)
        guard isByMajority, remembersPromises, term > superblock.promised || isLeftOut(.votesRise), term.node == node,
            role != .primary, isFree, isOfLine,
            stopping == nil, detaching == nil
        else {
            send(.standing(standing), to: node)
            return
        }
        endCandidacy()
        giveWay()
        stopKeeping()
        abortChange()
        // From here on nothing of an older term is taken.
        superblock.promised = term
        highestPromise = max(highestPromise, term)
        acceptance = Acceptance(from: node, session: self[peer: node].session, kind: .vote(term))
        attention = true
    }

    /// Everything applied is stable and the promise durable: the vote, after what is unconfirmed.
    mutating func tellVote(_ term: Term, to node: NodeID) {
        guard superblock.promised == term else {
            send(.standing(standing), to: node)
            return
        }
        let unconfirmed = unconfirmedBlocks()
        var cursor: UInt64 = 0
        while true {
            let runs = Self.runs(of: unconfirmed, from: &cursor)
            if runs.isEmpty { break }
            send(.voteRuns(runs), to: node)
        }
        send(
            .voted(
                Vote(
                    term: term, standing: standing, hasCopy: hasWholeCopy,
                    isSuspect: superblock.flags.contains(.suspect), capacity: superblock.size)), to: node)
    }

    /// Blocks in which this copy may differ from another member's: applied and not confirmed, replayed from the log, or
    /// not settled when this node led.
    func unconfirmedBlocks() -> DirtyBitmap {
        var blocks = unsettled.blocks > 0 ? unsettled : DirtyBitmap(blocks: volumeBlocks)
        for index in 0..<unconfirmed.count { blocks.mark(unconfirmed[index].range.blocks) }
        for node in others where superblock.record.inStep.contains(node) { blocks.formUnion(self[bitmap: node]) }
        return blocks
    }

    /// As many runs from `cursor` on as one frame carries.
    static func runs(of blocks: DirtyBitmap, from cursor: inout UInt64) -> [BlockRun] {
        var runs: [BlockRun] = []
        while runs.count < runsPerMessage, let run = blocks.nextRun(from: cursor, limit: 1 << 20) {
            runs.append(BlockRun(first: run.lowerBound, count: run.upperBound - run.lowerBound))
            cursor = run.upperBound
        }
        return runs
    }
}
