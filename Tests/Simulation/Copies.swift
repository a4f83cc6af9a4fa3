/// What a read of each disk would give now, and, kept up with each change, the blocks in which they differ:
/// comparing the copies after every event costs only what differs.
final class Copies {
    let sectors: Int
    /// All sectors of the first, then all of the second, and so on.
    private let cells: UnsafeMutablePointer<UInt64>
    private var differingSectors: [UInt8]
    private(set) var differing: BlockSet
    /// Blocks in which a difference was planted: whoever looks for differences that nobody knows of leaves them out.
    private(set) var planted: Set<Int> = []

    /// By copy, what its line of writes holds or held (`rememberAll`): a value names its write and its sector.
    private(set) var known: [Set<UInt64>] = []

    /// What lies behind is no part of the volume: in it copies differ without being told of.
    private var end: Int
    private let count: Int

    init(sectors: Int, count: Int = 2) {
        self.sectors = sectors
        end = sectors / 8
        self.count = count
        cells = .allocate(capacity: sectors * count)
        cells.initialize(repeating: 0, count: sectors * count)
        differingSectors = Array(repeating: 0, count: sectors / 8)
        differing = BlockSet(capacity: sectors / 8)
    }

    deinit { cells.deallocate() }

    subscript(side: Int, sector: Int) -> UInt64 {
        precondition(sector >= 0 && sector < sectors, "no such sector")
        return cells[side * sectors + sector]
    }

    private func areEqual(_ sector: Int) -> Bool {
        for side in 1..<count where cells[side * sectors + sector] != cells[sector] { return false }
        return true
    }

    func values(_ side: Int, _ range: Range<Int>) -> ArraySlice<UInt64> {
        precondition(range.lowerBound >= 0 && range.upperBound <= sectors, "no such sectors")
        return Array(UnsafeBufferPointer(start: cells + side * sectors + range.lowerBound, count: range.count))[...]
    }

    /// Whether it counts that the copies are the same there.
    func counts(_ block: Int) -> Bool { isInside(block) && !planted.contains(block) }

    /// Of the volume.
    func isInside(_ block: Int) -> Bool { block < end }

    /// Before the first value is set.
    func begin(with blocks: Int) { end = blocks }

    /// The volume has so many blocks: from now on it counts where the copies differ.
    func extend(to blocks: Int) {
        let former = end
        end = max(end, blocks)
        for sector in former * 8..<end * 8 where !areEqual(sector) {
            differingSectors[sector / 8] += 1
            if differingSectors[sector / 8] == 1 { differing.insert(sector / 8) }
        }
    }

    /// Whether a copy ever had a value is asked for. Before the first value is set.
    func rememberAll() { known = Array(repeating: [], count: count) }

    /// A copy goes on with another's line: with what that holds now, it holds what led there.
    func takeLine(_ side: Int, of source: Int) {
        guard !known.isEmpty else { return }
        known[side] = known[source].union(values(side, 0..<sectors))
    }

    /// Before the first difference there.
    func plant(_ block: Int) { planted.insert(block) }

    /// Whether two copies differ in a block, planted or not.
    func differ(_ one: Int, _ other: Int, _ block: Int) -> Bool {
        (block * 8..<block * 8 + 8).contains { self[one, $0] != self[other, $0] }
    }

    func set(_ side: Int, _ sector: Int, to value: UInt64) {
        guard self[side, sector] != value else { return }
        let wereEqual = areEqual(sector)
        cells[side * sectors + sector] = value
        if !known.isEmpty { known[side].insert(value) }
        let block = sector / 8
        guard block < end, planted.isEmpty || !planted.contains(block) else { return }
        guard wereEqual != areEqual(sector) else { return }
        if wereEqual {
            differingSectors[block] += 1
            if differingSectors[block] == 1 { differing.insert(block) }
        } else {
            differingSectors[block] -= 1
            if differingSectors[block] == 0 { differing.remove(block) }
        }
    }
}

/// A set of block numbers with quick insertion, removal and walking in a fixed order (a `Set`'s differs from run to run).
struct BlockSet {
    private(set) var members: [Int32] = []
    private var places: [Int32]

    init(capacity: Int) { places = Array(repeating: -1, count: capacity) }

    var count: Int { members.count }
    func contains(_ block: Int) -> Bool { places[block] >= 0 }

    mutating func insert(_ block: Int) {
        guard places[block] < 0 else { return }
        places[block] = Int32(members.count)
        members.append(Int32(block))
    }

    mutating func remove(_ block: Int) {
        let place = places[block]
        guard place >= 0 else { return }
        let last = members.removeLast()
        if Int(last) != block {
            members[Int(place)] = last
            places[Int(last)] = place
        }
        places[block] = -1
    }

    mutating func removeAll() {
        for block in members { places[Int(block)] = -1 }
        members.removeAll(keepingCapacity: true)
    }
}
