import Formats
import LinuxIO
package import Model
package import ReplicationCore

/// Commands that made the volume larger: whoever hears that tells the file system on the kernel's device, and so hears it when that is
/// larger too, or after a while.
package struct ResizeCommands {
    private var noted: Set<CommandID> = []
    private var waiting: [(id: CommandID, outcome: CommandOutcome, latest: UInt64)] = []

    private static let patience: UInt64 = 10_000_000_000

    package init() {}

    var isEmpty: Bool { waiting.isEmpty }
    var nextDeadline: UInt64 { waiting.reduce(.max) { min($0, $1.latest) } }

    package mutating func note(_ id: CommandID) { noted.insert(id) }

    package mutating func forget(_ id: CommandID) {
        noted.remove(id)
        waiting.removeAll { $0.id == id }
    }

    /// - Returns: whether the answer waits.
    package mutating func delays(_ id: CommandID, _ outcome: CommandOutcome, isGrowing: Bool, at now: UInt64) -> Bool {
        guard noted.remove(id) != nil, isGrowing, case .done = outcome else { return false }
        waiting.append((id, outcome, now + Self.patience))
        return true
    }

    /// Those that wait no more.
    package mutating func ended(isGrowing: Bool, at now: UInt64) -> [(id: CommandID, outcome: CommandOutcome)] {
        let ended = waiting.filter { !isGrowing || now >= $0.latest }
        waiting.removeAll { !isGrowing || now >= $0.latest }
        return ended.map { ($0.id, $0.outcome) }
    }
}

/// The disk's room, for the core.
extension VolumeLoop {
    /// Devices as they are now: somebody may have grown them.
    private var deviceSizes: (data: UInt64, metadata: UInt64)? {
        guard let files = disk.copy?.files, let data = try? files.data.presentSize(),
            let metadata = try? files.metadata.presentSize()
        else { return nil }
        return (data, metadata)
    }

    func measureDisk(_ wanted: UInt64) {
        guard let copy = disk.copy, let sizes = deviceSizes else {
            return events.append(.diskMeasured(RoomAnswer(.failed)))
        }
        let isFile = (data: !copy.files.data.isBlockDevice, metadata: !copy.files.metadata.isBlockDevice)
        let fits = copy.layout.grown(
            to: wanted, data: sizes.data, extendsData: isFile.data, metadata: sizes.metadata,
            extendsMetadata: isFile.metadata)
        var most = copy.layout.most(data: sizes.data, metadata: sizes.metadata, extendsMetadata: isFile.metadata)
        if wanted > most.bytes, fits != nil { most = RoomAnswer(.has, bytes: wanted) }
        events.append(.diskMeasured(most))
    }

    func prepareDisk(for size: UInt64) {
        guard let copy = disk.copy, let sizes = deviceSizes, !mover.isBusy,
            let layout = copy.layout.grown(
                to: size, data: sizes.data, extendsData: !copy.files.data.isBlockDevice, metadata: sizes.metadata,
                extendsMetadata: !copy.files.metadata.isBlockDevice)
        else { return events.append(.diskPrepared(.unchanged)) }
        let superblock = replica.durableState
        let move = DiskMove(from: copy.layout, to: layout, size: superblock.size, deviceSize: sizes.metadata)
        guard var work = DiskMoving(move, copy.files, superblock, move.preparation) else {
            return events.append(.diskPrepared(.unchanged))
        }
        work.dataSize = size
        work.extends = true
        disk.noteTouchedPages()
        mover.prepare(move, work)
    }

    func growDisk(to size: UInt64) {
        guard let copy = disk.copy, let move = mover.move, mover.isPrepared, size <= move.to.dataSize else {
            stopMoving()
            return events.append(.diskGrown(.unchanged))
        }
        let steps = move.final(touched: Array(disk.takeTouchedPages()))
        guard let work = DiskMoving(move, copy.files, replica.superblockImage, steps) else {
            stopMoving()
            return events.append(.diskGrown(.unchanged))
        }
        mover.end(work)
    }

    func leaveOffMoving() {
        mover.leaveOff()
        if mover.isPrepared { stopMoving() }
    }

    private func stopMoving() {
        mover.forget()
        _ = disk.takeTouchedPages()
    }

    /// Metadata are looked for at a device's end: as soon as that is another one, marks there say where they lie.
    func watchDisk(at now: UInt64) {
        guard mover.marks.isDue(at: now), let copy = disk.copy, !mover.isBusy, !mover.isMarking,
            let end = deviceSizes?.metadata, mover.marks.isNew(end)
        else { return }
        let superblock = replica.durableState
        let move = DiskMove(from: copy.layout, to: copy.layout, size: superblock.size, deviceSize: end)
        guard !move.marks.isEmpty else { return mover.marks.noteFound(end) }
        guard let work = DiskMoving(move, copy.files, superblock, move.marks) else { return }
        mover.marks.began(end, of: disk.attachment)
        mover.mark(work)
    }

    func diskMoved(_ completion: Completion) {
        for (task, moved) in mover.complete(completion) {
            switch task {
            case .preparing: prepared(moved)
            case .ending: ended(moved)
            case .marking: marked(moved)
            }
        }
    }

    private func prepared(_ moved: DiskMoved) {
        if moved.outcome == .done, let move = mover.move, let copy = disk.copy {
            let superblock = replica.durableState
            let work = { DiskMoving(move, copy.files, superblock, []) }
            let touched = disk.touchedPages
            if move.isBeside, touched.count > 0 {
                disk.noteTouchedPages()
                if mover.goesOn(touched, work) { return }
                disk.noteTouchedPages(besides: touched)
                // Written as fast as they are copied: the switch would take too long.
                guard UInt64(touched.count) * DiskLayout.blockSize <= DiskMove.mostAtOnce else {
                    stopMoving()
                    return events.append(.diskPrepared(.unchanged))
                }
            } else {
                _ = mover.goesOn([], work)
            }
        } else {
            log.error("disk: no room was made: \(moved.words)")
            stopMoving()
        }
        events.append(.diskPrepared(moved.outcome))
    }

    private func ended(_ moved: DiskMoved) {
        // Failed between the superblocks, the new place is what is looked for: the disk's last word goes there. Failed before, pages there
        // may be those of an earlier attempt.
        if moved.outcome != .unchanged, moved.isNew, let move = mover.move { disk.assign(move.to) }
        if moved.outcome != .done { log.error("disk: no room was made: \(moved.words)") }
        stopMoving()
        events.append(.diskGrown(moved.outcome))
    }

    private func marked(_ moved: DiskMoved) {
        if let answers = mover.releaseAfterMarks(disk) {
            for answer in answers { finish(answer.id, answer.outcome) }
            return
        }
        switch mover.marks.ended(moved.outcome, at: disk.attachment) {
        case .marked(let end):
            log.info("disk: it has \(end) bytes now: on the primary: hablk resize \(configuration.volume)")
        case .again: log.error("disk: it grew, and cannot be told so: \(moved.words)")
        case .failed:
            log.error("disk: it grew, and cannot be told so: \(moved.words)")
            if disk.isAttached { events.append(.diskGrown(.failed)) }
        case .ofAnother: break
        }
    }

    /// The kernel's device is to become larger.
    var isDeviceGrowing: Bool { device.isGrowing(to: replica.volumeSize) }

    func tellResized() {
        guard !resizes.isEmpty else { return }
        for (id, outcome) in resizes.ended(isGrowing: isDeviceGrowing, at: now) {
            guard case .done(let line) = outcome, isDeviceGrowing, let path = device.path else {
                control?.finishCommand(id, adjusted(id, outcome))
                continue
            }
            control?.finishCommand(id, adjusted(id, .done("\(line); \(path) still waits for requests that are held")))
        }
    }

    /// A peer of an earlier version knows nothing of growing: it would end the connection for the question.
    func refuseGrowing(_ id: CommandID) -> Bool {
        guard let peer = configuration.dataNodes.first(where: { $0.id != node.id && peers.cannotGrow($0.id) }) else {
            return false
        }
        control?.commandFailed(
            id,
            .refused(
                "older-version", "\(peer.name) runs a hablk that cannot resize",
                remedy: "update \(peer.name), then again: hablk resize \(configuration.volume)"))
        return true
    }
}
