import Formats
import LinuxIO
import Model
import ReplicationCore

/// A piece of a read whose bytes must leave in order.
struct NBDHeldPiece {
    enum State: UInt8 { case empty, asked, ready, failed }
    var state = State.empty
    var buffer: Int32 = -1
    var offset: Int32 = 0
    var length: UInt32 = 0
}

/// A request that is not answered yet.
struct NBDOpenRequest {
    /// Pieces of a read in order that are asked for or held at once.
    static let window: Int32 = 4

    var isFree = true
    var request: NBDRequest
    var pieces: NBDPieces
    /// Pieces that the core has.
    var outstanding: Int32 = 0
    /// Pieces that were made so far; the number of the next.
    var issued: Int32 = 0
    var error: NBDError?
    /// A simple reply, or a structured one that must be one chunk.
    var isOrdered = false
    var headerIsSent = false
    /// The next piece to be sent, of a read in order.
    var head: Int32 = 0
    var held = [4 of NBDHeldPiece](repeating: NBDHeldPiece())

    /// - Parameter error: why it was refused; nothing in it can be relied on then.
    init(_ request: NBDRequest, refusedWith error: NBDError? = nil) {
        self.request = request
        self.error = error
        pieces = error == nil ? NBDPieces(request) : .none
    }

    var isComplete: Bool { pieces.isAtEnd && outstanding == 0 }
    var windowIsFull: Bool { isOrdered && issued - head >= Self.window }
}

/// One client's connection: what it is doing now. `NBDServer` moves it.
final class NBDSession {
    enum Phase { case handshake, transmission, draining, closing }

    /// What the bytes that come next are.
    enum Input {
        case none
        case header
        /// The rest of a payload that nobody wants; then the request is answered, with an error unless it is still open.
        case discarding(UInt32)
        /// Pieces of the current request are still to be made.
        case cutting
        /// The buffer of this ticket is being filled.
        case filling(ticket: UInt32, buffer: Int32)
    }

    let slot: Int
    let serial: UInt32
    let stream: ByteStream
    var phase = Phase.handshake
    var handshake: NBDHandshake? = NBDHandshake()
    var terms = NBDConnectionTerms(exportSize: 0, readOnly: true, structuredReplies: false, contextSelected: false)
    var baseAllocation: UInt32?
    var input = Input.none
    /// Nanoseconds; `.max`: none.
    var deadline: UInt64
    /// The request whose pieces are being made or filled.
    var current = 0
    /// The last payload was long (`ByteStream.directFrom`): what comes next is taken to be its like.
    var payloadsAreLong = false
    var requests: [NBDOpenRequest] = []
    var freeRequests: [Int32] = []
    var held = NBDAllowance.Counts(repeating: 0)
    /// Its connection is over; the core may still have something of it.
    var isReaped = false
    /// In the server's line for tickets and buffers.
    var isWaiting = false
    /// Until its own replies have left.
    var waitsForSends = false
    /// One of the kernel device's; nil: a client's.
    var device: NBDDeviceLink?

    init(slot: Int, serial: UInt32, stream: ByteStream, deadline: UInt64) {
        self.slot = slot
        self.serial = serial
        self.stream = stream
        self.deadline = deadline
    }

    var openRequests: Int { requests.count - freeRequests.count }

    func openRequest(_ request: NBDRequest, refusedWith error: NBDError? = nil) -> Int {
        guard let place = freeRequests.popLast() else {
            preconditionFailure("requests are counted before they are read")
        }
        requests[Int(place)] = NBDOpenRequest(request, refusedWith: error)
        requests[Int(place)].isFree = false
        return Int(place)
    }

    func closeRequest(_ place: Int) {
        requests[place].isFree = true
        freeRequests.append(Int32(place))
    }
}

extension NBDServer {
    // MARK: Handshake

    func advanceHandshake(_ session: NBDSession, _ events: inout EventQueue) {
        while session.phase == .handshake, session.handshake != nil {
            var writer = ByteWriter(scratch)
            guard let step = session.handshake?.advance(session.stream.received, offer: offer, into: &writer) else {
                return
            }
            session.stream.consume(step.consumed)
            guard writer.count == 0 || session.stream.append(writer.written) else {
                return end(session, "the client does not read what it asked for", &events)
            }
            switch step.state {
            case .wantsOutput: continue
            case .wantsInput:
                session.stream.receive(machine.ring)
                return
            case .transmission(let agreed):
                beginTransmission(session, NBDConnectionTerms(agreed), agreed.baseAllocation, &events)
            case .closed(let reason):
                session.handshake = nil
                if reason != .aborted { log.info("nbd: a handshake ended: \(reason)") }
                session.phase = .draining
                part(session, &events)
            }
        }
    }

    func beginTransmission(
        _ session: NBDSession, _ terms: NBDConnectionTerms, _ baseAllocation: UInt32?, _ events: inout EventQueue
    ) {
        session.handshake = nil
        session.deadline = .max
        session.terms = terms
        session.baseAllocation = baseAllocation
        let nothing = NBDOpenRequest(NBDRequest(.flush, cookie: 0, offset: 0, length: 0))
        session.requests = Array(repeating: nothing, count: limits.requestsPerSession)
        session.freeRequests = (0..<Int32(limits.requestsPerSession)).reversed()
        session.phase = .transmission
        session.input = .header
        enterTransmission(session, &events)
        pump(session, &events)
    }

    // MARK: Requests

    /// Does all that can be done with what has come; asks for more, or waits in line.
    func pump(_ session: NBDSession, _ events: inout EventQueue) {
        while session.phase == .transmission, !isHeld(session) {
            switch session.input {
            case .none, .filling: return
            case .header:
                guard hasRoomForReplies(session) else {
                    session.waitsForSends = true
                    return
                }
                let count = session.stream.received.count
                guard count >= NBDRequest.encodedLength else {
                    let isQuiescing = session.device?.isQuiescing == true
                    guard !isQuiescing || count > 0 else { return }
                    let isAlone = isQuiescing || session.payloadsAreLong
                    session.stream.receive(machine.ring, atMost: isAlone ? NBDRequest.encodedLength - count : .max)
                    return
                }
                takeHeader(session, &events)
            case .discarding(let left):
                let taken = min(Int(left), session.stream.received.count)
                session.stream.consume(taken)
                session.input = .discarding(left - UInt32(taken))
                guard left == UInt32(taken) else {
                    session.stream.receive(machine.ring, atMost: Int(left) - taken)
                    return
                }
                session.input = .header
                settle(session, session.current, &events)
            case .cutting:
                guard cut(session, &events) else { return }
            }
        }
    }

    /// All that is open may answer at once, and each piece of it: so much must fit before one more is opened.
    private func hasRoomForReplies(_ session: NBDSession) -> Bool {
        !session.freeRequests.isEmpty && session.stream.hasRoom(headerBytes: 48 << 10, payloads: 600)
    }

    private func takeHeader(_ session: NBDSession, _ events: inout EventQueue) {
        let request: NBDRequest
        do throws(NBDRequestFailure) {
            request = try NBDRequest(session.stream.received)
        } catch {
            return end(session, "what should be a request is none", &events)
        }
        session.stream.consume(NBDRequest.encodedLength)
        switch request.validate(session.terms) {
        case .disconnect:
            leaveTransmission(session, &events)
            session.input = .none
            partWhenAnswered(session, &events)
        case .close(let offence): end(session, offence.description, &events)
        case .refuse(let error, let payload):
            session.current = session.openRequest(request, refusedWith: error)
            session.input = .discarding(payload)
        case .perform(let command):
            if command != .write { session.payloadsAreLong = false }
            session.current = session.openRequest(request)
            begin(session, command, request, &events)
        }
    }

    private func begin(
        _ session: NBDSession, _ command: NBDCommand, _ request: NBDRequest, _ events: inout EventQueue
    ) {
        let place = session.current
        switch command {
        case .flush: session.input = .cutting
        case .cache, .blockStatus, .disconnect: settle(session, place, &events)
        case .read, .write, .trim, .writeZeroes:
            if request.flags.contains(.fastZero), !zeroesFast {
                session.requests[place].error = .notSupported
                session.requests[place].pieces.takeAll()
            }
            guard !session.requests[place].pieces.isAtEnd else { return settle(session, place, &events) }
            let isStructured = session.terms.structuredReplies
            session.requests[place].isOrdered =
                command == .read && (!isStructured || request.flags.contains(.dontFragment))
            session.input = .cutting
        }
    }

    /// Makes the next pieces of the current request.
    /// - Returns: false when it must wait.
    private func cut(_ session: NBDSession, _ events: inout EventQueue) -> Bool {
        let place = session.current
        if session.requests[place].request.command == .flush { return cutFlush(session, &events) }
        while var piece = session.requests[place].pieces.next {
            if session.requests[place].error != nil {
                giveUp(session, place, &events)
                return true
            }
            // Its own pieces must leave first; they pump it again.
            guard !session.requests[place].windowIsFull else { return false }
            let number = session.requests[place].issued
            guard let ticket = takeTicket(session, place, number, &piece) else {
                sendInOrder(session, place, mustGoOn: true, &events)
                if session.phase == .transmission { wait(session) }
                return false
            }
            session.requests[place].pieces.take(piece)
            session.requests[place].issued += 1
            let buffer = tickets[ticket].buffer
            if session.requests[place].request.command == .write {
                session.input = .filling(ticket: ticket, buffer: buffer)
                let start = machine.pool.pointer(buffer) + piece.bufferOffset
                let count = Int(piece.range.length)
                let whole = count <= ByteStream.wholeLimit
                session.payloadsAreLong = count >= ByteStream.directFrom
                let mayGoOn = session.payloadsAreLong && session.device?.isQuiescing != true
                let ahead = mayGoOn ? NBDRequest.encodedLength : 0
                guard session.stream.receive(into: start, count: count, whole: whole, ahead: ahead, machine.ring) else {
                    return false
                }
                payloadArrived(session, &events)
                return true
            }
            if piece.kind == .write {
                let start = machine.pool.pointer(buffer) + piece.bufferOffset
                start.initializeMemory(as: UInt8.self, repeating: 0, count: Int(piece.range.length))
            }
            issue(session, ticket, &events)
        }
        session.input = .header
        return true
    }

    private func cutFlush(_ session: NBDSession, _ events: inout EventQueue) -> Bool {
        var piece = NBDPiece(kind: .flush, range: ByteRange(offset: 0, length: 0))
        guard let ticket = takeTicket(session, session.current, 0, &piece) else {
            wait(session)
            return false
        }
        session.requests[session.current].issued = 1
        session.input = .header
        issue(session, ticket, &events)
        return true
    }

    /// A piece failed before all were made: the rest is not tried. A payload is read past.
    private func giveUp(_ session: NBDSession, _ place: Int, _ events: inout EventQueue) {
        let rest = session.requests[place].pieces.remaining
        session.requests[place].pieces.takeAll()
        if session.requests[place].request.command == .write {
            session.input = .discarding(UInt32(rest))
        } else {
            session.input = .header
            settle(session, place, &events)
        }
    }

    /// The current piece's payload is in its buffer.
    func payloadArrived(_ session: NBDSession, _ events: inout EventQueue) {
        guard case .filling(let ticket, _) = session.input, session.phase == .transmission else { return }
        session.input = session.requests[session.current].pieces.isAtEnd ? .header : .cutting
        issue(session, ticket, &events)
    }

    private func issue(_ session: NBDSession, _ ticket: UInt32, _ events: inout EventQueue) {
        let entry = tickets[ticket]
        let place = Int(entry.request)
        session.requests[place].outstanding += 1
        if session.requests[place].isOrdered {
            session.requests[place].held[Int(entry.number % NBDOpenRequest.window)].state = .asked
        }
        events.append(
            .clientRequest(
                ClientRequest(
                    ticket: ticket, kind: entry.piece.kind, range: entry.piece.range,
                    forced: session.requests[place].request.flags.contains(.fua),
                    buffer: entry.buffer < 0 ? nil : BufferID(index: entry.buffer))))
    }

    /// After DISC: everything is answered first.
    func partWhenAnswered(_ session: NBDSession, _ events: inout EventQueue) {
        if session.phase == .draining, session.openRequests == 0 { part(session, &events) }
    }
}
