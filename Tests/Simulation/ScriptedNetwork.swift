import Model
import ReplicationCore

/// The network of a scripted cluster: frames wait, pass one by one, are lost, or come late.
extension ScriptedCluster {
    typealias Direction = (from: Int, to: Int)

    func performOnNetwork(_ words: [String]) throws(ScenarioError) -> Bool {
        switch words[0] {
        case "hold": for direction in try directions(words) { hold(direction) }
        case "release": for direction in try directions(words) { release(direction) }
        case "cut": for direction in try lines(words) { hold(direction) }
        case "heal": for direction in try lines(words) { release(direction) }
        case "pass":
            guard words.count >= 3 else { throw ScenarioError("pass a->b WORDS") }
            let text = words.dropFirst(2).joined(separator: " ")
            guard pass(try direction(words[1]), through: text) else {
                throw ScenarioError("nothing waits that says so")
            }
        case "break":
            // The connection breaks; what is held back may still come, late.
            _ = breakConnections(among: try ends(words), losing: nil)
        case "drop":
            for direction in try directions(words) {
                for text in breakConnections(among: [direction.from, direction.to], losing: direction.to) {
                    transcript.say("lost on the way: \(text)")
                }
                release(direction)
            }
        default: return false
        }
        return true
    }

    // MARK: Words

    private func directions(_ words: [String]) throws(ScenarioError) -> [Direction] {
        guard words.count > 1 else { throw ScenarioError("\(words[0]) a->b") }
        var found: [Direction] = []
        for word in words.dropFirst() { found.append(try direction(word)) }
        return found
    }

    private func direction(_ word: String) throws(ScenarioError) -> Direction {
        let ends = word.split(separator: ">").map { $0.hasSuffix("-") ? $0.dropLast() : $0 }
        guard ends.count == 2, word.contains("->") else { throw ScenarioError("`\(word)` is no direction: a->b") }
        let (from, to) = (try side(ends[0]), try side(ends[1]))
        guard from != to else { throw ScenarioError("`\(word)` leads nowhere") }
        return (from, to)
    }

    /// Nothing: all nodes; one: it and each other; two: these.
    private func ends(_ words: [String]) throws(ScenarioError) -> [Int] {
        guard words.count <= 3 else { throw ScenarioError("\(words[0]) [NODE [NODE]]") }
        var ends: [Int] = []
        for word in words.dropFirst() { ends.append(try side(word)) }
        return ends
    }

    /// Both ways.
    private func lines(_ words: [String]) throws(ScenarioError) -> [Direction] {
        let ends = try ends(words)
        return nodes.indices.flatMap { from in nodes.indices.map { (from, $0) } }.filter { from, to in
            from != to && ends.allSatisfy { $0 == from || $0 == to }
        }
    }

    // MARK: Deeds

    /// Frames that way wait; a connection does not break by it before its pings time out.
    private func hold(_ way: Direction) {
        let direction = cluster.network.direction(from: way.from, to: way.to)
        cluster.network.blocked[direction] = true
        cluster.network.cuts[direction] += 1
    }

    private func release(_ way: Direction) {
        let direction = cluster.network.direction(from: way.from, to: way.to)
        cluster.heal(direction, cluster.network.cuts[direction])
    }

    /// What waits there arrives, through the first that begins with `text`; the rest waits on.
    private func pass(_ way: Direction, through text: String) -> Bool {
        let direction = cluster.network.direction(from: way.from, to: way.to)
        guard cluster.network.blocked[direction] else { return false }
        for index in cluster.network.openSessions
        where cluster.network[index].concerns(way.from) && cluster.network[index].other(than: way.from) == way.to {
            let lane = cluster.network[index].lanes[way.to]
            let place = lane.items[lane.head...].firstIndex { item in
                describe(item, from: way.from)?.hasPrefix(text) ?? false
            }
            guard let place, lane.held > place - lane.head else { continue }
            cluster.network.blocked[direction] = false
            for _ in lane.head...place {
                cluster.network[index].lanes[way.to].held -= 1
                cluster.arrives(index, way.to)
            }
            cluster.network.blocked[direction] = true
            return true
        }
        return false
    }

    /// The connections between `ends` break (none: all). What waits toward `losing` is lost; what waits the other way may come
    /// late.
    /// - Returns: what is lost.
    private func breakConnections(among ends: [Int], losing side: Int?) -> [String] {
        var lost: [String] = []
        for index in cluster.network.openSessions where ends.allSatisfy({ cluster.network[index].concerns($0) }) {
            if let side {
                let from = cluster.network[index].other(than: side)
                while let item = cluster.network[index].lanes[side].popFirst() {
                    if let text = describe(item, from: from) { lost.append(text) }
                }
            }
            let session = cluster.network[index]
            for node in session.ends.map({ nodes[$0] })
            where !session.ended[node.side] && session.incarnations[node.side] == node.incarnation {
                cluster.network[index].ended[node.side] = true
                guard session.opened[node.side] else { continue }
                cluster.later(
                    .sessionClosed(nodes[session.other(than: node.side)].id, session.id, "connection reset"), to: node)
            }
        }
        return lost
    }

    private func describe(_ item: SimulatedNetwork.Item, from: Int) -> String? {
        guard case .frame(let head, let payload) = item else { return nil }
        let sender = nodes[from]
        let decoded = FrameBytes.decode(head: head, payload: payload) {
            sender.buffers.take(.payload, sectors: FrameBytes.sectors(of: payload))
        }
        guard case .success(let (_, message)) = decoded else { return nil }
        defer { if let (buffer, _) = message.payload { sender.buffers.release(buffer) } }
        return transcript.text(of: message, sender)
    }
}
