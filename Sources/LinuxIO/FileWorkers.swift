import CLinuxURing
import Glibc
import Synchronization

/// A few threads for reads, writes and flushes of files and devices, where there is no io_uring. Each operation is one of the ring's
/// submissions; what it returned goes back by a list and a wake-up.
final class FileWorkers: Sendable {
    /// What a submission asks of a file.
    struct Job: @unchecked Sendable {
        // Unchecked: its memory is the operation's until it completes, as the ring has it.
        let entry: io_uring_sqe
    }

    struct Result: Sendable {
        let token: UInt64
        let file: Int32
        let result: Int32
    }

    private struct Queues {
        var jobs: [Job] = []
        var results: [Result] = []
        var isStopping = false
    }

    /// Shared with the threads, which may outlive this object by the job that each is in.
    private final class Shared: Sendable {
        let queues = Mutex(Queues())
        let work: WakeUp
        let results: WakeUp

        init() throws(SystemError) {
            work = try WakeUp(counting: true)
            results = try WakeUp()
        }
    }

    private let shared: Shared
    static let count = 8

    /// Readable when there are results.
    var descriptor: Int32 { shared.results.descriptor }

    init() throws(SystemError) {
        let shared = try Shared()
        self.shared = shared
        for _ in 0..<Self.count { try startThread("start a thread for files") { Self.run(shared) } }
    }

    deinit {
        shared.queues.withLock {
            $0.isStopping = true
            $0.jobs.removeAll()
        }
        for _ in 0..<Self.count { shared.work.signal() }
    }

    func submit(_ entry: io_uring_sqe) {
        let job = Job(entry: entry)
        shared.queues.withLock { $0.jobs.append(job) }
        shared.work.signal()
    }

    /// The jobs that no thread has taken yet and that bear this token.
    func withdraw(_ token: UInt64) -> [io_uring_sqe] {
        let taken = shared.queues.withLock { queues in
            let taken = queues.jobs.filter { $0.entry.user_data == token }
            queues.jobs.removeAll { $0.entry.user_data == token }
            return taken
        }
        return taken.map(\.entry)
    }

    func takeResults() -> [Result] {
        shared.queues.withLock { queues in
            defer { queues.results.removeAll(keepingCapacity: true) }
            return queues.results
        }
    }

    private static func run(_ shared: Shared) {
        // A signal that this thread took would not reach the signalfd's reader.
        _ = hablk_block_all_signals()
        while true {
            // One of the signals is one job's, or a stop's; a job that was withdrawn leaves one too many.
            var one: UInt64 = 0
            while read(shared.work.descriptor, &one, 8) < 0 && errno == EINTR {}
            let (job, isStopping) = shared.queues.withLock { queues -> (Job?, Bool) in
                (queues.jobs.isEmpty ? nil : queues.jobs.removeFirst(), queues.isStopping)
            }
            if isStopping { return }
            guard let job else { continue }
            let result = Result(
                token: job.entry.user_data, file: job.entry.fd, result: perform(job.entry))
            let isFirst = shared.queues.withLock { queues in
                queues.results.append(result)
                return queues.results.count == 1
            }
            if isFirst { shared.results.signal() }
        }
    }

    private static func perform(_ entry: io_uring_sqe) -> Int32 {
        while true {
            let memory = UnsafeMutableRawPointer(bitPattern: UInt(entry.addr))
            let result: Int32
            switch UInt32(entry.opcode) {
            case IORING_OP_READ.rawValue: result = hablk_read_at(entry.fd, memory, Int(entry.len), entry.off)
            case IORING_OP_WRITE.rawValue:
                result = hablk_write_at(entry.fd, memory, Int(entry.len), entry.off, Int32(entry.rw_flags))
            case IORING_OP_FSYNC.rawValue: result = hablk_sync_data(entry.fd)
            // Mode and length are where the ring has them.
            case IORING_OP_FALLOCATE.rawValue:
                result = hablk_allocate(entry.fd, Int32(entry.len), entry.off, entry.addr)
            default: return -ENOSYS
            }
            if result != -EINTR { return result }
        }
    }
}
