/// The replies of transmission, written into memory of the caller's; each is written whole or not at all.
///
/// Headers that precede data (`simple` of a read, `dataChunk`) say how much follows; the caller sends that itself.
package enum NBDReply {
    /// "Simple reply message".
    package static let simpleLength = 16
    /// "Structured reply chunk message".
    package static let chunkHeaderLength = 20
    /// A chunk header and the offset: what precedes the data of OFFSET_DATA.
    package static let dataChunkHeaderLength = 28
    package static let holeChunkLength = 32
    /// The longest reply of those that carry no data.
    package static let maximumLength = 20 + 4 + 2 + NBDLimits.text + 8
}

extension ByteWriter {
    /// "Simple reply message"; nil: success. After a successful one for a READ its data follows, all of it.
    package mutating func writeSimpleReply(cookie: UInt64, error: NBDError? = nil) throws(OutputFull) {
        guard remaining >= NBDReply.simpleLength else { throw OutputFull() }
        try writeBigEndian(NBDMagic.simpleReply)
        try writeBigEndian(error?.rawValue ?? 0)
        try writeBigEndian(cookie)
    }

    /// `NBD_REPLY_TYPE_NONE`: the end of a structured reply.
    package mutating func writeDoneChunk(cookie: UInt64) throws(OutputFull) {
        try writeChunkHeader(.none, cookie: cookie, done: true, payload: 0, following: 0)
    }

    /// `NBD_REPLY_TYPE_OFFSET_DATA` without its data: `length` bytes follow, at least one and at most
    /// `NBDLimits.payload`. Say `done` only when nothing can fail any more: with the last piece in memory.
    package mutating func writeDataChunkHeader(
        cookie: UInt64, offset: UInt64, length: UInt32, done: Bool
    ) throws(OutputFull) {
        try writeChunkHeader(.offsetData, cookie: cookie, done: done, payload: 8, following: length)
        try writeBigEndian(offset)
    }

    /// `NBD_REPLY_TYPE_OFFSET_HOLE`: `length` zeroes, at least one.
    package mutating func writeHoleChunk(
        cookie: UInt64, offset: UInt64, length: UInt32, done: Bool
    ) throws(OutputFull) {
        try writeChunkHeader(.offsetHole, cookie: cookie, done: done, payload: 12, following: 0)
        try writeBigEndian(offset)
        try writeBigEndian(length)
    }

    /// `NBD_REPLY_TYPE_ERROR`, or `NBD_REPLY_TYPE_ERROR_OFFSET` when `offset` says where.
    package mutating func writeErrorChunk(
        _ error: NBDError, _ text: String = "", cookie: UInt64, offset: UInt64? = nil, done: Bool = true
    ) throws(OutputFull) {
        let words = boundedUTF8(text)
        let payload = 6 + words.count + (offset == nil ? 0 : 8)
        let type: NBDChunkType = offset == nil ? .error : .errorOffset
        try writeChunkHeader(type, cookie: cookie, done: done, payload: payload, following: 0)
        try writeBigEndian(error.rawValue)
        try writeBigEndian(UInt16(clamping: words.count))
        try writeBytes(words)
        if let offset { try writeBigEndian(offset) }
    }

    /// The answer to a request that failed as a whole, of the kind that this connection wants for it.
    package mutating func writeErrorReply(
        _ error: NBDError, _ text: String = "", to request: NBDRequest, structuredReplies: Bool
    ) throws(OutputFull) {
        if structuredReplies, request.command?.needsStructuredReply == true {
            try writeErrorChunk(error, text, cookie: request.cookie)
        } else {
            try writeSimpleReply(cookie: request.cookie, error: error)
        }
    }

    /// The answer to a request that succeeded and returns nothing: WRITE, FLUSH, TRIM, CACHE, WRITE_ZEROES, and a
    /// READ of length zero.
    package mutating func writeEmptyReply(
        to request: NBDRequest, structuredReplies: Bool
    ) throws(OutputFull) {
        if structuredReplies, request.command?.needsStructuredReply == true {
            try writeDoneChunk(cookie: request.cookie)
        } else {
            try writeSimpleReply(cookie: request.cookie)
        }
    }

    /// Writes a header only when its payload fits too; `following` bytes of data go elsewhere.
    fileprivate mutating func writeChunkHeader(
        _ type: NBDChunkType, cookie: UInt64, done: Bool, payload: Int, following: UInt32
    ) throws(OutputFull) {
        let (length, overflow) = UInt32(clamping: payload).addingReportingOverflow(following)
        guard !overflow, remaining - NBDReply.chunkHeaderLength >= payload else { throw OutputFull() }
        try writeBigEndian(NBDMagic.structuredReply)
        try writeBigEndian(UInt16(done ? 1 : 0))
        try writeBigEndian(type.rawValue)
        try writeBigEndian(cookie)
        try writeBigEndian(length)
    }
}

/// Writes one `NBD_REPLY_TYPE_BLOCK_STATUS` chunk extent by extent, and keeps its rules: extents are consecutive,
/// none is empty, neighbours differ, together they do not pass the request, REQ_ONE gives one.
package struct NBDBlockStatusWriter {
    /// "The server MUST NOT send more than 2^20 descriptors."
    private static let maximumExtents = 1 << 20

    private var output: ByteWriter
    private let oneExtent: Bool
    private var remaining: UInt32
    private var extents = 0
    private var lastLength: UInt32 = 0
    private var lastStatus = NBDAllocation()

    /// `memory` takes the whole chunk: 24 bytes and eight for each extent, so at least 32.
    package init(
        _ memory: UnsafeMutableRawBufferPointer, answering request: NBDRequest, contextID: UInt32, done: Bool = true
    ) throws(OutputFull) {
        output = ByteWriter(memory)
        oneExtent = request.flags.contains(.requestOne)
        remaining = request.length
        guard output.remaining >= 32 else { throw OutputFull() }
        try output.writeChunkHeader(.blockStatus, cookie: request.cookie, done: done, payload: 4, following: 0)
        try output.writeBigEndian(contextID)
    }

    /// Bytes of the request that no extent describes yet.
    package var undescribed: UInt32 { remaining }

    /// False when the chunk takes no more: finish it; describing less than was asked is allowed. What passes the
    /// request's end is cut off.
    package mutating func append(length: UInt64, _ status: NBDAllocation) -> Bool {
        let length = UInt32(clamping: min(length, UInt64(remaining)))
        guard length > 0 else { return remaining > 0 }
        if extents > 0, status == lastStatus {
            lastLength += length  // together at most the request's length
            remaining -= length
            rewriteLast()
            return remaining > 0
        }
        guard extents < (oneExtent ? 1 : Self.maximumExtents), output.remaining >= 8 else { return false }
        do {
            try output.writeBigEndian(length)
            try output.writeBigEndian(status.rawValue)
        } catch {
            return false
        }
        extents += 1
        lastLength = length
        lastStatus = status
        remaining -= length
        return remaining > 0
    }

    /// The chunk's bytes in the memory. A chunk without an extent is illegal: then one of status 0 describes the
    /// whole request, which is always true.
    package mutating func finish() -> Int {
        if extents == 0 { _ = append(length: UInt64(remaining), []) }
        let payload = UInt32(clamping: output.count - NBDReply.chunkHeaderLength)
        try? output.overwriteBigEndian(payload, at: 16)
        return output.count
    }

    private mutating func rewriteLast() {
        try? output.overwriteBigEndian(lastLength, at: output.count - 8)
    }
}
