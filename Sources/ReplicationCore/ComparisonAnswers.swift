package import Model

/// What was read and what was answered in a comparison, on both sides.
extension Replica {
    /// Of either side: the data is in the buffer.
    mutating func comparedRead(_ slot: Int, _ result: DiskResult) {
        guard result != .failed else {
            if table[slot].kind == .digestRead {
                table[slot].localFailed = true
                endPeerOperation(slot)
            } else {
                compared(slot, .unreadable)
            }
            return
        }
        guard let buffer = table[slot].buffer else { preconditionFailure("a read has a buffer") }
        table[slot].phase = .waitingDigest
        emit(.digestData(OperationID(rawValue: UInt32(slot)), table[slot].range, buffer))
    }

    mutating func digested(_ id: OperationID, _ digests: [UInt8]) {
        let slot = Int(id.rawValue)
        precondition(
            slot < table.count && table[slot].phase == .waitingDigest, "a digest is taken once, for who asked for it")
        precondition(
            digests.count == Int(table[slot].range.length / Geometry.blockSize) * Comparing.digestLength,
            "each block has a digest")
        guard table[slot].kind == .digestRead else {
            compared(slot, .digests(digests))
            return
        }
        let node = table[slot].peer
        if table[slot].session == self[peer: node].session {
            if isComparable(to: node) {
                send(.digests(id: UInt32(truncatingIfNeeded: table[slot].sequence), digests), to: node)
            } else {
                send(
                    .digestFailed(id: UInt32(truncatingIfNeeded: table[slot].sequence), unreadable: false), to: node)
            }
        }
        endPeerOperation(slot)
    }

    /// This side of a piece is known. The lock is kept until the peer's is.
    private mutating func compared(_ slot: Int, _ answer: Comparison.Piece.Answer) {
        table[slot].phase = .running
        if let buffer = table[slot].buffer { emit(.releaseBuffer(buffer)) }
        table[slot].buffer = nil
        guard let (index, place) = placeOfPiece(where: { $0.slot == slot }) else {
            endCompared(slot)
            return
        }
        comparison.running[index].pieces[place].own = answer
        conclude(index, place)
    }

    mutating func receiveComparing(_ message: PeerMessage, _ stamp: FrameStamp, from node: NodeID) {
        switch message {
        case .digest(let id, let range):
            let isOfThisRecord =
                stamp.lineage == superblock.record.lineage && stamp.number == superblock.record.number
            guard isOfThisRecord, isComparable(to: node), range.end <= volumeEnd else {
                send(.digestFailed(id: id, unreadable: false), to: node)
                return
            }
            enterBehindArrivals(.digestRead, range, UInt64(id), node)
        case .digests(let id, let digests): answered(id, .digests(digests), by: node)
        case .digestFailed(let id, let unreadable): answered(id, unreadable ? .unreadable : nil, by: node)
        default: break
        }
    }

    /// This copy holds what that primary wrote, and nothing else.
    private func isComparable(to node: NodeID) -> Bool {
        guard hasDisk, role != .primary, candidacy == nil, self[peer: node].relation == .established else {
            return false
        }
        let isPromised = isByMajority && superblock.promised > superblock.record.number.term
        return !isPromised && superblock.record.inStep.contains(me) && !superblock.flags.contains(.inconsistent)
    }

    /// - Parameter answer: nil: the peer does not follow this primary at the moment.
    private mutating func answered(_ id: UInt32, _ answer: Comparison.Piece.Answer?, by node: NodeID) {
        guard let (index, place) = placeOfPiece(where: { $0.id == id }), comparison.running[index].node == node,
            comparison.running[index].pieces[place].asked != nil, comparison.running[index].pieces[place].theirs == nil
        else { return }
        let range = comparison.running[index].pieces[place].range
        if case .digests(let digests) = answer,
            digests.count != Int(range.length / Geometry.blockSize) * Comparing.digestLength
        {
            dropSession(node, "its digests are not of what it was asked for")
            return
        }
        comparison.running[index].unanswered = 0
        guard let answer else {
            askAgain(index, place, after: configuration.timing.pingInterval)
            return
        }
        comparison.running[index].pieces[place].theirs = answer
        conclude(index, place)
    }

    private mutating func conclude(_ index: Int, _ place: Int) {
        let piece = comparison.running[index].pieces[place]
        guard let own = piece.own, let theirs = piece.theirs else { return }
        let blocks = piece.range.blocks
        guard case .digests(let here) = own, case .digests(let there) = theirs else {
            if blocks.count > 1 {
                askAgain(index, place, after: 0, byBlock: true)
                return
            }
            comparison.running[index].pieces.remove(at: place)
            comparison.running[index].unreadable += 1
            var isHere = false
            if case .unreadable = own { isHere = true }
            if comparison.running[index].unreadable <= ComparisonState.mostNotes {
                let side = isHere ? "here" : "there"
                note(
                    .error, "verify", "block \(blocks.lowerBound) cannot be read \(side)",
                    peer: comparison.running[index].node)
            }
            endCompared(piece.slot)
            return
        }
        comparison.running[index].pieces.remove(at: place)
        comparison.running[index].compared += UInt64(blocks.count)
        let found = Self.differing(here, there)
        comparison.count += 1
        comparison.newest = ComparedPiece(node: comparison.running[index].node, range: piece.range, differing: found)
        for offset in 0..<blocks.count where found & (1 << UInt64(offset)) != 0 {
            let block = blocks.lowerBound + UInt64(offset)
            comparison.running[index].differs(block)
            if comparison.running[index].differing <= ComparisonState.mostNotes {
                note(.error, "verify", "block \(block) differs", peer: comparison.running[index].node)
            }
        }
        if found != 0 { keepFindingsInTime() }
        if comparison.running[index].differing == 0 { noteProgress(index, UInt64(blocks.count)) }
        endCompared(piece.slot)
    }

    /// Whoever follows the state hears of each hundredth part.
    private mutating func noteProgress(_ index: Int, _ blocks: UInt64) {
        let step = max(1, comparison.running[index].blocks / 100)
        let compared = comparison.running[index].compared
        if compared / step != (compared - blocks) / step { noteStatus() }
    }

    private static func differing(_ here: [UInt8], _ there: [UInt8]) -> UInt64 {
        var found: UInt64 = 0
        let length = Comparing.digestLength
        for block in 0..<here.count / length
        where here[block * length..<(block + 1) * length] != there[block * length..<(block + 1) * length] {
            found |= 1 << UInt64(block)
        }
        return found
    }

    // MARK: For who asks

    /// How the last comparison with that peer went.
    package func verifyResult(of node: NodeID) -> VerifyResult? { comparison.results[node] }

    /// What is to outlive this run: that, or what one that is under way has found.
    package func keptVerifyResult(of node: NodeID) -> VerifyResult? {
        guard let one = comparison.running.first(where: { $0.node == node }), one.differing > 0 else {
            return comparison.results[node]
        }
        return result(of: one, .interrupted, "this node's daemon ended")
    }

    // MARK: What outlives this run

    /// No marks: these say what a resync is to copy, and which of the two is right nobody knows. So nobody leads, and nobody is filled,
    /// because of what was found; it waits for a repair.
    mutating func keepFindings(of node: NodeID) {
        comparison.isUnkept = false
        comparison.keptAt = now
        emit(.verified(node))
    }

    /// At once, and from then on now and then: a comparison may take days.
    mutating func keepFindingsInTime() {
        guard !isLeftOut(.findingsAreKept) else { return }
        comparison.isUnkept = true
        if let last = comparison.keptAt, now < last + ComparisonState.keepsEach { return }
        // All that is known of all peers is kept each time.
        guard let node = comparison.running.first(where: { $0.differing > 0 })?.node ?? repair?.node else { return }
        keepFindings(of: node)
    }

    func verifyProgress(of node: NodeID, at now: MonotonicTime) -> VolumeStatus.Verify? {
        guard let one = comparison.running.first(where: { $0.node == node }) else { return nil }
        let done = (one.compared + one.unreadable + one.skipped) * Geometry.blockSize
        let total = one.blocks * Geometry.blockSize
        let rate = UInt64(Double(done) / max(Double(now.since(one.began)) / 1e9, 0.001))
        return VolumeStatus.Verify(
            doneBytes: done, totalBytes: total, bytesPerSecond: rate,
            etaSeconds: rate == 0 ? nil : Double(total - min(total, done)) / Double(rate),
            differingBytes: one.differing * Geometry.blockSize, unreadableBytes: one.unreadable * Geometry.blockSize)
    }

    /// For the simulator's oracle: how many pieces both sides answered in this run, and the newest.
    package var compared: (count: UInt64, newest: ComparedPiece?) {
        @inline(never) mutating get { (comparison.count, comparison.newest) }
    }
}
