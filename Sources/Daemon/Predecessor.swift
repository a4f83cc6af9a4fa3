import Formats
import Glibc
import LinuxIO
import Model

/// The daemon that had this volume before. One that was killed leaves its locks and sockets with the kernel until
/// io_uring has let go of what was in flight, a moment after the process is gone.
struct Predecessor {
    static let patience: UInt64 = 5_000_000_000
    /// Milliseconds between two looks.
    static let pause: UInt64 = 50
    private static let answerTime = 500

    private let controlSocket: String
    private let signals: Signals
    private let log: DaemonLog
    private let latest = monotonicNow() + Self.patience

    init(controlSocket: String, signals: Signals, log: DaemonLog) {
        self.controlSocket = controlSocket
        self.signals = signals
        self.log = log
    }

    /// Attempts again while something is in use: not against a daemon of this volume that answers, and not for longer
    /// than `patience` in all, nor once a signal asks to stop.
    func outwait<Result>(_ attempt: () throws(CommandFailure) -> Result) throws(CommandFailure) -> Result {
        var isTold = false
        while true {
            do throws(CommandFailure) {
                return try attempt()
            } catch {
                guard Self.mayPass(error), monotonicNow() < latest, isTold || !answers() else { throw error }
                if !isTold { log.info("process: waiting for what ran before: \(error.refusal.message)") }
                isTold = true
                var wish = pollfd(fd: signals.descriptor, events: Int16(POLLIN), revents: 0)
                guard poll(&wish, 1, Int32(Self.pause)) == 0 else { throw error }
            }
        }
    }

    static func mayPass(_ failure: CommandFailure) -> Bool {
        ["in-use", "address-in-use"].contains(failure.refusal.reason)
    }

    /// A dead one's socket may still take connections, but says nothing.
    private func answers() -> Bool {
        guard let socket = try? Sockets.connectUnix(controlSocket, patience: Self.answerTime) else { return false }
        defer { Sockets.close(socket) }
        let request = ControlCoding.encode(ControlRequest.status)
        guard send(socket, request, request.count, Int32(MSG_NOSIGNAL)) == request.count else { return false }
        var wish = pollfd(fd: socket, events: Int16(POLLIN), revents: 0)
        guard poll(&wish, 1, Int32(Self.answerTime)) > 0 else { return false }
        var byte: UInt8 = 0
        return recv(socket, &byte, 1, 0) == 1
    }
}
