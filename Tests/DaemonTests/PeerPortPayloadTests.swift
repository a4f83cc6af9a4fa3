import Daemon
import Formats
import Glibc
import LinuxIO
import Model
import Testing

/// Payloads between two ports: each side sends what its own file says and the other takes.
@Suite struct PeerPortPayloadTests {
    private func pair(
        _ alpha: Compression, _ bravo: Compression, socketBuffers: Int? = nil
    ) throws -> PeerPortPair {
        var options = PeerPortPair.Options()
        options.limits.socketBuffers = socketBuffers
        options.alpha = { $0.compression = alpha }
        options.bravo = { $0.compression = bravo }
        let pair = try PeerPortPair(options)
        try pair.connect()
        return pair
    }

    private func buffer(_ node: PeerPortPair.Node, _ bytes: [UInt8]) throws -> BufferID {
        let taken = node.machine.pool.take(bytes: bytes.count)
        let index = try #require(taken)
        node.machine.pool.pointer(index).copyMemory(from: bytes, byteCount: bytes.count)
        return BufferID(index: index)
    }

    private func content(_ node: PeerPortPair.Node, _ message: PeerMessage) -> [UInt8]? {
        guard let buffer = message.testPayload, let range = message.range else { return nil }
        return Array(
            UnsafeRawBufferPointer(start: node.machine.pool.pointer(buffer.index), count: Int(range.length)))
    }

    private func messages(_ kind: Int, _ number: Int, _ count: Int, _ buffer: BufferID) -> PeerMessage {
        let range = ByteRange(offset: 0, length: UInt64(count))
        return switch kind % 3 {
        case 0: .write(sequence: UInt64(number + 1), range: range, buffer: buffer)
        case 1: .pullData(id: UInt64(number), range: range, buffer: buffer)
        default: .readData(id: UInt32(number), range: range, buffer: buffer)
        }
    }

    @Test(arguments: [Compression.lz4, .zstd], [nil, 65536])
    func `payloads of all kinds and sizes arrive as they were, whichever side compresses`(
        _ compression: Compression, _ socketBuffers: Int?
    ) throws {
        let pair = try pair(compression, .off, socketBuffers: socketBuffers)
        #expect(pair.alpha.port.traffic(to: pair.bravo.id).compression == compression)
        #expect(pair.bravo.port.traffic(to: pair.alpha.id).compression == .off)
        var number = 0
        for sample in SamplePayload.allCases {
            for size in [4096, 20480, 69632, 1 << 20] {
                let bytes = sample.bytes(size)
                for node in [pair.alpha, pair.bravo] {
                    let buffer = try buffer(node, bytes)
                    node.send(messages(number, number, size, buffer))
                    node.send(.ping(UInt64(number)))
                    node.machine.pool.release(buffer.index)
                }
                #expect(
                    pair.until(seconds: 20) { pair.alpha.messages.count == 2 && pair.bravo.messages.count == 2 },
                    "\(sample) \(size)"
                )
                for node in [pair.alpha, pair.bravo] {
                    guard node.messages.count == 2 else { continue }
                    #expect(node.messages[1].message == .ping(UInt64(number)))
                    #expect(content(node, node.messages[0].message) == bytes, "\(sample) \(size)")
                    node.releaseBuffers()
                    #expect(node.machine.pool.inUse == 0)
                }
                number += 1
            }
        }
        let (here, there) = (pair.alpha.port.traffic(to: pair.bravo.id), pair.bravo.port.traffic(to: pair.alpha.id))
        #expect(here.payloadBytes == there.payloadBytes && here.wireBytes < there.wireBytes * 3 / 4)
        // What is not compressed is sent as it is, but for blocks of zeroes.
        let zeroes = UInt64([4096, 20480, 69632, 1 << 20].reduce(0) { $0 + $1 - 4096 })
        #expect(there.wireBytes > there.payloadBytes - zeroes && there.wireBytes < there.payloadBytes - zeroes + 8192)
        #expect(pair.alpha.closed.isEmpty && pair.bravo.closed.isEmpty)
    }

    @Test(arguments: [Compression.off, .lz4])
    func `zeroes are a word, with compression and without`(_ compression: Compression) throws {
        let pair = try pair(compression, compression)
        for (number, size) in [4096, 1 << 20].enumerated() {
            // What lay in the receiver's buffer before must not shine through.
            let stale = try buffer(pair.bravo, [UInt8](repeating: 0xee, count: size))
            pair.bravo.machine.pool.release(stale.index)
            let buffer = try buffer(pair.alpha, [UInt8](repeating: 0, count: size))
            pair.alpha.send(messages(number, number, size, buffer))
            pair.alpha.machine.pool.release(buffer.index)
            // Its memory is free at once: nothing of it is on its way.
            #expect(pair.alpha.machine.pool.inUse == 0)
            #expect(pair.until { pair.bravo.messages.count == 1 })
            let message = try #require(pair.bravo.messages.first?.message)
            #expect(content(pair.bravo, message)?.allSatisfy { $0 == 0 } == true)
            pair.bravo.releaseBuffers()
        }
        let traffic = pair.alpha.port.traffic(to: pair.bravo.id)
        #expect(traffic.payloadBytes == (1 << 20) + 4096 && traffic.wireBytes < 200)
    }

    @Test(arguments: [nil, 16384])
    func `blocks of zeroes are left out of a payload, and each run of the others is sent from where it lies`(
        _ socketBuffers: Int?
    ) throws {
        let pair = try pair(.off, .off, socketBuffers: socketBuffers)
        var (sent, data) = (0, 0)
        for (number, size) in [8192, 69632, 1 << 20, 131072].enumerated() {
            var bytes = SamplePayload.random.bytes(size)
            for block in 0..<size / 4096 where block % 3 != 1 {
                bytes.replaceSubrange(block * 4096..<(block + 1) * 4096, with: [UInt8](repeating: 0, count: 4096))
            }
            let stale = try buffer(pair.bravo, [UInt8](repeating: 0xee, count: size))
            pair.bravo.machine.pool.release(stale.index)
            let buffer = try buffer(pair.alpha, bytes)
            pair.alpha.send(messages(number, number, size, buffer))
            pair.alpha.send(.ping(UInt64(number)))
            pair.alpha.machine.pool.release(buffer.index)
            // Until the last run of it is the kernel's it is held.
            #expect(pair.alpha.machine.pool.inUse == 1)
            #expect(pair.until(seconds: 20) { pair.bravo.messages.count == 2 && pair.alpha.machine.pool.inUse == 0 })
            let message = try #require(pair.bravo.messages.first?.message)
            #expect(content(pair.bravo, message) == bytes)
            pair.bravo.releaseBuffers()
            sent += size
            data += (size / 4096 + 1) / 3 * 4096
        }
        let traffic = pair.alpha.port.traffic(to: pair.bravo.id)
        #expect(traffic.payloadBytes == UInt64(sent))
        #expect(traffic.wireBytes > UInt64(data) && traffic.wireBytes < UInt64(data) + 1024)
    }

    @Test(arguments: [Compression.lz4, .zstd])
    func `a burst beyond all buffers of the compressor waits, keeps its order and leaves nothing behind`(
        _ compression: Compression
    ) throws {
        let pair = try pair(compression, .off, socketBuffers: 16384)
        let text = try buffer(pair.alpha, SamplePayload.text.bytes(1 << 20))
        let noise = try buffer(pair.alpha, SamplePayload.random.bytes(1 << 20))
        let burst = 40
        for round in 0..<3 {
            for number in 0..<burst {
                let size = [4096, 1 << 20, 65536][number % 3]
                pair.alpha.send(messages(0, round * burst + number, size, number % 4 == 3 ? noise : text))
                pair.alpha.send(.ping(UInt64(number)))
            }
            var taken: [UInt64] = []
            let isWhole = pair.until(seconds: 20) {
                for (_, message) in pair.bravo.messages {
                    if case .write(let sequence, _, _) = message { taken.append(sequence) }
                }
                pair.bravo.releaseBuffers()
                pair.bravo.port.buffersAvailable(into: &pair.bravo.events)
                return taken.count == burst
            }
            #expect(isWhole && taken == (0..<burst).map { UInt64(round * burst + $0 + 1) })
        }
        for buffer in [text, noise] { pair.alpha.machine.pool.release(buffer.index) }
        #expect(pair.until { pair.alpha.machine.pool.inUse == 0 })
        #expect(pair.alpha.closed.isEmpty && pair.bravo.closed.isEmpty)
    }

    @Test(arguments: [Compression.lz4, .zstd])
    func `a session that ends with compressed payloads on their way gives everything back`(_ compression: Compression)
        throws
    {
        let pair = try pair(compression, .off, socketBuffers: 4096)
        let text = try buffer(pair.alpha, SamplePayload.text.bytes(1 << 20))
        for number in 0..<30 { pair.alpha.send(messages(0, number, 1 << 20, text)) }
        pair.alpha.machine.pool.release(text.index)
        pair.alpha.turn()
        pair.alpha.port.abandon()
        pair.alpha.port.stop()
        #expect(pair.until { pair.bravo.closed.count == 1 && pair.alpha.machine.pool.inUse == 0 })
    }

    // MARK: Strangers

    /// A stranger who is a peer as far as hello goes, in a version.
    private func guest(
        _ pair: PeerPortPair, version: UInt16 = Hello.protocolVersion, lacks: PeerCapabilities = []
    ) throws -> PeerStranger {
        let configuration = pair.alpha.port.identity.configuration
        let guest = try PeerStranger(connectingTo: configuration.nodes[0].address)
        var hello = configuration.hello(
            from: NodeID(1)!, to: NodeID(0)!, run: RunID(rawValue: 9), session: SessionID(rawValue: 77),
            discardMyData: false, nonce: [UInt8](repeating: 3, count: 32), version: version)
        hello.capabilities.subtract(lacks)
        guest.send(
            HelloFrame.encode(.hello(hello)) + HelloFrame.encode(.verdict(.accepted), version: version))
        #expect(
            pair.until {
                guest.look(); return pair.alpha.opened.count == 1
            })
        return guest
    }

    private func frame(_ pair: PeerPortPair, _ payload: [UInt8], _ carried: CarriedPayload) -> [UInt8] {
        let message = messages(0, 0, payload.count, BufferID(index: 0))
        let stamp = pair.alpha.stamp(SessionID(rawValue: 77))
        return [UInt8](unsafeUninitializedCapacity: PeerFrame.maximumEncodedLength) { bytes, count in
            count = payload.withUnsafeBytes {
                PeerFrame.encode(
                    message, stamp, payload: $0, carried: carried, into: UnsafeMutableRawBufferPointer(bytes))
            }
        }
    }

    @Test(arguments: [Compression.lz4, .zstd])
    func `a compressed frame that is not what it says ends the session with the reason`(_ compression: Compression)
        throws
    {
        let payload = SamplePayload.text.bytes(65536)
        let compressor = try #require(PayloadCompressor(compression))
        let wire = try #require(try compressor.wire(payload))
        let other = try #require(try compressor.wire(SamplePayload.text.bytes(65536))).bytes
        let bomb = try #require(try compressor.wire(SamplePayload.nearlyZero.bytes(1 << 20))).bytes
        let length = wire.bytes.count
        var flipped = wire.bytes
        flipped[length / 2] ^= 0x10
        // As long as the header says, and of another payload: only the checksum tells.
        let exchanged = Array((other + wire.bytes)[..<length])
        for (bytes, says) in [
            (Array((bomb + wire.bytes)[..<length]), "compressed payload"), (flipped, "bad frame"),
            (exchanged, "bad frame"), ([UInt8](repeating: 0, count: length), "compressed payload"),
        ] {
            let pair = try PeerPortPair()
            let guest = try guest(pair)
            guest.send(frame(pair, payload, wire.carried) + bytes)
            #expect(
                pair.until {
                    guest.look(); return guest.hasEnded
                })
            #expect(pair.alpha.messages.isEmpty && pair.alpha.closed.count == 1)
            #expect(pair.alpha.closed.first?.why.contains(says) == true, "\(pair.alpha.closed)")
            #expect(pair.alpha.machine.pool.inUse == 0)
        }
        let pair = try PeerPortPair()
        let guest = try guest(pair)
        // In pieces, and one behind the other.
        let good = frame(pair, payload, wire.carried) + wire.bytes
        let zero = frame(pair, [UInt8](repeating: 0, count: 8192), .zeroes)
        for piece in stride(from: 0, to: good.count, by: 777) {
            guest.send(Array(good[piece..<min(piece + 777, good.count)]))
            pair.turn()
        }
        guest.send(zero + good + zero)
        #expect(pair.until { pair.alpha.messages.count == 4 })
        #expect(pair.alpha.messages.map { content(pair.alpha, $0.message)?.count } == [65536, 8192, 65536, 8192])
        #expect(pair.alpha.messages.first.flatMap { content(pair.alpha, $0.message) } == payload)
        // The checksum of zeroes is that of zeroes: what says something else is damaged.
        let lie = frame(pair, SamplePayload.text.bytes(4096), .zeroes)
        guest.send(lie)
        #expect(pair.until { pair.alpha.closed.first?.why.contains("checksum") == true })
    }

    @Test(arguments: [Compression.lz4, .zstd])
    func `an end inside a compressed payload gives the buffer back`(_ compression: Compression) throws {
        let payload = SamplePayload.text.bytes(1 << 20)
        let compressor = try #require(PayloadCompressor(compression))
        let wire = try #require(try compressor.wire(payload))
        for cut in [64, 80, 81, 5000, 80 + wire.bytes.count - 1] {
            let pair = try PeerPortPair()
            let guest = try guest(pair)
            guest.send(Array((frame(pair, payload, wire.carried) + wire.bytes)[..<min(cut, 60_000)]))
            pair.turn(milliseconds: 3)
            guest.close()
            #expect(pair.until { pair.alpha.closed.count == 1 }, "cut at \(cut)")
            #expect(pair.alpha.messages.isEmpty)
            #expect(pair.until { pair.alpha.machine.pool.inUse == 0 })
        }
    }

    @Test func `a peer of the version before is sent plain payloads, zeroes too`() throws {
        var options = PeerPortPair.Options()
        options.alpha = { $0.compression = .zstd }
        let pair = try PeerPortPair(options)
        let guest = try guest(pair, version: 4)
        #expect(
            pair.until {
                guest.look(); return guest.isAccepted
            })
        let answer = try #require(guest.hello)
        #expect(answer.version == 4 && answer.capabilities.isEmpty)
        #expect(pair.alpha.log.lines.contains { $0.contains("does not take zstd") })
        let payload = [UInt8](repeating: 0, count: 4096)
        let zeroes = try buffer(pair.alpha, payload)
        pair.alpha.send(messages(0, 0, 4096, zeroes))
        pair.alpha.machine.pool.release(zeroes.index)
        let greeted = guest.received.count
        let wanted = frame(pair, payload, .plain) + payload
        #expect(
            pair.until {
                guest.look(); return guest.received.count >= greeted + wanted.count
            })
        #expect(Array(guest.received.suffix(wanted.count)) == wanted)
    }

    @Test(arguments: 22...30)
    func `payloads of many runs wait when the queue has no room for all of them`(_ segments: Int) throws {
        var options = PeerPortPair.Options()
        options.limits.stream.segments = segments
        // Headers come to the end of their memory, and go on at its beginning, in each place.
        options.limits.stream.headerBytes = 1009
        let pair = try PeerPortPair(options)
        try pair.connect()
        var bytes = SamplePayload.random.bytes(131_072)
        for block in stride(from: 0, to: 32, by: 2) {
            bytes.replaceSubrange(block * 4096..<(block + 1) * 4096, with: [UInt8](repeating: 0, count: 4096))
        }
        let mixed = try buffer(pair.alpha, bytes)
        let plain = try buffer(pair.alpha, Array(SamplePayload.random.bytes(8192)))
        for number in 0..<60 {
            let isMixed = number % 3 != 0
            pair.alpha.send(messages(0, number, isMixed ? 131_072 : 8192, isMixed ? mixed : plain))
        }
        for buffer in [mixed, plain] { pair.alpha.machine.pool.release(buffer.index) }
        var taken: [UInt64] = []
        let isWhole = pair.until(seconds: 20) {
            for (_, message) in pair.bravo.messages {
                if case .write(let sequence, _, _) = message { taken.append(sequence) }
                if message.range?.length == 131_072 { #expect(content(pair.bravo, message) == bytes) }
            }
            pair.bravo.releaseBuffers()
            pair.bravo.port.buffersAvailable(into: &pair.bravo.events)
            return taken.count == 60 && pair.alpha.machine.pool.inUse == 0
        }
        #expect(isWhole && taken == (1...60).map { UInt64($0) })
    }

    @Test func `a peer that cannot put zeroes back is sent them`() throws {
        let payload = SamplePayload.nearlyZero.bytes(8192)
        for lacks in [PeerCapabilities.zeroBlocks, []] {
            let pair = try PeerPortPair()
            let guest = try guest(pair, lacks: lacks)
            let mixed = try buffer(pair.alpha, payload)
            let greeted = guest.received.count
            pair.alpha.send(messages(0, 0, 8192, mixed))
            pair.alpha.machine.pool.release(mixed.index)
            let isPlain = !lacks.isEmpty
            let wanted =
                frame(pair, payload, isPlain ? .plain : .sparse(4097)) + (isPlain ? payload : [2] + payload[4096...])
            #expect(
                pair.until {
                    guest.look(); return guest.received.count >= greeted + wanted.count
                })
            #expect(Array(guest.received.suffix(wanted.count)) == wanted)
        }
    }

    @Test func `a mask that does not fit its blocks ends the session, and one that does is expanded`() throws {
        let payload = SamplePayload.nearlyZero.bytes(65536)
        let block = Array(payload.suffix(4096))
        for (mask, isGood): ([UInt8], Bool) in [
            ([0, 0x80], true), ([0, 0], false), ([1, 0x80], false), ([0, 0x40], false),
        ] {
            let pair = try PeerPortPair()
            let guest = try guest(pair)
            guest.send(frame(pair, payload, .sparse(4098)) + mask + block)
            #expect(
                pair.until {
                    guest.look(); return guest.hasEnded || !pair.alpha.messages.isEmpty
                })
            #expect(pair.alpha.messages.first.flatMap { content(pair.alpha, $0.message) } == (isGood ? payload : nil))
            #expect(pair.alpha.closed.isEmpty == isGood)
            pair.alpha.releaseBuffers()
            #expect(pair.alpha.machine.pool.inUse == 0)
        }
    }

    /// A node that was not upgraded yet refuses the first dial by its version, and is then dialed in that.
    @Test func `an acceptor of the version before is dialed again in its own`() throws {
        let pair = try PeerPortPair()
        let listener = try Sockets.listenTCP(try SocketAddress("127.0.0.1:0"))
        defer { Sockets.close(listener) }
        _ = fcntl(listener, F_SETFL, O_NONBLOCK)
        var configuration = pair.alpha.port.identity.configuration
        configuration.nodes[1].address.port = try #require(Sockets.localAddress(of: listener)).port
        configuration.nodes[0].listen = NetworkAddress("127.0.0.1:\(PeerPortPair.freePort())")
        let caller = try PeerPortPair.Node(configuration, NodeID(0)!, PeerPortPair.Options())
        for (round, version) in [Hello.protocolVersion, 4, Hello.protocolVersion].enumerated() {
            caller.port.dial(NodeID(1)!)
            var guest: PeerStranger?
            #expect(
                pair.until {
                    caller.turn(); guest = PeerStranger(acceptedFrom: listener); return guest != nil
                })
            let old = try #require(guest)
            #expect(
                pair.until {
                    caller.turn(); old.look(); return old.hello != nil
                })
            var hello = try #require(old.hello)
            #expect(hello.version == version)
            if version == Hello.protocolVersion {
                let refused = HelloVerdict.refused(reason: "mismatch", message: "`protocol version` is 4 here")
                old.send(HelloFrame.encode(.verdict(refused), version: 4))
                #expect(
                    pair.until {
                        caller.turn(); return caller.dialsFailed.count == round / 2 + 1
                    })
                #expect(caller.dialsFailed.last?.contains("protocol version 4") == true && caller.refusals.isEmpty)
            } else {
                (hello.node, hello.peer, hello.nonce) = (NodeID(1)!, NodeID(0)!, [UInt8](repeating: 9, count: 32))
                old.send(HelloFrame.encode(.hello(hello)))
                old.send(HelloFrame.encode(.verdict(.accepted), version: 4))
                #expect(
                    pair.until {
                        caller.turn(); return caller.opened.count == 1
                    })
            }
            old.close()
        }
        caller.port.stop()
        #expect(
            pair.until {
                caller.turn(); return caller.port.isStopped
            })
    }
}

extension PeerMessage {
    fileprivate var range: ByteRange? {
        switch self {
        case .write(_, let range, _), .readData(_, let range, _), .pullData(_, let range, _): range
        default: nil
        }
    }
}
