import Formats
import Model
import ReplicationCore

/// What the core wants of the link, and what comes of it.
extension Cluster {
    func delay() -> UInt64 { 1000 + networkRandom.skewed(mean: options.networkDelay) }

    // MARK: Dialing

    func dial(_ peer: NodeID, from node: SimulatedNode) {
        let to = Int(peer.rawValue)
        guard node.dialing[to] == nil else {
            return oracle.fail("I7", "node \(node.side) dials while it dials")
        }
        network.dials += 1
        node.dialing[to] = network.dials
        heap.push(.dialArrives(node: node.side, attempt: network.dials), at: now + delay() + crossing())
    }

    func dialArrives(_ node: SimulatedNode, _ attempt: Int) {
        guard let to = node.dialing.firstIndex(of: attempt) else { return }
        let peer = nodes[to]
        guard network.connects(node.side, to), !peer.isPaused else {
            let patience = options.timing.pingTimeout * 2
            return heap.push(.dialFails(node: node.side, attempt: attempt), at: now + patience + delay())
        }
        guard peer.isUp, node.isUp else {
            return heap.push(.dialFails(node: node.side, attempt: attempt), at: now + delay())
        }
        guard meet(node, peer) else {
            node.dialing[to] = nil
            deliver(.peerRefused(peer.id, reason: "mismatch", message: "`nodes` differs"), to: node)
            return deliver(.dialFailed(peer.id, "refused"), to: node)
        }
        let session = SimulatedNetwork.Session(
            id: SessionID(rawValue: networkRandom.next() | 1), dialer: node.side, dialed: to,
            attempt: attempt, incarnations: nodes.map(\.incarnation), runs: nodes.map(\.run),
            discards: nodes.map(\.offersDiscard))
        let index = network.add(session)
        put(.opened, index, toward: peer.side, after: crossing())
        put(.opened, index, toward: node.side, after: delay() + crossing())
    }

    func dialFails(_ node: SimulatedNode, _ attempt: Int) {
        guard let to = node.dialing.firstIndex(of: attempt) else { return }
        node.dialing[to] = nil
        let peer = nodes[to]
        deliver(.dialFailed(peer.id, peer.isUp ? "timed out" : "refused"), to: node)
    }

    // MARK: Sending

    func send(_ message: PeerMessage, _ stamp: FrameStamp, to peer: NodeID, from node: SimulatedNode) {
        let to = Int(peer.rawValue)
        guard to != node.side, let index = network.index(of: stamp.session) else {
            return oracle.fail("I7", "node \(node.side) sends into a session that never was")
        }
        noteRound(message, from: node)
        noteConfirmation(message, stamp, from: node, to: to)
        guard !network[index].ended[node.side] else { return }
        // The daemon sends none to a peer that takes none.
        if case .announce = message, !options.faults.contains(.announcing) { return }
        checkAssertion(message, in: stamp.session, from: node, to: to)
        // A copy that was put back is filled from scratch: whatever it lacked, it was noticed.
        if case .resyncBegin(_, everything: true) = message { nodes[to].isRestored = false }
        if message.isStep { tempt(node) }
        if options.isByMajority { checkElection(message, from: node, to: to) }
        if options.duel != nil {
            if case .inquiry = message { asks(node) }
            temptDuel(node, message, to: to)
            strikeExactly(node, message, to: to)
        }
        var payload: [UInt8] = []
        if let (buffer, range) = message.payload {
            guard node.buffers.owner(of: buffer) != .free else {
                return oracle.fail("I7", "node \(node.side) sends buffer \(buffer.index), which is not its own")
            }
            payload = payloads.make(of: node.buffers.sectors(of: buffer).prefix(Int(range.length / 512)))
        }
        let head = FrameBytes.encode(message, stamp, payload: payload, scratch: scratch)
        put(.frame(head: head, payload: payload), index, toward: to)
    }

    func put(_ item: SimulatedNetwork.Item, _ index: Int, toward: Int, after: UInt64 = 0) {
        let arrival = max(
            network[index].lanes[toward].lastArrival + 1,
            now + after + delay() + distance(index, toward) + retransmission(toward))
        network[index].lanes[toward].lastArrival = arrival
        network[index].lanes[toward].items.append(damaged(item))
        heap.push(.frame(session: index, toward: toward), at: arrival)
    }

    private func distance(_ index: Int, _ toward: Int) -> UInt64 {
        guard options.distance > 0 else { return 0 }
        let from = network[index].other(than: toward)
        return options.mode(between: from, and: toward) == .asynchronous ? options.distance : 0
    }

    func closeSession(_ session: SessionID, _ reason: String, by node: SimulatedNode) {
        guard let index = network.index(of: session), !network[index].ended[node.side] else { return }
        network[index].ended[node.side] = true
        if !network[index].isSilent { put(.closed(reason), index, toward: network[index].other(than: node.side)) }
    }

    // MARK: Arriving

    func arrives(_ index: Int, _ toward: Int) {
        if network.isBlocked(from: network[index].other(than: toward), to: toward) {
            network[index].lanes[toward].held += 1
            return
        }
        if now < network[index].lanes[toward].heldUntil {
            return heap.push(.frame(session: index, toward: toward), at: network[index].lanes[toward].heldUntil)
        }
        guard let item = network[index].lanes[toward].popFirst() else { return }
        let node = nodes[toward]
        guard node.live != nil, network[index].incarnations[toward] == node.incarnation else { return }
        switch item {
        case .opened: opened(index, node)
        case .closed(let reason):
            guard network[index].opened[toward], !network[index].ended[toward] else {
                network[index].ended[toward] = true
                return
            }
            network[index].ended[toward] = true
            deliver(.sessionClosed(peer(of: index, at: toward).id, network[index].id, reason), to: node)
        case .frame(let head, let payload):
            guard network[index].opened[toward] else { return }
            if network[index].ended[toward], !options.faults.contains(.lateFrames) { return }
            received(head, payload, index, node)
            payloads.giveBack(payload)
        case .damagedFrame(let head, let payload):
            if network[index].opened[toward], !network[index].ended[toward] {
                receivedDamaged(head, payload, index, node)
            }
        }
    }

    private func opened(_ index: Int, _ node: SimulatedNode) {
        let session = network[index]
        let peer = peer(of: index, at: node.side)
        if session.dialer == node.side {
            guard node.dialing[peer.side] == session.attempt else {
                // The dial was called off: the other side sees the connection close.
                network[index].ended[node.side] = true
                put(.closed("called off"), index, toward: peer.side)
                return
            }
            node.dialing[peer.side] = nil
        }
        network[index].opened[node.side] = true
        // What comes first may have been said long before.
        oracle.elections.heard[node.side][peer.side] = 0
        deliver(
            .sessionOpened(
                peer.id, session.id, run: session.runs[peer.side], dialedHere: session.dialer == node.side,
                discardsItsData: session.discards[peer.side]), to: node)
    }

    private func received(_ head: [UInt8], _ payload: [UInt8], _ index: Int, _ node: SimulatedNode) {
        switch decode(head, payload, node) {
        case .success(let (stamp, message)):
            // Late bytes of a session that is over ask for nothing.
            let peer = peer(of: index, at: node.side)
            if case .flush(let round) = message, round > 0, !network[index].ended[node.side] {
                oracle.assertions.isAsked(node.side, in: stamp.session, round: round, mark: node.disk.writeMark)
            }
            deliver(.message(peer.id, stamp, message), to: node)
        case .failure(let error): oracle.fail("I7", "a frame that was sent whole does not decode: \(error)")
        }
    }

    func decode(
        _ head: [UInt8], _ payload: [UInt8], _ node: SimulatedNode
    ) -> Result<(FrameStamp, PeerMessage), PeerFrameError> {
        var taken: BufferID?
        let decoded = FrameBytes.decode(head: head, payload: payload) {
            let buffer = node.buffers.take(.payload, sectors: FrameBytes.sectors(of: payload))
            taken = buffer
            return buffer
        }
        if case .failure = decoded, let taken { node.buffers.release(taken) }
        return decoded
    }

    // MARK: Breaking

    func peer(of index: Int, at side: Int) -> SimulatedNode { nodes[network[index].other(than: side)] }

    /// Nothing of any other node arrives at node `toward` until the cut is healed.
    func block(_ toward: Int, for duration: UInt64) {
        for from in nodes.indices where from != toward { block(from: from, to: toward, for: duration) }
    }

    func block(from: Int, to: Int, for duration: UInt64) {
        let direction = network.direction(from: from, to: to)
        network.blocked[direction] = true
        network.cuts[direction] += 1
        heap.push(.heal(direction: direction, cut: network.cuts[direction]), at: now + duration)
        if trace.isOn {
            trace.add(
                now, Trace.world, "fault",
                "nothing of node \(from) arrives at node \(to) for \(duration / 1_000_000) ms")
        }
    }

    /// Whatever blocks it.
    func heal(toward: Int) {
        for from in nodes.indices where from != toward {
            let direction = network.direction(from: from, to: toward)
            heal(direction, network.cuts[direction])
        }
    }

    func heal(_ direction: Int, _ cut: Int) {
        guard cut >= 0, network.blocked[direction], network.cuts[direction] == cut else { return }
        network.blocked[direction] = false
        let (from, toward) = (direction / nodes.count, direction % nodes.count)
        if trace.isOn { trace.add(now, Trace.world, "fault", "frames of node \(from) arrive at node \(toward) again") }
        for index in network.sessions.indices
        where network[index].lanes[toward].held > 0 && network[index].other(than: toward) == from {
            let held = network[index].lanes[toward].held
            network[index].lanes[toward].held = 0
            var arrival = now + delay()
            for _ in 0..<held {
                heap.push(.frame(session: index, toward: toward), at: arrival)
                arrival += 1000
            }
            network[index].lanes[toward].lastArrival = max(network[index].lanes[toward].lastArrival, arrival)
        }
    }

    /// The connection breaks: both lanes lose their tail, each side hears of it in its time.
    func reset(_ index: Int, _ reason: String) {
        for toward in network[index].ends where !network[index].ended[toward] {
            let waiting = network[index].lanes[toward].waiting
            network[index].lanes[toward].dropTail(keeping: networkRandom.below(waiting + 1))
            put(
                .closed(reason), index, toward: toward,
                after: networkRandom.skewed(mean: options.timing.pingTimeout / 2))
        }
    }

    /// Node `side`'s process is gone. Its kernel says so to the other side, unless the machine is gone too.
    func dropSessions(of side: Int, silently: Bool) {
        for index in network.sessions.indices
        where network[index].concerns(side) && !network[index].ended[side] {
            network[index].ended[side] = true
            let toward = network[index].other(than: side)
            let waiting = network[index].lanes[toward].waiting
            if witness == nil { network[index].lanes[toward].dropTail(keeping: networkRandom.below(waiting + 1)) }
            network[index].isSilent = silently
            if !silently { put(.closed("reset by the other side"), index, toward: toward) }
        }
    }

    /// The machine is back: what the other side still sends into old sessions is answered with a reset.
    func breakSilence(of side: Int) {
        for index in network.sessions.indices where network[index].isSilent && network[index].concerns(side) {
            let other = network[index].other(than: side)
            // Either machine may be the one that vanished; its own process knows nothing of the session.
            network[index].isSilent = false
            if !network[index].ended[other] { put(.closed("reset by the other side"), index, toward: other) }
        }
    }
}

extension PeerMessage {
    /// The buffer that stands for a payload, and what it covers.
    var payload: (BufferID, ByteRange)? {
        switch self {
        case .write(_, let range, let buffer), .readData(_, let range, let buffer), .pullData(_, let range, let buffer):
            (buffer, range)
        default: nil
        }
    }
}
