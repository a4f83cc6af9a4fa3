import Model

/// Leaving in order: what `detach` and `down` do before the disk is let go, so that the next start has nothing to replay.
extension Replica {
    // MARK: Detach

    mutating func advanceDetach() {
        guard let current = detaching else { return }
        if disk == .none {
            detaching = nil
            emit(.commandDone(current.command, .done("detached")))
            attention = true
            return
        }
        if current.wantsToLeave, isByMajority, now >= current.patience {
            if change?.purpose == .leaveSelf { abortChange() }
            guard current.force else { return giveUpDetach(current, "no majority took the record in time") }
            detaching?.wantsToLeave = false
            detaching?.isForced = true
            attention = true
            return
        }
        if current.wantsToLeave, change == nil {
            if role != .primary {
                detaching?.wantsToLeave = false
                attention = true
            } else if !others.contains(where: { self[peer: $0].relation == .established }) {
                giveUpDetach(current, "the peer that was to take over is gone")
            }
            return
        }
        guard disk == .good, !current.wantsToLeave else { return }
        if current.isForced {
            // Half a superblock written would be found at the next attach: a line that nobody was told of.
            let isWritten = metadata.phase == .idle && metadata.durable == metadata.wanted
            if isWritten || isLeftOut(.detachAwaitsSuperblock) { failDisk("detached by force") }
            return
        }
        guard role != .primary else {
            giveUpDetach(current, "this node became primary meanwhile")
            return
        }
        // What was promised may make this node primary yet, and what it serves must not be called clean (seed 70000066).
        if candidacy?.isBinding == true, !isLeftOut(.detachAwaitsCandidacy) { return }
        // The peer hears first that this copy counts no more; then everything is written back.
        if current.cleaning.phase == .draining {
            let presence = Presence(role: role, disk: .diskless, mark: .none, resyncPaused: isResyncPaused)
            // A primary that fences whom it leaves out does not fence this node for it: so the disk says that it is out of step.
            let isLeft = others.contains {
                self[peer: $0].isConnected && self[peer: $0].presence?.role == .primary && required.contains($0)
            }
            if isLeft, configuration.fencing == .stonith, !isByMajority { superblock.flags.insert(.outdated) }
            for node in others where self[peer: node].isConnected || self[peer: node].handshake == .exchanging {
                // A handshake under way would end in step, and what came then would be acknowledged behind the last flush.
                if self[peer: node].isConnected { send(.presence(presence), to: node) }
                restartSession(node, "detached")
            }
        }
        guard var cleaning = detaching?.cleaning else { return }
        stepCleaning(&cleaning)
        detaching?.cleaning = cleaning
        if cleaning.phase == .done {
            disk = .failed
            attention = true
            note(.info, "disk", "detached")
        }
    }

    private mutating func giveUpDetach(_ current: Detaching, _ why: String) {
        detaching = nil
        attention = true
        let refusal = Refusal(
            reason: "busy", message: why, remedy: "connect a peer that is up to date, then detach again")
        emit(.commandDone(current.command, .refused(refusal)))
    }

    // MARK: Stop

    mutating func advanceStop() {
        guard var current = stopping else { return }
        if !current.hasDemoted {
            if role == .primary {
                if demotion == nil { demote(nil, force: false, deadline: now + 3_000_000_000) }
                return
            }
            // With quorum a record of a node that serves nobody may never be chosen: `required` keeps whom it named.
            if isByMajority, demotion == nil, change != nil || candidacy != nil || isKeeper {
                endCandidacy()
                stopKeeping()
                abortChange()
            }
            guard demotion == nil, change == nil, acceptance == nil else { return }
            current.hasDemoted = true
            stopping = current
        }
        if !current.isLeaving {
            current.isLeaving = true
            stopping = current
            for node in others where self[peer: node].hasSession {
                send(.goodbye(.stopping), to: node)
                dropSession(node, "stopping", isOrderly: true)
            }
            for node in others {
                self[peer: node].nextDial = nil
                emit(.cancelDial(node))
            }
        }
        guard disk == .good else {
            // A buffer that was asked for a peer's read before the disk went is still to come, and to be given back.
            if disk == .none, !table.contains(where: { $0.phase == .waitingBuffer }) { stopped(current) }
            return
        }
        stepCleaning(&current.cleaning)
        stopping?.cleaning = current.cleaning
        if current.cleaning.phase == .done { stopped(current) }
    }

    private mutating func stopped(_ current: Stopping) {
        isStopped = true
        let leaving = CommandOutcome.refused(
            Refusal(reason: "stopping", message: "the daemon stops", remedy: "hablk up \(configuration.volume)"))
        var unanswered = connects.map(\.command) + adjustments.map(\.command)
        if let promotion { unanswered.append(promotion.command) }
        if let detaching { unanswered.append(detaching.command) }
        if let growth, !growth.isWithdrawn { unanswered.append(growth.command) }
        for command in unanswered { emit(.commandDone(command, leaving)) }
        note(.info, "role", "stopped")
        emit(.commandDone(current.command, .done("\(configuration.volume) is down on \(name(me))")))
        emit(.stopped)
    }

    // MARK: Writing back

    /// Unconfirmed blocks become marks, marks become durable pages, and only then the superblock says clean.
    private mutating func stepCleaning(_ cleaning: inout Cleaning) {
        while true {
            switch cleaning.phase {
            case .draining:
                guard !table.contains(where: { _ in true }), !log.isWriting, change == nil, acceptance == nil else {
                    return
                }
                for index in 0..<unconfirmed.count where !isLeftOut(.stopMarksUnconfirmed) {
                    for node in others { self[bitmap: node].mark(unconfirmed[index].range.blocks) }
                }
                dropAllUnconfirmed()
                // A log that is not read again names no extent of what members may hold differently.
                for node in others where unsettled.count > 0 { self[bitmap: node].formUnion(unsettled) }
                forgetUnsettled()
                cleaning.phase = .flushing(requestFlush())
            case .flushing(let number):
                guard isFlushed(number) else { return }
                cleaning.phase = .pages
            case .pages:
                guard isLeftOut(.pagesBeforeClean) || writeBackPages() else { return }
                superblock.flags.insert(.clean)
                superblock.logBase = metadata.sequence
                cleaning.phase = .persisting(persistSuperblock())
                advanceMetadata()
            case .persisting(let version):
                guard isDurable(version), outstanding == 0 else { return }
                cleaning.phase = .done
            case .done: return
            }
        }
    }
}
