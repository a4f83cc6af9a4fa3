package import Model

/// How much data a copy could hold, and where its metadata would lie then.
extension DiskLayout {
    /// The layout in which this copy has room for `size` bytes.
    /// - Parameters:
    ///   - data: bytes of the data's device now; `extendsData`: it is a file, and may be made longer.
    ///   - metadata: the same of the metadata's device, where that is another one.
    /// - Returns: nil when it has not.
    package func grown(
        to size: UInt64, data: UInt64, extendsData: Bool, metadata: UInt64, extendsMetadata: Bool
    ) -> DiskLayout? {
        if placement == .external {
            guard size <= data / Self.blockSize * Self.blockSize || extendsData else { return nil }
            if size <= dataSize { return self }
            guard let needed = try? Self.externalSize(dataSize: size, logExtents: logExtents, peerSlots: peerSlots),
                needed <= metadata || extendsMetadata
            else { return nil }
            let layout = try? DiskLayout.external(
                metadataSize: needed <= deviceEnd ? deviceEnd : Swift.max(metadata, needed), dataSize: size,
                logExtents: logExtents, peers: peers, peerSlots: peerSlots)
            return layout.flatMap { canMove(to: $0) ? $0 : nil }
        }
        if size <= dataSize { return self }
        if let moved = moved(to: size, end: data, extends: extendsData) { return moved }
        let layout = try? DiskLayout.internal(
            deviceSize: deviceEnd, dataSize: size, logExtents: logExtents, peers: peers, peerSlots: peerSlots)
        return layout.flatMap { canMove(to: $0) ? $0 : nil }
    }

    private func canMove(to layout: DiskLayout) -> Bool {
        DiskMove.bytesAtOnce(self, layout) <= DiskMove.mostAtOnce
    }

    /// Bytes for which the bitmaps are long enough as they are.
    private var unmovedSize: UInt64 { UInt64(bitmapPages) * BitmapPage.blocksPerPage * Self.blockSize }

    /// At the device's new end, clear of where they are.
    private func moved(to size: UInt64?, end: UInt64, extends: Bool) -> DiskLayout? {
        var end = end / Self.blockSize * Self.blockSize
        if extends, let size {
            let beside = (try? Self.externalSize(dataSize: size, logExtents: logExtents, peerSlots: peerSlots)) ?? 0
            let there = try? DiskLayout.internal(
                deviceSize: deviceEnd, dataSize: size, logExtents: logExtents, peers: peers, peerSlots: peerSlots)
            let isThere = there.map { canMove(to: $0) } ?? false
            if !isThere || end > deviceEnd { end = Swift.max(end, Swift.max(deviceEnd, size) + beside + Self.tail) }
        }
        guard end > deviceEnd,
            let layout = try? DiskLayout.internal(
                deviceSize: end, dataSize: size, logExtents: logExtents, peers: peers, peerSlots: peerSlots),
            DiskMove.isBeside(self, layout)
        else { return nil }
        return layout
    }

    /// The most that this copy could hold on its devices as they are now.
    package func most(data: UInt64, metadata: UInt64, extendsMetadata: Bool) -> RoomAnswer {
        placement == .external
            ? mostBeside(data: data, metadata: metadata, extendsMetadata: extendsMetadata) : mostBehind(data)
    }

    private func mostBeside(data: UInt64, metadata: UInt64, extendsMetadata: Bool) -> RoomAnswer {
        let whole = Swift.min(data / Self.blockSize * Self.blockSize, Geometry.maximumVolumeSize)
        let fixed = UInt64(Self.logBlocks(for: logExtents) + 3)
        let blocks = metadata / Self.blockSize
        let pages = blocks > fixed ? (blocks - fixed) / UInt64(peerSlots) : 0
        let room =
            extendsMetadata
            ? whole : Swift.min(pages * BitmapPage.blocksPerPage * Self.blockSize, Geometry.maximumVolumeSize)
        let bytes = Swift.max(Swift.min(room, whole), dataSize)
        if grown(to: bytes, data: whole, extendsData: true, metadata: metadata, extendsMetadata: extendsMetadata) == nil
        {
            return RoomAnswer(.hasTooMuch, bytes: Swift.max(Swift.min(bytes, unmovedSize), dataSize))
        }
        return RoomAnswer(room < whole ? .hasMetadata : .has, bytes: room < whole ? bytes : whole)
    }

    private func mostBehind(_ data: UInt64) -> RoomAnswer {
        if let moved = moved(to: nil, end: data, extends: false) {
            return RoomAnswer(.has, bytes: Swift.max(moved.dataSize, dataSize))
        }
        let here = try? DiskLayout.internal(
            deviceSize: deviceEnd, logExtents: logExtents, peers: peers, peerSlots: peerSlots)
        let bytes = Swift.max(here?.dataSize ?? 0, dataSize)
        if bytes > dataSize, let here, !canMove(to: here) {
            return RoomAnswer(.hasTooMuch, bytes: Swift.max(Swift.min(bytes, unmovedSize), dataSize))
        }
        let isLarger = data / Self.blockSize * Self.blockSize > deviceEnd
        return RoomAnswer(isLarger ? .hasUnmoved : .has, bytes: bytes)
    }
}
