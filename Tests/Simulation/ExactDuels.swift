import Model
import ReplicationCore

/// Duels that lead to one moment: some rules matter only there, and what chance draws hardly ever comes by. The moment is that of
/// a message; what follows it is drawn.
extension Cluster {
    private var lease: UInt64 { options.timing.lease }
    private var interval: UInt64 { options.timing.pingInterval }
    private var timeout: UInt64 { options.timing.pingTimeout }
    private var cutOff: UInt64 { options.timing.cutOff }

    private func upTo(_ most: UInt64) -> UInt64 { duels.random.below(most) }
    private func others(than side: Int) -> [Int] { nodes.indices.filter { $0 != side } }

    private func isolate(_ side: Int, from others: [Int], for duration: UInt64, after delay: UInt64) {
        after(delay, .cut([side], others, for: duration))
        after(delay, .cut(others, [side], for: duration))
    }

    private func mend(_ side: Int, with others: [Int], after delay: UInt64) {
        after(delay, .mend([side], others))
        after(delay, .mend(others, [side]))
    }

    /// Asked again until it is: a voter may have heard the former primary a moment ago.
    private func insist(on rival: Int, fenced: Int? = nil, from delay: UInt64, until end: UInt64) {
        var moment = delay
        while moment < end {
            after(moment, .promote(rival, fenced: fenced))
            moment += interval / 2 + upTo(interval)
        }
    }

    func fightExactly(_ duel: Duel, _ former: Int, _ rival: Int) {
        duels.awaited = nil
        duels.hasCome = []
        switch duel {
        case .heldDisk: holdDisk(former, rival)
        case .oldPromise: promiseInVain(former, rival)
        case .lastFrames: sendLast(former, rival)
        case .forgetfulMember: forgetLease(former, rival)
        default: startUnheard(former, rival)
        }
    }

    // MARK: The ways there

    private func holdDisk(_ former: Int, _ rival: Int) {
        let parted = interval / 2 + upTo(interval / 2)
        let done = parted + lease + lease / 20 + upTo(cutOff - lease)
        after(0, .holdData(former, until: now + done))
        after(1000, .fill(former, writes: 2 + duels.random.below(4), reads: duels.random.below(4)))
        isolate(former, from: others(than: former), for: done + lease, after: parted)
        insist(on: rival, from: parted + lease / 2, until: done)
        after(parted + lease * 3 / 4, .requests(60))
    }

    private func promiseInVain(_ former: Int, _ rival: Int) {
        duels.awaited = rival
        isolate(former, from: others(than: former), for: 8 * lease, after: 0)
        insist(on: rival, from: lease / 2, until: 3 * lease)
    }

    /// What it wrote last has come to nobody. The candidate has lost it before: it asks only whom it hears.
    private func sendLast(_ former: Int, _ rival: Int) {
        duels.awaited = rival
        let parted = timeout + interval / 2 + upTo(interval / 4)
        let off = parted + interval / 8 + upTo(interval / 8)
        isolate(former, from: [rival], for: off + 4 * timeout, after: 0)
        after(parted, .cut([former], others(than: former).filter { $0 != rival }, for: 4 * timeout))
        after(parted + upTo(interval / 8), .fill(former, writes: 1 + duels.random.below(4), reads: 0))
        after(off, .kill(former, losesPower: duels.random.chance(1, in: 2), startsAfter: nil))
        nodes[former].isHeldDown = true
        duels.heldDown.insert(former)
        insist(on: rival, fenced: former, from: off + 1000, until: off + timeout)
        after(off + lease + upTo(2 * cutOff), .release(former))
        after(off + timeout, .requests(40))
    }

    /// Its lease is of those that still hear it, and they do not know that they gave one.
    private func forgetLease(_ former: Int, _ rival: Int) {
        let copies = copyNodes.map(\.side).filter { $0 != former && $0 != rival }
        let isBare = options.copies == 4 && duels.random.chance(2, in: 3)
        let last = isBare ? copies : [duels.random.pick(copies)]
        if isBare {
            after(0, .detach(rival))
            after(6 * cutOff, .attach(rival))
        }
        // Without a disk it is no member: the record without it comes first.
        let rest = isBare ? 2 * interval : 0
        let alone = rest + lease + lease / 10 + upTo((cutOff - lease) / 2)
        isolate(former, from: others(than: former).filter { !last.contains($0) }, for: alone + 2 * lease, after: rest)
        isolate(former, from: last, for: 2 * lease, after: alone)
        for copy in last { after(alone, .kill(copy, losesPower: false, startsAfter: upTo(interval / 8))) }
        insist(on: rival, from: alone + interval / 8, until: alone + lease)
        after(alone > lease ? alone - lease / 4 : 0, .requests(60))
    }

    private func startUnheard(_ former: Int, _ rival: Int) {
        let next = duels.random.pick(copyNodes.map(\.side).filter { $0 != rival })
        duels.awaited = next
        after(0, .handOver(former, tries: 60))
        insist(on: next, from: interval / 2, until: 2 * lease)
    }

    // MARK: The moment

    /// Before a message leaves.
    func strikeExactly(_ node: SimulatedNode, _ message: PeerMessage, to: Int) {
        guard phase == .safety, let awaited = duels.awaited else { return }
        switch (options.duel, message) {
        case (.oldPromise, .vote) where node.side == awaited: leavesInVain(awaited)
        case (.lastFrames, .voted) where to == awaited && !node.isWitness: comesLast(node.side, awaited)
        case (.unheardStart, .accepted) where to == awaited && !node.isWitness && !nodes[to].isPrimary:
            duels.hasCome.insert(node.side)
            let members = node.glimpse.inStep.map { Int($0.rawValue) }.filter { $0 != awaited }
            if duels.hasCome.isSuperset(of: members) { fallsSilent(awaited) }
        default: break
        }
    }

    /// Nobody hears its question; the primary goes on without it, and hears of its promise later.
    private func leavesInVain(_ rival: Int) {
        duels.awaited = nil
        guard let former = duels.former else { return }
        let away = cutOff + 2 * lease
        isolate(rival, from: others(than: rival), for: away, after: 0)
        mend(former, with: others(than: former).filter { $0 != rival }, after: 0)
        let end = now + away + lease
        nodes[former].disk.faults.slowUntil = end + lease
        after(away - interval / 2, .holdData(former, until: now + away + upTo(interval)))
        for _ in 0..<12 {
            let moment = away - interval / 2 + upTo(2 * interval)
            after(moment, .fill(former, writes: duels.random.below(3), reads: 1 + duels.random.below(2)))
        }
    }

    /// The candidate's record takes a moment; what the former primary sent comes before it.
    private func comesLast(_ voter: Int, _ rival: Int) {
        duels.awaited = nil
        guard let former = duels.former, voter != former else { return }
        after(options.networkDelay, .hangDisk(rival, for: interval / 2 + upTo(interval)))
        after(0, .mend([former], [voter]))
    }

    /// It serves from now on, and nobody knows; the lease rests on what was answered before.
    private func fallsSilent(_ primary: Int) {
        duels.awaited = nil
        let rest = others(than: primary)
        after(0, .cut([primary], rest, for: 3 * lease))
        after(lease / 4, .cut(rest, [primary], for: 3 * lease))
        duels.former = primary
        after(interval / 8, .requests(80))
        guard let rival = copyNodes.first(where: { $0.side != primary && $0.isUp }) else { return }
        insist(on: rival.side, from: upTo(interval / 2), until: 2 * lease)
    }
}
