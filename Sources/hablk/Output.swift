import Formats
import Glibc
import Model

/// Standard output and standard error, unbuffered: what was printed has been printed.
enum Output {
    static func line(_ text: String) { write(text + "\n", to: 1) }
    static func note(_ text: String) { write(text + "\n", to: 2) }

    static func write(_ text: String, to descriptor: Int32) {
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0 {
                if errno == EINTR || errno == EAGAIN { continue }
                // Nobody reads any more.
                exit(CommandFailure.Kind.failed.exitCode)
            }
            bytes = bytes.dropFirst(count)
        }
    }

    static func isTerminal(_ descriptor: Int32) -> Bool {
        isatty(descriptor) == 1 && Environment["TERM"] != "dumb"
    }
}

/// Variables of this process; an empty one is as good as none.
enum Environment {
    static subscript(name: String) -> String? {
        guard let value = getenv(name), value.pointee != 0 else { return nil }
        return String(cString: value)
    }
}

/// A colour for a word that is there anyway: nothing is said by colour alone.
enum Shade: String {
    case good = "32"
    case passing = "33"
    case bad = "31"
    case plain = ""

    /// `NO_COLOR` of any value but the empty one turns it off (no-color.org).
    static func isWanted(on descriptor: Int32) -> Bool {
        Environment["NO_COLOR"] == nil && Output.isTerminal(descriptor)
    }

    func paint(_ text: String, _ wanted: Bool) -> String {
        wanted && self != .plain ? "\u{1b}[\(rawValue)m\(text)\u{1b}[0m" : text
    }
}

/// How commands say what came of them.
enum Report {
    static func done(_ message: String, volume: String, json: Bool) {
        guard json else { return Output.line(message) }
        Output.line(
            JSONValue.object([
                .init("version", .integer(1)), .init("result", .string("done")), .init("volume", .string(volume)),
                .init("message", .string(message)),
            ]).text)
    }

    /// Two lines on standard error, or one object on standard output.
    static func failure(_ failure: CommandFailure, json: Bool) {
        if json { return Output.line(failure.json.text) }
        Output.note(lines(of: failure))
    }

    static func lines(of failure: CommandFailure) -> String {
        let refusal = failure.refusal
        let first =
            switch failure.kind {
            // Begins with `file:line:column:`, which editors jump to.
            case .configuration: refusal.message
            case .refused: "refused: \(refusal.message) (\(refusal.reason))"
            case .timedOut: "not in time: \(refusal.message) (\(refusal.reason))"
            case .notRunning: "not running: \(refusal.message)"
            case .notPermitted: "not permitted: \(refusal.message)"
            case .usage: "usage: \(refusal.message)"
            case .failed: "failed: \(refusal.message) (\(refusal.reason))"
            }
        return "\(first)\nremedy: \(refusal.remedy)"
    }

    /// The one whose exit code decides when several commands of one went wrong.
    static func decisive(_ failures: [CommandFailure]) -> CommandFailure? {
        for kind in CommandFailure.Kind.byPrecedence {
            if let failure = failures.first(where: { $0.kind == kind }) { return failure }
        }
        return nil
    }
}

/// Time that only runs forward, in nanoseconds.
enum Now {
    static var nanoseconds: UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    static func sleep(milliseconds: UInt32) { usleep(milliseconds * 1000) }

    /// `span` from now on; nil stays nil. Never overflows.
    static func deadline(in span: UInt64?) -> UInt64? {
        guard let span else { return nil }
        let (sum, overflow) = nanoseconds.addingReportingOverflow(span)
        return overflow ? .max : sum
    }
}
