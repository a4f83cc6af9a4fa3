import CLinuxURing
import Glibc

/// Small files of /proc and /sys.
enum TextFile {
    static func contents(_ path: String) -> String { String(decoding: bytes(path), as: UTF8.self) }

    /// None when there is no such file.
    static func bytes(_ path: String) -> [UInt8] {
        let file = hablk_open(path, O_RDONLY | O_CLOEXEC, 0)
        guard file >= 0 else { return [] }
        defer { close(file) }
        var bytes: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 16 << 10)
        while true {
            let count = read(file, &piece, piece.count)
            guard count > 0 else { break }
            bytes += piece[..<count]
        }
        return bytes
    }

    /// nil when there is no such file, or nothing in it.
    static func firstLine(_ path: String) -> String? {
        contents(path).split(separator: "\n").first.map(String.init)
    }

    static func write(_ text: String, to path: String) {
        let file = hablk_open(path, O_WRONLY | O_CLOEXEC, 0)
        guard file >= 0 else { return }
        defer { close(file) }
        _ = Array(text.utf8).withUnsafeBytes { Glibc.write(file, $0.baseAddress, $0.count) }
    }

    static func names(in folder: String) -> [String] {
        guard let stream = opendir(folder) else { return [] }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names
    }

    static func link(_ path: String) -> String? {
        var bytes = [CChar](repeating: 0, count: 4096)
        let count = readlink(path, &bytes, bytes.count - 1)
        guard count > 0 else { return nil }
        return String(decoding: bytes[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
