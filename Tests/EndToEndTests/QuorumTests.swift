import Foundation
import Testing

extension EndToEnd {
    /// Two copies and a witness: whoever is cut off stops, whoever has the majority goes on, and afterwards the copies are
    /// equal without a hand.
    @Suite struct QuorumTests {
        @Test func `a killed primary's successor is elected with the witness and has every acknowledged write`() throws
        {
            try withQuorumCluster { cluster in
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
                #expect(try cluster.alpha.status().role == "secondary")
                try cluster.bravo.demote()
                try cluster.alpha.promote()
                try load.verify(on: cluster.alpha)
            }
        }

        @Test func `an isolated primary acknowledges nothing, and becomes a target without a hand when it is back`()
            throws
        {
            try withQuorumCluster { cluster in
                try cluster.startWithPrimary()
                let load = LoadClient(cluster.alpha)
                let held = try NBDConnection(node: cluster.alpha)
                try withLoad(load) {
                    cluster.isolate(cluster.alpha)
                    try until("alpha lost its quorum", seconds: 10) {
                        let status = try cluster.alpha.status()
                        return status.quorum == false && status.suspended.contains("quorum")
                    }
                    try held.sendRequest(
                        .write, cookie: 5, offset: 48 * mebibyte, length: 4096,
                        payload: NumberedBlock.content(write: 5, block: 0))
                    let before = load.report.acknowledgedWrites
                    try cluster.bravo.promote()
                    let other = LoadClient(cluster.bravo, firstByte: 32 * mebibyte)
                    try withLoad(other) {}
                    #expect(load.report.acknowledgedWrites == before, "alpha acknowledged without a majority")
                    #expect(try cluster.alpha.status().role == "primary")
                    #expect(!isReadable(held.descriptor, milliseconds: 0), "alpha answered without a majority")
                    load.redirect(to: cluster.bravo)
                    cluster.heal()
                    try load.makeProgress()
                    try other.verify(on: cluster.bravo)
                }
                #expect(throws: (any Error).self, "alpha's waiting client was told that all is well") {
                    let reply = try held.receiveReply()
                    guard reply.error == 0 else { throw NBDTrouble(code: reply.error, description: "refused") }
                }
                try cluster.alpha.wait(for: "secondary,in-sync")
                #expect(try cluster.alpha.status().reason == nil)
                try load.verify(on: cluster.bravo)
            }
        }

        @Test func `a primary without quorum goes on where it was when the others are back`() throws {
            try withQuorumCluster { cluster in
                try cluster.startWithPrimary()
                let load = LoadClient(cluster.alpha)
                try withLoad(load) {
                    cluster.isolate(cluster.alpha)
                    try cluster.alpha.until(suspended: true)
                    cluster.healDroppingHeld()
                    try load.makeProgress()
                    try cluster.alpha.until(suspended: false)
                }
                #expect(load.report.connections == 1, "the client noticed it")
                try load.verify(on: cluster.alpha)
            }
        }

        @Test func `with on-quorum-lost error requests fail instead of waiting`() throws {
            try withQuorumCluster(.init(settings: ["on-quorum-lost": "error"])) { cluster in
                try cluster.startWithPrimary()
                let load = LoadClient(cluster.alpha)
                try withLoad(load) {}
                load.stop()
                cluster.isolate(cluster.alpha)
                let client = try NBDConnection(node: cluster.alpha)
                let began = now()
                #expect(throws: NBDTrouble.self) {
                    try client.write(NumberedBlock.content(write: 9, block: 9), at: 40 * mebibyte)
                }
                #expect(now() - began < 10)
                cluster.healDroppingHeld()
                try cluster.alpha.wait(for: "quorum")
                try until("writes are taken again", seconds: 10) {
                    (try? NBDConnection(node: cluster.alpha).write(
                        NumberedBlock.content(write: 10, block: 9), at: 40 * mebibyte)) != nil
                }
                try load.verify(on: cluster.alpha)
            }
        }

        @Test func `an isolated secondary is left out, and the primary goes on`() throws {
            try withQuorumCluster { cluster in
                try cluster.startWithPrimary()
                let load = LoadClient(cluster.alpha)
                try withLoad(load) {
                    load.forgetStalls()
                    cluster.isolate(cluster.bravo)
                    try until("bravo is left out", seconds: 10) { try cluster.alpha.status().inStep == ["alpha"] }
                    try load.makeProgress()
                    let refused = try cluster.bravo.attempt("promote", "--timeout", "1s")
                    #expect(refused.code == 2, "\(refused)")
                    cluster.healDroppingHeld()
                    try cluster.bravo.wait(for: "in-sync")
                    try load.makeProgress()
                }
                #expect(load.report.connections == 1)
                #expect(load.report.longestStall < 5, "a writer stood for \(load.report.longestStall) s")
                try load.verify(on: cluster.alpha)
            }
        }

        @Test func `with only the replication link cut there is one primary still`() throws {
            try withQuorumCluster { cluster in
                try cluster.startWithPrimary()
                let load = LoadClient(cluster.alpha)
                try withLoad(load) {
                    cluster.cut(cluster.alpha, cluster.bravo)
                    try until("bravo is left out", seconds: 10) { try cluster.alpha.status().inStep == ["alpha"] }
                    try load.makeProgress()
                    // The witness has the record that leaves bravo out.
                    let refused = try cluster.bravo.attempt("promote", "--timeout", "3s")
                    #expect(refused.code == 3 && refused.errors.contains("(outdated)"), "\(refused)")
                    #expect(try cluster.alpha.status().role == "primary")
                    cluster.heal()
                    try cluster.bravo.wait(for: "in-sync")
                }
                #expect(load.report.connections == 1)
                try load.verify(on: cluster.alpha)
            }
        }

        @Test func `a copy that was left out is not crowned though it has a majority`() throws {
            try withQuorumCluster { cluster in
                try cluster.startWithPrimary()
                cluster.bravo.killDaemon()
                let load = LoadClient(cluster.alpha)
                try withLoad(load) {}
                cluster.alpha.killDaemon()
                load.stop()
                try cluster.bravo.start()
                try cluster.bravo.wait(for: "quorum")
                let refused = try cluster.bravo.attempt("promote", "--timeout", "5s")
                #expect(refused.code == 3 && refused.errors.contains("(outdated)"), "\(refused)")
                #expect(refused.errors.contains("alpha"), "it does not say who has the data: \(refused)")
                try cluster.alpha.start()
                try cluster.bravo.wait(for: "in-sync")
                try cluster.bravo.promote()
                try load.verify(on: cluster.bravo)
            }
        }

        @Test func `a primary that only hears loses its place to one that is heard`() throws {
            try withQuorumCluster { cluster in
                try cluster.startWithPrimary()
                let load = LoadClient(cluster.alpha)
                try withLoad(load) {
                    cluster.mute(cluster.alpha)
                    try cluster.bravo.promote()
                    load.redirect(to: cluster.bravo)
                    try load.makeProgress()
                    cluster.healDroppingHeld()
                    try load.makeProgress()
                }
                try cluster.alpha.wait(for: "secondary,in-sync")
                try load.verify(on: cluster.bravo)
            }
        }

        @Test func `a primary that slept past its lease answers nothing old from its sockets`() throws {
            try withQuorumCluster { cluster in
                try cluster.startWithPrimary()
                let client = try NBDConnection(node: cluster.alpha)
                try client.write(NumberedBlock.content(write: 1, block: 0), at: 0)
                cluster.alpha.freeze()
                // They lie in its socket until it wakes.
                try client.sendRequest(.read, cookie: 2, offset: 0, length: 4096)
                try client.sendRequest(
                    .write, cookie: 3, offset: 4096, length: 4096, payload: NumberedBlock.content(write: 3, block: 1))
                try cluster.bravo.promote()
                try NBDConnection(node: cluster.bravo).write(NumberedBlock.content(write: 2, block: 0), at: 0)
                cluster.alpha.thaw()
                #expect(throws: (any Error).self, "a reply from a primary that is none any more") {
                    while true {
                        let reply = try client.receiveReply()
                        guard reply.error == 0 else { throw NBDTrouble(code: reply.error, description: "refused") }
                        if reply.cookie == 3 { return }
                        let content = try client.receive(4096)
                        if content == NumberedBlock.content(write: 2, block: 0) { throw Trouble("new, which is well") }
                    }
                }
                try cluster.alpha.wait(for: "secondary,in-sync")
                let content = try NBDConnection(node: cluster.bravo).read(at: 0, length: 4096)
                #expect(content == NumberedBlock.content(write: 2, block: 0))
            }
        }

        @Test func `killed ten times at random moments, the volume never loses a write`() throws {
            try withQuorumCluster { cluster in
                try cluster.startWithPrimary()
                var random = SeededGenerator(seed: 10)
                var primary = cluster.alpha
                let load = LoadClient(primary, blocks: 512, seed: 10)
                try withLoad(load) {
                    for round in 0..<10 {
                        pause(Double.random(in: 0.05...0.4, using: &random))
                        let other = primary === cluster.alpha ? cluster.bravo : cluster.alpha
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
    }
}
