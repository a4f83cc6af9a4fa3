import Glibc

/// Why the demo's client lost its connection.
struct DemoClientError: Error {
    var message: String
}

/// A small blocking NBD client: a witness for the demo that shares no code with the server.
final class DemoClient {
    /// Bytes of the export.
    private(set) var size: UInt64 = 0
    private let descriptor: Int32

    /// Connects and asks for the export `name`; a secondary refuses.
    init(_ endpoint: DemoEndpoint, export name: String) throws(DemoClientError) {
        descriptor = try endpoint.connect()
        try negotiate(name)
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    private func negotiate(_ name: String) throws(DemoClientError) {
        let greeting = try receive(18)
        guard Self.number(greeting[0..<8]) == 0x4e42_444d_4147_4943, Self.number(greeting[8..<16]) == Self.optionMagic
        else { throw DemoClientError(message: "no NBD server") }
        var ask = Self.bytes(UInt32(3)) + Self.bytes(Self.optionMagic) + Self.bytes(UInt32(7))
        ask += Self.bytes(UInt32(name.utf8.count + 6)) + Self.bytes(UInt32(name.utf8.count)) + Array(name.utf8)
        ask += Self.bytes(UInt16(0))
        try send(ask)
        while true {
            let header = try receive(20)
            let kind = Self.number(header[12..<16])
            let length = Self.number(header[16..<20])
            guard Self.number(header[0..<8]) == 0x3e8_8904_5565_a9, length <= 4096 else {
                throw DemoClientError(message: "a malformed reply")
            }
            let content = try receive(Int(length))
            if kind == 1 { return }
            guard kind < 1 << 31 else { throw DemoClientError(message: String(decoding: content, as: UTF8.self)) }
            if kind == 3, content.count >= 12, Self.number(content[0..<2]) == 0 {
                size = Self.number(content[2..<10])
            }
        }
    }

    private static let optionMagic: UInt64 = 0x4948_4156_454f_5054

    enum Request: UInt16 { case read = 0, write = 1, disconnect = 2, flush = 3 }

    /// Sends a request; `takeReply` gives its `cookie` back.
    func begin(
        _ request: Request, cookie: UInt64, offset: UInt64 = 0, length: UInt32 = 0, payload: [UInt8] = []
    ) throws(DemoClientError) {
        var bytes = Self.bytes(UInt32(0x2560_9513)) + Self.bytes(UInt16(0)) + Self.bytes(request.rawValue)
        bytes += Self.bytes(cookie) + Self.bytes(offset) + Self.bytes(length)
        try send(bytes + payload)
    }

    /// The next reply, in whatever order they come. An error of the server ends the connection for us.
    func takeReply() throws(DemoClientError) -> UInt64 {
        let header = try receive(16)
        guard Self.number(header[0..<4]) == 0x6744_6698 else { throw DemoClientError(message: "a malformed reply") }
        let code = Self.number(header[4..<8])
        guard code == 0 else { throw DemoClientError(message: "NBD error \(code)") }
        return Self.number(header[8..<16])
    }

    func read(offset: UInt64, length: UInt32) throws(DemoClientError) -> [UInt8] {
        try begin(.read, cookie: 1, offset: offset, length: length)
        _ = try takeReply()
        return try receive(Int(length))
    }

    func write(offset: UInt64, _ payload: [UInt8]) throws(DemoClientError) {
        try begin(.write, cookie: 2, offset: offset, length: UInt32(payload.count), payload: payload)
        _ = try takeReply()
    }

    func flush() throws(DemoClientError) {
        try begin(.flush, cookie: 3)
        _ = try takeReply()
    }

    /// Says goodbye, as a client should.
    func disconnect() { try? begin(.disconnect, cookie: 4) }

    private func send(_ bytes: [UInt8]) throws(DemoClientError) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            if count > 0 {
                rest = rest.dropFirst(count)
            } else if errno != EINTR {
                throw DemoClientError(message: String(cString: strerror(errno)))
            }
        }
    }

    private func receive(_ length: Int) throws(DemoClientError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: length)
        var filled = 0
        while filled < length {
            let count = bytes.withUnsafeMutableBytes {
                recv(descriptor, $0.baseAddress! + filled, length - filled, 0)
            }
            if count > 0 {
                filled += count
            } else if count == 0 {
                throw DemoClientError(message: "the server hung up")
            } else if errno != EINTR {
                throw DemoClientError(message: String(cString: strerror(errno)))
            }
        }
        return bytes
    }

    static func bytes<Number: FixedWidthInteger>(_ number: Number) -> [UInt8] {
        withUnsafeBytes(of: number.bigEndian) { Array($0) }
    }

    static func number(_ bytes: ArraySlice<UInt8>) -> UInt64 { bytes.reduce(0) { $0 << 8 | UInt64($1) } }
}
