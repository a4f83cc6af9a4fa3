import Formats
import Glibc
package import LinuxIO
package import Model
package import ReplicationCore

/// Bounds of the control socket. Nanoseconds.
package struct ControlPortLimits: Sendable {
    package var connections = 32
    /// For the request to come, and for the last answer to be taken.
    package var patience: UInt64 = 10_000_000_000
    /// Bytes that wait for one follower: a slower one is dropped, and told so.
    package var followerBytes = 256 << 10
    package var stream = ByteStream.Limits(
        queuedBytes: 1 << 20, headerBytes: 1 << 20, segments: 64, receiveBytes: ControlCoding.maximumLine)

    package init() {}
}

/// `V.control`: takes the administrator's requests, gives their answers, tells followers what changes. For root and the
/// daemon's own user; one request a connection; newline-delimited JSON (`Formats/ControlCoding`).
///
/// One thread. Nothing here is on the data path.
package final class ControlPort {
    private let path: String
    private var nodes: [Hello.Node]
    private let machine: Machine
    private let limits: ControlPortLimits
    private let note: (Note) -> Void
    private let own: (CommandID, ControlCommand, Command?) -> Bool
    private var publisher: StatusPublisher
    private var slots: [ControlSession?]
    /// Nearly always none: then a turn asks nothing of the slots.
    private var occupied = 0
    private var serial: UInt32 = 0
    private var nextCommand: UInt32 = 1
    private var listener: Int32 = -1
    private var isAccepting = false
    private var acceptAgain: UInt64?
    private var nextRefresh: UInt64 = 0
    /// For tests: who may command, besides root.
    package var permittedUser: UInt32 = geteuid()
    package var permitsRoot = true

    /// - Parameters:
    ///   - path: of the socket; a dead daemon's is replaced.
    ///   - publisher: gives the present status.
    ///   - own: takes what is not, or not at once, for the core (`attach`, what concerns the kernel's device), and says
    ///     so; its end comes back by `commandDone` or `commandFailed`.
    package init(
        path: String, configuration: Configuration, machine: Machine, limits: ControlPortLimits = ControlPortLimits(),
        publisher: StatusPublisher, own: @escaping (CommandID, ControlCommand, Command?) -> Bool,
        note: @escaping (Note) -> Void
    ) {
        self.path = path
        nodes = configuration.helloNodes
        self.machine = machine
        self.limits = limits
        self.publisher = publisher
        self.own = own
        self.note = note
        slots = Array(repeating: nil, count: limits.connections)
    }

    private var live: [ControlSession] { slots.compactMap { $0 } }

    // MARK: Beginning and end

    /// From here on the daemon counts as ready.
    /// - Throws: `refused` when another daemon answers there.
    package func start() throws(CommandFailure) {
        do throws(SocketError) {
            listener = try Sockets.listenUnix(path)
        } catch {
            switch error {
            case .inUse:
                throw .refused(
                    "in-use", error.description, remedy: "stop the daemon that runs there, as by `hablk down`")
            case .pathLength:
                throw CommandFailure(
                    .configuration, "socket-path-too-long", error.description,
                    remedy: "set HABLK_RUNTIME_DIR to a shorter folder")
            default:
                throw .failed(
                    "no-control-socket", error.description, remedy: "see to the folder, or set HABLK_RUNTIME_DIR")
            }
        }
        accept()
    }

    /// Answers under way still go out; `isStopped` when nothing is left.
    package func stop() {
        guard listener >= 0 else { return }
        Sockets.unlinkUnix(path)
        if isAccepting { machine.ring.cancel(Token(.controlListener)) }
        Sockets.close(listener)
        listener = -1
        for session in live {
            if case .awaiting = session.phase {
                let why = CommandFailure.failed("stopping", "the daemon stops", remedy: "ask again once it runs")
                answer(session, .outcome(.failed(why)))
            } else {
                finish(session)
            }
            session.deadline = min(session.deadline ?? .max, monotonicNow() + 1_000_000_000)
        }
    }

    /// After `stop`: connections that do not take their last answer end at once.
    package func abandon() {
        for session in live {
            session.stream.close(machine.ring)
            reap(session)
        }
    }

    package var isStopped: Bool { listener < 0 && !isAccepting && slots.allSatisfy { $0 == nil } }

    // MARK: What the daemon says

    /// The configuration names other nodes from now on.
    package func adjust(to configuration: Configuration) { nodes = configuration.helloNodes }

    package func commandDone(_ id: CommandID, _ outcome: CommandOutcome) {
        finishCommand(id, ControlOutcome(outcome))
    }

    /// For what fails before the core hears of it.
    package func commandFailed(_ id: CommandID, _ failure: CommandFailure) { finishCommand(id, .failed(failure)) }

    package func finishCommand(_ id: CommandID, _ outcome: ControlOutcome) {
        // Who hung up hears nothing.
        guard let session = live.first(where: { $0.phase == .awaiting(id) }) else { return }
        answer(session, .outcome(outcome))
    }

    /// Tells followers what changed; costs next to nothing without any. Whenever the core's status revision rose.
    package func publish() {
        let followers = live.filter { $0.phase == .following }
        guard !followers.isEmpty else { return publisher.forget() }
        for event in publisher.changes(now: monotonicNow()) {
            let line = ControlCoding.encode(ControlResponse.event(event))
            for session in followers where session.phase == .following { tell(session, line) }
        }
    }

    /// One send a connection. Once at the end of each turn.
    package func flushSends() {
        guard occupied > 0 else { return }
        for case .some(let session) in slots { session.stream.flush(machine.ring) }
    }

    package var nextDeadline: UInt64? {
        guard occupied > 0 else { return acceptAgain }
        var earliest = acceptAgain ?? .max
        for case .some(let session) in slots {
            earliest = min(earliest, session.deadline ?? .max)
            if session.phase == .following { earliest = min(earliest, nextRefresh) }
        }
        return earliest == .max ? nil : earliest
    }

    package func tick(now: UInt64, into events: inout EventQueue) {
        if let again = acceptAgain, again <= now {
            acceptAgain = nil
            accept()
        }
        if nextRefresh <= now {
            // Counters that run (a resync's) raise no revision.
            nextRefresh = now + StatusPublisher.progressInterval
            publish()
        }
        for session in live {
            guard let deadline = session.deadline, deadline <= now else { continue }
            session.stream.close(machine.ring)
            reap(session)
        }
    }

    // MARK: Connections

    private func accept() {
        guard listener >= 0, !isAccepting, acceptAgain == nil else { return }
        isAccepting = true
        machine.ring.accept(listener, token: Token(.controlListener))
    }

    package func complete(_ completion: Completion, into events: inout EventQueue) {
        if completion.token.kind == TokenKind.controlListener.rawValue { return accepted(completion) }
        let place = completion.token.slot / ControlSession.Operation.count
        guard place < slots.count, let session = slots[place] else { return }
        switch ControlSession.Operation(rawValue: completion.token.slot % ControlSession.Operation.count) {
        case .send:
            if case .failed = session.stream.finishSend(completion, machine.ring) {
                session.stream.close(machine.ring)
            }
        case .receive: received(session, completion, into: &events)
        case nil: break
        }
        reap(session)
    }

    private func accepted(_ completion: Completion) {
        isAccepting = false
        guard completion.error == nil else {
            acceptAgain = monotonicNow() + 100_000_000
            return
        }
        let socket = completion.result
        guard listener >= 0 else { return Sockets.close(socket) }
        defer { accept() }
        guard let slot = slots.firstIndex(where: { $0 == nil }) else {
            let why = CommandFailure.failed(
                "too-many-connections", "\(limits.connections) commands are talking to this daemon already",
                remedy: "end some, as followers of `hablk events`")
            let line = ControlCoding.encode(ControlResponse.outcome(.failed(why)))
            _ = send(socket, line, line.count, Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL))
            return Sockets.close(socket)
        }
        serial &+= 1
        let session = ControlSession(
            slot: slot, serial: serial, socket: socket, limits: limits.stream,
            deadline: monotonicNow() + limits.patience)
        slots[slot] = session
        occupied += 1
        guard let peer = Sockets.peerCredentials(of: socket), isPermitted(peer.user) else {
            let why = CommandFailure(
                .notPermitted, "not-permitted", "this daemon obeys root and its own user only",
                remedy: "run the command as root")
            return answer(session, .outcome(.failed(why)))
        }
        session.stream.receive(machine.ring)
    }

    private func isPermitted(_ user: UInt32) -> Bool { user == permittedUser || (permitsRoot && user == 0) }

    private func received(_ session: ControlSession, _ completion: Completion, into events: inout EventQueue) {
        switch session.stream.finishReceive(completion, machine.ring) {
        case .arrived:
            if session.phase == .asking {
                takeRequest(session, into: &events)
            } else {
                session.stream.consume(session.stream.received.count)
            }
            session.stream.receive(machine.ring)
        case .ended, .failed:
            // An answer that is on its way still goes.
            guard session.phase != .answered else { return finish(session) }
            if case .awaiting(let id) = session.phase { events.append(.commandWithdrawn(id)) }
            session.stream.close(machine.ring)
        case .filled, .partial, .closed, .stale: break
        }
    }

    private func takeRequest(_ session: ControlSession, into events: inout EventQueue) {
        let bytes = session.stream.received
        guard let end = bytes.firstIndex(of: UInt8(ascii: "\n")) else {
            guard bytes.count >= ControlCoding.maximumLine else { return }
            return malformed(session, "a line of more than \(ControlCoding.maximumLine) bytes")
        }
        let line = [UInt8](bytes[..<end])
        session.stream.consume(bytes.count)
        session.deadline = nil
        do throws(MalformedControlLine) {
            try obey(session, ControlCoding.decodeRequest(line), into: &events)
        } catch {
            malformed(session, error.problem)
        }
    }

    private func malformed(_ session: ControlSession, _ problem: String) {
        session.stream.consume(session.stream.received.count)
        let why = CommandFailure(
            .usage, "malformed-request", "a request that is not understood: \(problem)",
            remedy: "use a `hablk` of the daemon's version")
        answer(session, .outcome(.failed(why)))
    }

    private func obey(_ session: ControlSession, _ request: ControlRequest, into events: inout EventQueue) {
        switch request {
        case .status: answer(session, .status(publisher.present()))
        case .events(let now):
            // Old followers first hear what changed, so that the new one begins where they are.
            publish()
            session.phase = .following
            for event in publisher.beginning() { tell(session, ControlCoding.encode(ControlResponse.event(event))) }
            if now { finish(session) }
        case .command(let command, let timeout): obey(session, command, timeout, into: &events)
        }
    }

    private func obey(
        _ session: ControlSession, _ command: ControlCommand, _ timeout: UInt64?, into events: inout EventQueue
    ) {
        let (sum, overflow) = monotonicNow().addingReportingOverflow(timeout ?? .max)
        let deadline = MonotonicTime(nanoseconds: overflow ? .max : sum)
        let id = CommandID(rawValue: nextCommand)
        do throws(CommandFailure) {
            let resolved = try command.resolved(among: nodes, deadline: deadline)
            nextCommand = nextCommand == .max ? 1 : nextCommand + 1
            session.phase = .awaiting(id)
            if !own(id, command, resolved), let resolved { events.append(.command(id, resolved)) }
        } catch {
            answer(session, .outcome(.failed(error)))
        }
    }

    // MARK: Answers

    private func answer(_ session: ControlSession, _ response: ControlResponse) {
        let line = ControlCoding.encode(response)
        // One line always fits beside what a follower may have.
        _ = line.withUnsafeBytes { session.stream.append($0) }
        finish(session)
    }

    private func tell(_ session: ControlSession, _ line: [UInt8]) {
        if session.stream.queuedBytes + line.count <= limits.followerBytes,
            line.withUnsafeBytes({ session.stream.append($0) })
        {
            return
        }
        note(Note(.warning, "control", "a follower of events did not read, and was dropped"))
        let why = CommandFailure.failed(
            "too-slow", "more than \(limits.followerBytes) bytes of events waited to be read",
            remedy: "read faster, or ask again")
        answer(session, .outcome(.failed(why)))
    }

    /// Closes once all is sent.
    private func finish(_ session: ControlSession) {
        session.phase = .answered
        session.deadline = monotonicNow() + limits.patience
        session.stream.closeWhenSent(machine.ring)
        reap(session)
    }

    private func reap(_ session: ControlSession) {
        guard session.stream.isFinished, slots[session.slot] === session else { return }
        slots[session.slot] = nil
        occupied -= 1
    }
}
