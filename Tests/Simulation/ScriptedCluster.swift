import Formats
import Model
import ReplicationCore

/// Hears what goes into the cores of a cluster and what comes out of them, in order.
protocol ClusterWitness: AnyObject {
    func heard(_ event: Event, at node: SimulatedNode)
    func saw(_ effect: Effect, of node: SimulatedNode)
}

/// A cluster in which nothing happens by chance: whoever holds it says what clients, administrators, disks and the network
/// do, and lets time pass. The oracle looks on, as it does in a seed.
final class ScriptedCluster {
    let cluster: Cluster
    let transcript: Transcript
    /// What each node is called; the witness is `w`.
    let letters: [String]
    static let copyLetters = ["a", "b", "c", "d"]
    /// What was asked of each client, the newest last.
    private(set) var operations: [(text: String, number: UInt64)] = []
    /// Copies of disks that were taken.
    private var snapshots: [DiskImage?]

    /// What a script may choose of a new cluster.
    struct Shape {
        /// More than two nodes in all: `quorum: majority`.
        var copies = 2
        var witnesses = 0
        var lease: UInt64 = 1_000_000_000
        /// `on-quorum-lost: error`.
        var failsWithoutQuorum = false
        /// `reads: confirm`.
        var confirmsReads = false
        var fencing = ReplicaConfiguration.Fencing.none
        var blocks: UInt64 = 64
        var logExtents: UInt32 = 4
        var afterSplitBrain = SplitBrainPolicies()
        /// Writes that a node remembers one by one until they are confirmed.
        var unconfirmedEntries = 1024
        var blank: Set<Int> = []
        /// What the volume has before it grows to `blocks` at most; disks have that room, and behind it whatever was there.
        var growsFrom: UInt64?
        /// Bytes that a resync target asks for at once, and in all before it has the first.
        var resyncPiece: UInt64 = 512 << 10
        var resyncWindow: UInt64 = 8 << 20
        /// How writes go to each node.
        var replication = [ReplicationMode.sync]
        /// Bytes that may be on their way to a node that acknowledges nothing.
        var sendBuffer: UInt64 = 1 << 20
        var fallsBehind = false
        /// What a copy gives up is kept aside first.
        var keepsDiscarded = false
    }

    init(_ shape: Shape) {
        cluster = Cluster(options: Self.options(shape))
        letters = Array(Self.copyLetters.prefix(shape.copies)) + (shape.witnesses > 0 ? ["w"] : [])
        snapshots = letters.map { _ in nil }
        transcript = Transcript(letters: letters)
        transcript.isHeld = { [cluster] from, to in cluster.network.isBlocked(from: from, to: to) }
        cluster.witness = transcript
        cluster.leaveOver()
        for node in cluster.nodes {
            node.disk.script = DiskScript()
            if shape.blank.contains(node.side) { create(node, blocks: shape.blocks, isBlank: true) }
        }
    }

    /// No chance, no delay worth speaking of, and time-outs of which the longest is three seconds.
    private static func options(_ shape: Shape) -> SimulationOptions {
        var options = SimulationOptions(seed: 1)
        options.faults = [.lateFrames, .diskErrors]
        options.copies = shape.copies
        options.witnesses = shape.witnesses
        options.failsWithoutQuorum = shape.failsWithoutQuorum
        options.confirmsReads = shape.confirmsReads
        options.fencing = shape.fencing
        options.blocks = shape.blocks
        options.growsFrom = shape.growsFrom
        if shape.growsFrom != nil { options.faults.insert(.growing) }
        options.logExtents = shape.logExtents
        options.afterSplitBrain = shape.afterSplitBrain
        options.diskLatency = 0
        options.networkDelay = 0
        options.resyncRate = nil
        options.clockOffsets = (1...UInt64(options.nodes)).map { $0 * 1_000_000_000 }
        options.clockDrifts = (0..<options.nodes).map { _ in 0 }
        options.deepCheckEvery = 4
        options.limits = Limits()
        options.limits.clientOperations = 16
        options.limits.peerOperations = 64
        options.limits.unconfirmedEntries = shape.unconfirmedEntries
        options.limits.resyncPiece = shape.resyncPiece
        options.limits.resyncWindow = shape.resyncWindow
        options.limits.sendBuffer = shape.sendBuffer
        options.replication =
            shape.replication.count == 1
            ? Array(repeating: shape.replication[0], count: shape.copies) : shape.replication
        if options.isByMajority, shape.replication.contains(where: { $0 != .sync }) { options.faults.insert(.mixed) }
        options.fallsBehind = shape.fallsBehind
        if shape.keepsDiscarded { options.faults.insert(.keeping) }
        options.timing = Timing()
        options.timing.cutOff = 3_000_000_000
        options.timing.pingInterval = 200_000_000
        options.timing.pingTimeout = 400_000_000
        options.timing.reconnectMinimum = 50_000_000
        options.timing.reconnectMaximum = 200_000_000
        options.timing.lease = shape.lease
        return options
    }

    var nodes: [SimulatedNode] { cluster.nodes }
    var violation: Violation? { cluster.oracle.violation }

    // MARK: Time

    /// When the cluster's clock begins.
    private static let birth: UInt64 = 1_000_000_000
    /// Nanoseconds. What takes no time is over after it; no time-out has passed.
    static let moment: UInt64 = 5_000_000
    /// Longer than every time-out: when nothing was said for so long, nothing will be.
    private static let silence: UInt64 = 3_600_000_000

    func run(for duration: UInt64) {
        let end = cluster.now + duration
        while violation == nil, !transcript.isFull, let next = cluster.heap.nextTime, next <= end {
            _ = cluster.happensNext()
        }
        cluster.now = max(cluster.now, end)
    }

    /// Until only pings and dials are left; false when that takes longer than two minutes.
    func runUntilQuiet() -> Bool {
        let end = cluster.now + 120_000_000_000
        while violation == nil, !transcript.isFull, cluster.now < end {
            let before = transcript.activity
            run(for: Self.silence)
            if transcript.activity == before { return true }
        }
        return violation != nil
    }

    // MARK: Nodes

    /// - Returns: why it cannot.
    func start(_ node: SimulatedNode) -> String? {
        if case .failure(let error) = MetadataBytes.load(node, layout: cluster.layout, repairing: false) {
            return "\(error)"
        }
        cluster.start(node)
        return nil
    }

    /// A volume's worth of new metadata, on a disk of zeroes, or on one of which nothing is known.
    func create(_ node: SimulatedNode, blocks: UInt64, isBlank: Bool) {
        let old = node.disk.image
        exchange(
            node,
            DiskImage(
                values: Array(repeating: 0, count: old.values.count),
                metadata: Array(repeating: 0, count: old.metadata.count)))
        var options = cluster.options
        options.blocks = blocks
        let instance = InstanceID(rawValue: cluster.nodeRandoms[node.side].next() | 1)
        MetadataBytes.create(
            on: node, layout: MetadataBytes.layout(options), options: options, instance: instance,
            isBlank: isBlank || node.isWitness)
        cluster.growths.rooms[node.side] = blocks
        cluster.leaveOver(on: node)
        guard cluster.options.isByMajority, !node.isWitness, cluster.now > Self.birth else { return }
        node.isRestored = false
        node.isMadeAnew = true
        cluster.hasMadeAnew = true
    }

    /// The node's fence command ends: the peer is off by it, or it failed. - Returns: false: none is under way.
    func answerFencing(_ node: SimulatedNode, _ peer: SimulatedNode, _ succeeds: Bool) -> Bool {
        guard let command = transcript.fencing[node.side], command.peer == peer.id else { return false }
        transcript.fencing[node.side] = nil
        if succeeds { cluster.crash(peer, losesPower: true) }
        cluster.deliver(
            .fenceAnswered(peer.id, request: command.request, succeeds ? .peerFenced : .failed(code: 1)), to: node)
        return true
    }

    private func exchange(_ node: SimulatedNode, _ image: DiskImage) {
        guard cluster.options.isByMajority else {
            node.disk.become(image)
            cluster.oracle.exchanged(node.side, at: cluster.step)
            return
        }
        if node.isWitness {
            node.disk.landMetadata(offset: 0, bytes: image.metadata)
        } else {
            node.disk.replace(with: image)
        }
        cluster.replaced(node, "another disk is in its place")
    }

    func takeSnapshot(of node: SimulatedNode) { snapshots[node.side] = node.disk.image }

    func restore(_ node: SimulatedNode) -> Bool {
        guard !node.isUp, let image = snapshots[node.side] else { return false }
        exchange(node, image)
        node.isRestored = cluster.options.isByMajority && !node.isWitness
        return true
    }

    /// Node `to` gets a copy of the other's disk, made beneath both daemons, and calls it its own.
    func clone(_ other: SimulatedNode, to node: SimulatedNode) {
        exchange(node, other.disk.image)
        guard case .success(let metadata) = MetadataBytes.load(other, layout: cluster.layout, repairing: false) else {
            return
        }
        var superblock = metadata.superblock
        superblock.node = node.id
        for copy in 0...1 {
            let bytes = MetadataBytes.encode(
                superblock, MetadataBytes.layout(of: node, cluster.layout), copy: copy)
            node.disk.landMetadata(offset: Int(cluster.layout.superblockOffset(copy: copy)), bytes: bytes)
        }
    }

    /// Operations of these kinds end that were held, and are held no more.
    func releaseDisk(_ node: SimulatedNode, _ kinds: Set<String>) {
        node.disk.script?.holds.subtract(kinds)
        for slot in node.disk.releaseHeld(kinds) {
            cluster.heap.push(
                .diskDone(node: node.side, incarnation: node.incarnation, slot: slot), at: cluster.now + 1000)
        }
    }

    // MARK: Clients

    /// Gives the node a client's request; the first brings the client's connection with it.
    func request(
        _ node: SimulatedNode, _ kind: ClientRequest.Kind, _ range: ByteRange, forced: Bool, label: String
    ) -> Bool {
        if node.clients == 0, node.isPrimary {
            node.clients = 1
            cluster.deliver(.clientsChanged(count: 1), to: node)
        }
        transcript.labels[cluster.nextWrite] = label
        guard node.isUp, let operation = cluster.give(node, kind, range, forced: forced) else { return false }
        operations.append((transcript.text(of: operation), operation.write))
        return true
    }

    /// The answer to the newest request of that text: nil when there was none, `.some(nil)` when it waits.
    func answer(to text: String) -> ClientResult?? {
        guard let last = operations.last(where: { $0.text == text }) else { return nil }
        return .some(transcript.answers[last.number])
    }
}
