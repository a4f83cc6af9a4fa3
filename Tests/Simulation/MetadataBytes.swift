import Formats
import Model
import ReplicationCore

/// The metadata area of a simulated copy, made and read by the production codecs only.
enum MetadataBytes {
    static let block = 4096

    static func layout(_ options: SimulationOptions) -> DiskLayout {
        do throws(LayoutError) {
            let size = try DiskLayout.externalSize(
                dataSize: options.size, logExtents: options.logExtents, peerSlots: options.nodes - 1)
            return try DiskLayout.external(
                metadataSize: max(size, 128 * UInt64(block)), dataSize: options.size, logExtents: options.logExtents,
                peers: [], peerSlots: options.nodes - 1)
        } catch {
            preconditionFailure("the simulator drew a volume that cannot be: \(error)")
        }
    }

    /// What `hablk create` does.
    static func create(
        on node: SimulatedNode, layout: DiskLayout, options: SimulationOptions, instance: InstanceID, isBlank: Bool,
        blocks: UInt64? = nil
    ) {
        let superblock = Superblock(
            node: node.id, instance: instance, size: (blocks ?? options.blocks) * Geometry.blockSize,
            logExtents: options.logExtents(of: node.side),
            zeroes: !isBlank)
        let own = Self.layout(of: node, layout)
        for step in own.creation {
            for write in writes(of: step, superblock, own) {
                node.disk.landMetadata(offset: write.offset, bytes: write.bytes)
            }
        }
    }

    /// What a step of `create` writes.
    static func writes(
        of step: CreationStep, _ superblock: Superblock, _ layout: DiskLayout
    ) -> [(offset: Int, bytes: [UInt8])] {
        switch step {
        case .erase(let area): [(Int(area.lowerBound), [UInt8](repeating: 0, count: area.count))]
        case .bitmap(let peer):
            (0..<layout.bitmapPages).compactMap { page in
                layout.bitmapPageOffset(of: peer, page: page).map { offset in
                    (
                        Int(offset),
                        encode([], instance: superblock.instance, node: peer, page: page, sequence: 0)
                    )
                }
            }
        case .superblock(let copy):
            [(Int(layout.superblockOffset(copy: copy)), encode(superblock, layout, copy: copy))]
        case .flush: []
        }
    }

    /// A bitmap for each other node.
    static func layout(of node: SimulatedNode, _ layout: DiskLayout) -> DiskLayout {
        var own = layout
        for peer in node.dialing.indices where peer != node.side {
            guard let assigned = own.assigning(NodeID(unchecked: UInt8(peer))) else {
                preconditionFailure("there is room for a bitmap toward each")
            }
            own = assigned
        }
        return own
    }

    static func encode(_ superblock: Superblock, _ layout: DiskLayout, copy: Int) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: block)
        let own = fitted(layout, to: superblock.logExtents)
        bytes.withUnsafeMutableBytes { SuperblockCoding.encode(superblock, own, copy: copy, into: $0) }
        return bytes
    }

    /// A node's log may be smaller than the others': so small a ring is of the same length, and nothing lies elsewhere.
    private static func fitted(_ layout: DiskLayout, to logExtents: UInt32) -> DiskLayout {
        guard layout.logExtents != logExtents else { return layout }
        do throws(LayoutError) {
            return try DiskLayout.external(
                metadataSize: layout.deviceEnd, dataSize: layout.dataSize, logExtents: logExtents, peers: layout.peers,
                peerSlots: layout.peerSlots)
        } catch {
            preconditionFailure("a smaller log does not fit: \(error)")
        }
    }

    static func encode(_ transaction: LogTransaction) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: LogCoding.writeLength)
        bytes.withUnsafeMutableBytes { LogCoding.encodeWithEcho(transaction, into: $0) }
        return bytes
    }

    static func encode(
        _ words: ArraySlice<UInt64>, instance: InstanceID, node: NodeID, page: UInt32, sequence: UInt64
    ) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: block)
        bytes.withUnsafeMutableBytes {
            BitmapPage.encode(words, instance: instance, node: node, page: page, sequence: sequence, into: $0)
        }
        return bytes
    }

    /// Nobody ever served this copy and it met nobody.
    static func isEmpty(_ node: SimulatedNode, layout: DiskLayout) -> Bool {
        if let live = node.live { return live.core.pointee.durableState.record.isEmpty }
        guard case .success(let metadata) = load(node, layout: layout, repairing: false) else { return false }
        return metadata.superblock.record.isEmpty
    }

    /// What a start of the daemon reads; a superblock that does not verify is written anew, as the daemon does.
    static func load(_ node: SimulatedNode, layout: DiskLayout, repairing: Bool) -> Result<
        LoadedMetadata, MetadataError
    > {
        let read: ReadMetadata
        switch self.read(node.disk.metadata, layout) {
        case .success(let metadata): read = metadata
        case .failure(let error): return .failure(error)
        }
        if repairing, let repair = read.found.repair {
            let own = Self.layout(of: node, layout)
            node.disk.landMetadata(
                offset: Int(layout.superblockOffset(copy: repair)),
                bytes: encode(read.found.superblock, own, copy: repair))
        }
        if repairing, let newest = read.log.mend {
            node.disk.landMetadata(
                offset: Int(layout.logOffset(number: newest.number)), bytes: encode(newest))
        }
        return .success(
            LoadedMetadata(
                superblock: read.found.superblock, log: read.log, bitmaps: read.bitmaps, bootID: node.bootID))
    }

    /// The whole metadata area by the production loaders.
    static func read(_ bytes: [UInt8], _ layout: DiskLayout) -> Result<ReadMetadata, MetadataError> {
        bytes.withUnsafeBytes { raw in
            readSuperblock(raw, layout).map { found in
                var metadata = ReadMetadata(found: found, log: replay(raw, found.superblock, layout))
                for node in found.layout.peers {
                    guard let offset = found.layout.bitmapOffset(of: node) else { continue }
                    var loader = BitmapLoader(
                        instance: found.superblock.instance, node: node, blocks: layout.dataBlocks)
                    loader.take(slice(raw, offset, Int(layout.bitmapLength)), first: 0)
                    metadata.damagedPages += loader.damagedPages.count
                    metadata.bitmaps.append((node, loader.words))
                }
                return metadata
            }
        }
    }

    /// Only the superblock: nil when none is to be believed.
    static func superblock(_ node: SimulatedNode, _ layout: DiskLayout) -> Superblock? {
        guard case .success(let found) = node.disk.metadata.withUnsafeBytes({ readSuperblock($0, layout) }) else {
            return nil
        }
        return found.superblock
    }

    private static func readSuperblock(
        _ raw: UnsafeRawBufferPointer, _ layout: DiskLayout
    ) -> Result<FoundSuperblock, MetadataError> {
        do throws(MetadataError) {
            return .success(
                try MetadataLoader.load(
                    .external, deviceSize: layout.deviceEnd,
                    copy0: slice(raw, layout.superblockOffset(copy: 0), block),
                    copy1: slice(raw, layout.superblockOffset(copy: 1), block)))
        } catch {
            return .failure(error)
        }
    }

    private static func replay(
        _ raw: UnsafeRawBufferPointer, _ superblock: Superblock, _ layout: DiskLayout
    ) -> LogReplay {
        LogReplayer.replay(
            slice(raw, layout.logOffset, Int(layout.logLength)), instance: superblock.instance,
            logBase: superblock.logBase, slots: Int(superblock.logExtents), extents: layout.dataExtents)
    }

    private static func slice(_ raw: UnsafeRawBufferPointer, _ offset: UInt64, _ count: Int) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: raw[Int(offset)..<Int(offset) + count])
    }
}

/// A metadata area as it was read.
struct ReadMetadata {
    var found: FoundSuperblock
    var log: LogReplay
    var bitmaps: [(node: NodeID, words: BitmapWords)] = []
    /// Of all bitmaps: pages that count as dirty whole.
    var damagedPages = 0
}

/// What a restart of a node would know of its copy, for the oracle: read by the production loader.
final class DurableView {
    let superblock: Superblock
    private let hot: [UInt32]
    private let damaged: Bool
    private let words: BitmapWords
    private let bitmaps: [(node: NodeID, words: BitmapWords)]

    convenience init(_ metadata: LoadedMetadata) { self.init(metadata.superblock, metadata.log, metadata.bitmaps) }

    convenience init(_ read: ReadMetadata) { self.init(read.found.superblock, read.log, read.bitmaps) }

    private init(_ superblock: Superblock, _ log: LogReplay, _ bitmaps: [(node: NodeID, words: BitmapWords)]) {
        self.superblock = superblock
        // A copy that says that it was left in order does not look into its log.
        let isClean = superblock.flags.contains(.clean)
        hot = isClean ? [] : log.table.compactMap { $0 }
        damaged = isClean ? false : log.damaged
        words = bitmaps.first?.words ?? []
        self.bitmaps = bitmaps
    }

    /// Blocks marked in the bitmap.
    func marked(toward node: NodeID) -> UInt64 {
        let words = bitmaps.first { $0.node == node }?.words ?? []
        return words.reduce(0) { $0 + UInt64($1.nonzeroBitCount) }
    }

    func covers(block: UInt64) -> Bool { covers(block, words) }

    func covers(block: UInt64, toward node: NodeID) -> Bool {
        covers(block, bitmaps.first { $0.node == node }?.words ?? [])
    }

    private func covers(_ block: UInt64, _ words: BitmapWords) -> Bool {
        if damaged || hot.contains(UInt32(block / Geometry.blocksPerExtent)) { return true }
        let index = Int(block / 64)
        return index < words.count && words[index] & (1 << (block % 64)) != 0
    }
}
