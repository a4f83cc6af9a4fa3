/// A run of bytes of a volume: `offset ..< offset + length`. Both are validated where they enter, so sums never overflow.
package struct ByteRange: Equatable, Hashable, Sendable {
    package var offset: UInt64
    package var length: UInt64

    package init(offset: UInt64, length: UInt64) {
        self.offset = offset
        self.length = length
    }

    package var end: UInt64 { offset + length }
    package var isEmpty: Bool { length == 0 }

    package func overlaps(_ other: ByteRange) -> Bool { offset < other.end && other.offset < end }
    package func contains(_ other: ByteRange) -> Bool { offset <= other.offset && other.end <= end }

    /// The blocks of `Geometry.blockSize` that the range touches, wholly or in part.
    package var blocks: Range<UInt64> {
        isEmpty ? 0..<0 : offset / Geometry.blockSize..<(end + Geometry.blockSize - 1) / Geometry.blockSize
    }

    /// The range widened to whole blocks.
    package var widenedToBlocks: ByteRange {
        ByteRange(blocks: blocks)
    }

    package init(blocks: Range<UInt64>) {
        self.init(
            offset: blocks.lowerBound * Geometry.blockSize,
            length: (blocks.upperBound - blocks.lowerBound) * Geometry.blockSize)
    }

    /// The 4 MiB extent in which the range begins. Requests never cross an extent (`RequestCutter`).
    package var extent: UInt32 { UInt32(truncatingIfNeeded: offset / Geometry.extentSize) }

    package var isBlockAligned: Bool { offset % Geometry.blockSize == 0 && length % Geometry.blockSize == 0 }
}

/// The three grains of a volume.
package enum Geometry {
    /// Unit of the dirty bitmap and of all disk I/O, in bytes.
    package static let blockSize: UInt64 = 4096
    /// Unit of the activity log, in bytes.
    package static let extentSize: UInt64 = 4 << 20
    package static let blocksPerExtent: UInt64 = extentSize / blockSize
    /// Largest payload that one frame or one client piece carries, in bytes.
    package static let maximumPayload: UInt64 = 1 << 20
    /// Smallest volume, in bytes.
    package static let minimumVolumeSize: UInt64 = blockSize
    /// Largest volume, in bytes: 1 PiB, as DRBD's.
    package static let maximumVolumeSize: UInt64 = 1 << 50
}
