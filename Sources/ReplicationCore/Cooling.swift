import Model

/// How long an extent that nobody writes to stays in the activity log. Not long, because a crash marks what is in the log; but each
/// extent that comes back soon after it left cost a write the time of a durable one more, so while some do they stay
/// longer: a volume that is written here and there, a little at a time, would find all of it cold else.
struct Cooling {
    /// When extents are looked at next.
    var next = MonotonicTime(nanoseconds: 0)
    /// `Limits.coolAfter` this many times; a power of two.
    private(set) var factor: UInt64 = 1
    private var returned: UInt64 = 0
    private var quietSince = MonotonicTime(nanoseconds: 0)
    private var forgetAt = MonotonicTime(nanoseconds: 0)

    static let largestFactor: UInt64 = 64
    /// Nanoseconds: what a recording may say goes into no product that is too large.
    static let longestBase: UInt64 = 1 << 50
    /// So many that came back within a period are too many.
    private static let tolerated: UInt64 = 4

    /// Judges the period that ended. A log so small that all of it is marked at once stays as it is.
    mutating func judge(_ log: inout ActivityLog, base: UInt64, at now: MonotonicTime) {
        next = now + base / 4
        let came = log.returned &- returned
        returned = log.returned
        guard log.capacity >= 16 else { return }
        if came >= Self.tolerated {
            factor = min(factor * 2, Self.largestFactor)
            quietSince = now
        } else {
            // An empty log is not looked at: all of that time counts when it is again.
            while factor > 1, now.since(quietSince) >= base * Self.largestFactor {
                factor /= 2
                quietSince = quietSince + base * Self.largestFactor
            }
        }
        if now >= forgetAt {
            log.forgetCooled()
            forgetAt = now + base * Self.largestFactor
        }
    }
}

extension Replica {
    /// Extents that were not used for a while leave, some at each tick: what a crash marks is what was in use lately.
    mutating func coolLog() {
        let base = min(configuration.limits.coolAfter, Cooling.longestBase)
        cooling.judge(&log, base: base, at: now)
        guard hasDisk, logQueue.isEmpty, !log.isWriting, detaching == nil, stopping == nil else { return }
        let limit = base * cooling.factor
        guard now.nanoseconds > limit else { return }
        let time = MonotonicTime(nanoseconds: now.nanoseconds - limit)
        for _ in 0..<LogTransaction.updateLimit {
            guard let extent = log.coldest(since: time) else { return }
            guard arePagesWritten(extent) else {
                writePages(of: extent)
                return
            }
            log.coolDown(extent)
            attention = true
        }
    }
}
