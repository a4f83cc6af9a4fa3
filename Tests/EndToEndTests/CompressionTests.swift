import Foundation
import Testing

extension EndToEnd {
    /// What goes from node to node made shorter: the copies are the same, and the link carries less.
    @Suite struct CompressionTests {
        private func options(_ compression: String, _ settings: [String: String] = [:]) -> TestCluster.Options {
            var options = TestCluster.Options(settings: settings)
            // The other side says nothing of it, and takes it all the same.
            options.settingsOf = ["alpha": ["compression": compression]]
            return options
        }

        @Test(arguments: ["lz4", "zstd"], ["sync", "memory", "async"])
        func `one side compresses and the other does not, and nothing is lost by blips and a handed-over role`(
            compression: String, mode: String
        ) throws {
            let settings = ["replication": mode, "send-buffer": "1MiB", "timeout": "60s"]
            try withCluster(options(compression, settings)) { cluster in
                try cluster.startWithPrimary()
                #expect(try cluster.alpha.status().peer.compression == compression)
                #expect(try cluster.bravo.status().peer.compression == "off")
                let load = LoadClient(cluster.alpha)
                try withLoad(load) {
                    for _ in 0..<3 {
                        cluster.link.hold()
                        pause(0.3)
                        cluster.link.passDroppingHeld()
                        for node in cluster.nodes { try node.wait(for: "in-sync") }
                        try load.makeProgress(200)
                    }
                }
                try load.verify(on: cluster.alpha)
                let sent = try cluster.alpha.status().peer
                #expect(sent.sentBytes > 600 * 4096 && sent.wireBytes < sent.sentBytes * 3 / 4, "\(sent)")
                let table = try cluster.alpha.attempt("status").expecting(0).output
                #expect(table.contains("sent to bravo with \(compression): "), "\(table)")
                #expect(try !cluster.bravo.attempt("status").expecting(0).output.contains("sent to alpha"))
                try cluster.alpha.demote()
                try cluster.bravo.promote()
                try load.verify(on: cluster.bravo)
                load.redirect(to: cluster.bravo)
                try withLoad(load) { try load.makeProgress(200) }
                let plain = try cluster.bravo.status().peer
                #expect(plain.sentBytes > 200 * 4096 && plain.wireBytes > plain.sentBytes, "\(plain)")
            }
        }

        /// All 64 MiB were written anew, and are for the most part zeroes.
        @Test(arguments: ["off", "zstd"])
        func `a resync of a sparse volume sends next to nothing`(compression: String) throws {
            try withCluster(options(compression)) { cluster in
                try cluster.startWithPrimary()
                try cluster.bravo.down()
                let client = try NBDConnection(node: cluster.alpha)
                let zeroes = [UInt8](repeating: 0, count: Int(mebibyte))
                for piece in 0..<64 { try client.write(zeroes, at: UInt64(piece) * mebibyte) }
                for block in 0..<50 {
                    try client.write(NumberedBlock.content(write: 7, block: block), at: UInt64(block) * mebibyte + 8192)
                }
                try client.flush()
                client.disconnect()
                let before = cluster.link.bytesPassed
                try cluster.bravo.start()
                for node in cluster.nodes { try node.wait(for: "in-sync") }
                let bytes = try #require(try cluster.bravo.status().peer.lastResync).bytes
                #expect(bytes == 64 * mebibyte)
                let passed = cluster.link.bytesPassed - before
                // The pieces that are not all zero are sent whole, unless they are compressed.
                let most = compression == "off" ? 60 * Int(mebibyte) : 2 * Int(mebibyte)
                #expect(passed < most, "\(passed) bytes for 50 blocks that are not zero")
            }
        }

        @Test func `writes of zeroes are a word on the wire, without compression too`() throws {
            try withCluster { cluster in
                try cluster.startWithPrimary()
                let client = try NBDConnection(node: cluster.alpha)
                try client.write([UInt8](repeating: 1, count: Int(mebibyte)), at: 0)
                let before = cluster.link.bytesPassed
                for piece in 0..<32 {
                    try client.write([UInt8](repeating: 0, count: Int(mebibyte)), at: UInt64(piece) * mebibyte)
                }
                try client.flush()
                client.disconnect()
                #expect(cluster.link.bytesPassed - before < Int(mebibyte))
            }
        }

        @Test(arguments: ["lz4", "zstd"])
        func `a flipped bit in what is compressed is noticed and never written`(compression: String) throws {
            try withCluster(options(compression)) { cluster in
                try cluster.startWithPrimary()
                let load = LoadClient(cluster.alpha)
                try withLoad(load) {
                    for round in 1...5 {
                        var noticed: Int { cluster.bravo.log.components(separatedBy: "a bad frame").count }
                        let before = noticed
                        // In what is compressed a flip may change nothing: a match as good in another place.
                        for attempt in 1...10 where noticed == before {
                            cluster.link.corrupt(from: cluster.alpha, afterBytes: 20_001 + round * 977 + attempt * 31)
                            try until("flip \(round)", seconds: 10) { cluster.link.accidentHappened }
                            pause(0.5)
                        }
                        #expect(noticed > before, "none of ten flips was noticed")
                        cluster.link.pass()
                        for node in cluster.nodes { try node.wait(for: "in-sync") }
                        try load.makeProgress(200)
                    }
                }
                #expect(load.report.connections == 1, "the client noticed it")
                try load.verify(on: cluster.alpha)
            }
        }

        /// What a rate bounds is what is read and written for it, not what is left of that on the wire; and clients' writes
        /// have nothing to do with it.
        @Test func `resync-rate bounds a compressed resync by what it fills, and no client's writes`() throws {
            var options = options("zstd")
            options.settings = ["resync-rate": "8MiB"]
            try withCluster(options) { cluster in
                try cluster.startWithPrimary()
                try cluster.bravo.down()
                let source = cluster.folder + "/source.img"
                let line = Data("what compresses well, again and again\n".utf8)
                var text = Data()
                while text.count < Int(mebibyte) { text.append(line) }
                text.removeLast(text.count - Int(mebibyte))
                var whole = Data()
                for _ in 0..<40 { whole.append(text) }
                try whole.write(to: URL(fileURLWithPath: source))
                try Program.run("nbdcopy", "--flush", source, cluster.alpha.uri).expecting()
                try cluster.bravo.start()
                try until("a resync that moves") { (try cluster.bravo.status().peer.resync?.doneBytes ?? 0) > 0 }
                let client = try NBDConnection(node: cluster.alpha)
                // 16 MiB of writes behind what is copied: at the resync's rate they would take two seconds of it.
                let before = try cluster.alpha.status().peer.sentBytes
                for piece in 0..<16 {
                    try client.write([UInt8](text), at: 40 * mebibyte + UInt64(piece) * mebibyte)
                }
                client.disconnect()
                let meanwhile = try cluster.bravo.status().peer
                #expect(meanwhile.resync != nil, "the resync ended before 16 MiB were written")
                #expect(try cluster.alpha.status().peer.sentBytes >= before + 16 * mebibyte)
                for node in cluster.nodes { try node.wait(for: "in-sync") }
                let last = try #require(try cluster.bravo.status().peer.lastResync)
                #expect(last.bytes >= 40 * mebibyte && last.seconds > 4.5, "\(last)")
                let sent = try cluster.alpha.status().peer
                #expect(sent.wireBytes < sent.sentBytes / 10, "\(sent)")
            }
        }
    }
}
