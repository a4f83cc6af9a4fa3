import Daemon
import Glibc
import Model
import ReplicationCore
import Testing

/// A configuration folder of its own, gone afterwards.
private func withFile<Result>(
    _ text: String, named volume: String = "r0", _ body: (RuntimePaths) throws -> Result
) throws -> Result {
    var template = Array("/tmp/hablk-configuration-XXXXXX".utf8CString)
    let folder = String(cString: try #require(mkdtemp(&template)))
    let file = "\(folder)/\(volume).yaml"
    defer {
        unlink(file)
        rmdir(folder)
    }
    let stream = try #require(fopen(file, "w"))
    fputs(text, stream)
    fclose(stream)
    return try body(RuntimePaths { $0 == "HABLK_CONFIG_DIR" ? folder : nil })
}

private func failure(of text: String) throws -> CommandFailure? {
    try withFile(text) { paths in
        do throws(CommandFailure) {
            _ = try Configuration.load("r0", paths: paths)
            return nil
        } catch {
            var failure = error
            failure.refusal.message = String(failure.refusal.message.dropFirst(paths.configurationFolder.count + 1))
            return failure
        }
    }
}

private let nodes = """
    nodes:
      alpha: {id: 0, address: "10.0.0.1:7789", disk: /dev/vg0/r0}
      bravo: {id: 1, address: "10.0.0.2:7789", disk: /dev/vg0/r0}

    """

/// What stands in line 3, and what must be said of it.
struct BadLine: Sendable, CustomStringConvertible {
    var line: String
    var column: Int
    var words: String
    init(_ line: String, _ column: Int, _ words: String) {
        self.line = line
        self.column = column
        self.words = words
    }
    var description: String { line }
}

private let badLines = [
    BadLine("frobnicate: 1", 1, "no key `frobnicate`"),
    BadLine("tiemout: 6s", 1, "no key `tiemout`"),
    BadLine("size: 10GB", 7, "`size` cannot be `10GB`"),
    BadLine("size:", 6, "`size` has no value"),
    BadLine("size: 5000", 7, "`size` cannot be `5000`"),
    BadLine("size: 0", 7, "`size` cannot be `0`"),
    BadLine("size: 2000TiB", 7, "`size` cannot be"),
    BadLine("size: 99999999999999999999GiB", 7, "`size` cannot be"),
    BadLine("size: -1", 7, "`size` cannot be"),
    BadLine("size: [1GiB]", 7, "`size` is one value"),
    BadLine("replication: C", 14, "`replication` cannot be `C`"),
    BadLine("on-quorum-lost: wait", 17, "`on-quorum-lost` cannot be `wait`"),
    BadLine("reads: fast", 8, "`reads` cannot be `fast`"),
    BadLine("on-congestion: fall-behind", 16, "only an asynchronous copy may fall behind"),
    BadLine("on-congestion: wait", 16, "`on-congestion` cannot be `wait`"),
    BadLine("max-lag: 5", 10, "`max-lag` cannot be `5`"),
    BadLine("max-lag: 1ms", 10, "`max-lag` cannot be `1ms`"),
    BadLine("fencing: stonith", 10, "`fencing: stonith` and no `fence-command`"),
    BadLine("fencing: shoot", 10, "`fencing` cannot be `shoot`"),
    BadLine("fence-command: fence", 16, "`fence-command` cannot be `fence`"),
    BadLine("after-sb-0pri: discard-local", 16, "`after-sb-0pri` cannot be `discard-local`"),
    BadLine("after-sb-0pri: discard-node-delta", 16, "no node is called `delta`"),
    BadLine("after-sb-1pri: violently-as0p", 16, "`after-sb-1pri` cannot be `violently-as0p`"),
    BadLine("after-sb-2pri: consensus", 16, "`after-sb-2pri` cannot be `consensus`"),
    BadLine("lease: 10ms", 8, "`lease` cannot be `10ms`"),
    BadLine("send-buffer: 64KiB", 14, "`send-buffer` cannot be `64KiB`"),
    BadLine("send-buffer: 1GiB", 14, "`send-buffer` cannot be `1GiB`"),
    BadLine("timeout: 6", 10, "`timeout` cannot be `6`"),
    BadLine("timeout: 1ms", 10, "`timeout` cannot be `1ms`"),
    BadLine("timeout: 11min", 10, "`timeout` cannot be `11min`"),
    BadLine("ko-count: 0", 11, "`ko-count` cannot be `0`"),
    BadLine("ko-count: +1", 11, "`ko-count` cannot be `+1`"),
    BadLine("ping-interval: soon", 16, "`ping-interval` cannot be `soon`"),
    BadLine("ping-timeout: 1s500ms", 15, "`ping-timeout` cannot be"),
    BadLine("reconnect: 5s", 12, "`reconnect` cannot be `5s`"),
    BadLine("reconnect: 5s..1s", 12, "`reconnect` cannot be `5s..1s`"),
    BadLine("epoch: 1KiB", 8, "`epoch` cannot be `1KiB`"),
    BadLine("activity-log: 4", 15, "`activity-log` cannot be `4`"),
    BadLine("compression: gzip", 14, "`compression` cannot be `gzip`"),
    BadLine("compression: zstd:3", 14, "`compression` cannot be `zstd:3`"),
    BadLine("compression: on", 14, "`compression` cannot be `on`"),
    BadLine("compression: ZSTD", 14, "`compression` cannot be `ZSTD`"),
    BadLine("compression: [lz4]", 14, "`compression` is one value"),
    BadLine("compression:", 13, "`compression` has no value"),
    BadLine("tcp-congestion-control: Bbr", 25, "`tcp-congestion-control` cannot be `Bbr`"),
    BadLine("tcp-congestion-control: sixteen_letters_", 25, "`tcp-congestion-control` cannot be"),
    BadLine("resync-rate: fast", 14, "`resync-rate` cannot be `fast`"),
    BadLine("resync-rate: 0", 14, "`resync-rate` cannot be `0`"),
    BadLine("verify-rate: auto", 14, "`verify-rate` cannot be `auto`"),
    BadLine("verify-rate: 4095", 14, "`verify-rate` cannot be `4095`"),
    BadLine("verify-every: 7", 15, "`verify-every` cannot be `7`"),
    BadLine("verify-every: 0d", 15, "`verify-every` cannot be `0d`"),
    BadLine("verify-every: 3661d", 15, "`verify-every` cannot be `3661d`"),
    BadLine("verify-every: 500ms", 15, "`verify-every` cannot be `500ms`"),
    BadLine("secret-file: r0.secret", 14, "`secret-file` cannot be `r0.secret`"),
    BadLine("quorum: off", 1, "`quorum` stands here again, first in line 2"),
    BadLine("{", 1, "this is no YAML"),
]

/// 700 bytes in which a key stands for 2^25 values.
private let aliasesOfAliases =
    "a0: &a0 [1]\n" + (1...25).map { "a\($0): &a\($0) [*a\($0 - 1), *a\($0 - 1)]\n" }.joined() + "? *a25\n: 1\n"

private let badNodes = [
    BadLine("  bravo: {id: 0, address: \"b:1\", disk: /d}", 15, "`alpha` has the id 0 already"),
    BadLine("  bravo: {id: 8, address: \"b:1\", disk: /d}", 15, "`id` cannot be `8`"),
    BadLine("  bravo: {id: 1, address: \"a:1\", disk: /d}", 27, "`alpha` has the address a:1 already"),
    BadLine("  bravo: {id: 1, address: \"b\", disk: /d}", 27, "`address` cannot be `b`"),
    BadLine("  bravo: {id: 1, address: \"b:0\", disk: /d}", 27, "`address` cannot be `b:0`"),
    BadLine("  bravo: {id: 1, address: \"300.1.1.1:7\", disk: /d}", 27, "`address` cannot be"),
    BadLine("  bravo: {id: 1, address: \"b:1\"}", 3, "the node `bravo` has no `disk`"),
    BadLine("  bravo: {id: 1, disk: /d}", 3, "the node `bravo` has no `address`"),
    BadLine("  bravo: {address: \"b:1\", disk: /d}", 3, "the node `bravo` has no `id`"),
    BadLine("  bravo: {id: 1, address: \"b:1\", disk: d}", 40, "`disk` cannot be `d`"),
    BadLine("  bravo: {id: 1, address: \"b:1\", disk: /d, metadata: /d}", 54, "`metadata` names the data disk"),
    BadLine("  bravo: {id: 1, address: \"b:1\", disk: /d, disc: /d}", 44, "no key `disc`"),
    BadLine("  bravo: {id: 1, address: \"b:1\", witness: maybe}", 43, "`witness` cannot be `maybe`"),
    BadLine("  bravo: {id: 1, address: \"b:1\", witness: true, disk: /d}", 55, "is a witness: it holds no data"),
    BadLine("  bravo: {id: 1, address: \"b:1\", disk: /d, state: /s}", 51, "`bravo` is no witness"),
    BadLine("  bravo: {id: 1, address: \"b:1\", disk: /d, replication: A}", 57, "`replication` cannot be `A`"),
    BadLine("  bravo: {id: 1, address: \"b:1\", witness: true, replication: async}", 62, "is a witness"),
    BadLine("  bravo: {id: 1, address: \"b:1\", disk: /d, nbd: {port: 1}}", 50, "no key `port`"),
    BadLine("  bravo: {id: 1, address: \"b:1\", disk: /d, nbd: {listen: \"b:1\"}}", 49, "cannot share b:1"),
    BadLine("  bravo: {id: 1, id: 2, address: \"b:1\", disk: /d}", 18, "`id` stands here again"),
    BadLine("  alpha: {id: 1, address: \"b:1\", disk: /d}", 3, "`alpha` stands here again, first in line 4"),
    BadLine("  -b: {id: 1, address: \"b:1\", disk: /d}", 3, "`-b` is no name for a node"),
    BadLine("  bravo: here", 10, "a node is a mapping"),
]

@Suite struct ConfigurationTests {
    @Test(arguments: badLines) func aBadLineIsNamedWithItsPlaceAndARemedy(_ bad: BadLine) throws {
        let failure = try #require(try failure(of: "volume: r0\nquorum: off\n\(bad.line)\n\(nodes)"))
        #expect(failure.exitCode == 78)
        // A brace that is never closed is noticed where the file stops making sense.
        if bad.line != "{" { #expect(failure.refusal.message.hasPrefix("r0.yaml:3:\(bad.column): ")) }
        #expect(failure.refusal.message.contains(bad.words), "\(failure.refusal.message)")
        #expect(!failure.refusal.remedy.isEmpty)
    }

    @Test(arguments: badNodes) func aBadNodeIsNamedWithItsPlaceAndARemedy(_ bad: BadLine) throws {
        let first = "  alpha: {id: 0, address: \"a:1\", disk: /dev/sda}"
        let failure = try #require(try failure(of: "volume: r0\nquorum: off\nnodes:\n\(first)\n\(bad.line)\n"))
        #expect(failure.exitCode == 78)
        #expect(failure.refusal.message.hasPrefix("r0.yaml:5:\(bad.column): "), "\(failure.refusal.message)")
        #expect(failure.refusal.message.contains(bad.words), "\(failure.refusal.message)")
        #expect(!failure.refusal.remedy.isEmpty)
    }

    @Test func everyKeyOfThisReleaseIsRead() throws {
        let text = """
            volume: r0
            size: 10GiB
            replication: sync
            quorum: no
            on-quorum-lost: suspend
            fencing: none
            timeout: 2s
            ko-count: 3
            ping-interval: 250ms
            ping-timeout: 1s
            reconnect: 200ms..2min
            epoch: 1MiB
            activity-log: 128
            on-congestion: block
            compression: zstd
            tcp-congestion-control: bbr
            resync-rate: 100MiB/s
            verify-rate: 8MiB/s
            verify-every: 7d
            secret-file: /etc/hablk/r0.secret
            nodes:
              bravo:
                id: 5
                address: "[fd00::3]:7789"
                disk: /dev/vg0/r0
                metadata: /var/lib/hablk/r0.meta
                listen: 0.0.0.0:7789
                nbd: {listen: "127.0.0.1:10809"}
                witness: false
              alpha: {id: 0, address: "alpha.example:7789", disk: /dev/sda}
            """
        let configuration = try withFile(text) { try Configuration.load("r0", paths: $0) }
        #expect(configuration.volume == "r0" && configuration.size == 10 << 30)
        #expect(configuration.replication == .sync && configuration.quorum == "off")
        #expect(configuration.timing.cutOff == 6_000_000_000)
        #expect(configuration.timing.pingInterval == 250_000_000 && configuration.timing.pingTimeout == 1_000_000_000)
        #expect(configuration.timing.reconnectMinimum == 200_000_000)
        #expect(configuration.timing.reconnectMaximum == 120_000_000_000)
        #expect(configuration.epochBytes == 1 << 20 && configuration.activityLogExtents == 128)
        #expect(configuration.verifyRate == 8 << 20 && configuration.verifyEvery == 604_800)
        #expect(configuration.compression == .zstd && configuration.congestionControl == "bbr")
        #expect(configuration.resyncRate == 100 << 20 && configuration.secretFile == "/etc/hablk/r0.secret")
        #expect(configuration.nodes.map(\.name) == ["alpha", "bravo"])
        let bravo = try #require(configuration.node(named: "bravo"))
        #expect(bravo.id.rawValue == 5 && bravo.address.host == "fd00::3" && bravo.address.port == 7789)
        #expect(bravo.bindAddress.description == "0.0.0.0:7789" && bravo.metadata == "/var/lib/hablk/r0.meta")
        #expect(bravo.nbdListen?.description == "127.0.0.1:10809")
        #expect(configuration.node(named: "alpha")?.bindAddress.description == "alpha.example:7789")
    }

    @Test(arguments: [("off", Compression.off), ("no", .off), ("false", .off), ("lz4", .lz4), ("zstd", .zstd)])
    func compressionIsEachNodesOwnAndOffWithoutAWord(_ word: String, _ meant: Compression) throws {
        func read(_ line: String) throws -> Configuration {
            let text = """
                volume: r0
                quorum: off
                \(line)
                nodes:
                  alpha: {id: 0, address: "a:1", disk: /d}
                  bravo: {id: 1, address: "b:1", disk: /d}
                """
            return try withFile(text) { try Configuration.load("r0", paths: $0) }
        }
        let configuration = try read("compression: \(word)")
        #expect(configuration.compression == meant)
        let without = try read("")
        #expect(without.compression == .off)
        // Not compared: what one takes has nothing to do with what it sends.
        func hello(_ configuration: Configuration, _ node: UInt8) -> Hello {
            configuration.hello(
                from: NodeID(node)!, to: nil, run: RunID(rawValue: 1), session: SessionID(rawValue: 2),
                discardMyData: false, nonce: [UInt8](repeating: 0, count: 32))
        }
        #expect(hello(configuration, 0).firstDifference(from: hello(without, 1)) == nil)
        #expect(hello(configuration, 0).capabilities == .all && hello(without, 1).capabilities == .all)
    }

    @Test func memoryAndAsyncAreReadForAllOrForEachNode() throws {
        let text = """
            volume: r0
            quorum: off
            replication: async
            send-buffer: 64MiB
            on-congestion: fall-behind
            max-lag: 5s
            nodes:
              alpha: {id: 0, address: "a:1", disk: /d, replication: sync}
              bravo: {id: 1, address: "b:1", disk: /d}
            """
        let configuration = try withFile(text) { try Configuration.load("r0", paths: $0) }
        #expect(configuration.isRelaxed && configuration.maximumLag == 5_000_000_000)
        #expect(configuration.replicationWords == "node 0 sync, node 1 async")
        let core = configuration.replicaConfiguration(node: NodeID(unchecked: 0))
        #expect(core.members.map(\.replication) == [.sync, .asynchronous])
        #expect(core.limits.sendBuffer == 64 << 20 && core.limits.unconfirmedEntries == 131_072)
        #expect(core.fallsBehind && core.maximumLag == 5_000_000_000)
        let plain = try withFile("volume: r0\nquorum: off\nmax-lag: off\n\(nodes)") {
            try Configuration.load("r0", paths: $0)
        }
        #expect(!plain.isRelaxed && plain.maximumLag == 0 && plain.replicationWords == "sync")
    }

    @Test(arguments: [
        (
            "quorum: majority\nreplication: async\n\(nodes)  carol: {id: 2, address: \"c:1\", disk: /d, replication: memory}\n",
            "together beside a majority"
        ),
        (
            "quorum: off\nreplication: async\non-congestion: fall-behind\nfencing: resource\nfence-command: /f\n\(nodes)",
            "would be fenced for it"
        ), ("quorum: off\nreplication: memory\non-congestion: fall-behind\n\(nodes)", "only an asynchronous copy"),
    ])
    func modesThatCannotBeTogetherAreRefused(_ text: String, _ words: String) throws {
        let failure = try #require(try failure(of: "volume: r0\n" + text))
        #expect(failure.exitCode == 78 && failure.refusal.message.contains(words), "\(failure.refusal.message)")
    }

    @Test(arguments: [
        ("", "the file is empty"), ("- a\n", "r0.yaml:1:1: a configuration is"), ("a: 1\n---\nb: 2\n", "no YAML"),
        ("volume: r1\nquorum: off\n\(nodes)", "r0.yaml:1:9: the volume is `r1`, but the file is named r0.yaml"),
        ("quorum: off\n\(nodes)", "`volume` is missing"), ("volume: r0\nquorum: off\n", "`nodes` is missing"),
        ("volume: r0\nquorum: off\nnodes: {}\n", "r0.yaml:3:8: a volume has two data nodes or more"),
        (
            "volume: r0\nquorum: off\nnodes: {a: {id: 0, address: \"a:1\", disk: /d}}\n",
            "two data nodes or more; there is only `a`"
        ),
        (
            "volume: r0\nquorum: off\n\(nodes)  carol: {id: 2, address: \"c:1\", disk: /d}\n",
            "`quorum: off` is for two data nodes, and here are 3"
        ),
        ("volume: r0\n\tquorum: off\n", "r0.yaml:2:1: this is no YAML"),
        ("volume: ../r0\nquorum: off\n\(nodes)", "`../r0` is no name"), (aliasesOfAliases, "more than 16 aliases"),
    ])
    func aFileThatLacksSomethingIsRefused(_ text: String, _ words: String) throws {
        let failure = try #require(try failure(of: text))
        #expect(failure.exitCode == 78)
        #expect(failure.refusal.message.contains(words), "\(failure.refusal.message)")
    }

    @Test func twoNodesWithoutQuorumAreToldBothSafeWays() throws {
        let failure = try #require(try failure(of: "volume: r0\n\(nodes)"))
        #expect(failure.exitCode == 78 && failure.refusal.reason == "quorum-undecided")
        #expect(failure.refusal.remedy.contains("witness") && failure.refusal.remedy.contains("`quorum: off`"))
    }

    @Test func aMajorityIsRefusedInItsOwnWords() throws {
        let failure = try #require(try failure(of: "volume: r0\nquorum: majority\n\(nodes)"))
        #expect(
            failure.refusal.message
                == "r0.yaml:2:9: of two voters each is needed for a majority: the first failure stops "
                + "both")
        #expect(failure.refusal.remedy.contains("witness: true") && failure.refusal.remedy.contains("`quorum: off`"))
    }

    @Test func aMissingFileAndABadNameAre78() throws {
        let paths = RuntimePaths { $0 == "HABLK_CONFIG_DIR" ? "/nonexistent" : nil }
        for volume in ["r0", "../r0", "", ".r0", String(repeating: "x", count: 65)] {
            #expect { try Configuration.load(volume, paths: paths) } throws: {
                ($0 as? CommandFailure)?.exitCode == 78
            }
        }
    }

    @Test func theOwnNodeIsFoundByOptionVariableAndHostName() throws {
        let text = """
            volume: r0
            quorum: off
            nodes:
              alpha: {id: 0, address: "a:1", disk: /d}
              bravo.example.org: {id: 1, address: "b:1", disk: /d}
            """
        let configuration = try withFile(text) { try Configuration.load("r0", paths: $0) }
        func own(_ option: String?, _ variable: String?, _ host: String) -> String? {
            try? configuration.ownNode(option: option, variable: variable, hostName: host).name
        }
        #expect(own("alpha", "bravo.example.org", "x") == "alpha")
        #expect(own(nil, "bravo.example.org", "alpha") == "bravo.example.org")
        #expect(own(nil, nil, "alpha.example.org") == "alpha")
        #expect(own(nil, "", "bravo.example.org") == "bravo.example.org")
        #expect(own("carol", "alpha", "alpha") == nil)
        #expect {
            try configuration.ownNode(option: nil, variable: nil, hostName: "carol")
        } throws: {
            let failure = $0 as? CommandFailure
            return failure?.exitCode == 78 && failure?.refusal.message.contains("alpha, bravo.example.org") == true
        }
    }
}

@Suite struct ConfigurationScalarTests {
    @Test(
        arguments: [
            ("10GiB", 10 << 30), ("512MiB", 512 << 20), ("4096", 4096), ("1K", 1024), ("2M", 2 << 20), ("3G", 3 << 30),
            ("1TiB", 1 << 40), ("1T", 1 << 40), ("8 KiB", 8192), ("0", 0), ("1.5GiB", nil), ("GiB", nil), ("", nil),
            ("1gib", nil), ("1GB", nil), ("-1", nil), ("18446744073709551616", nil), ("16777216TiB", nil),
            ("1 G i B", nil),
            ("٣", nil),
        ] as [(String, UInt64?)])
    func sizes(_ text: String, _ bytes: UInt64?) {
        #expect(ConfigurationScalar.size(text) == bytes)
    }

    @Test(
        arguments: [
            ("6s", 6_000_000_000), ("500ms", 500_000_000), ("2min", 120_000_000_000), ("1h", 3_600_000_000_000),
            ("0s", 0), ("6", nil), ("6 s", 6_000_000_000), ("s", nil), ("1.5s", nil), ("2m", nil), ("1s1ms", nil),
            ("18446744073709551615min", nil),
        ] as [(String, UInt64?)])
    func durations(_ text: String, _ nanoseconds: UInt64?) {
        #expect(ConfigurationScalar.duration(text) == nanoseconds)
    }

    @Test func bareNumbersAreSecondsOnTheCommandLine() {
        #expect(ConfigurationScalar.duration("30", bareSeconds: true) == 30_000_000_000)
        #expect(ConfigurationScalar.duration("0", bareSeconds: true) == 0)
    }

    @Test func ratesAndRangesAndOffAreRead() {
        #expect(ConfigurationScalar.rate("100MiB/s") == 100 << 20)
        #expect(ConfigurationScalar.rate("100MiB") == 100 << 20)
        #expect(ConfigurationScalar.rate("0") == nil && ConfigurationScalar.rate("/s") == nil)
        #expect(ConfigurationScalar.durationRange("100ms..5s") == 100_000_000...5_000_000_000)
        #expect(ConfigurationScalar.durationRange("1s...2s") == nil)
        for word in ["off", "false", "no", "Off", "NO"] { #expect(ConfigurationScalar.isOff(word)) }
        #expect(!ConfigurationScalar.isOff("on") && !ConfigurationScalar.isOff("0"))
    }

    @Test func sizesAndTimesAreWrittenForPeople() {
        #expect(ConfigurationScalar.describe(bytes: 512) == "512 B")
        #expect(ConfigurationScalar.describe(bytes: 10 << 30) == "10 GiB")
        #expect(ConfigurationScalar.describe(bytes: 1_572_864) == "1.5 MiB")
        #expect(ConfigurationScalar.describe(bytes: .max).hasSuffix("PiB"))
        #expect(ConfigurationScalar.exact(bytes: 10 << 30) == "10GiB")
        #expect(ConfigurationScalar.exact(bytes: 4097) == "4097")
        #expect(ConfigurationScalar.describe(nanoseconds: 500_000_000) == "500ms")
        #expect(ConfigurationScalar.describe(nanoseconds: 1_250_000_000) == "1.2s")
        #expect(ConfigurationScalar.describe(nanoseconds: 65_000_000_000) == "1min 5s")
    }

    @Test(
        arguments: [
            ("10.0.0.1:7789", "10.0.0.1:7789"), ("[fd00::3]:1", "[fd00::3]:1"), ("host-1.example:65535", nil),
            ("[fe80::1%eth0]:7", nil),
        ] as [(String, String?)])
    func goodAddresses(_ text: String, _ described: String?) {
        #expect(NetworkAddress(text)?.description == described ?? text)
    }

    @Test(arguments: [
        "10.0.0.1", "10.0.0.1:", ":7789", "fd00::3:7789", "[fd00::3]", "[host]:1", "host:65536", "host:0", "host:-1",
        "ho st:1", "-a:1", "1.2.3:4", "a..b:1", "256.1.1.1:1", "", ":", "[]:1",
    ])
    func badAddresses(_ text: String) {
        #expect(NetworkAddress(text) == nil)
    }
}

@Suite struct ConfigurationWriterTests {
    private let paths = RuntimePaths { _ in nil }

    private func writer(_ metadata: String? = nil) -> ConfigurationWriter {
        ConfigurationWriter(
            volume: "r0", size: "1GiB", replication: nil, quorum: "off",
            nodes: [
                .init(name: "alpha", address: "10.0.0.1:7789", disk: "/dev/vg0/r0", metadata: nil),
                .init(name: "bravo", address: "[fd00::2]:7789", disk: "/dev/my \"disk\"", metadata: metadata),
            ])
    }

    @Test func theSameWordsWriteTheSameFileAndItIsReadBack() throws {
        #expect(
            writer("/m").text == #"""
                # The volume r0, as `hablk create` wrote it: the same file on every node.
                volume: r0
                size: 1GiB
                replication: sync
                quorum: off
                nodes:
                  alpha: {id: 0, address: "10.0.0.1:7789", disk: "/dev/vg0/r0"}
                  bravo: {id: 1, address: "[fd00::2]:7789", disk: "/dev/my \"disk\"", metadata: "/m"}

                """#)
        let configuration = try writer("/m").configuration(paths: paths)
        #expect(configuration.size == 1 << 30 && configuration.nodes.map(\.name) == ["alpha", "bravo"])
        #expect(configuration.node(named: "bravo")?.disk == "/dev/my \"disk\"")
    }

    @Test func aWitnessStandsBehindTheDataNodesAndAsksForAMajority() throws {
        var witness = writer()
        witness.witnesses = [("carol", "c:1")]
        #expect { try witness.configuration(paths: paths) } throws: {
            ($0 as? CommandFailure)?.refusal.message.contains("`carol` is a witness") == true
        }
        witness.quorum = nil
        let configuration = try witness.configuration(paths: paths)
        let carol = try #require(configuration.node(named: "carol"))
        #expect(carol.isWitness && carol.id.rawValue == 2 && carol.disk.isEmpty && configuration.quorum == "majority")
    }

    @Test func twoNodesWithoutAWordOnQuorumAreRefused() {
        var undecided = writer()
        undecided.quorum = nil
        #expect { try undecided.configuration(paths: paths) } throws: {
            ($0 as? CommandFailure)?.refusal.reason == "quorum-undecided"
        }
    }

    @Test func aSocketPathThatDoesNotFitIs78() {
        let folder = "/" + String(repeating: "x", count: 97)
        let paths = RuntimePaths { $0 == "HABLK_RUNTIME_DIR" ? folder + "/" : nil }
        #expect(paths.controlSocket("r").utf8.count == 108)
        #expect { try paths.checkSocketPaths("r") } throws: { ($0 as? CommandFailure)?.exitCode == 78 }
        #expect(throws: Never.self) { try RuntimePaths { _ in nil }.checkSocketPaths("r0") }
    }

    @Test func theRuntimeFolderIsMadeForItsOwnerOnly() throws {
        var template = Array("/tmp/hablk-runtime-XXXXXX".utf8CString)
        let parent = String(cString: try #require(mkdtemp(&template)))
        defer {
            rmdir(parent + "/a/b")
            rmdir(parent + "/a")
            rmdir(parent)
        }
        let paths = RuntimePaths { $0 == "HABLK_RUNTIME_DIR" ? parent + "/a/b" : nil }
        try paths.createRuntimeFolder()
        try paths.createRuntimeFolder()
        var status = stat()
        #expect(stat(parent + "/a/b", &status) == 0 && status.st_mode & 0o777 == 0o700)
    }
}
