package import Model

/// What a page of a bitmap turned out to be.
package enum BitmapPageState: Equatable, Sendable {
    case valid(sequence: UInt64)
    /// Not to be believed: all its blocks count as dirty.
    case damaged(BlockFault)
}

/// A page of a dirty bitmap: 31 extents, 31,744 blocks. `create` writes every page: one of zeroes is no clean one.
///
///       0  magic "HABLKBMP", version u16, node u8, zero u8
///      12  page u32
///      16  instance u64
///      24  sequence u64
///      32  zero
///     124  checksum u32: CRC32C of the whole block with this field zero
///     128  496 words u64, bit per block, least significant first
package enum BitmapPage {
    package static let version: UInt16 = 1
    package static let blockLength = 4096
    package static let headerLength = 128
    package static let words = BitmapWords.perPage
    package static let blocksPerPage = UInt64(words * 64)
    static let magic = MetadataBlock.magic("HABLKBMP")
    private static let checksumOffset = 124

    /// Writes a page into exactly 4 KiB. Words that `words` lacks are clean.
    package static func encode(
        _ words: ArraySlice<UInt64>, instance: InstanceID, node: NodeID, page: UInt32, sequence: UInt64,
        into output: UnsafeMutableRawBufferPointer
    ) {
        precondition(words.count <= self.words, "a bitmap page has 496 words")
        var writer = MetadataBlock.begin(output, magic: magic, version: version)
        writer.node(node)
        writer.zeroes(1)
        writer.u32(page)
        writer.identity(instance)
        writer.u64(sequence)
        writer.pad(to: blockLength)
        for (index, word) in words.enumerated() { output.storeLittleEndian(word, at: headerLength + index * 8) }
        output.storeLittleEndian(checksum(UnsafeRawBufferPointer(output)), at: checksumOffset)
    }

    /// Judges a page found where page `page` of the bitmap toward `node` lies. Its words are
    /// `bytes[headerLength...]` when it is valid.
    package static func judge(
        _ bytes: UnsafeRawBufferPointer, instance: InstanceID, node: NodeID, page: UInt32
    ) -> BitmapPageState {
        guard bytes.count == blockLength else { return .damaged(.truncated) }
        guard bytes.littleEndian(at: 0, as: UInt64.self) == magic else {
            return .damaged(isAllZero(bytes) ? .zero : .foreign)
        }
        guard bytes.littleEndian(at: checksumOffset, as: UInt32.self) == checksum(bytes) else {
            return .damaged(.checksum)
        }
        let version = bytes.littleEndian(at: 8, as: UInt16.self)
        guard version == self.version else { return .damaged(.version(version)) }
        let writer = InstanceID(rawValue: bytes.littleEndian(at: 16, as: UInt64.self))
        guard writer == instance else { return .damaged(.otherInstance(writer)) }
        guard bytes[10] == node.rawValue, bytes.littleEndian(at: 12, as: UInt32.self) == page else {
            return .damaged(.wrongPlace)
        }
        return .valid(sequence: bytes.littleEndian(at: 24, as: UInt64.self))
    }

    private static func checksum(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
        var checksum = CRC32C()
        checksum.update(UnsafeRawBufferPointer(rebasing: bytes[..<checksumOffset]))
        withUnsafeBytes(of: UInt32(0)) { checksum.update($0) }
        checksum.update(UnsafeRawBufferPointer(rebasing: bytes[headerLength...]))
        return checksum.value
    }
}

/// Collects a bitmap from its pages as they are read, in any order and in pieces of any number of pages.
package struct BitmapLoader {
    private let instance: InstanceID
    private let node: NodeID
    private let blocks: UInt64
    /// 496 words for each page, also the last. Pages that were not taken are clean.
    package private(set) var words: BitmapWords
    /// Pages that count as dirty whole, because they do not verify.
    package private(set) var damagedPages: [UInt32] = []

    /// - Parameter blocks: 4 KiB blocks of the volume; bits beyond are never set.
    package init(instance: InstanceID, node: NodeID, blocks: UInt64) {
        self.instance = instance
        self.node = node
        self.blocks = blocks
        let pages = (blocks + BitmapPage.blocksPerPage - 1) / BitmapPage.blocksPerPage
        words = BitmapWords(count: Int(pages) * BitmapPage.words)
    }

    package var pages: UInt32 { UInt32(words.count / BitmapPage.words) }

    /// Takes whole pages as they lie on disk, beginning with page `first`; what lies beyond the bitmap is ignored.
    package mutating func take(_ bytes: UnsafeRawBufferPointer, first: UInt32) {
        var page = first
        var offset = 0
        while page < pages, offset + BitmapPage.blockLength <= bytes.count {
            takePage(
                UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + BitmapPage.blockLength]), page)
            page += 1
            offset += BitmapPage.blockLength
        }
    }

    /// A page that could not be read at all.
    package mutating func takeUnreadable(page: UInt32) {
        guard page < pages else { return }
        fill(page)
    }

    private mutating func takePage(_ bytes: UnsafeRawBufferPointer, _ page: UInt32) {
        switch BitmapPage.judge(bytes, instance: instance, node: node, page: page) {
        case .damaged: fill(page)
        case .valid:
            let start = Int(page) * BitmapPage.words
            for index in 0..<BitmapPage.words {
                words[start + index] = bytes.littleEndian(at: BitmapPage.headerLength + index * 8, as: UInt64.self)
            }
            clearBeyondEnd(page)
        }
    }

    private mutating func fill(_ page: UInt32) {
        damagedPages.append(page)
        let start = Int(page) * BitmapPage.words
        for index in start..<start + BitmapPage.words { words[index] = .max }
        clearBeyondEnd(page)
    }

    private mutating func clearBeyondEnd(_ page: UInt32) {
        guard page == pages - 1 else { return }
        let whole = Int(blocks / 64)
        for index in whole..<words.count {
            words[index] = index == whole ? words[index] & ((1 << (blocks % 64)) - 1) : 0
        }
    }
}
