@preconcurrency import Glibc
import Model

/// A program that this one started, and may end.
struct ChildProcess {
    let processID: pid_t

    /// Where a child's output goes.
    enum Sink {
        case inherit
        case null
        case append(to: String)
        case descriptor(Int32)
    }

    /// Starts `program` with all descriptors but the three standard ones closed. `detached`: a session of its own.
    /// `variables` are added to the environment.
    init(
        _ program: String, _ arguments: [String], variables: [String: String] = [:], output: Sink, errors: Sink,
        detached: Bool = false
    ) throws(CommandFailure) {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        for (sink, descriptor) in [(output, Int32(1)), (errors, 2)] {
            switch sink {
            case .inherit: break
            case .null: posix_spawn_file_actions_addopen(&actions, descriptor, "/dev/null", O_WRONLY, 0)
            case .append(let path):
                let flags = O_WRONLY | O_CREAT | O_APPEND
                posix_spawn_file_actions_addopen(&actions, descriptor, path, flags, 0o600)
            case .descriptor(let other): posix_spawn_file_actions_adddup2(&actions, other, descriptor)
            }
        }
        posix_spawn_file_actions_addclosefrom_np(&actions, 3)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var standard = sigset_t()
        sigemptyset(&standard)
        sigaddset(&standard, SIGPIPE)
        posix_spawnattr_setsigdefault(&attributes, &standard)
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        // 0x80 is POSIX_SPAWN_SETSID, which does not import.
        let flags = POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | (detached ? 0x80 : 0)
        posix_spawnattr_setflags(&attributes, Int16(flags))

        let environment = Self.environment(adding: variables)
        var processID: pid_t = 0
        let code = Self.withCStrings([program] + arguments) { argv in
            Self.withCStrings(environment) { envp in
                posix_spawnp(&processID, program, &actions, &attributes, argv, envp)
            }
        }
        guard code == 0 else {
            throw .failed(
                "no-program", "\(program): \(String(cString: strerror(code)))", remedy: "install it, or look at PATH")
        }
        self.processID = processID
    }

    private static func environment(adding variables: [String: String]) -> [String] {
        var lines: [String] = []
        var next = environ
        while let line = next.pointee {
            let text = String(cString: line)
            if variables[String(text.prefix { $0 != "=" })] == nil { lines.append(text) }
            next += 1
        }
        return lines + variables.map { "\($0.key)=\($0.value)" }
    }

    private static func withCStrings<Result>(
        _ texts: [String], _ body: ([UnsafeMutablePointer<CChar>?]) -> Result
    ) -> Result {
        let pointers = texts.map { strdup($0) }
        defer { for pointer in pointers { free(pointer) } }
        return body(pointers + [nil])
    }

    /// The exit code, or 128 and the signal; nil: it still runs. Afterwards the process is gone.
    func poll() -> Int32? { collect(WNOHANG) }

    /// The same, waiting for it.
    func wait() -> Int32 { collect(0) ?? 1 }

    private func collect(_ options: Int32) -> Int32? {
        var status: Int32 = 0
        while true {
            let result = waitpid(processID, &status, options)
            if result == processID { break }
            if result == 0 { return nil }
            guard errno == EINTR else { return 1 }
        }
        return status & 0x7f == 0 ? status >> 8 & 0xff : 128 + status & 0x7f
    }

    /// Runs `program` to its end. Its standard output and standard error come back as one text.
    static func run(
        _ program: String, _ arguments: [String], variables: [String: String] = [:]
    ) throws(CommandFailure) -> (code: Int32, text: String) {
        var ends: [Int32] = [-1, -1]
        guard pipe2(&ends, O_CLOEXEC) == 0 else {
            throw .failed("no-pipe", "pipe: \(String(cString: strerror(errno)))", remedy: "close some files")
        }
        defer { close(ends[0]) }
        let child: ChildProcess
        do throws(CommandFailure) {
            child = try ChildProcess(
                program, arguments, variables: variables, output: .descriptor(ends[1]), errors: .descriptor(ends[1]))
        } catch {
            close(ends[1])
            throw error
        }
        close(ends[1])
        var bytes: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 16 << 10)
        while true {
            let count = read(ends[0], &piece, piece.count)
            if count > 0 {
                bytes.append(contentsOf: piece[..<count])
            } else if count == 0 || errno != EINTR {
                break
            }
        }
        return (child.wait(), String(decoding: bytes, as: UTF8.self))
    }

    func send(_ signal: Int32) { kill(processID, signal) }

    /// This program's own file.
    static let ownPath: String = {
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = buffer.withUnsafeMutableBytes {
            readlink("/proc/self/exe", $0.baseAddress!.assumingMemoryBound(to: CChar.self), $0.count)
        }
        return count > 0 ? String(decoding: buffer[..<count], as: UTF8.self) : "/proc/self/exe"
    }()
}
