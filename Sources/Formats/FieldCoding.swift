package import Model

/// Fields whose values are bounded, as errors name them.
package enum FieldName: String, Sendable {
    case node, reason, role, disk, flags, history, base, size, counter, runs, block
    case text, nonce, truth, copy, geometry, slots
}

/// Why the bytes of a noun are refused; each format says it in its own words.
package enum FieldError: Error, Equatable {
    case truncated
    case value(FieldName)
    case range(ByteRange)
}

/// Bounds that keep sums of received numbers from overflowing.
enum FieldLimits {
    /// For what only ever counts up: terms, indices, sequences, rounds.
    static let counter: UInt64 = 1 << 62
    /// For numbers of blocks; more than the largest volume has.
    static let blocks: UInt64 = 1 << 40
}

/// Reads little-endian fields and the nouns made of them.
package struct FieldReader {
    private var reader: ByteReader
    private let isCompact: Bool

    /// - Parameter compact: as the writer was told.
    package init(_ bytes: UnsafeRawBufferPointer, compact: Bool = false) {
        reader = ByteReader(bytes)
        isCompact = compact
    }

    package var isAtEnd: Bool { reader.isAtEnd }
    package var offset: Int { reader.offset }

    package mutating func u8() throws(FieldError) -> UInt8 {
        do { return try reader.readUInt8() } catch { throw .truncated }
    }
    package mutating func u16() throws(FieldError) -> UInt16 { try integer() }
    package mutating func u32() throws(FieldError) -> UInt32 { try integer() }
    package mutating func u64() throws(FieldError) -> UInt64 { try integer() }

    private mutating func integer<T: FixedWidthInteger & BitwiseCopyable>() throws(FieldError) -> T {
        if isCompact {
            guard let value = T(exactly: try grouped()) else { throw .value(.size) }
            return value
        }
        do { return try reader.readLittleEndian() } catch { throw .truncated }
    }

    /// Seven bits a byte, the lowest first, the high bit on all but the last; never longer than need be.
    private mutating func grouped() throws(FieldError) -> UInt64 {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while true {
            let byte: UInt8
            do { byte = try reader.readUInt8() } catch { throw .truncated }
            guard shift < 63 || byte <= 1, shift == 0 || byte != 0 else { throw .value(.size) }
            value |= UInt64(byte & 0x7f) << shift
            if byte & 0x80 == 0 { return value }
            shift += 7
        }
    }

    package mutating func bytes(_ count: Int) throws(FieldError) -> UnsafeRawBufferPointer {
        do { return try reader.readBytes(count) } catch { throw .truncated }
    }

    package mutating func skip(_ count: Int) throws(FieldError) {
        do { try reader.skip(count) } catch { throw .truncated }
    }

    package mutating func identity<T: RandomIdentity>(_ type: T.Type = T.self) throws(FieldError) -> T {
        T(rawValue: try u64())
    }

    /// A number that only ever counts up.
    package mutating func counter() throws(FieldError) -> UInt64 {
        let value = try u64()
        guard value <= FieldLimits.counter else { throw .value(.counter) }
        return value
    }

    package mutating func blockCount() throws(FieldError) -> UInt64 {
        let value = try u64()
        guard value <= FieldLimits.blocks else { throw .value(.block) }
        return value
    }

    /// Bytes of a volume or of a disk's room for one.
    package mutating func size() throws(FieldError) -> UInt64 {
        let value = try u64()
        guard value <= Geometry.maximumVolumeSize else { throw .value(.size) }
        return value
    }

    /// Zero or one: nothing else, so that equal values have equal bytes.
    package mutating func truth() throws(FieldError) -> Bool {
        switch try u8() {
        case 0: return false
        case 1: return true
        default: throw .value(.truth)
        }
    }

    package mutating func node() throws(FieldError) -> NodeID {
        guard let node = NodeID(try u8()) else { throw .value(.node) }
        return node
    }

    package mutating func nodeOrNone() throws(FieldError) -> NodeID? {
        let value = try u8()
        if value == FieldWriter.noNode { return nil }
        guard let node = NodeID(value) else { throw .value(.node) }
        return node
    }

    package mutating func nodes() throws(FieldError) -> NodeSet { NodeSet(rawValue: try u8()) }

    package mutating func term() throws(FieldError) -> Term {
        let counter = try counter()
        return Term(counter: counter, node: try node())
    }

    package mutating func recordNumber() throws(FieldError) -> RecordNumber {
        let term = try term()
        return RecordNumber(term: term, index: try counter())
    }

    package mutating func mark() throws(FieldError) -> StartMark {
        let startNumber = try counter()
        return StartMark(startNumber: startNumber, sequence: try counter())
    }

    package mutating func generation() throws(FieldError) -> Generation {
        let id = try identity(GenerationID.self)
        let node = try node()
        return Generation(id: id, node: node, began: try u64())
    }

    package mutating func base() throws(FieldError) -> BitmapBase {
        let tag = try u8()
        let value = try u64()
        switch (tag, value) {
        case (0, 0): return .inStep
        case (1, _): return .since(GenerationID(rawValue: value))
        case (2, _): return .everything(InstanceID(rawValue: value))
        default: throw .value(.base)
        }
    }

    package mutating func history() throws(FieldError) -> [Generation] {
        let count = Int(try u8())
        guard count <= Superblock.historyLimit else { throw .value(.history) }
        var history: [Generation] = []
        history.reserveCapacity(count)
        for _ in 0..<count { history.append(try generation()) }
        return history
    }

    package mutating func record() throws(FieldError) -> Record {
        var record = Record.empty
        record.lineage = try identity()
        record.number = try recordNumber()
        record.generation = try identity()
        record.primary = try nodeOrNone()
        record.inStep = try nodes()
        record.voters = try nodes()
        for node in NodeID.all { record.instances[node] = try identity() }
        record.size = try size()
        return record
    }
}

/// Writes little-endian fields and the nouns made of them. The room is the caller's promise: too little is our own bug.
package struct FieldWriter {
    /// Stands for nil where a node is expected.
    static let noNode: UInt8 = 0xff

    private var writer: ByteWriter
    private let isCompact: Bool

    /// - Parameter compact: integers take as many bytes as their value needs, seven bits in each. For recordings, where
    ///   room is time; frames and metadata have fixed places.
    package init(_ bytes: UnsafeMutableRawBufferPointer, compact: Bool = false) {
        writer = ByteWriter(bytes)
        isCompact = compact
    }

    package var count: Int { writer.count }
    package var remaining: Int { writer.remaining }
    package var written: UnsafeRawBufferPointer { writer.written }

    package mutating func u8(_ value: UInt8) {
        do { try writer.writeUInt8(value) } catch { preconditionFailure("no room for a field") }
    }
    package mutating func u16(_ value: UInt16) { integer(value) }
    package mutating func u32(_ value: UInt32) { integer(value) }
    package mutating func u64(_ value: UInt64) { integer(value) }

    private mutating func integer<T: FixedWidthInteger & BitwiseCopyable>(_ value: T) {
        if isCompact { return grouped(UInt64(value)) }
        do { try writer.writeLittleEndian(value) } catch { preconditionFailure("no room for a field") }
    }

    private mutating func grouped(_ value: UInt64) {
        var rest = value
        do {
            while rest > 0x7f {
                try writer.writeUInt8(UInt8(truncatingIfNeeded: rest) | 0x80)
                rest >>= 7
            }
            try writer.writeUInt8(UInt8(rest))
        } catch { preconditionFailure("no room for a field") }
    }

    package mutating func bytes(_ source: some Collection<UInt8>) {
        do { try writer.writeBytes(source) } catch { preconditionFailure("no room for bytes") }
    }

    /// Replaces a byte already written.
    mutating func overwrite(_ value: UInt8, at position: Int) {
        do { try writer.overwriteLittleEndian(value, at: position) } catch { preconditionFailure("nothing there yet") }
    }

    package mutating func zeroes(_ count: Int) {
        do { try writer.writeZeroes(count) } catch { preconditionFailure("no room for zeroes") }
    }

    /// Zeroes up to `offset`.
    package mutating func pad(to offset: Int) { zeroes(offset - count) }

    package mutating func truth(_ value: Bool) { u8(value ? 1 : 0) }
    package mutating func identity(_ value: some RandomIdentity) { u64(value.rawValue) }
    package mutating func node(_ value: NodeID?) { u8(value?.rawValue ?? Self.noNode) }
    package mutating func nodes(_ value: NodeSet) { u8(value.rawValue) }

    package mutating func term(_ value: Term) {
        u64(value.counter)
        node(value.node)
    }

    package mutating func recordNumber(_ value: RecordNumber) {
        term(value.term)
        u64(value.index)
    }

    package mutating func mark(_ value: StartMark) {
        u64(value.startNumber)
        u64(value.sequence)
    }

    package mutating func generation(_ value: Generation) {
        identity(value.id)
        node(value.node)
        u64(value.began)
    }

    package mutating func base(_ value: BitmapBase) {
        switch value {
        case .inStep:
            u8(0)
            u64(0)
        case .since(let generation):
            u8(1)
            identity(generation)
        case .everything(let instance):
            u8(2)
            identity(instance)
        }
    }

    package mutating func history(_ value: [Generation]) {
        precondition(value.count <= Superblock.historyLimit, "a history is longer than its limit")
        u8(UInt8(value.count))
        for entry in value { generation(entry) }
    }

    package mutating func record(_ value: Record) {
        identity(value.lineage)
        recordNumber(value.number)
        identity(value.generation)
        node(value.primary)
        nodes(value.inStep)
        nodes(value.voters)
        for node in NodeID.all { identity(value.instances[node]) }
        u64(value.size)
    }
}
