import LinuxIO
import Testing

@Suite struct BufferPoolTests {
    static let small = [BufferPool.SizeClass(bytes: 8192, count: 2), BufferPool.SizeClass(bytes: 65536, count: 1)]

    @Test func `the smallest class that fits is lent, then a larger one, then none`() {
        let pool = BufferPool(classes: Self.small)
        let taken = [pool.take(bytes: 1), pool.take(bytes: 8192), pool.take(bytes: 4096)].compactMap { $0 }
        #expect(taken.map { pool.capacity($0) } == [8192, 8192, 65536])
        #expect(Set(taken).count == 3)
        #expect(pool.take(bytes: 1) == nil)
        #expect(pool.inUse == 3)
        #expect(pool.statistics[0].shortages == 2)
        pool.release(taken[2])
        #expect(pool.take(bytes: 65536) == taken[2])
    }

    @Test func `a request above a class goes to the next`() {
        let pool = BufferPool(classes: Self.small)
        let index = pool.take(bytes: 8193)!
        #expect(pool.capacity(index) == 65536)
    }

    @Test func `a buffer returns with its last holder`() {
        let pool = BufferPool(classes: Self.small)
        let index = pool.take(bytes: 100)!
        pool.retain(index)
        #expect(pool.release(index) == false)
        #expect(pool.references(index) == 1)
        #expect(pool.release(index) == true)
        #expect(pool.inUse == 0)
        #expect(pool.take(bytes: 100) == index, "the warm one comes first")
    }

    @Test func `buffers begin on pages and do not overlap`() {
        let pool = BufferPool()
        var ends: [(UInt, UInt)] = []
        for bytes in [8192, 65536, 1 << 20] {
            while let index = pool.take(bytes: bytes), pool.capacity(index) == bytes {
                let start = UInt(bitPattern: pool.pointer(index))
                #expect(start % 4096 == 0)
                ends.append((start, start + UInt(bytes)))
                pool.pointer(index).storeBytes(of: UInt8(1), as: UInt8.self)
            }
            // One was taken from the class above; that class is counted from what is left.
        }
        ends.sort { $0.0 < $1.0 }
        #expect(zip(ends, ends.dropFirst()).allSatisfy { $0.1 <= $1.0 })
        #expect(ends.count >= 256 + 95 + 19)
    }

    @Test func `only touched pages are resident`() throws {
        let before = try #require(ProcessControls.residentBytes())
        let pool = BufferPool(classes: [BufferPool.SizeClass(bytes: 1 << 20, count: 1024)])
        let index = pool.take(bytes: 1 << 20)!
        pool.pointer(index).storeBytes(of: 7, as: UInt8.self)
        let after = try #require(ProcessControls.residentBytes())
        // Other tests run beside this one; a gigabyte would show.
        #expect(Int64(after) - Int64(before) < 256 << 20)
    }

    @Test func `releasing twice is caught`() async {
        await #expect(processExitsWith: .failure) {
            let pool = BufferPool(classes: [BufferPool.SizeClass(bytes: 8192, count: 2)])
            let index = pool.take(bytes: 1)!
            pool.release(index)
            pool.release(index)
        }
    }

    @Test func `asking for more than the largest is caught, because waiting for it would never end`() async {
        await #expect(processExitsWith: .failure) {
            let pool = BufferPool(classes: [BufferPool.SizeClass(bytes: 8192, count: 2)])
            _ = pool.take(bytes: 8193)
        }
    }
}
