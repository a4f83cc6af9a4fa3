package import Model

/// Rebuilds the activity log's table from its ring.
///
/// The newest transaction is the one with the highest number. From there back, number by number, each slot takes the
/// first thing said of it, an update before the same transaction's context, until every slot is known or the log's
/// youth is reached: number 1, or a transaction that `logBase` voids, before which all slots were free.
///
/// Each transaction is written together with its echo: the same block again, in the block behind, which the next
/// transaction overwrites with itself. So the newest, which nothing later confirms, lies there twice: one bad block never
/// passes for a write that a crash tore, and an acknowledged transaction is not lost with it.
///
/// One log write is out at a time, so two blocks in a row can be torn: the places of the newest number plus one and plus
/// two. That write was never acknowledged and nothing rests on it. A third bad one means that an acknowledged one is
/// lost. Blocks that are not needed may be rotten; blocks of other copies and zeroes are places never written.
package enum LogReplayer {
    /// - Parameters:
    ///   - ring: all blocks of the ring, one behind the other: one more than it holds transactions.
    ///   - logBase: transactions with this sequence or a lower one are void.
    ///   - slots: entries of the table.
    ///   - extents: extents of the volume; a table that names one beyond is damaged.
    package static func replay(
        _ ring: UnsafeRawBufferPointer, instance: InstanceID, logBase: UInt64, slots: Int, extents: UInt32
    ) -> LogReplay {
        let survey = Survey(ring, instance)
        var replay = LogReplay(
            table: Array(repeating: nil, count: slots), lastNumber: survey.newest, lastSequence: logBase,
            seen: PerNode(repeating: .none), damaged: survey.lostNewest, spoiled: survey.spoiled)
        guard survey.newest > 0 else { return replay }
        guard let newest = survey.transaction(survey.newest) else {
            replay.damaged = true
            return replay
        }
        replay.lastSequence = Swift.max(logBase, newest.sequence)
        replay.seen = newest.seen
        var table = SlotTable(slots: slots, extents: extents)
        if newest.sequence > logBase, !rebuild(&table, from: newest, survey, logBase) { replay.damaged = true }
        if !replay.damaged, !table.isPossible { replay.damaged = true }
        if !replay.damaged {
            replay.table = table.extentOfSlot
            if survey.newestLiesOnce { replay.mend = newest }
        }
        return replay
    }

    /// Walks back from the newest transaction; false when a needed one is missing.
    private static func rebuild(
        _ table: inout SlotTable, from newest: LogTransaction, _ survey: Survey, _ logBase: UInt64
    ) -> Bool {
        var current = newest
        while true {
            guard table.take(current) else { return false }
            // The next lower sequence is void already, and so is everything before it.
            if table.isComplete || current.number == 1 || current.sequence <= logBase + 1 { return true }
            guard let before = survey.transaction(current.number - 1), before.sequence < current.sequence else {
                return false
            }
            if before.sequence <= logBase { return true }
            current = before
        }
    }
}

/// What lies at each place of the ring.
private struct Survey {
    private enum Place: Equatable {
        /// Never written by this copy.
        case empty
        /// The transaction that belongs here.
        case own(UInt64)
        /// The one that belongs in the block before.
        case echo(UInt64)
        case bad
    }

    private let ring: UnsafeRawBufferPointer
    private let instance: InstanceID
    /// Transactions the ring holds; one block less than it has.
    private let capacity: UInt64
    private var places: [Place] = []
    private(set) var newest: UInt64 = 0

    init(_ ring: UnsafeRawBufferPointer, _ instance: InstanceID) {
        self.ring = ring
        self.instance = instance
        let count = ring.count / LogCoding.blockLength
        capacity = UInt64(Swift.max(count - 1, 0))
        places.reserveCapacity(count)
        for index in 0..<count {
            let place = Self.judge(block(index), instance, index: UInt64(index), capacity)
            switch place {
            case .own(let number), .echo(let number): newest = Swift.max(newest, number)
            case .empty, .bad: break
            }
            places.append(place)
        }
    }

    private func block(_ index: Int) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(
            rebasing: ring[index * LogCoding.blockLength..<(index + 1) * LogCoding.blockLength])
    }

    private static func judge(
        _ bytes: UnsafeRawBufferPointer, _ instance: InstanceID, index: UInt64, _ capacity: UInt64
    ) -> Place {
        do throws(BlockFault) {
            let number = try LogCoding.stamp(bytes, instance: instance).number
            guard capacity > 1 else { return .bad }
            if number % capacity == index { return .own(number) }
            // A write that went astray: what should be here is not.
            return number % capacity + 1 == index ? .echo(number) : .bad
        } catch {
            switch error {
            case .zero, .otherInstance: return .empty
            default: return .bad
            }
        }
    }

    private func place(of number: UInt64) -> Int { Int(number % capacity) }

    /// Whether more than the two blocks that may be torn are unreadable behind the newest. A ring of nothing but bad
    /// blocks counts too.
    var lostNewest: Bool {
        guard capacity > 2 else { return places.contains(.bad) }
        if newest == 0 {
            // Nothing tells what was here: any bad block but the very first transaction's.
            let first = place(of: 1)
            return places.indices.contains { places[$0] == .bad && $0 != first && $0 != first + 1 }
        }
        return isBad(newest + 1) && isBad(newest + 2) && isBad(newest + 3)
    }

    /// Nothing where an older transaction was is as bad as nonsense.
    private func isBad(_ number: UInt64) -> Bool {
        let place = places[place(of: number)]
        return place == .bad || (place == .empty && number > capacity)
    }

    var newestLiesOnce: Bool {
        guard newest > 0, capacity > 1 else { return false }
        return places[place(of: newest)] != .own(newest) || places[place(of: newest) + 1] != .echo(newest)
    }

    /// Blocks that do not hold what they should, given that the newest is the newest.
    var spoiled: Int {
        guard newest > 0, capacity > 1 else { return places.count { $0 == .bad } }
        return places.indices.count { places[$0] != expected(at: UInt64($0)) }
    }

    private func expected(at index: UInt64) -> Place {
        if index == newest % capacity + 1 { return .echo(newest) }
        // The block behind the last place holds its echo for a whole lap.
        let residue = Swift.min(index, capacity - 1)
        guard newest >= residue else { return .empty }
        let number = newest - (newest - residue) % capacity
        guard number > 0 else { return .empty }
        return index < capacity ? .own(number) : .echo(number)
    }

    /// The transaction with this number, if it lies where it must, or its echo does.
    func transaction(_ number: UInt64) -> LogTransaction? {
        guard number > 0, capacity > 1 else { return nil }
        let own = place(of: number)
        let index = places[own] == .own(number) ? own : own + 1
        guard places[index] == .own(number) || places[index] == .echo(number) else { return nil }
        do throws(BlockFault) { return try LogCoding.decode(block(index), instance: instance) } catch {
            return nil
        }
    }
}

/// The table while it is rebuilt, newest statement first.
private struct SlotTable {
    private(set) var extentOfSlot: [UInt32?]
    private var known: [Bool]
    private var unknown: Int
    private let extents: UInt32

    init(slots: Int, extents: UInt32) {
        extentOfSlot = Array(repeating: nil, count: slots)
        known = Array(repeating: false, count: slots)
        unknown = slots
        self.extents = extents
    }

    var isComplete: Bool { unknown == 0 }

    /// No extent twice, none beyond the volume.
    var isPossible: Bool {
        let named = extentOfSlot.compactMap { $0 }
        return named.allSatisfy { $0 < extents } && Set(named).count == named.count
    }

    /// Takes what is not known better; false when the transaction speaks of slots that are not there.
    mutating func take(_ transaction: LogTransaction) -> Bool {
        let start = Int(transaction.contextStart)
        guard transaction.updates.allSatisfy({ Int($0.slot) < known.count }),
            start <= known.count, transaction.context.count <= known.count - start
        else { return false }
        for update in transaction.updates.reversed() { set(Int(update.slot), update.extent) }
        for (index, extent) in transaction.context.enumerated() { set(start + index, extent) }
        return true
    }

    private mutating func set(_ slot: Int, _ extent: UInt32?) {
        guard !known[slot] else { return }
        known[slot] = true
        unknown -= 1
        extentOfSlot[slot] = extent
    }
}
