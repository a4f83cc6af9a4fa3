import Formats
import LinuxIO
import Model
import ReplicationCore

/// What the volume's state means for its kernel device.
struct DeviceStanding {
    var isPrimary = false
    /// Another node is primary, or was since the line that the device belongs to.
    var isLineOver: (DeviceNote) -> Bool
    var generation = GenerationID.none
    var size: UInt64 = 0
    /// Clients' requests are answered as they come.
    var isAnswering = false
    /// Seconds that requests get while the device grows, of what they get usually.
    var patience: (UInt64) -> UInt64
}

/// The volume as /dev/nbdN: makes the device, serves it, finds a predecessor's again, gives it up. It decides nothing about
/// data: its connections are the NBD server's.
///
/// Two side threads do what blocks. One may wait for I/O to the device itself (to open it, to write back what is dirty); the
/// other only ever asks the kernel over netlink, so that a device whose I/O hangs can still be ended.
final class DevicePort {
    enum Phase: Equatable {
        case absent
        case making(CommandID)
        case mapped
        /// In order: it was asked whether somebody has it open.
        case releasing
        /// By force: what is queued fails.
        case ending
    }

    /// The sockets that the kernel has, or is being given.
    struct Link {
        /// Fresh ones are on their way to it.
        var isAsked = false
        var upSince: UInt64 = 0
        var retryAt: UInt64 = 0
        var pause = DevicePort.shortestPause
        /// Seconds that the kernel gives one request before it takes its socket for dead and repeats it.
        var timeout = DevicePort.shortestTimeout
    }

    enum Answer: Sendable {
        case begun(Result<NBDIoctlDevice, KernelDeviceError>)
        case made(Result<DeviceNote, KernelDeviceError>)
        case relinked(Result<Void, KernelDeviceError>)
        case released(Result<Void, KernelDeviceError>)
        case ended(Result<Void, KernelDeviceError>)
        case resized(Result<Void, KernelDeviceError>, UInt64)
        case timed(Result<Void, KernelDeviceError>, isLong: Bool)
        /// The thread of an ioctl device is back.
        case left
    }

    enum Thread: Int { case patient, prompt, ioctl }

    /// A device of the kernel's that waits for a daemon waits so long, in seconds; then what is queued fails.
    static let patience: UInt64 = 3600
    /// What a request that a killed daemon had taken waits at most before the kernel repeats it. A longer answer is no
    /// error: the sockets are exchanged, and the time-out doubles.
    static let shortestTimeout: UInt64 = 5
    static let longestTimeout: UInt64 = 60
    static let shortestPause: UInt64 = 20_000_000
    static let longestPause: UInt64 = 1_000_000_000
    /// Nanoseconds for whoever looks into the device for a moment, before a release is refused.
    static let lookersTime: UInt64 = 2_000_000_000
    static let handOverTime: UInt64 = 3_000_000_000

    let volume: String
    let notePath: String
    let machine: Machine
    let nbd: NBDServer
    let log: DaemonLog
    var phase = Phase.absent
    var note: DeviceNote?
    var link = Link()
    var sizing = DeviceSizing()
    var ioctlDevice: NBDIoctlDevice?
    private var beginning: MakingDevice?
    /// This run has served it: when the role goes, the device goes.
    var hasServed = false
    /// What to do when the device is released, and when it is not.
    var afterRelease: ((KernelDeviceError?, inout EventQueue) -> Void)?
    /// Set while the sockets are being brought to rest for the next daemon.
    var handOverBy: UInt64?
    var afterHandOver: ((inout EventQueue) -> Void)?
    /// At rest, for the next daemon.
    private(set) var handedOver: [Int32] = []
    /// Raised by each change that others see.
    private(set) var revision: UInt64 = 0
    /// Tells the administrator.
    var finish: (CommandID, ControlOutcome) -> Void = { _, _ in }
    private var threads: [SideThread<Answer>?] = [nil, nil, nil]
    private var serial: UInt64 = 0
    var seenRevision: UInt64 = 0

    init(volume: String, notePath: String, machine: Machine, nbd: NBDServer, log: DaemonLog) {
        self.volume = volume
        self.notePath = notePath
        self.machine = machine
        self.nbd = nbd
        self.log = log
    }

    /// As `status` shows it.
    var path: String? { phase == .absent ? nil : note?.device.path }
    var isMapped: Bool { phase != .absent }
    var backend: String { "hablk:\(volume)" }
    private var udevLink: String { "/dev/hablk/by-volume/\(volume)" }

    func changed() { revision &+= 1 }

    /// Runs what blocks; its answer comes as a completion.
    func run(_ thread: Thread, _ work: @escaping @Sendable () -> Answer) {
        if threads[thread.rawValue] == nil {
            guard let begun = try? SideThread<Answer>() else {
                preconditionFailure("a process that runs can start a thread")
            }
            threads[thread.rawValue] = begun
            machine.ring.await(begun.wakeUp, token: Token(.device, slot: thread.rawValue))
        }
        serial += 1
        threads[thread.rawValue]?.submit(serial, work)
    }

    func complete(_ completion: Completion, into events: inout EventQueue) {
        guard let thread = threads[completion.token.slot] else { return }
        machine.ring.await(thread.wakeUp, token: completion.token)
        while let reply = thread.nextReply() { take(reply.answer, &events) }
    }

    private func take(_ answer: Answer, _ events: inout EventQueue) {
        switch answer {
        case .begun(let result): begun(result, &events)
        case .made(let result): made(result, &events)
        case .relinked(let result): relinked(result, &events)
        case .released(let result): released(result, &events)
        case .ended(let result):
            if case .failure(let error) = result { log.error("device: not disconnected: \(error)") }
            gone("disconnected")
        case .resized(let result, let size): resized(result, size)
        case .timed(let result, let isLong): timed(result, isLong: isLong)
        case .left:
            ioctlDevice = nil
            if phase == .mapped { lost("the kernel gave it up", &events) }
        }
    }

    // MARK: A device is made

    func map(_ id: CommandID, _ wish: DeviceWish, standing: DeviceStanding, _ events: inout EventQueue) {
        switch phase {
        case .mapped:
            guard let path, wish.device.map({ $0.path == path }) ?? true else {
                return refuse(
                    id, "mapped", "\(volume) is \(path ?? "a device") already", "hablk unmap \(volume) first")
            }
            return finish(id, .done(path))
        case .absent: break
        case .making, .releasing, .ending:
            return refuse(id, "busy", "the device of \(volume) is being made or given up", "try again in a moment")
        }
        guard standing.size > 0 else {
            return refuse(id, "no-size", "\(volume) has no size yet", "connect a peer that has data")
        }
        let isNetlink = wish.attachment != .ioctl
        let count = isNetlink ? Self.socketCount() : 1
        guard let pairs = SocketPair.make(count) else {
            return fail(id, "no-sockets", "no more sockets", "raise the limit of open files")
        }
        link = Link(upSince: monotonicNow())
        nbd.serveDevice(true)
        guard nbd.adoptDevice(pairs.map(\.ours), size: standing.size, &events) else {
            SocketPair.closeTheirs(pairs)
            return refuse(id, "too-many-connections", "too many NBD clients are connected", "end some of them")
        }
        phase = .making(id)
        let making = MakingDevice(
            device: wish.device, blockSize: wish.blockSize, size: standing.size, backend: backend,
            timeout: link.timeout, sockets: pairs.map(\.theirs), generation: standing.generation, notePath: notePath,
            udevLink: udevLink)
        beginning = making
        if isNetlink {
            run(.patient) { .made(making.connect()) }
        } else {
            run(.patient) { .begun(making.beginIoctl()) }
        }
    }

    private func begun(_ result: Result<NBDIoctlDevice, KernelDeviceError>, _ events: inout EventQueue) {
        switch result {
        case .failure(let error): made(.failure(error), &events)
        case .success(let device):
            guard let beginning else { preconditionFailure("a device began that nobody asked for") }
            ioctlDevice = device
            run(.ioctl) {
                device.serve()
                return .left
            }
            run(.patient) { .made(beginning.awaitIoctl(device)) }
        }
    }

    private func made(_ result: Result<DeviceNote, KernelDeviceError>, _ events: inout EventQueue) {
        guard case .making(let id) = phase else { return }
        beginning = nil
        switch result {
        case .success(let note):
            self.note = note
            phase = .mapped
            hasServed = true
            changed()
            log.info("device: \(note.device.path) is \(volume) (\(note.attachment.rawValue), \(note.sockets) sockets)")
            finish(id, .done(note.device.path))
        case .failure(let error):
            phase = .absent
            ioctlDevice?.disconnect()
            nbd.endDevice(&events)
            nbd.serveDevice(false)
            RuntimeFile.remove(notePath)
            finish(id, .failed(Self.failure(error, volume: volume)))
        }
    }

    /// Two sockets even on one processor: two hardware queues, and a large write does not keep a small one waiting.
    private static func socketCount() -> Int { max(2, min(4, ProcessControls.processors)) }

    // MARK: Its connections

    /// One of them ended: a fresh one takes its place.
    func connectionEnded(unanswered: Int) {
        guard phase == .mapped, handOverBy == nil else { return }
        let now = monotonicNow()
        if unanswered > 0, now - link.upSince >= link.timeout * 900_000_000, link.timeout < Self.longestTimeout {
            link.timeout = min(link.timeout * 2, Self.longestTimeout)
            link.upSince = now
            log.warning(
                "device: the kernel gave up a connection that had not answered; its time-out is \(link.timeout) s now")
        }
        if now - link.upSince > 2 * Self.longestPause { link.pause = Self.shortestPause }
        link.retryAt = now + link.pause
        link.pause = min(link.pause * 2, Self.longestPause)
    }

    private func relink(_ note: DeviceNote, _ size: UInt64, _ events: inout EventQueue) {
        let missing = note.sockets - nbd.deviceConnections
        guard missing > 0, !link.isAsked, monotonicNow() >= link.retryAt else { return }
        link.retryAt = monotonicNow() + Self.longestPause
        guard let pairs = SocketPair.make(missing) else { return }
        guard nbd.adoptDevice(pairs.map(\.ours), size: size, &events) else { return SocketPair.closeTheirs(pairs) }
        link.isAsked = true
        link.upSince = monotonicNow()
        let theirs = pairs.map(\.theirs)
        let backend = backend
        let timeout = link.timeout
        run(.prompt) {
            defer { for socket in theirs { Sockets.close(socket) } }
            return .relinked(
                Result { () throws(KernelDeviceError) in
                    try note.device.reconfigure(sockets: theirs, backend: backend, timeout: timeout)
                })
        }
    }

    private func relinked(_ result: Result<Void, KernelDeviceError>, _ events: inout EventQueue) {
        guard phase == .mapped, link.isAsked else { return }
        link.isAsked = false
        sizing.relinked()
        switch result {
        case .success: log.info("device: \(note?.device.path ?? "") has fresh sockets")
        case .failure(.noSuchDevice): lost("the kernel has it no more", &events)
        case .failure(let error):
            log.warning("device: \(error)")
            // Those that were dropped end by themselves; none is left half known.
            nbd.endDevice(&events)
            link.retryAt = monotonicNow() + Self.longestPause
        }
    }

    // MARK: Following the volume

    /// Looks what is to be done; at the end of each turn.
    /// - Parameter revision: of the volume's state; while it stays there is little to look at.
    func step(_ standing: @autoclosure () -> DeviceStanding, revision: UInt64, _ events: inout EventQueue) {
        guard phase == .mapped else { return }
        if let handOverBy { return finishHandOver(handOverBy, &events) }
        let isWhole = nbd.deviceConnections == note?.sockets
        guard revision != seenRevision || !hasServed || !isWhole || sizing.isDue(at: monotonicNow()), let note else {
            return
        }
        seenRevision = revision
        let standing = standing()
        if standing.isPrimary {
            if !hasServed {
                guard !standing.isLineOver(note) else { return end("another primary was there since", &events) }
                serveAgain()
            }
            if note.generation != standing.generation || note.isHandedOver {
                self.note?.generation = standing.generation
                self.note?.isHandedOver = false
                self.note?.write(notePath)
            }
            if note.attachment == .netlink { relink(note, standing.size, &events) }
            resize(note, standing)
        } else if hasServed {
            end("\(volume) is not primary here any more", &events)
        } else if standing.isLineOver(note) {
            end("another primary was there since", &events)
        }
    }

    private func serveAgain() {
        hasServed = true
        nbd.serveDevice(true)
        changed()
        log.info("device: \(note?.device.path ?? "") goes on")
    }

    var nextDeadline: UInt64? {
        guard phase == .mapped else { return nil }
        if let handOverBy { return handOverBy }
        let relinking = hasServed && !link.isAsked && nbd.deviceConnections != note?.sockets ? link.retryAt : nil
        guard hasServed, let resizing = sizing.retryAt else { return relinking }
        return min(resizing, relinking ?? .max)
    }

    // MARK: A predecessor's

    /// Before anything is served: what the daemon before this one left.
    /// - Parameter inherited: sockets that were handed to this process.
    func find(inherited: [Int32], size: UInt64, _ events: inout EventQueue) {
        guard let found = DeviceNote(path: notePath) else { return Self.drop(inherited) }
        guard found.attachment == .netlink, found.device.backend == backend else {
            Self.drop(inherited)
            log.info("device: \(found.device.path) ended with the daemon that served it")
            return RuntimeFile.remove(notePath)
        }
        note = found
        phase = .mapped
        changed()
        log.info("device: \(found.device.path) is there still, and waits for this node to be primary")
        guard found.isHandedOver, inherited.count == found.sockets, size > 0 else { return Self.drop(inherited) }
        // From here on the sockets are this run's: whoever comes after it must not read on in the middle.
        note?.isHandedOver = false
        note?.write(notePath)
        _ = nbd.adoptDevice(inherited, size: size, &events)
        link.upSince = monotonicNow()
    }

    /// Ends them for the kernel too, whoever else holds them.
    private static func drop(_ sockets: [Int32]) {
        for socket in sockets { Sockets.end(socket) }
    }

    /// Brings the sockets to rest between two requests, for the next daemon; then `next`.
    func handOver(_ events: inout EventQueue, then next: @escaping (inout EventQueue) -> Void) {
        afterHandOver = next
        handOverBy = monotonicNow() + Self.handOverTime
        log.info("device: \(note?.device.path ?? "") is kept for the next daemon")
        nbd.quiesceDevice(&events)
    }

    private func finishHandOver(_ latest: UInt64, _ events: inout EventQueue) {
        guard let next = afterHandOver else { return }
        let isQuiet = nbd.isDeviceQuiet
        guard isQuiet || monotonicNow() >= latest else { return }
        afterHandOver = nil
        handOverBy = .max
        if isQuiet {
            handedOver = nbd.takeDeviceSockets(&events)
        } else {
            log.warning("device: its requests in flight did not end in time; the kernel will repeat them")
            nbd.endDevice(&events)
        }
        next(&events)
    }

    /// The last word of this run, when the core has stopped: what it leaves to the next.
    func leave(generation: GenerationID) {
        guard phase == .mapped, handOverBy != nil else { return }
        if hasServed { note?.generation = generation }
        let isWhole = handedOver.count == note?.sockets
        note?.isHandedOver = isWhole
        note?.write(notePath)
    }

    // MARK: The end

    /// In order, when nobody uses it; `then` hears why not, or nil.
    func release(_ events: inout EventQueue, then: @escaping (KernelDeviceError?, inout EventQueue) -> Void) {
        guard phase == .mapped, let note else { return then(nil, &events) }
        phase = .releasing
        afterRelease = then
        let ioctl = ioctlDevice
        run(.patient) {
            .released(
                Result { () throws(KernelDeviceError) in
                    try note.device.release(patience: Self.lookersTime) { () throws(KernelDeviceError) in
                        if let ioctl { ioctl.disconnect() } else { try note.device.disconnect() }
                    }
                    note.device.awaitGone()
                })
        }
    }

    private func released(_ result: Result<Void, KernelDeviceError>, _ events: inout EventQueue) {
        guard phase == .releasing else { return }
        let then = afterRelease
        afterRelease = nil
        switch result {
        case .success:
            nbd.endDevice(&events)
            gone("unmapped")
            then?(nil, &events)
        case .failure(let error):
            phase = .mapped
            then?(error, &events)
        }
    }

    /// At once: what is queued fails.
    func end(_ why: String, _ events: inout EventQueue) {
        guard phase == .mapped, let note else { return }
        log.warning("device: \(note.device.path) is disconnected, and what is queued there fails: \(why)")
        phase = .ending
        // A crash from here on leaves a device that nobody goes on with.
        self.note?.generation = .none
        self.note?.write(notePath)
        nbd.endDevice(&events)
        let ioctl = ioctlDevice
        run(.prompt) {
            .ended(
                Result { () throws(KernelDeviceError) in
                    if let ioctl { ioctl.disconnect() } else { try note.device.disconnect() }
                })
        }
    }

    private func lost(_ why: String, _ events: inout EventQueue) {
        nbd.endDevice(&events)
        log.error("device: \(note?.device.path ?? "") is gone: \(why)")
        gone(nil)
    }

    private func gone(_ word: String?) {
        if let word { log.info("device: \(note?.device.path ?? "") \(word)") }
        RuntimeFile.remove(notePath)
        phase = .absent
        note = nil
        ioctlDevice = nil
        hasServed = false
        link = Link()
        sizing = DeviceSizing()
        nbd.serveDevice(false)
        changed()
    }

    // MARK: Refusals

    private func refuse(_ id: CommandID, _ reason: String, _ message: String, _ remedy: String) {
        finish(id, .failed(.refused(reason, message, remedy: remedy)))
    }

    private func fail(_ id: CommandID, _ reason: String, _ message: String, _ remedy: String) {
        finish(id, .failed(.failed(reason, message, remedy: remedy)))
    }

    static func failure(_ error: KernelDeviceError, volume: String) -> CommandFailure {
        switch error {
        case .moduleMissing:
            return .refused("no-module", error.description, remedy: "modprobe nbd nbds_max=0")
        case .taken:
            return .refused("device-taken", error.description, remedy: "hablk map \(volume), and let it choose")
        case .noSuchDevice:
            return .refused("no-such-device", error.description, remedy: "hablk map \(volume), and let it choose")
        case .inUse:
            return .refused(
                "in-use", error.description,
                remedy: "end its use first, as by umount; or fail its I/O: hablk demote \(volume) --force")
        case .failed:
            if error.isLackOfPrivilege {
                return CommandFailure(
                    .notPermitted, "not-permitted", error.description,
                    remedy: "run the daemon with CAP_SYS_ADMIN, as root")
            }
            return .failed("no-device", error.description, remedy: "look into the kernel's log: dmesg")
        }
    }
}
