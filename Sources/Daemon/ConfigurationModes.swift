import Model
import Yams

/// When a write counts as done at a copy: `replication`, and what goes with `memory` and `async`.
extension ConfigurationReader {
    func replicationMode(_ value: Node) throws(CommandFailure) -> ReplicationMode {
        let text = try scalar(value, of: "replication")
        guard let mode = ReplicationMode(rawValue: text) else {
            throw wrong(value, "replication", text, remedy: "write `sync`, `memory` or `async`")
        }
        return mode
    }

    /// How what goes to the peers is made shorter.
    func compression(_ value: Node) throws(CommandFailure) -> Compression {
        let text = try scalar(value, of: "compression")
        if ConfigurationScalar.isOff(text) { return .off }
        guard let compression = Compression(rawValue: text) else {
            throw wrong(value, "compression", text, remedy: "write `off`, `lz4` or `zstd`")
        }
        return compression
    }

    /// How what goes to the peers is paced. Whether the kernel has it shows at a connection.
    func congestionControl(_ value: Node) throws(CommandFailure) -> String? {
        let text = try scalar(value, of: "tcp-congestion-control")
        if text == "system" { return nil }
        let letters = text.utf8.allSatisfy { (0x61...0x7a).contains($0) || (0x30...0x39).contains($0) || $0 == 0x5f }
        guard letters, (1...15).contains(text.utf8.count), !ConfigurationScalar.isOff(text) else {
            throw wrong(
                value, "tcp-congestion-control", text,
                remedy: "write `system`, or a name of `sysctl net.ipv4.tcp_available_congestion_control`, as `bbr`")
        }
        return text
    }

    /// What cannot be together.
    func checkModes(_ configuration: Configuration, _ mark: Mark?, _ congestionMark: Mark?) throws(CommandFailure) {
        let isAsynchronous = configuration.dataNodes.contains { configuration.mode(of: $0) == .asynchronous }
        let isInMemory = configuration.dataNodes.contains { configuration.mode(of: $0) == .memory }
        if isAsynchronous, isInMemory, configuration.quorum == "majority" {
            throw failure(
                mark, "not-in-this-release",
                "`memory` and `async` copies together beside a majority have not landed in this release",
                remedy: "use `sync` in the place of one of the two, or two nodes and `quorum: off`")
        }
        guard configuration.onCongestion == "fall-behind" else { return }
        guard isAsynchronous else {
            throw failure(
                congestionMark, "wrong-value", "only an asynchronous copy may fall behind",
                remedy: "use `replication: async`, or `on-congestion: block`")
        }
        guard configuration.fencing == "none" else {
            throw failure(
                congestionMark, "wrong-value",
                "a copy that falls behind would be fenced for it: `fencing: \(configuration.fencing)`",
                remedy: "use `on-congestion: block`, or leave `fencing` out")
        }
    }
}
