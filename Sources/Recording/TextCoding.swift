import Formats
import Model

/// The longest text that is recorded, in bytes; what is longer is cut, and a replay that hears the rest missing says so.
let longestText = 4096

extension FieldWriter {
    mutating func text(_ text: String) {
        let bytes = text.utf8
        let length = min(bytes.count, longestText)
        u64(UInt64(length))
        self.bytes(bytes.prefix(length))
    }

    mutating func optional(_ value: UInt64?) {
        truth(value != nil)
        if let value { u64(value) }
    }

    mutating func buffer(_ value: BufferID) { u32(UInt32(bitPattern: value.index)) }

    mutating func range(_ value: ByteRange) {
        u64(value.offset)
        u64(value.length)
    }
}

extension FieldReader {
    mutating func text() throws(FieldError) -> String {
        let length = try u64()
        guard length <= UInt64(longestText) else { throw .value(.text) }
        // Cut in the middle of a character, its end reads as a replacement.
        return String(decoding: try bytes(Int(length)), as: UTF8.self)
    }

    mutating func optional() throws(FieldError) -> UInt64? { try truth() ? try u64() : nil }
    mutating func buffer() throws(FieldError) -> BufferID { BufferID(index: Int32(bitPattern: try u32())) }
    mutating func range() throws(FieldError) -> ByteRange { ByteRange(offset: try u64(), length: try u64()) }

    /// A case of an enumeration by its place in a list that is the format.
    mutating func choice<Value>(_ values: [Value], _ name: FieldName) throws(FieldError) -> Value {
        let code = Int(try u8())
        guard code < values.count else { throw .value(name) }
        return values[code]
    }
}
