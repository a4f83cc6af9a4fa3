import Model
import Recording
import ReplicationCore
import Testing

/// A recording in an array, written as a daemon writes it.
private func recorded(
    _ layout: RecordingLayout = RecordingLayout(chunkLength: 64 << 10, beginning: 4, ring: 2), ends: Bool = false,
    _ write: (inout Recorder) -> Void
) -> [UInt8] {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: layout.length, alignment: 16)
    defer { memory.deallocate() }
    memory.initializeMemory(as: UInt8.self, repeating: 0)
    let head = RecordingHead(
        volume: "r0", nodeName: "alpha", node: NodeID(unchecked: 2), processID: 4711, startedAt: 5,
        startedAtMonotonic: MonotonicTime(nanoseconds: 1000))
    var recorder = Recorder(head, layout, into: memory)
    write(&recorder)
    if ends { recorder.end() }
    return Array(memory)
}

/// What was read, in words that say everything of it.
private func read(_ bytes: [UInt8]) throws -> [String] {
    var reader = try RecordingReader(bytes)
    var lines: [String] = []
    while let item = reader.next() { lines.append("\(item)") }
    return lines
}

private func isDamage(_ line: String) -> Bool { line.hasPrefix("damaged(") }

private func isBeginning(_ lines: ArraySlice<String>, of whole: [String]) -> Bool {
    lines.elementsEqual(whole.prefix(lines.count))
}

@Suite struct RecordingTests {
    private static let some: [UInt8] = recorded { recorder in
        recorder.record(RecordedSamples.start)
        for (index, event) in RecordedSamples.events.prefix(16).enumerated() {
            recorder.record(event, at: MonotonicTime(nanoseconds: 2000 + UInt64(index)))
            recorder.record(.dial(RecordedSamples.peer)) { 0 }
        }
    }

    @Test func `every event comes back as it was, at its time`() throws {
        let events = RecordedSamples.events
        let bytes = recorded { recorder in
            for (index, event) in events.enumerated() {
                recorder.record(event, at: MonotonicTime(nanoseconds: 2000 + UInt64(index) * 1_000_000))
            }
        }
        var reader = try RecordingReader(bytes)
        for (index, event) in events.enumerated() {
            guard case .event(let found) = reader.next(), case .event(let back) = found.kind else {
                Issue.record("\(event) is not there")
                return
            }
            #expect("\(back)" == "\(event)")
            #expect(found.number == UInt64(index) + 1)
            #expect(found.time.nanoseconds == 2000 + UInt64(index) * 1_000_000)
            #expect(found.decisions.isEmpty)
        }
        #expect(reader.next() == nil)
    }

    @Test func `every decision comes back as it was, with the checksum of what it writes`() throws {
        let effects = RecordedSamples.effects
        let bytes = recorded { recorder in
            recorder.record(.tick, at: MonotonicTime(nanoseconds: 2000))
            for effect in effects {
                recorder.record(effect) { if case .writeLog = effect { 0xffff_fffe } else { 7 } }
            }
        }
        var reader = try RecordingReader(bytes)
        guard case .event(let event) = reader.next() else {
            Issue.record("the event is not there")
            return
        }
        #expect(event.decisions.map { "\($0.effect)" } == effects.map { "\($0)" })
        for decision in event.decisions {
            switch decision.effect {
            case .writeLog: #expect(decision.image == 0xffff_fffe)
            case .writeSuperblock, .writeBitmapPage, .growDisk: #expect(decision.image == 7)
            default: #expect(decision.image == 0)
            }
        }
    }

    @Test func `a start comes back with all that a replica is made of`() throws {
        let start = RecordedSamples.start
        let bytes = recorded { $0.record(start) }
        var reader = try RecordingReader(bytes)
        #expect(reader.head.volume == "r0" && reader.head.nodeName == "alpha" && reader.head.processID == 4711)
        guard case .start(let back, let isWhole, _) = reader.next() else {
            Issue.record("the start is not there")
            return
        }
        #expect(isWhole)
        #expect("\(back)" == "\(start)")
        #expect(back.metadata?.superblock == start.metadata?.superblock)
    }

    /// A field that is added and not recorded would make each replay differ, or worse, not differ.
    @Test func `nothing that a replica is made of is left out`() {
        let start = RecordedSamples.start
        #expect(Mirror(reflecting: start.configuration).children.count == 17)
        #expect(Mirror(reflecting: start.configuration.limits).children.count == 14)
        #expect(Mirror(reflecting: start.configuration.timing).children.count == 7)
        #expect(Mirror(reflecting: RecordedSamples.metadata).children.count == 4)
        #expect(Mirror(reflecting: RecordedSamples.metadata.log).children.count == 7)
        #expect(RecordedSamples.metadata.log.mend.map { Mirror(reflecting: $0).children.count } == 7)
        #expect(Mirror(reflecting: RecordedSamples.superblock).children.count == 17)
    }

    @Test func `bitmaps too large for a recording leave a start that says so`() throws {
        var start = RecordedSamples.start
        var dice: UInt64 = 1
        let words = (0..<100_000).map { _ -> UInt64 in
            dice = dice &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return dice
        }
        start.metadata?.bitmaps = [(RecordedSamples.peer, BitmapWords(words))]
        let lines = recorded { $0.record(start) }
        var reader = try RecordingReader(lines)
        guard case .start(_, let isWhole, _) = reader.next() else {
            Issue.record("the start is not there")
            return
        }
        #expect(!isWhole)
    }

    @Test func `a ring that went round keeps the beginning and the newest, and counts what is between`() throws {
        let count: UInt64 = 60_000
        let bytes = recorded { recorder in
            recorder.record(RecordedSamples.start)
            for index in 1...count {
                recorder.record(.heard(RecordedSamples.peer, RecordedSamples.session), at: .init(nanoseconds: index))
            }
        }
        var reader = try RecordingReader(bytes)
        var last: UInt64 = 0
        var missing: UInt64 = 0
        var gaps = 0
        while let item = reader.next() {
            switch item {
            case .event(let event):
                #expect(event.number == event.time.nanoseconds)
                #expect(event.number > last)
                last = event.number
            case .missing(let events):
                gaps += 1
                missing += events
                last += events
            case .damaged(let what): Issue.record("\(what)")
            case .start: break
            }
        }
        #expect(gaps == 1 && missing > 0)
        #expect(last == count)
    }

    @Test func `a recording cut anywhere is refused, whatever is left of it`() {
        for length in [Int](0...4200) + stride(from: 4201, to: Self.some.count, by: 997) {
            #expect(throws: RecordingError.self, "\(length) bytes") {
                _ = try RecordingReader(Array(Self.some.prefix(length)))
            }
        }
        #expect(throws: RecordingError.self) { _ = try RecordingReader(Self.some + [0]) }
    }

    @Test func `what a killed process had not stored yet is the end of its recording`() throws {
        let whole = try read(Self.some)
        let used = try #require(Self.some.lastIndex { $0 != 0 })
        var lengths: Set<Int> = []
        for end in RecordingLayout.headLength + 36...used {
            let torn = Array(Self.some.prefix(end)) + [UInt8](repeating: 0, count: Self.some.count - end)
            let lines = try read(torn)
            let isDamaged = lines.contains(where: isDamage)
            #expect(!isDamaged, "cut at \(end)")
            // The last item may lack a decision that was not stored.
            #expect(isBeginning(lines.dropLast(), of: whole), "cut at \(end)")
            lengths.insert(lines.count)
        }
        #expect(lengths.count == whole.count + 1)
    }

    @Test func `no changed byte goes unnoticed, or becomes another event`() throws {
        let whole = try read(Self.some)
        let used = try #require(Self.some.lastIndex { $0 != 0 })
        for place in [Int](0..<200) + [Int](4080..<RecordingLayout.headLength - 4)
            + [Int](RecordingLayout.headLength...used)
        {
            var bytes = Self.some
            bytes[place] ^= 0x10
            guard let lines = try? read(bytes) else { continue }
            let isLastRecord = lines.count >= whole.count - 1
            let isDamaged = lines.contains(where: isDamage)
            #expect(isDamaged || isLastRecord, "byte \(place)")
            let sound = lines.filter { !isDamage($0) }
            let isWhole = sound == whole
            #expect(!isWhole, "byte \(place)")
            #expect(isBeginning(sound.dropLast(), of: whole), "byte \(place)")
        }
    }

    @Test func `what is foreign, newer or damaged is called so`() {
        var bytes = Self.some
        bytes[8] = 9
        #expect(throws: RecordingError.otherVersion(9)) { _ = try RecordingReader(bytes) }
        bytes = Self.some
        bytes[0] = 0
        #expect(throws: RecordingError.foreign) { _ = try RecordingReader(bytes) }
        bytes = Self.some
        bytes[50] ^= 1
        #expect(throws: RecordingError.damagedHead) { _ = try RecordingReader(bytes) }
        #expect(throws: RecordingError.foreign) { _ = try RecordingReader([]) }
    }

    @Test func `the end in order is remembered`() throws {
        #expect(try RecordingReader(recorded(ends: true) { _ in }).endedInOrder)
        #expect(try RecordingReader(recorded { _ in }).endedInOrder == false)
    }
}
