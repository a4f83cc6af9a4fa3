import CLinuxURing
import Glibc
import Synchronization

/// One thread beside the ring's for calls that block and have no ring operation: name resolution, netlink, starting a
/// command. It runs jobs one after the other and answers by messages; a job touches nothing but what it was given.
package final class SideThread<Answer: Sendable>: Sendable {
    /// What a job returned, with the number that its caller gave it.
    package struct Reply: Sendable {
        package let number: UInt64
        package let answer: Answer
    }

    private struct Job: Sendable {
        let number: UInt64
        let work: @Sendable () -> Answer
    }

    private struct Queues: Sendable {
        var jobs: [Job] = []
        var replies: [Reply] = []
        var isStopping = false
    }

    /// Shared with the thread, which may outlive this object by the job that it is in.
    private final class Shared: Sendable {
        let queues = Mutex(Queues())
        let work: WakeUp
        let answers: WakeUp

        init() throws(SystemError) {
            work = try WakeUp()
            answers = try WakeUp()
        }
    }

    private let shared: Shared

    /// Signalled for each reply: `ring.await(thread.wakeUp, token:)`, then `nextReply()` until nil.
    package var wakeUp: WakeUp { shared.answers }

    package init() throws(SystemError) {
        let shared = try Shared()
        self.shared = shared
        try startThread("start the side thread") { Self.run(shared) }
    }

    deinit {
        shared.queues.withLock {
            $0.isStopping = true
            $0.jobs.removeAll()
        }
        shared.work.signal()
    }

    /// Queues a job; its reply bears `number`. Any thread.
    package func submit(_ number: UInt64, _ work: @escaping @Sendable () -> Answer) {
        shared.queues.withLock { $0.jobs.append(Job(number: number, work: work)) }
        shared.work.signal()
    }

    /// The oldest reply that is there.
    package func nextReply() -> Reply? {
        shared.queues.withLock { $0.replies.isEmpty ? nil : $0.replies.removeFirst() }
    }

    private static func run(_ shared: Shared) {
        // A signal that this thread took would not reach the signalfd's reader.
        _ = hablk_block_all_signals()
        while true {
            let job: Job?
            let isStopping: Bool
            (job, isStopping) = shared.queues.withLock {
                ($0.jobs.isEmpty ? nil : $0.jobs.removeFirst(), $0.isStopping)
            }
            if isStopping { return }
            guard let job else {
                var count: UInt64 = 0
                _ = read(shared.work.descriptor, &count, 8)
                continue
            }
            let reply = Reply(number: job.number, answer: job.work())
            shared.queues.withLock { $0.replies.append(reply) }
            shared.answers.signal()
        }
    }
}
