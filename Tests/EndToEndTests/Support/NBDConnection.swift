import Foundation

/// The connection ended, or the server said no.
struct NBDTrouble: Error, CustomStringConvertible {
    /// The type of an option's error reply, when there was one.
    var optionError: UInt32?
    /// The error of a request, when there was one.
    var code: UInt32?
    let description: String
}

/// A small NBD client of our own: one connection, simple replies, blocking. It also sends what no honest client sends.
final class NBDConnection {
    static let optionGo: UInt32 = 7
    let descriptor: Int32
    private(set) var size: UInt64 = 0
    private(set) var flags: UInt16 = 0

    /// Connects and greets; no export is chosen yet.
    init(socketPath: String, timeout: Int = 30) throws {
        guard let descriptor = try connectedSocket(path: socketPath, timeout: timeout) else {
            throw NBDTrouble(description: "nobody listens at \(socketPath)")
        }
        self.descriptor = descriptor
        let greeting = try receive(18)
        guard greeting.prefix(16).elementsEqual("NBDMAGICIHAVEOPT".utf8) else {
            throw NBDTrouble(description: "not an NBD greeting")
        }
        try sendBytes(bigEndian(UInt32(3)))
    }

    /// Connects, and chooses the export.
    convenience init(node: TestNode, timeout: Int = 30) throws {
        try self.init(socketPath: node.socketPath, timeout: timeout)
        try go(export: node.volume)
    }

    deinit { close(descriptor) }

    /// Half-closes or breaks without a word.
    func breakOff() { shutdown(descriptor, Int32(SHUT_RDWR)) }

    func sendOption(_ option: UInt32, _ data: [UInt8]) throws {
        try sendBytes(Array("IHAVEOPT".utf8) + bigEndian(option) + bigEndian(UInt32(data.count)) + data)
    }

    /// The type and data of one reply to an option.
    func receiveOptionReply() throws -> (type: UInt32, data: [UInt8]) {
        let head = try receive(20)
        let type: UInt32 = number(head, at: 12)
        let length: UInt32 = number(head, at: 16)
        guard length < 65536 else { throw NBDTrouble(description: "an option reply of \(length) bytes") }
        return (type, try receive(Int(length)))
    }

    func go(export: String) throws {
        let name = Array(export.utf8)
        try sendOption(Self.optionGo, bigEndian(UInt32(name.count)) + name + bigEndian(UInt16(0)))
        while true {
            let reply = try receiveOptionReply()
            switch reply.type {
            case 1: return
            case 3 where reply.data.count == 12:
                size = number(reply.data, at: 2)
                flags = number(reply.data, at: 10)
            case 3: continue
            default:
                let text = String(decoding: reply.data, as: UTF8.self)
                throw NBDTrouble(optionError: reply.type, description: text)
            }
        }
    }

    enum Command: UInt16 { case read, write, disconnect, flush, trim, cache, writeZeroes, unknown = 99 }

    func sendRequest(
        _ command: Command, flags: UInt16 = 0, cookie: UInt64, offset: UInt64 = 0, length: UInt32 = 0,
        payload: [UInt8] = []
    ) throws {
        try sendBytes(Self.head(command, flags: flags, cookie: cookie, offset: offset, length: length) + payload)
    }

    /// A request without its payload.
    static func head(
        _ command: Command, flags: UInt16 = 0, cookie: UInt64, offset: UInt64, length: UInt32
    ) -> [UInt8] {
        bigEndian(UInt32(0x2560_9513)) + bigEndian(flags) + bigEndian(command.rawValue) + bigEndian(cookie)
            + bigEndian(offset) + bigEndian(length)
    }

    /// Head of a simple reply; what a read returns is the caller's to receive.
    func receiveReply() throws -> (cookie: UInt64, error: UInt32) {
        let head = try receive(16)
        guard number(head, at: 0) as UInt32 == 0x6744_6698 else { throw NBDTrouble(description: "not a simple reply") }
        return (number(head, at: 8), number(head, at: 4))
    }

    func write(_ bytes: [UInt8], at offset: UInt64, fua: Bool = false) throws {
        try sendRequest(
            .write, flags: fua ? 1 : 0, cookie: 1, offset: offset, length: UInt32(bytes.count), payload: bytes)
        try expectDone()
    }

    func read(at offset: UInt64, length: Int) throws -> [UInt8] {
        try sendRequest(.read, cookie: 1, offset: offset, length: UInt32(length))
        try expectDone()
        return try receive(length)
    }

    func flush() throws {
        try sendRequest(.flush, cookie: 1)
        try expectDone()
    }

    func disconnect() { try? sendRequest(.disconnect, cookie: 0) }

    private func expectDone() throws {
        let reply = try receiveReply()
        guard reply.error == 0 else { throw NBDTrouble(code: reply.error, description: "error \(reply.error)") }
    }

    func sendBytes(_ bytes: [UInt8]) throws {
        guard bytes.withUnsafeBytes({ sendAll(descriptor, $0) }) else {
            throw NBDTrouble(description: "the server closed the connection")
        }
    }

    func receive(_ count: Int) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        var received = 0
        while received < count {
            let piece = bytes.withUnsafeMutableBytes {
                recv(descriptor, $0.baseAddress! + received, count - received, 0)
            }
            guard piece > 0 else {
                let why = piece == 0 ? "closed" : String(cString: strerror(errno))
                throw NBDTrouble(description: "no answer from the server: \(why)")
            }
            received += piece
        }
        return bytes
    }
}

func bigEndian(_ value: some FixedWidthInteger) -> [UInt8] { withUnsafeBytes(of: value.bigEndian) { Array($0) } }

func number<Number: FixedWidthInteger>(_ bytes: [UInt8], at offset: Int) -> Number {
    bytes[offset..<offset + Number.bitWidth / 8].reduce(0) { $0 << 8 | Number(truncatingIfNeeded: $1) }
}
