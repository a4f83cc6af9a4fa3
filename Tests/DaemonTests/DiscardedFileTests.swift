import Daemon
import Foundation
import LinuxIO
import Model
import Testing

/// What is kept aside of a copy (`discarded-data: keep`).
@Suite struct DiscardedFileTests {
    /// Block n holds n in each byte; some cannot be read.
    private final class Disk: MovableFile {
        var unreadable: Set<UInt64> = []
        var isClosed = false
        let isBlockDevice = false
        let size: UInt64 = 64 * Geometry.blockSize
        func refreshSize() throws(BlockFileError) -> UInt64 { size }
        func truncate(to bytes: UInt64) throws(BlockFileError) {}
        func preallocate(offset: UInt64, length: UInt64) throws(BlockFileError) {}
        func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(BlockFileError) {}
        func append(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(BlockFileError) {}
        func fdatasync() throws(BlockFileError) {}
        func close() { isClosed = true }

        func read(_ bytes: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(BlockFileError) {
            let blocks = ByteRange(offset: offset, length: UInt64(bytes.count)).blocks
            for block in blocks {
                guard !unreadable.contains(block) else { throw .missing(path: "block \(block)") }
                let start = Int((block - blocks.lowerBound) * Geometry.blockSize)
                for place in start..<start + Int(Geometry.blockSize) {
                    bytes[place] = block < 32 ? UInt8(block) : 0
                }
            }
        }
    }

    private let folder = NSTemporaryDirectory() + "discarded-\(UInt64.random(in: 0...UInt64.max))"
    private let disk = Disk()

    private func contents(_ name: String) -> Data? { FileManager.default.contents(atPath: "\(folder)/\(name)") }

    private func file(_ name: String = "7", head: [String] = []) -> DiscardedFile {
        DiscardedFile(folder: folder, name: name, size: disk.size, disk: disk, head: head)
    }

    private var names: [String] { ((try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []).sorted() }

    @Test func `the image holds the blocks at their places, and the map says which, and which cannot be read`() throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        disk.unreadable = [4]
        let file = file(head: ["hablk", "of r0"])
        try file.begin(8 * 4096)
        try file.copy([BlockRun(first: 3, count: 3), BlockRun(first: 30, count: 4)])
        #expect(names == ["7.img.partial", "7.map.partial"], "it is not whole")
        try file.copy([BlockRun(first: 63, count: 1)])
        #expect(!disk.isClosed)
        #expect(try file.end() == "\(folder)/7.img, but for 4096 bytes that cannot be read")
        #expect(disk.isClosed)
        #expect(names == ["7.img", "7.map"])
        let image = try #require(contents("7.img"))
        #expect(image.count == Int(disk.size))
        for block in 0..<64 {
            let expected = [3, 5, 30, 31].contains(block) ? UInt8(block) : 0
            #expect(image[block * 4096..<(block + 1) * 4096].allSatisfy { $0 == expected }, "block \(block)")
        }
        let map = String(decoding: try #require(contents("7.map")), as: UTF8.self)
        #expect(
            map == """
                # hablk
                # of r0
                # offset length (bytes), and what lies there
                12288 4096 data
                16384 4096 unreadable
                20480 4096 data
                122880 8192 data
                131072 8192 zero
                258048 4096 zero

                """)
    }

    @Test func `what is left off leaves nothing, nor what a killed daemon left, and what was kept before stays`() throws
    {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let first = file()
        try first.begin(0)
        #expect(try first.end() == "\(folder)/7.img")
        let killed = file("6")
        try killed.begin(0)
        #expect(names == ["6.img.partial", "6.map.partial", "7.img", "7.map"])
        let again = file()
        try again.begin(4096)
        try again.copy([BlockRun(first: 1, count: 1)])
        #expect(names == ["7.img", "7.img.partial", "7.map", "7.map.partial"])
        again.leaveOff()
        #expect(names == ["7.img", "7.map"])
        #expect(contents("7.img") == Data(count: Int(disk.size)))
    }

    @Test func `where there is no room, or no folder can be made, it says so at once`() throws {
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let file = file()
        #expect {
            try file.begin(1 << 60)
        } throws: {
            ($0 as? DiscardedFile.Failure)?.words.contains("up to \(UInt64(1 << 60)) bytes are to be kept there")
                == true
        }
        file.leaveOff()
        #expect(names == [])
        try FileManager.default.removeItem(atPath: folder)
        #expect(FileManager.default.createFile(atPath: folder, contents: nil))
        #expect {
            try self.file().begin(0)
        } throws: {
            ($0 as? DiscardedFile.Failure)?.words.contains("Not a directory") == true
        }
    }
}
