import Formats
import Model
import ReplicationCore

/// What a script sees of a node: its status, and what its disk says.
struct NodeSight {
    var status: VolumeStatus?
    var superblock: Superblock
    /// Toward the other node.
    var marked: [UInt64] = []
    var unconfirmed: [UInt64] = []
    var hot: [UInt64] = []

    /// Words that `expect` looks for.
    var words: Set<String> {
        guard let status, let peer = status.peers.first else { return ["down"] }
        var words: Set<String> = ["up", status.role.rawValue, status.disk.rawValue, peer.connection.rawValue]
        if let replication = peer.replication { words.insert(replication.rawValue) }
        for reason in status.suspended { words.insert("suspended-\(reason.rawValue)") }
        if status.suspect { words.insert("suspect") }
        if let reason = peer.reason { words.insert(reason) }
        for node in superblock.record.inStep { words.insert("in-step-\(Transcript.name(Int(node.rawValue)))") }
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
            let words = metadata.bitmaps.first?.words ?? []
            return NodeSight(
                status: nil, superblock: metadata.superblock,
                marked: (0..<blocks).filter { block in
                    Int(block / 64) < words.count && words[Int(block / 64)] & (1 << (block % 64)) != 0
                }, unconfirmed: [], hot: metadata.log.table.compactMap { $0.map(UInt64.init) }.sorted())
        }
        let core = live.core
        let peer = NodeID(unchecked: UInt8(1 - node.side))
        return NodeSight(
            status: core.pointee.status(at: node.localTime(cluster.now)), superblock: core.pointee.durableState,
            marked: (0..<blocks).filter { core.pointee.isMarked(block: $0, toward: peer) },
            unconfirmed: (0..<blocks).filter { core.pointee.isUnconfirmed(block: $0) },
            hot: (0..<extents).filter { core.pointee.isHot(extent: UInt32($0)) })
    }

    /// A few lines on each node.
    func show() {
        for node in nodes {
            guard let sight = sight(of: node) else {
                transcript.say("\(Transcript.name(node.side))  its metadata cannot be read")
                continue
            }
            show(node, sight)
        }
    }

    private func show(_ node: SimulatedNode, _ sight: NodeSight) {
        let block = sight.superblock
        let peer = NodeID(unchecked: UInt8(1 - node.side))
        var first = "\(Transcript.name(node.side))  "
        if let status = sight.status, let other = status.peers.first {
            first += "\(status.role.rawValue), \(status.disk.rawValue); "
            first += "\(Transcript.name(1 - node.side)) \(other.connection.rawValue)"
            if let replication = other.replication { first += ", \(replication.rawValue)" }
            if other.connection == .connected { first += ", \(other.role.rawValue), \(other.disk.rawValue)" }
            if let reason = other.reason { first += " (\(reason))" }
            for reason in status.suspended { first += "; SUSPENDED: \(reason.rawValue)" }
        } else {
            first += "down"
        }
        transcript.say(first)
        transcript.say("   \(transcript.text(of: block.record)); required \(Transcript.text(of: block.required))")
        var line = "   at \(transcript.line(block.current, block.history)), "
        line += transcript.text(of: block.peers[peer].base)
        for word in Transcript.words(block.flags) { line += ", \(word)" }
        if !sight.marked.isEmpty { line += "; marked \(ranges(sight.marked))" }
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

    func look(_ block: UInt64) {
        for node in nodes {
            let content = content(node, block)
            let stable = content.stable == content.now ? "" : ", stable \(content.stable)"
            transcript.say("\(Transcript.name(node.side))  block \(block) = \(content.now)\(stable)")
        }
    }

    func compare() {
        let differing = cluster.copies.differing.members.map { UInt64($0) }.sorted()
        guard !differing.isEmpty else { return transcript.say("the copies are equal") }
        transcript.say("the copies differ in \(ranges(differing))")
        for block in differing.prefix(8) { look(block) }
    }
}
