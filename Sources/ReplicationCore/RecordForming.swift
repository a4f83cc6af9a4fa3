import Model

/// What the next record says (CHANGE).
extension Replica {
    /// The number of the next record: this run's term goes on, or a higher one begins. A term belongs to one run and a
    /// number to one record, also to one that was offered and never heard of again: else two different records could bear
    /// one number, and `HandshakeVerdict` could not tell which of a term's records took the other's place.
    var nextNumber: RecordNumber {
        var other = RecordNumber(term: .zero, index: 0)
        for node in others where !isLeftOut(.termAboveBoth) {
            if let theirs = self[peer: node].theirs { other = max(other, theirs.record.number) }
        }
        let isReused = isLeftOut(.offeredNumbersCount)
        let number = isReused ? superblock.record.number : max(superblock.record.number, proposed)
        // With quorum a term is won by votes, and nothing is proposed without one.
        if isByMajority, !superblock.record.isEmpty, change?.purpose != .force {
            return RecordNumber(term: number.term, index: number.index + (isLeftOut(.votedRecordsAreNumbered) ? 0 : 1))
        }
        if number == proposed || isReused && number.term.counter > 0, number.term.node == me,
            superblock.promised == number.term, other < number
        {
            let index = isLeftOut(.recordsAreNumbered) ? number.index : number.index + 1
            return RecordNumber(term: number.term, index: index)
        }
        let counter = max(superblock.promised.counter, number.term.counter, other.term.counter) + 1
        return RecordNumber(term: Term(counter: counter, node: me), index: 1)
    }

    mutating func formRecord() {
        guard var change else { return }
        // A candidacy that only rests or asks has no part in a record of the term that still goes on.
        let candidacy = change.purpose == .promote || change.purpose == .keep ? self.candidacy : nil
        var record = candidacy?.newest ?? superblock.record
        if let size = record.isEmpty ? foundSize : nil { record.size = size }
        record.number = candidacy.map { RecordNumber(term: $0.term, index: 1) } ?? nextNumber
        proposed = record.number
        if record.isEmpty { begin(&record, candidacy) }
        if hasDisk { record.instances[me] = superblock.instance }
        change.volume = volume(candidacy)
        var newGeneration = takeLine(&change, record, candidacy)
        switch change.purpose {
        case .exclude:
            record.inStep = required.subtracting(change.loses)
            if record.inStep.isEmpty { record.inStep = NodeSet(me) }
            dismissDeparted(among: change.loses, &record)
            // One that is served by this copy, and filled by it, stays primary, also when its session ended meanwhile.
            let served = change.loses.first { self[peer: $0].theirs?.isPrimary ?? change.served.contains($0) }
            record.primary = role == .primary ? me : isLeftOut(.servedStaysNamed) ? nil : served
            // Nobody writes: no acknowledgement can come to lack the copy, so the line goes on. `required` keeps it, and
            // whoever writes here later needs it, or a generation of its own.
            if role != .primary, !isByMajority, !isLeftOut(.idleSourceKeepsTarget) {
                newGeneration = superblock.current.id == .zero
            }
        case .establish(let node): establish(node, &record)
        case .promote:
            record.primary = me
            record.inStep = (hasDisk ? required : required.removing(me)).subtracting(change.loses)
            if let candidacy { record.inStep = candidacy.kept }
            newGeneration = newGeneration || (required.contains(me) && !hasDisk)
        case .keep:
            record.primary = nil
            if let candidacy { record.inStep = candidacy.kept }
        case .admit(let node): admit(node, &record)
        case .dismiss(let node): record.voters.remove(node)
        case .grow(let size): grow(to: size, &record)
        case .handOver: record.primary = nil
        case .leaveSelf:
            record.inStep = required.subtracting(change.loses)
            // Promoted apart, and no reply has waited yet: the record does not name this primary.
            if role == .primary, !isLeftOut(.leavingPrimaryIsNamed) { record.primary = me }
        case .join(let node):
            record.inStep = record.inStep.inserting(node)
            record.instances[node] = self[peer: node].theirs?.instance ?? .none
            // Promoted while it was the source of a record that nobody served under.
            if role == .primary, !isLeftOut(.whoServesIsNamed) { record.primary = me }
        case .found, .force:
            if change.purpose == .force, !isLeftOut(.forceBeginsLineage) {
                record.lineage = LineageID(rawValue: random.identity())
            }
            record.inStep = NodeSet(me)
            record.primary = me
            newGeneration = true
            if isByMajority, !isLeftOut(.forceVotesAlone) { record.voters = NodeSet(me) }
        }
        // Made without its maker's disk: a later run on that one knows nothing of it (`HandshakeVerdict.tookBack`).
        if !isByMajority, !hasDisk, !record.inStep.contains(me), !isLeftOut(.termIsOnItsMakersDisk) {
            record.instances[me] = .none
        }
        if newGeneration {
            change.current = Generation(id: GenerationID(rawValue: random.identity()), node: me, began: wallTime)
        }
        record.generation = change.current.id
        change.record = record
        self.change = change
        performFormed(change)
    }

    /// Clients have it when the record is chosen: a member that lacks it would lead without what they wrote there.
    private mutating func grow(to size: UInt64, _ record: inout Record) {
        if !isLeftOut(.sizeIsChosen) { formerSize = formerSize ?? record.size }
        record.size = max(record.size, size)
    }

    /// That of a first record which nobody chose yet goes on with the record, also where its maker has no disk: chosen without one, each
    /// copy would have made up its own (seed 3036).
    private func volume(_ candidacy: Candidacy?) -> VolumeID {
        guard let volume = candidacy?.volume, !volume.isNone, !superblock.flags.contains(.founded),
            hasDisk || !isLeftOut(.disklessOffersVolume)
        else { return superblock.volume }
        return volume
    }

    /// The line that the record goes on from. - Returns: whether a generation begins because a member is lost, or the first record
    /// is made: `.zero` says that a copy holds nothing but zeroes, and one made anew would look as if it had missed nothing.
    private func takeLine(_ change: inout Change, _ record: Record, _ candidacy: Candidacy?) -> Bool {
        var members = isLeftOut(.requiredDecidesGeneration) ? record.inStep : required
        if let candidacy, !hasDisk {
            // What a disk left in memory when it went may be long past: the line is that of the members that answered.
            change.current = Generation(id: candidacy.newest.generation, node: record.number.term.node, began: 0)
            members = members.union(candidacy.newest.inStep)
        }
        let isLost = !change.loses.intersection(members).isEmpty && !isLeftOut(.generationForLostMember)
        return isLost || change.current.id == .zero && !isLeftOut(.zeroEndsWithRecord)
    }

    private mutating func performFormed(_ change: Change) {
        switch change.purpose {
        case .join(let node): requireJoining(node)
        // A majority of two is both: were it of another line, or gone, this node could make no record any more (seed 94381).
        case .admit(let node)
        where voters(of: superblock.record) == NodeSet(me) && !isLeftOut(.secondVoterAcceptsFirst):
            self.change?.pending = NodeSet(node)
            offer()
        case .leaveSelf where isByMajority:
            offeredWithoutDisk = change.record.number
            offerFromElsewhere()
        case .promote where isByMajority && !hasDisk,
            .handOver where isByMajority && !hasDisk:
            offerFromElsewhere()
        case .leaveSelf: offer()
        case .promote where !hasDisk: offer()
        default: applyAndPersist()
        }
    }

    private mutating func establish(_ node: NodeID, _ record: inout Record) {
        guard let theirs = self[peer: node].theirs else { return }
        if superblock.record.isEmpty {
            record.size = min(superblock.size, theirs.capacity / Geometry.blockSize * Geometry.blockSize)
        }
        record.inStep = NodeSet(me, node)
        record.instances[node] = theirs.instance
        record.primary = role == .primary ? me : nil
    }

    /// The first record of a volume.
    private mutating func begin(_ record: inout Record, _ candidacy: Candidacy?) {
        // With quorum all first records are of one line: of two candidates' only one can be chosen, and the other's copies
        // follow it as they follow any newer record.
        record.lineage =
            isByMajority && !isLeftOut(.firstRecordsAreOfOneLine) ? .founding : LineageID(rawValue: random.identity())
        if record.size == 0 { record.size = superblock.size }
        // All nodes of the configuration vote, heard or not: of two first records that nobody chose, the next ones must not find
        // majorities apart from each other.
        for member in configuration.members {
            let isHeard = member.id == me || candidacy?.votes[member.id] != nil
            if isHeard || !isLeftOut(.configuredNodesVoteFirst) { record.voters.insert(member.id) }
        }
        for node in everyone {
            if let vote = candidacy?.votes[node] { record.instances[node] = vote.standing.instance }
        }
    }
}
