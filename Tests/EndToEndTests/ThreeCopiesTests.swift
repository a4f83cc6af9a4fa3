import Foundation
import Testing

extension EndToEnd {
    /// Three copies that vote: writes go to all in step, and survivors settle among themselves.
    @Suite struct ThreeCopiesTests {
        private let three = QuorumCluster.Options(copies: 3, hasWitness: false)

        @Test func `a killed primary's survivors are equal at once, and it gets what it missed`() throws {
            try withQuorumCluster(three) { cluster in
                try cluster.startWithPrimary()
                let load = LoadClient(cluster.alpha)
                try withLoad(load) {
                    cluster.alpha.killDaemon()
                    try cluster.bravo.promote()
                    load.redirect(to: cluster.bravo)
                    try load.makeProgress()
                    #expect(try cluster.bravo.status().inStep == ["bravo", "charlie"])
                    try cluster.charlie.wait(for: "in-sync --peer bravo")
                    try cluster.alpha.start()
                    for node in cluster.copies { try node.wait(for: "in-sync") }
                }
                try load.verify(on: cluster.bravo)
                try cluster.bravo.demote()
                try cluster.charlie.promote()
                try load.verify(on: cluster.charlie)
            }
        }

        @Test func `each node isolated in turn, writers notice a pause at most`() throws {
            try withQuorumCluster(three) { cluster in
                try cluster.startWithPrimary()
                let load = LoadClient(cluster.alpha)
                try withLoad(load) {
                    for node in [cluster.bravo, cluster.charlie] {
                        cluster.isolate(node)
                        try until("\(node.name) is left out", seconds: 10) {
                            try !cluster.alpha.status().inStep.contains(node.name)
                        }
                        try load.makeProgress()
                        cluster.healDroppingHeld()
                        for copy in cluster.copies { try copy.wait(for: "in-sync") }
                    }
                    #expect(load.report.connections == 1)
                    cluster.isolate(cluster.alpha)
                    try cluster.charlie.promote()
                    load.redirect(to: cluster.charlie)
                    try load.makeProgress()
                    cluster.healDroppingHeld()
                    for copy in cluster.copies { try copy.wait(for: "in-sync") }
                }
                #expect(try cluster.alpha.status().role == "secondary")
                try load.verify(on: cluster.charlie)
            }
        }

        @Test func `two nodes lost, the third waits; one is back, and it goes on`() throws {
            try withQuorumCluster(three) { cluster in
                try cluster.startWithPrimary()
                let load = LoadClient(cluster.alpha)
                try withLoad(load) {
                    cluster.bravo.killDaemon()
                    cluster.charlie.killDaemon()
                    try cluster.alpha.until(suspended: true)
                    try cluster.charlie.start()
                    try load.makeProgress()
                    try cluster.bravo.start()
                    for copy in cluster.copies { try copy.wait(for: "in-sync") }
                }
                #expect(load.report.connections == 1)
                try load.verify(on: cluster.alpha)
            }
        }

        @Test func `a copy that missed two changes of primary is filled, and nothing is skipped`() throws {
            try withQuorumCluster(three) { cluster in
                try cluster.startWithPrimary()
                cluster.charlie.killDaemon()
                let first = LoadClient(cluster.alpha, blocks: 256)
                try withLoad(first) {}
                first.stop()
                try cluster.alpha.demote()
                try cluster.bravo.promote()
                let second = LoadClient(cluster.bravo, blocks: 256, firstByte: 16 * mebibyte)
                try withLoad(second) {}
                second.stop()
                try cluster.bravo.demote()
                try cluster.charlie.start()
                for copy in cluster.copies { try copy.wait(for: "in-sync") }
                try cluster.charlie.promote()
                try first.verify(on: cluster.charlie)
                try second.verify(on: cluster.charlie)
            }
        }

        @Test func `the source of a resync dies, and another member goes on`() throws {
            try withQuorumCluster(
                .init(copies: 3, hasWitness: false, size: 256 * mebibyte, settings: ["resync-rate": "4MiB/s"])
            ) {
                cluster in
                try cluster.startWithPrimary()
                cluster.charlie.killDaemon()
                let load = LoadClient(cluster.alpha, blocks: 1024, spacing: 16384)
                try withLoad(load) { try load.makeProgress(1000) }
                load.stop()
                try cluster.charlie.start()
                try until("charlie is being filled", seconds: 20) {
                    try cluster.charlie.status().disk == "inconsistent"
                }
                cluster.alpha.killDaemon()
                try cluster.bravo.promote()
                try cluster.charlie.wait(for: "up-to-date")
                let resyncs = try cluster.charlie.status().peers.compactMap(\.lastResync)
                let bytes = resyncs.reduce(0) { $0 + $1.bytes }
                #expect(bytes > 0 && bytes <= 16 * mebibyte, "\(bytes) bytes travelled, 4 MiB were written")
                try cluster.alpha.start()
                for copy in cluster.copies { try copy.wait(for: "in-sync") }
                try load.verify(on: cluster.bravo)
                try cluster.bravo.demote()
                try cluster.charlie.promote()
                try load.verify(on: cluster.charlie)
            }
        }
    }
}
