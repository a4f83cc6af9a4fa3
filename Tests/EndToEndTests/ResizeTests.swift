import Foundation
import Testing

extension EndToEnd {
    /// `hablk resize`: a volume grows while it is written, whole, with real daemons and files.
    @Suite struct ResizeTests {
        private let larger: UInt64 = 160 * mebibyte

        private func size(_ node: TestNode) throws -> UInt64 { try node.status().size }

        @Test(arguments: [true, false])
        func `a volume grows under load on all copies, and what is written in the new part survives a failover`(
            byMajority: Bool
        ) throws {
            let options = QuorumCluster.Options(
                copies: byMajority ? 3 : 2, hasWitness: byMajority,
                settings: byMajority ? [:] : ["quorum": "off"])
            try withQuorumCluster(options, comparing: false) { cluster in
                try cluster.startWithPrimary()
                let load = LoadClient(cluster.alpha)
                try withLoad(load) {
                    let dry = try cluster.alpha.hablk("resize", "--size", "160MiB", "--dry-run").output
                    #expect(dry == "r0 would grow from \(64 * mebibyte) to \(larger) bytes\n", "\(dry)")
                    #expect(try size(cluster.alpha) == 64 * mebibyte)
                    let said = try cluster.alpha.hablk("resize", "--size", "160MiB").output
                    #expect(said == "r0 has \(larger) bytes\n", "\(said)")
                    for node in cluster.copies {
                        try EndToEndTests.until("\(node.name) has the new size", seconds: 5) {
                            try size(node) == larger
                        }
                    }
                    #expect(load.report.connections == 1, "the client noticed it")
                    let client = try NBDConnection(node: cluster.alpha)
                    let zeroes = try client.read(at: larger - 65536, length: 65536)
                    #expect(zeroes.allSatisfy { $0 == 0 })
                    try client.write([UInt8](repeating: 0x5a, count: 65536), at: larger - 65536)
                    try client.flush()
                    client.disconnect()
                    try load.makeProgress()
                    cluster.alpha.killDaemon()
                    try cluster.bravo.hablk("promote", "--peer-fenced", "alpha")
                    load.redirect(to: cluster.bravo)
                    try load.makeProgress()
                    try cluster.alpha.start()
                    try cluster.alpha.wait(for: "in-sync")
                    #expect(try size(cluster.alpha) == larger)
                }
                try load.verify(on: cluster.bravo)
                let client = try NBDConnection(node: cluster.bravo)
                #expect(try client.read(at: larger - 65536, length: 65536).allSatisfy { $0 == 0x5a })
                client.disconnect()
                try cluster.bravo.demote()
                for node in cluster.nodes { try node.down() }
                for other in cluster.copies.dropFirst() {
                    #expect(try firstDifference(cluster.alpha.diskPath, other.diskPath, bytes: larger) == nil)
                }
                // A second time from where they lie now, after a restart.
                for node in cluster.nodes { try node.start() }
                for node in cluster.nodes { try node.wait(for: "connected") }
                try cluster.alpha.promote()
                try cluster.alpha.wait(for: "in-sync")
                try cluster.alpha.hablk("resize", "--size", "200MiB")
                #expect(try size(cluster.bravo) == 200 * mebibyte)
            }
        }

        @Test func `nodes that are killed while the volume grows come back with one size`() throws {
            try withQuorumCluster(QuorumCluster.Options(copies: 3, hasWitness: false), comparing: false) { cluster in
                try cluster.startWithPrimary()
                var present = 64 * mebibyte
                let load = LoadClient(cluster.alpha)
                try withLoad(load) {
                    for round in 0..<6 {
                        let wanted = present + 24 * mebibyte
                        // Nobody else touches it before the thread has ended.
                        nonisolated(unsafe) let victim = cluster.copies[round % 3]
                        let killer = Thread {
                            pause(Double(round) * 0.004)
                            victim.killDaemon()
                        }
                        killer.start()
                        let tried = try cluster.alpha.attempt("resize", "--size", "\(wanted)", "--timeout", "3s")
                        try EndToEndTests.until("the kill", seconds: 5) { killer.isFinished }
                        #expect([0, 1, 2, 3, 4].contains(tried.code), "\(tried)")
                        try victim.start()
                        if victim === cluster.alpha { try cluster.alpha.promote() }
                        for node in cluster.copies { try node.wait(for: "in-sync") }
                        let sizes = Set(try cluster.copies.map { try size($0) })
                        #expect(sizes.count == 1 && sizes.isSubset(of: [present, wanted]), "\(sizes)")
                        if tried.code == 0 { #expect(sizes == [wanted]) }
                        present = sizes.first ?? present
                        try load.makeProgress(50)
                    }
                }
                try load.verify(on: cluster.alpha)
                try cluster.alpha.hablk("resize", "--size", "\(present + 8 * mebibyte)")
            }
        }

        @Test func `disks that somebody made larger are found after a crash, and used as far as the smallest goes`()
            throws
        {
            try withQuorumCluster(QuorumCluster.Options(copies: 2, hasWitness: true), comparing: false) { cluster in
                try cluster.startWithPrimary()
                for (node, size) in [(cluster.alpha, "300M"), (cluster.bravo, "260M")] {
                    try Program.run("truncate", "-s", size, node.diskPath).expecting(0)
                    try EndToEndTests.until("\(node.name) noticed it", seconds: 10) {
                        node.log.contains("bytes now: on the primary: hablk resize r0")
                    }
                    node.killDaemon()
                    try node.start()
                }
                for node in cluster.copies { try node.wait(for: "connected") }
                try cluster.alpha.promote()
                try cluster.alpha.wait(for: "in-sync")
                #expect(try size(cluster.alpha) == 64 * mebibyte)
                try cluster.alpha.hablk("resize")
                let grown = try size(cluster.alpha)
                #expect(grown > 240 * mebibyte && grown < 260 * mebibyte, "\(grown)")
                #expect(try size(cluster.bravo) == grown)
                let client = try NBDConnection(node: cluster.alpha)
                try client.write([UInt8](repeating: 0x77, count: 4096), at: grown - 4096)
                client.disconnect()
                for node in cluster.copies {
                    node.killDaemon()
                    try node.start()
                }
                try cluster.bravo.promote()
                try cluster.bravo.wait(for: "in-sync")
                let reader = try NBDConnection(node: cluster.bravo)
                #expect(try reader.read(at: grown - 4096, length: 4096).allSatisfy { $0 == 0x77 })
            }
        }

        @Test func `what keeps it from growing is named, with the node and a remedy`() throws {
            try withQuorumCluster(QuorumCluster.Options(copies: 2, hasWitness: true), comparing: false) { cluster in
                try cluster.startWithPrimary()
                let secondary = try cluster.bravo.attempt("resize").expecting(3)
                #expect(secondary.errors.contains("remedy: on alpha: hablk resize r0"), "\(secondary)")
                let smaller = try cluster.alpha.attempt("resize", "--size", "32MiB").expecting(3)
                #expect(smaller.errors.contains("never made smaller"), "\(smaller)")
                let same = try cluster.alpha.hablk("resize").output
                #expect(same.hasPrefix("r0 has \(64 * mebibyte) bytes, as many as all copies can hold"), "\(same)")
                cluster.bravo.killDaemon()
                let away = try cluster.alpha.attempt("resize", "--size", "128MiB").expecting(3)
                #expect(away.errors.contains("refused: bravo is"), "\(away)")
                try cluster.bravo.start()
                try cluster.alpha.wait(for: "in-sync")
                try cluster.bravo.hablk("detach")
                // They meet anew.
                try cluster.alpha.wait(for: "connected")
                let detached = try cluster.alpha.attempt("resize", "--size", "128MiB").expecting(3)
                #expect(detached.errors.contains("hablk attach r0 on bravo"), "\(detached)")
                try cluster.bravo.hablk("attach")
                try cluster.alpha.wait(for: "in-sync")
                try cluster.alpha.hablk("resize", "--size", "128MiB")
                #expect(try size(cluster.bravo) == 128 * mebibyte)
            }
        }
    }
}
