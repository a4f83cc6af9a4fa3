import Glibc
import LinuxIO
import Testing

/// Waits for one completion, at most five seconds.
func nextCompletion(_ ring: borrowing Ring) throws -> Completion {
    let deadline = monotonicNow() + 5_000_000_000
    while true {
        if let completion = ring.nextCompletion() { return completion }
        guard monotonicNow() < deadline else { throw SystemError("see a completion", code: ETIMEDOUT) }
        ring.submitAndWait(until: deadline)
    }
}

/// Waits for the completion that bears `token`; others are dropped.
func completion(of token: Token, _ ring: borrowing Ring) throws -> Completion {
    while true {
        let completion = try nextCompletion(ring)
        if completion.token == token { return completion }
    }
}

@Suite struct RingTests {
    /// The best that there is, and what does without io_uring.
    static let kinds = [Ring.Mode.allCases, [.epoll]]

    @Test func `a token keeps its three parts`() {
        let token = Token(kind: 254, slot: 0x3FFE, serial: 0xDEAD_BEEF)
        #expect(token.kind == 254)
        #expect(token.slot == 0x3FFE)
        #expect(token.owner == 0 && token.asMade == token)
        #expect(token.serial == 0xDEAD_BEEF)
        #expect(Token(rawValue: token.rawValue) == token)
        #expect(token != Token.unheard)
    }

    @Test(arguments: Self.kinds)
    func `what views of a ring ask for completes at its maker with the owner named, and is called off by it alone`(
        modes: [Ring.Mode]
    )
        throws
    {
        let ring = try Ring(entries: 8, modes: modes)
        let one = Ring(sharing: ring, owner: 1)
        let other = Ring(sharing: ring, owner: 1023)
        var ends: [Int32] = [0, 0]
        #expect(pipe(&ends) == 0)
        defer { ends.forEach { close($0) } }
        let token = Token(kind: 3, slot: 5, serial: 7)
        for view in 0..<2 {
            if view == 0 { one.poll(ends[0], events: Int16(POLLIN), token: token) }
            if view == 1 { other.poll(ends[0], events: Int16(POLLIN), token: token) }
        }
        one.cancel(token)
        let first = try nextCompletion(ring)
        #expect(first.token.owner == 1 && first.token.asMade == token && first.error == ECANCELED)
        #expect(write(ends[1], "x", 1) == 1)
        let second = try nextCompletion(ring)
        #expect(second.token.owner == 1023 && second.token.asMade == token && second.error == nil)
    }

    @Test(arguments: Ring.Mode.allCases)
    func `what is written durably is read back in every mode of the ring`(mode: Ring.Mode) throws {
        let folder = TemporaryFolder()
        let file = try BlockFile.create(folder.file("disk"), size: 1 << 20)
        let ring = try Ring(entries: 8, modes: [mode])
        let pool = BufferPool()
        let (source, target) = (pool.take(bytes: 65536)!, pool.take(bytes: 65536)!)
        for place in 0..<65536 {
            pool.pointer(source).storeBytes(
                of: UInt8(truncatingIfNeeded: place * 7), toByteOffset: place, as: UInt8.self)
        }
        let (write, sync, read) = (Token(kind: 1, slot: 0), Token(kind: 2, slot: 0), Token(kind: 3, slot: 0))
        ring.write(
            file.descriptor, from: pool.pointer(source), count: 65536, offset: 131072, durable: true, token: write)
        #expect(try completion(of: write, ring).result == 65536)
        ring.fdatasync(file.descriptor, token: sync)
        #expect(try completion(of: sync, ring).result == 0)
        ring.read(file.descriptor, into: pool.pointer(target), count: 65536, offset: 131072, token: read)
        #expect(try completion(of: read, ring).result == 65536)
        #expect(memcmp(pool.pointer(source), pool.pointer(target), 65536) == 0)
        #expect(file.isDirect, "\(file.notDirectBecause ?? "")")
    }

    @Test(arguments: Self.kinds) func `a punched hole reads as zeroes and the size stays`(modes: [Ring.Mode]) throws {
        let folder = TemporaryFolder()
        let file = try BlockFile.create(folder.file("disk"), size: 1 << 20)
        let ring = try Ring(entries: 8, modes: modes)
        let memory = PageMemory(count: 8192)
        memory.bytes.initializeMemory(as: UInt8.self, repeating: 9)
        try file.write(UnsafeRawBufferPointer(memory.bytes), at: 0)
        for (slot, mode) in [AllocationMode.reserve, .punchHole, .zero].enumerated() {
            let token = Token(kind: 1, slot: slot)
            ring.fallocate(file.descriptor, mode, offset: 4096 * UInt64(slot == 2 ? 1 : 0), length: 4096, token: token)
            #expect(try completion(of: token, ring).result == 0, "\(mode)")
        }
        try file.read(memory.bytes, at: 0)
        #expect(memory.bytes.allSatisfy { $0 == 0 })
        #expect(try file.refreshSize() == 1 << 20)
    }

    @Test(arguments: Self.kinds) func `a deadline ends the wait, and a past one only looks`(modes: [Ring.Mode]) throws {
        let ring = try Ring(entries: 8, modes: modes)
        let start = monotonicNow()
        ring.submitAndWait(until: start + 30_000_000)
        let waited = monotonicNow() - start
        #expect(waited >= 29_000_000 && waited < 2_000_000_000)
        #expect(ring.nextCompletion() == nil)
        let second = monotonicNow()
        ring.submitAndWait(until: second - 1)
        ring.submitAndWait(until: 0)
        #expect(monotonicNow() - second < 1_000_000_000)
    }

    @Test(arguments: Self.kinds) func `a full submission queue submits by itself`(modes: [Ring.Mode]) throws {
        let ring = try Ring(entries: 4, modes: modes)
        let wake = try WakeUp()
        for slot in 0..<100 { ring.poll(wake.descriptor, events: Int16(POLLOUT), token: Token(kind: 1, slot: slot)) }
        var seen = Set<Int>()
        while seen.count < 100 { seen.insert(try nextCompletion(ring).token.slot) }
        #expect(seen == Set(0..<100))
        #expect(ring.statistics.earlySubmissions >= 20)
    }

    @Test(arguments: Self.kinds)
    func `receives go last, however many they are, and none is lost or passed by its own cancel`(modes: [Ring.Mode])
        throws
    {
        let ring = try Ring(entries: 4, modes: modes)
        var ends: [Int32] = [0, 0]
        #expect(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0)
        defer { ends.forEach { close($0) } }
        let memory = PageMemory(count: 4096)
        // What is sent in a turn is there for its receives, though those were asked for first.
        for slot in 0..<200 {
            ring.receive(ends[1], into: memory.start + slot, count: 1, token: Token(kind: 1, slot: slot))
        }
        ring.send(ends[0], from: memory.start + 1024, count: 200, token: Token(kind: 2, slot: 0))
        var seen = Set<Int>()
        while seen.count < 200 {
            let completion = try nextCompletion(ring)
            guard completion.token.kind == 1 else { continue }
            #expect(completion.result == 1)
            seen.insert(completion.token.slot)
        }
        let token = Token(kind: 3, slot: 1)
        for isEmpty in [false, true] {
            ring.receive(ends[1], into: memory.start, count: 1, isEmpty: isEmpty, token: token)
            ring.cancel(token)
            #expect(try completion(of: token, ring).error == ECANCELED)
        }
        ring.receive(ends[1], into: memory.start, count: 1, isEmpty: true, token: token)
        ring.submitAndWait(until: 0)
        #expect(ring.nextCompletion() == nil)
        memory.bytes[1024] = 77
        #expect(send(ends[0], memory.start + 1024, 1, 0) == 1)
        #expect(try completion(of: token, ring).result == 1 && memory.bytes[0] == 77)
        // It was there before it was said that it is not.
        #expect(send(ends[0], memory.start + 1024, 1, 0) == 1)
        ring.receive(ends[1], into: memory.start, count: 1, isEmpty: true, token: token)
        #expect(try completion(of: token, ring).result == 1)
    }

    @Test(arguments: Self.kinds) func `a cancelled operation says so, and the cancel says nothing`(modes: [Ring.Mode])
        throws
    {
        let ring = try Ring(entries: 8, modes: modes)
        let wake = try WakeUp()
        let token = Token(kind: 1, slot: 7, serial: 3)
        ring.await(wake, token: token)
        ring.submitAndWait(until: 0)
        ring.cancel(token)
        let completion = try nextCompletion(ring)
        #expect(completion.token == token)
        #expect(completion.error == ECANCELED)
        ring.submitAndWait(until: monotonicNow() + 10_000_000)
        #expect(ring.nextCompletion() == nil)
    }

    @Test(arguments: Self.kinds) func `another thread wakes the ring`(modes: [Ring.Mode]) throws {
        let ring = try Ring(entries: 8, modes: modes)
        let thread = try SideThread<Int>()
        let token = Token(kind: 1, slot: 0)
        ring.await(thread.wakeUp, token: token)
        thread.submit(41) { 1 + 1 }
        #expect(try completion(of: token, ring).result == 8)
        let reply = try #require(thread.nextReply())
        #expect(reply.number == 41 && reply.answer == 2)
        #expect(thread.nextReply() == nil)
    }

    @Test func `signals come as completions`() async {
        await #expect(processExitsWith: .success) {
            let signals = try Signals()
            let ring = try Ring(entries: 8)
            for (number, expected) in [(SIGTERM, Signals.Signal.terminate), (SIGHUP, .hangUp), (SIGINT, .interrupt)] {
                signals.await(ring, token: Token(kind: 1, slot: 0))
                pthread_kill(pthread_self(), number)
                ring.submitAndWait(until: nil)
                guard let completion = ring.nextCompletion(), signals.signal(from: completion) == expected else {
                    exit(1)
                }
            }
            exit(0)
        }
    }
}
