import Model
import ReplicationCore

/// One sector of a write that is not stable yet.
struct UnstableSector {
    enum Place {
        case data(sector: Int, value: UInt64)
        /// Of the metadata area, 512 bytes.
        case metadata(offset: Int, bytes: [UInt8])
    }

    var place: Place
    /// Sectors of one write have the same number.
    var write: Int
    /// Not completed: a death of the process alone may lose it too.
    var isInFlight: Bool
}

/// A disk with a volatile cache. The data area holds a value per sector; the metadata area holds real bytes, which the
/// production codecs made and the production loader reads back.
///
/// Law: data that was written lands in the cache; a flush makes stable what had completed before it began; metadata
/// writes are stable when they complete. A process that dies leaves its submitted writes to the kernel: each is done or
/// lost before the next process reads. A power loss keeps of everything not yet stable any subset of sectors, in order.
final class SimulatedDisk {
    enum Deed {
        case read(OperationID, sector: Int, count: Int, BufferID, detectZeroes: Bool)
        case fill(OperationID, exact: ByteRange, BufferID)
        /// Nil values: zeroes.
        case write(OperationID, sector: Int, count: Int, values: [UInt64]?, BufferID?)
        case flush(OperationID, covers: Int)
        case metadata(offset: Int, bytes: [UInt8], answer: Event)
    }

    struct Operation {
        var deed: Deed
        var fails: Bool
        /// It fails without a trace: there is no space, or the disk is out of reach.
        var isRefused = false
    }

    /// A completed write that is not stable yet.
    struct Volatile {
        var number: Int
        var sector: Int
        var count: Int
        var values: [UInt64]?

        func value(_ index: Int) -> UInt64 { values?[index] ?? 0 }
    }

    let side: Int
    let copies: Copies
    private(set) var stable: [UInt64]
    private(set) var volatile: [Volatile] = []
    private var completedWrites = 0
    /// Sectors whose newest value a failed flush lost: read until the power goes.
    private var forgotten: [Int] = []
    private(set) var metadata: [UInt8]
    var faults = DiskFaults()
    /// Rises with everything that changes what a crash would leave.
    private(set) var revision = 0
    /// Rises with each metadata write that landed.
    private(set) var metadataRevision = 0
    /// Rises with each of them that may have changed a superblock: they lie at both ends.
    private(set) var superblockRevision = 0
    /// Its content is not what the last process left: whoever meets it must notice, marks can not.
    var wasExchanged = false
    /// What a scenario decides instead of chance.
    var script: DiskScript?
    private var slots: [Operation?] = []
    private var freeSlots: [Int] = []

    init(side: Int, copies: Copies, metadataBytes: Int) {
        self.side = side
        self.copies = copies
        stable = Array(repeating: 0, count: copies.sectors)
        metadata = Array(repeating: 0, count: metadataBytes)
    }

    // MARK: Submission and completion

    func submit(_ deed: Deed, fails: Bool, isRefused: Bool = false) -> Int {
        revision += 1
        let operation = Operation(deed: deed, fails: fails, isRefused: isRefused)
        if let slot = freeSlots.popLast() {
            slots[slot] = operation
            return slot
        }
        slots.append(operation)
        return slots.count - 1
    }

    /// A flush that is submitted now covers writes with lower numbers.
    var writeMark: Int { completedWrites }

    func finish(_ slot: Int) -> Operation {
        guard let operation = slots[slot] else { preconditionFailure("a disk operation ends once") }
        slots[slot] = nil
        freeSlots.append(slot)
        revision += 1
        return operation
    }

    var hasOperations: Bool { freeSlots.count < slots.count }

    /// The write reaches the cache. One that fails may have reached it in part.
    func land(sector: Int, count: Int, values: [UInt64]?, partly random: inout SplitMix, fails: Bool) {
        guard fails else { return remember(Volatile(number: 0, sector: sector, count: count, values: values)) }
        landSubset(sector: sector, count: count, values: values, &random)
    }

    private func remember(_ write: Volatile) {
        var write = write
        write.number = completedWrites
        completedWrites += 1
        for index in 0..<write.count { copies.set(side, write.sector + index, to: write.value(index)) }
        volatile.append(write)
    }

    private func landSubset(sector: Int, count: Int, values: [UInt64]?, _ random: inout SplitMix) {
        let share = script == nil ? random.pick([0, 50, 100] as [UInt64]) : 0
        for index in 0..<count where script?.keeps(sector + index) ?? random.chance(share, in: 100) {
            remember(Volatile(number: 0, sector: sector + index, count: 1, values: [values?[index] ?? 0]))
        }
    }

    func finishFlush(covers mark: Int, fails: Bool, _ random: inout SplitMix) {
        var done = 0
        while done < volatile.count, volatile[done].number < mark {
            let write = volatile[done]
            done += 1
            guard fails else {
                makeStable(write)
                continue
            }
            for index in 0..<write.count {
                if !(script?.keeps(write.sector + index) ?? random.chance(1, in: 2)) {
                    forgotten.append(write.sector + index)
                } else {
                    stable[write.sector + index] = write.value(index)
                }
            }
        }
        volatile.removeFirst(done)
    }

    private func makeStable(_ write: Volatile) {
        stable.withUnsafeMutableBufferPointer { stable in
            for index in 0..<write.count { stable[write.sector + index] = write.value(index) }
        }
    }

    /// Before the first use: what was on the disk.
    func land(leftOver value: UInt64, at sector: Int) {
        stable[sector] = value
        copies.set(side, sector, to: value)
    }

    func hasForgotten(_ sector: Int) -> Bool { forgotten.contains(sector) }

    func landMetadata(offset: Int, bytes: [UInt8]) {
        metadata.replaceSubrange(offset..<offset + bytes.count, with: bytes)
        metadataRevision += 1
        if offset < 4096 || offset >= metadata.count - 16 * 4096 { superblockRevision += 1 }
    }

    // MARK: Death

    /// The process died: what it had submitted is done or lost.
    func losesProcess(_ random: inout SplitMix) {
        for slot in slots.indices {
            guard let operation = slots[slot] else { continue }
            switch operation.deed {
            case .write(_, let sector, let count, let values, _):
                landSubset(sector: sector, count: count, values: values, &random)
            case .metadata(let offset, let bytes, _):
                if script?.keepsMetadata ?? random.chance(1, in: 2) { landMetadata(offset: offset, bytes: bytes) }
            case .read, .fill, .flush: break
            }
        }
        slots.removeAll()
        freeSlots.removeAll()
        script?.held.removeAll()
        script?.answers.removeAll()
    }

    /// The machine died: of what was not stable any subset of sectors is there.
    func losesPower(_ random: inout SplitMix) {
        tearMetadata(&random)
        losesProcess(&random)
        let share = script == nil ? random.pick([0, 0, 30, 70, 100] as [UInt64]) : 0
        var touched = forgotten
        for write in volatile {
            for index in 0..<write.count {
                touched.append(write.sector + index)
                guard script?.keeps(write.sector + index) ?? random.chance(share, in: 100) else { continue }
                stable[write.sector + index] = write.value(index)
            }
        }
        volatile.removeAll()
        forgotten.removeAll()
        for sector in touched { copies.set(side, sector, to: stable[sector]) }
    }

    private func tearMetadata(_ random: inout SplitMix) {
        for slot in slots.indices {
            guard let operation = slots[slot], case .metadata(let offset, let bytes, _) = operation.deed else {
                continue
            }
            if faults.unbreakable.contains(offset) {
                if random.chance(1, in: 2) { landMetadata(offset: offset, bytes: bytes) }
                slots[slot] = nil
                freeSlots.append(slot)
                continue
            }
            for atom in 0..<bytes.count / 512 where script?.keepsMetadata ?? random.chance(1, in: 2) {
                landMetadata(offset: offset + atom * 512, bytes: Array(bytes[atom * 512..<atom * 512 + 512]))
            }
            slots[slot] = nil
            freeSlots.append(slot)
        }
    }

    // MARK: Scripts

    /// Whether the operation waits for a script's word instead of ending now.
    func holdsBack(_ slot: Int) -> Bool {
        guard let operation = slots[slot], let holds = script?.holds else { return false }
        if !operation.deed.isOf(holds) {
            guard case .read(_, let sector, let count, _, _) = operation.deed, holds.contains("answer") else {
                return false
            }
            script?.answers[slot] = Array(copies.values(side, sector..<sector + count))
        }
        script?.held.append(slot)
        return true
    }

    /// What a read that was held had read before.
    func takeAnswer(_ slot: Int) -> ArraySlice<UInt64>? { script?.answers.removeValue(forKey: slot)?[...] }

    /// Another value is on the platter, and nobody was told.
    func rot(_ block: Int, to value: UInt64) {
        for sector in block * 8..<block * 8 + 8 {
            stable[sector] = value
            copies.set(side, sector, to: value)
        }
        revision += 1
    }

    func forget(_ block: Int) {
        for sector in block * 8..<block * 8 + 8 {
            stable[sector] = 0
            copies.set(side, sector, to: 0)
        }
    }

    func releaseHeld(_ kinds: Set<String>) -> [Int] {
        let held = script?.held ?? []
        let released = held.filter { slot in
            slots[slot].map { script?.answers[slot] == nil ? $0.deed.isOf(kinds) : kinds.contains("answer") } ?? false
        }
        script?.held.removeAll { released.contains($0) }
        return released
    }

    /// What a copy of the disk, or an array's snapshot, would hold.
    var image: DiskImage { DiskImage(values: Array(copies.values(side, 0..<copies.sectors)), metadata: metadata) }

    /// Another disk, or an older state of this one, in its place. Nobody uses it meanwhile.
    func become(_ image: DiskImage) {
        precondition(!hasOperations, "a disk is exchanged while it is idle")
        stable = image.values
        volatile.removeAll()
        forgotten.removeAll()
        for sector in stable.indices { copies.set(side, sector, to: stable[sector]) }
        metadata = image.metadata
        metadataRevision += 1
        wasExchanged = true
    }

    /// The same by chance: the oracle knows what is allowed then.
    func replace(with image: DiskImage) {
        become(image)
        wasExchanged = false
        faults = DiskFaults(image: faults.image)
    }

    // MARK: Crash points

    /// What a loss of power now may leave or not, sector by sector; of one place the older first.
    var unstable: [UnstableSector] {
        var sectors: [UnstableSector] = []
        var write = 0
        func add(_ data: Volatile, inFlight: Bool) {
            for index in 0..<data.count {
                sectors.append(
                    UnstableSector(
                        place: .data(sector: data.sector + index, value: data.value(index)), write: write,
                        isInFlight: inFlight))
            }
            write += 1
        }
        for done in volatile { add(done, inFlight: false) }
        for started in writesInFlight { add(started, inFlight: true) }
        for operation in slots {
            guard case .metadata(let offset, let bytes, _)? = operation?.deed else { continue }
            for atom in 0..<bytes.count / 512 {
                let part = Array(bytes[atom * 512..<atom * 512 + 512])
                sectors.append(
                    UnstableSector(
                        place: .metadata(offset: offset + atom * 512, bytes: part), write: write, isInFlight: true))
            }
            write += 1
        }
        return sectors
    }

    /// The machine died, or only the process, and of all that was unstable exactly `kept` is there. Without a loss of
    /// power what had completed stays in the cache.
    func dies(losingPower: Bool, keeping kept: [UnstableSector]) {
        slots.removeAll()
        freeSlots.removeAll()
        var touched = forgotten
        if losingPower {
            for write in volatile { touched += write.sector..<write.sector + write.count }
            volatile.removeAll()
            forgotten.removeAll()
        }
        for unstable in kept {
            switch unstable.place {
            case .metadata(let offset, let bytes): landMetadata(offset: offset, bytes: bytes)
            case .data(let sector, let value) where losingPower:
                stable[sector] = value
                touched.append(sector)
            case .data(let sector, let value):
                remember(Volatile(number: 0, sector: sector, count: 1, values: [value]))
            }
        }
        if losingPower { for sector in touched { copies.set(side, sector, to: stable[sector]) } }
        revision += 1
    }

    // MARK: For the oracle

    var queue: OracleAccounting.DiskQueue {
        var queue = OracleAccounting.DiskQueue()
        for case let operation? in slots {
            switch operation.deed {
            case .read, .fill, .write: queue.data += 1
            case .flush: queue.flushes += 1
            case .metadata(_, _, .superblockWritten): queue.superblocks += 1
            case .metadata(_, _, .logWritten): queue.logs += 1
            case .metadata: queue.pages += 1
            }
        }
        return queue
    }

    /// What may land, or not, if the process died now.
    var writesInFlight: [Volatile] {
        slots.compactMap { operation in
            guard case .write(_, let sector, let count, let values, _)? = operation?.deed else { return nil }
            return Volatile(number: 0, sector: sector, count: count, values: values)
        }
    }

    /// Whether `value` of `sector` is on stable storage, or superseded there.
    func isVolatile(_ value: UInt64, at sector: Int) -> Bool {
        guard copies[side, sector] == value, stable[sector] != value else { return false }
        return true
    }
}
