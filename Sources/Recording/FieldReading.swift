import Formats
import Model

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
