package import Formats
package import LinuxIO
package import Model
package import ReplicationCore

/// The disk under a running daemon: performs the core's effects on data and metadata through the ring, and answers each
/// with its event.
///
/// Everything that a job needs lies in fixed slots and in memory that was mapped at the start, so nothing here allocates
/// afterwards. What the kernel does only in part is asked for again until it is whole; an end of file is an error.
package final class DiskStore {
    /// Where everything lies; nil: there is no disk.
    private(set) var copy: (files: CopyFiles, layout: DiskLayout)?
    /// Of its data; negative: there is no disk.
    private var dataFile: Int32 = -1
    private var metadataFile: Int32 = -1
    /// False once this disk refused to zero a range by itself: zeroes are written then.
    private(set) var zeroesFast = true

    let machine: Machine
    var jobs: DiskJobTable
    let memory: DiskMemory
    private var punches = true
    private var zeroes = true
    /// Which disk it is, since the start.
    private(set) var attachment = 0
    /// Written since somebody asked (`noteTouchedPages`).
    private var touched: Set<DiskMove.Page>?
    /// Writes that leave at the end of the turn.
    private var writesWaiting: [Int32] = []
    /// Edge jobs that wait for scratch memory.
    private var edgesWaiting = DiskJobList()

    package init(machine: Machine, limits: Limits) {
        self.machine = machine
        // Metadata and flushes beside the operations of the core.
        jobs = DiskJobTable(capacity: limits.clientOperations + limits.peerOperations + 64)
        writesWaiting.reserveCapacity(limits.clientOperations + limits.peerOperations)
        memory = DiskMemory()
    }

    package var isAttached: Bool { copy != nil }

    /// There are bitmaps for more nodes, or all lies elsewhere: superblocks say so from the next one on.
    package func assign(_ layout: DiskLayout) { copy?.layout = layout }

    package func attach(_ files: CopyFiles, _ layout: DiskLayout) {
        precondition(copy == nil, "the disk that was here is released first")
        copy = (files, layout)
        attachment += 1
        dataFile = files.data.descriptor
        metadataFile = files.metadata.descriptor
        punches = true
        zeroes = true
        zeroesFast = true
    }

    // MARK: Pages while the metadata move

    /// From now on it is noted which pages are written, those on their way included.
    func noteTouchedPages(besides known: Set<DiskMove.Page> = []) {
        var pages = known
        if let former = touched, !known.isEmpty { pages.formUnion(former) }
        jobs.forEach { if $0.kind == .page { pages.insert(DiskMove.Page($0.node, $0.page)) } }
        touched = pages
    }

    var touchedPages: Set<DiskMove.Page> { touched ?? [] }

    func takeTouchedPages() -> Set<DiskMove.Page> {
        defer { touched = nil }
        return touchedPages
    }

    /// Gives the files back; nothing is in flight by the core's promise.
    package func release() {
        copy?.files.close()
        copy = nil
        dataFile = -1
        metadataFile = -1
    }

    // MARK: Data

    package func read(
        _ operation: OperationID, _ range: ByteRange, into buffer: BufferID, detectZeroes: Bool,
        _ events: inout EventQueue
    ) {
        guard dataFile >= 0 else { return events.append(.dataDone(operation, .failed)) }
        var job = DiskJob(.read, operation)
        job.detectsZeroes = detectZeroes
        job.offset = range.offset
        job.count = Int(range.length)
        job.target = machine.pool.pointer(buffer.index)
        submitTransfer(jobs.insert(job))
    }

    /// `submitWrites` hands it to the kernel.
    package func write(
        _ operation: OperationID, _ range: ByteRange, from buffer: BufferID, _ events: inout EventQueue
    ) {
        guard dataFile >= 0 else { return events.append(.dataDone(operation, .failed)) }
        var job = DiskJob(.write, operation)
        job.offset = range.offset
        job.count = Int(range.length)
        job.target = machine.pool.pointer(buffer.index)
        writesWaiting.append(Int32(jobs.insert(job)))
    }

    /// Once at the end of each turn, after the frames of these writes: the peers' disks are at work while this one's is told
    /// what to do.
    package func submitWrites() {
        guard !writesWaiting.isEmpty else { return }
        for slot in writesWaiting { submitTransfer(Int(slot)) }
        writesWaiting.removeAll(keepingCapacity: true)
    }

    /// Reads the blocks that `exact` covers in part, beside the buffer, and copies what lies outside `exact` into it.
    package func fillEdges(
        _ operation: OperationID, exact: ByteRange, in buffer: BufferID, _ events: inout EventQueue
    ) {
        var job = DiskJob(.edges, operation)
        job.offset = exact.offset
        job.count = Int(exact.length)
        job.target = machine.pool.pointer(buffer.index)
        guard copy != nil else { return events.append(.dataDone(operation, .failed)) }
        let slot = jobs.insert(job)
        guard let scratch = memory.takeScratch() else { return jobs.append(slot, to: &edgesWaiting) }
        beginEdges(slot, scratch)
    }

    package func zero(_ operation: OperationID, _ range: ByteRange, trim: Bool, _ events: inout EventQueue) {
        var job = DiskJob(.zero, operation)
        job.offset = range.offset
        job.count = Int(range.length)
        job.trims = trim
        guard copy != nil else { return events.append(.dataDone(operation, .failed)) }
        submitZero(jobs.insert(job))
    }

    package func flush(_ operation: OperationID, _ events: inout EventQueue) {
        guard let copy else { return events.append(.dataDone(operation, .failed)) }
        let slot = jobs.insert(DiskJob(.flush, operation))
        machine.ring.fdatasync(copy.files.data.descriptor, token: Token(.disk, slot: slot))
    }

    // MARK: Metadata

    package func writeSuperblock(_ superblock: Superblock, copy number: Int, _ events: inout EventQueue) {
        guard let copy else { return events.append(.superblockWritten(succeeded: false)) }
        let block = memory.superblock
        SuperblockCoding.encode(superblock, copy.layout, copy: number, into: block)
        beginBlock(DiskJob(.superblock), block, at: copy.layout.superblockOffset(copy: number))
    }

    package func writeLog(_ transaction: LogTransaction, _ events: inout EventQueue) {
        guard let copy else { return events.append(.logWritten(succeeded: false)) }
        let block = memory.log
        LogCoding.encodeWithEcho(transaction, into: block)
        beginBlock(DiskJob(.log), block, at: copy.layout.logOffset(number: transaction.number))
    }

    package func writePage(
        _ words: ArraySlice<UInt64>, of superblock: Superblock, toward node: NodeID, page: UInt32,
        _ events: inout EventQueue
    ) {
        guard let copy, let offset = copy.layout.bitmapPageOffset(of: node, page: page) else {
            return events.append(.bitmapPageWritten(node, page: page, succeeded: false))
        }
        touched?.insert(DiskMove.Page(node, page))
        guard let place = memory.takePage() else { preconditionFailure("the core writes at most 14 pages at once") }
        let block = memory.page(place)
        BitmapPage.encode(
            words, instance: superblock.instance, node: node, page: page, sequence: superblock.sequence, into: block)
        var job = DiskJob(.page)
        job.node = node
        job.page = page
        job.place = place
        beginBlock(job, block, at: offset)
    }

    private func beginBlock(_ job: DiskJob, _ block: UnsafeMutableRawBufferPointer, at offset: UInt64) {
        var job = job
        job.offset = offset
        job.count = block.count
        job.target = block.baseAddress
        submitTransfer(jobs.insert(job))
    }

    // MARK: Submissions

    private func submitTransfer(_ slot: Int) {
        guard dataFile >= 0, let target = jobs[slot].target else {
            preconditionFailure("a transfer has a disk and memory")
        }
        let job = jobs[slot]
        let token = Token(.disk, slot: slot)
        let count = job.count - job.done
        let offset = job.offset + UInt64(job.done)
        switch job.kind {
        case .read:
            machine.ring.read(dataFile, into: target + job.done, count: count, offset: offset, token: token)
        case .write:
            machine.ring.write(dataFile, from: target + job.done, count: count, offset: offset, token: token)
        default:
            machine.ring.write(
                metadataFile, from: target + job.done, count: count, offset: offset, durable: true, token: token)
        }
    }

    private func beginEdges(_ slot: Int, _ scratch: Int) {
        guard let copy else { preconditionFailure("edges are filled from a disk") }
        jobs[slot].place = scratch
        let exact = ByteRange(offset: jobs[slot].offset, length: UInt64(jobs[slot].count))
        let edges = DiskEdges(exact)
        for part in 0..<2 {
            guard let block = part == 0 ? edges.first : edges.last else { continue }
            jobs[slot].pending += 1
            machine.ring.read(
                copy.files.data.descriptor, into: memory.scratch(scratch, part: part), count: DiskMemory.block,
                offset: block * Geometry.blockSize, token: Token(.disk, slot: slot, serial: UInt32(part)))
        }
        precondition(jobs[slot].pending > 0, "edges are filled only where a block is covered in part")
    }

    /// The cheapest way that this disk has not refused yet; each leaves zeroes.
    private func submitZero(_ slot: Int) {
        guard let copy else { preconditionFailure("zeroes go to a disk") }
        let job = jobs[slot]
        let token = Token(.disk, slot: slot)
        let offset = job.offset + UInt64(job.done)
        let left = job.count - job.done
        if punches, job.trims || !zeroes {
            jobs[slot].attempt = .punch
            machine.ring.fallocate(
                copy.files.data.descriptor, .punchHole, offset: offset, length: UInt64(left), token: token)
        } else if zeroes {
            jobs[slot].attempt = .zeroRange
            machine.ring.fallocate(
                copy.files.data.descriptor, .zero, offset: offset, length: UInt64(left), token: token)
        } else {
            zeroesFast = false
            jobs[slot].attempt = .write
            machine.ring.write(
                copy.files.data.descriptor, from: memory.zeroes, count: min(left, DiskMemory.zeroBytes), offset: offset,
                token: token)
        }
    }

    // MARK: Completions

    package func complete(_ completion: Completion, into events: inout EventQueue) {
        let slot = completion.token.slot
        switch jobs[slot].kind {
        case .free: preconditionFailure("the disk answered what was not asked")
        case .flush: finish(slot, succeeded: completion.result >= 0, &events)
        case .edges: completeEdge(slot, part: Int(completion.token.serial), completion.result, &events)
        case .zero: completeZero(slot, completion.result, &events)
        case .read, .write:
            let isWhole = advance(slot, completion.result)
            guard let isWhole else { return submitTransfer(slot) }
            finish(slot, succeeded: isWhole, &events)
        case .superblock, .log, .page: completeMetadata(slot, completion.result, &events)
        }
    }

    private func completeMetadata(_ slot: Int, _ result: Int32, _ events: inout EventQueue) {
        if jobs[slot].isFlushing { return finish(slot, succeeded: result >= 0, &events) }
        let isWhole = advance(slot, result)
        guard let isWhole else { return submitTransfer(slot) }
        guard isWhole, let file = copy?.files.metadata, file.forgetsDurableWrites else {
            return finish(slot, succeeded: isWhole, &events)
        }
        jobs[slot].isFlushing = true
        machine.ring.fdatasync(file.descriptor, token: Token(.disk, slot: slot))
    }

    /// Nil: ask again for the rest.
    private func advance(_ slot: Int, _ result: Int32) -> Bool? {
        if completionIsTransient(result) { return nil }
        // O_DIRECT gives and takes whole sectors; a part of one is the end of the file, as is nothing.
        guard result > 0, result % 512 == 0 else { return false }
        jobs[slot].done += Int(result)
        return jobs[slot].done >= jobs[slot].count ? true : nil
    }

    private func completeEdge(_ slot: Int, part: Int, _ result: Int32, _ events: inout EventQueue) {
        if result != Int32(DiskMemory.block) { jobs[slot].hasFailed = true }
        jobs[slot].pending -= 1
        guard jobs[slot].pending == 0 else { return }
        let job = jobs[slot]
        if !job.hasFailed, let target = job.target {
            let exact = ByteRange(offset: job.offset, length: UInt64(job.count))
            DiskEdges(exact).merge(
                first: memory.scratch(job.place, part: 0), last: memory.scratch(job.place, part: 1), into: target)
        }
        finish(slot, succeeded: !job.hasFailed, &events)
        if let waiting = jobs.popFirst(of: &edgesWaiting) {
            beginEdges(waiting, job.place)
        } else {
            memory.giveScratch(job.place)
        }
    }

    private func completeZero(_ slot: Int, _ result: Int32, _ events: inout EventQueue) {
        let attempt = jobs[slot].attempt
        if attempt == .write {
            let isWhole = advance(slot, result)
            guard let isWhole else { return submitZero(slot) }
            return finish(slot, succeeded: isWhole, &events)
        }
        if completionIsTransient(result) { return submitZero(slot) }
        guard result < 0 else { return finish(slot, succeeded: true, &events) }
        guard completionIsRefusal(result) else { return finish(slot, succeeded: false, &events) }
        if attempt == .punch { punches = false } else { zeroes = false }
        submitZero(slot)
    }

    private func finish(_ slot: Int, succeeded: Bool, _ events: inout EventQueue) {
        let job = jobs[slot]
        jobs.remove(slot)
        switch job.kind {
        case .free: break
        case .read:
            let isZero =
                succeeded && job.detectsZeroes
                && isAllZero(UnsafeRawBufferPointer(start: job.target, count: job.count))
            events.append(.dataDone(job.operation, succeeded ? (isZero ? .zeroes : .succeeded) : .failed))
        case .write, .edges, .zero, .flush:
            events.append(.dataDone(job.operation, succeeded ? .succeeded : .failed))
        case .superblock: events.append(.superblockWritten(succeeded: succeeded))
        case .log: events.append(.logWritten(succeeded: succeeded))
        case .page:
            memory.givePage(job.place)
            events.append(.bitmapPageWritten(job.node, page: job.page, succeeded: succeeded))
        }
    }
}
