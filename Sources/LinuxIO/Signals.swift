import CLinuxURing
import Glibc

/// SIGTERM, SIGINT and SIGHUP as completions of the ring instead of interruptions; SIGPIPE ignored.
///
/// Made once, before any other thread is started, because threads inherit which signals are blocked. So do child
/// processes, which inherit the ignored SIGPIPE too: whoever starts one gives it an empty mask and default signals.
package final class Signals {
    package enum Signal: Equatable, Sendable { case terminate, interrupt, hangUp }

    package let descriptor: Int32
    private let record: UnsafeMutableRawPointer

    package init() throws(SystemError) {
        descriptor = hablk_signalfd()
        guard descriptor >= 0 else { throw .last("make a signalfd") }
        record = .allocate(byteCount: Int(HABLK_SIGNAL_RECORD_BYTES), alignment: 8)
    }

    deinit {
        close(descriptor)
        record.deallocate()
    }

    /// The next signal completes `token`; ask again after each.
    package func await(_ ring: borrowing Ring, token: Token) {
        ring.read(descriptor, into: record, count: Int(HABLK_SIGNAL_RECORD_BYTES), offset: 0, token: token)
    }

    /// Which signal a completion of `await` brought; nil when it brought none.
    package func signal(from completion: Completion) -> Signal? {
        guard completion.result == HABLK_SIGNAL_RECORD_BYTES else { return nil }
        // ssi_signo is the first field.
        switch Int32(bitPattern: record.load(as: UInt32.self)) {
        case SIGTERM: return .terminate
        case SIGINT: return .interrupt
        case SIGHUP: return .hangUp
        default: return nil
        }
    }
}
