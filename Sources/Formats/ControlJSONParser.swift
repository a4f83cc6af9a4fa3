/// The bytes are no JSON value.
package struct MalformedJSON: Error, Equatable {
    /// Where it was noticed, in bytes.
    package var offset: Int
    package var problem: String
}

/// Reads one JSON value (RFC 8259) from bytes that somebody else wrote. Never traps; nesting is bounded.
package struct JSONParser {
    /// Deeper nesting is refused: no message of ours needs a third of it.
    package static let maximumDepth = 16

    private let bytes: [UInt8]
    private var offset = 0

    private init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// The one value that `bytes` hold, with nothing but white space around it.
    package static func parse(_ bytes: [UInt8]) throws(MalformedJSON) -> JSONValue {
        var parser = JSONParser(bytes)
        let value = try parser.value(depth: 0)
        parser.skipSpace()
        guard parser.offset == bytes.count else { throw parser.problem("something follows the value") }
        return value
    }

    private func problem(_ text: String) -> MalformedJSON { MalformedJSON(offset: offset, problem: text) }

    private var next: UInt8? { offset < bytes.count ? bytes[offset] : nil }

    private mutating func skipSpace() {
        while let byte = next, byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09 { offset += 1 }
    }

    private mutating func take(_ byte: UInt8) -> Bool {
        guard next == byte else { return false }
        offset += 1
        return true
    }

    private mutating func value(depth: Int) throws(MalformedJSON) -> JSONValue {
        guard depth < Self.maximumDepth else { throw problem("nested too deeply") }
        skipSpace()
        switch next {
        case UInt8(ascii: "{"): return try object(depth: depth)
        case UInt8(ascii: "["): return try array(depth: depth)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        case nil: throw problem("a value is missing")
        default: return try number()
        }
    }

    private mutating func word(_ word: StaticString, _ value: JSONValue) throws(MalformedJSON) -> JSONValue {
        for index in 0..<word.utf8CodeUnitCount {
            guard take(word.utf8Start[index]) else { throw problem("an unknown word") }
        }
        return value
    }

    private mutating func object(depth: Int) throws(MalformedJSON) -> JSONValue {
        offset += 1
        var members: [JSONValue.Member] = []
        skipSpace()
        if take(UInt8(ascii: "}")) { return .object(members) }
        while true {
            skipSpace()
            guard next == UInt8(ascii: "\"") else { throw problem("a field name is missing") }
            let name = try string()
            skipSpace()
            guard take(UInt8(ascii: ":")) else { throw problem("a colon is missing") }
            members.append(JSONValue.Member(name, try value(depth: depth + 1)))
            skipSpace()
            if take(UInt8(ascii: "}")) { return .object(members) }
            guard take(UInt8(ascii: ",")) else { throw problem("a comma or closing brace is missing") }
        }
    }

    private mutating func array(depth: Int) throws(MalformedJSON) -> JSONValue {
        offset += 1
        var elements: [JSONValue] = []
        skipSpace()
        if take(UInt8(ascii: "]")) { return .array(elements) }
        while true {
            elements.append(try value(depth: depth + 1))
            skipSpace()
            if take(UInt8(ascii: "]")) { return .array(elements) }
            guard take(UInt8(ascii: ",")) else { throw problem("a comma or closing bracket is missing") }
        }
    }

    /// `-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?`
    private mutating func number() throws(MalformedJSON) -> JSONValue {
        let start = offset
        var isWhole = true
        _ = take(UInt8(ascii: "-"))
        if !take(UInt8(ascii: "0")) { try digits() }
        if take(UInt8(ascii: ".")) {
            isWhole = false
            try digits()
        }
        if take(UInt8(ascii: "e")) || take(UInt8(ascii: "E")) {
            isWhole = false
            if !take(UInt8(ascii: "+")) { _ = take(UInt8(ascii: "-")) }
            try digits()
        }
        guard offset - start <= 64 else { throw problem("a number of too many digits") }
        let text = String(decoding: bytes[start..<offset], as: UTF8.self)
        if isWhole, let integer = Int64(text) { return .integer(integer) }
        guard let number = Double(text), number.isFinite else { throw problem("a number out of range") }
        return .number(number)
    }

    private mutating func digits() throws(MalformedJSON) {
        let start = offset
        while let byte = next, UInt8(ascii: "0")...UInt8(ascii: "9") ~= byte { offset += 1 }
        if offset == start { throw problem("a digit is missing") }
    }

    private mutating func string() throws(MalformedJSON) -> String {
        offset += 1
        var content: [UInt8] = []
        while let byte = next {
            offset += 1
            switch byte {
            case UInt8(ascii: "\""):
                guard let text = String(validating: content, as: UTF8.self) else { throw problem("invalid UTF-8") }
                return text
            case UInt8(ascii: "\\"): content.append(contentsOf: String(try escape()).utf8)
            case 0..<0x20: throw problem("a control character inside a string")
            default: content.append(byte)
            }
        }
        throw problem("a string without end")
    }

    private mutating func escape() throws(MalformedJSON) -> Unicode.Scalar {
        guard let byte = next else { throw problem("a string without end") }
        offset += 1
        switch byte {
        case UInt8(ascii: "\""): return "\""
        case UInt8(ascii: "\\"): return "\\"
        case UInt8(ascii: "/"): return "/"
        case UInt8(ascii: "b"): return "\u{8}"
        case UInt8(ascii: "f"): return "\u{c}"
        case UInt8(ascii: "n"): return "\n"
        case UInt8(ascii: "r"): return "\r"
        case UInt8(ascii: "t"): return "\t"
        case UInt8(ascii: "u"):
            let first = try hexadecimal()
            if let scalar = Unicode.Scalar(first) { return scalar }
            guard first < 0xdc00, take(UInt8(ascii: "\\")), take(UInt8(ascii: "u")) else {
                throw problem("half a surrogate pair")
            }
            let second = try hexadecimal()
            guard 0xdc00...0xdfff ~= second,
                let scalar = Unicode.Scalar(0x10000 + (first - 0xd800) << 10 + (second - 0xdc00))
            else { throw problem("half a surrogate pair") }
            return scalar
        default: throw problem("an unknown escape")
        }
    }

    private mutating func hexadecimal() throws(MalformedJSON) -> UInt32 {
        guard bytes.count - offset >= 4, let value = UInt32(ascii: bytes[offset..<(offset + 4)], radix: 16) else {
            throw problem("four hexadecimal digits are missing")
        }
        offset += 4
        return value
    }
}

extension UInt32 {
    /// Digits only: no sign, unlike `UInt32(_:radix:)`.
    fileprivate init?(ascii digits: ArraySlice<UInt8>, radix: UInt32) {
        var value: UInt32 = 0
        for digit in digits {
            guard let number = Character(Unicode.Scalar(digit)).hexDigitValue else { return nil }
            value = value * radix + UInt32(number)
        }
        self = value
    }
}
