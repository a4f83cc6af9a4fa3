package import Model

/// I2, I5, I9, C1, C2, C5: what an acknowledgement promises, and which copy owes it after a flush, a loss of power, a
/// promotion and a resync.
extension Oracle {
    /// A client was told that its write is done.
    package func acknowledged(_ operation: ClientOperation, by primary: Int, required: NodeSet, at step: UInt64) {
        acknowledged(operation, by: primary, required: required, at: step, OracleLoss.Place())
    }

    /// - Parameter place: where it lies in the order of the primary's writes.
    func acknowledged(
        _ operation: ClientOperation, by primary: Int, required: NodeSet, at step: UInt64, _ place: OracleLoss.Place
    ) {
        acknowledgedWrites += 1
        let members = sides(required)
        if members.count == 2 { haveBeenInStep = true }
        if members.isEmpty {
            fail("I2", "\(operation.description) was acknowledged though no copy is required to have it")
        }
        let owing = owing(members, primary)
        if owing != members { loss.acknowledged(operation, by: primary, at: step, owing, place) }
        for member in owing
        where mode(primary, member) != .memory || member == primary || operation.forced || owing.count == 1 {
            checkPresence(operation, at: member, primary)
        }
        if isByMajority {
            if mode == .asynchronous { loss.owes(operation, owing, at: step) }
            return acknowledgedByMajority(operation, self.owing(required, primary), at: step)
        }
        for member in owing {
            endDoubt(at: member, by: primary)
            // The answer of a lone copy that lost its cache after it had sent it: nobody else holds the write.
            let isLost = members.count == 1 && disks.lastPowerLoss(member) > operation.began
            for sector in operation.sectors where !isLost {
                // What overtook it came after it.
                let at = isOvertaken(operation, sector, at: member, primary) ? operation.began : step
                shadows[member].acknowledge(sector, write: operation.write, at: at, durable: operation.forced)
            }
            // A copy that is offered the join has it too, though the one that it lives on is all that counts yet.
            if members.count == 1, sides(self.required[member]).count < 2 {
                shadows[member].aloneAcknowledgements += 1
                givenAway[member] = false
                wentOnAlone[member] = true
            }
        }
        if !operation.forced { unflushed.append((operation, step, required)) }
    }

    /// No acknowledgement while a copy that must have it lacks the write; none of a forced write before it is stable.
    private func checkPresence(_ operation: ClientOperation, at member: Int, _ primary: Int) {
        guard disks.lastPowerLoss(member) <= operation.began else { return }
        for sector in operation.sectors {
            let value = operation.value(of: sector)
            let found = disks.value(member, sector)
            if isOvertaken(operation, sector, at: member, primary) { continue }
            guard found == value else {
                return fail(
                    "I2",
                    "node \(primary) acknowledged \(operation.description) while node \(member), which is in "
                        + "step, holds \(WriteValue.describe(found)) in sector \(sector)")
            }
            guard !operation.forced || disks.stableValue(member, sector) == value else {
                return fail(
                    "I2",
                    "node \(primary) acknowledged \(operation.description) while it is not stable on node \(member)")
            }
        }
    }

    /// A primary without a copy of its own answers late what its carrier had written, and that one was promoted meanwhile, on an
    /// administrator's word that this primary is off: the two writes were under way at once, and the newer one came later.
    private func isOvertaken(_ operation: ClientOperation, _ sector: Int, at member: Int, _ primary: Int) -> Bool {
        !isByMajority && member != primary && disks.isServing(member) && newest[sector] > operation.write
    }

    package func flushed(_ operation: ClientOperation, by primary: Int, required: NodeSet) {
        var members = sides(required)
        if mode == .asynchronous, members.contains(primary) {
            members = owing(members, primary)
            loss.flushed(operation)
        }
        for (write, acknowledged, _) in unflushed where acknowledged < operation.began {
            for member in members {
                for sector in write.sectors
                where newest[sector] == write.write && disks.value(member, sector) == write.value(of: sector) {
                    guard disks.stableValue(member, sector) == write.value(of: sector) || isForgotten(member, sector)
                    else {
                        return fail(
                            "I2",
                            "node \(primary) answered a flush while \(write.description), acknowledged before it, "
                                + "is not stable on node \(member)")
                    }
                }
            }
        }
        unflushed.removeAll { $0.acknowledged < operation.began }
        if isByMajority { return shadows[0].flushed(begunAt: operation.began) }
        for member in members {
            endDoubt(at: member, by: primary)
            shadows[member].flushed(begunAt: operation.began)
        }
    }

    /// It is not who is in doubt that answers: that one was promoted and served nobody (seed 12341571).
    private func endDoubt(at copy: Int, by primary: Int) {
        guard let doubted = shadows[copy].doubted, doubted != primary else { return }
        shadows[copy].endDoubt()
    }

    /// A last copy whose flush failed, and that an administrator had promoted all the same (`Invariants`, known limits).
    private func isForgotten(_ copy: Int, _ sector: Int) -> Bool {
        wentOnAlone[copy] && disks.hasForgotten(copy, sector)
    }

    // MARK: Copies

    package func lostPower(_ copy: Int) {
        if isByMajority { return lostPowerByMajority() }
        shadows[copy].revive()
        // Nobody else needs to have what was not flushed.
        if mode == .asynchronous {
            loss.lostPower(copy)
            return shadows[copy].unacknowledge()
        }
        let other = 1 - copy
        if shadows[other].exposed {
            shadows[0].unacknowledge()
            shadows[1].unacknowledge()
            // An answer that this copy sent before may still be on its way.
            shadows[copy].exposed = true
            return
        }
        shadows[copy].exposed = true
        if !sides(required[copy]).contains(other) || givenAway[other] {
            shadows[copy].unacknowledge()
            shadows[copy].exposed = true
        }
    }

    /// An administrator said that the data of `copy` may be lost (discard, invalidate).
    /// - Returns: whether that was said before.
    @discardableResult package func gaveAway(_ copy: Int) -> Bool {
        defer { givenAway[copy] = true }
        return givenAway[copy]
    }
    /// The only command that said so was refused.
    /// Writes acknowledged by that copy alone since the other was last in step.
    func aloneAcknowledgements(_ copy: Int) -> Int { shadows[copy].aloneAcknowledgements }
    package func keeps(_ copy: Int) { givenAway[copy] = false }

    /// What node `node` requires now, and whom its record names in step. A copy that it takes in by either owes from now
    /// on what this one does.
    package func requires(
        _ node: Int, _ now: NodeSet, inStep: NodeSet, started: Bool = false, isHandedOver: Bool = false
    ) {
        let before = required[node]
        let namedBefore = named[node]
        if isByMajority, !started, isHandedOver, inStep.contains(NodeID(unchecked: UInt8(node))) { tookIn(node) }
        guard before != now || namedBefore != inStep else { return }
        required[node] = now
        named[node] = inStep
        if isByMajority {
            let own = NodeID(unchecked: UInt8(node))
            if !started, !namedBefore.contains(own), inStep.contains(own) { tookIn(node) }
            return
        }
        if !inStep.contains(NodeID(unchecked: UInt8(node))) { isTakenIn[node] = false }
        guard !started else { return }
        if sides(before).count == 2, sides(now) == [node] {
            wentOnAlone[node] = true
            checkStable(node)
        }
        // It stood still before it offered a join, and an administrator had the other copy promoted by force meanwhile: the
        // session that the offer would go through is over, and the next meeting says split brain (seed 12085183). Nothing of
        // that copy goes before a record names both, which it must take first, and their lineage with it.
        if !disks.areOfTwoLineages { takesIn(node, before, now) }
        takesIn(node, namedBefore, inStep)
        takesJoin(node, namedBefore, inStep)
    }

    /// With quorum: that copy holds what its leader does.
    private func tookIn(_ copy: Int) {
        guard mode == .asynchronous else { return }
        var held: [Int: UInt64] = [:]
        for block in shadows[0].blocks {
            for sector in Int(block) * 8..<Int(block) * 8 + 8 { held[sector] = disks.value(copy, sector) }
        }
        loss.joined(copy, holding: held)
    }

    /// Who goes on alone may be the last copy: it has flushed what was acknowledged while the other had it, too.
    private func checkStable(_ node: Int) {
        for (write, _, _) in unflushed {
            for sector in write.sectors
            where newest[sector] == write.write && disks.value(node, sector) == write.value(of: sector)
                && disks.stableValue(node, sector) != write.value(of: sector) && !isForgotten(node, sector)
            {
                return fail(
                    "I2", "node \(node) goes on alone while \(write.description), acknowledged, is not stable there")
            }
        }
    }

    /// A disk is put in, whose record names these: that it took a join before is no news (seed 12207523).
    package func found(_ node: Int, inStep: NodeSet) {
        guard !isByMajority else { return }
        isTakenIn[node] = inStep.contains(NodeID(unchecked: UInt8(node)))
    }

    private func takesIn(_ node: Int, _ before: NodeSet, _ now: NodeSet) {
        let own = NodeID(unchecked: UInt8(node))
        let other = 1 - node
        // Without its disk it knows the record that lies there, and the one it was about to write is void (seed 12327447).
        guard disks.isInUse(node) else { return }
        guard before.contains(own), now.contains(own), sides(now).contains(other), !sides(before).contains(other) else {
            return
        }
        // It hears late that the other took a join, and the other has gone on from there: nothing of it is overwritten.
        if disks.wentOn(other, from: node) { return }
        if shadows[other].aloneAcknowledgements > 0, !givenAway[other] {
            fail(
                "I9",
                "node \(node) takes node \(other) in though node \(other) has acknowledged "
                    + "\(shadows[other].aloneAcknowledgements) requests alone that no administrator gave away")
        }
        adopt(other, from: node)
    }

    /// A copy that was filled takes the join: it owes what its source does. Most sources began to require it when they offered
    /// that. One without clients required it all along, and may die before it hears that the join was taken: what it lost with
    /// its power before the resync, and an administrator had given away at the other, nobody owes any more (seed 13002903).
    private func takesJoin(_ node: Int, _ before: NodeSet, _ now: NodeSet) {
        let other = 1 - node
        guard !isTakenIn[node], sides(before) == [other], sides(now).count == 2 else { return }
        // What it lost since is at this copy only.
        let isExposed = shadows[other].exposed
        adopt(node, from: other)
        shadows[other].exposed = isExposed
    }

    private func adopt(_ copy: Int, from source: Int) {
        isTakenIn[copy] = true
        terms.met()
        if mode == .asynchronous { checkDropped(copy, for: source) }
        if shadows[source].exposed, givenAway[copy] { shadows[source].unacknowledge() }
        shadows[copy] = shadows[source]
        shadows[copy].aloneAcknowledgements = 0
        shadows[source].aloneAcknowledgements = 0
        shadows[copy].exposed = false
        shadows[source].exposed = false
        givenAway = [false, false]
        wentOnAlone = [false, false]
    }

    package struct Promotion {
        /// By `--force`: if it is needed the line ends, and a new one begins.
        package var forced: Bool
        /// It was needed. Else it is a promotion like any other: what waits elsewhere may still come (seed 12880279).
        package var beginsLine: Bool
        /// The administrator vouched that the other node is off.
        package var peerFenced: Bool
        /// What the copy's own metadata said: it is in step and not inconsistent.
        package var inStep: Bool
        /// What an asynchronous primary had not sent is given up.
        package var acceptsLoss: Bool
        /// With quorum: its record names no other copy.
        package var isAlone = false
        /// Blocks to which a write is still on its way: what they hold is settled when it has landed.
        package var unsettled: (Int) -> Bool

        package init(
            forced: Bool, peerFenced: Bool, inStep: Bool, beginsLine: Bool = true, acceptsLoss: Bool = false,
            isAlone: Bool = false, unsettled: @escaping (Int) -> Bool = { _ in false }
        ) {
            self.unsettled = unsettled
            self.acceptsLoss = acceptsLoss
            self.isAlone = isAlone
            self.forced = forced
            self.beginsLine = beginsLine
            self.peerFenced = peerFenced
            self.inStep = inStep
        }
    }

    /// Node `copy`, with a disk, begins to serve.
    package func promoted(_ copy: Int, _ promotion: Promotion, at step: UInt64) {
        promotions += 1
        if isByMajority { return promotedByMajority(copy, promotion, at: step) }
        if mode == .asynchronous { owe(copy, promotion) }
        guard !promotion.forced || !promotion.beginsLine else {
            return rebase(copy, at: step, unless: promotion.unsettled)
        }
        guard promotion.inStep else {
            return fail("I5", "node \(copy) was promoted without force though its copy is not in step")
        }
        if shadows[copy].exposed, promotion.peerFenced || givenAway[1 - copy] { shadows[copy].unacknowledge() }
        shadows[copy].doubt(copy)
        for block in shadows[copy].blocks where !promotion.unsettled(Int(block)) {
            for sector in Int(block) * 8..<Int(block) * 8 + 8 {
                let value = disks.value(copy, sector)
                if shadows[copy].settle(sector, value) { continue }
                return fail(
                    "I2",
                    "node \(copy), promoted without force, holds \(WriteValue.describe(value)) in sector \(sector); "
                        + "it may hold: \(shadows[copy].describe(sector))")
            }
        }
    }

    /// An administrator put another disk, or an older state of it, in the place of that copy.
    package func exchanged(_ copy: Int, at step: UInt64) {
        gaveAway(copy)
        // What it had acknowledged and the other lacks is gone by an administrator's hand.
        loss.pending.removeAll { $0.primary == copy }
        rebase(copy, at: step) { _ in false }
    }

    private func rebase(_ copy: Int, at step: UInt64, unless isUnsettled: (Int) -> Bool) {
        for block in shadows[0].blocks + shadows[1].blocks where !isUnsettled(Int(block)) {
            for sector in Int(block) * 8..<Int(block) * 8 + 8 {
                shadows[copy].rebase(
                    sector, disks.value(copy, sector), stable: disks.stableValue(copy, sector), at: step)
            }
        }
        shadows[copy].exposed = false
    }

    /// Both copies are equal and in step: each must hold what it owes.
    package func checkAtRest(primary: Int?, at step: UInt64) {
        if isByMajority { return checkAtRestByMajority(at: step) }
        for copy in 0...1 where primary == nil || primary == copy {
            if let doubted = shadows[copy].doubted, !disks.isServing(doubted) { shadows[copy].endDoubt() }
            for block in shadows[copy].blocks {
                for sector in Int(block) * 8..<Int(block) * 8 + 8 {
                    let value = disks.value(copy, sector)
                    if shadows[copy].read(sector, value, began: step, ended: step + 1) { continue }
                    return fail(
                        "I2",
                        "at rest node \(copy) holds \(WriteValue.describe(value)) in sector \(sector); it may hold: "
                            + shadows[copy].describe(sector))
                }
            }
        }
    }
}
