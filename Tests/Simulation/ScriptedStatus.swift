import Formats
import Model
import ReplicationCore

/// What a script sees of a node: its status, and what its disk says.
struct NodeSight {
    var status: VolumeStatus?
    var superblock: Superblock
    /// Toward each node.
    var marked: [[UInt64]]
    var unconfirmed: [UInt64] = []
    var hot: [UInt64] = []

    /// Words that `expect` looks for. Of several peers each one's have its name before them.
    func words(_ letters: [String]) -> Set<String> {
        guard let status else { return ["down"] }
        var words: Set<String> = ["up", status.role.rawValue, status.disk.rawValue]
        for peer in status.peers {
            let who = letters.count > 2 ? "\(letters[Int(peer.id)])-" : ""
            for word in [peer.connection.rawValue, peer.replication?.rawValue, peer.reason] {
                if let word { words.insert(who + word) }
            }
        }
        for reason in status.suspended { words.insert("suspended-\(reason.rawValue)") }
        if status.suspect { words.insert("suspect") }
        for node in superblock.record.inStep { words.insert("in-step-\(letters[Int(node.rawValue)])") }
        if letters.count > 2 {
            for node in superblock.record.voters { words.insert("voter-\(letters[Int(node.rawValue)])") }
        }
        return words
    }
}

extension ScriptedCluster {
    func sight(of node: SimulatedNode) -> NodeSight? {
        let blocks = cluster.options.blocks
        let extents = (blocks + Geometry.blocksPerExtent - 1) / Geometry.blocksPerExtent
        guard let live = node.live else {
            guard case .success(let metadata) = MetadataBytes.load(node, layout: cluster.layout, repairing: false)
            else { return nil }
            let marked = nodes.map { peer in
                let words = metadata.bitmaps.first { $0.node == peer.id }?.words ?? []
                return (0..<blocks).filter { block in
                    Int(block / 64) < words.count && words[Int(block / 64)] & (1 << (block % 64)) != 0
                }
            }
            return NodeSight(
                status: nil, superblock: metadata.superblock, marked: marked, unconfirmed: [],
                hot: metadata.log.table.compactMap { $0.map(UInt64.init) }.sorted())
        }
        let core = live.core
        return NodeSight(
            status: core.pointee.status(at: node.localTime(cluster.now)), superblock: core.pointee.durableState,
            marked: nodes.map { peer in
                peer === node || peer.isWitness
                    ? [] : (0..<blocks).filter { core.pointee.isMarked(block: $0, toward: peer.id) }
            },
            unconfirmed: (0..<blocks).filter { core.pointee.isUnconfirmed(block: $0) },
            hot: (0..<extents).filter { core.pointee.isHot(extent: UInt32($0)) })
    }

    /// A few lines on each node.
    func show() {
        for node in nodes {
            guard let sight = sight(of: node) else {
                transcript.say("\(letters[node.side])  its metadata cannot be read")
                continue
            }
            show(node, sight)
        }
    }

    private func show(_ node: SimulatedNode, _ sight: NodeSight) {
        let block = sight.superblock
        var first = "\(letters[node.side])  "
        if let status = sight.status {
            first += "\(status.role.rawValue), \(status.disk.rawValue)"
            for other in status.peers {
                first += "; \(letters[Int(other.id)]) \(other.connection.rawValue)"
                if let replication = other.replication { first += ", \(replication.rawValue)" }
                if other.connection == .connected { first += ", \(other.role.rawValue), \(other.disk.rawValue)" }
                if let reason = other.reason { first += " (\(reason))" }
            }
            for reason in status.suspended { first += "; SUSPENDED: \(reason.rawValue)" }
        } else {
            first += "down"
        }
        transcript.say(first)
        transcript.say("   \(transcript.text(of: block.record)); required \(transcript.text(of: block.required))")
        if node.isWitness { return }
        var line = "   at \(transcript.line(block.current, block.history))"
        for peer in cluster.copyNodes where peer !== node {
            line += ", \(transcript.text(of: block.peers[peer.id].base))"
        }
        for word in Transcript.words(block.flags) { line += ", \(word)" }
        for peer in cluster.copyNodes where !sight.marked[peer.side].isEmpty {
            let who = cluster.options.isByMajority ? " toward \(letters[peer.side])" : ""
            line += "; marked\(who) \(ranges(sight.marked[peer.side]))"
        }
        if !sight.unconfirmed.isEmpty { line += "; unconfirmed \(ranges(sight.unconfirmed))" }
        if !sight.hot.isEmpty { line += "; hot extents \(ranges(sight.hot))" }
        transcript.say(line)
    }

    func ranges(_ numbers: [UInt64]) -> String {
        var texts: [String] = []
        var index = 0
        while index < numbers.count {
            var end = index
            while end + 1 < numbers.count, numbers[end + 1] == numbers[end] + 1 { end += 1 }
            texts.append(Transcript.text(of: numbers[index]..<numbers[end] + 1))
            index = end + 1
        }
        return texts.joined(separator: " ")
    }

    // MARK: Blocks

    /// What a read of that copy would give, and what a loss of power would leave.
    func content(_ node: SimulatedNode, _ block: UInt64) -> (now: String, stable: String) {
        let first = Int(block) * 8
        let now = (first..<first + 8).map { cluster.copies[node.side, $0] }
        let stable = Array(node.disk.stable[first..<first + 8])
        return (transcript.block(now, 0), transcript.block(stable, 0))
    }

    /// What it has kept aside of that block.
    func kept(_ node: SimulatedNode, _ block: UInt64) -> String {
        let first = Int(block) * 8
        let values = (first..<first + 8).compactMap { cluster.keepings.kept[node.side][$0] }
        return values.count == 8 ? transcript.block(values, 0) : "nothing"
    }

    func look(_ block: UInt64) {
        for node in cluster.copyNodes {
            let content = content(node, block)
            let stable = content.stable == content.now ? "" : ", stable \(content.stable)"
            transcript.say("\(letters[node.side])  block \(block) = \(content.now)\(stable)")
        }
    }

    func compare() {
        let differing = cluster.copies.differing.members.map { UInt64($0) }.sorted()
        guard !differing.isEmpty else { return transcript.say("the copies are equal") }
        transcript.say("the copies differ in \(ranges(differing))")
        for block in differing.prefix(8) { look(block) }
    }
}
