import Glibc
import LinuxIO
package import Model

/// `hablk witness`: votes for many volumes of many clusters, in one process with one thread, one ring and little memory.
///
/// A volume that cannot be served (its file is wrong, its address taken) is tried again and holds up no other.
package final class WitnessDaemon {
    /// One volume that this process is to serve.
    private final class Seat {
        let volume: String
        var served: WitnessVolume?
        /// Of the ring's tokens, while it is served.
        var owner = 0
        /// What its files named since this process runs.
        var former: [[Hello.Node]] = []
        /// To be taken up again once it has ended: its file changed, or it was asked for while it ended.
        var isWantedAgain = false
        /// Not before.
        var nextTry: UInt64 = 0
        var complaint: CommandFailure?
        /// Stopped by an administrator: until the next SIGHUP.
        var isDismissed = false

        init(_ volume: String) { self.volume = volume }
    }

    /// Volumes of one process: the owners that a ring can tell apart.
    package static let volumeLimit = Token.owners - 1
    private static let retryPause: UInt64 = 5_000_000_000

    private let paths: RuntimePaths
    private let nodeOption: String?
    /// Nil: all that have a file.
    private let only: String?
    private let find: (Configuration) throws(CommandFailure) -> Configuration.Node
    private let signals: Signals
    private let machine: Machine
    private let log: DaemonLog
    private var doors: WitnessDoors?
    private var seats: [Seat] = []
    /// Ended, with a name still being looked up.
    private var retired: [(owner: Int, volume: WitnessVolume)] = []
    private var watchdog = Watchdog()
    /// When pages that nobody needs are given back.
    private var nextTidying = UInt64.max
    private static let tidyingInterval: UInt64 = 30_000_000_000
    private var isStopping = false
    private var isAnnounced = false
    private var now = monotonicNow()

    /// Runs until it is told to stop.
    ///
    /// - Parameters:
    ///   - volume: only this one; nil: all that have a file and name this node as witness.
    ///   - find: which node of a file this machine is.
    /// - Throws: why nothing can be served.
    package static func run(
        volume: String?, paths: RuntimePaths, nodeOption: String?,
        find: @escaping (Configuration) throws(CommandFailure) -> Configuration.Node
    ) throws(CommandFailure) {
        let signals: Signals
        let machine: Machine
        do throws(SystemError) {
            signals = try Signals()
            ProcessControls.raiseFileLimit()
            machine = try Machine(entries: 256, classes: [BufferPool.SizeClass(bytes: 4096, count: 1)])
        } catch {
            throw .failed("kernel", error.description, remedy: "without HABLK_RING it takes the best that there is")
        }
        try paths.createRuntimeFolder()
        let daemon = WitnessDaemon(volume, paths, nodeOption, find, signals, machine)
        try daemon.seatVolumes()
        if let volume { try daemon.serveAtOnce(volume) }
        daemon.run()
    }

    private init(
        _ only: String?, _ paths: RuntimePaths, _ nodeOption: String?,
        _ find: @escaping (Configuration) throws(CommandFailure) -> Configuration.Node, _ signals: Signals,
        _ machine: Machine
    ) {
        self.only = only
        self.paths = paths
        self.nodeOption = nodeOption
        self.find = find
        self.signals = signals
        self.machine = machine
        log = DaemonLog(volume: only ?? "witness", node: nodeOption ?? "-")
        doors = WitnessDoors(machine: machine) { [unowned self] in self.deliver($0, $1, $2) }
    }

    // MARK: Volumes

    /// Gives each volume that is this witness's a seat; those that have one keep it.
    private func seatVolumes() throws(CommandFailure) {
        let names: [String]
        if let only { names = [only] } else { names = try paths.volumes() }
        var first: CommandFailure?
        var own = 0
        for name in names {
            if let seat = seats.first(where: { $0.volume == name }) {
                revive(seat)
                own += 1
                continue
            }
            do throws(CommandFailure) {
                let configuration = try Configuration.load(name, paths: paths)
                guard try find(configuration).isWitness else { continue }
            } catch {
                // Files of volumes that are none of this node's business are not judged.
                guard error.refusal.reason != "no-such-node" else { continue }
                if first == nil { first = error }
                log.error("process: \(error.refusal.message)")
                continue
            }
            own += 1
            seats.append(Seat(name))
        }
        guard own == 0, seats.isEmpty else { return }
        throw first
            ?? CommandFailure(
                .configuration, "no-volume",
                "no file in \(paths.configurationFolder) has this node as `witness: true`",
                remedy: "copy the volumes' files here, or say which node this is with --node or HABLK_NODE")
    }

    /// One that was dismissed is served again; one whose file changed ends first.
    private func revive(_ seat: Seat) {
        seat.isDismissed = false
        seat.nextTry = 0
        guard let volume = seat.served else { return }
        let present = try? Configuration.load(seat.volume, paths: paths)
        guard volume.isLeaving || (present != nil && present != volume.configuration) else { return }
        seat.isWantedAgain = true
        volume.stop()
    }

    private func freeOwner() -> Int? {
        (1...Self.volumeLimit).first { owner in
            !seats.contains { $0.owner == owner } && !retired.contains { $0.owner == owner }
        }
    }

    /// Whoever asks for one volume hears why it cannot be.
    private func serveAtOnce(_ volume: String) throws(CommandFailure) {
        let predecessor = Predecessor(controlSocket: paths.controlSocket(volume), signals: signals, log: log)
        for seat in seats { try predecessor.outwait { () throws(CommandFailure) in try take(seat) } }
    }

    private func serve(_ seat: Seat) {
        do throws(CommandFailure) { try take(seat) } catch { complain(seat, error) }
    }

    private func take(_ seat: Seat) throws(CommandFailure) {
        let configuration = try Configuration.load(seat.volume, paths: paths)
        let node = try find(configuration)
        guard node.isWitness else {
            throw CommandFailure(
                .configuration, "no-witness", "\(configuration.file): \(node.name) is no witness",
                remedy: "hablk run \(seat.volume)")
        }
        guard let owner = freeOwner() else {
            throw .failed(
                "too-many-volumes", "one process serves \(Self.volumeLimit) volumes",
                remedy: "run a second one for the others, with a HABLK_CONFIG_DIR of its own")
        }
        try doors?.open(for: node)
        seat.owner = owner
        seat.served = try WitnessVolume(
            configuration: configuration, node: node, paths: paths,
            machine: Machine(sharing: machine, owner: owner), former: seat.former)
        seat.complaint = nil
    }

    private func complain(_ seat: Seat, _ failure: CommandFailure) {
        seat.nextTry = now + Self.retryPause
        guard seat.complaint != failure else { return }
        seat.complaint = failure
        log.error("process: \(seat.volume) is not served: \(failure.refusal.message); \(failure.refusal.remedy)")
    }

    /// A connection whose hello was looked at.
    private func deliver(_ socket: Int32, _ address: NetworkAddress, _ wish: WitnessDoors.Wish) {
        let here = seats.lazy.compactMap(\.served).filter { $0.node.bindAddress == address && !$0.isLeaving }
        switch wish {
        case .volume(let name):
            if let volume = here.first(where: { $0.configuration.volume == name }) { return volume.peers.admit(socket) }
        case .otherVersion:
            if let volume = here.first { return volume.peers.admit(socket) }
        case .nonsense, .notYet: break
        }
        // Without a word: a file may follow, and a refusal would end the other side's attempts.
        Sockets.close(socket)
    }

    // MARK: Turns

    private func run() {
        signals.await(machine.ring, token: Token(.signal))
        while !(isStopping && seats.allSatisfy({ $0.served == nil })) { turn() }
        ProcessControls.notifySupervisor("STOPPING=1")
        doors?.close()
        doors = nil
        log.flush()
    }

    private func turn() {
        machine.ring.submitAndWait(until: deadline)
        now = monotonicNow()
        while let completion = machine.ring.nextCompletion() {
            let owner = completion.token.owner
            guard owner == 0 else {
                let own = Completion(
                    token: completion.token.asMade, result: completion.result, flags: completion.flags)
                seats.first { $0.owner == owner }?.served?.complete(own, at: now)
                retired.first { $0.owner == owner }?.volume.complete(own, at: now)
                continue
            }
            switch TokenKind(rawValue: completion.token.kind) {
            case .signal: takeSignal(completion)
            case .door, .visitor: doors?.complete(completion, at: now)
            default: break
            }
        }
        doors?.tick(at: now)
        for seat in seats { turn(seat) }
        seats.removeAll { $0.served == nil && isStopping }
        announce()
        watchdog.feed(at: now)
        if nextTidying <= now {
            nextTidying = now + Self.tidyingInterval
            ProgramPages.giveBack()
        }
        log.flush()
    }

    private func turn(_ seat: Seat) {
        guard let volume = seat.served else {
            if !isStopping, !seat.isDismissed, seat.nextTry <= now { serve(seat) }
            return
        }
        do throws(CommandFailure) {
            try volume.turn(at: now)
        } catch {
            complain(seat, error)
            volume.stop()
        }
        guard volume.isOver else { return }
        // What a volume still has in the kernel must find its memory.
        if !volume.isQuiet { retired.append((seat.owner, volume)) }
        seat.former = volume.peers.identity.formerNodes + [volume.configuration.helloNodes]
        seat.served = nil
        seat.owner = 0
        guard seat.complaint == nil else { return }
        if seat.isWantedAgain || volume.wantsAnew {
            seat.isWantedAgain = false
            return
        }
        // It was told to end: by `down`.
        seat.isDismissed = true
        if only != nil { isStopping = true }
    }

    private var deadline: UInt64? {
        var earliest = min(watchdog.next, nextTidying, doors?.nextDeadline ?? .max)
        for seat in seats {
            if let volume = seat.served {
                earliest = min(earliest, volume.nextDeadline)
            } else if !seat.isDismissed {
                earliest = min(earliest, seat.nextTry)
            }
        }
        return earliest == .max ? nil : earliest
    }

    /// Ready when each volume is, or cannot be for now.
    private func announce() {
        guard !isAnnounced, !isStopping, seats.allSatisfy({ $0.served?.isReady ?? ($0.complaint != nil) }) else {
            return
        }
        isAnnounced = true
        let count = seats.count { $0.served != nil }
        log.info(
            "process: ready: witness of \(count) volume\(count == 1 ? "" : "s"), \(machine.ringWords)")
        ProcessControls.notifySupervisor("READY=1")
        // On a small machine it may be the only one that runs this program: when all have met, and now and then.
        nextTidying = now + 5_000_000_000
    }

    private func takeSignal(_ completion: Completion) {
        switch signals.signal(from: completion) {
        case .terminate, .interrupt:
            isStopping = true
            for seat in seats { seat.served?.stop() }
        case .hangUp:
            do throws(CommandFailure) {
                try seatVolumes()
            } catch {
                log.error("process: \(error.refusal.message)")
            }
        case nil: break
        }
        signals.await(machine.ring, token: Token(.signal))
    }
}
