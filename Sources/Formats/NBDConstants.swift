// The numbers of the NBD protocol, as doc/proto.md of NetworkBlockDevice/nbd names them ("Values").

enum NBDMagic {
    /// `NBDMAGIC` in ASCII, the first eight bytes of every server.
    static let greeting: UInt64 = 0x4e42_444d_4147_4943
    /// `IHAVEOPT` in ASCII.
    static let option: UInt64 = 0x4948_4156_454f_5054
    static let optionReply: UInt64 = 0x0003_e889_0455_65a9
    static let request: UInt32 = 0x2560_9513
    static let simpleReply: UInt32 = 0x6744_6698
    static let structuredReply: UInt32 = 0x668e_33ef
}

/// What this server accepts of one request and one string; "Size constraints" and "Strings".
package enum NBDLimits {
    /// The longest payload of one READ or WRITE: real clients send 49,865,728 bytes in one.
    package static let payload: UInt32 = 64 << 20
    /// The longest READ that must arrive as one chunk (DF). The specification asks for 65,536.
    package static let unfragmentedRead: UInt32 = 1 << 20
    /// The longest string of the protocol.
    package static let string = 4096
    /// The longest export name of ours, so that every answer fits into `NBDHandshake.maximumReplyLength`.
    package static let exportName = 255
    /// The longest text we send. nbd-client reads no option reply of 4096 bytes or more.
    package static let text = 512
}

/// "Handshake flags" and "Client flags": both numbers mean the same on both sides.
enum NBDHandshakeFlag {
    static let fixedNewstyle: UInt16 = 1 << 0
    static let noZeroes: UInt16 = 1 << 1
}

/// "Transmission flags": what an export can do.
package struct NBDTransmissionFlags: OptionSet, Hashable, Sendable {
    package let rawValue: UInt16
    package init(rawValue: UInt16) { self.rawValue = rawValue }

    package static let hasFlags = NBDTransmissionFlags(rawValue: 1 << 0)
    package static let readOnly = NBDTransmissionFlags(rawValue: 1 << 1)
    package static let sendFlush = NBDTransmissionFlags(rawValue: 1 << 2)
    package static let sendFUA = NBDTransmissionFlags(rawValue: 1 << 3)
    package static let rotational = NBDTransmissionFlags(rawValue: 1 << 4)
    package static let sendTrim = NBDTransmissionFlags(rawValue: 1 << 5)
    package static let sendWriteZeroes = NBDTransmissionFlags(rawValue: 1 << 6)
    package static let sendDontFragment = NBDTransmissionFlags(rawValue: 1 << 7)
    package static let canMultiConnection = NBDTransmissionFlags(rawValue: 1 << 8)
    package static let sendCache = NBDTransmissionFlags(rawValue: 1 << 10)
    package static let sendFastZero = NBDTransmissionFlags(rawValue: 1 << 11)

    /// What hablk offers: 0x0d6d, the value of qemu-nbd and nbdkit. The handshake adds `sendDontFragment` once
    /// structured replies are negotiated.
    package static let hablk: NBDTransmissionFlags = [
        .hasFlags, .sendFlush, .sendFUA, .sendTrim, .sendWriteZeroes, .canMultiConnection, .sendCache, .sendFastZero,
    ]
}

/// "Option types". Numbers that are absent here are answered with `NBD_REP_ERR_UNSUP`, as is STARTTLS so far.
package enum NBDOption: UInt32, Sendable {
    case exportName = 1
    case abort = 2
    case list = 3
    case startTLS = 5
    case info = 6
    case go = 7
    case structuredReply = 8
    case listMetaContext = 9
    case setMetaContext = 10
}

/// "Option reply types".
enum NBDOptionReply: UInt32 {
    case ack = 1
    case server = 2
    case info = 3
    case metaContext = 4
    case errorUnsupported = 0x8000_0001
    case errorPolicy = 0x8000_0002
    case errorInvalid = 0x8000_0003
    case errorUnknown = 0x8000_0006
    case errorTooBig = 0x8000_0009
}

/// `NBD_REP_INFO`: the kinds of information of GO and INFO.
enum NBDInfoType: UInt16 {
    case export = 0
    case name = 1
    case description = 2
    case blockSize = 3
}

/// "Request types".
package enum NBDCommand: UInt16, CaseIterable, Sendable {
    case read = 0
    case write = 1
    case disconnect = 2
    case flush = 3
    case trim = 4
    case cache = 5
    case writeZeroes = 6
    case blockStatus = 7

    package static func == (left: NBDCommand, right: NBDCommand) -> Bool { left.rawValue == right.rawValue }
}

/// "Command flags".
package struct NBDCommandFlags: OptionSet, Hashable, Sendable {
    package let rawValue: UInt16
    package init(rawValue: UInt16) { self.rawValue = rawValue }

    /// The reply waits until the effect is on stable storage. Valid on every command.
    package static let fua = NBDCommandFlags(rawValue: 1 << 0)
    /// WRITE_ZEROES: allocate.
    package static let noHole = NBDCommandFlags(rawValue: 1 << 1)
    /// READ: one content chunk.
    package static let dontFragment = NBDCommandFlags(rawValue: 1 << 2)
    /// BLOCK_STATUS: one extent.
    package static let requestOne = NBDCommandFlags(rawValue: 1 << 3)
    /// WRITE_ZEROES: fail with ENOTSUP rather than write zeroes out.
    package static let fastZero = NBDCommandFlags(rawValue: 1 << 4)
}

/// "Structured reply types".
enum NBDChunkType: UInt16 {
    case none = 0
    case offsetData = 1
    case offsetHole = 2
    case blockStatus = 5
    case error = 0x8001
    case errorOffset = 0x8002
}

/// "Error values": these numbers go on the wire, whatever the machine's errno are.
package enum NBDError: UInt32, CaseIterable, Sendable {
    case notPermitted = 1
    case inputOutput = 5
    case noMemory = 12
    case invalid = 22
    case noSpace = 28
    case overflow = 75
    case notSupported = 95
    case shutdown = 108

    /// The value for an errno of Linux: itself where the protocol has it, ENOSPC for EDQUOT (122) and EFBIG (27),
    /// EPERM for EROFS (30), ENOTSUP only for a FAST_ZERO, everything else EIO.
    package init(errno: Int32, fastZero: Bool = false) {
        switch errno {
        case 1, 30: self = .notPermitted
        case 12: self = .noMemory
        case 22: self = .invalid
        case 27, 28, 122: self = .noSpace
        case 75: self = .overflow
        case 95 where fastZero: self = .notSupported
        case 108: self = .shutdown
        default: self = .inputOutput
        }
    }
}

/// `base:allocation`, "Metadata contexts": the bits of an extent's status.
package struct NBDAllocation: OptionSet, Hashable, Sendable {
    package let rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }

    package static let hole = NBDAllocation(rawValue: 1 << 0)
    package static let zero = NBDAllocation(rawValue: 1 << 1)

    package static let contextName = "base:allocation"
}

/// The bytes of `text`, cut before a character that would pass `NBDLimits.text`.
func boundedUTF8(_ text: String) -> Substring.UTF8View {
    let bytes = text.utf8
    guard bytes.count > NBDLimits.text else { return text[...].utf8 }
    var end = bytes.index(bytes.startIndex, offsetBy: NBDLimits.text)
    while end > bytes.startIndex, bytes[end] & 0b1100_0000 == 0b1000_0000 { end = bytes.index(before: end) }
    return Substring(text)[..<end].utf8
}
