import Model

/// What follows once a record is chosen.
extension Replica {
    mutating func finishChange() {
        guard let done = change else { return }
        change = nil
        attention = true
        formerSize = nil
        fitBitmaps()
        if isByMajority {
            superblock.required = done.record.inStep
            lastChosen = done.record.number
            noteFounded()
        }
        let members = done.record.inStep.map { name($0) }.joined(separator: ", ")
        note(.info, "record", "record \(done.record.number): in step: \(members); generation \(done.record.generation)")
        if done.record.inStep == NodeSet(me) || done.loses.contains(me) {
            if hasDisk { dropAllUnconfirmed() }
            forgetUnsettled()
            isUnsettled = false
        }
        for node in done.loses where node != me {
            leftOut(node)
        }
        for node in done.record.inStep where node != me { send(.chosen(done.record.number), to: node) }
        switch done.purpose {
        case .establish(let node):
            isLeaveUndecided = false
            becomeEstablished(node)
        case .join(let node): joined(node)
        case .promote where isByMajority, .keep: candidacyChosen()
        case .promote, .found, .force: becomePrimary()
        case .handOver: handedOver()
        case .leaveSelf: selfLeft()
        case .exclude: isLeaveUndecided = false
        case .grow: grown()
        case .admit, .dismiss: break
        }
        if isByMajority { establishMembers(done) }
        doubts = doubts.intersection(required)
        recheckHeld()
    }

    private mutating func leftOut(_ node: NodeID) {
        doubts.remove(node)
        self[peer: node].lostAt = nil
        self[peer: node].resumableRun = .none
        self[peer: node].confirmed = nil
        if relaxed.contains(node), self[peer: node].behindSince == nil {
            self[peer: node].behindSince = held.first?.began ?? now
        }
        dropLegs(to: node)
        dropFromRound(node)
        note(.warning, "replication", "left behind: goes on without it", peer: node)
        if self[peer: node].relation == .establishing || self[peer: node].relation == .established {
            restartSession(node, "left behind")
        }
    }

    private mutating func selfLeft() {
        for slot in table.slots(where: { $0.isClientWrite && $0.localFailed }) { finishWriteIfDone(slot) }
        if detaching != nil { failDisk("detached") }
        leftDisk()
    }

    /// Replies that a pending record, a doubt or the role held back are looked at again.
    mutating func recheckHeld() {
        for slot in table.slots(where: { $0.isClientWrite && $0.phase == .running }) { finishWriteIfDone(slot) }
        attention = true
    }

    /// The peer says that its record is chosen.
    mutating func chosen(_ number: RecordNumber, told node: NodeID) {
        guard superblock.record.number == number, acceptance.map({ $0.isRepeated }) ?? true else { return }
        noteFounded()
        heardChosen = number
        if self[peer: node].relation == .establishing || self[peer: node].relation == .target {
            becomeEstablished(node)
        }
    }

    /// The peer's disk is gone: its copy counts no more, its node may still rely on this one.
    mutating func peerDiskFailed(_ node: NodeID) {
        guard self[peer: node].isConnected, self[peer: node].relation != .carrier else { return }
        let relation = self[peer: node].relation
        note(.warning, "disk", "its disk failed or was detached", peer: node)
        unconfirmed.forgetSending(to: node)
        endResync(node, relation)
        self[peer: node].relation = hasDisk ? .carrier : .nothing
        self[peer: node].isCutOff = true
        self[peer: node].resumableRun = .none
        changeLost(node)
        if !required.contains(node) {
            dropLegs(to: node)
            dropFromRound(node)
        }
        attention = true
    }
}
