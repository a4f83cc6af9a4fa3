package import Formats
package import Model
package import ReplicationCore

/// What one piece of a client's request is for the core.
package struct NBDPiece: Equatable {
    package var kind: ClientRequest.Kind
    package var range: ByteRange

    /// Bytes of the buffer it needs: its range widened to whole blocks; 0: none.
    package var bufferBytes: Int { kind == .read || kind == .write ? Int(range.widenedToBlocks.length) : 0 }
    /// Its first part, which needs a buffer of so many bytes (whole blocks).
    package func cut(toBuffer bytes: Int) -> NBDPiece {
        let most = UInt64(bytes) - range.offset % Geometry.blockSize
        return NBDPiece(kind: kind, range: ByteRange(offset: range.offset, length: min(range.length, most)))
    }

    /// Where its bytes begin in that buffer.
    var bufferOffset: Int { Int(range.offset % Geometry.blockSize) }
}

/// Cuts a request into pieces as the core takes them: none crosses an extent, payloads have at most 1 MiB counted in
/// whole blocks, zeroes and trims come in whole blocks; their ragged ends are written.
package struct NBDPieces {
    private let kind: ClientRequest.Kind
    private var offset: UInt64
    private let end: UInt64

    /// - Parameter request: validated. Only READ, WRITE, TRIM and WRITE_ZEROES have pieces; what others say of a range,
    ///   nobody has looked at.
    package init(_ request: NBDRequest) {
        switch request.command {
        case .read: kind = .read
        case .write: kind = .write
        case .trim: kind = .trim
        // A hole reads as zeroes too, and costs nothing; NO_HOLE asks for the space.
        case .writeZeroes: kind = request.flags.contains(.noHole) ? .zero : .trim
        default:
            self = .none
            return
        }
        offset = request.offset
        end = request.offset + UInt64(request.length)
    }

    private init() {
        kind = .read
        offset = 0
        end = 0
    }

    /// Of a request that was refused.
    package static let none = NBDPieces()

    package var isAtEnd: Bool { offset == end }
    /// Bytes that no piece has taken.
    var remaining: UInt64 { end - offset }

    /// The next piece; it stays the next until `take`.
    package var next: NBDPiece? {
        guard offset < end else { return nil }
        let inBlock = offset % Geometry.blockSize
        let extentEnd = (offset / Geometry.extentSize + 1) * Geometry.extentSize
        if kind == .read || kind == .write {
            let length = min(end - offset, extentEnd - offset, Geometry.maximumPayload - inBlock)
            return NBDPiece(kind: kind, range: ByteRange(offset: offset, length: length))
        }
        let whole = (end - offset) / Geometry.blockSize * Geometry.blockSize
        if inBlock != 0 || whole == 0 {
            let length = min(end - offset, Geometry.blockSize - inBlock)
            return NBDPiece(kind: .write, range: ByteRange(offset: offset, length: length))
        }
        return NBDPiece(kind: kind, range: ByteRange(offset: offset, length: min(whole, extentEnd - offset)))
    }

    package mutating func take(_ piece: NBDPiece) { offset += piece.range.length }
    mutating func takeAll() { offset = end }
}
