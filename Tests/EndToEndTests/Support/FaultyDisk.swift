import Foundation

/// A file whose reads, writes or flushes fail where it was told, by QEMU's storage daemon and FUSE. A daemon opens it
/// like any file.
final class FaultyDisk {
    enum Fault: String { case read, write, flush }

    let path: String
    private let server: ChildProcess

    /// `at`: the byte whose sector fails; flushes fail everywhere.
    init(path: String, bytes: UInt64, failing fault: Fault, at offset: UInt64 = 0) throws {
        self.path = path
        let backing = path + ".backing"
        for name in [path, backing] { try Data().write(to: URL(fileURLWithPath: name)) }
        guard truncate(backing, Int(bytes)) == 0 else { throw Trouble("no file of \(bytes) bytes at \(backing)") }
        var error: [String: Any] = ["event": "none", "iotype": fault.rawValue, "errno": 5, "once": false]
        if fault != .flush { error["sector"] = offset / 512 }
        let debug: [String: Any] = ["driver": "blkdebug", "node-name": "bd", "image": "f0", "inject-error": [error]]
        let json = String(decoding: try JSONSerialization.data(withJSONObject: debug), as: UTF8.self)
        server = try ChildProcess(
            [
                "qemu-storage-daemon", "--blockdev", "driver=file,node-name=f0,filename=\(backing)", "--blockdev", json,
                "--export", "type=fuse,id=e0,node-name=bd,mountpoint=\(path),writable=on",
            ], outputPath: path + ".out", errorsPath: path + ".err")
        try until("\(path) is a disk of \(bytes) bytes", seconds: 10) {
            guard server.isRunning else { throw Trouble("qemu-storage-daemon ended: \(server.errors)") }
            var facts = stat()
            return stat(path, &facts) == 0 && UInt64(facts.st_size) == bytes
        }
    }

    /// The disk is pulled; nothing is left at its path.
    func remove() {
        server.signal(SIGTERM)
        if eventually(seconds: 5, { server.exitCode }) == nil { server.end() }
        _ = try? Program.run("umount", "-l", path, seconds: 10)
        unlink(path)
    }
}
