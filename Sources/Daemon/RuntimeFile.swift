import Glibc

/// Small text files of the runtime folder.
enum RuntimeFile {
    /// nil when it cannot be read.
    static func contents(_ path: String, upTo most: Int = 4096) -> String? {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return nil }
        defer { close(file) }
        var bytes = [UInt8](repeating: 0, count: most)
        let count = read(file, &bytes, bytes.count)
        return count >= 0 ? String(decoding: bytes[..<count], as: UTF8.self) : nil
    }

    /// Stable when it returns: the former text or this one, whatever happens meanwhile. Takes as long as a disk may.
    /// - Returns: what went wrong.
    static func replace(_ path: String, with text: String) -> String? {
        let new = path + ".new"
        func failure() -> String { "\(path): \(String(cString: strerror(errno)))" }
        let file = open(new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard file >= 0 else { return failure() }
        defer { close(file) }
        let bytes = Array(text.utf8)
        var written = 0
        while written < bytes.count {
            let count = bytes.withUnsafeBytes { Glibc.write(file, $0.baseAddress! + written, bytes.count - written) }
            guard count > 0 else { return failure() }
            written += count
        }
        guard fsync(file) == 0, rename(new, path) == 0 else { return failure() }
        let folder = open(
            String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)]), O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard folder >= 0 else { return failure() }
        defer { close(folder) }
        return fsync(folder) == 0 ? nil : failure()
    }

    /// - Returns: whether all of it was written.
    @discardableResult
    static func write(_ text: String, to path: String) -> Bool {
        let file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard file >= 0 else { return false }
        defer { close(file) }
        let bytes = Array(text.utf8)
        return Glibc.write(file, bytes, bytes.count) == bytes.count
    }

    static func remove(_ path: String) { unlink(path) }
}
