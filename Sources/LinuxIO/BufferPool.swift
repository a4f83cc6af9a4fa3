/// The memory of all payloads of a volume: taken once, lent by number, given back when nobody holds it.
///
/// Each buffer begins on a page boundary and holds a reference count: a write is held by its disk write and by one send
/// for each peer. Nothing here allocates after `init`, and all of it is constant time. One thread.
package struct BufferPool: ~Copyable {
    /// `count` buffers of `bytes` each (a multiple of the page size).
    package struct SizeClass: Sendable, Equatable {
        package let bytes: Int
        package let count: Int

        package init(bytes: Int, count: Int) {
            self.bytes = bytes
            self.count = count
        }
    }

    /// What became of one size class.
    package struct Statistics: Sendable, Equatable {
        package fileprivate(set) var bytes: Int
        package fileprivate(set) var count: Int
        package fileprivate(set) var inUse = 0
        package fileprivate(set) var mostInUse = 0
        package fileprivate(set) var takes: UInt64 = 0
        /// Times that a request for this class found it empty, whether or not a larger one helped out.
        package fileprivate(set) var shortages: UInt64 = 0
    }

    private struct Buffer {
        var pointer: UnsafeMutableRawPointer
        var capacity: Int
        var sizeClass: Int32
        var references: Int32
    }

    private struct FreeStack {
        var statistics: Statistics
        // A stack, not a queue: the buffer given back last is the one whose pages are resident and in the cache.
        var first: Int
        var count: Int
    }

    /// 28 MiB of address space: 256 × 8 KiB, 96 × 64 KiB, 20 × 1 MiB.
    package static let defaultClasses = [
        SizeClass(bytes: 8 << 10, count: 256), SizeClass(bytes: 64 << 10, count: 96),
        SizeClass(bytes: 1 << 20, count: 20),
    ]

    private let memory: PageMemory
    private let buffers: UnsafeMutablePointer<Buffer>
    private let free: UnsafeMutablePointer<Int32>
    private let stacks: UnsafeMutablePointer<FreeStack>
    private let classCount: Int
    /// How many buffers there are; their numbers are 0 up to this.
    package let count: Int
    /// Bytes of the largest buffer.
    package let largest: Int

    package init(classes: [SizeClass] = defaultClasses) {
        let classes = classes.sorted { $0.bytes < $1.bytes }
        precondition(!classes.isEmpty && classes.count <= 8, "a pool has 1…8 size classes")
        precondition(classes.allSatisfy { $0.bytes > 0 && $0.bytes % 4096 == 0 && $0.count > 0 }, "whole pages, please")
        count = classes.reduce(0) { $0 + $1.count }
        largest = classes[classes.count - 1].bytes
        classCount = classes.count
        memory = PageMemory(count: classes.reduce(0) { $0 + $1.bytes * $1.count })
        buffers = .allocate(capacity: count)
        free = .allocate(capacity: count)
        stacks = .allocate(capacity: classCount)
        var next = 0
        var pointer = memory.start
        for (number, size) in classes.enumerated() {
            let statistics = Statistics(bytes: size.bytes, count: size.count)
            (stacks + number).initialize(to: FreeStack(statistics: statistics, first: next, count: size.count))
            for place in 0..<size.count {
                let buffer = Buffer(pointer: pointer, capacity: size.bytes, sizeClass: Int32(number), references: 0)
                (buffers + next).initialize(to: buffer)
                (free + next).initialize(to: Int32(next - place + (size.count - 1 - place)))
                next += 1
                pointer += size.bytes
            }
        }
    }

    deinit {
        buffers.deallocate()
        free.deallocate()
        stacks.deallocate()
    }

    /// Lends a buffer of at least `bytes`, with one reference, from the smallest class that has one.
    ///
    /// - Parameter bytes: 1…`largest`.
    /// - Returns: nil when all that would fit are lent: wait for a release.
    package func take(bytes: Int) -> Int32? {
        precondition(bytes > 0 && bytes <= largest, "no buffer is as large as asked: cut the request first")
        var wasShort = false
        for number in 0..<classCount where stacks[number].statistics.bytes >= bytes {
            guard stacks[number].count > 0 else {
                if !wasShort { stacks[number].statistics.shortages += 1 }
                wasShort = true
                continue
            }
            stacks[number].count -= 1
            stacks[number].statistics.takes += 1
            let inUse = stacks[number].statistics.count - stacks[number].count
            stacks[number].statistics.inUse = inUse
            stacks[number].statistics.mostInUse = max(inUse, stacks[number].statistics.mostInUse)
            let index = free[stacks[number].first + stacks[number].count]
            buffers[Int(index)].references = 1
            return index
        }
        return nil
    }

    /// One more holder of a lent buffer.
    package func retain(_ index: Int32) {
        checkLent(index)
        buffers[Int(index)].references += 1
    }

    /// One holder less; the last one gives the buffer back.
    /// - Returns: whether it was the last.
    @discardableResult
    package func release(_ index: Int32) -> Bool {
        checkLent(index)
        buffers[Int(index)].references -= 1
        guard buffers[Int(index)].references == 0 else { return false }
        let number = Int(buffers[Int(index)].sizeClass)
        free[stacks[number].first + stacks[number].count] = index
        stacks[number].count += 1
        stacks[number].statistics.inUse -= 1
        return true
    }

    /// The memory of a lent buffer; valid while the pool lives and the buffer is held.
    package func pointer(_ index: Int32) -> UnsafeMutableRawPointer {
        checkLent(index)
        return buffers[Int(index)].pointer
    }

    /// Bytes of a buffer; at least what was asked for.
    package func capacity(_ index: Int32) -> Int {
        precondition(index >= 0 && index < count, "there is no such buffer")
        return buffers[Int(index)].capacity
    }

    /// Holders of a buffer; 0 when it is free.
    package func references(_ index: Int32) -> Int {
        precondition(index >= 0 && index < count, "there is no such buffer")
        return Int(buffers[Int(index)].references)
    }

    /// Lent buffers of all classes.
    package var inUse: Int {
        var sum = 0
        for number in 0..<classCount { sum += stacks[number].statistics.inUse }
        return sum
    }

    /// One entry for each size class, smallest first. Allocates: not for the hot path.
    package var statistics: [Statistics] { (0..<classCount).map { stacks[$0].statistics } }

    private func checkLent(_ index: Int32) {
        precondition(index >= 0 && index < count, "there is no such buffer")
        precondition(
            buffers[Int(index)].references > 0, "the buffer is not lent: released twice, or used after release")
    }
}
