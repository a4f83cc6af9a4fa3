import Formats
import Glibc
import LinuxIO
import Model
import Recording
import ReplicationCore

/// The turn of the daemon: one system call and one reading of the clock; completions become events, the core decides,
/// its effects are performed in order, and what is to be sent leaves at the end.
final class VolumeLoop {
    var configuration: Configuration
    let node: Configuration.Node
    let paths: RuntimePaths
    let machine: Machine
    let log: DaemonLog
    let disk: DiskStore
    let nbd: NBDServer
    let peers: PeerPort
    var control: ControlPort?
    var replica: Replica
    var events = EventQueue()
    var effects = EffectQueue()
    var buffersWanted = BufferQueue()
    /// `attach` commands that wait for their disk.
    var attaches: [PendingAttach] = []
    let device: DevicePort
    let fencing: FenceCommand
    let mover: DiskMover
    let discarded: DiscardedKeeper
    let compared: ComparisonMemory
    /// What `adjust` commands that the core is at work on will have changed, in lines.
    var adjusting: [CommandID: [String]] = [:]
    var resizes = ResizeCommands()
    /// Commands that concern the kernel's device, to be looked at outside of the control port.
    var deviceCommands: [DeviceCommand] = []
    var resumption = Resumption()
    var watchdog = Watchdog()
    /// After the end: run the program anew in this process.
    var isRestarting = false
    /// The core said `.stopped`.
    var isStopped = false
    var superblockWrites = 0
    let blackBox: BlackBox?
    private let signals: Signals
    private(set) var now: UInt64
    /// When the turn that is ended at last had something to do by itself.
    private var due: UInt64 = 0
    private var toldRevision: UInt64 = 0
    private var lastInUse = 0
    private var toldDevice: UInt64 = 0
    private var wasAskedToStop = false

    /// The id of the stop that a signal asks for.
    static let signalCommand = CommandID(rawValue: .max)
    /// The id of the promotion by which a device that is there still goes on.
    static let resumeCommand = CommandID(rawValue: .max - 1)
    /// Patience with connections that do not take what is still to be said, at the end.
    private static let partingTimeout: UInt64 = 3_000_000_000

    init(
        configuration: Configuration, node: Configuration.Node, paths: RuntimePaths, copy: LoadedCopy,
        machine: Machine, signals: Signals, log: DaemonLog
    ) throws(CommandFailure) {
        self.configuration = configuration
        self.node = node
        self.paths = paths
        self.machine = machine
        self.signals = signals
        self.log = log
        var core = configuration.replicaConfiguration(node: node.id)
        core.compared = Self.rememberedComparisons(configuration, paths)
        disk = DiskStore(machine: machine, limits: core.limits)
        disk.attach(copy.files, copy.layout)
        let run = RunID(rawValue: ProcessControls.nonzeroWord())
        let offer = NBDExportOffer(name: configuration.volume, size: 0, state: .unavailable("starting"))
        nbd = NBDServer(offer: offer, machine: machine, operations: core.limits.clientOperations, log: log)
        device = DevicePort(
            volume: configuration.volume, notePath: paths.device(configuration.volume), machine: machine, nbd: nbd,
            log: log)
        fencing = FenceCommand(configuration: configuration, node: node, machine: machine, log: log)
        mover = DiskMover(machine: machine)
        discarded = DiscardedKeeper(machine: machine)
        compared = ComparisonMemory(path: paths.verifyMemory(configuration.volume), machine: machine)
        peers = try PeerPort(
            configuration: configuration, node: node, run: run, machine: machine,
            limits: PeerPortLimits(sendBuffer: configuration.isRelaxed ? configuration.sendBuffer : 0)
        ) { [log] in log.note($0) }
        now = monotonicNow()
        let start = RecordedStart(
            configuration: core, run: run, seed: ProcessControls.randomWord(),
            wallClock: wallClockNow() / 1_000_000_000, metadata: copy.metadata,
            time: MonotonicTime(nanoseconds: now))
        blackBox = Self.record(start, paths.blackBox(configuration.volume), log)
        replica = Replica(
            configuration: core, run: run, seed: start.seed, wallClock: start.wallClock, metadata: start.metadata,
            at: start.time, deciding: &effects)
        joinDevice()
    }

    /// Nobody waits for a black box: without one a daemon says so, and runs.
    private static func record(_ start: RecordedStart, _ path: String, _ log: DaemonLog) -> BlackBox? {
        let node = start.configuration.node
        let head = RecordingHead(
            volume: start.configuration.volume, nodeName: start.configuration.name(of: node), node: node,
            processID: UInt32(getpid()), startedAt: wallClockNow(), startedAtMonotonic: start.time)
        do throws(SystemError) {
            let blackBox = try BlackBox(path, head)
            blackBox.record(start)
            log.info("process: black box: \(path)")
            if blackBox.hasKeptFormer {
                log.warning(
                    "process: the daemon before did not end in order: its black box is kept: \(path)"
                        + "\(BlackBox.formerSuffix)")
            }
            return blackBox
        } catch {
            log.warning("process: no black box: \(error)")
            return nil
        }
    }

    // MARK: Start

    /// Binds what is listened on, waits until the core's beginning is durable, and says that it is ready.
    func start(after predecessor: Predecessor) throws(CommandFailure) {
        do throws(CommandFailure) {
            try predecessor.outwait { () throws(CommandFailure) in
                try nbd.start(path: paths.nbdSocket(configuration.volume), address: node.nbdListen)
            }
            try predecessor.outwait { () throws(CommandFailure) in try peers.start() }
            signals.await(machine.ring, token: Token(.signal))
            performAll()
            // Superblock 0 and 1, which bear the new start number.
            while superblockWrites < 2, disk.isAttached, !isStopped { turn() }
            device.find(inherited: Successor.inherited(), size: replica.volumeSize, &events)
            let control = makeControl()
            try predecessor.outwait { () throws(CommandFailure) in try control.start() }
            self.control = control
        } catch {
            nbd.stop(&events)
            blackBox?.end()
            throw error
        }
        RuntimeFile.write("\(getpid())\n", to: paths.processID(configuration.volume))
        log.info("process: ready: \(configuration.volume) on \(node.disk), \(machine.ringWords)")
        if case .refused(let why) = ProcessControls.notifySupervisor("READY=1") {
            log.warning("process: the service manager was not told: \(why)")
        }
    }

    private func makeControl() -> ControlPort {
        let publisher = StatusPublisher(
            nbd: paths.nbdSocket(configuration.volume), device: { [device] in device.path },
            traffic: { [peers] in peers.traffic(to: $0) },
            read: { [unowned self] in self.replica.status(at: MonotonicTime(nanoseconds: self.now)) })
        return ControlPort(
            path: paths.controlSocket(configuration.volume), configuration: configuration, machine: machine,
            publisher: publisher, own: { [unowned self] in self.takes($0, $1, $2) }, note: { [log] in log.note($0) })
    }

    // MARK: Running

    func run() {
        while !isStopped { turn() }
        ProcessControls.notifySupervisor(isRestarting ? "RELOADING=1" : "STOPPING=1")
        device.leave(generation: replica.durableState.current.id)
        nbd.stop(&events)
        peers.stop()
        control?.stop()
        let latest = monotonicNow() + Self.partingTimeout
        while !(nbd.isStopped && peers.isStopped && control?.isStopped ?? true) || mover.isMarking,
            monotonicNow() < latest
        {
            turn(latest: latest)
        }
        // Who comes next waits for the disk, and reads then what was found.
        keepComparisons()
        disk.release()
        blackBox?.end()
        RuntimeFile.remove(paths.processID(configuration.volume))
        log.info("process: stopped")
        log.flush()
    }

    private func deadline() -> UInt64 {
        var earliest = replica.nextDeadline?.nanoseconds ?? .max
        earliest = min(earliest, nbd.nextDeadline ?? .max)
        earliest = min(earliest, peers.nextDeadline ?? .max)
        earliest = min(earliest, control?.nextDeadline ?? .max)
        earliest = min(earliest, deviceDeadline)
        earliest = min(earliest, watchdog.next)
        earliest = min(earliest, fencing.nextDeadline)
        if disk.isAttached { earliest = min(earliest, mover.marks.nextLook) }
        for pending in attaches { earliest = min(earliest, pending.next) }
        earliest = min(earliest, resizes.nextDeadline)
        return earliest
    }

    private func turn(latest: UInt64 = .max) {
        due = deadline()
        let end = min(due, latest)
        machine.ring.submitAndWait(until: end == .max ? nil : end)
        now = monotonicNow()
        while let completion = machine.ring.nextCompletion() {
            translate(completion)
            settle()
        }
        peers.finishQuietSends(into: &events)
        nbd.finishQuietSends(into: &events)
        // What happened may have brought it nearer: then the next turn does not wait.
        if due <= now { tick() }
        repeat {
            shareBuffers()
            settle()
            followDevice()
        } while nbd.hasWork
        tell()
        watchdog.feed(at: now)
        // What a send holds is given back by its completion: who waits for that must not sleep through it.
        let nobodyWaits = buffersWanted.isEmpty && !nbd.isAnyoneWaiting && !peers.isAnyoneStalled
        peers.flushSends(quietly: nobodyWaits)
        nbd.flushSends(quietly: nobodyWaits)
        disk.submitWrites()
        control?.flushSends()
        log.flush()
    }

    private func translate(_ completion: Completion) {
        switch TokenKind(rawValue: completion.token.kind) {
        case .disk: disk.complete(completion, into: &events)
        case .nbd, .nbdListener: nbd.complete(completion, into: &events)
        case .peer, .peerListener: peers.complete(completion, into: &events)
        case .control, .controlListener: control?.complete(completion, into: &events)
        case .signal: takeSignal(completion)
        case .device: device.complete(completion, into: &events)
        case .fence: fencing.complete(completion, into: &events)
        case .move: diskMoved(completion)
        case .keeping: keptAside(completion)
        case .comparing: comparisonsKept(completion)
        case .deviceHangUp: nbd.completeHangUp(completion, into: &events)
        case .wake, .door, .visitor, nil: break
        }
    }

    private func takeSignal(_ completion: Completion) {
        switch signals.signal(from: completion) {
        case .terminate, .interrupt:
            if !wasAskedToStop {
                wasAskedToStop = true
                log.info("process: asked to stop by a signal")
                deviceCommands.append(.stopBySignal)
            }
        case .hangUp: if !wasAskedToStop { deviceCommands.append(.restart) }
        case nil: break
        }
        signals.await(machine.ring, token: Token(.signal))
    }

    private func tick() {
        if let due = replica.nextDeadline, due.nanoseconds <= now { events.append(.tick) }
        if let due = nbd.nextDeadline, due <= now { nbd.tick(now: now, into: &events) }
        if let due = peers.nextDeadline, due <= now { peers.tick(now: now, into: &events) }
        if let due = control?.nextDeadline, due <= now { control?.tick(now: now, into: &events) }
        fencing.tick(at: now)
        watchDisk(at: now)
        settle()
        attachDue(now)
        settle()
    }

    /// The core before peers before clients: what is under way ends before something new begins.
    private func shareBuffers() {
        serveBuffers()
        peers.buffersAvailable(into: &events)
        // Peers give buffers back when they have sent them, without a word.
        if machine.pool.inUse != lastInUse { nbd.somethingCameFree = true }
        lastInUse = machine.pool.inUse
        nbd.resourcesAvailable(into: &events)
    }

    /// Hands all events to the core, and performs what it decides on each before the next.
    func settle() {
        while let event = events.popFirst() {
            switch event {
            case .superblockWritten(true): superblockWrites += 1
            case .commandWithdrawn(let id):
                attaches.removeAll { $0.id == id }
                adjusting[id] = nil
                resizes.forget(id)
            default: break
            }
            let time = MonotonicTime(nanoseconds: now)
            blackBox?.record(event, at: time)
            replica.handle(event, at: time, deciding: &effects)
            performAll()
        }
    }

    /// What others see of the state, when it changed.
    private func tell() {
        guard replica.statusRevision != toldRevision || device.revision != toldDevice else { return }
        toldRevision = replica.statusRevision
        toldDevice = device.revision
        if nbd.offer.size != replica.volumeSize { nbd.resize(to: replica.volumeSize) }
        nbd.offer.state = offerState()
        control?.publish()
    }

    private func offerState() -> NBDExportOffer.State {
        let volume = configuration.volume
        guard replica.isPrimary else {
            let primary = replica.knownPrimary.flatMap { configuration.node($0)?.name } ?? "unknown"
            return .unavailable("\(volume) is secondary on \(node.name); primary: \(primary)")
        }
        guard replica.volumeSize > 0 else { return .unavailable("\(volume) has no size on \(node.name) yet") }
        return .available
    }
}
