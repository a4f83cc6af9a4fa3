/// What the caller offers at the moment an option arrives; a role change shows in the next answer.
package struct NBDExportOffer: Sendable {
    package enum State: Equatable, Sendable {
        case available
        /// GO and INFO answer `NBD_REP_ERR_POLICY` with these words, EXPORT_NAME closes.
        case unavailable(String)
    }

    package var name: String
    package var size: UInt64
    /// Without `sendDontFragment`, which the handshake adds with structured replies.
    package var flags: NBDTransmissionFlags
    /// Empty: none is sent. At most `NBDLimits.text` bytes travel.
    package var description: String
    package var blockSizes: NBDBlockSizes
    package var state: State

    package init(
        name: String, size: UInt64, flags: NBDTransmissionFlags = .hablk, description: String = "",
        blockSizes: NBDBlockSizes = NBDBlockSizes(), state: State = .available
    ) {
        precondition(name.utf8.count <= NBDLimits.exportName, "an export's name has at most 255 bytes")
        self.name = name
        self.size = size
        self.flags = flags
        self.description = description
        self.blockSizes = blockSizes
        self.state = state
    }
}

/// "Size constraints".
package struct NBDBlockSizes: Equatable, Sendable {
    package var minimum: UInt32
    package var preferred: UInt32
    package var maximumPayload: UInt32

    package init(minimum: UInt32 = 1, preferred: UInt32 = 4096, maximumPayload: UInt32 = NBDLimits.payload) {
        self.minimum = minimum
        self.preferred = preferred
        self.maximumPayload = maximumPayload
    }
}

/// What a finished handshake agreed on.
package struct NBDNegotiated: Equatable, Sendable {
    /// Size and flags as the client was told.
    package var size: UInt64
    package var flags: NBDTransmissionFlags
    package var structuredReplies: Bool
    /// The id of `base:allocation`, when the client selected it.
    package var baseAllocation: UInt32?

    package init(size: UInt64, flags: NBDTransmissionFlags, structuredReplies: Bool, baseAllocation: UInt32?) {
        self.size = size
        self.flags = flags
        self.structuredReplies = structuredReplies
        self.baseAllocation = baseAllocation
    }
}

/// Why a handshake ended without transmission. None of the words quotes the client.
package enum NBDHandshakeEnd: Equatable, Sendable, CustomStringConvertible {
    case aborted
    case unknownClientFlags(UInt32)
    case notAnOption(UInt64)
    case notFixedNewstyle(option: UInt32)
    case optionTooLong(option: UInt32, length: UInt32)
    case tooManyOptions
    case tooManyBytes
    case unknownExport
    case exportUnavailable(String)
    case replyTooLong

    package var description: String {
        switch self {
        case .aborted: "the client ended the handshake"
        case .unknownClientFlags(let flags): "unknown client flags 0x\(String(flags, radix: 16))"
        case .notAnOption(let magic): "expected an option, got 0x\(String(magic, radix: 16))"
        case .notFixedNewstyle(let option): "option \(option) from a client without fixed newstyle"
        case .optionTooLong(let option, let length): "option \(option) with \(length) bytes"
        case .tooManyOptions: "more than \(NBDHandshake.maximumOptions) options"
        case .tooManyBytes: "more than \(NBDHandshake.maximumBytes) bytes before transmission"
        case .unknownExport: "unknown export asked for by EXPORT_NAME, which has no error reply"
        case .exportUnavailable(let message): "EXPORT_NAME, which has no error reply: \(message)"
        case .replyTooLong: "a reply does not fit its buffer"
        }
    }
}

/// How far one call of `NBDHandshake.advance` came.
package struct NBDHandshakeStep: Equatable, Sendable {
    package enum State: Equatable, Sendable {
        /// All input is consumed: send what was written, then receive.
        case wantsInput
        /// Less than `maximumReplyLength` of room is left: send what was written, then call again with the rest.
        case wantsOutput
        /// Send what was written; input that is not consumed is the first request.
        case transmission(NBDNegotiated)
        /// Send what was written, then close.
        case closed(NBDHandshakeEnd)
    }

    /// Bytes of the input that belong to the handshake.
    package var consumed: Int
    package var state: State

    package init(consumed: Int, state: State) {
        self.consumed = consumed
        self.state = state
    }
}

/// The server's side of "Fixed newstyle negotiation": bytes in, bytes out, at the end an agreement or a reason.
///
/// Phases: greeting → client flags → (option header → option data)* → over. Its memory is one buffer of
/// `maximumParsedLength` bytes; longer options are read past and answered with an error, options over
/// `maximumOptionLength`, more than `maximumOptions` of them or more than `maximumBytes` in all end the connection.
/// Time is not its business: the caller closes a handshake that takes too long.
package struct NBDHandshake: Sendable {
    /// Room in `output` that is enough for any single answer.
    package static let maximumReplyLength = 2048
    package static let maximumOptions = 64
    package static let maximumBytes = 256 << 10
    package static let maximumOptionLength: UInt32 = 64 << 10
    /// The longest option whose data is looked at: a name of 4096 bytes and as much again in queries.
    package static let maximumParsedLength = 8 << 10

    enum Phase {
        case greeting
        case clientFlags
        case optionHeader
        case optionData(NBDOption, length: Int)
        /// Data that nobody looks at; the option is answered when it is past.
        case ignoredData(option: UInt32, length: Int, remaining: Int)
        case over(NBDHandshakeStep.State)
    }

    /// Set by SET_META_CONTEXT; counts only if the client then goes by the same name.
    var selectedBaseAllocation: NBDExportName?
    var structuredReplies = false
    private var phase = Phase.greeting
    private var pending: [UInt8]
    private var filled = 0
    private var fixedNewstyle = false
    private var noZeroes = false
    private var options = 0
    private var bytes = 0

    package init() {
        pending = [UInt8](repeating: 0, count: Self.maximumParsedLength)
    }

    /// Call it first with no input: that writes the greeting. Then with what arrives, in pieces of any size.
    ///
    /// `output` should have room for `maximumReplyLength` bytes at least; with less nothing moves.
    package mutating func advance(
        _ input: UnsafeRawBufferPointer, offer: NBDExportOffer, into output: inout ByteWriter
    ) -> NBDHandshakeStep {
        var reader = ByteReader(input)
        while true {
            if case .over(let end) = phase { return NBDHandshakeStep(consumed: reader.offset, state: end) }
            guard collect(from: &reader) else { return NBDHandshakeStep(consumed: reader.offset, state: .wantsInput) }
            guard output.remaining >= Self.maximumReplyLength else {
                return NBDHandshakeStep(consumed: reader.offset, state: .wantsOutput)
            }
            do {
                try act(offer, &output)
                filled = 0
            } catch {
                phase = .over(.closed(.replyTooLong))
            }
        }
    }

    /// Takes what the current phase still lacks; true when it lacks nothing more.
    private mutating func collect(from reader: inout ByteReader) -> Bool {
        if case .ignoredData(let option, let length, let remaining) = phase {
            let taken = min(remaining, reader.remaining)
            guard (try? reader.skip(taken)) != nil else { return false }
            phase = .ignoredData(option: option, length: length, remaining: remaining - taken)
            return taken == remaining
        }
        let wanted =
            switch phase {
            case .clientFlags: 4
            case .optionHeader: 16
            case .optionData(_, let length): length
            case .greeting, .ignoredData, .over: 0
            }
        let missing = wanted - filled
        let taken = min(missing, reader.remaining)
        guard taken > 0, let source = try? reader.readBytes(taken) else { return missing <= 0 }
        pending.withUnsafeMutableBytes { room in
            UnsafeMutableRawBufferPointer(rebasing: room[filled..<(filled + taken)]).copyMemory(from: source)
        }
        filled += taken
        return taken == missing
    }

    /// The pending bytes are what the phase wanted.
    private mutating func act(_ offer: NBDExportOffer, _ output: inout ByteWriter) throws(OutputFull) {
        switch phase {
        case .greeting:
            try output.writeBigEndian(NBDMagic.greeting)
            try output.writeBigEndian(NBDMagic.option)
            try output.writeBigEndian(NBDHandshakeFlag.fixedNewstyle | NBDHandshakeFlag.noZeroes)
            phase = .clientFlags
        case .clientFlags:
            takeClientFlags()
        case .optionHeader:
            takeOptionHeader()
        case .optionData(let option, let length):
            phase = .optionHeader
            try answer(option, length: length, offer, &output)
        case .ignoredData(let option, let length, _):
            phase = .optionHeader
            try answerUnread(option, length: length, offer, &output)
        case .over:
            break
        }
    }

    private mutating func takeClientFlags() {
        let flags: UInt32? = parsePending { (reader) throws(TruncatedInput) in try reader.readBigEndian() }
        guard let flags else { return }
        let known = UInt32(NBDHandshakeFlag.fixedNewstyle | NBDHandshakeFlag.noZeroes)
        guard flags & ~known == 0 else { return end(.unknownClientFlags(flags)) }
        fixedNewstyle = flags & UInt32(NBDHandshakeFlag.fixedNewstyle) != 0
        noZeroes = flags & UInt32(NBDHandshakeFlag.noZeroes) != 0
        phase = .optionHeader
    }

    /// Every limit is checked here, before a byte of the option's data is taken.
    private mutating func takeOptionHeader() {
        struct Header {
            var magic: UInt64
            var option: UInt32
            var length: UInt32
        }
        let header: Header? = parsePending { (reader) throws(TruncatedInput) in
            try Header(magic: reader.readBigEndian(), option: reader.readBigEndian(), length: reader.readBigEndian())
        }
        guard let header else { return }
        guard header.magic == NBDMagic.option else { return end(.notAnOption(header.magic)) }
        let option = NBDOption(rawValue: header.option)
        guard fixedNewstyle || option == .exportName else { return end(.notFixedNewstyle(option: header.option)) }
        guard header.length <= Self.maximumOptionLength else {
            return end(.optionTooLong(option: header.option, length: header.length))
        }
        let length = Int(clamping: header.length)
        options += 1
        bytes += 16 + length
        guard options <= Self.maximumOptions else { return end(.tooManyOptions) }
        guard bytes <= Self.maximumBytes else { return end(.tooManyBytes) }
        switch option {
        case .exportName where length > NBDLimits.string:
            end(.optionTooLong(option: header.option, length: header.length))
        case .exportName, .info, .go, .listMetaContext, .setMetaContext:
            guard length <= Self.maximumParsedLength, let option else { fallthrough }
            phase = .optionData(option, length: length)
        default:
            phase = .ignoredData(option: header.option, length: length, remaining: length)
        }
    }

    /// Reads the pending bytes; nil when they are not what `parse` expects.
    func parsePending<T>(_ parse: (inout ByteReader) throws(TruncatedInput) -> T?) -> T? {
        pending.withUnsafeBytes { bytes in
            var reader = ByteReader(UnsafeRawBufferPointer(rebasing: bytes[..<filled]))
            return (try? parse(&reader)) ?? nil
        }
    }

    mutating func end(_ reason: NBDHandshakeEnd) {
        phase = .over(.closed(reason))
    }

    mutating func beginTransmission(_ agreed: NBDNegotiated) {
        phase = .over(.transmission(agreed))
    }

    /// "NBD_OPT_EXPORT_NAME": no reply header, no way to say no.
    mutating func answerExportName(_ offer: NBDExportOffer, _ output: inout ByteWriter) throws(OutputFull) {
        let asked = parsePending { reader in NBDExportName(reader.readRest(), of: offer) } ?? .unknown
        guard asked != .unknown else { return end(.unknownExport) }
        if case .unavailable(let message) = offer.state { return end(.exportUnavailable(message)) }
        let agreed = agreement(offer, askedAs: asked)
        try output.writeBigEndian(agreed.size)
        try output.writeBigEndian(agreed.flags.rawValue)
        if !noZeroes { try output.writeZeroes(124) }
        beginTransmission(agreed)
    }
}
