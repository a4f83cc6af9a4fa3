import Formats
import Glibc
import Model

/// One connection to a daemon's control socket: one request, then its answers.
final class ControlClient {
    /// How long a daemon may take to accept, and to answer what needs no waiting.
    static let patience: UInt64 = 5_000_000_000

    let descriptor: Int32
    private var lines = ControlLines()

    /// - Throws: `.notRunning` when nobody listens, `.notPermitted` when we may not ask.
    init(path: String, volume: String) throws(CommandFailure) {
        descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw Self.failure(errno, path, volume) }
        var limit = timeval(tv_sec: Int(Self.patience / 1_000_000_000), tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = path.utf8
        guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else {
            throw Self.failure(ENAMETOOLONG, path, volume)
        }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, .init(__sockaddr__: $0), socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard result == 0 else { throw Self.failure(errno, path, volume) }
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    private static func failure(_ code: Int32, _ path: String, _ volume: String) -> CommandFailure {
        switch code {
        case ENOENT, ECONNREFUSED, ENOTDIR:
            return CommandFailure(
                .notRunning, "not-running", "\(volume) is not running here", remedy: "hablk up \(volume)")
        case EACCES, EPERM:
            return CommandFailure(
                .notPermitted, "no-permission", "\(path): \(String(cString: strerror(code)))",
                remedy: "run it as the user of the daemon")
        case EAGAIN: return silence(volume)
        default:
            return .failed("no-connection", "\(path): \(String(cString: strerror(code)))", remedy: "try again")
        }
    }

    static func silence(_ volume: String) -> CommandFailure {
        CommandFailure(
            .timedOut, "no-answer", "the daemon of \(volume) does not answer",
            remedy: "look into its log; the process may be stopped")
    }

    func send(_ request: ControlRequest) throws(CommandFailure) {
        var bytes = ControlCoding.encode(request)[...]
        while !bytes.isEmpty {
            let count = bytes.withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            if count < 0 {
                if errno == EINTR { continue }
                throw .failed(
                    "no-connection", "the daemon hung up: \(String(cString: strerror(errno)))", remedy: "try again")
            }
            bytes = bytes.dropFirst(count)
        }
    }

    enum Receipt {
        case response(ControlResponse)
        /// The deadline came first.
        case nothing
        /// The daemon hung up.
        case end
    }

    /// The next answer. `deadline` by `Now`; nil: whenever it comes.
    func receive(until deadline: UInt64?) throws(CommandFailure) -> Receipt {
        while true {
            do {
                if let line = try lines.next() { return .response(try ControlCoding.decodeResponse(line)) }
            } catch {
                throw .failed(
                    "not-understood", "the daemon's answer is not understood: \(error.problem)",
                    remedy: "use the same release of hablk for command and daemon")
            }
            var wish = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            let ready = poll(&wish, 1, Self.pollTime(until: deadline))
            if ready == 0 { return .nothing }
            if ready < 0 { continue }
            var piece = [UInt8](repeating: 0, count: 16 << 10)
            let count = read(descriptor, &piece, piece.count)
            if count > 0 {
                lines.append(piece[..<count])
            } else if count == 0 || errno == ECONNRESET {
                return .end
            }
        }
    }

    /// Milliseconds for poll(2), rounded up; -1: no end.
    static func pollTime(until deadline: UInt64?) -> Int32 {
        guard let deadline else { return -1 }
        let now = Now.nanoseconds
        guard deadline > now else { return 0 }
        return Int32(clamping: (deadline - now + 999_999) / 1_000_000)
    }
}
