import Foundation
import Synchronization

/// Ends this process when a seed outlives its time, and, in a worker, when the sweep is gone. It has a thread of its own,
/// because a simulation that hangs looks at nothing.
final class Watchdog: Sendable {
    private let running = Mutex<(seed: UInt64, began: Date)?>(nil)

    /// - Parameters:
    ///   - limit: seconds of wall clock a seed may take.
    ///   - endsWithParent: this process is a worker.
    ///   - report: what to say of a seed that hangs.
    init(limit: Double, endsWithParent: Bool, report: @escaping @Sendable (UInt64) -> Void) {
        let parent = getppid()
        Thread.detachNewThread { [self] in
            while true {
                Thread.sleep(forTimeInterval: 0.5)
                if endsWithParent, getppid() != parent { _exit(ExitCodes.hang) }
                let hung = running.withLock { running in
                    running.flatMap { Date().timeIntervalSince($0.began) > limit ? $0.seed : nil }
                }
                guard let hung else { continue }
                report(hung)
                _exit(ExitCodes.hang)
            }
        }
    }

    func begins(_ seed: UInt64) { running.withLock { $0 = (seed, Date()) } }
}

/// How `simulate` ends.
enum ExitCodes {
    static let safety: Int32 = 1
    static let liveness: Int32 = 2
    static let trap: Int32 = 3
    static let hang: Int32 = 4

    static let explanation =
        "Exit codes: 0 all held, 1 a promise was broken, 2 no rest after the faults, 3 the core trapped, "
        + "4 a seed took longer than its --limit. A sweep ends with its worst: 3, then 1, then 4, then 2."

    /// Of several failing seeds; 0 for none.
    static func worst(_ codes: [Int32]) -> Int32 {
        [trap, safety, hang, liveness].first { codes.contains($0) } ?? codes.first ?? 0
    }
}
