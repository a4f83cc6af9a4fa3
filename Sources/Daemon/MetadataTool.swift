package import Formats
import LinuxIO
package import Model

/// Looks at a copy's metadata, or destroys it, without a daemon: `hablk metadata`.
package enum MetadataTool {
    /// - Returns: the fields to print, in order.
    /// - Throws: refused `in-use` while a daemon has the disk; what `LoadedCopy` says of the metadata.
    package static func show(
        configuration: Configuration, node: Configuration.Node
    ) throws(CommandFailure) -> [JSONValue.Member] {
        let files = try CopyFiles(node)
        defer { files.close() }
        let found = try find(files, configuration)
        return describe(found.superblock, configuration) + describe(found, files)
    }

    /// Writes zeroes over everything of ours; the data stay.
    /// - Returns: what was done, in one line.
    package static func wipe(
        configuration: Configuration, node: Configuration.Node
    ) throws(CommandFailure) -> String {
        let files = try CopyFiles(node)
        defer { files.close() }
        guard let places = DiskLayout.superblockOffsets(files.placement, deviceSize: files.metadata.size) else {
            throw nothingThere(files, configuration)
        }
        let found = try? files.found()?.get()
        let length = UInt64(SuperblockCoding.blockLength)
        var areas = [places.0..<places.0 + length, places.1..<places.1 + length]
        if let found {
            let own = (0...1).map { found.layout.superblockOffset(copy: $0) }
            areas += own.map { $0..<$0 + length } + [found.layout.areaToZero]
        }
        do throws(BlockFileError) {
            let memory = PageMemory(count: 1 << 20)
            for area in areas {
                var place = area.lowerBound
                while place < area.upperBound {
                    let count = Int(min(UInt64(memory.bytes.count), area.upperBound - place))
                    try files.metadata.write(UnsafeRawBufferPointer(rebasing: memory.bytes[..<count]), at: place)
                    place += UInt64(count)
                }
                // A superblock that survives a crash must not find its log gone.
                try files.metadata.fdatasync()
            }
        } catch {
            throw CommandFailure(error)
        }
        return "wiped the metadata of \(configuration.volume) from \(files.metadata.path); its data are as they were"
    }

    private static func find(
        _ files: CopyFiles, _ configuration: Configuration
    ) throws(CommandFailure) -> FoundSuperblock {
        guard let found = try files.found() else { throw nothingThere(files, configuration) }
        do throws(MetadataError) {
            return try found.get()
        } catch {
            if error == .neverCreated { throw nothingThere(files, configuration) }
            throw .refused(
                "metadata-damaged", "\(files.metadata.path): \(error)",
                remedy: "hablk create \(configuration.volume) --force makes a new copy, which a peer fills")
        }
    }

    private static func nothingThere(_ files: CopyFiles, _ configuration: Configuration) -> CommandFailure {
        .refused(
            "no-metadata", "\(files.metadata.path) bears no hablk metadata",
            remedy: "hablk create \(configuration.volume)")
    }

    private static func describe(_ superblock: Superblock, _ configuration: Configuration) -> [JSONValue.Member] {
        func name(_ node: NodeID) -> String { configuration.node(node)?.name ?? node.description }
        func names(_ nodes: NodeSet) -> JSONValue { .strings(nodes.map(name)) }
        func identity(_ identity: some RandomIdentity) -> JSONValue {
            .optional(identity.isNone ? nil : identity.description)
        }
        let flags: [(Superblock.Flags, String)] = [
            (.clean, "clean"), (.suspect, "suspect"), (.inconsistent, "inconsistent"), (.outdated, "outdated"),
            (.rolledBack, "rolled-back"),
        ]
        let record = superblock.record
        let peers = configuration.dataNodes.filter { $0.id != superblock.node }.map { peer in
            let slot = superblock.peers[peer.id]
            return JSONValue.object([
                .init("node", .string(peer.name)), .init("bitmap", .string(words(slot.base))),
                .init("seen-copy", identity(slot.seenInstance)),
                .init("seen-start", .unsigned(slot.seen.startNumber)),
                .init("seen-sequence", .unsigned(slot.seen.sequence)),
            ])
        }
        return [
            .init("node", .string(name(superblock.node))), .init("copy", identity(superblock.instance)),
            .init("identity", identity(superblock.volume)), .init("size", .unsigned(superblock.size)),
            .init("flags", .strings(flags.filter { superblock.flags.contains($0.0) }.map(\.1))),
            .init("sequence", .unsigned(superblock.sequence)), .init("start", .unsigned(superblock.startNumber)),
            .init("generation", identity(superblock.current.id)),
            .init("history", .strings(superblock.history.map(\.id.description))),
            .init("lineage", identity(record.lineage)), .init("record", .string(record.number.description)),
            .init("primary", .optional(record.primary.map(name))), .init("in-step", names(record.inStep)),
            .init("required", names(superblock.required)),
            .init("promised", .string(superblock.promised.description)), .init("peers", .array(peers)),
        ]
    }

    private static func words(_ base: BitmapBase) -> String {
        switch base {
        case .inStep: "in step"
        case .since(let generation): "since \(generation)"
        case .everything(let instance): "everything, for copy \(instance)"
        }
    }

    private static func describe(_ found: FoundSuperblock, _ files: CopyFiles) -> [JSONValue.Member] {
        let layout = found.layout
        return [
            .init("metadata", .string(files.metadata.path)),
            .init("placement", .string(layout.placement == .internal ? "internal" : "external")),
            .init("data-bytes", .unsigned(layout.dataSize)), .init("log-extents", .unsigned(layout.logExtents)),
            .init("log-offset", .unsigned(layout.logOffset)), .init("bitmap-offset", .unsigned(layout.bitmapOffset)),
            .init("superblock", .integer(Int64(found.copy))),
            .init(
                "damaged-superblock",
                found.repairReason.flatMap { _ in found.repair }.map { .integer(Int64($0)) } ?? .null),
        ]
    }
}
