package import Model
import ReplicationCore

/// I4, I8, C3, C9: the order of records, who acknowledges under one, and that a copy goes on alone only in a generation
/// that no other copy calls its own.
///
/// Without quorum two sides that do not hear each other may use the same term: a term says nothing then. What must hold
/// all the same: a node's record of a lineage never goes back, whoever acknowledges is the primary that its record
/// names, a record names one primary, and of two copies never both go on alone in one generation, or the difference
/// between them would be called none.
package struct OracleTerms: Sendable {
    package struct Held: Equatable, Sendable {
        package var lineage: LineageID
        package var number: RecordNumber

        package init(lineage: LineageID, number: RecordNumber) {
            self.lineage = lineage
            self.number = number
        }
    }

    /// What each node's process holds; nil: none runs.
    private var held: [Held?]
    /// With quorum: the highest term under which anything was answered.
    private var answered = Term.zero
    /// The highest term under which anybody began to serve.
    private var served = Term.zero
    /// The newest record under which somebody acknowledged, and who.
    private var primaries: [RecordNumber: (lineage: LineageID, node: Int)] = [:]
    private var soloists: [GenerationID: Int] = [:]

    package init(nodes: Int = 2) { held = Array(repeating: nil, count: nodes) }

    /// With quorum nobody answers anything under a term after an answer under a higher one.
    package mutating func answersByMajority(_ node: Int, under term: Term) -> String? {
        guard answered <= term else {
            return "node \(node) answers under term \(term) after an answer under \(answered)"
        }
        answered = term
        return nil
    }

    /// A process ended, or another disk is in: what the next one finds is as new as its disk.
    package mutating func forget(_ node: Int) { held[node] = nil }

    /// Somebody began to serve under it.
    package mutating func serves(under term: Term) { served = max(served, term) }

    /// By force: terms of the former line count no more.
    package mutating func beginsLine() {
        answered = .zero
        served = .zero
    }

    /// Who leads under this term leads nothing any more: it may not know it yet, but answers nothing. (It may have stood still
    /// between its record and the word that this is chosen, while another was promoted: seed 40011025.)
    package func hasOutlived(_ term: Term) -> Bool { term < max(answered, served) }

    /// The node holds this record now. - Returns: what is wrong with it.
    package mutating func holds(_ node: Int, _ now: Held) -> String? {
        let before = held[node]
        held[node] = now
        guard let before, before.lineage == now.lineage, now.number < before.number else { return nil }
        return "node \(node) goes back from record \(before.number) to \(now.number) of the same lineage"
    }

    /// A write or a flush was acknowledged. A record without a primary does for a copy that it names alone: nobody else
    /// reads in it that all was handed over. - Returns: what is wrong with it.
    package mutating func acknowledged(
        by node: Int, under now: Held, primary: NodeID?, inStep: NodeSet
    ) -> String? {
        let own = NodeID(unchecked: UInt8(node))
        guard primary == own || (primary == nil && inStep == NodeSet(own)) else {
            return "node \(node) acknowledges under record \(now.number), whose primary is "
                + (primary.map { "\($0)" } ?? "nobody")
        }
        let known = primaries.updateValue((now.lineage, node), forKey: now.number)
        guard let known, known.lineage == now.lineage, known.node != node else { return nil }
        return "nodes \(known.node) and \(node) acknowledge under one record, \(now.number)"
    }

    /// The copy of node `copy` alone has an acknowledged write. `others` is the generation that the other copy's disk
    /// calls current; nil: that copy means nothing (it is being filled).
    package mutating func acknowledgedAlone(
        at copy: Int, in generation: GenerationID, others: GenerationID?
    ) -> String? {
        if others == generation {
            return "node \(copy)'s copy goes on alone in generation \(generation), which is the other's too"
        }
        let known = soloists.updateValue(copy, forKey: generation)
        guard let known, known != copy else { return nil }
        return "both copies went on alone in generation \(generation)"
    }

    /// They are in step: what one acknowledged alone the other has.
    package mutating func met() { soloists.removeAll(keepingCapacity: true) }
}

extension Cluster {
    /// After each event at a node whose record changed.
    func checkRecord(_ node: SimulatedNode) {
        guard node.glimpse.hasRecord else { return }
        let held = OracleTerms.Held(lineage: node.glimpse.lineage, number: node.glimpse.number)
        guard let flaw = oracle.terms.holds(node.side, held), let state = node.live?.core.pointee.diskState else {
            return
        }
        // A disk that failed in the middle of a record leaves the one before.
        if state != .failed, state != .diskless { oracle.fail("I4", flaw) }
    }

    func checkTerm(_ glimpse: Glimpse, of node: SimulatedNode) {
        // A turn may answer, and then, with nothing left to answer, hand over.
        let handsOver = glimpse.primary == nil && glimpse.number != node.glimpse.number
        let glimpse = handsOver && node.glimpse.primary == node.id ? node.glimpse : glimpse
        let held = OracleTerms.Held(lineage: glimpse.lineage, number: glimpse.number)
        if let flaw = oracle.terms.acknowledged(
            by: node.side, under: held, primary: glimpse.primary, inStep: glimpse.inStep)
        {
            return oracle.fail("I4", flaw)
        }
        if options.isByMajority {
            checkOutlived(node, glimpse)
            // Its machine stood still, and its clock: what it says now is late, and reads ask first (`reads: confirm`).
            if node.stoodStill == 0,
                let flaw = oracle.terms.answersByMajority(node.side, under: glimpse.number.term)
            {
                oracle.fail("I4", flaw)
            }
            return
        }
        if glimpse.required.count == 2 { return oracle.terms.met() }
        guard let member = glimpse.required.first else { return }
        let copy = Int(member.rawValue)
        let other = durableSuperblock(other(nodes[copy]))
        let meansNothing = other.flags.contains(.inconsistent) || other.isBlank
        let flaw = oracle.terms.acknowledgedAlone(
            at: copy, in: durableSuperblock(nodes[copy]).current.id, others: meansNothing ? nil : other.current.id)
        if let flaw { oracle.fail("I8", flaw) }
    }
}
