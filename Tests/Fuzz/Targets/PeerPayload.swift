import Daemon
import Formats
import LinuxIO
import Model

/// What makes payloads shorter and longer, made once: no input is remembered by it.
enum FuzzedPayloads {
    nonisolated(unsafe) private static let expander = PayloadExpander()
    nonisolated(unsafe) private static let compressors = [Compression.lz4, .zstd].map { PayloadCompressor($0) }

    /// What a receiver makes of what follows a frame's body; nil: it is refused. The bytes of the wire are either those of
    /// the input, or what a real compressor made, some of it changed: then the header gets their length.
    static func receive(
        _ carried: CarriedPayload, of count: Int, _ header: inout [UInt8], _ input: inout InputBytes
    ) throws(BrokenProperty) -> [UInt8]? {
        let fill = input.u8()
        switch carried {
        case .plain: return [UInt8](repeating: fill, count: count)
        case .zeroes: return [UInt8](repeating: 0, count: count)
        case .sparse(let length):
            var wire = input.take(length)
            wire += [UInt8](repeating: 0, count: length - wire.count)
            let mask = (count / Int(Geometry.blockSize) + 7) / 8
            // Else hardly any would be one.
            if fill & 1 != 0 { spread((length - mask) / Int(Geometry.blockSize), over: mask, &wire, &input) }
            return try expanded(carried, wire, count)
        case .lz4(let length), .zstandard(let length):
            var wire = input.take(length)
            wire += [UInt8](repeating: 0, count: length - wire.count)
            if fill & 1 != 0 { wire = try compressed(wire, count, carried) ?? wire }
            if fill & 2 != 0 { wire[input.below(wire.count)] ^= 1 << UInt8(input.below(8)) }
            header.replaceSubrange(52..<56, with: littleEndian(UInt32(wire.count)))
            return try expanded(isBlock(carried) ? .lz4(wire.count) : .zstandard(wire.count), wire, count)
        }
    }

    /// A mask of so many blocks.
    private static func spread(_ blocks: Int, over mask: Int, _ wire: inout [UInt8], _ input: inout InputBytes) {
        for index in 0..<mask { wire[index] = 0 }
        for _ in 0..<blocks {
            let place = input.below(mask * 8)
            wire[place >> 3] |= 1 << UInt8(place & 7)
        }
    }

    /// `seed` over and over, compressed; nil: that saves nothing.
    private static func compressed(
        _ seed: [UInt8], _ count: Int, _ carried: CarriedPayload
    ) throws(BrokenProperty) -> [UInt8]? {
        guard let compressor = compressors[isBlock(carried) ? 0 : 1] else { return nil }
        let payload = (0..<count).map { seed[$0 % seed.count] &+ UInt8(truncatingIfNeeded: $0 / seed.count) }
        guard case .shorter(let buffer, let result) = payload.withUnsafeBytes({ compressor.compress($0) }) else {
            return nil
        }
        let wire = Array(
            UnsafeRawBufferPointer(start: compressor.pool.pointer(buffer), count: result.compressedLength))
        compressor.pool.release(buffer)
        try require(isBlock(result) == isBlock(carried), "the wrong compressor was at work")
        try require(try expanded(result, wire, count) == payload, "what is expanded is not what was compressed")
        return wire
    }

    private static func isBlock(_ carried: CarriedPayload) -> Bool {
        if case .lz4 = carried { true } else { false }
    }

    private static func expanded(
        _ carried: CarriedPayload, _ wire: [UInt8], _ count: Int
    ) throws(BrokenProperty) -> [UInt8]? {
        wire.withUnsafeBytes { expander.place.copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
        // Behind it nothing may be written, which is seen without AddressSanitizer too.
        var output = [UInt8](repeating: 0xa5, count: count + 64)
        let isExpanded = output.withUnsafeMutableBytes {
            expander.expand(carried, into: UnsafeMutableRawBufferPointer(rebasing: $0[..<count]))
        }
        try require(output[count...].allSatisfy { $0 == 0xa5 }, "a payload is expanded beyond its end")
        output.removeLast(64)
        return isExpanded ? output : nil
    }
}
