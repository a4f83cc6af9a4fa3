import ArgumentParser
import Daemon
import Formats
import Glibc
import Model

struct Run: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run the daemon of a volume in the foreground, logging to standard error.",
        discussion: "Ready when the control socket answers; tells $NOTIFY_SOCKET so. SIGTERM does what `down` does.")
    @OptionGroup var options: VolumeOptions

    func run() throws {
        let volume = options.local
        do {
            let configuration = try volume.configuration()
            let node = try volume.ownNode(of: configuration)
            try volume.paths.createRuntimeFolder()
            guard !node.isWitness else {
                return try WitnessDaemon.run(volume: volume.name, paths: volume.paths, nodeOption: node.name) {
                    (configuration) throws(CommandFailure) in try volume.ownNode(of: configuration)
                }
            }
            let code = try VolumeDaemon.run(configuration: configuration, node: node, paths: volume.paths)
            if code != 0 { throw ExitCode(code) }
        } catch let failure as CommandFailure {
            // Nothing on standard output, ever.
            Output.note(options.json ? failure.json.text : Report.lines(of: failure))
            throw ExitCode(failure.exitCode)
        }
    }
}

struct Up: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Start the daemon of a volume and wait until it is ready.",
        discussion: """
            With systemd and no HABLK_* variable it starts hablk@V.service; else it starts `hablk run V` in the \
            background, which logs to V.log in the runtime folder. Exit code 0 also when it ran already.
            """)
    @OptionGroup var options: VolumeOptions
    @OptionGroup var limit: TimeoutOption

    func run() throws {
        let volume = options.local
        let deadline = Now.deadline(in: limit.timeout.nanoseconds)
        if volume.isRunning {
            return Report.done("\(volume.name) runs already", volume: volume.name, json: options.json)
        }
        _ = try volume.ownNode(of: try volume.configuration())
        try volume.paths.createRuntimeFolder()
        if usesUnit {
            try startUnit(volume)
            try waitUntilReady(volume, until: deadline) { nil }
        } else {
            let log = volume.paths.log(volume.name)
            var start = stat()
            let logBegin = stat(log, &start) == 0 ? Int(start.st_size) : 0
            let arguments = ["run", volume.name] + (options.node.map { ["--node", $0] } ?? [])
            let child = try ChildProcess(
                ChildProcess.ownPath, arguments, output: .null, errors: .append(to: log), detached: true)
            try waitUntilReady(volume, until: deadline) {
                guard let code = child.poll() else { return nil }
                return earlyEnd(code, log: log, from: logBegin, volume)
            }
        }
        Report.done("\(volume.name) is up", volume: volume.name, json: options.json)
    }

    private var usesUnit: Bool {
        options.node == nil && access("/run/systemd/system", F_OK) == 0
            && RuntimePaths.variables.allSatisfy { Environment[$0] == nil }
    }

    private func startUnit(_ volume: LocalVolume) throws(CommandFailure) {
        let unit = "hablk@\(volume.name).service"
        let child = try ChildProcess("systemctl", ["start", unit], output: .descriptor(2), errors: .inherit)
        guard child.wait() != 0 else { return }
        throw .failed("unit-failed", "systemd did not start \(unit)", remedy: "journalctl -u \(unit) -n 20")
    }

    /// Until the control socket answers. `ended`: why it never will.
    private func waitUntilReady(
        _ volume: LocalVolume, until deadline: UInt64?, ended: () -> CommandFailure?
    ) throws(CommandFailure) {
        while true {
            if (try? volume.status(within: 500_000_000)) != nil { return }
            if let failure = ended() {
                // Another one may have been quicker.
                if (try? volume.status(within: 500_000_000)) != nil { return }
                throw failure
            }
            guard deadline ?? .max > Now.nanoseconds else {
                throw CommandFailure(
                    .timedOut, "not-ready", "\(volume.name) was started and is not ready yet",
                    remedy: "hablk wait \(volume.name) --for running, and look into \(volume.paths.log(volume.name))")
            }
            Now.sleep(milliseconds: 20)
        }
    }

    /// The daemon ended before it was ready: its last words, and its exit code.
    private func earlyEnd(_ code: Int32, log: String, from start: Int, _ volume: LocalVolume) -> CommandFailure {
        let lines = Self.tail(of: log, from: start)
        let kind = CommandFailure.Kind.allCases.first { $0.exitCode == code } ?? .failed
        let remedy = lines.last { $0.hasPrefix("remedy: ") }.map { String($0.dropFirst(8)) }
        var words = lines.filter { !$0.hasPrefix("remedy: ") }
        if remedy != nil, let last = words.popLast() {
            if !options.json { for line in words { Output.note(line) } }
            return Self.parsed(last, kind, remedy: remedy ?? "")
        }
        if !options.json { for line in words { Output.note(line) } }
        return CommandFailure(
            kind, "ended", "the daemon of \(volume.name) ended with exit code \(code)", remedy: "look into \(log)")
    }

    /// `refused: MESSAGE (REASON)`, as `Report.lines` wrote it.
    private static func parsed(_ line: String, _ kind: CommandFailure.Kind, remedy: String) -> CommandFailure {
        var message = line[...]
        if kind != .configuration, let colon = message.range(of: ": ") { message = message[colon.upperBound...] }
        guard message.hasSuffix(")"), let open = message.lastIndex(of: "("), message[..<open].hasSuffix(" ") else {
            return CommandFailure(kind, "ended", String(message), remedy: remedy)
        }
        let reason = message[message.index(after: open)...].dropLast()
        return CommandFailure(kind, String(reason), String(message[..<open].dropLast()), remedy: remedy)
    }

    private static func tail(of log: String, from start: Int) -> [String] {
        let descriptor = open(log, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return [] }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 64 << 10)
        let end = Int(lseek(descriptor, 0, SEEK_END))
        let count = pread(descriptor, &bytes, bytes.count, max(start, end - bytes.count))
        guard count > 0 else { return [] }
        let text = String(decoding: bytes[..<count], as: UTF8.self)
        return text.split(separator: "\n").suffix(8).map { String($0) }
    }
}

extension Substring {
    /// Where `text` first stands.
    fileprivate func range(of text: String) -> Range<Index>? {
        var start = startIndex
        while start < endIndex {
            if self[start...].hasPrefix(text) { return start..<index(start, offsetBy: text.count) }
            start = index(after: start)
        }
        return nil
    }
}

struct Down: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Demote, flush and stop the daemon; exit code 0 also when it was not there.")
    @OptionGroup var options: VolumeOptions
    @OptionGroup var limit: TimeoutOption

    func run() throws {
        let volume = options.local
        let deadline = Now.deadline(in: limit.timeout.nanoseconds)
        try volume.paths.checkSocketPaths(volume.name)
        let client: ControlClient
        do {
            client = try ControlClient(path: volume.paths.controlSocket(volume.name), volume: volume.name)
        } catch {
            guard error.kind == .notRunning else { throw error }
            return Report.done("\(volume.name) is not running", volume: volume.name, json: options.json)
        }
        let status = try? volume.status(within: 1_000_000_000)
        // A witness's process may serve other volumes, and goes on.
        let processID = status?.role == .witness ? nil : status?.pid
        try client.send(.command(.stop, timeout: limit.timeout.nanoseconds))
        try waitForEnd(client, volume, until: deadline)
        while let processID, processID > 0, kill(processID, 0) == 0, !Self.isZombie(processID) {
            guard deadline ?? .max > Now.nanoseconds else { throw Self.late(volume) }
            Now.sleep(milliseconds: 10)
        }
        Report.done("\(volume.name) is down", volume: volume.name, json: options.json)
    }

    /// An answer that it stops is not the end yet: that is when the daemon hangs up.
    private func waitForEnd(
        _ client: ControlClient, _ volume: LocalVolume, until deadline: UInt64?
    ) throws(CommandFailure) {
        while true {
            switch try client.receive(until: deadline) {
            case .response(.outcome(.failed(let failure))): throw failure
            case .response: continue
            case .end: return
            case .nothing: throw Self.late(volume)
            }
        }
    }

    private static func late(_ volume: LocalVolume) -> CommandFailure {
        CommandFailure(
            .timedOut, "not-in-time", "\(volume.name) is still stopping",
            remedy: "hablk wait \(volume.name) --for stopped")
    }

    /// Ended, and only not yet asked about by its parent.
    private static func isZombie(_ processID: Int32) -> Bool {
        let descriptor = open("/proc/\(processID)/stat", O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return true }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 512)
        let count = read(descriptor, &bytes, bytes.count)
        guard count > 0, let close = bytes[..<count].lastIndex(of: UInt8(ascii: ")")), close + 2 < count else {
            return true
        }
        return bytes[close + 2] == UInt8(ascii: "Z")
    }
}
