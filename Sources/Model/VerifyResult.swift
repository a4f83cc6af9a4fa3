/// What bounds a comparison of the copies.
package enum Comparing {
    /// SHA-256 of each block.
    package static let digestLength = 32
    /// Blocks of one question at most: 2 KiB of digests for 256 KiB of data.
    package static let mostBlocks: UInt64 = 64
    /// Runs of differing blocks that are remembered for a repair; beyond, they are only counted.
    package static let mostRuns = 1024
    /// Of them over a restart.
    package static let mostKept = 256
    /// Bytes a second, unless the configuration or a command says otherwise: a background, also on one disk.
    package static let rate: UInt64 = 32 << 20
    package static let rates: ClosedRange<UInt64> = 4096...1 << 40
    /// Seconds between two scheduled comparisons.
    package static let intervals: ClosedRange<UInt64> = 1...10 * 366 * 86_400
}

/// How the last comparison with a peer went, as the node that was primary remembers it.
package struct VerifyResult: Equatable, Sendable {
    package enum End: UInt8, Sendable, CaseIterable {
        /// It went through the whole volume.
        case complete = 1
        /// An administrator ended it.
        case stopped = 2
        /// The link, a disk or the role was lost.
        case interrupted = 3
    }

    package var end: End
    /// Seconds since 1970.
    package var began: UInt64
    package var ended: UInt64
    /// What lies before it was looked at, bytes.
    package var reached: UInt64 = 0
    package var comparedBytes: UInt64 = 0
    /// Exact, also beyond what `runs` holds.
    package var differingBytes: UInt64 = 0
    /// One of the two could not read them.
    package var unreadableBytes: UInt64 = 0
    /// Known to differ: marked toward the peer, and not compared.
    package var skippedBytes: UInt64 = 0
    /// Why it did not go through.
    package var reason: String?
    /// When one last went through, seconds since 1970; 0: never.
    package var completed: UInt64 = 0
    /// The blocks that differed, as many runs as are remembered; a repair takes them away.
    package var runs: [BlockRun] = []

    package init(end: End, began: UInt64, ended: UInt64) {
        self.end = end
        self.began = began
        self.ended = ended
    }

    /// For scripts: `equal` `differs` `unreadable` `stopped` `interrupted`. A difference that was found counts, however it ended.
    package var word: String {
        if differingBytes > 0 { return "differs" }
        switch end {
        case .complete: return unreadableBytes > 0 ? "unreadable" : "equal"
        case .stopped: return "stopped"
        case .interrupted: return "interrupted"
        }
    }
}
