import Daemon
import Formats
import Glibc
import LinuxIO
import Model
import Testing

@Suite struct PeerPortHostileTests {
    private static let secret = "a very long secret"

    private func hello(
        _ pair: PeerPortPair, as node: NodeID = NodeID(1)!, to peer: NodeID? = NodeID(0)!, session: UInt64 = 77,
        _ change: (inout Hello) -> Void = { _ in }
    ) -> Hello {
        let configuration = pair.alpha.port.identity.configuration
        var hello = configuration.hello(
            from: node, to: peer, run: RunID(rawValue: 9), session: SessionID(rawValue: session),
            discardMyData: false, nonce: (0..<32).map { _ in .random(in: 0...255) })
        change(&hello)
        return hello
    }

    private func stranger(_ pair: PeerPortPair) throws -> PeerStranger {
        try PeerStranger(connectingTo: pair.alpha.port.identity.configuration.nodes[0].address)
    }

    private func secretPair(_ limits: PeerPortLimits = PeerPortLimits()) throws -> PeerPortPair {
        var options = PeerPortPair.Options()
        options.secrets = (Self.secret, Self.secret)
        options.limits = limits
        return try PeerPortPair(options)
    }

    private func until(_ pair: PeerPortPair, _ stranger: PeerStranger, _ condition: () -> Bool) -> Bool {
        pair.until {
            stranger.look()
            return condition()
        }
    }

    @Test func `Garbage is closed at once and costs nobody anything`() throws {
        let pair = try PeerPortPair()
        for bytes in [
            Array("GET / HTTP/1.1\r\nHost: x\r\n\r\n".utf8), [UInt8](repeating: 0, count: 5000),
            [UInt8](repeating: 0xff, count: 20), (0..<9000).map { _ in UInt8.random(in: 0...255) },
        ] {
            let guest = try stranger(pair)
            guest.send(bytes)
            #expect(until(pair, guest) { guest.hasEnded })
        }
        #expect(pair.alpha.opened.isEmpty && pair.alpha.refusals.isEmpty)
        try pair.connect()
    }

    @Test func `Another protocol version is told by its number`() throws {
        let pair = try PeerPortPair()
        let guest = try stranger(pair)
        guest.send(.hello(hello(pair) { $0.version = 9 }))
        #expect(until(pair, guest) { guest.refusal != nil })
        #expect(guest.refusal?.contains("`protocol version`") == true)
        #expect(pair.alpha.log.lines.contains { $0.contains("protocol version") })
    }

    @Test func `A node that is not in the file, and one that is oneself, are refused by name`() throws {
        let pair = try PeerPortPair()
        for (node, word) in [(NodeID(5)!, "unknown-node"), (NodeID(0)!, "mismatch")] {
            let guest = try stranger(pair)
            guest.send(.hello(hello(pair, as: node)))
            #expect(until(pair, guest) { guest.refusal != nil })
            #expect(guest.refusal?.hasPrefix(word) == true)
        }
        let lost = try stranger(pair)
        lost.send(.hello(hello(pair, to: NodeID(7)!)))
        #expect(until(pair, lost) { lost.refusal != nil })
        #expect(pair.alpha.opened.isEmpty)
    }

    @Test func `Who says nothing, or a byte now and then, is gone in time and keeps no one out`() throws {
        var limits = PeerPortLimits()
        limits.greetingTimeout = 300_000_000
        let pair = try secretPair(limits)
        let guests = try (0..<40).map { _ in try stranger(pair) }
        let slow = HelloFrame.encode(.hello(hello(pair)))
        // Not the whole hello, however slowly.
        for (index, guest) in guests.enumerated() where index % 2 == 0 { guest.send([slow[0]]) }
        pair.turn(milliseconds: 20)
        pair.bravo.port.dial(pair.alpha.id)
        #expect(pair.until { !pair.alpha.opened.isEmpty })
        #expect(
            pair.until {
                for (index, guest) in guests.enumerated() where index % 2 == 0 && !guest.hasEnded {
                    guest.send([slow[1]])
                }
                for guest in guests { guest.look() }
                return guests.allSatisfy(\.hasEnded)
            })
        #expect(pair.alpha.closed.isEmpty)
    }

    @Test func `A side's own hello and proof sent back prove nothing`() throws {
        let pair = try secretPair()
        let any = try SocketAddress("127.0.0.1:0")
        let listener = try Sockets.listenTCP(any)
        defer { Sockets.close(listener) }
        _ = fcntl(listener, F_SETFL, O_NONBLOCK)
        var configuration = pair.alpha.port.identity.configuration
        configuration.nodes[1].address.port = try #require(Sockets.localAddress(of: listener)).port
        configuration.nodes[0].listen = NetworkAddress("127.0.0.1:\(PeerPortPair.freePort())")
        let victim = try PeerPortPair.Node(configuration, NodeID(0)!, PeerPortPair.Options())
        for round in 0..<2 {
            victim.port.dial(NodeID(1)!)
            var guest: PeerStranger?
            #expect(
                pair.until {
                    victim.turn(); guest = PeerStranger(acceptedFrom: listener); return guest != nil
                })
            let mirror = try #require(guest)
            #expect(
                pair.until {
                    victim.turn(); mirror.look(); return mirror.hello != nil
                })
            var mine = try #require(mirror.hello)
            if round == 1 {
                // The challenge is reflected, the name is the right one.
                mine.node = NodeID(1)!
                mine.peer = NodeID(0)!
                mine.nonce[0] ^= 1
            }
            mirror.send(.hello(mine))
            if round == 1 {
                #expect(
                    pair.until {
                        victim.turn(); mirror.look(); return mirror.proof != nil
                    })
                mirror.send(.proof(try #require(mirror.proof)))
                mirror.send(.verdict(.accepted))
            }
            #expect(
                pair.until {
                    victim.turn(); mirror.look(); return victim.dialsFailed.count == round + 1
                })
            #expect(victim.opened.isEmpty)
            #expect(victim.refusals.last?.reason == "authentication")
        }
        victim.port.stop()
        #expect(
            pair.until {
                victim.turn(); return victim.port.isStopped
            })
    }

    @Test func `A recorded proof opens nothing the next time`() throws {
        let pair = try secretPair()
        let secret = PeerSecret(key: Array(Self.secret.utf8))
        let mine = hello(pair)
        var recorded: HelloProof?
        for round in 0..<2 {
            let guest = try stranger(pair)
            guest.send(.hello(mine))
            #expect(until(pair, guest) { guest.hello != nil })
            let theirs = try #require(guest.hello)
            if round == 0 { recorded = secret.proof(of: .dialer, dialer: mine, acceptor: theirs) }
            guest.send(.proof(try #require(recorded)))
            #expect(until(pair, guest) { guest.isAccepted || guest.refusal != nil })
            #expect(guest.isAccepted == (round == 0))
            if round == 0 {
                // The acceptor proves too, and only then.
                let proof = try #require(guest.proof)
                #expect(secret.accepts(proof, of: .acceptor, dialer: mine, acceptor: theirs))
                guest.send(.verdict(.accepted))
                #expect(pair.until { pair.alpha.opened.count == 1 })
            } else {
                #expect(guest.proof == nil && guest.refusal?.hasPrefix("authentication") == true)
            }
        }
        #expect(pair.alpha.opened.count == 1 && pair.alpha.refusals.isEmpty)
    }

    @Test func `Nobody skips the proof`() throws {
        let pair = try secretPair()
        let frame = [UInt8](unsafeUninitializedCapacity: PeerFrame.maximumEncodedLength) { bytes, count in
            let stamp = FrameStamp(
                session: SessionID(rawValue: 77), lineage: .none,
                number: RecordNumber(term: Term(counter: 0, node: NodeID(0)!), index: 0))
            count = PeerFrame.encode(.ping(1), stamp, payload: nil, into: UnsafeMutableRawBufferPointer(bytes))
        }
        let accepted = HelloFrame.encode(.verdict(.accepted))
        for (early, late) in [([], accepted), (accepted, []), ([], frame), ([], accepted + frame)] {
            let guest = try stranger(pair)
            guest.send(early + HelloFrame.encode(.hello(hello(pair))) + late)
            #expect(until(pair, guest) { guest.hasEnded })
        }
        #expect(pair.alpha.opened.isEmpty && pair.alpha.messages.isEmpty && pair.alpha.refusals.isEmpty)
    }

    @Test func `A session id that is in use, or none, opens no second session`() throws {
        let pair = try PeerPortPair()
        let first = try stranger(pair)
        first.send(HelloFrame.encode(.hello(hello(pair))) + HelloFrame.encode(.verdict(.accepted)))
        #expect(until(pair, first) { pair.alpha.opened.count == 1 })
        for session: UInt64 in [77, 0] {
            let second = try stranger(pair)
            second.send(
                HelloFrame.encode(.hello(hello(pair, session: session))) + HelloFrame.encode(.verdict(.accepted)))
            #expect(until(pair, second) { second.hasEnded })
        }
        #expect(pair.alpha.opened.count == 1 && pair.alpha.closed.isEmpty)
    }

    @Test func `A dialed peer that accepts and never answers is given up in time`() throws {
        var options = PeerPortPair.Options()
        options.limits.greetingTimeout = 200_000_000
        let pair = try PeerPortPair(options)
        let listener = try Sockets.listenTCP(try SocketAddress("127.0.0.1:0"))
        defer { Sockets.close(listener) }
        var configuration = pair.alpha.port.identity.configuration
        configuration.nodes[1].address.port = try #require(Sockets.localAddress(of: listener)).port
        configuration.nodes[0].listen = NetworkAddress("127.0.0.1:\(PeerPortPair.freePort())")
        let caller = try PeerPortPair.Node(configuration, NodeID(0)!, options)
        caller.port.dial(NodeID(1)!)
        #expect(
            pair.until {
                caller.turn(); return !caller.dialsFailed.isEmpty
            })
        #expect(caller.dialsFailed.count == 1 && caller.dialsFailed.first?.contains("greet") == true)
        caller.port.stop()
        #expect(
            pair.until {
                caller.turn(); return caller.port.isStopped
            })
    }

    @Test func `An address that swallows a dial is given up in time`() throws {
        var options = PeerPortPair.Options()
        options.limits.dialTimeout = 200_000_000
        let pair = try PeerPortPair(options)
        let listener = try Sockets.listenTCP(try SocketAddress("127.0.0.1:0"), backlog: 0)
        defer { Sockets.close(listener) }
        var configuration = pair.alpha.port.identity.configuration
        configuration.nodes[1].address.port = try #require(Sockets.localAddress(of: listener)).port
        configuration.nodes[0].listen = NetworkAddress("127.0.0.1:\(PeerPortPair.freePort())")
        // What the full queue of the listener has no room for is not answered at all.
        let filler = try PeerStranger(connectingTo: configuration.nodes[1].address)
        let caller = try PeerPortPair.Node(configuration, NodeID(0)!, options)
        for _ in 0..<3 {
            let before = caller.dialsFailed.count
            caller.port.dial(NodeID(1)!)
            #expect(
                pair.until {
                    caller.turn()
                    return caller.dialsFailed.count > before
                })
        }
        #expect(caller.dialsFailed.count == 3 && caller.opened.isEmpty && !filler.hasEnded)
        #expect(caller.dialsFailed.last?.contains("no answer") == true)
        caller.port.stop()
        #expect(
            pair.until {
                caller.turn()
                return caller.port.isStopped
            })
    }
}
