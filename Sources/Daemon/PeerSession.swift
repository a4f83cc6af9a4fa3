import Formats
import LinuxIO
import Model

/// One TCP connection to or from a peer, from its first byte to its last completion. Holds state; `PeerPort` acts on it.
///
/// connecting → greeting → open → parting → ended; each may skip to ended. The object stays until nothing of it is in
/// flight, so that a late completion finds its owner and no buffer is given back while the kernel uses it.
final class PeerSession {
    enum Phase {
        /// This side dialed and waits for the connect.
        case connecting
        /// Hellos, proofs, verdicts: nothing is believed.
        case greeting
        case open
        /// Nothing more is said to the core; what was queued still goes out, what arrives is dropped.
        case parting
        case ended
    }

    /// What a token's slot says beside the session's own place.
    enum Operation: Int {
        case connect, send, receive
        static let count = 4
    }

    /// A frame for which the stream had no room.
    struct Waiting {
        var stamp: FrameStamp
        var message: PeerMessage
        var bytes: Int
    }

    let slot: Int
    let serial: UInt32
    /// Whom this side dialed; nil when it accepted.
    let dialed: NodeID?
    /// The other end, for the log.
    let address: String
    var phase: Phase
    var greeting: PeerGreeting
    /// Known once the greeting is over.
    var node: NodeID?
    var id = SessionID.none
    /// By when it must have come further than where it is; nil: no hurry, the core watches it.
    var deadline: UInt64?
    /// While connecting; then it is the stream's.
    var socket: Int32
    var stream: ByteStream?

    // What arrives.
    /// Of the frame whose body or payload is awaited.
    var header: PeerFrameHeader?
    /// The buffer that its payload goes to; negative: none.
    var buffer: Int32 = -1
    /// Of what the other side compresses; made for the first frame of it.
    var expander: PayloadExpander?
    /// The body of the frame whose payload is awaited: the stream's memory is used again meanwhile.
    private(set) var body: [64 of UInt8] = .init(repeating: 0)
    /// Bytes before the last payload in its frame, if it was long (`ByteStream.directFrom`): what comes next is taken to be its
    /// like. 0: it was not.
    var bytesBeforePayload = 0
    /// When the last payload's memory was handed out, and how many long ones in a row were there soon after. Once they are some, the
    /// kernel may gather the next; on a slow link each piece is a sign of life.
    var payloadAwaitedSince: UInt64 = 0
    var fastPayloads = 0
    /// Waits for a buffer of the pool, and receives nothing.
    var isStalled = false
    /// When the core last heard of it: a message, or that it is alive.
    var lastTold: UInt64 = 0
    /// A message was told since `lastTold`.
    var hasTold = false

    // What leaves.
    /// What the other side takes; nothing before the session is open.
    var takes: PeerCapabilities = []
    /// Nil: payloads leave as they are, but for zeroes.
    var compressor: PayloadCompressor?
    var waiting: [Waiting] = []
    var firstWaiting = 0
    var waitingBytes = 0
    /// All that is queued is in no hurry, and leaves with what comes next, or then; 0: at once.
    var sendsAt: UInt64 = 0
    /// Nothing more will be sent: the other side was told.
    var isHalfClosed = false

    init(
        slot: Int, serial: UInt32, dialed: NodeID?, address: String, socket: Int32, greeting: PeerGreeting,
        deadline: UInt64
    ) {
        self.slot = slot
        self.serial = serial
        self.dialed = dialed
        self.address = address
        self.socket = socket
        self.greeting = greeting
        self.deadline = deadline
        phase = dialed == nil ? .greeting : .connecting
    }

    func token(_ operation: Operation) -> Token {
        Token(.peer, slot: slot * Operation.count + operation.rawValue, serial: serial)
    }

    /// Counts against the bound on strangers.
    var isHalfOpen: Bool { dialed == nil && id.isNone }

    /// Takes the connected socket into a stream.
    func beginStream(_ limits: ByteStream.Limits) {
        precondition(stream == nil, "a session has one stream")
        stream = ByteStream(
            socket: socket, sendToken: token(.send), receiveToken: token(.receive), limits: limits)
        phase = .greeting
    }

    func keep(body bytes: UnsafeRawBufferPointer) {
        precondition(bytes.count <= 64, "a frame with payload has too long a body to keep")
        for index in 0..<bytes.count { body[index] = bytes[index] }
    }

    func withBody<Result>(_ count: Int, _ use: (UnsafeRawBufferPointer) -> Result) -> Result {
        withUnsafeBytes(of: body) { use(UnsafeRawBufferPointer(rebasing: $0[..<count])) }
    }

    /// Nothing of it is in flight.
    var isFinished: Bool { phase == .ended && (stream?.isFinished ?? (socket < 0)) }
}

extension PeerMessage {
    /// The buffer that a frame carries, and how many of its bytes.
    var payload: (buffer: BufferID, count: Int)? {
        switch self {
        case .write(_, let range, let buffer), .readData(_, let range, let buffer), .pullData(_, let range, let buffer):
            (buffer, Int(range.length))
        default: nil
        }
    }
}
