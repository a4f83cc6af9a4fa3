package import Model

/// What each side of a connection proves with the shared secret: HMAC-SHA-256 over these bytes (the daemon computes it).
///
/// Both proofs bind the protocol and its version, the roles, and both hellos whole: nonces, node ids, names, volume,
/// session, configuration. The first bytes name who proves, so neither proof is any other message, and sending a side's
/// own proof back to it proves nothing. A nonce of each side makes both proofs of this connection only.
package enum Authentication {
    package enum Role: UInt8, Sendable, CaseIterable {
        case dialer = 1
        case acceptor = 2

        package var other: Role { self == .dialer ? .acceptor : .dialer }
        var label: String { self == .dialer ? "proof of the dialer" : "proof of the acceptor" }
    }

    /// The bytes that `prover` authenticates. Each part has its length before it, so that no two sets of parts are
    /// written alike.
    package static func transcript(of prover: Role, dialer: Hello, acceptor: Hello) -> [UInt8] {
        var bytes: [UInt8] = []
        for part in [
            Array("hablk peer authentication, HMAC-SHA-256".utf8), Array(prover.label.utf8),
            [UInt8(dialer.version & 0xff), UInt8(dialer.version >> 8)],
            Array("dialer".utf8), HelloFrame.encode(.hello(dialer)),
            Array("acceptor".utf8), HelloFrame.encode(.hello(acceptor)),
        ] {
            let length = UInt32(part.count).littleEndian
            withUnsafeBytes(of: length) { bytes += $0 }
            bytes += part
        }
        return bytes
    }

    /// Whether two proofs are equal, in a time that tells nothing about where they differ.
    package static func isEqual(_ left: HelloProof, _ right: HelloProof) -> Bool {
        guard left.code.count == right.code.count else { return false }
        var difference: UInt8 = 0
        for (mine, theirs) in zip(left.code, right.code) { difference |= mine ^ theirs }
        return difference == 0
    }
}
