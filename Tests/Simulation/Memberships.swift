import Model
import ReplicationCore

/// Administrators who take a node into a cluster with quorum and out of it again (`hablk adjust`), one file after the other: its
/// stream, and how far they are. That node's own file names all nodes always, and its daemon may run at any time.
struct Memberships {
    var random: SplitMix
    /// Who comes and goes.
    var guest: Int
    /// What the files are to say of it.
    var isWanted: Bool

    init(seed: UInt64, options: SimulationOptions) {
        random = SplitMix(seed: seed, subject: "memberships")
        let isWitness = random.chance(1, in: 2)
        guest = options.nodes - 1 - (options.witnesses > 0 && !isWitness ? 1 : 0)
        isWanted = random.chance(1, in: 2)
    }
}

extension Cluster {
    /// Before the first start.
    func beginMemberships() {
        guard options.faults.contains(.membership) else { return }
        if !memberships.isWanted {
            for node in nodes where node.side != memberships.guest { node.misses = [memberships.guest] }
        }
        heap.push(.membership, at: now + 200_000_000)
    }

    /// An administrator comes by: the next file is written, or something else is wanted from now on.
    func changeMembership() {
        guard phase == .safety else { return }
        heap.push(.membership, at: now + 1_000_000 + memberships.random.skewed(mean: options.administratorGap / 4))
        let late = late(for: memberships)
        if let node = late.isEmpty ? nil : memberships.random.pick(late) {
            adjust(node, misses: misses(node, of: memberships))
        } else if memberships.random.chance(1, in: 3) {
            memberships.isWanted.toggle()
            let guest = nodes[memberships.guest]
            if memberships.isWanted {
                start(guest)
            } else if guest.isUp, memberships.random.chance(2, in: 3) {
                ask(guest, .stop)
            }
        }
    }

    /// Whose files are not as they are to be.
    func late(for memberships: Memberships) -> [SimulatedNode] {
        nodes.filter {
            $0.side != memberships.guest && $0.misses.contains(memberships.guest) == memberships.isWanted
        }
    }

    func misses(_ node: SimulatedNode, of memberships: Memberships) -> Set<Int> {
        memberships.isWanted
            ? node.misses.subtracting([memberships.guest]) : node.misses.union([memberships.guest])
    }

    /// Whether two daemons' files let them speak to each other. Once there is a record, also when one was adjusted and the other was
    /// not yet: with two that come and go exactly where one of them had the other's file before.
    func meet(_ node: SimulatedNode, _ other: SimulatedNode) -> Bool {
        guard !node.misses.contains(other.side), !other.misses.contains(node.side) else { return false }
        if options.faults.contains(.turnover), node.misses != other.misses {
            return node.formerMisses.contains(other.misses) || other.formerMisses.contains(node.misses)
        }
        return node.misses == other.misses || isFounded(node) && isFounded(other)
    }

    private func isFounded(_ node: SimulatedNode) -> Bool {
        node.live?.core.pointee.durableState.record.isEmpty == false
    }

    /// A primary is not taken out, and before there is a record nobody is added or taken out of a running volume: false.
    @discardableResult
    func adjust(_ node: SimulatedNode, misses: Set<Int>) -> Bool {
        if misses.contains(where: { nodes[$0].isPrimary }) || node.isUp && !isFounded(node) { return false }
        // With two that come and go not while it is down either: all nodes of the first record are to be named by all files.
        let isNew = MetadataBytes.superblock(node, layout)?.record.isEmpty ?? true
        if options.faults.contains(.turnover), phase == .safety, !node.isUp, isNew { return false }
        if node.isUp { node.formerMisses.append(node.misses) }
        node.misses = misses
        if trace.isOn { trace.add(now, node.side, "deed", "its configuration names \(members(of: node).map(\.name))") }
        guard node.isUp else { return true }
        let id = node.nextCommand
        node.nextCommand += 1
        node.commands.append(
            SimulatedNode.PendingCommand(
                id: CommandID(rawValue: id), command: nil, isAdjustment: true, mustEnd: now + 60_000_000_000))
        deliver(.adjusted(configuration(of: node), CommandID(rawValue: id)), to: node)
        return true
    }

    /// In the end all are wanted.
    func endMemberships() {
        for node in nodes where !node.misses.isEmpty {
            if node.isUp, !isFounded(node) { crash(node, losesPower: false) }
            adjust(node, misses: [])
        }
    }
}
