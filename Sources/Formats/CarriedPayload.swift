/// How the payload of a frame lies on the wire. Its length and checksum in the header are those of the payload itself,
/// whatever it was carried as: so what came out of an expansion is what was put in, or it is noticed.
///
/// Only a peer whose hello says so is sent anything but plain payloads.
package enum CarriedPayload: Equatable, Sendable {
    case plain
    /// Nothing but zeroes: no byte of it follows.
    case zeroes
    /// One block of LZ4, of so many bytes.
    case lz4(Int)
    /// One frame of Zstandard, of so many bytes.
    case zstandard(Int)
    /// Without its blocks of zeroes (`ZeroBlocks`), so many bytes.
    case sparse(Int)

    /// In bits 1 to 3 of the header's flags.
    var code: UInt8 {
        switch self {
        case .plain: 0
        case .zeroes: 1
        case .lz4: 2
        case .zstandard: 3
        case .sparse: 4
        }
    }

    /// Bytes of what a payload was made shorter to; 0: it was not.
    package var compressedLength: Int {
        switch self {
        case .plain, .zeroes: 0
        case .lz4(let length), .zstandard(let length), .sparse(let length): length
        }
    }

    /// Nil when a payload of `payloadLength` bytes cannot be carried so: whoever makes it shorter makes it shorter.
    init?(code: UInt8, length: UInt32, payloadLength: UInt32) {
        switch (code, length) {
        case (0, 0): self = .plain
        case (1, 0): self = .zeroes
        case (2, 1...) where length < payloadLength: self = .lz4(Int(length))
        case (3, 1...) where length < payloadLength: self = .zstandard(Int(length))
        case (4, _) where ZeroBlocks.allows(wire: Int(length), of: Int(payloadLength)): self = .sparse(Int(length))
        default: return nil
        }
    }

    /// Bytes that follow the body on the wire.
    package func wireLength(of payloadLength: Int) -> Int { self == .plain ? payloadLength : compressedLength }
}
