import CLinuxURing
import Glibc

/// A connected stream socket on a ring: a bounded queue towards the peer, a buffer of what came from it.
///
/// At most one send and one receive are in flight. The owner appends during a turn and calls `flush` once at its end, so
/// that a turn's messages leave in one system call. Payloads are sent and received in the caller's memory without a
/// copy; each sent payload's tag comes back through `nextReleased()` when the kernel has no more use for it.
///
/// Closing is safe at any time: `close` stops both directions, the last completion closes the socket, and only then
/// `isFinished`. Until then the stream, its slot and the memory of a receive in progress must stay. All streams ever
/// made need different tokens (a new serial each): completions of another are answered with `.stale`.
package final class ByteStream {
    /// How much one stream may hold.
    package struct Limits: Sendable {
        /// Bytes queued towards the peer, headers and payloads; at least the largest message.
        package var queuedBytes: Int
        /// Of these, bytes of headers.
        package var headerBytes: Int
        /// Payloads and runs of headers that may be queued, or be released and not yet fetched.
        package var segments: Int
        /// Bytes of the stream's own receive buffer; at least the largest message without payload.
        package var receiveBytes: Int

        package init(
            queuedBytes: Int = 16 << 20, headerBytes: Int = 256 << 10, segments: Int = 4096,
            receiveBytes: Int = 64 << 10
        ) {
            self.queuedBytes = queuedBytes
            self.headerBytes = headerBytes
            self.segments = segments
            self.receiveBytes = receiveBytes
        }
    }

    /// A payload of at most so many bytes is fit for `whole`. The kernel looks 128 times what has come, then leaves that to a
    /// thread of its own: so many pieces a longer one could have, over TCP without any help of the hardware.
    package static let wholeLimit = 128 << 10
    /// A payload of at least so many bytes is worth a receive of its own: what precedes it is received alone, so that nothing of
    /// it passes through the stream's own memory.
    package static let directFrom = 32 << 10

    package enum SendOutcome: Equatable, Sendable {
        /// Bytes that the kernel took; `flush` sends the rest.
        case sent(Int)
        /// The errno; nothing more will be sent: close.
        case failed(Int32)
        /// Closing: the completion ended what was in flight.
        case closed
        /// Of another stream: drop it.
        case stale
    }

    package enum ReceiveOutcome: Equatable, Sendable {
        /// Bytes that were added to `received`.
        case arrived(Int)
        /// The caller's memory is full; bytes that came with this last piece.
        case filled(Int)
        /// A piece of the caller's memory; the stream receives on by itself.
        case partial(Int)
        /// The peer's orderly end, in the middle of a payload too.
        case ended
        /// The errno; close.
        case failed(Int32)
        case closed
        case stale
    }

    package let socket: Int32
    package let sendToken: Token
    package let receiveToken: Token
    private var queue: SendQueue
    private let inbox: PageMemory
    private let inboxLimit: Int
    private var inboxStart = 0
    private var inboxEnd = 0
    // The rest of the caller's memory that a receive fills; nil: the inbox.
    private var target: UnsafeMutableRawPointer?
    private var targetLeft = 0
    private var targetIsAwaitedWhole = false
    private var sendInFlight = false
    // The send in flight is quiet: which submission it is. It has all bytes that were queued then.
    private var quietSend: UInt64?
    private var quietBytes = 0
    // A quiet send did not go whole: the next one waits for room.
    private var mustWaitForRoom = false
    // Operations of the receive in flight: none, one, or two that are linked.
    private var receivesInFlight = 0
    private var receiveCount = 0
    // Bytes that the second of a linked pair asked for; 0: the receive in flight is none.
    private var aheadCount = 0
    // What the first of a pair to complete had to say; nil: none has.
    private var firstResult: Int32?
    // The last receive got less than it asked for.
    private var isSocketEmpty = false
    private var sendIsBroken = false
    private var closesWhenSent = false
    /// Since `close`, or since `closeWhenSent` has sent all.
    package private(set) var isClosing = false
    /// Nothing is in flight and the socket is closed: the stream may go, its slot may be used again.
    package private(set) var isFinished = false
    /// Since the beginning; a change is a sign of life, in the middle of a payload too.
    package private(set) var totalReceived: UInt64 = 0
    package private(set) var totalSent: UInt64 = 0

    /// - Parameter socket: connected; the stream's own from now on.
    package init(socket: Int32, sendToken: Token, receiveToken: Token, limits: Limits = Limits()) {
        precondition(sendToken != receiveToken, "a stream's two directions need two tokens")
        self.socket = socket
        self.sendToken = sendToken
        self.receiveToken = receiveToken
        queue = SendQueue(
            capacity: limits.queuedBytes, headerBytes: limits.headerBytes, segments: limits.segments)
        inbox = PageMemory(count: limits.receiveBytes)
        inboxLimit = limits.receiveBytes
    }

    deinit {
        // The kernel would write into memory that is somebody else's by now.
        precondition(
            !sendInFlight && receivesInFlight == 0, "a stream went away with operations in flight: close it first")
        if !isFinished { Glibc.close(socket) }
    }

    // Sending.

    /// Bytes that wait to be taken by the kernel.
    package var queuedBytes: Int { queue.queuedBytes }

    /// Whether a message of these parts would be taken.
    package func hasRoom(headerBytes: Int, payloads: Int = 0, payloadBytes: Int = 0) -> Bool {
        !isClosing && !closesWhenSent && !sendIsBroken
            && queue.hasRoom(headerBytes: headerBytes, payloads: payloads, payloadBytes: payloadBytes)
    }

    /// Queues a copy of `header`.
    /// - Returns: false, with nothing queued, when the queue is full, or the stream closes or failed.
    package func append(_ header: UnsafeRawBufferPointer) -> Bool {
        guard hasRoom(headerBytes: header.count) else { return false }
        queue.append(header: header)
        return true
    }

    /// Queues a copy of `header` and, behind it, `count` bytes of payload by their address, or neither.
    ///
    /// - Parameters:
    ///   - count: more than 0.
    ///   - tag: comes back by `nextReleased()` when the payload was sent or dropped; negative: never.
    /// - Returns: false, with nothing queued, when the queue is full, or the stream closes or failed.
    package func append(
        _ header: UnsafeRawBufferPointer, payload: UnsafeRawPointer, count: Int, tag: Int32
    ) -> Bool {
        precondition(count > 0, "a payload of no bytes")
        guard hasRoom(headerBytes: header.count, payloads: 1, payloadBytes: count) else { return false }
        queue.append(header: header)
        queue.append(payload: payload, count: count, tag: tag)
        return true
    }

    /// Queues payload alone, as the above.
    package func append(payload: UnsafeRawPointer, count: Int, tag: Int32) -> Bool {
        append(UnsafeRawBufferPointer(start: nil, count: 0), payload: payload, count: count, tag: tag)
    }

    /// More than this is not expected to go at once.
    private static let quietLimit = 256 << 10

    /// Submits one send of what waits, unless one is in flight. Once at the end of each turn.
    ///
    /// - Parameter quietly: a send that the kernel takes whole need not end the turn: nobody waits for room in the queue or
    ///   for a payload's memory. No completion comes then; `finishQuietSend` after each turn's completions says the same.
    package func flush(_ ring: borrowing Ring, quietly: Bool = false) {
        guard !isClosing, !sendIsBroken, !queue.isEmpty else { return }
        guard !sendInFlight else {
            // Not even the kernel has it: its end will not end the next turn, and what came since would wait for a stranger to.
            if quietSend != nil, !quietly || queue.queuedBytes > quietBytes { ring.hurry() }
            return
        }
        let (message, bytes) = queue.gather()
        sendInFlight = true
        if quietly, ring.hasQuietSends, !mustWaitForRoom, bytes == queue.queuedBytes, bytes <= Self.quietLimit {
            ring.sendQuietly(socket, message, token: sendToken)
            quietSend = ring.lastSubmission
            quietBytes = bytes
        } else {
            ring.send(socket, message, token: sendToken)
            mustWaitForRoom = false
        }
    }

    /// Takes note of a quiet send of which nothing was heard and nothing will be: it went whole.
    /// - Returns: whether there was one.
    package func finishQuietSend(_ ring: borrowing Ring) -> Bool {
        guard let submission = quietSend, ring.isHeardOf(submission) else { return false }
        quietSend = nil
        sendInFlight = false
        queue.advance(by: quietBytes)
        totalSent += UInt64(quietBytes)
        if isClosing {
            finishClosing()
        } else if closesWhenSent, queue.isEmpty {
            close(ring)
        }
        return true
    }

    /// Takes the completion of a send.
    package func finishSend(_ completion: Completion, _ ring: borrowing Ring) -> SendOutcome {
        guard completion.token == sendToken, sendInFlight else { return .stale }
        sendInFlight = false
        if quietSend != nil {
            quietSend = nil
            mustWaitForRoom = true
        }
        if completion.result > 0 {
            queue.advance(by: Int(completion.result))
            totalSent += UInt64(completion.result)
        }
        if isClosing {
            finishClosing()
            return .closed
        }
        switch completion.result {
        case 0..., -EAGAIN, -EINTR: break
        default:
            sendIsBroken = true
            return .failed(-completion.result)
        }
        if closesWhenSent && queue.isEmpty { close(ring) }
        return .sent(max(0, Int(completion.result)))
    }

    /// The tag of a payload whose memory the stream needs no more. Fetch all after each `finishSend`, and after the
    /// stream is finished: unfetched tags take room in the queue.
    package func nextReleased() -> Int32? { queue.nextReleased() }

    // Receiving.

    /// What came and was not consumed; valid until the next `receive` of either kind.
    package var received: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(inbox.bytes)[inboxStart..<inboxEnd])
    }

    package var isReceiving: Bool { receivesInFlight > 0 }

    /// Drops the first `count` of the `received` bytes.
    package func consume(_ count: Int) {
        precondition(count >= 0 && count <= inboxEnd - inboxStart, "more was consumed than came")
        inboxStart += count
    }

    /// Receives more into the stream's own buffer, unless a receive is in flight.
    /// - Parameter atMost: bytes, more than 0.
    /// - Returns: false when there is no room: the peer's message is longer than it may be.
    @discardableResult
    package func receive(_ ring: borrowing Ring, atMost: Int = .max) -> Bool {
        guard !isClosing, receivesInFlight == 0 else { return true }
        makeRoom()
        guard inboxEnd < inboxLimit else { return false }
        let count = min(atMost, inboxLimit - inboxEnd)
        ring.receive(
            socket, into: inbox.start + inboxEnd, count: count, isEmpty: isSocketEmpty, token: receiveToken)
        receiveCount = count
        receivesInFlight = 1
        return true
    }

    /// Fills the caller's memory with the next `count` bytes: first from `received`, the rest straight from the socket.
    /// No receive may be in flight. The memory is the stream's until `.filled`, `.ended`, `.failed` or `.closed`.
    /// - Parameters:
    ///   - whole: the kernel gathers all of it before it says anything: no `.partial` tells that some came.
    ///   - ahead: with `whole`: so many bytes of what is behind it, if they are there already, come along into `received`,
    ///     which saves a turn. Not on each kernel.
    /// - Returns: true when the memory is filled already; otherwise `.filled` says so later.
    package func receive(
        into memory: UnsafeMutableRawPointer, count: Int, whole: Bool = false, ahead: Int = 0, _ ring: borrowing Ring
    ) -> Bool {
        precondition(receivesInFlight == 0, "a receive is in flight already")
        let buffered = min(count, inboxEnd - inboxStart)
        if buffered > 0 {
            memory.copyMemory(from: inbox.start + inboxStart, byteCount: buffered)
            inboxStart += buffered
        }
        guard buffered < count else { return true }
        guard !isClosing else { return false }
        target = memory + buffered
        targetLeft = count - buffered
        targetIsAwaitedWhole = whole
        // A target that is no longer than what may come ahead could not be told from it.
        let mayLink = whole && ring.canLink && targetLeft > ahead
        aheadCount = mayLink ? min(ahead, inboxLimit) : 0
        if aheadCount > 0 { submitPair(ring) } else { submitReceiveIntoTarget(ring) }
        return false
    }

    /// Takes the completion of a receive.
    package func finishReceive(_ completion: Completion, _ ring: borrowing Ring) -> ReceiveOutcome {
        guard completion.token == receiveToken, receivesInFlight > 0 else { return .stale }
        receivesInFlight -= 1
        if isClosing {
            finishClosing()
            return .closed
        }
        guard aheadCount > 0, target != nil else { return finishReceive(completion.result, ring) }
        guard let first = firstResult else {
            firstResult = completion.result
            return .partial(0)
        }
        return finishPair(first, completion.result, ring)
    }

    /// Both of a linked pair have completed, in the order in which they were linked.
    private func finishPair(_ main: Int32, _ ahead: Int32, _ ring: borrowing Ring) -> ReceiveOutcome {
        firstResult = nil
        let isWhole = Int(main) == targetLeft
        // Should a kernel that is short of memory ever take only the first, the second would get a part of the payload: no such
        // bytes may pass for what they are not.
        guard isWhole || ahead == -ECANCELED else {
            target = nil
            return .failed(EIO)
        }
        if isWhole {
            inboxEnd = max(0, Int(ahead))
            totalReceived += UInt64(inboxEnd)
        }
        let wanted = aheadCount
        aheadCount = 0
        let outcome = finishReceive(main, ring)
        if isWhole { isSocketEmpty = ahead < wanted }
        return outcome
    }

    private func finishReceive(_ result: Int32, _ ring: borrowing Ring) -> ReceiveOutcome {
        let count = Int(result)
        if count == -Int(EAGAIN) || count == -Int(EINTR) { return receiveAgain(ring) }
        guard count > 0 else {
            target = nil
            return count == 0 ? .ended : .failed(-result)
        }
        totalReceived += UInt64(count)
        isSocketEmpty = count < receiveCount
        guard let place = target else {
            inboxEnd += count
            return .arrived(count)
        }
        targetLeft -= count
        guard targetLeft > 0 else {
            target = nil
            return .filled(count)
        }
        target = place + count
        submitReceiveIntoTarget(ring)
        return .partial(count)
    }

    private func receiveAgain(_ ring: borrowing Ring) -> ReceiveOutcome {
        if target == nil {
            receive(ring)
            return .arrived(0)
        }
        submitReceiveIntoTarget(ring)
        return .partial(0)
    }

    private func submitReceiveIntoTarget(_ ring: borrowing Ring) {
        ring.receive(
            socket, into: target!, count: targetLeft, whole: targetIsAwaitedWhole, isEmpty: isSocketEmpty,
            token: receiveToken)
        receiveCount = targetLeft
        receivesInFlight = 1
    }

    private func submitPair(_ ring: borrowing Ring) {
        // All that it held was copied to the target.
        inboxStart = 0
        inboxEnd = 0
        ring.receive(
            socket, into: target!, count: targetLeft, thenInto: inbox.start, count: aheadCount, isEmpty: isSocketEmpty,
            token: receiveToken)
        receiveCount = targetLeft
        receivesInFlight = 2
    }

    /// Moves what is unread to the front when little room is behind it: a message is read from one piece of memory.
    private func makeRoom() {
        let unread = inboxEnd - inboxStart
        if unread == 0 {
            inboxStart = 0
            inboxEnd = 0
        } else if inboxStart > 0 && inboxLimit - inboxEnd < inboxLimit / 2 {
            (inbox.start).copyMemory(from: inbox.start + inboxStart, byteCount: unread)
            inboxStart = 0
            inboxEnd = unread
        }
    }

    // Closing.

    /// Nothing is in flight, and nothing waits to be sent.
    package var isIdle: Bool { !sendInFlight && receivesInFlight == 0 && queue.isEmpty }

    /// Ends an idle stream without ending its connection.
    /// - Returns: the socket, which is the caller's now.
    package func detach() -> Int32 {
        precondition(isIdle && !isClosing, "a stream with operations in flight keeps its socket")
        isClosing = true
        isFinished = true
        return socket
    }

    /// Takes no more messages, and closes when all that is queued has been taken by the kernel. A peer that does not
    /// read delays this without end: the owner's patience decides when to `close`.
    package func closeWhenSent(_ ring: borrowing Ring) {
        guard !isClosing else { return }
        closesWhenSent = true
        if queue.isEmpty && !sendInFlight { close(ring) } else { flush(ring) }
    }

    /// Ends both directions now; what was queued is dropped. `isFinished` at once when nothing is in flight, else after
    /// the last completion, which the next turn brings.
    package func close(_ ring: borrowing Ring) {
        guard !isClosing else { return }
        isClosing = true
        shutdown(socket, Int32(SHUT_RDWR))
        if quietSend != nil { ring.hurry() } else if sendInFlight { ring.cancel(sendToken) }
        if receivesInFlight > 0 { ring.cancel(receiveToken) }
        finishClosing()
    }

    private func finishClosing() {
        // Payloads of a send in flight are the kernel's until its completion.
        if !sendInFlight { queue.abandon() }
        if receivesInFlight == 0 { target = nil }
        guard !sendInFlight, receivesInFlight == 0, !isFinished else { return }
        Glibc.close(socket)
        isFinished = true
    }
}
