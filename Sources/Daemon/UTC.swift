import Glibc

/// A moment of the wall clock as text, in UTC.
package enum UTC {
    /// RFC 3339, as `2026-01-31T12:34:56Z`; with `milliseconds`, as `2026-01-31T12:34:56.789Z`.
    package static func timestamp(_ seconds: UInt64, milliseconds: UInt64? = nil) -> String {
        let fraction = milliseconds.map { ".\(digits(Int32(truncatingIfNeeded: $0 % 1000), 3))" } ?? ""
        let (date, clock) = parts(seconds)
        return "\(date)T\(clock)\(fraction)Z"
    }

    /// As `2026-01-31 12:34:56 UTC`.
    package static func words(_ seconds: UInt64) -> String {
        let (date, clock) = parts(seconds)
        return "\(date) \(clock) UTC"
    }

    private static func parts(_ seconds: UInt64) -> (date: String, clock: String) {
        // Years beyond what the calendar of the C library holds are of no clock.
        var seconds = time_t(min(seconds, 1 << 40))
        var parts = tm()
        gmtime_r(&seconds, &parts)
        return (
            "\(parts.tm_year + 1900)-\(digits(parts.tm_mon + 1, 2))-\(digits(parts.tm_mday, 2))",
            "\(digits(parts.tm_hour, 2)):\(digits(parts.tm_min, 2)):\(digits(parts.tm_sec, 2))"
        )
    }

    private static func digits(_ value: Int32, _ width: Int) -> String {
        let text = String(value)
        return String(repeating: "0", count: max(0, width - text.count)) + text
    }
}
