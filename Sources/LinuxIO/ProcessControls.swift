import CLinuxURing
import Glibc

/// 128 bits of an identity.
package struct BootIdentity: Equatable, Hashable, Sendable {
    package let high: UInt64
    package let low: UInt64
}

/// What a storage daemon asks of the kernel for itself. All that may be refused says so and goes on without.
package enum ProcessControls {
    /// Keeps what is resident in memory, and whatever becomes so: a daemon that serves swap or a root disk must not be
    /// paged out. Only touched pages (MCL_ONFAULT).
    package static func lockMemory() -> Attempt {
        var limit: UInt64 = 0
        // Under a limit the call would succeed, and later allocations would fail.
        let mayLockWithoutLimit: UInt64 = 14  // CAP_IPC_LOCK
        if !hasCapability(mayLockWithoutLimit) {
            guard hablk_raise_limit(1, UInt64.max, &limit) == 0, limit == UInt64.max else {
                return .refused("the limit of locked memory is \(limit) bytes (LimitMEMLOCK=infinity lifts it)")
            }
        }
        return hablk_lock_memory() == 0 ? .done : .refused("mlockall: \(errorText(errno))")
    }

    /// Lets writes of this process go ahead of memory reclaim that waits for them (PR_SET_IO_FLUSHER): without it a
    /// daemon under its own file system can wait for itself.
    package static func declareIOFlusher() -> Attempt {
        hablk_set_io_flusher() == 0 ? .done : .refused("PR_SET_IO_FLUSHER: \(errorText(errno)) (CAP_SYS_RESOURCE)")
    }

    /// - Returns: how many descriptors may be open now; nil when the limit cannot be read.
    @discardableResult
    package static func raiseFileLimit(to wanted: UInt64 = 65536) -> UInt64? {
        var reached: UInt64 = 0
        return hablk_raise_limit(0, wanted, &reached) == 0 ? reached : nil
    }

    /// Processors that this process may run on.
    package static var processors: Int { max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))) }

    /// The program that runs here, where it is or was; nil without /proc.
    package static var executablePath: String? {
        guard var path = TextFile.link("/proc/self/exe") else { return nil }
        // Another file bears its name now, as after an upgrade.
        let replaced = " (deleted)"
        if path.hasSuffix(replaced) { path.removeLast(replaced.count) }
        return path
    }

    /// Different after each start of the machine; nil without /proc.
    package static func bootIdentity() -> BootIdentity? {
        let text = TextFile.contents("/proc/sys/kernel/random/boot_id")
        var high: UInt64 = 0
        var low: UInt64 = 0
        var digits = 0
        for character in text.utf8 {
            guard let value = Character(UnicodeScalar(character)).hexDigitValue else { continue }
            high = high << 4 | low >> 60
            low = low << 4 | UInt64(value)
            digits += 1
        }
        return digits == 32 ? BootIdentity(high: high, low: low) : nil
    }

    /// Bytes fit for keys.
    package static func fillRandom(_ bytes: UnsafeMutableRawBufferPointer) {
        var done = 0
        while done < bytes.count {
            let count = hablk_getrandom(bytes.baseAddress! + done, bytes.count - done)
            if count < 0 && errno == EINTR { continue }
            precondition(count > 0, "the kernel gives no random bytes")
            done += count
        }
    }

    package static func randomWord() -> UInt64 {
        var word: UInt64 = 0
        withUnsafeMutableBytes(of: &word) { fillRandom($0) }
        return word
    }

    /// Bytes of memory that this process has resident; nil without /proc.
    package static func residentBytes() -> UInt64? {
        let fields = TextFile.contents("/proc/self/statm").split(separator: " ")
        guard fields.count > 1, let pages = UInt64(fields[1]) else { return nil }
        return pages * UInt64(sysconf(Int32(_SC_PAGESIZE)))
    }

    /// Tells the service manager, when `NOTIFY_SOCKET` names one: `READY=1`, `STOPPING=1`, `STATUS=…`; one a line.
    /// - Returns: nil when there is nobody to tell.
    @discardableResult
    package static func notifySupervisor(_ state: String, descriptors: [Int32] = []) -> Attempt? {
        guard let name = getenv("NOTIFY_SOCKET"), name.pointee != 0 else { return nil }
        return notify(String(cString: name), state, descriptors: descriptors)
    }

    /// Never waits: a service manager that does not read is not worth a stalled write.
    /// - Parameters:
    ///   - name: a path, or an abstract name that is written with a leading @.
    ///   - descriptors: at most 64; the other side gets its own.
    package static func notify(_ name: String, _ state: String, descriptors: [Int32] = []) -> Attempt {
        guard name.utf8.count <= 107, name.hasPrefix("/") || name.hasPrefix("@") else {
            return .refused("NOTIFY_SOCKET is neither a path nor an abstract name: \(name)")
        }
        let path = name.hasPrefix("@") ? "\0" + name.dropFirst() : name
        let socket = hablk_socket_datagram(AF_UNIX)
        guard socket >= 0 else { return .refused("socket: \(errorText(errno))") }
        defer { close(socket) }
        let bytes = Array(state.utf8)
        let sent = Sockets.withUnixAddress(path) {
            Int32(hablk_send_descriptors(socket, bytes, bytes.count, $0, $1, descriptors, descriptors.count))
        }
        return sent == Int32(bytes.count) ? .done : .refused("\(name): \(errorText(errno))")
    }

    private static func hasCapability(_ number: UInt64) -> Bool {
        guard
            let line = TextFile.contents("/proc/self/status").split(separator: "\n").first(where: {
                $0.hasPrefix("CapEff:")
            }),
            let field = line.split(whereSeparator: { $0 == "\t" || $0 == " " }).last,
            let bits = UInt64(field, radix: 16)
        else { return false }
        return bits >> number & 1 == 1
    }
}
