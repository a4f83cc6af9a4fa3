import Foundation

/// A file under a daemon whose power can be cut. It is served by an NBD server of the test's own through nbdfuse, and
/// everything it takes goes into a timeline, from which any crash can be made afterwards.
///
/// Not by QEMU's `blklogwrites`: the FUSE export of QEMU 7.2 overwrites the buffer of a write while it is being logged as
/// soon as a second one comes. And a server of our own can do what real disks do: answer out of order, and leave out of a
/// flush what it has not answered yet.
final class PowerDisk: @unchecked Sendable {
    let path: String
    private let timeline: PowerTimeline
    private let disk: Int
    private let base: String
    private let listener: Int32
    private let front: ChildProcess
    private let lock = NSLock()
    // Under `lock`.
    private var content: [UInt8]
    private var isOn = true

    /// Takes the place of the file at `path`, with what is in it; no daemon may have it open.
    init(path: String, timeline: PowerTimeline, disk: Int) throws {
        (self.path, self.timeline, self.disk) = (path, timeline, disk)
        base = path + ".base"
        unlink(base)
        guard let found = FileManager.default.contents(atPath: path), rename(path, base) == 0 else {
            throw Trouble("no file at \(path)")
        }
        content = Array(found)
        try Data().write(to: URL(fileURLWithPath: path))
        listener = try listeningSocket(port: 0)
        let port = try localPort(of: listener)
        front = try ChildProcess(
            ["nbdfuse", path, "nbd://127.0.0.1:\(port)"], outputPath: path + ".out", errorsPath: path + ".err")
        Thread.detachNewThread { [self] in acceptLoop() }
        try until("\(path) is a disk of \(found.count) bytes", seconds: 10) {
            guard front.isRunning else { throw Trouble("nbdfuse ended: \(front.errors)") }
            var facts = stat()
            return stat(path, &facts) == 0 && Int(facts.st_size) == found.count
        }
    }

    deinit { end() }

    /// The node is gone from one moment to the next, and with it what its disk had in its cache. Nothing is left at the
    /// disk's path until `makeImage`.
    func cutPower(of node: TestNode) throws {
        // In this order: a daemon that saw its disk fail would tell its peer, and closing the file may flush it.
        node.freeze()
        try until("\(node.name) is frozen") { node.isFrozen }
        end()
        node.killDaemon()
    }

    /// Takes nothing any more, and leaves an empty file at the path.
    func end() {
        let wasOn = locked {
            defer { isOn = false }
            return isOn
        }
        guard wasOn else { return }
        front.end()
        _ = try? Program.run("umount", "-l", path, seconds: 10)
        shutdown(listener, Int32(SHUT_RDWR))
    }

    /// What is left of the disk after the timeline's first `count` entries, as a plain file at its path.
    /// - Returns: how many sectors are gone.
    @discardableResult
    func makeImage(_ loss: PowerLoss, upTo count: Int? = nil) throws -> Int {
        precondition(!locked { isOn }, "cut the power first")
        try Program.run("cp", "--sparse=always", base, path).expecting()
        let entries = timeline.entries
        var loss = loss
        try loss.apply(entries[..<(count ?? entries.count)], of: disk, to: path)
        return loss.lost
    }

    // MARK: the server

    private func acceptLoop() {
        let client = accept4(listener, __SOCKADDR_ARG(__sockaddr__: nil), nil, Int32(SOCK_CLOEXEC.rawValue))
        Glibc.close(listener)
        guard client >= 0 else { return }
        var yes: Int32 = 1
        setsockopt(client, Int32(IPPROTO_TCP), TCP_NODELAY, &yes, socklen_t(MemoryLayout<Int32>.size))
        serve(client)
        Glibc.close(client)
    }

    /// Old-style negotiation, which is none, then requests until the other side is gone.
    private func serve(_ client: Int32) {
        let size = UInt64(locked { content.count })
        // HAS_FLAGS, SEND_FLUSH, SEND_TRIM, SEND_WRITE_ZEROES
        let flags: UInt32 = 1 | 1 << 2 | 1 << 5 | 1 << 6
        let greeting = Array("NBDMAGIC".utf8) + bigEndian(UInt64(0x4202_8186_1253)) + bigEndian(size) + bigEndian(flags)
        guard send(greeting + [UInt8](repeating: 0, count: 124), to: client) else { return }
        var random = SeededGenerator(seed: UInt64(disk))
        var unanswered: [(cookie: [UInt8], write: Int)] = []
        while true {
            // Nothing more to do: what was held back is answered, in any order.
            if !unanswered.isEmpty, !isReadable(client, milliseconds: 1) {
                unanswered.shuffle(using: &random)
                for answer in unanswered where !reply(answer.cookie, to: client) { return }
                unanswered = []
            }
            guard let head = receive(28, from: client) else { return }
            let (cookie, offset) = (Array(head[8..<16]), number(head, at: 16) as UInt64)
            let length = Int(number(head, at: 24) as UInt32)
            switch number(head, at: 6) as UInt16 {
            case 0:
                let bytes = locked { Array(content[Int(offset)..<Int(offset) + length]) }
                guard send(answer(cookie) + bytes, to: client) else { return }
            case 1, 4, 6:
                let isWrite = head[7] == 1
                guard let bytes = isWrite ? receive(length, from: client) : [UInt8](repeating: 0, count: length),
                    let write = take(bytes, at: offset)
                else { return }
                unanswered.append((cookie, write))
                // Up to three writes wait for their answers while later requests are served.
                if unanswered.count > 3 || Bool.random(using: &random) {
                    let index = Int.random(in: unanswered.indices, using: &random)
                    guard reply(unanswered.remove(at: index).cookie, to: client) else { return }
                }
            case 3:
                guard locked({ isOn }) else { return }
                timeline.flush(disk, except: Set(unanswered.map(\.write)))
                guard reply(cookie, to: client) else { return }
            default: return
            }
        }
    }

    /// Nil when the power is gone.
    private func take(_ bytes: [UInt8], at offset: UInt64) -> Int? {
        locked {
            guard isOn else { return nil }
            content.withUnsafeMutableBytes { all in
                bytes.withUnsafeBytes {
                    UnsafeMutableRawBufferPointer(rebasing: all[Int(offset)...]).copyMemory(from: $0)
                }
            }
            return timeline.write(bytes, at: offset, on: disk)
        }
    }

    private func answer(_ cookie: [UInt8]) -> [UInt8] { bigEndian(UInt32(0x6744_6698)) + bigEndian(UInt32(0)) + cookie }
    private func reply(_ cookie: [UInt8], to client: Int32) -> Bool { send(answer(cookie), to: client) }
    private func send(_ bytes: [UInt8], to client: Int32) -> Bool { bytes.withUnsafeBytes { sendAll(client, $0) } }

    private func receive(_ count: Int, from client: Int32) -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: count)
        let got =
            count == 0
            ? 0 : bytes.withUnsafeMutableBytes { recv(client, $0.baseAddress!, count, Int32(MSG_WAITALL)) }
        return got == count ? bytes : nil
    }

    private func locked<Result>(_ body: () -> Result) -> Result {
        lock.lock()
        defer { lock.unlock() }
        return body()
    }
}
