import Daemon
import Formats
import Glibc
import LinuxIO
import Model
import Testing

@Suite struct PeerPortGreetingTests {
    @Test func `Two nodes that agree open one session under one id`() throws {
        let pair = try PeerPortPair()
        pair.bravo.port.setDiscards(true, for: pair.alpha.id)
        try pair.connect()
        let here = try #require(pair.alpha.opened.first)
        let there = try #require(pair.bravo.opened.first)
        #expect(here.session == there.session && !here.session.isNone)
        #expect(here.node == pair.bravo.id && there.node == pair.alpha.id)
        #expect(here.run == RunID(rawValue: 101) && there.run == RunID(rawValue: 100))
        #expect(here.dialedHere && !there.dialedHere)
        #expect(here.discards && !there.discards)
        #expect(pair.alpha.log.lines.contains { $0.contains("trusted network") })
        #expect(pair.alpha.dialsFailed.isEmpty && pair.bravo.refusals.isEmpty)
    }

    @Test func `Both may dial at once and get a session each`() throws {
        let pair = try PeerPortPair()
        pair.alpha.port.dial(pair.bravo.id)
        pair.bravo.port.dial(pair.alpha.id)
        #expect(pair.until { pair.alpha.opened.count == 2 && pair.bravo.opened.count == 2 })
        #expect(Set(pair.alpha.opened.map(\.session)) == Set(pair.bravo.opened.map(\.session)))
    }

    @Test func `What paces the sending is each node's own, and one that the kernel has not is said once and left out`()
        throws
    {
        var options = PeerPortPair.Options()
        options.alpha = { $0.congestionControl = "reno" }
        options.bravo = { $0.congestionControl = "no_such_one" }
        let pair = try PeerPortPair(options)
        try pair.connect()
        pair.bravo.port.dial(pair.alpha.id)
        #expect(pair.until { pair.alpha.opened.count == 2 && pair.bravo.opened.count == 2 })
        let found = pair.congestionControls()
        let unset = try Sockets.openTCP(for: SocketAddress("127.0.0.1:1"))
        defer { Sockets.close(unset) }
        let system = try #require(Sockets.congestionControl(of: unset))
        #expect(found.alpha == ["reno"] && found.bravo == [system])
        let said = pair.bravo.log.lines.filter { $0.contains("tcp-congestion-control: no_such_one") }
        #expect(said.count == 1 && said[0].contains("tcp_available_congestion_control"))
    }

    struct Difference: Sendable, CustomStringConvertible {
        var field: String
        var change: @Sendable (inout Configuration) -> Void
        var description: String { field }
    }

    static let differences: [Difference] = [
        Difference(field: "volume") { $0.volume = "r1" },
        Difference(field: "size") { $0.size = 2 << 30 },
        Difference(field: "size") { $0.size = nil },
        Difference(field: "replication") { $0.replication = .asynchronous },
        Difference(field: "quorum") { $0.quorum = "majority" },
        Difference(field: "on-quorum-lost") { $0.onQuorumLost = "error" },
        Difference(field: "nodes") { $0.nodes[1].name = "bravissimo" },
        Difference(field: "nodes") { $0.nodes[1].id = NodeID(3)! },
    ]

    @Test(arguments: differences)
    func `A difference is refused and the field named on both sides`(_ difference: Difference) throws {
        for secret in [nil, "0123456789abcdef"] {
            var options = PeerPortPair.Options()
            options.bravo = difference.change
            options.secrets = (secret, secret)
            let pair = try PeerPortPair(options)
            pair.alpha.port.dial(NodeID(1)!)
            #expect(pair.until { !pair.alpha.dialsFailed.isEmpty })
            pair.turn(milliseconds: 20)
            #expect(pair.alpha.refusals.map(\.reason) == ["mismatch"])
            #expect(pair.alpha.refusals.first?.message.contains("`\(difference.field)`") == true)
            #expect(pair.alpha.dialsFailed.count == 1)
            #expect(pair.bravo.log.lines.contains { $0.contains("`\(difference.field)`") })
            #expect(pair.alpha.opened.isEmpty && pair.bravo.opened.isEmpty)
        }
    }

    @Test func `The same secret opens, and neither sends it`() throws {
        var options = PeerPortPair.Options()
        options.secrets = ("a very long secret", "a very long secret\n")
        let pair = try PeerPortPair(options)
        try pair.connect()
        #expect(pair.alpha.log.lines.contains { $0.contains("authenticated") })
        #expect(!pair.alpha.log.lines.contains { $0.contains("trusted network") })
    }

    @Test func `Another secret opens nothing and changes nothing at the side that was dialed`() throws {
        var options = PeerPortPair.Options()
        options.secrets = ("a very long secret", "another long secret")
        let pair = try PeerPortPair(options)
        pair.alpha.port.dial(pair.bravo.id)
        #expect(pair.until { !pair.alpha.dialsFailed.isEmpty })
        pair.turn(milliseconds: 20)
        #expect(pair.alpha.refusals.map(\.reason) == ["authentication"])
        #expect(pair.alpha.opened.isEmpty && pair.bravo.opened.isEmpty)
        // Whoever reaches the port could have sent that: it must not part the two real nodes.
        #expect(pair.bravo.refusals.isEmpty)
        #expect(pair.bravo.log.lines.contains { $0.contains("authentication") })
    }

    @Test func `A secret on one side only is a difference, not a way in`() throws {
        for secrets in [("a very long secret", nil), (nil, "a very long secret")] as [(String?, String?)] {
            var options = PeerPortPair.Options()
            options.secrets = secrets
            let pair = try PeerPortPair(options)
            pair.alpha.port.dial(pair.bravo.id)
            #expect(pair.until { !pair.alpha.dialsFailed.isEmpty })
            pair.turn(milliseconds: 20)
            #expect(pair.alpha.refusals.first?.message.contains("secret-file") == true)
            #expect(pair.bravo.log.lines.contains { $0.contains("secret-file") })
            #expect(pair.alpha.opened.isEmpty && pair.bravo.opened.isEmpty)
        }
    }

    @Test func `Where nobody listens a dial fails once with the reason`() throws {
        var options = PeerPortPair.Options()
        options.bravo = { $0.nodes[1].listen = NetworkAddress("127.0.0.1:\(PeerPortPair.freePort())") }
        let pair = try PeerPortPair(options)
        pair.alpha.port.dial(pair.bravo.id)
        #expect(pair.until { !pair.alpha.dialsFailed.isEmpty })
        pair.turn(milliseconds: 10)
        #expect(pair.alpha.dialsFailed.count == 1)
        #expect(pair.alpha.dialsFailed.first?.contains("refused") == true)
        let lines = pair.alpha.log.lines.count
        pair.alpha.port.dial(pair.bravo.id)
        #expect(pair.until { pair.alpha.dialsFailed.count == 2 })
        #expect(pair.alpha.log.lines.count == lines, "the same failure again is no news")
    }

    /// Whose id another node got meanwhile: by the file as it was before it would pass for that one.
    @Test func `a node that was taken out is not taken for the one that has its id now`() throws {
        let pair = try PeerPortPair()
        let former = pair.alpha.port.identity.configuration
        var next = former
        next.nodes.removeLast()
        pair.alpha.port.adjust(to: next)
        next = former
        next.nodes[1].name = "charlie"
        pair.alpha.port.adjust(to: next)
        pair.bravo.port.dial(pair.alpha.id)
        #expect(pair.until { !pair.bravo.dialsFailed.isEmpty })
        #expect(pair.bravo.refusals.first?.reason == "unknown-node")
        pair.alpha.port.dial(pair.bravo.id)
        #expect(pair.until { !pair.alpha.dialsFailed.isEmpty })
        // The former file's words are said only to who has its node still.
        pair.alpha.port.dial(pair.bravo.id)
        #expect(pair.until { pair.alpha.dialsFailed.count == 2 })
        #expect(pair.alpha.opened.isEmpty && pair.bravo.opened.isEmpty)
    }

    @Test func `a lease with a majority, and fencing without, are the same on both nodes`() throws {
        func refusal(_ change: @escaping (inout Configuration) -> Void) throws -> String? {
            var options = PeerPortPair.Options()
            options.bravo = change
            let pair = try PeerPortPair(options)
            pair.alpha.port.dial(pair.bravo.id)
            #expect(pair.until { !pair.alpha.dialsFailed.isEmpty || !pair.alpha.opened.isEmpty })
            return pair.alpha.refusals.first?.message
        }
        #expect(try refusal { $0.fencing = "stonith" } == "`fencing` is none on alpha and stonith on bravo")
        // Without a majority nothing rests on a lease.
        #expect(try refusal { $0.timing.lease = 3_000_000_000 } == nil)
        var options = PeerPortPair.Options()
        options.alpha = { $0.quorum = "majority" }
        options.bravo = { ($0.quorum, $0.timing.lease, $0.fencing) = ("majority", 3_000_000_000, "stonith") }
        let pair = try PeerPortPair(options)
        pair.alpha.port.dial(pair.bravo.id)
        #expect(pair.until { !pair.alpha.dialsFailed.isEmpty })
        #expect(pair.alpha.refusals.first?.message == "`lease` is 2000ms on alpha and 3000ms on bravo")
    }

    @Test func `A name is looked up beside the thread`() throws {
        var options = PeerPortPair.Options()
        options.host = "localhost"
        let pair = try PeerPortPair(options)
        try pair.connect()
    }

    @Test func `A name that nobody knows fails the dial`() throws {
        let pair = try PeerPortPair()
        var configuration = Configuration(file: "x", volume: "r0", nodes: [])
        configuration.nodes = [
            Configuration.Node(
                id: NodeID(0)!, name: "alpha", address: NetworkAddress("127.0.0.1:\(PeerPortPair.freePort())")!,
                disk: "/none"),
            Configuration.Node(
                id: NodeID(1)!, name: "bravo", address: NetworkAddress("no-such-host.invalid:7789")!, disk: "/none"),
        ]
        let node = try PeerPortPair.Node(configuration, NodeID(0)!, PeerPortPair.Options())
        node.port.dial(NodeID(1)!)
        #expect(
            pair.until(seconds: 10) {
                node.turn(); return !node.dialsFailed.isEmpty
            })
        node.port.stop()
        #expect(
            pair.until {
                node.turn(); return node.port.isStopped
            })
    }

    @Test func `A dial that was called off is not heard of again`() throws {
        let pair = try PeerPortPair()
        pair.alpha.port.dial(pair.bravo.id)
        pair.alpha.turn()
        pair.alpha.port.cancelDial(pair.bravo.id)
        pair.turn(milliseconds: 50)
        #expect(pair.alpha.opened.isEmpty && pair.alpha.dialsFailed.isEmpty)
        #expect(pair.bravo.opened.isEmpty)
        try pair.connect()
    }

    @Test func `Whoever answers at a peer's address under another name is not believed`() throws {
        let pair = try PeerPortPair()
        // Alpha dials itself.
        var configuration = pair.alpha.port.identity.configuration
        configuration.nodes[1].address = configuration.nodes[0].address
        let lost = try { () throws in
            configuration.nodes[0].listen = NetworkAddress("127.0.0.1:\(PeerPortPair.freePort())")
            return try PeerPortPair.Node(configuration, NodeID(0)!, PeerPortPair.Options())
        }()
        lost.port.dial(NodeID(1)!)
        #expect(
            pair.until {
                lost.turn(); return !lost.dialsFailed.isEmpty
            })
        #expect(lost.refusals.first?.reason == "mismatch")
        #expect(pair.alpha.opened.isEmpty)
        lost.port.stop()
        #expect(
            pair.until {
                lost.turn(); return lost.port.isStopped
            })
    }
}
