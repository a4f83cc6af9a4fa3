import Foundation
import Testing

extension EndToEnd {
    /// One `hablk witness` for volumes of many clusters, all at one address.
    @Suite struct WitnessProcessTests {
        private static let volumes = (0..<24).map { "v\($0)" }

        /// Two data nodes of a volume and the witness that it shares with others.
        private final class Volume {
            let name: String
            let alpha: TestNode
            let bravo: TestNode

            init(_ name: String, _ folder: String) throws {
                self.name = name
                alpha = try TestNode(name: "alpha", volume: name, folder: "\(folder)/\(name)-a")
                bravo = try TestNode(name: "bravo", volume: name, folder: "\(folder)/\(name)-b")
            }

            func configure(witness port: UInt16, alsoIn folder: String) throws {
                let text = """
                    volume: \(name)
                    size: 16MiB
                    timeout: 1s
                    ping-interval: 100ms
                    ping-timeout: 300ms
                    reconnect: 50ms..200ms
                    lease: 600ms
                    nodes:
                      alpha: {id: 0, address: "127.0.0.1:\(alpha.port)", disk: \(alpha.diskPath)}
                      bravo: {id: 1, address: "127.0.0.1:\(bravo.port)", disk: \(bravo.diskPath)}
                      witness: {id: 2, address: "127.0.0.1:\(port)", witness: true}

                    """
                for path in [alpha.configPath, bravo.configPath, "\(folder)/\(name).yaml"] {
                    try text.write(toFile: path, atomically: true, encoding: .utf8)
                }
            }

            func startWithPrimary() throws {
                for node in [alpha, bravo] {
                    try node.run(["create", name]).expecting(0)
                    try node.start()
                }
                for node in [alpha, bravo] { try node.wait(for: "connected") }
                try alpha.promote()
                try bravo.wait(for: "in-sync")
            }
        }

        private func withWitness(_ body: (TestNode, [Volume], ChildProcess) throws -> Void) throws {
            signal(SIGPIPE, SIG_IGN)
            var pattern = Array("/tmp/hablk-XXXXXX".utf8CString)
            guard mkdtemp(&pattern) != nil else { throw Trouble("no temporary folder") }
            let folder = pattern.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
            let witness = try TestNode(name: "witness", volume: "v0", folder: folder + "/w")
            let volumes = try Self.volumes.map { try Volume($0, folder) }
            for volume in volumes { try volume.configure(witness: witness.port, alsoIn: witness.configFolder) }
            let process = try ChildProcess(
                [Program.hablk(), "witness"], environment: witness.environment, outputPath: folder + "/out",
                errorsPath: folder + "/log")
            defer {
                process.end()
                for volume in volumes { [volume.alpha, volume.bravo].forEach { $0.killDaemon() } }
                try? FileManager.default.removeItem(atPath: folder)
            }
            do {
                try witness.wait(for: "running")
                try body(witness, volumes, process)
            } catch {
                print("--- log of the witness, its end:\n\(readText(folder + "/log").suffix(6000))")
                throw error
            }
        }

        @Test func `one process votes for many volumes at one port and needs little memory`() throws {
            try withWitness { witness, volumes, process in
                for volume in Self.volumes {
                    try witness.run(["wait", volume, "--for", "running", "--timeout", "5s"]).expecting(0)
                }
                for volume in volumes.prefix(2) { try volume.startWithPrimary() }
                for volume in volumes.prefix(2) {
                    volume.alpha.killDaemon()
                    try volume.bravo.promote()
                    #expect(try volume.bravo.status().votes?.present == ["bravo", "witness"])
                }
                let seen = try NodeStatus(json: witness.run(["status", "v1", "--json"]).expecting(0).output)
                #expect(seen.role == "witness" && seen.inStep == ["bravo"] && seen.nbd == nil)
                // Its own pages and its share of those that it has in common with others.
                let memory = try memory("Pss:", of: "/proc/\(process.pid)/smaps_rollup")
                #expect(memory < 16 * mebibyte, "\(memory) bytes for \(Self.volumes.count) volumes")
                // And were it the only one on its machine: pages that only the start needed are given back.
                try until("it needs little without others, too", seconds: 15) {
                    try self.memory("VmRSS:", of: "/proc/\(process.pid)/status") < 16 * mebibyte
                }
            }
        }

        @Test func `a volume is stopped and taken up again beside the others`() throws {
            try withWitness { witness, volumes, process in
                let volume = volumes[1]
                try volume.startWithPrimary()
                try witness.run(["down", "v1"]).expecting(0)
                #expect(try witness.run(["status", "v1"]).code == 4)
                #expect(try witness.run(["status", "v0"]).code == 0)
                #expect(process.isRunning)
                try until("the witness is missed", seconds: 10) {
                    try volume.alpha.status().votes?.present == ["alpha", "bravo"]
                }
                process.signal(SIGHUP)
                try until("it votes again", seconds: 10) { try volume.alpha.status().votes?.present.count == 3 }
            }
        }

        @Test func `a volume is stopped while a peer does not read, and the others are served on`() throws {
            try withWitness { witness, volumes, process in
                let volume = volumes[1]
                try volume.startWithPrimary()
                volume.alpha.freeze()
                try witness.run(["down", "v1"]).expecting(0)
                pause(0.3)
                volume.alpha.thaw()
                pause(3)
                #expect(process.isRunning)
                #expect(try witness.run(["status", "v0"]).code == 0)
                process.signal(SIGHUP)
                try until("it votes again", seconds: 10) { try volume.alpha.status().votes?.present.count == 3 }
            }
        }

        @Test func `strangers at its door disturb nobody`() throws {
            try withWitness { witness, volumes, _ in
                try volumes[0].startWithPrimary()
                var strangers: [Int32] = []
                defer { strangers.forEach { close($0) } }
                for number in 0..<100 {
                    guard let stranger = try connectedSocket(port: witness.port) else { throw Trouble("no door") }
                    strangers.append(stranger)
                    // Nothing, half of a hello, or what is none.
                    let words = [[], Array("HABLKHEL".utf8), Array("GET / HTTP/1.1\r\n\r\n".utf8)][number % 3]
                    _ = words.withUnsafeBytes { sendAll(stranger, $0) }
                }
                volumes[0].alpha.killDaemon()
                try volumes[0].bravo.promote()
            }
        }

        @Test func `a node that is nobody's witness is told so`() throws {
            try withWitness { witness, _, _ in
                var environment = witness.environment
                environment["HABLK_NODE"] = "alpha"
                let refused = try Program.run(["hablk", "witness"], environment: environment)
                #expect(refused.code == 78 && refused.errors.contains("witness: true"), "\(refused)")
            }
        }

        private func memory(_ word: String, of path: String) throws -> UInt64 {
            for line in readText(path).split(separator: "\n") where line.hasPrefix(word) {
                let words = line.split(whereSeparator: { $0 == " " || $0 == "\t" })
                if words.count > 1, let kibibytes = UInt64(words[1]) { return kibibytes * 1024 }
            }
            throw Trouble("no \(word) in \(path)")
        }
    }
}
