import Formats
import Model
import ReplicationCore

/// What is wrong with a state that a crash may leave, and how to see it again.
package struct CrashFinding: Error, Sendable, CustomStringConvertible {
    /// `opens`, `whole`, `order`, `flags`, `clean`, `log`, `told`, `covered`, `corruption`, or an invariant of the oracle.
    package var rule: String
    package var text: String
    package var description: String { "\(rule): \(text)" }
}

/// Judges what a crash of one node at one moment may leave of its copy. **As cautious as the last flushed one** means,
/// with *last* the state of all that is stable and *newest* the state with all that was submitted:
///
/// * `opens`: the production loader opens it.
/// * `whole`: its superblock is exactly last's or newest's, never a mixture and never an older one.
/// * `order`: start number, sequence, promised term, record (within its lineage) and log are not below last's.
/// * `flags`: `suspect`, `outdated`, `inconsistent` of last are gone only if newest, whole, is without them, and a copy
///   leaves `inconsistent` only with a record that names it in step.
/// * `clean`: it calls itself clean only when nothing was unstable on the data's disk.
/// * `log`: the log is not damaged: one torn transaction is as if it had not been written.
/// * `told`: what its peer remembers of it (durably, or in a process that lives) is not above what it holds; it would be
///   refused as rolled back.
/// * `covered`: each block in which its data differ from its peer's is named by its log or its bitmap, or by the peer's
///   (or is known to the peer's process, when that lives), or the two would copy everything or refuse by name. The peer
///   is looked at alive, dead with nothing of what was unstable, and dead with all of it.
struct CrashJudge {
    private let cluster: Cluster
    private let node: SimulatedNode
    let moment: CrashMoment
    private let blocks: [Int]
    private let last: ReadMetadata
    private let newest: ReadMetadata
    private let peers: [PeerView]
    /// Values that every state has in common, eight sectors for each of `blocks`.
    private let stable: [UInt64]
    private let placeOfBlock: [Int: Int]

    /// The other copy as this one may meet it.
    private struct PeerView {
        var name: String
        var values: [UInt64]
        var superblock: Superblock
        var covers: (UInt64) -> Bool
    }

    /// - Throws: already the last or the newest state cannot be opened.
    init(_ scripted: CrashRun, side: Int) throws(CrashFinding) {
        cluster = scripted.cluster
        node = cluster.nodes[side]
        moment = CrashMoment(node.disk)
        blocks = scripted.touched.members.map(Int.init)
        placeOfBlock = Dictionary(uniqueKeysWithValues: blocks.enumerated().map { ($1, $0) })
        last = try Self.open(moment.image, "what is stable", cluster)
        newest = try Self.open(moment.metadata(keeping: moment.metadata), "all that was submitted", cluster)
        let disk = node.disk
        stable = blocks.flatMap { disk.stable[$0 * 8..<$0 * 8 + 8] }
        peers = try Self.views(of: cluster.nodes[1 - side], toward: node.id, blocks, cluster)
    }

    private static func open(
        _ bytes: [UInt8], _ what: String, _ cluster: Cluster
    ) throws(CrashFinding) -> ReadMetadata {
        switch MetadataBytes.read(bytes, cluster.layout) {
        case .success(let read): return read
        case .failure(let error): throw CrashFinding(rule: "opens", text: "\(what) does not open: \(error)")
        }
    }

    private static func views(
        of peer: SimulatedNode, toward id: NodeID, _ blocks: [Int], _ cluster: Cluster
    ) throws(CrashFinding) -> [PeerView] {
        let moment = CrashMoment(peer.disk)
        let disk = peer.disk
        let stable = blocks.flatMap { disk.stable[$0 * 8..<$0 * 8 + 8] }
        let now = blocks.flatMap { cluster.copies.values(peer.side, $0 * 8..<$0 * 8 + 8) }
        let least = DurableView(try open(moment.image, "the peer's stable state", cluster))
        let most = DurableView(
            try open(moment.metadata(keeping: moment.metadata), "the peer's newest state", cluster))
        var landed = now
        for index in moment.data where moment.sectors[index].isInFlight {
            guard case .data(let sector, let value) = moment.sectors[index].place,
                let place = blocks.firstIndex(of: sector / 8)
            else { continue }
            landed[place * 8 + sector % 8] = value
        }
        var views = [
            PeerView(name: "dead, nothing kept", values: stable, superblock: least.superblock) {
                least.covers(block: $0)
            },
            PeerView(name: "dead, all kept", values: landed, superblock: most.superblock) { most.covers(block: $0) },
        ]
        if let live = peer.live, peer.usesDisk {
            views.append(
                PeerView(name: "alive", values: now, superblock: live.core.pointee.durableState) {
                    live.core.pointee.knows(block: $0, toward: id)
                })
        }
        return views
    }

    // MARK: Metadata

    /// A state's metadata, judged; nil and a finding when they are less cautious.
    func judge(metadata kept: [Int]) -> Result<DurableView, CrashFinding> {
        let read: ReadMetadata
        switch MetadataBytes.read(moment.metadata(keeping: kept), cluster.layout) {
        case .success(let opened): read = opened
        case .failure(let error): return .failure(CrashFinding(rule: "opens", text: "\(error)"))
        }
        if let finding = superblock(read.found.superblock) ?? log(read) ?? told(read) { return .failure(finding) }
        return .success(DurableView(read))
    }

    private func superblock(_ found: Superblock) -> CrashFinding? {
        let old = last.found.superblock
        guard found == old || found == newest.found.superblock else {
            return CrashFinding(rule: "whole", text: "a superblock that nobody wrote, sequence \(found.sequence)")
        }
        let isLower =
            found.sequence < old.sequence || found.startNumber < old.startNumber || found.promised < old.promised
            || (found.record.lineage == old.record.lineage && found.record.number < old.record.number)
            || found.logBase < old.logBase
        if isLower { return CrashFinding(rule: "order", text: "sequence \(found.sequence) after \(old.sequence)") }
        for flag: Superblock.Flags in [.suspect, .outdated, .inconsistent]
        where old.flags.contains(flag) && !found.flags.contains(flag) {
            let isAllowed = flag != .inconsistent || found.record.inStep.contains(found.node)
            if isAllowed, found.sequence > old.sequence { continue }
            return CrashFinding(rule: "flags", text: "flag \(flag.rawValue) is lost")
        }
        if found.flags.contains(.clean), !moment.data.isEmpty {
            return CrashFinding(rule: "clean", text: "clean while \(moment.data.count) sectors of data are unstable")
        }
        return nil
    }

    private func log(_ read: ReadMetadata) -> CrashFinding? {
        if read.log.damaged, !last.log.damaged {
            return CrashFinding(rule: "log", text: "the activity log is damaged")
        }
        if read.log.lastNumber < last.log.lastNumber || read.log.lastSequence < last.log.lastSequence {
            return CrashFinding(
                rule: "order", text: "log transaction \(read.log.lastNumber) after \(last.log.lastNumber)")
        }
        return nil
    }

    private func told(_ read: ReadMetadata) -> CrashFinding? {
        let own = read.found.superblock
        let sequence = max(own.sequence, read.log.lastSequence)
        for peer in peers {
            let slot = peer.superblock.peers[node.id]
            guard slot.seenInstance == own.instance else { continue }
            if slot.seen.startNumber > own.startNumber || slot.seen.sequence > sequence {
                return CrashFinding(
                    rule: "told",
                    text: "the peer (\(peer.name)) remembers start \(slot.seen.startNumber) sequence "
                        + "\(slot.seen.sequence), this copy holds start \(own.startNumber) sequence \(sequence)")
            }
        }
        return nil
    }

    // MARK: Data

    /// Whether each difference between these data and the peer's would be known.
    func judge(_ view: DurableView, data kept: [Int]) -> CrashFinding? {
        var values = stable
        for index in kept {
            guard case .data(let sector, let value) = moment.sectors[index].place,
                let place = placeOfBlock[sector / 8]
            else { continue }
            values[place * 8 + sector % 8] = value
        }
        for peer in peers {
            for (place, block) in blocks.enumerated() {
                let sectors = place * 8..<place * 8 + 8
                guard values[sectors] != peer.values[sectors] else { continue }
                if view.covers(block: UInt64(block)) || peer.covers(UInt64(block)) { continue }
                guard let reason = OracleEquality.objection(view.superblock, peer.superblock) else { break }
                return CrashFinding(
                    rule: "covered",
                    text: "block \(block) differs from the peer's (\(peer.name)) and is marked nowhere, \(reason)")
            }
        }
        return nil
    }
}
