import Glibc

/// A system call that failed: which one, on what, and why, in one sentence.
package struct SystemError: Error, Equatable, Sendable, CustomStringConvertible {
    /// What was tried, as it reads after "cannot": `open /dev/sdb`.
    package let attempt: String
    /// The errno.
    package let code: Int32

    package init(_ attempt: String, code: Int32) {
        self.attempt = attempt
        self.code = code
    }

    /// The error of the system call that just failed in this thread.
    package static func last(_ attempt: String) -> SystemError { SystemError(attempt, code: errno) }

    package var description: String { "cannot \(attempt): \(errorText(code))" }
}

/// The C library's words for an errno, positive or negated.
package func errorText(_ code: Int32) -> String {
    // strerror's buffer may be shared between threads; strerror_r is two functions under one name. This one is plain.
    guard let text = strerrordesc_np(code < 0 ? -code : code) else { return "error \(code < 0 ? -code : code)" }
    return String(cString: text)
}

/// Whether a process control took; never fatal, always told.
package enum Attempt: Equatable, Sendable, CustomStringConvertible {
    case done
    /// Why not, in a sentence without a full stop.
    case refused(String)

    package var description: String {
        switch self {
        case .done: "done"
        case .refused(let reason): "refused: \(reason)"
        }
    }
}
