import Foundation
import Synchronization

/// One node of a test's cluster: its folders, its configuration, its daemon.
final class TestNode {
    let name: String
    let volume: String
    let folder: String
    /// Where its daemon really listens.
    let port: UInt16
    var diskPath: String
    var metadataPath: String?
    /// Added to its daemon's environment from the next start on.
    var daemonEnvironment: [String: String] = [:]
    private(set) var daemon: ChildProcess?
    private var starts = 0
    /// Which start of the machine its daemon believes it runs in; 0: the real one.
    private var boot = 0

    init(name: String, volume: String, folder: String) throws {
        self.name = name
        self.volume = volume
        self.folder = folder
        port = try freePort()
        diskPath = folder + "/disk.img"
        for path in [folder, configFolder, folder + "/state"] {
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        }
    }

    var configFolder: String { folder + "/etc" }
    var configPath: String { "\(configFolder)/\(volume).yaml" }
    var runtimeFolder: String { folder + "/run" }
    var socketPath: String { "\(runtimeFolder)/\(volume).nbd" }
    var uri: String { "nbd+unix:///\(volume)?socket=\(socketPath)" }
    var environment: [String: String] {
        [
            "HABLK_CONFIG_DIR": configFolder, "HABLK_RUNTIME_DIR": runtimeFolder, "HABLK_STATE_DIR": folder + "/state",
            "HABLK_NODE": name,
        ]
    }

    /// `hablk COMMAND V REST…`, whatever comes of it.
    func attempt(_ command: String, _ rest: String..., seconds: Double = 40) throws -> CommandResult {
        try run([command, volume] + rest, seconds: seconds)
    }

    /// The same, which must succeed.
    @discardableResult
    func hablk(_ command: String, _ rest: String..., seconds: Double = 40) throws -> CommandResult {
        try run([command, volume] + rest, seconds: seconds).expecting(0)
    }

    /// `hablk` with these words alone.
    func run(_ words: [String], seconds: Double = 40) throws -> CommandResult {
        try Program.run(["hablk"] + words, environment: environment, seconds: seconds)
    }

    /// Starts the daemon in the foreground, as a child, and waits until it is ready.
    func start() throws {
        try launch()
        let answer = try attempt("wait", "--for", "running", "--timeout", "15s")
        guard answer.code == 0 else { throw Trouble("\(name) did not get ready: \(answer)\n\(log.suffix(3000))") }
    }

    /// Starts the daemon and does not wait.
    func launch() throws {
        starts += 1
        daemon = try ChildProcess(
            rebooted() + [Program.hablk(), "run", volume], environment: environment.merging(daemonEnvironment) { $1 },
            outputPath: "\(folder)/out-\(starts)", errorsPath: "\(folder)/log-\(starts)")
    }

    /// From its next start on the daemon finds another boot id, as after a power cut of its machine.
    func reboot() { boot += 1 }

    /// Words that put a file of ours over the kernel's boot id, for one process alone, and become that process.
    private func rebooted() throws -> [String] {
        guard boot > 0 else { return [] }
        let path = "\(folder)/boot-\(boot)"
        try "b007b007-0000-4000-8000-\(String(format: "%012d", boot))\n".write(
            toFile: path, atomically: true, encoding: .utf8)
        let script = "mount --bind \"$0\" /proc/sys/kernel/random/boot_id && exec \"$@\""
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, path]
    }

    /// All that its daemons wrote to standard error.
    var log: String { starts == 0 ? "" : (1...starts).map { readText("\(folder)/log-\($0)") }.joined() }

    /// The same of its last one.
    var lastLog: String { starts == 0 ? "" : readText("\(folder)/log-\(starts)") }

    func killDaemon() { daemon?.end() }
    func freeze() { daemon?.signal(SIGSTOP) }
    var isFrozen: Bool {
        guard let daemon, daemon.isRunning else { return true }
        return readText("/proc/\(daemon.pid)/status").contains("State:\tT")
    }
    func thaw() { daemon?.signal(SIGCONT) }

    /// `down`, and the process is gone with exit code 0.
    func down() throws {
        try hablk("down")
        if let code = try daemon?.waitForExit(seconds: 15), code != 0 {
            throw Trouble("\(name)'s daemon ended with \(code)\n\(log.suffix(3000))")
        }
        daemon = nil
    }

    func promote(_ options: String...) throws {
        try run(["promote", volume] + options + ["--timeout", "15s"]).expecting(0)
    }

    func demote() throws { try hablk("demote") }

    func status() throws -> NodeStatus {
        try NodeStatus(json: attempt("status", "--json").expecting(0).output)
    }

    func wait(for conditions: String, seconds: Int = 60) throws {
        let words = conditions.split(separator: " ").map { String($0) }
        let answer = try run(
            ["wait", volume, "--for"] + words + ["--timeout", "\(seconds)s"], seconds: Double(seconds) + 10)
        guard answer.code == 0 else {
            let status = try attempt("status", "--json")
            throw Trouble("\(name) is not \(conditions) in \(seconds) s: \(answer)\n\(status.output)")
        }
    }

    /// Until its requests wait for a majority, or do not any more.
    func until(suspended: Bool) throws {
        try EndToEndTests.until("\(name) \(suspended ? "waits for" : "has") a majority", seconds: 20) {
            try status().suspended.contains("quorum") == suspended
        }
    }

    /// A field of `/proc/PID/status` in bytes: `VmRSS`, `VmHWM`.
    func memory(_ field: String) throws -> UInt64 {
        guard let pid = daemon?.pid else { throw Trouble("\(name) does not run") }
        for line in readText("/proc/\(pid)/status").split(separator: "\n") where line.hasPrefix(field + ":") {
            let words = line.split(whereSeparator: { $0 == " " || $0 == "\t" })
            if words.count > 1, let kibibytes = UInt64(words[1]) { return kibibytes * 1024 }
        }
        throw Trouble("no \(field) of \(name)")
    }
}

/// A port that was free a moment ago and was given to nobody else of this process. Not one of those that the kernel gives
/// to connections: such a one could take it before the daemon does.
func freePort() throws -> UInt16 {
    for _ in 0..<1000 {
        let port = UInt16.random(in: 20_000..<32_000)
        guard givenPorts.withLock({ $0.insert(port).inserted }) else { continue }
        if let listener = try? listeningSocket(port: port) {
            close(listener)
            return port
        }
    }
    throw Trouble("no free port")
}

private let givenPorts = Mutex<Set<UInt16>>([])
