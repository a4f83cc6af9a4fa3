/// When a write counts as done at a copy (DRBD's protocols C, B and A), strictest first. Raw values are the words of the
/// configuration.
package enum ReplicationMode: String, Sendable, CaseIterable, Comparable {
    /// On its disk.
    case sync
    /// In its memory.
    case memory
    /// In the bounded send buffer of the primary.
    case asynchronous = "async"

    package static func < (one: ReplicationMode, other: ReplicationMode) -> Bool { one.rank < other.rank }

    /// The number in recordings.
    package var rank: UInt8 {
        switch self {
        case .sync: 0
        case .memory: 1
        case .asynchronous: 2
        }
    }

    package init?(rank: UInt8) {
        guard let mode = Self.allCases.first(where: { $0.rank == rank }) else { return nil }
        self = mode
    }
}
