/// Which of our names a client used.
enum NBDExportName: Equatable {
    case volume
    /// The empty name, "the default export".
    case standard
    case unknown

    init(_ bytes: UnsafeRawBufferPointer, of offer: NBDExportOffer) {
        if bytes.isEmpty {
            self = .standard
        } else {
            self = bytes.elementsEqual(offer.name.utf8) ? .volume : .unknown
        }
    }
}

/// The data of "NBD_OPT_INFO" and "NBD_OPT_GO".
private struct InformationRequest {
    var name: NBDExportName
    var wantsName = false
    var wantsDescription = false
    var wantsBlockSize = false

    /// nil when it is malformed. Unknown kinds of information are ignored, repeated ones asked for once.
    init?(_ reader: inout ByteReader, of offer: NBDExportOffer) throws(TruncatedInput) {
        guard let bytes = try reader.readString() else { return nil }
        name = NBDExportName(bytes, of: offer)
        let count: UInt16 = try reader.readBigEndian()
        guard Int(count) * 2 == reader.remaining else { return nil }
        while !reader.isAtEnd {
            switch NBDInfoType(rawValue: try reader.readBigEndian()) {
            case .name: wantsName = true
            case .description: wantsDescription = true
            case .blockSize: wantsBlockSize = true
            case .export, nil: break
            }
        }
    }
}

/// The data of "NBD_OPT_LIST_META_CONTEXT" and "NBD_OPT_SET_META_CONTEXT".
private struct ContextRequest {
    var name: NBDExportName
    var namesNothing: Bool
    /// A query is `base:`.
    var namesBase = false
    /// A query is `base:allocation`.
    var namesBaseAllocation = false

    /// nil when it is malformed. The stated number of queries is only ever compared with data that is there.
    init?(_ reader: inout ByteReader, of offer: NBDExportOffer) throws(TruncatedInput) {
        guard let bytes = try reader.readString() else { return nil }
        name = NBDExportName(bytes, of: offer)
        var queries: UInt32 = try reader.readBigEndian()
        namesNothing = queries == 0
        while queries > 0 {
            queries -= 1
            guard let query = try reader.readString() else { return nil }
            if query.elementsEqual("base:".utf8) { namesBase = true }
            if query.elementsEqual(NBDAllocation.contextName.utf8) { namesBaseAllocation = true }
        }
        guard reader.isAtEnd else { return nil }
    }
}

extension ByteReader {
    /// A string with its length before it, "Strings"; nil when it is longer than the protocol allows.
    fileprivate mutating func readString() throws(TruncatedInput) -> UnsafeRawBufferPointer? {
        let length: UInt32 = try readBigEndian()
        guard length <= UInt32(NBDLimits.string) else { return nil }
        return try readBytes(Int(clamping: length))
    }
}

extension ByteWriter {
    /// The header of an option reply, "Option haggling".
    fileprivate mutating func writeOptionReply(
        _ option: NBDOption, _ type: NBDOptionReply, length: Int = 0
    ) throws(OutputFull) {
        try writeOptionReply(option.rawValue, type, length: length)
    }

    fileprivate mutating func writeOptionReply(
        _ option: UInt32, _ type: NBDOptionReply, length: Int
    ) throws(OutputFull) {
        try writeBigEndian(NBDMagic.optionReply)
        try writeBigEndian(option)
        try writeBigEndian(type.rawValue)
        try writeBigEndian(UInt32(clamping: length))
    }

    fileprivate mutating func writeOptionError(
        _ option: NBDOption, _ type: NBDOptionReply, _ text: String
    ) throws(OutputFull) {
        let words = boundedUTF8(text)
        try writeOptionReply(option, type, length: words.count)
        try writeBytes(words)
    }

    /// `NBD_REP_INFO` with a string.
    fileprivate mutating func writeInformation(
        _ option: NBDOption, _ type: NBDInfoType, _ text: String
    ) throws(OutputFull) {
        let words = boundedUTF8(text)
        try writeOptionReply(option, .info, length: 2 + words.count)
        try writeBigEndian(type.rawValue)
        try writeBytes(words)
    }
}

extension NBDHandshake {
    static let baseAllocationID: UInt32 = 1

    func agreement(_ offer: NBDExportOffer, askedAs name: NBDExportName) -> NBDNegotiated {
        var flags = offer.flags.union(.hasFlags).subtracting(.sendDontFragment)
        if structuredReplies { flags.insert(.sendDontFragment) }
        return NBDNegotiated(
            size: offer.size, flags: flags, structuredReplies: structuredReplies,
            baseAllocation: selectedBaseAllocation == name ? Self.baseAllocationID : nil)
    }

    /// An option whose data is in the buffer.
    mutating func answer(
        _ option: NBDOption, length: Int, _ offer: NBDExportOffer, _ output: inout ByteWriter
    ) throws(OutputFull) {
        switch option {
        case .exportName: try answerExportName(offer, &output)
        case .info, .go: try answerInformation(option, offer, &output)
        case .listMetaContext, .setMetaContext: try answerContexts(option, offer, &output)
        case .abort, .list, .startTLS, .structuredReply:
            try answerUnread(option.rawValue, length: length, offer, &output)
        }
    }

    /// An option whose data was read past: it has none, or it is wrong to have any, or it is too much.
    mutating func answerUnread(
        _ option: UInt32, length: Int, _ offer: NBDExportOffer, _ output: inout ByteWriter
    ) throws(OutputFull) {
        guard let known = NBDOption(rawValue: option) else {
            return try output.writeOptionReply(option, .errorUnsupported, length: 0)
        }
        switch known {
        case .abort:
            try output.writeOptionReply(known, .ack)
            end(.aborted)
        case .startTLS:
            try output.writeOptionError(known, .errorUnsupported, "this server has no TLS")
        case .list, .structuredReply:
            guard length == 0 else {
                return try output.writeOptionError(known, .errorInvalid, "this option takes no data")
            }
            if known == .list { return try answerList(offer, &output) }
            structuredReplies = true
            try output.writeOptionReply(known, .ack)
        case .exportName, .info, .go, .listMetaContext, .setMetaContext:
            if known == .setMetaContext { selectedBaseAllocation = nil }
            try output.writeOptionError(known, .errorTooBig, "the option is too long")
        }
    }

    /// "NBD_OPT_LIST": the export is named in both roles.
    private func answerList(_ offer: NBDExportOffer, _ output: inout ByteWriter) throws(OutputFull) {
        let name = offer.name.utf8
        let description = boundedUTF8(offer.description)
        try output.writeOptionReply(.list, .server, length: 4 + name.count + description.count)
        try output.writeBigEndian(UInt32(clamping: name.count))
        try output.writeBytes(name)
        try output.writeBytes(description)
        try output.writeOptionReply(.list, .ack)
    }

    /// "NBD_OPT_INFO" and "NBD_OPT_GO": the same answer to both, and GO's ACK begins transmission.
    private mutating func answerInformation(
        _ option: NBDOption, _ offer: NBDExportOffer, _ output: inout ByteWriter
    ) throws(OutputFull) {
        let request: InformationRequest? = parsePending { (reader) throws(TruncatedInput) in
            try InformationRequest(&reader, of: offer)
        }
        guard let request else { return try output.writeOptionError(option, .errorInvalid, "malformed option") }
        guard try admit(request.name, option, offer, &output) else { return }
        let agreed = agreement(offer, askedAs: request.name)
        try output.writeOptionReply(option, .info, length: 12)
        try output.writeBigEndian(NBDInfoType.export.rawValue)
        try output.writeBigEndian(agreed.size)
        try output.writeBigEndian(agreed.flags.rawValue)
        if request.wantsName { try output.writeInformation(option, .name, offer.name) }
        if request.wantsDescription, !offer.description.isEmpty {
            try output.writeInformation(option, .description, offer.description)
        }
        if request.wantsBlockSize {
            try output.writeOptionReply(option, .info, length: 14)
            try output.writeBigEndian(NBDInfoType.blockSize.rawValue)
            try output.writeBigEndian(offer.blockSizes.minimum)
            try output.writeBigEndian(offer.blockSizes.preferred)
            try output.writeBigEndian(offer.blockSizes.maximumPayload)
        }
        try output.writeOptionReply(option, .ack)
        if option == .go { beginTransmission(agreed) }
    }

    /// "NBD_OPT_LIST_META_CONTEXT" and "NBD_OPT_SET_META_CONTEXT". A SET replaces what was selected, also when it
    /// fails; `base:` lists and selects nothing.
    private mutating func answerContexts(
        _ option: NBDOption, _ offer: NBDExportOffer, _ output: inout ByteWriter
    ) throws(OutputFull) {
        let selecting = option == .setMetaContext
        if selecting { selectedBaseAllocation = nil }
        let request: ContextRequest? = parsePending { (reader) throws(TruncatedInput) in
            try ContextRequest(&reader, of: offer)
        }
        guard let request else { return try output.writeOptionError(option, .errorInvalid, "malformed option") }
        guard structuredReplies || !selecting else {
            return try output.writeOptionError(option, .errorInvalid, "structured replies come first")
        }
        guard try admit(request.name, option, offer, &output) else { return }
        let listed = !selecting && (request.namesNothing || request.namesBase)
        if request.namesBaseAllocation || listed {
            if selecting { selectedBaseAllocation = request.name }
            let name = NBDAllocation.contextName.utf8
            try output.writeOptionReply(option, .metaContext, length: 4 + name.count)
            try output.writeBigEndian(selecting ? Self.baseAllocationID : 0)
            try output.writeBytes(name)
        }
        try output.writeOptionReply(option, .ack)
    }

    /// Says no to a name that is not ours and to an export that is not served here now. The client's name is not
    /// repeated: it may hold anything.
    private func admit(
        _ name: NBDExportName, _ option: NBDOption, _ offer: NBDExportOffer, _ output: inout ByteWriter
    ) throws(OutputFull) -> Bool {
        guard name != .unknown else {
            try output.writeOptionError(option, .errorUnknown, "no such export here")
            return false
        }
        if case .unavailable(let message) = offer.state {
            try output.writeOptionError(option, .errorPolicy, message)
            return false
        }
        return true
    }
}
