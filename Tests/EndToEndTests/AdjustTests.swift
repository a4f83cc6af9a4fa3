import Foundation
import Testing

extension EndToEnd {
    /// `hablk adjust`: nodes come and go while the volume is written.
    @Suite struct AdjustTests {
        private let four = QuorumCluster.Options(copies: 3, hasWitness: true)

        private func until(_ node: TestNode, hasVoters names: [String]) throws {
            try EndToEndTests.until("\(node.name) has the voters \(names)", seconds: 20) {
                try node.status().votes?.voters == names
            }
        }

        @Test func `a copy is added to a running volume, is filled, votes, and can be the primary`() throws {
            try withQuorumCluster(four) { cluster in
                let witness = try #require(cluster.witness)
                let former = [cluster.alpha, cluster.bravo, witness]
                try cluster.startInSync(former)
                try cluster.alpha.promote()
                let load = LoadClient(cluster.alpha)
                try withLoad(load) {
                    for node in cluster.nodes { try cluster.write(naming: cluster.nodes, on: node) }
                    try cluster.charlie.hablk("create")
                    try cluster.charlie.start()
                    let said = try cluster.alpha.hablk("adjust", "--dry-run").output
                    #expect(said.hasPrefix("would add charlie (id 2, 127.0.0.1:"), "\(said)")
                    #expect(try cluster.alpha.status().peers.map(\.node) == ["bravo", "witness"])
                    // The primary last: in between, nodes with different files go on.
                    for node in [cluster.bravo, witness, cluster.alpha] { try node.hablk("adjust") }
                    try until(cluster.alpha, hasVoters: ["alpha", "bravo", "charlie", "witness"])
                    try EndToEndTests.until("charlie is in step", seconds: 30) {
                        try cluster.alpha.status().inStep == ["alpha", "bravo", "charlie"]
                    }
                    #expect(load.report.connections == 1, "the client noticed it")
                    // Who did not fill the new copy remembers after a crash what it lacks, and that this is little.
                    try EndToEndTests.until("bravo has the record", seconds: 20) {
                        try cluster.bravo.status().inStep == ["alpha", "bravo", "charlie"]
                    }
                    cluster.bravo.killDaemon()
                    try load.makeProgress()
                    try cluster.bravo.start()
                    #expect(!cluster.bravo.lastLog.contains("do not verify"), "\(cluster.bravo.lastLog.suffix(2000))")
                    try cluster.bravo.wait(for: "in-sync")
                    cluster.alpha.killDaemon()
                    try cluster.charlie.promote()
                    load.redirect(to: cluster.charlie)
                    try load.makeProgress()
                    try cluster.alpha.start()
                }
                try load.verify(on: cluster.charlie)
                #expect(try cluster.alpha.hablk("adjust").output.hasPrefix("nothing to change"))
            }
        }

        @Test(arguments: [false, true])
        func `a copy and its vote are taken out under load, and it is filled from the beginning when it is back`(
            isPrimaryFirst: Bool
        ) throws {
            try withQuorumCluster(four) { cluster in
                try cluster.startWithPrimary()
                let witness = try #require(cluster.witness)
                let rest = [cluster.alpha, cluster.bravo, witness]
                let load = LoadClient(cluster.alpha)
                try withLoad(load) {
                    for node in rest { try cluster.write(naming: rest, on: node) }
                    for node in isPrimaryFirst ? rest : rest.reversed() { try node.hablk("adjust") }
                    try until(cluster.alpha, hasVoters: ["alpha", "bravo", "witness"])
                    #expect(try cluster.alpha.status().inStep == ["alpha", "bravo"])
                    #expect(try cluster.alpha.status().peers.map(\.node) == ["bravo", "witness"])
                    let events = try cluster.alpha.attempt("events", "--now").expecting(0).output
                    #expect(!events.contains("charlie"), "\(events)")
                    try load.makeProgress()
                    // Nobody listens to it any more.
                    let refused = try cluster.charlie.attempt("promote", "--timeout", "2s")
                    #expect(refused.code == 2 || refused.code == 3, "\(refused)")
                    #expect(load.report.connections == 1, "the client noticed it")
                    // What was marked toward it is forgotten with a daemon that does not know it.
                    try cluster.bravo.down()
                    try cluster.bravo.start()
                    try load.makeProgress()
                    for node in rest {
                        try cluster.write(naming: cluster.nodes, on: node)
                        try node.hablk("adjust")
                    }
                    try EndToEndTests.until("charlie is in step again", seconds: 30) {
                        try cluster.alpha.status().inStep == ["alpha", "bravo", "charlie"]
                    }
                }
                try load.verify(on: cluster.alpha)
                try until(cluster.alpha, hasVoters: ["alpha", "bravo", "charlie", "witness"])
            }
        }

        @Test func `a node that died for good is replaced by another one`() throws {
            try withQuorumCluster(four, comparing: false) { cluster in
                let witness = try #require(cluster.witness)
                try cluster.startInSync([cluster.alpha, cluster.bravo, witness])
                try cluster.alpha.promote()
                let load = LoadClient(cluster.alpha)
                try withLoad(load) {
                    cluster.bravo.killDaemon()
                    try load.makeProgress()
                    let next = [cluster.alpha, cluster.charlie, witness]
                    for node in next { try cluster.write(naming: next, on: node) }
                    try cluster.charlie.hablk("create")
                    try cluster.charlie.start()
                    for node in [witness, cluster.alpha] { try node.hablk("adjust") }
                    try until(cluster.alpha, hasVoters: ["alpha", "charlie", "witness"])
                    try EndToEndTests.until("charlie is in step", seconds: 30) {
                        try cluster.alpha.status().inStep == ["alpha", "charlie"]
                    }
                    // The one that was replaced comes back with its old file, and changes nothing.
                    try cluster.bravo.start()
                    let refused = try cluster.bravo.attempt("promote", "--timeout", "2s")
                    #expect(refused.code == 2 || refused.code == 3, "\(refused)")
                    cluster.alpha.killDaemon()
                    try cluster.charlie.promote()
                    load.redirect(to: cluster.charlie)
                    try load.makeProgress()
                    try cluster.alpha.start()
                    try cluster.alpha.wait(for: "in-sync")
                }
                try load.verify(on: cluster.charlie)
                try cluster.charlie.demote()
                for node in [cluster.alpha, cluster.charlie, witness] { try node.down() }
                let difference = try firstDifference(
                    cluster.alpha.diskPath, cluster.charlie.diskPath, bytes: cluster.options.size)
                #expect(difference == nil)
            }
        }

        @Test func `who is started with a file that misses a member lets it go`() throws {
            try withQuorumCluster(four, comparing: false) { cluster in
                try cluster.startWithPrimary()
                let witness = try #require(cluster.witness)
                let load = LoadClient(cluster.alpha)
                try withLoad(load) {}
                load.stop()
                try cluster.alpha.demote()
                for node in cluster.nodes { try node.down() }
                let rest = [cluster.alpha, cluster.bravo, witness]
                for node in rest {
                    try cluster.write(naming: rest, on: node)
                    try node.start()
                }
                try cluster.bravo.promote()
                try until(cluster.bravo, hasVoters: ["alpha", "bravo", "witness"])
                #expect(try cluster.bravo.status().inStep == ["alpha", "bravo"])
                try load.verify(on: cluster.bravo)
            }
        }

        /// Takes the place of a node's disk: one that has just room for the volume and for `bitmaps` of them, of a page each.
        private func exchangeDisk(_ cluster: QuorumCluster, of node: TestNode, bitmaps: UInt64) throws {
            if !FileManager.default.fileExists(atPath: node.diskPath) { try node.hablk("create") }
            let made = try FileManager.default.attributesOfItem(atPath: node.diskPath)[.size] as? UInt64 ?? 0
            try FileManager.default.removeItem(atPath: node.diskPath)
            try Program.run("truncate", "-s", "\(made - (7 - bitmaps) * 4096)", node.diskPath).expecting(0)
        }

        @Test func `a disk with room for one bitmap takes no third copy, which is said before anything changes`() throws
        {
            try withQuorumCluster(four, comparing: false) { cluster in
                let witness = try #require(cluster.witness)
                let former = [cluster.alpha, cluster.bravo, witness]
                try cluster.write(naming: former, on: cluster.alpha)
                try exchangeDisk(cluster, of: cluster.alpha, bitmaps: 1)
                try cluster.startInSync(former)
                try cluster.bravo.promote()
                try cluster.alpha.wait(for: "in-sync")
                try cluster.write(naming: cluster.nodes, on: cluster.alpha)
                for words in [["--dry-run"], []] {
                    let refused = try cluster.alpha.run(["adjust", QuorumCluster.volume] + words)
                    #expect(refused.code == 3 && refused.errors.contains("(no-bitmap)"), "\(refused)")
                }
                #expect(try cluster.alpha.status().peers.map(\.node) == ["bravo", "witness"])
                #expect(try cluster.alpha.status().disk == "up-to-date")
                // Nothing of it came to the disk: with the former file it starts again.
                try cluster.write(naming: former, on: cluster.alpha)
                cluster.alpha.killDaemon()
                try cluster.alpha.start()
                try cluster.alpha.wait(for: "in-sync")
            }
        }

        @Test func `a disk as large as the others, made for more bitmaps, says what to do, and that helps`() throws {
            try withQuorumCluster(.init(), comparing: false) { cluster in
                for node in cluster.nodes {
                    try cluster.write(naming: cluster.nodes, on: node)
                    if node !== cluster.witness { try exchangeDisk(cluster, of: node, bitmaps: 1) }
                    try node.hablk("create", "--assume-identical")
                    let text = try String(contentsOfFile: node.configPath, encoding: .utf8)
                    let size = "size: \(cluster.options.size)\n"
                    try text.replacing(size, with: "").write(toFile: node.configPath, atomically: true, encoding: .utf8)
                    try node.start()
                }
                try cluster.alpha.promote()
                try cluster.bravo.wait(for: "in-sync")
                try cluster.bravo.down()
                let whole = try FileManager.default.attributesOfItem(atPath: cluster.bravo.diskPath)[.size] as? UInt64
                try FileManager.default.removeItem(atPath: cluster.bravo.diskPath)
                try Program.run("truncate", "-s", "\(try #require(whole))", cluster.bravo.diskPath).expecting(0)
                try cluster.bravo.hablk("create")
                try cluster.bravo.start()
                let remedy = "hablk create r0 --force --size \(cluster.options.size)"
                for node in cluster.copies {
                    try EndToEndTests.until("\(node.name) says what to do", seconds: 20) {
                        try node.status().peers.contains {
                            $0.reason == "mismatch" && $0.message?.contains(remedy) == true
                        }
                    }
                }
                try cluster.bravo.down()
                try cluster.bravo.hablk("create", "--force", "--size", "\(cluster.options.size)")
                try cluster.bravo.start()
                try cluster.alpha.hablk("connect")
                try cluster.bravo.wait(for: "in-sync")
            }
        }

        @Test func `what cannot be taken up at once changes nothing and says why`() throws {
            try withQuorumCluster(four) { cluster in
                try cluster.startWithPrimary()
                let witness = try #require(cluster.witness)
                let text = try String(contentsOfFile: cluster.bravo.configPath, encoding: .utf8)
                func adjust(_ change: (String) -> String) throws -> CommandResult {
                    try change(text).write(toFile: cluster.bravo.configPath, atomically: true, encoding: .utf8)
                    return try cluster.bravo.attempt("adjust")
                }
                func expectRefused(_ reason: String, _ answer: CommandResult) {
                    #expect(answer.code == 3 && answer.errors.contains("(\(reason))"), "\(reason): \(answer)")
                }
                expectRefused("needs-restart", try adjust { $0.replacing("lease: 600ms", with: "lease: 700ms") })
                expectRefused(
                    "needs-restart", try adjust { $0.replacing(cluster.bravo.diskPath, with: "/tmp/elsewhere") })
                expectRefused("two-steps", try adjust { $0.replacing("  charlie:", with: "  delta:") })
                try cluster.write(naming: [cluster.bravo, cluster.charlie, witness], on: cluster.bravo)
                expectRefused("peer-is-primary", try cluster.bravo.attempt("adjust"))
                #expect(try adjust { $0 + "nonsense: 1\n" }.code == 78)
                #expect(try cluster.bravo.status().peers.map(\.node) == ["alpha", "charlie", "witness"])
                let set = try adjust { $0.replacing("timeout: 1s", with: "timeout: 3s") + "resync-rate: 5MiB/s\n" }
                #expect(set.code == 0, "\(set)")
                #expect(
                    set.output == "set timeout × ko-count: from 1s to 3s\nset resync-rate: from auto to 5MiB/s\n",
                    "\(set.output)")
                let json = try cluster.bravo.attempt("adjust", "--json").expecting(0).output
                #expect(json.contains("\"changes\": []"), "\(json)")
                #expect(try cluster.bravo.hablk("adjust").output.hasPrefix("nothing to change"))
            }
        }
    }
}
