import Formats
import Model
package import ReplicationCore

/// What a metadata write writes is decided too, but stands in no effect: its checksum does.
extension Replica {
    package mutating func imageChecksum(of effect: Effect) -> UInt32 {
        switch effect {
        case .writeSuperblock, .growDisk: checksum(superblockImage)
        case .writeLog: checksum(logImage)
        case .writeBitmapPage(let node, let page):
            withBitmapPage(node, page: page) { words in words.withUnsafeBytes(CRC32C.checksum) }
        default: 0
        }
    }

    private func checksum(_ superblock: Superblock) -> UInt32 {
        withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 16) { bytes in
            var writer = FieldWriter(bytes)
            writer.identity(superblock.instance)
            writer.u64(superblock.sequence)
            writer.write(superblock)
            return CRC32C.checksum(writer.written)
        }
    }

    private func checksum(_ transaction: LogTransaction) -> UInt32 {
        withUnsafeTemporaryAllocation(byteCount: LogCoding.blockLength, alignment: 16) { bytes in
            LogCoding.encode(transaction, into: bytes)
            return CRC32C.checksum(UnsafeRawBufferPointer(bytes))
        }
    }
}
