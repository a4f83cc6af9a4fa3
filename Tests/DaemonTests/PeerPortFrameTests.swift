import Daemon
import Formats
import Glibc
import LinuxIO
import Model
import Testing

@Suite struct PeerPortFrameTests {
    /// A buffer of the node's pool that holds `count` bytes of a pattern of its own.
    private func buffer(_ node: PeerPortPair.Node, _ count: Int, _ seed: Int) throws -> BufferID {
        let taken = node.machine.pool.take(bytes: count)
        let index = try #require(taken)
        let bytes = UnsafeMutableRawBufferPointer(start: node.machine.pool.pointer(index), count: count)
        for place in 0..<count { bytes[place] = Self.pattern(seed, place) }
        return BufferID(index: index)
    }

    private static func pattern(_ seed: Int, _ place: Int) -> UInt8 {
        UInt8(truncatingIfNeeded: (place &* 31 ^ place >> 8) &+ seed &* 17)
    }

    private func holds(_ node: PeerPortPair.Node, _ buffer: BufferID, _ count: Int, _ seed: Int) -> Bool {
        let bytes = UnsafeRawBufferPointer(start: node.machine.pool.pointer(buffer.index), count: count)
        return (0..<count).allSatisfy { bytes[$0] == Self.pattern(seed, $0) }
    }

    private func write(_ sequence: Int, _ count: Int, _ buffer: BufferID) -> PeerMessage {
        .write(sequence: UInt64(sequence), range: ByteRange(offset: 0, length: UInt64(count)), buffer: buffer)
    }

    @Test func `A confirm travels with the next frame, before it, or alone after a while`() throws {
        var options = PeerPortPair.Options()
        options.limits.confirmDelay = 300_000_000
        let pair = try PeerPortPair(options)
        try pair.connect()
        let confirm = PeerMessage.confirm(sequence: 7, mark: .none, settled: true)
        let began = monotonicNow()
        pair.alpha.send(confirm)
        pair.turn(milliseconds: 50)
        // A machine that stood still proves nothing.
        if monotonicNow() - began < options.limits.confirmDelay { #expect(pair.bravo.messages.isEmpty) }
        pair.alpha.send(.ping(1))
        #expect(pair.until { pair.bravo.messages.count == 2 })
        #expect(pair.bravo.messages.map(\.message) == [confirm, .ping(1)])
        pair.alpha.send(confirm)
        #expect(pair.until { pair.bravo.messages.count == 3 })
        // Behind what waits already it leaves with that.
        pair.alpha.send(.ping(2))
        pair.alpha.send(confirm)
        #expect(pair.until { pair.bravo.messages.count == 5 })
        pair.alpha.send(confirm)
        pair.alpha.port.stop()
        #expect(pair.until { pair.bravo.messages.count == 6 }, "what was queued leaves before the end")
    }

    private static let sizes = [4096, 8192, 12288, 16384, 65536, 69632, 262_144, 1 << 20, 4096, 1 << 20]

    @Test(arguments: [nil, 16384, 65536])
    func `Frames of all sizes arrive whole and in order, both ways at once`(_ socketBuffers: Int?) throws {
        var options = PeerPortPair.Options()
        options.limits.socketBuffers = socketBuffers
        let pair = try PeerPortPair(options)
        try pair.connect()
        for (number, size) in Self.sizes.enumerated() {
            for node in [pair.alpha, pair.bravo] {
                let buffer = try buffer(node, size, number)
                node.send(.ping(1))
                node.send(write(number + 1, size, buffer))
                node.send(.bitmapRuns((0..<UInt64(number * 200)).map { BlockRun(first: $0 * 2, count: 1) }))
                // The port keeps its own hold.
                node.machine.pool.release(buffer.index)
            }
        }
        let wanted = Self.sizes.count * 3
        #expect(
            pair.until(seconds: 20) { pair.alpha.messages.count == wanted && pair.bravo.messages.count == wanted })
        for node in [pair.alpha, pair.bravo] {
            for (number, size) in Self.sizes.enumerated() {
                guard node.messages.count == wanted,
                    case .write(let sequence, let range, let buffer) = node.messages[number * 3 + 1].message
                else {
                    Issue.record("a frame is missing")
                    continue
                }
                #expect(node.messages[number * 3].message == .ping(1))
                #expect(sequence == UInt64(number + 1) && range.length == UInt64(size))
                #expect(holds(node, buffer, size, number))
                guard case .bitmapRuns(let runs) = node.messages[number * 3 + 2].message else { continue }
                #expect(runs.count == number * 200)
            }
            #expect(node.closed.isEmpty)
            node.releaseBuffers()
            #expect(node.machine.pool.inUse == 0)
        }
    }

    @Test func `Thousands of small frames wait where there is no room, and keep their order`() throws {
        var options = PeerPortPair.Options()
        options.limits.stream = ByteStream.Limits(
            queuedBytes: 1 << 20, headerBytes: 40 << 10, segments: 8, receiveBytes: 128 << 10)
        options.limits.socketBuffers = 4096
        let pair = try PeerPortPair(options)
        try pair.connect()
        let held = try buffer(pair.alpha, 4096, 3)
        for number in 1...3000 {
            pair.alpha.send(
                number % 100 == 0 ? write(number, 4096, held) : .written(sequence: UInt64(number), succeeded: true))
        }
        pair.alpha.machine.pool.release(held.index)
        #expect(pair.until(seconds: 20) { pair.bravo.messages.count == 3000 })
        for (index, entry) in pair.bravo.messages.enumerated() {
            switch entry.message {
            case .written(let sequence, _): #expect(sequence == UInt64(index + 1))
            case .write(let sequence, _, let buffer):
                #expect(sequence == UInt64(index + 1) && holds(pair.bravo, buffer, 4096, 3))
            default: Issue.record("a frame that nobody sent")
            }
        }
        #expect(pair.until { pair.alpha.machine.pool.inUse == 0 })
    }

    @Test func `Without a buffer a session waits, and goes on when there is one`() throws {
        var options = PeerPortPair.Options()
        options.classes = [BufferPool.SizeClass(bytes: 8 << 10, count: 4)]
        options.limits.signOfLifeInterval = 4_000_000
        let pair = try PeerPortPair(options)
        try pair.connect()
        let held = try buffer(pair.alpha, 4096, 1)
        for number in 1...20 { pair.alpha.send(write(number, 4096, held)) }
        pair.alpha.machine.pool.release(held.index)
        #expect(pair.until { pair.bravo.messages.count == 4 })
        pair.bravo.heard = []
        pair.turn(milliseconds: 40)
        #expect(pair.bravo.messages.count == 4 && pair.bravo.closed.isEmpty)
        // What waits for a buffer is no silence, and not told more often than need be.
        #expect((1...11).contains(pair.bravo.heard.count), "\(pair.bravo.heard.count) signs of life in 40 ms")
        var taken = 0
        while taken < 20 {
            taken += pair.bravo.messages.count
            pair.bravo.releaseBuffers()
            pair.bravo.port.buffersAvailable(into: &pair.bravo.events)
            guard taken < 20 else { break }
            #expect(pair.until { !pair.bravo.messages.isEmpty })
            if pair.bravo.messages.isEmpty { break }
        }
        #expect(taken == 20)
    }

    @Test func `What was queued still goes out when a session is closed, then the other side hears the end`() throws {
        var options = PeerPortPair.Options()
        options.limits.socketBuffers = 65536
        let pair = try PeerPortPair(options)
        try pair.connect()
        let session = pair.alpha.opened[0].session
        let held = try buffer(pair.alpha, 1 << 20, 1)
        // Bravo's frame is on its way and is not read any more; it must not cost bravo what alpha said before.
        pair.bravo.send(.flush(round: 1))
        pair.bravo.turn()
        pair.alpha.send(write(1, 1 << 20, held))
        pair.alpha.send(.goodbye(.stopping))
        pair.alpha.port.closeSession(pair.bravo.id, session, "a test")
        pair.alpha.send(.ping(1))
        pair.alpha.machine.pool.release(held.index)
        #expect(pair.until { pair.bravo.closed.count == 1 })
        #expect(pair.bravo.messages.count == 2 && pair.bravo.messages.last?.message == .goodbye(.stopping))
        #expect(pair.alpha.closed.isEmpty && pair.alpha.messages.isEmpty)
        #expect(pair.until { pair.alpha.machine.pool.inUse == 0 })
    }

    @Test func `A session that is closed while the other side reads nothing is gone within its time`() throws {
        var options = PeerPortPair.Options()
        options.limits.partingTimeout = 200_000_000
        options.limits.socketBuffers = 4096
        let pair = try PeerPortPair(options)
        try pair.connect()
        let held = try buffer(pair.alpha, 1 << 20, 1)
        pair.alpha.send(write(1, 1 << 20, held))
        pair.alpha.machine.pool.release(held.index)
        pair.alpha.port.closeSession(pair.bravo.id, pair.alpha.opened[0].session, "a test")
        let end = monotonicNow() + 3_000_000_000
        while pair.alpha.machine.pool.inUse > 0, monotonicNow() < end { pair.alpha.turn() }
        #expect(pair.alpha.machine.pool.inUse == 0)
    }

    @Test func `A peer that takes nothing is cut off when too much waits for it`() throws {
        var options = PeerPortPair.Options()
        options.limits.queuedBytes = 8 << 20
        options.limits.socketBuffers = 4096
        let pair = try PeerPortPair(options)
        try pair.connect()
        let held = try buffer(pair.alpha, 1 << 20, 1)
        // More than the bound by references alone: it is one buffer.
        for number in 1...80 { pair.alpha.send(write(number, 1 << 20, held)) }
        pair.alpha.machine.pool.release(held.index)
        let end = monotonicNow() + 3_000_000_000
        while pair.alpha.closed.isEmpty, monotonicNow() < end { pair.alpha.turn() }
        #expect(pair.alpha.closed.count == 1)
        #expect(pair.alpha.machine.pool.inUse == 0)
    }

    /// A stranger who is a peer as far as hello goes: without a secret anybody is.
    private func guest(_ pair: PeerPortPair) throws -> PeerStranger {
        let configuration = pair.alpha.port.identity.configuration
        let guest = try PeerStranger(connectingTo: configuration.nodes[0].address)
        let hello = configuration.hello(
            from: NodeID(1)!, to: NodeID(0)!, run: RunID(rawValue: 9), session: SessionID(rawValue: 77),
            discardMyData: false, nonce: [UInt8](repeating: 3, count: 32))
        guest.send(HelloFrame.encode(.hello(hello)) + HelloFrame.encode(.verdict(.accepted)))
        #expect(
            pair.until {
                guest.look(); return pair.alpha.opened.count == 1
            })
        return guest
    }

    private func frame(_ pair: PeerPortPair, _ message: PeerMessage, _ payload: [UInt8], session: UInt64 = 77)
        -> [UInt8]
    {
        let stamp = pair.alpha.stamp(SessionID(rawValue: session))
        let head = [UInt8](unsafeUninitializedCapacity: PeerFrame.maximumEncodedLength) { bytes, count in
            count = payload.withUnsafeBytes {
                PeerFrame.encode(
                    message, stamp, payload: payload.isEmpty ? nil : $0, into: UnsafeMutableRawBufferPointer(bytes))
            }
        }
        return head + payload
    }

    @Test func `A frame that is damaged anywhere closes the session with its reason`() throws {
        let payload = [UInt8](repeating: 7, count: 8192)
        for place in [0, 4, 5, 8, 12, 16, 50, 56, 60, 64, 70, 81, 4000, 64 + 16 + 8191] {
            let pair = try PeerPortPair()
            let guest = try guest(pair)
            var bytes = frame(pair, write(1, 8192, BufferID(index: 0)), payload)
            bytes[place] ^= 0x10
            guest.send(frame(pair, .ping(1), []) + bytes)
            #expect(
                pair.until {
                    guest.look(); return guest.hasEnded
                }, "place \(place)")
            #expect(pair.alpha.messages.map(\.message) == [.ping(1)])
            #expect(pair.alpha.closed.count == 1 && pair.alpha.closed[0].why.contains("bad frame"))
            #expect(pair.alpha.machine.pool.inUse == 0)
        }
    }

    @Test func `A frame of another session, or of none, closes the session`() throws {
        for session: UInt64 in [78, 0] {
            let pair = try PeerPortPair()
            let guest = try guest(pair)
            guest.send(frame(pair, .ping(1), [], session: session))
            #expect(
                pair.until {
                    guest.look(); return guest.hasEnded
                })
            #expect(pair.alpha.messages.isEmpty && pair.alpha.closed.first?.why.contains("another session") == true)
        }
    }

    @Test func `An end in mid-frame gives the buffer back, wherever it comes`() throws {
        let payload = [UInt8](repeating: 7, count: 1 << 20)
        for cut in [10, 64, 70, 80, 81, 5000, 300_000, 64 + 16 + (1 << 20) - 1] {
            let pair = try PeerPortPair()
            let guest = try guest(pair)
            let bytes = frame(pair, write(1, 1 << 20, BufferID(index: 0)), payload)
            var sent = 0
            #expect(
                pair.until {
                    let piece = Array(bytes[sent..<min(cut, sent + 50_000)])
                    let count = Glibc.send(guest.socket, piece, piece.count, Int32(MSG_NOSIGNAL))
                    if count > 0 { sent += count }
                    return sent == cut
                })
            pair.turn(milliseconds: 3)
            guest.close()
            #expect(pair.until { pair.alpha.closed.count == 1 }, "cut at \(cut)")
            #expect(pair.alpha.messages.isEmpty)
            #expect(pair.until { pair.alpha.machine.pool.inUse == 0 })
        }
    }

    @Test func `A frame that takes long to arrive is told as a sign of life, a whole one is one by itself`() throws {
        var options = PeerPortPair.Options()
        options.limits.signOfLifeInterval = 10_000_000
        let pair = try PeerPortPair(options)
        let guest = try guest(pair)
        let bytes = frame(pair, write(1, 8192, BufferID(index: 0)), [UInt8](repeating: 7, count: 8192))
        for start in stride(from: 0, to: bytes.count, by: 1024) {
            guest.send(Array(bytes[start..<min(start + 1024, bytes.count)]))
            pair.turn(milliseconds: 12)
        }
        #expect(pair.alpha.messages.count == 1)
        #expect((2...8).contains(pair.alpha.heard.count), "\(pair.alpha.heard.count) signs of life")
        #expect(pair.alpha.heard.allSatisfy { $0 == SessionID(rawValue: 77) })
        pair.alpha.heard = []
        for _ in 0..<20 {
            guest.send(frame(pair, .ping(1), []))
            pair.turn(milliseconds: 1)
        }
        #expect(pair.alpha.heard.isEmpty && pair.alpha.messages.count == 21)
    }

    @Test func `Frames that trickle in byte by byte are frames`() throws {
        let pair = try PeerPortPair()
        let guest = try guest(pair)
        let payload = (0..<8192).map { Self.pattern(5, $0) }
        let bytes = frame(pair, .ping(1), []) + frame(pair, write(1, 8192, BufferID(index: 0)), payload)
        for byte in bytes[..<300] {
            guest.send([byte])
            pair.alpha.turn()
        }
        guest.send(Array(bytes[300...]))
        #expect(pair.until { pair.alpha.messages.count == 2 })
        guard case .write(_, _, let buffer)? = pair.alpha.messages.last?.message else { return }
        #expect(holds(pair.alpha, buffer, 8192, 5))
    }
}
