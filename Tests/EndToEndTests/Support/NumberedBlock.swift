/// A 4 KiB block that says which write made it, in each of its eight sectors, so that a stale or torn one shows.
enum NumberedBlock {
    static let bytes = 4096
    private static let sectors = 8
    private static let wordsPerSector = 64

    /// Write number zero is a block of zeroes.
    static func content(write: UInt64, block: Int) -> [UInt8] {
        guard write > 0 else { return [UInt8](repeating: 0, count: bytes) }
        let words = (0..<sectors * wordsPerSector).map { word(write, block, $0) }
        return words.withUnsafeBytes { Array($0) }
    }

    /// The number of the write that made each sector; nil for a sector that no write made.
    static func writes(of content: [UInt8], block: Int) -> [UInt64?] {
        content.withUnsafeBytes { raw in
            (0..<sectors).map { sector in
                let first = sector * wordsPerSector
                let write = raw.loadUnaligned(fromByteOffset: first * 8, as: UInt64.self)
                let isWhole = (first..<first + wordsPerSector).allSatisfy {
                    raw.loadUnaligned(fromByteOffset: $0 * 8, as: UInt64.self)
                        == (write > 0 ? word(write, block, $0) : 0)
                }
                return isWhole ? write : nil
            }
        }
    }

    private static func word(_ write: UInt64, _ block: Int, _ index: Int) -> UInt64 {
        if index % wordsPerSector == 0 { return write }
        return (write ^ UInt64(block) << 40) &* 0x9e37_79b9_7f4a_7c15 &+ UInt64(index)
    }
}

/// What one block may hold: its last acknowledged write, or a later one whose acknowledgement never came.
struct BlockHistory {
    private(set) var acknowledged: UInt64 = 0
    private(set) var possible: [UInt64] = []
    /// The last write that a flush covers, and all that were sent since.
    private var flushed: UInt64 = 0
    private var sinceFlush: [UInt64] = []

    mutating func acknowledge(_ write: UInt64) {
        acknowledged = write
        possible = []
    }

    /// It was sent, and no answer has come.
    mutating func leaveOpen(_ write: UInt64) {
        possible.append(write)
        sinceFlush.append(write)
    }

    /// A flush, or FUA, covers that write and all before it.
    mutating func flush(upTo write: UInt64) {
        guard write > flushed else { return }
        flushed = write
        sinceFlush.removeAll { $0 <= write }
    }

    /// What the block may hold after every copy lost its power: in each sector what was flushed, or anything later.
    var afterPowerLoss: BlockHistory {
        var left = self
        (left.acknowledged, left.possible) = (flushed, sinceFlush)
        return left
    }

    /// Nil when `content` is right; otherwise what is wrong. A right answer settles which write it was.
    mutating func judge(_ content: [UInt8], block: Int) -> String? {
        let found = NumberedBlock.writes(of: content, block: block)
        for write in found where write.map({ $0 != acknowledged && !possible.contains($0) }) ?? true {
            let text = write.map { "write \($0)" } ?? "no write's content"
            return "block \(block) holds \(text); acknowledged \(acknowledged), open \(possible)"
        }
        if let whole = found[0], found.allSatisfy({ $0 == whole }) { acknowledge(whole) }
        return nil
    }
}

/// A small generator with a seed, so that a load can be repeated.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
        return mixed ^ mixed >> 31
    }
}
