import Foundation
import Testing

extension EndToEnd {
    /// A resync under load that is interrupted at random again and again: the source dies, the target dies, the link is cut.
    @Suite struct InterruptedResyncTests {
        private static let interruptions =
            Int(ProcessInfo.processInfo.environment["HABLK_RESYNC_INTERRUPTIONS"] ?? "") ?? 100

        @Test func `interrupted a hundred times at random, it ends and the copies are equal`() throws {
            let options = TestCluster.Options(
                size: 64 * mebibyte,
                settings: ["resync-rate": "8MiB", "activity-log": "8", "reconnect": "10ms..50ms"])
            try withCluster(options) { cluster in
                try cluster.startWithPrimary()
                try cluster.bravo.down()
                let source = cluster.folder + "/source.img"
                try writeRandomFile(source, bytes: 48 * mebibyte)
                try Program.run("nbdcopy", "--flush", source, cluster.alpha.uri).expecting()
                try cluster.bravo.start()
                let load = LoadClient(cluster.alpha, blocks: 2048, firstByte: 48 * mebibyte, depth: 4, seed: 51)
                try withLoad(load) { try interrupt(cluster, load) }
                try load.verify(on: cluster.alpha)
                try cluster.alpha.demote()
                try cluster.bravo.promote()
                try load.verify(on: cluster.bravo)
                for node in cluster.nodes {
                    let difference = try firstDifference(source, node.diskPath, bytes: 48 * mebibyte)
                    #expect(difference == nil, "what was never written again changed on \(node.name)")
                }
            }
        }

        private func interrupt(_ cluster: TestCluster, _ load: LoadClient) throws {
            var random = SeededGenerator(seed: 52)
            var inSync = 0
            for number in 0..<Self.interruptions {
                pause(Double.random(in: 0...0.06, using: &random))
                switch Int.random(in: 0..<3, using: &random) {
                case 0:
                    cluster.bravo.killDaemon()
                    pause(Double.random(in: 0...0.02, using: &random))
                    try cluster.bravo.launch()
                case 1:
                    cluster.alpha.killDaemon()
                    try cluster.alpha.start()
                    // Without a primary it is a source as well.
                    if Bool.random(using: &random) { try cluster.alpha.promote() }
                default:
                    cluster.link.cut()
                    pause(Double.random(in: 0...0.05, using: &random))
                    cluster.link.pass()
                }
                if number % 10 == 9, try cluster.alpha.status().peer.disk == "up-to-date" { inSync += 1 }
            }
            #expect(inSync < Self.interruptions / 20, "the resync was over before it was interrupted")
            try cluster.alpha.promote()
            try cluster.bravo.wait(for: "running")
            for node in cluster.nodes { try node.run(["resync", "rate", "r0", "auto"]).expecting() }
            for node in cluster.nodes { try node.wait(for: "in-sync") }
            try load.makeProgress(20)
        }
    }
}
