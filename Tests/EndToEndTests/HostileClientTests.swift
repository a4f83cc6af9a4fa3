import Testing

extension EndToEnd {
    /// One client's malice or sloth is nobody else's trouble, and no reason to grow.
    @Suite struct HostileClientTests {
        /// Promise of the release: 96 MiB, and 32 MiB for each TiB.
        private static let memoryLimit = 96 * mebibyte + 32 * mebibyte

        private func withDisturbedLoad(_ disturb: (TestCluster) throws -> Void) throws {
            try withCluster { cluster in
                try cluster.startWithPrimary()
                // On a machine whose disk is busy the promotion's flush may have cost the peer its session.
                for node in cluster.nodes { try node.wait(for: "in-sync") }
                let logs = cluster.nodes.map(\.log)
                let load = LoadClient(cluster.alpha)
                try withLoad(load) {
                    try disturb(cluster)
                    try load.makeProgress(300)
                    #expect(try cluster.alpha.status().role == "primary")
                }
                #expect(load.report.connections == 1, "an honest client was thrown out")
                #expect(load.report.longestStall < 5)
                #expect(try cluster.alpha.memory("VmRSS") < Self.memoryLimit)
                try load.verify(on: cluster.alpha)
                for (node, log) in zip(cluster.nodes, logs) {
                    #expect(try node.status().peer.connection == "connected")
                    // Each session, and each resync, leaves a line.
                    let lines = node.log.dropFirst(log.count).split(separator: "\n")
                    let news = lines.filter { $0.contains("session:") || $0.contains("resync:") }
                    #expect(news.isEmpty, "\(node.name): \(news.joined(separator: "\n"))")
                }
            }
        }

        @Test func `garbage instead of a greeting, an option or a request`() throws {
            try withDisturbedLoad { cluster in
                var random = SeededGenerator(seed: 99)
                for stage in 0..<3 {
                    for _ in 0..<20 {
                        let client = try NBDConnection(socketPath: cluster.alpha.socketPath, timeout: 5)
                        if stage == 2 { try client.go(export: "r0") }
                        let garbage = (0..<512).map { _ in UInt8.random(in: 0...255, using: &random) }
                        let start = stage == 1 ? Array("IHAVEOPT".utf8) : []
                        try? client.sendBytes(start + garbage)
                        client.breakOff()
                    }
                }
            }
        }

        @Test(arguments: [4096, 65536, 0x7fff_ffff, 0xffff_ffff] as [UInt32])
        func `an option of a huge length`(length: UInt32) throws {
            try withDisturbedLoad { cluster in
                for option: UInt32 in [1, 3, 6, 7, 8, 10, 99] {
                    let client = try NBDConnection(socketPath: cluster.alpha.socketPath, timeout: 5)
                    try? client.sendBytes(Array("IHAVEOPT".utf8) + bigEndian(option) + bigEndian(length))
                    try? client.sendBytes([UInt8](repeating: 0xff, count: 8192))
                    client.breakOff()
                }
            }
        }

        @Test func `a name longer than its option`() throws {
            try withDisturbedLoad { cluster in
                for length: UInt32 in [5, 4096, 0xffff_fff0, 0xffff_ffff] {
                    let client = try NBDConnection(socketPath: cluster.alpha.socketPath, timeout: 5)
                    try client.sendOption(NBDConnection.optionGo, bigEndian(length) + [1, 2, 3, 4])
                    let answer = try? client.receiveOptionReply()
                    #expect((answer?.type ?? 0x8000_0000) >= 0x8000_0000, "it was believed")
                }
            }
        }

        @Test func `requests beyond the end, of huge lengths, unknown, or with unknown flags`() throws {
            try withDisturbedLoad { cluster in
                let client = try NBDConnection(node: cluster.alpha, timeout: 5)
                let end = cluster.options.size
                let readsBeyond: [(UInt64, UInt32)] = [
                    (end, 4096), (end - 1, 2), (UInt64.max - 511, 512), (UInt64.max, 1),
                ]
                for (offset, length) in readsBeyond {
                    try client.sendRequest(.read, cookie: 7, offset: offset, length: length)
                    let reply = try client.receiveReply()
                    #expect(reply.cookie == 7 && reply.error == 22)
                }
                try client.sendRequest(
                    .write, cookie: 8, offset: end - 512, length: 4096, payload: [UInt8](repeating: 1, count: 4096))
                #expect(try client.receiveReply().error == 28)
                try client.sendRequest(.writeZeroes, flags: 0x4000, cookie: 9, offset: 0, length: 4096)
                #expect(try client.receiveReply().error == 22)
                try client.sendRequest(.trim, cookie: 10, offset: 0, length: 0xffff_ffff)
                #expect(try client.receiveReply().error == 22)
                let wrong: [(NBDConnection.Command, UInt16)] = [(.unknown, 0), (.flush, 0x4000), (.trim, 8)]
                for (command, flags) in wrong {
                    try client.sendRequest(
                        command, flags: flags, cookie: 11, offset: UInt64.max - 1, length: 0xffff_ffff)
                    let reply = try client.receiveReply()
                    #expect(reply.cookie == 11 && reply.error == 22)
                }
                // A flush is one whatever range it names.
                try client.sendRequest(.flush, cookie: 12, offset: UInt64.max - 1, length: 0xffff_ffff)
                #expect(try client.receiveReply().error == 0)
                // Still in step with each other after all of that.
                try client.write(NumberedBlock.content(write: 1, block: 0), at: 40 * mebibyte)
                let found = try client.read(at: 40 * mebibyte, length: 4096)
                #expect(found == NumberedBlock.content(write: 1, block: 0))
                let huge = try NBDConnection(node: cluster.alpha, timeout: 5)
                try? huge.sendRequest(.write, cookie: 11, offset: 0, length: 0xffff_ffff)
                try? huge.sendBytes([UInt8](repeating: 2, count: 1 << 20))
                huge.breakOff()
            }
        }

        @Test func `a crowd that says nothing, or a byte at a time`() throws {
            try withDisturbedLoad { cluster in
                var crowd: [NBDConnection] = []
                for _ in 0..<100 {
                    guard let client = try? NBDConnection(socketPath: cluster.alpha.socketPath, timeout: 2) else {
                        break
                    }
                    crowd.append(client)
                }
                #expect(crowd.count >= 8, "only \(crowd.count) clients got in")
                for byte in Array("IHAVEOPT".utf8) {
                    for client in crowd { try? client.sendBytes([byte]) }
                    pause(0.02)
                }
            }
        }

        @Test func `a client that asks for much and takes nothing`() throws {
            try withDisturbedLoad { cluster in
                var greedy: [NBDConnection] = []
                for _ in 0..<4 {
                    let client = try NBDConnection(node: cluster.alpha, timeout: 1)
                    for cookie in 0..<64 {
                        try? client.sendRequest(.read, cookie: UInt64(cookie), offset: 0, length: UInt32(32 * mebibyte))
                    }
                    greedy.append(client)
                }
                pause(1)
                #expect(try cluster.alpha.memory("VmRSS") < Self.memoryLimit)
                greedy.forEach { $0.breakOff() }
            }
        }

        @Test func `a client that begins a write and stops in the middle`() throws {
            try withDisturbedLoad { cluster in
                var sleepers: [NBDConnection] = []
                for index in 0..<8 {
                    let client = try NBDConnection(node: cluster.alpha, timeout: 2)
                    let offset = 40 * mebibyte + UInt64(index) * mebibyte
                    try client.sendRequest(.write, cookie: 1, offset: offset, length: UInt32(32 * mebibyte))
                    try? client.sendBytes([UInt8](repeating: 3, count: 100_000))
                    sleepers.append(client)
                }
                pause(1)
                sleepers.forEach { $0.breakOff() }
            }
        }

        @Test func `memory stays small under the heaviest honest load`() throws {
            try withCluster(.init(size: 256 * mebibyte)) { cluster in
                try cluster.startWithPrimary()
                let source = cluster.folder + "/source.img"
                try writeRandomFile(source, bytes: cluster.options.size)
                let copy = ["nbdcopy", "--connections=4", "--requests=64", "--request-size=33554432", source]
                try Program.run(copy + [cluster.alpha.uri], seconds: 120).expecting()
                let load = LoadClient(cluster.alpha, blocks: 1024, depth: 64)
                try Program.run("qemu-io", "-f", "raw", "-c", "write -z 0 4M", cluster.alpha.uri).expecting()
                try withLoad(load) { try load.makeProgress(2000) }
                load.stop()
                for node in cluster.nodes {
                    let peak = try node.memory("VmHWM")
                    print("peak resident memory of \(node.name): \(peak / mebibyte) MiB")
                    #expect(peak < Self.memoryLimit, "\(node.name): \(peak / mebibyte) MiB")
                }
            }
        }
    }
}
