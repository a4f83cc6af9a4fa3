import Formats
import Testing

@Suite struct ChecksumTests {
    private func checksum(_ bytes: [UInt8]) -> UInt32 { bytes.withUnsafeBytes { CRC32C.checksum($0) } }

    @Test func `known answers`() {
        #expect(checksum(Array("123456789".utf8)) == 0xe306_9283)
        #expect(checksum([]) == 0)
        // RFC 3720, B.4.
        #expect(checksum([UInt8](repeating: 0, count: 32)) == 0x8a91_36aa)
        #expect(checksum([UInt8](repeating: 0xff, count: 32)) == 0x62a8_ab43)
        #expect(checksum(Array(0..<32)) == 0x46dd_794e)
        #expect(checksum(Array((0..<32).reversed())) == 0x113f_db5c)
        #expect(!CRC32C.implementation.isEmpty)
    }

    @Test func `the processor and the table agree at every length, place and split`() {
        var dice = SeededDice(3)
        let bytes = dice.bytes(70_000)
        bytes.withUnsafeBytes { all in
            for round in 0..<2000 {
                let start = dice.pick(64)
                let count = round < 300 ? round : dice.pick(all.count - start)
                let part = UnsafeRawBufferPointer(rebasing: all[start..<start + count])
                let split = count == 0 ? 0 : dice.pick(count)
                var inTwo = CRC32C()
                inTwo.update(UnsafeRawBufferPointer(rebasing: part[..<split]))
                inTwo.update(UnsafeRawBufferPointer(rebasing: part[split...]))
                #expect(CRC32C.checksum(part) == CRC32C.portableChecksum(part))
                #expect(CRC32C.checksum(part) == inTwo.value)
            }
        }
    }

    @Test func `one bit anywhere is not zero`() {
        for count in [0, 1, 7, 8, 255, 256, 257, 4096, 5000] {
            var bytes = [UInt8](repeating: 0, count: count)
            #expect(bytes.withUnsafeBytes { isAllZero($0) })
            for index in bytes.indices {
                bytes[index] = 0x10
                #expect(!bytes.withUnsafeBytes { isAllZero($0) })
                bytes[index] = 0
            }
        }
        #expect(isAllZero(UnsafeRawBufferPointer(start: nil, count: 0)))
        #expect(CRC32C.checksum(UnsafeRawBufferPointer(start: nil, count: 0)) == 0)
    }
}
