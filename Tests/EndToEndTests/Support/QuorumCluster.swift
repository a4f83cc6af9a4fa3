import Foundation
import Testing

/// Two to four data nodes and perhaps a witness on loopback, `quorum: majority`. Each reaches each other one through a
/// proxy of its own, so that any link can misbehave alone and in one direction.
final class QuorumCluster {
    struct Options {
        var copies = 2
        var hasWitness = true
        var size: UInt64 = 64 * mebibyte
        /// Disks that are there already, and hold something.
        var isBlank = false
        /// Lines of the configuration that differ from the short times of tests.
        var settings: [String: String] = [:]
        /// `replication` of single nodes, by name.
        var modes: [String: String] = [:]
    }

    static let volume = TestCluster.volume
    let folder: String
    let options: Options
    let copies: [TestNode]
    let witness: TestNode?
    /// Who dials, and whom.
    private var proxies: [String: [String: FaultyProxy]] = [:]

    init(_ options: Options = Options()) throws {
        self.options = options
        var pattern = Array("/tmp/hablk-XXXXXX".utf8CString)
        guard mkdtemp(&pattern) != nil else { throw Trouble("no temporary folder") }
        let folder = pattern.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
        self.folder = folder
        copies = try ["alpha", "bravo", "charlie", "delta"].prefix(options.copies).map {
            try TestNode(name: $0, volume: Self.volume, folder: "\(folder)/\($0)")
        }
        witness =
            options.hasWitness ? try TestNode(name: "witness", volume: Self.volume, folder: "\(folder)/w") : nil
        for from in nodes {
            for target in nodes where target !== from {
                proxies[from.name, default: [:]][target.name] = try FaultyProxy(target: target.port)
            }
        }
    }

    var nodes: [TestNode] { copies + (witness.map { [$0] } ?? []) }
    var alpha: TestNode { copies[0] }
    var bravo: TestNode { copies[1] }
    var charlie: TestNode { copies[2] }

    /// The file of a node as it is to be, with these nodes in it; all keep the ids that they have among all of the cluster's.
    func write(naming members: [TestNode], on node: TestNode) throws {
        try configuration(for: node, naming: members).write(toFile: node.configPath, atomically: true, encoding: .utf8)
    }

    private func configuration(for node: TestNode, naming members: [TestNode]) -> String {
        var settings = [
            "size": "\(options.size)", "timeout": "1s", "ping-interval": "100ms", "ping-timeout": "300ms",
            "reconnect": "50ms..200ms", "lease": "600ms",
        ]
        settings.merge(options.settings) { $1 }
        let lines = settings.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)" }
        let entries = nodes.enumerated().compactMap { index, member -> String? in
            guard members.contains(where: { $0 === member }) else { return nil }
            let port = proxies[node.name]?[member.name]?.port ?? member.port
            var entry = "id: \(index), address: \"127.0.0.1:\(port)\""
            entry += member === witness ? ", witness: true" : ", disk: \(member.diskPath)"
            if let mode = options.modes[member.name] { entry += ", replication: \(mode)" }
            if member === node { entry += ", listen: \"127.0.0.1:\(member.port)\"" }
            return "  \(member.name): {\(entry)}"
        }
        return (["volume: \(Self.volume)"] + lines + ["nodes:"] + entries).joined(separator: "\n") + "\n"
    }

    func startInSync() throws { try startInSync(nodes) }

    /// Makes and starts these nodes, whose files name no others.
    func startInSync(_ nodes: [TestNode]) throws {
        for node in nodes {
            try write(naming: nodes, on: node)
            if options.isBlank, node !== witness {
                try Program.run("truncate", "-s", "\(options.size + 16 * mebibyte)", node.diskPath).expecting(0)
            }
            try node.run(["create", Self.volume]).expecting(0)
        }
        for node in nodes { try node.start() }
        for node in nodes { try node.wait(for: "connected") }
    }

    func startWithPrimary() throws {
        try startInSync()
        try alpha.promote()
        for node in copies { try node.wait(for: "in-sync") }
    }

    // MARK: Links

    private func between(_ one: TestNode, _ other: TestNode) -> [FaultyProxy] {
        [proxies[one.name]?[other.name], proxies[other.name]?[one.name]].compactMap(\.self)
    }

    func cut(_ one: TestNode, _ other: TestNode) { between(one, other).forEach { $0.cut() } }
    func hold(_ one: TestNode, _ other: TestNode) { between(one, other).forEach { $0.hold() } }
    func slow(_ one: TestNode, _ other: TestNode, bytesPerSecond: Int) {
        between(one, other).forEach { $0.slow(bytesPerSecond: bytesPerSecond) }
    }

    /// Nothing of what `node` says arrives anywhere; it still hears all.
    func mute(_ node: TestNode) {
        for other in nodes where other !== node {
            proxies[node.name]?[other.name]?.hold([.toTarget])
            proxies[other.name]?[node.name]?.hold([.fromTarget])
        }
    }

    /// No word between `node` and any other.
    func isolate(_ node: TestNode) { for other in nodes where other !== node { hold(node, other) } }

    /// All links are whole; what was held arrives late.
    func heal() { for way in proxies.values { for proxy in way.values { proxy.pass() } } }

    /// The same, but what was held is lost with its connections.
    func healDroppingHeld() { for way in proxies.values { for proxy in way.values { proxy.passDroppingHeld() } } }

    // MARK: The end

    /// All nodes that run are at rest and stopped, all copies equal byte for byte.
    func expectEqualCopies(sourceLocation: SourceLocation = #_sourceLocation) throws {
        for node in copies { try node.wait(for: "in-sync", seconds: 90) }
        for node in copies where try node.status().role == "primary" {
            try node.run(["demote", Self.volume]).expecting()
        }
        for node in nodes { try node.down() }
        for node in copies.dropFirst() {
            let difference = try firstDifference(alpha.diskPath, node.diskPath, bytes: options.size)
            try #require(difference == nil, "\(node.name)'s copy differs", sourceLocation: sourceLocation)
        }
    }

    func tearDown() {
        for node in nodes { node.killDaemon() }
        for way in proxies.values { for proxy in way.values { proxy.close() } }
        try? FileManager.default.removeItem(atPath: folder)
    }

    func printLogs() {
        for node in nodes { print("--- log of \(node.name), its end:\n\(node.log.suffix(6000))") }
    }
}

/// Runs `body` on a fresh cluster and ends all that it started; then all copies are compared.
func withQuorumCluster(
    _ options: QuorumCluster.Options = .init(), comparing: Bool = true,
    sourceLocation: SourceLocation = #_sourceLocation, _ body: (QuorumCluster) throws -> Void
) throws {
    signal(SIGPIPE, SIG_IGN)
    let cluster = try QuorumCluster(options)
    defer { cluster.tearDown() }
    do {
        try body(cluster)
        if comparing { try cluster.expectEqualCopies(sourceLocation: sourceLocation) }
    } catch {
        cluster.printLogs()
        throw error
    }
}
