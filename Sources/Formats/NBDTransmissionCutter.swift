/// Cuts a range into pieces that never cross an extent and never pass a given length, in ascending order.
///
/// A piece that is cut short ends on a 4 KiB block where it can, so that no block is touched by two pieces of a
/// request that begins at an odd byte.
package struct RequestCutter: Sendable {
    package static let extent: UInt64 = 4 << 20
    /// For requests whose bytes need memory: READ, WRITE.
    package static let payloadPiece: UInt32 = 1 << 20
    /// For requests whose bytes do not: TRIM, WRITE_ZEROES, CACHE, BLOCK_STATUS.
    package static let emptyPiece: UInt32 = 4 << 20
    private static let block: UInt64 = 4 << 10

    private var offset: UInt64
    private var remaining: UInt64
    private let maximum: UInt64

    /// What passes 2^64 is not cut; a validated request never does.
    package init(offset: UInt64, length: UInt64, maximumPiece: UInt32) {
        precondition(maximumPiece > 0, "a piece has at least one byte")
        self.offset = offset
        remaining = min(length, UInt64.max - offset)
        maximum = min(UInt64(maximumPiece), Self.extent)
    }

    /// The pieces of a request: of at most 1 MiB where it carries or returns data, else of whole extents.
    package init(_ request: NBDRequest) {
        let carriesData = request.command == .read || request.command == .write
        self.init(
            offset: request.offset, length: UInt64(request.length),
            maximumPiece: carriesData ? Self.payloadPiece : Self.emptyPiece)
    }

    package var isAtEnd: Bool { remaining == 0 }

    package mutating func next() -> (offset: UInt64, length: UInt32)? {
        guard remaining > 0 else { return nil }
        var length = min(remaining, Self.extent - offset % Self.extent)
        if length > maximum {
            let excess = (offset % Self.block + maximum) % Self.block
            length = excess < maximum ? maximum - excess : maximum
        }
        let piece = (offset: offset, length: UInt32(clamping: length))
        offset += length
        remaining -= length
        return piece
    }
}
