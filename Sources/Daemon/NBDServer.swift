package import Formats
package import LinuxIO
package import Model
import ReplicationCore

/// Bounds of the NBD side. Nanoseconds.
package struct NBDServerLimits: Sendable {
    package var sessions = 64
    package var handshakeTimeout: UInt64 = 10_000_000_000
    /// Replies that were queued before a connection ends may take so long to leave.
    package var partingTimeout: UInt64 = 2_000_000_000
    /// Requests of one connection that are not answered yet.
    package var requestsPerSession = 256
    package var stream = ByteStream.Limits(
        queuedBytes: 256 << 20, headerBytes: 64 << 10, segments: 2048, receiveBytes: 32 << 10)

    package init() {}
}

/// The NBD server of one volume: listeners, connections, and what the connections share. It decides nothing about data:
/// pieces of requests go to the core as events, answers come back as effects.
///
/// One thread; nothing allocates once a connection is in transmission. A connection that gets no ticket or buffer stops
/// reading and waits in line; it keeps nobody else waiting.
package final class NBDServer {
    /// What a client is offered; the daemon keeps it true.
    package var offer: NBDExportOffer
    /// Why a WRITE_ZEROES with FAST_ZERO is refused.
    package var zeroesFast = true

    let machine: Machine
    let limits: NBDServerLimits
    let log: DaemonLog
    var sessions: [NBDSession?]
    /// The slots' sessions, without the holes.
    var live: [NBDSession] = []
    var tickets: NBDTickets
    var allowance: NBDAllowance
    /// For each buffer of the pool: which session took it and how it was counted; kind 0: not a client's.
    var borrowers: [Borrower]
    /// Sessions that could not go on for want of something shared, in order.
    var waiting: [NBDSession] = []
    /// Since the last round of those who wait.
    package var somethingCameFree = false
    /// One of the kernel device's connections ended, with so many requests that were not answered.
    package var deviceEnded: (Int) -> Void = { _ in }
    /// Its connections are read.
    var isDeviceServed = false
    /// Connections of the device that ended and have requests under way still.
    var endingDevices = 0
    let scratch: UnsafeMutableRawBufferPointer
    private var listeners: [Listener] = []
    private var serial: UInt32 = 0
    private var clients: UInt32 = 0
    private var socketPath: String?
    /// Accepting failed (no descriptors): again then.
    private var acceptAgain = UInt64.max

    struct Borrower {
        var session: Int32 = -1
        var serial: UInt32 = 0
        var kind = 0
    }

    private struct Listener {
        var socket: Int32
        var isTCP: Bool
        var isAccepting = false
    }

    package init(
        offer: NBDExportOffer, machine: Machine, operations: Int, limits: NBDServerLimits = NBDServerLimits(),
        log: DaemonLog
    ) {
        self.offer = offer
        self.machine = machine
        self.limits = limits
        self.log = log
        sessions = Array(repeating: nil, count: limits.sessions)
        live.reserveCapacity(limits.sessions)
        waiting.reserveCapacity(limits.sessions)
        tickets = NBDTickets(count: operations)
        allowance = NBDAllowance(
            tickets: operations, classes: machine.pool.statistics, reserved: machine.reserved,
            sessions: limits.sessions)
        borrowers = Array(repeating: Borrower(), count: machine.pool.count)
        scratch = .allocate(byteCount: 2 * NBDHandshake.maximumReplyLength, alignment: 16)
    }

    deinit { scratch.deallocate() }

    // MARK: Beginning and end

    /// Listens at the Unix socket and, when the configuration says so, over TCP.
    package func start(path: String, address: NetworkAddress?) throws(CommandFailure) {
        do throws(SocketError) {
            listeners.append(Listener(socket: try Sockets.listenUnix(path), isTCP: false))
            socketPath = path
            if let address {
                let bound = try Self.resolve(address)
                listeners.append(Listener(socket: try Sockets.listenTCP(bound), isTCP: true))
            }
        } catch {
            closeListeners()
            if case .inUse = error {
                throw .refused(
                    "in-use", error.description, remedy: "stop what listens there: hablk down, if it is this volume")
            }
            throw CommandFailure(
                .configuration, "no-such-address", error.description, remedy: "correct `nbd: {listen: …}` or the folder"
            )
        }
        acceptMore()
    }

    private static func resolve(_ address: NetworkAddress) throws(SocketError) -> SocketAddress {
        if let numeric = SocketAddress(host: address.host, port: address.port) { return numeric }
        return try Sockets.resolve(host: address.host, port: address.port)[0]
    }

    /// Takes no more clients, and closes those that are there, replies first.
    package func stop(_ events: inout EventQueue) {
        closeListeners()
        closeClients("the daemon stops", &events)
        for session in live where session.phase == .handshake { end(session, nil, &events) }
    }

    package var isStopped: Bool { live.isEmpty && !listeners.contains { $0.isAccepting } }

    private func closeListeners() {
        for index in listeners.indices where listeners[index].socket >= 0 {
            if listeners[index].isAccepting { machine.ring.cancel(Token(.nbdListener, slot: index)) }
            Sockets.close(listeners[index].socket)
            listeners[index].socket = -1
        }
        if let socketPath { Sockets.unlinkUnix(socketPath) }
        socketPath = nil
    }

    /// While there is a free slot; clients beyond that wait in the kernel's queue.
    private func acceptMore() {
        guard sessions.contains(where: { $0 == nil }) else { return }
        for index in listeners.indices where !listeners[index].isAccepting && listeners[index].socket >= 0 {
            listeners[index].isAccepting = true
            machine.ring.accept(listeners[index].socket, token: Token(.nbdListener, slot: index))
        }
    }

    private func accepted(_ completion: Completion, _ events: inout EventQueue) {
        let index = completion.token.slot
        listeners[index].isAccepting = false
        guard completion.result >= 0 else {
            // Without descriptors an accept fails at once, again and again.
            if listeners[index].socket >= 0 { acceptAgain = monotonicNow() + 100_000_000 }
            return
        }
        // Two listeners may have had one slot left.
        guard listeners[index].socket >= 0, let slot = sessions.firstIndex(where: { $0 == nil }) else {
            Sockets.close(completion.result)
            return
        }
        if listeners[index].isTCP { _ = Sockets.setNoDelay(completion.result) }
        advanceHandshake(seat(completion.result, at: slot), &events)
        acceptMore()
    }

    /// A connection begins at a free place.
    func seat(_ socket: Int32, at slot: Int) -> NBDSession {
        serial &+= 1
        let stream = ByteStream(
            socket: socket, sendToken: Token(.nbd, slot: slot * 2, serial: serial),
            receiveToken: Token(.nbd, slot: slot * 2 + 1, serial: serial), limits: limits.stream)
        let session = NBDSession(
            slot: slot, serial: serial, stream: stream, deadline: monotonicNow() + limits.handshakeTimeout)
        sessions[slot] = session
        live.append(session)
        return session
    }

    // MARK: What happened

    package func complete(_ completion: Completion, into events: inout EventQueue) {
        if completion.token.kind == TokenKind.nbdListener.rawValue { return accepted(completion, &events) }
        guard let session = sessions[completion.token.slot / 2], session.serial == completion.token.serial else {
            return
        }
        if completion.token == session.stream.sendToken {
            sent(session, session.stream.finishSend(completion, machine.ring), &events)
        } else {
            received(session, session.stream.finishReceive(completion, machine.ring), &events)
        }
        if session.stream.isFinished { reap(session) }
    }

    private func sent(_ session: NBDSession, _ outcome: ByteStream.SendOutcome, _ events: inout EventQueue) {
        while let buffer = session.stream.nextReleased() { release(buffer) }
        switch outcome {
        case .sent:
            // Its queue has room again.
            if session.waitsForSends {
                session.waitsForSends = false
                pump(session, &events)
            }
        case .failed: end(session, nil, &events)
        case .closed, .stale: break
        }
        // Whoever waits for it to be at rest looks again.
        if session.device?.isQuiescing == true { somethingCameFree = true }
    }

    private func received(_ session: NBDSession, _ outcome: ByteStream.ReceiveOutcome, _ events: inout EventQueue) {
        switch outcome {
        case .arrived:
            if session.phase == .handshake { advanceHandshake(session, &events) } else { pump(session, &events) }
        case .filled:
            payloadArrived(session, &events)
            pump(session, &events)
        case .partial, .closed, .stale: break
        case .failed(let code) where code == NBDDeviceLink.recalled && session.device?.isQuiescing == true:
            pump(session, &events)
        case .ended, .failed: end(session, nil, &events)
        }
    }

    /// A connection waits for tickets or buffers.
    package var isAnyoneWaiting: Bool { !waiting.isEmpty }

    /// `resourcesAvailable` would let somebody try again.
    package var hasWork: Bool { somethingCameFree && !waiting.isEmpty }

    /// Connections that waited for tickets or buffers go on, the one that waited longest first.
    package func resourcesAvailable(into events: inout EventQueue) {
        guard somethingCameFree, !waiting.isEmpty else { return }
        somethingCameFree = false
        let count = waiting.count
        // Whoever still cannot go on enters the line again, behind the others of this round.
        for _ in 0..<count {
            let session = waiting.removeFirst()
            session.isWaiting = false
            pump(session, &events)
        }
    }

    /// One send for each connection with something to say.
    /// - Parameter quietly: as `ByteStream.flush` has it.
    package func flushSends(quietly: Bool = false) {
        for session in live {
            let isAtWork = session.phase == .transmission && session.device?.isQuiescing != true
            session.stream.flush(machine.ring, quietly: quietly && isAtWork && !session.waitsForSends)
        }
    }

    /// What left quietly since the last turn; once in each, after its completions.
    package func finishQuietSends(into events: inout EventQueue) {
        for session in live where session.stream.finishQuietSend(machine.ring) {
            sent(session, .sent(0), &events)
            reapIfFinished(session)
        }
    }

    package var nextDeadline: UInt64? {
        var earliest = acceptAgain
        for session in live { earliest = min(earliest, session.deadline) }
        return earliest == .max ? nil : earliest
    }

    package func tick(now: UInt64, into events: inout EventQueue) {
        if acceptAgain <= now {
            acceptAgain = .max
            acceptMore()
        }
        for session in live where session.deadline <= now {
            let late = session.phase == .handshake ? "the handshake took too long" : nil
            end(session, late, &events)
        }
    }

    // MARK: The ends of connections

    /// All clients' connections end; their requests were answered.
    package func closeClients(_ why: String, _ events: inout EventQueue) {
        var count = 0
        for session in live where session.phase == .transmission {
            count += 1
            refuseUnfinished(session, .shutdown, &events)
            leaveTransmission(session, &events)
            part(session, &events)
        }
        if count > 0 { log.info("nbd: closing \(count) connections: \(why)") }
    }

    /// Nothing more is read; the connection ends when what is queued has left.
    func part(_ session: NBDSession, _ events: inout EventQueue) {
        guard session.phase == .draining else { return }
        session.deadline = monotonicNow() + limits.partingTimeout
        session.stream.closeWhenSent(machine.ring)
        reapIfFinished(session)
    }

    /// The connection ends now; what the core still has of it finishes silently.
    func end(_ session: NBDSession, _ why: String?, _ events: inout EventQueue) {
        guard session.phase != .closing else { return }
        leaveTransmission(session, &events)
        if let why { log.info("nbd: a connection is closed: \(why)") }
        session.phase = .closing
        session.deadline = .max
        session.stream.close(machine.ring)
        reapIfFinished(session)
    }

    func enterTransmission(_ session: NBDSession, _ events: inout EventQueue) {
        guard session.device == nil else { return }
        clients += 1
        events.append(.clientsChanged(count: clients))
    }

    func leaveTransmission(_ session: NBDSession, _ events: inout EventQueue) {
        guard session.phase == .transmission else { return }
        session.phase = .draining
        guard session.device == nil else {
            endingDevices += 1
            return deviceEnded(session.openRequests)
        }
        clients -= 1
        events.append(.clientsChanged(count: clients))
    }

    func reapIfFinished(_ session: NBDSession) {
        if session.stream.isFinished { reap(session) }
    }

    /// The kernel has no more use for the session's memory; its slot stays taken until the core has none either.
    private func reap(_ session: NBDSession) {
        guard sessions[session.slot] === session, !session.isReaped else { return }
        session.phase = .closing
        session.isReaped = true
        while let buffer = session.stream.nextReleased() { release(buffer) }
        dropUnfinished(session)
        live.removeAll { $0 === session }
        waiting.removeAll { $0 === session }
        vacate(session)
    }

    private func vacate(_ session: NBDSession) {
        guard session.isReaped, sessions[session.slot] === session, NBDAllowance.isEmpty(session.held) else { return }
        sessions[session.slot] = nil
        if session.device != nil {
            endingDevices -= 1
            resumeDevice()
        }
        acceptMore()
    }

    // MARK: Tickets and buffers

    /// The core gives a buffer back; it may have been a client's.
    package func noteReleased(_ buffer: BufferID) { uncount(buffer.index) }

    /// A buffer whose bytes were sent, or are not wanted.
    func release(_ buffer: Int32) {
        uncount(buffer)
        machine.pool.release(buffer)
    }

    /// Its last holder was no client, or its client has been answered: what the core keeps of it is its own affair.
    func uncount(_ buffer: Int32) {
        let borrower = borrowers[Int(buffer)]
        somethingCameFree = true
        guard borrower.kind > 0 else { return }
        borrowers[Int(buffer)].kind = 0
        guard let session = sessions[Int(borrower.session)], session.serial == borrower.serial else {
            preconditionFailure("a session stays until all that it took is back")
        }
        allowance.giveBack(borrower.kind, &session.held)
        vacate(session)
    }

    /// A ticket, and a buffer when the piece needs one; nil: not now.
    /// - Parameter piece: is cut to what there is a buffer for.
    func takeTicket(_ session: NBDSession, _ request: Int, _ number: Int32, _ piece: inout NBDPiece) -> UInt32? {
        guard allowance.admits(session.held, 0) else { return nil }
        var buffer: Int32 = -1
        if piece.bufferBytes > 0 {
            if let taken = takeBuffer(session, piece.bufferBytes) {
                buffer = taken
            } else {
                let smaller = piece.cut(toBuffer: NBDAllowance.sureBytes)
                guard let taken = takeBuffer(session, NBDAllowance.sureBytes) else { return nil }
                piece = smaller
                buffer = taken
            }
        }
        let ticket = NBDTicket(
            session: Int32(session.slot), serial: session.serial, request: Int32(request), number: number,
            buffer: buffer, piece: piece)
        guard let taken = tickets.take(ticket) else { preconditionFailure("tickets are counted") }
        allowance.take(0, &session.held)
        return taken
    }

    private func takeBuffer(_ session: NBDSession, _ bytes: Int) -> Int32? {
        guard allowance.admits(session.held, allowance.index(bytes: bytes)) else { return nil }
        guard let buffer = machine.pool.take(bytes: bytes) else { return nil }
        let kind = allowance.index(bytes: machine.pool.capacity(buffer))
        allowance.take(kind, &session.held)
        borrowers[Int(buffer)] = Borrower(session: Int32(session.slot), serial: session.serial, kind: kind)
        return buffer
    }

    /// The ticket's use is over; its session, when that still cares.
    func giveBackTicket(_ number: UInt32) -> (ticket: NBDTicket, session: NBDSession?) {
        let ticket = tickets.giveBack(number)
        somethingCameFree = true
        guard let session = sessions[Int(ticket.session)], session.serial == ticket.serial else {
            preconditionFailure("a session stays until all that it took is back")
        }
        allowance.giveBack(0, &session.held)
        vacate(session)
        return (ticket, session.phase == .closing ? nil : session)
    }

    /// The session cannot go on until somebody gives something back.
    func wait(_ session: NBDSession) {
        guard !session.isWaiting else { return }
        session.isWaiting = true
        waiting.append(session)
    }
}
