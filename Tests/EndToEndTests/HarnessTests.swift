import Foundation
import Testing

extension EndToEnd {
    /// The instruments are tried first, on servers of others: a load that verifies anything proves nothing.
    @Suite struct HarnessTests {
        /// A node whose "daemon" is nbdkit with a disk in memory.
        private func withForeignServer(_ body: (TestNode, ChildProcess) throws -> Void) throws {
            signal(SIGPIPE, SIG_IGN)
            let folder = NSTemporaryDirectory() + "/hablk-harness-\(getpid())"
            defer { try? FileManager.default.removeItem(atPath: folder) }
            let node = try TestNode(name: "alpha", volume: "r0", folder: folder)
            try FileManager.default.createDirectory(atPath: node.runtimeFolder, withIntermediateDirectories: true)
            let server = try ChildProcess(
                ["nbdkit", "-f", "-U", node.socketPath, "memory", "64M"], outputPath: folder + "/out",
                errorsPath: folder + "/err")
            defer { server.end() }
            try until("nbdkit listens") { FileManager.default.fileExists(atPath: node.socketPath) }
            try body(node, server)
        }

        @Test func `the load verifies what an honest server keeps`() throws {
            try withForeignServer { node, _ in
                let load = LoadClient(node, blocks: 64)
                try withLoad(load) { try load.makeProgress(1000) }
                let report = load.stop()
                #expect(report.acknowledgedWrites >= 1000 && report.checkedReads > 50 && report.connections == 1)
                try load.verify(on: node)
            }
        }

        @Test func `the load finds a lost write, an old one, a torn one and a misplaced one`() throws {
            try withForeignServer { node, _ in
                let load = LoadClient(node, blocks: 16)
                try withLoad(load) { try load.makeProgress(500) }
                load.stop()
                try load.verify(on: node)
                let client = try NBDConnection(node: node)
                let right = try client.read(at: 3 * 4096, length: 4096)
                let old = NumberedBlock.content(write: 1, block: 3)
                let misplaced = try client.read(at: 4 * 4096, length: 4096)
                let torn = Array(right[..<1024]) + old[1024...]
                for wrong in [NumberedBlock.content(write: 0, block: 3), old, misplaced, torn, torn.reversed()] {
                    try client.write(wrong, at: 3 * 4096)
                    #expect(throws: Trouble.self) { try load.verify(on: node) }
                    try client.write(right, at: 3 * 4096)
                    try load.verify(on: node)
                }
            }
        }

        @Test func `the load measures a stall and survives it`() throws {
            try withForeignServer { node, server in
                let load = LoadClient(node, blocks: 64)
                try withLoad(load) {
                    load.forgetStalls()
                    server.signal(SIGSTOP)
                    pause(0.5)
                    server.signal(SIGCONT)
                    try load.makeProgress()
                }
                #expect(load.stop().longestStall >= 0.4)
                try load.verify(on: node)
            }
        }

        @Test func `an open write may be there or not, an acknowledged one must`() {
            var history = BlockHistory()
            history.acknowledge(5)
            history.leaveOpen(7)
            #expect(history.judge(NumberedBlock.content(write: 3, block: 1), block: 1) != nil)
            let mixed = Array(
                NumberedBlock.content(write: 5, block: 1)[..<512] + NumberedBlock.content(write: 7, block: 1)[512...])
            #expect(history.judge(mixed, block: 1) == nil)
            #expect(history.judge(NumberedBlock.content(write: 7, block: 1), block: 1) == nil)
            #expect(history.judge(NumberedBlock.content(write: 5, block: 1), block: 1) != nil, "it went back")
        }

        @Test func `a faulty disk fails where it was told and nowhere else`() throws {
            let folder = NSTemporaryDirectory() + "/hablk-disk-\(getpid())"
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
            defer { try? FileManager.default.removeItem(atPath: folder) }
            for (fault, commands) in [
                (FaultyDisk.Fault.write, ["write 1M 4k"]), (.read, ["read 1M 4k"]), (.flush, ["write 3M 4k", "flush"]),
            ] {
                let disk = try FaultyDisk(
                    path: folder + "/\(fault.rawValue).img", bytes: 8 * mebibyte, failing: fault, at: mebibyte)
                defer { disk.remove() }
                for good in ["write -P 3 2M 4k", "read -P 3 2M 4k"] {
                    try Program.run("qemu-io", "-f", "raw", "-t", "none", "-c", good, disk.path).expecting()
                }
                let words = ["qemu-io", "-f", "raw", "-t", "none"] + commands.flatMap { ["-c", $0] } + [disk.path]
                let bad = try Program.run(words)
                #expect(bad.code != 0, "\(bad)")
            }
        }
    }
}
