import Foundation

/// All that disks were told and clients heard, in the one order in which it happened. Every prefix of it is a moment at
/// which the power may have gone: each entry is there before anybody is told of it, so nothing in a prefix rests on
/// something outside.
final class PowerTimeline: @unchecked Sendable {
    enum Entry {
        /// Bytes that a disk took. `stable`: which entry, a flush, made them durable; nil while they are in the cache.
        case write(disk: Int, offset: UInt64, bytes: [UInt8], stable: Int?)
        case flush(disk: Int)
        case client(ClientEvent)
    }

    private let lock = NSLock()
    // Under `lock`.
    private var all: [Entry] = []
    private var cached: [Int: [Int]] = [:]

    var count: Int { locked { all.count } }
    var entries: [Entry] { locked { all } }

    /// - Returns: the write's name.
    func write(_ bytes: [UInt8], at offset: UInt64, on disk: Int) -> Int {
        locked {
            all.append(.write(disk: disk, offset: offset, bytes: bytes, stable: nil))
            cached[disk, default: []].append(all.count - 1)
            return all.count - 1
        }
    }

    /// Makes durable what is in the disk's cache, except the writes whose answer is not out yet: of those a disk promises
    /// nothing.
    func flush(_ disk: Int, except unanswered: Set<Int>) {
        locked {
            let flush = all.count
            all.append(.flush(disk: disk))
            for index in cached[disk] ?? [] where !unanswered.contains(index) {
                guard case .write(_, let offset, let bytes, _) = all[index] else { continue }
                all[index] = .write(disk: disk, offset: offset, bytes: bytes, stable: flush)
            }
            cached[disk] = (cached[disk] ?? []).filter(unanswered.contains)
        }
    }

    func note(_ event: ClientEvent) { locked { all.append(.client(event)) } }

    /// What each block of a load may hold when all ends after the first `count` entries.
    func histories(blocks: Int, upTo count: Int) -> [BlockHistory] {
        var histories = Array(repeating: BlockHistory(), count: blocks)
        for case .client(let event) in entries[..<count] { event.apply(to: &histories) }
        return histories
    }

    /// Superblocks and log transactions that were still in a disk's cache when the next one of their kind came. Each is
    /// the foundation of what follows: there is none while daemons live.
    var metadataBuiltOnSand: [Int] {
        var last: [String: (index: Int, stable: Int?)] = [:]
        var found: [Int] = []
        for (index, entry) in entries.enumerated() {
            guard case .write(let disk, _, let bytes, let stable) = entry,
                let kind = ["HABLKSUP", "HABLKLOG"].first(where: { bytes.starts(with: $0.utf8) })
            else { continue }
            if let before = last["\(disk)\(kind)"], before.stable.map({ $0 > index }) ?? true {
                found.append(before.index)
            }
            last["\(disk)\(kind)"] = (index, stable)
        }
        return found
    }

    private func locked<Result>(_ body: () -> Result) -> Result {
        lock.lock()
        defer { lock.unlock() }
        return body()
    }
}

/// What a client did or heard.
enum ClientEvent {
    case sent(block: Int, write: UInt64)
    /// `forced`: it was a write with FUA.
    case acknowledged(block: Int, write: UInt64, forced: Bool)
    /// The last acknowledged write of each block when the flush was sent.
    case flushed(covers: [UInt64])

    func apply(to histories: inout [BlockHistory]) {
        switch self {
        case .sent(let block, let write): histories[block].leaveOpen(write)
        case .acknowledged(let block, let write, let forced):
            histories[block].acknowledge(write)
            if forced { histories[block].flush(upTo: write) }
        case .flushed(let covers):
            for block in covers.indices { histories[block].flush(upTo: covers[block]) }
        }
    }
}

/// What chance leaves of a disk whose power went: all that a flush covers, and some of the rest. A sector of 512 bytes
/// is written whole or not at all.
struct PowerLoss {
    /// What becomes of the writes that no flush covers.
    enum Fate: CaseIterable { case allLost, allKept, sectors, wholeWrites, lastOnes, firstOnes }

    static let sector = 512
    private let fate: Fate
    private var random: SeededGenerator
    private let chance: Double
    /// Sectors that are gone.
    private(set) var lost = 0

    init(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        // Sectors on their own are the cruellest: about half of all.
        fate = Bool.random(using: &random) ? .sectors : Fate.allCases.randomElement(using: &random)!
        chance = Double.random(in: 0.05...0.95, using: &random)
        self.random = random
    }

    private init() { (fate, chance, random) = (.allKept, 1, SeededGenerator(seed: 0)) }

    /// Only the process ended: all that was written is there.
    static var none: PowerLoss { PowerLoss() }

    /// Writes to the file at `path`, which is as the disk was in the beginning, what is left of the first `count` entries.
    mutating func apply(_ entries: ArraySlice<PowerTimeline.Entry>, of disk: Int, to path: String) throws {
        let descriptor = open(path, O_RDWR | O_CLOEXEC)
        guard descriptor >= 0 else { throw Trouble("no image at \(path)") }
        defer { close(descriptor) }
        let end = entries.endIndex
        func isCached(_ entry: PowerTimeline.Entry) -> Bool {
            guard case .write(disk, _, _, let stable) = entry else { return false }
            return stable.map { $0 >= end } ?? true
        }
        let cached = Double(max(1, entries.count(where: isCached)))
        var passed = 0.0
        for entry in entries {
            guard case .write(disk, let offset, let bytes, _) = entry else { continue }
            let kept = isCached(entry) ? survivors(of: bytes.count / Self.sector, age: passed / cached) : nil
            if let kept {
                passed += 1
                lost += kept.reduce(bytes.count / Self.sector) { $0 - $1.count }
            }
            for run in kept ?? [0..<bytes.count / Self.sector] {
                let part = run.lowerBound * Self.sector..<run.upperBound * Self.sector
                let written = bytes[part].withUnsafeBytes {
                    pwrite(descriptor, $0.baseAddress, $0.count, Int(offset) + part.lowerBound)
                }
                guard written == part.count else { throw Trouble("cannot write an image") }
            }
        }
    }

    /// Which of a write's sectors are there. `age`: 0 is the first write that no flush covers, nearly 1 the last.
    private mutating func survivors(of sectors: Int, age: Double) -> [Range<Int>] {
        var isKept = false
        switch fate {
        case .allLost: break
        case .allKept: isKept = true
        case .wholeWrites: isKept = Double.random(in: 0..<1, using: &random) < chance
        case .lastOnes: isKept = age >= chance
        case .firstOnes: isKept = age < chance
        case .sectors:
            return (0..<sectors).filter { _ in Double.random(in: 0..<1, using: &random) < chance }.map { $0..<$0 + 1 }
        }
        return isKept ? [0..<sectors] : []
    }
}
