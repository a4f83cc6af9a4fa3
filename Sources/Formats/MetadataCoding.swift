package import Model

/// Why a block of metadata is not believed.
package enum BlockFault: Error, Equatable, CustomStringConvertible {
    case zero
    /// Neither its beginning nor its end is one of ours.
    case foreign
    /// Ours, but torn or rotten.
    case checksum
    case version(UInt16)
    /// It verifies, but belongs to another place, kind, copy or device size.
    case wrongPlace
    case otherInstance(InstanceID)
    case field(FieldName)
    case truncated

    package var description: String {
        switch self {
        case .zero: "it is all zeroes"
        case .foreign: "it is no hablk metadata"
        case .checksum: "its checksum does not verify"
        case .version(let version):
            "it has format version \(version), this hablk knows version \(SuperblockCoding.version)"
        case .wrongPlace: "it verifies but was written for another place"
        case .otherInstance(let instance): "it belongs to another copy (\(instance))"
        case .field(let field): "its field `\(field)` has a value that cannot be"
        case .truncated: "it is not a whole block"
        }
    }

    init(_ error: FieldError) {
        switch error {
        case .truncated: self = .truncated
        case .value(let name): self = .field(name)
        case .range: self = .field(.size)
        }
    }
}

/// What all blocks of metadata share: 4 KiB, a magic at the beginning, and at the end the common magic and the CRC32C of
/// everything before it. Magic, version and checksum stay where they are in every version, so that a newer format is
/// told from a rotten one.
///
///        0  magic      8 bytes, of the kind
///        8  version    u16
///       10  …
///     4084  "HABLKEND"  tells a block whose first sector is gone from one that never was ours
///     4092  checksum   u32
enum MetadataBlock {
    static let length = 4096
    static let endMagicOffset = 4084
    static let checksumOffset = 4092
    static let endMagic = magic("HABLKEND")

    static func magic(_ text: StaticString) -> UInt64 {
        precondition(text.utf8CodeUnitCount == 8, "a magic has eight bytes")
        return UnsafeRawPointer(text.utf8Start).loadUnaligned(as: UInt64.self).littleEndian
    }

    /// Judges everything that all kinds share and gives a reader behind the version.
    static func open(
        _ bytes: UnsafeRawBufferPointer, magic: UInt64, version: UInt16
    ) throws(BlockFault) -> FieldReader {
        guard bytes.count == length else { throw .truncated }
        let isOurs =
            bytes.littleEndian(at: 0, as: UInt64.self) == magic
            || bytes.littleEndian(at: endMagicOffset, as: UInt64.self) == endMagic
        guard isOurs else { throw isAllZero(bytes) ? .zero : .foreign }
        let checksum = CRC32C.checksum(UnsafeRawBufferPointer(rebasing: bytes[..<checksumOffset]))
        guard checksum == bytes.littleEndian(at: checksumOffset, as: UInt32.self) else { throw .checksum }
        guard bytes.littleEndian(at: 0, as: UInt64.self) == magic else { throw .wrongPlace }
        let theirs = bytes.littleEndian(at: 8, as: UInt16.self)
        guard theirs == version else { throw .version(theirs) }
        var reader = FieldReader(UnsafeRawBufferPointer(rebasing: bytes[..<endMagicOffset]))
        do { try reader.skip(10) } catch { throw BlockFault(error) }
        return reader
    }

    /// A writer behind the version.
    static func begin(
        _ output: UnsafeMutableRawBufferPointer, magic: UInt64, version: UInt16
    ) -> FieldWriter {
        precondition(output.count == length, "a block of metadata has 4 KiB")
        var writer = FieldWriter(output)
        writer.u64(magic)
        writer.u16(version)
        return writer
    }

    static func seal(_ writer: inout FieldWriter) {
        writer.pad(to: endMagicOffset)
        writer.u64(endMagic)
        writer.u32(CRC32C.checksum(writer.written))
    }
}

/// A superblock with where everything lies: what one of its two blocks says.
package struct StoredSuperblock: Equatable, Sendable {
    package var superblock: Superblock
    package var layout: DiskLayout
}

/// A superblock in its block.
///
///       0  common         magic "HABLKSUP", version
///      10  kind u8 (1), copy u8, zero u32
///      16  instance u64, sequence u64
///      32  geometry: placement u8, peer slots u8, peers in use u8, their nodes 7 × u8, zero 6 × u8
///      48  log extents u32, log blocks u32, device end u64, data size u64, log offset u64, bitmap offset u64
///      88  own offset u64
///      96  node u8, flags u8, required u8, may hold more u8, zero 4 × u8
///     104  volume, size, start number, boot id (2), log base: 6 × u64
///     152  promised term (u64, u8)
///     161  record (108), current generation (17)
///     286  8 × peer: base (u8, u64), seen instance u64, seen mark (2 × u64)
///     550  history: count u8, then 17 bytes each
package enum SuperblockCoding {
    /// 2: log transactions have an echo, and every bitmap page is written by `create`.
    package static let version: UInt16 = 2
    package static let blockLength = 4096
    static let magic = MetadataBlock.magic("HABLKSUP")
    static let kind: UInt8 = 1

    /// Writes the block for copy 0 or 1 into exactly 4 KiB.
    package static func encode(
        _ superblock: Superblock, _ layout: DiskLayout, copy: Int, into output: UnsafeMutableRawBufferPointer
    ) {
        precondition(superblock.size <= layout.dataSize, "a volume is larger than its copy's room")
        precondition(superblock.logExtents == layout.logExtents, "a log is laid out for another number of extents")
        var writer = MetadataBlock.begin(output, magic: magic, version: version)
        writer.u8(kind)
        writer.u8(UInt8(copy))
        writer.zeroes(4)
        writer.identity(superblock.instance)
        writer.u64(superblock.sequence)
        writer.write(layout)
        writer.u64(layout.superblockOffset(copy: copy))
        writer.write(superblock)
        MetadataBlock.seal(&writer)
    }

    /// Reads what was found as copy 0 or 1 of a device of this size.
    package static func decode(
        _ bytes: UnsafeRawBufferPointer, copy: Int, placement: DiskLayout.Placement, deviceSize: UInt64
    ) throws(BlockFault) -> StoredSuperblock {
        var reader = try MetadataBlock.open(bytes, magic: magic, version: version)
        do throws(FieldError) {
            guard try reader.u8() == kind, Int(try reader.u8()) == copy else { throw .value(.copy) }
            try reader.skip(4)
            let instance = try reader.identity(InstanceID.self)
            let sequence = try reader.counter()
            let layout = try reader.readLayout()
            let place = try reader.u64()
            let deviceEnd = deviceSize / DiskLayout.blockSize * DiskLayout.blockSize
            // The first of a device of its own is found whatever that has grown to since: the end that it names is where the other is.
            let isEnd =
                layout.deviceEnd == deviceEnd
                || placement == .external && copy == 0 && layout.deviceEnd < deviceEnd
            guard layout.placement == placement, isEnd,
                place == layout.superblockOffset(copy: copy)
            else { throw .value(.copy) }
            let superblock = try reader.readSuperblock(
                instance: instance, sequence: sequence, logExtents: layout.logExtents, room: layout.dataSize)
            return StoredSuperblock(superblock: superblock, layout: layout)
        } catch {
            throw error == .value(.copy) ? .wrongPlace : BlockFault(error)
        }
    }
}

extension FieldWriter {
    fileprivate mutating func write(_ layout: DiskLayout) {
        u8(layout.placement.rawValue)
        u8(UInt8(layout.peerSlots))
        u8(UInt8(layout.peers.count))
        for index in 0..<DiskLayout.maximumPeerSlots { node(index < layout.peers.count ? layout.peers[index] : nil) }
        zeroes(6)
        u32(layout.logExtents)
        u32(UInt32(layout.logBlocks))
        u64(layout.deviceEnd)
        u64(layout.dataSize)
        u64(layout.logOffset)
        u64(layout.bitmapOffset)
    }

    /// All of it but instance, sequence and log extents, which lie before.
    package mutating func write(_ superblock: Superblock) {
        node(superblock.node)
        u8(superblock.flags.rawValue)
        nodes(superblock.required)
        truth(superblock.mayHoldMore)
        zeroes(4)
        identity(superblock.volume)
        u64(superblock.size)
        u64(superblock.startNumber)
        u64(superblock.bootID.0)
        u64(superblock.bootID.1)
        u64(superblock.logBase)
        term(superblock.promised)
        record(superblock.record)
        generation(superblock.current)
        for peer in NodeID.all {
            let slot = superblock.peers[peer]
            base(slot.base)
            identity(slot.seenInstance)
            mark(slot.seen)
        }
        history(superblock.history)
    }
}

extension FieldReader {
    /// The geometry is computed anew from what it was created with; the offsets that were written must be the same.
    fileprivate mutating func readLayout() throws(FieldError) -> DiskLayout {
        guard let placement = DiskLayout.Placement(rawValue: try u8()) else { throw .value(.geometry) }
        let slots = Int(try u8())
        let used = Int(try u8())
        guard used <= DiskLayout.maximumPeerSlots else { throw .value(.slots) }
        var peers: [NodeID] = []
        for index in 0..<DiskLayout.maximumPeerSlots {
            let peer = try nodeOrNone()
            guard (peer != nil) == (index < used) else { throw .value(.slots) }
            if let peer { peers.append(peer) }
        }
        try skip(6)
        let logExtents = try u32()
        let logBlocks = try u32()
        let deviceEnd = try u64()
        let dataSize = try u64()
        let logOffset = try u64()
        let bitmapOffset = try u64()
        let layout: DiskLayout
        do throws(LayoutError) {
            switch placement {
            case .internal:
                layout = try .internal(
                    deviceSize: deviceEnd, dataSize: dataSize, logExtents: logExtents, peers: peers, peerSlots: slots)
            case .external:
                layout = try .external(
                    metadataSize: deviceEnd, dataSize: dataSize, logExtents: logExtents, peers: peers, peerSlots: slots)
            }
        } catch {
            throw .value(.geometry)
        }
        guard UInt32(layout.logBlocks) == logBlocks, layout.deviceEnd == deviceEnd, layout.logOffset == logOffset,
            layout.bitmapOffset == bitmapOffset
        else { throw .value(.geometry) }
        return layout
    }

    /// - Parameter room: bytes of data that its disk can hold.
    package mutating func readSuperblock(
        instance: InstanceID, sequence: UInt64, logExtents: UInt32, room: UInt64
    ) throws(FieldError) -> Superblock {
        let node = try node()
        let flags = Superblock.Flags(rawValue: try u8())
        let required = try nodes()
        let mayHoldMore = try truth()
        try skip(4)
        var superblock = Superblock(
            node: node, instance: instance, size: 0, logExtents: logExtents, zeroes: false)
        superblock.sequence = sequence
        superblock.flags = flags
        superblock.required = required
        superblock.mayHoldMore = mayHoldMore
        superblock.volume = try identity()
        superblock.size = try size()
        guard superblock.size <= room else { throw .value(.size) }
        superblock.startNumber = try counter()
        superblock.bootID = (try u64(), try u64())
        superblock.logBase = try counter()
        superblock.promised = try term()
        superblock.record = try record()
        superblock.current = try generation()
        for peer in NodeID.all {
            superblock.peers[peer] = PeerSlot(base: try base(), seenInstance: try identity(), seen: try mark())
        }
        superblock.history = try history()
        return superblock
    }
}
