/// The input ends before the value that was asked for.
package struct TruncatedInput: Error, Equatable {
    package init() {}
}

/// The memory given to a writer ends before the value that was to be written.
package struct OutputFull: Error, Equatable {
    package init() {}
}

/// Reads integers and byte ranges from memory that somebody else owns.
///
/// Never traps and never allocates: whatever does not fit throws, and a read that throws does not move the cursor.
/// The memory must outlive the reader, and so must it outlive each range that `readBytes` returns.
package struct ByteReader {
    private let bytes: UnsafeRawBufferPointer
    /// Bytes consumed so far; always in `0...bytes.count`.
    package private(set) var offset = 0

    package init(_ bytes: UnsafeRawBufferPointer) {
        self.bytes = bytes
    }

    /// Bytes not yet consumed.
    package var remaining: Int { bytes.count - offset }
    package var isAtEnd: Bool { offset == bytes.count }

    package mutating func readUInt8() throws(TruncatedInput) -> UInt8 {
        try load(UInt8.self)
    }

    package mutating func readBigEndian<T: FixedWidthInteger & BitwiseCopyable>(
        _ type: T.Type = T.self
    ) throws(TruncatedInput) -> T {
        T(bigEndian: try load(T.self))
    }

    package mutating func readLittleEndian<T: FixedWidthInteger & BitwiseCopyable>(
        _ type: T.Type = T.self
    ) throws(TruncatedInput) -> T {
        T(littleEndian: try load(T.self))
    }

    /// The next `count` bytes, in place. A negative count throws too.
    package mutating func readBytes(_ count: Int) throws(TruncatedInput) -> UnsafeRawBufferPointer {
        let start = offset
        try skip(count)
        return UnsafeRawBufferPointer(rebasing: bytes[start..<offset])
    }

    /// Everything that is left, in place.
    package mutating func readRest() -> UnsafeRawBufferPointer {
        let start = offset
        offset = bytes.count
        return UnsafeRawBufferPointer(rebasing: bytes[start...])
    }

    package mutating func skip(_ count: Int) throws(TruncatedInput) {
        guard count >= 0, count <= remaining else { throw TruncatedInput() }
        offset += count
    }

    private mutating func load<T: BitwiseCopyable>(_ type: T.Type) throws(TruncatedInput) -> T {
        guard MemoryLayout<T>.size <= remaining else { throw TruncatedInput() }
        let value = bytes.loadUnaligned(fromByteOffset: offset, as: type)
        offset += MemoryLayout<T>.size
        return value
    }
}

/// Writes integers and byte ranges into memory that somebody else owns.
///
/// Never traps and never allocates: whatever does not fit throws, and then nothing of it has been written.
package struct ByteWriter {
    private let bytes: UnsafeMutableRawBufferPointer
    /// Bytes written so far; always in `0...bytes.count`.
    package private(set) var count = 0

    package init(_ bytes: UnsafeMutableRawBufferPointer) {
        self.bytes = bytes
    }

    /// Room that is left.
    package var remaining: Int { bytes.count - count }

    /// What has been written so far, in place (for a checksum).
    package var written: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: bytes[..<count])
    }

    package mutating func writeUInt8(_ value: UInt8) throws(OutputFull) {
        try store(value)
    }

    package mutating func writeBigEndian<T: FixedWidthInteger & BitwiseCopyable>(_ value: T) throws(OutputFull) {
        try store(value.bigEndian)
    }

    package mutating func writeLittleEndian<T: FixedWidthInteger & BitwiseCopyable>(_ value: T) throws(OutputFull) {
        try store(value.littleEndian)
    }

    /// Copies `source`, which may lie in the same memory.
    package mutating func writeBytes(_ source: UnsafeRawBufferPointer) throws(OutputFull) {
        guard source.count <= remaining else { throw OutputFull() }
        if !source.isEmpty {
            UnsafeMutableRawBufferPointer(rebasing: bytes[count...]).copyMemory(from: source)
        }
        count += source.count
    }

    /// Copies bytes of any collection: a string's `utf8`, an array, an inline array's indices mapped.
    package mutating func writeBytes(_ source: some Collection<UInt8>) throws(OutputFull) {
        let length = source.count
        guard length <= remaining else { throw OutputFull() }
        UnsafeMutableRawBufferPointer(rebasing: bytes[count..<(count + length)]).copyBytes(from: source)
        count += length
    }

    /// Writes `length` zero bytes. A negative length throws too.
    package mutating func writeZeroes(_ length: Int) throws(OutputFull) {
        guard length >= 0, length <= remaining else { throw OutputFull() }
        let room = UnsafeMutableRawBufferPointer(rebasing: bytes[count..<(count + length)])
        room.initializeMemory(as: UInt8.self, repeating: 0)
        count += length
    }

    /// Replaces bytes already written: a length or a checksum that is known only at the end.
    package mutating func overwriteBigEndian<T: FixedWidthInteger & BitwiseCopyable>(
        _ value: T, at position: Int
    ) throws(OutputFull) {
        try replace(value.bigEndian, at: position)
    }

    /// Replaces bytes already written: a length or a checksum that is known only at the end.
    package mutating func overwriteLittleEndian<T: FixedWidthInteger & BitwiseCopyable>(
        _ value: T, at position: Int
    ) throws(OutputFull) {
        try replace(value.littleEndian, at: position)
    }

    private mutating func store<T: BitwiseCopyable>(_ value: T) throws(OutputFull) {
        guard MemoryLayout<T>.size <= remaining else { throw OutputFull() }
        bytes.storeBytes(of: value, toByteOffset: count, as: T.self)
        count += MemoryLayout<T>.size
    }

    private func replace<T: BitwiseCopyable>(_ value: T, at position: Int) throws(OutputFull) {
        guard position >= 0, position <= count, MemoryLayout<T>.size <= count - position else { throw OutputFull() }
        bytes.storeBytes(of: value, toByteOffset: position, as: T.self)
    }
}
