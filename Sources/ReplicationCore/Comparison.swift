package import Model

/// One comparison of this primary's copy with a peer's (`verify`).
struct Comparison {
    /// Blocks that are being compared: a question to the peer, and a read here.
    struct Piece {
        enum Answer {
            case digests([UInt8])
            case unreadable
        }

        var id: UInt32
        var range: ByteRange
        var slot: Int
        /// When the range was locked and the peer asked.
        var asked: MonotonicTime?
        var own: Answer?
        var theirs: Answer?
    }

    let node: NodeID
    /// Bytes a second; nil: as configured.
    let rate: UInt64?
    let began: MonotonicTime
    /// Of the volume.
    let blocks: UInt64
    /// All blocks before it were taken up.
    var cursor: UInt64 = 0
    /// Taken up, and to be compared anew.
    var again: [ByteRange] = []
    var pieces: [Piece] = []
    var notBefore = MonotonicTime(nanoseconds: 0)
    /// Questions in a row that were not answered in time.
    var unanswered = 0
    /// In blocks.
    var compared: UInt64 = 0
    var differing: UInt64 = 0
    var unreadable: UInt64 = 0
    var skipped: UInt64 = 0
    var runs: [BlockRun] = []
    var isDone: Bool { cursor >= blocks && again.isEmpty && pieces.isEmpty }

    init(node: NodeID, rate: UInt64?, began: MonotonicTime, blocks: UInt64) {
        self.node = node
        self.rate = rate
        self.began = began
        self.blocks = blocks
    }

    /// The first ones are remembered, all are counted.
    mutating func differs(_ block: UInt64) {
        differing += 1
        if let last = runs.last, last.first + last.count == block {
            runs[runs.count - 1].count += 1
        } else if runs.count < Comparing.mostRuns {
            runs.append(BlockRun(first: block, count: 1))
        }
    }
}

struct ComparisonState {
    var running: [Comparison] = []
    /// How the last with each peer went.
    var results: [NodeID: VerifyResult] = [:]
    /// No number is used again in a run of this node: a late answer is to no other question.
    var questions: UInt32 = 0
    /// Pieces that both answered, and what was found in the newest: for the simulator's oracle.
    var count: UInt64 = 0
    var newest: ComparedPiece?
    /// What was found, or repaired, is not told to be kept yet; and when something last was.
    var isUnkept = false
    var keptAt: MonotonicTime?

    /// Pieces at once; and while clients ask, one, a smaller one, and the less often.
    static let window = 4
    static let blocksUnderLoad: UInt64 = 16
    static let slowerUnderLoad: UInt64 = 4
    /// Seconds after which a scheduled one that did not go through is tried again.
    static let retry: UInt64 = 60
    /// Questions in a row that the peer may leave unanswered.
    static let patience = 3
    /// Differences of which each has a line in the log.
    static let mostNotes: UInt64 = 16
    /// Nanoseconds between two times that what is found is kept.
    static let keepsEach: UInt64 = 1_000_000_000
}

/// What a comparison found in some blocks.
package struct ComparedPiece: Sendable {
    package var node: NodeID
    package var range: ByteRange
    /// A bit for each block that differs, the first the lowest.
    package var differing: UInt64
}

/// The primary orders the writes: it holds those to a range back, asks the peer behind all that it sent, and reads the
/// range itself. What differs then differs on the disks. Nothing is changed.
extension Replica {
    func isComparing(with node: NodeID) -> Bool { comparison.running.contains { $0.node == node } }

    // MARK: Beginning and ending

    mutating func performVerify(_ id: CommandID, _ node: NodeID?, rate: UInt64?) {
        let volume = configuration.volume
        guard role == .primary, demotion == nil else {
            let primary = knownPrimary.map { "on \(name($0)): " } ?? "on the primary: "
            refuse(
                id, "not-primary", "only the primary holds writes back, and so can compare",
                "\(primary)hablk verify \(volume)")
            return
        }
        if let node {
            if let obstacle = obstacleToComparing(with: node) {
                refuse(id, obstacle.reason, obstacle.message, "hablk status \(volume)")
                return
            }
            if isComparing(with: node) {
                refuse(
                    id, "busy", "a comparison with \(name(node)) is under way",
                    "wait for it, or end it: hablk verify \(volume) --stop")
                return
            }
        }
        let targets = (node.map { [$0] } ?? others).filter {
            obstacleToComparing(with: $0) == nil && !isComparing(with: $0)
        }
        guard !targets.isEmpty else {
            let isBusy = !comparison.running.isEmpty
            refuse(
                id, isBusy ? "busy" : "no-peer",
                isBusy ? "a comparison is under way" : "no connected copy is in step",
                isBusy ? "wait for it, or end it: hablk verify \(volume) --stop" : "hablk status \(volume)")
            return
        }
        for target in targets { beginComparison(with: target, rate: rate) }
        let names = targets.map { name($0) }.joined(separator: ", ")
        emit(.commandDone(id, .done("comparing with \(names): hablk status \(volume)")))
    }

    mutating func performStopVerify(_ id: CommandID, _ node: NodeID?) {
        let ending = comparison.running.map(\.node).filter { node == nil || $0 == node }
        for node in ending { endComparison(with: node, .stopped, nil) }
        let names = ending.map { name($0) }.joined(separator: ", ")
        emit(
            .commandDone(id, .done(ending.isEmpty ? "nothing is being compared" : "no longer comparing with \(names)")))
    }

    func obstacleToComparing(with node: NodeID) -> (reason: String, message: String)? {
        if node == me { return ("no-such-peer", "\(name(node)) is this node") }
        if witnesses.contains(node) { return ("no-copy", "\(name(node)) is a witness and holds no data") }
        if !hasDisk || !required.contains(me) { return ("no-disk", "this primary has no copy in step of its own") }
        if !self[peer: node].isConnected { return ("not-connected", "\(name(node)) is not connected") }
        guard self[peer: node].relation == .established, required.contains(node) else {
            return ("not-in-step", "\(name(node)) is not in step: what it lacks is known, and copied by a resync")
        }
        return nil
    }

    mutating func beginComparison(with node: NodeID, rate: UInt64?) {
        comparison.running.append(
            Comparison(node: node, rate: rate, began: now, blocks: volumeSize / Geometry.blockSize))
        note(.info, "verify", "comparing", peer: node)
        attention = true
    }

    private mutating func endComparison(with node: NodeID, _ end: VerifyResult.End, _ reason: String?) {
        guard let index = comparison.running.firstIndex(where: { $0.node == node }) else { return }
        let ended = comparison.running.remove(at: index)
        for piece in ended.pieces { dropPiece(piece) }
        let result = result(of: ended, end, reason)
        comparison.results[node] = result
        keepFindings(of: node)
        let isBad = result.differingBytes > 0 || result.unreadableBytes > 0
        note(isBad ? .error : end == .interrupted ? .warning : .info, "verify", words(of: result), peer: node)
        attention = true
    }

    /// How it went so far. What an earlier one found behind that differs still, as far as anybody knows.
    func result(of one: Comparison, _ end: VerifyResult.End, _ reason: String?) -> VerifyResult {
        let seconds = now.since(one.began) / 1_000_000_000
        var result = VerifyResult(end: end, began: wallTime - min(wallTime, seconds), ended: wallTime)
        let waiting = one.pieces.map(\.range) + one.again
        let first = waiting.map(\.blocks.lowerBound).min() ?? one.cursor
        result.reached = min(first, one.cursor) * Geometry.blockSize
        result.comparedBytes = one.compared * Geometry.blockSize
        result.differingBytes = one.differing * Geometry.blockSize
        result.unreadableBytes = one.unreadable * Geometry.blockSize
        result.skippedBytes = one.skipped * Geometry.blockSize
        result.reason = reason
        result.completed = end == .complete ? wallTime : comparison.results[one.node]?.completed ?? 0
        result.runs = one.runs
        guard end != .complete, !isLeftOut(.earlierFindingsStay) else { return result }
        for run in comparison.results[one.node]?.runs ?? [] {
            for part in waiting.map(\.blocks) + [one.cursor..<UInt64.max] {
                let left = part.clamped(to: run.first..<run.first + run.count)
                guard !left.isEmpty else { continue }
                result.differingBytes += UInt64(left.count) * Geometry.blockSize
                guard result.runs.count < Comparing.mostRuns else { continue }
                result.runs.append(BlockRun(first: left.lowerBound, count: UInt64(left.count)))
            }
        }
        return result
    }

    private func words(of result: VerifyResult) -> String {
        var words =
            switch result.end {
            case .complete: "done"
            case .stopped: "stopped at \(result.reached)"
            case .interrupted: "interrupted at \(result.reached)"
            }
        if let reason = result.reason { words += ": \(reason)" }
        words += "; \(result.comparedBytes) bytes compared, \(result.differingBytes) differ"
        if result.unreadableBytes > 0 { words += ", \(result.unreadableBytes) cannot be read" }
        if result.skippedBytes > 0 { words += ", \(result.skippedBytes) are marked and were left out" }
        return words
    }

    mutating func interruptComparison(with node: NodeID, _ reason: String) {
        if repair != nil { interruptRepair(with: node) }
        if isComparing(with: node) { endComparison(with: node, .interrupted, reason) }
    }

    /// Why the comparison cannot go on; nil: it can.
    func interruption(of node: NodeID) -> String? {
        if role != .primary || demotion != nil || stopping != nil { return "this node is no longer primary" }
        return obstacleToComparing(with: node)?.message
    }

    mutating func tickComparisons() {
        if comparison.isUnkept { keepFindingsInTime() }
        for node in comparison.running.map(\.node) { giveUpQuestions(to: node) }
        if configuration.verifyEvery > 0 { beginDueComparisons() }
    }

    /// `verify-every`: what was not compared for that long, at the primary. One that an administrator ended counts.
    private mutating func beginDueComparisons() {
        guard role == .primary, demotion == nil, stopping == nil else { return }
        for node in others where !isComparing(with: node) && obstacleToComparing(with: node) == nil {
            if let last = comparison.results[node] {
                let done = last.end == .stopped ? last.ended : last.completed
                // A clock that was wrong when that was noted does not keep it away for ever.
                if done <= wallTime, wallTime - done < configuration.verifyEvery { continue }
                let pause = min(configuration.verifyEvery, ComparisonState.retry)
                if last.ended <= wallTime, wallTime - last.ended < pause { continue }
            }
            beginComparison(with: node, rate: nil)
        }
    }

    // MARK: Going on

    mutating func advanceComparisons() {
        for node in comparison.running.map(\.node) {
            if let reason = interruption(of: node) {
                endComparison(with: node, .interrupted, reason)
                continue
            }
            guard let index = comparison.running.firstIndex(where: { $0.node == node }) else { continue }
            takePieces(index)
            if comparison.running[index].isDone { endComparison(with: node, .complete, nil) }
        }
    }

    /// Nothing is under way beside writes that would make the copies differ for a moment.
    private mutating func mayCompare() -> Bool {
        guard change == nil, acceptance == nil, candidacy == nil, doubts.isEmpty, !isUnsettled else { return false }
        guard unsettled.count == 0 else { return false }
        // On a thin link the answer would come behind all that is on its way, and clients wait for it.
        return held.bytes <= configuration.limits.sendBuffer / 16
    }

    private mutating func takePieces(_ index: Int) {
        let isYielding = isGivingWay
        let window = isYielding ? 1 : ComparisonState.window
        while comparison.running[index].pieces.count < window, now >= comparison.running[index].notBefore, mayCompare(),
            table.freePeerCount > configuration.limits.resyncPulls,
            let range = nextCompared(index, isYielding ? ComparisonState.blocksUnderLoad : Comparing.mostBlocks),
            let slot = table.takePeerSlot()
        {
            comparison.questions &+= 1
            let node = comparison.running[index].node
            var operation = Operation()
            operation.kind = .verify
            operation.range = range
            operation.exact = range
            operation.peer = node
            operation.session = self[peer: node].session
            operation.began = now
            operation.phase = .waitingBuffer
            // Locked when the buffer is there: a client's write that waits for the range must not have the last one.
            table.insert(operation, at: slot, ordered: false)
            comparison.running[index].pieces.append(
                Comparison.Piece(id: comparison.questions, range: range, slot: slot))
            let rate = max(1, comparison.running[index].rate ?? configuration.verifyRate)
            let pause = UInt64(Double(range.length) / Double(rate) * 1e9)
            let from = max(now, comparison.running[index].notBefore)
            comparison.running[index].notBefore = from + pause * (isYielding ? ComparisonState.slowerUnderLoad : 1)
            emit(.takeBuffer(OperationID(rawValue: UInt32(slot)), bytes: UInt32(range.length)))
        }
    }

    /// Within one extent, without blocks that are marked: these are known to differ.
    private mutating func nextCompared(_ index: Int, _ most: UInt64) -> ByteRange? {
        let node = comparison.running[index].node
        if let range = comparison.running[index].again.popLast() { return range }
        while comparison.running[index].cursor < comparison.running[index].blocks {
            let first = comparison.running[index].cursor
            let extentEnd = (first / Geometry.blocksPerExtent + 1) * Geometry.blocksPerExtent
            var end = min(first + most, extentEnd, comparison.running[index].blocks)
            if self[bitmap: node].count > 0, self[bitmap: node].containsAny(of: first..<end) {
                while self[bitmap: node].containsAny(of: first..<end), end > first { end -= 1 }
            }
            guard end > first else {
                comparison.running[index].skipped += 1
                comparison.running[index].cursor += 1
                continue
            }
            comparison.running[index].cursor = end
            return ByteRange(blocks: first..<end)
        }
        return nil
    }

    func placeOfPiece(where isIt: (Comparison.Piece) -> Bool) -> (index: Int, place: Int)? {
        for index in comparison.running.indices {
            if let place = comparison.running[index].pieces.firstIndex(where: isIt) { return (index, place) }
        }
        return nil
    }

    /// The piece's buffer is there: now it takes its place among the writes.
    mutating func lockCompared(_ slot: Int, _ buffer: BufferID) {
        var operation = table[slot]
        remove(slot)
        guard placeOfPiece(where: { $0.slot == slot }) != nil, let same = table.takePeerSlot() else {
            emit(.releaseBuffer(buffer))
            return
        }
        precondition(same == slot, "a slot that was given back is taken next")
        operation.buffer = buffer
        operation.phase = .waitingOverlap
        table.insert(operation, at: slot, ordered: !isLeftOut(.compareLocksRange))
        if table[slot].blockers == 0 { compareLocked(slot) }
    }

    /// No earlier write to the range is left, and none begins: the peer is asked behind all that was sent to it.
    mutating func compareLocked(_ slot: Int) {
        guard let (index, place) = placeOfPiece(where: { $0.slot == slot }) else {
            endCompared(slot)
            return
        }
        let node = table[slot].peer
        let range = table[slot].range
        guard interruption(of: node) == nil, mayCompare(), !self[bitmap: node].containsAny(of: range.blocks) else {
            askAgain(index, place, after: 0)
            return
        }
        comparison.running[index].pieces[place].asked = now
        send(.digest(id: comparison.running[index].pieces[place].id, range: range), to: node)
        guard let buffer = table[slot].buffer else { preconditionFailure("a compared range has a buffer") }
        table[slot].phase = .running
        table[slot].localPending = true
        outstanding += 1
        emit(.readData(OperationID(rawValue: UInt32(slot)), range, buffer, detectZeroes: false))
    }

    /// The piece is given up, and taken up anew later; block by block what cannot be read whole.
    mutating func askAgain(_ index: Int, _ place: Int, after pause: UInt64, byBlock: Bool = false) {
        let piece = comparison.running[index].pieces.remove(at: place)
        let node = comparison.running[index].node
        for block in piece.range.blocks.reversed() where byBlock || self[bitmap: node].contains(block) {
            if self[bitmap: node].contains(block) {
                comparison.running[index].skipped += 1
            } else {
                comparison.running[index].again.append(ByteRange(blocks: block..<block + 1))
            }
        }
        if !byBlock { compareUnmarked(piece.range, index) }
        comparison.running[index].notBefore = max(comparison.running[index].notBefore, now + pause)
        dropPiece(piece)
        attention = true
    }

    /// What is not marked of a range that is to be compared anew, in runs.
    private mutating func compareUnmarked(_ range: ByteRange, _ index: Int) {
        let node = comparison.running[index].node
        var first = range.blocks.lowerBound
        while first < range.blocks.upperBound {
            var end = first
            while end < range.blocks.upperBound, !self[bitmap: node].contains(end) { end += 1 }
            if end > first { comparison.running[index].again.append(ByteRange(blocks: first..<end)) }
            first = end + 1
        }
    }

    /// Questions that stay unanswered hold writes back: they are given up in time.
    private mutating func giveUpQuestions(to node: NodeID) {
        guard let index = comparison.running.firstIndex(where: { $0.node == node }) else { return }
        let limit = configuration.timing.cutOff
        while let place = comparison.running[index].pieces.firstIndex(where: { piece in
            piece.theirs == nil && piece.asked.map { now.since($0) > limit } ?? false
        }) {
            comparison.running[index].unanswered += 1
            guard comparison.running[index].unanswered < ComparisonState.patience else {
                endComparison(with: node, .interrupted, "\(name(node)) does not answer")
                return
            }
            askAgain(index, place, after: configuration.timing.pingTimeout)
        }
    }

    /// It waits for nothing that is still to come, or ends when that comes.
    private mutating func dropPiece(_ piece: Comparison.Piece) {
        let slot = piece.slot
        guard table[slot].kind == .verify, !table[slot].localPending, table[slot].phase != .waitingBuffer,
            table[slot].phase != .waitingDigest
        else { return }
        endCompared(slot)
    }

    mutating func endCompared(_ slot: Int) {
        if let buffer = table[slot].buffer { emit(.releaseBuffer(buffer)) }
        remove(slot)
        attention = true
    }

    mutating func considerComparisons(_ earliest: inout UInt64) {
        for one in comparison.running where one.pieces.count < ComparisonState.window && now < one.notBefore {
            earliest = min(earliest, one.notBefore.nanoseconds)
        }
    }
}
