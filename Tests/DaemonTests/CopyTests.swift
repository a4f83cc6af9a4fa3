import Daemon
import Formats
import Foundation
import LinuxIO
import Model
import ReplicationCore
import Testing

/// A folder with a configuration of two nodes whose files lie in it.
struct CopyFolder: ~Copyable {
    let path: String

    init() throws {
        var template = Array("\(NSTemporaryDirectory())/hablk-copy-XXXXXX".utf8CString)
        let made = try #require(mkdtemp(&template))
        path = String(cString: made)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func configuration(size: UInt64? = 8 << 20, metadata: Bool = false) throws -> Configuration {
        func node(_ id: UInt8, _ name: String) throws -> Configuration.Node {
            Configuration.Node(
                id: try #require(NodeID(id)), name: name,
                address: try #require(NetworkAddress("127.0.0.1:\(7000 + Int(id))")), disk: "\(path)/\(name).img",
                metadata: metadata ? "\(path)/\(name).meta" : nil)
        }
        var configuration = Configuration(
            file: "\(path)/r0.yaml", volume: "r0", nodes: [try node(0, "alpha"), try node(1, "bravo")])
        configuration.size = size
        configuration.activityLogExtents = 64
        return configuration
    }

    @discardableResult
    func create(_ configuration: Configuration, force: Bool = false, identical: Bool = false) throws -> String {
        try VolumeCreation.create(
            configuration: configuration, node: configuration.nodes[0], assumeIdentical: identical, force: force)
    }

    func load(_ configuration: Configuration) throws -> LoadedCopy {
        try LoadedCopy(configuration: configuration, node: configuration.nodes[0])
    }

    /// Overwrites part of a file with nonsense.
    func damage(_ file: String, at offset: UInt64, _ bytes: [UInt8] = Array(repeating: 0xAB, count: 4096)) throws {
        let handle = try #require(FileHandle(forUpdatingAtPath: file))
        try handle.seek(toOffset: offset)
        handle.write(Data(bytes))
        try handle.close()
    }

    func size(_ file: String) throws -> UInt64 {
        let attributes = try FileManager.default.attributesOfItem(atPath: file)
        return try #require(attributes[.size] as? UInt64)
    }
}

func reason(_ body: () throws -> Void) -> String? {
    do {
        try body()
        return nil
    } catch let failure as CommandFailure {
        return failure.refusal.reason
    } catch {
        return "\(error)"
    }
}

@Test(arguments: [false, true]) func `What create makes is found as it was made`(metadata: Bool) throws {
    let folder = try CopyFolder()
    let configuration = try folder.configuration(metadata: metadata)
    try folder.create(configuration)
    let copy = try folder.load(configuration)
    #expect(copy.metadata.superblock.size == 8 << 20)
    #expect(copy.metadata.superblock.current.id == .zero)
    #expect(copy.metadata.superblock.flags == .clean)
    #expect(copy.metadata.log.table == Array(repeating: nil, count: 64))
    #expect(!copy.metadata.log.damaged)
    #expect(copy.metadata.bitmaps.allSatisfy { $0.words.allSatisfy { $0 == 0 } })
    #expect(copy.remarks.allSatisfy { !$0.contains("verify") })
    #expect(copy.layout.placement == (metadata ? .external : .internal))
    #expect(reason { _ = try folder.load(configuration) } == "in-use")
    withExtendedLifetime(copy) {}
}

@Test func `A file that create did not make is blank, unless the copies are said to be identical`() throws {
    let folder = try CopyFolder()
    let configuration = try folder.configuration(size: nil)
    let disk = configuration.nodes[0].disk
    #expect(reason { try folder.create(configuration) } == "size-needed")
    #expect(!FileManager.default.fileExists(atPath: disk))
    #expect(FileManager.default.createFile(atPath: disk, contents: Data(count: 16 << 20)))
    try folder.create(configuration)
    #expect(try folder.load(configuration).metadata.superblock.isBlank)
    try folder.create(configuration, force: true, identical: true)
    let copy = try folder.load(configuration)
    #expect(!copy.metadata.superblock.isBlank)
    #expect(copy.metadata.superblock.size < 16 << 20)
}

@Test func `A second create and a disk that bears data are refused without force`() throws {
    let folder = try CopyFolder()
    let configuration = try folder.configuration()
    try folder.create(configuration)
    let first = try folder.load(configuration).metadata.superblock.instance
    #expect(reason { try folder.create(configuration) } == "has-metadata")
    #expect(try folder.load(configuration).metadata.superblock.instance == first)
    try folder.create(configuration, force: true)
    #expect(try folder.load(configuration).metadata.superblock.instance != first)
    var small = configuration
    small.size = 4 << 20
    let data = Data(repeating: 7, count: 8 << 20)
    #expect(FileManager.default.createFile(atPath: small.nodes[0].disk, contents: data))
    #expect(reason { try folder.create(small) } == "disk-in-use")
}

@Test func `A create that fails leaves no file behind`() throws {
    let folder = try CopyFolder()
    var configuration = try folder.configuration(metadata: true)
    configuration.nodes[0].metadata = "\(folder.path)/absent/r0.meta"
    #expect(reason { try folder.create(configuration) } == "no-disk")
    #expect(!FileManager.default.fileExists(atPath: configuration.nodes[0].disk))
    configuration.nodes[0].metadata = configuration.nodes[0].disk
    #expect(reason { try folder.create(configuration) } != nil)
    #expect(!FileManager.default.fileExists(atPath: configuration.nodes[0].disk))
}

@Test(arguments: [0, 1]) func `One damaged superblock is written anew from the other`(number: Int) throws {
    let folder = try CopyFolder()
    let configuration = try folder.configuration()
    try folder.create(configuration)
    let layout = try folder.load(configuration).layout
    try folder.damage(configuration.nodes[0].disk, at: layout.superblockOffset(copy: number))
    #expect(try folder.load(configuration).remarks.contains { $0.hasPrefix("superblock \(number) was written anew") })
    #expect(try !folder.load(configuration).remarks.contains { $0.contains("superblock") })
}

@Test func `Metadata that are gone, damaged, foreign or cut off are named, and nothing is changed`() throws {
    let folder = try CopyFolder()
    let configuration = try folder.configuration()
    let disk = configuration.nodes[0].disk
    #expect(reason { _ = try folder.load(configuration) } == "no-disk")
    try folder.create(configuration)
    let layout = try folder.load(configuration).layout
    #expect(
        reason {
            var mistaken = configuration
            mistaken.nodes[1].disk = disk
            _ = try LoadedCopy(configuration: mistaken, node: mistaken.nodes[1])
        } == "foreign")
    let whole = try Data(contentsOf: URL(fileURLWithPath: disk))
    for number in 0...1 {
        var block = [UInt8](whole[Int(layout.superblockOffset(copy: number))...].prefix(4096))
        block[100] ^= 1
        try folder.damage(disk, at: layout.superblockOffset(copy: number), block)
    }
    #expect(reason { _ = try folder.load(configuration) } == "metadata-damaged")
    try whole.prefix(1 << 20).write(to: URL(fileURLWithPath: disk))
    #expect(reason { _ = try folder.load(configuration) } == "truncated")
    try Data(count: whole.count).write(to: URL(fileURLWithPath: disk))
    #expect(reason { _ = try folder.load(configuration) } == "no-metadata")
    #expect(try Data(contentsOf: URL(fileURLWithPath: disk)) == Data(count: whole.count))
}

@Test func `Damaged bitmap pages are all dirty, a damaged log says so`() throws {
    let folder = try CopyFolder()
    let configuration = try folder.configuration()
    try folder.create(configuration)
    let layout = try folder.load(configuration).layout
    let disk = configuration.nodes[0].disk
    let bravo = configuration.nodes[1].id
    try folder.damage(disk, at: try #require(layout.bitmapPageOffset(of: bravo, page: 0)))
    for number in 1...8 { try folder.damage(disk, at: layout.logOffset(number: UInt64(number))) }
    let copy = try folder.load(configuration)
    let words = try #require(copy.metadata.bitmaps.first { $0.node == bravo }).words
    #expect(words.reduce(0) { $0 + $1.nonzeroBitCount } == 2048)
    #expect(!copy.remarks.isEmpty)
}

@Test func `Wiped metadata are gone, the data stay`() throws {
    let folder = try CopyFolder()
    let configuration = try folder.configuration()
    let node = configuration.nodes[0]
    try folder.create(configuration)
    try folder.damage(node.disk, at: 4096)
    let fields = try MetadataTool.show(configuration: configuration, node: node)
    #expect(fields.first { $0.name == "size" }?.value == .integer(8 << 20))
    _ = try MetadataTool.wipe(configuration: configuration, node: node)
    #expect(reason { _ = try MetadataTool.show(configuration: configuration, node: node) } == "no-metadata")
    #expect(try Data(contentsOf: URL(fileURLWithPath: node.disk))[4096] == 0xAB)
}
