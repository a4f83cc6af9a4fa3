import Daemon
import Formats
import LinuxIO
import Model
import Testing

/// Payloads as databases and file systems have them, and as they are hardest.
enum SamplePayload: String, CaseIterable, Sendable {
    /// Words, as in a log or a page of text.
    case text
    /// Rows that resemble each other, then space that was never used.
    case page
    /// One byte is not zero: the last.
    case nearlyZero
    case random
    case halfRandom

    func bytes(_ count: Int) -> [UInt8] {
        var random = SystemRandomNumberGenerator()
        switch self {
        case .text:
            let words = ["the", "volume", "of", "acknowledged", "writes", "\n", "42", "is", "synchronised", "primary"]
            var text: [UInt8] = []
            while text.count < count { text += Array((words.randomElement()! + " ").utf8) }
            return Array(text[..<count])
        case .page:
            var page = [UInt8](repeating: 0, count: count)
            for place in page.indices where place % 8192 <= 6000 {
                page[place] = place % 64 < 8 ? UInt8.random(in: 0...255) : UInt8(place % 64)
            }
            return page
        case .nearlyZero: return [UInt8](repeating: 0, count: count - 1) + [1]
        case .random: return (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
        case .halfRandom: return (0..<count).map { $0 % 2 == 0 ? UInt8.random(in: 0...255) : 7 }
        }
    }
}

extension PayloadCompressor {
    /// What it makes of `payload`, its buffer given back; nil when it saves nothing.
    func wire(_ payload: [UInt8]) throws -> (carried: CarriedPayload, bytes: [UInt8])? {
        switch payload.withUnsafeBytes({ compress($0) }) {
        case .busy: throw Trouble.busy
        case .notWorthIt: return nil
        case .shorter(let buffer, let carried):
            defer { pool.release(buffer) }
            return (
                carried,
                Array(UnsafeRawBufferPointer(start: pool.pointer(buffer), count: carried.compressedLength))
            )
        }
    }

    enum Trouble: Error { case busy }
}

extension PayloadExpander {
    /// Nil when it is refused. Records an issue when a byte behind the payload is touched.
    func payload(_ carried: CarriedPayload, _ wire: [UInt8], of count: Int) -> [UInt8]? {
        wire.withUnsafeBytes { if let bytes = $0.baseAddress { place.copyMemory(from: bytes, byteCount: $0.count) } }
        var output = [UInt8](repeating: 0xa5, count: count + 4096)
        let isExpanded = output.withUnsafeMutableBytes {
            expand(carried, into: UnsafeMutableRawBufferPointer(rebasing: $0[..<count]))
        }
        #expect(output[count...].allSatisfy { $0 == 0xa5 }, "expanded beyond the end")
        return isExpanded ? Array(output[..<count]) : nil
    }
}

@Suite struct PayloadTests {
    static let sizes = [4096, 8192, 12288, 65536, 69632, 1 << 20]

    private func carried(_ compression: Compression, _ length: Int) -> CarriedPayload {
        compression == .lz4 ? .lz4(length) : .zstandard(length)
    }

    @Test(arguments: [Compression.lz4, .zstd], SamplePayload.allCases)
    func `what was compressed comes back, and what would save nothing is left as it is`(
        _ compression: Compression, _ sample: SamplePayload
    ) throws {
        let compressor = try #require(PayloadCompressor(compression))
        let expander = PayloadExpander()
        for size in Self.sizes {
            let payload = sample.bytes(size)
            guard let wire = try compressor.wire(payload) else {
                #expect(sample == .random || sample == .halfRandom, "\(sample) of \(size) bytes is not made shorter")
                continue
            }
            #expect(sample != .random && wire.carried == carried(compression, wire.bytes.count))
            #expect(wire.bytes.count <= size - size / 8)
            #expect(expander.payload(wire.carried, wire.bytes, of: size) == payload)
        }
        #expect(compressor.pool.inUse == 0)
    }

    @Test(arguments: [Compression.lz4, .zstd])
    func `when all buffers are on their way the next payload waits, and none is lost`(_ compression: Compression)
        throws
    {
        let compressor = try #require(PayloadCompressor(compression))
        for size in Self.sizes {
            let payload = SamplePayload.text.bytes(size)
            var held: [Int32] = []
            while case .shorter(let buffer, _) = payload.withUnsafeBytes({ compressor.compress($0) }) {
                held.append(buffer)
                #expect(held.count <= compressor.pool.count)
            }
            #expect(payload.withUnsafeBytes { compressor.compress($0) } == .busy)
            for buffer in held { compressor.pool.release(buffer) }
            #expect(try compressor.wire(payload) != nil)
        }
    }

    @Test(arguments: [Compression.lz4, .zstd])
    func `a compressed payload that ends early, or goes on, is refused`(_ compression: Compression) throws {
        let compressor = try #require(PayloadCompressor(compression))
        let expander = PayloadExpander()
        let payload = SamplePayload.text.bytes(4096)
        let wire = try #require(try compressor.wire(payload)).bytes
        for length in 1..<wire.count {
            #expect(expander.payload(carried(compression, length), Array(wire[..<length]), of: 4096) == nil)
        }
        for more in [[0], [0xff], [0x28, 0xb5, 0x2f, 0xfd], wire] as [[UInt8]] {
            let longer = wire + more
            #expect(expander.payload(carried(compression, longer.count), longer, of: 4096) == nil)
        }
        // The right bytes, and another length in the header.
        for count in [8192, 65536, 1 << 20] {
            #expect(expander.payload(carried(compression, wire.count), wire, of: count) == nil)
        }
        #expect(expander.payload(carried(compression, wire.count), wire, of: 4096) == payload)
    }

    @Test(arguments: [Compression.lz4, .zstd])
    func `a changed byte never leads beyond the payload's end, and never to its checksum`(_ compression: Compression)
        throws
    {
        let compressor = try #require(PayloadCompressor(compression))
        let expander = PayloadExpander()
        for sample in [SamplePayload.text, .page, .nearlyZero] {
            let payload = sample.bytes(4096)
            let wire = try #require(try compressor.wire(payload)).bytes
            let checksum = payload.withUnsafeBytes { CRC32C.checksum($0) }
            for index in wire.indices {
                for change: UInt8 in [1, 0x10, 0x80, 0xff] {
                    var changed = wire
                    changed[index] ^= change
                    guard let back = expander.payload(carried(compression, wire.count), changed, of: 4096),
                        back != payload
                    else { continue }
                    #expect(back.withUnsafeBytes { CRC32C.checksum($0) } != checksum)
                }
            }
        }
    }

    /// Much in few bytes.
    @Test func `a payload expands to no more than its header said`() throws {
        let expander = PayloadExpander()
        let zeroes = SamplePayload.nearlyZero.bytes(1 << 20)
        for compression in [Compression.lz4, .zstd] {
            let compressor = try #require(PayloadCompressor(compression))
            let wire = try #require(try compressor.wire(zeroes)).bytes
            #expect(wire.count < 8192)
            for count in [4096, 8192, (1 << 20) - 4096] {
                #expect(expander.payload(carried(compression, wire.count), wire, of: count) == nil)
            }
        }
        // LZ4: a match of 255 more, and 255 more, without end.
        for length in [64, 4000] {
            let bomb = [0x1f, 0x41, 0x01, 0x00] + [UInt8](repeating: 0xff, count: length)
            #expect(expander.payload(.lz4(bomb.count), bomb, of: 4096) == nil)
        }
        // Zstandard: blocks of one byte repeated, 128 KiB each, behind a header that says little, much or nothing.
        let run: [UInt8] = [0x02, 0x00, 0x10, 0x00], last: [UInt8] = [0x03, 0x00, 0x10, 0x00]
        let magic: [UInt8] = [0x28, 0xb5, 0x2f, 0xfd]
        for header: [UInt8] in [
            [0x20, 0xff], [0x60, 0x00, 0x0f], [0xa0, 0x00, 0x00, 0x10, 0x00], [0xe0, 0, 0, 0, 0, 0, 0, 0, 0x40],
            [0x00, 0x58], [0x00, 0xf8],
        ] {
            let frame = magic + header + (0..<500).flatMap { _ in run } + last
            for count in [4096, 1 << 20] {
                #expect(expander.payload(.zstandard(frame.count), frame, of: count) == nil)
            }
        }
    }

    @Test func `only one frame of today's format is taken of Zstandard`() throws {
        let compressor = try #require(PayloadCompressor(.zstd))
        let expander = PayloadExpander()
        let payload = SamplePayload.text.bytes(8192)
        let half = try #require(try compressor.wire(Array(payload[..<4096]))).bytes
        let other = try #require(try compressor.wire(Array(payload[4096...]))).bytes
        let whole = try #require(try compressor.wire(payload)).bytes
        let skipped: [UInt8] = [0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4]
        for frames in [half + other, skipped + whole, whole + skipped, skipped] {
            #expect(expander.payload(.zstandard(frames.count), frames, of: 8192) == nil)
        }
        for version: UInt8 in 0x1e...0x27 {
            var old = whole
            old[0] = version
            #expect(expander.payload(.zstandard(old.count), old, of: 8192) == nil)
        }
        #expect(expander.payload(.zstandard(whole.count), whole, of: 8192) == payload)
        // One's bytes are nothing to the other.
        #expect(expander.payload(.lz4(whole.count), whole, of: 8192) == nil)
        #expect(expander.payload(.plain, whole, of: 8192) == nil && expander.payload(.zeroes, [], of: 8192) == nil)
    }

    @Test func `random bytes are refused or make a payload, and touch nothing else`() {
        let expander = PayloadExpander()
        for round in 0..<20_000 {
            var wire = (0..<Int.random(in: 1...200)).map { _ in UInt8.random(in: 0...255) }
            if round % 2 == 0 { wire = [0x28, 0xb5, 0x2f, 0xfd, UInt8.random(in: 0...255), 0, 0x0f] + wire }
            let length = wire.count
            for carried in [CarriedPayload.lz4(length), .zstandard(length)] {
                _ = expander.payload(carried, wire, of: 4096)
            }
        }
    }
}
