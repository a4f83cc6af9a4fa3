import Formats
import Testing

@Suite struct ByteCursorTests {
    @Test func `integers of both byte orders come back as written, at unaligned places`() throws {
        var memory = [UInt8](repeating: 0xaa, count: 32)
        let length = try memory.withUnsafeMutableBytes { raw -> Int in
            var writer = ByteWriter(raw)
            try writer.writeUInt8(7)
            try writer.writeBigEndian(UInt16(0x0102))
            try writer.writeBigEndian(UInt32(0x0304_0506))
            try writer.writeLittleEndian(UInt64(0x0708_090a_0b0c_0d0e))
            try writer.writeZeroes(2)
            try writer.writeBytes("hé".utf8)
            return writer.count
        }
        #expect(
            memory[..<length].elementsEqual([
                7, 1, 2, 3, 4, 5, 6, 0x0e, 0x0d, 0x0c, 0x0b, 0x0a, 9, 8, 7, 0, 0, 0x68, 0xc3, 0xa9,
            ]))
        #expect(memory[length] == 0xaa)
        try memory.withUnsafeBytes { raw in
            var reader = ByteReader(raw)
            #expect(try reader.readUInt8() == 7)
            #expect(try reader.readBigEndian(UInt16.self) == 0x0102)
            #expect(try reader.readBigEndian() as UInt32 == 0x0304_0506)
            #expect(try reader.readLittleEndian(UInt64.self) == 0x0708_090a_0b0c_0d0e)
            try reader.skip(2)
            #expect(try reader.readBytes(3).elementsEqual("hé".utf8))
            #expect(reader.remaining == 12)
            #expect(reader.readRest().count == 12)
            #expect(reader.isAtEnd)
        }
    }

    @Test func `a read past the end throws and leaves the cursor where it was`() {
        for size in 0..<8 {
            let memory = [UInt8](repeating: 1, count: size)
            memory.withUnsafeBytes { raw in
                var reader = ByteReader(raw)
                #expect(throws: TruncatedInput.self) { try reader.readBigEndian(UInt64.self) }
                #expect(throws: TruncatedInput.self) { try reader.readBytes(size + 1) }
                #expect(throws: TruncatedInput.self) { try reader.skip(-1) }
                #expect(throws: TruncatedInput.self) { try reader.skip(Int.max) }
                #expect(throws: TruncatedInput.self) { try reader.readBytes(Int.min) }
                #expect(reader.offset == 0)
                #expect(reader.remaining == size)
            }
        }
        var nothing = ByteReader(UnsafeRawBufferPointer(start: nil, count: 0))
        #expect(throws: TruncatedInput.self) { try nothing.readUInt8() }
        #expect(nothing.readRest().isEmpty)
    }

    @Test func `a write past the end throws and writes nothing`() {
        var memory = [UInt8](repeating: 0xaa, count: 7)
        memory.withUnsafeMutableBytes { raw in
            var writer = ByteWriter(raw)
            #expect(throws: OutputFull.self) { try writer.writeBigEndian(UInt64(0)) }
            #expect(throws: OutputFull.self) { try writer.writeLittleEndian(UInt64(0)) }
            #expect(throws: OutputFull.self) { try writer.writeBytes([UInt8](repeating: 0, count: 8)) }
            #expect(throws: OutputFull.self) { try writer.writeZeroes(8) }
            #expect(throws: OutputFull.self) { try writer.writeZeroes(-1) }
            #expect(throws: OutputFull.self) { try writer.overwriteBigEndian(UInt8(0), at: 0) }
            #expect(writer.count == 0)
        }
        #expect(memory.allSatisfy { $0 == 0xaa })
        var nothing = ByteWriter(UnsafeMutableRawBufferPointer(start: nil, count: 0))
        #expect(throws: OutputFull.self) { try nothing.writeUInt8(0) }
        #expect(throws: Never.self) { try nothing.writeBytes(UnsafeRawBufferPointer(start: nil, count: 0)) }
        #expect(throws: Never.self) { try nothing.writeBytes("".utf8) }
        #expect(throws: Never.self) { try nothing.writeZeroes(0) }
    }

    @Test func `a length is filled in after what it measures`() throws {
        var memory = [UInt8](repeating: 0xaa, count: 8)
        try memory.withUnsafeMutableBytes { raw in
            var writer = ByteWriter(raw)
            try writer.writeZeroes(4)
            try writer.overwriteBigEndian(UInt16(0x0102), at: 0)
            try writer.overwriteLittleEndian(UInt16(0x0102), at: 2)
            #expect(throws: OutputFull.self) { try writer.overwriteBigEndian(UInt16(0), at: 3) }
            #expect(throws: OutputFull.self) { try writer.overwriteBigEndian(UInt16(0), at: -1) }
            #expect(throws: OutputFull.self) { try writer.overwriteBigEndian(UInt16(0), at: Int.max) }
            #expect(writer.written.elementsEqual([1, 2, 2, 1]))
        }
    }
}
