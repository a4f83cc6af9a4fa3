import Foundation
import Testing

extension EndToEnd {
    /// Disks and machines that were copied: clones, snapshots, backups. Noticed and named, or harmless; never believed.
    @Suite struct CopiedDiskTests {
        private func copy(_ from: String, _ to: String) throws {
            try Program.run("cp", "--sparse=always", from, to).expecting()
        }

        /// The disk as a snapshot of the machine would have it.
        private func snapshot(_ node: TestNode, as name: String) throws -> String {
            let path = "\(node.folder)/\(name).img"
            node.freeze()
            try until("\(node.name) is frozen") { node.isFrozen }
            try copy(node.diskPath, path)
            node.thaw()
            return path
        }

        private func written(_ node: TestNode, _ load: LoadClient, _ count: Int = 300) throws {
            load.redirect(to: node)
            try withLoad(load) { try load.makeProgress(count) }
            load.stop()
        }

        @Test func `the other node's disk in place of one's own is refused and stays as it is`() throws {
            try withCluster(comparing: false) { cluster in
                try cluster.startWithPrimary()
                let load = LoadClient(cluster.alpha, blocks: 256, seed: 61)
                try written(cluster.alpha, load)
                try cluster.bravo.down()
                try copy(try snapshot(cluster.alpha, as: "clone"), cluster.bravo.diskPath)
                try cluster.bravo.launch()
                #expect(try cluster.bravo.daemon?.waitForExit(seconds: 10) == 3)
                #expect(cluster.bravo.log.contains("refused:") && cluster.bravo.log.contains("is the copy of"))
                let bytes = cluster.options.size
                #expect(
                    try firstDifference(cluster.bravo.diskPath, cluster.alpha.folder + "/clone.img", bytes: bytes)
                        == nil)
                try written(cluster.alpha, load)
                try load.verify(on: cluster.alpha)
            }
        }

        /// Another machine that bears alpha's name, id and disk, with folders and a port of its own.
        private func clone(of alpha: TestNode, in cluster: TestCluster) throws -> TestNode {
            let clone = try TestNode(name: "alpha", volume: "r0", folder: cluster.folder + "/clone")
            try copy(try snapshot(alpha, as: "cloned"), clone.diskPath)
            try cluster.configuration(for: alpha)
                .replacingOccurrences(of: alpha.diskPath, with: clone.diskPath)
                .replacingOccurrences(
                    of: "listen: \"127.0.0.1:\(alpha.port)\"", with: "listen: \"127.0.0.1:\(clone.port)\""
                )
                .write(toFile: clone.configPath, atomically: true, encoding: .utf8)
            return clone
        }

        @Test func `a clone of a running primary is noticed; the original goes on and has all that it acknowledged`()
            throws
        {
            // The peer cannot tell which of two with one identity is the older, and stays apart from the original, which is
            // therefore what is judged.
            try withCluster(comparing: false) { cluster in
                try cluster.startWithPrimary()
                let load = LoadClient(cluster.alpha, blocks: 256, seed: 62)
                try withLoad(load) {
                    let clone = try clone(of: cluster.alpha, in: cluster)
                    for node in cluster.nodes { try node.wait(for: "in-sync") }
                    try load.makeProgress()
                    try clone.start()
                    defer { clone.killDaemon() }
                    try until("two copies with one identity named") {
                        try cluster.nodes.contains { try $0.status().peer.reason == "rolled-back" }
                            || clone.status().peer.reason == "rolled-back"
                    }
                    try load.makeProgress()
                }
                load.stop()
                #expect(try cluster.alpha.status().role == "primary")
                try load.verify(on: cluster.alpha)
            }
        }

        /// An old primary's disk is what it was before its last writes, which went to the same extents as those before, or
        /// to others. What lies in the log's extents anyway is copied without a word; anything else is refused.
        @Test(arguments: [false, true])
        func `an old primary's disk that was rolled back is never believed`(wroteElsewhere: Bool) throws {
            try withCluster { cluster in
                try cluster.startWithPrimary()
                let load = LoadClient(cluster.alpha, blocks: 256, seed: 63)
                let later = LoadClient(cluster.alpha, blocks: 256, firstByte: 32 * mebibyte, spacing: 65536, seed: 67)
                try written(cluster.alpha, load)
                let old = try snapshot(cluster.alpha, as: "old")
                for node in cluster.nodes { try node.wait(for: "in-sync") }
                try written(cluster.alpha, load)
                if wroteElsewhere { try written(cluster.alpha, later) }
                cluster.alpha.killDaemon()
                try cluster.bravo.wait(for: "disconnected")
                try cluster.bravo.promote()
                try written(cluster.bravo, load)
                try copy(old, cluster.alpha.diskPath)
                try cluster.alpha.start()
                if wroteElsewhere {
                    for node in cluster.nodes {
                        try until("rolled back named on \(node.name)") {
                            try node.status().peer.reason == "rolled-back"
                        }
                    }
                    #expect(try cluster.bravo.status().role == "primary")
                    try later.verify(on: cluster.bravo)
                    try cluster.alpha.hablk("invalidate")
                    try cluster.alpha.hablk("connect")
                    _ = try cluster.bravo.attempt("connect")
                }
                for node in cluster.nodes { try node.wait(for: "in-sync") }
                try cluster.bravo.demote()
                try cluster.alpha.promote()
                try load.verify(on: cluster.alpha)
                try later.verify(on: cluster.alpha)
            }
        }

        @Test func `a rolled-back disk that is all there is counts when it is told so, and fills its peer's new disk`()
            throws
        {
            try withCluster { cluster in
                try cluster.startWithPrimary()
                let load = LoadClient(cluster.alpha, blocks: 256, seed: 68)
                try written(cluster.alpha, load)
                let old = try snapshot(cluster.bravo, as: "old")
                for node in cluster.nodes { try node.wait(for: "in-sync") }
                let later = LoadClient(cluster.alpha, blocks: 256, firstByte: 32 * mebibyte, spacing: 65536, seed: 69)
                try written(cluster.alpha, later)
                cluster.bravo.killDaemon()
                try copy(old, cluster.bravo.diskPath)
                try cluster.bravo.start()
                try until("rolled back named on bravo") { try cluster.bravo.status().peer.reason == "rolled-back" }
                cluster.alpha.killDaemon()
                #expect(try cluster.bravo.attempt("promote", "--timeout", "1s").code == 3)
                try cluster.bravo.promote("--force")
                unlink(cluster.alpha.diskPath)
                try cluster.alpha.hablk("create")
                try cluster.alpha.start()
                _ = try cluster.bravo.attempt("connect")
                for node in cluster.nodes { try node.wait(for: "in-sync", seconds: 20) }
                try cluster.bravo.demote()
                try cluster.alpha.promote()
            }
        }

        @Test func `a rolled-back disk that was promoted apart overwrites nothing`() throws {
            try withCluster(comparing: false) { cluster in
                try cluster.startWithPrimary()
                let load = LoadClient(cluster.alpha, blocks: 256, seed: 64)
                try written(cluster.alpha, load)
                try cluster.alpha.demote()
                let old = try snapshot(cluster.bravo, as: "old")
                try cluster.alpha.promote()
                for node in cluster.nodes { try node.wait(for: "in-sync") }
                try written(cluster.alpha, load)
                try cluster.alpha.demote()
                for node in cluster.nodes { node.killDaemon() }
                // Alone nothing can tell it that it is old. Its own writes then make it a line of its own.
                try copy(old, cluster.bravo.diskPath)
                try cluster.bravo.start()
                try cluster.bravo.promote()
                let apart = LoadClient(cluster.bravo, blocks: 64, firstByte: 32 * mebibyte, seed: 65)
                try written(cluster.bravo, apart)
                try cluster.alpha.start()
                for node in cluster.nodes {
                    try until("noticed on \(node.name)") {
                        let peer = try node.status().peer
                        return peer.connection == "standalone" && ["rolled-back", "split-brain"].contains(peer.reason)
                    }
                }
                try apart.verify(on: cluster.bravo)
                try cluster.bravo.demote()
                try cluster.bravo.down()
                try cluster.alpha.promote("--force")
                try load.verify(on: cluster.alpha)
            }
        }

        @Test func `both restored to one moment are in sync, and no false alarm is raised`() throws {
            try withCluster { cluster in
                try cluster.startWithPrimary()
                let load = LoadClient(cluster.alpha, blocks: 256, seed: 66)
                try written(cluster.alpha, load)
                let then = load.presentHistories
                for node in cluster.nodes { node.freeze() }
                for node in cluster.nodes { try copy(node.diskPath, node.folder + "/backup.img") }
                for node in cluster.nodes { node.thaw() }
                for node in cluster.nodes { try node.wait(for: "in-sync") }
                try written(cluster.alpha, load)
                for node in cluster.nodes { node.killDaemon() }
                for node in cluster.nodes { try copy(node.folder + "/backup.img", node.diskPath) }
                for node in cluster.nodes { try node.start() }
                for node in cluster.nodes { try node.wait(for: "in-sync") }
                try cluster.alpha.promote()
                var histories = then
                try load.verify(&histories, on: cluster.alpha)
            }
        }
    }
}
