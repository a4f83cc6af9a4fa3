import Testing

extension EndToEnd {
    /// A daemon dies at any moment; no acknowledged write does.
    @Suite struct FailoverTests {
        @Test func `a killed primary's successor has every acknowledged write, and only marked blocks travel back`()
            throws
        {
            try withCluster(.init(size: 256 * mebibyte)) { cluster in
                try cluster.startWithPrimary()
                let load = LoadClient(cluster.alpha, blocks: 2048, firstByte: 32 * mebibyte)
                try withLoad(load) {
                    cluster.alpha.killDaemon()
                    try cluster.bravo.promote()
                    load.redirect(to: cluster.bravo)
                    try load.makeProgress()
                }
                #expect(load.report.connections > 1)
                try load.verify(on: cluster.bravo)
                try cluster.alpha.start()
                try cluster.alpha.wait(for: "in-sync")
                #expect(try cluster.alpha.status().role == "secondary")
                for node in cluster.nodes {
                    let resync = try #require(try node.status().peer.lastResync)
                    #expect(resync.bytes > 0, "\(node.name) says that nothing travelled")
                    // 8 MiB were written to; with the extents around them 12, of 256.
                    #expect(resync.bytes <= 16 * mebibyte, "\(node.name): \(resync.bytes) bytes travelled")
                    #expect(!resync.because.isEmpty)
                }
                try load.verify(on: cluster.bravo)
                // The way back is as safe as the way there.
                try cluster.bravo.demote()
                try cluster.alpha.promote()
                try load.verify(on: cluster.alpha)
            }
        }

        @Test func `a killed secondary holds writers up for a moment and gets only what it missed`() throws {
            try withCluster(.init(size: 256 * mebibyte)) { cluster in
                try cluster.startWithPrimary()
                let load = LoadClient(cluster.alpha, blocks: 2048)
                try withLoad(load) {
                    load.forgetStalls()
                    cluster.bravo.killDaemon()
                    try load.makeProgress(1000)
                    try cluster.alpha.wait(for: "disconnected")
                    let peer = try cluster.alpha.status().peer
                    #expect(peer.disk == "outdated")
                    #expect(peer.outOfSyncBytes > 0)
                    #expect(try cluster.alpha.status().inStep == ["alpha"])
                    try cluster.bravo.start()
                    try cluster.bravo.wait(for: "in-sync")
                    try load.makeProgress()
                }
                #expect(load.report.connections == 1, "the client noticed the loss of the peer")
                #expect(load.report.longestStall < 5, "a writer stood for \(load.report.longestStall) s")
                try load.verify(on: cluster.alpha)
                let resync = try #require(try cluster.bravo.status().peer.lastResync)
                #expect(resync.bytes > 0 && resync.bytes <= 16 * mebibyte, "\(resync.bytes) bytes travelled")
            }
        }

        @Test func `both killed at once lose nothing that was acknowledged`() throws {
            try withCluster { cluster in
                try cluster.startWithPrimary()
                let load = LoadClient(cluster.alpha)
                try withLoad(load) {
                    cluster.alpha.killDaemon()
                    cluster.bravo.killDaemon()
                }
                for node in cluster.nodes { try node.start() }
                for node in cluster.nodes { try node.wait(for: "in-sync") }
                for node in cluster.nodes { #expect(try node.status().role == "secondary") }
                try cluster.bravo.promote()
                try load.verify(on: cluster.bravo)
            }
        }

        @Test func `a planned move loses nothing and leaves nothing to copy`() throws {
            try withCluster { cluster in
                try cluster.startWithPrimary()
                let load = LoadClient(cluster.alpha)
                try withLoad(load) {
                    let refused = try cluster.alpha.attempt("demote")
                    #expect(refused.code == 3, "demoted under a writer's feet")
                    #expect(try cluster.alpha.status().role == "primary")
                }
                load.stop()
                try cluster.alpha.demote()
                try cluster.bravo.promote()
                try load.verify(on: cluster.bravo)
                for node in cluster.nodes { #expect(try node.status().peer.outOfSyncBytes == 0) }
            }
        }

        @Test func `killed ten times at random moments, the volume never loses a write`() throws {
            try withCluster { cluster in
                try cluster.startWithPrimary()
                var random = SeededGenerator(seed: 10)
                var primary = cluster.alpha
                let load = LoadClient(primary, blocks: 512, seed: 10)
                try withLoad(load) {
                    for round in 0..<10 {
                        pause(Double.random(in: 0.05...0.4, using: &random))
                        let other = cluster.other(than: primary)
                        if round % 2 == 0 {
                            primary.killDaemon()
                            try other.promote()
                            load.redirect(to: other)
                            try primary.start()
                            primary = other
                        } else {
                            other.killDaemon()
                            try load.makeProgress(100)
                            try other.start()
                        }
                        try primary.wait(for: "in-sync")
                        try load.makeProgress(100)
                    }
                }
                try load.verify(on: primary)
            }
        }

        @Test func `a primary that was told to end by the system ends cleanly and is followed at once`() throws {
            try withCluster { cluster in
                try cluster.startWithPrimary()
                let load = LoadClient(cluster.alpha)
                try withLoad(load) {}
                load.stop()
                let daemon = try #require(cluster.alpha.daemon)
                daemon.signal(15)
                #expect(try daemon.waitForExit(seconds: 10) == 0)
                try cluster.bravo.promote()
                try load.verify(on: cluster.bravo)
                try cluster.alpha.start()
            }
        }
    }
}
