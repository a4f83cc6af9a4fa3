import Daemon
import Formats
import Foundation
import LinuxIO
import Model
import ReplicationCore
import Testing

/// A disk with nobody above it: effects in, events out.
final class LoneDisk {
    let machine: Machine
    let store: DiskStore
    var events = EventQueue()

    init(_ copy: LoadedCopy) throws {
        machine = try Machine(entries: 64)
        store = DiskStore(machine: machine, limits: Limits())
        store.attach(copy.files, copy.layout)
    }

    /// The result of the one operation that is out.
    func result() -> DiskResult? {
        while true {
            if case .dataDone(_, let result)? = events.popFirst() { return result }
            machine.ring.submitAndWait(until: monotonicNow() + 5_000_000_000)
            guard let completion = machine.ring.nextCompletion() else { return nil }
            store.complete(completion, into: &events)
        }
    }

    func buffer(_ bytes: Int, _ value: UInt8) throws -> BufferID {
        let taken = machine.pool.take(bytes: bytes)
        let buffer = BufferID(index: try #require(taken))
        machine.pool.pointer(buffer.index).initializeMemory(as: UInt8.self, repeating: value, count: bytes)
        return buffer
    }

    func bytes(_ buffer: BufferID, _ range: Range<Int>) -> [UInt8] {
        let start = machine.pool.pointer(buffer.index)
        return [UInt8](UnsafeRawBufferPointer(start: start + range.lowerBound, count: range.count))
    }

    func write(_ range: ByteRange, _ value: UInt8) throws -> DiskResult? {
        let source = try buffer(Int(range.length), value)
        defer { machine.pool.release(source.index) }
        store.write(OperationID(rawValue: 1), range, from: source, &events)
        store.submitWrites()
        return result()
    }

    func read(_ range: ByteRange) throws -> (DiskResult?, [UInt8]) {
        let target = try buffer(Int(range.length), 0xEE)
        defer { machine.pool.release(target.index) }
        store.read(OperationID(rawValue: 2), range, into: target, detectZeroes: true, &events)
        let found = result()
        return (found, bytes(target, 0..<Int(range.length)))
    }
}

@Test func `What is written is read, and zeroes are told`() throws {
    let folder = try CopyFolder()
    let configuration = try folder.configuration()
    try folder.create(configuration)
    let disk = try LoneDisk(folder.load(configuration))
    let range = ByteRange(offset: 8192, length: 1 << 20)
    #expect(try disk.read(range).0 == .zeroes)
    #expect(try disk.write(range, 7) == .succeeded)
    let (result, bytes) = try disk.read(range)
    #expect(result == .succeeded)
    #expect(bytes.allSatisfy { $0 == 7 })
    disk.store.flush(OperationID(rawValue: 3), &disk.events)
    #expect(disk.result() == .succeeded)
}

@Test(arguments: [false, true]) func `A zeroed range reads as zeroes, its neighbours as before`(trim: Bool) throws {
    let folder = try CopyFolder()
    let configuration = try folder.configuration()
    try folder.create(configuration)
    let disk = try LoneDisk(folder.load(configuration))
    #expect(try disk.write(ByteRange(offset: 0, length: 1 << 20), 7) == .succeeded)
    disk.store.zero(OperationID(rawValue: 4), ByteRange(offset: 4096, length: 512 << 10), trim: trim, &disk.events)
    #expect(disk.result() == .succeeded)
    #expect(try disk.read(ByteRange(offset: 4096, length: 512 << 10)).0 == .zeroes)
    #expect(try disk.read(ByteRange(offset: 0, length: 4096)).1.allSatisfy { $0 == 7 })
    #expect(try disk.read(ByteRange(offset: 516 << 10, length: 4096)).1.allSatisfy { $0 == 7 })
}

@Test(arguments: [(100, 50), (4090, 20), (1, 4095), (0, 4097), (5000, 10000), (4095, 8193)])
func `Edges are filled outside the exact range only`(offset: Int, length: Int) throws {
    let folder = try CopyFolder()
    let configuration = try folder.configuration()
    try folder.create(configuration)
    let disk = try LoneDisk(folder.load(configuration))
    #expect(try disk.write(ByteRange(offset: 0, length: 64 << 10), 7) == .succeeded)
    let exact = ByteRange(offset: UInt64(offset), length: UInt64(length))
    let whole = exact.widenedToBlocks
    let buffer = try disk.buffer(Int(whole.length), 9)
    disk.store.fillEdges(OperationID(rawValue: 5), exact: exact, in: buffer, &disk.events)
    #expect(disk.result() == .succeeded)
    let before = offset - Int(whole.offset)
    let expected =
        Array(repeating: UInt8(7), count: before) + Array(repeating: UInt8(9), count: length)
        + Array(repeating: UInt8(7), count: Int(whole.length) - before - length)
    #expect(disk.bytes(buffer, 0..<Int(whole.length)) == expected)
}

@Test func `Without a disk, and beyond its end, operations fail and nothing else happens`() throws {
    let folder = try CopyFolder()
    let configuration = try folder.configuration()
    try folder.create(configuration)
    let disk = try LoneDisk(folder.load(configuration))
    #expect(try disk.read(ByteRange(offset: 1 << 30, length: 4096)).0 == .failed)
    disk.store.release()
    #expect(try disk.write(ByteRange(offset: 0, length: 4096), 7) == .failed)
    disk.store.writeSuperblock(
        Superblock(
            node: NodeID(unchecked: 0), instance: InstanceID(rawValue: 1), size: 4096, logExtents: 64, zeroes: true),
        copy: 0, &disk.events)
    guard case .superblockWritten(succeeded: false)? = disk.events.popFirst() else {
        Issue.record("no answer")
        return
    }
}
