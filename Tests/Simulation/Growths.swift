import Formats
import Model
import ReplicationCore

/// Administrators who make the nodes' disks larger, one after the other, and the volume when they may: its stream, and how far
/// they are. What lies on a disk behind the volume's end is whatever was there, and differs.
struct Growths {
    var random: SplitMix
    /// What each disk could hold, in blocks.
    var rooms: [UInt64]
    /// Of the volume, as clients were offered it at most.
    var served: UInt64

    init(seed: UInt64, options: SimulationOptions) {
        random = SplitMix(seed: seed, subject: "growths")
        rooms = Array(repeating: options.firstBlocks, count: options.nodes)
        served = options.firstBlocks
    }
}

/// A superblock on its way to both places.
struct GrowingDisk {
    var bytes: [[UInt8]]
    var size: UInt64
}

extension Cluster {
    /// Before the first start.
    func beginGrowths() {
        guard options.faults.contains(.growing) else { return }
        leaveOver()
        heap.push(.growth, at: now + 300_000_000)
    }

    /// Behind the volume's end lies what was there.
    func leaveOver() {
        for node in copyNodes { leaveOver(on: node) }
    }

    /// Within what it was made for a copy that is not blank has zeroes.
    func leaveOver(on node: SimulatedNode) {
        let isWhole = growths.rooms[node.side] == options.blocks
        guard options.faults.contains(.growing), !node.isWitness, !isWhole || durableSuperblock(node).isBlank else {
            return
        }
        for sector in Int(options.firstBlocks) * 8..<options.sectors {
            node.disk.land(leftOver: growths.random.next() | 1, at: sector)
        }
    }

    /// By any record.
    var largestVolume: UInt64 {
        copyNodes.reduce(options.firstBlocks) { max($0, durableSuperblock($1).record.size / Geometry.blockSize) }
    }

    /// A copy that no record names can make no room for itself, nor one whose own founding was never chosen while others founded the
    /// volume (seed 563): it is made anew, as large as the volume, over what it had.
    func renewSmall() {
        guard options.faults.contains(.growing) else { return }
        let least = largestVolume * Geometry.blockSize
        let founded = copyNodes.map { durableSuperblock($0) }.first {
            $0.record.size == least && $0.flags.contains(.founded)
        }
        for node in copyNodes {
            let superblock = durableSuperblock(node)
            let isApart =
                founded.map { !superblock.flags.contains(.founded) && superblock.volume != $0.volume } ?? false
            guard superblock.record.isEmpty || isApart, superblock.size < least else { continue }
            // Nobody promises anything any more.
            makeAnew(node, isBlank: true, isSure: phase != .safety)
        }
    }

    /// An administrator comes by: a disk is made larger, or the volume.
    func grow() {
        guard phase == .safety else { return }
        heap.push(.growth, at: now + 1_000_000 + growths.random.skewed(mean: options.administratorGap / 2))
        renewSmall()
        let small = copyNodes.filter { growths.rooms[$0.side] < options.blocks }
        if !small.isEmpty, growths.random.chance(1, in: 2) {
            let node = growths.random.pick(Array(small))
            let most = options.blocks - growths.rooms[node.side]
            growths.rooms[node.side] += growths.random.chance(1, in: 2) ? most : 1 + growths.random.below(most)
            return
        }
        // Mostly who can; now and then whoever it is.
        let able = growths.random.chance(1, in: 12) ? Array(copyNodes) : copyNodes.filter(\.isPrimary)
        guard !able.isEmpty else { return }
        let node = growths.random.pick(able)
        let wanted = growths.served + growths.random.below(options.blocks - growths.served + 1)
        let size = growths.random.chance(1, in: 2) ? nil : wanted * Geometry.blockSize
        let patience = growths.random.pick([0, options.administratorGap / 8, 20_000_000_000] as [UInt64])
        resize(node, size, dryRun: growths.random.chance(1, in: 10), patience: patience)
    }

    func resize(_ node: SimulatedNode, _ size: UInt64?, dryRun: Bool = false, patience: UInt64) {
        ask(node, .resize(size: size, dryRun: dryRun, deadline: node.localTime(now + patience)))
    }

    /// In the end all disks are as large as they will be, and so is the volume.
    func endGrowths() {
        for index in growths.rooms.indices { growths.rooms[index] = options.blocks }
    }

    /// Whoever serves grows it as far as it goes.
    func helpToGrow() {
        renewSmall()
        guard options.faults.contains(.growing), let node = copyNodes.first(where: \.isPrimary), node.commands.isEmpty,
            !hasGrown
        else { return }
        resize(node, nil, patience: 10_000_000_000)
    }

    /// All copies have the same size, which is as large as they can be. Where nobody serves it stays what it was.
    var hasGrown: Bool {
        guard options.faults.contains(.growing) else { return true }
        let sizes = Set(copyNodes.map { status($0)?.size ?? 0 })
        return sizes.count == 1 && (sizes.first == options.size || !nodes.contains(where: \.isPrimary))
    }

    /// What clients are offered now.
    func noteOffered(_ node: SimulatedNode, _ live: LiveReplica) {
        guard options.faults.contains(.growing), node.glimpse.isPrimary else { return }
        let blocks = live.core.pointee.volumeSize / Geometry.blockSize
        guard blocks > growths.served else { return }
        if trace.isOn { trace.add(now, node.side, "oracle", "clients are offered \(blocks) blocks") }
        growths.served = blocks
        copies.extend(to: Int(blocks))
    }

    /// Blocks that a client of this node knows of.
    func offered(by node: SimulatedNode) -> UInt64 {
        guard options.faults.contains(.growing) else { return options.blocks }
        guard let live = node.live else { return options.firstBlocks }
        return max(1, min(options.blocks, live.core.pointee.volumeSize / Geometry.blockSize))
    }

    // MARK: The disk

    func measureDisk(_ node: SimulatedNode) {
        let word: RoomAnswer.Word = node.usesDisk ? .has : .failed
        later(.diskMeasured(RoomAnswer(word, bytes: growths.rooms[node.side] * Geometry.blockSize)), to: node)
    }

    /// Takes a while, in which all else goes on; now and then what the disk had in its cache is lost meanwhile, or it cannot.
    func prepareDisk(for size: UInt64, _ node: SimulatedNode) {
        let hasRoom = node.usesDisk && size <= growths.rooms[node.side] * Geometry.blockSize
        node.prepared = nil
        let takes = growths.random.skewed(mean: options.diskLatency * growths.random.pick([1, 10, 100] as [UInt64]))
        let isTroubled = node.disk.script == nil && growths.random.chance(1, in: 12)
        let outcome: GrowOutcome =
            !hasRoom || isTroubled && growths.random.chance(2, in: 3) ? .unchanged : isTroubled ? .failed : .done
        heap.push(
            .prepared(node: node.side, incarnation: node.incarnation, size: size, outcome: outcome),
            at: now + 1000 + takes)
    }

    func prepared(_ node: SimulatedNode, _ incarnation: Int, _ size: UInt64, _ outcome: GrowOutcome) {
        guard node.incarnation == incarnation else { return }
        if outcome == .done { node.prepared = size }
        if outcome == .failed,
            phase != .safety || !options.faults.contains(.diskErrors) || node.side != options.errorNode
        {
            return deliver(.diskPrepared(.unchanged), to: node)
        }
        if outcome == .failed {
            node.disk.finishFlush(covers: node.disk.writeMark, fails: true, &growths.random)
            if options.isByMajority { node.lastPowerLoss = step }
            oracle.lostPower(node.side)
        }
        deliver(.diskPrepared(outcome), to: node)
    }

    /// Both superblocks, one after the other; nothing else of the metadata is written meanwhile.
    func growDisk(to size: UInt64, _ node: SimulatedNode, _ live: LiveReplica) {
        guard node.usesDisk, node.prepared == size else {
            return oracle.fail("I7", "node \(node.side) makes room for \(size) bytes that it has not")
        }
        node.prepared = nil
        if node.disk.script == nil, growths.random.chance(1, in: 12) { return later(.diskGrown(.unchanged), to: node) }
        let own = MetadataBytes.layout(of: node, layout)
        let image = live.core.pointee.superblockImage
        landCleanPages(from: durableSuperblock(node).size, to: size, own, image, node)
        node.growing = GrowingDisk(
            bytes: (0...1).map { MetadataBytes.encode(image, own, copy: $0) }, size: size)
        writeGrown(copy: 0, node)
    }

    /// What a move makes of pages that were not in use.
    private func landCleanPages(
        from former: UInt64, to size: UInt64, _ own: DiskLayout, _ image: Superblock, _ node: SimulatedNode
    ) {
        let perPage = BitmapPage.blocksPerPage * Geometry.blockSize
        let first = UInt32((former + perPage - 1) / perPage)
        for peer in own.peers {
            for page in first..<max(first, UInt32((size + perPage - 1) / perPage)) {
                guard let offset = own.bitmapPageOffset(of: peer, page: page) else { continue }
                let bytes = MetadataBytes.encode(
                    [], instance: image.instance, node: peer, page: page, sequence: image.sequence)
                node.disk.landMetadata(offset: Int(offset), bytes: bytes)
            }
        }
    }

    private func writeGrown(copy: Int, _ node: SimulatedNode) {
        guard let bytes = node.growing?.bytes[copy] else { return }
        submit(
            .metadata(
                offset: Int(layout.superblockOffset(copy: copy)), bytes: bytes, answer: .diskGrown(.done)), node)
    }

    /// One superblock is there: the other one's turn.
    func grewInPart(at offset: Int, fails: Bool, _ node: SimulatedNode) {
        if !fails, offset == Int(layout.superblockOffset(copy: 0)) { return writeGrown(copy: 1, node) }
        node.growing = nil
        deliver(.diskGrown(fails ? .failed : .done), to: node)
    }

    /// What is moved must not be written where it was.
    func checkRest(_ effect: Effect, _ node: SimulatedNode) {
        guard node.growing != nil else { return }
        oracle.fail("I13", "node \(node.side) writes \(TraceText.of(effect)) while its metadata are moved")
    }

    /// The word that there is room: durable, and zeroes.
    func checkRoom(_ message: PeerMessage, of node: SimulatedNode) {
        guard case .roomAnswer(_, let answer) = message, answer.word == .made else { return }
        let superblock = durableSuperblock(node)
        guard superblock.size >= answer.bytes else {
            return oracle.fail("I6", "node \(node.side) says that it has room for \(answer.bytes) bytes, its disk not")
        }
        let first = Int(max(superblock.record.size, growths.served * Geometry.blockSize) / 512)
        for sector in first..<max(first, Int(answer.bytes / 512)) where node.disk.stable[sector] != 0 {
            return oracle.fail("I6", "node \(node.side) says that it has zeroes, and sector \(sector) has none")
        }
    }
}
