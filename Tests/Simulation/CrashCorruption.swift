import Formats
import Model

/// What each block of a metadata area held before what it holds now.
struct EarlierBlocks {
    private var images: [[UInt8]] = [[], []]
    private var revisions = [-1, -1]
    private(set) var blocks: [[Int: [UInt8]]] = [[:], [:]]

    /// To be called often enough to see each version.
    mutating func note(_ node: SimulatedNode) {
        let side = node.side
        guard node.disk.metadataRevision != revisions[side] else { return }
        revisions[side] = node.disk.metadataRevision
        let now = node.disk.metadata
        let before = images[side]
        images[side] = now
        for offset in stride(from: 0, to: before.count, by: MetadataBytes.block) {
            let range = offset..<offset + MetadataBytes.block
            if before[range] != now[range] { blocks[side][offset] = Array(before[range]) }
        }
    }
}

/// Corrupts each block of a copy's metadata in turn, at rest: every 512-byte sector with a bit flipped, zeroed, as it was
/// before, and as another block has it; and the whole block likewise. The production loader must give what is as
/// cautious as before, and say what is wrong, or refuse by name.
///
/// Beyond what checksums can tell: a bitmap page that is wholly its own older version (a disk that answered a write and
/// never did it). It is left out here; a superblock and a log transaction each have a second copy that shows it.
struct CrashCorruption {
    private let layout: DiskLayout
    private let image: [UInt8]
    private let before: ReadMetadata
    private let earlier: [Int: [UInt8]]
    private let foreign: [UInt8]
    private let hasSecondSuperblock: Bool
    private var random: SplitMix

    private struct Damage {
        var name: String
        var bytes: [UInt8]
    }

    /// Nil: the copy is not at rest.
    init?(_ scripted: CrashRun, side: Int, _ earlier: EarlierBlocks, hasSecondSuperblock: Bool) {
        self.hasSecondSuperblock = hasSecondSuperblock
        let cluster = scripted.cluster
        layout = cluster.layout
        image = cluster.nodes[side].disk.metadata
        foreign = cluster.nodes[1 - side].disk.metadata
        self.earlier = earlier.blocks[side]
        random = SplitMix(seed: cluster.options.seed, subject: "corruption")
        guard case .success(let read) = MetadataBytes.read(image, layout), read.found.repair == nil else { return nil }
        before = read
    }

    /// - Returns: how many corruptions were tried.
    func run(_ find: (CrashFinding) -> Void) -> Int {
        var corruption = self
        return corruption.corruptEach(find)
    }

    private mutating func corruptEach(_ find: (CrashFinding) -> Void) -> Int {
        var count = 0
        for offset in stride(from: 0, to: image.count, by: MetadataBytes.block) {
            let kind = kind(of: offset)
            guard let kind, block(image, offset).contains(where: { $0 != 0 }) else { continue }
            for damage in damages(to: offset) {
                count += 1
                var bytes = image
                bytes.replaceSubrange(offset..<offset + MetadataBytes.block, with: damage.bytes)
                if let text = judge(
                    read(bytes), kind, isWholeOlder: damage.bytes == earlier[offset])
                {
                    find(CrashFinding(rule: "corruption", text: "\(kind) at \(offset), \(damage.name): \(text)"))
                    return count
                }
            }
        }
        return count + corruptBoth(find)
    }

    private func read(_ bytes: [UInt8]) -> Result<ReadMetadata, MetadataError> {
        guard !hasSecondSuperblock else { return MetadataBytes.read(bytes, layout) }
        var bytes = bytes
        let place = Int(layout.superblockOffset(copy: 1))
        bytes.replaceSubrange(
            place..<place + MetadataBytes.block, with: repeatElement(0, count: MetadataBytes.block))
        return MetadataBytes.read(bytes, layout)
    }

    private enum Kind { case superblock(Int), log, page }

    private func kind(of offset: Int) -> Kind? {
        let place = UInt64(offset)
        if place == layout.superblockOffset(copy: 0) { return .superblock(0) }
        if place == layout.superblockOffset(copy: 1) { return .superblock(1) }
        if place >= layout.logOffset, place < layout.logOffset + layout.logLength { return .log }
        if place >= layout.bitmapOffset, place < layout.bitmapOffset + layout.bitmapLength { return .page }
        return nil
    }

    private func block(_ bytes: [UInt8], _ offset: Int) -> ArraySlice<UInt8> {
        bytes[offset..<offset + MetadataBytes.block]
    }

    // MARK: Damages

    private mutating func damages(to offset: Int) -> [Damage] {
        let good = Array(block(image, offset))
        var damages: [Damage] = []
        // Another block of this copy, and the other copy's block of the same place.
        let neighbour = stride(from: 0, to: image.count, by: MetadataBytes.block)
            .filter { $0 != offset && block(image, $0).contains { $0 != 0 } }
        var sources: [(String, [UInt8])] = [("zero", Array(repeating: 0, count: good.count))]
        if let older = earlier[offset] { sources.append(("as it was before", older)) }
        if !neighbour.isEmpty {
            sources.append(("another block's", Array(block(image, random.pick(neighbour)))))
        }
        sources.append(("the other copy's", Array(block(foreign, offset))))
        sources.append(("nonsense", (0..<good.count).map { _ in UInt8(truncatingIfNeeded: random.next()) }))
        for (name, source) in sources {
            damages.append(Damage(name: "the whole block \(name)", bytes: source))
            for sector in 0..<8 {
                var bytes = good
                bytes.replaceSubrange(
                    sector * 512..<sector * 512 + 512, with: source[sector * 512..<sector * 512 + 512])
                damages.append(Damage(name: "sector \(sector) \(name)", bytes: bytes))
            }
        }
        for sector in 0..<8 {
            var bytes = good
            bytes[sector * 512 + random.below(512)] ^= 1 << UInt8(random.below(8))
            damages.append(Damage(name: "a bit of sector \(sector) flipped", bytes: bytes))
        }
        return damages.filter { $0.bytes != good }
    }

    // MARK: Judgement

    private func judge(_ result: Result<ReadMetadata, MetadataError>, _ kind: Kind, isWholeOlder: Bool) -> String? {
        let read: ReadMetadata
        switch result {
        case .success(let opened): read = opened
        // A whole superblock of another copy verifies: which of the two is meant, only people know.
        case .failure(.twoInstances): return nil
        case .failure(let error): return "it does not open though one block only is bad: \(error)"
        }
        guard read.found.superblock == before.found.superblock else { return "another state was taken for the newest" }
        switch kind {
        case .superblock(let copy):
            if read.found.repair != copy { return "copy \(copy) was not named" }
        case .log:
            if read.log.damaged { return nil }
            if read.log.spoiled == 0 { return "nobody noticed" }
            let lost = Set(before.log.table.compactMap { $0 }).subtracting(read.log.table.compactMap { $0 })
            if !lost.isEmpty, !before.log.damaged { return "extents \(lost.sorted()) left the log and nobody noticed" }
            if read.log.lastNumber < before.log.lastNumber { return "the newest transaction is lost" }
        case .page:
            if isWholeOlder { return nil }
            if read.damagedPages == 0 { return "nobody noticed" }
            for (node, words) in before.bitmaps {
                let found = read.bitmaps.first { $0.node == node }?.words ?? []
                if found.count != words.count || zip(words, found).contains(where: { $0 & ~$1 != 0 }) {
                    return "marks are lost"
                }
            }
        }
        return nil
    }

    /// Both superblocks, each with a few kinds of damage: refused, and both are named.
    private mutating func corruptBoth(_ find: (CrashFinding) -> Void) -> Int {
        let places = (0...1).map { Int(layout.superblockOffset(copy: $0)) }
        let kinds = places.map { place in
            damages(to: place).filter { $0.bytes != earlier[place] && !$0.name.contains("whole") }
        }
        var count = 0
        for index in kinds[0].indices where !kinds[1].isEmpty {
            var bytes = image
            let pair = [kinds[0][index], kinds[1][(index * 7 + 3) % kinds[1].count]]
            for (place, damage) in zip(places, pair) {
                bytes.replaceSubrange(place..<place + MetadataBytes.block, with: damage.bytes)
            }
            count += 1
            guard case .failure(.damaged) = read(bytes) else {
                find(
                    CrashFinding(
                        rule: "corruption",
                        text: "both superblocks bad (\(pair[0].name), \(pair[1].name)) and not refused as damaged"))
                return count
            }
        }
        return count
    }
}
