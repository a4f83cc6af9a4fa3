/// Raw values are the words of `4-interface`.
package enum Role: String, Sendable {
    case primary, secondary, unknown, witness

    // Each step asks for it more than once (`NodeID`).
    private var place: UInt8 {
        switch self {
        case .primary: 0
        case .secondary: 1
        case .unknown: 2
        case .witness: 3
        }
    }
    package static func == (left: Role, right: Role) -> Bool { left.place == right.place }
    package static func != (left: Role, right: Role) -> Bool { left.place != right.place }
}

/// Legal: diskless → attaching → {inconsistent, outdated, consistent, upToDate}; consistent → upToDate | outdated;
/// upToDate → outdated → inconsistent → upToDate. Any → failed (until in-flight I/O is back) → diskless.
package enum DiskState: String, Sendable {
    case attaching, diskless, failed, inconsistent, outdated, consistent, unknown
    case upToDate = "up-to-date"
}

package enum ConnectionState: String, Sendable { case standalone, connecting, connected }

package enum ReplicationState: String, Sendable {
    case established, verify, behind
    case resyncSource = "resync-source"
    case resyncTarget = "resync-target"
}

/// Why I/O waits.
package enum SuspendReason: String, Sendable, CaseIterable {
    case quorum, fencing, user, record
    case noData = "no-data"
}
