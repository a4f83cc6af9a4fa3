import Glibc
import LinuxIO

/// Tells the service manager that the loop turns, as often as its unit asks (`WatchdogSec=`): from the loop itself, so that
/// a loop that hangs is noticed.
package struct Watchdog {
    /// Nanoseconds between two words: half of what is asked.
    private let interval: UInt64?
    /// The loop wakes by then; `.max`: nobody asks.
    package private(set) var next: UInt64

    /// - Parameter variable: of the environment.
    package init(variable: (String) -> String? = { getenv($0).map { String(cString: $0) } }) {
        let isOurs = variable("WATCHDOG_PID").map { $0 == "\(getpid())" } ?? true
        let microseconds = variable("WATCHDOG_USEC").flatMap { UInt64($0) } ?? 0
        interval = isOurs && 1..<(UInt64.max / 500) ~= microseconds ? microseconds * 500 : nil
        next = interval == nil ? .max : 0
    }

    /// - Returns: whether it was time.
    @discardableResult
    package mutating func feed(at now: UInt64) -> Bool {
        guard let interval, now >= next else { return false }
        next = now + interval
        ProcessControls.notifySupervisor("WATCHDOG=1")
        return true
    }
}
