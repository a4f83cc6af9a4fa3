import Foundation
import Testing

extension EndToEnd {
    /// What a copy gives up is kept aside first: `discarded-data: keep`.
    @Suite struct DiscardedDataTests {
        private func withLostWrites(_ body: (TestCluster) throws -> Void) throws {
            var options = TestCluster.Options()
            options.settings = [
                "replication": "async", "send-buffer": "1MiB", "timeout": "60s", "discarded-data": "keep",
            ]
            try withCluster(options) { cluster in
                try cluster.startWithPrimary()
                let client = try NBDConnection(node: cluster.alpha)
                cluster.link.hold()
                for block in 0..<60 {
                    try client.write(
                        NumberedBlock.content(write: UInt64(block + 1), block: block), at: UInt64(block) * 4096)
                }
                cluster.alpha.killDaemon()
                cluster.link.passDroppingHeld()
                try cluster.bravo.wait(for: "disconnected")
                try cluster.bravo.promote("--accept-data-loss")
                try body(cluster)
            }
        }

        private func folder(_ node: TestNode) -> String {
            "\(node.environment["HABLK_STATE_DIR"] ?? "")/\(node.volume).discarded"
        }

        private func image(_ node: TestNode) throws -> (data: Data, map: String) {
            let folder = folder(node)
            let names = try FileManager.default.contentsOfDirectory(atPath: folder).sorted()
            #expect(names.count == 2 && names[0].hasSuffix(".img") && names[1].hasSuffix(".map"), "\(names)")
            let data = try #require(FileManager.default.contents(atPath: "\(folder)/\(names[0])"))
            let map = try #require(FileManager.default.contents(atPath: "\(folder)/\(names[1])"))
            return (data, String(decoding: map, as: UTF8.self))
        }

        @Test func `what an asynchronous primary had not sent is kept aside when another copy's data takes its place`()
            throws
        {
            try withLostWrites { cluster in
                let writer = try NBDConnection(node: cluster.bravo)
                try writer.write(NumberedBlock.content(write: 1000, block: 3), at: 3 * 4096)
                try cluster.alpha.start()
                try cluster.alpha.wait(for: "in-sync")
                #expect(cluster.alpha.log.contains("is given up is kept in \(folder(cluster.alpha))"))
                let kept = try image(cluster.alpha)
                for block in 0..<60 {
                    let bytes = [UInt8](kept.data[block * 4096..<(block + 1) * 4096])
                    #expect(bytes == NumberedBlock.content(write: UInt64(block + 1), block: block), "block \(block)")
                }
                #expect(kept.map.contains("generation ") && kept.map.contains(" data\n"), "\(kept.map)")
                writer.disconnect()
                // What is served is the other's.
                try cluster.bravo.demote()
                try cluster.alpha.promote()
                let reader = try NBDConnection(node: cluster.alpha)
                #expect(try reader.read(at: 3 * 4096, length: 4096) == NumberedBlock.content(write: 1000, block: 3))
            }
        }

        @Test func `without room for it the copy stays as it is, says why, and is filled when told to connect again`()
            throws
        {
            try withLostWrites { cluster in
                let folder = folder(cluster.alpha)
                // Where the folder would be.
                try FileManager.default.createDirectory(
                    atPath: (folder as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
                #expect(FileManager.default.createFile(atPath: folder, contents: nil))
                try cluster.alpha.start()
                try until("it says why", seconds: 20) {
                    try cluster.alpha.status().peer.reason == "cannot-keep"
                }
                let table = try cluster.alpha.attempt("status").expecting(0).output
                #expect(table.contains("cannot be kept aside"), "\(table)")
                #expect(try cluster.alpha.status().peer.connection == "standalone")
                try FileManager.default.removeItem(atPath: folder)
                // The other goes on calling, and is told no.
                pause(2)
                #expect(try cluster.alpha.status().peer.reason == "cannot-keep")
                try cluster.alpha.attempt("connect").expecting(0)
                try cluster.alpha.wait(for: "in-sync")
                #expect(try image(cluster.alpha).data.prefix(4096) == Data(NumberedBlock.content(write: 1, block: 0)))
            }
        }
    }
}
