import Model

/// Blocks that were written here, that clients may have been told of, and that another's are about to take the place of: with
/// `discarded-data: keep` they are copied aside first. What is stable before this copy says that it is ready to be filled: all of
/// them, under their name. Fails that, the copy stays as it is, and says why.
struct KeepingAside {
    /// What was kept, or is being.
    struct Subject: Equatable {
        let node: NodeID
        let generation: GenerationID
        let everything: Bool
        let blocks: UInt64
    }

    /// A resync that begins when all is kept.
    struct Beginning {
        let session: SessionID
        let proposal: Proposal
    }

    let subject: Subject
    /// Nobody writes here meanwhile: this node is not primary, and takes no frames before it is ready.
    let blocks: DirtyBitmap
    /// The newest: the session may break and come back while blocks are copied.
    var beginning: Beginning
    var cursor: UInt64 = 0
    /// The next answer says that all is stable.
    var isEnding = false
    /// A step is out.
    var isOut = true
}

extension Replica {
    /// The `reason` of a copy that stays as it is because what it holds cannot be kept aside.
    static var cannotKeep: String { "cannot-keep" }

    /// - Returns: the resync begins later.
    mutating func keepsAside(before proposal: Proposal, everything: Bool, by node: NodeID) -> Bool {
        guard configuration.keepsDiscarded, givesWritesAway(to: node), !isLeftOut(.discardedIsKept) else {
            return false
        }
        var blocks = self[bitmap: node]
        for index in 0..<unconfirmed.count { blocks.mark(unconfirmed[index].range.blocks) }
        // Nothing tells what was written here: it may be anything.
        if everything, case .everything = superblock.peers[node].base { blocks.markAll() }
        let subject = KeepingAside.Subject(
            node: node, generation: superblock.current.id, everything: everything, blocks: blocks.count)
        guard subject.blocks > 0, keptAside != subject else { return false }
        let beginning = KeepingAside.Beginning(session: self[peer: node].session, proposal: proposal)
        if keeping?.subject == subject {
            keeping?.beginning = beginning
            return true
        }
        guard keeping == nil else {
            restartSession(node, "what is to be kept for another resync is still being copied")
            return true
        }
        let bytes = subject.blocks * Geometry.blockSize
        keeping = KeepingAside(subject: subject, blocks: blocks, beginning: beginning)
        note(.info, "resync", "before it is filled, \(bytes) bytes that were written here are kept aside", peer: node)
        emit(.keepAside(.begin(node, superblock.current, bytes: bytes)))
        return true
    }

    /// What a client may have been told of, and the peer need not have.
    private func givesWritesAway(to node: NodeID) -> Bool {
        guard hasDisk, role != .primary, !superblock.flags.contains(.inconsistent),
            let verdict = self[peer: node].verdict, let mine = self[peer: node].mine,
            let theirs = self[peer: node].theirs
        else { return false }
        switch verdict.rule {
        case .discardedData, .discardedByPolicy, .rolledBackDiscarded: return true
        default:
            // That it is filled says that another led since: by force, or when it had not been sent what was answered here.
            let hasLed = mine.record.primary == me
            return superblock.mayHoldMore || hasLed && (isOfOtherLine(theirs.record) || !relaxed.isEmpty)
        }
    }

    mutating func keptAside(_ succeeded: Bool, _ words: String) {
        guard var current = keeping else { return }
        attention = true
        current.isOut = false
        keeping = current
        guard succeeded else { return keepingFailed(current, words) }
        guard current.isEnding else { return }
        keeping = nil
        keptAside = current.subject
        let node = current.subject.node
        note(.warning, "resync", "what was written here and is given up is kept in \(words)", peer: node)
        guard self[peer: node].session == current.beginning.session, self[peer: node].relation == .targetWaiting else {
            return
        }
        resyncBegun(current.beginning.proposal, everything: current.subject.everything, by: node)
    }

    private mutating func keepingFailed(_ current: KeepingAside, _ words: String) {
        let node = current.subject.node
        keeping = nil
        emit(.keepAside(.leaveOff))
        guard hasDisk, self[peer: node].session == current.beginning.session else { return }
        let isDiscarded = self[peer: node].verdict?.rule == .discardedData
        let command = "hablk connect \(configuration.volume)" + (isDiscarded ? " --discard-my-data" : "")
        let why =
            "what was written here cannot be kept aside, and is not given up: \(words); mend that and: \(command); or write "
            + "`discarded-data: drop`"
        setReason(node, Self.cannotKeep, why)
        note(.error, "resync", why, peer: node)
        becomeStandalone(node)
        concludeConnects(node)
    }

    /// Whatever becomes of the session: what is kept, is kept for the next one too.
    private func isWanted(_ current: KeepingAside) -> Bool {
        hasDisk && role != .primary && stopping == nil && detaching == nil
            && superblock.current.id == current.subject.generation
            && !superblock.flags.contains(.inconsistent)
    }

    /// The next blocks, once the last are copied.
    mutating func advanceKeeping() {
        guard var current = keeping, !current.isOut else { return }
        guard isWanted(current) else {
            keeping = nil
            return emit(.keepAside(.leaveOff))
        }
        var (runs, left) = ([BlockRun](), KeepingStep.mostBlocks)
        while left > 0, runs.count < KeepingStep.mostRuns,
            let run = current.blocks.nextRun(from: current.cursor, limit: left)
        {
            runs.append(BlockRun(first: run.lowerBound, count: run.upperBound - run.lowerBound))
            left -= run.upperBound - run.lowerBound
            current.cursor = run.upperBound
        }
        current.isEnding = runs.isEmpty
        current.isOut = true
        keeping = current
        emit(.keepAside(runs.isEmpty ? .end : .copy(runs)))
    }
}
