import Model

/// Which extents may be written: an extent is recorded durably before a write reaches it, so that after a crash only the
/// extents in the log can differ unmarked. Slots, users and transactions; no I/O.
struct ActivityLog {
    enum Acquisition: Equatable {
        /// Recorded durably: write.
        case hot
        /// Held, and recorded with the next transaction.
        case pending
        /// Every slot is in use: something must leave first.
        case full
    }

    private struct Slot {
        var extent: UInt32?
        /// Operations in flight in the extent.
        var active: UInt32 = 0
        /// Applied writes not yet confirmed.
        var unconfirmed: UInt32 = 0
        var lastUse = MonotonicTime(nanoseconds: 0)
        /// Held for an extent, and not yet durable.
        var pending = false
        /// The next transactions record this slot.
        var queued = false
        var newer: Int32 = -1
        var older: Int32 = -1
    }

    private var slots: [Slot]
    private var index: [UInt32: UInt32] = [:]
    private var free: [UInt32]
    private var newest: Int32 = -1
    private var oldest: Int32 = -1
    /// Slots whose change the next transactions record, in order: an extent's old slot is emptied on disk before, or
    /// with, its new one is filled.
    private var changed: [UInt32] = []
    /// Slots that operations wait for and no transaction in flight records.
    private var awaited = 0
    private var inFlight: [UInt32] = []
    /// The number of the newest transaction made.
    private(set) var number: UInt64
    private(set) var isWriting = false

    init(slots count: UInt32, replay: LogReplay?) {
        slots = Array(repeating: Slot(), count: Int(count))
        free = []
        free.reserveCapacity(Int(count))
        left = Array(repeating: nil, count: Int(count))
        number = replay?.lastNumber ?? 0
        index.reserveCapacity(Int(count))
        changed.reserveCapacity(Int(count))
        inFlight.reserveCapacity(LogTransaction.updateLimit)
        for slot in stride(from: Int(count) - 1, through: 0, by: -1) {
            if let extent = replay.flatMap({ slot < $0.table.count ? $0.table[slot] : nil }), index[extent] == nil {
                slots[slot].extent = extent
                index[extent] = UInt32(slot)
                pushNewest(Int32(slot))
            } else {
                free.append(UInt32(slot))
            }
        }
    }

    var capacity: Int { slots.count }
    var extents: Int { index.count }
    /// Extents that came since the last round of flushes began.
    private var came = 0
    /// Few slots are free, and half of them were given away since an epoch was closed: those cannot be given to others before the
    /// next is. A log that all of a volume fits into asks for none. (Of a very small log half is a write or two.)
    var needsConfirmation: Bool {
        slots.count >= 16 && free.count < slots.count / 4 && came >= slots.count / 2
    }
    mutating func roundBegins() { came = 0 }
    /// Slots emptied only because their extents cooled down.
    private var cooled = 0
    /// Extents that cooled down lately, each at its number modulo the count: one may hide another.
    private var left: [UInt32?]
    /// How many of those were acquired again.
    private(set) var returned: UInt64 = 0
    var hasChanges: Bool { awaited > 0 || cooled > 0 }

    func isHot(_ extent: UInt32) -> Bool { index[extent].map { !slots[Int($0)].pending } ?? false }
    func contains(_ extent: UInt32) -> Bool { index[extent] != nil }
    /// More than one operation holds it.
    func isShared(_ extent: UInt32) -> Bool { index[extent].map { slots[Int($0)].active > 1 } ?? false }

    /// Holds the extent for one operation. `.full` holds nothing.
    mutating func acquire(_ extent: UInt32, at now: MonotonicTime) -> Acquisition {
        if let slot = index[extent] {
            slots[Int(slot)].active += 1
            slots[Int(slot)].lastUse = now
            touch(Int32(slot))
            return slots[Int(slot)].pending ? .pending : .hot
        }
        guard let slot = free.popLast() else { return .full }
        slots[Int(slot)].extent = extent
        slots[Int(slot)].active = 1
        slots[Int(slot)].lastUse = now
        slots[Int(slot)].pending = true
        index[extent] = slot
        pushNewest(Int32(slot))
        queue(slot)
        awaited += 1
        came += 1
        let place = Int(extent) % left.count
        if left[place] == extent {
            left[place] = nil
            returned += 1
        }
        return .pending
    }

    mutating func release(_ extent: UInt32) {
        guard let slot = index[extent] else { preconditionFailure("an extent in use does not leave the log") }
        precondition(slots[Int(slot)].active > 0, "an extent is released as often as it was acquired")
        slots[Int(slot)].active -= 1
    }

    mutating func addUnconfirmed(_ extent: UInt32) {
        guard let slot = index[extent] else { preconditionFailure("an unconfirmed block lies in a hot extent") }
        slots[Int(slot)].unconfirmed += 1
    }

    mutating func removeUnconfirmed(_ extent: UInt32) {
        guard let slot = index[extent] else { preconditionFailure("an unconfirmed block lies in a hot extent") }
        precondition(slots[Int(slot)].unconfirmed > 0, "confirmed once")
        slots[Int(slot)].unconfirmed -= 1
    }

    /// The least recently used extent that nobody uses, with whether unconfirmed blocks still hold it; `skipping` the
    /// first so many candidates. `spilling` admits extents with unconfirmed blocks.
    func candidate(spilling: Bool, where isFit: (UInt32) -> Bool) -> UInt32? {
        var slot = oldest
        while slot >= 0 {
            let entry = slots[Int(slot)]
            if let extent = entry.extent, entry.active == 0, !entry.pending, spilling || entry.unconfirmed == 0,
                isFit(extent)
            {
                return extent
            }
            slot = entry.newer
        }
        return nil
    }

    /// The least recently used extent, if nobody uses it and it was not used since `time`.
    func coldest(since time: MonotonicTime) -> UInt32? {
        guard oldest >= 0 else { return nil }
        let entry = slots[Int(oldest)]
        guard entry.active == 0, entry.unconfirmed == 0, !entry.pending, entry.lastUse < time else { return nil }
        return entry.extent
    }

    mutating func coolDown(_ extent: UInt32) {
        evict(extent)
        cooled += 1
        left[Int(extent) % left.count] = extent
    }

    /// What left until now does not count as coming back.
    mutating func forgetCooled() {
        for place in left.indices { left[place] = nil }
    }

    /// The extent's slot becomes free. No transaction is made for leaving alone: until the next one the extent stays in
    /// the log on disk, which is only cautious.
    mutating func evict(_ extent: UInt32) {
        guard let slot = index.removeValue(forKey: extent) else { return }
        precondition(
            slots[Int(slot)].active == 0 && !slots[Int(slot)].pending, "an extent in use does not leave the log")
        unlink(Int32(slot))
        let queued = slots[Int(slot)].queued
        slots[Int(slot)] = Slot()
        slots[Int(slot)].queued = queued
        queue(slot)
        free.append(slot)
    }

    private mutating func queue(_ slot: UInt32) {
        guard !slots[Int(slot)].queued else { return }
        slots[Int(slot)].queued = true
        changed.append(slot)
    }

    /// The next transaction; nil when nothing changed or one is being written.
    mutating func makeTransaction(instance: InstanceID, sequence: UInt64, seen: PerNode<StartMark>) -> LogTransaction? {
        guard !isWriting, hasChanges, !changed.isEmpty else { return nil }
        let taken = min(changed.count, LogTransaction.updateLimit)
        inFlight.removeAll(keepingCapacity: true)
        inFlight.append(contentsOf: changed[0..<taken])
        changed.removeFirst(taken)
        for slot in inFlight {
            slots[Int(slot)].queued = false
            if slots[Int(slot)].pending { awaited -= 1 }
        }
        if changed.isEmpty { cooled = 0 }
        number += 1
        isWriting = true
        let updates = inFlight.map { LogTransaction.Update(slot: $0, extent: slots[Int($0)].extent) }
        // By the number, not from the first slot at each start: else short runs would never show the late slots again.
        let window = (slots.count + LogTransaction.contextLimit - 1) / LogTransaction.contextLimit
        let start = UInt32(number % UInt64(window)) * UInt32(LogTransaction.contextLimit)
        let length = min(LogTransaction.contextLimit, slots.count - Int(start))
        // A slot that a later transaction will record holds nothing that anybody wrote to yet.
        var context: [UInt32?] = []
        context.reserveCapacity(length)
        for slot in Int(start)..<Int(start) + length { context.append(slots[slot].queued ? nil : slots[slot].extent) }
        return LogTransaction(
            instance: instance, sequence: sequence, number: number, updates: updates, contextStart: start,
            context: context, seen: seen)
    }

    /// The transaction is durable: its extents are hot.
    mutating func finishTransaction() {
        isWriting = false
        for slot in inFlight where !slots[Int(slot)].queued { slots[Int(slot)].pending = false }
        inFlight.removeAll(keepingCapacity: true)
    }

    func forEachExtent(_ body: (UInt32) -> Void) {
        for extent in index.keys { body(extent) }
    }

    // MARK: Order of use

    private mutating func touch(_ slot: Int32) {
        guard newest != slot else { return }
        unlink(slot)
        pushNewest(slot)
    }

    private mutating func pushNewest(_ slot: Int32) {
        slots[Int(slot)].older = newest
        slots[Int(slot)].newer = -1
        if newest >= 0 { slots[Int(newest)].newer = slot }
        newest = slot
        if oldest < 0 { oldest = slot }
    }

    private mutating func unlink(_ slot: Int32) {
        let (older, newer) = (slots[Int(slot)].older, slots[Int(slot)].newer)
        if older >= 0 { slots[Int(older)].newer = newer } else { oldest = newer }
        if newer >= 0 { slots[Int(newer)].older = older } else { newest = older }
    }
}
