import Model
import ReplicationCore

/// A running process: the core is not copyable, so it lives in a place of its own. (As a class's stored property each
/// look at it would retain and release every array in it.)
final class LiveReplica {
    let core: UnsafeMutablePointer<Replica>

    init(_ core: consuming Replica) {
        self.core = .allocate(capacity: 1)
        self.core.initialize(to: core)
    }

    deinit {
        core.deinitialize(count: 1)
        core.deallocate()
    }
}

/// One machine with its disk, and the process on it while there is one.
final class SimulatedNode {
    let side: Int
    let id: NodeID
    let disk: SimulatedDisk
    /// Votes, and holds no data.
    let isWitness: Bool
    let clockOffset: UInt64
    /// Parts in a million by which the clock runs fast.
    let drift: Int64

    var live: LiveReplica?
    var recording: NodeRecording?
    /// Counts processes.
    var incarnation = 0
    var run = RunID.none
    var bootID: (UInt64, UInt64)
    /// Stopped: nothing is handled, everything queues up.
    var isPaused = false
    var inbox: [Event] = []
    var pausedAt: UInt64 = 0
    /// While it is paused its clock stands still, too.
    var standsStill = false
    /// Nanoseconds by which its clock is behind for that.
    var stoodStill: UInt64 = 0
    /// The step at which it began to, the last time.
    var stoodStillFrom: UInt64 = 0
    var wasConnected = false
    /// When the newest message came from the other node.
    var heardAt: UInt64 = 0
    /// What came meanwhile is being handled.
    var isWaking = false
    /// It stood still for so long that another may have become primary: it hears its peer before it answers.
    var mustHear = false
    var buffers = BufferStore()
    /// The earliest tick that was scheduled for this process; `.max`: none.
    var scheduledTick = UInt64.max
    var lastTick: UInt64 = 0
    /// Ticks at the same time, one behind the other.
    var idleTicks = 0
    /// What it did lately, and what gave it reason to.
    var bustle = OracleAccounting.Bustle()

    /// The dials that are under way, by whom they call.
    var dialing: [Int?]
    /// What the next hello says.
    var offersDiscard = false
    /// Its metadata are being moved.
    var growing: GrowingDisk?
    /// The size that its disk is prepared for.
    var prepared: UInt64?
    /// The core uses the disk (`releaseDisk` ends that).
    var usesDisk = false {
        didSet { if oldValue, !usesDisk { lostDisk = true } }
    }
    /// This process was without a disk at some time.
    var lostDisk = false
    var isPrimary: Bool { glimpse.isPrimary }
    /// Kept off by a cluster manager that fences.
    var isHeldDown = false
    /// Not to be started again by itself: an administrator stopped it.
    var isStopped = false
    /// The disk was put back as it was some time ago, and the other node has not found that out yet.
    var isRestored = false
    /// Who is not in its configuration.
    var misses: Set<Int> = []
    /// Who was not, before its daemon was adjusted.
    var formerMisses: [Set<Int>] = []
    /// It was put back when its record left the other copy out, which it filled or was about to fill.
    var wasSource = false
    /// The copy was made anew and nobody has taken it in yet.
    var isMadeAnew = false
    /// Commands that whoever asked no longer waits for.
    var withdrawn: [UInt32] = []
    /// `.stopped` was said in this turn.
    var stopsNow = false

    // Clients.
    var operations: [ClientOperation?]
    var clients: UInt32 = 0
    /// The client is leaving: it sends nothing any more.
    var clientLeaves = false
    /// When the core last ended all connections: older requests may be answered late.
    var closedClientsAt: UInt64 = 0
    /// When it last said that it fails requests because it has no quorum (`on-quorum-lost: error`).
    var failedForQuorumAt: UInt64 = 0

    // Administrators.
    var commands: [PendingCommand] = []
    var outcomes: [UInt32: CommandOutcome] = [:]
    var nextCommand: UInt32 = 1

    /// What its runs found of other copies, as its machine remembers it.
    var verifyMemory: [ReplicaConfiguration.Compared] = []
    // Comparisons of copies: when it asked whom for what, and how many pieces it has compared.
    var asked: [UInt64: UInt64] = [:]
    var compared: UInt64 = 0
    /// The step in which the process began.
    var bornAt: UInt64 = 0

    // For the trace and the oracle.
    var watched: (UInt64, UInt64) = (0, 0)
    var lastPowerLoss: UInt64 = 0
    var durable: DurableView?
    var durableRevision = -1
    var superblockOnDisk: Superblock?
    var superblockRevision = -1
    /// What it was after its last event.
    var glimpse = Glimpse()
    /// A promotion that was answered in the same turn in which the role changed.
    var lastPromotion: [(force: Bool, fenced: NodeID?, acceptsLoss: Bool)] = []

    /// The line in which it was when it was told to promote itself by force.
    var forcedFrom = LineageID.none

    struct PendingCommand {
        var id: CommandID
        /// Nil: `attach` or `adjust`.
        var command: Command?
        var isAdjustment = false
        /// Simulated nanoseconds at which it must have been answered.
        var mustEnd: UInt64
        /// The copy whose data this command was the first to give away.
        var givesAway: Int?
    }

    init(
        side: Int, disk: SimulatedDisk, clockOffset: UInt64, drift: Int64, bootID: (UInt64, UInt64), tickets: Int,
        isWitness: Bool = false, nodes: Int = 2
    ) {
        self.side = side
        id = NodeID(unchecked: UInt8(side))
        self.disk = disk
        self.clockOffset = clockOffset
        self.drift = drift
        self.bootID = bootID
        self.isWitness = isWitness
        dialing = Array(repeating: nil, count: nodes)
        operations = Array(repeating: nil, count: tickets)
    }

    var isUp: Bool { live != nil }
    /// An administrator's write may be under way.
    var isRepairing: Bool {
        commands.contains { if case .repair? = $0.command { true } else { false } }
    }
    var operationsInFlight: Int { operations.reduce(0) { $0 + ($1 == nil ? 0 : 1) } }

    func localTime(_ now: UInt64) -> MonotonicTime {
        let shown = clockOffset + UInt64(Int64(now) + Int64(now) * drift / 1_000_000)
        // A clock that began near zero would show less for a moment before it stood still (seed 500174).
        return MonotonicTime(nanoseconds: shown > stoodStill ? shown - stoodStill : 0)
    }

    /// The first moment at which this node's clock shows `time` or later.
    func globalTime(_ time: MonotonicTime) -> UInt64 {
        guard time.nanoseconds + stoodStill > clockOffset else { return 0 }
        let passed = Int64(time.nanoseconds + stoodStill - clockOffset)
        guard drift != 0, passed < 1 << 42 else { return UInt64(passed) }
        var now = UInt64(passed * 1_000_000 / (1_000_000 + drift))
        while localTime(now) < time { now += 1 }
        return now
    }

    /// What a dead process takes with it.
    func forgetProcess() {
        live = nil
        recording = nil
        incarnation += 1
        isPaused = false
        standsStill = false
        isWaking = false
        mustHear = false
        inbox.removeAll()
        buffers = BufferStore()
        scheduledTick = .max
        for peer in dialing.indices { dialing[peer] = nil }
        offersDiscard = false
        usesDisk = false
        growing = nil
        prepared = nil
        lostDisk = false
        stopsNow = false
        glimpse = Glimpse()
        for index in operations.indices { operations[index] = nil }
        clients = 0
        clientLeaves = false
        commands.removeAll()
        asked.removeAll()
        compared = 0
    }
}
