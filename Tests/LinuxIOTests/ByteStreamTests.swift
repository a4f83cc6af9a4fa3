import Glibc
import LinuxIO
import Testing

/// Two connected streams on one ring, and the turns of a loop that owns them.
private final class Pair {
    enum Kind: Sendable, CaseIterable { case unix, tcp, unixByEpoll, tcpByEpoll }

    let ring: Ring
    let left: ByteStream
    let right: ByteStream
    var released: [Int32] = []
    var rightEnded = false

    init(_ kind: Kind, limits: ByteStream.Limits = ByteStream.Limits(), kernelBuffer: Int? = nil) throws {
        let isByEpoll = kind == .unixByEpoll || kind == .tcpByEpoll
        ring = try Ring(entries: 64, modes: isByEpoll ? [.epoll] : Ring.Mode.allCases)
        let (client, server) =
            try kind == .unix || kind == .unixByEpoll ? Self.connectUnix(ring) : Self.connectTCP(ring)
        for socket in [client, server] {
            // Not the receive buffer: TCP with a tiny one waits for window probes, 200 ms each.
            if let kernelBuffer { Sockets.setBuffers(socket, send: kernelBuffer) }
        }
        left = ByteStream(
            socket: client, sendToken: Token(kind: 1, slot: 0, serial: 1),
            receiveToken: Token(kind: 2, slot: 0, serial: 1),
            limits: limits)
        right = ByteStream(
            socket: server, sendToken: Token(kind: 1, slot: 1, serial: 2),
            receiveToken: Token(kind: 2, slot: 1, serial: 2),
            limits: limits)
    }

    private static func connectUnix(_ ring: borrowing Ring) throws -> (Int32, Int32) {
        let folder = TemporaryFolder()
        let listener = try Sockets.listenUnix(folder.file("s"))
        defer { Sockets.close(listener) }
        let token = Token(kind: 9, slot: 0)
        ring.accept(listener, token: token)
        ring.submitAndWait(until: 0)
        let client = try Sockets.connectUnix(folder.file("s"))
        return (client, try completion(of: token, ring).result)
    }

    private static func connectTCP(_ ring: borrowing Ring) throws -> (Int32, Int32) {
        let listener = try Sockets.listenTCP(SocketAddress("127.0.0.1:0"))
        defer { Sockets.close(listener) }
        let address = try #require(Sockets.localAddress(of: listener))
        let (accepting, connecting) = (Token(kind: 9, slot: 0), Token(kind: 8, slot: 0))
        ring.accept(listener, token: accepting)
        let client = try Sockets.openTCP(for: address)
        Sockets.setNoDelay(client)
        ring.connect(client, to: address, token: connecting)
        var server: Int32 = -1
        for _ in 0..<2 {
            let completion = try nextCompletion(ring)
            try #require(completion.result >= 0, "\(errorText(completion.result))")
            if completion.token == accepting { server = completion.result }
        }
        #expect(Sockets.peerAddress(of: client) == address)
        return (client, server)
    }

    /// One completion, given to whom it belongs; what a receive brought to `right`, if that is what came.
    func step() throws -> ByteStream.ReceiveOutcome? {
        left.flush(ring)
        right.flush(ring)
        let completion = try nextCompletion(ring)
        let stream = completion.token.slot == 0 ? left : right
        if completion.token.kind == 1 {
            if case .failed(let code) = stream.finishSend(completion, ring) { throw SystemError("send", code: code) }
            while let tag = stream.nextReleased() { released.append(tag) }
            return nil
        }
        let outcome = stream.finishReceive(completion, ring)
        if outcome == .ended && stream === right { rightEnded = true }
        return stream === right ? outcome : nil
    }

    func end() throws {
        left.close(ring)
        right.close(ring)
        while !left.isFinished || !right.isFinished { _ = try step() }
    }
}

private func bytes(_ text: String, _ body: (UnsafeRawBufferPointer) -> Bool) -> Bool {
    Array(text.utf8).withUnsafeBytes { body($0) }
}

private func fill(_ memory: UnsafeMutableRawBufferPointer, seed: UInt64) {
    var state = seed
    for place in 0..<memory.count {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        memory[place] = UInt8(truncatingIfNeeded: state >> 56)
    }
}

@Suite struct ByteStreamTests {
    @Test(arguments: Pair.Kind.allCases)
    private func `a payload of a mebibyte arrives through small kernel buffers`(kind: Pair.Kind) throws {
        let pair = try Pair(kind, kernelBuffer: 8192)
        let source = PageMemory(count: 1 << 20)
        let target = PageMemory(count: 1 << 20)
        fill(source.bytes, seed: 5)
        for round in 0..<3 {
            memset(target.start, 0, 1 << 20)
            #expect(
                bytes("header \(round)") { pair.left.append($0, payload: source.start, count: 1 << 20, tag: 77) })
            #expect(pair.left.queuedBytes == (1 << 20) + 8)
            pair.right.receive(pair.ring)
            while pair.right.received.count < 8 {
                _ = try pair.step()
                if !pair.right.isReceiving && pair.right.received.count < 8 { pair.right.receive(pair.ring) }
            }
            #expect(String(decoding: pair.right.received.prefix(8), as: UTF8.self) == "header \(round)")
            pair.right.consume(8)
            var isFull = pair.right.receive(into: target.start, count: 1 << 20, pair.ring)
            var pieces = 0
            while !isFull {
                switch try pair.step() {
                case .filled: isFull = true
                case .partial: pieces += 1
                case nil: break
                case let other?: Issue.record("\(other)")
                }
            }
            while pair.left.queuedBytes > 0 { _ = try pair.step() }
            #expect(pieces > 1)
            #expect(memcmp(source.start, target.start, 1 << 20) == 0)
        }
        #expect(pair.released == [77, 77, 77])
        #expect(pair.left.totalSent == 3 * ((1 << 20) + 8) && pair.right.totalReceived == pair.left.totalSent)
        try pair.end()
    }

    @Test private func `many small messages and payloads keep their order through a wrapping header ring`() throws {
        let limits = ByteStream.Limits(queuedBytes: 4096, headerBytes: 100, segments: 16, receiveBytes: 64)
        let pair = try Pair(.unix, limits: limits)
        let payload = PageMemory(count: 4096)
        fill(payload.bytes, seed: 9)
        var (sent, came, tags): ([UInt8], [UInt8], [Int32]) = ([], [], [])
        var number = 0
        while came.count < 20_000 {
            while sent.count < 20_000 {
                let header = [UInt8](repeating: UInt8(truncatingIfNeeded: number), count: number % 23 + 1)
                let count = number % 5 == 0 ? 0 : number % 61 + 1
                let start = payload.start + number % 1000
                let isQueued = header.withUnsafeBytes {
                    count == 0
                        ? pair.left.append($0) : pair.left.append($0, payload: start, count: count, tag: Int32(number))
                }
                guard isQueued else { break }
                sent += header
                sent += UnsafeRawBufferPointer(start: start, count: count)
                if count > 0 { tags.append(Int32(number)) }
                number += 1
            }
            if !pair.right.isReceiving { pair.right.receive(pair.ring) }
            if case .arrived = try pair.step() {
                // Leave a byte, so that the receive buffer has to move what is unread.
                let taken = came.count + pair.right.received.count >= 20_000 ? 0 : 1
                let count = pair.right.received.count - taken
                came += pair.right.received.prefix(count)
                pair.right.consume(count)
                if sent.count >= 20_000 && pair.left.queuedBytes == 0 && came.count + 1 >= sent.count { break }
            }
        }
        came += pair.right.received
        while pair.left.queuedBytes > 0 { _ = try pair.step() }
        #expect(came.elementsEqual(sent.prefix(came.count)) && came.count >= 20_000)
        #expect(pair.released.elementsEqual(tags.prefix(pair.released.count)))
        try pair.end()
    }

    @Test private func `a full queue takes nothing of a message`() throws {
        let pair = try Pair(.unix, limits: ByteStream.Limits(queuedBytes: 100, headerBytes: 50, segments: 8))
        let payload = PageMemory(count: 4096)
        #expect(bytes("0123456789") { pair.left.append($0, payload: payload.start, count: 80, tag: 1) })
        #expect(!bytes("0123456789") { pair.left.append($0, payload: payload.start, count: 1, tag: 2) })
        #expect(pair.left.queuedBytes == 90)
        #expect(bytes("0123456789") { pair.left.append($0) })
        #expect(!pair.left.hasRoom(headerBytes: 1))
        try pair.end()
        #expect(pair.left.queuedBytes == 0)
        #expect(pair.left.nextReleased() == 1 && pair.left.nextReleased() == nil)
    }

    @Test private func `closing with both directions in flight keeps memory until the kernel is done`() throws {
        let pair = try Pair(.tcp, kernelBuffer: 4096)
        let payload = PageMemory(count: 8 << 20)
        let target = PageMemory(count: 8 << 20)
        #expect(bytes("h") { pair.left.append($0, payload: payload.start, count: 8 << 20, tag: 5) })
        #expect(pair.left.append(payload: payload.start, count: 4096, tag: 6))
        pair.left.flush(pair.ring)
        #expect(pair.left.receive(into: target.start, count: 100, pair.ring) == false)
        pair.ring.submitAndWait(until: 0)
        // Until the kernel's buffers are full and the send stays in flight.
        for _ in 0..<200 {
            if let completion = pair.ring.nextCompletion() { _ = pair.left.finishSend(completion, pair.ring) }
            pair.left.flush(pair.ring)
            pair.ring.submitAndWait(until: monotonicNow() + 1_000_000)
        }
        pair.left.close(pair.ring)
        #expect(!pair.left.isFinished)
        #expect(pair.left.nextReleased() == nil, "the payload is still the kernel's")
        #expect(!bytes("late") { pair.left.append($0) })
        while !pair.left.isFinished { _ = try pair.step() }
        #expect(pair.released == [5, 6])
        try pair.end()
    }

    @Test private func `a quiet send that goes whole completes nothing, and the turn after tells`() throws {
        let pair = try Pair(.unix)
        let hasQuietSends = pair.ring.hasQuietSends
        try #require(hasQuietSends, "Linux 6.1 has them")
        let payload = PageMemory(count: 4096)
        fill(payload.bytes, seed: 1)
        #expect(bytes("head") { pair.left.append($0, payload: payload.start, count: 4096, tag: 3) })
        pair.left.flush(pair.ring, quietly: true)
        #expect(pair.left.finishQuietSend(pair.ring) == false, "the kernel has not seen it yet")
        pair.ring.submitAndWait(until: 0)
        #expect(pair.left.finishQuietSend(pair.ring) == false, "what the kernel said was not read yet")
        let completion = pair.ring.nextCompletion()
        #expect(completion == nil)
        #expect(pair.left.finishQuietSend(pair.ring) == true)
        #expect(pair.left.finishQuietSend(pair.ring) == false, "once")
        #expect(pair.left.queuedBytes == 0 && pair.left.totalSent == 4100 && pair.left.nextReleased() == 3)
        pair.right.receive(pair.ring)
        _ = try pair.step()
        #expect(pair.right.received.count == 4100 && pair.right.received.dropFirst(4).elementsEqual(payload.bytes))
        try pair.end()
    }

    @Test(arguments: [Pair.Kind.unix, .tcp])
    private func `quiet sends that find no room say so, and nothing is lost or sent twice`(kind: Pair.Kind) throws {
        let pair = try Pair(kind, kernelBuffer: 8192)
        let payload = PageMemory(count: 1 << 20)
        fill(payload.bytes, seed: 7)
        var (queued, quiet, loud, came) = (0, 0, 0, 0)
        var isPaused = true
        while came < 1 << 20 {
            let count = min(1 + queued % 30_011, (1 << 20) - queued)
            if count > 0, pair.left.queuedBytes < 40_000 {
                #expect(pair.left.append(payload: payload.start + queued, count: count, tag: 1))
                queued += count
            }
            pair.left.flush(pair.ring, quietly: true)
            // Nobody reads until there is no room.
            if !isPaused { pair.right.receive(pair.ring) }
            pair.ring.submitAndWait(until: monotonicNow() + 1_000_000)
            while let completion = pair.ring.nextCompletion() {
                if completion.token == pair.left.sendToken {
                    loud += 1
                    isPaused = false
                    if case .failed(let code) = pair.left.finishSend(completion, pair.ring) {
                        throw SystemError("send", code: code)
                    }
                } else {
                    _ = pair.right.finishReceive(completion, pair.ring)
                }
            }
            if pair.left.finishQuietSend(pair.ring) { quiet += 1 }
            while pair.left.nextReleased() != nil {}
            #expect(pair.right.received.elementsEqual(payload.bytes[came..<came + pair.right.received.count]))
            came += pair.right.received.count
            pair.right.consume(pair.right.received.count)
            if queued == 1 << 20 { isPaused = false }
        }
        #expect(quiet > 0 && loud > 0, "\(quiet) quiet, \(loud) loud")
        #expect(pair.left.queuedBytes == 0 && pair.left.totalSent == 1 << 20)
        try pair.end()
    }

    @Test(arguments: [false, true])
    private func `a stream that ends right after a quiet send ends at once`(ofItself: Bool) throws {
        let pair = try Pair(.unix)
        #expect(bytes("the last word") { pair.left.append($0) })
        pair.left.flush(pair.ring, quietly: true)
        if ofItself { pair.left.closeWhenSent(pair.ring) } else { pair.left.close(pair.ring) }
        #expect(!pair.left.isFinished, "the kernel has not seen the send yet")
        pair.ring.submitAndWait(until: nil)
        while let completion = pair.ring.nextCompletion() { _ = pair.left.finishSend(completion, pair.ring) }
        _ = pair.left.finishQuietSend(pair.ring)
        #expect(pair.left.isFinished)
        pair.right.receive(pair.ring)
        while !pair.rightEnded {
            _ = try pair.step()
            if !pair.right.isReceiving, !pair.rightEnded { pair.right.receive(pair.ring) }
        }
        if ofItself { #expect(pair.right.received.elementsEqual("the last word".utf8)) }
        try pair.end()
    }

    @Test private func `what is queued behind a quiet send that the kernel has not seen yet ends the next turn`() throws
    {
        let pair = try Pair(.unix)
        for text in ["one, ", "two, ", "three"] {
            #expect(bytes(text) { pair.left.append($0) })
            pair.left.flush(pair.ring, quietly: true)
        }
        let before = pair.ring.statistics.completions
        let latest = monotonicNow() + 5_000_000_000
        pair.ring.submitAndWait(until: latest)
        while let completion = pair.ring.nextCompletion() { _ = pair.left.finishSend(completion, pair.ring) }
        #expect(pair.ring.statistics.completions > before, "it slept until its deadline")
        _ = pair.left.finishQuietSend(pair.ring)
        while pair.right.received.count < 15 {
            pair.right.receive(pair.ring)
            _ = try pair.step()
        }
        #expect(pair.right.received.elementsEqual("one, two, three".utf8))
        try pair.end()
    }

    /// The kernel looks so often at such a receive, then a thread of its own waits.
    @Test(arguments: Pair.Kind.allCases)
    private func `a payload that is awaited whole may come in hundreds of pieces, and be broken off`(
        kind: Pair.Kind
    ) throws {
        let pair = try Pair(kind)
        let target = PageMemory(count: 4096)
        func dribble(_ pieces: Range<Int>) {
            for number in pieces {
                var byte = UInt8(truncatingIfNeeded: number)
                #expect(send(pair.left.socket, &byte, 1, 0) == 1)
                pair.ring.submitAndWait(until: 0)
            }
        }
        #expect(pair.right.receive(into: target.start, count: 500, whole: true, pair.ring) == false)
        dribble(0..<500)
        var outcome = try pair.step()
        while case .partial = outcome { outcome = try pair.step() }
        guard case .filled = outcome else {
            Issue.record("\(String(describing: outcome))")
            return try pair.end()
        }
        #expect((0..<500).allSatisfy { target.bytes[$0] == UInt8(truncatingIfNeeded: $0) })
        #expect(pair.right.receive(into: target.start, count: 500, whole: true, pair.ring) == false)
        dribble(0..<300)
        try pair.end()
    }

    @Test private func `a completion of the slot's former stream is stale`() throws {
        let pair = try Pair(.unix)
        let old = Completion(token: Token(kind: 2, slot: 1, serial: 1), result: 10)
        pair.right.receive(pair.ring)
        #expect(pair.right.finishReceive(old, pair.ring) == .stale)
        #expect(pair.right.finishSend(Completion(token: pair.right.sendToken, result: 3), pair.ring) == .stale)
        #expect(pair.right.received.isEmpty && pair.right.isReceiving)
        try pair.end()
        let late = Completion(token: pair.right.receiveToken, result: 10)
        #expect(pair.right.finishReceive(late, pair.ring) == .stale)
        #expect(pair.right.received.isEmpty)
    }

    @Test private func `the peer sees all that was queued before an orderly end`() throws {
        let pair = try Pair(.tcp, kernelBuffer: 4096)
        let payload = PageMemory(count: 200_000)
        fill(payload.bytes, seed: 3)
        #expect(pair.left.append(payload: payload.start, count: 200_000, tag: 1))
        pair.left.closeWhenSent(pair.ring)
        #expect(!bytes("late") { pair.left.append($0) })
        var came: [UInt8] = []
        while !pair.rightEnded {
            if !pair.right.isReceiving { pair.right.receive(pair.ring) }
            _ = try pair.step()
            came += pair.right.received
            pair.right.consume(pair.right.received.count)
        }
        #expect(came.elementsEqual(payload.bytes.prefix(200_000)))
        try pair.end()
    }

    @Test private func `sending to a peer that is gone fails instead of raising a signal`() throws {
        let pair = try Pair(.unix)
        pair.right.close(pair.ring)
        #expect(bytes("anyone?") { pair.left.append($0) })
        #expect(throws: SystemError.self) { while true { _ = try pair.step() } }
        #expect(!bytes("again") { pair.left.append($0) })
        try pair.end()
    }

    @Test private func `a payload that the peer breaks off is an end`() throws {
        let pair = try Pair(.tcp)
        let target = PageMemory(count: 4096)
        #expect(bytes("only this") { pair.left.append($0) })
        pair.left.closeWhenSent(pair.ring)
        #expect(pair.right.receive(into: target.start, count: 4096, pair.ring) == false)
        while !pair.rightEnded { _ = try pair.step() }
        #expect(pair.right.totalReceived == 9 && !pair.right.isReceiving)
        try pair.end()
    }

    @Test private func `a receive buffer that is full says so`() throws {
        let pair = try Pair(.unix, limits: ByteStream.Limits(receiveBytes: 16))
        #expect(bytes("0123456789abcdef++") { pair.left.append($0) })
        while pair.right.received.count < 16 {
            pair.right.receive(pair.ring)
            _ = try pair.step()
        }
        #expect(pair.right.receive(pair.ring) == false)
        pair.right.consume(1)
        #expect(pair.right.receive(pair.ring) == true)
        try pair.end()
    }

    @Test(arguments: Pair.Kind.allCases, [0, 8192])
    private func `payloads with what is behind them keep their order, whatever comes in one piece`(
        kind: Pair.Kind, kernelBuffer: Int
    ) throws {
        let pair = try Pair(kind, kernelBuffer: kernelBuffer == 0 ? nil : kernelBuffer)
        let source = PageMemory(count: 256 << 10)
        let target = PageMemory(count: 256 << 10)
        fill(source.bytes, seed: 11)
        let sizes = (0..<60).map { [131_072, 131_072, 5, 40_000, 4096, 131_072, 1, 65_536][$0 % 8] }
        var queued = 0
        for size in sizes {
            while queued < sizes.count, pair.left.queuedBytes < 300 << 10 {
                let number = queued
                let isTaken = bytes(number < 10 ? "head 0\(number)" : "head \(number)") {
                    pair.left.append($0, payload: source.start + number, count: sizes[number], tag: 1)
                }
                #expect(isTaken)
                queued += 1
            }
            while pair.right.received.count < 7 {
                if !pair.right.isReceiving { pair.right.receive(pair.ring, atMost: 7 - pair.right.received.count) }
                _ = try pair.step()
            }
            let number = try #require(Int(String(decoding: pair.right.received[5..<7], as: UTF8.self)))
            try #require(sizes[number] == size)
            pair.right.consume(7)
            memset(target.start, 0, size)
            var isFull = pair.right.receive(into: target.start, count: size, whole: true, ahead: 7, pair.ring)
            while !isFull {
                switch try pair.step() {
                case .filled: isFull = true
                case .partial, nil: break
                case let other?: Issue.record("\(other)")
                }
            }
            #expect(!pair.right.isReceiving)
            #expect(memcmp(source.start + number, target.start, size) == 0)
        }
        while pair.left.queuedBytes > 0 { _ = try pair.step() }
        #expect(pair.right.totalReceived == pair.left.totalSent)
        try pair.end()
    }

    @Test(arguments: [Pair.Kind.unix, .tcp])
    private func `what is there behind a payload comes with it, and nothing more than was asked for`(
        kind: Pair.Kind
    ) throws {
        let pair = try Pair(kind)
        let source = PageMemory(count: 4096)
        let target = PageMemory(count: 4096)
        fill(source.bytes, seed: 3)
        for round in 0..<2 {
            #expect(pair.left.append(payload: source.start, count: 4096, tag: 1))
            if round == 0 { #expect(bytes("next one") { pair.left.append($0) }) }
            while pair.left.queuedBytes > 0 { _ = try pair.step() }
            #expect(pair.right.receive(into: target.start, count: 4096, whole: true, ahead: 4, pair.ring) == false)
            while pair.right.isReceiving { _ = try pair.step() }
            #expect(memcmp(source.start, target.start, 4096) == 0)
            #expect(String(decoding: pair.right.received, as: UTF8.self) == (round == 0 ? "next" : ""))
            pair.right.consume(pair.right.received.count)
            guard round == 0 else { continue }
            pair.right.receive(pair.ring)
            while pair.right.isReceiving { _ = try pair.step() }
            #expect(String(decoding: pair.right.received, as: UTF8.self) == " one")
            pair.right.consume(4)
        }
        try pair.end()
    }

    @Test(arguments: Pair.Kind.allCases, [true, false])
    private func `a payload that never comes whole ends with its connection`(kind: Pair.Kind, isOurs: Bool) throws {
        let pair = try Pair(kind)
        let memory = PageMemory(count: 8192)
        #expect(pair.left.append(payload: memory.start, count: 100, tag: 1))
        #expect(pair.right.receive(into: memory.start + 4096, count: 4096, whole: true, ahead: 64, pair.ring) == false)
        while pair.left.queuedBytes > 0 { _ = try pair.step() }
        if isOurs { pair.right.close(pair.ring) } else { pair.left.close(pair.ring) }
        while isOurs ? !pair.right.isFinished : pair.right.isReceiving { _ = try pair.step() }
        #expect(pair.rightEnded != isOurs)
        #expect(pair.right.received.isEmpty)
        try pair.end()
    }
}
