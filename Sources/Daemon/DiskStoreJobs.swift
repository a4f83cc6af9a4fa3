import Glibc
import LinuxIO
import Model
import ReplicationCore

/// One thing asked of the disk.
struct DiskJob {
    enum Kind: UInt8 { case free, read, write, edges, zero, flush, superblock, log, page }
    enum Attempt: UInt8 { case punch, zeroRange, write }

    var kind: Kind
    var operation: OperationID
    var detectsZeroes = false
    var trims = false
    var attempt = Attempt.write
    var hasFailed = false
    /// All is written, and only a flush makes it durable.
    var isFlushing = false
    /// Parts of an edge job that are out.
    var pending: Int32 = 0
    /// Of scratch memory, or of a page's block.
    var place = 0
    var node = NodeID(unchecked: 0)
    var page: UInt32 = 0
    var target: UnsafeMutableRawPointer?
    var offset: UInt64 = 0
    var count = 0
    var done = 0
    /// The next free slot, or the next job that waits for the same thing.
    var next: Int32 = -1

    init(_ kind: Kind, _ operation: OperationID = OperationID(rawValue: 0)) {
        self.kind = kind
        self.operation = operation
    }
}

/// Jobs that wait, in order, linked through their slots.
struct DiskJobList {
    fileprivate var first: Int32 = -1
    fileprivate var last: Int32 = -1
}

/// All jobs in fixed slots; a slot's number is its token's.
struct DiskJobTable: ~Copyable {
    private let slots: UnsafeMutableBufferPointer<DiskJob>
    private var firstFree: Int32 = 0

    init(capacity: Int) {
        slots = .allocate(capacity: capacity)
        slots.initialize(repeating: DiskJob(.free))
        for slot in 0..<capacity { slots[slot].next = slot + 1 < capacity ? Int32(slot + 1) : -1 }
    }

    deinit { slots.deallocate() }

    subscript(slot: Int) -> DiskJob {
        get { slots[slot] }
        nonmutating _modify { yield &slots[slot] }
    }

    func forEach(_ body: (DiskJob) -> Void) {
        for job in slots where job.kind != .free { body(job) }
    }

    mutating func insert(_ job: DiskJob) -> Int {
        precondition(firstFree >= 0, "the core has more at the disk than its limits say")
        let slot = Int(firstFree)
        firstFree = slots[slot].next
        slots[slot] = job
        return slot
    }

    mutating func remove(_ slot: Int) {
        precondition(slots[slot].kind != .free, "a job ends once")
        slots[slot].kind = .free
        slots[slot].next = firstFree
        firstFree = Int32(slot)
    }

    func append(_ slot: Int, to list: inout DiskJobList) {
        slots[slot].next = -1
        if list.last >= 0 { slots[Int(list.last)].next = Int32(slot) } else { list.first = Int32(slot) }
        list.last = Int32(slot)
    }

    func popFirst(of list: inout DiskJobList) -> Int? {
        guard list.first >= 0 else { return nil }
        let slot = Int(list.first)
        list.first = slots[slot].next
        if list.first < 0 { list.last = -1 }
        return slot
    }
}

/// The disk's own memory, beside the pool: blocks of metadata on their way, blocks read beside a buffer, and zeroes.
final class DiskMemory {
    static let block = 4096
    static let zeroBytes = 1 << 20
    private static let pageBlocks = 14
    private static let scratchPairs = 32

    private let blocks = PageMemory(count: (3 + pageBlocks + 2 * scratchPairs) * block)
    // Never written, so all of it is the kernel's one page of zeroes.
    private let zeroMemory = PageMemory(count: zeroBytes)
    private var freePages = Array(0..<pageBlocks)
    private var freeScratch = Array(0..<scratchPairs)

    var superblock: UnsafeMutableRawBufferPointer { at(0) }
    var log: UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(start: at(1).baseAddress, count: 2 * Self.block)
    }
    var zeroes: UnsafeRawPointer { UnsafeRawPointer(zeroMemory.start) }

    func page(_ place: Int) -> UnsafeMutableRawBufferPointer { at(3 + place) }
    func takePage() -> Int? { freePages.popLast() }
    func givePage(_ place: Int) { freePages.append(place) }

    func scratch(_ place: Int, part: Int) -> UnsafeMutableRawPointer {
        blocks.start + (3 + Self.pageBlocks + 2 * place + part) * Self.block
    }
    func takeScratch() -> Int? { freeScratch.popLast() }
    func giveScratch(_ place: Int) { freeScratch.append(place) }

    private func at(_ number: Int) -> UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(start: blocks.start + number * Self.block, count: Self.block)
    }
}

/// The blocks that a range covers only in part: none, one or two.
struct DiskEdges {
    let exact: ByteRange
    /// The range begins inside it (and may end inside it too).
    let first: UInt64?
    /// The range ends inside it, and it is not `first`.
    let last: UInt64?

    init(_ exact: ByteRange) {
        self.exact = exact
        let head = exact.offset / Geometry.blockSize
        let tail = exact.end / Geometry.blockSize
        first = exact.offset % Geometry.blockSize == 0 ? nil : head
        last = exact.end % Geometry.blockSize == 0 || first == tail ? nil : tail
    }

    /// Copies what lies outside `exact` from the blocks that were read into `target`, which stands for the range
    /// widened to whole blocks.
    func merge(first head: UnsafeRawPointer, last tail: UnsafeRawPointer, into target: UnsafeMutableRawPointer) {
        let block = Int(Geometry.blockSize)
        let before = Int(exact.offset % Geometry.blockSize)
        let inLast = Int(exact.end % Geometry.blockSize)
        if first != nil {
            target.copyMemory(from: head, byteCount: before)
            if first == exact.end / Geometry.blockSize {
                (target + inLast).copyMemory(from: head + inLast, byteCount: block - inLast)
            }
        }
        if last != nil {
            let start = Int(exact.widenedToBlocks.length) - block
            (target + start + inLast).copyMemory(from: tail + inLast, byteCount: block - inLast)
        }
    }

    /// The same from a peer's answer: `source` holds the whole blocks of `covering`.
    func merge(from source: UnsafeRawPointer, covering: ByteRange, into target: UnsafeMutableRawPointer) {
        let whole = exact.widenedToBlocks
        func copy(_ from: UInt64, _ to: UInt64) {
            let start = max(from, covering.offset)
            let end = min(to, covering.end)
            guard start < end else { return }
            (target + Int(start - whole.offset)).copyMemory(
                from: source + Int(start - covering.offset), byteCount: Int(end - start))
        }
        copy(whole.offset, exact.offset)
        copy(exact.end, whole.end)
    }
}

/// The kernel asks to be asked again.
func completionIsTransient(_ result: Int32) -> Bool { result == -EINTR || result == -EAGAIN }

/// This file system or device does not know the operation, whatever it calls that.
func completionIsRefusal(_ result: Int32) -> Bool {
    switch -result {
    case EOPNOTSUPP, ENOSYS, EINVAL, ENODEV, EPERM: true
    default: false
    }
}
