import Daemon
import Glibc
import Model

/// One volume on this machine, as commands see it: its file, its daemon if there is one.
struct LocalVolume {
    let name: String
    /// `--node`.
    let node: String?
    var paths = RuntimePaths()

    func configuration() throws(CommandFailure) -> Configuration { try Configuration.load(name, paths: paths) }

    func ownNode(of configuration: Configuration) throws(CommandFailure) -> Configuration.Node {
        var host = [CChar](repeating: 0, count: 256)
        gethostname(&host, host.count - 1)
        let hostName = String(decoding: host.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return try configuration.ownNode(option: node, variable: Environment["HABLK_NODE"], hostName: hostName)
    }

    /// A connection to the daemon.
    /// - Throws: when there is none, what is wrong with the configuration before `.notRunning`.
    func connect() throws(CommandFailure) -> ControlClient {
        try paths.checkSocketPaths(name)
        do {
            return try ControlClient(path: paths.controlSocket(name), volume: name)
        } catch {
            guard error.kind == .notRunning else { throw error }
            _ = try ownNode(of: try configuration())
            throw error
        }
    }

    var isRunning: Bool { (try? ControlClient(path: paths.controlSocket(name), volume: name)) != nil }

    /// What the daemon says of itself; when there is none, what is wrong with the configuration first.
    func status(within span: UInt64 = ControlClient.patience) throws(CommandFailure) -> VolumeStatus {
        try status(asking: try connect(), within: span)
    }

    /// The same, with no look at the configuration.
    func runningStatus() throws(CommandFailure) -> VolumeStatus {
        let client = try ControlClient(path: paths.controlSocket(name), volume: name)
        return try status(asking: client, within: ControlClient.patience)
    }

    private func status(asking client: ControlClient, within span: UInt64) throws(CommandFailure) -> VolumeStatus {
        try client.send(.status)
        switch try client.receive(until: Now.deadline(in: span)) {
        case .response(.status(let status)): return status
        case .response(.outcome(.failed(let failure))): throw failure
        case .response:
            throw .failed("not-understood", "the daemon answered something else", remedy: "try again")
        case .nothing:
            throw CommandFailure(.failed, ControlClient.silence(name).refusal)
        case .end:
            throw CommandFailure(
                .notRunning, "not-running", "\(name) is just stopping", remedy: "hablk up \(name)")
        }
    }

    /// Has the daemon do it and waits for the outcome.
    /// - Returns: what was done, in one line.
    func perform(_ command: ControlCommand, timeout: UInt64) throws(CommandFailure) -> String {
        try checkNodeName()
        let client = try connect()
        try client.send(.command(command, timeout: timeout))
        // The daemon keeps the time; this is for one that is stopped.
        let (grace, overflow) = timeout.addingReportingOverflow(2 * ControlClient.patience)
        switch try client.receive(until: Now.deadline(in: overflow ? nil : grace)) {
        case .response(.outcome(.done(let line))): return line
        case .response(.outcome(.failed(let failure))): throw failure
        case .response:
            throw .failed("not-understood", "the daemon answered something else", remedy: "try again")
        case .nothing: throw ControlClient.silence(name)
        case .end:
            throw .failed(
                "daemon-gone", "the daemon of \(name) ended before it answered",
                remedy: "look into \(paths.log(name)) or the journal, then `hablk status \(name)`")
        }
    }

    /// A name that was said must be in the file. A file that cannot be read does not keep anyone from a running daemon.
    private func checkNodeName() throws(CommandFailure) {
        guard node != nil || Environment["HABLK_NODE"] != nil, let configuration = try? configuration() else { return }
        _ = try ownNode(of: configuration)
    }
}
