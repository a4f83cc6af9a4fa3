import Foundation
import Testing

extension EndToEnd {
    /// What a write and an idle volume cost both nodes: counted and not timed, so that a busy machine makes no difference.
    @Suite struct CostTests {
        @Test(arguments: ["off", "lz4", "zstd"])
        func `a 4 KiB write allocates nothing, once all is warm`(compression: String) throws {
            let options = TestCluster.Options(size: 64 * mebibyte, settings: ["compression": compression])
            try withCluster(options) { cluster in
                let library = cluster.folder + "/allocations.so"
                let source = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
                    .appendingPathComponent("Support/allocations.c").path
                try Program.run("cc", "-O2", "-Wall", "-shared", "-fPIC", "-o", library, source).expecting()
                for node in cluster.nodes {
                    try Data(count: 4096).write(to: URL(fileURLWithPath: countPath(node)))
                    node.daemonEnvironment = ["LD_PRELOAD": library, "HABLK_ALLOCATIONS": countPath(node)]
                }
                try cluster.startWithPrimary()
                try write(cluster.alpha, depth: 32, count: 4000)
                let sent = try cluster.alpha.status().peer
                #expect((sent.wireBytes < sent.sentBytes) == (compression != "off"), "\(sent)")
                for depth in [1, 16] {
                    let few = try allocations(cluster) { try write(cluster.alpha, depth: depth, count: 500) }
                    let many = try allocations(cluster) { try write(cluster.alpha, depth: depth, count: 5500) }
                    // A connection needs memory: so it is seen that the count counts.
                    #expect(few[0] > 0)
                    for (node, (more, less)) in zip(cluster.nodes, zip(many, few)) {
                        #expect(more - less < 10, "\(node.name) at depth \(depth): \(more - less) for 5000 writes more")
                    }
                }
            }
        }

        @Test
        func `a 4 KiB write costs both nodes five system calls when it is alone, and one or two among sixteen`()
            throws
        {
            try withCluster(.init(size: 64 * mebibyte, isLinkDirect: true)) { cluster in
                try cluster.startWithPrimary()
                guard cluster.nodes.allSatisfy({ $0.log.contains("ring deferred") }) else {
                    return print("system calls are not counted: sends are not quiet before Linux 6.1")
                }
                try write(cluster.alpha, depth: 16, count: 2000)
                // Alone: the primary wakes for the request, its disk and its peer, and that one for the frame and its disk.
                let alone = try systemCalls(cluster, writes: 2000) { try write(cluster.alpha, depth: 1, count: 2000) }
                guard let alone else { return print("system calls are not counted: daemons cannot be traced here") }
                #expect(alone > 2 && alone < 6.5, "\(alone) alone")
                // Sixteen at once, and again when all are answered. A machine with nothing else to do needs 1.2 for each; how many
                // completions come into one turn of a busy one is chance: the best of some runs counts.
                var among = Double.infinity
                for _ in 0..<8 where among > 1.5 {
                    let calls = try systemCalls(cluster, writes: 1600) {
                        try writeAtOnce(cluster.alpha, writes: 16, rounds: 100)
                    }
                    among = min(among, try #require(calls))
                }
                #expect(among > 0.05 && among < 2.5, "\(among) among sixteen")
            }
        }

        @Test func `an idle volume hardly wakes, and uses no processor time to speak of`() throws {
            let options = TestCluster.Options(settings: ["ping-interval": "500ms", "ping-timeout": "1s"])
            try withCluster(options) { cluster in
                try cluster.startWithPrimary()
                try write(cluster.alpha, depth: 16, count: 2000)
                // The last epoch is closed, and the log cools down, some seconds later.
                pause(3)
                let before = try cluster.nodes.map { (try wakeUps($0), try processorTime($0)) }
                pause(5)
                for (node, before) in zip(cluster.nodes, before) {
                    let (woke, used) = (try wakeUps(node) - before.0, try processorTime(node) - before.1)
                    // A ping, a pong and the other's ping, twice a second.
                    #expect(woke > 5 && woke < 100, "\(node.name) woke \(woke) times in 5 s")
                    #expect(used < 0.05, "\(node.name) used \(used) s in 5 s")
                }
            }
        }

        // MARK: Load

        private func write(_ node: TestNode, depth: Int, count: Int) throws {
            try Program.run(
                "fio", "--name=writes", "--ioengine=nbd", "--uri=\(node.uri)", "--rw=randwrite", "--bs=4k",
                "--iodepth=\(depth)", "--number_ios=\(count)", "--size=64M", "--norandommap", "--thread",
                "--buffer_compress_percentage=50", "--refill_buffers", "--buffer_compress_chunk=512", seconds: 120
            ).expecting()
        }

        private func writeAtOnce(_ node: TestNode, writes: Int, rounds: Int) throws {
            let connection = try NBDConnection(node: node)
            let payload = [UInt8](repeating: 0x5a, count: 4096)
            for round in 0..<rounds {
                var requests: [UInt8] = []
                for write in 0..<writes {
                    let offset = UInt64((round * writes + write) * 7919 % 16_000) * 4096
                    requests +=
                        NBDConnection.head(.write, cookie: UInt64(write), offset: offset, length: 4096) + payload
                }
                try connection.sendBytes(requests)
                for _ in 0..<writes { #expect(try connection.receiveReply().error == 0) }
            }
            connection.disconnect()
        }

        // MARK: Counts

        private func countPath(_ node: TestNode) -> String { node.folder + "/allocations" }

        /// By each node, while `body` runs.
        private func allocations(_ cluster: TestCluster, during body: () throws -> Void) throws -> [Int] {
            func counts() throws -> [Int] {
                try cluster.nodes.map { node in
                    try Data(contentsOf: URL(fileURLWithPath: countPath(node))).withUnsafeBytes {
                        $0.load(as: Int.self)
                    }
                }
            }
            let before = try counts()
            try body()
            return zip(try counts(), before).map { $0 - $1 }
        }

        /// Of both nodes, for each of the `writes` that `load` makes; nil: nobody may trace them.
        private func systemCalls(_ cluster: TestCluster, writes: Int, by load: () throws -> Void) throws -> Double? {
            let base = "\(cluster.folder)/strace-\(now())"
            let (table, messages) = (base + ".table", base + ".messages")
            let daemons = try cluster.nodes.map { try #require($0.daemon?.pid) }
            let trace = try ChildProcess(
                ["strace", "-f", "-c", "-o", table] + daemons.flatMap { ["-p", "\($0)"] }, outputPath: messages,
                errorsPath: messages)
            defer { trace.end() }
            var isForbidden: Bool { readText(messages).contains("not permitted") }
            try until("strace looks at both daemons") {
                isForbidden || readText(messages).components(separatedBy: "attached").count > daemons.count
            }
            guard !isForbidden else { return nil }
            try load()
            trace.signal(SIGINT)
            _ = try trace.waitForExit(seconds: 20)
            let total = readText(table).split(separator: "\n").last { $0.hasSuffix(" total") }
            let words = try #require(total, "strace counted nothing: \(readText(messages))").split(separator: " ")
            return Double(try #require(Int(words[3]))) / Double(writes)
        }

        private func wakeUps(_ node: TestNode) throws -> Int {
            let pid = try #require(node.daemon?.pid)
            let line = readText("/proc/\(pid)/status").split(separator: "\n").first { $0.hasPrefix("voluntary") }
            return try #require(line?.split(separator: "\t").last.flatMap { Int($0) })
        }

        /// Seconds.
        private func processorTime(_ node: TestNode) throws -> Double {
            let pid = try #require(node.daemon?.pid)
            let nanoseconds = readText("/proc/\(pid)/schedstat").split(separator: " ").first.flatMap { Double($0) }
            return try #require(nanoseconds) / 1e9
        }
    }
}
