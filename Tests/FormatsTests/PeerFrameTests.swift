import Formats
import Model
import Testing

@Suite struct PeerFrameTests {
    private func payload(for message: PeerMessage, _ dice: inout SeededDice) -> [UInt8] {
        message.payloadRange.map { [UInt8](repeating: UInt8(truncatingIfNeeded: dice.next()), count: Int($0.length)) }
            ?? []
    }

    @Test(arguments: PeerFrameKind.allCases)
    func `every message comes back as it was sent`(kind: PeerFrameKind) throws {
        var dice = SeededDice(UInt64(kind.rawValue))
        for _ in 0..<40 {
            let message = dice.message(kind)
            let stamp = dice.stamp()
            let frame = SampleFrame(message, stamp, payload: payload(for: message, &dice))
            #expect(frame.bytes.count <= PeerFrame.maximumEncodedLength)
            let (stampBack, messageBack) = try frame.decoded()
            #expect(stampBack == stamp)
            #expect(messageBack == message)
        }
    }

    @Test func `the largest messages fit the room that is promised`() throws {
        var dice = SeededDice(1)
        let runs = SampleFrame(.bitmapRuns(dice.runs(PeerFrame.maximumRuns)), dice.stamp(), payload: [])
        #expect(runs.bytes.count == PeerFrame.maximumEncodedLength)
        var state = dice.state()
        state.history = (0..<Superblock.historyLimit).map { _ in dice.generation() }
        let frame = SampleFrame(.state(state), dice.stamp(), payload: [])
        #expect(try frame.decoded().1 == .state(state))
    }

    @Test(arguments: PeerFrameKind.allCases)
    func `every truncation is refused`(kind: PeerFrameKind) {
        var dice = SeededDice(100 + UInt64(kind.rawValue))
        var message = dice.message(kind)
        if kind == .bitmapRuns { message = .bitmapRuns(dice.runs(5)) }
        let whole = SampleFrame(message, dice.stamp(), payload: payload(for: message, &dice))
        for length in 0..<whole.bytes.count {
            var frame = whole
            frame.bytes.removeLast(whole.bytes.count - length)
            #expect(throws: PeerFrameError.self) { try frame.decodedOrTruncated() }
        }
        if !whole.payload.isEmpty {
            var frame = whole
            frame.payload.removeLast()
            #expect(throws: PeerFrameError.lengthsDiffer(kind)) { try frame.decoded() }
        }
    }

    @Test(arguments: PeerFrameKind.allCases)
    func `every changed byte is refused`(kind: PeerFrameKind) {
        var dice = SeededDice(200 + UInt64(kind.rawValue))
        var message = dice.message(kind)
        if kind == .bitmapRuns { message = .bitmapRuns(dice.runs(5)) }
        let whole = SampleFrame(message, dice.stamp(), payload: payload(for: message, &dice))
        var frame = whole
        for index in whole.bytes.indices {
            for change: UInt8 in [1, 0x80, 0xff] {
                frame.bytes[index] ^= change
                #expect(throws: PeerFrameError.self) { try frame.decoded() }
                frame.bytes[index] = whole.bytes[index]
            }
        }
        for _ in 0..<(whole.payload.isEmpty ? 0 : 20) {
            let index = dice.pick(whole.payload.count)
            frame.payload[index] ^= 1 << UInt8(dice.pick(8))
            #expect(throws: PeerFrameError.dataChecksum(kind)) { try frame.decoded() }
            frame.payload[index] = whole.payload[index]
        }
    }

    @Test(arguments: PeerFrameKind.allCases)
    func `bytes that verify but say nonsense never trap`(kind: PeerFrameKind) throws {
        var dice = SeededDice(300 + UInt64(kind.rawValue))
        var message = dice.message(kind)
        if kind == .bitmapRuns { message = .bitmapRuns(dice.runs(3)) }
        let whole = SampleFrame(message, dice.stamp(), payload: payload(for: message, &dice))
        for round in 0..<3000 {
            var frame = whole
            let many = round % 2 == 0 ? 1 : 1 + dice.pick(8)
            for _ in 0..<many {
                // Header fields but the checksums, and the body; the values at which integers go wrong among them.
                let index = dice.pick(frame.bytes.count)
                frame.bytes[index] = [0, 1, 0x7f, 0x80, 0xff, UInt8(dice.pick(256))].randomElement(using: &dice)!
            }
            frame.reseal()
            if let (stamp, back) = try? frame.decoded() {
                // What is accepted is written back the same: no two encodings of one message.
                let carried = try frame.header().carried
                #expect(SampleFrame(back, stamp, payload: frame.payload, carried: carried).bytes == frame.bytes)
            }
        }
    }

    @Test func `a header alone refuses lengths that cannot be`() {
        for length: UInt32 in [0, 1, 512, 4095, 4097, 1 << 20 + 4096, 0x7fff_ffff, 0x8000_0000, .max] {
            #expect(throws: PeerFrameError.payloadLength(.write, length)) {
                try PeerFrame.header(of: .write, body: 16, payload: length)
            }
        }
        for kind in PeerFrameKind.allCases where !kind.carriesPayload {
            #expect(throws: PeerFrameError.payloadLength(kind, 4096)) {
                try PeerFrame.header(of: kind, body: 0, payload: 4096)
            }
        }
        for kind in PeerFrameKind.allCases {
            for length: UInt32 in [0x7fff_ffff, 0x8000_0000, .max, 32_001, 32_016] {
                #expect(throws: PeerFrameError.bodyLength(kind, length)) {
                    try PeerFrame.header(of: kind, body: length, payload: kind.carriesPayload ? 4096 : 0)
                }
            }
        }
        #expect(throws: PeerFrameError.unknownKind(0)) { try PeerFrame.header(kind: 0, body: 0, payload: 0) }
        #expect(throws: PeerFrameError.unknownKind(46)) { try PeerFrame.header(kind: 46, body: 0, payload: 0) }
        #expect(throws: PeerFrameError.unknownFlags(.pull, 1)) {
            try PeerFrame.header(kind: PeerFrameKind.pull.rawValue, flags: 1, body: 20, payload: 0)
        }
        #expect(throws: PeerFrameError.unknownFlags(.zero, 2)) {
            try PeerFrame.header(kind: PeerFrameKind.zero.rawValue, flags: 2, body: 20, payload: 0)
        }
    }

    static let carried: [CarriedPayload] = [.zeroes, .lz4(1), .lz4(4095), .zstandard(1), .zstandard(3000), .sparse(1)]

    @Test(arguments: carried)
    func `a payload may be carried shorter than it is, and its header says how`(_ carried: CarriedPayload) throws {
        for kind in PeerFrameKind.allCases where kind.carriesPayload {
            var dice = SeededDice(UInt64(kind.rawValue))
            let range = ByteRange(offset: 1 << 20, length: 4096)
            let message: PeerMessage =
                kind == .write
                ? .write(sequence: 1, range: range, buffer: BufferID(index: 7))
                : kind == .readData
                    ? .readData(id: 1, range: range, buffer: BufferID(index: 7))
                    : .pullData(id: 1, range: range, buffer: BufferID(index: 7))
            let payload = (0..<4096).map { _ in UInt8(dice.pick(256)) }
            let frame = SampleFrame(message, dice.stamp(), payload: payload, carried: carried)
            #expect(try frame.decoded().1 == message)
            let header = try frame.header()
            #expect(header.carried == carried && header.payloadLength == 4096)
            #expect(header.wireLength == carried.compressedLength)
            // The checksum is that of the payload as it lies on the disk.
            let plain = try SampleFrame(message, dice.stamp(), payload: payload).header()
            #expect(header.dataChecksum == plain.dataChecksum && plain.carried == .plain && plain.wireLength == 4096)
            for index in 0..<PeerFrame.headerLength {
                var changed = frame
                changed.bytes[index] ^= 2
                #expect(throws: PeerFrameError.self) { try changed.decoded() }
            }
        }
    }

    @Test func `lengths of a compressed payload that cannot be are refused before a byte of it is received`() {
        func header(_ kind: PeerFrameKind, flags: UInt8, compressed: UInt32) throws {
            var frame = SampleFrame(.resyncReady, .nothing, payload: [])
            frame.bytes[4] = kind.rawValue
            frame.bytes[5] = flags
            frame.overwrite(UInt32(kind.carriesPayload ? 8192 : 0), at: 8)
            frame.overwrite(UInt32(kind == .write ? 16 : 0), at: 12)
            frame.overwrite(compressed, at: 52)
            frame.reseal()
            _ = try frame.header()
        }
        for (flags, compressed): (UInt8, UInt32) in [
            (0, 1), (0, 8192), (2, 1), (2, .max), (4, 0), (4, 8192), (4, 8193), (4, 0x8000_0000), (4, .max),
            (6, 0), (6, 8192), (6, .max), (8, 0), (8, 2), (8, 4096), (8, 8193), (8, .max), (10, 1), (14, 1),
        ] {
            #expect(throws: PeerFrameError.compressedLength(.write, compressed)) {
                try header(.write, flags: flags, compressed: compressed)
            }
        }
        for (flags, compressed): (UInt8, UInt32) in [(0, 0), (2, 0), (4, 1), (4, 8191), (6, 8191), (8, 1), (8, 4097)] {
            #expect(throws: Never.self) { try header(.write, flags: flags, compressed: compressed) }
        }
        for flags: UInt8 in [2, 4, 6, 8, 0x80] {
            #expect(throws: PeerFrameError.unknownFlags(.bitmapEnd, flags)) {
                try header(.bitmapEnd, flags: flags, compressed: 1)
            }
        }
        #expect(throws: PeerFrameError.compressedLength(.bitmapEnd, 1)) {
            try header(.bitmapEnd, flags: 0, compressed: 1)
        }
    }

    @Test func `another version is refused with both numbers named`() {
        var frame = SampleFrame(.resyncReady, FrameStamp.nothing, payload: [])
        frame.bytes[6] = 9
        let error = #expect(throws: PeerFrameError.otherVersion(theirs: 9)) { try frame.decoded() }
        #expect(error?.description == "the peer speaks frame version 9, this node version 2")
    }

    @Test func `ranges that no disk may be asked for are refused`() {
        let extent: UInt64 = 4 << 20
        for (offset, length): (UInt64, UInt32) in [
            (0, 0), (512, 4096), (0, 4095), (0, 512), (0, UInt32(extent) + 4096), (extent - 4096, 8192),
            (1 << 50, 4096), ((1 << 50) - 4096, 8192), (.max - 4095, 4096), (.max, 1), (0, .max),
        ] {
            var frame = SampleFrame(
                .zero(sequence: 1, range: ByteRange(offset: 0, length: 4096), trim: false), .nothing, payload: [])
            frame.overwrite(offset, at: PeerFrame.headerLength + 8)
            frame.overwrite(length, at: PeerFrame.headerLength + 16)
            frame.reseal()
            #expect(throws: PeerFrameError.range(.zero, ByteRange(offset: offset, length: UInt64(length)))) {
                try frame.decoded()
            }
        }
        var pull = SampleFrame(.pull(id: 1, range: ByteRange(offset: 0, length: 4096)), .nothing, payload: [])
        pull.overwrite(UInt32(1 << 20) + 4096, at: PeerFrame.headerLength + 16)
        pull.reseal()
        #expect(throws: PeerFrameError.self) { try pull.decoded() }
        pull.overwrite(extent - 4096, at: PeerFrame.headerLength + 8)
        pull.overwrite(UInt32(8192), at: PeerFrame.headerLength + 16)
        pull.reseal()
        #expect(throws: Never.self) { try pull.decoded() }
    }
}

extension FrameStamp {
    static let nothing = FrameStamp(
        session: .none, lineage: .none, number: RecordNumber(term: .zero, index: 0))
}

extension PeerFrame {
    /// What a receiver says to a header with these lengths, all else being right.
    static func header(
        of kind: PeerFrameKind, body: UInt32, payload: UInt32
    ) throws -> PeerFrameHeader {
        try header(kind: kind.rawValue, body: body, payload: payload)
    }

    static func header(kind: UInt8, flags: UInt8 = 0, body: UInt32, payload: UInt32) throws -> PeerFrameHeader {
        var frame = SampleFrame(.resyncReady, .nothing, payload: [])
        frame.bytes[4] = kind
        frame.bytes[5] = flags
        frame.overwrite(payload, at: 8)
        frame.overwrite(body, at: 12)
        frame.reseal()
        return try frame.bytes.withUnsafeBytes { bytes throws in
            try PeerFrame.decodeHeader(UnsafeRawBufferPointer(rebasing: bytes[..<PeerFrame.headerLength]))
        }
    }
}

extension SampleFrame {
    func header() throws -> PeerFrameHeader {
        try bytes.withUnsafeBytes {
            try PeerFrame.decodeHeader(UnsafeRawBufferPointer(rebasing: $0[..<PeerFrame.headerLength]))
        }
    }

    func decodedOrTruncated() throws {
        guard bytes.count >= PeerFrame.headerLength else {
            return try bytes.withUnsafeBytes { _ = try PeerFrame.decodeHeader($0) }
        }
        _ = try decoded()
    }

    mutating func overwrite<T: FixedWidthInteger>(_ value: T, at offset: Int) {
        for index in 0..<MemoryLayout<T>.size {
            bytes[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * index))
        }
    }

    /// Makes both checksums right again.
    mutating func reseal() {
        var data = CRC32C()
        bytes[PeerFrame.headerLength...].withUnsafeBytes { data.update($0) }
        payload.withUnsafeBytes { data.update($0) }
        overwrite(data.value, at: 56)
        overwrite(bytes[..<60].withUnsafeBytes { CRC32C.checksum($0) }, at: 60)
    }
}
