import Formats
import Model

/// A device of metadata, built block by block from an input.
struct MetadataImage {
    static let blockLength = 4096
    let layout: DiskLayout
    var bytes: [UInt8]
    private let instance = InstanceID(rawValue: 0x100)

    /// Nil when the input's layout cannot be.
    init?(_ input: inout InputBytes) {
        let shape = input.u8()
        let extents = UInt32(input.u8()) * 8 + 1
        let size = UInt64(input.integer(UInt16.self)) * DiskLayout.blockSize + DiskLayout.blockSize
        let peers = shape & 2 == 0 ? [NodeID(unchecked: 1)] : [NodeID(unchecked: 1), NodeID(unchecked: 5)]
        let slots = peers.count + Int(shape >> 2 & 1)
        let external = try? DiskLayout.externalSize(dataSize: size, logExtents: extents, peerSlots: slots)
        guard let external else { return nil }
        let room = external + 20 * DiskLayout.blockSize
        let layout =
            shape & 1 == 0
            ? try? DiskLayout.external(
                metadataSize: room, dataSize: size, logExtents: extents, peers: peers, peerSlots: slots)
            : try? DiskLayout.internal(deviceSize: room, logExtents: extents, peers: peers, peerSlots: slots)
        guard let layout, layout.deviceEnd >= 66 * DiskLayout.blockSize else { return nil }
        self.layout = layout
        bytes = [UInt8](repeating: 0, count: Int(layout.deviceEnd))
        for node in peers { createBitmap(toward: node) }
    }

    /// As `create` writes it: every page, clean.
    private mutating func createBitmap(toward node: NodeID) {
        for page in 0..<layout.bitmapPages {
            guard let offset = layout.bitmapPageOffset(of: node, page: page) else { continue }
            bytes.withUnsafeMutableBytes { bytes in
                let place = Int(offset)..<Int(offset) + Self.blockLength
                BitmapPage.encode(
                    [], instance: instance, node: node, page: page, sequence: 0,
                    into: UnsafeMutableRawBufferPointer(rebasing: bytes[place]))
            }
        }
    }

    // MARK: As a start of the daemon reads and repairs it

    func findSuperblock() -> FoundSuperblock? {
        let places = (layout.superblockOffset(copy: 0), layout.superblockOffset(copy: 1))
        return block(places.0).withUnsafeBytes { first in
            block(places.1).withUnsafeBytes { second in
                try? MetadataLoader.load(
                    layout.placement, deviceSize: UInt64(bytes.count), copy0: first, copy1: second)
            }
        }
    }

    func ring(_ layout: DiskLayout) -> [UInt8] {
        Array(bytes[Int(layout.logOffset)..<Int(layout.logOffset + layout.logLength)])
    }

    func replayLog(_ found: FoundSuperblock) -> LogReplay {
        ring(found.layout).withUnsafeBytes {
            LogReplayer.replay(
                $0, instance: found.superblock.instance, logBase: found.superblock.logBase,
                slots: Int(found.superblock.logExtents), extents: found.layout.dataExtents)
        }
    }

    mutating func repair(_ found: FoundSuperblock, _ log: LogReplay) {
        if let copy = found.repair {
            var block = [UInt8](repeating: 0, count: Self.blockLength)
            block.withUnsafeMutableBytes {
                SuperblockCoding.encode(found.superblock, found.layout, copy: copy, into: $0)
            }
            put(block, at: found.layout.superblockOffset(copy: copy))
        }
        if let newest = log.mend {
            var blocks = [UInt8](repeating: 0, count: LogCoding.writeLength)
            blocks.withUnsafeMutableBytes { LogCoding.encodeWithEcho(newest, into: $0) }
            put(blocks, at: found.layout.logOffset(number: newest.number))
        }
    }

    private mutating func put(_ blocks: [UInt8], at offset: UInt64) {
        bytes.replaceSubrange(Int(offset)..<Int(offset) + blocks.count, with: blocks)
    }

    func block(_ offset: UInt64) -> [UInt8] { Array(bytes[Int(offset)..<Int(offset) + Self.blockLength]) }

    /// The next block of the input.
    mutating func change(_ input: inout InputBytes) {
        let kind = input.u8()
        var block = [UInt8](repeating: 0, count: Self.blockLength)
        var offset: UInt64
        switch kind & 3 {
        case 0:
            let copy = Int(kind >> 2 & 1)
            offset = layout.superblockOffset(copy: copy)
            encodeSuperblock(copy, &input, &block)
        case 1:
            let number = UInt64(input.integer(UInt16.self)) + 1
            offset = layout.logOffset(number: number)
            encodeTransaction(number, &input, &block)
            if kind & 4 == 0 { put(block, at: offset + DiskLayout.blockSize) }
        case 2:
            let node = input.pick(layout.peers)
            let page = UInt32(input.u8()) % layout.bitmapPages
            offset = layout.bitmapPageOffset(of: node, page: page) ?? 0
            let words = (0..<input.below(64)).map { _ in input.integer(UInt64.self) }
            block.withUnsafeMutableBytes {
                BitmapPage.encode(
                    words[...], instance: instance, node: node, page: page, sequence: UInt64(input.u8()), into: $0)
            }
        default:
            offset = UInt64(input.integer(UInt16.self)) * DiskLayout.blockSize % layout.deviceEnd
            block = self.block(offset)
        }
        for _ in 0..<Int(kind >> 3 & 7) {
            let place = Int(input.integer(UInt16.self)) % Self.blockLength
            block[place] = input.u8()
        }
        if kind & 0x40 == 0 { seal(&block) }
        if kind & 0x80 != 0 { offset = UInt64(input.integer(UInt16.self)) * DiskLayout.blockSize % layout.deviceEnd }
        put(block, at: offset)
    }

    private func encodeSuperblock(_ copy: Int, _ input: inout InputBytes, _ block: inout [UInt8]) {
        let me = NodeID(unchecked: 0)
        var superblock = Superblock(
            node: me, instance: instance, size: layout.dataSize, logExtents: layout.logExtents, zeroes: input.flag())
        superblock.sequence = UInt64(input.u8())
        superblock.logBase = UInt64(input.u8())
        superblock.volume = VolumeID(rawValue: UInt64(input.u8()))
        superblock.flags = Superblock.Flags(rawValue: input.u8())
        superblock.required = NodeSet(rawValue: input.u8())
        superblock.record.lineage = LineageID(rawValue: UInt64(input.u8()))
        superblock.record.inStep = NodeSet(rawValue: input.u8())
        superblock.record.size = layout.dataSize
        superblock.record.instances[me] = instance
        superblock.bootID = (UInt64(input.u8()), 7)
        superblock.peers[NodeID(unchecked: 1)].base =
            input.flag() ? .inStep : .since(GenerationID(rawValue: UInt64(input.u8())))
        block.withUnsafeMutableBytes { SuperblockCoding.encode(superblock, layout, copy: copy, into: $0) }
    }

    private func encodeTransaction(_ number: UInt64, _ input: inout InputBytes, _ block: inout [UInt8]) {
        func extent() -> UInt32? {
            let byte = input.u8()
            return byte == 0xff ? nil : UInt32(byte)
        }
        let start = input.integer(UInt16.self)
        let updates = (0..<input.below(8)).map { _ in
            LogTransaction.Update(slot: UInt32(input.integer(UInt16.self)), extent: extent())
        }
        let known = (0..<input.below(16)).map { _ in extent() }
        let free = [UInt32?](repeating: nil, count: input.below(LogTransaction.contextLimit - known.count))
        let transaction = LogTransaction(
            instance: instance, sequence: number + UInt64(input.u8()), number: number, updates: updates,
            contextStart: UInt32(start), context: known + free, seen: PerNode(repeating: .none))
        block.withUnsafeMutableBytes { LogCoding.encode(transaction, into: $0) }
    }

    private func seal(_ block: inout [UInt8]) {
        if block.starts(with: "HABLKBMP".utf8) {
            block.replaceSubrange(124..<128, with: littleEndian(pageChecksum(block)))
        } else {
            block.replaceSubrange(4092..<4096, with: littleEndian(checksum(Array(block[..<4092]), [])))
        }
    }
}

/// Of a superblock or a block of the log.
func isSealed(_ block: [UInt8]) -> Bool {
    littleEndian(block[4092...], as: UInt32.self) == checksum(Array(block[..<4092]), [])
}

func isPageSealed(_ block: [UInt8]) -> Bool { littleEndian(block[124..<128], as: UInt32.self) == pageChecksum(block) }

private func pageChecksum(_ block: [UInt8]) -> UInt32 {
    checksum(Array(block[..<124]) + [0, 0, 0, 0], Array(block[128...]))
}
