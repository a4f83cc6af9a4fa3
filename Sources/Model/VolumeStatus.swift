/// `hablk status V --json`, field by field (`4-interface`). Nil is null.
package struct VolumeStatus: Equatable, Sendable {
    package struct Resync: Equatable, Sendable {
        package var doneBytes: UInt64
        package var totalBytes: UInt64
        package var bytesPerSecond: UInt64
        package var etaSeconds: Double?
        /// Names of the nodes that paused it.
        package var paused: [String]
        package init(
            doneBytes: UInt64, totalBytes: UInt64, bytesPerSecond: UInt64, etaSeconds: Double?, paused: [String]
        ) {
            self.doneBytes = doneBytes
            self.totalBytes = totalBytes
            self.bytesPerSecond = bytesPerSecond
            self.etaSeconds = etaSeconds
            self.paused = paused
        }
    }

    package struct LastResync: Equatable, Sendable {
        package var bytes: UInt64
        package var seconds: Double
        package var because: String
        package init(bytes: UInt64, seconds: Double, because: String) {
            self.bytes = bytes
            self.seconds = seconds
            self.because = because
        }
    }

    /// A comparison of this node's copy with the peer's that is under way.
    package struct Verify: Equatable, Sendable {
        package var doneBytes: UInt64
        package var totalBytes: UInt64
        package var bytesPerSecond: UInt64
        package var etaSeconds: Double?
        package var differingBytes: UInt64
        package var unreadableBytes: UInt64
        package init(
            doneBytes: UInt64, totalBytes: UInt64, bytesPerSecond: UInt64, etaSeconds: Double?,
            differingBytes: UInt64, unreadableBytes: UInt64
        ) {
            self.doneBytes = doneBytes
            self.totalBytes = totalBytes
            self.bytesPerSecond = bytesPerSecond
            self.etaSeconds = etaSeconds
            self.differingBytes = differingBytes
            self.unreadableBytes = unreadableBytes
        }
    }

    package struct Peer: Equatable, Sendable {
        package var node: String
        package var id: UInt8
        package var connection: ConnectionState
        package var role: Role
        package var disk: DiskState
        package var replication: ReplicationState?
        package var outOfSyncBytes: UInt64
        package var lagBytes: UInt64
        package var lagSeconds: Double
        /// When a write counts as done there.
        package var mode = ReplicationMode.sync
        /// Of the lag, in powers of two, for events: 0 below a second, 1 from one, 2 from two, 3 from four seconds on.
        package static func lagStep(nanoseconds: UInt64) -> UInt8 {
            UInt8(64 - (nanoseconds / 1_000_000_000).leadingZeroBitCount)
        }
        package var resync: Resync?
        package var lastResync: LastResync?
        package var verify: Verify?
        package var lastVerify: VerifyResult?
        /// What data for it is made shorter by; nil: it is not connected.
        package var compression: Compression?
        /// Data of writes and resyncs that was sent to it since the daemon's start, as it lies on the disk, and what of it
        /// and its frames' headers went over the wire.
        package var sentBytes: UInt64 = 0
        package var wireBytes: UInt64 = 0
        package var reason: String?
        package var message: String?
        package init(
            node: String, id: UInt8, connection: ConnectionState, role: Role, disk: DiskState,
            replication: ReplicationState?, outOfSyncBytes: UInt64, lagBytes: UInt64, lagSeconds: Double,
            resync: Resync?, lastResync: LastResync?, reason: String?, message: String?
        ) {
            self.node = node
            self.id = id
            self.connection = connection
            self.role = role
            self.disk = disk
            self.replication = replication
            self.outOfSyncBytes = outOfSyncBytes
            self.lagBytes = lagBytes
            self.lagSeconds = lagSeconds
            self.resync = resync
            self.lastResync = lastResync
            self.reason = reason
            self.message = message
        }
    }

    /// With `quorum: majority`.
    package struct Votes: Equatable, Sendable {
        /// Names, in the order of their ids: who votes by the newest record, or by the configuration before the first.
        package var voters: [String]
        /// Those of them that this node reaches, itself included, as the instance that the record names.
        package var present: [String]
        /// Nodes that vote and hold no data.
        package var witnesses: [String]
        /// For how long the primary's reads may rest on what was answered to its pings; nil on other nodes.
        package var leaseSeconds: Double?
        /// Whether this node knows that a majority has the record of which it tells: false while that is being decided, and
        /// after a start until a leader says so; nil on a witness, which nobody tells.
        package var isDecided: Bool?
        package init(
            voters: [String], present: [String], witnesses: [String], leaseSeconds: Double?, isDecided: Bool?
        ) {
            self.voters = voters
            self.present = present
            self.witnesses = witnesses
            self.leaseSeconds = leaseSeconds
            self.isDecided = isDecided
        }
    }

    /// The reason of a copy that may lack what its asynchronous primary answered.
    package static let dataLoss = "data-loss"

    package var volume: String
    package var node: String
    package var role: Role
    package var disk: DiskState
    package var size: UInt64
    /// Sixteen hexadecimal digits; nil before the first.
    package var generation: String?
    package var term: UInt64
    package var inStep: [String]
    package var quorum: Bool?
    /// Nil with `quorum: off`.
    package var votes: Votes?
    package var suspended: [SuspendReason]
    package var suspect: Bool
    package var nbd: String
    package var device: String?
    package var clients: UInt32
    package var pid: Int32
    package var reason: String?
    package var message: String?
    package var peers: [Peer]

    package init(
        volume: String, node: String, role: Role, disk: DiskState, size: UInt64, generation: String?, term: UInt64,
        inStep: [String], quorum: Bool?, suspended: [SuspendReason], suspect: Bool, nbd: String, device: String?,
        clients: UInt32, pid: Int32, reason: String?, message: String?, peers: [Peer]
    ) {
        self.volume = volume
        self.node = node
        self.role = role
        self.disk = disk
        self.size = size
        self.generation = generation
        self.term = term
        self.inStep = inStep
        self.quorum = quorum
        self.suspended = suspended
        self.suspect = suspect
        self.nbd = nbd
        self.device = device
        self.clients = clients
        self.pid = pid
        self.reason = reason
        self.message = message
        self.peers = peers
    }
}
