import Daemon
import Formats
import Model

/// Input: what was negotiated, the size of the export, then requests with what a chunk of extents is to say.
///
/// Holds: a request has one encoding; one that is performed lies within the export, and its pieces are the whole of it,
/// each within an extent and the buffers; each answer fits its room and bears the request's cookie.
func fuzzNBDTransmission(_ input: inout InputBytes) throws(BrokenProperty) {
    let shape = input.u8()
    let size = input.integer(UInt64.self) % (Geometry.maximumVolumeSize + 1)
    let terms = NBDConnectionTerms(
        exportSize: size, readOnly: shape & 1 != 0, structuredReplies: shape & 2 != 0, contextSelected: shape & 4 != 0)
    for _ in 0..<64 where !input.isAtEnd {
        var bytes = input.take(NBDRequest.encodedLength)
        if shape & 8 == 0, bytes.count >= 4 { bytes.replaceSubrange(0..<4, with: [0x25, 0x60, 0x95, 0x13]) }
        let begins = bytes.starts(with: [0x25, 0x60, 0x95, 0x13])
        guard let request = bytes.withUnsafeBytes({ try? NBDRequest($0) }) else {
            try require(!begins || bytes.count < NBDRequest.encodedLength, "a whole request is refused")
            return
        }
        try require(begins, "a request without its magic is accepted")
        try requireEncoding(request, bytes)
        switch request.validate(terms) {
        case .perform(let command): try perform(command, request, terms, &input)
        case .refuse(let error, let discarding):
            let payload = request.command == .write ? request.length : 0
            try require(discarding == payload, "the stream falls out of step")
            try requireAnswer(request) { (output) throws(OutputFull) in
                try output.writeErrorReply(error, "no", to: request, structuredReplies: terms.structuredReplies)
            }
        case .close, .disconnect: return
        }
        if request.command == .write { _ = input.take(Int(request.length)) }
    }
}

private func requireEncoding(_ request: NBDRequest, _ bytes: [UInt8]) throws(BrokenProperty) {
    let again = written(room: NBDRequest.encodedLength) { (output) throws(OutputFull) in try request.write(to: &output)
    }
    try require(again == bytes, "a request is encoded otherwise than it came")
}

private func perform(
    _ command: NBDCommand, _ request: NBDRequest, _ terms: NBDConnectionTerms, _ input: inout InputBytes
) throws(BrokenProperty) {
    if command != .flush {
        let (end, overflow) = request.offset.addingReportingOverflow(UInt64(request.length))
        try require(!overflow && end <= terms.exportSize, "a request beyond the end is performed")
    }
    try require(!terms.readOnly || !command.changesData, "a read-only export is changed")
    try require(command != .write || request.length <= NBDLimits.payload, "a payload over the limit")
    try requirePieces(request)
    try requireCut(request)
    if command == .blockStatus { return try requireExtents(request, &input) }
    try requireAnswer(request) { (output) throws(OutputFull) in
        try output.writeEmptyReply(to: request, structuredReplies: terms.structuredReplies)
    }
}

private func requirePieces(_ request: NBDRequest) throws(BrokenProperty) {
    guard [.read, .write, .trim, .writeZeroes].contains(request.command) else { return }
    var pieces = NBDPieces(request)
    var offset = request.offset
    while let piece = pieces.next {
        let range = piece.range
        try require(range.offset == offset && range.length > 0, "a piece is missing or empty")
        let widened = range.widenedToBlocks
        try require(
            widened.offset / Geometry.extentSize == (widened.end - 1) / Geometry.extentSize, "a piece crosses an extent"
        )
        try require(UInt64(piece.bufferBytes) <= Geometry.maximumPayload, "a piece needs more than a buffer")
        try require(piece.bufferBytes > 0 || range.isBlockAligned, "zeroes that are no whole blocks")
        offset = range.end
        pieces.take(piece)
    }
    try require(offset == request.offset + UInt64(request.length) && pieces.isAtEnd, "pieces are not the whole")
}

private func requireCut(_ request: NBDRequest) throws(BrokenProperty) {
    guard request.command != .flush else { return }
    var cutter = RequestCutter(request)
    var offset = request.offset
    while let piece = cutter.next() {
        try require(piece.offset == offset && piece.length > 0, "a piece is missing or empty")
        offset += UInt64(piece.length)
        try require(piece.offset / RequestCutter.extent == (offset - 1) / RequestCutter.extent, "it crosses an extent")
    }
    try require(offset == request.offset + UInt64(request.length), "pieces are not the whole")
}

private func requireAnswer(
    _ request: NBDRequest, _ write: (inout ByteWriter) throws(OutputFull) -> Void
) throws(BrokenProperty) {
    let reply = written(room: NBDReply.maximumLength, write)
    let isSimple = reply.count == NBDReply.simpleLength
    try require(
        reply.count >= NBDReply.simpleLength && bigEndian(reply[8..<16]) == request.cookie,
        "an answer to another request")
    guard !isSimple else { return }
    try require(
        reply.count >= NBDReply.chunkHeaderLength
            && UInt64(reply.count - NBDReply.chunkHeaderLength) == bigEndian(reply[16..<20]),
        "a chunk is not as long as it says")
}

/// Extents: consecutive, none empty, neighbours differ, together not more than was asked.
private func requireExtents(_ request: NBDRequest, _ input: inout InputBytes) throws(BrokenProperty) {
    let room = 32 + 8 * input.below(8)
    var chunk = [UInt8](repeating: 0, count: room)
    let extents = (0..<input.below(16)).map { _ in (input.integer(UInt32.self), UInt32(input.u8() & 3)) }
    let length = chunk.withUnsafeMutableBytes { memory -> Int in
        guard var writer = try? NBDBlockStatusWriter(memory, answering: request, contextID: 1) else { return 0 }
        for (length, status) in extents {
            if !writer.append(length: UInt64(length), NBDAllocation(rawValue: status)) { break }
        }
        return writer.finish()
    }
    try require(length >= 32 && length <= room && (length - 24) % 8 == 0, "a chunk of \(length) bytes")
    try require(bigEndian(chunk[16..<20]) == UInt64(length - 20), "a chunk is not as long as it says")
    var sum: UInt64 = 0
    var last: UInt64?
    for place in stride(from: 24, to: length, by: 8) {
        let (bytes, status) = (bigEndian(chunk[place..<place + 4]), bigEndian(chunk[place + 4..<place + 8]))
        try require(bytes > 0 && status != last, "an extent is empty or continues the one before")
        sum += bytes
        last = status
    }
    try require(sum <= UInt64(request.length), "more is described than was asked")
    try require(!request.flags.contains(.requestOne) || length == 32, "more than the one extent that was asked for")
}

/// What is written into memory of `room` bytes; nothing when it does not fit.
private func written(room: Int, _ write: (inout ByteWriter) throws(OutputFull) -> Void) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: room) { buffer, count in
        var output = ByteWriter(UnsafeMutableRawBufferPointer(buffer))
        count = (try? write(&output)) == nil ? 0 : output.count
    }
}
