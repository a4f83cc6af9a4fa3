import LinuxIO
import Model
import ReplicationCore

/// One connection to `V.control`: one request, and its answers.
final class ControlSession {
    enum Phase: Equatable {
        /// No whole request came yet.
        case asking
        case awaiting(CommandID)
        /// Hears of each change until it hangs up.
        case following
        /// The last answer is on its way.
        case answered
    }

    enum Operation: Int {
        case send, receive
        static let count = 2
    }

    let slot: Int
    let stream: ByteStream
    var phase = Phase.asking
    /// By when it must have asked, or taken its last answer; nil: no hurry.
    var deadline: UInt64?

    init(slot: Int, serial: UInt32, socket: Int32, limits: ByteStream.Limits, deadline: UInt64) {
        func token(_ operation: Operation) -> Token {
            Token(.control, slot: slot * Operation.count + operation.rawValue, serial: serial)
        }
        self.slot = slot
        self.deadline = deadline
        stream = ByteStream(
            socket: socket, sendToken: token(.send), receiveToken: token(.receive), limits: limits)
    }
}
