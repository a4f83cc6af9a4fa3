import Foundation
import Testing

extension EndToEnd {
    /// Both were promoted while apart: both say so, nothing moves until an administrator says whose writes go.
    @Suite struct SplitBrainTests {
        private let common = [UInt8](repeating: 0xcc, count: 4096)
        private let alphas = [UInt8](repeating: 0xaa, count: 4096)
        private let bravos = [UInt8](repeating: 0xbb, count: 4096)

        /// Block 0 is written by both, block 1 only by alpha, block 2 only by bravo, block 3 before the parting.
        private func withSplitBrain(comparing: Bool = true, _ body: (TestCluster) throws -> Void) throws {
            try withTwoHeads(comparing: comparing) { cluster in
                cluster.link.pass()
                for node in cluster.nodes {
                    try until("a split brain on \(node.name)") {
                        let peer = try node.status().peer
                        return peer.reason == "split-brain" && peer.connection == "standalone"
                    }
                }
                try body(cluster)
            }
        }

        /// The same while the link is still cut.
        private func withTwoHeads(
            policies: [String: String] = [:], comparing: Bool = true, _ body: (TestCluster) throws -> Void
        ) throws {
            try withCluster(.init(settings: policies), comparing: comparing) { cluster in
                try cluster.startWithPrimary()
                try write(common, block: 3, on: cluster.alpha)
                cluster.link.cut()
                try cluster.bravo.wait(for: "disconnected")
                try cluster.bravo.promote()
                for block: UInt64 in [0, 1] { try write(alphas, block: block, on: cluster.alpha) }
                for block: UInt64 in [0, 2] { try write(bravos, block: block, on: cluster.bravo) }
                try body(cluster)
            }
        }

        private func write(_ content: [UInt8], block: UInt64, on node: TestNode) throws {
            let connection = try NBDConnection(node: node)
            try connection.write(content, at: block * 4096, fua: true)
            connection.disconnect()
        }

        private func expectBlocks(_ contents: [[UInt8]?], on node: TestNode) throws {
            let connection = try NBDConnection(node: node)
            for (block, content) in contents.enumerated() {
                let found = try connection.read(at: UInt64(block) * 4096, length: 4096)
                let wanted = content ?? [UInt8](repeating: 0, count: 4096)
                #expect(found == wanted, "block \(block) on \(node.name) holds \(found[0])")
            }
            connection.disconnect()
        }

        @Test func `both sides report it, both keep their own, commands say so by their exit codes`() throws {
            try withSplitBrain(comparing: false) { cluster in
                for node in cluster.nodes {
                    let status = try node.status()
                    #expect(status.role == "primary")
                    #expect(try status.peer.message?.isEmpty == false)
                    let connect = try node.attempt("connect", "--timeout", "3s")
                    #expect(connect.code == 3)
                    #expect(connect.errors.contains("split"))
                    #expect(connect.errors.contains("--discard-my-data"), "no remedy: \(connect.errors)")
                    #expect(try node.attempt("wait", "--for", "in-sync", "--timeout", "500ms").code == 2)
                    #expect(node.log.contains("split"))
                }
                try expectBlocks([alphas, alphas, nil, common], on: cluster.alpha)
                try expectBlocks([bravos, nil, bravos, common], on: cluster.bravo)
            }
        }

        @Test func `it is still there after both were started anew`() throws {
            try withSplitBrain(comparing: false) { cluster in
                for node in cluster.nodes { node.killDaemon() }
                for node in cluster.nodes { try node.start() }
                for node in cluster.nodes {
                    try until("a split brain on \(node.name)") { try node.status().peer.reason == "split-brain" }
                }
            }
        }

        @Test func `the loser gives up its own blocks and equals the winner`() throws {
            try withSplitBrain { cluster in
                let early = try cluster.bravo.attempt("connect", "--discard-my-data")
                #expect(early.code == 3, "a primary gave up its data")
                try cluster.bravo.demote()
                try cluster.bravo.hablk("connect", "--discard-my-data")
                for node in cluster.nodes { try node.wait(for: "in-sync") }
                // The winner was primary all the time and was never disturbed.
                #expect(try cluster.alpha.status().role == "primary")
                try expectBlocks([alphas, alphas, nil, common], on: cluster.alpha)
                try cluster.alpha.demote()
                try cluster.bravo.promote()
                try expectBlocks([alphas, alphas, nil, common], on: cluster.bravo)
                let resync = try #require(try cluster.bravo.status().peer.lastResync)
                #expect(resync.bytes > 0 && resync.bytes <= 16 * mebibyte, "\(resync.bytes) bytes travelled")
            }
        }

        @Test func `by policy a losing primary's clients are ended, and it equals the winner`() throws {
            let policies = [
                "after-sb-0pri": "discard-node-bravo", "after-sb-2pri": "call-pri-lost-after-sb",
            ]
            try withTwoHeads(policies: policies) { cluster in
                let client = try NBDConnection(node: cluster.bravo)
                cluster.link.pass()
                for node in cluster.nodes { try node.wait(for: "in-sync") }
                #expect(try cluster.alpha.status().role == "primary")
                #expect(try cluster.bravo.status().role == "secondary")
                #expect(throws: (any Error).self) { _ = try client.read(at: 0, length: 4096) }
                for node in cluster.nodes {
                    #expect(node.log.contains("what bravo wrote since"), "\(node.name) does not say what went")
                }
                try expectBlocks([alphas, alphas, nil, common], on: cluster.alpha)
                try cluster.alpha.demote()
                try cluster.bravo.promote()
                try expectBlocks([alphas, alphas, nil, common], on: cluster.bravo)
            }
        }

        @Test func `by policy the secondary that changed less equals the primary`() throws {
            let policies = ["after-sb-0pri": "discard-least-changes", "after-sb-1pri": "consensus"]
            try withTwoHeads(policies: policies) { cluster in
                try write(bravos, block: 9, on: cluster.bravo)
                try cluster.alpha.demote()
                cluster.link.pass()
                for node in cluster.nodes { try node.wait(for: "in-sync") }
                #expect(try cluster.bravo.status().role == "primary")
                try expectBlocks([bravos, nil, bravos, common], on: cluster.bravo)
            }
        }

        @Test func `policies that differ are refused with both`() throws {
            try withCluster(comparing: false) { cluster in
                try cluster.create()
                let text = readText(cluster.bravo.configPath)
                try text.replacingOccurrences(
                    of: "quorum: off\n", with: "quorum: off\nafter-sb-1pri: discard-secondary\n"
                )
                .write(toFile: cluster.bravo.configPath, atomically: true, encoding: .utf8)
                for node in cluster.nodes { try node.start() }
                try until("a refusal") { try cluster.alpha.status().peer.message?.contains("after-sb") == true }
                let message = try #require(try cluster.alpha.status().peer.message)
                #expect(message.contains("discard-secondary"), "\(message)")
            }
        }

        @Test func `a dry run says what would go and changes nothing`() throws {
            try withSplitBrain(comparing: false) { cluster in
                try cluster.bravo.demote()
                let answer = try cluster.bravo.attempt("connect", "--discard-my-data", "--dry-run")
                #expect(!answer.output.isEmpty || !answer.errors.isEmpty)
                #expect(try cluster.bravo.status().peer.reason == "split-brain")
                // Whose copy counts is not decided yet: that takes a word more.
                let refused = try cluster.bravo.attempt("promote", "--timeout", "15s")
                #expect(refused.code == 3 && refused.errors.contains("split"))
                try cluster.bravo.promote("--force")
                try expectBlocks([bravos, nil, bravos, common], on: cluster.bravo)
            }
        }

        @Test func `a promotion apart without writes on the other side is no split brain`() throws {
            try withCluster { cluster in
                try cluster.startWithPrimary()
                try write(common, block: 3, on: cluster.alpha)
                cluster.alpha.killDaemon()
                try cluster.bravo.promote()
                try write(bravos, block: 0, on: cluster.bravo)
                try cluster.alpha.start()
                for node in cluster.nodes { try node.wait(for: "in-sync") }
                try expectBlocks([bravos, nil, nil, common], on: cluster.bravo)
            }
        }
    }
}
