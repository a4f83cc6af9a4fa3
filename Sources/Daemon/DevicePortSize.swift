import LinuxIO

/// The size that the kernel's device has, and is to have.
struct DeviceSize {
    /// What it has; nil: it was not looked at yet.
    var present: UInt64?
    var isAsking = false
    /// It was told no: when it is asked again.
    var retryAt: UInt64?
    /// Said to keep its size, for a volume of so many bytes.
    var saidToKeep: UInt64 = 0

    var isDue: Bool { retryAt.map { $0 <= monotonicNow() } ?? false }
}

extension DevicePort {
    private static let pause: UInt64 = 10_000_000_000

    /// A volume that grew: its device grows while it is in use, and a file system on it can be told to (`resize2fs`).
    func resize(_ note: DeviceNote, to size: UInt64) {
        guard !sizing.isAsking, size > 0, sizing.retryAt == nil || sizing.isDue else { return }
        sizing.retryAt = nil
        let present = sizing.present ?? note.device.size
        sizing.present = present > 0 ? present : nil
        guard size > present, present > 0 else { return }
        guard note.attachment == .netlink else {
            guard sizing.saidToKeep != size else { return }
            sizing.saidToKeep = size
            return log.warning(
                "device: \(note.device.path) keeps its size: hablk unmap \(volume), then hablk map \(volume), gives it \(size) bytes"
            )
        }
        sizing.isAsking = true
        let backend = backend
        run(.patient) {
            .resized(
                Result { () throws(KernelDeviceError) in try note.device.resize(to: size, backend: backend) }, size)
        }
    }

    func resized(_ result: Result<Void, KernelDeviceError>, _ size: UInt64) {
        sizing.isAsking = false
        // The volume may have grown once more meanwhile.
        seenRevision = .max
        changed()
        switch result {
        case .success:
            sizing.present = size
            log.info("device: \(note?.device.path ?? "") has \(size) bytes")
        case .failure(let error):
            sizing.retryAt = monotonicNow() + Self.pause
            log.error("device: it keeps its size, and is asked again: \(error)")
        }
    }
}
