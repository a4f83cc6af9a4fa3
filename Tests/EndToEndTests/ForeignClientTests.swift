import Foundation
import Testing

extension EndToEnd {
    /// Programs that nobody here wrote find an ordinary NBD server, and both copies hold what they wrote.
    @Suite struct ForeignClientTests {
        @Test func `nbdinfo finds the size and all that is promised of the protocol`() throws {
            try withCluster { cluster in
                try cluster.startWithPrimary()
                let answer = try Program.run("nbdinfo", "--json", cluster.alpha.uri).expecting()
                let object = try JSONSerialization.jsonObject(with: Data(answer.output.utf8)) as? [String: Any]
                let export = try #require((object?["exports"] as? [[String: Any]])?.first)
                #expect(object?["protocol"] as? String == "newstyle-fixed")
                #expect(object?["structured"] as? Bool == true)
                #expect((export["export-size"] as? NSNumber)?.uint64Value == cluster.options.size)
                for can in ["cache", "df", "fast_zero", "flush", "fua", "multi_conn", "trim", "zero"] {
                    #expect(export["can_" + can] as? Bool == true, "can_\(can)")
                }
                #expect(export["is_read_only"] as? Bool == false)
                #expect((export["contexts"] as? [String])?.contains("base:allocation") == true)
            }
        }

        @Test func `nbdinfo lists the volume on both roles, and the empty name is the same volume`() throws {
            try withCluster { cluster in
                try cluster.startWithPrimary()
                for node in cluster.nodes {
                    let uri = "nbd+unix:///?socket=\(node.socketPath)"
                    // A secondary names its export but opens it for nobody, so the list has no details there.
                    let list = try Program.run("nbdinfo", "--list", "--json", uri)
                    if node === cluster.alpha {
                        let text = try list.expecting().output
                        #expect(text.contains("\"r0\""))
                    }
                    let names = try NBDConnection(socketPath: node.socketPath)
                    try names.sendOption(3, [])
                    let first = try names.receiveOptionReply()
                    #expect(first.type == 2)
                    #expect(String(decoding: first.data.dropFirst(4), as: UTF8.self).hasPrefix("r0"))
                }
                let size = try Program.run("nbdinfo", "--size", "nbd+unix:///?socket=\(cluster.alpha.socketPath)")
                let figure = try size.expecting().output
                #expect(figure.contains("\(cluster.options.size)"))
            }
        }

        @Test func `a secondary refuses with the primary's name, an unknown export is unknown`() throws {
            try withCluster { cluster in
                try cluster.startWithPrimary()
                let refused = try Program.run("qemu-img", "info", cluster.bravo.uri)
                #expect(refused.code != 0)
                #expect(refused.errors.contains("r0 is secondary on bravo; primary: alpha"))
                for (node, export, type) in [(cluster.bravo, "r0", 2), (cluster.alpha, "nothing", 6)] {
                    let client = try NBDConnection(socketPath: node.socketPath)
                    let trouble = #expect(throws: NBDTrouble.self) { try client.go(export: export) }
                    #expect(trouble?.optionError == UInt32(0x8000_0000) + UInt32(type))
                    // The option phase goes on: the refusal is an answer, not an end.
                    try client.sendOption(3, [])
                    #expect(try client.receiveOptionReply().type == 2)
                }
            }
        }

        @Test func `nbdcopy copies both ways with four connections`() throws {
            try withCluster { cluster in
                try cluster.startWithPrimary()
                let (source, back) = (cluster.folder + "/source.img", cluster.folder + "/back.img")
                try writeRandomFile(source, bytes: cluster.options.size)
                try Program.run("nbdcopy", "--connections=4", "--flush", source, cluster.alpha.uri).expecting()
                try Program.run("nbdcopy", "--connections=4", cluster.alpha.uri, back).expecting()
                #expect(try firstDifference(source, back, bytes: cluster.options.size) == nil)
                let same = try Program.run("qemu-img", "compare", "-f", "raw", "-F", "raw", source, cluster.alpha.uri)
                try same.expecting()
                // And it is on the other copy, not only in this daemon's memory.
                try cluster.alpha.demote()
                try cluster.bravo.promote()
                try Program.run("qemu-img", "compare", "-f", "raw", "-F", "raw", source, cluster.bravo.uri).expecting()
            }
        }

        @Test func `qemu-io finds its patterns, zeroes and discards, aligned or not`() throws {
            try withCluster { cluster in
                try cluster.startWithPrimary()
                try qemuIO(
                    cluster.alpha,
                    [
                        "write -P 0x5a 0 1M", "read -P 0x5a 0 1M", "write -f -P 0x11 4k 4k", "read -P 0x11 4k 4k",
                        "write -P 0x22 1000 3001", "read -P 0x22 1000 3001", "read -P 0x5a 0 1000",
                        "write -z 64k 64k", "read -P 0 64k 64k", "write -z -u 200001 70003", "read -P 0 200001 70003",
                        "write -P 0x33 1M 8M", "discard 2M 4M", "read -P 0x33 1M 1M", "read -P 0x33 6M 3M", "flush",
                        "write -P 0x44 67108352 512", "read -P 0x44 67108352 512", "aio_write -P 0x66 9M 2M",
                        "aio_flush",
                        "read -P 0x66 9M 2M",
                    ])
                try cluster.alpha.demote()
                try cluster.bravo.promote()
                try qemuIO(
                    cluster.bravo,
                    [
                        "read -P 0x11 4k 4k", "read -P 0x5a 0 1000", "read -P 0 64k 64k", "read -P 0 200001 70003",
                        "read -P 0x33 6M 3M", "read -P 0x44 67108352 512", "read -P 0x66 9M 2M",
                    ])
                let short = try Program.run("qemu-io", "-f", "raw", "-c", "read -P 0x12 4k 4k", cluster.bravo.uri)
                #expect(short.code != 0, "qemu-io does not notice a wrong pattern")
            }
        }

        @Test func `fio verifies after a failover what it wrote before`() throws {
            try withCluster(.init(size: 128 * mebibyte)) { cluster in
                try cluster.startWithPrimary()
                let job = [
                    "--name=job", "--ioengine=nbd", "--bs=4k", "--size=32M", "--iodepth=16", "--randseed=7",
                    "--verify=crc32c", "--rw=randwrite", "--output-format=terse", "--verify_fatal=1",
                    "--verify_state_save=0",
                ]
                let first = ["fio"] + job + ["--uri=\(cluster.alpha.uri)", "--do_verify=1", "--fsync=64"]
                try Program.run(first, seconds: 120).expecting()
                cluster.alpha.killDaemon()
                try cluster.bravo.promote()
                let second = ["fio"] + job + ["--uri=\(cluster.bravo.uri)", "--verify_only"]
                try Program.run(second, seconds: 120).expecting()
                try cluster.alpha.start()
            }
        }

        private func qemuIO(_ node: TestNode, _ commands: [String]) throws {
            let words = ["qemu-io", "-f", "raw", "-t", "none"] + commands.flatMap { ["-c", $0] } + [node.uri]
            let answer = try Program.run(words).expecting()
            #expect(!(answer.output + answer.errors).contains("failed"), "\(answer)")
        }
    }
}

/// A file of bytes that do not compress, with a quarter of holes.
func writeRandomFile(_ path: String, bytes: UInt64) throws {
    var random = SeededGenerator(seed: bytes)
    guard truncate(try emptyFile(path), Int(bytes)) == 0, let file = FileHandle(forWritingAtPath: path) else {
        throw Trouble("cannot write \(path)")
    }
    for piece in 0..<bytes / mebibyte where piece % 4 != 3 {
        let words = (0..<mebibyte / 8).map { _ in random.next() }
        try file.seek(toOffset: piece * mebibyte)
        try file.write(contentsOf: words.withUnsafeBytes { Data($0) })
    }
    try file.close()
}

private func emptyFile(_ path: String) throws -> String {
    try Data().write(to: URL(fileURLWithPath: path))
    return path
}
