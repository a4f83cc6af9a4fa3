import Foundation
import Testing

let mebibyte: UInt64 = 1 << 20

/// Two nodes on loopback in a folder of their own. What one dials of the other goes through a proxy that can misbehave.
final class TestCluster {
    struct Options {
        var size: UInt64 = 64 * mebibyte
        /// Lines of the configuration that differ from the short times of tests.
        var settings: [String: String] = [:]
        /// Of one node's file alone.
        var settingsOf: [String: [String: String]] = [:]
        /// More of them, which name the cluster's own files.
        var extraSettings: (TestCluster) -> [String: String] = { _ in [:] }
        /// Data and metadata in files of their own.
        var externalMetadata = false
        /// Prepares the files under the disks; the rest is for the end of the test.
        var prepareDisks: ((TestCluster) throws -> Void)?
        var createOptions: [String] = []
        /// The nodes dial each other and no proxy.
        var isLinkDirect = false
    }

    static let volume = "r0"
    let folder: String
    let options: Options
    let alpha: TestNode
    let bravo: TestNode
    let link: FaultyLink
    /// Called last to first at the end of the test, after the daemons are gone.
    private var cleanups: [() -> Void] = []

    init(_ options: Options = Options()) throws {
        self.options = options
        var pattern = Array("/tmp/hablk-XXXXXX".utf8CString)
        guard mkdtemp(&pattern) != nil else { throw Trouble("no temporary folder") }
        folder = pattern.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
        alpha = try TestNode(name: "alpha", volume: Self.volume, folder: folder + "/a")
        bravo = try TestNode(name: "bravo", volume: Self.volume, folder: folder + "/b")
        link = try FaultyLink(alphaPort: alpha.port, bravoPort: bravo.port)
        for node in nodes where options.externalMetadata { node.metadataPath = node.folder + "/metadata.img" }
    }

    var nodes: [TestNode] { [alpha, bravo] }
    func other(than node: TestNode) -> TestNode { node === alpha ? bravo : alpha }

    /// Each node's file: its own address is real, the other's leads through the proxy.
    func configuration(for node: TestNode) -> String {
        var settings = [
            "size": "\(options.size)", "replication": "sync", "quorum": "off", "timeout": "1s",
            "ping-interval": "100ms", "ping-timeout": "300ms", "reconnect": "50ms..200ms",
        ]
        settings.merge(options.settings) { $1 }
        settings.merge(options.extraSettings(self)) { $1 }
        settings.merge(options.settingsOf[node.name] ?? [:]) { $1 }
        let lines = settings.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)" }
        let entries = nodes.enumerated().map { index, member in
            let isDirect = options.isLinkDirect || member === node
            let port = isDirect ? member.port : link.proxy(to: member.name).port
            var entry = "id: \(index), address: \"127.0.0.1:\(port)\", disk: \(member.diskPath)"
            if member === node { entry += ", listen: \"127.0.0.1:\(member.port)\"" }
            if let metadata = member.metadataPath { entry += ", metadata: \(metadata)" }
            return "  \(member.name): {\(entry)}"
        }
        return (["volume: \(Self.volume)"] + lines + ["nodes:"] + entries).joined(separator: "\n") + "\n"
    }

    func writeConfigurations() throws {
        for node in nodes {
            try configuration(for: node).write(toFile: node.configPath, atomically: true, encoding: .utf8)
        }
    }

    func create() throws {
        try options.prepareDisks?(self)
        try writeConfigurations()
        for node in nodes { try node.run(["create", Self.volume] + options.createOptions).expecting(0) }
    }

    /// Both running, connected and equal.
    func startInSync() throws {
        try create()
        for node in nodes { try node.start() }
        for node in nodes { try node.wait(for: "in-sync") }
    }

    /// A running pair whose first node is primary.
    func startWithPrimary() throws {
        try startInSync()
        try alpha.promote()
    }

    func atEnd(_ cleanup: @escaping () -> Void) { cleanups.append(cleanup) }

    /// Both nodes at rest and stopped, both copies equal byte for byte.
    func expectEqualCopies(sourceLocation: SourceLocation = #_sourceLocation) throws {
        for node in nodes { try node.wait(for: "in-sync", seconds: 90) }
        for node in nodes {
            let marked = try node.status().peer.outOfSyncBytes
            #expect(marked == 0, "\(node.name) has marked blocks in sync", sourceLocation: sourceLocation)
        }
        for node in nodes where try node.status().role == "primary" {
            try node.run(["demote", Self.volume]).expecting()
        }
        for node in nodes { try node.down() }
        let difference = try firstDifference(alpha.diskPath, bravo.diskPath, bytes: options.size)
        try #require(difference == nil, "the copies differ", sourceLocation: sourceLocation)
    }

    func tearDown() {
        for node in nodes { node.killDaemon() }
        link.close()
        for cleanup in cleanups.reversed() { cleanup() }
        try? FileManager.default.removeItem(atPath: folder)
    }

    func printLogs() {
        for node in nodes {
            print("--- log of \(node.name), its end:\n\(node.log.suffix(6000))")
        }
    }
}

/// Runs `body` on a fresh cluster and ends all that it started. Unless `comparing` is false, all copies are compared
/// at the end.
func withCluster(
    _ options: TestCluster.Options = .init(), comparing: Bool = true,
    sourceLocation: SourceLocation = #_sourceLocation, _ body: (TestCluster) throws -> Void
) throws {
    signal(SIGPIPE, SIG_IGN)
    let cluster = try TestCluster(options)
    defer { cluster.tearDown() }
    do {
        try body(cluster)
        if comparing { try cluster.expectEqualCopies(sourceLocation: sourceLocation) }
    } catch {
        cluster.printLogs()
        throw error
    }
}

/// The place of the first byte that differs in the first `bytes` of two files.
func firstDifference(_ left: String, _ right: String, bytes: UInt64) throws -> UInt64? {
    guard let one = FileHandle(forReadingAtPath: left), let two = FileHandle(forReadingAtPath: right) else {
        throw Trouble("cannot read \(left) and \(right)")
    }
    var offset: UInt64 = 0
    while offset < bytes {
        let count = Int(min(mebibyte, bytes - offset))
        let (a, b) = (try one.read(upToCount: count) ?? Data(), try two.read(upToCount: count) ?? Data())
        guard a.count == count, b.count == count else { throw Trouble("a copy is shorter than the volume") }
        if a != b { return offset + UInt64(zip(a, b).enumerated().first { $1.0 != $1.1 }?.offset ?? 0) }
        offset += UInt64(count)
    }
    return nil
}
