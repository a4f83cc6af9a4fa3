import Model

struct PendingConnect {
    var command: CommandID
    /// Whom it is about, and those of them that are still awaited.
    var peers: NodeSet
    var awaited: NodeSet
    var discards: Bool
    var deadline: MonotonicTime
}

/// `connect` and `disconnect`.
extension Replica {
    /// One peer, or all: without a name data is offered to every copy, and witnesses are connected too.
    private func targets(_ node: NodeID?, discards: Bool = false) -> NodeSet {
        var targets = NodeSet()
        for peer in node.map({ [$0] }) ?? (discards ? others : everyone) where isPeer(peer) {
            targets.insert(peer)
        }
        return targets
    }

    private func names(_ nodes: NodeSet) -> String { nodes.map { name($0) }.joined(separator: ", ") }

    mutating func performConnect(
        _ id: CommandID, _ node: NodeID?, discards: Bool, dryRun: Bool, _ deadline: MonotonicTime
    ) {
        let targets = targets(node, discards: discards)
        guard !targets.isEmpty else {
            refuse(id, "no-such-peer", "no such peer", "hablk status \(configuration.volume)")
            return
        }
        if discards, role == .primary {
            refuse(
                id, "is-primary", "a primary's data is not thrown away",
                "hablk demote \(configuration.volume), then connect again")
            return
        }
        if dryRun {
            let blocks = targets.map { hasDisk ? self[bitmap: $0].count : 0 }.max() ?? 0
            let bytes = blocks * Geometry.blockSize
            let dropped = discards ? "would drop \(bytes) bytes written here since the copies parted" : "would connect"
            emit(.commandDone(id, .done(dropped)))
            return
        }
        if discards { ceaseToKeep() }
        var awaited = NodeSet()
        for peer in targets where !self[peer: peer].isConnected || self[peer: peer].isStandalone {
            awaited.insert(peer)
        }
        guard !awaited.isEmpty else {
            emit(.commandDone(id, .done("already connected to \(names(targets))")))
            return
        }
        for peer in awaited {
            if discards {
                offerToDiscard(peer, true)
                if self[peer: peer].hasSession { restartSession(peer, "to offer this copy's data") }
            }
            self[peer: peer].isStandalone = false
            self[peer: peer].backoff = 0
            setReason(peer, nil, nil)
            if !self[peer: peer].hasSession { self[peer: peer].nextDial = now }
            note(.info, "connection", "connecting", peer: peer)
        }
        connects.append(
            PendingConnect(command: id, peers: targets, awaited: awaited, discards: discards, deadline: deadline))
        attention = true
    }

    /// A verdict was reached: commands that waited for it end.
    mutating func concludeConnects(_ node: NodeID) {
        guard connects.contains(where: { $0.awaited.contains(node) }) else { return }
        let peer = self[peer: node]
        let waiting = connects
        connects = []
        for var pending in waiting {
            guard pending.awaited.contains(node) else {
                connects.append(pending)
                continue
            }
            if peer.isStandalone {
                refuse(
                    pending.command, peer.reason ?? "parted", peer.message ?? "the two copies were parted",
                    peer.reason == Self.cannotKeep
                        ? "make room for it, then the same command again"
                        : "on the copy to be thrown away: hablk connect \(configuration.volume) --discard-my-data")
                continue
            }
            if isConcluded(pending, peer) { pending.awaited.remove(node) }
            if pending.awaited.isEmpty {
                emit(.commandDone(pending.command, .done("connected to \(names(pending.peers))")))
            } else {
                connects.append(pending)
            }
        }
    }

    private func isConcluded(_ pending: PendingConnect, _ peer: Peer) -> Bool {
        // With quorum a copy of another line stays offered until a node of that line leads, and takes it.
        peer.isConnected && (peer.relation != .targetWaiting && !peer.discardMine || !pending.discards)
    }

    mutating func performDisconnect(_ id: CommandID, _ node: NodeID?, force: Bool) {
        let targets = targets(node)
        guard !targets.isEmpty else {
            refuse(id, "no-such-peer", "no such peer", "hablk status \(configuration.volume)")
            return
        }
        if role == .primary, !hasDisk, !force,
            let carrier = targets.first(where: { self[peer: $0].relation == .carried })
        {
            refuse(
                id, "last-copy", "this primary has no disk and lives on \(name(carrier))",
                "hablk attach \(configuration.volume), or --force")
            return
        }
        for peer in targets {
            send(.goodbye(.disconnected), to: peer)
            becomeStandalone(peer)
            self[peer: peer].resumableRun = .none
            setReason(peer, nil, nil)
        }
        emit(.commandDone(id, .done("disconnected from \(names(targets))")))
    }

    // MARK: Time

    mutating func advanceConnects() {
        for node in everyone { concludeConnects(node) }
        let waiting = connects
        connects = waiting.filter { now < $0.deadline }
        for pending in waiting where now >= pending.deadline {
            emit(.commandDone(pending.command, .timedOut(whyUnconnected(pending))))
        }
    }

    private func whyUnconnected(_ pending: PendingConnect) -> Refusal {
        if let node = pending.awaited.first(where: { self[peer: $0].isConnected && self[peer: $0].discardMine }) {
            guard isOfOtherLine(self[peer: node].theirs?.record ?? superblock.record) else {
                return refusal(
                    isByMajority ? "no-primary" : "not-filled",
                    "\(name(node)) took the offer, and has not begun to fill this copy; it stays offered",
                    isByMajority
                        ? "hablk promote \(configuration.volume), on a node whose copy counts: it fills this one"
                        : "hablk status \(configuration.volume), here and on \(name(node)): is its resync paused?")
            }
            return refusal(
                "no-primary", "\(name(node)) belongs to the other line, which nobody serves; this copy stays offered",
                "hablk promote \(configuration.volume), on the node that was promoted by force")
        }
        let verb = pending.awaited.count == 1 ? "does" : "do"
        return refusal(
            "not-connected", "\(names(pending.awaited)) \(verb) not answer; still trying",
            "is its daemon running, and the network between them up?")
    }

    /// Why two copies do not go together for now.
    func words(of rule: HandshakeRule, toward node: NodeID, _ theirs: HandshakeState) -> String {
        rule == .tooSmall ? rule.words + tooSmall(toward: node, theirs) : rule.words
    }

    /// What to do about a copy that has no room for the volume: metadata made for more nodes leave less of an equal disk.
    func tooSmall(toward node: NodeID, _ theirs: HandshakeState) -> String {
        guard let mine = self[peer: node].mine else { return "" }
        let size = max(mine.record.size, theirs.record.size)
        let (owner, room) = mine.capacity < size ? (me, mine.capacity) : (node, theirs.capacity)
        let lack = ": \(name(owner))'s has room for \(room) bytes, the volume has \(size). "
        if owner == me, self.room != nil { return lack + "It makes room, and they meet again when it is there" }
        return lack
            + "It makes room by itself if its disk has any. Else take a larger disk there; or, if the disk is as large as the others', "
            + "make its copy for that size, with fewer bitmaps: hablk create \(configuration.volume) --force --size \(size)"
    }

    /// It was taken out of the configuration: whoever waits for it waits for the others alone.
    mutating func ceaseToAwait(_ node: NodeID) {
        let waiting = connects
        connects = []
        for var pending in waiting {
            let wasAwaited = pending.awaited.contains(node)
            pending.peers.remove(node)
            pending.awaited.remove(node)
            if pending.peers.isEmpty {
                refuse(
                    pending.command, "no-such-peer", "\(name(node)) was taken out of the configuration",
                    "hablk status \(configuration.volume)")
            } else if wasAwaited, pending.awaited.isEmpty {
                emit(.commandDone(pending.command, .done("connected to \(names(pending.peers))")))
            } else {
                connects.append(pending)
            }
        }
    }
}
