import Daemon
import Model
import Testing

/// What of a changed file a running volume takes up.
@Suite struct ConfigurationChangesTests {
    private static let text = """
        volume: r0
        size: 64MiB
        nodes:
          alpha: {id: 0, address: "10.0.0.1:7789", disk: /dev/a}
          bravo: {id: 1, address: "10.0.0.2:7789", disk: /dev/b}
          charlie: {id: 2, address: "10.0.0.3:7789", disk: /dev/c}
          witness: {id: 7, address: "10.0.0.9:7789", witness: true}

        """

    private func read(_ text: String) throws -> Configuration {
        try ConfigurationReader(file: "r0.yaml", expectedVolume: "r0").read(text)
    }

    private func changes(_ edit: (String) -> String, on node: String = "alpha") throws -> (
        changes: ConfigurationChanges, next: Configuration
    ) {
        let former = try read(Self.text)
        let next = try read(edit(Self.text))
        let own = try #require(former.node(named: node))
        return (try ConfigurationChanges(from: former, to: next, node: own), next)
    }

    private func line(of name: String, in text: String) -> String {
        text.split(separator: "\n").first { $0.hasPrefix("  \(name):") }.map { "\($0)\n" } ?? ""
    }

    /// alpha leads, all four are there, all copies are in step.
    private func status(inStep: [String] = ["alpha", "bravo", "charlie"], primary: String = "alpha") -> VolumeStatus {
        let peers = [("bravo", UInt8(1)), ("charlie", 2), ("witness", 7)].map { name, id in
            VolumeStatus.Peer(
                node: name, id: id, connection: .connected, role: name == primary ? .primary : .secondary,
                disk: .upToDate, replication: .established, outOfSyncBytes: 0, lagBytes: 0, lagSeconds: 0, resync: nil,
                lastResync: nil, reason: nil, message: nil)
        }
        var status = VolumeStatus(
            volume: "r0", node: "alpha", role: primary == "alpha" ? .primary : .secondary, disk: .upToDate,
            size: 64 << 20, generation: "1", term: 3, inStep: inStep, quorum: true, suspended: [], suspect: false,
            nbd: "", device: nil, clients: 0, pid: 1, reason: nil, message: nil, peers: peers)
        let voters = ["alpha", "bravo", "charlie", "witness"]
        status.votes = VolumeStatus.Votes(
            voters: voters, present: voters, witnesses: ["witness"], leaseSeconds: nil, isDecided: true)
        return status
    }

    private func reason(_ body: () throws -> Void) -> String? {
        do { try body() } catch let failure as CommandFailure { return failure.refusal.reason } catch {}
        return nil
    }

    @Test func `an equal file changes nothing`() throws {
        let (changes, next) = try changes { $0 + "# a remark\n" }
        #expect(changes.isEmpty)
        #expect(changes.lines(next, isDone: true).isEmpty)
    }

    @Test func `a size is taken up for copies to come, and makes no volume larger`() throws {
        let (changes, next) = try changes { $0.replacing("64MiB", with: "65MiB") }
        try changes.check(next, status())
        #expect(changes.settings == ["size of copies to come: from 64MiB to 65MiB"])
    }

    @Test func `nodes that come and go are told by what they are`() throws {
        let (changes, next) = try changes {
            $0.replacing(line(of: "charlie", in: $0), with: "  delta: {id: 3, address: \"10.0.0.4:7789\", disk: /d}\n")
        }
        try changes.check(next, status())
        #expect(
            changes.lines(next, isDone: false) == [
                "would add delta (id 3, 10.0.0.4:7789): a copy; it votes",
                "would remove charlie: its copy and its vote",
            ])
    }

    @Test func `rates, times and addresses are taken up, in words that name both values`() throws {
        let (changes, next) = try changes {
            $0.replacing("10.0.0.2:7789", with: "10.0.0.2:7790") + "timeout: 2s\nko-count: 2\nverify-every: 7d\n"
        }
        try changes.check(next, status())
        #expect(
            changes.settings == [
                "address of bravo: from 10.0.0.2:7789 to 10.0.0.2:7790", "timeout × ko-count: from 6s to 4s",
                "verify-every: from off to 168h 0min",
            ])
    }

    @Test(arguments: [
        ("/dev/a", "/dev/other"), ("10.0.0.1:7789", "10.0.0.1:7790"),
        ("volume: r0", "volume: r0\nlease: 3s"),
        ("volume: r0", "volume: r0\nsecret-file: /s"), ("volume: r0", "volume: r0\nsend-buffer: 32MiB"),
        ("volume: r0", "volume: r0\non-quorum-lost: error"), ("volume: r0", "volume: r0\nepoch: 1MiB"),
    ])
    func `what is read at a start is refused while it runs`(former: String, later: String) throws {
        let (changes, next) = try changes { $0.replacing(former, with: later) }
        #expect(changes.atStart.count == 1, "\(changes.atStart)")
        #expect(reason { try changes.check(next, status()) } == "needs-restart")
    }

    @Test func `a name with another id, an id with another name and another kind of node take two steps`() throws {
        for (former, later) in [
            ("id: 2", "id: 4"), ("  charlie:", "  delta:"), ("disk: /dev/c", "witness: true"),
        ] {
            #expect(reason { _ = try changes { $0.replacing(former, with: later) } } == "two-steps", "\(later)")
        }
    }

    @Test func `where a copy is asynchronous no copy comes or goes, and a witness does`() throws {
        let far = "disk: /dev/c}"
        let relaxed = try read(Self.text.replacing(far, with: "disk: /dev/c, replication: async}"))
        let sync = try read(Self.text)
        let own = try #require(sync.node(named: "alpha"))
        let without = try read(Self.text.replacing(line(of: "charlie", in: Self.text), with: ""))
        for (former, next) in [(relaxed, without), (without, relaxed)] {
            let words = reason { _ = try ConfigurationChanges(from: former, to: next, node: own) }
            #expect(words == "not-in-this-release")
        }
        #expect(try ConfigurationChanges(from: sync, to: without, node: own).removed.map(\.name) == ["charlie"])
        let witness = line(of: "witness", in: Self.text)
        let bare = Self.text.replacing(far, with: "disk: /dev/c, replication: async}").replacing(witness, with: "")
        #expect(try ConfigurationChanges(from: relaxed, to: read(bare), node: own).removed.map(\.name) == ["witness"])
    }

    @Test func `this node itself is not taken out`() throws {
        #expect(reason { _ = try changes { $0.replacing(line(of: "alpha", in: $0), with: "") } } == "own-node")
    }

    @Test func `a primary, the last good copy and a vote that is needed are not taken out`() throws {
        let (changes, next) = try changes { $0.replacing(line(of: "charlie", in: $0), with: "") }
        #expect(reason { try changes.check(next, status()) } == nil)
        #expect(reason { try changes.check(next, status(primary: "charlie")) } == "peer-is-primary")
        #expect(reason { try changes.check(next, status(inStep: ["charlie"])) } == "no-good-copy")
        // What is left of those in step is heard not to be whole, or is this copy and may lack what the other has.
        var half = status(inStep: ["bravo", "charlie"])
        half.peers[0].disk = .inconsistent
        #expect(reason { try changes.check(next, half) } == "no-good-copy")
        half.peers[0].connection = .connecting
        #expect(reason { try changes.check(next, half) } == nil)
        var outdated = status(inStep: ["alpha", "charlie"])
        outdated.disk = .outdated
        #expect(reason { try changes.check(next, outdated) } == "no-good-copy")
        var suspect = status(inStep: ["alpha", "charlie"])
        suspect.suspect = true
        #expect(reason { try changes.check(next, suspect) } == "suspect")
        suspect.inStep.append("bravo")
        #expect(reason { try changes.check(next, suspect) } == nil)
        var few = status()
        few.votes?.present = ["alpha", "bravo", "charlie"]
        #expect(reason { try changes.check(next, few) } == "no-quorum")
        // It has no vote any more: nobody is needed for it.
        few.votes?.voters = ["alpha", "bravo", "witness"]
        few.votes?.present = ["alpha", "bravo"]
        #expect(reason { try changes.check(next, few) } == nil)
    }

    @Test func `before there was a primary the nodes are those of the file`() throws {
        let (changes, next) = try changes { $0.replacing(line(of: "charlie", in: $0), with: "") }
        var fresh = status(inStep: [])
        fresh.term = 0
        #expect(reason { try changes.check(next, fresh) } == "not-founded")
    }

    @Test func `without quorum a node that runs is not taken out`() throws {
        let two =
            Self.text.replacing(line(of: "witness", in: Self.text), with: "")
            .replacing(line(of: "charlie", in: Self.text), with: "") + "quorum: off\n"
        let former = try read(two)
        let next = try read(two.replacing("  bravo: {id: 1", with: "  delta: {id: 3"))
        let changes = try ConfigurationChanges(from: former, to: next, node: try #require(former.node(named: "alpha")))
        var alone = status(inStep: ["alpha", "bravo"])
        alone.votes = nil
        #expect(reason { try changes.check(next, alone) } == "still-running")
        alone.peers[0].connection = .connecting
        #expect(reason { try changes.check(next, alone) } == nil)
    }
}
