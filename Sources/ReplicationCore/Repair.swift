import Model

/// `verify --repair`: the blocks that the last comparison with a peer found to differ get, on all copies, what one named copy
/// holds. Each is written as by a client who read it there, and between its reading and its writing no other write comes:
/// gate, activity log, order, every leg and every loss are those of clients' writes. It has a slot of its own behind theirs.
struct Repair {
    let command: CommandID
    let source: NodeID
    /// With whom the comparison was.
    let node: NodeID
    /// What is still to be written.
    var runs: [BlockRun]
    /// What is being written.
    var block: UInt64?
    var repaired: UInt64 = 0
    var failed: UInt64 = 0
    /// Whoever asked is gone.
    var isWithdrawn = false
}

extension Replica {
    var repairSlot: Int { configuration.limits.clientOperations }

    mutating func performRepair(_ id: CommandID, _ peer: NodeID?, from source: NodeID?) {
        let volume = configuration.volume
        guard role == .primary, demotion == nil else {
            refuse(
                id, "not-primary", "only the primary orders writes", "run it where hablk status \(volume) says primary")
            return
        }
        guard repair == nil else {
            refuse(id, "busy", "a repair is under way", "wait for it")
            return
        }
        let found = others.filter { comparison.results[$0]?.runs.isEmpty == false }
        let isOwn = source == nil || source == me
        guard peer != nil || found.count < 2 || !isOwn else {
            let names = found.map { name($0) }.joined(separator: ", ")
            refuse(id, "which-peer", "blocks differ from \(names)", "name one of them with --peer")
            return
        }
        // Kept by an earlier run: nobody knows of which volume of this name.
        let end = volumeSize / Geometry.blockSize
        guard let node = peer ?? (isOwn ? found.first : source),
            let runs = comparison.results[node]?.runs.filter({ $0.first < end && $0.count <= end - $0.first }),
            !runs.isEmpty
        else {
            refuse(
                id, "nothing-to-repair", "no block is remembered that differs",
                "hablk verify \(volume) --wait finds them; another primary knows what it found itself")
            return
        }
        let blocks = runs.reduce(0) { $0 + $1.count }
        guard let source else {
            refuse(
                id, "source-unnamed",
                "\(blocks) blocks differ between \(name(me)) and \(name(node)): one copy is overwritten",
                "say which is right: hablk verify \(volume) --repair --from \(name(me)), or --from \(name(node))")
            return
        }
        guard source == me || source == node else {
            refuse(
                id, "wrong-source", "\(name(source)) is neither \(name(me)) nor \(name(node)), which were compared",
                "name one of these with --from")
            return
        }
        if let obstacle = obstacleToComparing(with: node) {
            refuse(id, obstacle.reason, obstacle.message, "hablk status \(volume)")
            return
        }
        guard !isComparing(with: node) else {
            refuse(id, "busy", "a comparison with \(name(node)) is under way", "wait for it")
            return
        }
        repair = Repair(command: id, source: source, node: node, runs: runs)
        note(.warning, "verify", "\(blocks) blocks are overwritten with what \(name(source)) has", peer: node)
    }

    /// One block after the other.
    mutating func advanceRepair() {
        guard let current = repair, current.block == nil else { return }
        if let reason = interruption(of: current.node) {
            endRepair("interrupted", reason)
            return
        }
        guard !current.isWithdrawn, let run = current.runs.first else {
            if current.failed > 0 {
                endRepair("unreadable", "\(current.failed) blocks cannot be read on \(name(current.source))")
            } else {
                endRepair(nil, nil)
            }
            return
        }
        repair?.block = run.first
        if run.count == 1 {
            repair?.runs.removeFirst()
        } else {
            repair?.runs[0] = BlockRun(first: run.first + 1, count: run.count - 1)
        }
        var operation = Operation()
        operation.kind = .clientWrite
        operation.range = ByteRange(blocks: run.first..<run.first + 1)
        operation.exact = operation.range
        operation.began = now
        // Before it counts as repaired, and is known no more: a loss of power would leave the wrong block, and nobody who knows of it.
        operation.forced = true
        operation.phase = .waitingBuffer
        // Takes its place among the writes when the buffer is there: one that waits for the block may have the last.
        table.insert(operation, at: repairSlot, ordered: false)
        emit(.takeBuffer(OperationID(rawValue: UInt32(repairSlot)), bytes: UInt32(Geometry.blockSize)))
    }

    mutating func repairHasBuffer(_ buffer: BufferID) {
        let slot = repairSlot
        table[slot].buffer = buffer
        guard !table[slot].isGivenUp else {
            endClient(slot)
            return
        }
        var operation = table[slot]
        table.remove(slot, freeing: &freed)
        operation.phase = .waitingOverlap
        table.insert(operation, at: slot)
        if table[slot].blockers == 0 { enterClient(slot) }
    }

    /// The block is this repair's alone: it is read where it is right.
    mutating func readForRepair(_ slot: Int) {
        guard let current = repair, interruption(of: current.node) == nil, let buffer = table[slot].buffer else {
            complete(slot, .failed)
            return
        }
        table[slot].phase = .waitingEdges
        if current.source == me {
            table[slot].localPending = true
            outstanding += 1
            emit(.readData(OperationID(rawValue: UInt32(slot)), table[slot].range, buffer, detectZeroes: false))
        } else {
            table[slot].edges = 1
            table[slot].legs = NodeSet(current.source)
            send(.read(id: UInt32(slot), range: table[slot].range), to: current.source)
        }
    }

    /// The write is over, as a client would hear.
    mutating func repairWritten(_ result: ClientResult) {
        guard let current = repair, let block = current.block else { return }
        repair?.block = nil
        attention = true
        guard result == .done else {
            repair?.failed += 1
            return
        }
        repair?.repaired += 1
        guard var runs = comparison.results[current.node]?.runs,
            let place = runs.firstIndex(where: { $0.first <= block && block < $0.first + $0.count })
        else { return }
        let run = runs.remove(at: place)
        let before = BlockRun(first: run.first, count: block - run.first)
        let after = BlockRun(first: block + 1, count: run.first + run.count - block - 1)
        runs.insert(contentsOf: [before, after].filter { $0.count > 0 }, at: place)
        comparison.results[current.node]?.runs = runs
        keepFindingsInTime()
    }

    /// The link to one of the two is lost: what has not begun to be written does not wait for it.
    mutating func interruptRepair(with node: NodeID) {
        let slot = repairSlot
        guard repair?.node == node, table[slot].kind != .free, table[slot].sequence == 0, !table[slot].localPending
        else {
            return
        }
        table[slot].isGivenUp = true
        table[slot].givenUpResult = .failed
        table[slot].legs = NodeSet()
        withdraw(slot)
    }

    private mutating func endRepair(_ reason: String?, _ message: String?) {
        guard let ended = repair else { return }
        repair = nil
        keepFindings(of: ended.node)
        let volume = configuration.volume
        let done = "\(ended.repaired) blocks have on all copies what \(name(ended.source)) had"
        note(.info, "verify", "repair: \(message.map { "\($0); " } ?? "")\(done)", peer: ended.node)
        guard let reason, let message else {
            emit(.commandDone(ended.command, .done("\(done): hablk verify \(volume) says whether all are equal now")))
            return
        }
        emit(
            .commandDone(
                ended.command,
                .refused(
                    Refusal(
                        reason: reason, message: "\(message); \(done)", remedy: "hablk verify \(volume), then again"))))
    }
}
