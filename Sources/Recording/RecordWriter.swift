import Formats
import Model

/// The longest text that is recorded, in bytes; what is longer is cut, and a replay that hears the rest missing says so.
let longestText = 4096

/// Writes one record's fields into scratch memory, as a compact `FieldWriter` would (and a compact `FieldReader` reads
/// them), but without a call for each: this is what recording an event costs.
///
/// Only what may be long asks whether there is room. All else that one record can hold is some hundred bytes, and the
/// scratch is larger than the longest record by many times that.
struct RecordWriter {
    private let memory: UnsafeMutableRawBufferPointer
    private(set) var count: Int

    /// - Parameter start: where in `memory` the record begins.
    @inline(__always) init(_ memory: UnsafeMutableRawBufferPointer, from start: Int) {
        self.memory = memory
        count = start
    }

    @inline(__always) mutating func u8(_ value: UInt8) {
        memory.baseAddress.unsafelyUnwrapped.storeBytes(of: value, toByteOffset: count, as: UInt8.self)
        count &+= 1
    }

    @inline(__always) mutating func u64(_ value: UInt64) {
        var rest = value
        while rest > 0x7f {
            u8(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        u8(UInt8(truncatingIfNeeded: rest))
    }

    @inline(__always) mutating func u32(_ value: UInt32) { u64(UInt64(value)) }
    @inline(__always) mutating func truth(_ value: Bool) { u8(value ? 1 : 0) }
    @inline(__always) mutating func node(_ value: NodeID) { u8(value.rawValue) }
    @inline(__always) mutating func buffer(_ value: BufferID) { u32(UInt32(bitPattern: value.index)) }

    @inline(__always) mutating func range(_ value: ByteRange) {
        u64(value.offset)
        u64(value.length)
    }

    mutating func identity(_ value: some RandomIdentity) { u64(value.rawValue) }

    mutating func optionalNode(_ value: NodeID?) { fields { $0.node(value) } }

    mutating func optional(_ value: UInt64?) {
        truth(value != nil)
        if let value { u64(value) }
    }

    mutating func text(_ text: String) {
        let bytes = text.utf8
        let length = min(bytes.count, longestText)
        u64(UInt64(length))
        fields { $0.bytes(bytes.prefix(length)) }
    }

    /// What has a coding in `Formats`.
    mutating func fields(_ write: (inout FieldWriter) -> Void) {
        var writer = FieldWriter(UnsafeMutableRawBufferPointer(rebasing: memory[count...]), compact: true)
        write(&writer)
        count += writer.count
    }

    /// As `recorded` of `Formats` writes it; the two of each write without a detour.
    mutating func message(_ message: PeerMessage) {
        switch message {
        case .write(let sequence, let range, let buffer):
            u8(PeerFrameKind.write.rawValue)
            u8(0)
            u64(range.length)
            self.buffer(buffer)
            u64(sequence)
            u64(range.offset)
        case .written(let sequence, let succeeded):
            u8(PeerFrameKind.written.rawValue)
            truth(succeeded)
            u64(sequence)
        default: fields { $0.recorded(message) }
        }
    }

    /// Nearly always that of the last frame, sent or received.
    @inline(__always) mutating func stamp(_ stamp: FrameStamp, _ recollection: inout Recollection) {
        let isNew = !recollection.isSame(stamp)
        truth(isNew)
        guard isNew else { return }
        identity(stamp.session)
        identity(stamp.lineage)
        fields { $0.recordNumber(stamp.number) }
        recollection.stamp = stamp
        recollection.hasStamp = true
    }
}

/// What is left out of a record because the one before said it; forgotten where a chunk begins.
struct Recollection {
    var time: UInt64
    /// Means nothing unless `hasStamp`.
    var stamp = FrameStamp(session: .none, lineage: .none, number: Record.empty.number)
    var hasStamp = false

    init(time: UInt64) { self.time = time }

    @inline(__always) func isSame(_ other: FrameStamp) -> Bool {
        hasStamp && stamp.session.rawValue == other.session.rawValue
            && stamp.number.index == other.number.index && stamp.lineage.rawValue == other.lineage.rawValue
            && stamp.number.term.counter == other.number.term.counter
            && stamp.number.term.node.rawValue == other.number.term.node.rawValue
    }
}
