import Formats
import LinuxIO
package import Model
import ReplicationCore

/// The data path: frames out of the core's effects, events out of the stream.
extension PeerPort {
    // MARK: Sending

    /// Queues a frame; `flushSends` sends it. A session that is no more open swallows it. The payload's buffer is held
    /// until the kernel has it.
    package func send(_ node: NodeID, _ stamp: FrameStamp, _ message: PeerMessage) {
        guard let session = openSession(stamp.session), let stream = session.stream else { return }
        if case .confirm = message {
            // It lets the other side forget, and nobody waits for that: as a turn of its own it would be a fifth of a flush.
            if stream.queuedBytes == 0 { session.sendsAt = monotonicNow() + limits.confirmDelay }
        } else {
            if case .announce = message, !session.takes.contains(.announcements) { return }
            session.sendsAt = 0
        }
        if session.firstWaiting < session.waiting.count {
            wait(session, stamp, message)
        } else if !queue(session, stream, stamp, message) {
            wait(session, stamp, message)
        }
    }

    private func openSession(_ id: SessionID) -> PeerSession? {
        for session in live where session.id == id && session.phase == .open { return session }
        return nil
    }

    /// Encodes a frame into the stream's queue.
    /// - Returns: false when there is no room.
    private func queue(
        _ session: PeerSession, _ stream: ByteStream, _ stamp: FrameStamp, _ message: PeerMessage
    ) -> Bool {
        guard let payload = message.payload else {
            let length = PeerFrame.encode(message, stamp, payload: nil, into: scratch)
            return stream.append(UnsafeRawBufferPointer(rebasing: scratch[..<length]))
        }
        return queue(session, stream, stamp, message, payload)
    }

    /// Keeps a frame until the stream has room: a burst of small frames can be longer than its queue of headers.
    private func wait(_ session: PeerSession, _ stamp: FrameStamp, _ message: PeerMessage) {
        var bytes = 256
        if let payload = message.payload {
            machine.pool.retain(payload.buffer.index)
            bytes += payload.count
        } else if case .bitmapRuns(let runs) = message {
            bytes += runs.count * 16
        }
        session.waiting.append(PeerSession.Waiting(stamp: stamp, message: message, bytes: bytes))
        session.waitingBytes += bytes
        let queued = session.waitingBytes + (session.stream?.queuedBytes ?? 0)
        guard queued > limits.queuedBytes else { return }
        let why = "it does not take what is sent to it: \(queued >> 20) MiB wait"
        var events = EventQueue(capacity: 16)
        fail(session, why, into: &events)
        while let event = events.popFirst() { pending.append(event) }
    }

    private func queueWaiting(_ session: PeerSession, _ stream: ByteStream) {
        while session.firstWaiting < session.waiting.count {
            let next = session.waiting[session.firstWaiting]
            guard queue(session, stream, next.stamp, next.message) else { return }
            if let payload = next.message.payload { machine.pool.release(payload.buffer.index) }
            session.waitingBytes -= next.bytes
            session.firstWaiting += 1
            // Over a slow link it never runs empty.
            if session.firstWaiting > 1024, session.firstWaiting * 2 > session.waiting.count {
                session.waiting.removeFirst(session.firstWaiting)
                session.firstWaiting = 0
            }
        }
        session.waiting.removeAll(keepingCapacity: session.waiting.count <= 1024)
        session.firstWaiting = 0
    }

    /// One send a session with all that is queued. Once at the end of each turn.
    /// - Parameter quietly: as `ByteStream.flush` has it.
    package func flushSends(quietly: Bool = false) {
        for session in live {
            guard let stream = session.stream else { continue }
            if session.sendsAt > 0 {
                guard session.phase != .open || session.sendsAt <= monotonicNow() else { continue }
                session.sendsAt = 0
            }
            let nobodyWaits = session.phase == .open && session.waiting.isEmpty
            stream.flush(machine.ring, quietly: quietly && nobodyWaits)
        }
    }

    /// Whether a session waits for a buffer of the pool.
    package var isAnyoneStalled: Bool {
        for session in live where session.isStalled { return true }
        return false
    }

    /// What left quietly since the last turn; once in each, after its completions.
    package func finishQuietSends(into events: inout EventQueue) {
        for session in live {
            guard let stream = session.stream, stream.finishQuietSend(machine.ring) else { continue }
            sent(session, stream, .sent(0), into: &events)
            if session.phase == .ended { reap(session) }
        }
    }

    func sent(
        _ session: PeerSession, _ stream: ByteStream, _ outcome: ByteStream.SendOutcome,
        into events: inout EventQueue
    ) {
        while let tag = stream.nextReleased() { release(session, tag) }
        switch outcome {
        case .sent:
            if session.firstWaiting < session.waiting.count { queueWaiting(session, stream) }
            halfClose(session, stream)
        case .failed(let code): fail(session, errorText(code), into: &events)
        case .closed, .stale: break
        }
    }

    /// Ends a session after what was sent; nothing more is heard of it.
    package func closeSession(_ node: NodeID, _ session: SessionID, _ why: String) {
        guard let session = openSession(session) else { return }
        note(Note(.info, "session", "\(session.id) closed here: \(why)", peer: node))
        part(session)
    }

    // MARK: Receiving

    func received(_ session: PeerSession, _ completion: Completion, into events: inout EventQueue) {
        guard let stream = session.stream else { return }
        switch stream.finishReceive(completion, machine.ring) {
        case .filled:
            judgeSpeed(session)
            takeArrived(session, stream, into: &events)
            tellAlive(session, monotonicNow(), into: &events)
        case .arrived:
            takeArrived(session, stream, into: &events)
            tellAlive(session, monotonicNow(), into: &events)
        case .partial: tellAlive(session, monotonicNow(), into: &events)
        case .closed, .stale: break
        case .ended:
            if session.header == nil {
                fail(session, "it closed the connection", isOrderly: true, into: &events)
            } else {
                fail(session, "it ended in mid-frame", into: &events)
            }
        case .failed(let code): fail(session, errorText(code), into: &events)
        }
    }

    /// A payload was awaited, and is there.
    private func judgeSpeed(_ session: PeerSession) {
        guard session.bytesBeforePayload > 0 else { return }
        // The longest that is gathered may be four times as long: still far from silence.
        let isFast = monotonicNow() < session.payloadAwaitedSince + limits.signOfLifeInterval / 16
        session.fastPayloads = isFast ? min(session.fastPayloads + 1, Self.fastEnough) : 0
    }
    /// What a socket may have held back comes at once, whatever the link.
    private static let fastEnough = 64

    private func takeArrived(_ session: PeerSession, _ stream: ByteStream, into events: inout EventQueue) {
        if session.phase == .greeting { greet(session, stream, into: &events) }
        if session.phase == .open { cutFrames(session, stream, into: &events) }
        if session.phase == .parting { drop(session, stream) }
        guard session.phase == .greeting, !stream.isReceiving else { return }
        stream.receive(machine.ring)
    }

    /// Sessions that waited for a buffer go on, as far as the pool lets them.
    package func buffersAvailable(into events: inout EventQueue) {
        for session in live where session.isStalled {
            guard session.phase == .open, let stream = session.stream else { continue }
            session.isStalled = false
            cutFrames(session, stream, into: &events)
            tellAlive(session, monotonicNow(), into: &events)
        }
    }

    /// A large frame on a slow link, or one that finds no buffer here, must not look like silence.
    func tellAlive(_ session: PeerSession, _ now: UInt64, into events: inout EventQueue) {
        guard session.phase == .open, let node = session.node else { return }
        if session.hasTold {
            session.hasTold = false
            session.lastTold = now
        } else if now >= session.lastTold + limits.signOfLifeInterval {
            session.lastTold = now
            events.append(.heard(node, session.id))
        }
    }

    /// Makes events of all frames that are there, then receives on: into the next payload's buffer, or into the stream.
    private func cutFrames(_ session: PeerSession, _ stream: ByteStream, into events: inout EventQueue) {
        do throws(PeerFrameError) {
            while session.phase == .open, !stream.isReceiving, !session.isStalled {
                guard let header = try nextHeader(session, stream, into: &events) else { continue }
                if header.payloadLength > 0 {
                    try takeLoaded(session, stream, header, into: &events)
                } else {
                    try takePlain(session, stream, header, into: &events)
                }
            }
        } catch {
            fail(session, "a bad frame: \(error)", into: &events)
        }
    }

    /// The header of the frame that is being taken; nil when it has to be received first, or the session ended.
    private func nextHeader(
        _ session: PeerSession, _ stream: ByteStream, into events: inout EventQueue
    ) throws(PeerFrameError) -> PeerFrameHeader? {
        if let header = session.header { return header }
        let bytes = stream.received
        guard bytes.count >= PeerFrame.headerLength else {
            let before = session.bytesBeforePayload
            stream.receive(machine.ring, atMost: before > 0 ? before - bytes.count : .max)
            return nil
        }
        let header = try PeerFrame.decodeHeader(UnsafeRawBufferPointer(rebasing: bytes[..<PeerFrame.headerLength]))
        guard header.stamp.session == session.id else {
            fail(session, "a frame of another session (\(header.stamp.session))", into: &events)
            return nil
        }
        stream.consume(PeerFrame.headerLength)
        session.header = header
        return header
    }

    private func takePlain(
        _ session: PeerSession, _ stream: ByteStream, _ header: PeerFrameHeader, into events: inout EventQueue
    ) throws(PeerFrameError) {
        let bytes = stream.received
        guard bytes.count >= header.bodyLength else {
            stream.receive(machine.ring)
            return
        }
        let body = UnsafeRawBufferPointer(rebasing: bytes[..<header.bodyLength])
        let message = try PeerFrame.decode(header, body: body, payload: nil, buffer: nil)
        stream.consume(header.bodyLength)
        session.bytesBeforePayload = 0
        session.header = nil
        tell(session, header.stamp, message, into: &events)
    }

    private func takeLoaded(
        _ session: PeerSession, _ stream: ByteStream, _ header: PeerFrameHeader, into events: inout EventQueue
    ) throws(PeerFrameError) {
        if session.buffer < 0 {
            let bytes = stream.received
            guard bytes.count >= header.bodyLength else {
                stream.receive(machine.ring)
                return
            }
            guard header.payloadLength <= machine.pool.largest else {
                throw .payloadLength(header.kind, UInt32(header.payloadLength))
            }
            guard let buffer = machine.pool.take(bytes: header.payloadLength) else {
                session.isStalled = true
                return
            }
            session.keep(body: UnsafeRawBufferPointer(rebasing: bytes[..<header.bodyLength]))
            stream.consume(header.bodyLength)
            session.buffer = buffer
            if header.wireLength > 0 {
                let place = landing(session, header)
                // Else `.filled` comes, and then this frame's end.
                guard receive(session, stream, header, into: place) else { return }
            }
        }
        try expand(session, header)
        let payload = UnsafeRawBufferPointer(
            start: machine.pool.pointer(session.buffer), count: header.payloadLength)
        let buffer = BufferID(index: session.buffer)
        let decoded = session.withBody(header.bodyLength) { body in
            Result { () throws(PeerFrameError) in
                try PeerFrame.decode(header, body: body, payload: payload, buffer: buffer)
            }
        }
        let message = try decoded.get()
        // The buffer is the core's from here on.
        session.buffer = -1
        session.header = nil
        tell(session, header.stamp, message, into: &events)
    }

    /// Asks for what a frame has on the wire, and for the next one's header with it.
    /// - Returns: whether all of it is there already.
    private func receive(
        _ session: PeerSession, _ stream: ByteStream, _ header: PeerFrameHeader, into place: UnsafeMutableRawPointer
    ) -> Bool {
        let count = header.wireLength
        session.bytesBeforePayload = count >= ByteStream.directFrom ? PeerFrame.headerLength + header.bodyLength : 0
        session.payloadAwaitedSince = monotonicNow()
        return stream.receive(
            into: place, count: count, whole: session.fastPayloads == Self.fastEnough && count <= ByteStream.wholeLimit,
            ahead: session.bytesBeforePayload, machine.ring)
    }

    private func tell(
        _ session: PeerSession, _ stamp: FrameStamp, _ message: PeerMessage, into events: inout EventQueue
    ) {
        guard let node = session.node else { preconditionFailure("a frame of a session that is not open") }
        session.hasTold = true
        events.append(.message(node, stamp, message))
    }

    /// What a parting session receives goes nowhere, until the other side ends too.
    func drop(_ session: PeerSession, _ stream: ByteStream) {
        guard !stream.isReceiving else { return }
        if session.buffer >= 0 { machine.pool.release(session.buffer) }
        session.buffer = -1
        session.header = nil
        session.isStalled = false
        stream.consume(stream.received.count)
        stream.receive(machine.ring)
    }
}
