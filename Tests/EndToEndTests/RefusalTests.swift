import Foundation
import Testing

extension EndToEnd {
    /// What cannot be is refused with its reason, its remedy and the right exit code, and changes nothing.
    @Suite struct RefusalTests {
        private static let good = """
            volume: r0
            size: 64MiB
            quorum: off
            nodes:
              alpha: {id: 0, address: "127.0.0.1:7789", disk: /tmp/a.img}
              bravo: {id: 1, address: "127.0.0.1:7790", disk: /tmp/b.img}

            """

        struct BadConfiguration: CustomTestStringConvertible, Sendable {
            let testDescription: String
            let from: String
            let to: String
            let line: Int
            init(_ description: String, _ from: String, _ to: String, line: Int) {
                (testDescription, self.from, self.to, self.line) = (description, from, to, line)
            }
        }

        @Test(arguments: [
            BadConfiguration("an unknown key", "quorum: off", "quorum: off\nqorum: off", line: 4),
            BadConfiguration("a key twice", "size: 64MiB", "size: 64MiB\nsize: 32MiB", line: 3),
            BadConfiguration("a wrong unit", "64MiB", "64 parsecs", line: 2),
            BadConfiguration("a wrong word", "quorum: off", "quorum: perhaps", line: 3),
            BadConfiguration("no quorum word for two", "quorum: off\n", "", line: 0),
            BadConfiguration("a majority of two", "quorum: off", "quorum: majority", line: 3),
            BadConfiguration("the same id twice", "id: 1", "id: 0", line: 6),
            BadConfiguration("an id out of range", "id: 1", "id: 8", line: 6),
            BadConfiguration("an address without port", "127.0.0.1:7790", "127.0.0.1", line: 6),
            BadConfiguration("a witness", "disk: /tmp/b.img", "witness: true", line: 0),
            BadConfiguration("a mode of DRBD's", "quorum: off", "quorum: off\nreplication: C", line: 4),
            BadConfiguration("an unknown key of a node", "disk: /tmp/b.img", "disk: /tmp/b.img, disc: /tmp/c", line: 6),
            BadConfiguration("no disk", ", disk: /tmp/b.img", "", line: 6),
            BadConfiguration("broken YAML", "nodes:", "nodes: [", line: 0),
            BadConfiguration("another volume's name", "volume: r0", "volume: r1", line: 1),
            BadConfiguration(
                "a lonely node", "  bravo: {id: 1, address: \"127.0.0.1:7790\", disk: /tmp/b.img}\n", "", line: 0),
        ])
        func `a bad configuration is refused with its place`(bad: BadConfiguration) throws {
            try withCluster(comparing: false) { cluster in
                let text = Self.good.replacingOccurrences(of: bad.from, with: bad.to)
                #expect(text != Self.good)
                try text.write(toFile: cluster.alpha.configPath, atomically: true, encoding: .utf8)
                for command in [["config", "check", "r0"], ["run", "r0"], ["create", "r0"]] {
                    let answer = try cluster.alpha.run(command, seconds: 10)
                    #expect(answer.code == 78, "\(bad.testDescription): \(answer)")
                    let place = bad.line == 0 ? "r0.yaml:" : "r0.yaml:\(bad.line):"
                    #expect(answer.errors.contains(place), "\(bad.testDescription): \(answer.errors)")
                    #expect(answer.output.isEmpty || command[0] == "config")
                }
                #expect(try FileManager.default.contentsOfDirectory(atPath: cluster.alpha.configFolder) == ["r0.yaml"])
            }
        }

        @Test func `a good configuration passes`() throws {
            try withCluster(comparing: false) { cluster in
                try Self.good.write(toFile: cluster.alpha.configPath, atomically: true, encoding: .utf8)
                try cluster.alpha.run(["config", "check", "r0"]).expecting(0)
                try cluster.alpha.run(["config", "check"]).expecting(0)
            }
        }

        @Test func `commands that do not exist or lack words are usage errors`() throws {
            try withCluster(comparing: false) { cluster in
                try cluster.writeConfigurations()
                for words in [
                    ["frobnicate"], ["promote"], ["status", "r0", "--nonsense"], ["wait", "r0", "--for", "nonsense"],
                    ["promote", "r0", "--timeout", "soon"], ["map", "r0", "--block-size", "x"],
                    ["verify", "r0", "--rate", "soon"], ["resize", "r0", "--timeout", "soon"],
                    ["resync", "sideways", "r0"],
                ] {
                    let answer = try cluster.alpha.run(words, seconds: 10)
                    #expect(answer.code == 64, "\(answer)")
                    #expect(answer.output.isEmpty && !answer.errors.isEmpty)
                }
            }
        }

        @Test func `without a daemon each command says that none runs`() throws {
            try withCluster(comparing: false) { cluster in
                try cluster.create()
                for words in [
                    ["status", "r0", "--json"], ["promote", "r0"], ["demote", "r0"], ["connect", "r0"],
                    ["detach", "r0"], ["verify", "r0"], ["resize", "r0"],
                    ["invalidate", "r0"], ["outdate", "r0"], ["disconnect", "r0"], ["resync", "pause", "r0"],
                ] {
                    let answer = try cluster.alpha.run(words, seconds: 10)
                    #expect(answer.code == 4, "\(answer)")
                    if words[0] == "status" { #expect(answer.output.isEmpty) }
                }
                try cluster.alpha.run(["down", "r0"]).expecting(0)
                let all = try cluster.alpha.run(["status", "--json"]).expecting(0)
                let list = try JSONSerialization.jsonObject(with: Data(all.output.utf8)) as? [[String: Any]]
                #expect(list?.first?["running"] as? Bool == false)
                #expect(try cluster.alpha.attempt("wait", "--for", "running", "--timeout", "0").code == 2)
                #expect(try cluster.alpha.attempt("wait", "--for", "stopped", "--timeout", "0").code == 0)
            }
        }

        @Test func `an unknown volume or node name is a configuration error that names what there is`() throws {
            try withCluster(comparing: false) { cluster in
                try cluster.create()
                for command in ["run", "status", "promote", "create"] {
                    #expect(try cluster.alpha.run([command, "missing"], seconds: 10).code == 78)
                }
                let stranger = try cluster.alpha.run(["run", "r0", "--node", "zulu"], seconds: 10)
                #expect(stranger.code == 78)
                #expect(stranger.errors.contains("alpha") && stranger.errors.contains("bravo"))
            }
        }

        @Test func `a second primary is refused at once, in words and in JSON`() throws {
            try withCluster { cluster in
                try cluster.startWithPrimary()
                let refused = try cluster.bravo.attempt("promote", "--timeout", "20s")
                #expect(refused.code == 3)
                #expect(refused.output.isEmpty)
                let lines = refused.errors.split(separator: "\n")
                #expect(lines.contains { $0.hasPrefix("refused: ") } && lines.contains { $0.hasPrefix("remedy: ") })
                let answer = try cluster.bravo.attempt("promote", "--json")
                #expect(answer.code == 3)
                let text = answer.output.isEmpty ? answer.errors : answer.output
                let object = try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any]
                #expect(object?["error"] as? String == "refused")
                #expect(object?["reason"] as? String == "peer-is-primary")
                #expect(object?["version"] as? Int == 1)
                for key in ["message", "remedy"] { #expect((object?[key] as? String)?.isEmpty == false) }
                #expect(try cluster.bravo.status().role == "secondary")
                try cluster.alpha.promote()
            }
        }

        @Test func `demotion under a writer is refused and says who, with force it is done`() throws {
            try withCluster { cluster in
                try cluster.startWithPrimary()
                let client = try NBDConnection(node: cluster.alpha)
                try client.write(NumberedBlock.content(write: 1, block: 0), at: 0)
                let refused = try cluster.alpha.attempt("demote", "--json")
                #expect(refused.code == 3)
                #expect((refused.output + refused.errors).contains("in-use"))
                try client.write(NumberedBlock.content(write: 2, block: 0), at: 0)
                try cluster.alpha.hablk("demote", "--force")
                #expect(try cluster.alpha.status().role == "secondary")
                #expect(throws: NBDTrouble.self) { try client.read(at: 0, length: 512) }
            }
        }

        @Test func `two configurations that differ are refused with the field on both sides`() throws {
            try withCluster(comparing: false) { cluster in
                try cluster.create()
                let text = readText(cluster.bravo.configPath)
                try text.replacingOccurrences(of: "size: \(cluster.options.size)", with: "size: \(32 * mebibyte)")
                    .write(toFile: cluster.bravo.configPath, atomically: true, encoding: .utf8)
                unlink(cluster.bravo.diskPath)
                try cluster.bravo.hablk("create")
                for node in cluster.nodes { try node.start() }
                for node in cluster.nodes {
                    try until("a mismatch named on \(node.name)") { try node.status().peer.reason == "mismatch" }
                    #expect(try node.status().peer.message?.contains("size") == true)
                    #expect(node.log.contains("size"))
                }
            }
        }

        @Test func `every field of the status is there, also when it is null`() throws {
            try withCluster { cluster in
                try cluster.startWithPrimary()
                let text = try cluster.alpha.attempt("status", "--json").expecting().output
                let object = try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
                for key in [
                    "version", "running", "volume", "node", "role", "disk", "size", "generation", "term", "in-step",
                    "quorum", "suspended", "suspect", "nbd", "device", "clients", "pid", "reason", "message", "peers",
                ] { #expect(object[key] != nil, "no field \(key)") }
                let peer = try #require((object["peers"] as? [[String: Any]])?.first)
                for key in [
                    "node", "id", "connection", "role", "disk", "replication", "out-of-sync-bytes", "lag-bytes",
                    "lag-seconds", "resync", "last-resync", "reason", "message",
                ] { #expect(peer[key] != nil, "no field \(key) of a peer") }
                #expect(object["quorum"] is NSNull && object["device"] is NSNull)
                let status = try cluster.alpha.status()
                #expect(Set(status.inStep) == ["alpha", "bravo"])
                #expect(status.nbd == cluster.alpha.socketPath && status.pid == cluster.alpha.daemon?.pid)
                #expect(try status.peer.connection == "connected")
                #expect(try status.peer.replication == "established")
            }
        }
    }
}
