import CLinuxURing
import Glibc

/// Does what the ring's submissions ask for where the kernel has no io_uring for us: sockets by epoll, files by a few threads. The
/// operations are the kernel's own structures, so everything above the ring is the same with both.
///
/// Made and used by one thread only. It allocates, and makes a system call or two for each operation: it is there to
/// work anywhere, not to be fast.
final class EpollEngine {
    /// An operation that could not be done at once.
    private struct Waiting {
        var entry: io_uring_sqe
        /// Bytes of a receive that is to be whole.
        var done = 0
        var isConnecting = false

        init(_ entry: io_uring_sqe) { self.entry = entry }

        var operation: UInt32 { UInt32(entry.opcode) }
        var memory: UnsafeMutableRawPointer? { UnsafeMutableRawPointer(bitPattern: UInt(entry.addr)) }

        /// What it waits for.
        var events: UInt32 {
            switch operation {
            case IORING_OP_POLL_ADD.rawValue: entry.poll32_events
            case IORING_OP_CONNECT.rawValue, IORING_OP_SEND.rawValue, IORING_OP_SENDMSG.rawValue: HABLK_WRITABLE
            default: HABLK_READABLE
            }
        }
    }

    private let epoll: Int32
    private let workers: FileWorkers
    private let entries: UnsafeMutablePointer<io_uring_sqe>
    private let capacity: Int
    private var count = 0
    /// By descriptor, in the order in which they were asked for.
    private var waiting: [Int32: [Waiting]] = [:]
    private var completions: [(token: UInt64, result: Int32)] = []
    private var taken = 0
    /// What the threads have of each file, and the closes that wait for that.
    private var jobs: [Int32: Int] = [:]
    private var closing: [Int32: UInt64] = [:]
    private let files: UnsafeMutablePointer<Int32>
    private let told: UnsafeMutablePointer<UInt32>
    private static let room = 64

    init(entries capacity: Int) throws(SystemError) {
        workers = try FileWorkers()
        epoll = hablk_epoll_open()
        guard epoll >= 0 else { throw .last("make an epoll descriptor") }
        self.capacity = capacity
        entries = .allocate(capacity: capacity)
        entries.initialize(repeating: io_uring_sqe(), count: capacity)
        files = .allocate(capacity: Self.room)
        told = .allocate(capacity: Self.room)
        _ = hablk_epoll_arm(epoll, workers.descriptor, HABLK_READABLE)
    }

    deinit {
        Glibc.close(epoll)
        entries.deallocate()
        files.deallocate()
        told.deallocate()
    }

    // MARK: The ring's side

    var hasRoom: Bool { count < capacity }

    /// For the next submission; only while there is room.
    func nextEntry() -> UnsafeMutablePointer<io_uring_sqe> {
        count += 1
        return entries + count - 1
    }

    /// Begins all that was asked for.
    func take() {
        let begun = count
        count = 0
        for place in 0..<begun { begin(entries[place]) }
    }

    /// - Parameter deadline: of `monotonicNow()`; nil waits without end.
    func turn(until deadline: UInt64?) {
        take()
        while true {
            var left: Int64 = -1
            if taken < completions.count {
                left = 0
            } else if let deadline {
                let now = monotonicNow()
                left = deadline > now ? Int64(min(deadline - now, 1 << 62)) : 0
            }
            let ready = hablk_epoll_wait(epoll, files, told, Int32(Self.room), left)
            if ready == -EINTR { continue }
            precondition(ready >= 0, "epoll does not work any more: \(errorText(ready))")
            for place in 0..<Int(ready) { happened(files[place], told[place]) }
            if taken < completions.count || ready == 0 { return }
        }
    }

    func nextCompletion() -> (token: UInt64, result: Int32)? {
        guard taken < completions.count else {
            completions.removeAll(keepingCapacity: true)
            taken = 0
            return nil
        }
        defer { taken += 1 }
        return completions[taken]
    }

    private func complete(_ token: UInt64, _ result: Int32) { completions.append((token, result)) }

    // MARK: Operations

    private func begin(_ entry: io_uring_sqe) {
        switch UInt32(entry.opcode) {
        case IORING_OP_NOP.rawValue: complete(entry.user_data, 0)
        case IORING_OP_ASYNC_CANCEL.rawValue: cancel(entry.addr)
        case IORING_OP_CLOSE.rawValue: close(entry.fd, entry.user_data)
        case IORING_OP_WRITE.rawValue, IORING_OP_FSYNC.rawValue, IORING_OP_FALLOCATE.rawValue: hand(entry)
        case IORING_OP_READ.rawValue where hablk_is_storage(entry.fd): hand(entry)
        default:
            var operation = Waiting(entry)
            if let result = tryFirst(&operation) {
                complete(entry.user_data, result)
            } else {
                waiting[entry.fd, default: []].append(operation)
                arm(entry.fd)
            }
        }
    }

    private func hand(_ entry: io_uring_sqe) {
        jobs[entry.fd, default: 0] += 1
        workers.submit(entry)
    }

    /// What is not there before it is waited for is not looked at twice.
    private func tryFirst(_ operation: inout Waiting) -> Int32? {
        switch operation.operation {
        case IORING_OP_POLL_ADD.rawValue, IORING_OP_READ.rawValue: nil
        case IORING_OP_RECV.rawValue where operation.entry.ioprio & HABLK_WAIT_FIRST != 0: nil
        default: attempt(&operation, told: 0)
        }
    }

    /// The result, or nil when it has to wait (on).
    private func attempt(_ operation: inout Waiting, told: UInt32) -> Int32? {
        let entry = operation.entry
        let result: Int32
        switch operation.operation {
        case IORING_OP_POLL_ADD.rawValue:
            let there = told & (entry.poll32_events | HABLK_FAILED)
            return there == 0 ? nil : Int32(bitPattern: there)
        case IORING_OP_READ.rawValue: result = hablk_read_ready(entry.fd, operation.memory, Int(entry.len))
        case IORING_OP_ACCEPT.rawValue: result = hablk_try_accept(entry.fd)
        case IORING_OP_CONNECT.rawValue: return connect(&operation)
        case IORING_OP_RECV.rawValue: return receive(&operation)
        case IORING_OP_SEND.rawValue: result = hablk_try_send(entry.fd, operation.memory, Int(entry.len))
        case IORING_OP_SENDMSG.rawValue:
            result = hablk_try_send_message(
                entry.fd, operation.memory.map { UnsafePointer($0.assumingMemoryBound(to: msghdr.self)) })
        default: result = -ENOSYS
        }
        return result == -EAGAIN || result == -EINTR ? nil : result
    }

    private func connect(_ operation: inout Waiting) -> Int32? {
        let entry = operation.entry
        if operation.isConnecting { return hablk_connected(entry.fd) }
        let address = operation.memory?.assumingMemoryBound(to: sockaddr.self)
        let result = hablk_try_connect(entry.fd, address, socklen_t(entry.off))
        guard result == -EINPROGRESS || result == -EINTR else { return result }
        operation.isConnecting = true
        return nil
    }

    private func receive(_ operation: inout Waiting) -> Int32? {
        let entry = operation.entry
        let isWhole = entry.msg_flags & UInt32(HABLK_RECEIVE_WHOLE) != 0
        while true {
            let left = Int(entry.len) - operation.done
            let result = hablk_try_receive(entry.fd, operation.memory.map { $0 + operation.done }, left)
            if result == -EAGAIN || result == -EINTR { return nil }
            if result <= 0 { return operation.done > 0 ? Int32(operation.done) : result }
            operation.done += Int(result)
            if !isWhole || operation.done == Int(entry.len) { return Int32(operation.done) }
        }
    }

    // MARK: Readiness

    private func arm(_ file: Int32) {
        guard let operations = waiting[file], !operations.isEmpty else {
            waiting[file] = nil
            return
        }
        let code = hablk_epoll_arm(epoll, file, operations.reduce(0) { $0 | $1.events })
        guard code != 0 else { return }
        waiting[file] = nil
        // A regular file is always ready.
        for operation in operations {
            let isReady = code == -EPERM && operation.operation == IORING_OP_POLL_ADD.rawValue
            complete(operation.entry.user_data, isReady ? Int32(bitPattern: operation.events) : code)
        }
    }

    private func happened(_ file: Int32, _ events: UInt32) {
        if file == workers.descriptor { return takeResults() }
        guard let operations = waiting[file] else { return }
        var left: [Waiting] = []
        var hasRead = false
        for var operation in operations {
            let isRead = operation.operation == IORING_OP_READ.rawValue
            let concerns = events & (operation.events | HABLK_FAILED) != 0 && !(isRead && hasRead)
            if concerns, let result = attempt(&operation, told: events) {
                complete(operation.entry.user_data, result)
                // A second read could wait.
                if isRead { hasRead = true }
            } else {
                left.append(operation)
            }
        }
        waiting[file] = left
        arm(file)
    }

    private func takeResults() {
        var signals: UInt64 = 0
        _ = hablk_read_ready(workers.descriptor, &signals, 8)
        _ = hablk_epoll_arm(epoll, workers.descriptor, HABLK_READABLE)
        for result in workers.takeResults() {
            complete(result.token, result.result)
            ended(result.file)
        }
    }

    private func ended(_ file: Int32) {
        let left = (jobs[file] ?? 1) - 1
        jobs[file] = left == 0 ? nil : left
        if left == 0, let token = closing.removeValue(forKey: file) { close(file, token) }
    }

    // MARK: Ends

    private func cancel(_ token: UInt64) {
        for file in Array(waiting.keys) {
            guard let operations = waiting[file], operations.contains(where: { $0.entry.user_data == token }) else {
                continue
            }
            for operation in operations where operation.entry.user_data == token { callOff(operation) }
            waiting[file] = operations.filter { $0.entry.user_data != token }
            arm(file)
        }
        for entry in workers.withdraw(token) {
            complete(token, -ECANCELED)
            ended(entry.fd)
        }
    }

    /// What was received is said, as the ring does.
    private func callOff(_ operation: Waiting) {
        if operation.isConnecting { _ = hablk_set_nonblocking(operation.entry.fd, false) }
        complete(operation.entry.user_data, operation.done > 0 ? Int32(operation.done) : -ECANCELED)
    }

    /// Behind what the threads have of the file: its number may be another's at once.
    private func close(_ file: Int32, _ token: UInt64) {
        guard jobs[file] == nil else {
            closing[file] = token
            return
        }
        for operation in waiting.removeValue(forKey: file) ?? [] { callOff(operation) }
        hablk_epoll_forget(epoll, file)
        complete(token, Glibc.close(file) == 0 ? 0 : -errno)
    }
}
