/// One generic netlink message as bytes (`<linux/netlink.h>`, `<linux/genetlink.h>`): a header of 16 bytes with the whole
/// length, one of 4 with the command, then attributes that are each padded to 4 bytes. Numbers are in the machine's order.
package struct NetlinkMessage: Equatable, Sendable {
    static let headerBytes = 16
    static let genericHeaderBytes = 4
    static let attributeHeaderBytes = 4
    /// NLM_F_REQUEST | NLM_F_ACK.
    static let asksForAnswer: UInt16 = 1 | 4
    /// NLA_F_NESTED: the value is attributes again.
    static let isNested: UInt16 = 0x8000

    package private(set) var bytes: [UInt8] = []

    /// - Parameters:
    ///   - family: the number that the kernel gave the family; `NetlinkReply.controlFamily` to ask for it.
    ///   - sequence: comes back in the answers.
    package init(family: UInt16, command: UInt8, version: UInt8, sequence: UInt32) {
        append(UInt32(Self.headerBytes + Self.genericHeaderBytes))
        append(family)
        append(Self.asksForAnswer)
        append(sequence)
        append(UInt32(0))
        bytes += [command, version, 0, 0]
    }

    package mutating func add(_ attribute: UInt16, _ value: UInt32) { add(attribute) { $0.append(value) } }
    package mutating func add(_ attribute: UInt16, _ value: UInt64) { add(attribute) { $0.append(value) } }
    /// With its final zero.
    package mutating func add(_ attribute: UInt16, _ text: String) {
        add(attribute) { $0.bytes += Array(text.utf8) + [0] }
    }

    /// Attributes inside an attribute.
    package mutating func addNested(_ attribute: UInt16, _ inside: (inout NetlinkMessage) -> Void) {
        add(attribute | Self.isNested, inside)
    }

    private mutating func add(_ attribute: UInt16, _ value: (inout NetlinkMessage) -> Void) {
        let start = bytes.count
        append(UInt16(0))
        append(attribute)
        value(&self)
        let length = bytes.count - start
        withUnsafeBytes(of: UInt16(length)) { bytes.replaceSubrange(start..<start + 2, with: $0) }
        while bytes.count % 4 != 0 { bytes.append(0) }
        withUnsafeBytes(of: UInt32(bytes.count)) { bytes.replaceSubrange(0..<4, with: $0) }
    }

    private mutating func append<Number: FixedWidthInteger>(_ number: Number) {
        withUnsafeBytes(of: number) { bytes += $0 }
    }
}

/// What the kernel answers: one message of a datagram. Anything that does not hold together is dropped, not trusted.
package enum NetlinkReply: Equatable, Sendable {
    /// The family that knows the others by name (GENL_ID_CTRL).
    package static let controlFamily: UInt16 = 16
    private static let errorType: UInt16 = 2

    /// The end of the answers to `sequence`: 0, or an errno.
    case end(sequence: UInt32, code: Int32)
    case data(sequence: UInt32, attributes: [Attribute])

    package struct Attribute: Equatable, Sendable {
        package let type: UInt16
        package let value: [UInt8]

        package var word: UInt32? { number() }
        package var halfWord: UInt16? { number() }

        /// The number's own length exactly.
        private func number<Number: FixedWidthInteger>() -> Number? {
            guard value.count == MemoryLayout<Number>.size else { return nil }
            return value.withUnsafeBytes { $0.loadUnaligned(as: Number.self) }
        }
    }

    /// All messages of one datagram, in order.
    package static func decode(_ datagram: [UInt8]) -> [NetlinkReply] {
        var replies: [NetlinkReply] = []
        var rest = datagram[...]
        while rest.count >= NetlinkMessage.headerBytes {
            let length = Int(rest.load(0, as: UInt32.self))
            guard length >= NetlinkMessage.headerBytes, length <= rest.count else { break }
            let message = rest.prefix(length)
            let body = message.dropFirst(NetlinkMessage.headerBytes)
            let sequence = message.load(8, as: UInt32.self)
            switch message.load(4, as: UInt16.self) {
            case errorType:
                guard body.count >= 4 else { break }
                // Minus the least number has no positive; no errno is near it.
                let code = body.load(0, as: Int32.self)
                replies.append(.end(sequence: sequence, code: code == .min ? .max : -code))
            case NetlinkMessage.firstFamily...:
                let attributes = Self.attributes(body.dropFirst(NetlinkMessage.genericHeaderBytes))
                replies.append(.data(sequence: sequence, attributes: attributes))
            default: break
            }
            rest = rest.dropFirst((length + 3) & ~3)
        }
        return replies
    }

    private static func attributes(_ bytes: ArraySlice<UInt8>) -> [Attribute] {
        var attributes: [Attribute] = []
        var rest = bytes
        while rest.count >= NetlinkMessage.attributeHeaderBytes {
            let length = Int(rest.load(0, as: UInt16.self))
            guard length >= NetlinkMessage.attributeHeaderBytes, length <= rest.count else { break }
            let type = rest.load(2, as: UInt16.self) & 0x3fff
            let value = Array(rest.prefix(length).dropFirst(NetlinkMessage.attributeHeaderBytes))
            attributes.append(Attribute(type: type, value: value))
            rest = rest.dropFirst((length + 3) & ~3)
        }
        return attributes
    }
}

extension NetlinkMessage {
    /// NLMSG_MIN_TYPE: types below are the protocol's own words.
    fileprivate static let firstFamily: UInt16 = 16
}

extension ArraySlice<UInt8> {
    /// Whoever asks has looked at the length.
    fileprivate func load<Number: FixedWidthInteger>(_ offset: Int, as type: Number.Type) -> Number {
        withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset, as: type) }
    }
}
