import Foundation
import Testing

extension EndToEnd {
    /// Writes that are answered before the other node has them on its disk: `memory` and `async`.
    @Suite struct ModeTests {
        private func options(_ settings: [String: String]) -> TestCluster.Options {
            var options = TestCluster.Options()
            options.settings = ["replication": "async", "send-buffer": "1MiB", "timeout": "60s"].merging(settings) {
                $1
            }
            return options
        }

        @Test(arguments: ["memory", "async"])
        func `no acknowledged write is lost by blips and a handed-over role`(mode: String) throws {
            try withCluster(options(["replication": mode])) { cluster in
                try cluster.startWithPrimary()
                #expect(try cluster.alpha.status().peer.mode == mode)
                let load = LoadClient(cluster.alpha)
                try withLoad(load) {
                    for _ in 0..<3 {
                        cluster.link.hold()
                        pause(0.5)
                        cluster.link.passDroppingHeld()
                        for node in cluster.nodes { try node.wait(for: "in-sync") }
                        try load.makeProgress(200)
                    }
                }
                #expect(load.report.connections == 1, "the client noticed it")
                try load.verify(on: cluster.alpha)
                // A demotion waits until the other has everything.
                try cluster.alpha.demote()
                try cluster.bravo.promote()
                try load.verify(on: cluster.bravo)
            }
        }

        @Test func `while the link is silent writes go on into the send buffer, and wait when it is full`() throws {
            try withCluster(options([:])) { cluster in
                try cluster.startWithPrimary()
                let client = try NBDConnection(node: cluster.alpha)
                cluster.link.hold()
                let began = now()
                var sent = 0
                // 256 blocks fill it; the next write waits.
                while sent < 1000 {
                    try client.sendRequest(
                        .write, cookie: UInt64(sent), offset: UInt64(sent) * 4096, length: 4096,
                        payload: NumberedBlock.content(write: UInt64(sent + 1), block: sent))
                    sent += 1
                    guard isReadable(client.descriptor, milliseconds: 1000) else { break }
                    #expect(try client.receiveReply().error == 0)
                }
                #expect(sent == 257, "the buffer took \(sent - 1) writes")
                // Reads and flushes need nothing of the other node.
                let reader = try NBDConnection(node: cluster.alpha)
                #expect(try reader.read(at: 4096, length: 4096) == NumberedBlock.content(write: 2, block: 1))
                let lag = try cluster.alpha.status().peer
                let age = now() - began
                #expect(lag.lagBytes == 1 << 20)
                #expect(lag.lagSeconds > age - 1.5 && lag.lagSeconds < age + 0.1, "\(lag.lagSeconds) s after \(age) s")
                let table = try cluster.alpha.attempt("status").expecting(0).output
                #expect(table.contains("bravo (async) lags: 1 MiB"), "\(table)")
                cluster.link.pass()
                #expect(try client.receiveReply().error == 0)
                try until("the lag is gone", seconds: 20) { try cluster.alpha.status().peer.lagBytes == 0 }
                #expect(try cluster.alpha.status().peer.lagSeconds == 0)
            }
        }

        @Test func `max-lag bounds how old the oldest unsent write gets`() throws {
            try withCluster(options(["max-lag": "1s", "send-buffer": "64MiB"])) { cluster in
                try cluster.startWithPrimary()
                let load = LoadClient(cluster.alpha)
                try withLoad(load) {
                    cluster.link.hold()
                    pause(3)
                    let stopped = load.report.acknowledgedWrites
                    pause(0.5)
                    #expect(load.report.acknowledgedWrites == stopped, "writes went on beyond the lag")
                    cluster.link.pass()
                    try load.makeProgress(200)
                }
                #expect(load.report.longestStall > 1)
                try load.verify(on: cluster.alpha)
            }
        }

        /// A writer at depth 1 with a flush after each write: what the copy has is a beginning of that.
        @Test(arguments: 0..<3)
        func `a promotion without the primary needs a word, and drops an end of what was written`(round: Int) throws {
            try withCluster(options([:])) { cluster in
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
                try write(50 + 25 * round)
                try until("all is there", seconds: 20) { try cluster.alpha.status().peer.lagBytes == 0 }
                cluster.link.hold()
                try write(60)
                cluster.alpha.killDaemon()
                cluster.link.passDroppingHeld()
                try cluster.bravo.wait(for: "disconnected")

                let refused = try cluster.bravo.attempt("promote", "--timeout", "5s")
                #expect(refused.code == 3 && refused.errors.contains("data-loss"), "\(refused)")
                #expect(refused.errors.contains("--accept-data-loss"))
                #expect(try cluster.bravo.status().reason == "data-loss")
                #expect(try cluster.bravo.attempt("score").output.hasPrefix("secondary 0 "))
                #expect(try cluster.bravo.attempt("score", "--accept-data-loss").output.hasPrefix("secondary 1000 "))
                try cluster.bravo.promote("--accept-data-loss")
                #expect(cluster.bravo.log.contains("may be dropped"))

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
                #expect(written - present <= 256, "more is lost than the send buffer holds")
                #expect(present >= written - 60, "\(present) of \(written)")
                reader.disconnect()
                // The former primary gives up what nobody else has.
                try cluster.alpha.start()
                try cluster.alpha.wait(for: "in-sync")
                #expect(try cluster.alpha.status().role == "secondary")
            }
        }

        /// The other's own send buffer is smaller: it has room for what comes all the same.
        @Test func `a stop over a slow link waits until everything is there`() throws {
            var options = options([:])
            options.settingsOf = ["alpha": ["send-buffer": "64MiB"]]
            try withCluster(options) { cluster in
                try cluster.startWithPrimary()
                cluster.link.slow(bytesPerSecond: 1 << 20)
                let client = try NBDConnection(node: cluster.alpha)
                let piece = (0..<256).flatMap { NumberedBlock.content(write: UInt64($0 + 1), block: $0) }
                for part in 0..<8 { try client.write(piece, at: UInt64(part) * mebibyte) }
                client.disconnect()
                #expect(try cluster.alpha.status().peer.lagBytes > 4 * mebibyte)
                let early = try cluster.alpha.attempt("wait", "--for", "caught-up", "--timeout", "0")
                #expect(early.code == 2 && early.errors.contains("bytes behind"), "\(early)")
                let elsewhere = try cluster.bravo.attempt("wait", "--for", "caught-up", "--timeout", "0")
                #expect(elsewhere.code == 2, "a secondary cannot know")
                try cluster.alpha.down()
                // No word is needed.
                try cluster.bravo.promote()
                let reader = try NBDConnection(node: cluster.bravo)
                for part in 0..<8 { #expect(try reader.read(at: UInt64(part) * mebibyte, length: 1 << 20) == piece) }
                reader.disconnect()
                cluster.link.pass()
                try cluster.alpha.start()
            }
        }

        @Test func `a crashed primary that nobody replaced goes on with everything it answered`() throws {
            try withCluster(options(["send-buffer": "16MiB"])) { cluster in
                try cluster.startWithPrimary()
                let load = LoadClient(cluster.alpha)
                try withLoad(load) {
                    cluster.link.hold()
                    try load.makeProgress(50)
                    cluster.alpha.killDaemon()
                }
                cluster.link.passDroppingHeld()
                try cluster.alpha.start()
                for node in cluster.nodes { try node.wait(for: "in-sync") }
                try cluster.alpha.promote()
                try load.verify(on: cluster.alpha)
            }
        }

        @Test func `a copy that cannot keep up falls behind, and catches up by itself`() throws {
            try withCluster(options(["on-congestion": "fall-behind"])) { cluster in
                try cluster.startWithPrimary()
                let load = LoadClient(cluster.alpha)
                try withLoad(load) {
                    cluster.link.hold()
                    load.forgetStalls()
                    // Many times the send buffer.
                    try load.makeProgress(2000)
                    let peer = try cluster.alpha.status().peer
                    #expect(peer.lagBytes > 0 && peer.lagSeconds > 0)
                    cluster.link.pass()
                    try load.makeProgress(200)
                }
                #expect(load.report.connections == 1 && load.report.longestStall < 5)
                #expect(cluster.alpha.log.contains("behind: its send buffer is full"))
                for node in cluster.nodes { try node.wait(for: "in-sync") }
                try load.verify(on: cluster.alpha)
                try cluster.alpha.demote()
                try cluster.bravo.promote()
                try load.verify(on: cluster.bravo)
            }
        }

        @Test func `in memory mode a killed primary's successor has every acknowledged write`() throws {
            try withCluster(options(["replication": "memory"])) { cluster in
                try cluster.startWithPrimary()
                let load = LoadClient(cluster.alpha)
                try withLoad(load) {
                    cluster.alpha.killDaemon()
                    try cluster.bravo.promote()
                    load.redirect(to: cluster.bravo)
                    try load.makeProgress()
                }
                try load.verify(on: cluster.bravo)
                try cluster.alpha.start()
                try cluster.alpha.wait(for: "in-sync")
            }
        }
    }
}
