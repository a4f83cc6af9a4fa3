import Testing

extension EndToEnd {
    /// A resync that is interrupted goes on where it was, and a half-filled copy is nobody's source.
    @Suite struct ResyncTests {
        /// `bravo` misses 48 MiB and gets them slowly.
        private func withSlowResync(comparing: Bool = true, _ body: (TestCluster, String) throws -> Void) throws {
            try withCluster(.init(settings: ["resync-rate": "8MiB"]), comparing: comparing) { cluster in
                try cluster.startWithPrimary()
                try cluster.bravo.down()
                let source = cluster.folder + "/source.img"
                try writeRandomFile(source, bytes: cluster.options.size)
                try Program.run("nbdcopy", "--flush", source, cluster.alpha.uri).expecting()
                try cluster.bravo.start()
                try Self.untilResyncRuns(cluster)
                try body(cluster, source)
            }
        }

        private static func untilResyncRuns(_ cluster: TestCluster, beyond bytes: UInt64 = 0) throws {
            try until("a resync that moves") {
                (try cluster.bravo.status().peer.resync?.doneBytes ?? 0) > bytes
            }
            #expect(try cluster.bravo.status().disk == "inconsistent")
            #expect(try cluster.bravo.status().peer.replication == "resync-target")
            #expect(try cluster.alpha.status().peer.replication == "resync-source")
        }

        private func expectContent(_ source: String, on node: TestNode) throws {
            try Program.run("qemu-img", "compare", "-f", "raw", "-F", "raw", source, node.uri).expecting()
        }

        @Test func `interrupted by the target's death, it resumes`() throws {
            try withSlowResync { cluster, source in
                for _ in 0..<3 {
                    let before = try cluster.alpha.status().peer.outOfSyncBytes
                    cluster.bravo.killDaemon()
                    try cluster.alpha.wait(for: "disconnected")
                    try cluster.bravo.start()
                    try Self.untilResyncRuns(cluster)
                    let after = try cluster.alpha.status().peer.outOfSyncBytes
                    // What arrived stays, except what the target's activity log marks again.
                    #expect(after <= before + 4 * mebibyte, "\(after) bytes to go after \(before)")
                }
                try cluster.bravo.wait(for: "in-sync")
                try cluster.alpha.demote()
                try cluster.bravo.promote()
                try expectContent(source, on: cluster.bravo)
            }
        }

        @Test func `interrupted by the source's death, it resumes; meanwhile the half copy is not promoted`() throws {
            try withSlowResync { cluster, source in
                cluster.alpha.killDaemon()
                try cluster.bravo.wait(for: "disconnected")
                let refused = try cluster.bravo.attempt("promote", "--timeout", "2s")
                #expect(refused.code == 3)
                #expect(refused.errors.hasPrefix("refused:") && refused.errors.contains("remedy:"))
                #expect(try cluster.bravo.status().role == "secondary")
                #expect(throws: NBDTrouble.self) { try NBDConnection(node: cluster.bravo) }
                try cluster.alpha.start()
                try cluster.alpha.promote()
                try cluster.bravo.wait(for: "in-sync")
                try expectContent(source, on: cluster.alpha)
                try cluster.alpha.demote()
                try cluster.bravo.promote()
                try expectContent(source, on: cluster.bravo)
            }
        }

        @Test func `interrupted by the link, under load, again and again`() throws {
            try withSlowResync { cluster, _ in
                let load = LoadClient(cluster.alpha, blocks: 2048, firstByte: 48 * mebibyte)
                try withLoadOnWrittenBlocks(load, cluster) {
                    for _ in 0..<5 {
                        cluster.link.cut()
                        pause(0.2)
                        cluster.link.pass()
                        pause(0.5)
                    }
                    try cluster.alpha.run(["resync", "rate", "r0", "auto"]).expecting()
                    for node in cluster.nodes { try node.wait(for: "in-sync") }
                }
                try load.verify(on: cluster.alpha)
                try cluster.alpha.demote()
                try cluster.bravo.promote()
                try load.verify(on: cluster.bravo)
            }
        }

        /// The load judges blocks from its own first write on, so those blocks begin as zeroes.
        private func withLoadOnWrittenBlocks(
            _ load: LoadClient, _ cluster: TestCluster, _ body: () throws -> Void
        ) throws {
            let zeroes = ["-f", "raw", "-c", "write -z 48M 8M", "-c", "flush", cluster.alpha.uri]
            try Program.run(["qemu-io"] + zeroes).expecting()
            try withLoad(load, body)
            load.stop()
        }

        @Test func `paused, it waits; resumed, it ends`() throws {
            try withSlowResync { cluster, source in
                try cluster.alpha.run(["resync", "pause", "r0"]).expecting()
                pause(0.5)
                let before = try cluster.alpha.status().peer.outOfSyncBytes
                pause(1)
                #expect(try cluster.alpha.status().peer.outOfSyncBytes == before)
                try cluster.alpha.run(["resync", "rate", "r0", "auto"]).expecting()
                try cluster.alpha.run(["resync", "resume", "r0"]).expecting()
                try cluster.bravo.wait(for: "in-sync")
                try expectContent(source, on: cluster.alpha)
            }
        }

        @Test func `a half copy that is forced to be primary is a split brain, not a source`() throws {
            try withSlowResync(comparing: false) { cluster, source in
                cluster.alpha.killDaemon()
                try cluster.bravo.promote("--force")
                #expect(try cluster.bravo.status().role == "primary")
                try cluster.alpha.start()
                try until("a split brain on alpha") { try cluster.alpha.status().peer.reason == "split-brain" }
                let difference = try firstDifference(source, cluster.alpha.diskPath, bytes: cluster.options.size)
                #expect(difference == nil, "the good copy was overwritten")
            }
        }
    }
}
