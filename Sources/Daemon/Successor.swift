import Glibc
import LinuxIO

/// The daemon that comes after this one in the same unit or the same process, and the device's sockets that it gets: by the
/// service manager's store, or by running the program anew. Both ways they arrive as `sd_listen_fds(3)` says.
enum Successor {
    /// The sockets' name in the store.
    private static let name = "hablk-device"
    private static let firstDescriptor: Int32 = 3

    /// The sockets that were handed to this process; each call but the first finds none.
    static func inherited() -> [Int32] {
        defer { for variable in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] { unsetenv(variable) } }
        guard let process = getenv("LISTEN_PID").flatMap({ Int32(String(cString: $0)) }), process == getpid(),
            let count = getenv("LISTEN_FDS").flatMap({ Int32(String(cString: $0)) }), 1...1024 ~= count,
            let names = getenv("LISTEN_FDNAMES").map({ String(cString: $0) })
        else { return [] }
        let own = names.split(separator: ":", omittingEmptySubsequences: false).enumerated()
            .filter { $0.offset < count && $0.element == name }.map { firstDescriptor + Int32($0.offset) }
        for descriptor in own { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }
        // From here on they are read: a copy that came back after a crash would be read in the middle of a request.
        ProcessControls.notifySupervisor("FDSTOREREMOVE=1\nFDNAME=\(name)")
        return own
    }

    /// Hands the sockets on. Without a store they end here, and the next daemon gives the kernel fresh ones.
    static func inherit(_ sockets: [Int32], restarting: Bool, _ log: DaemonLog) {
        if restarting { execute(sockets, log) }
        guard !sockets.isEmpty else { return }
        switch ProcessControls.notifySupervisor("FDSTORE=1\nFDNAME=\(name)", descriptors: sockets) {
        case .done: log.info("process: the service manager keeps \(sockets.count) sockets of the device")
        case .refused(let why): log.warning("process: the device's sockets end: \(why)")
        case nil: break
        }
        log.flush()
    }

    /// The program as it is on disk now, with this process's arguments. Returns when that cannot be.
    private static func execute(_ sockets: [Int32], _ log: DaemonLog) {
        let path = ProcessControls.executablePath ?? CommandLine.arguments[0]
        log.info("process: now \(path)")
        log.flush()
        let high = sockets.map { fcntl($0, F_DUPFD_CLOEXEC, 1024) }
        for (offset, descriptor) in high.enumerated() { dup2(descriptor, firstDescriptor + Int32(offset)) }
        setenv("LISTEN_PID", "\(getpid())", 1)
        setenv("LISTEN_FDS", "\(sockets.count)", 1)
        setenv("LISTEN_FDNAMES", sockets.map { _ in name }.joined(separator: ":"), 1)
        var arguments: [UnsafeMutablePointer<CChar>?] = CommandLine.arguments.map { strdup($0) }
        arguments.append(nil)
        execv(path, arguments)
        let code = errno
        log.error("process: \(path) cannot be run: \(String(cString: strerror(code)))")
        log.flush()
    }
}
