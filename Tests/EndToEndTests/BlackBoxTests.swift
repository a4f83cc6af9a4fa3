import Foundation
import Testing

extension EndToEnd {
    /// After the worst the daemons' recordings say what happened, and the core of this build decides the same again.
    @Suite struct BlackBoxTests {
        private func replay(_ path: String, _ options: String...) throws -> CommandResult {
            let simulate = URL(fileURLWithPath: try Program.hablk()).deletingLastPathComponent().path + "/simulate"
            return try Program.run([simulate, "--replay", path] + options, seconds: 120)
        }

        private func path(_ node: TestNode) -> String { "\(node.runtimeFolder)/\(node.volume).blackbox" }

        @Test func `a killed daemon's black box and its peer's are replayed without a difference`() throws {
            try withCluster { cluster in
                try cluster.startWithPrimary()
                let load = LoadClient(cluster.alpha, blocks: 512)
                try withLoad(load) {
                    try load.makeProgress(500)
                    cluster.alpha.killDaemon()
                    try cluster.bravo.promote()
                    load.redirect(to: cluster.bravo)
                    try load.makeProgress(200)
                }
                for node in cluster.nodes {
                    let answer = try replay(path(node))
                    #expect(answer.code == 0, "\(node.name): \(answer.output.suffix(2000)) \(answer.errors)")
                    #expect(answer.output.contains("no decision differs"))
                    #expect(!answer.output.contains("not all was replayed"), "\(answer.output.suffix(500))")
                    #expect(answer.output.contains("  event  "))
                }
                // The killed one began as secondary and was promoted: its last words are from before its death.
                let last = try replay(path(cluster.alpha), "--last", "3")
                #expect(last.output.contains("not ended in order"))
                #expect(last.output.split(separator: "\n").count < 30)
                #expect(cluster.alpha.log.contains("black box: \(path(cluster.alpha))"))
                try cluster.alpha.start()
                #expect(cluster.alpha.log.contains("its black box is kept"))
                let kept = try replay(path(cluster.alpha) + ".old")
                #expect(kept.code == 0 && kept.output.contains("no decision differs"))
            }
        }

        @Test func `a daemon that stopped in order says so in its black box, and a damaged one is called damaged`()
            throws
        {
            try withCluster(comparing: false) { cluster in
                try cluster.startWithPrimary()
                for node in cluster.nodes { try node.down() }
                for node in cluster.nodes {
                    let answer = try replay(path(node))
                    #expect(answer.code == 0, "\(node.name): \(answer.output.suffix(2000))")
                    #expect(answer.output.contains("ended in order") && answer.output.contains("effect stopped"))
                    // Nothing that went as asked is a warning.
                    let warnings = node.log.split(separator: "\n").filter {
                        $0.contains(" warning ") && $0.contains("disconnected")
                    }
                    #expect(warnings.isEmpty, "\(warnings)")
                }
                let file = try #require(FileHandle(forUpdatingAtPath: path(cluster.alpha)))
                try file.seek(toOffset: 4300)
                try file.write(contentsOf: Data(repeating: 0xa5, count: 16))
                try file.close()
                #expect(try replay(path(cluster.alpha)).code == 65)
                let foreign = try replay(cluster.alpha.configPath)
                #expect(foreign.code == 65)
                #expect(foreign.errors.contains("no black box") || foreign.errors.contains("truncated"))
                #expect(try replay(cluster.folder + "/absent").code == 66)
            }
        }
    }
}
