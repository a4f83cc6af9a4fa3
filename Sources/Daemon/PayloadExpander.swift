import CLZ4
import CZstandard
package import Formats
import LinuxIO
import Model

/// Receives what one peer made shorter and makes payloads of it. Neither the peer nor the line is believed: whatever comes,
/// no more is written than the payload's buffer takes, which the frame's header said and its limits allowed.
package final class PayloadExpander {
    /// One frame at a time is received, and none is longer than the longest payload.
    private let memory = PageMemory(count: Int(Geometry.maximumPayload))
    /// Zstandard's, made for the first frame that needs it.
    private var context: OpaquePointer?

    package init() {}
    deinit { ZSTD_freeDCtx(context) }

    /// Where the bytes of the wire go first.
    package var place: UnsafeMutableRawPointer { memory.start }

    /// Makes the payload of what was received at `place`.
    /// - Returns: false when that is not exactly a payload of `output.count` bytes.
    package func expand(_ carried: CarriedPayload, into output: UnsafeMutableRawBufferPointer) -> Bool {
        let wire = UnsafeRawBufferPointer(start: place, count: carried.compressedLength)
        switch carried {
        case .plain, .zeroes: return false
        case .lz4:
            let length = LZ4_decompress_safe(
                wire.baseAddress, output.baseAddress, Int32(wire.count), Int32(output.count))
            return Int(length) == output.count
        case .zstandard: return expandFrame(wire, into: output)
        case .sparse: return ZeroBlocks.expand(wire, into: output)
        }
    }

    private func expandFrame(_ wire: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer) -> Bool {
        // Exactly one frame of today's format. The library would also take several in a row, those to be skipped, and
        // the formats of its first years, whose readers are less tried.
        guard wire.count >= 4, wire.loadUnaligned(as: UInt32.self).littleEndian == ZSTD_MAGICNUMBER,
            ZSTD_findFrameCompressedSize(wire.baseAddress, wire.count) == wire.count,
            ZSTD_getFrameContentSize(wire.baseAddress, wire.count) == UInt64(output.count)
        else { return false }
        if context == nil { context = ZSTD_createDCtx() }
        guard let context else { return false }
        return ZSTD_decompressDCtx(context, output.baseAddress, output.count, wire.baseAddress, wire.count)
            == output.count
    }
}
