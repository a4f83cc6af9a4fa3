import Model
import ReplicationCore

/// The clients: at whichever node is primary, and now and then at one that is not.
extension Cluster {
    func workload() {
        guard operationsLeft > 0 else { return }
        defer { heap.push(.workload, at: now + nextGap()) }
        guard let node = pickNode() else { return }
        if !node.isPrimary {
            // A request that raced with a demotion.
            if !node.isPaused { submitRequest(node, kind: .read) }
            return
        }
        guard node.operationsInFlight < options.queueDepth, !node.clientLeaves else { return }
        if node.clients == 0 {
            node.clients = 1
            deliver(.clientsChanged(count: 1), to: node)
            guard node.isUp else { return }
        }
        operationsLeft -= 1
        let kind = drawKind()
        submitRequest(node, kind: duels.former == node.side && kind != .flush ? .read : kind)
    }

    private func nextGap() -> UInt64 {
        if thinkBurst > 0 {
            thinkBurst -= 1
            return 1 + workloadRandom.below(50_000)
        }
        if workloadRandom.chance(1, in: 3) { thinkBurst = workloadRandom.within(1...options.queueDepth * 2) }
        if workloadRandom.chance(1, in: 40) { return workloadRandom.below(UInt64(800_000_000)) }
        return 1 + workloadRandom.skewed(mean: options.thinkTime)
    }

    private func pickNode() -> SimulatedNode? {
        let first = workloadRandom.below(options.copies)
        guard !options.isByMajority else { return pickAmongMany(first) }
        let (one, other) = (nodes[first], nodes[1 - first])
        if one.isPrimary, one.isUp { return one }
        if other.isPrimary, other.isUp { return other }
        guard workloadRandom.chance(1, in: 50) else { return nil }
        return one.isUp ? one : other.isUp ? other : nil
    }

    /// A primary that was superseded and does not know it yet is asked like any other.
    private func pickAmongMany(_ first: Int) -> SimulatedNode? {
        let order = copyNodes.indices.map { nodes[($0 + first) % options.copies] }.filter(\.isUp)
        if let primary = order.first(where: \.isPrimary) { return primary }
        return workloadRandom.chance(1, in: 50) ? order.first : nil
    }

    private func drawKind() -> ClientRequest.Kind {
        let draw = workloadRandom.below(UInt64(100))
        if draw < options.readShare { return .read }
        if draw < options.readShare + options.flushShare { return .flush }
        if options.faults.contains(.zeroing), workloadRandom.chance(1, in: 4) {
            return workloadRandom.chance(1, in: 2) ? .zero : .trim
        }
        return .write
    }

    private func submitRequest(_ node: SimulatedNode, kind: ClientRequest.Kind) {
        guard node.operations.contains(where: { $0 == nil }) else { return }
        var range =
            kind == .flush
            ? ByteRange(offset: 0, length: 0)
            : drawRange(of: offered(by: node), aligned: kind == .zero || kind == .trim)
        if kind == .read, let recent = drawRecent(), recent.end <= offered(by: node) * Geometry.blockSize {
            range = recent
        }
        // What was planted there nobody wrote.
        if range.blocks.contains(where: { copies.planted.contains(Int($0)) }) { return }
        if kind != .read, kind != .flush { recentWrites = recentWrites.suffix(7) + [range] }
        let forced = kind != .read && kind != .flush && workloadRandom.chance(options.forcedShare, in: 100)
        give(node, kind, range, forced: forced)
    }

    /// A client's request reaches the node: nil when it has as many as it may have.
    @discardableResult
    func give(_ node: SimulatedNode, _ kind: ClientRequest.Kind, _ range: ByteRange, forced: Bool) -> ClientOperation? {
        guard let ticket = node.operations.firstIndex(where: { $0 == nil }) else { return nil }
        var operation = ClientOperation(
            ticket: UInt32(ticket), kind: kind, range: range, forced: forced, buffer: nil, write: nextWrite,
            began: step, beganAt: now)
        nextWrite += 1
        let blocks = range.blocks
        switch kind {
        case .read: operation.buffer = node.buffers.take(.clientRead, blocks: blocks.count)
        case .write:
            var values = Array(repeating: BufferStore.poison, count: blocks.count * 8)
            let first = Int(blocks.lowerBound) * 8
            values.withUnsafeMutableBufferPointer { values in
                for sector in operation.sectors { values[sector - first] = operation.value(of: sector) }
            }
            operation.buffer = node.buffers.take(.clientWrite, sectors: values)
        case .zero, .trim, .flush: break
        }
        node.operations[ticket] = operation
        oracle.began(operation)
        deliver(
            .clientRequest(
                ClientRequest(
                    ticket: operation.ticket, kind: kind, range: range, forced: operation.forced,
                    buffer: operation.buffer)),
            to: node)
        return operation
    }

    /// A few blocks in each of up to ten extents, so that requests collide and the log has no room for all.
    private func drawRange(of blocks: UInt64, aligned: Bool) -> ByteRange {
        let extents = (blocks + Geometry.blocksPerExtent - 1) / Geometry.blocksPerExtent
        let first = workloadRandom.below(extents) * Geometry.blocksPerExtent
        let room = min(Geometry.blocksPerExtent, blocks - first)
        let hot = min(options.hotBlocks, room)
        let start = first + (workloadRandom.chance(1, in: 64) ? workloadRandom.below(room) : workloadRandom.below(hot))
        let most = min(options.largestRequestBlocks, first + room - start)
        let count = 1 + workloadRandom.below(most)
        var range = ByteRange(blocks: start..<start + count)
        guard !aligned, options.faults.contains(.unaligned), workloadRandom.chance(1, in: 3) else { return range }
        let head = workloadRandom.below(UInt64(8))
        let tail = workloadRandom.below(count * 8 - head)
        range.offset += head * 512
        range.length -= (head + tail) * 512
        return range
    }

    /// What was written last, as a filesystem reads its journal after a failover. Where faults fall at steps it tells most.
    private func drawRecent() -> ByteRange? {
        guard options.faults.contains(.steps), !recentWrites.isEmpty, recentRandom.chance(1, in: 4) else { return nil }
        return recentWrites[recentRandom.below(recentWrites.count)]
    }

    // MARK: Answers

    /// What the core says of itself and the oracle relies on: requests fail for want of a quorum only where there is none.
    func noted(_ note: Note, _ node: SimulatedNode) {
        if note.subject == "handshake", note.text.hasPrefix("verdict") { endedNodes.remove(node.side) }
        guard note.subject == "io", note.text.hasPrefix("no quorum") else { return }
        node.failedForQuorumAt = now
        guard let core = node.live?.core, core.pointee.status(at: MonotonicTime(nanoseconds: 0)).quorum != false else {
            return
        }
        oracle.fail("I7", "node \(node.side) fails requests for want of a quorum that it has")
    }

    func replied(_ ticket: UInt32, _ result: ClientResult, _ node: SimulatedNode) {
        guard Int(ticket) < node.operations.count, let operation = node.operations[Int(ticket)] else {
            return oracle.fail("I7", "node \(node.side) answered ticket \(ticket) twice")
        }
        node.operations[Int(ticket)] = nil
        trace.mix(UInt64(ticket) &+ operation.write << 8)
        if operation.kind == .read, let buffer = operation.buffer, node.buffers.isInUse(buffer) {
            oracle.fail("I7", "node \(node.side) answered \(operation.description) while its disk uses the buffer")
        }
        switch result {
        case .done: done(operation, node)
        case .failed:
            let lacksQuorum = options.failsWithoutQuorum && operation.beganAt <= node.failedForQuorumAt
            if options.faults.isDisjoint(with: .failingDisks), !node.lostDisk, !lacksQuorum {
                oracle.fail("I7", "node \(node.side) failed \(operation.description) though no disk failed")
            }
        case .notPrimary:
            if node.isPrimary, operation.beganAt > node.closedClientsAt,
                node.live?.core.pointee.glimpse().isPrimary == true, node.commands.isEmpty
            {
                oracle.fail("I7", "node \(node.side) is primary and says that it is not, to \(operation.description)")
            }
        }
        if operation.kind == .read, let buffer = operation.buffer { node.buffers.release(buffer) }
    }

    private func done(_ operation: ClientOperation, _ node: SimulatedNode) {
        guard let live = node.live else { return }
        let glimpse = live.core.pointee.glimpse()
        guard node.isPrimary || glimpse.isPrimary else {
            return oracle.fail("I4", "node \(node.side), not primary, did \(operation.description)")
        }
        let required = glimpse.required
        // What was on its way when the machine stood still, and its clock, is answered late: of what others did meanwhile it may be
        // any part.
        if operation.began < node.stoodStillFrom {
            if operation.changesData { oracle.answeredLate(operation, by: node.side, required, at: step) }
            return
        }
        if operation.kind != .read || options.isByMajority { checkTerm(glimpse, of: node) }
        let isLaggard = options.isByMajority && options.mode(between: node.side, and: other(node).side) == .asynchronous
        if node.mustHear, required.contains(other(node).id), !isLaggard {
            oracle.fail(
                "I1", "node \(node.side) stood still, and answers \(operation.description) before it heard its peer")
        }
        switch operation.kind {
        case .write, .zero, .trim:
            noteAcknowledged(operation)
            let place = OracleLoss.Place(term: glimpse.number.term, sequence: live.core.pointee.newestSequence)
            oracle.acknowledged(operation, by: node.side, required: required, at: step, place)
        case .flush: oracle.flushed(operation, by: node.side, required: required)
        case .read:
            guard let buffer = operation.buffer else { return }
            let first = Int(operation.range.offset % Geometry.blockSize / 512)
            let values = node.buffers.sectors(of: buffer)[first..<first + operation.sectors.count]
            oracle.read(operation, values, by: node.side, required: required, at: step)
        }
    }

    /// All connections end. Their requests were answered before, but for those that the disk still has; what still lies
    /// in their sockets nobody reads.
    func clientsClosed(_ node: SimulatedNode) {
        node.inbox.removeAll { event in
            guard case .clientRequest(let request) = event else { return false }
            node.operations[Int(request.ticket)] = nil
            if let buffer = request.buffer { node.buffers.release(buffer) }
            return true
        }
        for case let operation? in node.operations where !node.disk.hasOperations && node.inbox.isEmpty {
            oracle.fail("I7", "node \(node.side) closed its clients before it answered \(operation.description)")
        }
        node.closedClientsAt = now
        node.clients = 0
        node.clientLeaves = false
        later(.clientsChanged(count: 0), to: node)
    }

    /// The client goes as soon as its requests are answered.
    func letClientGo(_ node: SimulatedNode) -> Bool {
        guard node.clients > 0 else { return true }
        node.clientLeaves = true
        guard node.operationsInFlight == 0, !node.isPaused else { return false }
        node.clients = 0
        node.clientLeaves = false
        deliver(.clientsChanged(count: 0), to: node)
        return true
    }
}
