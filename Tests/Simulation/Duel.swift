import Model
import ReplicationCore

/// What a seed of a cluster with quorum may have beside its other faults: two nodes that want to lead at once, again and
/// again, each time at other moments. Chance alone hardly ever promotes one node while another one serves and is cut off.
package enum Duel: String, CaseIterable, Sendable {
    /// The primary hears nobody, or is heard by nobody; its clients go on reading, another node is promoted at once.
    case isolation
    /// It is cut off from all but one for long, then from that one too, which is promoted at once, or started anew before.
    case farewell
    /// What members answered to it lies on its way, and comes after they heard the last of it.
    case latePongs
    /// It is back, but for the candidate, between the question and the vote.
    case lateVotes
    /// Two or three candidates at the same moment, who hear each other or not.
    case rivals
    /// It is powered off while what it sent to some is still on its way, and one that vouches for that is promoted.
    case fencing
    /// All copies but one lose their caches at once, and one of those is promoted.
    case lostCaches
    /// The witness's memory is deleted while two nodes lead.
    case forgottenVoter
    /// One of the two has no disk.
    case diskless
    /// It serves, is heard by all but perhaps the candidate, and another node is to be promoted.
    case usurper
    /// Candidates at the first moment of a volume, who hear some others only.
    case founding
    /// Its machine stands still, with its clock, as a virtual one that is moved; `reads: confirm`.
    case stoppedClock
    /// All copies are lost but one, and an administrator promotes that by force.
    case forced
    /// Copies go and come back one after the other, and who leads goes before all are back.
    case rotation

    // Exact ones: what goes on at a moment that chance hardly ever meets (`ExactDuels`).
    /// What its members answered waits for its own disk, which takes longer than its lease, and another node follows it.
    case heldDisk
    /// A candidate is cut off as it asks for votes, is left out, and comes back with its promise, while the primary's disk is slow.
    case oldPromise
    /// It is powered off, and a voter hears the last that it wrote when it has voted, before the record that follows.
    case lastFrames
    /// The only members that still heard it are started anew, and have forgotten that they did; another one is promoted.
    case forgetfulMember
    /// A new primary is heard by nobody from the moment on when the members had accepted its record.
    case unheardStart

    /// Those that seeds drew first.
    static let first: [Duel] = [
        .isolation, .farewell, .latePongs, .lateVotes, .rivals, .fencing, .lostCaches, .forgottenVoter, .diskless,
        .usurper, .founding, .stoppedClock, .forced, .rotation,
    ]
    static let exact = allCases.filter { !first.contains($0) }
}

extension SimulationOptions {
    /// A draw from a stream of its own. Two of three seeds have one.
    /// - Parameter wanted: that one, in each seed.
    mutating func drawDuel(_ wanted: Duel?, exact: Bool) {
        var random = SplitMix(seed: seed, subject: "duel options")
        var exactRandom = SplitMix(seed: seed, subject: "exact duel options")
        let isExact = wanted.map { Duel.exact.contains($0) } ?? (exact && exactRandom.chance(1, in: 3))
        guard random.chance(2, in: 3) || wanted != nil || isExact else { return }
        let drawn = random.pick(Duel.first)
        var duel = wanted ?? (isExact ? exactRandom.pick(Duel.exact) : drawn)
        if duel == .forgottenVoter, witnesses == 0 { duel = .rivals }
        self.duel = duel
        // In every second one nothing else goes wrong that would spoil it.
        if random.chance(1, in: 2) {
            faults.formIntersection([.lateFrames, .unaligned, .zeroing, .drift, .givingWay, .slowDisk, .administrator])
        }
        faults.insert(.duels)
        if random.chance(1, in: 2) { faults.insert(.drift) }
        clockDrifts = clockDrifts.map { _ in random.pick([-4900, 4900]) }
        if random.chance(1, in: 2) { faults.insert(.temptation) }
        var spells = SplitMix(seed: seed, subject: "spell options")
        if spells.chance(1, in: 2) { faults.insert(.slowSpells) }
        if duel == .diskless { faults.insert(.meddling) }
        if duel == .stoppedClock { confirmsReads = true }
        let scale = random.pick([4, 8, 16] as [UInt64])
        timing.cutOff = 6_000_000_000 / scale
        timing.pingInterval = 500_000_000 / scale
        timing.pingTimeout = 1_000_000_000 / scale
        timing.reconnectMinimum = 100_000_000 / scale
        timing.reconnectMaximum = random.pick([300_000_000, 5_000_000_000]) / scale
        timing.lease = timing.pingInterval + timing.pingTimeout * random.within(1...3)
        networkDelay = min(networkDelay, timing.pingInterval / 20)
        diskLatency = min(diskLatency, timing.pingInterval / 10)
        blocks = min(blocks, 128)
        hotBlocks = random.within(3...10)
        largestRequestBlocks = random.pick([1, 1, 2])
        queueDepth = random.within(1...6)
        operations = random.within(30...120)
        thinkTime = timing.cutOff * random.within(4...8) / UInt64(operations)
        faultGap = timing.cutOff * random.within(1...4)
        administratorGap = timing.cutOff * random.within(1...4)
        if isExact { drawExactly(&exactRandom) }
    }

    /// In most seeds nothing else happens, and a lease is much shorter than the time after which a member is left out.
    private mutating func drawExactly(_ random: inout SplitMix) {
        faults.insert(.exactDuels)
        faults.subtract([.rolledBack, .blank])
        if random.chance(3, in: 4) { faults.formIntersection([.drift, .duels, .exactDuels, .lateFrames]) }
        timing.lease = timing.pingInterval + timing.pingTimeout * random.within(1...2)
        timing.reconnectMaximum = timing.reconnectMinimum * 2
        confirmsReads = false
        thinkTime *= 3
        switch duel {
        case .lastFrames: copies = max(copies, 3)
        case .forgetfulMember:
            // A majority of voters beside the primary and one without a disk: five of them.
            copies = random.chance(1, in: 2) ? 4 : max(copies, 3)
            if copies == 4 { witnesses = 1 }
        default: break
        }
        while clockOffsets.count < nodes { clockOffsets.append(random.within(1...1 << 40)) }
        clockDrifts = (0..<nodes).map { _ in random.pick([-4900, 4900]) }
    }
}
