import LinuxIO
import Model
import Recording
import ReplicationCore

/// The core's wishes for buffers that could not be granted at once, in order.
struct BufferQueue {
    private var slots: [(operation: OperationID, bytes: UInt32)] = []
    private var head = 0

    var first: (operation: OperationID, bytes: UInt32)? { head < slots.count ? slots[head] : nil }
    var isEmpty: Bool { head == slots.count }

    mutating func append(_ operation: OperationID, _ bytes: UInt32) { slots.append((operation, bytes)) }

    mutating func removeFirst() {
        head += 1
        guard head == slots.count else { return }
        slots.removeAll(keepingCapacity: true)
        head = 0
    }
}

/// An `attach` that was asked for. While another process has the disk it is tried again, for as long as a start would.
struct PendingAttach {
    let id: CommandID
    var next: UInt64 = 0
    let latest = monotonicNow() + Predecessor.patience
}

/// The interpreter: performs each effect as `Effect` says it. It decides nothing.
extension VolumeLoop {
    func performAll() {
        while let effect = effects.popFirst() {
            blackBox?.record(effect) { replica.imageChecksum(of: effect) }
            perform(effect)
        }
    }

    private func perform(_ effect: Effect) {
        switch effect {
        case .readData(let operation, let range, let buffer, let detectZeroes):
            disk.read(operation, range, into: buffer, detectZeroes: detectZeroes, &events)
        case .fillEdges(let operation, let exact, let buffer):
            disk.fillEdges(operation, exact: exact, in: buffer, &events)
        case .writeData(let operation, let range, let buffer):
            disk.write(operation, range, from: buffer, &events)
        case .zeroData(let operation, let range, let trim):
            disk.zero(operation, range, trim: trim, &events)
            nbd.zeroesFast = disk.zeroesFast
        case .flushData(let operation): disk.flush(operation, &events)
        case .takeBuffer(let operation, let bytes): takeBuffer(operation, bytes)
        case .mergeEdge(let source, let covering, let exact, let target):
            DiskEdges(exact).merge(
                from: machine.pool.pointer(source.index), covering: covering, into: machine.pool.pointer(target.index))
        case .copyBuffer(let source, let target, let bytes):
            machine.pool.pointer(target.index).copyMemory(
                from: machine.pool.pointer(source.index), byteCount: Int(bytes))
        case .digestData(let operation, let range, let buffer): digest(operation, range, buffer)
        case .writeSuperblock(let copy): disk.writeSuperblock(replica.superblockImage, copy: copy, &events)
        case .writeLog: disk.writeLog(replica.logImage, &events)
        case .writeBitmapPage(let node, let page): writePage(node, page)
        case .send(let node, let stamp, let message): peers.send(node, stamp, message)
        case .reply(let ticket, let result): nbd.reply(ticket, result, into: &events)
        case .releaseBuffer(let buffer):
            nbd.noteReleased(buffer)
            machine.pool.release(buffer.index)
        default: performRare(effect)
        }
    }

    /// What does not happen for each request.
    private func performRare(_ effect: Effect) {
        switch effect {
        case .dial(let node): peers.dial(node)
        case .cancelDial(let node): peers.cancelDial(node)
        case .offerToDiscard(let node, let discards): peers.setDiscards(discards, for: node)
        case .closeSession(let node, let session, let why): peers.closeSession(node, session, why)
        case .closeClients(let why): nbd.closeClients(why, &events)
        case .commandDone(let id, let outcome): finish(id, outcome)
        case .note(let note): log.note(note)
        case .releaseDisk: mover.release(disk)
        case .fence(let node, let request): fencing.fence(node, request, at: now, &events)
        case .verified: rememberComparisons()
        case .measureDisk(let wanted): measureDisk(wanted)
        case .prepareDisk(let size): prepareDisk(for: size)
        case .leaveOffPreparing: leaveOffMoving()
        case .growDisk(let size): growDisk(to: size)
        case .keepAside(let step): keepAside(step)
        case .stopped: isStopped = true
        default: preconditionFailure("an effect that nobody performs")
        }
    }

    private func takeBuffer(_ operation: OperationID, _ bytes: UInt32) {
        if buffersWanted.isEmpty, let buffer = machine.pool.take(bytes: Int(bytes)) {
            return events.append(.bufferTaken(operation, BufferID(index: buffer)))
        }
        buffersWanted.append(operation, bytes)
    }

    /// In order: a large wish is not passed by small ones for ever.
    func serveBuffers() {
        while let wanted = buffersWanted.first, let buffer = machine.pool.take(bytes: Int(wanted.bytes)) {
            buffersWanted.removeFirst()
            events.append(.bufferTaken(wanted.operation, BufferID(index: buffer)))
        }
    }

    private func writePage(_ node: NodeID, _ page: UInt32) {
        let superblock = replica.durableState
        replica.withBitmapPage(node, page: page) { words in
            disk.writePage(words, of: superblock, toward: node, page: page, &events)
        }
    }

    func finish(_ id: CommandID, _ outcome: CommandOutcome) {
        if id == Self.resumeCommand { return resumption.ended(outcome, at: now, log) }
        if id == Self.signalCommand {
            if case .refused(let refusal) = outcome { log.error("process: not stopped: \(refusal.message)") }
            return
        }
        if mover.delays(id, outcome) || resizes.delays(id, outcome, isGrowing: isDeviceGrowing, at: now) { return }
        control?.finishCommand(id, adjusted(id, outcome))
    }

    func attachDue(_ now: UInt64) {
        let due = attaches.filter { $0.next <= now }
        guard !due.isEmpty else { return }
        attaches.removeAll { $0.next <= now }
        for var pending in due {
            guard mover.isReleasing else {
                attach(pending, now)
                continue
            }
            pending.next = now + Predecessor.pause * 1_000_000
            attaches.append(pending)
        }
    }

    /// The backing disk again, or another one in its place.
    private func attach(_ pending: PendingAttach, _ now: UInt64) {
        guard !disk.isAttached else {
            let failure = CommandFailure.refused(
                "has-disk", "\(node.disk) is attached already", remedy: "hablk detach \(configuration.volume) first")
            control?.commandFailed(pending.id, failure)
            return
        }
        do throws(CommandFailure) {
            let copy = try LoadedCopy(configuration: configuration, node: node, waits: false)
            for remark in copy.remarks { log.warning("disk: \(remark)") }
            disk.attach(copy.files, copy.layout)
            events.append(.attached(copy.metadata, pending.id))
        } catch {
            guard Predecessor.mayPass(error), now < pending.latest else {
                control?.commandFailed(pending.id, error)
                return
            }
            var again = pending
            again.next = now + Predecessor.pause * 1_000_000
            attaches.append(again)
        }
    }
}
