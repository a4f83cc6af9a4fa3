import Formats
import Glibc
import LinuxIO
import Model
import ReplicationCore

/// A witness's part in one volume: it promises, remembers records, and answers pings. No data, no clients.
///
/// Many of them share one thread and one ring; each has the core, the peers' port and the control socket that a data node
/// has, in small.
final class WitnessVolume {
    let configuration: Configuration
    let node: Configuration.Node
    let peers: PeerPort
    let log: DaemonLog
    private let paths: RuntimePaths
    private let machine: Machine
    private let disk: DiskStore
    private var control: ControlPort?
    private var replica: Replica
    private var events = EventQueue(capacity: 16)
    private var effects = EffectQueue(capacity: 64)
    private var superblockWrites = 0
    private var toldRevision: UInt64 = 0
    private var isStopped = false
    private var isParting = false
    /// To be taken up again, with its file as it is then, once it has ended.
    private(set) var wantsAnew = false
    /// It was told to stop.
    private var stopsSoon = false
    private var partingEnds: UInt64 = .max
    private(set) var now = monotonicNow()

    /// Room for what a witness does: nothing but votes.
    private static let limits: Limits = {
        var limits = Limits()
        limits.clientOperations = 4
        limits.peerOperations = 8
        limits.unconfirmedEntries = 16
        return limits
    }()
    private static let peerLimits: PeerPortLimits = {
        var limits = PeerPortLimits()
        limits.sessions = 32
        limits.halfOpen = 8
        limits.queuedBytes = 1 << 20
        limits.stream = ByteStream.Limits(
            queuedBytes: 1 << 20, headerBytes: 128 << 10, segments: 256, receiveBytes: 64 << 10)
        return limits
    }()
    private static let controlLimits: ControlPortLimits = {
        var limits = ControlPortLimits()
        limits.connections = 8
        return limits
    }()
    private static let stopCommand = CommandID(rawValue: .max)
    /// Patience with connections that do not take what is still to be said, at the end.
    private static let partingTimeout: UInt64 = 2_000_000_000

    /// - Parameters:
    ///   - machine: this volume's view of the ring.
    ///   - former: the nodes that its earlier files named.
    init(
        configuration: Configuration, node: Configuration.Node, paths: RuntimePaths, machine: Machine,
        former: [[Hello.Node]]
    ) throws(CommandFailure) {
        self.configuration = configuration
        self.node = node
        self.paths = paths
        self.machine = machine
        let log = DaemonLog(volume: configuration.volume, node: node.name) {
            configuration.node($0)?.name ?? $0.description
        }
        self.log = log
        let copy = try WitnessState.load(configuration, node, paths: paths)
        for remark in copy.remarks { log.warning("state: \(remark)") }
        var core = configuration.replicaConfiguration(node: node.id)
        core.limits = Self.limits
        disk = DiskStore(machine: machine, limits: core.limits)
        disk.attach(copy.files, copy.layout)
        let run = RunID(rawValue: ProcessControls.nonzeroWord())
        peers = try PeerPort(
            configuration: configuration, node: node, run: run, machine: machine, limits: Self.peerLimits
        ) { log.note($0) }
        peers.remember(former)
        replica = Replica(
            configuration: core, run: run, seed: ProcessControls.randomWord(),
            wallClock: wallClockNow() / 1_000_000_000, metadata: copy.metadata,
            at: MonotonicTime(nanoseconds: now), deciding: &effects)
        peers.tellHowOpen()
        performAll()
    }

    /// What it began with is durable, and it can be asked for its status.
    var isReady: Bool { control != nil }

    // MARK: Running

    /// What happened to it; `turn` follows.
    func complete(_ completion: Completion, at now: UInt64) {
        self.now = now
        switch TokenKind(rawValue: completion.token.kind) {
        case .disk: disk.complete(completion, into: &events)
        case .peer, .peerListener: peers.complete(completion, into: &events)
        case .control, .controlListener: control?.complete(completion, into: &events)
        default: break
        }
        settle()
    }

    var nextDeadline: UInt64 {
        if isParting { return min(partingEnds, min(peers.nextDeadline ?? .max, control?.nextDeadline ?? .max)) }
        return min(
            replica.nextDeadline?.nanoseconds ?? .max, min(peers.nextDeadline ?? .max, control?.nextDeadline ?? .max))
    }

    /// The end of a turn: what is due, then what is to be said.
    ///
    /// - Throws: why it cannot go on: another process has its control socket.
    func turn(at now: UInt64) throws(CommandFailure) {
        self.now = now
        if !isParting, let due = replica.nextDeadline, due.nanoseconds <= now { events.append(.tick) }
        if let due = peers.nextDeadline, due <= now { peers.tick(now: now, into: &events) }
        if let due = control?.nextDeadline, due <= now { control?.tick(now: now, into: &events) }
        peers.buffersAvailable(into: &events)
        settle()
        if control == nil, superblockWrites >= 2, !isStopped { try begin() }
        if replica.statusRevision != toldRevision {
            toldRevision = replica.statusRevision
            control?.publish()
        }
        if isStopped, !isParting { part() }
        if isParting, now >= partingEnds {
            partingEnds = .max
            peers.abandon()
            control?.abandon()
        }
        peers.flushSends()
        control?.flushSends()
        log.flush()
    }

    private func begin() throws(CommandFailure) {
        let publisher = StatusPublisher(nbd: "") { [unowned self] in
            self.replica.status(at: MonotonicTime(nanoseconds: self.now))
        }
        let control = ControlPort(
            path: paths.controlSocket(configuration.volume), configuration: configuration, machine: machine,
            limits: Self.controlLimits, publisher: publisher, own: { [unowned self] in self.refuses($0, $1, $2) },
            note: { [log] in log.note($0) })
        try control.start()
        self.control = control
        RuntimeFile.write("\(getpid())\n", to: paths.processID(configuration.volume))
        log.info("process: ready: witness of \(configuration.volume)")
    }

    /// What the core does not take at all.
    private func refuses(_ id: CommandID, _ asked: ControlCommand, _ resolved: Command?) -> Bool {
        guard resolved == nil else { return false }
        if case .adjust(let dryRun) = asked {
            adjust(id, dryRun: dryRun)
            return true
        }
        control?.commandFailed(
            id, .refused("witness", "a witness holds no data and only votes", remedy: "run it on a data node"))
        return true
    }

    /// A witness takes its file up by ending and beginning anew: what it promised and knows is on its disk.
    private func adjust(_ id: CommandID, dryRun: Bool) {
        do throws(CommandFailure) {
            let next = try Configuration.load(configuration.volume, paths: paths)
            let changes = try ConfigurationChanges(from: configuration, to: next, node: node)
            let lines = changes.lines(next, isDone: !dryRun, takesAll: true)
            wantsAnew = !dryRun && !changes.isEmpty
            if wantsAnew { for line in lines { log.info("configuration: \(line)") } }
            control?.finishCommand(id, .done(lines.joined(separator: "\n")))
            if wantsAnew { stop() }
        } catch {
            control?.commandFailed(id, error)
        }
    }

    private func settle() {
        while let event = events.popFirst() {
            if case .superblockWritten(true) = event { superblockWrites += 1 }
            replica.handle(event, at: MonotonicTime(nanoseconds: now), deciding: &effects)
            performAll()
        }
    }

    private func performAll() { while let effect = effects.popFirst() { perform(effect) } }

    private func perform(_ effect: Effect) {
        switch effect {
        case .writeSuperblock(let copy): disk.writeSuperblock(replica.superblockImage, copy: copy, &events)
        case .writeLog: disk.writeLog(replica.logImage, &events)
        case .writeBitmapPage(let node, let page):
            let superblock = replica.durableState
            replica.withBitmapPage(node, page: page) { words in
                disk.writePage(words, of: superblock, toward: node, page: page, &events)
            }
        case .flushData(let operation): disk.flush(operation, &events)
        case .send(let node, let stamp, let message): peers.send(node, stamp, message)
        case .releaseBuffer(let buffer): machine.pool.release(buffer.index)
        case .dial(let node): peers.dial(node)
        case .cancelDial(let node): peers.cancelDial(node)
        case .offerToDiscard(let node, let discards): peers.setDiscards(discards, for: node)
        case .closeSession(let node, let session, let why): peers.closeSession(node, session, why)
        case .commandDone(let id, let outcome):
            if id != Self.stopCommand { control?.commandDone(id, outcome) }
        case .note(let note): log.note(note)
        case .releaseDisk: disk.release()
        case .stopped: isStopped = true
        // Whatever a peer asks of data that is not here.
        case .readData(let operation, _, _, _), .fillEdges(let operation, _, _), .writeData(let operation, _, _),
            .zeroData(let operation, _, _):
            events.append(.dataDone(operation, .failed))
        // It follows nobody's wish for room: it has no copy in step.
        case .takeBuffer, .mergeEdge, .copyBuffer, .digestData, .verified, .reply, .closeClients, .fence, .measureDisk,
            .prepareDisk, .leaveOffPreparing, .growDisk, .keepAside:
            break
        }
    }

    /// Nothing of it is in the kernel.
    var isQuiet: Bool { peers.resolver == nil }

    // MARK: The end

    func stop() {
        guard !isStopped, !stopsSoon else { return }
        stopsSoon = true
        events.append(.command(Self.stopCommand, .stop))
        settle()
    }

    private func part() {
        isParting = true
        partingEnds = now + Self.partingTimeout
        peers.stop()
        control?.stop()
        disk.release()
        if control != nil { RuntimeFile.remove(paths.processID(configuration.volume)) }
        log.info("process: stopped")
    }

    /// New connections are none of its business any more.
    var isLeaving: Bool { isStopped || isParting || stopsSoon }

    /// Nothing of it is left to wait for, in the kernel either: what completes later would reach another volume.
    var isOver: Bool { isParting && peers.isStopped && (control?.isStopped ?? true) }
}
