import Formats
import Model
import Testing

@Suite struct HelloCodingTests {
    static let sample = Hello(
        volume: "r0", node: NodeID(0)!, peer: NodeID(1)!, run: RunID(rawValue: 0x11),
        session: SessionID(rawValue: 0x22),
        size: 1 << 30, replication: "sync", quorum: "majority", onQuorumLost: "wait",
        afterSplitBrain: "disconnect disconnect disconnect", lease: 2_000_000_000, fencing: "",
        nodes: [
            Hello.Node(id: NodeID(0)!, name: "älpha", witness: false),
            Hello.Node(id: NodeID(1)!, name: "beta", witness: false),
            Hello.Node(id: NodeID(7)!, name: "w", witness: true),
        ], discardMyData: false, authenticates: true, nonce: Array(0..<32),
        capabilities: [.zeroRuns, .zstandard])

    static var messages: [HelloMessage] {
        var empty = sample
        (empty.peer, empty.size, empty.nodes, empty.discardMyData) = (nil, nil, [], true)
        var full = sample
        full.volume = String(repeating: "v", count: 128)
        full.nodes = NodeID.all.map { Hello.Node(id: $0, name: String(repeating: "ü", count: 64), witness: true) }
        full.fencing = String(repeating: "f", count: 128)
        full.lease = .max
        var unknown = sample
        unknown.capabilities = PeerCapabilities(rawValue: 0x8000_0001)
        return [
            .hello(sample), .hello(empty), .hello(full), .proof(HelloProof(code: Array(100..<132))),
            .verdict(.accepted), .verdict(.refused(reason: "mismatch", message: "the sizes differ: 1 and 2")),
            .hello(unknown),
        ]
    }

    /// As a node says it that was not upgraded yet.
    static func inVersion(_ version: UInt16, _ message: HelloMessage) -> HelloMessage {
        guard case .hello(var hello) = message else { return message }
        (hello.version, hello.lease, hello.fencing) = (version, 0, "")
        if version == 4 { hello.capabilities = [] }
        return .hello(hello)
    }

    private func decode(_ bytes: [UInt8]) throws -> HelloMessage {
        try bytes.withUnsafeBytes { all in
            let head = UnsafeRawBufferPointer(rebasing: all[..<min(all.count, HelloFrame.headerLength)])
            let header = try HelloFrame.decodeHeader(head)
            return try HelloFrame.decode(
                header, body: UnsafeRawBufferPointer(rebasing: all[HelloFrame.headerLength...]))
        }
    }

    private func reseal(_ bytes: inout [UInt8]) {
        var checksum = CRC32C()
        bytes[..<16].withUnsafeBytes { checksum.update($0) }
        bytes[20...].withUnsafeBytes { checksum.update($0) }
        for index in 0..<4 { bytes[16 + index] = UInt8(truncatingIfNeeded: checksum.value >> (8 * UInt32(index))) }
    }

    @Test(arguments: messages)
    func `every message comes back, and no other bytes do`(message: HelloMessage) throws {
        let bytes = HelloFrame.encode(message)
        #expect(try decode(bytes) == message)
        for length in 0..<bytes.count { #expect(throws: HelloError.self) { try decode(Array(bytes[..<length])) } }
        for index in bytes.indices {
            for change: UInt8 in [1, 0x80, 0xff] {
                var changed = bytes
                changed[index] ^= change
                #expect(throws: HelloError.self) { try decode(changed) }
            }
        }
    }

    @Test(arguments: [UInt16(4), 5], messages)
    func `what versions 4 and 5 say is understood, and said again as it was`(
        version: UInt16, said: HelloMessage
    ) throws {
        let message = Self.inVersion(version, said)
        let bytes = HelloFrame.encode(message, version: version)
        #expect(UInt16(bytes[8]) == version)
        #expect(try decode(bytes) == message)
        for length in 0..<bytes.count { #expect(throws: HelloError.self) { try decode(Array(bytes[..<length])) } }
        guard case .hello = message else { return }
        // Neither of them passes for one of the other version.
        var other = bytes
        other[8] = UInt8(version + 1)
        reseal(&other)
        #expect(throws: HelloError.truncated(.hello)) { try decode(other) }
        other = bytes + [0, 0, 0, 0]
        other[12] = UInt8(truncatingIfNeeded: other.count - 20)
        other[13] = UInt8(truncatingIfNeeded: (other.count - 20) >> 8)
        reseal(&other)
        #expect(throws: HelloError.trailingBytes(.hello)) { try decode(other) }
    }

    @Test(arguments: messages)
    func `bytes that verify but say nonsense never trap, and each value has one encoding`(message: HelloMessage) {
        var dice = SeededDice(5)
        let whole = HelloFrame.encode(message)
        for _ in 0..<5000 {
            var bytes = whole
            for _ in 0..<(1 + dice.pick(4)) where bytes.count > 20 {
                bytes[20 + dice.pick(bytes.count - 20)] =
                    [0, 1, 0x7f, 0x80, 0xff, UInt8(dice.pick(256))].randomElement(using: &dice)!
            }
            reseal(&bytes)
            if let back = try? decode(bytes) { #expect(HelloFrame.encode(back) == bytes) }
        }
    }

    @Test func `another version is refused with both numbers named, whatever follows`() {
        var hello = Self.sample
        hello.version = Hello.protocolVersion + 1
        var bytes = HelloFrame.encode(.hello(hello))
        bytes[12...] = ArraySlice([UInt8](repeating: 0xff, count: bytes.count - 12))
        let error = #expect(throws: HelloError.otherVersion(theirs: 7)) { try decode(bytes) }
        #expect(error?.description == "the peer speaks protocol version 7, this node version 6")
        bytes[8] = 3
        #expect(throws: HelloError.otherVersion(theirs: 3)) { try decode(bytes) }
    }

    @Test func `what is no node at all is told apart`() {
        #expect(throws: HelloError.notHablk) { try decode(Array("GET / HTTP/1.1\r\nHost: x\r\n\r\n".utf8)) }
        #expect(throws: HelloError.notHablk) { try decode([UInt8](repeating: 0, count: 20)) }
        for length: UInt32 in [4097, 0x7fff_ffff, 0x8000_0000, .max] {
            var bytes = HelloFrame.encode(.hello(Self.sample))
            for index in 0..<4 { bytes[12 + index] = UInt8(truncatingIfNeeded: length >> (8 * UInt32(index))) }
            #expect(throws: HelloError.bodyLength(.hello, length)) { try decode(bytes) }
        }
    }

    @Test(arguments: ["r\n0", "r\u{1b}[2J", "r\u{202e}x", "r\u{0}", "r\u{85}", "r\u{2028}"])
    func `text that could forge a log line is refused`(name: String) throws {
        // The same bytes with harmless text of that length in place of the name.
        let harmless = String(repeating: "x", count: name.utf8.count)
        var hello = Self.sample
        hello.volume = harmless
        var bytes = HelloFrame.encode(.hello(hello))
        bytes.replaceSubrange(22..<22 + name.utf8.count, with: Array(name.utf8))
        reseal(&bytes)
        #expect(throws: HelloError.field(.hello, .text)) { try decode(bytes) }
        bytes[22] = 0xff
        reseal(&bytes)
        #expect(throws: HelloError.field(.hello, .text)) { try decode(bytes) }
    }

    @Test func `a refusal that quotes anything is sent as plain text within its limit`() throws {
        let wild = "a\nb\u{1b}" + String(repeating: "ü", count: 1000)
        let bytes = HelloFrame.encode(.verdict(.refused(reason: wild, message: wild)))
        guard case .verdict(.refused(let reason, let message)) = try decode(bytes) else {
            Issue.record("not a refusal")
            return
        }
        #expect(reason.hasPrefix("a b ü") && reason.utf8.count == 128)
        #expect(message.hasPrefix("a b ü") && message.utf8.count == 512)
    }

    @Test func `proofs differ by direction, by either nonce, node, volume and session`() {
        var acceptor = Self.sample
        acceptor.node = NodeID(1)!
        acceptor.peer = nil
        let dialer = Self.sample
        var seen: Set<[UInt8]> = []
        var count = 0
        func add(_ dialer: Hello, _ acceptor: Hello) {
            for role in Authentication.Role.allCases {
                seen.insert(Authentication.transcript(of: role, dialer: dialer, acceptor: acceptor))
                count += 1
            }
        }
        add(dialer, acceptor)
        add(acceptor, dialer)
        add(dialer, dialer)
        for change: (inout Hello) -> Void in [
            { $0.nonce[31] ^= 1 }, { $0.node = NodeID(2)! }, { $0.volume = "r1" },
            { $0.session = SessionID(rawValue: 0x23) }, { $0.nodes[0].name = "alpha" }, { $0.discardMyData = true },
            { $0.capabilities = .all },
        ] {
            var changed = dialer
            change(&changed)
            add(changed, acceptor)
            changed = acceptor
            change(&changed)
            add(dialer, changed)
        }
        #expect(seen.count == count)
    }

    @Test func `proofs are compared whole`() {
        let proof = HelloProof(code: Array(0..<32))
        #expect(Authentication.isEqual(proof, proof))
        for index in 0..<32 {
            var other = proof
            other.code[index] ^= 1
            #expect(!Authentication.isEqual(proof, other))
        }
        #expect(!Authentication.isEqual(proof, HelloProof(code: [])))
    }
}
