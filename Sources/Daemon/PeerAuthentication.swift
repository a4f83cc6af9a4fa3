import COpenSSL
package import Formats
package import Model

/// The peers' common secret: computes this side's proof of it and judges the other's. Only here does OpenSSL work.
package struct PeerSecret: Sendable {
    private let key: [UInt8]

    /// - Parameter key: 16…4096 bytes (`Configuration.secret()` has judged them).
    package init(key: [UInt8]) {
        precondition((16...4096).contains(key.count), "a secret has 16 to 4096 bytes")
        self.key = key
    }

    /// HMAC-SHA-256 of what `prover` has to prove in a conversation of these two hellos.
    package func proof(of prover: Authentication.Role, dialer: Hello, acceptor: Hello) -> HelloProof {
        let transcript = Authentication.transcript(of: prover, dialer: dialer, acceptor: acceptor)
        var code = [UInt8](repeating: 0, count: HelloProof.length)
        var length: UInt32 = 0
        let result = HMAC(
            EVP_sha256(), key, Int32(key.count), transcript, transcript.count, &code, &length)
        precondition(result != nil && length == UInt32(HelloProof.length), "OpenSSL computes no HMAC-SHA-256")
        return HelloProof(code: code)
    }

    /// Whether `proof` shows that `prover` has the secret and means this very conversation. Takes the same time for all
    /// wrong proofs.
    package func accepts(
        _ proof: HelloProof, of prover: Authentication.Role, dialer: Hello, acceptor: Hello
    ) -> Bool {
        Authentication.isEqual(self.proof(of: prover, dialer: dialer, acceptor: acceptor), proof)
    }
}
