import Formats
import Model
import ReplicationCore

/// Lost, misdirected and rotten blocks of metadata, at one node.
///
/// Law: one fault leaves what it takes to notice it, or to do without it. Of the two superblocks one is always as new as
/// what was answered. A block of the log is damaged only once a later transaction is on the platter: a newest one that is
/// lost with its echo is the same as one never written, to any reader, and the promise ends there. A bitmap page is lost only when
/// the older one marks no less (each page stands alone); one that rots or is overwritten counts as dirty whole.
extension Cluster {
    private enum Place: Equatable {
        case superblock(Int)
        case log
        case page
    }

    private func place(of offset: Int) -> Place {
        for copy in 0...1 where offset == Int(layout.superblockOffset(copy: copy)) { return .superblock(copy) }
        let log = Int(layout.logOffset)
        return offset >= log && offset < log + Int(layout.logLength) ? .log : .page
    }

    // MARK: Writes

    func landMetadata(offset: Int, bytes: [UInt8], _ node: SimulatedNode) {
        let mayLose =
            phase == .safety && node.side == options.errorNode
            && !options.faults.isDisjoint(with: [.lostMetadata, .misdirectedMetadata])
        guard mayLose || !options.faults.isDisjoint(with: .damagingMetadata) else {
            return node.disk.landMetadata(offset: offset, bytes: bytes)
        }
        switch place(of: offset) {
        case .superblock(let copy):
            let own = sequence(bytes, copy)
            let other = sequence(node.disk, 1 - copy)
            let isSpare = other >= own || (copy == 0 && other >= node.disk.faults.durableSequence)
            if !mayLose || !isSpare || !loses(bytes, at: offset, node) {
                node.disk.landMetadata(offset: offset, bytes: bytes)
            }
            if copy == 1 { node.disk.faults.durableSequence = max(own, node.disk.faults.durableSequence) }
        case .log:
            if let damage = node.disk.faults.pendingDamage, damage.offset != offset {
                node.disk.landMetadata(offset: damage.offset, bytes: damage.bytes)
                tell(node, "the log's block at \(damage.offset) is not what was written")
            }
            node.disk.faults.pendingDamage = nil
            let before = block(node.disk, offset)
            node.disk.landMetadata(offset: offset, bytes: bytes)
            if mayLose, drawsLoss() { node.disk.faults.pendingDamage = (offset, before) }
        case .page:
            let marksNoLess = zip(block(node.disk, offset), bytes).dropFirst(BitmapPage.headerLength)
                .allSatisfy { $0 & $1 == $1 }
            let isThere = node.disk.metadata[offset..<offset + 8] == bytes[..<8]
            if mayLose, isThere, marksNoLess, loses(bytes, at: offset, node) { return }
            node.disk.landMetadata(offset: offset, bytes: bytes)
        }
    }

    private func drawsLoss() -> Bool {
        guard mishaps.damagesLeft > 0, mishaps.metadata.chance(1, in: 10) else { return false }
        mishaps.damagesLeft -= 1
        return true
    }

    /// The write goes nowhere, or elsewhere.
    private func loses(_ bytes: [UInt8], at offset: Int, _ node: SimulatedNode) -> Bool {
        guard drawsLoss() else { return false }
        guard options.faults.contains(.misdirectedMetadata),
            !options.faults.contains(.lostMetadata) || mishaps.metadata.chance(1, in: 2),
            let elsewhere = drawBlock(node), elsewhere != offset, !isSuperblock(elsewhere) || !isSuperblock(offset)
        else {
            guard options.faults.contains(.lostMetadata) else { return false }
            tell(node, "the metadata write to \(offset) is lost")
            return true
        }
        tell(node, "the metadata write to \(offset) lands at \(elsewhere)")
        node.disk.landMetadata(offset: elsewhere, bytes: bytes)
        return true
    }

    // MARK: Rot

    func rotMetadata(_ node: SimulatedNode) {
        guard mishaps.damagesLeft > 0, let offset = drawBlock(node) else { return }
        mishaps.damagesLeft -= 1
        var bytes = block(node.disk, offset)
        for _ in 0..<mishaps.metadata.within(1...4) {
            bytes[mishaps.metadata.below(bytes.count)] ^= 1 << UInt8(mishaps.metadata.below(8))
        }
        tell(node, "the metadata block at \(offset) rots")
        node.disk.landMetadata(offset: offset, bytes: bytes)
    }

    /// Any block whose loss leaves enough; now and then one of the few that matter.
    private func drawBlock(_ node: SimulatedNode) -> Int? {
        for _ in 0..<4 {
            let blocks = Int(layout.deviceEnd) / MetadataBytes.block
            let offset =
                mishaps.metadata.chance(1, in: 3)
                ? Int(layout.superblockOffset(copy: mishaps.metadata.below(2)))
                : mishaps.metadata.below(blocks) * MetadataBytes.block
            if mayDamage(offset, node) { return offset }
        }
        return nil
    }

    private func mayDamage(_ offset: Int, _ node: SimulatedNode) -> Bool {
        switch place(of: offset) {
        case .superblock(let copy): return sequence(node.disk, 1 - copy) >= newestSequence(node.disk)
        case .page: return true
        case .log:
            guard node.disk.faults.pendingDamage == nil,
                case .success(let metadata) = MetadataBytes.load(node, layout: layout, repairing: false)
            else { return false }
            return offset != Int(layout.logOffset(number: metadata.log.lastNumber))
        }
    }

    // MARK: Superblocks

    /// Superblocks without which the copy would be older than what was answered: a loss of power writes them whole or not.
    func onlySuperblocks(_ node: SimulatedNode) -> [Int] {
        guard !options.faults.isDisjoint(with: .damagingMetadata) else { return [] }
        return (0...1).compactMap { copy in
            sequence(node.disk, 1 - copy) < node.disk.faults.durableSequence
                ? Int(layout.superblockOffset(copy: copy)) : nil
        }
    }

    private func isSuperblock(_ offset: Int) -> Bool {
        if case .superblock = place(of: offset) { return true }
        return false
    }

    private func newestSequence(_ disk: SimulatedDisk) -> UInt64 {
        max(disk.faults.durableSequence, min(sequence(disk, 0), sequence(disk, 1)))
    }

    private func block(_ disk: SimulatedDisk, _ offset: Int) -> [UInt8] {
        Array(disk.metadata[offset..<offset + MetadataBytes.block])
    }

    private func sequence(_ disk: SimulatedDisk, _ copy: Int) -> UInt64 {
        sequence(block(disk, Int(layout.superblockOffset(copy: copy))), copy)
    }

    /// One more than the superblock's, so that it is not 0 as that of one which does not verify.
    private func sequence(_ bytes: [UInt8], _ copy: Int) -> UInt64 {
        bytes.withUnsafeBytes { raw in
            do throws(BlockFault) {
                return try SuperblockCoding.decode(
                    raw, copy: copy, placement: .external, deviceSize: layout.deviceEnd
                ).superblock.sequence + 1
            } catch {
                return 0
            }
        }
    }

    private func tell(_ node: SimulatedNode, _ what: String) {
        if trace.isOn { trace.add(now, node.side, "fault", what) }
    }
}
