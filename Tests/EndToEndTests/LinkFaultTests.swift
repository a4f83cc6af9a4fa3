import Testing

extension EndToEnd {
    /// The link misbehaves in each way that a network can. Writers stand for at most the configured second, times five
    /// for a slow machine, and afterwards the copies are equal.
    @Suite struct LinkFaultTests {
        private static let longestStall = 5.0

        /// Writes under `fault` for seconds, then without it, and expects the two to find each other again.
        private func suffer(
            seconds: Double = 2, mending: (TestCluster) -> Void = { $0.link.pass() },
            _ fault: (TestCluster) throws -> Void
        ) throws {
            try withCluster { cluster in
                try cluster.startWithPrimary()
                let load = LoadClient(cluster.alpha)
                try withLoad(load) {
                    load.forgetStalls()
                    try fault(cluster)
                    pause(seconds)
                    try load.makeProgress(200)
                    mending(cluster)
                    for node in cluster.nodes { try node.wait(for: "in-sync") }
                    try load.makeProgress(200)
                }
                #expect(load.report.connections == 1, "the client noticed it")
                #expect(load.report.longestStall < Self.longestStall, "a writer stood \(load.report.longestStall) s")
                try load.verify(on: cluster.alpha)
                try cluster.alpha.demote()
                try cluster.bravo.promote()
                try load.verify(on: cluster.bravo)
            }
        }

        @Test func `cut for seconds`() throws { try suffer { $0.link.cut() } }

        @Test func `silent for seconds, then late`() throws { try suffer { $0.link.hold() } }

        @Test func `silent for seconds, and what was under way never arrives`() throws {
            try suffer(mending: { $0.link.passDroppingHeld() }) { $0.link.hold() }
        }

        @Test func `the secondary's words do not arrive`() throws { try suffer { $0.link.hold(from: $0.bravo) } }

        @Test func `the primary's words do not arrive`() throws { try suffer { $0.link.hold(from: $0.alpha) } }

        @Test func `cut inside a frame of the primary`() throws {
            try suffer(seconds: 0.5) { cluster in
                cluster.link.cutInMidFrame(from: cluster.alpha, afterBytes: 10_001)
                try until("the cut", seconds: 5) { cluster.link.accidentHappened }
            }
        }

        @Test func `cut inside a frame of the secondary`() throws {
            try suffer(seconds: 0.5) { cluster in
                cluster.link.cutInMidFrame(from: cluster.bravo, afterBytes: 1_003)
                try until("the cut", seconds: 5) { cluster.link.accidentHappened }
            }
        }

        @Test func `a flipped bit is noticed and never written`() throws {
            try suffer(seconds: 0.5) { cluster in
                cluster.link.corrupt(from: cluster.alpha, afterBytes: 50_001)
                try until("the flip", seconds: 5) { cluster.link.accidentHappened }
                try until("a checksum in the log of bravo", seconds: 5) {
                    let log = cluster.bravo.log.lowercased()
                    return log.contains("checksum") || log.contains("crc")
                }
            }
        }

        @Test func `a peer that accepts and never answers`() throws { try suffer { $0.link.acceptAndStayMute() } }

        @Test func `a stopped peer`() throws {
            try suffer(mending: { $0.bravo.thaw() }) { $0.bravo.freeze() }
        }

        @Test func `a stopped primary goes on when it is woken, and its client with it`() throws {
            try withCluster { cluster in
                try cluster.startWithPrimary()
                let load = LoadClient(cluster.alpha)
                try withLoad(load) {
                    cluster.alpha.freeze()
                    try cluster.bravo.wait(for: "disconnected")
                    #expect(try cluster.bravo.status().role == "secondary", "it promoted itself")
                    pause(1)
                    cluster.alpha.thaw()
                    for node in cluster.nodes { try node.wait(for: "in-sync") }
                    try load.makeProgress(200)
                }
                try load.verify(on: cluster.alpha)
            }
        }

        @Test func `cut twenty times in quick succession`() throws {
            try withCluster { cluster in
                try cluster.startWithPrimary()
                var random = SeededGenerator(seed: 20)
                let load = LoadClient(cluster.alpha, blocks: 256)
                try withLoad(load) {
                    for _ in 0..<20 {
                        cluster.link.cut()
                        pause(Double.random(in: 0.01...0.15, using: &random))
                        cluster.link.pass()
                        pause(Double.random(in: 0.01...0.3, using: &random))
                    }
                    for node in cluster.nodes { try node.wait(for: "in-sync") }
                    try load.makeProgress(200)
                }
                try load.verify(on: cluster.alpha)
            }
        }
    }
}
