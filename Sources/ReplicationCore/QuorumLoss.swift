import Model

/// A primary without a majority: what waits for one waits (`on-quorum-lost: suspend`), or fails.
extension Replica {
    /// A record or a term that requests wait for needs votes that are out of reach; or, without a disk, all members are.
    var isWaitingForQuorum: Bool {
        guard isByMajority, role == .primary else { return false }
        let isBare = !hasDisk && !others.contains { required.contains($0) && self[peer: $0].receivesWrites }
        guard candidacy != nil || isBare || (change.map { !$0.isHarmless } ?? false) else { return false }
        return !hasQuorum
    }

    /// Clients' requests are answered as they come: nothing that may last holds them.
    package var answersClients: Bool {
        mutating get {
            guard leads, role == .primary, candidacy == nil, doubts.isEmpty, !isUnsettled,
                change.map(\.isHarmless) ?? true, !isByMajority || holdsTerm && hasQuorum
            else { return false }
            for node in others where required.contains(node) {
                if !self[peer: node].receivesWrites || self[peer: node].handshake == .exchanging { return false }
            }
            return !table.contains { $0.isClient && now.since($0.began) > 500_000_000 }
        }
    }

    /// `on-quorum-lost: error`. A request that failed may be done, here or on some members only. So its blocks count as
    /// unsettled: each is copied to all members before it is read again, or a read could give the new data, and after
    /// the next change of primary another one the old.
    mutating func failWithoutQuorum() {
        guard configuration.failsWithoutQuorum, table.clients > 0, isWaitingForQuorum else { return }
        // From here nothing is settled without a disk: what was sent waits for its members.
        let canSettle = hasDisk && change?.purpose != .leaveSelf || isLeftOut(.disklessFailsNoWrite)
        let slots = table.slots(where: {
            $0.isClient && !$0.isGivenUp && (canSettle || !$0.isClientWrite || $0.sequence == 0)
        })
        guard !slots.isEmpty else { return }
        note(.warning, "io", "no quorum: \(slots.count) waiting request\(slots.count == 1 ? "" : "s") failed")
        var abandoned = NodeSet()
        for slot in slots {
            table[slot].isGivenUp = true
            table[slot].givenUpResult = .failed
            // Whoever was asked for something of this request must not answer the next one in its place.
            abandoned = abandoned.union(table[slot].legs)
            table[slot].legs = NodeSet()
            if table[slot].isClientWrite, table[slot].sequence > 0, !isLeftOut(.failedIsUnsettled) {
                unsettle(table[slot].range)
            }
        }
        for slot in slots where table[slot].kind != .free && table[slot].isGivenUp && !table[slot].localPending {
            withdraw(slot)
        }
        for node in abandoned { giveUpWrites(toward: node) }
        attention = true
    }

    private mutating func unsettle(_ range: ByteRange) {
        guard hasDisk else { return }
        if unsettled.blocks == 0 { unsettled = DirtyBitmap(blocks: volumeBlocks) }
        unsettled.mark(range.blocks)
        settlement.through = sequence
    }
}
