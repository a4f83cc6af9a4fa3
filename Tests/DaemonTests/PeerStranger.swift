import Daemon
import Formats
import Glibc
import LinuxIO
import Model
import Testing

/// Somebody at the other end of a socket who keeps no rule unless a test makes it.
final class PeerStranger {
    private(set) var socket: Int32
    private(set) var received: [UInt8] = []
    private(set) var hasEnded = false

    private init(_ socket: Int32) {
        self.socket = socket
        _ = fcntl(socket, F_SETFL, O_NONBLOCK)
    }

    deinit { close() }

    convenience init(connectingTo address: NetworkAddress) throws {
        let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var name = sockaddr_in()
        name.sin_family = sa_family_t(AF_INET)
        name.sin_port = address.port.bigEndian
        name.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let result = withUnsafePointer(to: &name) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(socket, __CONST_SOCKADDR_ARG(__sockaddr__: $0), socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        try #require(result == 0)
        self.init(socket)
    }

    /// Whoever connected to `listener`; nil: nobody yet.
    convenience init?(acceptedFrom listener: Int32) {
        let socket = Glibc.accept(listener, __SOCKADDR_ARG(__sockaddr__: nil), nil)
        guard socket >= 0 else { return nil }
        self.init(socket)
    }

    func close() {
        if socket >= 0 { Glibc.close(socket) }
        socket = -1
    }

    func send(_ bytes: [UInt8]) {
        let count = Glibc.send(socket, bytes, bytes.count, Int32(MSG_NOSIGNAL))
        #expect(count == bytes.count || count < 0)
    }

    func send(_ message: HelloMessage) { send(HelloFrame.encode(message)) }

    func look() {
        var piece = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = recv(socket, &piece, piece.count, 0)
            if count > 0 { received += piece[..<count] }
            if count == 0 || (count < 0 && errno != EAGAIN) { hasEnded = true }
            if count <= 0 { return }
        }
    }

    /// The greeting's messages that came so far, as far as they are any.
    var greetings: [HelloMessage] {
        var messages: [HelloMessage] = []
        var rest = received[...]
        while rest.count >= HelloFrame.headerLength {
            let head = Array(rest.prefix(HelloFrame.headerLength))
            guard let header = try? head.withUnsafeBytes({ try HelloFrame.decodeHeader($0) }),
                rest.count >= head.count + header.bodyLength
            else { break }
            let body = Array(rest.dropFirst(head.count).prefix(header.bodyLength))
            guard let message = try? body.withUnsafeBytes({ try HelloFrame.decode(header, body: $0) }) else { break }
            messages.append(message)
            rest = rest.dropFirst(head.count + header.bodyLength)
        }
        return messages
    }

    var hello: Hello? {
        for case .hello(let hello) in greetings { return hello }
        return nil
    }

    var proof: HelloProof? {
        for case .proof(let proof) in greetings { return proof }
        return nil
    }

    var refusal: String? {
        for case .verdict(.refused(let reason, let message)) in greetings { return "\(reason): \(message)" }
        return nil
    }

    var isAccepted: Bool { greetings.contains(.verdict(.accepted)) }
}
