package import Model
import ReplicationCore

/// I4 and I6 of elections (with quorum): what a vote, a question for votes and a hand-over say of the disk of whoever says it;
/// that a promise is never taken back; and that nobody is asked for its vote beside a primary that is heard.
package struct OracleElections: Sendable {
    /// The highest term that each node told its vote for, and in which line: what it promised to another ends with its data.
    private var voted: [Term]
    private var lines: [LineageID]
    /// When each node last heard a ping of which other, in the present process, since that one is primary.
    var heard: [[UInt64]]
    /// The newest ping that each sent to each while it was not primary.
    var idlePings: [[UInt64]]
    /// Who answered each node's present question that it is primary.
    var primaries: [NodeSet]
    /// Whom each node's present question calls off.
    var calledOff: [NodeID?]
    /// The number of that question: an answer to one before says what was so then.
    var rounds: [UInt64]

    package init(nodes: Int) {
        voted = Array(repeating: .zero, count: nodes)
        lines = Array(repeating: .none, count: nodes)
        heard = Array(repeating: Array(repeating: 0, count: nodes), count: nodes)
        idlePings = heard
        calledOff = Array(repeating: nil, count: nodes)
        rounds = Array(repeating: 0, count: nodes)
        primaries = Array(repeating: NodeSet(), count: nodes)
    }

    /// - Returns: what is wrong with it.
    package mutating func votes(_ node: Int, _ term: Term, of line: LineageID) -> String? {
        if lines[node] != line, !lines[node].isNone { voted[node] = .zero }
        lines[node] = line
        guard voted[node] < term else { return "node \(node) votes in term \(term) after its vote in \(voted[node])" }
        voted[node] = term
        return nil
    }

    /// Its disk or its memory was replaced: it counts for nobody, and promised nothing.
    package mutating func forget(_ node: Int) { voted[node] = .zero }

    /// It is primary from now on: who heard it when it served before, and handed over, has heard nothing of that.
    package mutating func begins(_ node: Int) {
        for other in heard.indices { heard[other][node] = 0 }
    }

    package mutating func ended(_ node: Int) {
        heard[node] = heard[node].map { _ in 0 }
        idlePings[node] = idlePings[node].map { _ in 0 }
        for other in heard.indices { heard[other][node] = 0 }
        primaries[node] = NodeSet()
    }
}

extension Cluster {
    /// Before a message leaves.
    func checkElection(_ message: PeerMessage, from node: SimulatedNode, to: Int) {
        guard oracle.violation == nil else { return }
        switch message {
        case .ping(let number): if !node.isPrimary { oracle.elections.idlePings[node.side][to] = number }
        case .inquiry(let inquiry):
            oracle.elections.primaries[node.side] = NodeSet()
            oracle.elections.calledOff[node.side] = inquiry.fenced
            oracle.elections.rounds[node.side] = inquiry.round
        case .inquiryAnswer(let answer) where answer.objection == nil: checkConsent(of: node, to: to)
        case .vote(let term):
            if let rival = oracle.elections.primaries[node.side].first(where: { _ in true }) {
                oracle.fail("I7", "node \(node.side) asks for votes though \(rival) said that it is primary")
            }
            // One whose disk failed asks as one without a disk.
            let state = node.live?.core.pointee.diskState
            if node.usesDisk, state != .failed, state != .diskless { checkPromise(node, term, message) }
        case .voted(let vote):
            checkPromise(node, vote.term, message)
            if let flaw = oracle.elections.votes(node.side, vote.term, of: vote.standing.record.lineage) {
                oracle.fail("I4", flaw)
            }
        case .propose(let proposal) where proposal.record.primary == nil && node.isPrimary:
            // Another one may serve since it was offered first.
            if !oracle.terms.hasOutlived(proposal.record.number.term) { checkHandOver(proposal.record) }
        case .accepted where nodes[to].isPrimary && durableSuperblock(node).record.primary == nil:
            checkNothingVolatile(node, message)
        default: break
        }
    }

    private func checkPromise(_ node: SimulatedNode, _ term: Term, _ message: PeerMessage) {
        let superblock = durableSuperblock(node)
        guard superblock.promised >= term else {
            return oracle.fail(
                "I6",
                "node \(node.side) sends \(TraceText.of(message)), but its disk promises \(superblock.promised) only")
        }
        checkNothingVolatile(node, message)
    }

    /// A member's copy is stable, to the last write that it was sent.
    private func checkNothingVolatile(_ node: SimulatedNode, _ message: PeerMessage) {
        let record = durableSuperblock(node).record
        guard !node.isWitness, record.inStep.contains(node.id) else { return }
        // Behind the volume's end are zeroes that are being made, which nobody wrote (seed 887000019 of `--growth`).
        let sectors = node.disk.volatile.lazy.map(\.sector) + node.disk.writesInFlight.lazy.map(\.sector)
        guard let sector = sectors.first(where: { UInt64($0) * 512 < record.size }) else { return }
        oracle.fail(
            "I6", "node \(node.side) sends \(TraceText.of(message)) while sector \(sector) is not stable on its disk")
    }

    /// A record without a primary says that all that was acknowledged is stable on all its members.
    private func checkHandOver(_ record: Record) {
        for (write, _, _) in oracle.unflushed {
            for member in record.inStep.map({ Int($0.rawValue) }) where disksBegan(member, before: write) {
                for sector in write.sectors
                where oracle.newest[sector] == write.write && copies[member, sector] == write.value(of: sector)
                    && nodes[member].disk.stable[sector] != write.value(of: sector)
                {
                    return oracle.fail(
                        "I6",
                        "record \(record.number) hands over while \(write.description), acknowledged, is not stable on "
                            + "node \(member)")
                }
            }
        }
    }

    private func disksBegan(_ copy: Int, before write: ClientOperation) -> Bool {
        nodes[copy].lastPowerLoss <= write.began
    }

    /// A voter that hears a primary, which serves under the voter's own record, has something to say against another.
    private func checkConsent(of node: SimulatedNode, to: Int) {
        for primary in copyNodes where primary.isPrimary && primary.side != to && primary !== node {
            guard oracle.elections.calledOff[to] != primary.id, node.glimpse.primary == primary.id,
                primary.glimpse.number.term == node.glimpse.number.term
            else {
                continue
            }
            let heard = oracle.elections.heard[node.side][primary.side]
            guard heard > 0, now < heard + options.timing.lease / 10 * 9 else { continue }
            oracle.fail(
                "I7",
                "node \(node.side) has nothing against a promotion of node \(to), though it heard node \(primary.side), which is "
                    + "primary, \((now - heard) / 1000) µs ago")
        }
    }

    /// Who promised a higher term answers nothing any more under its own, until it won that again.
    func checkOutlived(_ node: SimulatedNode, _ glimpse: Glimpse) {
        // In one turn a node may answer, and then want a higher term.
        guard node.glimpse.number.term < node.glimpse.promised, glimpse.number.term < glimpse.promised else { return }
        oracle.fail(
            "I4", "node \(node.side) answers under term \(glimpse.number.term) though it promised \(glimpse.promised)")
    }

    /// What a node hears and the oracle keeps of it.
    func notesElection(_ event: Event, at node: SimulatedNode) {
        guard case .message(let from, let stamp, let message) = event, let index = network.index(of: stamp.session),
            !network[index].ended[node.side]
        else { return }
        switch message {
        case .ping(let number):
            let side = Int(from.rawValue)
            if number > oracle.elections.idlePings[side][node.side] { oracle.elections.heard[node.side][side] = now }
        case .inquiryAnswer(let answer)
        where answer.objection == .isPrimary && answer.round == oracle.elections.rounds[node.side]:
            oracle.elections.primaries[node.side].insert(from)
        default: break
        }
    }
}
