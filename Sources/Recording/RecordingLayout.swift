import Formats
package import Model

/// Where everything lies in a recording. Its beginning stays, so that a run can be executed again from its start; what
/// comes after goes round in a ring, so that the newest is there too.
///
///     head (4 KiB), little-endian
///        0  magic "HABLKBOX", version u16, zero 2 bytes
///       12  chunk length u32, chunks of the beginning u32, chunks of the ring u32
///       24  start: nanoseconds since 1970 u64, since boot u64; process id u32, node u8, zero 3 bytes
///       48  volume, then node name: length u8 and text
///     4088  CRC32C of the 4088 bytes before
///     4092  "DONE" once the run ended in order (u32)
///
///     chunk
///        0  magic "HBBC" u32, bytes used u32 (0 while it is being filled)
///        8  serial u64: chunk n of the run; event u64: how many came before; time u64
///       32  CRC32C of the 32 bytes before
///       36  records: head u32 (`RecordHead`), CRC32C of serial, head and body; body
///
/// The serial in each record's checksum tells it from one of an earlier round.
package struct RecordingLayout: Equatable, Sendable {
    package var chunkLength: Int
    package var beginning: Int
    package var ring: Int

    /// 16 MiB: a beginning of 4, and the newest 12: at 20,000 writes a second some eight seconds, at rest an hour.
    package static let standard = RecordingLayout(chunkLength: 64 << 10, beginning: 64, ring: 192)

    /// The standard one, or a smaller one of the same shape where there is little room, down to 256 KiB: a machine has many volumes, and
    /// the runtime folder's memory is for others too. One after the other they take ever less.
    /// - Parameter room: free bytes.
    /// - Returns: nil when the last 16 MiB would be taken from.
    package static func fitting(_ room: UInt64) -> RecordingLayout? {
        guard room >= 16 << 20 else { return nil }
        let chunks = Int(min(room / 128 / UInt64(standard.chunkLength), UInt64(standard.beginning + standard.ring)))
        let beginning = max(1, chunks / 4)
        return RecordingLayout(
            chunkLength: standard.chunkLength, beginning: beginning, ring: max(3, chunks - beginning))
    }

    /// - Parameters:
    ///   - chunkLength: bytes; no record is longer.
    ///   - beginning: chunks that stay.
    ///   - ring: chunks that are written again and again.
    package init(chunkLength: Int, beginning: Int, ring: Int) {
        self.chunkLength = chunkLength
        self.beginning = beginning
        self.ring = ring
    }

    package var length: Int { Self.headLength + (beginning + ring) * chunkLength }

    package static let headLength = 4096
    static let magic: UInt64 = 0x584f_424b_4c42_4148
    static let version: UInt16 = 8
    static let checksumOffset = 4088
    static let doneOffset = 4092
    static let done: UInt32 = 0x454e_4f44
    static let chunkMagic: UInt32 = 0x4342_4248
    static let chunkHeadLength = 36
    static let recordHeadLength = 8
    static let longestName = 255
    /// A chunk holds the longest record, 2,000 runs of blocks.
    static let shortestChunk = 64 << 10
    static let longestChunk = 1 << 20
    static let mostChunks = 1 << 16

    /// Where chunk `serial` of a run lies.
    func slot(of serial: UInt64) -> Int {
        serial < UInt64(beginning) ? Int(serial) : beginning + Int((serial - UInt64(beginning)) % UInt64(ring))
    }

    func offset(ofSlot slot: Int) -> Int { Self.headLength + slot * chunkLength }

    var isPossible: Bool {
        chunkLength >= Self.shortestChunk && chunkLength <= Self.longestChunk && beginning > 0 && ring > 1
            && beginning <= Self.mostChunks && ring <= Self.mostChunks
    }
}

/// Length and kind of a record in four bytes that are stored at once, before the rest of it, and check themselves: of a
/// process that was killed in the middle of a record they say how far that may reach.
///
///     bits 0–19 length of the body, 20–22 kind, 23–31 check
struct RecordHead {
    var length: Int
    var kind: RecordKind

    init(length: Int, kind: RecordKind) {
        self.length = length
        self.kind = kind
    }

    /// Nil when it does not check.
    init?(rawValue: UInt32) {
        guard rawValue >> 23 == Self.check(rawValue), let kind = RecordKind(rawValue: UInt8(rawValue >> 20 & 7)) else {
            return nil
        }
        length = Int(rawValue & 0xf_ffff)
        self.kind = kind
    }

    var rawValue: UInt32 {
        let bits = UInt32(length) | UInt32(kind.rawValue) << 20
        return bits | Self.check(bits) << 23
    }

    private static func check(_ bits: UInt32) -> UInt32 { ((bits & 0x7f_ffff) &* 0x9e37_79b1) >> 23 }
}

enum RecordKind: UInt8 {
    /// Some of the metadata that the next start or event brings.
    case part = 1
    case start = 2
    case event = 3
    /// One of those on the start or event before.
    case decision = 4
}

/// Whose recording it is.
package struct RecordingHead: Equatable, Sendable {
    package var volume: String
    package var nodeName: String
    package var node: NodeID
    package var processID: UInt32
    /// Nanoseconds since 1970, and by the clock of the events.
    package var startedAt: UInt64
    package var startedAtMonotonic: MonotonicTime

    package init(
        volume: String, nodeName: String, node: NodeID, processID: UInt32, startedAt: UInt64,
        startedAtMonotonic: MonotonicTime
    ) {
        self.volume = volume
        self.nodeName = nodeName
        self.node = node
        self.processID = processID
        self.startedAt = startedAt
        self.startedAtMonotonic = startedAtMonotonic
    }

    /// Whether the run whose recording begins with these bytes ended in order; nil when they are no recording's.
    package static func endedInOrder(_ bytes: UnsafeRawBufferPointer) -> Bool? {
        guard bytes.count >= RecordingLayout.headLength,
            UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self)) == RecordingLayout.magic
        else { return nil }
        let done = bytes.loadUnaligned(fromByteOffset: RecordingLayout.doneOffset, as: UInt32.self)
        return UInt32(littleEndian: done) == RecordingLayout.done
    }

    func encode(_ layout: RecordingLayout, into output: UnsafeMutableRawBufferPointer) {
        var writer = FieldWriter(output)
        writer.u64(RecordingLayout.magic)
        writer.u16(RecordingLayout.version)
        writer.zeroes(2)
        writer.u32(UInt32(layout.chunkLength))
        writer.u32(UInt32(layout.beginning))
        writer.u32(UInt32(layout.ring))
        writer.u64(startedAt)
        writer.u64(startedAtMonotonic.nanoseconds)
        writer.u32(processID)
        writer.node(node)
        writer.zeroes(3)
        for name in [volume, nodeName] {
            let bytes = name.utf8.prefix(RecordingLayout.longestName)
            writer.u8(UInt8(bytes.count))
            writer.bytes(bytes)
        }
        writer.pad(to: RecordingLayout.checksumOffset)
        writer.u32(CRC32C.checksum(writer.written))
        writer.u32(0)
    }

    static func decode(
        _ bytes: UnsafeRawBufferPointer
    ) throws(RecordingError) -> (head: RecordingHead, layout: RecordingLayout) {
        guard bytes.count >= RecordingLayout.headLength else {
            throw bytes.isEmpty ? .foreign : .truncated(bytes.count)
        }
        var reader = FieldReader(bytes)
        do throws(FieldError) {
            guard try reader.u64() == RecordingLayout.magic else { throw .value(.copy) }
            let version = try reader.u16()
            guard version == RecordingLayout.version else { throw .value(.counter) }
            let sum = CRC32C.checksum(UnsafeRawBufferPointer(rebasing: bytes[..<RecordingLayout.checksumOffset]))
            let stored = bytes.loadUnaligned(fromByteOffset: RecordingLayout.checksumOffset, as: UInt32.self)
            guard sum == UInt32(littleEndian: stored) else { throw .value(.flags) }
            try reader.skip(2)
            let layout = RecordingLayout(
                chunkLength: Int(try reader.u32()), beginning: Int(try reader.u32()), ring: Int(try reader.u32()))
            guard layout.isPossible else { throw .value(.geometry) }
            let startedAt = try reader.u64()
            let monotonic = MonotonicTime(nanoseconds: try reader.u64())
            let process = try reader.u32()
            let node = try reader.node()
            try reader.skip(3)
            let volume = String(decoding: try reader.bytes(Int(try reader.u8())), as: UTF8.self)
            let name = String(decoding: try reader.bytes(Int(try reader.u8())), as: UTF8.self)
            let head = RecordingHead(
                volume: volume, nodeName: name, node: node, processID: process, startedAt: startedAt,
                startedAtMonotonic: monotonic)
            return (head, layout)
        } catch {
            switch error {
            case .value(.copy): throw .foreign
            case .value(.counter):
                throw .otherVersion(UInt16(littleEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt16.self)))
            default: throw .damagedHead
            }
        }
    }
}

/// Why a file cannot be shown at all.
package enum RecordingError: Error, Equatable, CustomStringConvertible {
    case foreign
    case otherVersion(UInt16)
    case damagedHead
    case truncated(Int)
    case wrongLength(found: Int, expected: Int)

    package var description: String {
        switch self {
        case .foreign: "it is no black box of hablk"
        case .otherVersion(let version):
            "it is of version \(version), and this simulator knows version \(RecordingLayout.version): take the one "
                + "that was built with the daemon"
        case .damagedHead: "its head does not verify: damaged"
        case .truncated(let count): "it has \(count) bytes, less than a black box's head: truncated"
        case .wrongLength(let found, let expected): "it has \(found) bytes instead of \(expected): not copied whole"
        }
    }
}
