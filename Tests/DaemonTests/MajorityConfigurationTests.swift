import Daemon
import Model
import ReplicationCore
import Testing

/// `quorum: majority`, witnesses, and what belongs to them.
@Suite struct MajorityConfigurationTests {
    private func read(_ lines: String) throws -> Configuration {
        let text = """
            volume: r0
            \(lines)
            nodes:
              alpha: {id: 0, address: "10.0.0.1:7789", disk: /dev/vg0/r0}
              bravo: {id: 1, address: "10.0.0.2:7789", disk: /dev/vg0/r0}
              charlie: {id: 2, address: "10.0.0.3:7789", witness: true, state: /var/lib/w}

            """
        return try ConfigurationReader(file: "r0.yaml", expectedVolume: "r0").read(text)
    }

    @Test func threeVotersDecideByMajorityUnlessToldOtherwise() throws {
        let configuration = try read("lease: 3s\nreads: confirm\non-quorum-lost: error")
        #expect(configuration.quorum == "majority" && configuration.timing.lease == 3_000_000_000)
        #expect(configuration.dataNodes.map(\.name) == ["alpha", "bravo"])
        #expect(configuration.node(named: "charlie")?.disk == "/var/lib/w")
        #expect(configuration.helloNodes.map(\.witness) == [false, false, true])
        let core = configuration.replicaConfiguration(node: configuration.nodes[2].id)
        #expect(core.quorum == .majority && core.failsWithoutQuorum && core.confirmsReads)
        #expect(core.members.map(\.isWitness) == [false, false, true])
        let plain = try read("quorum: majority").replicaConfiguration(node: configuration.nodes[0].id)
        #expect(!plain.failsWithoutQuorum && !plain.confirmsReads && plain.timing.lease == 2_000_000_000)
    }

    @Test func aLeaseThatPingsCannotRenewIsRefused() {
        #expect { try read("lease: 500ms") } throws: {
            ($0 as? CommandFailure)?.refusal.message.contains("`lease` is shorter than two `ping-interval`s") == true
        }
        #expect(throws: Never.self) { try read("lease: 500ms\nping-interval: 200ms") }
    }

    @Test func fencingIsForTwoNodesWithoutQuorum() throws {
        #expect { try read("fencing: stonith\nfence-command: /usr/lib/hablk/fence") } throws: {
            ($0 as? CommandFailure)?.refusal.message.contains("nobody needs to be fenced") == true
        }
        let text = """
            volume: r0
            quorum: off
            fencing: stonith
            fence-command: /usr/lib/hablk/fence
            nodes:
              alpha: {id: 0, address: "a:1", disk: /d}
              bravo: {id: 1, address: "b:1", disk: /d}

            """
        let configuration = try ConfigurationReader(file: "r0.yaml", expectedVolume: "r0").read(text)
        #expect(configuration.fenceCommand == "/usr/lib/hablk/fence")
        #expect(configuration.replicaConfiguration(node: configuration.nodes[0].id).fencing == .stonith)
    }

    @Test func eightNodesAreReadAndANinthHasNoId() throws {
        func text(_ count: Int) -> String {
            let nodes = (0..<count).map { "  n\($0): {id: \($0), address: \"n\($0):1\", disk: /d}\n" }
            return "volume: r0\nnodes:\n" + nodes.joined()
        }
        let reader = ConfigurationReader(file: "r0.yaml", expectedVolume: "r0")
        #expect(try reader.read(text(8)).nodes.count == 8)
        #expect(throws: CommandFailure.self) { try reader.read(text(9)) }
    }
}
