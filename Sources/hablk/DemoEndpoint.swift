import Daemon
import Glibc

/// Where a demo's client finds a volume.
enum DemoEndpoint {
    case socket(String)
    case address(NetworkAddress)

    /// How long an answer may take, seconds: a machine across a network may be off, and says nothing then.
    private var patience: Int {
        switch self {
        case .socket: 20
        case .address: 2
        }
    }

    /// A connected stream socket.
    func connect() throws(DemoClientError) -> Int32 {
        switch self {
        case .socket(let path):
            var address = sockaddr_un()
            address.sun_family = sa_family_t(AF_UNIX)
            guard path.utf8.count < MemoryLayout.size(ofValue: address.sun_path) else {
                throw DemoClientError(message: "the path is too long")
            }
            withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
            let length = socklen_t(MemoryLayout<sockaddr_un>.size)
            return try withUnsafePointer(to: &address) { pointer throws(DemoClientError) in
                try connect(AF_UNIX, UnsafeRawPointer(pointer), length)
            }
        case .address(let address):
            var hints = addrinfo()
            hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
            var found: UnsafeMutablePointer<addrinfo>?
            guard getaddrinfo(address.host, "\(address.port)", &hints, &found) == 0, let found else {
                throw DemoClientError(message: "\(address.host) is not known")
            }
            defer { freeaddrinfo(found) }
            return try connect(
                found.pointee.ai_family, UnsafeRawPointer(found.pointee.ai_addr), found.pointee.ai_addrlen)
        }
    }

    private func connect(_ family: Int32, _ address: UnsafeRawPointer, _ length: socklen_t) throws(DemoClientError)
        -> Int32
    {
        let descriptor = Glibc.socket(family, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw DemoClientError(message: "no socket") }
        var limit = timeval(tv_sec: patience, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        if family != AF_UNIX {
            var on: Int32 = 1
            setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<Int32>.size))
        }
        let target = address.assumingMemoryBound(to: sockaddr.self)
        guard Glibc.connect(descriptor, .init(__sockaddr__: target), length) == 0 else {
            let message = String(cString: strerror(errno))
            close(descriptor)
            throw DemoClientError(message: message)
        }
        return descriptor
    }
}
