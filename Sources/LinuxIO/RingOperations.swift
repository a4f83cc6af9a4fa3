import CLinuxURing
import Glibc

/// What `Ring.allocate` does to a range.
package enum AllocationMode: Sendable {
    /// Reserves space; a file grows to hold it, data stay.
    case reserve
    /// Gives space back; the range reads as zeroes.
    case punchHole
    /// Writes zeroes as cheaply as the storage can, space stays reserved; the size stays.
    case zero

    var bits: Int32 {
        switch self {
        case .reserve: 0
        case .punchHole: HABLK_PUNCH_HOLE
        case .zero: HABLK_ZERO_RANGE
        }
    }
}

/// The operations. Each queues one submission and returns; its completion's result is what the system call would
/// have returned. Counts are bytes, less than 2³¹; a short result is possible for each read, write, send and receive.
extension Ring {
    package func read(
        _ file: Int32, into memory: UnsafeMutableRawPointer, count: Int, offset: UInt64, token: Token
    ) {
        io_uring_prep_read(submission(token), file, memory, UInt32(count), offset)
    }

    /// - Parameter durable: the completion says that the data, and what is needed to find them, are on stable storage
    ///   (RWF_DSYNC: FUA on devices that have it). Not so where `BlockFile.forgetsDurableWrites`.
    package func write(
        _ file: Int32, from memory: UnsafeRawPointer, count: Int, offset: UInt64, durable: Bool = false, token: Token
    ) {
        let entry = submission(token)
        io_uring_prep_write(entry, file, memory, UInt32(count), offset)
        if durable { entry.pointee.rw_flags = HABLK_WRITE_DURABLE }
    }

    /// Makes durable all writes that had completed when this was submitted.
    package func fdatasync(_ file: Int32, token: Token) {
        io_uring_prep_fsync(submission(token), file, HABLK_FSYNC_DATA)
    }

    /// Reserves, punches or zeroes a range of a file or block device (EOPNOTSUPP when it cannot).
    package func fallocate(_ file: Int32, _ mode: AllocationMode, offset: UInt64, length: UInt64, token: Token) {
        io_uring_prep_fallocate(submission(token), file, mode.bits, Int(offset), Int(length))
    }

    /// The result is the new socket, close-on-exec; its peer: `Sockets.peerAddress(of:)`.
    package func accept(_ listener: Int32, token: Token) {
        io_uring_prep_accept(submission(token), listener, nil, nil, Int32(SOCK_CLOEXEC.rawValue))
    }

    /// Connects a socket of `Sockets.openTCP(for:)`.
    package func connect(_ socket: Int32, to address: SocketAddress, token: Token) {
        let memory = addressMemory()
        let length = address.write(into: &memory.pointee)
        // The submission is taken after its address: making room for the address may submit all that was begun.
        memory.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            io_uring_prep_connect(submission(token), socket, $0, length)
        }
    }

    /// A result of 0 is the peer's end of the stream. Behind all else of the turn: what leaves in it sets others to work.
    /// - Parameters:
    ///   - whole: less than `count` comes only at an end or a failure (or from an old kernel).
    ///   - isEmpty: nothing is expected to be there yet, so the kernel waits before it looks.
    package func receive(
        _ socket: Int32, into memory: UnsafeMutableRawPointer, count: Int, whole: Bool = false, isEmpty: Bool = false,
        token: Token
    ) {
        let entry = postponedSubmission(token)
        io_uring_prep_recv(entry, socket, memory, count, whole ? HABLK_RECEIVE_WHOLE : 0)
        if isEmpty { entry.pointee.ioprio = HABLK_WAIT_FIRST }
    }

    /// All of `count` bytes and then, as far as they are there already, `next` more of what is behind them. Two completions bear
    /// the token: the second has -EAGAIN when nothing was there, -ECANCELED when the first got less than it asked for.
    func receive(
        _ socket: Int32, into memory: UnsafeMutableRawPointer, count: Int, thenInto more: UnsafeMutableRawPointer,
        count next: Int, isEmpty: Bool, token: Token
    ) {
        // The two stand side by side: a link leads to the next submission of the same call.
        makeRoomForPostponed(2)
        let entry = postponedSubmission(token)
        io_uring_prep_recv(entry, socket, memory, count, HABLK_RECEIVE_WHOLE)
        entry.pointee.flags |= HABLK_LINK
        if isEmpty { entry.pointee.ioprio = HABLK_WAIT_FIRST }
        io_uring_prep_recv(postponedSubmission(token), socket, more, next, HABLK_RECEIVE_AT_ONCE)
    }

    /// Never raises SIGPIPE.
    package func send(_ socket: Int32, from memory: UnsafeRawPointer, count: Int, token: Token) {
        io_uring_prep_send(submission(token), socket, memory, count, HABLK_SEND_QUIETLY)
    }

    /// As `send`, gathered; message and vectors stay untouched until the completion.
    func send(_ socket: Int32, _ message: UnsafePointer<msghdr>, token: Token) {
        io_uring_prep_sendmsg(submission(token), socket, message, UInt32(HABLK_SEND_QUIETLY))
    }

    /// As the above, and done when the kernel takes the submission: when it went whole nothing is said, and the next turn is
    /// not cut short; else the completion has the bytes that went, or -EAGAIN (`Ring.isHeardOf`).
    func sendQuietly(_ socket: Int32, _ message: UnsafePointer<msghdr>, token: Token) {
        let entry = submission(token)
        io_uring_prep_sendmsg(entry, socket, message, UInt32(HABLK_SEND_AT_ONCE))
        entry.pointee.flags |= HABLK_SUCCEED_QUIETLY
    }

    /// The next turn does not wait.
    func hurry() { io_uring_prep_nop(submission(.unheard)) }

    /// One shot: the result is the events that are there.
    /// - Parameter events: POLLIN, POLLOUT, … as poll(2) has them.
    package func poll(_ file: Int32, events: Int16, token: Token) {
        io_uring_prep_poll_add(submission(token), file, UInt32(UInt16(bitPattern: events)))
    }

    /// Asks the kernel to end the operations that bear `target`; each still completes, with -ECANCELED unless it was
    /// done or unstoppable. Says nothing itself.
    package func cancel(_ target: Token) {
        takePostponed()
        let entry = submission(.unheard)
        io_uring_prep_cancel64(entry, target.rawValue | ownerBits, HABLK_CANCEL_ALL)
    }

    /// Closes a descriptor; when a file's last reference goes its flock goes.
    package func close(_ file: Int32, token: Token = .unheard) {
        io_uring_prep_close(submission(token), file)
    }

    /// The next wake-up from another thread completes `token`; ask again after each. One listener at a time, and the
    /// wake-up lives as long as the ring.
    package func await(_ wakeUp: WakeUp, token: Token) {
        io_uring_prep_read(submission(token), wakeUp.descriptor, wakeUp.memory, 8, 0)
    }
}
