import LinuxIO

/// The size that the kernel's device has, and when it is told another.
///
/// A kernel that is told one freezes the device's queue and waits for all that is in flight (since Linux 6.9), and whatever else is
/// asked of it over netlink, for any nbd device of the machine, waits meanwhile. Were the requests held, its sockets would be taken
/// for dead one after the other, and fresh ones could not be given. So it is told only while clients are answered and all sockets
/// live; and a request's time is made longer before, so that sockets outlive what is held from then on (a peer that is lost).
/// The machine's other devices wait with it if a majority is lost in those moments.
package struct DeviceSizing {
    package enum Step: Equatable {
        case rest
        /// Requests get more time.
        case lengthen
        /// And their usual one again.
        case shorten
        /// The size now.
        case resize
    }

    private enum Phase: Equatable {
        case idle, asking
        /// Requests have had more time since.
        case patient(since: UInt64)
    }

    /// What it has; nil: it was not looked at yet.
    package var present: UInt64?
    private var phase = Phase.idle
    /// When it is looked at again.
    package private(set) var retryAt: UInt64?
    /// Said to keep its size, for a volume of so many bytes.
    var saidToKeep: UInt64 = 0

    private static let pause: UInt64 = 10_000_000_000
    private static let look: UInt64 = 200_000_000
    /// Whatever began before requests got more time is answered: of those under way none is older than half a second.
    private static let settling: UInt64 = 700_000_000

    package init() {}

    /// Seconds that a request gets meanwhile: two sockets outlive the time in which a peer that is lost is left behind, or fenced. What
    /// a daemon that is killed then had taken waits so long.
    /// - Parameters:
    ///   - cutOff: nanoseconds.
    ///   - usual: seconds.
    package static func patience(cutOff: UInt64, isFencing: Bool, usual: UInt64) -> UInt64 {
        let held = max(cutOff, isFencing ? FenceCommand.patience : 0) / 1_000_000_000
        return min(DevicePort.patience, max(usual, 20, 2 * held))
    }

    package func isDue(at now: UInt64) -> Bool { retryAt.map { $0 <= now } ?? false }

    /// - Parameters:
    ///   - found: what the device has, where that is not known.
    ///   - isReady: clients are answered, and all its sockets live.
    package mutating func next(to size: UInt64, found: UInt64, isReady: Bool, at now: UInt64) -> Step {
        guard phase != .asking, size > 0, retryAt == nil || isDue(at: now) else { return .rest }
        retryAt = nil
        let present = present ?? found
        self.present = present > 0 ? present : nil
        guard size > present, present > 0 else { return .rest }
        guard isReady else {
            guard phase == .idle else {
                phase = .asking
                return .shorten
            }
            retryAt = now + Self.look
            return .rest
        }
        if case .patient(let since) = phase, now < since + Self.settling {
            retryAt = since + Self.settling
            return .rest
        }
        let isPatient = phase != .idle
        phase = .asking
        return isPatient ? .resize : .lengthen
    }

    package mutating func timed(_ isLong: Bool, at now: UInt64) {
        phase = isLong ? .patient(since: now) : .idle
        retryAt = now + Self.look
    }

    /// Fresh sockets bring the usual time with them.
    package mutating func relinked() { if phase != .asking { phase = .idle } }

    /// - Parameter size: nil: it was told no.
    package mutating func ended(_ size: UInt64?, at now: UInt64) {
        phase = .idle
        if let size { present = size } else { retryAt = now + Self.pause }
    }
}

extension DevicePort {
    /// A volume that grew: its device grows while it is in use, and a file system on it can be told to (`resize2fs`).
    func resize(_ note: DeviceNote, _ standing: DeviceStanding) {
        let size = standing.size
        guard note.attachment == .netlink else { return sayItKeeps(note, size) }
        let isReady = standing.isAnswering && !link.isAsked && nbd.deviceConnections == note.sockets
        let backend = backend
        let usual = link.timeout
        switch sizing.next(to: size, found: note.device.size, isReady: isReady, at: monotonicNow()) {
        case .rest: break
        case .lengthen: setTime(note, standing.patience(usual), isLong: true)
        case .shorten: setTime(note, usual, isLong: false)
        case .resize:
            // On the thread that brings fresh sockets: the kernel would let neither overtake the other.
            run(.prompt) {
                let result = Result { () throws(KernelDeviceError) in
                    try note.device.resize(to: size, backend: backend)
                }
                try? note.device.reconfigure(sockets: [], backend: backend, timeout: usual)
                return .resized(result, size)
            }
        }
    }

    /// It is there, and has fewer bytes than the volume.
    func isGrowing(to size: UInt64) -> Bool {
        guard phase == .mapped, hasServed, note?.attachment == .netlink else { return false }
        return size > sizing.present ?? 0
    }

    private func setTime(_ note: DeviceNote, _ seconds: UInt64, isLong: Bool) {
        let backend = backend
        run(.prompt) {
            .timed(
                Result { () throws(KernelDeviceError) in
                    try note.device.reconfigure(sockets: [], backend: backend, timeout: seconds)
                }, isLong: isLong)
        }
    }

    private func sayItKeeps(_ note: DeviceNote, _ size: UInt64) {
        let present = sizing.present ?? note.device.size
        sizing.present = present > 0 ? present : nil
        guard size > present, present > 0, sizing.saidToKeep != size else { return }
        sizing.saidToKeep = size
        log.warning(
            "device: \(note.device.path) keeps its size: hablk unmap \(volume), then hablk map \(volume), gives it \(size) bytes"
        )
    }

    func timed(_ result: Result<Void, KernelDeviceError>, isLong: Bool) {
        switch result {
        case .success: sizing.timed(isLong, at: monotonicNow())
        case .failure: sizing.ended(nil, at: monotonicNow())
        }
        look()
    }

    func resized(_ result: Result<Void, KernelDeviceError>, _ size: UInt64) {
        switch result {
        case .success:
            sizing.ended(size, at: monotonicNow())
            log.info("device: \(note?.device.path ?? "") has \(size) bytes")
        case .failure(let error):
            sizing.ended(nil, at: monotonicNow())
            log.error("device: it keeps its size, and is asked again: \(error)")
        }
        look()
    }

    /// The volume may have grown once more meanwhile.
    private func look() {
        seenRevision = .max
        changed()
    }
}
