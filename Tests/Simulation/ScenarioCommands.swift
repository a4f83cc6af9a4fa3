import Formats
import Model
import ReplicationCore

/// The command language of scenarios. `Tests/Scenarios/README.md` has the list.
extension ScriptedCluster {
    /// Does what a line says, lets a moment pass, and looks whether all still holds.
    func perform(_ words: [String]) throws(ScenarioError) {
        if words[0] == "quietly" {
            guard words.count > 1 else { throw ScenarioError("what quietly?") }
            try perform(Array(words.dropFirst()))
            _ = transcript.take()
            return
        }
        if words[0] == "repeat" { return try performRepeatedly(words) }
        var isKnown = try performOnNodes(words)
        if !isKnown { isKnown = try performOnNetwork(words) }
        if !isKnown { isKnown = try performOnDisk(words) }
        if !isKnown { isKnown = try performAsClient(words) }
        if !isKnown { isKnown = try performAsAdministrator(words) }
        if !isKnown { isKnown = try performLooking(words) }
        guard isKnown else { throw ScenarioError("no command is called `\(words[0])`") }
        run(for: Self.moment)
        cluster.checkDeeply()
        if transcript.isFull { throw ScenarioError("more than \(Scenario.mostLines) lines are said") }
    }

    /// `repeat 3 crash a; start a`, without a word on how it went.
    private func performRepeatedly(_ words: [String]) throws(ScenarioError) {
        guard words.count > 2 else { throw ScenarioError("repeat TIMES COMMAND; COMMAND …") }
        for _ in 0..<(try Self.number(words[1])) {
            for command in words.dropFirst(2).joined(separator: " ").split(separator: ";") {
                try perform(["quietly"] + command.split(separator: " ").map(String.init))
            }
        }
    }

    // MARK: Nodes and time

    private func performOnNodes(_ words: [String]) throws(ScenarioError) -> Bool {
        switch words[0] {
        case "create":
            let node = try node(words, 1)
            guard !node.usesDisk, !node.disk.hasOperations else { throw ScenarioError("its disk is in use") }
            var blocks = cluster.options.blocks
            for word in words.dropFirst(2) where word.hasPrefix("blocks=") {
                blocks = try Self.number(String(word.dropFirst("blocks=".count)))
            }
            create(node, blocks: blocks, isBlank: words.contains("blank"))
        case "start":
            for index in 1..<words.count {
                let node = try node(words, index)
                if let why = start(node) { transcript.say("\(words[index])  cannot start: \(why)") }
                run(for: Self.moment)
            }
        case "crash":
            let losesPower = words.last == "power"
            for index in 1..<words.count - (losesPower ? 1 : 0) {
                cluster.crash(try node(words, index), losesPower: losesPower)
            }
        case "pause":
            guard words.count == 3 else { throw ScenarioError("pause NODE TIME") }
            cluster.pause(try node(words, 1), for: try Self.duration(words[2]))
        case "run":
            if words.dropFirst() == ["until", "quiet"] {
                if !runUntilQuiet() { throw ScenarioError("it never gets quiet") }
            } else {
                guard words.count == 2 else { throw ScenarioError("run TIME, or run until quiet") }
                run(for: try Self.duration(words[1]))
            }
        default: return false
        }
        return true
    }

    // MARK: Disks

    private func performOnDisk(_ words: [String]) throws(ScenarioError) -> Bool {
        switch words[0] {
        case "disk":
            guard words.count >= 3 else { throw ScenarioError("disk NODE keeps|holds|releases|fails …") }
            try perform(onDiskOf: try node(words, 1), Array(words.dropFirst(2)))
        case "keeping":
            guard words.count == 3 else { throw ScenarioError("keeping NODE waits|goes-on|fails|succeeds") }
            try keep(try node(words, 1), words[2])
        case "forge":
            // The disk forgets a block that it had: what no disk may do, for whoever doubts that the oracle looks on.
            guard words.count == 3 else { throw ScenarioError("forge NODE BLOCK") }
            for block in try blocks(words[2]) { try node(words, 1).disk.forget(Int(block)) }
        case "plant":
            // A block rots, and the oracle knows: a comparison is to find it.
            guard words.count == 3 else { throw ScenarioError("plant NODE BLOCK") }
            for block in try blocks(words[2]) {
                cluster.copies.plant(Int(block))
                try node(words, 1).disk.rot(Int(block), to: 1 << 62 | block)
            }
        case "snapshot": takeSnapshot(of: try node(words, 1))
        case "restore":
            guard restore(try node(words, 1)) else { throw ScenarioError("it runs, or has no snapshot") }
        case "clone":
            guard words.count == 3, words[1] != words[2] else { throw ScenarioError("clone FROM TO") }
            let node = try node(words, 2)
            guard !node.isUp else { throw ScenarioError("\(words[2]) runs") }
            clone(try self.node(words, 1), to: node)
        case "damage":
            guard words.count == 3 else { throw ScenarioError("damage NODE superblock-0|superblock-1|log|bitmap") }
            try damage(try node(words, 1), words[2])
        default: return false
        }
        return true
    }

    private func perform(onDiskOf node: SimulatedNode, _ words: [String]) throws(ScenarioError) {
        switch words[0] {
        case "keeps":
            switch words.dropFirst().first {
            case "nothing": node.disk.script?.survival = .nothing
            case "everything": node.disk.script?.survival = .everything
            default:
                var kept: Set<Int> = []
                for word in words.dropFirst() { for block in try blocks(word) { kept.insert(Int(block)) } }
                node.disk.script?.survival = .blocks(kept)
            }
        case "holds":
            let kinds = Set(words.dropFirst())
            guard kinds.isSubset(of: SimulatedDisk.Deed.heldKinds) else { throw ScenarioError("a kind is unknown") }
            node.disk.script?.holds = kinds
        case "releases": releaseDisk(node, words.count > 1 ? Set(words.dropFirst()) : SimulatedDisk.Deed.heldKinds)
        case "fails":
            guard words.count >= 2, SimulatedDisk.Deed.scriptKinds.contains(words[1]) else {
                throw ScenarioError("disk NODE fails KIND [TIMES]")
            }
            node.disk.script?.failures[words[1]] = words.count > 2 ? Int(try Self.number(words[2])) : 1
        default: throw ScenarioError("a disk does not `\(words[0])`")
        }
    }

    /// What is kept aside of what it gives up (`discarded-data=keep`).
    private func keep(_ node: SimulatedNode, _ word: String) throws(ScenarioError) {
        switch word {
        case "waits": cluster.keepings.held[node.side] = []
        case "goes-on": cluster.releaseKept(node)
        case "fails": cluster.keepings.failing.insert(node.side)
        case "succeeds": cluster.keepings.failing.remove(node.side)
        default: throw ScenarioError("keeping does not `\(word)`")
        }
    }

    /// A block of metadata rots: its first bytes are others.
    private func damage(_ node: SimulatedNode, _ what: String) throws(ScenarioError) {
        let layout = MetadataBytes.layout(of: node, cluster.layout)
        let peer = cluster.other(node).id
        var offsets: [UInt64] = []
        switch what {
        case "superblock-0": offsets = [layout.superblockOffset(copy: 0)]
        case "superblock-1": offsets = [layout.superblockOffset(copy: 1)]
        case "log":
            let ring = layout.logOffset..<layout.logOffset + layout.logLength
            offsets = Array(stride(from: ring.lowerBound, to: ring.upperBound, by: MetadataBytes.block))
        case "bitmap": offsets = layout.bitmapPageOffset(of: peer, page: 0).map { [$0] } ?? []
        default: throw ScenarioError("`\(what)` is no metadata")
        }
        for offset in offsets {
            let bytes = node.disk.metadata[Int(offset) + 64..<Int(offset) + 96]
            node.disk.landMetadata(offset: Int(offset) + 64, bytes: bytes.map { ~$0 })
        }
    }

    // MARK: Clients

    private func performAsClient(_ words: [String]) throws(ScenarioError) -> Bool {
        var kind = words[0]
        let forced = kind.hasPrefix("fua-")
        if forced { kind.removeFirst("fua-".count) }
        let kinds: [String: ClientRequest.Kind] = [
            "read": .read, "write": .write, "zero": .zero, "trim": .trim, "flush": .flush,
        ]
        if kind == "leave" {
            let node = try node(words, 1)
            guard cluster.letClientGo(node) else { throw ScenarioError("its requests are not all answered") }
            return true
        }
        guard let wanted = kinds[kind] else { return false }
        let node = try node(words, 1)
        var range = ByteRange(offset: 0, length: 0)
        if wanted != .flush {
            guard words.count > 2 else { throw ScenarioError("which block?") }
            range = ByteRange(blocks: try blocks(words[2]))
        }
        var label = ""
        if wanted == .write {
            guard words.count == 5, words[3] == "=" else { throw ScenarioError("write NODE BLOCK = VALUE") }
            label = words[4]
        }
        guard request(node, wanted, range, forced: forced, label: label) else {
            throw ScenarioError("\(words[1]) is down, or takes no more requests")
        }
        return true
    }

    // MARK: Looking

    private func performLooking(_ words: [String]) throws(ScenarioError) -> Bool {
        switch words[0] {
        case "show": show()
        case "compare": compare()
        case "look":
            for word in words.dropFirst() { for block in try blocks(word) { look(block) } }
        case "expect":
            guard words.count > 1 else { throw ScenarioError("expect what?") }
            try expect(Array(words.dropFirst()))
        default: return false
        }
        return true
    }
}
