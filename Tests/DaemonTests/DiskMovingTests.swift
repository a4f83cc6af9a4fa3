import Daemon
import Formats
import Foundation
import LinuxIO
import Model
import ReplicationCore
import Testing

/// A file in memory whose operations fail when the test says so.
private final class FailingFile: MovableFile {
    enum Call: Equatable { case read, write, flush, reserve, truncate }

    var blocks: [UInt64: [UInt8]] = [:]
    private(set) var size: UInt64
    let isBlockDevice: Bool
    /// The number of the call that fails; flushes, or all others, are counted.
    var failing: (flushes: Bool, number: Int)?
    private(set) var flushes = 0
    private(set) var others = 0
    /// Somebody makes the device so large at that call.
    var growing: (number: Int, size: UInt64)?

    private static let block = UInt64(4096)

    init(size: UInt64, isBlockDevice: Bool) {
        self.size = size
        self.isBlockDevice = isBlockDevice
    }

    func resize(to bytes: UInt64) { size = bytes }

    func forgetCalls() {
        flushes = 0
        others = 0
    }

    /// From that call on nothing reaches the device.
    var dies: Int?

    private func count(_ call: Call) throws(BlockFileError) {
        if let dies, flushes + others >= dies { throw .noSpace(path: "disk", bytes: 4096) }
        if call == .flush { flushes += 1 } else { others += 1 }
        if let growing, flushes + others == growing.number { size = growing.size }
        guard let failing, failing.flushes == (call == .flush) else { return }
        if failing.number == (call == .flush ? flushes : others) { throw .noSpace(path: "disk", bytes: 4096) }
    }

    @discardableResult func refreshSize() throws(BlockFileError) -> UInt64 { size }

    func truncate(to bytes: UInt64) throws(BlockFileError) {
        size = bytes
        for block in blocks.keys where block * Self.block >= bytes { blocks[block] = nil }
    }

    func preallocate(offset: UInt64, length: UInt64) throws(BlockFileError) {
        try count(.reserve)
        if !isBlockDevice { size = max(size, offset + length) }
    }

    func read(_ bytes: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(BlockFileError) {
        try count(.read)
        precondition(offset + UInt64(bytes.count) <= size, "behind the end")
        for place in stride(from: 0, to: bytes.count, by: Int(Self.block)) {
            let content = blocks[(offset + UInt64(place)) / Self.block] ?? [UInt8](repeating: 0, count: Int(Self.block))
            content.withUnsafeBytes { UnsafeMutableRawBufferPointer(rebasing: bytes[place...]).copyMemory(from: $0) }
        }
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(BlockFileError) {
        try count(.write)
        precondition(offset + UInt64(bytes.count) <= size, "behind the end")
        for place in stride(from: 0, to: bytes.count, by: Int(Self.block)) {
            blocks[(offset + UInt64(place)) / Self.block] = Array(bytes[place..<place + Int(Self.block)])
        }
    }

    /// Appending waits for it, once.
    var gate: DispatchSemaphore?

    func append(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(BlockFileError) {
        gate?.wait()
        gate = nil
        if !isBlockDevice { size = max(size, offset + UInt64(bytes.count)) }
        try write(bytes, at: offset)
    }

    func fdatasync() throws(BlockFileError) { try count(.flush) }
    func close() {}
}

/// What a disk that fails in the middle of a move leaves, and what is said of it.
@Suite struct DiskMovingTests {
    private static let instance = InstanceID(rawValue: 0xabc)
    private static let peers = [NodeID(1)!]

    private struct Case {
        let layout: DiskLayout
        let target: DiskLayout
        let device: UInt64
        let isBlockDevice: Bool
    }

    private static let size: UInt64 = 600 << 20

    /// At a device's new end, a file that gets longer, in place, and beside the data.
    private static func cases() throws -> [Case] {
        let data: UInt64 = 100 << 20
        func inside(_ end: UInt64) throws -> DiskLayout {
            try .internal(deviceSize: end, dataSize: data, logExtents: 64, peers: peers, peerSlots: 3)
        }
        let small = try inside(102 << 20)
        let large = try inside(1 << 30)
        let needed = try DiskLayout.externalSize(dataSize: data, logExtents: 64, peerSlots: 3)
        let beside = try DiskLayout.external(
            metadataSize: needed, dataSize: data, logExtents: 64, peers: peers, peerSlots: 3)
        func grown(_ layout: DiskLayout, _ device: UInt64, isFile: Bool) throws -> DiskLayout {
            try #require(
                layout.grown(
                    to: size, data: layout.placement == .internal ? device : size, extendsData: isFile,
                    metadata: device, extendsMetadata: isFile))
        }
        return [
            Case(
                layout: small, target: try grown(small, 1 << 30, isFile: false), device: 1 << 30, isBlockDevice: true),
            Case(
                layout: small, target: try grown(small, 102 << 20, isFile: true), device: 102 << 20,
                isBlockDevice: false),
            Case(
                layout: large, target: try grown(large, 1 << 30, isFile: true), device: 1 << 30, isBlockDevice: false),
            Case(
                layout: beside, target: try grown(beside, needed, isFile: true), device: needed, isBlockDevice: false),
        ]
    }

    private static func superblock(_ size: UInt64, _ sequence: UInt64) -> Superblock {
        var superblock = Superblock(node: NodeID(0)!, instance: instance, size: size, logExtents: 64, zeroes: true)
        superblock.sequence = sequence
        return superblock
    }

    private static func block(_ encode: (UnsafeMutableRawBufferPointer) -> Void) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 4096)
        bytes.withUnsafeMutableBytes { encode($0) }
        return bytes
    }

    private static func file(_ tried: Case) -> FailingFile {
        let file = FailingFile(size: tried.layout.deviceEnd, isBlockDevice: tried.isBlockDevice)
        for copy in 0...1 {
            file.blocks[tried.layout.superblockOffset(copy: copy) / 4096] = block {
                SuperblockCoding.encode(superblock(tried.layout.dataSize, 100), tried.layout, copy: copy, into: $0)
            }
        }
        for page in 0..<tried.layout.bitmapPages {
            guard let offset = tried.layout.bitmapPageOffset(of: peers[0], page: page) else { continue }
            file.blocks[offset / 4096] = block {
                BitmapPage.encode([1], instance: instance, node: peers[0], page: page, sequence: 100, into: $0)
            }
        }
        file.resize(to: tried.device)
        // Since the device grew, its daemon has marked where they lie.
        let move = DiskMove(
            from: tried.layout, to: tried.layout, size: tried.layout.dataSize, deviceSize: tried.device)
        _ = DiskMoving(
            move, data: file, metadata: file, superblock(tried.layout.dataSize, 100), move.marks
        ).perform()
        file.forgetCalls()
        return file
    }

    private static func find(_ file: FailingFile, _ layout: DiskLayout) -> FoundSuperblock? {
        let result = MetadataSearch.find(layout.placement, deviceSize: file.size) {
            file.blocks[$0 / 4096] ?? [UInt8](repeating: 0, count: 4096)
        }
        guard case .success(let found)? = result else { return nil }
        return found
    }

    private static func isMarked(_ file: FailingFile, _ found: FoundSuperblock) -> Bool {
        guard let offset = found.layout.bitmapPageOffset(of: peers[0], page: 0),
            let bytes = file.blocks[offset / 4096]
        else { return true }
        return bytes.withUnsafeBytes { bytes in
            switch BitmapPage.judge(bytes, instance: instance, node: peers[0], page: 0) {
            case .damaged: true
            case .valid: bytes.loadUnaligned(fromByteOffset: BitmapPage.headerLength, as: UInt64.self) == 1
            }
        }
    }

    /// Preparation and end as a daemon has them done. - Returns: of the preparation, and of the end if it came to it.
    private static func perform(_ tried: Case, _ file: FailingFile) -> (first: DiskMoved, second: DiskMoved?) {
        let move = DiskMove(
            from: tried.layout, to: tried.target, size: tried.layout.dataSize, deviceSize: tried.device)
        let data = FailingFile(size: size, isBlockDevice: true)
        let isInside = tried.layout.placement == .internal
        var work = DiskMoving(
            move, data: isInside ? file : data, metadata: file, superblock(tried.layout.dataSize, 100), move.preparation
        )
        work.dataSize = size
        work.extends = true
        let first = work.perform()
        guard first.outcome == .done else { return (first, nil) }
        let second = DiskMoving(
            move, data: isInside ? file : data, metadata: file, superblock(size, 101), move.final(touched: [])
        ).perform()
        return (first, second)
    }

    @Test(arguments: 0..<4) func `a flush that fails fails the disk, whichever it is`(index: Int) throws {
        let tried = try Self.cases()[index]
        let whole = Self.file(tried)
        #expect(Self.perform(tried, whole).second?.outcome == .done)
        #expect(Self.find(whole, tried.layout)?.layout == tried.target)
        #expect(whole.flushes >= 4)
        for number in 1...whole.flushes {
            let file = Self.file(tried)
            file.failing = (true, number)
            let (first, second) = Self.perform(tried, file)
            let last = second ?? first
            #expect(last.outcome == .failed, "flush \(number) was lost")
            let found = try #require(Self.find(file, tried.layout), "flush \(number)")
            #expect(Self.isMarked(file, found))
            // The last word goes where the copy is looked for.
            if last.isNew { #expect(second != nil) } else { #expect(found.layout == tried.layout) }
        }
    }

    @Test(arguments: 0..<4) func `a disk without space is what it was, unless pages were moved over each other`(
        index: Int
    ) throws {
        let tried = try Self.cases()[index]
        let whole = Self.file(tried)
        _ = Self.perform(tried, whole)
        var isUnchanged = 0
        for number in 1...whole.others {
            let file = Self.file(tried)
            file.failing = (false, number)
            let (first, second) = Self.perform(tried, file)
            let last = second ?? first
            #expect(last.outcome != .done, "call \(number)")
            let found = try #require(Self.find(file, tried.layout), "call \(number)")
            #expect(Self.isMarked(file, found), "call \(number)")
            if last.outcome == .unchanged {
                isUnchanged += 1
                #expect(found.layout == tried.layout && found.superblock.sequence == 100, "call \(number)")
            } else {
                #expect(second != nil, "call \(number): the preparation ends nothing")
            }
        }
        #expect(isUnchanged > 0)
    }

    @Test(arguments: [0, 3]) func `a device that grows meanwhile is found, whatever its end`(index: Int) throws {
        let former = try Self.cases()[index]
        let tried = Case(layout: former.layout, target: former.target, device: former.device, isBlockDevice: true)
        guard tried.layout.placement == .internal else {
            let larger = Case(
                layout: tried.layout, target: tried.target, device: tried.target.deviceEnd, isBlockDevice: true)
            return try Self.growsMeanwhile(larger)
        }
        try Self.growsMeanwhile(tried)
    }

    private static func growsMeanwhile(_ tried: Case) throws {
        let whole = file(tried)
        _ = perform(tried, whole)
        for number in 1...whole.flushes + whole.others {
            func growing() -> FailingFile {
                let file = file(tried)
                file.growing = (number, tried.device + (64 << 20))
                return file
            }
            let grown = growing()
            let (first, second) = perform(tried, grown)
            #expect(first.outcome == .done && second?.outcome == .done, "call \(number)")
            let found = try #require(find(grown, tried.layout), "call \(number)")
            #expect(found.layout == tried.target && found.superblock.sequence == 101, "call \(number)")
            #expect(isMarked(grown, found), "call \(number)")
            // The machine dies in the middle: it is found, but for the step in which it grew.
            for last in number + 4..<max(number + 4, grown.flushes + grown.others) {
                let dying = growing()
                dying.dies = last
                _ = perform(tried, dying)
                let found = find(dying, tried.layout)
                #expect(found.map { isMarked(dying, $0) } == true, "grew at call \(number), dead after \(last)")
            }
            // The disk's last word goes where it is found.
            for flush in 1...grown.flushes {
                let failing = growing()
                failing.failing = (true, flush)
                let (first, second) = perform(tried, failing)
                let isNew = (second ?? first).isNew
                // Not in that very step; and of the last mark nobody knows then which place it names.
                let isLast = flush == grown.flushes
                guard failing.size > tried.device, find(failing, tried.layout) != nil, !isLast else { continue }
                writeLastWord(failing, isNew ? tried.target : tried.layout)
                let found = find(failing, tried.layout)
                #expect(
                    found?.superblock.flags.contains(.suspect) == true, "grew at call \(number), failed flush \(flush)")
            }
        }
    }

    private static func writeLastWord(_ file: FailingFile, _ layout: DiskLayout) {
        var word = superblock(layout.dataSize, 200)
        word.flags.insert(.suspect)
        for copy in 0...1 {
            file.blocks[layout.superblockOffset(copy: copy) / 4096] = block {
                SuperblockCoding.encode(word, layout, copy: copy, into: $0)
            }
        }
    }

    @Test func `marks are made until they are stable, of the disk that is there`() {
        var marks = EndMarks()
        #expect(marks.isDue(at: 1) && !marks.isDue(at: 2) && marks.isDue(at: 2_000_000_000))
        marks.began(100, of: 1)
        #expect(marks.ended(.unchanged, at: 1) == .again && marks.isNew(100))
        marks.began(100, of: 1)
        #expect(marks.ended(.failed, at: 2) == .ofAnother, "the disk that failed is gone")
        marks.began(100, of: 2)
        #expect(marks.ended(.failed, at: 2) == .failed && marks.isNew(100))
        marks.began(100, of: 2)
        #expect(marks.ended(.done, at: 2) == .marked(100))
        #expect(!marks.isNew(100) && marks.isNew(200))
        marks.noteFound(200)
        #expect(!marks.isNew(200))
    }

    @Test func `a disk is let go of when no mark is on its way any more, and who asked for it hears of it then`() throws
    {
        let folder = try CopyFolder()
        let configuration = try folder.configuration()
        try folder.create(configuration)
        let disk = try LoneDisk(folder.load(configuration))
        let mover = DiskMover(machine: disk.machine)
        let tried = try Self.cases()[0]
        let file = Self.file(tried)
        let gate = DispatchSemaphore(value: 0)
        file.gate = gate
        let move = DiskMove(from: tried.layout, to: tried.layout, size: tried.layout.dataSize, deviceSize: tried.device)
        #expect(!move.marks.isEmpty)
        mover.mark(DiskMoving(move, data: file, metadata: file, Self.superblock(Self.size, 100), move.marks))
        mover.release(disk.store)
        let detached = CommandID(rawValue: 7)
        #expect(mover.delays(detached, .done("r0 is detached")))
        #expect(mover.isReleasing && disk.store.isAttached, "somebody could put another disk there, and it be written")
        gate.signal()
        disk.machine.ring.submitAndWait(until: monotonicNow() + 5_000_000_000)
        let next = disk.machine.ring.nextCompletion()
        let completion = try #require(next)
        #expect(mover.complete(completion).map(\.moved.outcome) == [.done])
        let answers = try #require(mover.releaseAfterMarks(disk.store))
        #expect(answers.map(\.id) == [detached] && !disk.store.isAttached && !mover.isReleasing)
        #expect(!mover.delays(detached, .done("once more")))
        #expect(mover.releaseAfterMarks(disk.store) == nil, "nobody waits for it")
        // Without marks at once.
        try disk.store.attach(folder.load(configuration).files, tried.layout)
        mover.release(disk.store)
        #expect(!disk.store.isAttached && !mover.isReleasing)
    }

    @Test func `what is not wanted any more leaves a file as long as it was`() throws {
        let tried = try Self.cases()[1]
        let file = Self.file(tried)
        file.failing = (false, 4)
        #expect(Self.perform(tried, file).first.outcome == .unchanged)
        #expect(file.size == tried.device)
    }
}
