import Formats
import Model
import ReplicationCore

/// I11 with quorum: whoever leads next is a member of the newest record. So each block in which a member differs from any other
/// copy is known to one of the two, or a handshake between them would copy everything or refuse by name. Two copies that are
/// both left out never fill each other, and owe each other nothing.
extension Cluster {
    private static let blocksEachEventByMajority = 6

    /// A copy as a meeting would find it.
    private struct Party {
        var node: SimulatedNode
        var superblock: Superblock
        /// Of the process; nil: of the disk.
        var core: UnsafeMutablePointer<Replica>?
        var view: DurableView?
        var isMember = false
    }

    /// - Parameter fromDisk: as if all processes ended now.
    private func parties(fromDisk: Bool) -> [Party] {
        var parties: [Party] = []
        var newest = Record.empty
        for node in copyNodes where !node.isRestored {
            var party: Party
            if !fromDisk, let live = node.live, node.usesDisk {
                party = Party(node: node, superblock: live.core.pointee.durableState, core: live.core)
            } else {
                let view = durable(node)
                party = Party(node: node, superblock: view.superblock, view: view)
            }
            let record = party.superblock.record
            // Promoted by force: another line, and only its own members are of it.
            let isNewer =
                record.lineage == newest.lineage ? newest.number < record.number : record.lineage != .founding
            if !record.isEmpty, newest.isEmpty || isNewer { newest = record }
            parties.append(party)
        }
        for index in parties.indices {
            let superblock = parties[index].superblock
            let id = parties[index].node.id
            parties[index].isMember =
                newest.inStep.contains(id) && newest.instances[id] == superblock.instance
                && superblock.record.inStep.contains(id) && superblock.record.lineage == newest.lineage
                && superblock.flags.isDisjoint(with: [.inconsistent, .outdated, .rolledBack])
        }
        return parties
    }

    private func covers(_ party: Party, _ block: UInt64, toward other: Party) -> Bool {
        if let core = party.core { return core.pointee.knows(block: block, toward: other.node.id) }
        return party.view?.covers(block: block, toward: other.node.id) ?? true
    }

    /// Why `block`, in which the two differ, had to be known to one of them; nil: it is, or need not be.
    private func objection(_ block: UInt64, _ one: Party, _ other: Party) -> String? {
        guard one.isMember || other.isMember else { return nil }
        // It says that it was put back as it was: it gets everything.
        let flags = one.superblock.flags.union(other.superblock.flags)
        if flags.contains(.rolledBack) { return nil }
        if block >= OracleEquality.end(one.superblock, other.superblock) { return nil }
        if covers(one, block, toward: other) || covers(other, block, toward: one) { return nil }
        // A member fills who is none, and from the beginning where it knows nothing of that one (it had departed): what the other
        // remembers of what it once filled is not asked (seed 88500131 without `turnover`).
        for (member, rest) in [(one, other), (other, one)] where member.isMember && !rest.isMember {
            guard case .everything(let instance) = member.superblock.peers[rest.node.id].base else { continue }
            if instance != rest.superblock.instance { return nil }
        }
        return OracleEquality.objection(one.superblock, other.superblock)
    }

    private func differs(_ block: Int, _ one: SimulatedNode, _ other: SimulatedNode) -> Int? {
        let first = block * 8
        return (first..<first + 8).first { copies[one.side, $0] != copies[other.side, $0] }
    }

    private func fail(_ block: Int, _ sector: Int, _ one: Party, _ other: Party, _ reason: String, _ when: String) {
        let (first, second) = (one.node.side, other.node.side)
        oracle.fail(
            "I11",
            "block \(block) differs (sector \(sector): node \(first) \(WriteValue.describe(copies[first, sector])), node "
                + "\(second) \(WriteValue.describe(copies[second, sector]))) and \(when), \(reason)")
    }

    /// After every event: a few blocks at a time of those that differ.
    func checkCoverageByMajority(whole: Bool) {
        let count = copies.differing.count
        guard count > 0, oracle.violation == nil else { return }
        var parties: [Party]?
        for _ in 0..<(whole ? count : min(count, Self.blocksEachEventByMajority)) {
            coverageCursor = coverageCursor + 1 < count ? coverageCursor + 1 : 0
            let block = copies.differing.members[coverageCursor]
            // What the two know is quickly seen; whom a record names, and where lines part, is not.
            guard isAnyPairUncovered(Int(block)) else { continue }
            let all = parties ?? self.parties(fromDisk: false)
            parties = all
            checkPairs(all, Int(block), "is marked nowhere")
            if oracle.violation != nil { return }
        }
    }

    private func isAnyPairUncovered(_ block: Int) -> Bool {
        for first in 0..<options.copies - 1 {
            for second in first + 1..<options.copies {
                let (one, other) = (nodes[first], nodes[second])
                guard differs(block, one, other) != nil else { continue }
                if !knows(one, block, toward: other), !knows(other, block, toward: one) { return true }
            }
        }
        return false
    }

    private func knows(_ node: SimulatedNode, _ block: Int, toward other: SimulatedNode) -> Bool {
        guard let live = node.live, node.usesDisk else {
            return durable(node).covers(block: UInt64(block), toward: other.id)
        }
        return live.core.pointee.knows(block: UInt64(block), toward: other.id)
    }

    private func checkPairs(_ parties: [Party], _ block: Int, _ when: String) {
        for (index, one) in parties.enumerated() {
            for other in parties[(index + 1)...] {
                guard let sector = differs(block, one.node, other.node),
                    let reason = objection(UInt64(block), one, other)
                else { continue }
                return fail(block, sector, one, other, reason, when)
            }
        }
    }

    /// If all processes ended now, or all power was lost: what differs then, and what may still land, must be known from disk.
    func checkDeeplyByMajority() {
        guard oracle.violation == nil else { return }
        let parties = parties(fromDisk: true)
        for block in copies.differing.members {
            checkPairs(parties, Int(block), "would be marked nowhere after all crash now")
            if oracle.violation != nil { return }
        }
        for one in parties {
            for other in parties where other.node !== one.node { checkUnstable(one, other) }
        }
    }

    private func checkUnstable(_ one: Party, _ other: Party) {
        func check(_ sector: Int, _ what: String) {
            // A planted difference that a resync copied along: nobody knew of it before either (seed 56001223).
            guard oracle.violation == nil, copies.counts(sector / 8),
                let reason = objection(UInt64(sector / 8), one, other)
            else { return }
            oracle.fail(
                "I11",
                "block \(sector / 8) \(what) at node \(one.node.side), and neither its disk nor node \(other.node.side)'s "
                    + "says so, \(reason)")
        }
        for write in one.node.disk.writesInFlight {
            // What makes the two equal needs no mark.
            for index in 0..<write.count where write.value(index) != copies[other.node.side, write.sector + index] {
                check(write.sector + index, "is being written")
            }
        }
        for write in one.node.disk.volatile {
            for sector in write.sector..<write.sector + write.count
            where one.node.disk.stable[sector] != copies[one.node.side, sector] { check(sector, "is not stable") }
        }
    }
}
