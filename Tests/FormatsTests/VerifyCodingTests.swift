import Formats
import Model
import Testing

@Suite struct VerifyCodingTests {
    private static var result: VerifyResult {
        var result = VerifyResult(end: .interrupted, began: 1_700_000_000, ended: 1_700_000_360)
        result.reached = 1 << 40
        result.comparedBytes = 1 << 39
        result.differingBytes = 8192
        result.unreadableBytes = 4096
        result.skippedBytes = 1 << 20
        result.reason = "the connection ended: \"no answer\""
        result.completed = 1_600_000_000
        result.runs = [BlockRun(first: 7, count: 1), BlockRun(first: 1 << 37, count: 1)]
        return result
    }

    @Test func `a node remembers what it compared, and which blocks differed`() throws {
        let text = VerifyMemory.text([("bravo", Self.result), ("charlie", Self.result)])
        let back = VerifyMemory.results(text)
        #expect(back.map(\.node) == ["bravo", "charlie"] && back.allSatisfy { $0.result == Self.result })
        // As an earlier build wrote it.
        let former = text.replacing(", \"runs\": \"7+1 137438953472+1\"", with: "")
        #expect(former != text)
        let nameless = VerifyMemory.results(former)
        #expect(
            nameless.count == 2 && nameless.allSatisfy { $0.result.runs.isEmpty && $0.result.differingBytes == 8192 })
    }

    @Test func `so many blocks as there is room for; and none where one of them is none`() {
        var result = Self.result
        result.runs = (0..<1024).map { BlockRun(first: (1 << 48) - 4096 + 2 * $0, count: 1) }
        let many = (0..<7).map { (node: "node-\($0)", result: result) }
        let back = VerifyMemory.results(VerifyMemory.text(many))
        #expect(back.count == 7 && back.allSatisfy { $0.result.runs == Array(result.runs.prefix(256)) })
        let text = VerifyMemory.text([("bravo", Self.result)])
        for bad in [
            "7", "7+", "+1", "7+0", "281474976710656+1", "7+281474976710650", "281474976710655+2", "9+1 8+1",
            "9+2 10+1", "-7+1", "7+1+1",
            "7+99999999999999999999",
        ] {
            let spoiled = text.replacing("7+1 1", with: "\(bad) 1")
            #expect(spoiled != text)
            #expect(VerifyMemory.results(spoiled).map(\.result.runs) == [[]], "\(bad)")
        }
    }

    @Test func `lines that say nothing are left out, and seven peers find room`() {
        #expect(VerifyMemory.results("").isEmpty)
        #expect(VerifyMemory.results("{\"node\": \"bravo\"}\nnonsense\n{}\n").isEmpty)
        let text = VerifyMemory.text([("bravo", Self.result)])
        for length in 0..<text.utf8.count - 1 {
            #expect(VerifyMemory.results(String(decoding: text.utf8.prefix(length), as: UTF8.self)).isEmpty)
        }
        let many = (0..<7).map { (node: "node-\($0)", result: Self.result) }
        #expect(VerifyMemory.results(VerifyMemory.text(many)).count == 7)
        let long = (0..<7).map { (node: String(repeating: "n", count: 1000) + "\($0)", result: Self.result) }
        #expect(VerifyMemory.text(long).utf8.count <= VerifyMemory.maximumBytes)
    }

    @Test func `digests are of whole blocks, and of no more than a question asks for`() throws {
        for (count, isPossible) in [(0, false), (1, true), (64, true), (65, false)] {
            let length = UInt32(4 + count * 32)
            var header = try Self.header(of: .digests(id: 5, [UInt8](repeating: 1, count: 32)))
            header[12] = UInt8(truncatingIfNeeded: length)
            header[13] = UInt8(truncatingIfNeeded: length >> 8)
            let checksum = header.withUnsafeBytes { CRC32C.checksum(UnsafeRawBufferPointer(rebasing: $0[..<60])) }
            withUnsafeBytes(of: checksum.littleEndian) { for index in 0..<4 { header[60 + index] = $0[index] } }
            let decoded = try? header.withUnsafeBytes { try PeerFrame.decodeHeader($0) }
            #expect((decoded != nil) == isPossible, "\(count) digests")
        }
    }

    @Test func `a question is for sixty-four blocks of one extent at most`() throws {
        for (range, isPossible) in [
            (ByteRange(blocks: 0..<64), true), (ByteRange(blocks: 0..<65), false),
            (ByteRange(blocks: 1000..<1024), true), (ByteRange(blocks: 1000..<1025), false),
        ] {
            let sample = SampleFrame(
                .digest(id: 1, range: ByteRange(blocks: 0..<1)),
                FrameStamp(session: .none, lineage: .none, number: Record.empty.number), payload: [])
            var body = Array(sample.bytes[PeerFrame.headerLength...])
            withUnsafeBytes(of: range.offset.littleEndian) { for index in 0..<8 { body[4 + index] = $0[index] } }
            withUnsafeBytes(of: UInt32(range.length).littleEndian) {
                for index in 0..<4 { body[12 + index] = $0[index] }
            }
            var header = Array(sample.bytes[..<PeerFrame.headerLength])
            let sum = body.withUnsafeBytes { CRC32C.checksum($0) }
            withUnsafeBytes(of: sum.littleEndian) { for index in 0..<4 { header[56 + index] = $0[index] } }
            let checksum = header.withUnsafeBytes { CRC32C.checksum(UnsafeRawBufferPointer(rebasing: $0[..<60])) }
            withUnsafeBytes(of: checksum.littleEndian) { for index in 0..<4 { header[60 + index] = $0[index] } }
            var changed = sample
            changed.bytes = header + body
            let decoded = try? changed.decoded()
            #expect((decoded != nil) == isPossible, "\(range)")
        }
    }

    private static func header(of message: PeerMessage) throws -> [UInt8] {
        let stamp = FrameStamp(session: .none, lineage: .none, number: Record.empty.number)
        return Array(SampleFrame(message, stamp, payload: []).bytes[..<PeerFrame.headerLength])
    }
}
