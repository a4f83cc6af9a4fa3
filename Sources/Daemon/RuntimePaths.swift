import Glibc
package import Model

/// Where a volume's files lie on this machine: `4-interface`, "Files and environment".
package struct RuntimePaths: Equatable, Sendable {
    /// The variables that move them, and the node's name: with any of them set, no unit of systemd is involved.
    package static let variables = ["HABLK_CONFIG_DIR", "HABLK_RUNTIME_DIR", "HABLK_STATE_DIR", "HABLK_NODE"]
    /// What fits into `sockaddr_un.sun_path` beside its final zero byte.
    package static let longestSocketPath = 107

    package var configurationFolder: String
    package var runtimeFolder: String
    package var stateFolder: String

    /// - Parameter variable: a variable of the environment; nil or empty when it is not set.
    package init(variable: (String) -> String?) {
        func folder(_ name: String, _ standard: String) -> String {
            guard var path = variable(name), !path.isEmpty else { return standard }
            while path.count > 1, path.hasSuffix("/") { path.removeLast() }
            return path
        }
        configurationFolder = folder("HABLK_CONFIG_DIR", "/etc/hablk")
        runtimeFolder = folder("HABLK_RUNTIME_DIR", "/run/hablk")
        stateFolder = folder("HABLK_STATE_DIR", "/var/lib/hablk")
    }

    /// As the environment of this process says.
    package init() {
        self.init { name in getenv(name).map { String(cString: $0) } }
    }

    package func configuration(_ volume: String) -> String { "\(configurationFolder)/\(volume).yaml" }
    package func nbdSocket(_ volume: String) -> String { "\(runtimeFolder)/\(volume).nbd" }
    package func controlSocket(_ volume: String) -> String { "\(runtimeFolder)/\(volume).control" }
    package func processID(_ volume: String) -> String { "\(runtimeFolder)/\(volume).pid" }
    package func log(_ volume: String) -> String { "\(runtimeFolder)/\(volume).log" }
    package func witnessState(_ volume: String) -> String { "\(stateFolder)/\(volume).witness" }
    package func verifyMemory(_ volume: String) -> String { "\(stateFolder)/\(volume).verified" }
    package func discarded(_ volume: String) -> String { "\(stateFolder)/\(volume).discarded" }
    package func device(_ volume: String) -> String { "\(runtimeFolder)/\(volume).device" }
    package func blackBox(_ volume: String) -> String { "\(runtimeFolder)/\(volume).blackbox" }

    /// - Throws: configuration, when a socket's path would not fit.
    package func checkSocketPaths(_ volume: String) throws(CommandFailure) {
        let longest = controlSocket(volume)
        let length = longest.utf8.count
        guard length > Self.longestSocketPath else { return }
        throw CommandFailure(
            .configuration, "socket-path-too-long",
            "\(longest): a socket's path of \(length) bytes; Linux allows \(Self.longestSocketPath)",
            remedy: "set HABLK_RUNTIME_DIR to a shorter folder")
    }

    /// Makes the runtime folder, 0700, when it is absent, and its parents as `mkdir -p` would.
    package func createRuntimeFolder() throws(CommandFailure) {
        try Self.createFolder(runtimeFolder, mode: 0o700)
    }

    package static func createFolder(_ path: String, mode: UInt32) throws(CommandFailure) {
        if mkdir(path, mode) == 0 || errno == EEXIST { return }
        if errno == ENOENT, let slash = path.lastIndex(of: "/"), slash != path.startIndex {
            try createFolder(String(path[..<slash]), mode: 0o755)
            if mkdir(path, mode) == 0 || errno == EEXIST { return }
        }
        let code = errno
        throw CommandFailure(
            code == EACCES || code == EPERM ? .notPermitted : .failed, "no-folder",
            "\(path): \(String(cString: strerror(code)))", remedy: "make that folder, or set HABLK_RUNTIME_DIR")
    }

    /// Volumes that have a file in the configuration folder, in order of their names; empty when there is no folder.
    package func volumes() throws(CommandFailure) -> [String] {
        guard let folder = opendir(configurationFolder) else {
            let code = errno
            if code == ENOENT { return [] }
            throw CommandFailure(
                code == EACCES ? .notPermitted : .configuration, "no-folder",
                "\(configurationFolder): \(String(cString: strerror(code)))",
                remedy: "set HABLK_CONFIG_DIR to a folder that you may read")
        }
        defer { closedir(folder) }
        var names: [String] = []
        while let entry = readdir(folder) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            guard name.hasSuffix(".yaml") else { continue }
            let volume = String(name.dropLast(5))
            if Configuration.isName(volume) { names.append(volume) }
        }
        return names.sorted()
    }
}
