import Model
import ReplicationCore

/// How each duel goes: which links, in which order, and who is asked when. All moments are drawn.
extension Cluster {
    private var lease: UInt64 { options.timing.lease }
    private var interval: UInt64 { options.timing.pingInterval }
    private var timeout: UInt64 { options.timing.pingTimeout }

    private func upTo(_ most: UInt64) -> UInt64 { duels.random.below(most) }

    /// Another one after it.
    func beginDuel() {
        guard let duel = options.duel else { return }
        duels.former = nil
        duels.slowCandidate = nil
        let isFirst = nodes.allSatisfy { !$0.glimpse.hasRecord }
        let cutOff = options.timing.cutOff
        if duel == .founding, isFirst {
            after(lease / 2 + upTo(cutOff), .begin)
            return foundTwice()
        }
        guard let former = nodes.first(where: { $0.isPrimary && $0.isUp && !$0.isPaused }),
            let rival = pick(copyNodes.filter { $0 !== former && $0.isUp })
        else {
            after(lease / 2, .begin)
            if let one = pick(Array(copyNodes.filter(\.isUp))) { after(upTo(interval), .promote(one, fenced: nil)) }
            return
        }
        // An exact one is fought to its end.
        let least = Duel.exact.contains(duel) ? 4 * cutOff : cutOff / 2
        after(least + upTo(2 * cutOff), .begin)
        duels.former = former.side
        castSpells(former.side)
        switch duel {
        case .isolation, .founding: isolate(former.side, rival)
        case .farewell: takeLeave(former.side, rival)
        case .latePongs: delayPongs(former.side, rival)
        case .lateVotes: interruptVotes(former.side, rival)
        case .rivals: rivalry(former.side, rival)
        case .fencing: fenceInFlight(former.side, rival)
        case .lostCaches: loseCaches(former.side, rival)
        case .forgottenVoter: forgetVoter(former.side, rival)
        case .diskless: duelWithoutDisk(former.side, rival)
        case .usurper: usurp(former.side, rival)
        case .stoppedClock:
            after(0, .requests(60))
            after(upTo(lease / 4), .stopClock(former.side, for: lease + upTo(4 * lease)))
            after(upTo(lease), .promote(rival, fenced: nil))
        case .rotation: rotate(former.side)
        case .forced: loseAllButOne(former.side, rival)
        case .heldDisk, .oldPromise, .lastFrames, .forgetfulMember, .unheardStart:
            fightExactly(duel, former.side, rival)
        }
    }

    /// A power loss, or the death of a process. Not of a member without which a primary leaves its disk (`Invariants`, not yet).
    private func drawsPowerLoss() -> Bool { duels.random.chance(1, in: 2) && options.duel != .diskless }

    private func pick(_ nodes: some Collection<SimulatedNode>) -> Int? {
        nodes.isEmpty ? nil : Array(nodes)[duels.random.below(nodes.count)].side
    }

    private func others(than side: Int) -> [Int] { nodes.indices.filter { $0 != side } }

    /// Both ways, or one.
    private func part(_ one: Int, _ others: [Int], for duration: UInt64, after delay: UInt64 = 0) {
        let shape = duels.random.below(4)
        if shape != 1 { after(delay, .cut([one], others, for: duration)) }
        if shape != 2 { after(delay, .cut(others, [one], for: duration)) }
    }

    private func isolate(_ former: Int, _ rival: Int) {
        after(0, .requests(80))
        part(former, others(than: former), for: lease + upTo(3 * lease))
        after(upTo(lease / 2), .promote(rival, fenced: nil))
        if duels.random.chance(1, in: 3), let third = pick(copyNodes.filter { $0.side != former && $0.side != rival }) {
            after(upTo(lease), .promote(third, fenced: nil))
        }
    }

    /// The last whom it heard is who follows it, and starts anew perhaps.
    private func takeLeave(_ former: Int, _ rival: Int) {
        let rest = others(than: former).filter { $0 != rival }
        let mostly = options.copies == 2 ? lease : options.timing.cutOff + interval
        let alone = mostly + lease / 10 + upTo(lease)
        after(0, .cut([former], rest, for: alone + 3 * lease))
        after(0, .cut(rest, [former], for: alone + 3 * lease))
        after(alone, .requests(80))
        part(former, [rival], for: lease + upTo(2 * lease), after: alone)
        guard duels.random.chance(2, in: 3) else {
            return after(alone + upTo(interval / 2), .promote(rival, fenced: nil))
        }
        after(alone + upTo(interval / 4), .kill(rival, losesPower: false, startsAfter: upTo(interval / 4)))
        let later = duels.random.chance(1, in: 2) ? lease : interval
        after(alone + interval / 2 + upTo(later), .promote(rival, fenced: nil))
    }

    private func delayPongs(_ former: Int, _ rival: Int) {
        let others = others(than: former)
        let way = timeout / 3 + upTo(timeout * 2 / 3)
        after(0, .cut(others, [former], for: 4 * lease))
        after(upTo(interval / 2), .cut([former], others, for: 4 * lease))
        after(way, .mend(others, [former]))
        after(way + interval / 8, .cut(others, [former], for: 3 * lease))
        after(0, .requests(90))
        after(upTo(lease), .promote(rival, fenced: nil))
    }

    private func interruptVotes(_ former: Int, _ rival: Int) {
        let others = others(than: former)
        after(0, .cut([former], others, for: 6 * lease))
        after(0, .cut(others, [former], for: 6 * lease))
        after(upTo(lease / 2), .promote(rival, fenced: nil))
        after(lease, .requests(80))
        duels.slowCandidate = rival
    }

    /// The candidate has asked whether it may be one.
    func asks(_ node: SimulatedNode) {
        guard duels.slowCandidate == node.side, let former = duels.former, duels.random.chance(1, in: 3) else { return }
        duels.slowCandidate = nil
        let rest = others(than: former).filter { $0 != node.side }
        let back = 2 * options.networkDelay + upTo(lease / 2)
        node.disk.faults.hungUntil = now + back + upTo(interval)
        after(back, .mend([former], rest))
        after(back, .mend(rest, [former]))
        let again = back + interval / 4 + upTo(interval)
        after(again, .cut([former], rest, for: 4 * lease))
        after(again, .cut(rest, [former], for: 4 * lease))
    }

    private func rivalry(_ former: Int, _ rival: Int) {
        after(0, .requests(60))
        if duels.random.chance(1, in: 2) {
            let losesPower = drawsPowerLoss()
            after(0, .kill(former, losesPower: losesPower, startsAfter: upTo(4 * lease)))
        } else {
            part(former, others(than: former), for: lease + upTo(3 * lease))
        }
        if duels.random.chance(1, in: 2) { part(rival, [others(than: rival)[0]], for: upTo(2 * lease)) }
        let close = duels.random.pick([0, interval / 8, lease])
        let first = duels.random.chance(1, in: 2) ? lease + upTo(lease) : upTo(lease)
        for candidate in 0..<options.copies where candidate == rival || duels.random.chance(2, in: 3) {
            after(first + upTo(close), .promote(candidate, fenced: nil))
        }
    }

    private func fenceInFlight(_ former: Int, _ rival: Int) {
        let some = others(than: former).filter { _ in duels.random.chance(1, in: 2) }
        after(0, .requests(40))
        after(0, .cut([former], some, for: upTo(2 * timeout)))
        let off = upTo(timeout)
        after(off, .kill(former, losesPower: drawsPowerLoss(), startsAfter: nil))
        after(off + upTo(interval / 4), .promote(rival, fenced: former))
        nodes[former].isHeldDown = true
        duels.heldDown.insert(former)
        after(off + lease + upTo(2 * options.timing.cutOff), .release(former))
    }

    private func loseCaches(_ former: Int, _ rival: Int) {
        after(0, .requests(30))
        let parted = lease + upTo(options.timing.cutOff * 2)
        for copy in 0..<options.copies where copy != former {
            part(former, [copy], for: parted, after: interval)
            guard copy == rival || duels.random.chance(2, in: 3) else { continue }
            after(interval + upTo(interval / 4), .kill(copy, losesPower: true, startsAfter: upTo(interval)))
        }
        if duels.random.chance(1, in: 2) {
            let losesPower = duels.random.chance(1, in: 3)
            after(interval + upTo(interval), .kill(former, losesPower: losesPower, startsAfter: parted))
        }
        after(2 * interval + upTo(lease), .promote(rival, fenced: nil))
    }

    private func forgetVoter(_ former: Int, _ rival: Int) {
        let witness = options.copies
        let rest = others(than: former)
        let long = 4 * lease + upTo(4 * lease)
        if duels.random.chance(1, in: 2) {
            after(0, .cut([former], rest, for: long))
            after(0, .cut(rest, [former], for: long))
            after(upTo(lease / 2), .promote(rival, fenced: nil))
        } else {
            // The rival is left out with the witness's vote, which then is forgotten.
            part(former, rest.filter { $0 != witness }, for: long)
        }
        after(0, .requests(100))
        let forgets = lease + upTo(3 * lease)
        after(forgets, .forgetWitness)
        guard duels.random.chance(2, in: 3) else { return }
        let side = duels.random.chance(1, in: 2) ? former : rival
        let parted = side == former ? rival : former
        after(forgets, .mend([side], [witness]))
        after(forgets, .mend([witness], [side]))
        after(forgets, .cut([parted], [witness], for: 3 * lease))
        after(forgets, .cut([witness], [parted], for: 3 * lease))
        if duels.random.chance(1, in: 2) { after(forgets, .kill(parted, losesPower: false, startsAfter: 3 * lease)) }
        after(forgets + upTo(lease), .promote(side, fenced: nil))
    }

    private func duelWithoutDisk(_ former: Int, _ rival: Int) {
        let bare = duels.random.chance(2, in: 3) ? rival : former
        after(0, .detach(bare))
        after(2 * lease + upTo(options.timing.cutOff * 2), .attach(bare))
        switch duels.random.below(3) {
        case 0: isolate(former, rival)
        case 1: takeLeave(former, rival)
        default: rivalry(former, rival)
        }
    }

    private func usurp(_ former: Int, _ rival: Int) {
        after(0, .requests(30))
        if duels.random.chance(2, in: 3) { part(former, [rival], for: lease + upTo(3 * lease)) }
        after(upTo(2 * lease), .promote(rival, fenced: nil))
    }

    private func rotate(_ former: Int) {
        let cutOff = options.timing.cutOff
        after(0, .requests(120))
        var moment: UInt64 = 0
        for copy in 0..<options.copies where copy != former {
            let power = duels.random.chance(1, in: 2)
            after(moment + upTo(lease), .kill(copy, losesPower: power, startsAfter: cutOff + upTo(2 * cutOff)))
            moment += upTo(2 * cutOff)
        }
        let ends = upTo(3 * cutOff)
        after(ends, .kill(former, losesPower: drawsPowerLoss(), startsAfter: cutOff + upTo(cutOff)))
        for copy in 0..<options.copies { after(ends + upTo(cutOff), .promote(copy, fenced: nil)) }
    }

    /// Once: in later rounds somebody is cut off, and the lines are healed.
    private func loseAllButOne(_ former: Int, _ rival: Int) {
        guard ruler == nil, !hasForced else {
            after(upTo(lease), .healLines)
            return duels.random.chance(1, in: 2) ? isolate(former, rival) : rivalry(former, rival)
        }
        after(0, .requests(60))
        let left = duels.random.chance(2, in: 3) ? rival : former
        let cutOff = options.timing.cutOff
        if duels.random.chance(1, in: 2) { part(left, others(than: left), for: lease + upTo(cutOff)) }
        let gone = upTo(lease)
        for copy in 0..<options.copies where copy != left {
            hold(copy, until: gone + 3 * cutOff + upTo(2 * cutOff), gone + upTo(interval))
        }
        if left == former { after(gone, .kill(left, losesPower: drawsPowerLoss(), startsAfter: interval)) }
        if options.witnesses > 0, duels.random.chance(1, in: 2) {
            after(upTo(lease), .kill(options.copies, losesPower: true, startsAfter: upTo(4 * cutOff)))
        }
        after(gone + interval + upTo(3 * lease), .force(left))
        after(gone + interval + 4 * lease, .force(left))
        for _ in 0..<3 { after(gone + 3 * cutOff + upTo(4 * cutOff), .healLines) }
    }

    /// Powered off or killed, and not started again by itself.
    private func hold(_ copy: Int, until moment: UInt64, _ gone: UInt64) {
        nodes[copy].isHeldDown = true
        duels.heldDown.insert(copy)
        after(gone, .kill(copy, losesPower: drawsPowerLoss(), startsAfter: nil))
        after(moment, .release(copy))
    }

    private func foundTwice() {
        for one in nodes.indices {
            for other in nodes.indices where other != one && duels.random.chance(2, in: 5) {
                after(upTo(interval), .cut([one], [other], for: upTo(3 * lease)))
            }
        }
        for copy in 0..<options.copies where duels.random.chance(2, in: 3) {
            after(upTo(lease), .promote(copy, fenced: nil))
            if duels.random.chance(1, in: 3) {
                after(
                    upTo(2 * lease),
                    .kill(copy, losesPower: drawsPowerLoss(), startsAfter: upTo(2 * lease)))
            }
        }
    }

    // MARK: Steps

    /// A message of an election or of a record goes out: its sender, or one whom it concerns, may go at this very moment, or
    /// some others do not hear it.
    func temptDuel(_ node: SimulatedNode, _ message: PeerMessage, to: Int) {
        guard options.faults.contains(.temptation), phase == .safety, message.isElection, duels.random.chance(1, in: 12)
        else { return }
        let delay = duels.random.chance(1, in: 2) ? 0 : upTo(2 * (options.networkDelay + options.diskLatency))
        let victim = duels.random.chance(2, in: 3) ? node.side : to
        switch duels.random.below(6) {
        case 0, 1:
            after(delay, .kill(victim, losesPower: drawsPowerLoss(), startsAfter: upTo(2 * lease)))
        case 2, 3:
            let some = others(than: victim).filter { _ in duels.random.chance(1, in: 2) }
            part(victim, some, for: upTo(2 * lease), after: delay)
        case 4: if let one = pick(Array(copyNodes.filter(\.isUp))) { after(delay, .promote(one, fenced: nil)) }
        default:
            part(victim, others(than: victim), for: lease + upTo(lease), after: delay)
            if let one = pick(copyNodes.filter { $0.side != victim }) {
                after(delay + upTo(lease), .promote(one, fenced: nil))
            }
            if nodes[victim].isPrimary { duels.former = victim }
        }
    }
}

extension PeerMessage {
    /// Of the way to a term, or of a record's.
    fileprivate var isElection: Bool {
        switch self {
        case .vote, .voted, .propose, .accepted, .chosen, .joinOffer: true
        default: false
        }
    }
}
