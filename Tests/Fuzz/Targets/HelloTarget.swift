import Formats
import Model

/// Input: whether checksums are made right, then two frames, each with its length before it.
///
/// Holds: what decodes has one encoding, its own bytes; one bit changed anywhere is refused; what two hellos prove is
/// told apart by role and by each byte of either.
func fuzzHello(_ input: inout InputBytes) throws(BrokenProperty) {
    let seals = input.u8()
    var hellos: [Hello] = []
    for _ in 0..<2 {
        let place = input.integer(UInt32.self)
        var frame = input.take(Int(input.integer(UInt16.self)) % (HelloFrame.maximumBodyLength + 64))
        guard frame.count >= HelloFrame.headerLength else { continue }
        if seals & 1 == 0 { frame.replaceSubrange(0..<8, with: "HABLKHEL".utf8) }
        if seals & 2 == 0 {
            frame.replaceSubrange(12..<16, with: littleEndian(UInt32(frame.count - HelloFrame.headerLength)))
        }
        if seals & 4 == 0 {
            let code = checksum(Array(frame[..<16]), Array(frame[HelloFrame.headerLength...]))
            frame.replaceSubrange(16..<20, with: littleEndian(code))
        }
        guard let message = decode(frame) else { continue }
        try require(
            HelloFrame.encode(message, version: UInt16(frame[8])) == frame,
            "\(message) is encoded otherwise than it came")
        let bit = Int(place) % (frame.count * 8)
        frame[bit / 8] ^= 1 << UInt8(bit % 8)
        try require(decode(frame) == nil, "a hello is accepted with its bit \(bit) changed")
        if case .hello(let hello) = message { hellos.append(hello) }
    }
    guard let dialer = hellos.first, let acceptor = hellos.last else { return }
    try requireTranscripts(dialer, acceptor)
}

private func decode(_ frame: [UInt8]) -> HelloMessage? {
    frame.withUnsafeBytes { bytes in
        let head = UnsafeRawBufferPointer(rebasing: bytes[..<HelloFrame.headerLength])
        let body = UnsafeRawBufferPointer(rebasing: bytes[HelloFrame.headerLength...])
        guard let header = try? HelloFrame.decodeHeader(head) else { return nil }
        return try? HelloFrame.decode(header, body: body)
    }
}

private func requireTranscripts(_ dialer: Hello, _ acceptor: Hello) throws(BrokenProperty) {
    let mine = Authentication.transcript(of: .dialer, dialer: dialer, acceptor: acceptor)
    let theirs = Authentication.transcript(of: .acceptor, dialer: dialer, acceptor: acceptor)
    try require(mine != theirs, "both sides prove the same")
    let turned = Authentication.transcript(of: .dialer, dialer: acceptor, acceptor: dialer)
    try require((mine == turned) == (dialer == acceptor), "who dialed makes no difference")
    var parts: [ArraySlice<UInt8>] = []
    var rest = mine[...]
    while rest.count >= 4 {
        let length = Int(littleEndian(rest.prefix(4), as: UInt32.self))
        parts.append(rest.dropFirst(4).prefix(length))
        rest = rest.dropFirst(4 + length)
    }
    try require(rest.isEmpty && parts.count == 7, "a transcript has other parts than it should")
    try require(parts[4].elementsEqual(HelloFrame.encode(.hello(dialer))), "the dialer's hello is not bound whole")
    try require(parts[6].elementsEqual(HelloFrame.encode(.hello(acceptor))), "the acceptor's hello is not bound whole")
    _ = dialer.firstDifference(from: acceptor)
}
