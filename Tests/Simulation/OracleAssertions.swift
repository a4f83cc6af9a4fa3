package import Model
import ReplicationCore

/// I6 (Rule 0), I5, C15: what a message asserts is durable on the sender's disk when it is sent; the disk is asked, not
/// the core. Flush answers are compared with what had landed in the disk's cache when the flush was asked for.
package struct OracleAssertions: Sendable {
    /// Numbers of disk writes: each side's disk had begun with this one when the round was asked for.
    private struct Round: Sendable {
        var id: UInt64
        var marks: [Int]
    }

    /// The round that each node, as primary, asked for last.
    private var asked: [Round?]
    /// What each node, as primary, said last, and in which sessions.
    private var confirmed: [(sequence: UInt64, sessions: Set<SessionID>)?]
    /// What each node was asked to flush: the number of the first write that needs not be stable.
    private var owed: [[Question: Int]]

    /// What was asked in one session is not answered in another: there it is asked again.
    private struct Question: Hashable, Sendable {
        var session: SessionID
        var round: UInt64
    }

    package init(nodes: Int = 2) {
        asked = Array(repeating: nil, count: nodes)
        confirmed = Array(repeating: nil, count: nodes)
        owed = Array(repeating: [:], count: nodes)
    }

    /// - Parameters:
    ///   - superblock: as the sender's disk would give it after a loss of power.
    ///   - isMarkedWhole: whether the sender's bitmap on disk has every block.
    /// - Returns: what is not so.
    package static func objection(
        to message: PeerMessage, _ superblock: Superblock, isByMajority: Bool = false, isMarkedWhole: () -> Bool
    ) -> String? {
        switch message {
        case .accepted(let number, let mark): acceptance(of: number, mark, superblock)
        case .chosen(let number):
            superblock.record.number < number ? "record \(number) is here" : nil
        case .resyncBegin(let proposal, let everything):
            beginning(proposal, everything, superblock) ?? (everything && !isMarkedWhole() ? "all is marked" : nil)
        case .resyncReady:
            superblock.flags.contains(.inconsistent) && !superblock.record.inStep.contains(superblock.node)
                ? nil : "this copy is inconsistent"
        case .joinOffer(let offer):
            offer.record.inStep.isSubset(of: superblock.required) ? nil : "\(offer.record.inStep) are required"
        case .state(let state): statement(state, superblock, isByMajority: isByMajority)
        case .flushed(_, _, let mark), .confirm(_, let mark, _): starting(mark, superblock)
        default: nil
        }
    }

    private static func acceptance(of number: RecordNumber, _ mark: StartMark, _ superblock: Superblock) -> String? {
        if superblock.record.number < number { return "record \(number) is accepted" }
        if superblock.promised < number.term { return "term \(number.term) is promised" }
        return starting(mark, superblock)
    }

    private static func starting(_ mark: StartMark, _ superblock: Superblock) -> String? {
        mark.startNumber <= superblock.startNumber ? nil : "this is start \(mark.startNumber)"
    }

    private static func beginning(
        _ proposal: Proposal, _ everything: Bool, _ superblock: Superblock
    ) -> String? {
        guard superblock.record == proposal.record, superblock.current.id == proposal.current.id else {
            return "the record without the target is chosen"
        }
        guard everything else { return nil }
        for node in NodeID.all where node != superblock.node {
            if case .everything = superblock.peers[node].base { return nil }
        }
        return "the base says that everything is marked"
    }

    private static func statement(
        _ state: HandshakeState, _ superblock: Superblock, isByMajority: Bool
    ) -> String? {
        guard state.hasDisk else { return nil }
        if state.record != superblock.record { return "the record is \(state.record.number)" }
        // With quorum a chosen record lets a member go, and only memory has to know.
        let isKnown =
            isByMajority
            ? state.required.isSubset(of: superblock.required) : state.required == superblock.required
        if !isKnown { return "\(state.required) are required" }
        if state.current.id != superblock.current.id { return "the generation is \(state.current.id)" }
        if state.history != superblock.history { return "the line is what it says" }
        if state.flags != superblock.flags { return "the flags are \(state.flags.rawValue)" }
        return starting(state.mark, superblock)
    }

    /// I5: data for a peer comes only from a copy that is whole and that its own record names.
    package static func isSource(_ superblock: Superblock) -> Bool {
        !superblock.flags.contains(.inconsistent) && !superblock.isBlank
            && (superblock.record.isEmpty || superblock.record.inStep.contains(superblock.node))
    }

    // MARK: Flushes

    /// Node `primary` asks for a round, or asks again after a reconnect; `marks` are the numbers of the next writes of both
    /// disks.
    package mutating func asks(_ primary: Int, round: UInt64, marks: [Int]) {
        guard asked[primary]?.id != round else { return }
        asked[primary] = Round(id: round, marks: marks)
    }

    /// The question arrives: what landed before must be stable when it is answered.
    package mutating func isAsked(_ node: Int, in session: SessionID, round: UInt64, mark: Int) {
        owed[node][Question(session: session, round: round)] = mark
    }

    /// The number below which no write may be volatile at `node` when it answers the round; nil: it was never asked.
    package mutating func answers(_ node: Int, in session: SessionID, round: UInt64) -> Int? {
        owed[node].removeValue(forKey: Question(session: session, round: round))
    }

    /// The same for both disks when the primary confirms.
    package func confirms(_ primary: Int) -> [Int]? { asked[primary]?.marks }

    /// The primary says so in another session than it said so before: no round of now is behind it.
    package mutating func isConfirmedAgain(_ primary: Int, through sequence: UInt64, in session: SessionID) -> Bool {
        if let told = confirmed[primary], told.sequence == sequence, !told.sessions.contains(session) { return true }
        if confirmed[primary]?.sequence != sequence { confirmed[primary] = (sequence, []) }
        confirmed[primary]?.sessions.insert(session)
        return false
    }

    package mutating func forget(_ node: Int) {
        asked[node] = nil
        confirmed[node] = nil
        owed[node].removeAll(keepingCapacity: true)
    }
}

extension Cluster {
    /// A round begins, although its session may have ended a moment ago.
    func noteRound(_ message: PeerMessage, from node: SimulatedNode) {
        guard case .flush(let round) = message, round > 0 else { return }
        // Nothing is confirmed by it.
        if node.live?.core.pointee.isNearRound(round) == true { return }
        oracle.assertions.asks(node.side, round: round, marks: nodes.map(\.disk.writeMark))
    }

    /// CONFIRM, also where its session ended a moment ago: it is said again in the next one.
    func noteConfirmation(_ message: PeerMessage, _ stamp: FrameStamp, from node: SimulatedNode, to: Int) {
        guard case .confirm(let sequence, _, _) = message, oracle.violation == nil else { return }
        let place = OracleLoss.Place(term: stamp.number.term, sequence: sequence)
        oracle.confirmed(by: node.side, through: place, at: to)
        if oracle.assertions.isConfirmedAgain(node.side, through: sequence, in: stamp.session) { return }
        guard node.usesDisk, let required = node.live?.core.pointee.glimpse().required else { return }
        guard let marks = oracle.assertions.confirms(node.side) else {
            return oracle.fail("I6", "node \(node.side) confirms without a round of flushes")
        }
        // A primary whose own disk failed meanwhile confirms what the others have.
        for other in nodes where required.contains(other.id) {
            checkStable(below: marks[other.side], at: other, message)
        }
    }

    /// Before a message leaves.
    func checkAssertion(_ message: PeerMessage, in session: SessionID, from node: SimulatedNode, to: Int) {
        switch message {
        case .ping, .pong, .written, .received, .pull, .bitmapRuns, .bitmapEnd, .read, .flush: return
        default: break
        }
        guard node.usesDisk, oracle.violation == nil else { return }
        switch message {
        case .flushed(let round, true, _):
            guard let mark = oracle.assertions.answers(node.side, in: session, round: round) else {
                return oracle.fail("I6", "node \(node.side) answers flush \(round), for which nobody asked")
            }
            checkStable(below: mark, at: node, message)
        case .pullData, .pullZero, .readData:
            if !OracleAssertions.isSource(durableSuperblock(node)) {
                oracle.fail("I5", "node \(node.side), whose copy is not in step, sends \(TraceText.of(message))")
            }
            return
        case .chosen:
            // Durable at all whom it names: a primary whose disk leaves is not among them.
            guard let live = node.live else { return }
            let inStep = live.core.pointee.glimpse().inStep
            for member in nodes where inStep.contains(member.id) {
                // Another disk lies there since it said so: the next meeting must tell.
                if member !== node, member.isRestored || member.isMadeAnew { continue }
                checkSaid(message, by: node, member, to)
            }
            return
        default: break
        }
        checkSaid(message, by: node, node, to)
    }

    private func checkSaid(
        _ message: PeerMessage, by sender: SimulatedNode, _ node: SimulatedNode, _ to: Int
    ) {
        let superblock = durableSuperblock(node)
        let flaw = OracleAssertions.objection(to: message, superblock, isByMajority: options.isByMajority) {
            durable(node).marked(toward: nodes[to].id) == blocks(of: superblock)
        }
        guard let flaw else { return }
        oracle.fail(
            "I6",
            "node \(sender.side) sends \(TraceText.of(message)), but node \(node.side)'s disk does not say that \(flaw)"
        )
    }

    /// Of the volume, as far as the copy knows it.
    private func blocks(of superblock: Superblock) -> UInt64 {
        let size = superblock.record.isEmpty ? superblock.size : superblock.record.size
        return size / Geometry.blockSize
    }

    private func checkStable(below mark: Int, at node: SimulatedNode, _ message: PeerMessage) {
        guard let oldest = node.disk.volatile.first, oldest.number < mark else { return }
        oracle.fail(
            "I6",
            "\(TraceText.of(message)) is sent though sector \(oldest.sector) and \(oldest.count - 1) more, written "
                + "before the flush was asked for, are not stable at node \(node.side)")
    }

    /// I5: the core reads its own disk for a client.
    func checkReadForClient(_ node: SimulatedNode, _ buffer: BufferID) {
        guard node.buffers.owner(of: buffer) == .clientRead, let live = node.live else { return }
        let glimpse = live.core.pointee.glimpse()
        guard !glimpse.isInStep || !glimpse.required.contains(node.id) else { return }
        oracle.fail("I5", "node \(node.side) reads its own copy, which is not in step, for a client")
    }
}
