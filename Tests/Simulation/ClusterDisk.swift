import Formats
import Model
import ReplicationCore

/// What the core wants of its disk and of the pool, and what comes of it.
extension Cluster {
    // MARK: Data

    func submitData(_ effect: Effect, _ node: SimulatedNode) {
        switch effect {
        case .readData(let id, let range, let buffer, let detectZeroes):
            guard check(range, buffer, node) else { return }
            checkReadForClient(node, buffer)
            submit(
                .read(id, sector: sector(range.offset), count: sectors(range), buffer, detectZeroes: detectZeroes), node
            )
        case .fillEdges(let id, let exact, let buffer):
            guard check(exact.widenedToBlocks, buffer, node) else { return }
            submit(.fill(id, exact: exact, buffer), node)
        case .writeData(let id, let range, let buffer):
            guard check(range, buffer, node) else { return }
            let values = Array(node.buffers.sectors(of: buffer).prefix(sectors(range)))
            if let hole = values.firstIndex(of: BufferStore.poison) {
                oracle.fail(
                    "I7",
                    "node \(node.side) writes sector \(sector(range.offset) + hole) from a buffer never filled there")
            }
            submit(.write(id, sector: sector(range.offset), count: sectors(range), values: values, buffer), node)
        case .zeroData(let id, let range, _):
            guard check(range, nil, node) else { return }
            submit(.write(id, sector: sector(range.offset), count: sectors(range), values: nil, nil), node)
        case .flushData(let id): submit(.flush(id, covers: node.disk.writeMark), node)
        default: preconditionFailure("no effect on data")
        }
    }

    private func sector(_ offset: UInt64) -> Int { Int(offset / 512) }
    private func sectors(_ range: ByteRange) -> Int { Int(range.length / 512) }

    private func check(_ range: ByteRange, _ buffer: BufferID?, _ node: SimulatedNode) -> Bool {
        guard range.isBlockAligned, !range.isEmpty, range.end <= options.size else {
            oracle.fail("I7", "node \(node.side) asks its disk for \(range.offset)+\(range.length)")
            return false
        }
        guard node.usesDisk else {
            oracle.fail("I7", "node \(node.side) uses a disk that it has not or gave away")
            return false
        }
        guard let buffer else { return true }
        guard node.buffers.owner(of: buffer) != .free, node.buffers.count(of: buffer) >= sectors(range) else {
            oracle.fail("I7", "node \(node.side) uses buffer \(buffer.index), which is not its own or too small")
            return false
        }
        return true
    }

    func submit(_ deed: SimulatedDisk.Deed, _ node: SimulatedNode) {
        if let buffer = deed.buffer { node.buffers.begin(buffer) }
        let isRefused = now < node.disk.faults.deadUntil || lacksSpace(deed, node)
        let fails = isRefused || (node.disk.script?.takesFailure(deed) ?? failsDisk(deed, node))
        let slot = node.disk.submit(deed, fails: fails, isRefused: isRefused)
        var latency = diskRandoms[node.side].skewed(mean: options.diskLatency)
        if case .metadata = deed { latency += options.diskLatency / 4 }
        if options.faults.contains(.slowDisk), phase == .safety, diskRandoms[node.side].chance(1, in: 60) {
            latency += diskRandoms[node.side].below(options.timing.cutOff * 3 / 2)
        }
        latency += delayInSpell(deed, node)
        if now < node.disk.faults.hungUntil {
            latency += node.disk.faults.hungUntil - now
            node.disk.faults.answeredBy = max(node.disk.faults.answeredBy, now + 1000 + latency)
        }
        heap.push(
            .diskDone(node: node.side, incarnation: node.incarnation, slot: slot), at: now + 1000 + latency)
    }

    func diskDone(_ node: SimulatedNode, _ incarnation: Int, _ slot: Int) {
        guard node.incarnation == incarnation, !node.disk.holdsBack(slot) else { return }
        let operation = node.disk.finish(slot)
        if let buffer = operation.deed.buffer { node.buffers.end(buffer) }
        let fails = operation.fails
        let side = node.side
        switch operation.deed {
        case .read(let id, let sector, let count, let buffer, let detectZeroes):
            let values =
                options.planted == .staleRead
                ? node.disk.stable[sector..<sector + count]
                : node.disk.takeAnswer(slot) ?? copies.values(side, sector..<sector + count)
            if !fails { node.buffers.fill(buffer, from: 0, with: values) }
            let isZero = detectZeroes && values.allSatisfy { $0 == 0 }
            deliver(.dataDone(id, fails ? .failed : isZero ? .zeroes : .succeeded), to: node)
        case .fill(let id, let exact, let buffer):
            if !fails { fillEdges(exact, buffer, node) }
            deliver(.dataDone(id, fails ? .failed : .succeeded), to: node)
        case .write(let id, let sector, let count, let values, _):
            if options.planted == .lostWrite, diskRandoms[side].chance(1, in: 20) {
                // Lost.
            } else if !operation.isRefused {
                node.disk.land(sector: sector, count: count, values: values, partly: &diskRandoms[side], fails: fails)
            }
            checkCoverage()
            deliver(.dataDone(id, fails ? .failed : .succeeded), to: node)
        case .flush(let id, let mark):
            if options.planted != .lostFlush, !operation.isRefused {
                node.disk.finishFlush(covers: mark, fails: fails, &diskRandoms[side])
                // What it forgot is read from its cache until the power goes: this copy is suspect from now on.
                if fails {
                    if options.isByMajority { node.lastPowerLoss = step }
                    oracle.lostPower(side)
                }
            }
            deliver(.dataDone(id, fails ? .failed : .succeeded), to: node)
        case .metadata(let offset, let bytes, let answer):
            if !fails, options.planted != answer.plantedLoss { landMetadata(offset: offset, bytes: bytes, node) }
            if case .diskGrown = answer { return grewInPart(at: offset, fails: fails, node) }
            if options.planted == answer.plantedHaste { return }
            deliver(fails ? answer.failed : answer, to: node)
        }
    }

    private func fillEdges(_ exact: ByteRange, _ buffer: BufferID, _ node: SimulatedNode) {
        let whole = exact.widenedToBlocks
        for sector in sector(whole.offset)..<sector(whole.end)
        where sector < self.sector(exact.offset) || sector >= self.sector(exact.end) {
            node.buffers.set(buffer, sector - self.sector(whole.offset), to: copies[node.side, sector])
        }
    }

    // MARK: Metadata

    /// A write of metadata; the planted faults of order are here.
    private func write(_ bytes: [UInt8], at offset: UInt64, answer: Event, _ node: SimulatedNode) {
        submit(.metadata(offset: Int(offset), bytes: bytes, answer: answer), node)
        if options.planted == answer.plantedHaste { later(answer, to: node) }
    }

    func submitMetadata(_ effect: Effect, _ node: SimulatedNode, _ live: LiveReplica) {
        let own = MetadataBytes.layout(of: node, layout)
        guard node.usesDisk else {
            return oracle.fail("I7", "node \(node.side) writes metadata to a disk that it has not or gave away")
        }
        switch effect {
        case .writeSuperblock(let copy):
            // Planted: the first copy is answered with the second, both on their way.
            if options.planted == .superblocksAtOnce, copy == 0 {
                let bytes = MetadataBytes.encode(live.core.pointee.superblockImage, own, copy: 0)
                submit(.metadata(offset: Int(layout.superblockOffset(copy: 0)), bytes: bytes, answer: .tick), node)
                return later(.superblockWritten(succeeded: true), to: node)
            }
            write(
                MetadataBytes.encode(live.core.pointee.superblockImage, own, copy: copy),
                at: layout.superblockOffset(copy: copy), answer: .superblockWritten(succeeded: true), node)
        case .writeLog:
            let transaction = live.core.pointee.logImage
            write(
                MetadataBytes.encode(transaction), at: layout.logOffset(number: transaction.number),
                answer: .logWritten(succeeded: true), node)
        case .writeBitmapPage(let peer, let page):
            guard let offset = own.bitmapPageOffset(of: peer, page: page) else {
                return oracle.fail("I7", "node \(node.side) writes page \(page) of a bitmap toward \(peer)")
            }
            let state = live.core.pointee.durableState
            let bytes = live.core.pointee.withBitmapPage(peer, page: page) { words in
                MetadataBytes.encode(
                    words, instance: state.instance, node: peer, page: page, sequence: state.sequence)
            }
            write(bytes, at: offset, answer: .bitmapPageWritten(peer, page: page, succeeded: true), node)
        default: preconditionFailure("no effect on metadata")
        }
    }

    // MARK: Buffers

    func performOnBuffers(_ effect: Effect, _ node: SimulatedNode) {
        switch effect {
        case .takeBuffer(let id, let bytes):
            let buffer = node.buffers.take(.taken, blocks: Int((bytes + 4095) / 4096))
            later(.bufferTaken(id, buffer), to: node)
        case .mergeEdge(let from, let covering, let exact, let into):
            mergeEdge(from, covering, exact, into, node)
        case .copyBuffer(let from, let into, let bytes):
            let values = node.buffers.sectors(of: from).prefix(Int(bytes / 512))
            node.buffers.fill(into, from: 0, with: values)
        case .releaseBuffer(let buffer):
            releaseBuffer(buffer, node)
        default: preconditionFailure("no effect on buffers")
        }
    }

    private func mergeEdge(
        _ from: BufferID, _ covering: ByteRange, _ exact: ByteRange, _ into: BufferID, _ node: SimulatedNode
    ) {
        let whole = exact.widenedToBlocks
        let source = node.buffers.sectors(of: from)
        for sector in sector(covering.offset)..<sector(covering.end)
        where sector < self.sector(exact.offset) || sector >= self.sector(exact.end) {
            let place = sector - self.sector(whole.offset)
            guard place >= 0, place < node.buffers.count(of: into) else { continue }
            node.buffers.set(into, place, to: source[sector - self.sector(covering.offset)])
        }
    }

    private func releaseBuffer(_ buffer: BufferID, _ node: SimulatedNode) {
        switch node.buffers.owner(of: buffer) {
        case .free: oracle.fail("I7", "node \(node.side) released buffer \(buffer.index) twice")
        case .clientRead:
            oracle.fail("I7", "node \(node.side) released buffer \(buffer.index) of a read that it answers")
        case .clientWrite, .payload, .taken:
            if node.buffers.isInUse(buffer) {
                return oracle.fail("I7", "node \(node.side) released buffer \(buffer.index) while its disk uses it")
            }
            node.buffers.release(buffer)
        }
    }

    /// An event that comes soon, but not within this call.
    func later(_ event: Event, to node: SimulatedNode) {
        let slot = soon.count
        soon.append((event, node.incarnation))
        heap.push(.soon(node: node.side, slot: slot), at: now + 1)
    }
}

extension SimulatedDisk.Deed {
    var buffer: BufferID? {
        switch self {
        case .read(_, _, _, let buffer, _), .fill(_, _, let buffer): buffer
        case .write(_, _, _, _, let buffer): buffer
        case .flush, .metadata: nil
        }
    }
}

extension Event {
    /// The planted fault that loses the write which this answers.
    fileprivate var plantedLoss: PlantedFault {
        switch self {
        case .superblockWritten: .lostSuperblock
        case .logWritten: .lostLog
        default: .lostPage
        }
    }

    /// The planted fault that gives this answer before the write is done.
    fileprivate var plantedHaste: PlantedFault {
        switch self {
        case .superblockWritten: .unawaitedSuperblock
        case .logWritten: .unawaitedLog
        default: .unawaitedPage
        }
    }

    /// The same answer, but that it failed.
    fileprivate var failed: Event {
        switch self {
        case .superblockWritten: .superblockWritten(succeeded: false)
        case .logWritten: .logWritten(succeeded: false)
        case .bitmapPageWritten(let node, let page, _): .bitmapPageWritten(node, page: page, succeeded: false)
        default: self
        }
    }
}
