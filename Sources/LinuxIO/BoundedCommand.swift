import CLinuxURing
import Glibc

/// A program that runs beside the loop: started without a shell, with words of environment added to ours, its output going
/// where ours goes; its end is a completion of the ring (a pidfd, Linux 5.3).
package final class BoundedCommand {
    package enum Ending: Equatable, Sendable {
        case exited(UInt8)
        case killed
    }

    package let processID: Int32
    private var descriptor: Int32

    /// - Throws: when there is no such program, or it may not be run.
    package init(_ path: String, arguments: [String], environment: [String: String]) throws(SystemError) {
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        // Ours are blocked and ignored; its own are as usual, and it leads a group that can be ended whole.
        var none = sigset_t()
        sigemptyset(&none)
        var all = sigset_t()
        sigfillset(&all)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setsigdefault(&attributes, &all)
        posix_spawnattr_setpgroup(&attributes, 0)
        posix_spawnattr_setflags(
            &attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP))
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        // Nothing on our standard output, ever.
        posix_spawn_file_actions_adddup2(&actions, 2, 1)
        var words: [UnsafeMutablePointer<CChar>?] = ([path] + arguments).map { strdup($0) } + [nil]
        var variables = Self.inherited(without: environment) + environment.map { strdup("\($0.key)=\($0.value)") }
        variables.append(nil)
        defer {
            words.forEach { free($0) }
            variables.forEach { free($0) }
        }
        var process: pid_t = 0
        let code = posix_spawn(&process, path, &actions, &attributes, &words, &variables)
        guard code == 0 else { throw SystemError("run \(path)", code: code) }
        processID = process
        descriptor = hablk_pidfd_open(process)
        guard descriptor >= 0 else {
            let error = SystemError.last("watch \(path)")
            kill(-process, SIGKILL)
            var status: Int32 = 0
            waitpid(process, &status, 0)
            throw error
        }
    }

    private static func inherited(without names: [String: String]) -> [UnsafeMutablePointer<CChar>?] {
        var result: [UnsafeMutablePointer<CChar>?] = []
        var entry = Glibc.environ
        while let text = entry.pointee {
            let variable = String(cString: text)
            if !names.keys.contains(where: { variable.hasPrefix("\($0)=") }) { result.append(strdup(text)) }
            entry += 1
        }
        return result
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    /// Its end completes `token`.
    package func await(_ ring: borrowing Ring, token: Token) {
        ring.poll(descriptor, events: Int16(POLLIN), token: token)
    }

    /// After that completion; nil: it runs still.
    package func ending() -> Ending? {
        var status: Int32 = 0
        guard waitpid(processID, &status, WNOHANG) == processID else { return nil }
        return status & 0x7F == 0 ? .exited(UInt8(status >> 8 & 0xFF)) : .killed
    }

    /// Ends it, and whatever it started and left in its group.
    package func end() { kill(-processID, SIGKILL) }
}
