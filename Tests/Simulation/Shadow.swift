/// What a copy may hold, sector by sector, given what clients were told: the crash-aware shadow model of
/// `reliability.md` 3.2. Moments are steps of the simulation, which order everything.
///
/// Law: a sector has candidates, each a write that began. A read must see one that no acknowledged later one had hidden
/// when the read began; what was read counts as acknowledged. After the death of a process the copy holds one that was
/// not hidden, whatever else was in flight is settled; after a loss of power that no other copy makes good it may be an
/// older one, down to the last that is durable.
package struct Shadow: Sendable {
    /// Later than everything: not acknowledged.
    static let never = UInt64.max

    struct Candidate: Sendable {
        var value: UInt64
        /// The write's number: values of zeroes are all alike.
        var write: UInt64 = 0
        /// The write was not yet done then; a read that sees it moves this on.
        var began: UInt64
        /// Acknowledged, or seen by a read, whichever came first.
        var effective: UInt64 = Shadow.never
        var acknowledged: UInt64 = Shadow.never
        var durable = false
        /// Not live: only a later loss of power can bring it back.
        var live = true
        /// The promotion that is in doubt settled against it.
        var isInDoubt = false
    }

    /// For each block the place of its eight histories; -1: nothing was ever written there.
    private var places: [Int32]
    /// Candidates of each sector of the blocks that have any, oldest first.
    private var histories: [[Candidate]] = []
    private var touched: [Int32] = []
    /// Histories in which something was acknowledged that no flush made durable since; some may be in here twice.
    private var unflushed: [Int32] = []
    /// The copy lost its cache: it may lack acknowledged writes that were not flushed, until another fills it.
    package var exposed = false
    /// Who was promoted last and has acknowledged nothing since: no generation began, so that another copy, which holds
    /// what this one settled against, may still be the one that is gone on with (QUORUM OFF: a new generation comes before
    /// the first acknowledgement and before a read of what is unsettled; what was read counts as acknowledged anyhow).
    package private(set) var doubted: Int?
    /// Requests acknowledged here since another copy was last in step.
    package var aloneAcknowledgements = 0

    package init(sectors: Int) { places = Array(repeating: -1, count: sectors / 8) }

    /// Blocks with a history, in the order in which they were first written.
    package var blocks: [Int32] { touched }

    private mutating func place(of sector: Int) -> Int {
        let block = sector / 8
        if places[block] < 0 {
            places[block] = Int32(histories.count)
            touched.append(Int32(block))
            let never = [Candidate(value: 0, began: 0, effective: 0, acknowledged: 0, durable: true)]
            histories.append(contentsOf: repeatElement(never, count: 8))
        }
        return Int(places[block]) + sector % 8
    }

    private func known(_ sector: Int) -> Int? {
        let place = places[sector / 8]
        return place < 0 ? nil : Int(place) + sector % 8
    }

    package mutating func begin(_ sector: Int, _ value: UInt64, write: UInt64, at step: UInt64) {
        histories[place(of: sector)].append(Candidate(value: value, write: write, began: step))
    }

    package mutating func acknowledge(_ sector: Int, write: UInt64, at step: UInt64, durable: Bool) {
        doubted = nil
        let place = place(of: sector)
        for index in histories[place].indices.reversed() where histories[place][index].write == write {
            // A read may have seen it before it is known that this copy had to have it.
            let moment = max(step, histories[place][index].began)
            histories[place][index].effective = min(histories[place][index].effective, moment)
            histories[place][index].acknowledged = step
            if durable { histories[place][index].durable = true } else { unflushed.append(Int32(place)) }
            break
        }
        if durable || histories[place].count > 6 { forget(place) }
    }

    /// A flush that began at `step` was acknowledged: what was acknowledged before it is durable.
    package mutating func flushed(begunAt step: UInt64) {
        doubted = nil
        var kept = 0
        for entry in unflushed.indices {
            let place = Int(unflushed[entry])
            var changed = false
            var isWaiting = false
            for index in histories[place].indices
            where histories[place][index].acknowledged != Self.never && !histories[place][index].durable {
                if histories[place][index].acknowledged < step {
                    histories[place][index].durable = true
                    changed = true
                } else {
                    isWaiting = true
                }
            }
            if changed { forget(place) }
            guard isWaiting else { continue }
            unflushed[kept] = unflushed[entry]
            kept += 1
        }
        unflushed.removeLast(unflushed.count - kept)
    }

    /// Drops what can never come back: acknowledged before the newest durable one began.
    private mutating func forget(_ place: Int) {
        var newest: UInt64 = 0
        for candidate in histories[place] where candidate.durable { newest = max(newest, candidate.began) }
        guard histories[place].contains(where: { $0.effective < newest }) else { return }
        histories[place].removeAll { $0.effective < newest }
    }

    private func isHidden(_ place: Int, _ index: Int, before step: UInt64) -> Bool {
        let effective = histories[place][index].effective
        for other in histories[place] where other.live && other.began > effective && other.effective < step {
            return true
        }
        return false
    }

    /// Whether a read from `began` to `ended` may have seen `value`; what it saw is settled from then on.
    package mutating func read(_ sector: Int, _ value: UInt64, began: UInt64, ended: UInt64) -> Bool {
        guard let place = known(sector) else { return value == 0 }
        var found = -1
        for index in histories[place].indices
        where histories[place][index].value == value && histories[place][index].live
            && histories[place][index].began < ended && !isHidden(place, index, before: began)
        {
            if found >= 0 { return true }  // Which of several zeroes it was cannot be told.
            found = index
        }
        guard found >= 0 else { return false }
        see(place, found, began: began, ended: ended)
        return true
    }

    /// Whatever was done before the read began came before the write that the read saw.
    private mutating func see(_ place: Int, _ index: Int, began: UInt64, ended: UInt64) {
        histories[place][index].effective = min(histories[place][index].effective, ended)
        if began < histories[place][index].effective {
            histories[place][index].began = max(histories[place][index].began, began)
        }
    }

    /// The copy holds `value` where a process died before: whether it may. What was in flight is settled.
    package mutating func settle(_ sector: Int, _ value: UInt64) -> Bool {
        guard let place = known(sector) else { return value == 0 }
        let isRight = histories[place].indices.contains { index in
            histories[place][index].value == value && histories[place][index].live
                && !isHidden(place, index, before: Self.never)
        }
        guard isRight else { return false }
        // Of several zeroes it cannot be told which it is.
        for index in histories[place].indices where histories[place][index].value != value {
            if histories[place][index].live { histories[place][index].isInDoubt = true }
            histories[place][index].live = false
        }
        return true
    }

    /// `copy` is promoted: what it settles is in doubt until it acknowledges something.
    package mutating func doubt(_ copy: Int) {
        endDoubt()
        for place in histories.indices {
            for index in histories[place].indices { histories[place][index].isInDoubt = false }
        }
        doubted = copy
    }

    /// Whoever is in doubt serves no more: what it settled is open again.
    package mutating func endDoubt() {
        guard doubted != nil else { return }
        doubted = nil
        for place in histories.indices {
            for index in histories[place].indices where histories[place][index].isInDoubt {
                histories[place][index].live = true
            }
        }
    }

    /// A cache is lost: what was settled against, but still lies on the disk, may be seen again.
    package mutating func revive() {
        for place in histories.indices {
            for index in histories[place].indices { histories[place][index].live = true }
        }
    }

    /// All copies that had the write lost their caches, and no flush covered it: as if it were still in flight.
    package mutating func unacknowledge(_ sector: Int, write: UInt64) {
        guard let place = known(sector) else { return }
        for index in histories[place].indices
        where histories[place][index].write == write && !histories[place][index].durable {
            histories[place][index].effective = Self.never
            histories[place][index].acknowledged = Self.never
            histories[place][index].live = true
        }
    }

    /// What was acknowledged and not flushed may be gone for good: nothing else is promised of it than of a write in flight.
    package mutating func unacknowledge() {
        for place in histories.indices {
            for index in histories[place].indices where !histories[place][index].durable {
                histories[place][index].effective = Self.never
                histories[place][index].acknowledged = Self.never
                histories[place][index].live = true
            }
        }
        exposed = false
    }

    /// The line ends here by an administrator's word: the sector holds what it holds, and a loss of power may leave `stable`.
    package mutating func rebase(_ sector: Int, _ value: UInt64, stable: UInt64, at step: UInt64) {
        let place = place(of: sector)
        histories[place] = [Candidate(value: stable, began: 0, effective: 0, acknowledged: 0, durable: true)]
        guard value != stable else { return }
        histories[place][0].live = false
        histories[place].append(Candidate(value: value, began: 1, effective: step, acknowledged: step))
        unflushed.append(Int32(place))
    }

    /// What a sector may hold, for a report.
    package func describe(_ sector: Int) -> String {
        guard let place = known(sector) else { return "nothing was written there" }
        return histories[place].map { candidate in
            let state =
                candidate.acknowledged != Self.never
                ? "acknowledged at \(candidate.acknowledged)"
                : candidate.effective != Self.never ? "read at \(candidate.effective)" : "unacknowledged"
            return "\(WriteValue.describe(candidate.value)) begun at \(candidate.began), \(state)"
                + (candidate.durable ? ", durable" : "") + (candidate.live ? "" : ", settled against")
        }.joined(separator: "; ")
    }
}

/// The content of a sector: which write made it, and for which sector it was meant.
package enum WriteValue {
    package static func of(write: UInt64, sector: Int) -> UInt64 { write << 20 | UInt64(sector) }

    package static func describe(_ value: UInt64) -> String {
        switch value {
        case 0: "zero"
        case .max: "a buffer that was never filled"
        default: "write \(value >> 20) of sector \(value & 0xF_FFFF)"
        }
    }
}
