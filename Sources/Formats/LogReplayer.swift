package import Model

/// Rebuilds the activity log's table from its ring.
///
/// The newest transaction is the one with the highest number. From there back, number by number, each slot takes the
/// first thing said of it, an update before the same transaction's context, until every slot is known or the log's
/// youth is reached: number 1, or a transaction that `logBase` voids, before which all slots were free.
///
/// One log write is out at a time, so one block can be torn: the one at the place of the newest number plus one. It was
/// never acknowledged and nothing rests on it. Two such blocks in a row mean that an acknowledged one is lost. Blocks
/// that are not needed may be rotten; blocks of other copies and zeroes are places never written.
package enum LogReplayer {
    /// - Parameters:
    ///   - ring: all blocks of the ring, one behind the other.
    ///   - logBase: transactions with this sequence or a lower one are void.
    ///   - slots: entries of the table.
    ///   - extents: extents of the volume; a table that names one beyond is damaged.
    package static func replay(
        _ ring: UnsafeRawBufferPointer, instance: InstanceID, logBase: UInt64, slots: Int, extents: UInt32
    ) -> LogReplay {
        let survey = Survey(ring, instance)
        var replay = LogReplay(
            table: Array(repeating: nil, count: slots), lastNumber: survey.newest, lastSequence: logBase,
            seen: PerNode(repeating: .none), damaged: survey.lostNewest)
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
        if !replay.damaged { replay.table = table.extentOfSlot }
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
        case number(UInt64)
        case bad
    }

    private let ring: UnsafeRawBufferPointer
    private let instance: InstanceID
    private var places: [Place] = []
    private(set) var newest: UInt64 = 0

    init(_ ring: UnsafeRawBufferPointer, _ instance: InstanceID) {
        self.ring = ring
        self.instance = instance
        let count = ring.count / LogCoding.blockLength
        places.reserveCapacity(count)
        for index in 0..<count {
            let place = Self.judge(block(index), instance, index: UInt64(index), count: UInt64(count))
            if case .number(let number) = place { newest = Swift.max(newest, number) }
            places.append(place)
        }
    }

    private func block(_ index: Int) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(
            rebasing: ring[index * LogCoding.blockLength..<(index + 1) * LogCoding.blockLength])
    }

    private static func judge(
        _ bytes: UnsafeRawBufferPointer, _ instance: InstanceID, index: UInt64, count: UInt64
    ) -> Place {
        do throws(BlockFault) {
            let number = try LogCoding.stamp(bytes, instance: instance).number
            // A write that went astray: what should be here is not.
            return number % count == index ? .number(number) : .bad
        } catch {
            switch error {
            case .zero, .otherInstance: return .empty
            default: return .bad
            }
        }
    }

    private func place(of number: UInt64) -> Int { Int(number % UInt64(places.count)) }

    /// Whether more than the one block that may be torn is unreadable behind the newest. A ring of nothing but bad
    /// blocks counts too.
    var lostNewest: Bool {
        guard places.count > 2 else { return places.contains(.bad) }
        if newest == 0 {
            // Nothing tells what was here: any bad block but the very first transaction's.
            return places.indices.contains { places[$0] == .bad && $0 != place(of: 1) }
        }
        return isBad(newest + 1) && isBad(newest + 2)
    }

    /// Nothing where an older transaction was is as bad as nonsense.
    private func isBad(_ number: UInt64) -> Bool {
        let place = places[place(of: number)]
        return place == .bad || (place == .empty && number > UInt64(places.count))
    }

    /// The transaction with this number, if it lies where it must.
    func transaction(_ number: UInt64) -> LogTransaction? {
        guard number > 0, !places.isEmpty, places[place(of: number)] == .number(number) else { return nil }
        do throws(BlockFault) { return try LogCoding.decode(block(place(of: number)), instance: instance) } catch {
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
