import Daemon
import Glibc
import Model

/// One of the demo's two nodes: a daemon as a child process, with folders of its own.
final class DemoNode {
    let name: String
    let folder: String
    let port: UInt16
    private let configurationFolder: String
    private let isWitness: Bool
    private var daemon: ChildProcess?

    init(name: String, cluster folder: String, port: UInt16, isWitness: Bool = false) {
        self.name = name
        self.isWitness = isWitness
        self.folder = "\(folder)/\(name)"
        self.port = port
        configurationFolder = folder
    }

    var disk: String { "\(folder)/disk" }
    var log: String { "\(folder)/\(DemoCluster.volume).log" }
    var socket: String { "\(folder)/\(DemoCluster.volume).nbd" }

    var variables: [String: String] {
        [
            "HABLK_CONFIG_DIR": configurationFolder, "HABLK_RUNTIME_DIR": folder, "HABLK_STATE_DIR": folder,
            "HABLK_NODE": name,
        ]
    }

    /// Runs a command of our own program as this node.
    func hablk(_ arguments: String...) throws(CommandFailure) -> (code: Int32, text: String) {
        try ChildProcess.run(ChildProcess.ownPath, arguments, variables: variables)
    }

    /// The same, and anything but success is a failure of the demo.
    func must(_ arguments: String...) throws(CommandFailure) {
        let (code, text) = try ChildProcess.run(ChildProcess.ownPath, arguments, variables: variables)
        guard code != 0 else { return }
        throw .failed(
            "demo", "\(name): hablk \(arguments.joined(separator: " ")): exit code \(code): \(text)",
            remedy: "look into \(log)")
    }

    /// Begins a command and does not wait for it.
    func begin(_ arguments: String...) throws(CommandFailure) -> ChildProcess {
        try ChildProcess(
            ChildProcess.ownPath, arguments, variables: variables, output: .null, errors: .append(to: log))
    }

    /// Begins it after a shell command, whatever that says.
    func begin(after command: String, _ arguments: String...) throws(CommandFailure) -> ChildProcess {
        try ChildProcess(
            "sh", ["-c", "\(command); exec \"$@\"", "sh", ChildProcess.ownPath] + arguments, variables: variables,
            output: .null, errors: .append(to: log))
    }

    /// The shell's words that end the daemon after so many seconds.
    func fencing(in seconds: Int) -> String { "sleep \(seconds); kill -KILL \(daemon?.processID ?? 0)" }

    func signal(_ number: Int32) { daemon?.send(number) }

    /// Starts the daemon and waits until it is ready.
    func start() throws(CommandFailure) {
        daemon = try ChildProcess(
            ChildProcess.ownPath, isWitness ? ["witness"] : ["run", DemoCluster.volume], variables: variables,
            output: .null,
            errors: .append(to: log), detached: true)
        try must("wait", DemoCluster.volume, "--for", "running", "--timeout", "10s")
    }

    /// `kill -9`, by its process id.
    func kill() {
        guard let daemon else { return }
        daemon.send(SIGKILL)
        _ = daemon.wait()
        self.daemon = nil
    }

    /// Asks the daemon, past the command line.
    func status() throws(CommandFailure) -> VolumeStatus {
        let volume = LocalVolume(
            name: DemoCluster.volume, node: name, paths: RuntimePaths { [variables] in variables[$0] })
        return try volume.status()
    }

    func client() throws(CommandFailure) -> DemoClient {
        do {
            return try DemoClient(.socket(socket), export: DemoCluster.volume)
        } catch {
            throw .failed("demo", "\(name): NBD: \(error.message)", remedy: "look into \(log)")
        }
    }
}

/// The demo's folder, nodes and volume.
final class DemoCluster {
    static let volume = "demo"
    static let size: UInt64 = 256 << 20
    /// The file system has the front, live writes the rest.
    static let fileSystemSize: UInt64 = 192 << 20
    /// Extents of 4 MiB that may differ unmarked after a crash: what bounds the resync of a killed primary.
    static let activityLog: UInt32 = 16

    let folder: String
    private let folderWasThere: Bool
    let alpha: DemoNode
    let bravo: DemoNode
    /// Votes; without it the quorum is off.
    let charlie: DemoNode?

    private var nodes: [DemoNode] { [alpha, bravo] + (charlie.map { [$0] } ?? []) }

    init(directory: String?, hasWitness: Bool = false) throws(CommandFailure) {
        (folder, folderWasThere) = try Self.makeFolder(directory)
        let ports = Self.freePorts(3)
        charlie = hasWitness ? DemoNode(name: "charlie", cluster: folder, port: ports[2], isWitness: true) : nil
        alpha = DemoNode(name: "alpha", cluster: folder, port: ports[0])
        bravo = DemoNode(name: "bravo", cluster: folder, port: ports[1])
    }

    /// A new folder, or one that is there and empty.
    private static func makeFolder(_ directory: String?) throws(CommandFailure) -> (String, Bool) {
        guard let directory else {
            let parent = Environment["TMPDIR"] ?? (access("/var/tmp", W_OK) == 0 ? "/var/tmp" : "/tmp")
            var template = Array("\(parent)/hablk-demo-XXXXXX".utf8CString)
            guard mkdtemp(&template) != nil else {
                throw .failed("no-folder", "\(parent): \(String(cString: strerror(errno)))", remedy: "use --directory")
            }
            return (String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self), false)
        }
        if mkdir(directory, 0o700) == 0 { return (try absolute(directory), false) }
        guard errno == EEXIST, rmdir(directory) == 0, mkdir(directory, 0o700) == 0 else {
            throw .refused(
                "in-use", "\(directory): \(String(cString: strerror(errno)))", remedy: "name a new or an empty folder")
        }
        return (try absolute(directory), true)
    }

    private static func absolute(_ path: String) throws(CommandFailure) -> String {
        guard let resolved = realpath(path, nil) else {
            throw .failed("no-folder", "\(path): \(String(cString: strerror(errno)))", remedy: "use another folder")
        }
        defer { free(resolved) }
        return String(cString: resolved)
    }

    /// Ports of loopback that nobody listens on now.
    private static func freePorts(_ count: Int) -> [UInt16] {
        var sockets: [Int32] = []
        defer { for socket in sockets { close(socket) } }
        return (0..<count).map { index in
            let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
            sockets.append(descriptor)
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
            var length = socklen_t(MemoryLayout<sockaddr_in>.size)
            let isBound = withUnsafeMutablePointer(to: &address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    bind(descriptor, .init(__sockaddr__: $0), length) == 0
                        && getsockname(descriptor, .init(__sockaddr__: $0), &length) == 0
                }
            }
            return isBound ? UInt16(bigEndian: address.sin_port) : UInt16(27_789 + index)
        }
    }

    /// One configuration, both copies, and both daemons.
    func create() throws(CommandFailure) {
        var writer = ConfigurationWriter(
            volume: Self.volume, size: "\(Self.size)", replication: nil, quorum: charlie == nil ? "off" : "majority",
            nodes: [alpha, bravo].map {
                .init(name: $0.name, address: "127.0.0.1:\($0.port)", disk: $0.disk, metadata: nil)
            })
        writer.activityLog = Self.activityLog
        if let charlie { writer.witnesses = [(charlie.name, "127.0.0.1:\(charlie.port)")] }
        try write(writer.text, to: "\(folder)/\(Self.volume).yaml")
        for node in nodes {
            guard mkdir(node.folder, 0o700) == 0 else {
                throw .failed("no-folder", node.folder, remedy: "use another folder")
            }
            if node !== charlie { try node.must("create", Self.volume) }
        }
        for node in nodes { try node.start() }
        try alpha.must("wait", Self.volume, "--for", "connected", "--timeout", "10s")
    }

    private func write(_ text: String, to path: String) throws(CommandFailure) {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        defer { if descriptor >= 0 { close(descriptor) } }
        let bytes = Array(text.utf8)
        guard descriptor >= 0, Glibc.write(descriptor, bytes, bytes.count) == bytes.count else {
            throw .failed("not-written", "\(path): \(String(cString: strerror(errno)))", remedy: "use --directory")
        }
    }

    /// Ends what runs, by process id, and takes the folder away.
    func remove() {
        for node in nodes { node.kill() }
        if folderWasThere {
            _ = try? ChildProcess.run("find", [folder, "-mindepth", "1", "-delete"])
        } else {
            _ = try? ChildProcess.run("rm", ["-rf", folder])
        }
    }

    /// The last lines of both logs.
    func logs() -> String {
        [alpha, bravo].map { node in
            let text = (try? ChildProcess.run("tail", ["-n", "6", node.log]))?.text ?? ""
            return "\(node.name)'s log:\n\(text)"
        }.joined()
    }

    /// Whether both copies hold the same, read from the disks themselves.
    func copiesAreEqual() throws(CommandFailure) -> Bool {
        try ChildProcess.run("cmp", ["-n", "\(Self.size)", alpha.disk, bravo.disk]).code == 0
    }
}
