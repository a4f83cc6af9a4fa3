import Foundation
import Testing

extension EndToEnd {
    /// `verify`: real digests of real disks, under load.
    @Suite struct VerifyTests {
        /// Other bytes in a block of a node's disk, beneath its daemon.
        private func spoil(_ node: TestNode, at offset: UInt64, length: UInt64 = 4096) throws {
            try Program.run(
                "dd", "if=/dev/urandom", "of=\(node.diskPath)", "bs=4096", "count=\(length / 4096)",
                "seek=\(offset / 4096)", "conv=notrunc,fsync"
            ).expecting()
        }

        private func verify(_ node: TestNode, _ options: String...) throws -> CommandResult {
            try node.run(["verify", "r0", "--wait", "--rate", "1GiB/s"] + options, seconds: 120)
        }

        @Test func `a block that rots is found under load, exactly it, and is remembered`() throws {
            try withCluster(comparing: false) { cluster in
                try cluster.startWithPrimary()
                let load = LoadClient(cluster.alpha, blocks: 2048)
                try withLoad(load) {
                    let clean = try verify(cluster.alpha)
                    #expect(clean.code == 0 && clean.output.hasPrefix("bravo: equal; 64 MiB compared"), "\(clean)")
                    try spoil(cluster.bravo, at: 40 * mebibyte)
                    let found = try verify(cluster.alpha, "--json")
                    #expect(found.code == 1, "\(found)")
                    #expect(found.output.contains("\"result\": \"differs\""))
                }
                #expect(load.report.mismatches.isEmpty)
                let last = try #require(try cluster.alpha.status().peer.lastVerify)
                #expect(last.result == "differs" && last.differingBytes == 4096 && last.comparedBytes == 64 * mebibyte)
                #expect(last.differing == [.init(offset: 40 * mebibyte, length: 4096)])
                #expect(try cluster.alpha.attempt("status").output.contains("verified with bravo"))
                try load.verify(on: cluster.alpha)

                let unnamed = try cluster.alpha.attempt("verify", "--repair")
                #expect(unnamed.code == 3 && unnamed.errors.contains("--repair --from alpha, or --from bravo"))
                let elsewhere = try verify(cluster.bravo)
                #expect(elsewhere.code == 3 && elsewhere.errors.contains("remedy: on alpha: hablk verify r0"))
                try cluster.alpha.demote()
                try cluster.alpha.down()
                try cluster.alpha.start()
                try cluster.alpha.wait(for: "connected")
                let kept = try #require(try cluster.alpha.status().peer.lastVerify)
                #expect(kept.result == "differs" && kept.ended == last.ended && kept.differing == last.differing)
            }
        }

        @Test
        func `what was found stays known when the primary is killed in the middle, and is repaired by its next run`()
            throws
        {
            try withCluster { cluster in
                try cluster.startWithPrimary()
                try spoil(cluster.bravo, at: 4 * mebibyte)
                try cluster.alpha.hablk("verify", "--rate", "4MiB/s")
                let memory = "\(cluster.alpha.folder)/state/r0.verified"
                try until("the first difference, written down") {
                    (try? String(contentsOfFile: memory, encoding: .utf8))?.contains("\"1024+1\"") == true
                }
                cluster.alpha.killDaemon()
                try cluster.alpha.start()
                try cluster.alpha.wait(for: "connected")
                let kept = try #require(try cluster.alpha.status().peer.lastVerify)
                #expect(kept.result == "differs" && kept.message == "this node's daemon ended" && kept.completed == nil)
                #expect(kept.differing == [.init(offset: 4 * mebibyte, length: 4096)])
                try cluster.alpha.promote()
                try cluster.alpha.wait(for: "in-sync")
                try cluster.alpha.hablk("verify", "--repair", "--from", "alpha")
                #expect(try verify(cluster.alpha).code == 0)
                #expect(try cluster.alpha.status().peer.lastVerify?.differing.isEmpty == true)
            }
        }

        @Test func `what differs gets what the named copy has, under load`() throws {
            try withCluster { cluster in
                try cluster.startWithPrimary()
                let load = LoadClient(cluster.alpha, blocks: 2048)
                try withLoad(load) {
                    try spoil(cluster.bravo, at: 40 * mebibyte, length: 16384)
                    #expect(try verify(cluster.alpha).code == 1)
                    try cluster.alpha.hablk("verify", "--repair", "--from", "alpha")
                    #expect(try verify(cluster.alpha).code == 0)
                    #expect(try firstByte(of: cluster.bravo, at: 40 * mebibyte + 8192) == 0)

                    try spoil(cluster.bravo, at: 48 * mebibyte)
                    #expect(try verify(cluster.alpha).code == 1)
                    try cluster.alpha.hablk("verify", "--repair", "--from", "bravo")
                    #expect(try verify(cluster.alpha).code == 0)
                    let again = try cluster.alpha.attempt("verify", "--repair", "--from", "bravo")
                    #expect(again.code == 3 && again.errors.contains("nothing-to-repair"))
                }
                #expect(load.report.mismatches.isEmpty)
                try load.verify(on: cluster.alpha)
            }
        }

        private func firstByte(of node: TestNode, at offset: UInt64) throws -> UInt8? {
            let file = try FileHandle(forReadingFrom: URL(fileURLWithPath: node.diskPath))
            try file.seek(toOffset: offset)
            return try file.read(upToCount: 1)?.first
        }

        @Test func `a cut link ends it, and status says where; it can be stopped`() throws {
            try withCluster { cluster in
                try cluster.startWithPrimary()
                try cluster.alpha.hablk("verify", "--rate", "4MiB/s")
                #expect(try cluster.alpha.status().peer.replication == "verify")
                try until("a comparison that moves") {
                    (try cluster.alpha.status().peer.verify?.doneBytes ?? 0) > 4 * mebibyte
                }
                let second = try cluster.alpha.attempt("verify")
                #expect(second.code == 3 && second.errors.contains("busy"))
                cluster.link.cut()
                try until("its end") { try cluster.alpha.status().peer.verify == nil }
                let last = try #require(try cluster.alpha.status().peer.lastVerify)
                #expect(last.result == "interrupted" && last.reachedBytes >= 4 * mebibyte && last.completed == nil)
                cluster.link.pass()
                try cluster.alpha.wait(for: "in-sync")
                try cluster.alpha.hablk("verify", "--rate", "4MiB/s")
                try cluster.alpha.hablk("verify", "--stop")
                #expect(try cluster.alpha.status().peer.lastVerify?.result == "stopped")
            }
        }

        @Test func `with verify-every it runs by itself`() throws {
            try withCluster(.init(settings: ["verify-every": "2s", "verify-rate": "1GiB/s"])) { cluster in
                try cluster.startWithPrimary()
                try until("the first", seconds: 30) { try cluster.alpha.status().peer.lastVerify?.completed != nil }
                let first = try #require(try cluster.alpha.status().peer.lastVerify?.completed)
                try until("the next", seconds: 30) {
                    (try cluster.alpha.status().peer.lastVerify?.completed ?? 0) > first
                }
                #expect(try cluster.alpha.status().peer.lastVerify?.result == "equal")
            }
        }
    }
}
