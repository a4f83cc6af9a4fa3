package import Model

/// What two nodes say before anything is believed: a hello each, then, with a shared secret, a proof each, then a
/// verdict each.
///
///     frame (little-endian)
///      0  magic      8 bytes "HABLKHEL"
///      8  version    u16      before everything else: a version not known is refused with both numbers
///     10  kind       u8       1 hello, 2 proof, 3 verdict
///     11  zero       u8
///     12  length     u32      of the body, at most 4096
///     16  checksum   u32      CRC32C of the 16 bytes before and the body
///     20  body
///
/// A hello's bytes are unique: each value has one encoding, because they are what `Authentication` binds.
package enum HelloFrame {
    package static let headerLength = 20
    package static let maximumBodyLength = 4096
    package static let maximumStringLength = 128
    package static let maximumMessageLength = 512
    package static let maximumNodes = 8
    static let magic: [UInt8] = Array("HABLKHEL".utf8)
}

package enum HelloKind: UInt8, Sendable {
    case hello = 1
    case proof = 2
    case verdict = 3
}

/// HMAC-SHA-256 of `Authentication.transcript`.
package struct HelloProof: Equatable, Sendable {
    package static let length = 32
    package var code: [UInt8]
    package init(code: [UInt8]) { self.code = code }
}

/// Whether the other side's hello (and proof) was accepted.
package enum HelloVerdict: Equatable, Sendable {
    case accepted
    /// `reason` is a name (`mismatch`, `authentication`), `message` a sentence.
    case refused(reason: String, message: String)
}

package enum HelloMessage: Equatable, Sendable {
    case hello(Hello)
    case proof(HelloProof)
    case verdict(HelloVerdict)
}

/// What a hello frame says of itself before its body is received.
package struct HelloFrameHeader: Equatable, Sendable {
    package var version: UInt16
    package var kind: HelloKind
    package var bodyLength: Int
    package var checksum: UInt32
    /// CRC32C of the first 16 bytes, with which the body's begins.
    var checksumSoFar: CRC32C

    package static func == (left: HelloFrameHeader, right: HelloFrameHeader) -> Bool {
        left.version == right.version && left.kind == right.kind && left.bodyLength == right.bodyLength
            && left.checksum == right.checksum
    }
}

/// Why the beginning of a connection is refused; it is closed.
package enum HelloError: Error, Equatable, CustomStringConvertible {
    case notHablk
    case otherVersion(theirs: UInt16)
    case unknownKind(UInt8)
    case reservedByte
    case bodyLength(HelloKind, UInt32)
    case lengthsDiffer
    case checksum
    case truncated(HelloKind)
    case trailingBytes(HelloKind)
    case field(HelloKind, FieldName)

    package var description: String {
        switch self {
        case .notHablk: "what connected is not a hablk node"
        case .otherVersion(let theirs):
            "the peer speaks protocol version \(theirs), this node version \(Hello.protocolVersion)"
        case .unknownKind(let kind): "unknown kind \(kind) of hello frame"
        case .reservedByte: "a byte of the hello's header that must be zero is not"
        case .bodyLength(let kind, let length): "\(kind): a body of \(length) bytes cannot be"
        case .lengthsDiffer: "what was received is not as long as the hello's header said"
        case .checksum: "the hello does not match its checksum: damaged on the way"
        case .truncated(let kind): "\(kind): it ends before its fields do"
        case .trailingBytes(let kind): "\(kind): bytes follow its last field"
        case .field(let kind, let field): "\(kind): the field `\(field)` has a value that cannot be"
        }
    }

    init(_ kind: HelloKind, _ error: FieldError) {
        switch error {
        case .truncated: self = .truncated(kind)
        case .value(let name): self = .field(kind, name)
        case .range: self = .field(kind, .size)
        }
    }
}

extension HelloFrame {
    /// Judges a header alone; `bytes` are the first `headerLength` bytes.
    package static func decodeHeader(_ bytes: UnsafeRawBufferPointer) throws(HelloError) -> HelloFrameHeader {
        guard bytes.count == headerLength else { throw .lengthsDiffer }
        guard bytes[..<8].elementsEqual(magic) else { throw .notHablk }
        let version = bytes.littleEndian(at: 8, as: UInt16.self)
        guard (Hello.oldestVersion...Hello.protocolVersion).contains(version) else {
            throw .otherVersion(theirs: version)
        }
        guard let kind = HelloKind(rawValue: bytes[10]) else { throw .unknownKind(bytes[10]) }
        guard bytes[11] == 0 else { throw .reservedByte }
        let length = bytes.littleEndian(at: 12, as: UInt32.self)
        guard length <= UInt32(maximumBodyLength) else { throw .bodyLength(kind, length) }
        if kind == .proof, length != UInt32(HelloProof.length) { throw .bodyLength(kind, length) }
        var checksum = CRC32C()
        checksum.update(UnsafeRawBufferPointer(rebasing: bytes[..<16]))
        return HelloFrameHeader(
            version: version, kind: kind, bodyLength: Int(length),
            checksum: bytes.littleEndian(at: 16, as: UInt32.self),
            checksumSoFar: checksum)
    }

    package static func decode(
        _ header: HelloFrameHeader, body: UnsafeRawBufferPointer
    ) throws(HelloError) -> HelloMessage {
        guard body.count == header.bodyLength else { throw .lengthsDiffer }
        var checksum = header.checksumSoFar
        checksum.update(body)
        guard checksum.value == header.checksum else { throw .checksum }
        var reader = FieldReader(body)
        let message: HelloMessage
        do throws(FieldError) {
            switch header.kind {
            case .hello: message = .hello(try reader.readHello(version: header.version))
            case .proof: message = .proof(HelloProof(code: Array(try reader.bytes(HelloProof.length))))
            case .verdict: message = .verdict(try reader.readVerdict())
            }
        } catch {
            throw HelloError(header.kind, error)
        }
        guard reader.isAtEnd else { throw .trailingBytes(header.kind) }
        return message
    }

    /// The whole frame.
    /// - Parameter version: of the conversation; a hello says its own.
    package static func encode(_ message: HelloMessage, version: UInt16 = Hello.protocolVersion) -> [UInt8] {
        let room = headerLength + maximumBodyLength
        return [UInt8](unsafeUninitializedCapacity: room) { buffer, count in
            let output = UnsafeMutableRawBufferPointer(buffer)
            var writer = FieldWriter(output)
            writer.bytes(magic)
            var version = version
            if case .hello(let hello) = message { version = hello.version }
            writer.u16(version)
            writer.u8(message.kind.rawValue)
            writer.zeroes(9)  // One reserved byte; length and checksum come below.
            switch message {
            case .hello(let hello): writer.write(hello)
            case .proof(let proof):
                precondition(proof.code.count == HelloProof.length, "a proof has 32 bytes")
                writer.bytes(proof.code)
            case .verdict(let verdict): writer.write(verdict)
            }
            output.storeLittleEndian(UInt32(writer.count - headerLength), at: 12)
            var checksum = CRC32C()
            checksum.update(UnsafeRawBufferPointer(rebasing: output[..<16]))
            checksum.update(UnsafeRawBufferPointer(rebasing: output[headerLength..<writer.count]))
            output.storeLittleEndian(checksum.value, at: 16)
            count = writer.count
        }
    }
}

extension HelloMessage {
    package var kind: HelloKind {
        switch self {
        case .hello: .hello
        case .proof: .proof
        case .verdict: .verdict
        }
    }
}

/// Text from the wire comes into logs and terminals: no control characters, nothing that hides or reorders what follows.
enum PlainText {
    static func allows(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse, .unassigned: false
        default: true
        }
    }

    /// `text` without what is not allowed, cut to `limit` bytes between two characters.
    static func bounded(_ text: String, to limit: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        for scalar in text.unicodeScalars {
            let encoded = Array(String(allows(scalar) ? scalar : " ").utf8)
            guard bytes.count + encoded.count <= limit else { break }
            bytes += encoded
        }
        return bytes
    }
}

extension FieldReader {
    /// UTF-8 with its length before it.
    fileprivate mutating func text(atMost limit: Int) throws(FieldError) -> String {
        let length = Int(try u16())
        guard length <= limit else { throw .value(.text) }
        guard let text = String(validating: try bytes(length), as: UTF8.self),
            text.unicodeScalars.allSatisfy(PlainText.allows)
        else { throw .value(.text) }
        return text
    }

    fileprivate mutating func readVerdict() throws(FieldError) -> HelloVerdict {
        if try truth() { return .accepted }
        let reason = try text(atMost: HelloFrame.maximumStringLength)
        return .refused(reason: reason, message: try text(atMost: HelloFrame.maximumMessageLength))
    }

    fileprivate mutating func readHello(version: UInt16) throws(FieldError) -> Hello {
        let limit = HelloFrame.maximumStringLength
        let volume = try text(atMost: limit)
        let node = try node()
        let peer = try nodeOrNone()
        let run = try identity(RunID.self)
        let session = try identity(SessionID.self)
        let sized = try truth()
        let size = try size()
        guard sized || size == 0 else { throw .value(.size) }
        let replication = try text(atMost: limit)
        let quorum = try text(atMost: limit)
        let onQuorumLost = try text(atMost: limit)
        let afterSplitBrain = try text(atMost: limit)
        let discardMyData = try truth()
        let authenticates = try truth()
        let nonce = Array(try bytes(Hello.nonceLength))
        let count = Int(try u8())
        guard count <= HelloFrame.maximumNodes else { throw .value(.node) }
        var nodes: [Hello.Node] = []
        for _ in 0..<count {
            let id = try self.node()
            nodes.append(Hello.Node(id: id, name: try text(atMost: limit), witness: try truth()))
        }
        let capabilities = PeerCapabilities(rawValue: version == Hello.oldestVersion ? 0 : try u32())
        let lease = version < Hello.versionWithLease ? 0 : try u64()
        let fencing = version < Hello.versionWithLease ? "" : try text(atMost: limit)
        return Hello(
            version: version, volume: volume, node: node, peer: peer, run: run, session: session,
            size: sized ? size : nil, replication: replication, quorum: quorum, onQuorumLost: onQuorumLost,
            afterSplitBrain: afterSplitBrain, lease: lease, fencing: fencing, nodes: nodes,
            discardMyData: discardMyData, authenticates: authenticates,
            nonce: nonce, capabilities: capabilities)
    }
}

extension FieldWriter {
    /// Names and modes come from the configuration, which has judged them by the same rule.
    private mutating func text(_ text: String) {
        precondition(
            text.utf8.count <= HelloFrame.maximumStringLength && text.unicodeScalars.allSatisfy(PlainText.allows),
            "a name of the configuration is too long or not plain text")
        u16(UInt16(text.utf8.count))
        bytes(text.utf8)
    }

    fileprivate mutating func write(_ verdict: HelloVerdict) {
        guard case .refused(let reason, let message) = verdict else { return truth(true) }
        truth(false)
        // These may quote what the other side sent: bounded here, not promised by the caller.
        for (words, limit) in [
            (reason, HelloFrame.maximumStringLength), (message, HelloFrame.maximumMessageLength),
        ] {
            let plain = PlainText.bounded(words, to: limit)
            u16(UInt16(plain.count))
            bytes(plain)
        }
    }

    fileprivate mutating func write(_ hello: Hello) {
        precondition(hello.nonce.count == Hello.nonceLength, "a nonce has 32 bytes")
        precondition(hello.nodes.count <= HelloFrame.maximumNodes, "a volume has at most 8 nodes")
        text(hello.volume)
        node(hello.node)
        node(hello.peer)
        identity(hello.run)
        identity(hello.session)
        truth(hello.size != nil)
        u64(hello.size ?? 0)
        text(hello.replication)
        text(hello.quorum)
        text(hello.onQuorumLost)
        text(hello.afterSplitBrain)
        truth(hello.discardMyData)
        truth(hello.authenticates)
        bytes(hello.nonce)
        u8(UInt8(hello.nodes.count))
        for entry in hello.nodes {
            node(entry.id)
            text(entry.name)
            truth(entry.witness)
        }
        if hello.version == Hello.oldestVersion {
            precondition(hello.capabilities.isEmpty, "version 4 has no words for what a node takes")
        } else {
            u32(hello.capabilities.rawValue)
        }
        if hello.version < Hello.versionWithLease {
            precondition(
                hello.lease == 0 && hello.fencing.isEmpty, "versions 4 and 5 have no words for lease and fencing")
        } else {
            u64(hello.lease)
            text(hello.fencing)
        }
    }
}
