import ArgumentParser
import Daemon
import Model

/// The part of a volume in use that a drill's client may write to, by the administrator's word: `OFFSET+LENGTH`. What is
/// there must be zeroes, or what an earlier drill left; afterwards it is zeroes.
struct DrillArea: ExpressibleByArgument {
    /// In blocks of `DemoWriter.blockSize`.
    let blocks: Range<UInt64>

    /// Bytes.
    static let longest: UInt64 = 64 << 20
    private static let shortest: UInt64 = 1 << 20
    /// Blocks that are read or zeroed at once.
    private static let stride: UInt64 = 16

    init?(argument: String) {
        let parts = argument.split(separator: "+", omittingEmptySubsequences: false)
        guard parts.count == 2, let offset = ConfigurationScalar.size(String(parts[0])),
            let length = ConfigurationScalar.size(String(parts[1])), Self.shortest...Self.longest ~= length,
            offset % DemoWriter.blockSize == 0, length % DemoWriter.blockSize == 0, offset <= UInt64.max / 2
        else { return nil }
        blocks = offset / DemoWriter.blockSize..<(offset + length) / DemoWriter.blockSize
    }

    var words: String {
        let from = blocks.lowerBound * DemoWriter.blockSize
        return "bytes \(from) to \(blocks.upperBound * DemoWriter.blockSize - 1)"
    }

    /// - Throws: where there is anybody's data.
    func check(_ client: DemoClient) throws(CommandFailure) {
        guard blocks.upperBound * DemoWriter.blockSize <= client.size else {
            throw .refused(
                "out-of-range", "the volume ends before \(words)", remedy: "it has \(client.size) bytes")
        }
        let size = Int(DemoWriter.blockSize)
        for first in Swift.stride(from: blocks.lowerBound, to: blocks.upperBound, by: Int(Self.stride)) {
            let count = min(Self.stride, blocks.upperBound - first)
            let bytes: [UInt8]
            do throws(DemoClientError) {
                bytes = try client.read(
                    offset: first * DemoWriter.blockSize, length: UInt32(count * DemoWriter.blockSize))
            } catch {
                throw .failed("not-read", "\(words): \(error.message)", remedy: "try again")
            }
            for index in 0..<Int(count) {
                let block = first + UInt64(index)
                guard isOurs(bytes[index * size..<(index + 1) * size], block) else {
                    throw .refused(
                        "not-empty", "block \(block) of 4 KiB, in \(words), holds somebody's data",
                        remedy: "name an area that nobody uses and that is zeroes, or a volume for tests")
                }
            }
        }
    }

    private func isOurs(_ bytes: ArraySlice<UInt8>, _ block: UInt64) -> Bool {
        guard bytes.contains(where: { $0 != 0 }) else { return true }
        let start = bytes.startIndex
        return bytes.elementsEqual(
            DemoWriter.content(block, DemoClient.number(bytes[start + 8..<start + 16])))
    }

    func clear(_ client: DemoClient) throws(DemoClientError) {
        for first in Swift.stride(from: blocks.lowerBound, to: blocks.upperBound, by: Int(Self.stride)) {
            let count = min(Self.stride, blocks.upperBound - first)
            try client.write(
                offset: first * DemoWriter.blockSize, [UInt8](repeating: 0, count: Int(count * DemoWriter.blockSize)))
        }
        try client.flush()
    }
}
