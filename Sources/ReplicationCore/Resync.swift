import Model

/// Copying what differs (JOIN): the target pulls runs of marked blocks within a window; live writes go to both; when
/// nothing is left, the gate: writes are held for a moment, the target flushes and takes the source's line.
extension Replica {
    /// Blocks of one `bitmapRuns` message's runs at most.
    static var runsPerMessage: Int { 1000 }
    /// So many pulls that failed, with none between them that did not, and the target waits before the next.
    private static var failuresInRow: Int { 16 }

    mutating func advanceResync() {
        for node in others {
            switch self[peer: node].relation {
            case .sourcePreparing(let everything): prepareSource(node, everything: everything)
            case .source:
                servePulls(node)
                clearFlushed(node)
                offerJoinIfComplete(node)
            case .target: pull(from: node)
            default: break
            }
        }
    }

    // MARK: The source

    mutating func beginSource(_ node: NodeID, everything: Bool, because rule: HandshakeRule) {
        self[peer: node].relation = .sourcePreparing(everything: everything)
        self[peer: node].source = ResyncSource()
        self[peer: node].source.because = rule.words
        self[peer: node].source.began = now
        expectWord(of: node)
        if isLeftOut(.marksSurviveConnect) { self[bitmap: node].clearAll() }
    }

    /// With quorum only who holds a term makes records.
    private var mayReadmit: Bool { !isByMajority || leads && holdsTerm && candidacy == nil }

    /// First a chosen record without the target; for a full copy also all bits, and the base that says so, on disk.
    private mutating func prepareSource(_ node: NodeID, everything: Bool) {
        guard change == nil, acceptance == nil, hasDisk, mayReadmit,
            !others.contains(where: { self[peer: $0].handshake == .exchanging })
        else { return }
        guard let theirs = self[peer: node].theirs else { return }
        let record = superblock.record
        // A source without clients keeps the target in `required`; one that was promoted apart must not wait for it, nor
        // count what it has as confirmed.
        let isRequired = role == .primary && required.contains(node)
        let isNewer =
            isByMajority
            ? theirs.record.number <= record.number || isOfOtherLine(theirs.record)
            : theirs.record.number < record.number
        // One that was given up undecided lets nobody go: another takes its place (seed 301406).
        let isChosen = !isByMajority || lastChosen == record.number
        let isOut =
            !record.isEmpty && !record.inStep.contains(node) && !isRequired && isNewer && record.inStep.contains(me)
            && isChosen
        // An outdated source is one by an administrator's word: a record of itself alone ends that.
        let isOutdated = superblock.flags.contains(.outdated) && record.inStep == NodeSet(me)
        guard isOut && !isOutdated || isLeftOut(.excludedBeforeResync) else {
            guard !awaitsWord(of: node) else { return }
            begin(.exclude, losing: NodeSet(node), offeringTo: NodeSet())
            return
        }
        guard !isBehind(node) else { return }
        // A mark goes when this instance has the block: whose marks they are is durable first.
        guard metadata.stable.peers[node].seenInstance == theirs.instance || isLeftOut(.instanceBeforeMarksGo) else {
            if metadata.wanted == metadata.durable { persistSuperblock() }
            return
        }
        if everything {
            if self[peer: node].source.basePersisted == nil {
                if !isLeftOut(.fullCopyMarksAll) { self[bitmap: node].markAll() }
                guard self[bitmap: node].unwrittenPages == 0 else {
                    _ = writeBackPages()
                    return
                }
                superblock.peers[node].base = .everything(theirs.instance)
                self[peer: node].source.basePersisted = persistSuperblock()
            }
            guard let version = self[peer: node].source.basePersisted, isDurable(version) else { return }
        }
        self[peer: node].relation = .sourceBeginning
        self[peer: node].source.totalBlocks = self[bitmap: node].count
        let proposal = Proposal(volume: superblock.volume, record: record, current: superblock.current)
        send(.resyncBegin(proposal, everything: everything), to: node)
        note(.info, "resync", "source of \(everything ? "everything" : "what is marked")", peer: node)
    }

    /// The target is durably inconsistent, or has taken a message of runs: it gets the next. From now on live writes go
    /// there too.
    mutating func resyncReady(_ node: NodeID) {
        if self[peer: node].relation == .sourceBeginning {
            self[peer: node].relation = .source
            self[peer: node].lostAt = nil
            // It has said durably that it was put back, if it was: what it tells from now on is above what is remembered.
            self[peer: node].isPutBack = false
            attention = true
        }
        guard self[peer: node].relation == .source else {
            dropSession(node, "it is no resync target")
            return
        }
        var runs: [BlockRun] = []
        var cursor = self[peer: node].source.bitmapCursor
        while !isLeftOut(.sourceAddsItsMarks), runs.count < Self.runsPerMessage,
            let run = self[bitmap: node].nextRun(from: cursor, limit: 1 << 20)
        {
            runs.append(BlockRun(first: run.lowerBound, count: run.upperBound - run.lowerBound))
            cursor = run.upperBound
        }
        self[peer: node].source.bitmapCursor = cursor
        send(runs.isEmpty ? .bitmapEnd : .bitmapRuns(runs), to: node)
    }

    /// Bits go only when a flush of the target covers the block; frames sent after that flush keep theirs.
    mutating func resyncFlushed(pulls: UInt64, writes: UInt64, by node: NodeID) {
        guard self[peer: node].relation == .source, hasDisk else { return }
        self[peer: node].source.flushed.append(
            ResyncSource.Flushed(pulls: pulls, writes: writes, localFlush: requestFlush()))
        attention = true
    }

    /// What the target has stable may be in this copy's cache only: were a power loss to take it here, nothing would name
    /// the block. So this copy flushes too before a bit goes.
    private mutating func clearFlushed(_ node: NodeID) {
        while let flushed = self[peer: node].source.flushed.first,
            isFlushed(flushed.localFlush) || isLeftOut(.sourceFlushClearsMarks)
        {
            self[peer: node].source.flushed.removeFirst()
            for pull in self[peer: node].source.pulls where pull.id <= flushed.pulls {
                self[bitmap: node].clear(pull.range.blocks)
            }
            self[peer: node].source.pulls.removeAll { $0.id <= flushed.pulls }
            // A primary that is filled here was sent no frames: what is unconfirmed it has written itself.
            if self[peer: node].theirs?.isPrimary != true { clearFlushedFrames(through: flushed.writes, at: node) }
            noteStatus()
        }
    }

    mutating func resyncCompleted(by node: NodeID) {
        guard self[peer: node].relation == .source else { return }
        self[peer: node].source.isComplete = true
        self[peer: node].source.completeAt = now
        attention = true
    }

    /// Nothing is left to copy. The join holds writes until all that is on its way has arrived: it waits until that is little, but
    /// not for ever on a link that is always full.
    mutating func isJoinDue(_ node: NodeID) -> Bool {
        guard self[peer: node].source.isComplete else { return false }
        return held.bytes <= configuration.limits.sendBuffer / 16
            || now.since(self[peer: node].source.completeAt) >= configuration.timing.cutOff
    }

    private mutating func offerJoinIfComplete(_ node: NodeID) {
        guard isJoinDue(node), change == nil, acceptance == nil, hasDisk, mayReadmit,
            !others.contains(where: { self[peer: $0].handshake == .exchanging })
        else { return }
        // A write that one of them holds back would hold the join, and the join the handshake with that one.
        if others.contains(where: { $0 != node && required.contains($0) && !self[peer: $0].receivesWrites }) { return }
        guard isCovered(node) || isLeftOut(.resyncEndsUnmarked) else {
            note(.error, "resync", "the target says it is done, and blocks are marked that it never took", peer: node)
            restartSession(node, "blocks were still marked at the join")
            return
        }
        begin(.join(node), losing: NodeSet(), offeringTo: NodeSet(node))
    }

    /// Every marked block was pulled or sent in this session.
    private func isCovered(_ node: NodeID) -> Bool {
        var rest = self[bitmap: node]
        for pull in self[peer: node].source.pulls { rest.clear(pull.range.blocks) }
        for index in 0..<unconfirmed.count where unconfirmed[index].sentTo.contains(node) {
            rest.clear(unconfirmed[index].range.blocks)
        }
        return rest.count == 0
    }

    /// The target flushed everything before it accepted: what was pulled and sent leaves the bitmap, and nothing else may
    /// be in it.
    mutating func clearJoined(_ node: NodeID) {
        for pull in self[peer: node].source.pulls { self[bitmap: node].clear(pull.range.blocks) }
        self[peer: node].source.pulls.removeAll()
        for index in 0..<unconfirmed.count where unconfirmed[index].sentTo.contains(node) {
            self[bitmap: node].clear(unconfirmed[index].range.blocks)
        }
    }

    /// This copy and the joined one have flushed everything. Any other member may have what it was sent in its cache only: a round
    /// confirms that, as ever.
    private mutating func joinConfirms(_ node: NodeID) {
        let rest = required.subtracting(NodeSet(me, node))
        guard isByMajority, !rest.isEmpty, !isLeftOut(.joinConfirmsNothing) else { return dropAllUnconfirmed() }
        rounds.hasNews = true
    }

    mutating func joined(_ node: NodeID) {
        // The session ended while the record was on its way to this disk: the copy has joined, and is away like any member.
        guard self[peer: node].relation == .source else {
            joinConfirms(node)
            if role != .primary { beginLine() }
            return
        }
        let source = self[peer: node].source
        let left = self[bitmap: node].count
        recordResync(node, bytes: source.pulledBytes, since: source.began, because: source.because)
        self[peer: node].source = ResyncSource()
        guard left == 0 || isLeftOut(.resyncEndsUnmarked) else {
            // Never seen; were it to happen, the copy is left out again and the blocks are copied.
            note(.error, "resync", "\(left) blocks were still marked at the join", peer: node)
            self[peer: node].relation = .nothing
            self[peer: node].isCutOff = true
            restartSession(node, "blocks were still marked at the join")
            return
        }
        joinConfirms(node)
        if role != .primary { beginLine() }
        self[peer: node].relation = .established
        self[peer: node].isCutOff = false
        self[peer: node].lostAt = nil
        self[peer: node].behindSince = nil
        self[peer: node].caughtUpAt = now
        note(.info, "resync", "done: \(source.pulledBytes) bytes; in sync", peer: node)
        attention = true
    }

    // MARK: The target

    mutating func targetReady(_ node: NodeID) {
        self[peer: node].relation = .target
        // What was given away goes here; what comes in its place is offered to nobody (seed 200417).
        for other in others where other == node || !isLeftOut(.offerWaitsForLeader) { offerToDiscard(other, false) }
        note(.info, "resync", "target: \(self[peer: node].target.because)", peer: node)
        send(.resyncReady, to: node)
        if role == .primary {
            setConnected(node)
            resendUnanswered(to: node)
        }
        concludeConnects(node)
    }

    mutating func bitmapTold(_ runs: [BlockRun], by node: NodeID) {
        guard self[peer: node].relation == .target, !self[peer: node].target.bitmapKnown else {
            dropSession(node, "it told its marks out of turn")
            return
        }
        let blocks = self[bitmap: node].blocks
        let capacity = self[peer: node].theirs?.capacity ?? 0
        let end = max(blocks, min(capacity, Geometry.maximumVolumeSize) / Geometry.blockSize)
        for run in runs {
            guard run.first < end, run.count <= end - run.first else {
                dropSession(node, "it marks blocks beyond the end")
                return
            }
            self[bitmap: node].mark(run.first..<run.first + run.count)
            if run.first + run.count > blocks { noteBehind(max(run.first, blocks)..<run.first + run.count, node) }
        }
        send(.resyncReady, to: node)
    }

    /// A build from before volumes could grow marks all that its disk could hold, and lets nobody join before it was taken: it is
    /// asked for, and thrown away.
    private mutating func noteBehind(_ blocks: Range<UInt64>, _ node: NodeID) {
        let known = self[peer: node].target.behind
        self[peer: node].target.behind =
            known.isEmpty ? blocks : min(known.lowerBound, blocks.lowerBound)..<max(known.upperBound, blocks.upperBound)
    }

    mutating func bitmapEnded(by node: NodeID) {
        guard self[peer: node].relation == .target else { return }
        self[peer: node].target.bitmapKnown = true
        self[peer: node].target.totalBlocks = self[bitmap: node].count
        self[peer: node].target.began = now
        let behind = self[peer: node].target.behind.count * Int(Geometry.blockSize)
        if behind > 0 {
            note(
                .info, "resync", "its build marks \(behind) bytes behind the volume's end: they are thrown away",
                peer: node)
        }
        attention = true
    }

    /// Clients asked for something a moment ago: a resync takes what they leave.
    var isGivingWay: Bool { now.since(clientsAskedAt) < configuration.limits.resyncGivesWay }

    private func isPaused(_ node: NodeID) -> Bool {
        isResyncPaused || self[peer: node].presence?.resyncPaused == true
    }

    private mutating func pull(from node: NodeID) {
        guard self[peer: node].target.bitmapKnown, hasDisk else { return }
        finishTargetFlush(node)
        let limits = configuration.limits
        // All at once would lie before what clients write on a thin link.
        let least = min(limits.resyncWindow, limits.resyncWindowUnderLoad)
        let window = isGivingWay ? least : max(least, self[peer: node].target.window)
        self[peer: node].target.window = window
        let bytes = min(limits.resyncPiece, max(limits.resyncPieceUnderLoad, isGivingWay ? 0 : window / 2))
        let piece = self[peer: node].target.isCareful ? 1 : bytes / Geometry.blockSize
        while !isPaused(node), now >= self[peer: node].target.notBefore,
            self[peer: node].target.bytesInFlight < window,
            self[peer: node].target.inFlight.count < (self[peer: node].target.failures > 0 ? 1 : limits.resyncPulls),
            let run = nextPull(from: node, limit: piece)
        {
            // No operation crosses an extent.
            let extentEnd = (run.lowerBound / Geometry.blocksPerExtent + 1) * Geometry.blocksPerExtent
            let range = ByteRange(blocks: run.lowerBound..<min(run.upperBound, extentEnd))
            let id = self[peer: node].target.nextID
            self[peer: node].target.nextID += 1
            self[peer: node].target.cursor = range.blocks.upperBound
            self[peer: node].target.inFlight.append(ResyncTarget.Pull(id: id, range: range))
            self[peer: node].target.bytesInFlight += range.length
            if role == .primary, range.end <= volumeEnd, !isLeftOut(.filledPrimaryLocksRanges) {
                askLocked(id, range, node)
            } else {
                send(.pull(id: id, range: range), to: node)
            }
            if let rate = configuration.resyncRate, rate > 0 {
                let pause = UInt64(Double(range.length) / Double(rate) * 1e9)
                self[peer: node].target.notBefore = max(now, self[peer: node].target.notBefore) + pause
            }
        }
        let isPassDone = self[peer: node].target.inFlight.isEmpty || isLeftOut(.resyncEndsUnmarked)
        if isPassDone, !isPaused(node) { finishPass(node) }
    }

    /// What is marked first, then what lies behind the end.
    private mutating func nextPull(from node: NodeID, limit: UInt64) -> Range<UInt64>? {
        let target = self[peer: node].target
        if let run = self[bitmap: node].nextRun(from: target.cursor, limit: limit) { return run }
        guard !target.behind.isEmpty else { return nil }
        let extentEnd = (target.behind.lowerBound / Geometry.blocksPerExtent + 1) * Geometry.blocksPerExtent
        let end = min(target.behind.lowerBound + limit, extentEnd, target.behind.upperBound)
        self[peer: node].target.behind = end..<target.behind.upperBound
        return target.behind.lowerBound..<end
    }

    /// At a target that is primary the order of writes is made here: the range is locked from asking until it is in place.
    private mutating func askLocked(_ id: UInt64, _ range: ByteRange, _ node: NodeID) {
        guard let slot = table.takePeerSlot() else { preconditionFailure("pulls fit the table (Limits.resyncPulls)") }
        var operation = Operation()
        operation.kind = .pullAsk
        operation.range = range
        operation.exact = range
        operation.sequence = id
        operation.peer = node
        operation.session = self[peer: node].session
        operation.began = now
        table.insert(operation, at: slot)
        if table[slot].blockers == 0 { enterPeerOperation(slot) }
    }

    /// A primary that is filled holds its clients' writes, and waits for those under way, before it says that it is done.
    private mutating func isHeldForJoin(_ node: NodeID) -> Bool {
        guard role == .primary else { return true }
        self[peer: node].target.isHolding = true
        return !table.contains { $0.isClientWrite && $0.phase == .running }
    }

    /// The bits of this pass are all asked for and written: flush, and when none is left, say so.
    private mutating func finishPass(_ node: NodeID) {
        let target = self[peer: node].target
        guard target.flushNumber == nil, !target.completeSent else { return }
        if !target.written.isEmpty {
            startTargetFlush(node)
        } else if self[bitmap: node].count == 0 && target.behind.isEmpty || isLeftOut(.resyncEndsUnmarked) {
            guard isHeldForJoin(node) else { return }
            self[peer: node].target.completeSent = true
            send(.resyncComplete, to: node)
        } else if now >= target.notBefore, self[bitmap: node].nextRun(from: target.cursor, limit: 1) == nil {
            guard !target.hasFailures else {
                askAgainLater(node)
                return
            }
            self[peer: node].target.cursor = 0
            attention = true
        }
    }

    /// Some of this pass could not be read at the source. First each block is asked for by itself, so that only those stay
    /// marked that cannot be read. These are asked for again after a while: a client may write them anew, which mends them
    /// on both copies. The session goes on: a handshake for each attempt would make a record each time, and hold the
    /// clients' writes for it.
    private mutating func askAgainLater(_ node: NodeID) {
        self[peer: node].target.hasFailures = false
        attention = true
        guard self[peer: node].target.isCareful else {
            self[peer: node].target.isCareful = true
            self[peer: node].target.cursor = 0
            return
        }
        self[peer: node].target.notBefore = now + configuration.timing.cutOff
        let left = self[bitmap: node].count + UInt64(self[peer: node].target.behind.count)
        guard self[peer: node].target.unreadable != left else { return }
        self[peer: node].target.unreadable = left
        note(.error, "resync", "the source cannot read \(left) blocks; they stay marked", peer: node)
    }

    static let resyncFlushInterval: UInt64 = 1_000_000_000

    /// Resync data is in place (not yet stable).
    mutating func pulled(_ id: UInt64, _ range: ByteRange, _ node: NodeID) {
        guard let index = self[peer: node].target.inFlight.firstIndex(where: { $0.id == id }) else { return }
        self[peer: node].target.inFlight.remove(at: index)
        self[peer: node].target.bytesInFlight -= range.length
        self[peer: node].target.pulledBytes += range.length
        self[peer: node].target.window = min(
            configuration.limits.resyncWindow, self[peer: node].target.window + range.length)
        self[peer: node].target.failures = 0
        self[peer: node].target.written.append(ResyncTarget.Pull(id: id, range: range))
        self[peer: node].target.bytesSinceFlush += range.length
        // Each second too: what is not stable when the session ends is pulled again, and over a slow link that is all.
        let isDue =
            now.since(max(self[peer: node].target.flushedAt, self[peer: node].target.began)) >= Self.resyncFlushInterval
        if isDue || self[peer: node].target.bytesSinceFlush >= configuration.limits.resyncFlushBytes,
            self[peer: node].target.flushNumber == nil
        {
            startTargetFlush(node)
        }
        attention = true
    }

    /// The source could not read a block: all of the piece stays marked, and the rest goes on.
    mutating func pullFailed(_ id: UInt64, by node: NodeID) {
        guard self[peer: node].relation == .target,
            let index = self[peer: node].target.inFlight.firstIndex(where: { $0.id == id })
        else { return }
        let pull = self[peer: node].target.inFlight.remove(at: index)
        self[peer: node].target.bytesInFlight -= pull.range.length
        self[peer: node].target.hasFailures = true
        if pull.range.offset >= volumeEnd { noteBehind(pull.range.blocks, node) }
        // A disk that reads nothing at all is not asked for each block of the volume at the speed of the network.
        self[peer: node].target.failures += 1
        if self[peer: node].target.failures % Self.failuresInRow == 0 {
            self[peer: node].target.notBefore = max(
                self[peer: node].target.notBefore, now + configuration.timing.cutOff)
        }
        let isAsked: (Operation) -> Bool = { $0.kind == .pullAsk && $0.peer == node && $0.sequence == id }
        if let asked = table.firstSlot(where: isAsked) { endPeerOperation(asked) }
        if isLeftOut(.unreadableIsAskedLater) { restartSession(node, "a block could not be read") }
        attention = true
    }

    private mutating func startTargetFlush(_ node: NodeID) {
        self[peer: node].target.flushing = self[peer: node].target.written
        self[peer: node].target.written = []
        self[peer: node].target.bytesSinceFlush = 0
        self[peer: node].target.flushedAt = now
        let oldest = isLeftOut(.flushCoversDonePulls) ? nil : self[peer: node].target.inFlight.map(\.id).min()
        self[peer: node].target.flushingPulls = (oldest ?? self[peer: node].target.nextID) - 1
        self[peer: node].target.flushingWrites = self[peer: node].target.lastWrite
        for slot in table.slots(where: {
            !isLeftOut(.flushCoversDoneFrames) && $0.peer == node
                && ($0.kind == .peerWrite || $0.kind == .peerZero || $0.kind == .peerTrim)
        }) {
            let before = table[slot].sequence > 0 ? table[slot].sequence - 1 : 0
            self[peer: node].target.flushingWrites = min(self[peer: node].target.flushingWrites, before)
        }
        self[peer: node].target.flushNumber = requestFlush()
    }

    /// A bit is cleared only when a flush covers the block; the source hears how far.
    private mutating func finishTargetFlush(_ node: NodeID) {
        guard let number = self[peer: node].target.flushNumber,
            isFlushed(number) || isLeftOut(.targetFlushesBeforeTelling)
        else { return }
        self[peer: node].target.flushNumber = nil
        for pull in self[peer: node].target.flushing { self[bitmap: node].clear(pull.range.blocks) }
        self[peer: node].target.flushing = []
        send(
            .resyncFlushed(
                pulls: self[peer: node].target.flushingPulls, writes: self[peer: node].target.flushingWrites), to: node)
        noteStatus()
        attention = true
    }

    /// The session or a disk is gone: the bits that are left say what remains to be done.
    mutating func endResync(_ node: NodeID, _ relation: Peer.Relation) {
        self[peer: node].source = ResyncSource()
        self[peer: node].target = ResyncTarget()
        for slot in table.slots(where: { $0.kind == .pullAsk && $0.peer == node }) { endPeerOperation(slot) }
        noteStatus()
    }
}
