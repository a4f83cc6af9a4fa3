import Model

enum PromotionObstacle {
    /// Nothing in the way: alone, with the peer's consent, or by force.
    case none(Change.Purpose?, offeringTo: NodeSet)
    case passing(Refusal)
    case lasting(Refusal)
}

extension Replica {
    func peerIsPrimary(_ node: NodeID) -> Refusal {
        Refusal(
            reason: "peer-is-primary", message: "\(name(node)) is primary",
            remedy: "hablk demote \(configuration.volume) on \(name(node)) first")
    }

    /// What stands between this copy and the primary role.
    func obstacle(force: Bool, peerFenced: NodeID?) -> PromotionObstacle {
        for node in others where self[peer: node].isConnected {
            // The record both hold outweighs what the peer told of itself: after a hand-over that word is on its way still.
            let isNamed = self[peer: node].relation != .established || superblock.record.primary == node
            guard isNamed else { continue }
            if self[peer: node].presence?.role == .primary || (self[peer: node].theirs?.isPrimary ?? false) {
                if self[peer: node].presence?.role != .secondary { return .lasting(peerIsPrimary(node)) }
            }
        }
        if detaching != nil || stopping != nil {
            return .passing(
                Refusal(reason: "busy", message: "the disk is being let go", remedy: "wait for it, then attach"))
        }
        if let obstacle = frameObstacle { return obstacle }
        if lacksRoom { return .lasting(roomRefusal) }
        // A session that ends to begin anew is no lost peer: alone is promoted only who knows of nobody to ask.
        for node in others
        where self[peer: node].handshake == .exchanging || self[peer: node].handshake == .preparing
            || (isExpectedBack(node) && peerFenced != node)
        {
            return .passing(
                Refusal(
                    reason: "handshake", message: "the handshake with \(name(node)) is not finished",
                    remedy: "try again in a moment"))
        }
        for node in others {
            switch self[peer: node].relation {
            case .target where !superblock.flags.contains(.inconsistent) && !isLeftOut(.joinIsHeardFirst):
                // It took the join, and is about to hear that this is so.
                return .passing(
                    Refusal(
                        reason: "handshake", message: "a record with \(name(node)) is being made",
                        remedy: "try again in a moment"))
            case .targetWaiting, .target:
                guard !force else { continue }
                return .lasting(
                    Refusal(
                        reason: "inconsistent", message: "\(name(node)) has newer data and is about to send it",
                        remedy: "wait for the resync: hablk wait \(configuration.volume) --for up-to-date"))
            // (A target that is only to begin is out of the record already, and may take long: `discarded-data: keep`.)
            case .establishing, .sourcePreparing:
                return .passing(
                    Refusal(
                        reason: "handshake", message: "a record with \(name(node)) is being made",
                        remedy: "try again in a moment"))
            default: break
            }
        }
        guard hasDisk else { return disklessObstacle() }
        if let refusal = dataObstacle(peerFenced: peerFenced) {
            guard force else { return refusal }
            return .none(.force, offeringTo: NodeSet())
        }
        if let node = others.first(where: { self[peer: $0].relation == .established }) {
            return .none(.promote, offeringTo: NodeSet(node))
        }
        if let refusal = lossObstacle, !force { return refusal }
        if superblock.isEmpty || superblock.record.isEmpty { return .none(.found, offeringTo: NodeSet()) }
        // Alone in step: the record is this copy's own, and says durably who was primary.
        let isSource = others.contains {
            self[peer: $0].relation == .source || self[peer: $0].relation == .sourceBeginning
        }
        return .none(required == NodeSet(me) || isSource ? .promote : nil, offeringTo: NodeSet())
    }

    /// The volume grew without this copy: behind its end clients would write where its metadata lie.
    var roomRefusal: Refusal {
        Refusal(
            reason: "mismatch",
            message:
                "this copy has room for \(superblock.size) bytes, the volume has \(superblock.record.size)",
            remedy: "connect a copy that has them, and make this disk larger: it is filled then")
    }

    private func disklessObstacle() -> PromotionObstacle {
        if let node = others.first(where: { self[peer: $0].relation == .carried }) {
            let isWhole = self[peer: node].presence.map { $0.disk == .upToDate || $0.disk == .consistent } ?? false
            // It would refuse the record (`objection`): that is asked once, and not again with each new session.
            let isStained = !(self[peer: node].theirs?.flags ?? []).isDisjoint(with: [.suspect, .outdated])
            if isWhole, !isStained || superblock.record.primary == nil {
                return .none(.promote, offeringTo: NodeSet(node))
            }
        }
        return .passing(
            Refusal(
                reason: "no-good-copy", message: "no disk here, and no connected peer with a whole copy",
                remedy: "hablk attach \(configuration.volume), or connect a peer"))
    }

    /// With a majority only force parts the copies.
    var splitBrainWords: String {
        isByMajority ? "two lines of the volume, of which one was promoted by force" : HandshakeRule.splitBrain.words
    }

    /// Why this copy's data may not be served.
    func dataObstacle(peerFenced: NodeID?) -> PromotionObstacle? {
        let volume = configuration.volume
        if let node = others.first(where: { self[peer: $0].reason == "split-brain" && self[peer: $0].isStandalone }) {
            return .lasting(
                Refusal(
                    reason: "split-brain", message: "split brain with \(name(node)): \(splitBrainWords)",
                    remedy: "on the copy to be thrown away: hablk connect \(volume) --discard-my-data"))
        }
        if superblock.isBlank {
            return .lasting(
                Refusal(
                    reason: "no-good-copy", message: "this copy is blank and no peer has filled it",
                    remedy:
                        "connect a peer that has data, or begin with what is on this disk: hablk promote \(volume) --force"
                ))
        }
        if superblock.flags.contains(.inconsistent), !isLeftOut(.promotedIsWholeInStep) {
            return .lasting(
                Refusal(
                    reason: "inconsistent", message: "this copy is half-synced",
                    remedy: "wait for the resync: hablk wait \(volume) --for up-to-date"))
        }
        if diskState == .outdated, !isLeftOut(.promotedIsWholeInStep) {
            return .lasting(
                Refusal(
                    reason: "outdated", message: "this copy is outdated: others went on without it",
                    remedy: "connect the peer that has newer data: hablk connect \(volume)"))
        }
        if superblock.flags.contains(.suspect), !superblock.record.inStep.removing(me).isEmpty,
            superblock.record.primary != nil, !isLeftOut(.suspectIsNotPromoted)
        {
            let away = others.first { superblock.record.inStep.contains($0) && $0 != peerFenced }
            if let away { return .passing(suspectRefusal("\(name(away)) may hold what it lost", absent: away)) }
        }
        return nil
    }

    // MARK: Memory and async

    /// What a peer sent and this copy took lies on its disk before it serves: in `memory` it may have been answered.
    private var frameObstacle: PromotionObstacle? {
        guard !relaxed.isEmpty, !isLeftOut(.framesEndBeforePromotion), others.contains(where: { hasFrames(of: $0) })
        else {
            return nil
        }
        return .passing(
            Refusal(
                reason: "busy", message: "writes that came from the peer are on their way to this disk",
                remedy: "try again in a moment"))
    }

    /// The primary that the record names did not hand over, and may have answered writes that never came here.
    private var lossObstacle: PromotionObstacle? {
        guard promotion?.acceptsLoss != true, !isLeftOut(.lossIsAccepted) else { return nil }
        return possibleLoss.map { .lasting($0) }
    }

    /// What a promotion without that primary would drop, in words.
    var possibleLoss: Refusal? {
        if isByMajority { return laggardLoss }
        guard let former = lagging else { return nil }
        return Refusal(
            reason: VolumeStatus.dataLoss,
            message:
                "\(name(former)) was primary and is asynchronous: up to \(mostLost) bytes of writes that it acknowledged may "
                + "not be here\(beyondThat(former))",
            remedy: "connect \(name(former)), or go on without them: hablk promote \(configuration.volume) "
                + "--accept-data-loss")
    }

    /// Out of sight for longer than its time it goes on without this copy, and nobody here knows how far.
    private func beyondThat(_ former: NodeID) -> String {
        self[peer: former].isCutOff ? ", nor what it wrote if it has gone on alone since" : ""
    }

    /// One without a copy of its own answered nothing that was not here.
    private var lagging: NodeID? {
        var former = superblock.record.primary
        if former == me, superblock.flags.contains(.offered) {
            former = asynchronous.first { superblock.record.inStep.contains($0) }
        }
        guard let former, asynchronous.contains(former), superblock.record.inStep.contains(former),
            self[peer: former].relation != .established
        else { return nil }
        return former
    }

    /// Said once when it is so.
    mutating func noteAcceptedLoss() {
        guard promotion?.acceptsLoss == true || promotion?.force == true, let former = lagging else { return }
        note(
            .warning, "role",
            "promoted without \(name(former)): up to \(mostLost) bytes of writes that it acknowledged may be dropped"
                + beyondThat(former),
            peer: former)
    }
}
