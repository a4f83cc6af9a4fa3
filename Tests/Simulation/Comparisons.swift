import Model
import ReplicationCore

/// An administrator who has the copies compared (`verify`), and what the oracle knows of it (I12). All chance is of streams
/// of its own: without `FaultKinds.verifying` nothing is drawn.
struct Comparisons {
    var random: SplitMix
    /// Planted so far: each gives its block a value that no write has.
    var planted: UInt64 = 0

    init(seed: UInt64) { random = SplitMix(seed: seed, subject: "comparisons") }
}

extension SimulatedNode {
    private static func key(_ peer: NodeID, _ range: ByteRange) -> UInt64 {
        UInt64(peer.rawValue) << 48 | range.offset / Geometry.blockSize
    }

    func asks(of peer: NodeID, _ range: ByteRange, at step: UInt64) { asked[Self.key(peer, range)] = step }

    func asked(of peer: NodeID, _ range: ByteRange) -> UInt64 { asked[Self.key(peer, range)] ?? 0 }
}

extension Cluster {
    /// Now and then, at the primary, or at a node that refuses it.
    func verify() {
        guard phase == .safety else { return }
        heap.push(.verify, at: now + 50_000_000 + comparisons.random.skewed(mean: options.administratorGap))
        let primary = nodes.first { $0.isPrimary && $0.isUp && !$0.isPaused }
        let drawn = comparisons.random.below(8)
        if drawn == 0 {
            let node = nodes[comparisons.random.below(options.copies)]
            if node.isUp { ask(node, .stopVerify(peer: nil)) }
            return
        }
        if drawn == 2, let primary {
            let peer = other(primary).id
            ask(primary, .repair(peer: peer, from: comparisons.random.chance(1, in: 2) ? peer : primary.id))
            return
        }
        if comparisons.random.chance(1, in: 2) { plantDifference() }
        guard let node = drawn == 1 ? nodes[comparisons.random.below(options.copies)] : primary, node.isUp else {
            return
        }
        let rate: UInt64? =
            comparisons.random.chance(1, in: 3) ? nil : comparisons.random.within(8 << 20...1 << 30)
        let peer = comparisons.random.chance(1, in: 4) ? other(node).id : nil
        ask(node, .verify(peer: peer, rate: rate))
    }

    /// A block that no client used rots on one copy, while nobody compares.
    private func plantDifference() {
        // Whoever duels reads blocks of its own choice.
        guard options.duel == nil else { return }
        for node in copyNodes {
            guard let live = node.live else { continue }
            let status = live.core.pointee.status(at: node.localTime(now))
            if status.peers.contains(where: { $0.verify != nil }) { return }
        }
        let block = Int(comparisons.random.below(options.blocks))
        let side = comparisons.random.below(options.copies)
        guard !copies.planted.contains(block), isUnused(block) else { return }
        copies.plant(block)
        comparisons.planted += 1
        nodes[side].disk.rot(block, to: 1 << 62 | comparisons.planted)
        if trace.isOn { trace.add(now, side, "fault", "block \(block) rots") }
    }

    private func isUnused(_ block: Int) -> Bool {
        for copy in copyNodes {
            for sector in block * 8..<block * 8 + 8 where copies[copy.side, sector] != 0 { return false }
            for case let operation? in copy.operations where operation.range.blocks.contains(UInt64(block)) {
                return false
            }
            // What is on its way to a disk, or was there and was lost.
            if copy.disk.writesInFlight.contains(where: {
                $0.sector / 8 <= block && ($0.sector + $0.count - 1) / 8 >= block
            }) {
                return false
            }
        }
        return !oracle.shadows.contains { $0.blocks.contains(Int32(block)) }
    }

    // MARK: What the core asks for

    /// Any function of the sectors that tells them apart.
    func digest(_ id: OperationID, _ range: ByteRange, _ buffer: BufferID, _ node: SimulatedNode) {
        let count = Int(range.length / Geometry.blockSize)
        guard node.buffers.owner(of: buffer) != .free, node.buffers.count(of: buffer) >= count * 8 else {
            return oracle.fail("I7", "node \(node.side) takes a digest of a buffer that is not its own or too small")
        }
        let sectors = node.buffers.sectors(of: buffer)
        var digests: [UInt8] = []
        digests.reserveCapacity(count * Comparing.digestLength)
        for block in 0..<count {
            for word in 0..<4 {
                var mixed = SplitMix(seed: sectors[block * 8 + word] &+ UInt64(word))
                var value = mixed.next()
                mixed = SplitMix(seed: sectors[block * 8 + 4 + word] ^ value)
                value = mixed.next()
                for byte in 0..<8 { digests.append(UInt8(truncatingIfNeeded: value >> UInt64(byte * 8))) }
            }
        }
        later(.digested(id, digests), to: node)
    }

    // MARK: The oracle

    /// I12: what both sides answered while the range was locked is what lies on the disks: no difference is reported that
    /// is none, and none is missed.
    func checkComparison(_ node: SimulatedNode, _ live: LiveReplica) {
        let (count, newest) = live.core.pointee.compared
        guard count != node.compared else { return }
        node.compared = count
        guard let newest else { return }
        let peer = nodes[Int(newest.node.rawValue)]
        let asked = node.asked(of: newest.node, newest.range)
        // What it lost since, or became since, it had not when it answered.
        guard peer.bornAt < asked, peer.lastPowerLoss < asked, node.lastPowerLoss < asked, !peer.isPrimary,
            !node.disk.wasExchanged,
            !peer.disk.wasExchanged
        else { return }
        // An answer that waited while its asker stood still says what was so before another node led (seed 59000232).
        guard !options.isByMajority || !(node.glimpse.number.term < peer.glimpse.number.term) else { return }
        for (place, block) in newest.range.blocks.enumerated() {
            let differs = copies.differ(node.side, peer.side, Int(block))
            let isReported = newest.differing & (1 << UInt64(place)) != 0
            if isReported, !differs {
                return oracle.fail(
                    "I12", "node \(node.side) says that block \(block) differs on node \(peer.side), and it does not")
            }
            if differs, !isReported {
                return oracle.fail(
                    "I12", "node \(node.side) compared block \(block) with node \(peer.side), and missed a difference")
            }
        }
    }

    /// A comparison that says it went through has looked at every block. What is known of all peers is written down.
    func verified(with peer: NodeID, _ node: SimulatedNode, _ live: LiveReplica) {
        node.verifyMemory = copyNodes.compactMap { other in
            live.core.pointee.keptVerifyResult(of: other.id).map { known in
                var kept = known
                kept.runs = Array(known.runs.prefix(Comparing.mostKept))
                return .init(node: other.id, result: kept)
            }
        }
        guard let result = live.core.pointee.keptVerifyResult(of: peer) else {
            return oracle.fail("I12", "node \(node.side) ended a comparison and knows nothing of it")
        }
        let seen = result.comparedBytes + result.unreadableBytes + result.skippedBytes
        if result.end == .complete, seen != options.size {
            oracle.fail(
                "I12", "node \(node.side) says that it compared all, and looked at \(seen) of \(options.size) bytes")
        }
        let named = result.runs.reduce(0) { $0 + $1.count * Geometry.blockSize }
        if named > result.differingBytes || result.runs.contains(where: { $0.first + $0.count > options.blocks }) {
            oracle.fail("I12", "node \(node.side) remembers blocks that it did not find: \(result)")
        }
        if trace.isOn { trace.add(now, node.side, "oracle", "compared: \(result)") }
    }
}
