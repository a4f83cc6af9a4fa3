import Formats
package import Model
package import ReplicationCore

/// Writes all that happens to a replica, and what it decides, into memory that somebody else owns: a mapped file that
/// outlives the process, or an array. No system call, and after the start no allocation, but for an `attach`.
///
/// An event is recorded before it is handled, each decision before it is performed: the last record of a process that
/// trapped says in what.
package struct Recorder: ~Copyable {
    /// More than twice the longest record, 2,000 runs of blocks.
    static let scratchLength = 128 << 10
    /// Bytes of metadata in one record.
    private static let partLength = 32 << 10

    private let memory: UnsafeMutableRawBufferPointer
    private let layout: RecordingLayout
    private let scratch: UnsafeMutableRawBufferPointer
    private var recollection: Recollection
    private var chunk: UnsafeMutableRawBufferPointer
    private var used = 0
    private var serial: UInt64 = 0
    private var events: UInt64 = 0

    /// - Parameter memory: `layout.length` zero bytes, which outlive the recorder.
    package init(_ head: RecordingHead, _ layout: RecordingLayout, into memory: UnsafeMutableRawBufferPointer) {
        precondition(layout.isPossible && memory.count == layout.length, "a recording needs its exact room")
        self.memory = memory
        self.layout = layout
        scratch = .allocate(byteCount: Self.scratchLength, alignment: 16)
        recollection = Recollection(time: head.startedAtMonotonic.nanoseconds)
        head.encode(layout, into: UnsafeMutableRawBufferPointer(rebasing: memory[..<RecordingLayout.headLength]))
        chunk = UnsafeMutableRawBufferPointer(start: nil, count: 0)
        openChunk(serial: 0)
    }

    deinit { scratch.deallocate() }

    /// The run ends in order: nobody will want to know.
    package mutating func end() {
        memory.storeBytes(
            of: RecordingLayout.done.littleEndian, toByteOffset: RecordingLayout.doneOffset, as: UInt32.self)
    }

    // MARK: What happens

    package mutating func record(_ start: RecordedStart) {
        let place = start.metadata.map { recordParts($0, start.time.nanoseconds) } ?? .none
        append(.start, at: start.time.nanoseconds) { writer, _ in writer.start(start, place) }
    }

    package mutating func record(_ event: Event, at now: MonotonicTime) {
        var place = MetadataPlace.none
        if case .attached(let metadata, _) = event { place = recordParts(metadata, now.nanoseconds) }
        append(.event, at: now.nanoseconds) { writer, recollection in
            writer.u64(now.nanoseconds &- recollection.time)
            recollection.time = now.nanoseconds
            writer.event(event, place, &recollection)
        }
        events += 1
    }

    /// One of the decisions on the last event, before it is performed.
    ///
    /// - Parameter image: the checksum of what a metadata write would write (`imageChecksum`); asked for nothing else.
    package mutating func record(_ effect: Effect, image: () -> UInt32) {
        append(.decision, at: recollection.time) { writer, recollection in
            writer.effect(effect, image: image, &recollection)
        }
    }

    // MARK: Records

    /// In scratch before a body: the chunk's serial, then the record's head.
    private static let bodyOffset = 12

    @inline(__always) private mutating func append(
        _ kind: RecordKind, at now: UInt64, _ write: (inout RecordWriter, inout Recollection) -> Void
    ) {
        while true {
            var writer = RecordWriter(scratch, from: Self.bodyOffset)
            var mentioned = recollection
            write(&writer, &mentioned)
            let length = writer.count &- Self.bodyOffset
            if length <= layout.chunkLength &- used &- RecordingLayout.recordHeadLength {
                recollection = mentioned
                return put(kind, length)
            }
            precondition(used > RecordingLayout.chunkHeadLength, "a record is longer than a chunk")
            sealChunk()
            recollection = Recollection(time: now)
            openChunk(serial: serial + 1)
        }
    }

    @inline(__always) private mutating func put(_ kind: RecordKind, _ length: Int) {
        let source = scratch.baseAddress.unsafelyUnwrapped
        let target = chunk.baseAddress.unsafelyUnwrapped + used
        let head = RecordHead(length: length, kind: kind).rawValue
        source.storeBytes(of: head.littleEndian, toByteOffset: 8, as: UInt32.self)
        let checksum = CRC32C.checksum(UnsafeRawBufferPointer(start: source, count: Self.bodyOffset &+ length))
        // The head first (`RecordHead`).
        target.storeBytes(of: head.littleEndian, as: UInt32.self)
        target.storeBytes(of: checksum.littleEndian, toByteOffset: 4, as: UInt32.self)
        (target + RecordingLayout.recordHeadLength).copyMemory(from: source + Self.bodyOffset, byteCount: length)
        used &+= RecordingLayout.recordHeadLength &+ length
    }

    private mutating func openChunk(serial: UInt64) {
        self.serial = serial
        scratch.storeBytes(of: serial.littleEndian, as: UInt64.self)
        let offset = layout.offset(ofSlot: layout.slot(of: serial))
        chunk = UnsafeMutableRawBufferPointer(rebasing: memory[offset..<offset + layout.chunkLength])
        chunk.initializeMemory(as: UInt8.self, repeating: 0)
        writeChunkHead(used: 0)
        used = RecordingLayout.chunkHeadLength
    }

    private func sealChunk() { writeChunkHead(used: UInt32(used)) }

    private func writeChunkHead(used: UInt32) {
        var writer = FieldWriter(chunk)
        writer.u32(RecordingLayout.chunkMagic)
        writer.u32(used)
        writer.u64(serial)
        // While it is sealed they are what they were when it was opened.
        if used == 0 {
            writer.u64(events)
            writer.u64(recollection.time)
        } else {
            writer.bytes(chunk[16..<32])
        }
        writer.u32(CRC32C.checksum(writer.written))
    }

    // MARK: Metadata

    /// Once in a run, or at an `attach`: it allocates.
    private mutating func recordParts(_ metadata: LoadedMetadata, _ now: UInt64) -> MetadataPlace {
        let room = layout.beginning * layout.chunkLength / 2
        let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: room, alignment: 16)
        defer { bytes.deallocate() }
        var writer = FieldWriter(bytes, compact: true)
        guard writer.metadata(metadata) else { return .leftOut }
        let all = writer.written
        for first in stride(from: 0, to: all.count, by: Self.partLength) {
            let part = all[first..<min(first + Self.partLength, all.count)]
            append(.part, at: now) { writer, _ in
                // The first one begins anew.
                writer.truth(first == 0)
                writer.fields { $0.bytes(part) }
            }
        }
        return .before
    }
}
