import Foundation
import Testing

extension EndToEnd {
    /// The primary's disk fails. Clients notice nothing: the peer has the data; a new disk is filled from it.
    @Suite struct DiskFaultTests {
        private static let badPlace = 32 * mebibyte

        private func withFailingDisk(
            _ fault: FaultyDisk.Fault, _ body: (TestCluster, NBDConnection, FaultyDisk) throws -> Void
        ) throws {
            var disk: FaultyDisk?
            var options = TestCluster.Options(externalMetadata: true)
            options.createOptions = ["--assume-identical"]
            options.prepareDisks = { cluster in
                let path = cluster.alpha.diskPath
                let failing = try FaultyDisk(
                    path: path, bytes: cluster.options.size, failing: fault, at: Self.badPlace)
                disk = failing
                cluster.atEnd { failing.remove() }
                try Data().write(to: URL(fileURLWithPath: cluster.bravo.diskPath))
                guard truncate(cluster.bravo.diskPath, Int(cluster.options.size)) == 0 else {
                    throw Trouble("no disk for bravo")
                }
            }
            try withCluster(options) { cluster in
                try cluster.startWithPrimary()
                let client = try NBDConnection(node: cluster.alpha)
                try client.write(NumberedBlock.content(write: 1, block: 1), at: 4096)
                try body(cluster, client, try #require(disk))
            }
        }

        /// Everything is there through the peer; a new disk takes the failed one's place and is filled.
        private func expectServedAndReplaced(
            _ cluster: TestCluster, _ client: NBDConnection, _ disk: FaultyDisk, blocks: [Int: UInt64]
        ) throws {
            try until("alpha without its disk") { try cluster.alpha.status().disk == "diskless" }
            #expect(try cluster.alpha.status().role == "primary")
            #expect(try cluster.bravo.status().peer.disk == "diskless")
            try client.write(NumberedBlock.content(write: 50, block: 5), at: 5 * 4096, fua: true)
            try client.flush()
            var expected = blocks
            expected[5] = 50
            try expectBlocks(expected, client)
            _ = try cluster.alpha.attempt("detach")
            disk.remove()
            for path in [cluster.alpha.metadataPath, cluster.alpha.diskPath] { unlink(try #require(path)) }
            try cluster.alpha.hablk("create")
            try cluster.alpha.hablk("attach")
            for node in cluster.nodes { try node.wait(for: "in-sync") }
            try expectBlocks(expected, client)
            client.disconnect()
        }

        private func expectBlocks(_ blocks: [Int: UInt64], _ client: NBDConnection) throws {
            for (block, write) in blocks {
                let found = try client.read(at: UInt64(block) * 4096, length: 4096)
                #expect(found == NumberedBlock.content(write: write, block: block), "block \(block)")
            }
        }

        @Test func `a write that fails is acknowledged by the peer's disk`() throws {
            try withFailingDisk(.write) { cluster, client, disk in
                let bad = Int(Self.badPlace / 4096)
                try client.write(NumberedBlock.content(write: 2, block: bad), at: Self.badPlace)
                try expectServedAndReplaced(cluster, client, disk, blocks: [1: 1, bad: 2])
            }
        }

        @Test func `a read that fails is answered by the peer`() throws {
            try withFailingDisk(.read) { cluster, client, disk in
                let bad = Int(Self.badPlace / 4096)
                try client.write(NumberedBlock.content(write: 2, block: bad), at: Self.badPlace)
                let found = try client.read(at: Self.badPlace, length: 4096)
                #expect(found == NumberedBlock.content(write: 2, block: bad))
                try expectServedAndReplaced(cluster, client, disk, blocks: [1: 1, bad: 2])
            }
        }

        @Test func `a flush that fails is never tried again on that disk`() throws {
            try withFailingDisk(.flush) { cluster, client, disk in
                try client.flush()
                try expectServedAndReplaced(cluster, client, disk, blocks: [1: 1])
            }
        }

        @Test func `the last good copy is not detached`() throws {
            try withCluster { cluster in
                try cluster.startWithPrimary()
                try cluster.bravo.down()
                let refused = try cluster.alpha.attempt("detach")
                #expect(refused.code == 3)
                #expect(refused.errors.contains("remedy:"))
                #expect(try cluster.alpha.status().disk == "up-to-date")
                try cluster.bravo.start()
                try cluster.bravo.wait(for: "in-sync")
            }
        }

        @Test func `a full disk fails create with a reason and leaves nothing`() throws {
            try withCluster(comparing: false) { cluster in
                let mountpoint = cluster.folder + "/small"
                try FileManager.default.createDirectory(atPath: mountpoint, withIntermediateDirectories: false)
                try Program.run("mount", "-t", "tmpfs", "-o", "size=64k", "hablk-test", mountpoint).expecting()
                cluster.atEnd { _ = try? Program.run("umount", mountpoint) }
                cluster.alpha.diskPath = mountpoint + "/disk.img"
                try cluster.writeConfigurations()
                let answer = try cluster.alpha.attempt("create")
                #expect(answer.code == 1 || answer.code == 3, "\(answer)")
                #expect(!answer.errors.isEmpty)
                #expect(!FileManager.default.fileExists(atPath: cluster.alpha.diskPath), "half a disk was left")
            }
        }
    }
}
