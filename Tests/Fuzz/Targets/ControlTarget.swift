import Formats

/// Input: how the stream is split, how much is put into it, the stream.
///
/// Holds: split in any way it is the same lines; what is JSON is written as JSON of the same meaning; a request and an
/// answer are read back as they were written; no answer is longer than a line may be.
func fuzzControl(_ input: inout InputBytes) throws(BrokenProperty) {
    let shape = input.u8()
    let lengths = input.take(Int(shape >> 4))
    let filler = [UInt8](
        repeating: input.u8(), count: shape & 1 == 0 ? 0 : ControlCoding.maximumLine - 1 + input.below(3))
    let place = input.below(64)
    var stream = input.rest()
    stream.insert(contentsOf: filler, at: min(place, stream.count))
    let whole = cut([stream[...]])
    let pieces = cut(split(stream, by: lengths.map { $0 | (filler.isEmpty ? 0 : 0x80) }))
    try require(whole == pieces, "split otherwise it is other lines")
    for line in whole.lines {
        try require(line.count < ControlCoding.maximumLine, "a line of \(line.count) bytes")
        try requireMeaning(line)
    }
    try requireMeaning(stream)
}

private struct Lines: Equatable {
    var lines: [[UInt8]] = []
    var failed = false
}

private func cut(_ pieces: [ArraySlice<UInt8>]) -> Lines {
    var cutter = ControlLines()
    var found = Lines()
    do {
        for piece in pieces {
            cutter.append(piece)
            while let line = try cutter.next() { found.lines.append(line) }
        }
    } catch {
        found.failed = true
    }
    return found
}

private func requireMeaning(_ line: [UInt8]) throws(BrokenProperty) {
    guard let value = try? JSONParser.parse(line) else {
        try require((try? ControlCoding.decodeRequest(line)) == nil, "a request that is no JSON")
        try require((try? ControlCoding.decodeResponse(line)) == nil, "an answer that is no JSON")
        return
    }
    // Numbers are written in thousandths, so the first writing may round; the second must not differ.
    let text = value.text
    guard let again = try? JSONParser.parse(Array(text.utf8)) else {
        throw BrokenProperty("what is written is no JSON: \(text)")
    }
    try require(again.text == text, "written again it differs: \(text)")
    if let request = try? ControlCoding.decodeRequest(line) {
        let bytes = ControlCoding.encode(request)
        guard bytes.count <= ControlCoding.maximumLine else { return }
        try require(bytes.last == UInt8(ascii: "\n") && !bytes.dropLast().contains(10), "a request is not one line")
        try require((try? ControlCoding.decodeRequest(bytes)) == request, "a request is read back otherwise")
    }
    if let response = try? ControlCoding.decodeResponse(line) {
        let bytes = ControlCoding.encode(response)
        try require(bytes.count <= ControlCoding.maximumLine, "an answer of \(bytes.count) bytes")
        try require(bytes.last == UInt8(ascii: "\n") && !bytes.dropLast().contains(10), "an answer is not one line")
        guard let back = try? ControlCoding.decodeResponse(bytes) else {
            throw BrokenProperty("an answer cannot be read back: \(String(decoding: bytes, as: UTF8.self))")
        }
        try require(ControlCoding.encode(back) == bytes, "an answer is read back otherwise")
    }
}
