/// A request header that is not one: the stream is out of step and the connection must close.
package enum NBDRequestFailure: Error, Equatable {
    /// Fewer than `NBDRequest.encodedLength` bytes.
    case truncated
    case wrongMagic(UInt32)
}

/// "Request message": the 28 bytes that begin every request.
package struct NBDRequest: Equatable, Sendable {
    package static let encodedLength = 28

    package var flags: NBDCommandFlags
    /// As on the wire; `command` is nil when it is not known.
    package var rawCommand: UInt16
    package var cookie: UInt64
    package var offset: UInt64
    package var length: UInt32

    package var command: NBDCommand? { NBDCommand(rawValue: rawCommand) }

    package init(
        _ command: NBDCommand, flags: NBDCommandFlags = [], cookie: UInt64, offset: UInt64, length: UInt32
    ) {
        self.flags = flags
        rawCommand = command.rawValue
        self.cookie = cookie
        self.offset = offset
        self.length = length
    }

    /// Decodes the first 28 bytes.
    package init(_ bytes: UnsafeRawBufferPointer) throws(NBDRequestFailure) {
        var reader = ByteReader(bytes)
        let magic: UInt32
        do {
            magic = try reader.readBigEndian()
            flags = NBDCommandFlags(rawValue: try reader.readBigEndian())
            rawCommand = try reader.readBigEndian()
            cookie = try reader.readBigEndian()
            offset = try reader.readBigEndian()
            length = try reader.readBigEndian()
        } catch {
            throw .truncated
        }
        guard magic == NBDMagic.request else { throw .wrongMagic(magic) }
    }

    /// Bytes that follow the header whatever the answer will be.
    package var payloadLength: UInt32 { command == .write ? length : 0 }

    /// Writes the 28 bytes (for clients: tests, benchmarks).
    package func write(to output: inout ByteWriter) throws(OutputFull) {
        guard output.remaining >= Self.encodedLength else { throw OutputFull() }
        try output.writeBigEndian(NBDMagic.request)
        try output.writeBigEndian(flags.rawValue)
        try output.writeBigEndian(rawCommand)
        try output.writeBigEndian(cookie)
        try output.writeBigEndian(offset)
        try output.writeBigEndian(length)
    }
}

/// What becomes of a request.
package enum NBDRequestVerdict: Equatable, Sendable {
    /// It is legal. READ, WRITE, TRIM, CACHE and WRITE_ZEROES may have length zero: nothing to do but to answer.
    case perform(NBDCommand)
    /// DISC: finish what is in flight, then close; there is no reply.
    case disconnect
    /// Consume `discarding` bytes of payload, then answer with the error; the stream stays in step.
    case refuse(NBDError, discarding: UInt32)
    /// The stream cannot be kept in step for a price we pay: close at once.
    case close(NBDRequestOffence)
}

/// Why a connection is closed in the middle of transmission.
package enum NBDRequestOffence: Equatable, Sendable, CustomStringConvertible {
    case payloadTooLong(UInt32)

    package var description: String {
        switch self {
        case .payloadTooLong(let length): "a WRITE of \(length) bytes, more than \(NBDLimits.payload)"
        }
    }
}

/// What validation needs to know of a connection.
package struct NBDConnectionTerms: Equatable, Sendable {
    package var exportSize: UInt64
    package var readOnly: Bool
    package var structuredReplies: Bool
    package var contextSelected: Bool

    package init(exportSize: UInt64, readOnly: Bool, structuredReplies: Bool, contextSelected: Bool) {
        self.exportSize = exportSize
        self.readOnly = readOnly
        self.structuredReplies = structuredReplies
        self.contextSelected = contextSelected
    }

    package init(_ agreed: NBDNegotiated) {
        self.init(
            exportSize: agreed.size, readOnly: agreed.flags.contains(.readOnly),
            structuredReplies: agreed.structuredReplies, contextSelected: agreed.baseAllocation != nil)
    }
}

extension NBDRequest {
    /// Every rule of "Request types", "Command flags" and "Error values" in one list; the first that is broken
    /// decides. Nothing behind it needs to check a request again.
    package func validate(_ terms: NBDConnectionTerms) -> NBDRequestVerdict {
        guard let command else { return .refuse(.invalid, discarding: 0) }
        guard command != .disconnect else { return .disconnect }
        guard payloadLength <= NBDLimits.payload else { return .close(.payloadTooLong(length)) }

        func refuse(_ error: NBDError) -> NBDRequestVerdict { .refuse(error, discarding: payloadLength) }

        guard flags.isSubset(of: command.flagsAllowed(terms)) else { return refuse(.invalid) }
        guard !terms.readOnly || !command.changesData else { return refuse(.notPermitted) }
        guard command != .blockStatus || terms.contextSelected else { return refuse(.invalid) }
        // A flush means the whole export: qemu-nbd too ignores what its offset and length say.
        guard command != .flush else { return .perform(.flush) }
        let (end, overflow) = offset.addingReportingOverflow(UInt64(length))
        guard !overflow, end <= terms.exportSize else { return refuse(command.errorBeyondTheEnd) }
        // A reply of no extent does not exist.
        guard command != .blockStatus || length > 0 else { return refuse(.invalid) }
        guard command != .read || length <= NBDLimits.payload else { return refuse(.invalid) }
        guard !flags.contains(.dontFragment) || length <= NBDLimits.unfragmentedRead else { return refuse(.overflow) }
        return .perform(command)
    }
}

extension NBDCommand {
    /// Whether a read-only export refuses it.
    package var changesData: Bool {
        switch self {
        case .write, .trim, .writeZeroes: true
        case .read, .disconnect, .flush, .cache, .blockStatus: false
        }
    }

    /// Whether structured replies, once negotiated, are the only kind for it.
    package var needsStructuredReply: Bool { self == .read || self == .blockStatus }

    /// FUA is valid on every command and ignored where nothing is written.
    fileprivate func flagsAllowed(_ terms: NBDConnectionTerms) -> NBDCommandFlags {
        switch self {
        case .read: terms.structuredReplies ? [.fua, .dontFragment] : .fua
        case .writeZeroes: [.fua, .noHole, .fastZero]
        case .blockStatus: [.fua, .requestOne]
        case .write, .disconnect, .flush, .trim, .cache: .fua
        }
    }

    fileprivate var errorBeyondTheEnd: NBDError {
        self == .write || self == .writeZeroes ? .noSpace : .invalid
    }
}
