import Formats
import Model
import Testing

@Suite struct DiskLayoutTests {
    static let two = [NodeID(1)!, NodeID(2)!]

    /// Everything lies apart, in order, within the device.
    private func check(_ layout: DiskLayout) {
        var parts: [Range<UInt64>] = []
        if layout.placement == .internal { parts.append(0..<layout.dataSize) }
        for copy in 0...1 {
            let offset = layout.superblockOffset(copy: copy)
            parts.append(offset..<offset + 4096)
        }
        parts.append(layout.logOffset..<layout.logOffset + layout.logLength)
        for slot in 0..<UInt64(layout.peerSlots) {
            let first = layout.bitmapOffset + slot * layout.bitmapLength
            parts.append(first..<first + layout.bitmapLength)
        }
        parts.sort { $0.lowerBound < $1.lowerBound }
        for (part, next) in zip(parts, parts.dropFirst()) { #expect(part.upperBound <= next.lowerBound) }
        #expect(parts.allSatisfy { $0.lowerBound % 4096 == 0 && $0.upperBound % 4096 == 0 })
        #expect(parts.last!.upperBound <= layout.deviceEnd)
        #expect(layout.superblockOffset(copy: 1) - layout.superblockOffset(copy: 0) >= 60 << 10)
        #expect(UInt64(layout.bitmapPages) * 31_744 >= layout.dataBlocks)
        #expect(layout.logBlocks >= 64 && layout.logBlocks * 640 >= 2 * Int(layout.logExtents))
        for part in parts.dropFirst(layout.placement == .internal ? 1 : 0) {
            let isSuperblock = (0...1).contains { layout.superblockOffset(copy: $0) == part.lowerBound }
            #expect(layout.areaToZero.overlaps(part) != (isSuperblock || part.isEmpty))
        }
    }

    @Test func `the largest volume that fits is laid out, and one block more does not fit`() throws {
        var dice = SeededDice(9)
        for round in 0..<600 {
            let slots = 1 + dice.pick(7)
            let extents = UInt32([1, 3, 640, 6000, 65_536].randomElement(using: &dice)!)
            let size = (600 << 10) + dice.below(1 << (21 + UInt64(round % 28)))
            let layout: DiskLayout
            do throws(LayoutError) {
                layout = try .internal(deviceSize: size, logExtents: extents, peers: [NodeID(1)!], peerSlots: slots)
            } catch {
                guard case .deviceTooSmall(_, let needed) = error else {
                    Issue.record("\(error)")
                    continue
                }
                let least = try DiskLayout.internal(
                    deviceSize: needed, logExtents: extents, peers: [NodeID(1)!], peerSlots: slots)
                #expect(needed > size && least.dataSize == 4096)
                continue
            }
            check(layout)
            #expect(layout.dataSize > 0 && layout.deviceEnd <= size && size - layout.deviceEnd < 4096)
            #expect(throws: LayoutError.dataDoesNotFit(layout.dataSize + 4096, available: layout.dataSize)) {
                try DiskLayout.internal(
                    deviceSize: size, dataSize: layout.dataSize + 4096, logExtents: extents, peers: [NodeID(1)!],
                    peerSlots: slots)
            }
            // Not one block is wasted, but where one more would need a page for each slot.
            let unused = layout.bitmapOffset - layout.dataSize
            #expect(unused == 0 || (layout.dataBlocks % 31_744 == 0 && unused <= UInt64(slots) * 4096))
            let small = try DiskLayout.internal(
                deviceSize: size, dataSize: 4096, logExtents: extents, peers: [NodeID(1)!], peerSlots: slots)
            check(small)
        }
    }

    @Test func `external metadata is as large as it says`() throws {
        for data: UInt64 in [4096, 4 << 20, 31_744 * 4096, 31_745 * 4096, 1 << 40, 1 << 50] {
            for slots in 1...7 {
                let size = try DiskLayout.externalSize(dataSize: data, logExtents: 6000, peerSlots: slots)
                let layout = try DiskLayout.external(
                    metadataSize: size, dataSize: data, logExtents: 6000, peers: [NodeID(3)!], peerSlots: slots)
                check(layout)
                #expect(layout.superblockOffset(copy: 1) == size - 4096)
                check(
                    try DiskLayout.external(
                        metadataSize: size + 1_000_001, dataSize: data, logExtents: 6000, peers: [], peerSlots: slots))
                #expect(throws: LayoutError.deviceTooSmall(size: size - 1, needed: size)) {
                    try DiskLayout.external(
                        metadataSize: size - 1, dataSize: data, logExtents: 6000, peers: [], peerSlots: slots)
                }
            }
        }
    }

    @Test func `both superblocks are found from the device's size alone`() throws {
        for size: UInt64 in [1 << 20, (1 << 20) + 4095, 10 << 30] {
            let layout = try DiskLayout.internal(deviceSize: size, logExtents: 6000, peers: Self.two)
            let places = try #require(DiskLayout.superblockOffsets(.internal, deviceSize: size))
            #expect(places == (layout.superblockOffset(copy: 0), layout.superblockOffset(copy: 1)))
        }
        for size: UInt64 in [0, 4095, 65_536, .max] {
            #expect(DiskLayout.superblockOffsets(.internal, deviceSize: size) == nil)
            #expect(DiskLayout.superblockOffsets(.external, deviceSize: size) == nil)
        }
        // A file of exactly the least size is found again.
        let least = try DiskLayout.externalSize(dataSize: 4096, logExtents: 1, peerSlots: 1)
        #expect(DiskLayout.superblockOffsets(.external, deviceSize: least) != nil)
    }

    @Test func `bitmaps are given to nodes while there are any`() throws {
        let layout = try DiskLayout.internal(deviceSize: 1 << 30, logExtents: 6000, peers: [NodeID(4)!], peerSlots: 2)
        #expect(layout.bitmapOffset(of: NodeID(4)!) == layout.bitmapOffset)
        #expect(layout.bitmapOffset(of: NodeID(1)!) == nil)
        let both = try #require(layout.assigning(NodeID(1)!))
        #expect(both.bitmapPageOffset(of: NodeID(1)!, page: 2) == layout.bitmapOffset + layout.bitmapLength + 8192)
        #expect(both.bitmapPageOffset(of: NodeID(1)!, page: layout.bitmapPages) == nil)
        #expect(both.assigning(NodeID(2)!) == nil)
        #expect(both.assigning(NodeID(4)!) == both)
        #expect(layout.logOffset(number: 64) == layout.logOffset)
        #expect(layout.logOffset(number: 65) == layout.logOffset + 4096)
    }

    @Test func `impossible wishes are refused`() {
        func refused(_ size: UInt64, _ data: UInt64?, _ extents: UInt32, _ peers: [NodeID], _ slots: Int?) {
            #expect(throws: LayoutError.self) {
                try DiskLayout.internal(
                    deviceSize: size, dataSize: data, logExtents: extents, peers: peers, peerSlots: slots)
            }
        }
        for size: UInt64 in [0, 1, 4096, 327_680, .max, .max - 4095] { refused(size, nil, 1, [], 1) }
        for data: UInt64 in [0, 1, 4097, (1 << 50) + 4096, .max] { refused(1 << 40, data, 1, [], 1) }
        for extents: UInt32 in [0, (1 << 20) + 1, .max] { refused(1 << 40, nil, extents, [], 1) }
        for slots in [Int.min, -1, 0, 8, .max] { refused(1 << 40, nil, 1, [], slots) }
        refused(1 << 40, nil, 1, Self.two, 1)
        refused(1 << 40, nil, 1, [Self.two[0], Self.two[0]], 2)
    }
}
