import Formats
import Model
import Testing

/// A disk in memory with a copy on it, each bitmap with a marked word a page: blocks that were written, all others are zero.
struct MovedDisk {
    static let peers = [NodeID(1)!, NodeID(3)!]
    static let instance = InstanceID(rawValue: 0xabcdef)
    static let block = Int(DiskLayout.blockSize)
    private static let zeroes = [UInt8](repeating: 0, count: block)

    var blocks: [UInt64: [UInt8]] = [:]
    var count: UInt64
    var superblock: Superblock
    let placement: DiskLayout.Placement
    /// Pages of each bitmap that bear a mark.
    let marked: UInt32

    init(_ layout: DiskLayout, instance: InstanceID = Self.instance, size: UInt64? = nil) {
        placement = layout.placement
        marked = layout.bitmapPages
        count = layout.deviceEnd
        superblock = Superblock(
            node: NodeID(0)!, instance: instance, size: size ?? layout.dataSize, logExtents: layout.logExtents,
            zeroes: true)
        superblock.sequence = 100
        for peer in Self.peers {
            for page in 0..<layout.bitmapPages { write(peer, page, layout, words: [UInt64(page) + 1]) }
        }
        for place in stride(from: layout.logOffset, to: layout.logOffset + layout.logLength, by: Self.block) {
            self[place] = Self.logBlock(place - layout.logOffset)
        }
        for copy in 0...1 { write(superblock, copy, layout) }
    }

    static func logBlock(_ place: UInt64) -> [UInt8] {
        [UInt8](repeating: UInt8(truncatingIfNeeded: place / DiskLayout.blockSize) | 0x80, count: block)
    }

    subscript(offset: UInt64) -> [UInt8] {
        get { blocks[offset / DiskLayout.blockSize] ?? Self.zeroes }
        set { blocks[offset / DiskLayout.blockSize] = newValue }
    }

    private static func made(_ encode: (UnsafeMutableRawBufferPointer) -> Void) -> [UInt8] {
        var bytes = zeroes
        bytes.withUnsafeMutableBytes { encode($0) }
        return bytes
    }

    mutating func write(_ peer: NodeID, _ page: UInt32, _ layout: DiskLayout, words: [UInt64]) {
        guard let offset = layout.bitmapPageOffset(of: peer, page: page) else { return }
        self[offset] = Self.made {
            BitmapPage.encode(
                words[...], instance: superblock.instance, node: peer, page: page, sequence: superblock.sequence,
                into: $0
            )
        }
    }

    mutating func write(_ superblock: Superblock, _ copy: Int, _ layout: DiskLayout) {
        self[layout.superblockOffset(copy: copy)] = Self.made {
            SuperblockCoding.encode(superblock, layout, copy: copy, into: $0)
        }
    }

    mutating func perform(_ step: DiskMove.Step, _ move: DiskMove, _ next: Superblock) {
        switch step {
        case .mark(let offset):
            count = max(count, offset + DiskLayout.blockSize)
            self[offset] = Self.made {
                MovedMark(instance: superblock.instance, formerEnd: move.from.deviceEnd).encode(
                    offset: offset, into: $0)
            }
        case .reserve(let range): count = max(count, range.upperBound)
        case .copy(let from, let to, let bytes):
            let moved = stride(from: 0, to: bytes, by: Self.block).map { self[from + $0] }
            for (index, content) in moved.enumerated() { self[to + UInt64(index * Self.block)] = content }
        case .clean(let peer, let pages): for page in pages { write(peer, page, move.to, words: []) }
        case .superblock(let copy): write(next, copy, move.to)
        case .flush: break
        }
    }

    /// As a start of the daemon does.
    func found() -> FoundSuperblock? {
        let result = MetadataSearch.find(placement, deviceSize: count) { self[$0] }
        guard case .success(let found)? = result else { return nil }
        return found
    }

    /// And writes anew what did not verify.
    mutating func repair(_ found: FoundSuperblock) {
        if let copy = found.repair { write(found.superblock, copy, found.layout) }
    }

    /// Nil: all that was marked is, or counts as it.
    func forgotten(_ found: FoundSuperblock) -> String? {
        for peer in Self.peers {
            for page in 0..<marked {
                guard let offset = found.layout.bitmapPageOffset(of: peer, page: page) else { return "no page \(page)" }
                let isKept = self[offset].withUnsafeBytes { bytes in
                    switch BitmapPage.judge(bytes, instance: superblock.instance, node: peer, page: page) {
                    case .damaged: true
                    case .valid:
                        bytes.loadUnaligned(fromByteOffset: BitmapPage.headerLength, as: UInt64.self) == UInt64(page)
                            + 1
                    }
                }
                if !isKept { return "page \(page) toward \(peer)" }
            }
        }
        return nil
    }

    /// The log at its place.
    func hasLog(_ layout: DiskLayout) -> Bool {
        stride(from: 0, to: layout.logLength, by: Self.block).allSatisfy {
            self[layout.logOffset + $0] == Self.logBlock($0)
        }
    }

    /// Of what was written since `former` some blocks are there, some not, and some in part.
    func torn(since former: MovedDisk, _ dice: inout SeededDice) -> MovedDisk {
        var torn = self
        if dice.next() % 4 == 0 { torn.count = former.count }
        for block in blocks.keys.sorted() where former.blocks[block] != blocks[block] {
            let offset = block * DiskLayout.blockSize
            // A file is longer only if what made it so is there.
            if former.count < torn.count, offset + DiskLayout.blockSize == torn.count { continue }
            switch dice.next() % 4 {
            case 0: torn[offset] = former[offset]
            case 1:
                let sectors = Int(dice.next() % 7) * 512 + 512
                torn[offset] = Array(self[offset][..<sectors] + former[offset][sectors...])
            default: break
            }
        }
        return torn
    }
}

/// Metadata that move to make room: after a crash at any step, in the middle of one too, and after a second one, the copy is
/// found, and of its bitmaps no marked block is forgotten.
@Suite struct DiskMoveTests {
    private struct Case {
        let name: String
        let layout: DiskLayout
        let size: UInt64
        /// Of the devices, as somebody made them before.
        let data: UInt64
        let metadata: UInt64
        let isFile: Bool
    }

    private static let data: UInt64 = 300 << 20
    private static let size: UInt64 = 900 << 20

    private static func inside(_ device: UInt64, data: UInt64 = data) throws -> DiskLayout {
        try .internal(deviceSize: device, dataSize: data, logExtents: 64, peers: MovedDisk.peers, peerSlots: 7)
    }

    private static func beside(_ bytes: UInt64) throws -> DiskLayout {
        try .external(metadataSize: bytes, dataSize: data, logExtents: 64, peers: MovedDisk.peers, peerSlots: 7)
    }

    private static func cases() throws -> [Case] {
        let least = try DiskLayout.externalSize(dataSize: data, logExtents: 64, peerSlots: 7)
        let whole: UInt64 = 1 << 30
        return [
            Case(
                name: "device", layout: try inside(302 << 20), size: size, data: whole, metadata: whole, isFile: false),
            Case(
                name: "file", layout: try inside(302 << 20), size: size, data: 302 << 20, metadata: 302 << 20,
                isFile: true),
            Case(name: "in place", layout: try inside(whole), size: size, data: whole, metadata: whole, isFile: false),
            Case(
                name: "in place, grown a little", layout: try inside(whole), size: size, data: whole + 8192,
                metadata: whole + 8192, isFile: false),
            Case(name: "beside", layout: try beside(2 << 20), size: size, data: size, metadata: 2 << 20, isFile: false),
            Case(
                name: "beside, a file", layout: try beside(least), size: size, data: data, metadata: least, isFile: true
            ),
            Case(
                name: "beside, grown", layout: try beside(least), size: size, data: size, metadata: 4 << 20,
                isFile: false),
        ]
    }

    private static func target(_ tried: Case, from layout: DiskLayout) throws -> DiskLayout {
        try #require(
            layout.grown(
                to: tried.size, data: tried.data, extendsData: tried.isFile, metadata: tried.metadata,
                extendsMetadata: tried.isFile), "\(tried.name)")
    }

    private static func move(_ tried: Case, from layout: DiskLayout, _ count: UInt64, _ size: UInt64) throws -> DiskMove
    {
        let device = max(count, tried.layout.placement == .internal ? tried.data : tried.metadata)
        return DiskMove(from: layout, to: try target(tried, from: layout), size: size, deviceSize: device)
    }

    /// What a daemon that found the copy again does: notes where the metadata lie, and is asked once more.
    private static func completes(_ disk: MovedDisk, _ tried: Case, _ dice: inout SeededDice) throws -> String? {
        var disk = disk
        guard let found = disk.found() else { return "not found" }
        disk.repair(found)
        guard let again = disk.found(), again.superblock == found.superblock else { return "not found once more" }
        if let page = disk.forgotten(again) { return "forgot \(page) once more" }
        var next = again.superblock
        next.sequence += 2
        next.size = tried.size
        let move = try move(tried, from: again.layout, disk.count, again.superblock.size)
        let steps = move.preparation + move.final(touched: [])
        let crash = Int(dice.next() % UInt64(steps.count))
        var former = disk
        for (index, step) in steps.enumerated() {
            disk.perform(step, move, next)
            if index == crash {
                let torn = disk.torn(since: former, &dice)
                guard let found = torn.found() else { return "not found after a second crash" }
                if let page = torn.forgotten(found) { return "forgot \(page) after a second crash" }
            }
            if step == .flush { former = disk }
        }
        guard let last = disk.found(), last.superblock == next, last.repair == nil else {
            return "not moved in the end"
        }
        return disk.forgotten(last).map { "forgot \($0) in the end" }
    }

    @Test(arguments: 0..<7) func `a crash at any step leaves a copy that forgets nothing`(index: Int) throws {
        let tried = try Self.cases()[index]
        var dice = SeededDice(UInt64(index))
        var disk = MovedDisk(tried.layout)
        let device = tried.layout.placement == .internal ? tried.data : tried.metadata
        disk.count = max(disk.count, device)
        let layout = try Self.target(tried, from: tried.layout)
        #expect(layout.dataSize == tried.size)
        let move = try Self.move(tried, from: tried.layout, disk.count, disk.superblock.size)
        var next = disk.superblock
        next.sequence += 1
        next.size = tried.size
        var former = disk
        // Before the first mark is stable, a device that grew hides them: its former size is to be given back.
        var isMarked = disk.found() != nil
        let steps = move.preparation + move.final(touched: [])
        for (number, step) in steps.enumerated() {
            disk.perform(step, move, next)
            let place = "\(tried.name), step \(number), \(step)"
            let isNew = disk.found()?.superblock.size == tried.size
            for round in 0..<24 where isMarked {
                let torn = round == 0 ? disk : disk.torn(since: former, &dice)
                let found = try #require(torn.found(), "\(place)")
                #expect(torn.forgotten(found) == nil, "\(place)")
                #expect(isNew || found.superblock.size == Self.data, "\(place)")
                #expect(try Self.completes(torn, tried, &dice) == nil, "\(place)")
            }
            if step == .flush {
                former = disk
                isMarked = true
            }
        }
        let found = try #require(disk.found())
        #expect(found.layout == layout && found.superblock == next && found.repair == nil, "\(tried.name)")
        #expect(disk.hasLog(layout), "\(tried.name): the log")
        for page in 0..<layout.bitmapPages where page >= tried.layout.bitmapPages {
            let offset = try #require(layout.bitmapPageOffset(of: MovedDisk.peers[1], page: page))
            let state = disk[offset].withUnsafeBytes {
                BitmapPage.judge($0, instance: MovedDisk.instance, node: MovedDisk.peers[1], page: page)
            }
            #expect(state == .valid(sequence: 100), "\(tried.name): page \(page)")
        }
    }

    @Test func `a page that is written while it is copied is copied once more`() throws {
        let tried = try Self.cases()[0]
        var disk = MovedDisk(tried.layout)
        disk.count = tried.data
        let move = try Self.move(tried, from: tried.layout, disk.count, disk.superblock.size)
        #expect(move.isBeside)
        for step in move.preparation { disk.perform(step, move, disk.superblock) }
        // Beside the preparation: the daemon writes where it always did.
        disk.superblock.sequence = 200
        disk.write(MovedDisk.peers[0], 1, tried.layout, words: [77])
        var next = disk.superblock
        next.size = tried.size
        for step in move.final(touched: [DiskMove.Page(MovedDisk.peers[0], 1)]) { disk.perform(step, move, next) }
        let offset = try #require(move.to.bitmapPageOffset(of: MovedDisk.peers[0], page: 1))
        let word = disk[offset].withUnsafeBytes {
            $0.loadUnaligned(fromByteOffset: BitmapPage.headerLength, as: UInt64.self)
        }
        #expect(word == 77)
        #expect(move.again([DiskMove.Page(NodeID(5)!, 0), DiskMove.Page(MovedDisk.peers[0], 9)]).isEmpty)
    }

    @Test func `what ends the former place is known`() throws {
        for tried in try Self.cases() {
            let move = try Self.move(tried, from: tried.layout, tried.metadata, Self.data)
            let isPrepared = move.preparation.allSatisfy { !move.endsFormer($0) }
            #expect(isPrepared, "\(tried.name)")
            // Bitmaps that get more than twice as long lie clear of the pages that were in use; what is made clean where such pages
            // were waits for the switch.
            let final = move.final(touched: [])
            let ends = final.filter { move.endsFormer($0) }
            let awaited = final.filter { step in
                switch step {
                case .superblock, .clean: true
                case .mark, .reserve, .copy, .flush: false
                }
            }
            #expect(ends == awaited, "\(tried.name)")
        }
    }

    @Test func `what is written while no metadata can be is bounded, whatever the disk`() throws {
        let tebibyte: UInt64 = 1 << 40
        var tried = 0
        for peers in [[NodeID(1)!], MovedDisk.peers] {
            for former in [1, 4, 60].map({ $0 * tebibyte }) {
                for size in [former + (1 << 30), former + 3 * tebibyte, 100 * tebibyte] {
                    let needed = try DiskLayout.externalSize(dataSize: size, logExtents: 64, peerSlots: 7)
                    let beside = try DiskLayout.external(
                        metadataSize: needed, dataSize: former, logExtents: 64, peers: peers, peerSlots: 7)
                    let inside = try DiskLayout.internal(
                        deviceSize: 120 * tebibyte, dataSize: former, logExtents: 64, peers: peers, peerSlots: 7)
                    let least = try DiskLayout.externalSize(dataSize: former, logExtents: 64, peerSlots: 7)
                    let narrow = try DiskLayout.internal(
                        deviceSize: former + least + (1 << 20), dataSize: former, logExtents: 64, peers: peers,
                        peerSlots: 7)
                    let full = try DiskLayout.external(
                        metadataSize: least, dataSize: former, logExtents: 64, peers: peers, peerSlots: 7)
                    let shapes = [beside, inside, narrow, full].flatMap { [($0, false), ($0, true)] }
                    for (layout, isFile) in shapes {
                        // Of a file it is what it was; a device was made as large as it takes, and larger.
                        let large = layout.placement == .internal ? 120 * tebibyte : needed + (4 << 30)
                        let device = isFile ? layout.deviceEnd : large
                        let grown = layout.grown(
                            to: size, data: layout.placement == .internal ? device : 120 * tebibyte,
                            extendsData: isFile, metadata: device, extendsMetadata: isFile)
                        guard let grown else { continue }
                        tried += 1
                        let move = DiskMove(from: layout, to: grown, size: former, deviceSize: device)
                        let bytes = move.final(touched: []).reduce(UInt64(0)) { sum, step in
                            switch step {
                            case .copy(_, _, let count): sum + count
                            case .clean(_, let pages): sum + UInt64(pages.count) * DiskLayout.blockSize
                            default: sum
                            }
                        }
                        #expect(bytes <= DiskMove.mostAtOnce + layout.logLength)
                    }
                }
            }
        }
        #expect(tried > 70, "\(tried) could move")
    }
}
