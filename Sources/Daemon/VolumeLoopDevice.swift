import Formats
import LinuxIO
import Model
import ReplicationCore

/// What is asked of a volume and is looked at between turns: its kernel device, its disk, its configuration.
enum DeviceCommand {
    case map(CommandID, DeviceWish)
    case unmap(CommandID)
    case refuse(CommandID, CommandFailure)
    /// For the core, once the device is given up in order.
    case core(CommandID, Command)
    case stopBySignal
    case restart
    case attach(CommandID)
    case adjust(CommandID, dryRun: Bool)
}

/// The promotion by which a device that outlived its daemon goes on.
struct Resumption {
    private static let pause: UInt64 = 1_000_000_000
    var isUnderWay = false
    /// Not before.
    var next: UInt64 = 0
    private var told = ""

    mutating func ended(_ outcome: CommandOutcome, at now: UInt64, _ log: DaemonLog) {
        isUnderWay = false
        next = now + Self.pause
        guard case .refused(let refusal) = outcome, refusal.message != told else { return }
        told = refusal.message
        log.warning("device: it waits: \(refusal.message)")
    }
}

/// The volume and its kernel device.
extension VolumeLoop {
    func joinDevice() {
        nbd.deviceEnded = { [unowned self] in self.device.connectionEnded(unanswered: $0) }
        device.finish = { [unowned self] in self.control?.finishCommand($0, $1) }
    }

    /// Whether the daemon takes a command: it is its own, or the device comes first.
    func takes(_ id: CommandID, _ asked: ControlCommand, _ resolved: Command?) -> Bool {
        switch asked {
        case .attach: deviceCommands.append(.attach(id))
        case .adjust(let dryRun): deviceCommands.append(.adjust(id, dryRun: dryRun))
        case .resize:
            if refuseGrowing(id) { return true }
            resizes.note(id)
            return false
        case .map(let path, let blockSize, let ioctl):
            let wish = DeviceWish(
                device: path.flatMap { KernelBlockDevice(path: $0) }, attachment: ioctl ? .ioctl : .netlink,
                blockSize: blockSize)
            guard [512, 1024, 2048, 4096].contains(blockSize), path == nil || wish.device != nil else {
                let why = CommandFailure(
                    .usage, "usage", "a device is /dev/nbdN, and its blocks have 512 to 4096 bytes",
                    remedy: "hablk help map")
                deviceCommands.append(.refuse(id, why))
                return true
            }
            deviceCommands.append(.map(id, wish))
        case .unmap: deviceCommands.append(.unmap(id))
        case .demote(force: false), .stop:
            guard device.isMapped, let resolved else { return false }
            deviceCommands.append(.core(id, resolved))
        default: return false
        }
        return true
    }

    /// At the end of each turn.
    func followDevice() {
        while !deviceCommands.isEmpty { perform(deviceCommands.removeFirst()) }
        device.step(standing, revision: replica.statusRevision, &events)
        tellResized()
        resumeWhenPossible()
        settle()
    }

    var deviceDeadline: UInt64 {
        let resuming = isDeviceWaiting && !resumption.isUnderWay && mayResume ? resumption.next : .max
        return min(device.nextDeadline ?? .max, resuming)
    }

    private func perform(_ command: DeviceCommand) {
        switch command {
        case .attach(let id): attaches.append(PendingAttach(id: id))
        case .adjust(let id, let dryRun): adjust(id, dryRun: dryRun)
        case .refuse(let id, let why): control?.commandFailed(id, why)
        case .map(let id, let wish): map(id, wish)
        case .unmap(let id):
            guard device.isMapped else {
                control?.finishCommand(id, .done("\(configuration.volume) is not mapped"))
                return
            }
            let path = device.path ?? ""
            release(id) { [unowned self] _ in self.control?.finishCommand(id, .done("\(path) is no more")) }
        case .core(let id, let command): release(id) { events in events.append(.command(id, command)) }
        case .stopBySignal: stopBySignal()
        case .restart: restart()
        }
    }

    private func map(_ id: CommandID, _ wish: DeviceWish) {
        guard replica.isPrimary else {
            let primary = replica.knownPrimary.flatMap { configuration.node($0)?.name } ?? "unknown"
            let why = CommandFailure.refused(
                "not-primary", "\(configuration.volume) is secondary on \(node.name); primary: \(primary)",
                remedy: "hablk promote \(configuration.volume), or map it on the primary")
            control?.commandFailed(id, why)
            return
        }
        device.map(id, wish, standing: standing, &events)
    }

    /// Gives the device up if nobody uses it.
    private func release(_ id: CommandID, then next: @escaping (inout EventQueue) -> Void) {
        device.release(&events) { [unowned self] error, events in
            guard let error else { return next(&events) }
            self.control?.commandFailed(id, DevicePort.failure(error, volume: self.configuration.volume))
        }
    }

    // MARK: Leaving it to the next daemon

    /// A device that somebody uses is kept: its I/O waits for the next daemon.
    private func stopBySignal() {
        guard device.isMapped else { return events.append(.command(Self.signalCommand, .stop)) }
        device.release(&events) { [unowned self] error, events in
            let stop: (inout EventQueue) -> Void = { $0.append(.command(Self.signalCommand, .stop)) }
            guard let error else { return stop(&events) }
            self.log.info("process: \(error)")
            self.device.handOver(&events, then: stop)
        }
    }

    /// The program as it is on disk now takes this process over, and the device with it.
    private func restart() {
        guard device.phase == .mapped, device.note?.attachment == .netlink else {
            return log.warning("process: not restarted: that is for a mapped device; use `hablk down` and `hablk up`")
        }
        log.info("process: restarting")
        isRestarting = true
        device.handOver(&events) { $0.append(.command(Self.signalCommand, .stop)) }
    }

    // MARK: Going on with a predecessor's

    private var standing: DeviceStanding {
        let superblock = replica.durableState
        let primary = replica.knownPrimary
        let isOther = primary != nil && primary != node.id
        let (cutOff, isFencing) = (configuration.timing.cutOff, configuration.fencing == "stonith")
        return DeviceStanding(
            isPrimary: replica.isPrimary, isLineOver: { isOther || !$0.goesOn(in: superblock) },
            generation: superblock.current.id, size: replica.volumeSize, isAnswering: replica.answersClients,
            patience: { DeviceSizing.patience(cutOff: cutOff, isFencing: isFencing, usual: $0) })
    }

    private var isDeviceWaiting: Bool {
        device.phase == .mapped && !device.hasServed && device.handOverBy == nil && !replica.isPrimary
    }

    /// Nobody who could have been promoted meanwhile is out of sight: the promotion of a node alone would be a guess.
    private var mayResume: Bool {
        let inStep = replica.durableState.record.inStep.removing(node.id)
        return replica.status(at: MonotonicTime(nanoseconds: now)).peers.allSatisfy { peer in
            guard let id = NodeID(peer.id), inStep.contains(id) else { return true }
            return peer.connection == .connected && peer.replication != nil
        }
    }

    private func resumeWhenPossible() {
        guard isDeviceWaiting, !resumption.isUnderWay, now >= resumption.next, mayResume else { return }
        resumption.isUnderWay = true
        let deadline = MonotonicTime(nanoseconds: now + 5_000_000_000)
        events.append(
            .command(
                Self.resumeCommand, .promote(force: false, peerFenced: nil, deadline: deadline, dryRun: false)))
    }
}
