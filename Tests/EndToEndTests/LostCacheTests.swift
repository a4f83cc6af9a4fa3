import Foundation
import Testing

extension EndToEnd {
    /// A secondary's machine loses its power and with it what it had acknowledged but not flushed, while the pair runs.
    @Suite struct LostCacheTests {
        private func withSecondaryOnPowerDisk(
            _ body: (_ cluster: TestCluster, _ load: LoadClient, _ cutPower: (_ seed: UInt64) throws -> Void) throws ->
                Void
        ) throws {
            try withCluster(.init(size: 32 * mebibyte)) { cluster in
                try cluster.create()
                var disk = try PowerDisk(path: cluster.bravo.diskPath, timeline: PowerTimeline(), disk: 1)
                cluster.atEnd { disk.end() }
                for node in cluster.nodes { try node.start() }
                for node in cluster.nodes { try node.wait(for: "in-sync") }
                try cluster.alpha.promote()
                let load = LoadClient(cluster.alpha, blocks: 1024, spacing: 32768, seed: 21)
                try body(cluster, load) { seed in
                    try disk.cutPower(of: cluster.bravo)
                    try disk.makeImage(PowerLoss(seed: seed))
                    cluster.bravo.reboot()
                    disk = try PowerDisk(path: cluster.bravo.diskPath, timeline: PowerTimeline(), disk: 1)
                }
            }
        }

        @Test func `under load, its primary goes on and gives back what it lost`() throws {
            try withSecondaryOnPowerDisk { cluster, load, cutPower in
                try withLoad(load) {
                    for seed: UInt64 in 1...3 {
                        try cutPower(seed)
                        try load.makeProgress(100)
                        try cluster.bravo.start()
                        #expect(cluster.bravo.lastLog.contains("may have lost its cache"))
                        for node in cluster.nodes { try node.wait(for: "in-sync") }
                        try load.makeProgress(100)
                    }
                }
                try load.verify(on: cluster.alpha)
                try cluster.alpha.demote()
                try cluster.bravo.promote()
                try load.verify(on: cluster.bravo)
            }
        }

        @Test func `when the primary dies at the same moment, it is not promoted with what it has`() throws {
            try withSecondaryOnPowerDisk { cluster, load, cutPower in
                load.start()
                defer { load.stop() }
                try load.makeProgress()
                // Neither has time to write down that the other is gone: by their records both are in step.
                cluster.alpha.freeze()
                try cutPower(4)
                cluster.alpha.killDaemon()
                load.stop(seconds: 0)
                try cluster.bravo.start()
                #expect(try cluster.bravo.status().suspect)
                let refused = try cluster.bravo.attempt("promote", "--timeout", "500ms")
                #expect(refused.code != 0 && refused.errors.contains("lost its cache"), "\(refused)")
                #expect(throws: NBDTrouble.self) { try NBDConnection(node: cluster.bravo) }
                try cluster.alpha.start()
                for node in cluster.nodes { try node.wait(for: "in-sync") }
                #expect(try cluster.bravo.status().peer.lastResync?.because.isEmpty == false)
                try cluster.bravo.promote()
                try load.verify(on: cluster.bravo)
            }
        }

        @Test func `when the primary dies right after its return, it serves all that was acknowledged or nothing`()
            throws
        {
            try withSecondaryOnPowerDisk { cluster, load, cutPower in
                var random = SeededGenerator(seed: 22)
                for seed: UInt64 in 5...7 {
                    load.redirect(to: cluster.alpha)
                    load.start()
                    defer { load.stop() }
                    try load.makeProgress(100)
                    try cutPower(seed)
                    try load.makeProgress(50)
                    try cluster.bravo.start()
                    pause(Double.random(in: 0...0.2, using: &random))
                    cluster.alpha.killDaemon()
                    load.stop(seconds: 0)
                    if try cluster.bravo.attempt("promote", "--timeout", "500ms").code == 0 {
                        try load.verify(on: cluster.bravo)
                        try cluster.bravo.demote()
                    }
                    try cluster.alpha.start()
                    for node in cluster.nodes { try node.wait(for: "in-sync") }
                    try cluster.alpha.promote()
                    try load.verify(on: cluster.alpha)
                }
            }
        }
    }
}
