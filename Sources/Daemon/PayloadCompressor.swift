import CLZ4
import CZstandard
package import Formats
package import LinuxIO
package import Model

/// Makes payloads shorter on their way to one peer. All its memory is taken at the beginning and bounded: what is on its
/// way in the stream lies in buffers of its own, and when all of them are, what follows waits as it is.
///
/// One block or frame for each payload, without a memory of those before: each can be read by itself, and a frame that
/// waited or was sent again is the same.
package final class PayloadCompressor {
    package enum Outcome: Equatable {
        /// Lies in that buffer of `pool`, with one reference.
        case shorter(buffer: Int32, CarriedPayload)
        /// It would save less than an eighth.
        case notWorthIt
        /// All buffers are on their way.
        case busy
    }

    /// Of Zstandard. Of database pages level 3 saves at most two points of a hundred more, for 1.3 to 3.4 times the processor
    /// time, on the thread that also serves clients.
    package static let zstandardLevel: Int32 = 1

    /// 6.25 MiB of address space, of which only what was used is resident.
    private static let buffers = [
        BufferPool.SizeClass(bytes: 4 << 10, count: 256), BufferPool.SizeClass(bytes: 56 << 10, count: 32),
        BufferPool.SizeClass(bytes: 896 << 10, count: 4),
    ]

    package let compression: Compression
    package let pool: BufferPool
    /// LZ4's state, or nil.
    private let state: UnsafeMutableRawPointer?
    /// Zstandard's context, or nil.
    private let context: OpaquePointer?

    /// Nil when there is no memory for it.
    package init?(_ compression: Compression) {
        self.compression = compression
        pool = BufferPool(classes: Self.buffers)
        state = compression == .lz4 ? .allocate(byteCount: Int(LZ4_sizeofState()), alignment: 8) : nil
        context = compression == .zstd ? ZSTD_createCCtx() : nil
        if compression == .off || (compression == .zstd && context == nil) { return nil }
    }

    deinit {
        state?.deallocate()
        ZSTD_freeCCtx(context)
    }

    /// - Parameter payload: whole blocks, at most `Geometry.maximumPayload`.
    package func compress(_ payload: UnsafeRawBufferPointer) -> Outcome {
        // No compressor is given more room than that: it gives up as soon as it sees that it needs it.
        let room = payload.count - payload.count / 8
        guard let buffer = pool.take(bytes: room) else { return .busy }
        let length = compress(payload, into: pool.pointer(buffer), room: room)
        guard length > 0 else {
            pool.release(buffer)
            return .notWorthIt
        }
        return .shorter(buffer: buffer, state == nil ? .zstandard(length) : .lz4(length))
    }

    /// Bytes of the result; 0: there was no room for it.
    private func compress(
        _ payload: UnsafeRawBufferPointer, into output: UnsafeMutableRawPointer, room: Int
    ) -> Int {
        if let state {
            return Int(
                LZ4_compress_fast_extState(
                    state, payload.baseAddress, output, Int32(payload.count), Int32(room), 1))
        }
        let length = ZSTD_compressCCtx(
            context, output, room, payload.baseAddress, payload.count, Self.zstandardLevel)
        return ZSTD_isError(length) != 0 ? 0 : length
    }
}
