import Model
import ReplicationCore

/// I10, C8: what a failover of an asynchronous volume may lose. A copy that is not half-filled equals all writes up to a flush
/// that a client was told of, and some of those up to the next; it lacks no more than the promotion says; and what it lacks
/// comes back when the primary that had it does, unless somebody was promoted without it.
struct OracleLoss: Sendable {
    struct Pending: Sendable {
        var operation: ClientOperation
        var primary: Int
        var acknowledged: UInt64
        /// With quorum: the copies that must have it.
        var owing: [Int] = []
        var place = Place()
    }

    /// Where a write lies at most in the order of its primary: whatever that confirms through there covers it.
    struct Place: Sendable {
        var term = Term.zero
        var sequence = UInt64.max
    }

    /// Acknowledged while the other copy was in step, since the two last held the same.
    var pending: [Pending] = []
    /// When flushes and forced writes that were acknowledged since had come, and when they were.
    var flushes: [(began: UInt64, ended: UInt64)] = []
    /// When each write began, by its number.
    var begun: [UInt64: UInt64] = [:]
    /// Who was promoted without what the other may have, since the two last held the same.
    var promoted: Set<Int> = []
    /// Bytes that a promotion says it may lose.
    let most: UInt64
    var now: UInt64 = 0

    /// With quorum: when each copy was taken in last. What was acknowledged before it has.
    private var joined: [Int: UInt64] = [:]
    /// Of each copy what it must have at least.
    private var floors: [Int: [Int: Floor]] = [:]
    /// And what a loss of power does not take from it.
    private var stableFloors: [Int: [Int: Floor]] = [:]
    private var acknowledgedAt: [UInt64: UInt64] = [:]
    private var zeroed: Set<Int> = []

    struct Floor: Sendable {
        var value: UInt64
        var began: UInt64
    }

    init(most: UInt64) { self.most = most }

    /// - Parameter held: what the copy holds then, by sector.
    mutating func joined(_ copy: Int, holding held: [Int: UInt64]) {
        joined[copy] = now
        floors[copy] = held.mapValues { Floor(value: $0, began: begun[$0 >> 20] ?? 0) }
        stableFloors[copy] = nil
    }

    /// With quorum: `primary` tells `copy` that all through `place` is durable on all of its members. It owes that from now on.
    /// - Returns: the writes of which that is news.
    mutating func confirmed(by primary: Int, through place: Place, at copy: Int) -> [ClientOperation] {
        var news: [ClientOperation] = []
        for index in pending.indices where pending[index].primary == primary && pending[index].place.term == place.term
        {
            let entry = pending[index]
            guard entry.place.sequence <= place.sequence, !entry.owing.contains(copy) else { continue }
            pending[index].owing.append(copy)
            owes(entry.operation, [copy], at: entry.acknowledged)
            Self.raise(&stableFloors[copy, default: [:]], entry.operation)
            news.append(entry.operation)
        }
        return news
    }

    private static func raise(_ floors: inout [Int: Floor], _ operation: ClientOperation) {
        for sector in operation.sectors where floors[sector].map({ $0.began > operation.began }) != true {
            floors[sector] = Floor(value: operation.value(of: sector), began: operation.began)
        }
    }

    mutating func owes(_ operation: ClientOperation, _ copies: [Int], at step: UInt64) {
        acknowledgedAt[operation.write] = step
        // Of two at once either may be the last.
        for copy in copies { Self.raise(&floors[copy, default: [:]], operation) }
    }

    /// What the copy holds is older than what it must have.
    func isBelowFloor(_ value: UInt64, _ sector: Int, at copy: Int, lostPower: Bool) -> Bool {
        let floor = (lostPower ? stableFloors : floors)[copy]?[sector]
        guard let floor, floor.value != value else { return false }
        guard value > 0 else { return !zeroed.contains(sector) }
        return acknowledgedAt[value >> 20].map { $0 < floor.began } ?? false
    }

    /// With quorum: acknowledged since `copy` was taken in, by primaries whose writes did not wait for it.
    func notOwed(by copy: Int) -> [Pending] {
        pending.filter { !$0.owing.contains(copy) && $0.acknowledged > joined[copy] ?? 0 }
    }

    mutating func began(_ operation: ClientOperation) {
        begun[operation.write] = operation.began
        for sector in operation.sectors where operation.value(of: sector) == 0 { zeroed.insert(sector) }
    }

    mutating func acknowledged(
        _ operation: ClientOperation, by primary: Int, at step: UInt64, _ owing: [Int], _ place: Place
    ) {
        now = step
        pending.append(
            Pending(operation: operation, primary: primary, acknowledged: step, owing: owing, place: place))
    }

    mutating func flushed(_ operation: ClientOperation) { flushes.append((operation.began, now + 1)) }

    /// What nobody flushed may be gone where it was acknowledged.
    mutating func lostPower(_ copy: Int) {
        pending.removeAll { entry in
            entry.primary == copy && !entry.operation.forced
                && !flushes.contains { entry.acknowledged < $0.began }
        }
    }

    mutating func met() {
        pending.removeAll()
        flushes.removeAll()
        promoted = []
    }
}

extension Oracle {
    /// Before `copy` serves: what of the other's acknowledged writes it must have.
    func owe(_ copy: Int, _ promotion: Promotion) {
        let mine = loss.pending.filter { $0.primary != copy }
        // On the word nothing is owed either of what the other answers behind a pause, in which it was about to become primary (seed
        // 680205 of `--modes`).
        let isGivenUp = promotion.acceptsLoss && (!mine.isEmpty || disks.isPaused(1 - copy))
        defer { if promotion.forced || isGivenUp { loss.promoted.insert(copy) } }
        guard !promotion.forced, !mine.isEmpty, !loss.promoted.contains(copy) else { return }
        guard promotion.acceptsLoss else {
            // Handed over, or filled since: nothing may be missing.
            for entry in mine { acknowledge(entry, at: copy) }
            loss.met()
            return
        }
        let newest = newestBegun(at: copy, mine, promotion)
        let horizon = loss.flushes.filter { $0.ended < newest }.map(\.began).max() ?? 0
        for entry in mine where entry.acknowledged < horizon { acknowledge(entry, at: copy) }
        checkSaid(copy, mine)
    }

    private func acknowledge(_ entry: OracleLoss.Pending, at copy: Int) {
        for sector in entry.operation.sectors {
            shadows[copy].acknowledge(
                sector, write: entry.operation.write, at: entry.acknowledged, durable: false)
        }
    }

    /// When the newest of those writes that `copy` has began.
    private func newestBegun(at copy: Int, _ pending: [OracleLoss.Pending], _ promotion: Promotion) -> UInt64 {
        var newest: UInt64 = 0
        for block in shadows[isByMajority ? 0 : copy].blocks where !promotion.unsettled(Int(block)) {
            for sector in Int(block) * 8..<Int(block) * 8 + 8 {
                newest = max(newest, loss.begun[disks.value(copy, sector) >> 20] ?? 0)
            }
        }
        return newest
    }

    /// With quorum, on an administrator's word: what others hold, and `copy` lacks, is given up, but for what lies before a flush that
    /// a client was told of and the copy goes beyond (I10).
    func giveUp(at copy: Int, _ promotion: Promotion, at step: UInt64) {
        let missing = loss.notOwed(by: copy)
        guard !missing.isEmpty else { return }
        let newest = newestBegun(at: copy, missing, promotion)
        let horizon = loss.flushes.filter { $0.ended < newest }.map(\.began).max() ?? 0
        checkSaid(copy, missing)
        var given: Set<Int> = []
        for entry in missing where entry.acknowledged >= horizon { given.formUnion(entry.operation.sectors) }
        for entry in missing where entry.acknowledged < horizon {
            for sector in entry.operation.sectors where given.contains(sector) {
                let held = disks.value(copy, sector)
                guard held < entry.operation.value(of: sector), held > 0 else { continue }
                let earlier = loss.pending.last { $0.operation.value(of: sector) == held }
                guard let earlier, earlier.acknowledged < entry.operation.began else { continue }
                return fail(
                    "I10",
                    "node \(copy) was promoted with \(WriteValue.describe(held)) in sector \(sector), and lacks "
                        + "\(entry.operation.description), which lies before a flush that it goes beyond")
            }
        }
        for sector in given where !promotion.unsettled(sector / 8) {
            let held = disks.value(copy, sector)
            if loss.isBelowFloor(held, sector, at: copy, lostPower: disks.lastPowerLoss(copy) > 0) {
                return fail(
                    "I2",
                    "node \(copy) was promoted with \(WriteValue.describe(held)) in sector \(sector), which is older than what it "
                        + "was filled with, or had to have")
            }
            shadows[0].rebase(
                sector, disks.value(copy, sector), stable: disks.stableValue(copy, sector), at: step)
        }
        loss.met()
    }

    /// With quorum: what an asynchronous copy lacked it has now, stable like all others.
    func confirmed(by primary: Int, through place: OracleLoss.Place, at copy: Int) {
        guard mode == .asynchronous, isByMajority else { return }
        let news = loss.confirmed(by: primary, through: place, at: copy)
        guard !news.isEmpty else { return }
        unflushed.removeAll { entry in news.contains { $0.write == entry.0.write } }
    }

    private func checkSaid(_ copy: Int, _ pending: [OracleLoss.Pending]) {
        var bytes: UInt64 = 0
        for entry in pending where disks.lastPowerLoss(copy) < entry.operation.began {
            let isMissing = entry.operation.sectors.contains { sector in
                let value = disks.value(copy, sector)
                return newest[sector] == entry.operation.write && value != entry.operation.value(of: sector)
            }
            // Trims and zeroes carry nothing: their length is not said.
            let isData = entry.operation.kind == .write
            if isMissing { bytes += isData ? entry.operation.range.widenedToBlocks.length : Geometry.blockSize }
        }
        guard bytes > loss.most else { return }
        fail("I10", "node \(copy) was promoted without \(bytes) bytes, and said that \(loss.most) at most are missing")
    }

    /// `copy` is made equal to `source`. What it acknowledged and the other lacked must have come there first, unless somebody
    /// gave it up.
    func checkDropped(_ copy: Int, for source: Int) {
        defer { loss.met() }
        guard loss.promoted.isEmpty, !givenAway[copy], !wentOnAlone[source] else { return }
        var owed = shadows[copy]
        for entry in loss.pending where entry.primary == copy {
            for sector in entry.operation.sectors where newest[sector] == entry.operation.write {
                guard owed.settle(sector, disks.value(source, sector)) else {
                    return fail(
                        "I9",
                        "node \(copy) is filled by node \(source), which holds "
                            + "\(WriteValue.describe(disks.value(source, sector))) in sector \(sector); it acknowledged: "
                            + owed.describe(sector))
                }
            }
        }
    }
}
