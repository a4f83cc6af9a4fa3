import Formats
import Model

/// One node's disk at one moment, and all that a crash then could leave of it.
///
/// Law: data and metadata each survive sector by sector (512 bytes), independently. A sector that makes no difference
/// (the same bytes are there already, and nothing else of the moment goes there) is not varied.
struct CrashMoment {
    /// All sectors that are unstable.
    let sectors: [UnstableSector]
    /// Of those that make a difference: metadata, data.
    let metadata: [Int]
    let data: [Int]
    let image: [UInt8]

    init(_ disk: SimulatedDisk) {
        let unstable = disk.unstable
        sectors = unstable
        image = disk.metadata
        var places: [Int: Int] = [:]
        for sector in unstable { places[sector.key, default: 0] += 1 }
        let counts = places
        func matters(_ index: Int) -> Bool {
            let sector = unstable[index]
            if counts[sector.key, default: 0] > 1 { return true }
            switch sector.place {
            case .data(let number, let value): return disk.stable[number] != value
            case .metadata(let offset, let bytes): return !disk.metadata[offset..<offset + 512].elementsEqual(bytes)
            }
        }
        let effective = unstable.indices.filter(matters)
        metadata = effective.filter { unstable[$0].isMetadata }
        data = effective.filter { !unstable[$0].isMetadata }
    }

    /// The metadata area with these sectors on it.
    func metadata(keeping kept: [Int]) -> [UInt8] {
        var bytes = image
        for index in kept {
            guard case .metadata(let offset, let part) = sectors[index].place else { continue }
            bytes.replaceSubrange(offset..<offset + 512, with: part)
        }
        return bytes
    }

    /// Every subset when there are at most `limit`; else none, all, each alone, all but each, every write torn in its
    /// middle, and a seeded choice of others.
    func subsets(of indices: [Int], limit: Int, _ random: inout SplitMix) -> [[Int]] {
        if indices.count < 16, 1 << indices.count <= limit {
            return (0..<1 << indices.count).map { mask in
                indices.indices.filter { mask >> $0 & 1 == 1 }.map { indices[$0] }
            }
        }
        var subsets: [[Int]] = [[], indices]
        var special = indices.map { [$0] } + indices.map { left in indices.filter { $0 != left } }
        for write in Set(indices.map { sectors[$0].write }).sorted() {
            let parts = indices.filter { sectors[$0].write == write }
            special.append(indices.filter { sectors[$0].write < write } + parts.prefix(parts.count / 2))
            special.append(indices.filter { sectors[$0].write < write } + parts.suffix(parts.count / 2))
        }
        while subsets.count < limit / 2, !special.isEmpty {
            subsets.append(special.remove(at: random.below(special.count)))
        }
        while subsets.count < limit {
            let share = UInt64(random.within(1...99))
            subsets.append(indices.filter { _ in random.chance(share, in: 100) })
        }
        return subsets
    }
}

extension UnstableSector {
    var isMetadata: Bool {
        guard case .metadata = place else { return false }
        return true
    }

    /// The same for the same place, different for data and metadata.
    fileprivate var key: Int {
        switch place {
        case .data(let sector, _): sector * 2
        case .metadata(let offset, _): offset * 2 + 1
        }
    }
}
