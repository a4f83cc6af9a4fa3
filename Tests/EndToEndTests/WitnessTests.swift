import Foundation
import Testing

extension EndToEnd {
    /// The witness is gone, slow, back, wiped: nothing that clients notice, unless a copy is gone too.
    @Suite struct WitnessTests {
        @Test func `without its witness a volume goes on, and without a copy too it waits`() throws {
            try withQuorumCluster { cluster in
                try cluster.startWithPrimary()
                let witness = try #require(cluster.witness)
                let load = LoadClient(cluster.alpha)
                try withLoad(load) {
                    load.forgetStalls()
                    witness.killDaemon()
                    try load.makeProgress()
                    #expect(load.report.longestStall < 2, "a writer stood for \(load.report.longestStall) s")
                    #expect(try cluster.alpha.status().quorum == true)
                    cluster.bravo.killDaemon()
                    try cluster.alpha.until(suspended: true)
                    try witness.start()
                    try cluster.alpha.until(suspended: false)
                    try load.makeProgress()
                    #expect(try cluster.alpha.status().inStep == ["alpha"])
                    try cluster.bravo.start()
                    try cluster.bravo.wait(for: "in-sync")
                }
                #expect(load.report.connections == 1)
                try load.verify(on: cluster.alpha)
            }
        }

        @Test func `a witness that was silent for seconds changes nothing`() throws {
            try withQuorumCluster { cluster in
                try cluster.startWithPrimary()
                let witness = try #require(cluster.witness)
                let load = LoadClient(cluster.alpha)
                try withLoad(load) {
                    load.forgetStalls()
                    cluster.isolate(witness)
                    pause(2)
                    try load.makeProgress()
                    cluster.heal()
                    try cluster.alpha.wait(for: "connected")
                    try load.makeProgress()
                }
                #expect(load.report.connections == 1)
                #expect(load.report.longestStall < 2, "a writer stood for \(load.report.longestStall) s")
                try load.verify(on: cluster.alpha)
            }
        }

        @Test func `a witness that lost its memory votes again once a record names it`() throws {
            try withQuorumCluster { cluster in
                try cluster.startWithPrimary()
                let witness = try #require(cluster.witness)
                try witness.down()
                try FileManager.default.removeItem(atPath: witness.folder + "/state/r0.witness")
                try witness.start()
                try until("three votes", seconds: 10) { try cluster.alpha.status().votes?.present.count == 3 }
                let load = LoadClient(cluster.alpha)
                try withLoad(load) {
                    cluster.alpha.killDaemon()
                    try cluster.bravo.promote()
                    load.redirect(to: cluster.bravo)
                    try load.makeProgress()
                }
                try cluster.alpha.start()
                try cluster.alpha.wait(for: "in-sync")
                try load.verify(on: cluster.bravo)
            }
        }

        @Test func `a witness without memory crowns nobody while the primary is away`() throws {
            try withQuorumCluster { cluster in
                try cluster.startWithPrimary()
                let witness = try #require(cluster.witness)
                let load = LoadClient(cluster.alpha)
                // Bravo is left out; then who knows so is away or forgot it.
                cluster.bravo.killDaemon()
                try withLoad(load) {}
                load.stop()
                try witness.down()
                try FileManager.default.removeItem(atPath: witness.folder + "/state/r0.witness")
                cluster.alpha.killDaemon()
                try witness.start()
                try cluster.bravo.start()
                let refused = try cluster.bravo.attempt("promote", "--timeout", "2s")
                #expect(refused.code == 2 && refused.errors.contains("(no-quorum)"), "\(refused)")
                try cluster.alpha.start()
                try cluster.bravo.wait(for: "in-sync")
                try cluster.bravo.promote()
                try load.verify(on: cluster.bravo)
            }
        }

        @Test func `a damaged memory is not forgotten without a word`() throws {
            try withQuorumCluster(comparing: false) { cluster in
                try cluster.startInSync()
                let witness = try #require(cluster.witness)
                try witness.down()
                let path = witness.folder + "/state/r0.witness"
                let file = try #require(FileHandle(forUpdatingAtPath: path))
                let size = try file.seekToEnd()
                for place in stride(from: UInt64(0), to: size, by: 4096) {
                    try file.seek(toOffset: place)
                    try file.write(contentsOf: Data("hablk no more".utf8))
                }
                try file.close()
                try witness.launch()
                #expect(try witness.daemon?.waitForExit(seconds: 10) == 3)
                #expect(witness.lastLog.contains("remedy: rm \(path)"), "\(witness.lastLog)")
                try FileManager.default.removeItem(atPath: path)
                try witness.start()
                try cluster.alpha.promote()
            }
        }
    }
}
