package import Model

/// Where everything of one copy lies. All offsets are bytes of the metadata's device and multiples of 4 KiB.
///
///     internal:  [ data … | free | bitmaps | log ring | superblock 0 | 14 free | superblock 1 ]  end of the device
///     external:  [ superblock 0 | log ring | bitmaps | free … | superblock 1 ]                    a device of its own
///
/// Both places of a superblock follow from the device's size alone (`superblockOffsets`), so each copy is found without
/// the other. They are 60 KiB apart or more: a torn write, a bad spot or somebody's partition table at the very end
/// does not take both.
package struct DiskLayout: Equatable, Sendable {
    package enum Placement: UInt8, Sendable, CaseIterable {
        /// Behind the data, on the same device.
        case `internal` = 1
        /// On a device or in a file of its own.
        case external = 2
    }

    package static let blockSize: UInt64 = 4096
    package static let maximumPeerSlots = 7
    package static let maximumLogExtents: UInt32 = 1 << 20
    /// From the first superblock to the end of the device, when it is internal.
    static let tail: UInt64 = 16 * blockSize
    /// Sizes above are not a disk's; keeps all sums far from overflow.
    static let maximumDeviceSize: UInt64 = 1 << 56

    package let placement: Placement
    /// Bytes of the metadata's device that are used: its size, rounded down to whole blocks.
    package let deviceEnd: UInt64
    /// Bytes of data the copy has room for.
    package let dataSize: UInt64
    package let logExtents: UInt32
    /// Bitmaps there is room for.
    package let peerSlots: Int
    /// Which node each bitmap is for, as far as they are given away; at most `peerSlots`, without repetition.
    package let peers: [NodeID]

    package let logOffset: UInt64
    package let bitmapOffset: UInt64

    /// Transactions that the log ring holds: the whole table twice and room for one torn, at least 64.
    package var logBlocks: Int { Self.logBlocks(for: logExtents) }
    /// Bytes of the ring: one block more than transactions, for the echo of the last place (`LogReplayer`).
    package var logLength: UInt64 { UInt64(logBlocks + 1) * Self.blockSize }
    /// 4 KiB blocks of data.
    package var dataBlocks: UInt64 { dataSize / Self.blockSize }
    /// 4 MiB extents of data, the last perhaps in part.
    package var dataExtents: UInt32 { UInt32((dataSize + Geometry.extentSize - 1) / Geometry.extentSize) }
    /// Pages of each bitmap.
    package var bitmapPages: UInt32 { UInt32(Self.pages(for: dataBlocks)) }
    /// Bytes of each bitmap on disk.
    package var bitmapLength: UInt64 { UInt64(bitmapPages) * Self.blockSize }

    /// Where superblock 0 or 1 lies.
    package func superblockOffset(copy: Int) -> UInt64 {
        let both = Self.offsets(placement, deviceEnd)
        precondition(copy == 0 || copy == 1, "a copy has two superblocks")
        return copy == 0 ? both.0 : both.1
    }

    /// Where the log transaction of this number lies; its echo lies in the block behind.
    package func logOffset(number: UInt64) -> UInt64 { logOffset + number % UInt64(logBlocks) * Self.blockSize }

    /// Where a bitmap's first page lies; nil: no bitmap is given to this node.
    package func bitmapOffset(of node: NodeID) -> UInt64? {
        peers.firstIndex(of: node).map { bitmapOffset + UInt64($0) * bitmapLength }
    }

    /// Where a page of a bitmap lies; nil: no bitmap is given to this node, or it has no such page.
    package func bitmapPageOffset(of node: NodeID, page: UInt32) -> UInt64? {
        guard page < bitmapPages, let first = bitmapOffset(of: node) else { return nil }
        return first + UInt64(page) * Self.blockSize
    }

    /// All metadata but the superblocks.
    package var areaToZero: Range<UInt64> {
        placement == .internal
            ? bitmapOffset..<superblockOffset(copy: 0)
            : logOffset..<(bitmapOffset + UInt64(peerSlots) * bitmapLength)
    }

    /// The same layout with a free bitmap given to `node`; nil: none is free.
    package func assigning(_ node: NodeID) -> DiskLayout? {
        if peers.contains(node) { return self }
        guard peers.count < peerSlots else { return nil }
        return DiskLayout(self, peers: peers + [node])
    }
}

/// Why a copy cannot be laid out.
package enum LayoutError: Error, Equatable, CustomStringConvertible {
    case deviceTooSmall(size: UInt64, needed: UInt64)
    case deviceTooLarge(UInt64)
    case dataSize(UInt64)
    case dataDoesNotFit(UInt64, available: UInt64)
    case logExtents(UInt32)
    case peers

    package var description: String {
        switch self {
        case .deviceTooSmall(let size, let needed):
            "the device has \(size) bytes; with its metadata the copy needs at least \(needed)"
        case .deviceTooLarge(let size): "a device of \(size) bytes is more than can be addressed"
        case .dataSize(let size):
            "a volume of \(size) bytes cannot be: whole 4 KiB blocks, at least one, at most 1 PiB"
        case .dataDoesNotFit(let size, let available):
            "a volume of \(size) bytes does not fit; beside the metadata the device has room for \(available)"
        case .logExtents(let count):
            "an activity log of \(count) extents cannot be: 1 to \(DiskLayout.maximumLogExtents)"
        case .peers: "bitmaps are for 1 to \(DiskLayout.maximumPeerSlots) different nodes"
        }
    }
}

extension DiskLayout {
    /// Metadata behind the data. Without `dataSize`: the largest volume that fits.
    package static func `internal`(
        deviceSize: UInt64, dataSize: UInt64? = nil, logExtents: UInt32, peers: [NodeID], peerSlots: Int? = nil
    ) throws(LayoutError) -> DiskLayout {
        let slots = peerSlots ?? Swift.max(peers.count, 1)
        try check(deviceSize, dataSize, logExtents, peers, slots)
        let end = deviceSize / blockSize
        let fixed = tail / blockSize + UInt64(logBlocks(for: logExtents) + 1)
        // The smallest copy: one block of data and a page for each peer.
        let least = fixed + 1 + UInt64(slots)
        guard end >= least else { throw .deviceTooSmall(size: deviceSize, needed: least * blockSize) }
        let largest = largestData(in: end - fixed, slots: UInt64(slots))
        let available = Swift.min(largest * blockSize, Geometry.maximumVolumeSize)
        let data = dataSize ?? available
        guard data <= available else { throw .dataDoesNotFit(data, available: available) }
        return DiskLayout(.internal, end * blockSize, data, logExtents, slots, peers)
    }

    /// Metadata on a device of its own with `metadataSize` bytes, for `dataSize` bytes of data elsewhere.
    package static func external(
        metadataSize: UInt64, dataSize: UInt64, logExtents: UInt32, peers: [NodeID], peerSlots: Int? = nil
    ) throws(LayoutError) -> DiskLayout {
        let slots = peerSlots ?? Swift.max(peers.count, 1)
        let needed = try externalSize(dataSize: dataSize, logExtents: logExtents, peerSlots: slots)
        try check(metadataSize, dataSize, logExtents, peers, slots)
        guard metadataSize >= needed else { throw .deviceTooSmall(size: metadataSize, needed: needed) }
        return DiskLayout(.external, metadataSize / blockSize * blockSize, dataSize, logExtents, slots, peers)
    }

    /// Bytes an external metadata file must have.
    package static func externalSize(
        dataSize: UInt64, logExtents: UInt32, peerSlots: Int
    ) throws(LayoutError) -> UInt64 {
        try check(0, dataSize, logExtents, [], peerSlots)
        let bitmaps = UInt64(peerSlots) * pages(for: dataSize / blockSize)
        return (2 + UInt64(logBlocks(for: logExtents) + 1) + bitmaps) * blockSize
    }

    /// Where the two superblocks lie on a device of this size; nil: it is too small to have any.
    package static func superblockOffsets(_ placement: Placement, deviceSize: UInt64) -> (UInt64, UInt64)? {
        guard deviceSize >= 66 * blockSize, deviceSize <= maximumDeviceSize else { return nil }
        return offsets(placement, deviceSize / blockSize * blockSize)
    }

    static func logBlocks(for extents: UInt32) -> Int {
        Swift.max(64, 2 * LogTransaction.window(for: Int(extents)) + 2)
    }

    private static func offsets(_ placement: Placement, _ end: UInt64) -> (UInt64, UInt64) {
        (placement == .internal ? end - tail : 0, end - blockSize)
    }

    private static func pages(for blocks: UInt64) -> UInt64 {
        (blocks + BitmapPage.blocksPerPage - 1) / BitmapPage.blocksPerPage
    }

    /// The largest number of data blocks that leaves room in `room` blocks for a page each 31,744 of them and slot.
    private static func largestData(in room: UInt64, slots: UInt64) -> UInt64 {
        // With p pages a bitmap, at most p pages' worth of data and at most what p pages leave. The first grows with p,
        // the second falls, so the best is where they cross.
        let crossing = (room + BitmapPage.blocksPerPage + slots - 1) / (BitmapPage.blocksPerPage + slots)
        func fits(_ pages: UInt64) -> UInt64 {
            slots * pages >= room ? 0 : Swift.min(pages * BitmapPage.blocksPerPage, room - slots * pages)
        }
        return Swift.max(fits(crossing), crossing > 1 ? fits(crossing - 1) : 0)
    }

    private static func check(
        _ deviceSize: UInt64, _ dataSize: UInt64?, _ logExtents: UInt32, _ peers: [NodeID], _ slots: Int
    ) throws(LayoutError) {
        guard deviceSize <= maximumDeviceSize else { throw .deviceTooLarge(deviceSize) }
        if let dataSize {
            guard dataSize >= Geometry.minimumVolumeSize, dataSize <= Geometry.maximumVolumeSize,
                dataSize % blockSize == 0
            else { throw .dataSize(dataSize) }
        }
        guard logExtents >= 1, logExtents <= maximumLogExtents else { throw .logExtents(logExtents) }
        guard slots >= 1, slots <= maximumPeerSlots, peers.count <= slots, Set(peers).count == peers.count else {
            throw .peers
        }
    }

    private init(
        _ placement: Placement, _ deviceEnd: UInt64, _ dataSize: UInt64, _ logExtents: UInt32, _ peerSlots: Int,
        _ peers: [NodeID]
    ) {
        self.placement = placement
        self.deviceEnd = deviceEnd
        self.dataSize = dataSize
        self.logExtents = logExtents
        self.peerSlots = peerSlots
        self.peers = peers
        let log = UInt64(Self.logBlocks(for: logExtents) + 1) * Self.blockSize
        let bitmaps = UInt64(peerSlots) * Self.pages(for: dataSize / Self.blockSize) * Self.blockSize
        switch placement {
        case .internal:
            logOffset = deviceEnd - Self.tail - log
            bitmapOffset = logOffset - bitmaps
        case .external:
            logOffset = Self.blockSize
            bitmapOffset = logOffset + log
        }
    }

    private init(_ layout: DiskLayout, peers: [NodeID]) {
        self.init(
            layout.placement, layout.deviceEnd, layout.dataSize, layout.logExtents, layout.peerSlots, peers)
    }
}
