import Model

/// An `adjust` whose effect is not durable yet.
struct Adjustment {
    var command: CommandID
    /// Of the superblock.
    var version: UInt64
}

/// Bitmaps that were given to nodes in this run and are not on disk yet, and how far the first of them is.
struct UnwrittenBitmaps {
    var nodes = NodeSet()
    var page = 0
}

/// Which nodes there are, by the configuration, and how that changes (`hablk adjust`, or another file at the next start).
///
/// A node that the configuration does not name any more has *departed*: nobody speaks to it, and it counts as cut off for
/// good. While this copy's record may name it, it stays among `others`: what it lacks goes on being marked, so that its base
/// stays true should it be taken back. The leader's records let go of its copy and of its vote in one step, and of one vote at
/// a time (`protocol-reasons` F21). That it is gone is an administrator's word: it is not fenced.
///
/// Of a node that this copy does not track nothing is known: whatever was marked toward it once says too little, and it is
/// filled from the beginning if it comes again.
extension Replica {
    /// By the copy's record and the configuration. Nothing else of the superblock may be used before.
    mutating func trackMembers() {
        let named = superblock.record.inStep.union(superblock.required)
        let rest = configuration.members.filter { $0.id != me }
        let copies = rest.filter { !$0.isWitness }.map(\.id)
        others = NodeID.all.filter { $0 != me && (copies.contains($0) || named.contains($0)) }
        for node in NodeID.all where node != me && !others.contains(node) {
            guard superblock.peers[node] != .empty, !isLeftOut(.departedIsUnknown) else { continue }
            superblock.peers[node].base = .everything(.none)
        }
        for node in others where hasDeparted(node) { self[peer: node].isStandalone = true }
    }

    /// The nodes, times and rates of the configuration are these from now on. The daemon has seen to it that all else is as it was,
    /// that this node is still named, and that there is a bitmap for each copy.
    mutating func adjust(to next: ReplicaConfiguration, _ command: CommandID) {
        let former = configuration
        let named = Self.nodes(of: next)
        let added = named.subtracting(configured)
        for node in configured.subtracting(named) { depart(node) }
        configured = named
        configuration = next
        configuration.limits = former.limits
        configuration.compared = former.compared
        if next.resyncRate == configuredResyncRate { configuration.resyncRate = former.resyncRate }
        configuredResyncRate = next.resyncRate
        departed = (former.members + departed).filter { known in !next.members.contains { $0.id == known.id } }
        let rest = next.members.filter { $0.id != me }
        witnesses = rest.filter(\.isWitness).map(\.id).sorted()
        everyone = rest.map(\.id).sorted()
        let modes = Self.modes(of: next)
        for node in modes.relaxed where added.contains(node) { relaxed.insert(node) }
        for node in modes.asynchronous where added.contains(node) { asynchronous.insert(node) }
        // One that comes back in another mode is another copy to whatever is held.
        for node in added where !modes.relaxed.contains(node) && !isLeftOut(.modeComesWithNode) {
            dropHeld(at: node)
            relaxed.remove(node)
        }
        for node in added where !modes.asynchronous.contains(node) && !isLeftOut(.modeComesWithNode) {
            asynchronous.remove(node)
        }
        for node in added { enter(node, isWitness: witnesses.contains(node)) }
        noteStatus()
        // With quorum the former voters' majority is asked about each of them; here only the bitmaps' places become durable.
        adjustments.append(Adjustment(command: command, version: persistSuperblock()))
    }

    static func nodes(of configuration: ReplicaConfiguration) -> NodeSet {
        var nodes = NodeSet(configuration.node)
        for member in configuration.members { nodes.insert(member.id) }
        return nodes
    }

    mutating func advanceAdjustments() {
        let waiting = adjustments
        adjustments = waiting.filter { !isDurable($0.version) }
        for done in waiting where isDurable(done.version) {
            // Which changes these were the daemon says, which compared the files.
            emit(.commandDone(done.command, .done("\(configuration.volume) runs as its file says")))
        }
    }

    private mutating func depart(_ node: NodeID) {
        becomeStandalone(node)
        self[peer: node].resumableRun = .none
        self[peer: node].standing = nil
        self[peer: node].claimsPrimary = false
        self[peer: node].expectedBack = nil
        setReason(node, nil, nil)
        self[peer: node].lastResync = nil
        ceaseToAwait(node)
    }

    private mutating func enter(_ node: NodeID, isWitness: Bool) {
        self[peer: node].isStandalone = false
        self[peer: node].backoff = 0
        if !isWitness, !others.contains(node) {
            others = NodeID.all.filter { $0 == node || others.contains($0) }
            self[bitmap: node] = DirtyBitmap(
                blocks: volumeBlocks, room: superblock.size / Geometry.blockSize,
                isOnDisk: isLeftOut(.newBitmapIsWritten))
            unwritten.nodes.insert(node)
            for source in others where self[peer: source].relation == .target {
                self[peer: source].target.entered.insert(node)
            }
            // Others took it in already: what this copy may hold differently from any member it may hold differently from this one.
            if superblock.record.inStep.contains(node) {
                for member in others where member != node && superblock.record.inStep.contains(member) {
                    self[bitmap: node].formUnion(self[bitmap: member])
                }
            }
        }
        scheduleDial(node, after: 0)
    }

    /// What lies in their places was never written, or is of another time: should this node be started again, that would count as
    /// dirty, and a copy in step be filled from the beginning. In passing: half of the writes of pages are left for others.
    mutating func writeNewBitmaps() {
        while let node = unwritten.nodes.first, metadata.pagesInFlight < MetadataWriter.pageLimit / 2 {
            if let page = self[bitmap: node].firstUnwritten(from: unwritten.page) {
                writePage(node, page)
                unwritten.page = page + 1
            } else {
                unwritten.nodes.remove(node)
                unwritten.page = 0
            }
        }
    }

    // MARK: Letting go

    func hasDeparted(_ node: NodeID) -> Bool { !configured.contains(node) }
    func isPeer(_ node: NodeID) -> Bool { node != me && configured.contains(node) }

    /// A record without it is due, whether or not somebody waits.
    var isNamingDeparted: Bool { !required.isSubset(of: configured) && !isLeftOut(.departedIsLetGo) }

    /// Its vote goes when its copy is out; a witness has none.
    var departedVoter: NodeID? {
        // Asked after nearly each event, and nearly never anybody departed.
        guard !superblock.record.voters.isSubset(of: configured), !isLeftOut(.departedIsLetGo) else { return nil }
        let record = superblock.record
        return record.voters.first { hasDeparted($0) && !record.inStep.contains($0) && canChoose(without: $0) }
    }

    /// Those that are there can choose the record without that voter. Begun in vain, it would be the newest, and a vote that may be
    /// needed (of two voters' disks made anew, the third's) would be gone for good.
    private func canChoose(without voter: NodeID) -> Bool {
        let voters = superblock.record.voters
        var there = reachableVoters
        for node in there where !hasVote(node) { there.remove(node) }
        return isMajority(there, of: voters) && isMajority(there, of: voters.removing(voter))
    }

    /// As far as is known. One that was put back as it was takes the records of who fills it; should that one be started again before
    /// it is whole, its vote is none, and of two voters the other would find no majority ever again (seed 881001040).
    func hasVote(_ node: NodeID) -> Bool {
        if node == me || witnesses.contains(node) || isLeftOut(.restHasVotes) { return true }
        let peer = self[peer: node]
        // Without a disk it takes nothing, whatever it said of itself when its session began.
        guard peer.theirs?.hasDisk == true, peer.presence?.disk != .diskless, peer.presence?.disk != .failed else {
            return false
        }
        if peer.relation == .established { return true }
        return peer.handshake == .finished && peer.verdict?.rule != .rolledBackDiscarded
            && peer.theirs?.flags.contains(.rolledBack) != true
    }

    /// The record that leaves a departed copy out takes its vote, too: of one node.
    func dismissDeparted(among lost: NodeSet, _ record: inout Record) {
        guard isByMajority, !isLeftOut(.departedVoteGoesToo) else { return }
        guard let departed = lost.first(where: { hasDeparted($0) && record.voters.contains($0) }),
            canChoose(without: departed)
        else { return }
        record.voters.remove(departed)
    }
}
