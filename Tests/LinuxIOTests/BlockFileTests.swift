import Glibc
import LinuxIO
import Testing

@Suite struct BlockFileTests {
    let folder = TemporaryFolder()

    @Test func `a second opening is refused as in use, until the first has closed`() throws {
        let path = folder.file("disk")
        let first = try BlockFile.create(path, size: 1 << 20)
        #expect(throws: BlockFileError.inUse(path: path)) { try BlockFile.open(path) }
        first.close()
        first.close()
        let second = try BlockFile.open(path)
        #expect(second.size == 1 << 20)
        #expect(second.identity == first.identity)
        #expect(!second.isBlockDevice)
    }

    @Test func `what cannot be opened says why`() throws {
        let path = folder.file("disk")
        #expect(throws: BlockFileError.missing(path: path)) { try BlockFile.open(path) }
        #expect(throws: BlockFileError.missing(path: path + "/deeper")) { try BlockFile.open(path + "/deeper") }
        #expect(throws: BlockFileError.notAFileOrDevice(path: folder.path, kind: "a directory")) {
            try BlockFile.open(folder.path)
        }
        #expect(throws: BlockFileError.notAFileOrDevice(path: "/dev/null", kind: "a character device")) {
            try BlockFile.open("/dev/null")
        }
        try BlockFile.create(path, size: 4096).close()
        #expect(throws: BlockFileError.exists(path: path)) { try BlockFile.create(path, size: 4096) }
    }

    @Test func `bytes come back, and nothing is read or written past the end`() throws {
        let file = try BlockFile.create(folder.file("disk"), size: 65536)
        let memory = PageMemory(count: 8192)
        for place in 0..<8192 { memory.bytes[place] = UInt8(truncatingIfNeeded: place / 3) }
        try file.write(UnsafeRawBufferPointer(memory.bytes), at: 57344)
        try file.fdatasync()
        let copy = PageMemory(count: 8192)
        try file.read(copy.bytes, at: 57344)
        #expect(memory.bytes.elementsEqual(copy.bytes))
        let expected = BlockFileError.pastEnd(path: file.path, offset: 61440, count: 8192, size: 65536)
        #expect(throws: expected) { try file.read(copy.bytes, at: 61440) }
        #expect(throws: expected) { try file.write(UnsafeRawBufferPointer(copy.bytes), at: 61440) }
        #expect(try file.refreshSize() == 65536)
    }

    @Test func `reading a file that became shorter is an error`() throws {
        let file = try BlockFile.create(folder.file("disk"), size: 65536)
        truncate(file.path, 4096)
        let memory = PageMemory(count: 8192)
        #expect(throws: BlockFileError.self) { try file.read(memory.bytes, at: 0) }
    }

    @Test func `misaligned direct I-O is refused before the kernel sees it`() throws {
        let file = try BlockFile.create(folder.file("disk"), size: 65536)
        try #require(file.isDirect, "\(file.notDirectBecause ?? "")")
        let memory = PageMemory(count: 8192)
        let odd = UnsafeMutableRawBufferPointer(rebasing: memory.bytes[1..<4097])
        let expected = BlockFileError.misaligned(path: file.path, alignment: file.logicalBlockSize)
        #expect(throws: expected) { try file.read(odd, at: 0) }
    }

    @Test func `preallocating takes space and may make the file longer`() throws {
        let file = try BlockFile.create(folder.file("disk"), size: 4096)
        try file.preallocate(offset: 4096, length: 1 << 20)
        #expect(file.size == 4096 + 1 << 20)
        try file.truncate(to: 8192)
        #expect(file.size == 8192)
        #expect(throws: BlockFileError.self) { try file.preallocate(offset: 0, length: 1 << 60) }
    }

    @Test func `a file system in memory is used with or without direct I-O`() throws {
        let path = "/dev/shm/hablk-\(ProcessControls.randomWord())"
        let file = try BlockFile.create(path, size: 65536)
        defer { unlink(path) }
        let memory = PageMemory(count: 4096)
        memory.bytes[0] = 1
        try file.write(UnsafeRawBufferPointer(memory.bytes), at: 4096)
        #expect(try file.looksUsed())
        #expect(file.isDirect || file.notDirectBecause?.isEmpty == false)
    }

    @Test func `blank and used disks are told apart`() throws {
        let file = try BlockFile.create(folder.file("disk"), size: 4 << 20)
        #expect(try !file.looksUsed())
        let memory = PageMemory(count: 4096)
        memory.bytes[4095] = 1
        try file.write(UnsafeRawBufferPointer(memory.bytes), at: (1 << 20) - 4096)
        #expect(try file.signOfUse() == "bytes other than zero at its beginning")
        memory.bytes[1080] = 0x53
        memory.bytes[1081] = 0xEF
        try file.write(UnsafeRawBufferPointer(memory.bytes), at: 0)
        #expect(try file.signOfUse() == "an ext2, ext3 or ext4 file system")
    }

    @Test func `the backup of a partition table at the end is seen`() throws {
        let file = try BlockFile.create(folder.file("disk"), size: 4 << 20)
        let memory = PageMemory(count: 4096)
        UnsafeMutableRawBufferPointer(rebasing: memory.bytes[3584...]).copyBytes(from: "EFI PART".utf8)
        try file.write(UnsafeRawBufferPointer(memory.bytes), at: (4 << 20) - 4096)
        #expect(try file.signOfUse() == "the second copy of a GPT partition table")
    }

    @Test(arguments: [0, 1, 511, 512, 700, 4096])
    func `a tiny file is looked at without a trap`(size: UInt64) throws {
        let file = try BlockFile.create(folder.file("disk"), size: size)
        #expect(try !file.looksUsed())
    }
}
