import Formats
import Glibc
import LinuxIO
package import Model

/// Blocks of a copy that gives them up, in a file: an image of the volume, sparse, in which they lie at their places, and beside it a
/// map of which these are. Under their names they are only once they are whole and stable.
///
/// Its functions block; one thread calls them, one after the other.
package final class DiscardedFile: @unchecked Sendable {
    package struct Failure: Error {
        package var words: String
    }

    /// So much of the file system's space is left to others.
    package static let reserve: UInt64 = 64 << 20
    private static let suffix = ".partial"
    /// Of the map, before it is written.
    private static let mostText = 64 << 10

    private let folder: String
    private let name: String
    private let size: UInt64
    /// The disk, opened once more for this.
    private let disk: any MovableFile
    private var image: Int32 = -1
    private var map: Int32 = -1
    private var memory = PageMemory(count: Int(KeepingStep.mostBlocks * Geometry.blockSize))
    private var text: [UInt8] = []
    private var unreadable: UInt64 = 0

    /// Nothing is done yet.
    /// - Parameters:
    ///   - name: of the two files in the folder, without `.img` and `.map`.
    ///   - size: bytes of the volume.
    ///   - disk: closed at the end.
    ///   - head: what the map says first, in lines.
    package init(folder: String, name: String, size: UInt64, disk: any MovableFile, head: [String]) {
        self.folder = folder
        self.name = name
        self.size = size
        self.disk = disk
        text = Array((head.map { "# \($0)\n" }.joined() + "# offset length (bytes), and what lies there\n").utf8)
    }

    deinit { close() }

    private var imagePath: String { "\(folder)/\(name).img" }
    private var mapPath: String { "\(folder)/\(name).map" }

    private static func failure(_ path: String) -> Failure { Failure(words: "\(path): \(errorText(errno))") }

    /// Makes the folder when it is absent, and the files; what an earlier run left off goes.
    /// - Parameter bytes: so many may follow.
    package func begin(_ bytes: UInt64) throws(Failure) {
        if mkdir(folder, 0o700) == 0 {
            try Self.makeStable(String(folder[..<(folder.lastIndex(of: "/") ?? folder.startIndex)]))
        } else if errno != EEXIST {
            throw Self.failure(folder)
        }
        removePartial()
        image = try Self.create(imagePath + Self.suffix)
        map = try Self.create(mapPath + Self.suffix)
        try checkRoom(for: bytes)
    }

    private static func create(_ path: String) throws(Failure) -> Int32 {
        let file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard file >= 0 else { throw failure(path) }
        return file
    }

    private func checkRoom(for bytes: UInt64) throws(Failure) {
        var room = statvfs()
        guard fstatvfs(image, &room) == 0 else { return }
        let free = UInt64(room.f_bavail) * UInt64(room.f_frsize)
        guard free < bytes + Self.reserve else { return }
        throw Failure(words: "\(folder): up to \(bytes) bytes are to be kept there, and \(free) are free")
    }

    package func copy(_ runs: [BlockRun]) throws(Failure) {
        try checkRoom(for: runs.reduce(0) { $0 + $1.count } * Geometry.blockSize)
        for run in runs {
            let range = ByteRange(blocks: run.first..<run.first + run.count)
            let whole = UnsafeMutableRawBufferPointer(rebasing: memory.bytes[..<Int(range.length)])
            if (try? disk.read(whole, at: range.offset)) != nil {
                try keep(whole, at: range.offset)
                continue
            }
            // Which of them it is that cannot be read.
            for block in range.blocks {
                let one = UnsafeMutableRawBufferPointer(rebasing: whole[..<Int(Geometry.blockSize)])
                let offset = block * Geometry.blockSize
                if (try? disk.read(one, at: offset)) != nil {
                    try keep(one, at: offset)
                } else {
                    unreadable += Geometry.blockSize
                    try note(offset, Geometry.blockSize, "unreadable")
                }
            }
        }
    }

    /// Zeroes take no room.
    private func keep(_ bytes: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(Failure) {
        let block = Int(Geometry.blockSize)
        var start = 0
        while start < bytes.count {
            let isZero = Self.isZero(bytes, start)
            var end = start + block
            while end < bytes.count, Self.isZero(bytes, end) == isZero { end += block }
            if !isZero {
                try write(
                    UnsafeRawBufferPointer(rebasing: bytes[start..<end]), to: image, at: offset + UInt64(start),
                    imagePath)
            }
            try note(offset + UInt64(start), UInt64(end - start), isZero ? "zero" : "data")
            start = end
        }
    }

    private static func isZero(_ bytes: UnsafeMutableRawBufferPointer, _ start: Int) -> Bool {
        isAllZero(UnsafeRawBufferPointer(rebasing: bytes[start..<start + Int(Geometry.blockSize)]))
    }

    /// - Parameter offset: nil: behind what was written.
    private func write(
        _ bytes: UnsafeRawBufferPointer, to file: Int32, at offset: UInt64?, _ path: String
    ) throws(Failure) {
        var done = 0
        while done < bytes.count {
            let (start, left) = (bytes.baseAddress! + done, bytes.count - done)
            let count = offset.map { pwrite(file, start, left, Int($0) + done) } ?? Glibc.write(file, start, left)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw Self.failure(path) }
            done += count
        }
    }

    private func note(_ offset: UInt64, _ length: UInt64, _ what: String) throws(Failure) {
        text += "\(offset) \(length) \(what)\n".utf8
        if text.count >= Self.mostText { try writeText() }
    }

    private func writeText() throws(Failure) {
        let bytes = text
        text.removeAll(keepingCapacity: true)
        let result = bytes.withUnsafeBytes { whole in
            Result { () throws(Failure) in try write(whole, to: map, at: nil, mapPath) }
        }
        try result.get()
    }

    /// Both are stable under their names then, and the disk is closed.
    /// - Returns: the image's path, and what of it could not be read.
    package func end() throws(Failure) -> String {
        try writeText()
        guard ftruncate(image, Int(size)) == 0, fsync(image) == 0 else { throw Self.failure(imagePath) }
        guard fsync(map) == 0 else { throw Self.failure(mapPath) }
        // The map first: an image that is there has one.
        guard rename(mapPath + Self.suffix, mapPath) == 0 else { throw Self.failure(mapPath) }
        guard rename(imagePath + Self.suffix, imagePath) == 0 else { throw Self.failure(imagePath) }
        try Self.makeStable(folder)
        close()
        return unreadable == 0 ? imagePath : "\(imagePath), but for \(unreadable) bytes that cannot be read"
    }

    private static func makeStable(_ folder: String) throws(Failure) {
        let file = open(folder.isEmpty ? "/" : folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard file >= 0 else { throw failure(folder) }
        defer { Glibc.close(file) }
        guard fsync(file) == 0 else { throw failure(folder) }
    }

    /// The rest may go on being read and written; nothing more is copied.
    package func closeDisk() { disk.close() }

    /// Nothing of it stays.
    package func leaveOff() {
        close()
        removePartial()
    }

    private func close() {
        disk.close()
        if image >= 0 { Glibc.close(image) }
        if map >= 0 { Glibc.close(map) }
        (image, map) = (-1, -1)
    }

    /// Of whichever generation: one is kept at a time.
    private func removePartial() {
        guard let entries = opendir(folder) else { return }
        defer { closedir(entries) }
        while let entry = readdir(entries) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name.hasSuffix(Self.suffix) { unlink("\(folder)/\(name)") }
        }
    }
}
