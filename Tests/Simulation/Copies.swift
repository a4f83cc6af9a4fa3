/// What a read of each of the two disks would give now, and, kept up with each change, the blocks in which they differ:
/// comparing the copies after every event costs only what differs.
final class Copies {
    let sectors: Int
    /// All sectors of the first, then all of the second.
    private let cells: UnsafeMutablePointer<UInt64>
    private var differingSectors: [UInt8]
    private(set) var differing: BlockSet

    init(sectors: Int) {
        self.sectors = sectors
        cells = .allocate(capacity: sectors * 2)
        cells.initialize(repeating: 0, count: sectors * 2)
        differingSectors = Array(repeating: 0, count: sectors / 8)
        differing = BlockSet(capacity: sectors / 8)
    }

    deinit { cells.deallocate() }

    subscript(side: Int, sector: Int) -> UInt64 {
        precondition(sector >= 0 && sector < sectors, "no such sector")
        return cells[side * sectors + sector]
    }

    func values(_ side: Int, _ range: Range<Int>) -> ArraySlice<UInt64> {
        precondition(range.lowerBound >= 0 && range.upperBound <= sectors, "no such sectors")
        return Array(UnsafeBufferPointer(start: cells + side * sectors + range.lowerBound, count: range.count))[...]
    }

    func set(_ side: Int, _ sector: Int, to value: UInt64) {
        let other = self[1 - side, sector]
        let before = self[side, sector]
        guard before != value else { return }
        cells[side * sectors + sector] = value
        guard before == other || value == other else { return }
        let block = sector / 8
        if before == other {
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
