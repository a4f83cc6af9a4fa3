import Formats

/// Everything that a handshake said and how it ended.
private struct Conversation: Equatable {
    var output: [UInt8] = []
    var consumed = 0
    var state = NBDHandshakeStep.State.wantsInput
}

/// Input: what is offered, zeroes that make the stream long, how it is split, the stream.
///
/// Holds: split in any way it is the same conversation; what is answered is bounded and well formed.
func fuzzNBDHandshake(_ input: inout InputBytes) throws(BrokenProperty) {
    let shape = input.u8()
    let filler = [UInt8](repeating: 0, count: Int(input.u8()) << 8)
    let place = Int(input.integer(UInt16.self))
    let lengths = input.take(Int(shape >> 4))
    let offer = NBDExportOffer(
        name: shape & 1 == 0 ? "r0" : String(repeating: "n", count: NBDLimits.exportName), size: 10 << 30,
        flags: shape & 2 == 0 ? .hablk : .hablk.union(.readOnly),
        description: shape & 4 == 0 ? "" : String(repeating: "ü", count: 3000),
        state: shape & 8 == 0 ? .available : .unavailable("this node is secondary"))
    var stream = input.rest()
    stream.insert(contentsOf: filler, at: min(place, stream.count))
    let whole = try converse([stream[...]], offer, room: 64 << 10)
    let pieces = try converse(split(stream, by: lengths), offer, room: NBDHandshake.maximumReplyLength)
    try require(whole == pieces, "split otherwise it goes otherwise: \(whole.state) and \(pieces.state)")
    try requireReplies(whole)
}

private func converse(
    _ pieces: [ArraySlice<UInt8>], _ offer: NBDExportOffer, room: Int
) throws(BrokenProperty) -> Conversation {
    var handshake = NBDHandshake()
    var conversation = Conversation()
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: room, alignment: 16)
    defer { memory.deallocate() }
    for piece in [[]] + pieces {
        var rest = Array(piece)
        repeat {
            var output = ByteWriter(memory)
            let step = rest.withUnsafeBytes { handshake.advance($0, offer: offer, into: &output) }
            try require(step.consumed <= rest.count, "more is consumed than there was")
            try require(step.state != .wantsOutput || output.count > 0, "it wants room and has all of it")
            try require(step.state != .wantsInput || step.consumed == rest.count, "it wants more and leaves some")
            conversation.output += output.written
            conversation.consumed += step.consumed
            conversation.state = step.state
            rest.removeFirst(step.consumed)
        } while conversation.state == .wantsOutput
        if conversation.state != .wantsInput { break }
    }
    return conversation
}

/// The greeting, then whole option replies, then at most what answers EXPORT_NAME.
private func requireReplies(_ conversation: Conversation) throws(BrokenProperty) {
    let output = conversation.output
    let limit = NBDHandshake.maximumReplyLength * (NBDHandshake.maximumOptions + 1)
    try require(output.count >= 18 && output.count <= limit, "\(output.count) bytes are answered")
    var place = 18
    while place < output.count {
        let header = output[place...].prefix(20)
        guard header.count == 20, bigEndian(header.prefix(8)) == 0x0003_e889_0455_65a9 else { break }
        place += 20 + Int(bigEndian(header.suffix(4)))
    }
    guard place != output.count else { return }
    guard case .transmission = conversation.state else { throw BrokenProperty("bytes that are no option reply") }
    try require([10, 134].contains(output.count - place), "bytes that answer nothing")
}

func bigEndian(_ bytes: some Sequence<UInt8>) -> UInt64 { bytes.reduce(0) { $0 << 8 | UInt64($1) } }
