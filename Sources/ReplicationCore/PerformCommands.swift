import Model

/// `detach`: a secondary writes everything back first; a primary hands its writes over to the peer first.
struct Detaching {
    var command: CommandID
    /// A primary's record without this copy is to be made.
    var wantsToLeave: Bool
    /// By force at a primary that nobody could take over from: only what is on its way to the superblock ends first.
    var isForced = false
    /// With quorum: when the record must be chosen. By force the disk goes then all the same.
    var patience = MonotonicTime(nanoseconds: 0)
    var force = false
    var cleaning = Cleaning()
}

/// Writing everything back: operations end, marks and pages are on disk, then the superblock says clean.
struct Cleaning {
    enum Phase: Equatable { case draining, flushing(UInt64), pages, persisting(UInt64), done }
    var phase = Phase.draining
}

/// `down`: demote, flush, leave.
struct Stopping {
    var command: CommandID
    var hasDemoted = false
    /// Peers are told, no session is left.
    var isLeaving = false
    var cleaning = Cleaning()
}

extension Replica {
    mutating func perform(_ command: Command, _ id: CommandID) {
        attention = true
        if stopping != nil {
            emit(
                .commandDone(id, .refused(refusal("stopping", "the daemon stops", "hablk up \(configuration.volume)"))))
            return
        }
        if isWitness, command != .stop {
            emit(
                .commandDone(
                    id, .refused(refusal("witness", "a witness holds no data and only votes", "run it on a data node")))
            )
            return
        }
        switch command {
        case .promote(let force, let fenced, let deadline, let dryRun, let acceptsLoss):
            guard promotion == nil else {
                emit(.commandDone(id, .refused(refusal("busy", "a promotion is under way", "wait for it"))))
                return
            }
            promotion = Promotion(
                command: id, force: force, peerFenced: fenced, deadline: deadline, dryRun: dryRun,
                acceptsLoss: acceptsLoss)
        case .demote(let force, let deadline): performDemote(id, force: force, deadline)
        case .connect(let peer, let discards, let dryRun, let deadline):
            performConnect(id, peer, discards: discards, dryRun: dryRun, deadline)
        case .disconnect(let peer, let force): performDisconnect(id, peer, force: force)
        case .detach(let force): performDetach(id, force: force)
        case .outdate(let force): performOutdate(id, force: force)
        case .invalidate(let peer, let force, let deadline): performInvalidate(id, peer, force: force, deadline)
        case .pauseResync: setPaused(true, id)
        case .resumeResync: setPaused(false, id)
        case .resyncRate(let rate):
            configuration.resyncRate = rate
            emit(.commandDone(id, .done("resync rate: \(rate.map { "\($0) bytes/s" } ?? "auto")")))
        case .verify(let peer, let rate): performVerify(id, peer, rate: rate)
        case .stopVerify(let peer): performStopVerify(id, peer)
        case .repair(let peer, let source): performRepair(id, peer, from: source)
        case .resize(let size, let dryRun, let deadline): performResize(id, size, dryRun: dryRun, deadline)
        case .stop: stopping = Stopping(command: id)
        }
    }

    /// A promotion that still waits is dropped; what is under way ends, and its answer goes nowhere.
    mutating func withdraw(_ id: CommandID) {
        if promotion?.command == id, promotion?.isUnderWay == false { promotion = nil }
        for pending in connects where pending.command == id && pending.discards && !isLeftOut(.discardEndsWithCommand) {
            for node in pending.peers { offerToDiscard(node, false) }
        }
        connects.removeAll { $0.command == id }
        adjustments.removeAll { $0.command == id }
        if repair?.command == id { repair?.isWithdrawn = true }
        if growth?.command == id {
            growth?.isWithdrawn = true
            attention = true
        }
    }

    func refusal(_ reason: String, _ message: String, _ remedy: String) -> Refusal {
        Refusal(reason: reason, message: message, remedy: remedy)
    }

    mutating func refuse(_ id: CommandID, _ reason: String, _ message: String, _ remedy: String) {
        emit(.commandDone(id, .refused(refusal(reason, message, remedy))))
    }

    private mutating func setPaused(_ paused: Bool, _ id: CommandID) {
        isResyncPaused = paused
        noteStatus()
        emit(.commandDone(id, .done(paused ? "resync paused" : "resync goes on")))
    }

    private mutating func performDemote(_ id: CommandID, force: Bool, _ deadline: MonotonicTime) {
        guard demotion == nil else {
            refuse(id, "busy", "a demotion is under way", "wait for it")
            return
        }
        if role == .primary, writableClients > 0, !force {
            refuse(
                id, "in-use", "\(writableClients) NBD client\(writableClients == 1 ? " is" : "s are") connected",
                "end them first, or fail their I/O: hablk demote \(configuration.volume) --force")
            return
        }
        demote(id, force: force, deadline: deadline)
    }

    // MARK: The disk

    private var hasGoodPeer: Bool {
        others.contains {
            self[peer: $0].isConnected && self[peer: $0].presence?.disk == .upToDate
                && (self[peer: $0].relation == .established || self[peer: $0].relation == .target
                    || self[peer: $0].relation == .nothing)
        }
    }

    private mutating func performDetach(_ id: CommandID, force: Bool) {
        guard hasDisk else {
            emit(.commandDone(id, .done("already diskless")))
            return
        }
        guard detaching == nil else {
            refuse(id, "busy", "a detach is under way", "wait for it")
            return
        }
        if !hasGoodPeer, !force, !superblock.flags.contains(.inconsistent) {
            refuse(
                id, "last-copy", "no connected peer is up to date: this is the last good copy",
                "connect a peer first, or hablk detach \(configuration.volume) --force")
            return
        }
        let leaves = role == .primary && others.contains { self[peer: $0].relation == .established }
        if role == .primary, !leaves, !force {
            refuse(id, "last-copy", "this primary has no other copy in step", "wait for the resync to end")
            return
        }
        detaching = Detaching(command: id, wantsToLeave: leaves, isForced: role == .primary && !leaves)
        detaching?.patience = now + configuration.timing.cutOff
        detaching?.force = force
    }

    mutating func attach(_ metadata: LoadedMetadata, _ id: CommandID) {
        attention = true
        guard disk == .none, stopping == nil else {
            refuse(id, "has-disk", "a disk is attached already", "hablk detach \(configuration.volume) first")
            return
        }
        // With quorum only the leader makes records, and it cannot be the target of its own join.
        guard role != .primary || !isByMajority else {
            refuse(
                id, "is-primary", "with quorum the disk of a primary is not filled",
                "hablk demote \(configuration.volume), then attach")
            emit(.releaseDisk)
            return
        }
        let isServed = role == .primary && !required.contains(me) && readablePeer != nil
        guard role != .primary || isServed else {
            refuse(
                id, "no-peer", "no connected peer serves this primary, and none could fill the disk",
                "connect the peer first: hablk connect \(configuration.volume)")
            emit(.releaseDisk)
            return
        }
        guard !isServed || isBehind(metadata.superblock) || isLeftOut(.servedTakesNoOtherLine) else {
            refuse(
                id, "split-brain", "the disk holds writes that the data served here lacks",
                "hablk demote \(configuration.volume), attach again, then choose with hablk connect --discard-my-data")
            emit(.releaseDisk)
            return
        }
        guard metadata.superblock.size >= superblock.record.size else {
            refuse(
                id, "mismatch",
                "the disk holds \(metadata.superblock.size) bytes, the volume has \(superblock.record.size)",
                "attach a larger disk; or, if this one was made larger: hablk down \(configuration.volume), hablk up \(configuration.volume), "
                    + "and it makes room")
            emit(.releaseDisk)
            return
        }
        if isOfOtherVolume(metadata.superblock) {
            refuse(
                id, "unrelated-data", "the disk belongs to another volume",
                "hablk metadata show \(configuration.volume)")
            emit(.releaseDisk)
            return
        }
        for node in others {
            restartSession(node, "a disk is attached")
            // What was sent and not answered is not on this disk: it may be another one, or one put back.
            if !isLeftOut(.attachEndsResume) { self[peer: node].resumableRun = .none }
        }
        dropAllUnconfirmedInMemory()
        // It waited for flushes and superblocks of no disk.
        endCandidacy()
        keptAside = nil
        let line = superblock
        adopt(metadata)
        if isServed {
            // It acts on under the record that leaves this copy out, and is filled by the peer that serves it.
            superblock.volume = line.volume
            superblock.record = line.record
            superblock.required = line.required
            superblock.promised = max(superblock.promised, line.promised)
            superblock.flags.insert(.inconsistent)
        } else if knowsMore(line) || (hasOfferedWithoutMe && superblock.record.inStep.contains(me)),
            !isLeftOut(.attachedSaysOutdated)
        {
            superblock.flags.insert(.outdated)
        }
        emit(.commandDone(id, .done("attached: \(diskState.rawValue)")))
    }

    /// With quorum, what a disk knows only from a first record that nobody chose is no volume of its own.
    private func isOfOtherVolume(_ found: Superblock) -> Bool {
        let isFounded = !isByMajority || found.flags.contains(.founded)
        return isFounded && !superblock.volume.isNone && !found.volume.isNone && superblock.volume != found.volume
    }

    /// This run knows what the disk does not: others went on without it, or it is new and has no part in the volume at all.
    private func knowsMore(_ line: Superblock) -> Bool {
        if superblock.record.isEmpty { return !line.record.isEmpty }
        return line.record.lineage == superblock.record.lineage && superblock.record.number < line.record.number
            && !line.record.inStep.contains(me)
    }

    /// The line that this run knows goes on from the disk's: filling it loses nothing. A disk of another line may hold all
    /// that was acknowledged in it, though this node serves the peer's by now.
    private func isBehind(_ found: Superblock) -> Bool {
        if found.isEmpty || found.isBlank || found.flags.contains(.inconsistent) { return true }
        return found.record.lineage == superblock.record.lineage && superblock.lineContains(found.current.id)
    }

    private mutating func dropAllUnconfirmedInMemory() {
        while !unconfirmed.isEmpty { _ = unconfirmed.removeFirst() }
        unsettled = DirtyBitmap(blocks: 0)
        settlement.held = []
        flushes = LocalFlushes()
    }

    private mutating func performOutdate(_ id: CommandID, force: Bool) {
        if role == .primary {
            refuse(id, "is-primary", "a primary is not outdated", "hablk demote \(configuration.volume) first")
        } else if !hasDisk {
            refuse(id, "no-disk", "there is no disk here", "hablk attach \(configuration.volume)")
        } else if change != nil || acceptance != nil
            || others.contains(where: { self[peer: $0].handshake == .exchanging })
        {
            refuse(id, "busy", "a handshake is under way", "try again in a moment")
        } else if superblock.flags.contains(.inconsistent) || superblock.flags.contains(.outdated) {
            emit(.commandDone(id, .done("already \(diskState.rawValue)")))
        } else if others.contains(where: { self[peer: $0].isConnected && self[peer: $0].presence?.role == .primary }) {
            refuse(
                id, "connected-to-primary", "a primary is connected and keeps this copy in step",
                "hablk disconnect \(configuration.volume) first")
        } else if others.contains(where: { self[peer: $0].relation == .carrier }) {
            refuse(
                id, "in-step", "a connected peer has no disk and is served by this copy",
                "hablk disconnect \(configuration.volume) first")
        } else if others.contains(where: { ![.none, .nothing].contains(self[peer: $0].relation) }) {
            refuse(
                id, "in-step", "a connected peer keeps this copy in step",
                "hablk disconnect \(configuration.volume) first")
        } else if superblock.record.inStep == NodeSet(me) || superblock.record.isEmpty, !force {
            refuse(
                id, "last-copy", "this is the last good copy", "hablk outdate \(configuration.volume) --force")
        } else {
            superblock.flags.insert(.outdated)
            persistSuperblock()
            note(.warning, "disk", "outdated by an administrator")
            emit(.commandDone(id, .done("outdated")))
        }
    }

    private mutating func performInvalidate(_ id: CommandID, _ peer: NodeID?, force: Bool, _ deadline: MonotonicTime) {
        if let peer, peer != me {
            guard self[peer: peer].isConnected, self[peer: peer].presence?.role != .primary, hasDisk,
                diskState == .upToDate
            else {
                refuse(
                    id, "not-now", "\(name(peer)) is not a connected secondary, or this copy is not up to date",
                    "hablk status \(configuration.volume)")
                return
            }
            send(.invalidate, to: peer)
            emit(.commandDone(id, .done("\(name(peer)) throws its data away and copies everything")))
            return
        }
        if let refusal = invalidationObstacle(force: force) {
            emit(.commandDone(id, .refused(refusal)))
            return
        }
        invalidateHere()
        emit(.commandDone(id, .done("invalidated: everything will be copied from the peer")))
    }

    private func invalidationObstacle(force: Bool) -> Refusal? {
        if role == .primary {
            return refusal(
                "is-primary", "a primary's data is not thrown away", "hablk demote \(configuration.volume) first")
        }
        if !hasDisk { return refusal("no-disk", "there is no disk here", "hablk attach \(configuration.volume)") }
        let isHandshaking = others.contains { self[peer: $0].handshake == .exchanging }
        if change != nil || acceptance != nil || detaching != nil || candidacy?.isBinding == true || isHandshaking {
            return refusal("busy", "a record is being made", "try again in a moment")
        }
        if !hasHeir, !force, !superblock.flags.contains(.outdated) {
            return refusal(
                "last-copy", "no connected peer is up to date: this may be the last good copy",
                "connect the peer first, or hablk invalidate \(configuration.volume) --force")
        }
        return nil
    }

    /// Somebody has all that this copy has. With quorum the record says who; whom it leaves out may go in any case.
    private var hasHeir: Bool {
        let record = superblock.record
        guard isByMajority, isInStep(me, superblock.instance, by: record) else { return isByMajority || hasGoodPeer }
        return others.contains {
            record.inStep.contains($0) && self[peer: $0].isConnected && self[peer: $0].presence?.disk == .upToDate
        }
    }

    /// The copy says of itself that it is blank: it lacks everything; the next handshake makes it a target.
    private mutating func invalidateHere() {
        stopKeeping()
        superblock.flags.insert(.inconsistent)
        superblock.current = Generation(id: .none, node: me, began: 0)
        superblock.history = []
        for node in others { self[bitmap: node].markAll() }
        persistSuperblock()
        note(.warning, "disk", "invalidated")
        for node in others { restartSession(node, "invalidated") }
    }

    mutating func invalidateAsked(by node: NodeID) {
        if let refusal = invalidationObstacle(force: false) {
            note(.warning, "disk", "asked to throw its data away, refused: \(refusal.message)", peer: node)
        } else {
            invalidateHere()
        }
    }

    // MARK: Time

    mutating func advanceCommands() {
        advanceDetach()
        if !adjustments.isEmpty { advanceAdjustments() }
        if !connects.isEmpty { advanceConnects() }
    }
}
