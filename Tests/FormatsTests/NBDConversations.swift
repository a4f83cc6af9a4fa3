import Formats

// What real clients said to a server of this handshake, as received (Debian 12), and how to replay it.

enum NBDConversation: String, CaseIterable, Sendable {
    /// libnbd 1.14 `nbdinfo URI`: structured replies, INFO, LIST_META_CONTEXT, GO.
    case nbdinfo
    /// libnbd 1.14 `nbdinfo --list`: LIST, INFO, LIST_META_CONTEXT, ABORT.
    case nbdinfoList
    /// qemu 7.2 `qemu-io`: SET_META_CONTEXT, GO with BLOCK_SIZE.
    case qemu
    /// nbdkit 1.32's nbd plugin: SET_META_CONTEXT, GO with everything.
    case nbdkit
    /// libnbd asking for an export that is not there.
    case unknownExport
    /// nbd-client 3.24: GO with no information requested, no structured replies.
    case nbdClient
    /// nbd-tester-client: EXPORT_NAME without NO_ZEROES.
    case tester
    /// A client of the time before fixed newstyle.
    case ancient
    /// Everything in one: unsupported options, wrong data, an unknown option with data, ABORT at the end.
    case probing

    var bytes: [UInt8] {
        switch self {
        case .nbdinfo:
            nbdHex(
                """
                00000003 49484156454f5054 00000008 00000000 49484156454f5054 00000006 0000000e 00000002 7230 0003
                0003 0001 0002 49484156454f5054 00000009 0000000a 00000002 7230 00000000 49484156454f5054 00000007
                0000000e 00000002 7230 0003 0003 0001 0002
                """)
        case .nbdinfoList:
            nbdHex(
                """
                00000003 49484156454f5054 00000008 00000000 49484156454f5054 00000003 00000000 49484156454f5054
                00000006 0000000e 00000002 7230 0003 0003 0001 0002 49484156454f5054 00000009 0000000a 00000002
                7230 00000000 49484156454f5054 00000002 00000000
                """)
        case .qemu:
            nbdHex(
                """
                00000003 49484156454f5054 00000008 00000000 49484156454f5054 0000000a 0000001d 00000002 7230
                00000001 0000000f 626173653a616c6c6f636174696f6e 49484156454f5054 00000007 0000000a 00000002 7230
                0001 0003
                """)
        case .nbdkit:
            nbdHex(
                """
                00000003 49484156454f5054 00000008 00000000 49484156454f5054 0000000a 0000001d 00000002 7230
                00000001 0000000f 626173653a616c6c6f636174696f6e 49484156454f5054 00000007 0000000e 00000002 7230
                0003 0003 0001 0002
                """)
        case .unknownExport:
            nbdHex(
                """
                00000003 49484156454f5054 00000008 00000000 49484156454f5054 00000006 00000010 00000004 6e6f7065
                0003 0003 0001 0002 49484156454f5054 00000007 00000010 00000004 6e6f7065 0003 0003 0001 0002
                49484156454f5054 00000002 00000000
                """)
        case .nbdClient: nbdHex("00000003 49484156454f5054 00000007 00000008 00000002 7230 0000")
        case .tester: nbdHex("00000001 49484156454f5054 00000001 00000002 7230")
        case .ancient: nbdHex("00000000 49484156454f5054 00000001 00000000")
        case .probing:
            nbdClientFlags(3) + nbdOption(5) + nbdOption(4, [1, 2, 3]) + nbdOption(11) + nbdOption(3, [0])
                + nbdOption(8, [9])
                + nbdOption(0xdead_beef, [UInt8](repeating: 7, count: 300)) + nbdOption(10, nbdContextQuery("r0", []))
                + nbdOption(8) + nbdOption(10, nbdContextQuery("r0", ["base:", "x:y", ""]))
                + nbdOption(9, nbdContextQuery("", ["base:"])) + nbdOption(6, [0, 0])
                + nbdOption(7, nbdInfoQuery("other", []))
                + nbdOption(2, [1, 2, 3])
        }
    }
}

let nbdPrimaryOffer = NBDExportOffer(name: "r0", size: 16 << 20, description: "volume r0")

let nbdSecondaryOffer = NBDExportOffer(
    name: "r0", size: 16 << 20, state: .unavailable("r0 is secondary on bravo; primary: alpha"))

struct NBDTestOutcome: Equatable {
    var output: [UInt8]
    var state: NBDHandshakeStep.State
    var consumed: Int
}

/// Feeds the bytes in the given pieces and the rest at once; `room` is the output memory of each call.
func nbdConverse(
    _ bytes: [UInt8], _ offer: NBDExportOffer = nbdPrimaryOffer, pieces: some Sequence<Int> = EmptyCollection<Int>(),
    room: Int = 4096
) -> NBDTestOutcome {
    var handshake = NBDHandshake()
    var outcome = NBDTestOutcome(output: [], state: .wantsInput, consumed: 0)
    var memory = [UInt8](repeating: 0xee, count: room)
    var available = 0
    var sizes = pieces.makeIterator()
    while true {
        let step = memory.withUnsafeMutableBytes { raw in
            var writer = ByteWriter(raw)
            let step = bytes[outcome.consumed..<available].withUnsafeBytes {
                handshake.advance($0, offer: offer, into: &writer)
            }
            outcome.output += raw[..<writer.count]
            return step
        }
        outcome.consumed += step.consumed
        outcome.state = step.state
        switch step.state {
        case .transmission, .closed:
            // It stays over whatever comes.
            var writer = ByteWriter(UnsafeMutableRawBufferPointer(start: nil, count: 0))
            let again = bytes.withUnsafeBytes { handshake.advance($0, offer: offer, into: &writer) }
            precondition(again == NBDHandshakeStep(consumed: 0, state: step.state))
            return outcome
        case .wantsOutput: continue
        case .wantsInput:
            precondition(outcome.consumed == available)
            if available == bytes.count { return outcome }
            available = min(bytes.count, available + max(1, sizes.next() ?? bytes.count))
        }
    }
}

struct NBDTestReply: Equatable {
    var option: UInt32
    var type: UInt32
    var data: [UInt8] = []

    static func ack(_ option: UInt32) -> NBDTestReply { NBDTestReply(option: option, type: 1) }
    static func error(_ option: UInt32, _ number: UInt32, _ text: String = "") -> NBDTestReply {
        NBDTestReply(option: option, type: 1 << 31 + number, data: Array(text.utf8))
    }
    static func export(_ option: UInt32, flags: UInt16) -> NBDTestReply {
        NBDTestReply(option: option, type: 3, data: [0, 0, 0, 0, 0, 0, 1, 0, 0, 0] + nbdBig(flags))
    }
    static func name(_ option: UInt32) -> NBDTestReply {
        NBDTestReply(option: option, type: 3, data: [0, 1] + "r0".utf8)
    }
    static func description(_ option: UInt32) -> NBDTestReply {
        NBDTestReply(option: option, type: 3, data: [0, 2] + "volume r0".utf8)
    }
    static func blockSize(_ option: UInt32) -> NBDTestReply {
        NBDTestReply(option: option, type: 3, data: [0, 3, 0, 0, 0, 1, 0, 0, 16, 0, 4, 0, 0, 0])
    }
    static func context(_ option: UInt32, id: UInt32) -> NBDTestReply {
        NBDTestReply(option: option, type: 4, data: nbdBig(id) + "base:allocation".utf8)
    }
}

/// The option replies in an output, greeting aside; nil when it is not a row of whole replies.
func nbdReplies(in output: [UInt8]) -> [NBDTestReply]? {
    output.withUnsafeBytes { raw -> [NBDTestReply]? in
        var reader = ByteReader(raw)
        var found: [NBDTestReply] = []
        guard let greeting = try? reader.readBytes(18), greeting.elementsEqual(nbdGreeting) else { return nil }
        while !reader.isAtEnd {
            guard let magic = try? reader.readBigEndian(UInt64.self), magic == 0x0003_e889_0455_65a9,
                let option = try? reader.readBigEndian(UInt32.self),
                let type = try? reader.readBigEndian(UInt32.self),
                let length = try? reader.readBigEndian(UInt32.self), let data = try? reader.readBytes(Int(length))
            else { return nil }
            found.append(NBDTestReply(option: option, type: type, data: Array(data)))
        }
        return found
    }
}

let nbdGreeting = nbdHex("4e42444d41474943 49484156454f5054 0003")

func nbdHex(_ text: String) -> [UInt8] {
    var bytes: [UInt8] = []
    var high: UInt8?
    for digit in text {
        guard let value = digit.hexDigitValue.map({ UInt8($0) }) else { continue }
        if let first = high {
            bytes.append(first << 4 | value)
            high = nil
        } else {
            high = value
        }
    }
    return bytes
}

func nbdBig(_ value: some FixedWidthInteger) -> [UInt8] { withUnsafeBytes(of: value.bigEndian) { Array($0) } }
func nbdClientFlags(_ flags: UInt32) -> [UInt8] { nbdBig(flags) }
func nbdOption(_ number: UInt32, _ data: [UInt8] = []) -> [UInt8] {
    nbdOptionHeader(number, length: UInt32(data.count)) + data
}
func nbdOptionHeader(_ number: UInt32, length: UInt32) -> [UInt8] {
    Array("IHAVEOPT".utf8) + nbdBig(number) + nbdBig(length)
}
func nbdString(_ bytes: some Collection<UInt8>) -> [UInt8] { nbdBig(UInt32(bytes.count)) + bytes }
func nbdInfoQuery(_ name: String, _ kinds: [UInt16]) -> [UInt8] {
    nbdString(name.utf8) + nbdBig(UInt16(kinds.count)) + kinds.flatMap { nbdBig($0) }
}
func nbdContextQuery(_ name: String, _ queries: [String]) -> [UInt8] {
    nbdString(name.utf8) + nbdBig(UInt32(queries.count)) + queries.flatMap { nbdString($0.utf8) }
}
let nbdAllocationName = "base:allocation"

/// SplitMix64, so that what is random comes back.
struct NBDTestChance: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}
