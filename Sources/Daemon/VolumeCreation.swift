import Formats
import Glibc
import LinuxIO
package import Model

/// Writes this node's metadata: `hablk create`.
package enum VolumeCreation {
    /// Makes the files that are absent, and writes superblocks, an empty log and empty bitmaps.
    ///
    /// - Parameters:
    ///   - assumeIdentical: the copies of all nodes are said to hold the same bytes.
    ///   - force: overwrite metadata that are there, and a disk that bears data.
    /// - Returns: what was done, in one line.
    /// - Throws: why not; files that this call made are gone then, and nothing that was there is changed.
    package static func create(
        configuration: Configuration, node: Configuration.Node, assumeIdentical: Bool, force: Bool
    ) throws(CommandFailure) -> String {
        var made: [String] = []
        do throws(CommandFailure) {
            return try Creation(configuration, node, assumeIdentical, force, &made).finish()
        } catch {
            for path in made { unlink(path) }
            throw error
        }
    }
}

/// One run of `create`.
private struct Creation {
    let configuration: Configuration
    let node: Configuration.Node
    let files: CopyFiles
    let layout: DiskLayout
    let zeroes: Bool
    let madeDisk: Bool

    init(
        _ configuration: Configuration, _ node: Configuration.Node, _ assumeIdentical: Bool, _ force: Bool,
        _ made: inout [String]
    ) throws(CommandFailure) {
        self.configuration = configuration
        self.node = node
        madeDisk = try Self.isAbsent(node.disk)
        do {
            let data = madeDisk ? try Self.makeDisk(configuration, node, &made) : try BlockFile.open(node.disk)
            if let path = node.metadata {
                let metadata =
                    try Self.isAbsent(path)
                    ? try Self.makeMetadata(path, configuration, node, data, &made) : try BlockFile.open(path)
                files = CopyFiles(data: data, metadata: metadata)
            } else {
                files = CopyFiles(data: data, metadata: data)
            }
        } catch let failure as CommandFailure {
            throw failure
        } catch let error as BlockFileError {
            throw CommandFailure(error)
        } catch let error as LayoutError {
            throw Self.doesNotFit(node.disk, error)
        } catch {
            throw .failed("disk", "\(error)", remedy: "look into the kernel's log: dmesg")
        }
        guard node.metadata == nil || files.metadata.identity != files.data.identity else {
            throw CopyFiles.sameFile(node.disk)
        }
        if !force {
            try Self.refuseMetadata(files, configuration, made)
            try Self.refuseData(files, configuration, made)
        }
        layout = try Self.layOut(configuration, node, files)
        zeroes = (madeDisk || assumeIdentical) && !node.isWitness
    }

    func finish() throws(CommandFailure) -> String {
        do throws(BlockFileError) { try write() } catch { throw CommandFailure(error) }
        let size = layout.dataSize
        let place = layout.placement == .internal ? "at its end" : "in \(files.metadata.path)"
        let state =
            zeroes
            ? (madeDisk ? "all zeroes, up-to-date" : "taken as identical on every node, up-to-date")
            : "inconsistent until a peer fills it or promote --force takes it as it is"
        return "created \(node.name)'s copy of \(configuration.volume) on \(files.data.path): \(size) bytes, "
            + "metadata \(place), \(state)"
    }

    private func write() throws(BlockFileError) {
        let first = layout.placement == .internal ? layout.areaToZero.lowerBound : 0
        try files.metadata.preallocate(offset: first, length: layout.deviceEnd - first)
        let instance = InstanceID(rawValue: ProcessControls.nonzeroWord())
        let superblock = Superblock(
            node: node.id, instance: instance, size: layout.dataSize, logExtents: layout.logExtents, zeroes: zeroes)
        for step in layout.creation {
            switch step {
            case .erase(let area): try erase(area)
            case .bitmap(let peer): try writeCleanPages(toward: peer, instance)
            case .superblock(let copy):
                let memory = PageMemory(count: SuperblockCoding.blockLength)
                SuperblockCoding.encode(superblock, layout, copy: copy, into: memory.bytes)
                try files.metadata.write(
                    UnsafeRawBufferPointer(memory.bytes), at: layout.superblockOffset(copy: copy))
            case .flush: try files.metadata.fdatasync()
            }
        }
        if files.metadata !== files.data { try files.data.fdatasync() }
    }

    private func erase(_ area: Range<UInt64>) throws(BlockFileError) {
        let zero = PageMemory(count: 1 << 20)
        var place = area.lowerBound
        while place < area.upperBound {
            let count = Int(min(UInt64(zero.bytes.count), area.upperBound - place))
            try files.metadata.write(UnsafeRawBufferPointer(rebasing: zero.bytes[..<count]), at: place)
            place += UInt64(count)
        }
    }

    private func writeCleanPages(toward peer: NodeID, _ instance: InstanceID) throws(BlockFileError) {
        guard let offset = layout.bitmapOffset(of: peer) else { return }
        let memory = PageMemory(count: 1 << 20)
        let most = UInt32(memory.bytes.count / BitmapPage.blockLength)
        var page: UInt32 = 0
        while page < layout.bitmapPages {
            let count = min(most, layout.bitmapPages - page)
            for index in 0..<count {
                let start = Int(index) * BitmapPage.blockLength
                BitmapPage.encode(
                    [], instance: instance, node: peer, page: page + index, sequence: 0,
                    into: UnsafeMutableRawBufferPointer(
                        rebasing: memory.bytes[start..<start + BitmapPage.blockLength]))
            }
            try files.metadata.write(
                UnsafeRawBufferPointer(rebasing: memory.bytes[..<(Int(count) * BitmapPage.blockLength)]),
                at: offset + UInt64(page) * UInt64(BitmapPage.blockLength))
            page += count
        }
    }
}

extension Creation {
    fileprivate static func isAbsent(_ path: String) throws(CommandFailure) -> Bool {
        var status = stat()
        if stat(path, &status) == 0 { return false }
        guard errno == ENOENT else { return false }
        let folder = path.lastIndex(of: "/").map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
        guard stat(folder, &status) == 0 else {
            throw .refused("no-disk", "\(path): there is no folder \(folder)", remedy: "mkdir -p \(folder)")
        }
        return true
    }

    private static func peers(_ configuration: Configuration, _ node: NodeID) -> [NodeID] {
        configuration.dataNodes.map(\.id).filter { $0 != node }
    }

    /// Bitmaps there is room for: one for any node that may be added some day (`adjust`), 32 KiB for each GiB of data.
    private static let slots = DiskLayout.maximumPeerSlots

    /// Bytes of metadata at the end of a disk that is as large as it need be.
    private static func internalBytes(
        _ data: UInt64, _ configuration: Configuration
    ) throws(LayoutError) -> UInt64 {
        let external = try DiskLayout.externalSize(
            dataSize: data, logExtents: configuration.activityLogExtents, peerSlots: slots)
        // Outside the data: the same log and bitmaps; a tail of 64 KiB instead of two single blocks.
        return external - 2 * DiskLayout.blockSize + (64 << 10)
    }

    fileprivate static func makeDisk(
        _ configuration: Configuration, _ node: Configuration.Node, _ made: inout [String]
    ) throws -> BlockFile {
        guard let size = configuration.size else {
            throw CommandFailure.refused(
                "size-needed", "\(node.disk) does not exist, and nothing says how large it should be",
                remedy: "say `size:` in \(configuration.file) (or --size), or make the disk first")
        }
        let beside = node.metadata == nil ? try internalBytes(size, configuration) : 0
        let file = try BlockFile.create(node.disk, size: size + beside)
        made.append(node.disk)
        return file
    }

    fileprivate static func makeMetadata(
        _ path: String, _ configuration: Configuration, _ node: Configuration.Node, _ data: BlockFile,
        _ made: inout [String]
    ) throws -> BlockFile {
        let size = configuration.size ?? data.size / DiskLayout.blockSize * DiskLayout.blockSize
        let bytes = try DiskLayout.externalSize(
            dataSize: size, logExtents: configuration.activityLogExtents, peerSlots: slots)
        // Where superblocks are looked for depends on the size; very small devices have none.
        let file = try BlockFile.create(path, size: max(bytes, 1 << 20))
        made.append(path)
        return file
    }

    /// A disk that is small for what it is to hold has fewer bitmaps, but one for each node of now.
    fileprivate static func layOut(
        _ configuration: Configuration, _ node: Configuration.Node, _ files: CopyFiles
    ) throws(CommandFailure) -> DiskLayout {
        let needed = max(peers(configuration, node.id).count, 1)
        for slots in stride(from: slots, to: needed, by: -1) {
            if let layout = try? layOut(configuration, node, files, slots) { return layout }
        }
        do throws(LayoutError) {
            return try layOut(configuration, node, files, needed)
        } catch {
            throw doesNotFit(files.data.path, error)
        }
    }

    private static func layOut(
        _ configuration: Configuration, _ node: Configuration.Node, _ files: CopyFiles, _ slots: Int
    ) throws(LayoutError) -> DiskLayout {
        let peers = peers(configuration, node.id)
        switch files.placement {
        case .internal:
            return try .internal(
                deviceSize: files.data.size, dataSize: configuration.size,
                logExtents: configuration.activityLogExtents, peers: peers, peerSlots: slots)
        case .external:
            let whole = files.data.size / DiskLayout.blockSize * DiskLayout.blockSize
            let size = configuration.size ?? whole
            guard size <= whole else { throw LayoutError.dataDoesNotFit(size, available: whole) }
            return try .external(
                metadataSize: files.metadata.size, dataSize: size, logExtents: configuration.activityLogExtents,
                peers: peers, peerSlots: slots)
        }
    }

    fileprivate static func doesNotFit(_ path: String, _ error: LayoutError) -> CommandFailure {
        .refused("does-not-fit", "\(path): \(error)", remedy: "take a larger disk, or a smaller `size:`")
    }

    fileprivate static func refuseMetadata(
        _ files: CopyFiles, _ configuration: Configuration, _ made: [String]
    ) throws(CommandFailure) {
        guard !made.contains(files.metadata.path), let result = try files.found() else { return }
        let what: String
        do throws(MetadataError) {
            let found = try result.get()
            let owner = configuration.node(found.superblock.node)?.name ?? found.superblock.node.description
            what = "copy \(found.superblock.instance) of \(owner)"
        } catch {
            guard error != .neverCreated else { return }
            what = error.description
        }
        throw hasMetadata(files, what)
    }

    private static func hasMetadata(_ files: CopyFiles, _ what: String) -> CommandFailure {
        .refused(
            "has-metadata", "\(files.metadata.path) bears hablk metadata already: \(what)",
            remedy: "nothing if it is this volume's; --force makes a new copy and forgets what was there")
    }

    fileprivate static func refuseData(
        _ files: CopyFiles, _ configuration: Configuration, _ made: [String]
    ) throws(CommandFailure) {
        for file in files.metadata === files.data ? [files.data] : [files.data, files.metadata] {
            guard !made.contains(file.path) else { continue }
            let sign: String?
            do throws(BlockFileError) { sign = try file.signOfUse() } catch { throw CommandFailure(error) }
            guard let sign else { continue }
            throw .refused(
                "disk-in-use", "\(file.path) bears \(sign)",
                remedy: "name another disk, or --force: what it holds is given up (with --assume-identical: kept)")
        }
    }
}

extension ProcessControls {
    /// Chance for an identity, which is never zero.
    static func nonzeroWord() -> UInt64 {
        while true {
            let word = randomWord()
            if word != 0 { return word }
        }
    }
}
