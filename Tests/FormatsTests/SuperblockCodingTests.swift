import Formats
import Model
import Testing

@Suite struct SuperblockCodingTests {
    static let deviceSize: UInt64 = (1 << 30) + 512

    static func layout(_ peers: [NodeID] = [NodeID(1)!]) throws -> DiskLayout {
        try DiskLayout.internal(deviceSize: deviceSize, logExtents: 6000, peers: peers, peerSlots: 2)
    }

    static func superblock(_ dice: inout SeededDice, _ layout: DiskLayout) -> Superblock {
        var superblock = Superblock(
            node: dice.node(), instance: dice.identity(), size: layout.dataSize - dice.below(100) * 4096,
            logExtents: 6000, zeroes: dice.flip())
        superblock.volume = dice.identity()
        superblock.sequence = dice.counter()
        superblock.startNumber = dice.counter()
        superblock.bootID = (dice.next(), dice.next())
        superblock.flags = Superblock.Flags(rawValue: UInt8(dice.pick(16)))
        superblock.promised = dice.term()
        superblock.record = dice.record()
        superblock.required = NodeSet(rawValue: UInt8(dice.pick(256)))
        superblock.current = dice.generation()
        superblock.history = dice.history()
        for node in NodeID.all {
            superblock.peers[node] = PeerSlot(base: dice.base(), seenInstance: dice.identity(), seen: dice.mark())
        }
        superblock.logBase = dice.counter()
        return superblock
    }

    static func block(_ superblock: Superblock, _ layout: DiskLayout, copy: Int) -> [UInt8] {
        var block = [UInt8](repeating: 0xaa, count: 4096)
        block.withUnsafeMutableBytes { SuperblockCoding.encode(superblock, layout, copy: copy, into: $0) }
        return block
    }

    static func reseal(_ block: inout [UInt8]) {
        let checksum = block[..<4092].withUnsafeBytes { CRC32C.checksum($0) }
        for index in 0..<4 { block[4092 + index] = UInt8(truncatingIfNeeded: checksum >> (8 * UInt32(index))) }
    }

    private func decode(
        _ block: [UInt8], copy: Int = 0, deviceSize: UInt64 = deviceSize
    ) throws(BlockFault) -> StoredSuperblock {
        let result: Result<StoredSuperblock, BlockFault> = block.withUnsafeBytes { bytes in
            do throws(BlockFault) {
                return .success(
                    try SuperblockCoding.decode(bytes, copy: copy, placement: .internal, deviceSize: deviceSize))
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    private func load(_ first: [UInt8], _ second: [UInt8]) throws -> FoundSuperblock {
        try first.withUnsafeBytes { first in
            try second.withUnsafeBytes { second in
                try MetadataLoader.load(.internal, deviceSize: Self.deviceSize, copy0: first, copy1: second)
            }
        }
    }

    @Test func `a superblock comes back with where everything lies`() throws {
        var dice = SeededDice(6)
        for round in 0..<200 {
            let layout = try Self.layout(round % 2 == 0 ? [NodeID(1)!] : [NodeID(7)!, NodeID(0)!])
            let superblock = Self.superblock(&dice, layout)
            let back = try decode(Self.block(superblock, layout, copy: round % 2), copy: round % 2)
            #expect(back.superblock == superblock && back.layout == layout)
        }
        var full = Self.superblock(&dice, try Self.layout())
        full.history = (0..<Superblock.historyLimit).map { _ in dice.generation() }
        #expect(try decode(Self.block(full, try Self.layout(), copy: 0)).superblock == full)
    }

    @Test func `every changed byte and every torn block is refused`() throws {
        var dice = SeededDice(7)
        let layout = try Self.layout()
        let block = Self.block(Self.superblock(&dice, layout), layout, copy: 0)
        let older = Self.block(Self.superblock(&dice, layout), layout, copy: 0)
        for index in block.indices {
            var changed = block
            changed[index] ^= UInt8(1 << dice.pick(8))
            #expect(throws: BlockFault.checksum) { try decode(changed) }
        }
        for sectors in 1..<256 {
            // Any subset of the eight sectors may have reached the disk.
            var torn = older
            for sector in 0..<8 where sectors >> sector & 1 == 1 {
                torn.replaceSubrange(sector * 512..<sector * 512 + 512, with: block[sector * 512..<sector * 512 + 512])
            }
            if torn != block, torn != older { #expect(throws: BlockFault.checksum) { try decode(torn) } }
        }
        for length in stride(from: 0, to: 4096, by: 5) {
            #expect(throws: BlockFault.truncated) { try decode(Array(block[..<length])) }
        }
    }

    @Test func `bytes that verify but say nonsense never trap`() throws {
        var dice = SeededDice(8)
        let layout = try Self.layout()
        for _ in 0..<20_000 {
            let superblock = Self.superblock(&dice, layout)
            var block = Self.block(superblock, layout, copy: 0)
            for _ in 0..<(1 + dice.pick(6)) {
                block[10 + dice.pick(700)] =
                    [0, 1, 0x7f, 0x80, 0xff, UInt8(dice.pick(256))].randomElement(using: &dice)!
            }
            Self.reseal(&block)
            if let back = try? decode(block) { #expect(back.superblock.size <= back.layout.dataSize) }
        }
    }

    @Test func `a block that verifies at the wrong place is refused`() throws {
        var dice = SeededDice(9)
        let layout = try Self.layout()
        let superblock = Self.superblock(&dice, layout)
        let first = Self.block(superblock, layout, copy: 0)
        #expect(throws: BlockFault.wrongPlace) { try decode(first, copy: 1) }
        #expect(throws: BlockFault.wrongPlace) { try decode(first, deviceSize: Self.deviceSize + 4096) }
        #expect(throws: MetadataError.damaged(.wrongPlace, .zero)) {
            try load(Self.block(superblock, layout, copy: 1), [UInt8](repeating: 0, count: 4096))
        }
        let log = LogReplayTests.block(LogReplayTests.transaction(1, 1))
        #expect(throws: BlockFault.wrongPlace) { try decode(log) }
    }

    @Test func `the newer of two is chosen, and the other is named for repair`() throws {
        var dice = SeededDice(10)
        let layout = try Self.layout()
        var superblock = Self.superblock(&dice, layout)
        superblock.sequence = 10
        var newer = superblock
        newer.sequence = 11
        newer.flags = [.suspect]
        let zero = [UInt8](repeating: 0, count: 4096)
        func found(_ first: [UInt8], _ second: [UInt8]) throws -> (UInt64, Int?) {
            let found = try load(first, second)
            return (found.superblock.sequence, found.repair)
        }
        let (old0, old1) = (Self.block(superblock, layout, copy: 0), Self.block(superblock, layout, copy: 1))
        let (new0, new1) = (Self.block(newer, layout, copy: 0), Self.block(newer, layout, copy: 1))
        var rotten = new1
        rotten[700] ^= 1
        #expect(try found(old0, new1) == (11, 0))
        #expect(try found(new0, old1) == (11, 1))
        #expect(try load(new0, old1).repairReason == nil)
        #expect(try found(new0, new1) == (11, nil))
        #expect(try found(old0, rotten) == (10, 1))
        #expect(try found(zero, new1) == (11, 0))
        #expect(try found(old1, new1) == (11, 0))
        #expect(try load(old0, rotten).repairReason == .checksum)
        #expect(throws: MetadataError.damaged(.zero, .checksum)) { try load(zero, rotten) }
        #expect(throws: MetadataError.neverCreated) { try load(zero, zero) }
        #expect(throws: MetadataError.neverCreated) { try load(dice.bytes(4096), zero) }
        // Its first sector gone, a block still says that it was ours.
        var headless = new1
        headless.replaceSubrange(0..<512, with: [UInt8](repeating: 0, count: 512))
        #expect(throws: MetadataError.damaged(.zero, .checksum)) { try load(zero, headless) }
    }

    @Test func `two that contradict each other are refused`() throws {
        var dice = SeededDice(11)
        let layout = try Self.layout()
        var superblock = Self.superblock(&dice, layout)
        superblock.sequence = 10
        let first = Self.block(superblock, layout, copy: 0)
        var other = superblock
        other.startNumber = superblock.startNumber ^ 1
        #expect(throws: MetadataError.contradiction(sequence: 10)) {
            try load(first, Self.block(other, layout, copy: 1))
        }
        let created = Superblock(
            node: superblock.node, instance: InstanceID(rawValue: 77), size: 4096, logExtents: 6000, zeroes: true)
        #expect(throws: MetadataError.twoInstances(superblock.instance, created.instance)) {
            try load(first, Self.block(created, layout, copy: 1))
        }
    }

    @Test func `a newer format is refused with both numbers named, though the other copy is ours`() throws {
        var dice = SeededDice(12)
        let layout = try Self.layout()
        let superblock = Self.superblock(&dice, layout)
        var newer = Self.block(superblock, layout, copy: 0)
        newer[8] = 3
        Self.reseal(&newer)
        let error = #expect(throws: MetadataError.newerVersion(theirs: 3)) {
            try load(newer, Self.block(superblock, layout, copy: 1))
        }
        #expect(error?.description == "the metadata has format version 3, this hablk knows version 2")
    }
}
