import CLinuxURing
import Glibc

/// One io_uring: where all I/O of a volume is asked for and answered.
///
/// Made and used by one thread only (the kernel refuses others). A turn is `submitAndWait`, then `nextCompletion`
/// until nil. Memory handed to an operation stays untouched until its completion; before a ring goes away nothing may
/// be in flight into memory that lives on.
package struct Ring: ~Copyable {
    /// How the kernel runs completions for us, best first.
    package enum Mode: String, Sendable, CaseIterable {
        /// Only while we wait: one batch per turn, no interrupts of our work (Linux 6.1).
        case deferred
        /// At any of our kernel entries (Linux 5.19).
        case cooperative
        /// By interrupting us.
        case plain
        /// Without io_uring, where it is switched off or forbidden: epoll and a few threads do the same, slower.
        case epoll

        var flags: UInt32 {
            switch self {
            case .deferred: HABLK_RING_DEFERRED
            case .cooperative: HABLK_RING_COOPERATIVE
            case .plain, .epoll: 0
            }
        }
    }

    /// Counters since the ring was made.
    package struct Statistics: Sendable {
        /// Entries into the kernel.
        package var turns: UInt64 = 0
        package var submissions: UInt64 = 0
        package var completions: UInt64 = 0
        /// Times that a turn was cut short because the submission queue was full.
        package var earlySubmissions: UInt64 = 0
    }

    private struct Bookkeeping {
        var statistics = Statistics()
        var addressesUsed = 0
        /// Of all submissions, in order, so many are the kernel's.
        var taken: UInt64 = 0
        /// So many it has taken, and what they had to say at once was read.
        var heardOf: UInt64 = 0
        /// Entries of `postponed`.
        var postponed = 0
    }

    // All state sits behind pointers: liburing wants a fixed address, and so a ring can be used while borrowed.
    let queues: UnsafeMutablePointer<io_uring>
    private let engine: Unmanaged<EpollEngine>?
    private let bookkeeping: UnsafeMutablePointer<Bookkeeping>
    // The kernel reads a connect's address at the submission, which may be after the caller has gone on.
    private let addresses: UnsafeMutablePointer<sockaddr_storage>
    private static let addressCount = 16
    // What is to go behind all else of its turn.
    private let postponed: UnsafeMutablePointer<io_uring_sqe>
    private static let postponedCount = 64

    package let mode: Mode
    /// What the tokens of this view bear beside.
    let ownerBits: UInt64
    private let isShared: Bool

    /// - Parameters:
    ///   - entries: submissions per turn before the ring submits by itself; rounded up to a power of two, 1…32768. Four
    ///     times as many completions may wait; more are kept by the kernel.
    ///   - modes: the first that the kernel takes is used.
    /// - Throws: when it takes none. io_uring may be absent, switched off (`kernel.io_uring_disabled`) or forbidden by a seccomp
    ///   filter: `.epoll` needs none.
    package init(entries: Int = 1024, modes: [Mode] = Mode.allCases) throws(SystemError) {
        precondition(entries > 0 && entries <= 32768, "a ring has 1…32768 entries")
        let queues = UnsafeMutablePointer<io_uring>.allocate(capacity: 1)
        queues.initialize(to: io_uring())
        var accepted: Mode?
        var code: Int32 = 0
        var engine: Unmanaged<EpollEngine>?
        for mode in modes where accepted == nil {
            if mode == .epoll {
                engine = Unmanaged.passRetained(try EpollEngine(entries: entries))
                accepted = mode
                break
            }
            code = -hablk_ring_open(queues, UInt32(entries), UInt32(entries * 4), mode.flags)
            if code == 0 { accepted = mode }
        }
        guard let accepted else {
            queues.deallocate()
            let hint = code == EPERM || code == ENOSYS ? " (see kernel.io_uring_disabled and seccomp filters)" : ""
            throw SystemError("set up io_uring" + hint, code: code)
        }
        self.engine = engine
        self.queues = queues
        mode = accepted
        ownerBits = 0
        isShared = false
        bookkeeping = .allocate(capacity: 1)
        bookkeeping.initialize(to: Bookkeeping())
        addresses = .allocate(capacity: Self.addressCount)
        addresses.initialize(repeating: sockaddr_storage(), count: Self.addressCount)
        postponed = .allocate(capacity: Self.postponedCount)
        postponed.initialize(repeating: io_uring_sqe(), count: Self.postponedCount)
        // Saves a reference count per turn; a refusal costs nothing else.
        if engine == nil { _ = io_uring_register_ring_fd(queues) }
    }

    /// A view of a ring that outlives it: what is asked for here completes there, with `owner` in its token.
    ///
    /// - Parameter owner: 1…1023.
    package init(sharing ring: borrowing Ring, owner: Int) {
        queues = ring.queues
        engine = ring.engine
        bookkeeping = ring.bookkeeping
        addresses = ring.addresses
        postponed = ring.postponed
        mode = ring.mode
        ownerBits = Token.bits(ofOwner: owner)
        isShared = true
    }

    deinit {
        guard !isShared else { return }
        if let engine { engine.release() } else { io_uring_queue_exit(queues) }
        queues.deallocate()
        bookkeeping.deallocate()
        addresses.deallocate()
        postponed.deallocate()
    }

    package var statistics: Statistics { bookkeeping.pointee.statistics }

    /// Hands all submissions to the kernel and sleeps until a completion is there or the deadline is over.
    ///
    /// - Parameter deadlineNanoseconds: of `monotonicNow()`; nil waits without end, a past one only looks.
    ///   A wait that a suspend of the machine interrupted lasts longer by up to what was left: read the clock after it.
    package func submitAndWait(until deadlineNanoseconds: UInt64?) {
        takePostponed()
        if let engine {
            engine._withUnsafeGuaranteedRef { $0.turn(until: deadlineNanoseconds) }
            bookkeeping.pointee.addressesUsed = 0
            bookkeeping.pointee.statistics.turns += 1
            return
        }
        let code = enter(until: deadlineNanoseconds)
        bookkeeping.pointee.addressesUsed = 0
        bookkeeping.pointee.statistics.turns += 1
        noteTaken()
        // EBUSY and EAGAIN: the kernel has no room until completions are taken, which the caller does next.
        switch code {
        case 0..., -ETIME, -EINTR, -EBUSY, -EAGAIN: return
        default: preconditionFailure("io_uring does not work any more: \(errorText(code))")
        }
    }

    private func enter(until deadline: UInt64?) -> Int32 {
        guard let deadline else { return io_uring_submit_and_wait(queues, 1) }
        let now = monotonicNow()
        guard deadline > now else { return io_uring_submit_and_get_events(queues) }
        let left = deadline - now
        var time = __kernel_timespec(
            tv_sec: Int64(left / 1_000_000_000), tv_nsec: Int64(left % 1_000_000_000))
        var first: UnsafeMutablePointer<io_uring_cqe>?
        return io_uring_submit_and_wait_timeout(queues, &first, 1, &time, nil)
    }

    /// The next completion that is there already, in the kernel's order; no system call.
    package func nextCompletion() -> Completion? {
        if let engine { return nextCompletion(of: engine) }
        var token: UInt64 = 0
        var result: Int32 = 0
        var flags: UInt32 = 0
        while hablk_ring_next(queues, &token, &result, &flags) {
            bookkeeping.pointee.statistics.completions += 1
            if token >> 56 != Token.unheard.rawValue >> 56 {
                return Completion(token: Token(rawValue: token), result: result, flags: flags)
            }
        }
        if !io_uring_cq_has_overflow(queues) { bookkeeping.pointee.heardOf = bookkeeping.pointee.taken }
        return nil
    }

    private func nextCompletion(of engine: Unmanaged<EpollEngine>) -> Completion? {
        while let (token, result) = engine._withUnsafeGuaranteedRef({ $0.nextCompletion() }) {
            bookkeeping.pointee.statistics.completions += 1
            if token >> 56 != Token.unheard.rawValue >> 56 {
                return Completion(token: Token(rawValue: token), result: result, flags: 0)
            }
        }
        return nil
    }

    /// Nil: the queue is full.
    private func freeEntry() -> UnsafeMutablePointer<io_uring_sqe>? {
        guard let engine else { return io_uring_get_sqe(queues) }
        return engine._withUnsafeGuaranteedRef { $0.hasRoom ? $0.nextEntry() : nil }
    }

    // Quiet submissions: they complete when the kernel takes them, and say something only when they failed.

    /// Where the kernel has them; without, all completions are said.
    package var hasQuietSends: Bool { mode == .deferred }

    /// Whether one operation can be made to wait for another.
    var canLink: Bool { mode == .deferred }

    /// Of the submission that was made last, for `isHeardOf`.
    var lastSubmission: UInt64 { bookkeeping.pointee.statistics.submissions }

    /// The kernel has taken the submission, and all that it said then was read: one that was quiet has succeeded if it did
    /// not say otherwise.
    func isHeardOf(_ submission: UInt64) -> Bool { submission <= bookkeeping.pointee.heardOf }

    private func noteTaken() {
        bookkeeping.pointee.taken = bookkeeping.pointee.statistics.submissions - UInt64(io_uring_sq_ready(queues))
    }

    /// An empty submission that bears `token`; submits by itself when the queue is full.
    func submission(_ token: Token) -> UnsafeMutablePointer<io_uring_sqe> {
        let entry = freeEntry() ?? submissionAfterMakingRoom()
        bookkeeping.pointee.statistics.submissions += 1
        entry.pointee.user_data = token.rawValue | ownerBits
        return entry
    }

    /// A submission behind all others of this turn, for what is in no hurry.
    func postponedSubmission(_ token: Token) -> UnsafeMutablePointer<io_uring_sqe> {
        if bookkeeping.pointee.postponed == Self.postponedCount { takePostponed() }
        let entry = postponed + bookkeeping.pointee.postponed
        bookkeeping.pointee.postponed += 1
        // Not all of liburing's releases clear flags when an operation is prepared: some do when an entry is taken.
        entry.initialize(to: io_uring_sqe())
        entry.pointee.user_data = token.rawValue | ownerBits
        return entry
    }

    /// So many that come now are taken together.
    func makeRoomForPostponed(_ count: Int) {
        if bookkeeping.pointee.postponed + count > Self.postponedCount { takePostponed() }
    }

    /// Whoever calls something off that may be among them sees to it that it is there first.
    func takePostponed() {
        for place in 0..<bookkeeping.pointee.postponed {
            // A link leads to the next submission of the same call.
            if postponed[place].flags & HABLK_LINK != 0, io_uring_sq_space_left(queues) < 2 { submitEarly() }
            let entry = freeEntry() ?? submissionAfterMakingRoom()
            bookkeeping.pointee.statistics.submissions += 1
            entry.pointee = postponed[place]
        }
        bookkeeping.pointee.postponed = 0
    }

    /// Memory for one connect's address that lasts until the submission.
    func addressMemory() -> UnsafeMutablePointer<sockaddr_storage> {
        let hasRoom = engine?._withUnsafeGuaranteedRef { $0.hasRoom } ?? (io_uring_sq_space_left(queues) > 0)
        let isFull = bookkeeping.pointee.addressesUsed == Self.addressCount || !hasRoom
        if isFull { submitEarly() }
        defer { bookkeeping.pointee.addressesUsed += 1 }
        return addresses + bookkeeping.pointee.addressesUsed
    }

    private func submissionAfterMakingRoom() -> UnsafeMutablePointer<io_uring_sqe> {
        submitEarly()
        guard let entry = freeEntry() else { preconditionFailure("io_uring took nothing yet has no room") }
        return entry
    }

    private func submitEarly() {
        bookkeeping.pointee.statistics.earlySubmissions += 1
        if let engine {
            engine._withUnsafeGuaranteedRef { $0.take() }
            bookkeeping.pointee.addressesUsed = 0
            return
        }
        // The kernel may be short of memory for a moment; taking our completions into the ring is all that can help.
        for attempt in 0..<10_000 {
            let code = attempt == 0 ? io_uring_submit(queues) : io_uring_submit_and_get_events(queues)
            if io_uring_sq_ready(queues) == 0 {
                bookkeeping.pointee.addressesUsed = 0
                noteTaken()
                return
            }
            switch code {
            case 0..., -EAGAIN, -EBUSY, -EINTR: sched_yield()
            default: preconditionFailure("io_uring does not work any more: \(errorText(code))")
            }
        }
        preconditionFailure("the kernel takes no submissions: is it out of memory?")
    }
}
