import COpenSSL
package import Model

/// The strong digests by which copies are compared.
package enum Digests {
    /// `Comparing.digestLength` bytes for each block of the range, whose data begins at `data`.
    package static func of(blocks data: UnsafeMutableRawPointer, range: ByteRange) -> [UInt8] {
        let blockSize = Int(Geometry.blockSize)
        let count = Int(range.length) / blockSize
        return [UInt8](unsafeUninitializedCapacity: count * Comparing.digestLength) { digests, length in
            guard let output = digests.baseAddress else { return }
            for block in 0..<count {
                let input = data.advanced(by: block * blockSize).assumingMemoryBound(to: UInt8.self)
                let result = SHA256(input, blockSize, output.advanced(by: block * Comparing.digestLength))
                precondition(result != nil, "OpenSSL computes no SHA-256")
            }
            length = count * Comparing.digestLength
        }
    }
}
