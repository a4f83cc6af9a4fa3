package import Formats
package import LinuxIO
package import Model
package import ReplicationCore

/// The files of one copy, open and locked for this process alone.
package struct CopyFiles {
    package let data: BlockFile
    /// The same object as `data` when the metadata lie behind the data.
    package let metadata: BlockFile

    package var placement: DiskLayout.Placement { metadata === data ? .internal : .external }

    package init(data: BlockFile, metadata: BlockFile) {
        self.data = data
        self.metadata = metadata
    }

    /// Opens what the configuration names for a node.
    ///
    /// - Parameter waits: as `BlockFile.open` says it.
    package init(_ node: Configuration.Node, waits: Bool = true) throws(CommandFailure) {
        do throws(BlockFileError) {
            data = try BlockFile.open(node.disk, waits: waits)
            if let path = node.metadata {
                metadata = try BlockFile.open(path, waits: waits)
            } else {
                metadata = data
            }
        } catch {
            throw CommandFailure(error)
        }
        guard node.metadata == nil || metadata.identity != data.identity else { throw Self.sameFile(node.disk) }
    }

    static func sameFile(_ path: String) -> CommandFailure {
        CommandFailure(
            .configuration, "same-file", "`disk` and `metadata` both name \(path)",
            remedy: "leave `metadata` out to keep it at the end of the disk")
    }

    /// What the superblocks say; of a device that grew, and whose metadata were not moved since, the former ones. Nil: the device is too
    /// small to have any.
    func found() throws(CommandFailure) -> Result<FoundSuperblock, MetadataError>? {
        let memory = PageMemory(count: SuperblockCoding.blockLength)
        return try MetadataSearch.find(placement, deviceSize: metadata.size) {
            (offset: UInt64) throws(CommandFailure) in
            do throws(BlockFileError) { try metadata.read(memory.bytes, at: offset) } catch {
                throw CommandFailure(error)
            }
            return Array(memory.bytes)
        }
    }

    func close() {
        data.close()
        metadata.close()
    }
}

/// A copy as it was found: what the core begins with, and where the daemon writes from now on.
package struct LoadedCopy {
    package var files: CopyFiles
    package var layout: DiskLayout
    package var metadata: LoadedMetadata
    /// What an administrator should know of it, in sentences.
    package var remarks: [String]

    /// Opens, locks, reads and judges a copy. It blocks: for the start, and for `attach`.
    ///
    /// - Parameter waits: for whoever only looks at the disk; not under a running daemon, whose peers wait meanwhile.
    /// - Throws: refused (`in-use`, `no-metadata`, `metadata-damaged`, `truncated`, `foreign`, …) with nothing written,
    ///   but for a superblock that did not verify and was written anew from the other.
    package init(
        configuration: Configuration, node: Configuration.Node, waits: Bool = true
    ) throws(CommandFailure) {
        let files = try CopyFiles(node, waits: waits)
        var remarks: [String] = []
        for file in [files.data, files.metadata] {
            guard let reason = file.notDirectBecause, file === files.data || files.metadata !== files.data else {
                continue
            }
            remarks.append("\(file.path) is used through the page cache: \(reason)")
        }
        let found = try Self.findSuperblock(files, configuration, node)
        var layout = found.layout
        try Self.checkPlace(found.superblock, files, node)
        for peer in configuration.dataNodes where peer.id != node.id {
            guard let assigned = layout.assigning(peer.id) else {
                throw Self.noBitmap(for: peer, files.metadata.path, configuration.volume)
            }
            layout = assigned
        }
        if let copy = found.repair {
            // Before anything else is written: the core writes copy 0 first, and that may be the only good one.
            try Self.repair(copy, found, files)
            let reason = found.repairReason?.description ?? "it was older"
            remarks.append("superblock \(copy) was written anew from the other: \(reason)")
        }
        let log = try Self.replayLog(found.superblock, layout, files)
        if log.damaged {
            remarks.append("the activity log does not verify: every block counts as written")
        } else if log.spoiled > 0 {
            remarks.append("\(log.spoiled) blocks of the activity log do not verify; none of them is needed")
        }
        if let newest = log.mend { try Self.mendLog(newest, layout, files) }
        var bitmaps: [(node: NodeID, words: BitmapWords)] = []
        // A bitmap given away only now was never written. One of a node that left the configuration counts while a record may name
        // its copy.
        let named = found.superblock.record.inStep.union(found.superblock.required)
        for peer in found.layout.peers
        where named.contains(peer) || configuration.dataNodes.contains(where: { $0.id == peer }) {
            let loaded = try Self.readBitmap(of: peer, found.superblock, layout, files)
            if !loaded.damagedPages.isEmpty {
                let name = configuration.name(of: peer)
                remarks.append("\(loaded.damagedPages.count) bitmap pages toward \(name) do not verify: all dirty")
            }
            bitmaps.append((peer, loaded.words))
        }
        let boot = ProcessControls.bootIdentity()
        self.files = files
        self.layout = layout
        metadata = LoadedMetadata(
            superblock: found.superblock, log: log, bitmaps: bitmaps, bootID: (boot?.high ?? 0, boot?.low ?? 0))
        self.remarks = remarks
    }

    static func noBitmap(for peer: Configuration.Node, _ path: String, _ volume: String) -> CommandFailure {
        .refused(
            "no-bitmap", "\(path) has no bitmap for \(peer.name): it was made for other nodes",
            remedy: "give \(peer.name) the id it had, or make the copy anew: hablk create \(volume) --force")
    }

    private static func findSuperblock(
        _ files: CopyFiles, _ configuration: Configuration, _ node: Configuration.Node
    ) throws(CommandFailure) -> FoundSuperblock {
        let size = files.metadata.size
        do throws(MetadataError) {
            guard let found = try? files.found() else { throw .neverCreated }
            return try found.get()
        } catch {
            let path = files.metadata.path
            if files.placement == .internal, let wanted = configuration.size, size < wanted {
                throw truncated(path, size: size, wanted: wanted)
            }
            if error == .neverCreated {
                throw .refused(
                    "no-metadata",
                    "\(path) (\(size) bytes) bears no hablk metadata; one that was grown or truncated hides them",
                    remedy:
                        "name the right disk, give it its former size back, or: hablk create \(configuration.volume)")
            }
            if case .newerVersion = error {
                throw .refused(
                    "newer-version", "\(path): \(error)", remedy: "run a hablk as new as the one that wrote it")
            }
            throw .refused(
                "metadata-damaged", "\(path): \(error)",
                remedy:
                    "this copy's state is lost: hablk create \(configuration.volume) --force, and it is filled by a peer"
            )
        }
    }

    private static func truncated(_ path: String, size: UInt64, wanted: UInt64) -> CommandFailure {
        .refused(
            "truncated", "\(path) has \(size) bytes where the copy needs \(wanted): it was truncated",
            remedy: "restore the file, or make the copy anew with hablk create … --force and let a peer fill it")
    }

    private static func checkPlace(
        _ superblock: Superblock, _ files: CopyFiles, _ node: Configuration.Node
    ) throws(CommandFailure) {
        guard superblock.node == node.id else {
            throw .refused(
                "foreign", "\(files.metadata.path) is the copy of \(superblock.node), and \(node.name) is \(node.id)",
                remedy: "name this node's own disk in the configuration")
        }
        guard files.data.size >= superblock.size else {
            throw truncated(files.data.path, size: files.data.size, wanted: superblock.size)
        }
    }

    private static func repair(_ copy: Int, _ found: FoundSuperblock, _ files: CopyFiles) throws(CommandFailure) {
        let memory = PageMemory(count: SuperblockCoding.blockLength)
        SuperblockCoding.encode(found.superblock, found.layout, copy: copy, into: memory.bytes)
        do {
            try files.metadata.write(
                UnsafeRawBufferPointer(memory.bytes), at: found.layout.superblockOffset(copy: copy))
            try files.metadata.fdatasync()
        } catch {
            throw CommandFailure(error)
        }
    }

    /// A crash tore the newest transaction or its echo, or one of them rotted: both are whole again before the next
    /// transaction takes the place of the echo.
    private static func mendLog(
        _ newest: LogTransaction, _ layout: DiskLayout, _ files: CopyFiles
    ) throws(CommandFailure) {
        let memory = PageMemory(count: LogCoding.writeLength)
        LogCoding.encodeWithEcho(newest, into: memory.bytes)
        do {
            try files.metadata.write(
                UnsafeRawBufferPointer(memory.bytes), at: layout.logOffset(number: newest.number))
            try files.metadata.fdatasync()
        } catch {
            throw CommandFailure(error)
        }
    }

    private static func replayLog(
        _ superblock: Superblock, _ layout: DiskLayout, _ files: CopyFiles
    ) throws(CommandFailure) -> LogReplay {
        let ring = PageMemory(count: Int(layout.logLength))
        do { try files.metadata.read(ring.bytes, at: layout.logOffset) } catch { throw CommandFailure(error) }
        return LogReplayer.replay(
            UnsafeRawBufferPointer(ring.bytes), instance: superblock.instance, logBase: superblock.logBase,
            slots: Int(superblock.logExtents), extents: layout.dataExtents)
    }

    private static func readBitmap(
        of peer: NodeID, _ superblock: Superblock, _ layout: DiskLayout, _ files: CopyFiles
    ) throws(CommandFailure) -> BitmapLoader {
        let blocks = superblock.size / Geometry.blockSize
        var loader = BitmapLoader(instance: superblock.instance, node: peer, blocks: blocks)
        guard let offset = layout.bitmapOffset(of: peer) else { return loader }
        let piece = PageMemory(count: 1 << 20)
        let pagesAtOnce = UInt32(piece.bytes.count / BitmapPage.blockLength)
        var page: UInt32 = 0
        while page < loader.pages {
            let pages = min(pagesAtOnce, loader.pages - page)
            let bytes = UnsafeMutableRawBufferPointer(rebasing: piece.bytes[..<(Int(pages) * BitmapPage.blockLength)])
            let place = offset + UInt64(page) * UInt64(BitmapPage.blockLength)
            do throws(BlockFileError) {
                try files.metadata.read(bytes, at: place)
                loader.take(UnsafeRawBufferPointer(bytes), first: page)
            } catch {
                // A bad spot costs a resync of what it stood for, not the copy.
                for unreadable in page..<page + pages { loader.takeUnreadable(page: unreadable) }
            }
            page += pages
        }
        return loader
    }
}

extension CommandFailure {
    /// Why a disk cannot be had, as an administrator should hear it.
    init(_ error: BlockFileError) {
        let text = error.description
        switch error {
        case .missing:
            self = .refused("no-disk", text, remedy: "hablk create makes it; or correct `disk` or `metadata`")
        case .exists: self = .refused("exists", text, remedy: "name another file")
        case .permission: self = CommandFailure(.notPermitted, "no-permission", text, remedy: "run it as root")
        case .inUse:
            self = .refused("in-use", text, remedy: "stop what uses it: hablk down, umount, vgchange -an, swapoff")
        case .notAFileOrDevice: self = .refused("not-a-disk", text, remedy: "name a block device or a regular file")
        case .readOnly: self = .refused("read-only", text, remedy: "make it writable")
        case .noSpace: self = .failed("no-space", text, remedy: "make room in its file system")
        case .pastEnd: self = .refused("truncated", text, remedy: "restore its former size")
        case .misaligned, .failed: self = .failed("disk", text, remedy: "look into the kernel's log: dmesg")
        case .cannotPreallocate:
            self = .refused(
                "no-preallocation", text, remedy: "put it on ext4, XFS, btrfs or tmpfs, or on a block device")
        }
    }
}
