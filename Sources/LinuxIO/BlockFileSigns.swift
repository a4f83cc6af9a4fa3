/// What a disk shows of earlier use, before it is taken for a new copy.
extension BlockFile {
    private struct Magic {
        let offset: Int
        let bytes: [UInt8]
        let name: String
    }

    private static let atTheStart = [
        Magic(offset: 0, bytes: Array("XFSB".utf8), name: "an XFS file system"),
        Magic(offset: 0, bytes: Array("LUKS".utf8) + [0xBA, 0xBE], name: "a LUKS volume"),
        Magic(offset: 512, bytes: Array("LABELONE".utf8), name: "an LVM physical volume"),
        Magic(offset: 512, bytes: Array("EFI PART".utf8), name: "a GPT partition table"),
        Magic(offset: 1080, bytes: [0x53, 0xEF], name: "an ext2, ext3 or ext4 file system"),
        Magic(offset: 4086, bytes: Array("SWAPSPACE2".utf8), name: "a swap area"),
        Magic(offset: 4096, bytes: [0xFC, 0x4E, 0x2B, 0xA9], name: "a member of a Linux RAID"),
        Magic(offset: 0, bytes: [0xFC, 0x4E, 0x2B, 0xA9], name: "a member of a Linux RAID"),
        Magic(offset: 0x10040, bytes: Array("_BHRfS_M".utf8), name: "a btrfs file system"),
        Magic(offset: 510, bytes: [0x55, 0xAA], name: "a partition table or boot sector"),
    ]

    /// Counted back from the end.
    private static let atTheEnd = [
        Magic(offset: 512, bytes: Array("EFI PART".utf8), name: "the second copy of a GPT partition table"),
        Magic(offset: 4096, bytes: Array("EFI PART".utf8), name: "the second copy of a GPT partition table"),
        Magic(offset: 8192, bytes: [0xFC, 0x4E, 0x2B, 0xA9], name: "a member of a Linux RAID"),
        Magic(offset: 65536, bytes: [0xFC, 0x4E, 0x2B, 0xA9], name: "a member of a Linux RAID"),
    ]

    /// Whether somebody's data seem to be here.
    package func looksUsed() throws(BlockFileError) -> Bool { try signOfUse() != nil }

    /// What is here, as it reads after "it bears": a known magic, or bytes in the first MiB; nil when it looks blank.
    package func signOfUse() throws(BlockFileError) -> String? {
        let whole = size / UInt64(logicalBlockSize) * UInt64(logicalBlockSize)
        let memory = PageMemory(count: 1 << 20)
        let count = Int(min(1 << 20, whole))
        guard count > 0 else { return nil }
        let start = UnsafeMutableRawBufferPointer(rebasing: memory.bytes[..<count])
        try read(start, at: 0)
        for magic in Self.atTheStart where Self.bears(start, magic.bytes, at: magic.offset) { return magic.name }
        if start.contains(where: { $0 != 0 }) { return "bytes other than zero at its beginning" }
        let tail = min(128 << 10, count)
        let end = UnsafeMutableRawBufferPointer(rebasing: memory.bytes[..<tail])
        try read(end, at: whole - UInt64(tail))
        for magic in Self.atTheEnd where Self.bears(end, magic.bytes, at: tail - magic.offset) { return magic.name }
        return nil
    }

    private static func bears(_ bytes: UnsafeMutableRawBufferPointer, _ magic: [UInt8], at offset: Int) -> Bool {
        guard offset >= 0, offset + magic.count <= bytes.count else { return false }
        return bytes[offset..<offset + magic.count].elementsEqual(magic)
    }
}
