package import Formats
package import LinuxIO
package import Model
import Synchronization

/// What a move needs of a file.
package protocol MovableFile: AnyObject {
    var isBlockDevice: Bool { get }
    var size: UInt64 { get }
    @discardableResult func refreshSize() throws(BlockFileError) -> UInt64
    func truncate(to bytes: UInt64) throws(BlockFileError)
    func preallocate(offset: UInt64, length: UInt64) throws(BlockFileError)
    func read(_ bytes: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(BlockFileError)
    func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(BlockFileError)
    func append(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(BlockFileError)
    func fdatasync() throws(BlockFileError)
    func close()
}

extension BlockFile: MovableFile {}

/// What came of it.
package struct DiskMoved: Equatable, Sendable {
    package var outcome: GrowOutcome
    /// Why not.
    package var words = ""
    /// The new place is the one that is found.
    package var isNew = false
}

/// All that the thread needs. The files are its own (`BlockFile.reopened`), and are closed when it is done.
package struct DiskMoving: @unchecked Sendable {
    let move: DiskMove
    /// The same object twice when the metadata lie behind the data.
    let data: any MovableFile
    let metadata: any MovableFile
    let superblock: Superblock
    package var steps: [DiskMove.Step]
    /// A file of its own for the data becomes as long as that first.
    package var dataSize: UInt64?
    /// As much time is left to others as each step took.
    var isPaced = false
    /// What it made longer is given back when it fails.
    package var extends = false
    private var leavesOff: LeaveOff?

    package init(
        _ move: DiskMove, data: any MovableFile, metadata: any MovableFile, _ superblock: Superblock,
        _ steps: [DiskMove.Step]
    ) {
        self.move = move
        self.data = data
        self.metadata = metadata
        self.superblock = superblock
        self.steps = steps
    }

    /// Nil: the files cannot be opened once more.
    init?(_ move: DiskMove, _ files: CopyFiles, _ superblock: Superblock, _ steps: [DiskMove.Step]) {
        guard let metadata = files.metadata.reopened() else { return nil }
        let data = files.data === files.metadata ? metadata : files.data.reopened()
        guard let data else {
            metadata.close()
            return nil
        }
        self.init(move, data: data, metadata: metadata, superblock, steps)
    }

    func leavingOff(by sign: LeaveOff) -> DiskMoving {
        var work = self
        work.leavesOff = sign
        work.isPaced = true
        return work
    }

    private enum Failure: Error {
        case leftOff
        /// All is as it was, so far.
        case step(BlockFileError)
        /// The kernel tells of a lost write once: whoever asks next hears that all is well.
        case flush(BlockFileError)
    }

    package func perform() -> DiskMoved {
        defer {
            data.close()
            metadata.close()
        }
        var former = UInt64.max
        var hasBegun = false
        // All lies at the new place, too, and superblocks there were begun.
        var isWhole = false
        var end = move.end
        // What marks tell of behind the new place's end.
        var told = move.from
        do throws(Failure) {
            former = try plain { () throws(BlockFileError) in try metadata.refreshSize() }
            try extendData()
            for step in steps {
                if leavesOff?.isWanted == true { throw .leftOff }
                hasBegun = hasBegun || move.endsFormer(step)
                if case .superblock = step { isWhole = true }
                let began = monotonicNow()
                try perform(step)
                if isPaced { pause(for: monotonicNow() &- began) }
                if isWhole, step == .flush, told != move.to, !move.isBeside {
                    // The first superblock, which either place has in common, is next, and one of the new is stable.
                    try markEnd(&end, of: move.to, isSure: end > move.to.deviceEnd)
                    told = move.to
                } else {
                    // Beside the new place the former one holds until all is done: nobody writes to either meanwhile.
                    try markEnd(&end, of: told)
                }
            }
            if isWhole, told != move.to { try markEnd(&end, of: move.to, isSure: end > move.to.deviceEnd) }
            return DiskMoved(outcome: .done, isNew: true)
        } catch {
            // Where it is looked for.
            let isNew = isWhole && (told == move.to || end <= move.to.deviceEnd)
            switch error {
            case .flush(let failure):
                return DiskMoved(outcome: .failed, words: failure.description, isNew: isNew)
            case .step(let failure) where hasBegun:
                return DiskMoved(outcome: .failed, words: failure.description, isNew: isNew)
            case .step, .leftOff: break
            }
            if !metadata.isBlockDevice, metadata.size > former, extends {
                // Else it is found by its mark.
                try? metadata.truncate(to: former)
            }
            var words = "it is not wanted any more"
            if case .step(let failure) = error { words = failure.description }
            return DiskMoved(outcome: .unchanged, words: words)
        }
    }

    private func pause(for nanoseconds: UInt64) {
        guard nanoseconds > 2_000_000 else { return }
        sleepBriefly(nanoseconds: min(nanoseconds, 1_000_000_000))
    }

    private func plain<Result>(_ body: () throws(BlockFileError) -> Result) throws(Failure) -> Result {
        do throws(BlockFileError) { return try body() } catch { throw .step(error) }
    }

    private func flush(_ file: any MovableFile) throws(Failure) {
        do throws(BlockFileError) { try file.fdatasync() } catch { throw .flush(error) }
    }

    private func extendData() throws(Failure) {
        guard let dataSize, data !== metadata, !data.isBlockDevice else { return }
        try plain { () throws(BlockFileError) in
            if try data.refreshSize() < dataSize { try data.truncate(to: dataSize) }
        }
        try flush(data)
    }

    /// Somebody made the device larger once more, and nobody else looks at it meanwhile.
    /// - Parameter isSure: there are marks already, of another place.
    private func markEnd(_ end: inout UInt64, of layout: DiskLayout, isSure: Bool = false) throws(Failure) {
        let present = try plain { () throws(BlockFileError) in try metadata.refreshSize() }
        guard present > end || isSure else { return }
        end = max(end, present)
        let known = DiskMove(from: layout, to: layout, size: superblock.size, deviceSize: end)
        for step in known.marks {
            if case .mark(let offset) = step {
                try plain { () throws(BlockFileError) in try mark(offset, layout) }
            } else {
                try flush(metadata)
            }
        }
    }

    private func mark(_ offset: UInt64, _ layout: DiskLayout) throws(BlockFileError) {
        let memory = PageMemory(count: Self.block)
        MovedMark(instance: superblock.instance, formerEnd: layout.deviceEnd).encode(
            offset: offset, into: UnsafeMutableRawBufferPointer(rebasing: memory.bytes[..<Self.block]))
        try metadata.append(first(memory), at: offset)
    }

    private func perform(_ step: DiskMove.Step) throws(Failure) {
        if step == .flush { return try flush(metadata) }
        try plain { () throws(BlockFileError) in try write(step) }
    }

    private func write(_ step: DiskMove.Step) throws(BlockFileError) {
        switch step {
        case .mark(let offset): try mark(offset, move.from)
        case .reserve(let range):
            try metadata.preallocate(offset: range.lowerBound, length: range.upperBound - range.lowerBound)
        case .copy(let from, let to, let count): try copy(from, to, count)
        case .clean(let node, let pages): try clean(node, pages)
        case .superblock(let copy):
            let memory = PageMemory(count: Self.block)
            SuperblockCoding.encode(
                superblock, move.to, copy: copy,
                into: UnsafeMutableRawBufferPointer(rebasing: memory.bytes[..<Self.block]))
            try metadata.write(first(memory), at: move.to.superblockOffset(copy: copy))
        case .flush: break
        }
    }

    private func first(_ memory: borrowing PageMemory) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(memory.bytes)[..<Self.block])
    }

    private func copy(_ from: UInt64, _ to: UInt64, _ count: UInt64) throws(BlockFileError) {
        let most = UInt64(1 << 20)
        let memory = PageMemory(count: Int(min(count, most)))
        var done: UInt64 = 0
        while done < count {
            let length = Int(min(count - done, most))
            let bytes = UnsafeMutableRawBufferPointer(rebasing: memory.bytes[..<length])
            try metadata.read(bytes, at: from + done)
            try metadata.write(UnsafeRawBufferPointer(bytes), at: to + done)
            done += UInt64(length)
        }
    }

    private func clean(_ node: NodeID, _ pages: Range<UInt32>) throws(BlockFileError) {
        guard let offset = move.to.bitmapPageOffset(of: node, page: pages.lowerBound) else { return }
        let memory = PageMemory(count: pages.count * Self.block)
        for (index, page) in pages.enumerated() {
            let start = index * Self.block
            BitmapPage.encode(
                [], instance: superblock.instance, node: node, page: page, sequence: superblock.sequence,
                into: UnsafeMutableRawBufferPointer(rebasing: memory.bytes[start..<start + Self.block]))
        }
        let length = pages.count * Self.block
        try metadata.write(
            UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(memory.bytes)[..<length]), at: offset)
    }

    private static let block = Int(DiskLayout.blockSize)
}
