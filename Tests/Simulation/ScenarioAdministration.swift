import Model
import ReplicationCore

/// What an administrator says in a scenario: the words of `hablk`.
extension ScriptedCluster {
    func performAsAdministrator(_ words: [String]) throws(ScenarioError) -> Bool {
        if words[0] == "attach" {
            let node = try node(words, 1)
            guard cluster.attach(node) != nil else { throw ScenarioError("it cannot take a disk now") }
            return true
        }
        guard Self.commands.contains(words[0]) else { return false }
        let node = try node(words, 1)
        guard node.isUp else { throw ScenarioError("\(words[1]) is down") }
        let command = try command(words, node)
        cluster.ask(node, command)
        return true
    }

    private static let commands: Set<String> = [
        "promote", "demote", "connect", "disconnect", "detach", "outdate", "invalidate", "pause-resync",
        "resume-resync", "stop", "verify", "stop-verify", "repair",
    ]

    private func command(_ words: [String], _ node: SimulatedNode) throws(ScenarioError) -> Command {
        let peer = NodeID(unchecked: UInt8(1 - node.side))
        let force = words.contains("--force")
        let dryRun = words.contains("--dry-run")
        let deadline = node.localTime(cluster.now + (try patience(words)))
        switch words[0] {
        case "promote":
            return .promote(
                force: force, peerFenced: words.contains("--peer-fenced") ? peer : nil, deadline: deadline,
                dryRun: dryRun, acceptsLoss: words.contains("--accept-data-loss"))
        case "demote": return .demote(force: force, deadline: deadline)
        case "connect":
            return .connect(
                peer: nil, discardMyData: words.contains("--discard-my-data"), dryRun: dryRun,
                deadline: deadline)
        case "disconnect": return .disconnect(peer: nil, force: force)
        case "detach": return .detach(force: force)
        case "outdate": return .outdate(force: force)
        case "invalidate":
            return .invalidate(peer: words.contains("peer") ? peer : nil, force: force, deadline: deadline)
        case "pause-resync": return .pauseResync
        case "resume-resync": return .resumeResync
        case "verify": return .verify(peer: nil, rate: nil)
        case "stop-verify": return .stopVerify(peer: nil)
        case "repair":
            guard let place = words.firstIndex(of: "from") else { return .repair(peer: nil, from: nil) }
            return .repair(peer: nil, from: try self.node(words, place + 1).id)
        default: return .stop
        }
    }

    /// `--within 5s`: how long the command may wait; a second if it is not said, and `promote` not at all.
    private func patience(_ words: [String]) throws(ScenarioError) -> UInt64 {
        guard let index = words.firstIndex(of: "--within") else { return words[0] == "promote" ? 0 : 1_000_000_000 }
        guard index + 1 < words.count else { throw ScenarioError("--within what?") }
        return try Self.duration(words[index + 1])
    }
}
