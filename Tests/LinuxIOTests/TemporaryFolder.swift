import Glibc

/// A folder of its own for one test, on a disk rather than in memory, gone with the value.
final class TemporaryFolder {
    let path: String

    init() {
        var template = Array("/var/tmp/hablk-XXXXXX".utf8CString)
        precondition(mkdtemp(&template) != nil, "no folder under /var/tmp")
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit {
        if let folder = opendir(path) {
            while let entry = readdir(folder) {
                let name = withUnsafeBytes(of: entry.pointee.d_name) {
                    String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
                }
                unlink(file(name))
            }
            closedir(folder)
        }
        rmdir(path)
    }

    func file(_ name: String) -> String { "\(path)/\(name)" }
}
