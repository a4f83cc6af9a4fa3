import Daemon
import Formats
import Glibc
import LinuxIO
import Model
import ReplicationCore
import Testing

/// Two nodes' peer ports on loopback in one thread, each with its own ring and pool, and what they told.
final class PeerPortPair {
    let alpha: Node
    let bravo: Node

    /// One node: its port and everything that came out of it.
    final class Node {
        let port: PeerPort
        let machine: Machine
        let id: NodeID
        let log: Log
        var events = EventQueue()
        var opened: [(node: NodeID, session: SessionID, run: RunID, dialedHere: Bool, discards: Bool)] = []
        var closed: [(session: SessionID, why: String)] = []
        var dialsFailed: [String] = []
        var refusals: [(reason: String, message: String)] = []
        var messages: [(stamp: FrameStamp, message: PeerMessage)] = []
        var heard: [SessionID] = []

        final class Log { var lines: [String] = [] }

        init(_ configuration: Configuration, _ id: NodeID, _ options: Options) throws {
            let log = Log()
            self.id = id
            self.log = log
            machine = try Machine(entries: 256, classes: options.classes)
            port = try PeerPort(
                configuration: configuration, node: configuration.node(id)!,
                run: RunID(rawValue: 100 + UInt64(id.rawValue)),
                machine: machine, limits: options.limits
            ) { log.lines.append("\($0.subject): \($0.text)") }
            try port.start()
        }

        /// One turn of a daemon.
        func turn() {
            port.flushSends()
            machine.ring.submitAndWait(until: monotonicNow() + 200_000)
            while let completion = machine.ring.nextCompletion() { port.complete(completion, into: &events) }
            let now = monotonicNow()
            if let deadline = port.nextDeadline, deadline <= now { port.tick(now: now, into: &events) }
            while let event = events.popFirst() { take(event) }
        }

        private func take(_ event: Event) {
            switch event {
            case .sessionOpened(let node, let session, let run, let dialedHere, let discards):
                opened.append((node, session, run, dialedHere, discards))
            case .sessionClosed(_, let session, let why): closed.append((session, why))
            case .dialFailed(_, let why): dialsFailed.append(why)
            case .peerRefused(_, let reason, let message): refusals.append((reason, message))
            case .message(_, let stamp, let message): messages.append((stamp, message))
            case .heard(_, let session): heard.append(session)
            default: Issue.record("a peer port has no business with \(event)")
            }
        }

        func releaseBuffers() {
            for (_, message) in messages {
                if let buffer = message.testPayload { machine.pool.release(buffer.index) }
            }
            messages = []
        }

        func stamp(_ session: SessionID? = nil) -> FrameStamp {
            FrameStamp(
                session: session ?? opened.last!.session, lineage: LineageID(rawValue: 5),
                number: RecordNumber(term: Term(counter: 1, node: NodeID(0)!), index: 1))
        }

        func send(_ message: PeerMessage) { port.send(id == NodeID(0)! ? NodeID(1)! : NodeID(0)!, stamp(), message) }
    }

    struct Options {
        var limits = PeerPortLimits()
        var classes = BufferPool.defaultClasses
        var secrets: (alpha: String?, bravo: String?) = (nil, nil)
        var host = "127.0.0.1"
        /// Changes only what alpha reads, and only what bravo reads.
        var alpha: (inout Configuration) -> Void = { _ in }
        var bravo: (inout Configuration) -> Void = { _ in }
    }

    private var files: [String] = []
    /// Where alpha listens, and bravo.
    private let ports: [UInt16]

    init(_ options: Options = Options()) throws {
        let ports = [Self.freePort(), Self.freePort()]
        self.ports = ports
        var configurations = try (0..<2).map { _ in
            var nodes: [Configuration.Node] = []
            for (id, name) in ["alpha", "bravo"].enumerated() {
                let address = try #require(NetworkAddress("\(options.host):\(ports[id])"))
                nodes.append(
                    Configuration.Node(id: NodeID(UInt8(id))!, name: name, address: address, disk: "/none/\(name)"))
            }
            var configuration = Configuration(file: "r0.yaml", volume: "r0", nodes: nodes)
            configuration.size = 1 << 30
            return configuration
        }
        options.alpha(&configurations[0])
        options.bravo(&configurations[1])
        for (index, secret) in [options.secrets.alpha, options.secrets.bravo].enumerated() {
            guard let secret else { continue }
            configurations[index].secretFile = try Self.secretFile(secret, &files)
        }
        alpha = try Node(configurations[0], NodeID(0)!, options)
        bravo = try Node(configurations[1], configurations[1].nodes[1].id, options)
    }

    deinit {
        alpha.releaseBuffers()
        bravo.releaseBuffers()
        alpha.port.stop()
        bravo.port.stop()
        let end = monotonicNow() + 5_000_000_000
        while !(alpha.port.isStopped && bravo.port.isStopped), monotonicNow() < end { turn() }
        alpha.releaseBuffers()
        bravo.releaseBuffers()
        for node in [alpha, bravo] {
            #expect(node.port.isStopped, "the port of \(node.id) did not stop")
            #expect(node.machine.pool.inUse == 0, "\(node.id) did not give back all buffers")
        }
        for file in files { unlink(file) }
    }

    func turn() {
        alpha.turn()
        bravo.turn()
    }

    /// Turns until it is so; false when it took too long.
    @discardableResult
    func until(seconds: Double = 5, _ condition: () -> Bool) -> Bool {
        let end = monotonicNow() + UInt64(seconds * 1e9)
        while !condition() {
            guard monotonicNow() < end else { return false }
            turn()
        }
        return true
    }

    func turn(milliseconds: UInt64) {
        let end = monotonicNow() + milliseconds * 1_000_000
        while monotonicNow() < end { turn() }
    }

    /// Alpha dials bravo, and both are open.
    func connect() throws {
        alpha.port.dial(bravo.id)
        try #require(until { !alpha.opened.isEmpty && !bravo.opened.isEmpty }, "no session: \(alpha.log.lines)")
    }

    /// What paces alpha's connections to bravo, and bravo's to alpha: of all of this process, those that lead to and from bravo's port.
    func congestionControls() -> (alpha: Set<String>, bravo: Set<String>) {
        var (alpha, bravo) = (Set<String>(), Set<String>())
        for file in 0..<Int32(4096) {
            guard let name = Sockets.congestionControl(of: file), let far = Sockets.peerAddress(of: file) else {
                continue
            }
            if far.port == ports[1] { alpha.insert(name) }
            if Sockets.localAddress(of: file)?.port == ports[1] { bravo.insert(name) }
        }
        return (alpha, bravo)
    }

    static func freePort() -> UInt16 {
        guard let any = try? SocketAddress("127.0.0.1:0"), let socket = try? Sockets.listenTCP(any) else { return 0 }
        defer { Sockets.close(socket) }
        return Sockets.localAddress(of: socket)?.port ?? 0
    }

    private static func secretFile(_ secret: String, _ files: inout [String]) throws -> String {
        let path = "/tmp/hablk-secret-\(getpid())-\(UInt64.random(in: 0...UInt64.max))"
        let file = open(path, O_CREAT | O_EXCL | O_WRONLY, 0o600)
        try #require(file >= 0)
        defer { close(file) }
        try #require(write(file, secret, secret.utf8.count) == secret.utf8.count)
        files.append(path)
        return path
    }
}

extension PeerMessage {
    var testPayload: BufferID? {
        switch self {
        case .write(_, _, let buffer), .readData(_, _, let buffer), .pullData(_, _, let buffer): buffer
        default: nil
        }
    }
}
