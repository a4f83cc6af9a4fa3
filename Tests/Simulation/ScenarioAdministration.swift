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
        if words[0] == "adjust" {
            try adjust(words)
            return true
        }
        if words[0] == "enlarge" {
            guard words.count == 3 else { throw ScenarioError("enlarge NODE BLOCKS") }
            cluster.growths.rooms[try node(words, 1).side] = min(try Self.number(words[2]), cluster.options.blocks)
            return true
        }
        guard Self.commands.contains(words[0]) else { return false }
        let node = try node(words, 1)
        guard node.isUp else { throw ScenarioError("\(words[1]) is down") }
        if words[0].hasSuffix("fenced") {
            guard answerFencing(node, try peer(words, 2, of: node) ?? cluster.other(node), words[0] == "fenced") else {
                throw ScenarioError("it waits for no such command")
            }
            return true
        }
        let command = try command(words, node)
        if cluster.options.isByMajority, case .promote(force: true, _, _, false, _) = command, cluster.ruler == nil {
            cluster.ruler = (node.side, false)
        }
        cluster.ask(node, command, inTheseWords: true)
        return true
    }

    /// `adjust a without c`: the node's file names all others but these from now on; a running daemon takes that up, another one does
    /// when it starts.
    private func adjust(_ words: [String]) throws(ScenarioError) {
        let node = try node(words, 1)
        guard words.count == 2 || words.count > 3 && words[2] == "without" else {
            throw ScenarioError("adjust NODE [without NODE…]")
        }
        var misses: Set<Int> = []
        for place in words.indices.dropFirst(3) {
            if let missed = try peer(words, place, of: node) { misses.insert(missed.side) }
        }
        guard cluster.adjust(node, misses: misses) else {
            throw ScenarioError("a primary is not taken out, and nothing is adjusted before there is a record")
        }
    }

    private static let commands: Set<String> = [
        "promote", "demote", "fenced", "not-fenced", "connect", "disconnect", "detach", "outdate", "invalidate",
        "pause-resync",
        "resume-resync", "stop", "verify", "stop-verify", "repair", "resize",
    ]

    private func command(_ words: [String], _ node: SimulatedNode) throws(ScenarioError) -> Command {
        let other = cluster.other(node).id
        let force = words.contains("--force")
        let dryRun = words.contains("--dry-run")
        let deadline = node.localTime(cluster.now + (try patience(words)))
        switch words[0] {
        case "promote":
            var fenced: NodeID?
            if let place = words.firstIndex(of: "--peer-fenced") {
                fenced = try peer(words, place + 1, of: node)?.id ?? other
            }
            return .promote(
                force: force, peerFenced: fenced, deadline: deadline, dryRun: dryRun,
                acceptsLoss: words.contains("--accept-data-loss"))
        case "demote": return .demote(force: force, deadline: deadline)
        case "connect":
            return .connect(
                peer: try peer(words, 2, of: node)?.id, discardMyData: words.contains("--discard-my-data"),
                dryRun: dryRun,
                deadline: deadline)
        case "disconnect": return .disconnect(peer: try peer(words, 2, of: node)?.id, force: force)
        case "detach": return .detach(force: force)
        case "outdate": return .outdate(force: force)
        case "invalidate":
            return .invalidate(peer: words.contains("peer") ? other : nil, force: force, deadline: deadline)
        case "pause-resync": return .pauseResync
        case "resume-resync": return .resumeResync
        case "verify": return .verify(peer: nil, rate: nil)
        case "stop-verify": return .stopVerify(peer: nil)
        case "repair":
            guard let place = words.firstIndex(of: "from") else { return .repair(peer: nil, from: nil) }
            return .repair(peer: nil, from: try self.node(words, place + 1).id)
        case "resize":
            let blocks = words.count > 2 && !words[2].hasPrefix("--") ? try Self.number(words[2]) : nil
            return .resize(size: blocks.map { $0 * Geometry.blockSize }, dryRun: dryRun, deadline: deadline)
        default: return .stop
        }
    }

    /// The other node that stands there; nil: none.
    private func peer(_ words: [String], _ place: Int, of node: SimulatedNode) throws(ScenarioError) -> SimulatedNode? {
        guard place < words.count, !words[place].hasPrefix("--") else { return nil }
        let peer = try self.node(words, place)
        guard peer !== node else { throw ScenarioError("\(words[place]) is no other node") }
        return peer
    }

    /// `--within 5s`: how long the command may wait; a second if it is not said, and `promote` not at all.
    private func patience(_ words: [String]) throws(ScenarioError) -> UInt64 {
        guard let index = words.firstIndex(of: "--within") else { return words[0] == "promote" ? 0 : 1_000_000_000 }
        guard index + 1 < words.count else { throw ScenarioError("--within what?") }
        return try Self.duration(words[index + 1])
    }
}
