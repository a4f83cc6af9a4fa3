import Formats
package import Model
import ReplicationCore

/// I11: each block in which the two copies differ is known to one of them, or a handshake would copy everything or
/// refuse by name. Looked at after every event, for what the cores know; and now and then for what a restart of both at
/// this moment would know.
extension Cluster {
    private static let blocksEachEvent = 24

    func checkCoverage(whole: Bool = false) {
        if options.isByMajority { return checkCoverageByMajority(whole: whole) }
        let count = copies.differing.count
        guard count > 0, oracle.violation == nil, !isExchanged, !isAnyCopyOld else { return }
        let looks = whole ? count : min(count, Self.blocksEachEvent)
        let first = knowledge(nodes[0])
        let second = knowledge(nodes[1])
        let end = OracleEquality.end(state(nodes[0]), state(nodes[1]))
        var cursor = coverageCursor
        let unknown = copies.differing.members.withUnsafeBufferPointer { members -> UInt64? in
            for _ in 0..<looks {
                cursor = cursor + 1 < count ? cursor + 1 : 0
                let block = UInt64(members[cursor])
                if block < end, !first.covers(block), !second.covers(block) { return block }
            }
            return nil
        }
        coverageCursor = cursor
        guard let unknown, let reason = OracleEquality.objection(state(nodes[0]), state(nodes[1])) else { return }
        oracle.fail("I11", "\(describe(unknown)) is marked nowhere, \(reason)")
    }

    /// What a node knows of differences: its core's memory, or what lies on its disk.
    private enum Knowledge {
        case core(UnsafeMutablePointer<Replica>, toward: NodeID)
        case disk(DurableView)

        func covers(_ block: UInt64) -> Bool {
            switch self {
            case .core(let core, let other): core.pointee.knows(block: block, toward: other)
            case .disk(let view): view.covers(block: block)
            }
        }
    }

    private func knowledge(_ node: SimulatedNode) -> Knowledge {
        guard let live = node.live, node.usesDisk else { return .disk(durable(node)) }
        return .core(live.core, toward: other(node).id)
    }

    /// A disk was put in another's place, and the copies were not equal since.
    private var isExchanged: Bool {
        if copies.differing.count == 0 { for node in nodes { node.disk.wasExchanged = false } }
        return nodes.contains { $0.disk.wasExchanged }
    }

    func describe(_ block: UInt64) -> String {
        let first = Int(block) * 8
        let sector = (first..<first + 8).first { copies[0, $0] != copies[1, $0] } ?? first
        return "block \(block) differs (sector \(sector): node 0 \(WriteValue.describe(copies[0, sector])), node 1 "
            + "\(WriteValue.describe(copies[1, sector]))) and"
    }

    package func isInUse(_ copy: Int) -> Bool { nodes[copy].live != nil && nodes[copy].usesDisk }

    package func wentOn(_ copy: Int, from other: Int) -> Bool {
        let (one, two) = (state(nodes[copy]), state(nodes[other]))
        return !one.flags.contains(.inconsistent) && one.current.id != two.current.id
            && one.lineContains(two.current.id)
    }

    package var areOfTwoLineages: Bool {
        let (one, two) = (state(nodes[0]).record, state(nodes[1]).record)
        return !one.isEmpty && !two.isEmpty && one.lineage != two.lineage
    }

    private func state(_ node: SimulatedNode) -> Superblock {
        guard let live = node.live, node.usesDisk else { return durable(node).superblock }
        return live.core.pointee.durableState
    }

    /// What a start of the node would read, as long as nobody writes there.
    func durable(_ node: SimulatedNode) -> DurableView {
        if let view = node.durable, node.durableRevision == node.disk.metadataRevision { return view }
        switch MetadataBytes.load(node, layout: layout, repairing: false) {
        case .success(let metadata):
            let view = DurableView(metadata)
            node.durable = view
            node.durableRevision = node.disk.metadataRevision
            return view
        case .failure(let error):
            oracle.fail("I7", "node \(node.side)'s metadata is unreadable: \(error)")
            return DurableView(
                LoadedMetadata(
                    superblock: Superblock(
                        node: node.id, instance: .none, size: options.size, logExtents: options.logExtents,
                        zeroes: false),
                    log: LogReplay(
                        table: [], lastNumber: 0, lastSequence: 0, seen: PerNode(repeating: .none), damaged: true),
                    bitmaps: [], bootID: (0, 0)))
        }
    }

    /// C10: both say that they are in step and nothing is under way: then they are equal, whatever is marked.
    func checkStatus() {
        guard copies.differing.count > 0, !options.isByMajority, oracle.violation == nil, !isExchanged else { return }
        for node in nodes {
            guard node.isUp, !node.isPaused, node.inbox.isEmpty, node.operationsInFlight == 0,
                !node.disk.hasOperations, let status = status(node), let peer = status.peers.first,
                status.disk == .upToDate, peer.connection == .connected, peer.replication == .established,
                peer.disk == .upToDate, peer.outOfSyncBytes == 0
            else { return }
        }
        guard network.isEmpty, let block = copies.differing.members.first else { return }
        oracle.fail("I11", "\(describe(UInt64(block))) both nodes say that they are in step and at rest")
    }

    /// The superblock as the disk has it.
    func durableSuperblock(_ node: SimulatedNode) -> Superblock {
        if let view = node.durable, node.durableRevision == node.disk.metadataRevision { return view.superblock }
        if let known = node.superblockOnDisk, node.superblockRevision == node.disk.superblockRevision { return known }
        let superblock = MetadataBytes.superblock(node, layout) ?? durable(node).superblock
        node.superblockOnDisk = superblock
        node.superblockRevision = node.disk.superblockRevision
        return superblock
    }

    /// By what lies on the disks of both.
    private func isBehindBoth(_ block: UInt64) -> Bool {
        block >= OracleEquality.end(durable(nodes[0]).superblock, durable(nodes[1]).superblock)
    }

    /// If both nodes died now: all that differs, and all that may still land, must be known from disk.
    func checkDeeply() {
        if options.isByMajority { return checkDeeplyByMajority() }
        guard oracle.violation == nil, !isExchanged, !isAnyCopyOld else { return }
        let first = nodes[0]
        let second = nodes[1]
        for member in copies.differing.members {
            let block = UInt64(member)
            if isBehindBoth(block) { continue }
            if durable(first).covers(block: block) || durable(second).covers(block: block) { continue }
            guard let reason = OracleEquality.objection(durable(first).superblock, durable(second).superblock) else {
                break
            }
            return oracle.fail("I11", "\(describe(block)) would be marked nowhere after both crash now, \(reason)")
        }
        checkCaches()
        for node in nodes {
            for write in node.disk.writesInFlight {
                // Resync data makes the copies equal: it needs no mark of its own.
                for index in 0..<write.count where write.value(index) != copies[other(node).side, write.sector + index]
                {
                    let block = (write.sector + index) / 8
                    if durable(node).covers(block: UInt64(block)) { continue }
                    if durable(other(node)).covers(block: UInt64(block)) { continue }
                    guard copies.isInside(block), !isBehindBoth(UInt64(block)) else { continue }
                    guard let reason = OracleEquality.objection(durable(first).superblock, durable(second).superblock)
                    else { return }
                    return oracle.fail(
                        "I11",
                        "node \(node.side) writes block \(block), which no durable log or bitmap would name, \(reason)")
                }
            }
        }
    }

    /// If both lost power now: what is not stable would be there or not, on either side, and so must be known from disk.
    private func checkCaches() {
        for node in nodes {
            for write in node.disk.volatile {
                for sector in write.sector..<write.sector + write.count {
                    let block = UInt64(sector / 8)
                    if durable(node).covers(block: block) { continue }
                    if durable(other(node)).covers(block: block) { continue }
                    guard node.disk.stable[sector] != copies[node.side, sector] else { continue }
                    guard copies.counts(sector / 8), !isBehindBoth(block) else { continue }
                    let superblocks = nodes.map { durable($0).superblock }
                    guard let reason = OracleEquality.objection(superblocks[0], superblocks[1]) else { return }
                    return oracle.fail(
                        "I11",
                        "block \(block) is not stable on node \(node.side), and would be marked nowhere after a loss of "
                            + "power, \(reason)")
                }
            }
        }
    }
}

/// What two superblocks say of a difference that nobody marked.
package enum OracleEquality {
    /// Behind the volume's end, as the one of the two says it that knows it larger, nothing is a difference. Within that end all is: the
    /// record of the larger size came after zeroes on the other copy, or this one has marks for everything toward it.
    package static func end(_ one: Superblock, _ other: Superblock) -> UInt64 {
        [one, other].map { ($0.record.isEmpty ? $0.size : min($0.size, $0.record.size)) / Geometry.blockSize }.max()
            ?? 0
    }

    /// Why marks are needed: nil when the two would copy everything, or refuse each other by name.
    package static func objection(_ one: Superblock, _ other: Superblock) -> String? {
        if one.isBlank || other.isBlank { return nil }
        if one.flags.contains(.inconsistent), other.flags.contains(.inconsistent) { return nil }
        if !one.isEmpty, !other.isEmpty, one.volume != other.volume { return nil }
        if !one.lineContains(other.current.id), !other.lineContains(one.current.id) { return nil }
        if let verdict = onlyBits(one, other) { return verdict }
        if let verdict = onlyBits(other, one) { return verdict }
        guard reaches(one, other), reaches(other, one) else { return nil }
        return "generations \(TraceText.short(one.current.id)) and \(TraceText.short(other.current.id)), bases "
            + "\(one.peers[other.node].base) and \(other.peers[one.node].base)"
    }

    private static func onlyBits(_ one: Superblock, _ other: Superblock) -> String? {
        guard case .everything(let instance) = one.peers[other.node].base, instance == other.instance else {
            return nil
        }
        return "and node \(one.node.rawValue) believes to have marked everything"
    }

    /// Whether the marks of `one` go back to where the two lines part.
    private static func reaches(_ one: Superblock, _ other: Superblock) -> Bool {
        let line = [one.current.id] + one.history.map(\.id)
        guard let common = line.firstIndex(where: { other.lineContains($0) }) else { return false }
        // A copy made anew lacks what the former one took: it gets everything.
        let seen = one.peers[other.node].seenInstance
        guard seen.isNone || seen == other.instance else { return false }
        switch one.peers[other.node].base {
        case .inStep: return common == 0
        case .since(let base): return line.firstIndex(of: base).map { common <= $0 } ?? false
        case .everything: return false
        }
    }
}
