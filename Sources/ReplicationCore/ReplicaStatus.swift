package import Model

extension Replica {
    /// The law stands with `DiskState`; here is how this copy's state follows from what is durable and who is connected.
    package var diskState: DiskState { currentDiskState }

    /// In place, for `tellPresence`: called, it is handed a copy of the whole replica.
    @inline(__always) var currentDiskState: DiskState {
        if isWitness { return .diskless }
        switch disk {
        case .none: return .diskless
        case .failed: return .failed
        case .good: break
        }
        if superblock.flags.contains(.inconsistent) || superblock.isBlank { return .inconsistent }
        if role == .primary { return .upToDate }
        if superblock.record.isEmpty { return superblock.flags.contains(.outdated) ? .outdated : .upToDate }
        if superblock.flags.contains(.outdated) { return .outdated }
        guard superblock.record.inStep.contains(me), superblock.record.instances[me] == superblock.instance else {
            return .outdated
        }
        if required == NodeSet(me) { return .upToDate }
        for node in others where self[peer: node].relation == .established || self[peer: node].relation == .source {
            return .upToDate
        }
        return .consistent
    }

    /// Bytes a second that a resync may take now; nil: as fast as it goes.
    package var resyncRate: UInt64? { configuration.resyncRate }

    /// Everything `status` shows that the core knows; the daemon adds paths and its pid.
    package func status(at now: MonotonicTime) -> VolumeStatus {
        let split = others.first { self[peer: $0].isStandalone && self[peer: $0].reason != nil }
        var status = VolumeStatus(
            volume: configuration.volume, node: name(me), role: isWitness ? .witness : role, disk: shownDisk,
            size: isWitness && superblock.record.isEmpty ? 0 : volumeSize,
            generation: superblock.current.id.isNone ? nil : superblock.current.id.description,
            term: knownRecord.number.term.counter, inStep: knownRecord.inStep.map { name($0) },
            quorum: isByMajority ? isMajority(votersThere, of: voters(of: knownRecord)) : nil, suspended: suspended,
            suspect: superblock.flags.contains(.suspect),
            nbd: "", device: nil,
            clients: writableClients, pid: 0, reason: split.flatMap { self[peer: $0].reason },
            message: split.flatMap { self[peer: $0].message }, peers: everyone.map { self.status(of: $0, at: now) })
        if isByMajority { status.votes = votes(at: now) }
        if status.reason == nil, role != .primary, hasDisk, let loss = possibleLoss {
            status.reason = loss.reason
            status.message = loss.message
        }
        return status
    }

    /// Others went on, and this copy is to be filled: with what it held it is up to date no more, also while nobody begins. Only
    /// shown so: what is told to peers is durable.
    private var shownDisk: DiskState {
        let state = diskState
        guard state == .upToDate, role != .primary else { return state }
        return others.contains { self[peer: $0].relation == .targetWaiting } ? .outdated : state
    }

    /// Who is in step and who votes, by the newest record of this line that somebody there has: a disk or a memory made anew has none of
    /// its own, and no vote in another's; one that was left out may hear so from a witness.
    private var knownRecord: Record {
        let own = superblock.record
        guard isByMajority, role != .primary else { return own }
        var newest = own
        for node in everyone where self[peer: node].hasSession {
            guard let told = self[peer: node].standing?.record, newest.number < told.number else { continue }
            if newest.isEmpty || told.lineage == newest.lineage { newest = told }
        }
        return newest
    }

    /// Voters of that record that this node hears, itself included; not who follows another line. (Whom the record calls in step
    /// joined since it told which one it follows.)
    private var votersThere: NodeSet {
        let record = knownRecord
        var there = NodeSet()
        if hasDisk, isNamed(me, superblock.instance, by: record) { there.insert(me) }
        for node in everyone where self[peer: node].hasSession {
            guard !isOfOtherLine(node) || record.inStep.contains(node) else { continue }
            guard let standing = self[peer: node].standing, isNamed(node, standing.instance, by: record) else {
                continue
            }
            there.insert(node)
        }
        return there
    }

    /// Since one of the lines was promoted by force.
    private func isOfOtherLine(_ node: NodeID) -> Bool {
        guard let theirs = self[peer: node].standing?.record, !theirs.isEmpty, !superblock.record.isEmpty else {
            return false
        }
        return theirs.lineage != superblock.record.lineage
    }

    private func votes(at now: MonotonicTime) -> VolumeStatus.Votes {
        let voters = voters(of: knownRecord)
        return VolumeStatus.Votes(
            voters: voters.map { name($0) }, present: votersThere.intersection(voters).map { name($0) },
            witnesses: configuration.members.filter(\.isWitness).map(\.name),
            leaseSeconds: leaseLeft(at: now).map { Double($0) / 1e9 },
            isDecided: isWitness ? nil : max(lastChosen, heardChosen) == knownRecord.number)
    }

    private var suspended: [SuspendReason] {
        guard role == .primary else { return [] }
        var reasons: [SuspendReason] = []
        if isWaitingForQuorum { reasons.append(.quorum) }
        if isHeldForFencing { reasons.append(.fencing) }
        if readablePeer == nil, !hasDisk || !required.contains(me) { reasons.append(.noData) }
        let isHeld = change.map { !$0.loses.isEmpty } ?? false
        let isWaiting = others.contains { required.contains($0) && !self[peer: $0].receivesWrites }
        if isHeld || (isWaiting && table.clientWrites > 0) { reasons.append(.record) }
        return reasons
    }

    private func status(of node: NodeID, at now: MonotonicTime) -> VolumeStatus.Peer {
        let peer = self[peer: node]
        let connection: ConnectionState = peer.isStandalone ? .standalone : peer.isConnected ? .connected : .connecting
        // A record that leaves it out, and that nobody chose yet, may leave out nobody.
        let isOut =
            !superblock.record.isEmpty && !superblock.record.inStep.contains(node) && !required.contains(node)
            && !witnesses.contains(node)
        var status = VolumeStatus.Peer(
            node: name(node), id: node.rawValue, connection: connection,
            role: connection == .connected ? peer.presence?.role ?? .unknown : .unknown,
            disk: connection == .connected ? peer.presence?.disk ?? .unknown : isOut ? .outdated : .unknown,
            replication: replication(of: peer),
            outOfSyncBytes: hasDisk ? self[bitmap: node].count * Geometry.blockSize : 0,
            lagBytes: lagBytes(of: node), lagSeconds: Double(lagAge(of: node, at: now)) / 1e9,
            resync: resync(of: peer, at: now), lastResync: peer.lastResync,
            reason: peer.reason, message: peer.message)
        if isByMajority, witnesses.contains(node), peer.hasSession, isOfOtherLine(node), status.reason == nil {
            status.reason = "other-line"
            status.message =
                "its memory belongs to another line of this volume, since one was promoted by force: it does not vote here; "
                + "if this line is to be kept, on \(name(node)): hablk down \(configuration.volume), delete its "
                + "\(configuration.volume).witness, and reload it"
        }
        status.verify = verifyProgress(of: node, at: now)
        status.lastVerify = comparison.results[node]
        status.mode = asynchronous.contains(node) ? .asynchronous : relaxed.contains(node) ? .memory : .sync
        return status
    }

    private func replication(of peer: Peer) -> ReplicationState? {
        guard peer.isConnected else { return nil }
        switch peer.relation {
        case .sourcePreparing where isBehind(peer.id): return .behind
        case .source, .sourceBeginning, .sourcePreparing: return .resyncSource
        case .target, .targetWaiting: return .resyncTarget
        case .none: return nil
        case .established where isComparing(with: peer.id): return .verify
        case .nothing, .establishing, .established, .carrier, .carried: return .established
        }
    }

    private func resync(of peer: Peer, at now: MonotonicTime) -> VolumeStatus.Resync? {
        let total: UInt64
        let done: UInt64
        let began: MonotonicTime
        switch peer.relation {
        case .source:
            total = max(peer.source.totalBlocks * Geometry.blockSize, peer.source.pulledBytes)
            done = peer.source.pulledBytes
            began = peer.source.began
        case .target:
            total = max(peer.target.totalBlocks * Geometry.blockSize, peer.target.pulledBytes)
            done = peer.target.pulledBytes
            began = peer.target.began
        default: return nil
        }
        let seconds = max(Double(now.since(began)) / 1e9, 0.001)
        let rate = UInt64(Double(done) / seconds)
        var paused: [String] = []
        if isResyncPaused { paused.append(name(me)) }
        if peer.presence?.resyncPaused == true { paused.append(name(peer.id)) }
        return VolumeStatus.Resync(
            doneBytes: done, totalBytes: total, bytesPerSecond: rate,
            etaSeconds: rate == 0 ? nil : Double(total - done) / Double(rate), paused: paused)
    }
}
