import CLinuxURing
import Glibc

/// Why a socket cannot be had; the description is a sentence.
package enum SocketError: Error, Equatable, Sendable, CustomStringConvertible {
    /// A process listens on this path or address.
    case inUse(String)
    /// Something that is not a socket bears the path.
    case inTheWay(path: String)
    /// More than 107 bytes, or none.
    case pathLength(path: String, bytes: Int)
    /// The name service's words.
    case unknownHost(host: String, reason: String)
    case failed(SystemError)

    package var description: String {
        switch self {
        case .inUse(let name): "\(name) is in use: another process listens there"
        case .inTheWay(let path): "\(path) is not a socket, and is left alone"
        case .pathLength(let path, let bytes): "the socket path \(path) has \(bytes) bytes; 1…107 are possible"
        case .unknownHost(let host, let reason): "\(host) has no address: \(reason)"
        case .failed(let error): error.description
        }
    }
}

/// Who is at the other end of a Unix socket, as of its connect.
package struct PeerCredentials: Equatable, Sendable {
    package let process: Int32
    package let user: UInt32
    package let group: UInt32
}

/// Stream sockets for a ring: made, bound and set here, used there.
///
/// None is O_NONBLOCK: the ring never blocks on a socket whatever its flags, and waits for it in the kernel, whereas
/// some of its operations answer a non-blocking descriptor with EAGAIN. All are close-on-exec.
package enum Sockets {
    private static let longestPath = 107

    // Unix.

    /// Listens on `path`, mode 0600. The socket of a process that is gone is replaced; one that answers is not.
    /// Remove it at the end with `unlinkUnix`.
    package static func listenUnix(_ path: String, backlog: Int32 = 64) throws(SocketError) -> Int32 {
        try checkPath(path)
        try removeDead(path)
        let socket = hablk_socket_stream(AF_UNIX)
        guard socket >= 0 else { throw .failed(.last("make a socket")) }
        // Before bind: at no moment may others connect. Linux takes the mode over to the file.
        fchmod(socket, 0o600)
        let bound = withUnixAddress(path) { hablk_bind(socket, $0, $1) }
        if bound == 0 && chmod(path, 0o600) == 0 && listen(socket, backlog) == 0 { return socket }
        let code = errno
        if bound == 0 { unlink(path) }
        Glibc.close(socket)
        // Somebody was faster since the look.
        if code == EADDRINUSE { throw .inUse(path) }
        throw .failed(SystemError("listen on \(path)", code: code))
    }

    /// Connects and waits: for clients and tests. ENOENT or ECONNREFUSED: nobody listens.
    ///
    /// - Parameter patience: milliseconds that the connect and each send may take; EAGAIN then. Nil: as long as they do.
    package static func connectUnix(_ path: String, patience: Int? = nil) throws(SocketError) -> Int32 {
        try checkPath(path)
        let socket = hablk_socket_stream(AF_UNIX)
        guard socket >= 0 else { throw .failed(.last("make a socket")) }
        if let patience {
            var limit = timeval(tv_sec: patience / 1000, tv_usec: patience % 1000 * 1000)
            setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        }
        guard withUnixAddress(path, { hablk_connect(socket, $0, $1) }) == 0 else {
            let code = errno
            Glibc.close(socket)
            throw .failed(SystemError("connect to \(path)", code: code))
        }
        return socket
    }

    /// A datagram socket under a path, or under an abstract name that is written with a leading @.
    package static func listenDatagrams(_ name: String) throws(SocketError) -> Int32 {
        try checkPath(name)
        let socket = hablk_socket_datagram(AF_UNIX)
        guard socket >= 0 else { throw .failed(.last("make a socket")) }
        let path = name.hasPrefix("@") ? "\0" + name.dropFirst() : name
        guard withUnixAddress(path, { hablk_bind(socket, $0, $1) }) == 0 else {
            let code = errno
            Glibc.close(socket)
            throw code == EADDRINUSE ? .inUse(name) : .failed(SystemError("listen on \(name)", code: code))
        }
        return socket
    }

    /// Takes a listener's name away; a missing one is fine.
    package static func unlinkUnix(_ path: String) { unlink(path) }

    private static func checkPath(_ path: String) throws(SocketError) {
        let bytes = path.utf8.count
        guard bytes > 0 && bytes <= longestPath && !path.utf8.contains(0) else {
            throw .pathLength(path: path, bytes: bytes)
        }
    }

    private static func removeDead(_ path: String) throws(SocketError) {
        var status = stat()
        guard lstat(path, &status) == 0 else { return }
        guard status.st_mode & S_IFMT == S_IFSOCK else { throw .inTheWay(path: path) }
        let socket = hablk_socket_stream(AF_UNIX)
        guard socket >= 0 else { throw .failed(.last("make a socket")) }
        defer { Glibc.close(socket) }
        // Not waiting: a live listener whose backlog is full answers EAGAIN, and is alive.
        _ = fcntl(socket, F_SETFL, O_NONBLOCK)
        if withUnixAddress(path, { hablk_connect(socket, $0, $1) }) == 0 { throw .inUse(path) }
        switch errno {
        case ENOENT: return
        case ECONNREFUSED:
            guard unlink(path) == 0 || errno == ENOENT else { throw .failed(.last("replace the dead socket \(path)")) }
        case EAGAIN, EPROTOTYPE: throw .inUse(path)
        default: throw .failed(.last("see whether \(path) is alive"))
        }
    }

    // TCP.

    /// Listens on an address with SO_REUSEADDR, so that a restart need not wait for old connections; `[::]` takes IPv4
    /// too. Port 0: the system picks one, see `localAddress(of:)`.
    package static func listenTCP(_ address: SocketAddress, backlog: Int32 = 64) throws(SocketError) -> Int32 {
        let socket = hablk_socket_stream(address.systemFamily)
        guard socket >= 0 else { throw .failed(.last("make a socket")) }
        _ = hablk_set_option(socket, SOL_SOCKET, SO_REUSEADDR, 1)
        if withAddress(address, { hablk_bind(socket, $0, $1) }) == 0 && listen(socket, backlog) == 0 { return socket }
        let code = errno
        Glibc.close(socket)
        if code == EADDRINUSE { throw .inUse(address.description) }
        throw .failed(SystemError("listen on \(address)", code: code))
    }

    /// A socket for `Ring.connect` to `address`.
    package static func openTCP(for address: SocketAddress) throws(SocketError) -> Int32 {
        let socket = hablk_socket_stream(address.systemFamily)
        guard socket >= 0 else { throw .failed(.last("make a socket")) }
        return socket
    }

    /// Small messages leave at once (TCP_NODELAY). Refused for Unix sockets, which is harmless.
    @discardableResult
    package static func setNoDelay(_ socket: Int32) -> Bool {
        hablk_set_option(socket, Int32(IPPROTO_TCP), TCP_NODELAY, 1) == 0
    }

    /// The connection breaks (ETIMEDOUT) when sent bytes stay unacknowledged for so long.
    @discardableResult
    package static func setUserTimeout(_ socket: Int32, milliseconds: Int) -> Bool {
        hablk_set_option(socket, Int32(IPPROTO_TCP), TCP_USER_TIMEOUT, Int32(clamping: milliseconds)) == 0
    }

    /// Which of the kernel's algorithms paces what is sent (TCP_CONGESTION); a module is loaded when it can be.
    /// - Returns: the errno; 0: it is so. ENOENT: the kernel has none of that name; EPERM: not for us
    ///   (`net.ipv4.tcp_allowed_congestion_control`). The former one stays then.
    package static func setCongestionControl(_ socket: Int32, _ name: String) -> Int32 {
        let result = name.withCString {
            setsockopt(socket, Int32(IPPROTO_TCP), TCP_CONGESTION, $0, socklen_t(strlen($0)))
        }
        return result == 0 ? 0 : errno
    }

    /// Nil: it is no TCP socket.
    package static func congestionControl(of socket: Int32) -> String? {
        // TCP_CA_NAME_MAX, and never without an end.
        var name = [CChar](repeating: 0, count: 17)
        var length = socklen_t(16)
        guard getsockopt(socket, Int32(IPPROTO_TCP), TCP_CONGESTION, &name, &length) == 0 else { return nil }
        return name.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
    }

    /// Bytes that the kernel may hold for the socket; it doubles them, and caps them at net.core.{w,r}mem_max. Setting
    /// one ends the kernel's own tuning of it.
    @discardableResult
    package static func setBuffers(_ socket: Int32, send: Int? = nil, receive: Int? = nil) -> Bool {
        var isDone = true
        if let send { isDone = hablk_set_option(socket, SOL_SOCKET, SO_SNDBUF, Int32(clamping: send)) == 0 && isDone }
        if let receive {
            isDone = hablk_set_option(socket, SOL_SOCKET, SO_RCVBUF, Int32(clamping: receive)) == 0 && isDone
        }
        return isDone
    }

    // Any socket.

    /// Of the process that connected or made a Unix socket; nil for others.
    package static func peerCredentials(of socket: Int32) -> PeerCredentials? {
        var process: Int32 = 0
        var user: UInt32 = 0
        var group: UInt32 = 0
        guard hablk_peer_credentials(socket, &process, &user, &group) == 0, process != 0 else { return nil }
        return PeerCredentials(process: process, user: user, group: group)
    }

    /// nil for Unix sockets and unconnected ones.
    package static func peerAddress(of socket: Int32) -> SocketAddress? {
        var storage = sockaddr_storage()
        return hablk_peer_name(socket, &storage) == 0 ? SocketAddress(storage) : nil
    }

    /// nil for Unix sockets.
    package static func localAddress(of socket: Int32) -> SocketAddress? {
        var storage = sockaddr_storage()
        return hablk_own_name(socket, &storage) == 0 ? SocketAddress(storage) : nil
    }

    package static func close(_ socket: Int32) { Glibc.close(socket) }

    /// Ends the connection, also when somebody else holds the same socket.
    package static func end(_ socket: Int32) {
        shutdown(socket, Int32(SHUT_RDWR))
        Glibc.close(socket)
    }

    /// Two Unix stream sockets that are connected to each other.
    package static func pair() throws(SystemError) -> (one: Int32, other: Int32) {
        var one: Int32 = -1
        var other: Int32 = -1
        guard hablk_socket_pair(&one, &other) == 0 else { throw .last("make a pair of sockets") }
        return (one, other)
    }

    /// Looks a name up in DNS, /etc/hosts, …; may take many seconds: on a `SideThread`.
    /// - Returns: at least one address, in the order to try them.
    package static func resolve(host: String, port: UInt16) throws(SocketError) -> [SocketAddress] {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_flags = AI_NUMERICSERV
        var list: UnsafeMutablePointer<addrinfo>?
        let code = getaddrinfo(host, String(port), &hints, &list)
        guard code == 0 else {
            throw .unknownHost(
                host: host, reason: code == EAI_SYSTEM ? errorText(errno) : String(cString: gai_strerror(code)))
        }
        defer { freeaddrinfo(list) }
        var addresses: [SocketAddress] = []
        var next = list
        while let entry = next {
            var storage = sockaddr_storage()
            withUnsafeMutableBytes(of: &storage) {
                $0.copyMemory(
                    from: UnsafeRawBufferPointer(start: entry.pointee.ai_addr, count: Int(entry.pointee.ai_addrlen)))
            }
            if let address = SocketAddress(storage), !addresses.contains(address) { addresses.append(address) }
            next = entry.pointee.ai_next
        }
        guard !addresses.isEmpty else { throw .unknownHost(host: host, reason: "it has neither IPv4 nor IPv6") }
        return addresses
    }

    // How the system calls want addresses.

    static func withUnixAddress(
        _ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
    ) -> Int32 {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let offset = MemoryLayout<sockaddr_un>.offset(of: \.sun_path)!
        let bytes = Array(path.utf8)
        withUnsafeMutableBytes(of: &address) { $0[offset...].copyBytes(from: bytes) }
        // An abstract name has no end but its length; a path has a zero.
        let length = offset + bytes.count + (bytes.first == 0 ? 0 : 1)
        return withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(length)) }
        }
    }

    private static func withAddress(
        _ address: SocketAddress, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
    ) -> Int32 {
        var storage = sockaddr_storage()
        let length = address.write(into: &storage)
        return withUnsafePointer(to: &storage) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, length) }
        }
    }
}
