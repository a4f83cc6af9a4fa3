import Glibc
package import Model

extension Configuration {
    /// Reads and validates `V.yaml`. Touches nothing.
    /// - Throws: `configuration` with `file:line:column`, or `notPermitted`.
    package static func load(_ volume: String, paths: RuntimePaths) throws(CommandFailure) -> Configuration {
        guard isName(volume) else { throw badName(volume) }
        try paths.checkSocketPaths(volume)
        let file = paths.configuration(volume)
        let text = try contents(of: file, volume: volume)
        return try ConfigurationReader(file: file, expectedVolume: volume).read(text)
    }

    package static func badName(_ volume: String) -> CommandFailure {
        CommandFailure(
            .configuration, "bad-name", "`\(volume)` is no name for a volume",
            remedy: "use letters, digits, `_`, `.` and `-`, at most 64 of them, a letter or digit first")
    }

    /// Whether there is a file; what it says is not looked at.
    package static func exists(_ volume: String, paths: RuntimePaths) -> Bool {
        access(paths.configuration(volume), F_OK) == 0
    }

    private static func contents(of file: String, volume: String) throws(CommandFailure) -> String {
        let (bytes, code) = bytes(of: file, limit: maximumFileBytes)
        guard let bytes else {
            switch code {
            case ENOENT, ENOTDIR:
                throw CommandFailure(
                    .configuration, "no-configuration", "\(file): there is no such file",
                    remedy: "hablk create \(volume) …, or copy the file from another node")
            case EACCES, EPERM:
                throw CommandFailure(
                    .notPermitted, "no-permission", "\(file): \(String(cString: strerror(code)))",
                    remedy: "run it as root, or set HABLK_CONFIG_DIR")
            default:
                throw CommandFailure(
                    .configuration, "unreadable", "\(file): \(String(cString: strerror(code)))",
                    remedy: "make it a readable regular file of at most 1 MiB")
            }
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw CommandFailure(
                .configuration, "unreadable", "\(file): it is not UTF-8", remedy: "save it as UTF-8 text")
        }
        return text
    }

    /// All bytes of a file, or errno; EFBIG when it has more than `limit`.
    private static func bytes(of file: String, limit: Int) -> ([UInt8]?, Int32) {
        let descriptor = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { return (nil, errno) }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 16 << 10)
        while true {
            let count = Glibc.read(descriptor, &piece, piece.count)
            if count == 0 { return (bytes, 0) }
            if count < 0 {
                if errno == EINTR { continue }
                return (nil, errno)
            }
            bytes.append(contentsOf: piece[..<count])
            if bytes.count > limit { return (nil, EFBIG) }
        }
    }

    /// The secret of `secret-file`: what stands in the file, without a final newline; nil when none is configured.
    package func secret() throws(CommandFailure) -> [UInt8]? {
        guard let secretFile else { return nil }
        var status = stat()
        guard stat(secretFile, &status) == 0 else { throw Self.secretUnreadable(secretFile, errno) }
        guard status.st_mode & 0o077 == 0 else {
            throw CommandFailure(
                .configuration, "secret-exposed", "\(secretFile): others than its owner may read or write it",
                remedy: "chmod 600 \(secretFile)")
        }
        let (bytes, code) = Self.bytes(of: secretFile, limit: 4096)
        guard var bytes else { throw Self.secretUnreadable(secretFile, code) }
        while bytes.last == UInt8(ascii: "\n") || bytes.last == UInt8(ascii: "\r") { bytes.removeLast() }
        guard bytes.count >= 16 else {
            throw CommandFailure(
                .configuration, "secret-short",
                "\(secretFile): a secret of \(bytes.count) bytes; at least 16 are needed",
                remedy: "(umask 077; head -c 32 /dev/urandom | base64 > \(secretFile)), the same file on each node")
        }
        return bytes
    }

    private static func secretUnreadable(_ file: String, _ code: Int32) -> CommandFailure {
        CommandFailure(
            code == EACCES || code == EPERM ? .notPermitted : .configuration, "secret-unreadable",
            "\(file) (`secret-file`): \(String(cString: strerror(code)))",
            remedy: "put the same secret there on every node, readable by its owner only")
    }
}
