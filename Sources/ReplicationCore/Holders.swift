import Model

/// Copies that writes need not wait for, beside a majority (`Invariants`, "Mixed copies"). A record names them in step as it names
/// the others: they have a vote, take part in each record, and hold a part of the writes that ends at some point. Who holds all of
/// them follows from the record's primary, whose acknowledgements waited for the rest.
extension Replica {
    /// Members of one record may hold more or less of what was acknowledged.
    @inline(__always) var isMixed: Bool { isByMajority && !asynchronous.isEmpty }

    /// Of a node that no configuration of this run named nothing is known.
    func mode(of node: NodeID) -> ReplicationMode { known(node)?.replication ?? .asynchronous }

    func isOfUnknownMode(_ node: NodeID) -> Bool { known(node) == nil }

    private func known(_ node: NodeID) -> ReplicaConfiguration.Member? {
        configuration.members.first { $0.id == node } ?? departed.first { $0.id == node }
    }

    /// Members that have every write acknowledged under `record`. Without a primary all of them, for it was made when all held the
    /// same; of a primary without a disk too, which waits for all. Else the primary, and those that its writes waited for.
    func holders(of record: Record) -> NodeSet {
        guard isMixed, let primary = record.primary, record.inStep.contains(primary) || isLeftOut(.disklessWaitsForAll)
        else { return record.inStep }
        let own = mode(of: primary)
        var holders = NodeSet()
        for node in record.inStep where node == primary || max(own, mode(of: node)) != .asynchronous {
            holders.insert(node)
        }
        return holders
    }

    /// A record of this node's was offered, and given up undecided: somebody may have it, and go by it. One without this node's disk
    /// makes each member a holder, and is outlived only by a newer one that is chosen.
    @inline(__always) var isUndecided: Bool {
        superblock.record.number < proposed || lastChosen < offeredWithoutDisk
    }

    /// Members that answers to clients rest on. An asynchronous one begins to serve after a word that this node is off, or from a
    /// record without a primary: it need not be asked, and a slow link to it keeps no read waiting. Not so when its disk is gone, or a
    /// record without it may lie somewhere: by that each member holds everything.
    @inline(__always) var leaseGivers: NodeSet {
        guard isByMajority, hasDisk, !isUndecided, !isLeftOut(.laggardsGiveNoLease) else { return required }
        return required.subtracting(asynchronous)
    }

    /// Asynchronous members that the others wait for: a record, whose answer lies behind all that is on its way there; the disk of a
    /// primary, or a join, until that has arrived. No longer than for a peer that answers nothing, or than a ping's time where such a
    /// copy is left behind for less. It is filled then.
    var tardyMembers: NodeSet {
        guard isMixed, let change, !isLeftOut(.laggardsAnswerInTime) else { return NodeSet() }
        let timing = configuration.timing
        guard now >= change.began + (configuration.fallsBehind ? timing.pingTimeout : timing.cutOff) else {
            return NodeSet()
        }
        switch (change.phase, change.purpose) {
        case (.offering, .exclude), (.offering, .leaveSelf):
            let tardy = change.record.inStep.subtracting(change.accepted).intersection(asynchronous)
            let there = reachableVoters.subtracting(tardy)
            let canChoose =
                isMajority(there, of: voters(of: superblock.record))
                && (change.formerVoters.isEmpty || isMajority(there, of: change.formerVoters))
            return canChoose && isServed(without: tardy.union(change.loses)) ? tardy : NodeSet()
        case (.draining, .leaveSelf):
            let tardy = owedHeld
            return isServed(without: tardy.union(change.loses)) ? tardy : NodeSet()
        case (.draining, .join(let node)): return owedHeld.removing(node)
        default: return NodeSet()
        }
    }

    /// Asynchronous members to which something is on its way.
    private var owedHeld: NodeSet {
        var owed = NodeSet()
        for index in 0..<held.count { owed = owed.union(held[index].legs) }
        return owed.intersection(asynchronous).intersection(required)
    }

    private func isServed(without lost: NodeSet) -> Bool {
        let rest = required.subtracting(lost)
        return rest.contains(me) && hasDisk || others.contains { rest.contains($0) && self[peer: $0].receivesWrites }
    }

    mutating func giveUpTardy() -> NodeSet {
        let tardy = tardyMembers
        for node in tardy {
            note(
                .warning, "replication",
                "others wait for what is on its way to it, or for its answer behind that: it is left behind", peer: node
            )
        }
        return tardy
    }

    /// A record is not to lie behind what is on its way to an asynchronous node, whose vote it may need: the session begins anew, the
    /// record goes first, and what is held is sent again behind it.
    mutating func makeWayForRecord() {
        guard isMixed, change?.purpose == .exclude || change?.purpose == .leaveSelf, !isLeftOut(.recordGoesFirst) else {
            return
        }
        for node in others where asynchronous.contains(node) && self[peer: node].isConnected {
            guard lagAge(of: node, at: now) > configuration.timing.pingTimeout else { continue }
            restartSession(node, "a record goes before what is on its way there")
        }
    }

    /// What it told in this handshake is from before a record that names it and was offered to it since: nothing was lost but the
    /// connection, and by its older record it would be filled.
    private func hasToldBefore(_ node: NodeID) -> Bool {
        guard isMixed, asynchronous.contains(node), let theirs = self[peer: node].theirs, leads else { return false }
        let isSameRun = !self[peer: node].run.isNone && self[peer: node].resumableRun == self[peer: node].run
        return isSameRun && theirs.record.number < superblock.record.number && superblock.record.inStep.contains(node)
    }

    /// This copy is taking a record of that node's, or that node, in this very handshake, one of this node's.
    func isTakingRecord(with node: NodeID) -> Bool {
        if acceptance?.from == node, !isLeftOut(.acceptanceComesFirst) { return true }
        guard let change, change.phase == .offering, change.pending.isEmpty else { return false }
        guard !change.accepted.contains(node) else { return false }
        // It has the record already, and is asked for it anew: what follows a verdict would come before it is through with that (seed
        // 640156: frames that it could not take yet ended each session).
        return hasToldBefore(node) || self[peer: node].theirs?.record.number == change.record.number
    }

    /// It took it.
    func hasTaken(_ node: NodeID) -> Bool {
        let has = change?.accepted.contains(node) ?? (lastChosen == superblock.record.number)
        return has && hasToldBefore(node)
    }

    /// A handshake from which nothing followed leaves what the session before left.
    mutating func beginAnew(_ node: NodeID, _ why: String) {
        let resumable = self[peer: node].resumableRun
        restartSession(node, why)
        if isMixed { self[peer: node].resumableRun = resumable }
    }

    /// Frames that came and wait behind a flush: part of what a promise ends.
    var isHoldingArrivals: Bool {
        isByMajority && !relaxed.isEmpty && !isLeftOut(.arrivalsEndBeforePromise)
            && others.contains { self[peer: $0].arrivals.isHolding }
    }

    /// What this copy's record makes of it is durable with the record: another configuration, read at the next start, must not make a
    /// copy whole. It is so when it was filled, handed over to, or leads.
    mutating func noteLagging() {
        let record = superblock.record
        guard let primary = record.primary, primary != me, record.inStep.contains(primary) else {
            superblock.flags.remove(.lags)
            return
        }
        if isMixed, record.inStep.contains(me), !holders(of: record).contains(me) { superblock.flags.insert(.lags) }
    }

    /// All that was acknowledged before is on all members, and this primary's writes wait for this copy, by the configuration as it is now.
    mutating func noteCaughtUp(settled: Bool) {
        guard settled, superblock.flags.contains(.lags), holders(of: superblock.record).contains(me) else { return }
        superblock.flags.remove(.lags)
        persistSuperblock()
    }

    /// Of those of whom it holds one that is not far away.
    func nearFirst(_ holds: (NodeID) -> Bool) -> NodeID? {
        others.first { !asynchronous.contains($0) && holds($0) } ?? others.first(where: holds)
    }

    /// A member that was sent everything that was answered, and has it.
    func isLevel(_ node: NodeID) -> Bool {
        guard isMixed, !isLeftOut(.disklessReadsFromLevel) else { return true }
        return !(0..<held.count).contains { held[$0].legs.contains(node) }
    }

    /// What fills a copy may be what an asynchronous member lacks, or has in memory only. That one may be the next source, and knows
    /// nothing of it: so this copy marks it toward the members, in an extent of its log.
    mutating func enterPulled(_ slot: Int) {
        guard isByMajority, !relaxed.isEmpty, role != .primary, !isLeftOut(.pulledIsMarked) else {
            return submitPeerWrite(slot)
        }
        let operation = table[slot]
        for node in others where node != operation.peer { self[bitmap: node].mark(operation.range.blocks) }
        if acquireExtent(slot) { submitPeerWrite(slot) }
    }

    /// A lagging member that is not sent the rest any more is filled when it means to serve: a term to fill it in deposes a primary that
    /// may be away for a moment only.
    func wantsToBeFilled(_ node: NodeID) -> Bool {
        guard let asked = self[peer: node].askedToLead else { return isLeftOut(.laggardsAskToBeFilled) }
        return now < asked + configuration.timing.cutOff + configuration.timing.leaseWaited
            || isLeftOut(.laggardsAskToBeFilled)
    }

    // MARK: Promotion

    /// This copy may lack what was acknowledged under the newest record. One that was promoted so, on a word, and did not come to serve
    /// says so durably: its own record vouches for nothing.
    func isLaggard(_ current: Candidacy) -> Bool {
        guard isByMajority, hasDisk, current.purpose != .again, let former = current.newest.primary else {
            return false
        }
        if superblock.flags.contains(.lags), former != me, !isLeftOut(.laggingIsDurable) { return true }
        if former == me, superblock.flags.contains(.offered), !isLeftOut(.unfinishedLossIsAsked) { return true }
        return isMixed && !holders(of: current.newest).contains(me)
    }

    /// Why a copy that lags may not lead. Whoever holds all is there: it leads, or fills this one. Nobody is: only a word that gives up
    /// what they hold goes on, and that the former primary is off, which asks this copy for no lease.
    func laggardObstacle(
        _ current: Candidacy, isThere: (NodeID) -> Bool, hasAnswered: (NodeID) -> Bool
    ) -> PromotionObstacle? {
        guard isLaggard(current), let former = current.newest.primary, !isLeftOut(.laggardNeedsWord) else { return nil }
        let volume = configuration.volume
        // By a file that names no asynchronous copy any more nobody knows who lagged, but for what each says of itself.
        let isHolder: (NodeID) -> Bool = { node in
            let lags = self[peer: node].theirs?.flags.contains(.lags) == true
            return self.isMixed || node == former || !lags
        }
        if let holder = holders(of: current.newest).removing(me).first(where: {
            // One whose session begins anew is there.
            isHolder($0) && (isThere($0) || isExpectedBack($0) && promotion?.peerFenced != $0)
        }) {
            return .passing(behind(holder))
        }
        guard current.purpose == .serve, promotion?.acceptsLoss == true else {
            return .lasting(loss(after: former, by: current.newest))
        }
        let isOff = former == me || hasAnswered(former) || promotion?.peerFenced == former
        guard isOff || isLeftOut(.lossNeedsFormerOff) else {
            return .lasting(
                Refusal(
                    reason: VolumeStatus.dataLoss,
                    message:
                        "\(name(former)) was primary and does not answer: it may still serve, and asks this copy for no lease",
                    remedy: hasDeparted(former)
                        ? departedWords(former)
                        : "when it is off: hablk promote \(volume) --accept-data-loss --peer-fenced \(name(former))"))
        }
        return nil
    }

    /// A candidate without a word: who would be lost with whom.
    private func loss(after former: NodeID, by record: Record) -> Refusal {
        let rest = holders(of: record).removing(me).map { name($0) }.joined(separator: " or ")
        let what =
            former == me
            ? "a promotion here that gives up writes was begun and not finished (a copy that is there and has more leads by "
                + "hablk promote \(configuration.volume) --force there)"
            : "\(name(former)) was primary and does not wait for this copy"
        let fenced = former == me ? "" : " --peer-fenced \(name(former))"
        let word =
            hasDeparted(former)
            ? departedWords(former)
            : "when they are off, go on without those writes: hablk promote \(configuration.volume) --accept-data-loss\(fenced)"
        return Refusal(
            reason: VolumeStatus.dataLoss,
            message: "\(what): up to \(mostLost) bytes of writes that were acknowledged may not be here",
            remedy: rest.isEmpty ? word : "connect \(rest); or, \(word)")
    }

    /// It cannot be connected, and no word is taken for it, while the configuration does not name it.
    private func departedWords(_ node: NodeID) -> String {
        "write \(name(node)) into the file again, and name it with --peer-fenced; or, when it is lost for ever: hablk promote "
            + "\(configuration.volume) --force"
    }

    /// What `status` says of a copy that lags while nobody who holds more is heard.
    var laggardLoss: Refusal? {
        let record = superblock.record
        guard record.inStep.contains(me), let former = record.primary else { return nil }
        if former == me { return superblock.flags.contains(.offered) ? loss(after: me, by: record) : nil }
        let holders = holders(of: record)
        let lags = superblock.flags.contains(.lags) || !holders.contains(me)
        guard lags, self[peer: former].relation != .established else { return nil }
        let there = holders.removing(me).first {
            self[peer: $0].isConnected && self[peer: $0].theirs?.flags.contains(.lags) != true
        }
        return there.map { behind($0) } ?? loss(after: former, by: record)
    }

    private func behind(_ holder: NodeID) -> Refusal {
        Refusal(
            reason: VolumeStatus.dataLoss,
            message: "this copy is asynchronous and may lack what \(name(holder)) has",
            remedy: "promote \(name(holder)), or wait until it has filled this copy")
    }

    var lostCacheWords: String {
        superblock.flags.contains(.suspect) ? ", and what this copy's cache lost" : ""
    }

    mutating func noteLossyPromotion(_ current: Candidacy) {
        guard current.isLossy, let former = current.newest.primary else { return }
        let whom = former == me ? "" : " by \(name(former))"
        note(
            .warning, "role",
            "promoted with data loss accepted: up to \(mostLost) bytes of writes acknowledged\(whom) may be dropped\(lostCacheWords)"
        )
    }

    /// Of a candidate without a disk: whom the newest record names alone, on a word that gave up what others hold, and who did not come to
    /// serve. It needs the word again, and carries nobody (seed 910140120 of `--mixed`).
    func unfinished(_ current: Candidacy) -> NodeID? {
        guard !hasDisk, let former = current.newest.primary, former != me, current.newest.inStep.contains(former),
            !isLeftOut(.unfinishedCarriesNobody)
        else { return nil }
        // What it did not say yet it may be about to say; and it said nothing of a term that it began since.
        let isUnfinished =
            self[peer: former].theirs.map {
                $0.flags.contains(.offered) || isMixed && $0.record.number.term < current.newest.number.term
            } ?? isMixed
        return isUnfinished ? former : nil
    }

    /// Who stays in step with this candidate. What it settles block by block would lie on an asynchronous copy in no order: that
    /// one is filled instead, and says meanwhile that it is not whole. On a word this copy goes on alone: its record, chosen or
    /// not, must vouch for no other.
    func withoutLaggards(_ kept: NodeSet, _ current: Candidacy) -> NodeSet {
        guard current.purpose != .again, !current.newest.isEmpty else { return kept }
        let kept = unfinished(current).map { kept.removing($0) } ?? kept
        guard isMixed else {
            // By a file that names no asynchronous copy any more a candidate with a disk settles what they differ in.
            var whole = kept
            for node in kept where self[peer: node].theirs?.flags.contains(.lags) == true {
                if !hasDisk, let former = current.newest.primary, former != node { whole.remove(node) }
            }
            return whole
        }
        if isLaggard(current), !isLeftOut(.lossKeepsNobody) { return kept.intersection(NodeSet(me)) }
        let holders = holders(of: current.newest)
        guard hasDisk else { return isLeftOut(.disklessKeepsHolders) ? kept : kept.intersection(holders) }
        guard !isLeftOut(.laggardsAreFilled) else { return kept }
        let isApart = unconfirmedBlocks().count > 0 || kept.contains { !current.runs[$0].isEmpty }
        return isApart ? kept.intersection(holders.inserting(me)) : kept
    }
}
