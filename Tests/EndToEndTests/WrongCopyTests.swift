import Foundation
import Testing

extension EndToEnd {
    /// A copy is not what it should be: older, another's, cut off, or in use. It is noticed and named, nothing is lost.
    @Suite struct WrongCopyTests {
        /// Writes numbered blocks to the whole of a small region and returns the load that can judge them.
        private func written(_ node: TestNode, seed: UInt64) throws -> LoadClient {
            let load = LoadClient(node, blocks: 512, seed: seed)
            try withLoad(load) { try load.makeProgress(1000) }
            load.stop()
            return load
        }

        private func copy(_ from: String, _ to: String) throws {
            try Program.run("cp", "--sparse=always", from, to).expecting()
        }

        /// Rolled back: either the copy becomes a target and is filled, or it is refused by name; never used as it is.
        private func expectRollbackNoticed(_ cluster: TestCluster, _ load: LoadClient) throws {
            try until("the old copy noticed", seconds: 10) {
                try cluster.nodes.contains { node in
                    let reason = try node.status().peer.reason
                    return reason == "rolled-back" || node.log.contains("rolled-back")
                        || node.log.contains("rolled back")
                }
            }
            if try cluster.bravo.status().peer.reason == "rolled-back" {
                #expect(try cluster.bravo.attempt("promote", "--timeout", "1s").code == 3)
                try cluster.bravo.hablk("invalidate")
                try cluster.bravo.hablk("connect")
            }
            for node in cluster.nodes { try node.wait(for: "in-sync") }
            try load.verify(on: cluster.alpha)
            try cluster.alpha.demote()
            try cluster.bravo.promote()
            try load.verify(on: cluster.bravo)
        }

        @Test func `an old copy of a stopped node's file is noticed`() throws {
            try withCluster { cluster in
                try cluster.startWithPrimary()
                try cluster.bravo.down()
                try copy(cluster.bravo.diskPath, cluster.folder + "/old.img")
                try cluster.bravo.start()
                try cluster.bravo.wait(for: "in-sync")
                let load = try written(cluster.alpha, seed: 3)
                cluster.bravo.killDaemon()
                try copy(cluster.folder + "/old.img", cluster.bravo.diskPath)
                try cluster.bravo.start()
                try expectRollbackNoticed(cluster, load)
            }
        }

        @Test func `an old copy taken while the node ran, with no disconnect in between, is noticed`() throws {
            try withCluster { cluster in
                try cluster.startWithPrimary()
                cluster.bravo.freeze()
                try copy(cluster.bravo.diskPath, cluster.folder + "/old.img")
                cluster.bravo.thaw()
                for node in cluster.nodes { try node.wait(for: "in-sync") }
                let load = try written(cluster.alpha, seed: 4)
                cluster.bravo.killDaemon()
                try copy(cluster.folder + "/old.img", cluster.bravo.diskPath)
                try cluster.bravo.start()
                try expectRollbackNoticed(cluster, load)
            }
        }

        @Test func `a disk of another volume is refused on both sides and stays as it is`() throws {
            try withCluster(comparing: false) { cluster in
                try cluster.startWithPrimary()
                let load = try written(cluster.alpha, seed: 5)
                try cluster.bravo.down()
                try withCluster { stranger in
                    try stranger.startWithPrimary()
                    let theirs = try written(stranger.alpha, seed: 6)
                    try theirs.verify(on: stranger.alpha)
                    try stranger.alpha.demote()
                    try stranger.bravo.down()
                    try copy(stranger.bravo.diskPath, cluster.bravo.diskPath)
                    try stranger.bravo.start()
                }
                try copy(cluster.bravo.diskPath, cluster.folder + "/stranger.img")
                try cluster.bravo.start()
                for node in cluster.nodes {
                    try until("unrelated data named on \(node.name)") {
                        try node.status().peer.reason == "unrelated-data"
                    }
                }
                #expect(try cluster.bravo.attempt("connect", "--timeout", "2s").code == 3)
                try load.verify(on: cluster.alpha)
                let changed = try firstDifference(
                    cluster.folder + "/stranger.img", cluster.bravo.diskPath, bytes: cluster.options.size)
                #expect(changed == nil, "the other volume's data was overwritten")
            }
        }

        @Test(arguments: [false, true])
        func `a truncated file is refused`(externalMetadata: Bool) throws {
            try withCluster(.init(externalMetadata: externalMetadata), comparing: false) { cluster in
                try cluster.startWithPrimary()
                let load = try written(cluster.alpha, seed: 7)
                try cluster.bravo.down()
                #expect(truncate(cluster.bravo.diskPath, Int(cluster.options.size / 2)) == 0)
                try cluster.bravo.launch()
                let daemon = try #require(cluster.bravo.daemon)
                #expect(try daemon.waitForExit(seconds: 10) == 3)
                #expect(cluster.bravo.log.contains("refused:") && cluster.bravo.log.contains("remedy:"))
                var facts = stat()
                stat(cluster.bravo.diskPath, &facts)
                #expect(UInt64(facts.st_size) == cluster.options.size / 2, "the file was changed")
                try load.verify(on: cluster.alpha)
            }
        }

        @Test func `damaged metadata is refused by name`() throws {
            try withCluster(.init(externalMetadata: true), comparing: false) { cluster in
                try cluster.startInSync()
                try cluster.bravo.down()
                let path = try #require(cluster.bravo.metadataPath)
                let size = try #require(FileManager.default.contents(atPath: path)?.count)
                try Data(repeating: 0x5a, count: size).write(to: URL(fileURLWithPath: path))
                try cluster.bravo.launch()
                #expect(try cluster.bravo.daemon?.waitForExit(seconds: 10) == 3)
                #expect(["metadata-damaged", "no-metadata"].contains { cluster.bravo.log.contains($0) })
            }
        }

        @Test func `a second daemon on the same disk is refused, also from other folders`() throws {
            try withCluster { cluster in
                try cluster.startWithPrimary()
                for runtime in [cluster.alpha.runtimeFolder, cluster.folder + "/elsewhere"] {
                    var environment = cluster.alpha.environment
                    environment["HABLK_RUNTIME_DIR"] = runtime
                    let second = try Program.run(["hablk", "run", "r0"], environment: environment, seconds: 10)
                    #expect(second.code == 3)
                    #expect(second.errors.contains("in-use") || second.errors.contains("in use"))
                    #expect(second.errors.contains("remedy:"))
                }
                let load = try written(cluster.alpha, seed: 8)
                try load.verify(on: cluster.alpha)
            }
        }

        @Test func `create refuses a disk that has metadata, and one that bears data`() throws {
            try withCluster(comparing: false) { cluster in
                try cluster.create()
                let again = try cluster.alpha.attempt("create", "--json")
                #expect(again.code == 3)
                #expect((again.output + again.errors).contains("has-metadata"))
                unlink(cluster.alpha.diskPath)
                try Program.run("mke2fs", "-q", "-F", cluster.alpha.diskPath, "80M").expecting()
                let before = FileManager.default.contents(atPath: cluster.alpha.diskPath)
                #expect(try cluster.alpha.attempt("create").code == 3)
                #expect(FileManager.default.contents(atPath: cluster.alpha.diskPath) == before)
            }
        }
    }
}
