import Formats
package import Model
package import ReplicationCore

/// Writes all that happens to a replica, and what it decides, into memory that somebody else owns: a mapped file that
/// outlives the process, or an array. No system call, and after the start no allocation, but for an `attach`.
///
/// An event is recorded before it is handled, its decisions before they are performed: the last record of a process that
/// trapped says in what.
package struct Recorder: ~Copyable {
    /// Decisions of one event go to another record beyond so many bytes.
    static let decisionBytes = 16 << 10
    /// More than the longest record: `decisionBytes` and the longest effect or event, 2,000 runs of blocks.
    private static let scratchLength = 128 << 10
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
        recollection = Recollection(time: head.startedAtMonotonic.nanoseconds, stamp: nil)
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

    /// What was decided on the last event; all of it, before any of it is performed.
    ///
    /// - Parameter image: the checksum of what a metadata write would write (`imageChecksum`).
    package mutating func record(_ effects: borrowing EffectQueue, image: (Effect) -> UInt32) {
        var index = 0
        while index < effects.count {
            var next = index
            append(.decisions, at: recollection.time) { writer, recollection in
                next = index
                while next < effects.count, writer.count < Self.decisionBytes {
                    let effect = effects[next]
                    writer.effect(effect, image: Self.isImage(effect) ? image(effect) : 0, &recollection)
                    next += 1
                }
            }
            index = next
        }
    }

    private static func isImage(_ effect: Effect) -> Bool {
        switch effect {
        case .writeSuperblock, .writeLog, .writeBitmapPage: true
        default: false
        }
    }

    // MARK: Records

    @inline(__always) private mutating func append(
        _ kind: RecordKind, at now: UInt64, _ write: (inout FieldWriter, inout Recollection) -> Void
    ) {
        while true {
            var writer = FieldWriter(
                UnsafeMutableRawBufferPointer(rebasing: scratch[Self.bodyOffset...]), compact: true)
            var mentioned = recollection
            write(&writer, &mentioned)
            if writer.count <= layout.chunkLength - used - RecordingLayout.recordHeadLength {
                recollection = mentioned
                return put(kind, writer.count)
            }
            precondition(used > RecordingLayout.chunkHeadLength, "a record is longer than a chunk")
            sealChunk()
            recollection = Recollection(time: now, stamp: nil)
            openChunk(serial: serial + 1)
        }
    }

    /// In scratch before a body: the chunk's serial, then length and kind.
    private static let bodyOffset = 12

    @inline(__always) private mutating func put(_ kind: RecordKind, _ length: Int) {
        let head = RecordHead(length: length, kind: kind).rawValue
        scratch.storeBytes(of: serial.littleEndian, as: UInt64.self)
        scratch.storeBytes(of: head.littleEndian, toByteOffset: 8, as: UInt32.self)
        let checksum = CRC32C.checksum(UnsafeRawBufferPointer(rebasing: scratch[..<(Self.bodyOffset + length)]))
        let bodyPlace = used + RecordingLayout.recordHeadLength
        // The head first (`RecordHead`).
        chunk.storeBytes(of: head.littleEndian, toByteOffset: used, as: UInt32.self)
        chunk.storeBytes(of: checksum.littleEndian, toByteOffset: used + 4, as: UInt32.self)
        UnsafeMutableRawBufferPointer(rebasing: chunk[bodyPlace..<bodyPlace + length])
            .copyMemory(from: UnsafeRawBufferPointer(rebasing: scratch[Self.bodyOffset..<Self.bodyOffset + length]))
        used = bodyPlace + length
    }

    private mutating func openChunk(serial: UInt64) {
        self.serial = serial
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
                writer.bytes(part)
            }
        }
        return .before
    }
}
