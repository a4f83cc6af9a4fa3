/// Who leads: no two candidates share a term, because the node is part of it.
package struct Term: Equatable, Hashable, Comparable, Sendable, CustomStringConvertible {
    package var counter: UInt64
    package var node: NodeID

    package init(counter: UInt64, node: NodeID) {
        self.counter = counter
        self.node = node
    }

    package static func == (left: Term, right: Term) -> Bool {
        left.counter == right.counter && left.node == right.node
    }
    package static func != (left: Term, right: Term) -> Bool { !(left == right) }
    package static let zero = Term(counter: 0, node: NodeID(unchecked: 0))
    package static func < (left: Term, right: Term) -> Bool {
        left.counter != right.counter ? left.counter < right.counter : left.node < right.node
    }
    package var description: String { "\(counter)@\(node.rawValue)" }
}

/// The place of a record within its lineage.
package struct RecordNumber: Equatable, Hashable, Comparable, Sendable, CustomStringConvertible {
    package var term: Term
    package var index: UInt64

    package init(term: Term, index: UInt64) {
        self.term = term
        self.index = index
    }

    package static func < (left: RecordNumber, right: RecordNumber) -> Bool {
        left.term != right.term ? left.term < right.term : left.index < right.index
    }
    package var description: String { "\(term).\(index)" }
}

/// Who may acknowledge writes, and who holds them all (`6-protocol`, RECORD). Members are copies: the instance of each
/// node named in `inStep` or `voters` stands beside its id.
package struct Record: Equatable, Sendable {
    package var lineage: LineageID
    package var number: RecordNumber
    package var generation: GenerationID
    package var primary: NodeID?
    package var inStep: NodeSet
    package var voters: NodeSet
    package var instances: PerNode<InstanceID>
    /// Bytes.
    package var size: UInt64

    package init(
        lineage: LineageID, number: RecordNumber, generation: GenerationID, primary: NodeID?, inStep: NodeSet,
        voters: NodeSet, instances: PerNode<InstanceID>, size: UInt64
    ) {
        self.lineage = lineage
        self.number = number
        self.generation = generation
        self.primary = primary
        self.inStep = inStep
        self.voters = voters
        self.instances = instances
        self.size = size
    }

    /// What a copy has before any record was made.
    package static let empty = Record(
        lineage: .none, number: RecordNumber(term: .zero, index: 0), generation: .none, primary: nil,
        inStep: NodeSet(), voters: NodeSet(), instances: PerNode(repeating: .none), size: 0)

    package var isEmpty: Bool { lineage.isNone }
}
