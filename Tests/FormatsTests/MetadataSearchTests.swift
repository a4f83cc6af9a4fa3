import Formats
import Model
import Testing

/// Superblocks of a device that grew, with whatever lies at its new end.
@Suite struct MetadataSearchTests {
    private static let end: UInt64 = 302 << 20
    private static let newEnd: UInt64 = 1 << 30
    private static let tail: UInt64 = 16 * DiskLayout.blockSize

    private func inside(_ device: UInt64 = end) throws -> DiskLayout {
        try .internal(deviceSize: device, dataSize: 300 << 20, logExtents: 64, peers: MovedDisk.peers, peerSlots: 7)
    }

    private func beside(_ bytes: UInt64) throws -> DiskLayout {
        try .external(metadataSize: bytes, dataSize: 300 << 20, logExtents: 64, peers: MovedDisk.peers, peerSlots: 7)
    }

    private func marked(_ disk: MovedDisk, _ layout: DiskLayout) -> MovedDisk {
        var disk = disk
        let move = DiskMove(from: layout, to: layout, size: 300 << 20, deviceSize: disk.count)
        for step in move.marks { disk.perform(step, move, disk.superblock) }
        return disk
    }

    @Test func `the marks of a device that grew are found, each by itself`() throws {
        let layout = try inside()
        var disk = MovedDisk(layout)
        disk.count = Self.newEnd
        #expect(disk.found() == nil, "the former size is to be given back")
        disk = marked(disk, layout)
        #expect(disk.found()?.layout == layout)
        for place in [Self.newEnd - DiskLayout.blockSize, Self.newEnd - Self.tail] {
            var spoilt = disk
            spoilt[place] = [UInt8](repeating: 0x45, count: MovedDisk.block)
            #expect(spoilt.found()?.layout == layout, "a partition table's backup, or a bad spot, at \(place)")
        }
    }

    @Test func `superblocks that another copy left at the new end do not hide the marks`() throws {
        let layout = try inside()
        let stale = MovedDisk(try inside(Self.newEnd), instance: InstanceID(rawValue: 0x777))
        var disk = MovedDisk(layout)
        for (block, content) in stale.blocks { disk.blocks[block] = content }
        disk.count = Self.newEnd
        disk = marked(disk, layout)
        #expect(disk.found()?.superblock.instance == MovedDisk.instance)
        // Also where only one block of the two was ours to mark.
        disk[Self.newEnd - Self.tail] = stale[Self.newEnd - Self.tail]
        #expect(disk.found()?.superblock.instance == MovedDisk.instance)
    }

    @Test func `a mark that leads to another copy is none`() throws {
        let layout = try inside()
        var disk = marked(MovedDisk(layout), layout)
        disk.count = Self.newEnd
        disk = marked(disk, layout)
        disk.superblock = MovedDisk(layout, instance: InstanceID(rawValue: 0x777)).superblock
        for copy in 0...1 { disk.write(disk.superblock, copy, layout) }
        #expect(disk.found() == nil)
    }

    @Test(arguments: [false, true])
    func `beside the data both superblocks are found, whatever that device has grown to`(
        isMarked: Bool
    ) throws {
        let layout = try beside(4 << 20)
        var disk = MovedDisk(layout)
        disk.count = 9 << 20
        if isMarked { disk = marked(disk, layout) }
        let found = try #require(disk.found())
        #expect(found.layout == layout && found.repair == nil)
        // One of them rots.
        for copy in 0...1 {
            var rotten = disk
            rotten[layout.superblockOffset(copy: copy)][100] ^= 1
            let found = rotten.found()
            // Without the first nobody knows where the second is, but by a mark.
            if copy == 0, !isMarked {
                #expect(found == nil)
                continue
            }
            let left = try #require(found)
            #expect(left.repair == copy && left.layout == layout)
            rotten.repair(left)
            #expect(rotten.found()?.repair == nil, "it is written anew where it is looked for")
        }
    }

    @Test func `beside the data what lies at the present end counts only if it is newer and the same copy's`() throws {
        let layout = try beside(4 << 20)
        let larger = try beside(9 << 20)
        for (instance, sequence, counts) in [
            (MovedDisk.instance, 101 as UInt64, true), (MovedDisk.instance, 99, false),
            (InstanceID(rawValue: 0x777), 500, false),
        ] {
            var disk = MovedDisk(layout)
            var other = Superblock(
                node: NodeID(0)!, instance: instance, size: 300 << 20, logExtents: 64, zeroes: true)
            other.sequence = sequence
            disk.write(other, 1, larger)
            disk.count = 9 << 20
            let found = try #require(disk.found())
            #expect(found.layout == (counts ? larger : layout) && found.superblock.instance == MovedDisk.instance)
            #expect(found.repair == (counts ? 0 : nil))
        }
    }

    @Test func `a mark of any bytes is read or refused, and only what was written is read`() throws {
        var dice = SeededDice(9)
        var whole = [UInt8](repeating: 0, count: MovedDisk.block)
        let mark = MovedMark(instance: MovedDisk.instance, formerEnd: Self.end)
        let offset = Self.newEnd - DiskLayout.blockSize
        whole.withUnsafeMutableBytes { mark.encode(offset: offset, into: $0) }
        #expect(try whole.withUnsafeBytes { try MovedMark($0, offset: offset) } == mark)
        #expect(throws: BlockFault.wrongPlace) {
            try whole.withUnsafeBytes { try MovedMark($0, offset: offset - 4096) }
        }
        for _ in 0..<4000 {
            var bytes = whole
            for _ in 0...dice.next() % 3 { bytes[Int(dice.next() % 4096)] ^= UInt8(1 << (dice.next() % 8)) }
            let read = bytes.withUnsafeBytes { try? MovedMark($0, offset: offset) }
            #expect(read == nil || bytes == whole)
        }
    }

    @Test func `a mark behind itself, between blocks or of no copy is refused`() {
        let offset = Self.newEnd - DiskLayout.blockSize
        for (instance, end) in [
            (MovedDisk.instance, Self.newEnd), (MovedDisk.instance, Self.end + 512), (InstanceID.none, Self.end),
        ] {
            var bytes = [UInt8](repeating: 0, count: MovedDisk.block)
            bytes.withUnsafeMutableBytes {
                MovedMark(instance: instance, formerEnd: end).encode(offset: offset, into: $0)
            }
            #expect(bytes.withUnsafeBytes { try? MovedMark($0, offset: offset) } == nil)
        }
    }

    @Test func `what a device can hold is said as it is`() throws {
        let layout = try inside()
        let here = layout.most(data: Self.end, metadata: Self.end, extendsMetadata: false)
        #expect(here.word == .has && here.bytes >= 300 << 20 && here.bytes < 302 << 20)
        let little = layout.most(data: Self.end + 4096, metadata: Self.end + 4096, extendsMetadata: false)
        #expect(little.word == .hasUnmoved && little.bytes == here.bytes)
        let much = layout.most(data: Self.newEnd, metadata: Self.newEnd, extendsMetadata: false)
        #expect(much.word == .has && much.bytes > 1000 << 20)
        func grown(_ size: UInt64) -> DiskLayout? {
            layout.grown(to: size, data: Self.newEnd, extendsData: false, metadata: 0, extendsMetadata: false)
        }
        #expect(grown(much.bytes) != nil && grown(much.bytes + 4096) == nil)
        let needed = try DiskLayout.externalSize(dataSize: 300 << 20, logExtents: 64, peerSlots: 7)
        let small = try beside(needed)
        #expect(small.most(data: Self.newEnd, metadata: needed, extendsMetadata: false).word == .hasMetadata)
        #expect(
            small.most(data: Self.newEnd, metadata: needed, extendsMetadata: true)
                == RoomAnswer(.has, bytes: Self.newEnd))
    }

    @Test func `bitmaps that are too long to move over each other are moved beside, or not`() throws {
        let tebibyte: UInt64 = 1 << 40
        let layout = try DiskLayout.internal(
            deviceSize: 9 * tebibyte, dataSize: 4 * tebibyte, logExtents: 64, peers: MovedDisk.peers, peerSlots: 7)
        #expect(layout.bitmapLength * 2 > DiskMove.mostAtOnce)
        let here = layout.most(data: 9 * tebibyte, metadata: 9 * tebibyte, extendsMetadata: false)
        #expect(here.word == .hasTooMuch && here.bytes >= 4 * tebibyte && here.bytes < 4 * tebibyte + (124 << 20))
        #expect(
            layout.grown(to: here.bytes, data: 9 * tebibyte, extendsData: false, metadata: 0, extendsMetadata: false)
                != nil)
        #expect(
            layout.grown(to: 5 * tebibyte, data: 9 * tebibyte, extendsData: false, metadata: 0, extendsMetadata: false)
                == nil)
        let more = layout.most(data: 10 * tebibyte, metadata: 10 * tebibyte, extendsMetadata: false)
        #expect(more.word == .has && more.bytes > 9 * tebibyte)
        let needed = try DiskLayout.externalSize(dataSize: 9 * tebibyte, logExtents: 64, peerSlots: 7)
        let beside = try DiskLayout.external(
            metadataSize: needed, dataSize: 8 * tebibyte, logExtents: 64, peers: MovedDisk.peers, peerSlots: 7)
        #expect(beside.most(data: 9 * tebibyte, metadata: needed, extendsMetadata: false).word == .hasTooMuch)
        let alone = try DiskLayout.external(
            metadataSize: needed, dataSize: 8 * tebibyte, logExtents: 64, peers: [MovedDisk.peers[0]], peerSlots: 7)
        #expect(
            alone.most(data: 9 * tebibyte, metadata: needed, extendsMetadata: false)
                == RoomAnswer(.has, bytes: 9 * tebibyte))
    }
}
