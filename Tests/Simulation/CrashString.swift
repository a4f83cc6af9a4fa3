import Model
import ReplicationCore

/// One deed of a crash-point string: what changes metadata.
package enum CrashDeed: String, Sendable, CaseIterable {
    /// Both nodes start (create came before: `CreationCrashes`) and meet, if the link lets them.
    case start
    /// The node whose turn it is becomes primary; the turn passes on.
    case promote
    /// Two writes at once, each into the first block or two of an extent; nothing is flushed.
    case write
    /// A write into each of more extents than the activity log holds, then a flush.
    case evict
    /// The link is cut; a primary goes on alone with a write, and makes its record.
    case lose
    /// The link heals; up to the moment in which a resync has begun, or both are equal.
    case resync
    /// Up to the end of the resync.
    case resynced
    case demote
    /// Both nodes stop in order, the primary last.
    case stop
}

/// A short string of deeds, run from nothing.
package struct CrashString: Sendable, CustomStringConvertible {
    package var deeds: [CrashDeed]

    package init(_ deeds: [CrashDeed]) { self.deeds = deeds }

    /// As printed by `description`.
    package init?(_ text: some StringProtocol) {
        var deeds: [CrashDeed] = []
        for word in text.split(separator: " ") {
            guard let deed = CrashDeed(rawValue: String(word)) else { return nil }
            deeds.append(deed)
        }
        self.init(deeds)
    }

    package var description: String { deeds.map(\.rawValue).joined(separator: " ") }

    /// All strings that make sense with exactly so many deeds.
    package static func all(length: Int) -> [CrashString] {
        var strings = [([CrashDeed](), Situation())]
        for _ in 0..<length {
            strings = strings.flatMap { deeds, situation in
                CrashDeed.allCases.compactMap { deed in situation.after(deed).map { (deeds + [deed], $0) } }
            }
        }
        return strings.map { CrashString($0.0) }
    }
}

/// How far a string has come, for which deeds make sense next.
private struct Situation {
    var isUp = false
    var hasPrimary = false
    var isCut = false
    /// Something was written or promoted since the last start or cut: a string of nothing but cuts is of no use.
    var isFresh = true
    var resyncs = false

    func after(_ deed: CrashDeed) -> Situation? {
        var next = self
        switch deed {
        case .start:
            guard !isUp else { return nil }
            next.isUp = true
        case .promote:
            guard isUp, !hasPrimary, !isCut, !resyncs else { return nil }
            next.hasPrimary = true
            next.isFresh = true
        case .write, .evict:
            guard isUp, hasPrimary else { return nil }
            next.isFresh = true
        case .lose:
            guard isUp, !isCut, isFresh else { return nil }
            next.isCut = true
            next.isFresh = false
        case .resync:
            guard isUp, isCut else { return nil }
            next.isCut = false
            next.resyncs = true
        case .resynced:
            guard resyncs else { return nil }
            next.resyncs = false
        case .demote:
            guard isUp, hasPrimary else { return nil }
            next.hasPrimary = false
        case .stop:
            guard isUp, isFresh else { return nil }
            next.isUp = false
            next.hasPrimary = false
            next.resyncs = false
            next.isFresh = false
        }
        return next
    }
}

/// Runs the deeds of a string one by one.
package struct CrashScript {
    package let scripted: CrashRun
    private var primary: Int?
    private var turn = 0
    private var writes: UInt64 = 0
    private var isCut = false

    package init(_ options: SimulationOptions, trace: Trace = Trace()) {
        scripted = CrashRun(options, trace: trace)
    }

    package mutating func perform(_ deed: CrashDeed) throws(CrashRunStuck) {
        switch deed {
        case .start: try start()
        case .promote:
            try scripted.promote(turn)
            primary = turn
            turn = 1 - turn
        case .write:
            let extent = writes % 3 * Geometry.blocksPerExtent
            let other = (writes + 1) % 3 * Geometry.blocksPerExtent
            writes += 1
            try write([extent..<extent + 2, other..<other + 1])
        case .evict: try evict()
        case .lose: try lose()
        case .resync:
            isCut = false
            scripted.heal()
            let scripted = scripted
            try scripted.run(until: "a resync") {
                scripted.isEstablished
                    || scripted.cluster.nodes.contains { node in
                        scripted.cluster.status(node)?.peers.first?.resync != nil
                    }
            }
        case .resynced:
            let scripted = scripted
            try scripted.run(until: "the end of the resync") { scripted.isEstablished }
        case .demote:
            guard let primary else { return }
            try scripted.demote(primary)
            self.primary = nil
        case .stop:
            let last = primary ?? 0
            try scripted.stop(1 - last)
            try scripted.stop(last)
            primary = nil
        }
        // What the deed left to be done in the background, up to the cooling of the log, now and then.
        try scripted.run(nanoseconds: deed == .resync ? 0 : 300_000_000)
        if let violation = scripted.violation { throw CrashRunStuck(description: violation.text) }
    }

    private func start() throws(CrashRunStuck) {
        for side in 0...1 { try scripted.start(side) }
        guard !isCut else { return }
        let scripted = scripted
        try scripted.run(until: "a connection") { scripted.isEstablished }
    }

    private func write(_ blocks: [Range<UInt64>]) throws(CrashRunStuck) {
        guard let primary else { return }
        try scripted.request(primary, .write, blocks.map { ByteRange(blocks: $0) })
    }

    private mutating func evict() throws(CrashRunStuck) {
        guard let primary else { return }
        for _ in 0..<3 {
            let extent = writes % 3 * Geometry.blocksPerExtent
            writes += 1
            try write([extent + 2..<extent + 3])
        }
        try scripted.request(primary, .flush, [ByteRange(offset: 0, length: 0)])
    }

    private mutating func lose() throws(CrashRunStuck) {
        scripted.cut()
        isCut = true
        if primary != nil {
            let extent = writes % 3 * Geometry.blocksPerExtent
            writes += 1
            try write([extent + 3..<extent + 5])
        }
        let scripted = scripted
        try scripted.run(until: "the loss to be noticed") { scripted.isParted }
    }
}
