import Daemon
import Formats
import Glibc
import LinuxIO
import Model
import ReplicationCore
import Testing

/// A control port in a small daemon's loop, and one client after the other.
private final class ControlRig {
    let path = "/tmp/hablk-control-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
    let port: ControlPort
    let machine: Machine
    let told: Told
    var events = EventQueue()
    var commands: [(id: CommandID, command: Command)] = []
    var withdrawn: [CommandID] = []

    final class Told {
        var status: VolumeStatus
        var attaches: [CommandID] = []
        var lines: [String] = []
        init(_ status: VolumeStatus) { self.status = status }
    }

    init(_ limits: ControlPortLimits = ControlPortLimits()) throws {
        let nodes = ["alpha", "bravo"].enumerated().map { id, name in
            Configuration.Node(
                id: NodeID(UInt8(id))!, name: name, address: NetworkAddress("127.0.0.1:\(7000 + id)")!, disk: "/none")
        }
        let peer = VolumeStatus.Peer(
            node: "bravo", id: 1, connection: .connecting, role: .unknown, disk: .unknown, replication: nil,
            outOfSyncBytes: 0, lagBytes: 0, lagSeconds: 0, resync: nil, lastResync: nil, reason: nil, message: nil)
        let told = Told(
            VolumeStatus(
                volume: "r0", node: "alpha", role: .secondary, disk: .upToDate, size: 1 << 20, generation: nil, term: 0,
                inStep: ["alpha", "bravo"], quorum: nil, suspended: [], suspect: false, nbd: "", device: "x",
                clients: 0,
                pid: 0, reason: nil, message: nil, peers: [peer]))
        self.told = told
        machine = try Machine(entries: 64)
        port = ControlPort(
            path: path, configuration: Configuration(file: "r0.yaml", volume: "r0", nodes: nodes), machine: machine,
            limits: limits, publisher: StatusPublisher(nbd: "/run/r0.nbd") { told.status },
            own: { id, command, _ in
                guard command == .attach else { return false }
                told.attaches.append(id)
                return true
            }, note: { told.lines.append($0.text) })
        try port.start()
    }

    deinit {
        port.stop()
        let end = monotonicNow() + 3_000_000_000
        while !port.isStopped, monotonicNow() < end { turn() }
        #expect(port.isStopped && access(path, F_OK) != 0)
    }

    func turn() {
        port.flushSends()
        machine.ring.submitAndWait(until: monotonicNow() + 200_000)
        while let completion = machine.ring.nextCompletion() { port.complete(completion, into: &events) }
        let now = monotonicNow()
        if let deadline = port.nextDeadline, deadline <= now { port.tick(now: now, into: &events) }
        while let event = events.popFirst() {
            switch event {
            case .command(let id, let command): commands.append((id, command))
            case .commandWithdrawn(let id): withdrawn.append(id)
            default: Issue.record("a control port has no business with \(event)")
            }
        }
    }

    @discardableResult
    func until(seconds: Double = 5, _ condition: () -> Bool) -> Bool {
        let end = monotonicNow() + UInt64(seconds * 1e9)
        while !condition() {
            guard monotonicNow() < end else { return false }
            turn()
        }
        return true
    }

    func client() throws -> ControlGuest { try ControlGuest(path) }

    /// The answers to one request.
    func answers(to request: ControlRequest, _ count: Int = 1) throws -> [ControlResponse] {
        let client = try client()
        client.send(ControlCoding.encode(request))
        until { client.responses.count >= count }
        return client.responses
    }
}

/// A client that may break every rule.
private final class ControlGuest {
    let socket: Int32
    private var lines = ControlLines()
    private(set) var responses: [ControlResponse] = []
    private(set) var hasEnded = false
    var reads = true

    init(_ path: String) throws {
        socket = try Sockets.connectUnix(path)
        _ = fcntl(socket, F_SETFL, O_NONBLOCK)
    }

    deinit { close(socket) }

    func send(_ bytes: [UInt8]) { _ = Glibc.send(socket, bytes, bytes.count, Int32(MSG_NOSIGNAL)) }

    func look() {
        var piece = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = recv(socket, &piece, piece.count, 0)
            if count > 0 { lines.append(piece[..<count]) }
            if count == 0 || (count < 0 && errno != EAGAIN) { hasEnded = true }
            if count <= 0 { break }
        }
        while let line = try? lines.next() {
            if let response = try? ControlCoding.decodeResponse(line) { responses.append(response) }
        }
    }

    var failure: CommandFailure? {
        for case .outcome(.failed(let failure)) in responses { return failure }
        return nil
    }

    var told: [ControlEvent] {
        responses.compactMap { if case .event(let event) = $0 { event } else { nil } }
    }
}

@Suite struct ControlPortTests {
    @Test func `A status is completed by what only the daemon knows`() throws {
        let rig = try ControlRig()
        let client = try rig.client()
        client.send(ControlCoding.encode(ControlRequest.status))
        #expect(
            rig.until {
                client.look(); return client.hasEnded
            })
        guard case .status(let status)? = client.responses.first else {
            Issue.record("no status came")
            return
        }
        #expect(status.nbd == "/run/r0.nbd" && status.pid == getpid() && status.device == nil)
        #expect(status.volume == "r0" && client.responses.count == 1)
    }

    @Test func `A command reaches the core with its deadline, and its end comes back`() throws {
        let rig = try ControlRig()
        let refusal = Refusal(reason: "peer-is-primary", message: "no", remedy: "yes")
        let outcomes: [(CommandOutcome, Int32)] = [
            (.done("it is"), 0), (.timedOut(refusal), 2), (.refused(refusal), 3),
        ]
        for (outcome, code) in outcomes {
            let client = try rig.client()
            let before = monotonicNow()
            let command = ControlCommand.promote(force: true, peerFenced: "bravo", dryRun: false)
            client.send(ControlCoding.encode(ControlRequest.command(command, timeout: 2_000_000_000)))
            #expect(rig.until { !rig.commands.isEmpty })
            let (id, asked) = rig.commands.removeFirst()
            guard case .promote(true, NodeID(1)!, let deadline, false, false) = asked else {
                Issue.record("another command came: \(asked)")
                return
            }
            #expect(deadline.nanoseconds >= before + 2_000_000_000)
            #expect(deadline.nanoseconds <= monotonicNow() + 2_000_000_000)
            rig.port.commandDone(id, outcome)
            #expect(
                rig.until {
                    client.look(); return client.hasEnded
                })
            #expect(client.responses == [.outcome(ControlOutcome(outcome))])
            #expect((client.failure?.exitCode ?? 0) == code)
        }
    }

    @Test func `Without a time-out a command has no deadline, with zero it has now`() throws {
        let rig = try ControlRig()
        let client = try rig.client()
        client.send(ControlCoding.encode(ControlRequest.command(.demote(force: false), timeout: nil)))
        let other = try rig.client()
        other.send(ControlCoding.encode(ControlRequest.command(.demote(force: true), timeout: 0)))
        #expect(rig.until { rig.commands.count == 2 })
        for (_, command) in rig.commands {
            guard case .demote(let force, let deadline) = command else { continue }
            #expect(force ? deadline.nanoseconds <= monotonicNow() : deadline.nanoseconds == .max)
        }
    }

    @Test func `Attach goes to the daemon, and a failure before the core comes back`() throws {
        let rig = try ControlRig()
        let client = try rig.client()
        client.send(ControlCoding.encode(ControlRequest.command(.attach, timeout: nil)))
        #expect(rig.until { rig.told.attaches.count == 1 })
        #expect(rig.commands.isEmpty)
        rig.port.commandFailed(rig.told.attaches[0], .refused("no-metadata", "none", remedy: "create"))
        #expect(
            rig.until {
                client.look(); return client.failure?.exitCode == 3
            })
    }

    @Test func `A node that is not there is refused before the core hears of it`() throws {
        let rig = try ControlRig()
        let client = try rig.client()
        client.send(ControlCoding.encode(ControlRequest.command(.disconnect(peer: "zulu", force: false), timeout: nil)))
        #expect(
            rig.until {
                client.look(); return client.failure?.refusal.reason == "no-such-node"
            })
        #expect(rig.commands.isEmpty)
    }

    @Test func `Who hangs up before the answer withdraws, and an answer goes nowhere`() throws {
        let rig = try ControlRig()
        do {
            let client = try rig.client()
            client.send(ControlCoding.encode(ControlRequest.command(.demote(force: false), timeout: nil)))
            #expect(rig.until { rig.commands.count == 1 })
        }
        #expect(rig.until { rig.withdrawn == rig.commands.map(\.id) })
        rig.port.commandDone(rig.commands[0].id, .done("late"))
        #expect(try !rig.client().hasEnded)
    }

    @Test func `Garbage and endless lines get an answer and the end`() throws {
        let rig = try ControlRig()
        let inputs: [[UInt8]] = [
            Array("hello\n".utf8), Array("{}\n".utf8), Array("{\"request\": \"explode\"}\n".utf8), [0xff, 0xfe, 0x0a],
            [UInt8](repeating: 0x20, count: 70_000), Array("[[[[[[[[\n".utf8),
        ]
        for input in inputs {
            let client = try rig.client()
            client.send(input)
            #expect(
                rig.until {
                    client.look(); return client.hasEnded
                })
            #expect(client.failure?.refusal.reason == "malformed-request")
        }
    }

    @Test func `Another user is not obeyed`() throws {
        let rig = try ControlRig()
        rig.port.permittedUser = 4242
        rig.port.permitsRoot = false
        let client = try rig.client()
        client.send(ControlCoding.encode(ControlRequest.command(.stop, timeout: nil)))
        #expect(
            rig.until {
                client.look(); return client.hasEnded
            })
        #expect(client.failure?.exitCode == 77 && rig.commands.isEmpty)
    }

    @Test func `Followers hear what is, then each change once`() throws {
        let rig = try ControlRig()
        let client = try rig.client()
        client.send(ControlCoding.encode(ControlRequest.events(now: false)))
        #expect(
            rig.until {
                client.look(); return client.told.count == 2
            })
        #expect(client.told.map(\.kind) == [.exists, .exists] && client.told.map(\.peer) == [nil, "bravo"])
        rig.told.status.role = .primary
        rig.told.status.peers[0].connection = .connected
        rig.port.publish()
        rig.port.publish()
        #expect(
            rig.until {
                client.look(); return client.told.count == 4
            })
        #expect(client.told[2].changes == [.init(field: "role", from: "secondary", to: "primary")])
        #expect(client.told[3].peer == "bravo")
        // A resync's progress comes by itself, and not too often.
        rig.told.status.peers[0].resync = VolumeStatus.Resync(
            doneBytes: 0, totalBytes: 1 << 30, bytesPerSecond: 0, etaSeconds: nil, paused: [])
        rig.port.publish()
        let end = monotonicNow() + 1_200_000_000
        while monotonicNow() < end {
            rig.told.status.peers[0].resync?.doneBytes += 4096
            rig.port.publish()
            rig.turn()
        }
        client.look()
        let progress = client.told.filter { $0.changes.first?.field == "resync-done-bytes" }
        #expect((2...3).contains(progress.count), "\(progress.count) in 1.2 seconds")
    }

    @Test func `Asked for what is now, it says that and ends`() throws {
        let rig = try ControlRig()
        let client = try rig.client()
        client.send(ControlCoding.encode(ControlRequest.events(now: true)))
        #expect(
            rig.until {
                client.look(); return client.hasEnded
            })
        #expect(client.told.count == 2)
    }

    @Test func `A follower that does not read is dropped and told so, others are not disturbed`() throws {
        var limits = ControlPortLimits()
        limits.followerBytes = 64 << 10
        let rig = try ControlRig(limits)
        let slow = try rig.client()
        let good = try rig.client()
        for client in [slow, good] { client.send(ControlCoding.encode(ControlRequest.events(now: false))) }
        #expect(
            rig.until {
                good.look(); return good.told.count == 2
            })
        var changes = 0
        #expect(
            rig.until(seconds: 20) {
                changes += 1
                rig.told.status.term += 1
                rig.port.publish()
                good.look()
                return !rig.told.lines.isEmpty
            })
        #expect(
            rig.until {
                good.look(); return good.told.count == 2 + changes
            })
        #expect(
            rig.until {
                slow.look(); return slow.hasEnded
            })
        #expect(slow.failure?.refusal.reason == "too-slow")
    }

    @Test func `More connections than there is room for are told so`() throws {
        var limits = ControlPortLimits()
        limits.connections = 3
        limits.patience = 300_000_000
        let rig = try ControlRig(limits)
        let silent = try (0..<3).map { _ in try rig.client() }
        for _ in 0..<20 { rig.turn() }
        let late = try rig.client()
        #expect(
            rig.until {
                late.look(); return late.hasEnded
            })
        #expect(late.failure?.refusal.reason == "too-many-connections")
        // Who says nothing loses the place.
        #expect(
            rig.until {
                silent.forEach { $0.look() }; return silent.allSatisfy(\.hasEnded)
            })
        let client = try rig.client()
        client.send(ControlCoding.encode(ControlRequest.status))
        #expect(
            rig.until {
                client.look(); return client.responses.count == 1
            })
    }

    @Test func `A stop answers who waits`() throws {
        let rig = try ControlRig()
        let client = try rig.client()
        client.send(ControlCoding.encode(ControlRequest.command(.demote(force: false), timeout: nil)))
        #expect(rig.until { rig.commands.count == 1 })
        rig.port.stop()
        #expect(
            rig.until {
                client.look(); return client.hasEnded && rig.port.isStopped
            })
        #expect(client.failure?.refusal.reason == "stopping")
    }

    @Test func `A second daemon on the same socket is refused`() throws {
        let rig = try ControlRig()
        let second = ControlPort(
            path: rig.path, configuration: Configuration(file: "r0.yaml", volume: "r0", nodes: []),
            machine: rig.machine, publisher: StatusPublisher(nbd: "") { rig.told.status }, own: { _, _, _ in false },
            note: { _ in })
        #expect(throws: CommandFailure.self) { try second.start() }
    }
}
