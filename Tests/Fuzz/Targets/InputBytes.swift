import Model

/// An input, read from its front; at its end everything is zero.
struct InputBytes {
    private let bytes: UnsafeRawBufferPointer
    private var offset = 0

    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    var isAtEnd: Bool { offset == bytes.count }
    var remaining: Int { bytes.count - offset }

    mutating func u8() -> UInt8 {
        guard offset < bytes.count else { return 0 }
        defer { offset += 1 }
        return bytes[offset]
    }

    mutating func integer<T: FixedWidthInteger>(_ type: T.Type = T.self) -> T {
        var value: T = 0
        for index in 0..<T.bitWidth / 8 { value |= T(truncatingIfNeeded: u8()) << T(index * 8) }
        return value
    }

    mutating func flag() -> Bool { u8() & 1 != 0 }

    /// `0 ..< limit`, from as many bytes as it takes.
    mutating func below(_ limit: Int) -> Int {
        limit <= 256 ? Int(u8()) % limit : Int(integer(UInt32.self)) % limit
    }

    mutating func pick<Element>(_ elements: [Element]) -> Element { elements[below(elements.count)] }

    /// At most `count` bytes.
    mutating func take(_ count: Int) -> [UInt8] {
        let taken = min(count, remaining)
        defer { offset += taken }
        return Array(bytes[offset..<offset + taken])
    }

    mutating func rest() -> [UInt8] { take(remaining) }
}

/// `bytes` in pieces whose lengths `lengths` says, over and over; no length: all at once. Zero lengths are pieces too.
func split(_ bytes: [UInt8], by lengths: [UInt8]) -> [ArraySlice<UInt8>] {
    guard lengths.contains(where: { $0 > 0 }) else { return [bytes[...]] }
    var pieces: [ArraySlice<UInt8>] = []
    var start = 0
    while start < bytes.count {
        let length = Int(lengths[pieces.count % lengths.count])
        pieces.append(bytes[start..<min(start + length, bytes.count)])
        start += length
    }
    return pieces
}
