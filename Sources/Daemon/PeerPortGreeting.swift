import Formats
import Glibc
import LinuxIO
import Model
import ReplicationCore

/// From a connected socket to an open session or a refusal, and the end of both.
extension PeerPort {
    // MARK: Accepting

    func accept() {
        guard listener >= 0, !isAccepting, acceptAgain == nil else { return }
        let strangers = live.lazy.filter { $0.isHalfOpen }
        guard strangers.count < limits.halfOpen, live.count + 8 < slots.count else {
            // Whoever holds a place without saying anything loses it to the next one; `reap` accepts again.
            if let oldest = strangers.first(where: { $0.phase == .greeting }) { end(oldest) }
            return
        }
        isAccepting = true
        machine.ring.accept(listener, token: Token(.peerListener))
    }

    func accepted(_ completion: Completion) {
        isAccepting = false
        if listener < 0 {
            if completion.error == nil { Sockets.close(completion.result) }
            return
        }
        guard completion.error == nil else {
            // Aborted connections are nobody's fault; a lack of descriptors passes.
            acceptAgain = monotonicNow() + 100_000_000
            return
        }
        take(completion.result)
        accept()
    }

    /// Greets whoever is at the other end of an accepted connection.
    func take(_ socket: Int32) {
        let address = Sockets.peerAddress(of: socket)?.description ?? "an unknown address"
        let session = adopt(
            socket, dialed: nil, address: address, greeting: PeerGreeting(acceptingAs: identity, discards: discards),
            deadline: monotonicNow() + limits.greetingTimeout)
        guard let session else { return Sockets.close(socket) }
        setUp(session)
        session.stream?.receive(machine.ring)
    }

    /// The same, for a connection that came through a door which other volumes share: the oldest stranger makes room.
    func admit(_ socket: Int32) {
        guard !isLeaving else { return Sockets.close(socket) }
        let strangers = live.lazy.filter { $0.isHalfOpen }
        if strangers.count >= limits.halfOpen, let oldest = strangers.first(where: { $0.phase == .greeting }) {
            end(oldest)
        }
        take(socket)
    }

    // MARK: Greeting

    /// Gives a socket a place; nil when all are taken.
    func adopt(
        _ socket: Int32, dialed: NodeID?, address: String, greeting: PeerGreeting, deadline: UInt64
    ) -> PeerSession? {
        guard let slot = slots.firstIndex(where: { $0 == nil }) else { return nil }
        serial &+= 1
        let session = PeerSession(
            slot: slot, serial: serial, dialed: dialed, address: address, socket: socket, greeting: greeting,
            deadline: deadline)
        slots[slot] = session
        live.append(session)
        return session
    }

    func setUp(_ session: PeerSession) {
        Sockets.setNoDelay(session.socket)
        setPatience(session)
        setCongestionControl(session)
        if let bytes = limits.socketBuffers { Sockets.setBuffers(session.socket, send: bytes, receive: bytes) }
        session.beginStream(limits.stream)
    }

    /// How long what was sent may stay unanswered.
    func setPatience(_ session: PeerSession) {
        let cutOff = identity.configuration.timing.cutOff / 1_000_000
        Sockets.setUserTimeout(session.socket, milliseconds: Int(clamping: cutOff))
    }

    /// A link is better served by the system's choice than by none: a name that the kernel does not take is said, and no more.
    private func setCongestionControl(_ session: PeerSession) {
        guard let name = identity.configuration.congestionControl else { return }
        let code = Sockets.setCongestionControl(session.socket, name)
        guard code != 0, unknownCongestionControl != name else { return }
        unknownCongestionControl = name
        let why =
            "tcp-congestion-control: \(name): \(errorText(code)): the system's is used; "
            + "sysctl net.ipv4.tcp_available_congestion_control says which there are"
        note(Note(.warning, "session", why, peer: session.dialed))
    }

    /// Sends what the greeting has to say.
    func speak(_ session: PeerSession) {
        guard let stream = session.stream, !session.greeting.output.isEmpty else { return }
        let isQueued = session.greeting.output.withUnsafeBytes { stream.append($0) }
        precondition(isQueued, "a greeting does not fit into an empty queue")
        session.greeting.output = []
        stream.flush(machine.ring)
    }

    /// Takes the greeting's messages out of what arrived, until it is over or more is needed.
    func greet(_ session: PeerSession, _ stream: ByteStream, into events: inout EventQueue) {
        while session.phase == .greeting {
            let step: PeerGreeting.Step
            do throws(HelloError) {
                guard let (message, version) = try nextGreeting(stream) else { break }
                step = session.greeting.receive(message, version: version)
            } catch {
                step = session.greeting.refuse(error)
            }
            speak(session)
            switch step {
            case .wait: continue
            case .open: open(session, into: &events)
            case .refuse(let refusal): refuse(session, refusal, into: &events)
            case .dialAgain(let version): dialAgain(session, version, into: &events)
            }
        }
    }

    private func nextGreeting(_ stream: ByteStream) throws(HelloError) -> (HelloMessage, version: UInt16)? {
        let bytes = stream.received
        guard bytes.count >= HelloFrame.headerLength else { return nil }
        let header = try HelloFrame.decodeHeader(
            UnsafeRawBufferPointer(rebasing: bytes[..<HelloFrame.headerLength]))
        let length = HelloFrame.headerLength + header.bodyLength
        guard bytes.count >= length else { return nil }
        let body = UnsafeRawBufferPointer(rebasing: bytes[HelloFrame.headerLength..<length])
        let message = try HelloFrame.decode(header, body: body)
        stream.consume(length)
        return (message, header.version)
    }

    /// A peer that was not upgraded yet: the next attempt, which the core makes soon, is one that it understands.
    private func dialAgain(_ session: PeerSession, _ version: UInt16, into events: inout EventQueue) {
        guard let node = session.dialed else { preconditionFailure("who accepted does not dial again") }
        part(session)
        guard dials[Int(node.rawValue)] != nil else { return }
        earlierVersions[Int(node.rawValue)] = version
        dialFailed(
            node, "\(session.address): it speaks protocol version \(version): it will be dialed in that", into: &events)
    }

    private func open(_ session: PeerSession, into events: inout EventQueue) {
        guard let theirs = session.greeting.theirs else { preconditionFailure("a greeting ended without a hello") }
        // A session id that is in use is a replay, or an accident as unlikely.
        guard !live.contains(where: { $0.id == theirs.session }) else {
            return fail(session, "the session's id is in use", into: &events)
        }
        session.phase = .open
        session.deadline = nil
        session.node = theirs.node
        session.id = theirs.session
        session.hasTold = true
        if session.dialed != nil { dials[Int(theirs.node.rawValue)] = nil }
        lastProblems[Int(theirs.node.rawValue)] = nil
        let direction = session.dialed == nil ? "accepted from" : "dialed to"
        if identity.isFormer(theirs.nodes) {
            let words = "its file names the nodes as they were: hablk adjust \(identity.configuration.volume) there"
            note(Note(.warning, "connection", words, peer: theirs.node))
        }
        let proof = identity.secret == nil ? "not authenticated" : "authenticated"
        note(
            Note(
                .info, "session", "\(session.id) opened, \(direction) \(session.address), \(proof)", peer: theirs.node))
        prepareToSend(session, to: theirs.node, theirs.capabilities)
        events.append(
            .sessionOpened(
                theirs.node, theirs.session, run: theirs.run, dialedHere: session.dialed != nil,
                discardsItsData: theirs.discardMyData))
    }

    /// Ours is told to the other side before the connection ends. An accepted connection that proved nothing must not
    /// be able to change anything here but the log.
    private func refuse(_ session: PeerSession, _ refusal: PeerRefusal, into events: inout EventQueue) {
        let told = refusal.isOurs ? refusal.message : "\(refusal.message) (says the other side)"
        if let node = session.dialed {
            let former = session.greeting.theirs.flatMap { identity.isFormer($0.nodes) ? $0.nodes : nil }
            knownFormer[node] = former
            if dials[Int(node.rawValue)] != nil {
                if refusal.reason != "malformed", former == nil {
                    events.append(.peerRefused(node, reason: refusal.reason, message: refusal.message))
                }
                part(session)
                dialFailed(node, "\(session.address): \(told)", into: &events)
            }
        } else if refusal.isProven, let node = session.greeting.theirs?.node, node != identity.node,
            identity.configuration.node(node) != nil, refusal.reason != "unknown-node"
        {
            // Not of one that only has the id of this node's peer.
            events.append(.peerRefused(node, reason: refusal.reason, message: refusal.message))
        }
        complain(session, "refused: \(refusal.reason): \(told)")
        if session.phase != .ended { part(session) }
    }

    private func complain(_ session: PeerSession, _ text: String, _ level: Note.Level = .warning) {
        guard session.dialed == nil, let addition = complaints.admit(at: monotonicNow()) else { return }
        let node = session.greeting.theirs?.node
        note(Note(level, "connection", "\(session.address) \(text)\(addition)", peer: node))
    }

    // MARK: Ending

    /// It broke, or broke a rule: whoever waits for it hears why.
    ///
    /// - Parameter isOrderly: it ended between two frames. Of two nodes that dial each other at once one gives up so.
    func fail(_ session: PeerSession, _ why: String, isOrderly: Bool = false, into events: inout EventQueue) {
        switch session.phase {
        case .connecting, .greeting:
            if let node = session.dialed {
                session.phase = .parting
                end(session)
                dialFailed(node, "\(session.address): \(why)", into: &events)
            } else {
                // A port scanner, or a health check that says nothing, is no news.
                let isPeer = session.greeting.theirs != nil
                if isPeer || session.stream?.totalReceived != 0 {
                    complain(session, why, isPeer && isOrderly ? .info : .warning)
                }
            }
        case .open:
            if let node = session.node {
                note(Note(.info, "session", "\(session.id) closed: \(why)", peer: node))
                events.append(.sessionClosed(node, session.id, why))
            }
        case .parting, .ended: break
        }
        end(session)
    }

    /// Nothing more is said to the core of this session; what is queued goes out, then the other side's end is awaited.
    func part(_ session: PeerSession) {
        guard session.phase == .greeting || session.phase == .open, let stream = session.stream else {
            return end(session)
        }
        session.phase = .parting
        session.deadline = monotonicNow() + limits.partingTimeout
        stream.flush(machine.ring)
        drop(session, stream)
        halfClose(session, stream)
    }

    /// Once all is sent the other side is told so. A close with unread bytes would take back what it has not read yet.
    func halfClose(_ session: PeerSession, _ stream: ByteStream) {
        guard session.phase == .parting, !session.isHalfClosed, stream.queuedBytes == 0,
            session.firstWaiting == session.waiting.count
        else { return }
        session.isHalfClosed = true
        shutdown(stream.socket, Int32(SHUT_WR))
    }

    /// At once. The session stays until the kernel is done with it.
    func end(_ session: PeerSession) {
        if session.phase != .ended {
            if let stream = session.stream {
                stream.close(machine.ring)
            } else if session.socket >= 0 {
                machine.ring.cancel(session.token(.connect))
            }
        }
        session.phase = .ended
        session.deadline = nil
        reap(session)
    }

    /// Gives back all that an ended session held, as soon as nothing of it is in flight.
    func reap(_ session: PeerSession) {
        guard session.isFinished, slots[session.slot] === session else { return }
        if let stream = session.stream {
            while let tag = stream.nextReleased() { release(session, tag) }
        }
        for waiting in session.waiting[session.firstWaiting...] {
            if let payload = waiting.message.payload { machine.pool.release(payload.buffer.index) }
        }
        if session.buffer >= 0 { machine.pool.release(session.buffer) }
        session.buffer = -1
        session.waiting = []
        session.firstWaiting = 0
        slots[session.slot] = nil
        live.removeAll { $0 === session }
        accept()
    }
}
