import Formats
import Model
import ReplicationCore

/// Input: a layout, then blocks of metadata: each made by the production encoder, then changed byte by byte, then sealed
/// anew or not, then put where it belongs or elsewhere. The whole image is read as a start of the daemon does.
///
/// Holds: nothing is believed whose checksum is wrong; what is believed is written back as it was; memory is bounded by
/// the device; the core begins with whatever was believed.
func fuzzMetadata(_ input: inout InputBytes) throws(BrokenProperty) {
    guard var image = MetadataImage(&input) else { return }
    while !input.isAtEnd { image.change(&input) }
    guard let found = image.findSuperblock() else { return }
    try requireSuperblock(found, image)
    let log = image.replayLog(found)
    try requireLog(log, image.ring(found.layout), found)
    var bitmaps: [(node: NodeID, words: BitmapWords)] = []
    for node in found.layout.peers { bitmaps.append((node, try loadBitmap(of: node, found, image).words)) }
    begin(LoadedMetadata(superblock: found.superblock, log: log, bitmaps: bitmaps, bootID: (7, 7)))
    // What a start writes anew is whole, and says the same.
    image.repair(found, log)
    let again = image.findSuperblock()
    try require(again?.superblock == found.superblock && again?.repair == nil, "a repair makes another superblock")
    let replayed = image.replayLog(found)
    try require(
        replayed.table == log.table && replayed.damaged == log.damaged && replayed.lastNumber == log.lastNumber
            && (replayed.mend == nil || log.mend == nil), "mending makes another log")
}

private func requireSuperblock(_ found: FoundSuperblock, _ image: MetadataImage) throws(BrokenProperty) {
    let bytes = image.block(found.layout.superblockOffset(copy: found.copy))
    try require(isSealed(bytes), "a superblock with a wrong checksum is believed")
    try require(found.repair != found.copy, "the superblock that is believed is repaired")
    var again = [UInt8](repeating: 0, count: SuperblockCoding.blockLength)
    again.withUnsafeMutableBytes {
        SuperblockCoding.encode(found.superblock, found.layout, copy: found.copy, into: $0)
    }
    let back = again.withUnsafeBytes {
        try? SuperblockCoding.decode(
            $0, copy: found.copy, placement: found.layout.placement, deviceSize: UInt64(image.bytes.count))
    }
    try require(
        back?.superblock == found.superblock && back?.layout == found.layout,
        "a superblock is read back otherwise")
}

private func requireLog(_ log: LogReplay, _ ring: [UInt8], _ found: FoundSuperblock) throws(BrokenProperty) {
    try require(log.table.count == Int(found.superblock.logExtents), "a table of another length")
    let named = log.table.compactMap { $0 }
    try require(Set(named).count == named.count, "an extent stands in the log twice")
    try require(named.allSatisfy { $0 < found.layout.dataExtents }, "an extent beyond the end")
    for start in stride(from: 0, to: ring.count, by: LogCoding.blockLength) {
        let block = Array(ring[start..<start + LogCoding.blockLength])
        let transaction = block.withUnsafeBytes { try? LogCoding.decode($0, instance: found.superblock.instance) }
        guard let transaction else { continue }
        try require(isSealed(block), "a log block with a wrong checksum is believed")
        var again = [UInt8](repeating: 0, count: LogCoding.blockLength)
        again.withUnsafeMutableBytes { LogCoding.encode(transaction, into: $0) }
        let back = again.withUnsafeBytes { try? LogCoding.decode($0, instance: found.superblock.instance) }
        try require(back == transaction, "a log block is read back otherwise")
    }
}

private func loadBitmap(
    of node: NodeID, _ found: FoundSuperblock, _ image: MetadataImage
) throws(BrokenProperty) -> BitmapLoader {
    let blocks = found.superblock.size / Geometry.blockSize
    var loader = BitmapLoader(instance: found.superblock.instance, node: node, blocks: blocks)
    var damaged: [UInt32] = []
    for page in 0..<loader.pages {
        guard let offset = found.layout.bitmapPageOffset(of: node, page: page) else {
            throw BrokenProperty("page \(page) of a bitmap lies nowhere")
        }
        let block = image.block(offset)
        block.withUnsafeBytes { loader.take($0, first: page) }
        if !isPageSealed(block) { damaged.append(page) }
    }
    try require(damaged.allSatisfy(loader.damagedPages.contains), "a page with a wrong checksum is believed")
    let whole = Int(blocks / 64)
    for index in whole..<max(whole, loader.words.count) {
        let allowed: UInt64 = index == whole ? (1 << (blocks % 64)) - 1 : 0
        try require(loader.words[index] & ~allowed == 0, "a bit beyond the end")
    }
    return loader
}

private func begin(_ metadata: LoadedMetadata) {
    let me = metadata.superblock.node
    let other = NodeID(unchecked: me.rawValue == 0 ? 1 : 0)
    var effects = EffectQueue(capacity: 64)
    var core = Replica(
        configuration: ReplicaConfiguration(
            volume: "r0", node: me, members: [.init(id: me, name: "alpha"), .init(id: other, name: "bravo")],
            limits: .small, timing: Timing(), resyncRate: nil),
        run: RunID(rawValue: 3), seed: 1, wallClock: 1_700_000_000, metadata: metadata,
        at: MonotonicTime(nanoseconds: 1), deciding: &effects)
    core.handle(.tick, at: MonotonicTime(nanoseconds: 2), deciding: &effects)
    _ = core.status(at: MonotonicTime(nanoseconds: 2))
}

extension Limits {
    static let small: Limits = {
        var limits = Limits()
        limits.clientOperations = 8
        limits.peerOperations = 16
        limits.unconfirmedEntries = 32
        limits.resyncFlushBytes = 1 << 20
        return limits
    }()
}
