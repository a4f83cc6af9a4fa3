package import Model

/// What the configuration decides for the core.
package struct ReplicaConfiguration: Sendable {
    package struct Member: Sendable {
        package var id: NodeID
        package var name: String
        package init(id: NodeID, name: String) {
            self.id = id
            self.name = name
        }
    }

    package var volume: String
    package var node: NodeID
    /// All data nodes, this one included.
    package var members: [Member]
    package var limits: Limits
    package var timing: Timing
    /// Bytes a second a resync may take; nil: as fast as it goes.
    package var resyncRate: UInt64?

    package init(
        volume: String, node: NodeID, members: [Member], limits: Limits, timing: Timing, resyncRate: UInt64?
    ) {
        self.volume = volume
        self.node = node
        self.members = members
        self.limits = limits
        self.timing = timing
        self.resyncRate = resyncRate
    }

    package func name(of node: NodeID) -> String { members.first { $0.id == node }?.name ?? node.description }
}

/// One node of one volume: every decision, and nothing else. No I/O, no clock, no chance that was not given, no payload.
package struct Replica: ~Copyable {
    /// - Parameters:
    ///   - seed: all chance of this run (identities, jitter) comes from it.
    ///   - wallClock: seconds since 1970, shown beside generations, never compared.
    ///   - metadata: the copy as found, or nil to start without a disk.
    package init(
        configuration: ReplicaConfiguration, run: RunID, seed: UInt64, wallClock: UInt64, metadata: LoadedMetadata?,
        at now: MonotonicTime, deciding effects: inout EffectQueue
    ) {
        fatalError("in the making")
    }

    /// The one door.
    package mutating func handle(_ event: Event, at now: MonotonicTime, deciding effects: inout EffectQueue) {}

    /// When `.tick` is due; nil: never.
    package var nextDeadline: MonotonicTime? { nil }

    // What the effects `.writeSuperblock`, `.writeLog` and `.writeBitmapPage` write, valid while they are performed.
    package var superblockImage: Superblock { fatalError("in the making") }
    package var logImage: LogTransaction { fatalError("in the making") }
    /// The 496 words of page `page` toward `node`.
    package func withBitmapPage<Result>(_ node: NodeID, page: UInt32, _ body: (ArraySlice<UInt64>) -> Result) -> Result {
        fatalError("in the making")
    }

    /// Rises with each change that `status` shows.
    package var statusRevision: UInt64 { 0 }
    /// Everything `status` shows that the core knows; the daemon adds paths and its pid.
    package func status(at now: MonotonicTime) -> VolumeStatus { fatalError("in the making") }
    package var isPrimary: Bool { false }
    /// Bytes of the volume; 0 while it is not known.
    package var volumeSize: UInt64 { 0 }
    /// The primary as far as this node knows.
    package var knownPrimary: NodeID? { nil }
}
