import Foundation
import Testing

extension EndToEnd {
    /// Copies that writes need not wait for, beside a majority.
    @Suite struct MixedTests {
        private func options(_ copies: Int, far: String, _ settings: [String: String] = [:]) -> QuorumCluster.Options {
            var options = QuorumCluster.Options(copies: copies, hasWitness: copies == 2)
            options.settings = ["timeout": "60s", "send-buffer": "4MiB"].merging(settings) { $1 }
            options.modes = [far: "async"]
            return options
        }

        @Test func `two near copies do not wait for a far one, and lose nothing with their primary`() throws {
            try withQuorumCluster(options(3, far: "charlie")) { cluster in
                try cluster.startWithPrimary()
                let modes = try cluster.alpha.status().peers.map { "\($0.node) \($0.mode)" }
                #expect(modes == ["bravo sync", "charlie async"])
                // Not a word of the far one: neither writes, nor flushes, nor reads wait for it, past its lease.
                cluster.hold(cluster.alpha, cluster.charlie)
                cluster.hold(cluster.bravo, cluster.charlie)
                let client = try NBDConnection(node: cluster.alpha)
                let began = now()
                var latest = [[UInt8]](repeating: [], count: 512)
                var written = 0
                var longest = 0.0
                while written < 512 || written < 900 && now() < began + 2 {
                    let block = written % latest.count
                    let asked = now()
                    latest[block] = NumberedBlock.content(write: UInt64(written + 1), block: block)
                    try client.write(latest[block], at: (12_288 + UInt64(block)) * 4096)
                    try client.flush()
                    #expect(try client.read(at: (12_288 + UInt64(block)) * 4096, length: 4096) == latest[block])
                    longest = max(longest, now() - asked)
                    written += 1
                }
                #expect(longest < 2, "beside a silent copy one of \(written) writes took \(longest) s")
                let far = try #require(try cluster.alpha.status().peers.first { $0.node == "charlie" })
                #expect(far.lagBytes > 0 && far.lagSeconds > 0)
                client.disconnect()

                // Now it is only slow, and behind when the primary dies.
                cluster.slow(cluster.alpha, cluster.charlie, bytesPerSecond: 64 << 10)
                cluster.healDroppingHeld()
                let load = LoadClient(cluster.alpha)
                try withLoad(load) {
                    try load.makeProgress(300)
                    cluster.alpha.killDaemon()
                    try cluster.bravo.promote()
                    let reader = try NBDConnection(node: cluster.bravo)
                    for (block, content) in latest.enumerated() {
                        #expect(try reader.read(at: (12_288 + UInt64(block)) * 4096, length: 4096) == content)
                    }
                    reader.disconnect()
                    load.redirect(to: cluster.bravo)
                    try load.makeProgress(300)
                    try cluster.alpha.start()
                    for node in cluster.copies { try node.wait(for: "in-sync", seconds: 90) }
                }
                try load.verify(on: cluster.bravo)
            }
        }

        @Test func `the far copy alone is promoted on a word only, and drops an end of what was written`() throws {
            try withQuorumCluster(options(2, far: "bravo")) { cluster in
                try cluster.startWithPrimary()
                let client = try NBDConnection(node: cluster.alpha)
                var written = 0
                func write(_ count: Int) throws {
                    for _ in 0..<count {
                        try client.write(
                            NumberedBlock.content(write: UInt64(written + 1), block: written),
                            at: UInt64(written) * 4096)
                        try client.flush()
                        written += 1
                    }
                }
                try write(60)
                try until("all is there", seconds: 20) {
                    try cluster.alpha.status().peers.first { $0.node == "bravo" }?.lagBytes == 0
                }
                cluster.hold(cluster.alpha, cluster.bravo)
                try write(60)
                cluster.alpha.killDaemon()
                cluster.healDroppingHeld()
                try cluster.bravo.wait(for: "disconnected --peer alpha")

                let refused = try cluster.bravo.attempt("promote", "--timeout", "5s")
                #expect(refused.code == 3 && refused.errors.contains("data-loss"), "\(refused)")
                #expect(refused.errors.contains("--accept-data-loss --peer-fenced alpha"), "\(refused)")
                #expect(try cluster.bravo.status().reason == "data-loss")
                let halfSaid = try cluster.bravo.attempt("promote", "--accept-data-loss", "--timeout", "5s")
                #expect(halfSaid.code == 3 && halfSaid.errors.contains("--peer-fenced alpha"), "\(halfSaid)")
                try cluster.bravo.promote("--accept-data-loss", "--peer-fenced", "alpha")
                #expect(cluster.bravo.log.contains("data loss accepted"))

                let reader = try NBDConnection(node: cluster.bravo)
                var present = 0
                for block in 0..<written {
                    let found = try reader.read(at: UInt64(block) * 4096, length: 4096)
                    if found == NumberedBlock.content(write: UInt64(block + 1), block: block) {
                        #expect(present == block, "block \(block) is there, \(present) is not")
                        present = block + 1
                    } else {
                        #expect(found == NumberedBlock.content(write: 0, block: block))
                    }
                }
                #expect(present >= 60, "\(present) of \(written)")
                reader.disconnect()
                try cluster.alpha.start()
                for node in cluster.copies { try node.wait(for: "in-sync") }
                #expect(try cluster.alpha.status().role == "secondary")
            }
        }
    }
}
