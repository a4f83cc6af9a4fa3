package import Model

/// Stands where a superblock of a device that has grown is looked for, while its metadata still lie before the former end: says where
/// that was. A crash before they are moved finds them by it; a superblock takes its place when they are.
///
///       0  magic "HABLKMOV", version u16, zero 6
///      16  instance u64
///      24  own offset u64
///      32  former end u64
package struct MovedMark: Equatable, Sendable {
    package static let version: UInt16 = 1
    static let magic = MetadataBlock.magic("HABLKMOV")

    package var instance: InstanceID
    /// Of the device, in whole blocks.
    package var formerEnd: UInt64

    package init(instance: InstanceID, formerEnd: UInt64) {
        self.instance = instance
        self.formerEnd = formerEnd
    }

    /// Into exactly 4 KiB, for the block at `offset`.
    package func encode(offset: UInt64, into output: UnsafeMutableRawBufferPointer) {
        var writer = MetadataBlock.begin(output, magic: Self.magic, version: Self.version)
        writer.zeroes(6)
        writer.identity(instance)
        writer.u64(offset)
        writer.u64(formerEnd)
        MetadataBlock.seal(&writer)
    }

    /// - Parameter offset: where the block was found.
    package init(_ bytes: UnsafeRawBufferPointer, offset: UInt64) throws(BlockFault) {
        var reader = try MetadataBlock.open(bytes, magic: Self.magic, version: Self.version)
        do throws(FieldError) {
            try reader.skip(6)
            instance = try reader.identity(InstanceID.self)
            let place = try reader.u64()
            formerEnd = try reader.u64()
            guard place == offset, formerEnd <= offset, formerEnd % DiskLayout.blockSize == 0, !instance.isNone else {
                throw .value(.copy)
            }
        } catch {
            throw error == .value(.copy) ? .wrongPlace : BlockFault(error)
        }
    }
}
