import Model
import ReplicationCore
import Testing

/// Pairs in the states from which the tests begin.
extension Bench {
    /// A copy as `create` left it.
    static func created(
        _ node: NodeID, zeroes: Bool = true, fencing: ReplicaConfiguration.Fencing = .none,
        configured: (inout ReplicaConfiguration) -> Void = { _ in }
    ) -> Bench {
        Bench(
            node,
            superblock: Superblock(
                node: node, instance: instance(of: node), size: size, logExtents: 4, zeroes: zeroes),
            fencing: fencing, configured: configured)
    }

    /// What the peer would say if it had gone through everything with this copy.
    func peerState(_ change: (inout HandshakeState) -> Void = { _ in }) -> HandshakeState {
        let mine = core.durableState
        var state = copyState(of: peer)
        state.volume = mine.volume
        state.capacity = Self.size
        state.record = mine.record
        state.required = mine.required
        state.current = mine.current
        state.history = mine.history
        state.seenInstance = .none
        state.mark = StartMark(startNumber: 2, sequence: 60)
        state.run = peerRun
        if mine.record.isEmpty { state.flags = [] }
        change(&state)
        return state
    }

    /// What the peer says when it stayed where the two parted.
    func stateLeftBehind(_ change: (inout HandshakeState) -> Void = { _ in }) -> HandshakeState {
        peerState {
            $0.current = core.durableState.history[0]
            $0.history = Array(core.durableState.history.dropFirst())
            $0.record.number.index = 1
            $0.record.inStep = NodeSet(alpha, beta)
            $0.required = NodeSet(alpha, beta)
            $0.base = .inStep
            change(&$0)
        }
    }

    /// The peer of this primary stops; the blocks are written without it, and it will be back in another run.
    func goOnAlone(writing blocks: UInt64...) {
        hear(.goodbye(.stopping))
        for (slot, block) in blocks.enumerated() { ask(UInt32(slot), .write, block: block) }
        #expect(stable.record.inStep == NodeSet(alpha))
        peerRun = RunID(rawValue: 0x901)
    }

    /// Both were empty; the record that names both is chosen. `alpha` makes it, `beta` accepts it.
    static func established(
        _ node: NodeID, fencing: ReplicaConfiguration.Fencing = .none,
        configured: (inout ReplicaConfiguration) -> Void = { _ in }
    ) -> Bench {
        let bench = created(node, fencing: fencing, configured: configured)
        var theirs = bench.peerState { $0.mark = StartMark(startNumber: 1, sequence: 1) }
        theirs.volume = .none
        #expect(bench.meet(theirs) == .inSync)
        if node == alpha {
            if let number = bench.proposal?.record.number { bench.accept(number) }
        } else {
            let theirs = Self.created(alpha)
            _ = theirs.meet(copyState(of: beta) { Self.empty(&$0) })
            if let proposal = theirs.proposal { bench.takeRecord(proposal) }
        }
        bench.hear(.presence(Presence(role: .secondary, disk: .upToDate, mark: .none, resyncPaused: false)))
        #expect(bench.core.diskState == .upToDate)
        return bench
    }

    private static func empty(_ state: inout HandshakeState) {
        state.volume = .none
        state.record = .empty
        state.required = NodeSet()
        state.current = Generation(id: .zero, node: state.node, began: 0)
        state.history = []
        state.seenInstance = .none
    }

    /// The peer offers a record, and says that it is chosen once this copy has it.
    func takeRecord(_ proposal: Proposal) {
        let start = moments.count
        hear(.propose(proposal))
        let isAccepted = messages(since: start).contains {
            if case .accepted(proposal.record.number, _) = $0 { true } else { false }
        }
        #expect(isAccepted)
        hear(.chosen(proposal.record.number))
    }

    /// `alpha`, primary, with `beta` in step.
    static func primary(
        fencing: ReplicaConfiguration.Fencing = .none, configured: (inout ReplicaConfiguration) -> Void = { _ in }
    ) -> Bench {
        let bench = established(alpha, fencing: fencing, configured: configured)
        let command = bench.promote()
        if let number = bench.proposal?.record.number { bench.accept(number) }
        #expect(bench.end(of: command) == "done")
        #expect(bench.core.isPrimary)
        return bench
    }

    /// `beta`, following a primary `alpha`.
    static func secondary(configured: (inout ReplicaConfiguration) -> Void = { _ in }) -> Bench {
        let bench = established(beta, configured: configured)
        var record = bench.core.durableState.record
        record.number = RecordNumber(term: record.number.term, index: record.number.index + 1)
        record.primary = alpha
        let mine = bench.core.durableState
        bench.takeRecord(Proposal(volume: mine.volume, record: record, current: mine.current))
        bench.hear(.presence(Presence(role: .primary, disk: .upToDate, mark: .none, resyncPaused: false)))
        return bench
    }

    /// A write at the primary, answered by its disk and by the peer.
    func completeWrite(_ ticket: UInt32, block: UInt64) {
        ask(ticket, .write, block: block)
        hear(.written(sequence: lastSequence, succeeded: true))
        #expect(reply(to: ticket) == .done)
    }

    /// Of the newest frame that was sent.
    var lastSequence: UInt64 {
        for message in messages().reversed() {
            switch message {
            case .write(let sequence, _, _), .zero(let sequence, _, _): return sequence
            default: continue
            }
        }
        return 0
    }

    func frames(since start: Int = 0) -> [UInt64] {
        messages(since: start).compactMap {
            switch $0 {
            case .write(let sequence, _, _), .zero(let sequence, _, _): sequence
            default: nil
            }
        }
    }
}
