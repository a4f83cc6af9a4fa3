package import Model

/// What the simulation found.
package struct Violation: Error, Equatable, Sendable {
    package enum Kind: Sendable { case safety, liveness }
    package var kind: Kind
    /// `I1` to `I11`, as in `3-replication`.
    package var invariant: String
    package var text: String

    package init(_ kind: Kind, _ invariant: String, _ text: String) {
        self.kind = kind
        self.invariant = invariant
        self.text = text
    }
}

/// The two disks as the oracle sees them.
package protocol DiskView: AnyObject {
    /// What a read of the copy would give.
    func value(_ copy: Int, _ sector: Int) -> UInt64
    /// What the copy would hold after a loss of power now, at least.
    func stableValue(_ copy: Int, _ sector: Int) -> UInt64
    /// What the copy would give is in its cache only, for good: a flush failed that should have taken it out.
    func hasForgotten(_ copy: Int, _ sector: Int) -> Bool
    /// The step at which the copy last lost its cache.
    func lastPowerLoss(_ copy: Int) -> UInt64
    /// The copy's own node is primary.
    func isServing(_ copy: Int) -> Bool
    /// The copy's own node stands still.
    func isPaused(_ copy: Int) -> Bool
    /// The copy's own node is there and uses it.
    func isInUse(_ copy: Int) -> Bool
    /// The copy is whole, and a generation that the other does not know goes on from the other's.
    func wentOn(_ copy: Int, from other: Int) -> Bool
    /// The records of the two are of different lineages: one was promoted by force.
    var areOfTwoLineages: Bool { get }
}

/// The ground truth: for each copy a `Shadow` of what it owes to clients. Acknowledgements bind the copies that the
/// acknowledging primary requires (`Record`, `required`); a copy that is left behind owes only what was acknowledged
/// before; one that comes back owes what its source does.
///
/// Which invariant of `3-replication` (and which cheap checker C1 to C16 of `reliability` 3.1) is looked at where:
///
/// | | when | where |
/// |---|---|---|
/// | I1, C6, C14, C16 | each answer to a read | `OracleHistory`: per sector, zeroes and trims are writes of zero |
/// | I2, C1, C2 | each acknowledgement, each flush, each promotion, at rest | `OracleDurability` |
/// | I3, C11, C12 | the second phase; at rest | `Liveness`: equal, unmarked, one line, or parted by a named rule |
/// | I4, C3 | each acknowledgement, each new record | `OracleTerms`: without quorum a term counts only within a session, so: one primary a record, records of a lineage only rise, no two copies go on alone in one generation |
/// | I5 | each read for a client or a peer, each promotion | `OracleAssertions`, `OracleDurability` |
/// | I6, C15 | each message sent | `OracleAssertions`: against the superblock on disk and the disk's cache |
/// | I7, C13, C16 | each request, buffer, command and disk operation; memory now and then | `OracleAccounting`, and where the cluster does what the core wants |
/// | I8 | when a split brain is reported; each acknowledgement alone | `Liveness`, `OracleTerms` |
/// | I9, C5 | each copy taken in | `OracleDurability` |
/// | I11, C4, C9, C10 | after every event; every 64 to 1,024 events as if both crashed; each look at the status | `OracleEquality` |
///
/// With quorum (`OracleMajority`): I1, I2, I4, I5, I6, at rest I3, and I11 between members and any copy. With `async` I10 and C8 are looked at by `OracleLoss`. C7, metadata torn at every point, has a place of its own with the crash points.
package final class Oracle {
    package private(set) var violation: Violation?
    package internal(set) var shadows: [Shadow]
    /// Owns this oracle and outlives it.
    unowned(unsafe) let disks: any DiskView
    /// The last write that began on each sector.
    var newest: [UInt64]
    /// Acknowledged writes that no acknowledged flush covers yet.
    var unflushed: [(operation: ClientOperation, acknowledged: UInt64, required: NodeSet)] = []
    /// For each copy: an administrator gave its data away since it last acknowledged alone.
    var givenAway = [false, false]
    /// For each copy: it left the other behind, since the two were last in step.
    package internal(set) var wentOnAlone = [false, false]
    /// For each copy: it owes what the other does since its own record left it out.
    var isTakenIn = [true, true]
    /// Some record named both copies while clients were served.
    package internal(set) var haveBeenInStep = false
    var required: [NodeSet]
    var named: [NodeSet]
    var terms: OracleTerms
    var assertions: OracleAssertions
    var elections: OracleElections
    package internal(set) var acknowledgedWrites = 0
    package internal(set) var checkedReads = 0
    package internal(set) var promotions = 0

    /// With quorum there is one line, and all copies owe the same: `shadows` has one.
    let isByMajority: Bool
    let copies: Int
    /// Between two nodes.
    let mode: ReplicationMode
    /// With quorum: between each two copies.
    private let modes: [[ReplicationMode]]
    var loss: OracleLoss

    package init(
        sectors: Int, disks: any DiskView, copies: Int = 2, nodes: Int = 2, isByMajority: Bool = false,
        mode: ReplicationMode = .sync, options: SimulationOptions? = nil, mostLost: UInt64 = 0
    ) {
        self.mode = mode
        modes = (0..<copies).map { one in (0..<copies).map { options?.mode(between: one, and: $0) ?? mode } }
        loss = OracleLoss(most: mostLost)
        self.isByMajority = isByMajority
        self.copies = copies
        shadows = Array(repeating: Shadow(sectors: sectors), count: isByMajority ? 1 : 2)
        required = Array(repeating: NodeSet(), count: nodes)
        named = Array(repeating: NodeSet(), count: nodes)
        terms = OracleTerms(nodes: nodes)
        assertions = OracleAssertions(nodes: nodes)
        elections = OracleElections(nodes: nodes)
        self.disks = disks
        newest = Array(repeating: 0, count: sectors)
    }

    package func fail(_ kind: Violation.Kind, _ invariant: String, _ text: String) {
        if violation == nil { violation = Violation(kind, invariant, text) }
    }

    package func fail(_ invariant: String, _ text: String) { fail(.safety, invariant, text) }

    func sides(_ set: NodeSet) -> [Int] {
        guard !isByMajority else { return set.map { Int($0.rawValue) } }
        switch set.rawValue & 3 {
        case 1: return Self.first
        case 2: return Self.second
        case 3: return Self.both
        default: return Self.none
        }
    }

    /// Copies that must have what `primary` acknowledged: those of `members` that its writes wait for.
    func owing(_ members: [Int], _ primary: Int) -> [Int] {
        guard mode == .asynchronous, members.contains(primary) else { return members }
        return isByMajority ? members.filter { $0 == primary || mode(primary, $0) != .asynchronous } : [primary]
    }

    func owing(_ required: NodeSet, _ primary: Int) -> NodeSet {
        var owing = NodeSet()
        for copy in self.owing(sides(required), primary) { owing.insert(NodeID(unchecked: UInt8(copy))) }
        return owing
    }

    func mode(_ primary: Int, _ copy: Int) -> ReplicationMode {
        isByMajority && primary < copies ? modes[primary][copy] : mode
    }

    private static let none: [Int] = []
    private static let first = [0]
    private static let second = [1]
    private static let both = [0, 1]
}
