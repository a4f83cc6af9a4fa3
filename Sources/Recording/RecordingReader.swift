import Formats
import Model
import ReplicationCore

/// Reads a recording as the process left it, at any moment of its life. Believes nothing that does not verify, and never
/// traps on what it finds.
package struct RecordingReader {
    private struct Chunk {
        var serial: UInt64
        var offset: Int
        /// Bytes; zero while it was being filled.
        var used: Int
        var firstEvent: UInt64
        var time: UInt64
    }

    private enum Pending {
        case start(RecordedStart, isWhole: Bool)
        case event(RecordedEvent)
    }

    package let head: RecordingHead
    /// The process said that it ended in order.
    package let endedInOrder: Bool
    private let bytes: [UInt8]
    private let layout: RecordingLayout
    private var chunks: [Chunk] = []
    private var current = 0
    private var offset = RecordingLayout.chunkHeadLength
    private var hasEntered = false
    private var recollection = Recollection(time: 0)
    private var eventsSeen: UInt64 = 0
    private var parts: [UInt8] = []
    private var pending: Pending?
    private var decisions: [RecordedDecision] = []
    private var ready: [RecordedItem] = []

    package init(_ bytes: [UInt8]) throws(RecordingError) {
        let found = bytes.withUnsafeBytes {
            bytes -> Result<(head: RecordingHead, layout: RecordingLayout), RecordingError> in
            do throws(RecordingError) { return .success(try RecordingHead.decode(bytes)) } catch {
                return .failure(error)
            }
        }
        (head, layout) = try found.get()
        endedInOrder = bytes.withUnsafeBytes(RecordingHead.endedInOrder) ?? false
        guard bytes.count == layout.length else {
            throw .wrongLength(found: bytes.count, expected: layout.length)
        }
        self.bytes = bytes
        for slot in 0..<layout.beginning + layout.ring { findChunk(slot) }
        chunks.sort { $0.serial < $1.serial }
    }

    private mutating func findChunk(_ slot: Int) {
        let offset = layout.offset(ofSlot: slot)
        let head = bytes[offset..<offset + RecordingLayout.chunkHeadLength]
        guard head.contains(where: { $0 != 0 }) else { return }
        let chunk = head.withUnsafeBytes { bytes -> Chunk? in
            var reader = FieldReader(bytes)
            let sum = CRC32C.checksum(UnsafeRawBufferPointer(rebasing: bytes[..<32]))
            do throws(FieldError) {
                guard try reader.u32() == RecordingLayout.chunkMagic else { return nil }
                let used = Int(try reader.u32())
                let chunk = Chunk(
                    serial: try reader.u64(), offset: offset, used: used, firstEvent: try reader.u64(),
                    time: try reader.u64())
                guard try reader.u32() == sum, used <= layout.chunkLength,
                    used == 0 || used >= RecordingLayout.chunkHeadLength, layout.slot(of: chunk.serial) == slot
                else { return nil }
                return chunk
            } catch {
                return nil
            }
        }
        if let chunk {
            chunks.append(chunk)
        } else {
            ready.append(.damaged("chunk \(slot) (at byte \(offset)) does not verify"))
        }
    }

    /// What comes next; nil at the end. Damage is told where it is met, that of chunks without a serial first of all.
    package mutating func next() -> RecordedItem? {
        while ready.isEmpty {
            guard current < chunks.count else {
                flush()
                return ready.isEmpty ? nil : ready.removeFirst()
            }
            if !hasEntered { enter(chunks[current]) }
            guard step(chunks[current]) else {
                current += 1
                hasEntered = false
                continue
            }
        }
        return ready.removeFirst()
    }

    private mutating func enter(_ chunk: Chunk) {
        hasEntered = true
        offset = RecordingLayout.chunkHeadLength
        recollection = Recollection(time: chunk.time)
        // Chunks may be lost that held nothing but decisions.
        let isNext = current == 0 ? chunk.serial == 0 : chunk.serial == chunks[current - 1].serial + 1
        guard chunk.firstEvent != eventsSeen || !isNext else { return }
        flush()
        parts = []
        ready.append(.missing(events: chunk.firstEvent > eventsSeen ? chunk.firstEvent - eventsSeen : 0))
        eventsSeen = chunk.firstEvent
    }

    /// The event whose decisions are all there now.
    private mutating func flush() {
        switch pending {
        case .start(let start, let isWhole):
            ready.append(.start(start, isWhole: isWhole, decisions: decisions))
        case .event(var event):
            event.decisions = decisions
            ready.append(.event(event))
        case nil: break
        }
        pending = nil
        decisions = []
    }

    /// One record; false at the end of the chunk.
    private mutating func step(_ chunk: Chunk) -> Bool {
        let isOpen = chunk.used == 0
        let limit = isOpen ? layout.chunkLength : chunk.used
        guard offset < limit else { return false }
        if isOpen, isZero(from: offset, in: chunk) { return false }
        let place = chunk.offset + offset
        guard let head = head(at: place, before: chunk.offset + limit) else {
            let isTorn = isOpen && current + 1 == chunks.count && isZero(from: offset + 4, in: chunk)
            if !isTorn { damage(chunk, "a record's head") }
            return false
        }
        let end = offset + RecordingLayout.recordHeadLength + head.length
        guard let body = body(of: head, at: place, serial: chunk.serial) else {
            // A process that was killed in the middle of a record leaves a part of one, and nothing behind it.
            let isTorn = isOpen && current + 1 == chunks.count && isZero(from: end, in: chunk)
            if !isTorn { damage(chunk, "a record") }
            return false
        }
        offset = end
        do throws(FieldError) {
            try take(head.kind, body)
        } catch {
            damage(chunk, "a record's content (\(error))")
            return false
        }
        return true
    }

    private mutating func damage(_ chunk: Chunk, _ what: String) {
        flush()
        ready.append(
            .damaged("\(what) of chunk \(chunk.serial) (at byte \(chunk.offset + offset)) does not verify"))
    }

    private func isZero(from offset: Int, in chunk: Chunk) -> Bool {
        guard offset < layout.chunkLength else { return true }
        return !bytes[chunk.offset + offset..<chunk.offset + layout.chunkLength].contains { $0 != 0 }
    }

    /// Nil when it does not check, or says of more than there is.
    private func head(at place: Int, before end: Int) -> RecordHead? {
        guard end - place >= RecordingLayout.recordHeadLength,
            let head = RecordHead(rawValue: word(place)), head.length <= end - place - RecordingLayout.recordHeadLength
        else { return nil }
        return head
    }

    private func word(_ place: Int) -> UInt32 {
        bytes.withUnsafeBytes { UInt32(littleEndian: $0.loadUnaligned(fromByteOffset: place, as: UInt32.self)) }
    }

    /// Nil when it does not verify.
    private func body(of head: RecordHead, at place: Int, serial: UInt64) -> [UInt8]? {
        let start = place + RecordingLayout.recordHeadLength
        let body = bytes[start..<start + head.length]
        var checksum = CRC32C()
        withUnsafeBytes(of: serial.littleEndian) { checksum.update($0) }
        withUnsafeBytes(of: head.rawValue.littleEndian) { checksum.update($0) }
        body.withUnsafeBytes { checksum.update($0) }
        return checksum.value == word(place + 4) ? Array(body) : nil
    }

    // MARK: What records say

    private mutating func take(_ kind: RecordKind, _ body: [UInt8]) throws(FieldError) {
        if kind != .decision { flush() }
        switch kind {
        case .part: try takePart(body)
        case .start: try takeStart(body)
        case .event: try takeEvent(body)
        case .decision: try takeDecision(body)
        }
    }

    private mutating func takePart(_ body: [UInt8]) throws(FieldError) {
        guard let isFirst = body.first, isFirst <= 1 else { throw .value(.truth) }
        if isFirst == 1 { parts = [] }
        parts += body.dropFirst()
    }

    private mutating func takeStart(_ body: [UInt8]) throws(FieldError) {
        let parts = parts
        let found = try read(body) { reader throws(FieldError) in
            try reader.start { place in place == .before ? Self.metadata(parts) : nil }
        }
        self.parts = []
        pending = .start(found.start, isWhole: found.isWhole)
    }

    private mutating func takeEvent(_ body: [UInt8]) throws(FieldError) {
        let parts = parts
        var recollection = recollection
        let kind = try read(body) { reader throws(FieldError) in
            recollection.time &+= try reader.u64()
            return try reader.event(&recollection) { place in place == .before ? Self.metadata(parts) : nil }
        }
        self.recollection = recollection
        self.parts = []
        eventsSeen += 1
        pending = .event(
            RecordedEvent(
                number: eventsSeen, time: MonotonicTime(nanoseconds: recollection.time), kind: kind, decisions: []))
    }

    private mutating func takeDecision(_ body: [UInt8]) throws(FieldError) {
        var recollection = recollection
        let decision = try read(body) { reader throws(FieldError) in try reader.decision(&recollection) }
        self.recollection = recollection
        // Of an event that the ring has lost, it is nobody's.
        if pending != nil { decisions.append(decision) }
    }

    private static func metadata(_ parts: [UInt8]) -> LoadedMetadata? {
        parts.withUnsafeBytes { bytes in
            var reader = FieldReader(bytes, compact: true)
            return try? reader.metadata()
        }
    }

    /// All of a body must be what it is taken for.
    private func read<Value>(
        _ body: [UInt8], _ take: (inout FieldReader) throws(FieldError) -> Value
    ) throws(FieldError) -> Value {
        let result = body.withUnsafeBytes { bytes -> Result<Value, FieldError> in
            var reader = FieldReader(bytes, compact: true)
            do throws(FieldError) {
                let value = try take(&reader)
                return reader.isAtEnd ? .success(value) : .failure(.value(.size))
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }
}
