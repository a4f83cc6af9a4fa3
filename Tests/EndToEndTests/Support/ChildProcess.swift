import Foundation

/// Something that a test needs is not so: says what, and ends the test.
struct Trouble: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// What a finished command left.
struct CommandResult: CustomStringConvertible {
    let words: [String]
    /// The exit code; 128 + the signal when one ended it.
    let code: Int32
    let output: String
    let errors: String

    var description: String {
        "`\(words.joined(separator: " "))` → \(code)\n\(output.suffix(2000))\n\(errors.suffix(4000))"
    }

    /// Throws unless the exit code is `code`.
    @discardableResult
    func expecting(_ code: Int32 = 0) throws -> CommandResult {
        guard self.code == code else { throw Trouble("expected exit code \(code): \(self)") }
        return self
    }
}

/// A process that a test started and ends, by its id. Output goes to files, so that no pipe can fill.
final class ChildProcess {
    let pid: pid_t
    let words: [String]
    let outputPath: String
    let errorsPath: String
    private var status: Int32?

    /// `environment` is added to this process's own.
    init(_ words: [String], environment: [String: String] = [:], outputPath: String, errorsPath: String) throws {
        self.words = words
        self.outputPath = outputPath
        self.errorsPath = errorsPath
        let program = try Program.path(of: words[0])
        var all = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        all["PATH"] = Program.searchPath
        pid = try Self.spawn([program] + words.dropFirst(), all.map { "\($0)=\($1)" }, outputPath, errorsPath)
    }

    private static func spawn(
        _ words: [String], _ environment: [String], _ outputPath: String, _ errorsPath: String
    ) throws -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        let flags = O_WRONLY | O_CREAT | O_APPEND
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, outputPath, flags, 0o600)
        posix_spawn_file_actions_addopen(&actions, 2, errorsPath, flags, 0o600)
        // A thread of a test may have signals blocked or ignored: a child must not inherit that.
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        var all = sigset_t()
        sigemptyset(&none)
        sigfillset(&all)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setsigdefault(&attributes, &all)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))
        var arguments = words.map { strdup($0) } + [nil]
        var variables = environment.map { strdup($0) } + [nil]
        defer { (arguments + variables).forEach { free($0) } }
        var pid: pid_t = 0
        let failure = posix_spawn(&pid, words[0], &actions, &attributes, &arguments, &variables)
        guard failure == 0 else { throw Trouble("cannot start \(words[0]): \(String(cString: strerror(failure)))") }
        return pid
    }

    var isRunning: Bool { exitCode == nil }

    /// Nil while it runs; 128 + the signal when one ended it.
    var exitCode: Int32? {
        if status == nil {
            var raw: Int32 = 0
            if waitpid(pid, &raw, WNOHANG) == pid {
                let signal = raw & 0x7f
                status = signal == 0 ? (raw >> 8) & 0xff : 128 + signal
            }
        }
        return status
    }

    func signal(_ number: Int32) {
        if isRunning { Glibc.kill(pid, number) }
    }

    /// Waits for its end; past `seconds` it is killed and that is an error.
    func waitForExit(seconds: Double) throws -> Int32 {
        if let code = eventually(seconds: seconds, every: 0.002, { exitCode }) { return code }
        end()
        throw Trouble("`\(words.joined(separator: " "))` did not end in \(seconds) s\n\(errors.suffix(3000))")
    }

    /// `kill -9` and gone, also when it is stopped.
    func end() {
        signal(SIGKILL)
        _ = eventually(seconds: 10) { exitCode }
    }

    var output: String { readText(outputPath) }
    var errors: String { readText(errorsPath) }

    deinit { end() }
}

func readText(_ path: String) -> String {
    String(decoding: FileManager.default.contents(atPath: path) ?? Data(), as: UTF8.self)
}

/// Asks again and again until there is an answer; nil when there was none in time.
func eventually<Answer>(seconds: Double, every: Double = 0.02, _ ask: () throws -> Answer?) rethrows -> Answer? {
    let end = now() + seconds
    while true {
        if let answer = try ask() { return answer }
        guard now() < end else { return nil }
        usleep(UInt32(every * 1_000_000))
    }
}

/// Waits until `condition` holds and throws `what` when it does not in time.
func until(_ what: String, seconds: Double = 15, _ condition: () throws -> Bool) throws {
    guard try eventually(seconds: seconds, { try condition() ? true : nil }) != nil else {
        throw Trouble("not so in \(seconds) s: \(what)")
    }
}

/// Seconds of a clock that only goes forward.
func now() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

func pause(_ seconds: Double) { usleep(UInt32(seconds * 1_000_000)) }
