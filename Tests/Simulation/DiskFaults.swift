import Formats
import Model
import ReplicationCore

/// What is wrong with a disk, beyond single errors. Moments are simulated nanoseconds.
struct DiskFaults {
    /// Nothing is answered before.
    var hungUntil: UInt64 = 0
    /// What was asked for while it hung is answered by then, also when it hangs no more or is healed (seed 12411961).
    var answeredBy: UInt64 = 0
    /// Some reads and writes of data take very long until then.
    var slowUntil: UInt64 = 0
    /// No read and no write of data is answered before.
    var dataHeldUntil: UInt64 = 0
    /// Nothing reaches it before, and it forgets nothing: one that does, and takes no last word, is beyond what a restart
    /// can notice.
    var deadUntil: UInt64 = 0
    /// Writes find no space before.
    var fullUntil: UInt64 = 0
    /// The machine has the other node's disk, or a clone of it, before.
    var foreignUntil: UInt64 = 0
    /// Sectors of data that cannot be read.
    var badSectors: [Int] = []
    /// Superblocks that a loss of power must not tear, because the other one is not as new as what was answered.
    var unbreakable: [Int] = []
    /// One more than the sequence of the newest superblock that was answered.
    var durableSequence: UInt64 = 0
    /// What becomes of the newest transaction of the log once a later one is on the platter.
    var pendingDamage: (offset: Int, bytes: [UInt8])?
    /// The copy as it was some time ago.
    var image: DiskImage?

    init(image: DiskImage? = nil) { self.image = image }
}

/// Disks that fail in other ways than by an error now and then.
extension Cluster {
    /// Whether a machine that starts finds its own disk there; otherwise it is started again later.
    func findsItsDisk(_ node: SimulatedNode) -> Bool {
        let faults = node.disk.faults
        if now < faults.foreignUntil { refuseForeignDisk(node) }
        let until = max(faults.deadUntil, faults.foreignUntil)
        guard now < until else {
            findsOldCopyAgain(node)
            return true
        }
        heap.push(.restart(node: node.side, incarnation: node.incarnation), at: until + 1)
        return false
    }

    /// What the daemon compares before it writes anything (`LoadedCopy`): the superblock says whose copy it is.
    private func refuseForeignDisk(_ node: SimulatedNode) {
        guard case .success(let found) = MetadataBytes.load(other(node), layout: layout, repairing: false),
            found.superblock.node == node.id
        else { return }
        oracle.fail("I7", "node \(node.side) cannot tell the other node's disk from its own")
    }

    func noteLoaded(_ metadata: LoadedMetadata, _ node: SimulatedNode) {
        node.disk.faults.durableSequence = metadata.superblock.sequence + 1
        node.disk.faults.pendingDamage = nil
    }

    /// A write of data that finds no space, while the other copy is whole.
    func lacksSpace(_ deed: SimulatedDisk.Deed, _ node: SimulatedNode) -> Bool {
        guard now < node.disk.faults.fullUntil, case .write = deed, isSpared(node) else { return false }
        if trace.isOn { trace.add(now, node.side, "fault", "no space for this write") }
        return true
    }

    /// A sector is bad. A write makes it good again.
    func isUnreadable(_ deed: SimulatedDisk.Deed, _ node: SimulatedNode) -> Bool {
        guard !node.disk.faults.badSectors.isEmpty else { return false }
        switch deed {
        case .read(_, let sector, let count, _, _):
            return node.disk.faults.badSectors.contains { sector..<sector + count ~= $0 }
        case .fill(_, let exact, _):
            let whole = exact.widenedToBlocks
            return node.disk.faults.badSectors.contains { sector in
                let offset = UInt64(sector) * 512
                return offset >= whole.offset && offset < whole.end && !(offset >= exact.offset && offset < exact.end)
            }
        case .write(_, let sector, let count, _, _):
            node.disk.faults.badSectors.removeAll { sector..<sector + count ~= $0 }
            return false
        case .flush, .metadata: return false
        }
    }

    // MARK: Other disks

    /// The other copy has all that was acknowledged, and serves or could.
    func isExpendable(_ node: SimulatedNode) -> Bool {
        if options.isByMajority { return isSpared(node) && isVoteSpared(node) }
        let other = other(node)
        guard let live = other.live, !other.isPaused, other.usesDisk, other.glimpse.isInStep, other.glimpse.hasRecord,
            !other.isRestored, oracle.shadows[node.side].aloneAcknowledgements == 0
        else { return false }
        return live.core.pointee.durableState.flags.isDisjoint(with: [.suspect, .outdated, .inconsistent])
    }

    func takeImage(_ node: SimulatedNode) {
        guard node.usesDisk, node.isUp, !node.isRestored, !node.isMadeAnew else { return }
        node.disk.faults.image = node.disk.image
        if trace.isOn { trace.add(now, node.side, "fault", "a snapshot of the copy is taken") }
    }

    /// The copy is put back as it was. Only when the other remembers more of it: what nobody can notice proves nothing.
    func rollBack(_ node: SimulatedNode) {
        guard let image = node.disk.faults.image, isExpendable(node) else { return takeImage(node) }
        loseProcess(node)
        let current = node.disk.metadata
        node.disk.landMetadata(offset: 0, bytes: image.metadata)
        let old = MetadataBytes.load(node, layout: layout, repairing: false)
        node.disk.landMetadata(offset: 0, bytes: current)
        guard case .success(let found) = old, isNoticedByAll(found, of: node) else { return takeImage(node) }
        let newest = durableSuperblock(node).record
        node.wasSource = !newest.isEmpty && !newest.inStep.contains(other(node).id)
        node.disk.replace(with: image)
        replaced(node, "the copy is put back as it was")
        node.isRestored = true
    }

    /// Whether the first meeting must tell: of the same run what it finds on its disk is older; of earlier ones, the start
    /// number. A copy that was started exactly once since, and so bears the number that its peer remembers, is told apart by
    /// its sequence only, which rises with every write of metadata: that is not promised.
    func isNoticeable(_ found: LoadedMetadata, _ seen: StartMark) -> Bool {
        let start = found.superblock.startNumber
        if start == seen.startNumber {
            return max(found.superblock.sequence, found.log.lastSequence) < seen.sequence
        }
        return start + 1 < seen.startNumber
    }

    /// A machine that finds the old copy at each start and attach, until its peer told it so: else each would raise what
    /// makes it known, and that is not promised either.
    func findsOldCopyAgain(_ node: SimulatedNode) {
        guard node.isRestored, let image = node.disk.faults.image,
            case .success(let found) = MetadataBytes.load(node, layout: layout, repairing: false),
            !found.superblock.flags.contains(.rolledBack)
        else { return }
        node.disk.replace(with: image)
    }

    /// The copy is made anew: on a new disk full of zeroes, or over what the old one has.
    /// - Parameter isSure: nothing can be lost by it.
    func makeAnew(_ node: SimulatedNode, isBlank: Bool, isSure: Bool = false) {
        guard isSure || isExpendable(node), namesOthers(node) else { return }
        let blocks = options.faults.contains(.growing) ? largestVolume : options.blocks
        let isAttached = node.isUp && node.usesDisk
        if isAttached || node.disk.hasOperations || node.isPaused { loseProcess(node) }
        var image = node.disk.image
        image.metadata = [UInt8](repeating: 0, count: image.metadata.count)
        if !isBlank { image.values = [UInt64](repeating: 0, count: image.values.count) }
        node.disk.replace(with: image)
        node.disk.faults.image = nil
        let instance = InstanceID(rawValue: mishaps.disk.next() | 1)
        MetadataBytes.create(
            on: node, layout: layout, options: options, instance: instance, isBlank: isBlank, blocks: blocks)
        growths.rooms[node.side] = max(growths.rooms[node.side], blocks)
        node.isRestored = false
        node.isMadeAnew = true
        hasMadeAnew = true
        // What it had acknowledged and the other lacks is gone by an administrator's hand.
        // With quorum it is asked for still, until a word gives it up (seed 71536 of `--mixed`).
        if !options.isByMajority { oracle.loss.pending.removeAll { $0.primary == node.side } }
        replaced(node, isBlank ? "the copy is made anew over the old data" : "the copy is made anew on a new disk")
        if node.isUp { _ = attach(node) }
    }

    /// A new copy by a file that names nobody else is another volume, which no rule keeps from being founded. An administrator who
    /// replaces a disk looks first whether the file is that of the others.
    private func namesOthers(_ node: SimulatedNode) -> Bool { members(of: node).count > 1 }

    func replaced(_ node: SimulatedNode, _ what: String) {
        if trace.isOn { trace.add(now, node.side, "fault", what) }
        if case .success(let found) = MetadataBytes.load(node, layout: layout, repairing: false) {
            noteLoaded(found, node)
        }
        node.durable = nil
        oracle.elections.forget(node.side)
        // What was acknowledged is on the other copy, in its cache perhaps.
        node.lastPowerLoss = step
        oracle.lostPower(node.side)
    }

    private func loseProcess(_ node: SimulatedNode) {
        guard node.isUp else { return }
        crash(node, losesPower: mishaps.disk.chance(1, in: 2))
        heap.push(
            .restart(node: node.side, incarnation: node.incarnation),
            at: now + 1_000_000 + drawDuration(&mishaps.disk))
    }

    // MARK: What follows from it

    /// The other side found out, or has begun to fill the copy anew.
    private func noteMeeting(_ node: SimulatedNode) {
        guard node.isRestored || node.isMadeAnew, let live = node.live, node.usesDisk else { return }
        let state = live.core.pointee.durableState
        if node.isMadeAnew, state.record.inStep.contains(node.id), state.record.instances[node.id] == state.instance,
            !state.flags.contains(.inconsistent)
        {
            node.isMadeAnew = false
        }
        let isFilled = copyNodes.contains { other in
            other !== node && other.live?.core.pointee.durableState.peers[node.id].base == .everything(state.instance)
        }
        if node.isRestored, isFilled { node.isRestored = false }
    }

    /// A restored copy that nobody met yet: what it lacks is marked nowhere, and the meeting must tell.
    var isAnyCopyOld: Bool {
        for node in maybeRestored where node.isRestored { noteMeeting(node) }
        return maybeRestored.contains(where: \.isRestored)
    }

    /// No meeting takes a restored copy for a whole one.
    func checkMeetings() {
        for node in maybeRestored { checkMeeting(of: node) }
    }

    /// A script puts back whom it likes.
    private var maybeRestored: ArraySlice<SimulatedNode> {
        witness == nil ? nodes[options.errorNode...options.errorNode] : copyNodes
    }

    private func checkMeeting(of node: SimulatedNode) {
        noteMeeting(node)
        guard node.isRestored, let live = node.live, node.usesDisk, !node.isPaused else { return }
        let status = live.core.pointee.status(at: node.localTime(now))
        let isMet = status.peers.contains {
            $0.disk == .upToDate && $0.replication == .established && !nodes[Int($0.id)].isWitness
        }
        // With quorum two copies that nobody leads meet without a verdict.
        if status.disk == .upToDate, isMet, !options.isByMajority || nodes.contains(where: \.isPrimary) {
            oracle.fail("I11", "node \(node.side) was put back as it was, and is in step again unnoticed")
        }
    }
}
