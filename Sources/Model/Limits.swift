/// All bounds of a replica in one place, given to it as values so that tests run with tiny ones.
package struct Limits: Equatable, Sendable {
    /// Client operations in flight at once; tickets are `0 ..< clientOperations`.
    package var clientOperations = 512
    /// Operations begun by peers (frames to write, reads, resync) in flight at once.
    package var peerOperations = 1024
    /// Applied and not yet confirmed writes remembered one by one; beyond it an epoch is closed.
    package var unconfirmedEntries = 16_384
    /// Bytes written after which an epoch is closed (`epoch`).
    package var epochBytes: UInt64 = 8 << 20
    /// Nanoseconds without writes after which an epoch is closed.
    package var epochIdle: UInt64 = 200_000_000
    /// Nanoseconds without use after which a confirmed extent leaves the activity log, so that a crash marks only what was
    /// in use lately. Up to 64 times as long while extents come back soon after they left.
    package var coolAfter: UInt64 = 5_000_000_000
    /// Bytes that a resync target asks for before it has the first.
    package var resyncWindow: UInt64 = 8 << 20
    /// Requests in flight of a resync target: with the client's operations they fit the source's `peerOperations`.
    package var resyncPulls: Int { max(1, min(128, (peerOperations - clientOperations) / 2)) }
    /// Largest single resync request, bytes.
    package var resyncPiece: UInt64 = 512 << 10
    /// The two while clients' requests come: what waits before a request of theirs, on disks and links, is a piece or two. At
    /// a round trip of a millisecond that still is 256 MB a second.
    package var resyncWindowUnderLoad: UInt64 = 256 << 10
    package var resyncPieceUnderLoad: UInt64 = 128 << 10
    /// Nanoseconds without a request of a client after which a resync takes all it can get again.
    package var resyncGivesWay: UInt64 = 100_000_000
    /// Bytes of resync after which the target flushes and reports.
    package var resyncFlushBytes: UInt64 = 64 << 20
    /// Bytes answered to clients that some peer has not on its disk yet (`send-buffer`; `memory`, `async`).
    package var sendBuffer: UInt64 = 16 << 20
    /// Log transactions a volume's ring holds.
    package var logRingBlocks = 64

    package init() {}
}

/// What the configuration decides about times; nanoseconds.
package struct Timing: Equatable, Sendable {
    /// The oldest unanswered write may be this old (`timeout` × `ko-count`) before its peer is cut off.
    package var cutOff: UInt64 = 6_000_000_000
    package var pingInterval: UInt64 = 500_000_000
    package var pingTimeout: UInt64 = 1_000_000_000
    package var reconnectMinimum: UInt64 = 100_000_000
    package var reconnectMaximum: UInt64 = 5_000_000_000
    /// With quorum: a member that answered a ping does not begin to serve for this long (LEASE).
    package var lease: UInt64 = 2_000_000_000
    /// Parts in a thousand by which two nodes' clocks may run apart.
    package var clockDrift: UInt64 = 10

    /// How long a primary may rest on an answered ping, counted from when it asked.
    package var leaseHeld: UInt64 { lease - lease / 1000 * clockDrift }
    /// How long a successor waits, counted from its own last answer.
    package var leaseWaited: UInt64 { lease + lease / 1000 * clockDrift }

    package init() {}
}

/// Nanoseconds since boot, suspended time included (CLOCK_BOOTTIME); a simulated clock in the simulator.
package struct MonotonicTime: Equatable, Hashable, Comparable, Sendable {
    package var nanoseconds: UInt64
    package init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }
    package static func < (left: MonotonicTime, right: MonotonicTime) -> Bool { left.nanoseconds < right.nanoseconds }
    package static func + (time: MonotonicTime, nanoseconds: UInt64) -> MonotonicTime {
        MonotonicTime(nanoseconds: time.nanoseconds &+ nanoseconds)
    }
    /// Zero when `earlier` is later.
    package func since(_ earlier: MonotonicTime) -> UInt64 {
        nanoseconds > earlier.nanoseconds ? nanoseconds - earlier.nanoseconds : 0
    }
}
