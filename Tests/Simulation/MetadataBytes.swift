import Formats
import Model
import ReplicationCore

/// The metadata area of a simulated copy, made and read by the production codecs only.
enum MetadataBytes {
    static let block = 4096

    static func layout(_ options: SimulationOptions) -> DiskLayout {
        do throws(LayoutError) {
            let size = try DiskLayout.externalSize(dataSize: options.size, logExtents: options.logExtents, peerSlots: 1)
            return try DiskLayout.external(
                metadataSize: max(size, 128 * UInt64(block)), dataSize: options.size, logExtents: options.logExtents,
                peers: [],
                peerSlots: 1)
        } catch {
            preconditionFailure("the simulator drew a volume that cannot be: \(error)")
        }
    }

    /// What `hablk create` does.
    static func create(
        on node: SimulatedNode, layout: DiskLayout, options: SimulationOptions, instance: InstanceID, isBlank: Bool
    ) {
        let superblock = Superblock(
            node: node.id, instance: instance, size: options.size, logExtents: options.logExtents, zeroes: !isBlank)
        for copy in 0...1 {
            let bytes = encode(superblock, Self.layout(of: node, layout), copy: copy)
            node.disk.landMetadata(offset: Int(layout.superblockOffset(copy: copy)), bytes: bytes)
        }
    }

    /// Each node's one bitmap is for the other.
    static func layout(of node: SimulatedNode, _ layout: DiskLayout) -> DiskLayout {
        guard let own = layout.assigning(NodeID(unchecked: UInt8(1 - node.side))) else {
            preconditionFailure("there is room for one bitmap")
        }
        return own
    }

    static func encode(_ superblock: Superblock, _ layout: DiskLayout, copy: Int) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: block)
        bytes.withUnsafeMutableBytes { SuperblockCoding.encode(superblock, layout, copy: copy, into: $0) }
        return bytes
    }

    static func encode(_ transaction: LogTransaction) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: block)
        bytes.withUnsafeMutableBytes { LogCoding.encode(transaction, into: $0) }
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
        let bytes = node.disk.metadata
        let found: FoundSuperblock
        switch bytes.withUnsafeBytes({ readSuperblock($0, layout) }) {
        case .success(let superblock): found = superblock
        case .failure(let error): return .failure(error)
        }
        if repairing, let repair = found.repair {
            let own = Self.layout(of: node, layout)
            node.disk.landMetadata(
                offset: Int(layout.superblockOffset(copy: repair)), bytes: encode(found.superblock, own, copy: repair))
        }
        let superblock = found.superblock
        let replayed = bytes.withUnsafeBytes { replay($0, superblock, layout) }
        let bitmaps = bytes.withUnsafeBytes { readBitmaps($0, superblock, found.layout) }
        return .success(
            LoadedMetadata(superblock: superblock, log: replayed, bitmaps: bitmaps, bootID: node.bootID))
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

    private static func readBitmaps(
        _ raw: UnsafeRawBufferPointer, _ superblock: Superblock, _ layout: DiskLayout
    ) -> [(node: NodeID, words: [UInt64])] {
        layout.peers.compactMap { node in
            guard let offset = layout.bitmapOffset(of: node) else { return nil }
            var loader = BitmapLoader(instance: superblock.instance, node: node, blocks: layout.dataBlocks)
            loader.take(slice(raw, offset, Int(layout.bitmapLength)), first: 0)
            return loader.isNew ? nil : (node, loader.words)
        }
    }

    private static func slice(_ raw: UnsafeRawBufferPointer, _ offset: UInt64, _ count: Int) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: raw[Int(offset)..<Int(offset) + count])
    }
}

/// What a restart of a node would know of its copy, for the oracle: read by the production loader.
final class DurableView {
    let superblock: Superblock
    private let hot: [UInt32]
    private let damaged: Bool
    private let words: [UInt64]

    init(_ metadata: LoadedMetadata) {
        superblock = metadata.superblock
        hot = metadata.log.table.compactMap { $0 }
        damaged = metadata.log.damaged
        words = metadata.bitmaps.first?.words ?? []
    }

    func covers(block: UInt64) -> Bool {
        if damaged || hot.contains(UInt32(block / Geometry.blocksPerExtent)) { return true }
        let index = Int(block / 64)
        return index < words.count && words[index] & (1 << (block % 64)) != 0
    }
}
