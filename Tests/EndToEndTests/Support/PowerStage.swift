/// Both nodes of a cluster on disks whose power can be cut, and one timeline of all they do.
final class PowerStage {
    /// Who lost its power. Of two, the other's daemon died at the same moment, and all that it wrote is there.
    enum Victim: Sendable {
        case alpha, bravo, both

        func includes(_ node: TestNode) -> Bool { self == .both || (node.name == "alpha") == (self == .alpha) }
    }

    let cluster: TestCluster
    let timeline = PowerTimeline()
    private let disks: [PowerDisk]

    /// No daemon may run yet.
    init(_ cluster: TestCluster) throws {
        self.cluster = cluster
        var disks: [PowerDisk] = []
        for (number, node) in cluster.nodes.enumerated() {
            disks.append(try PowerDisk(path: node.diskPath, timeline: timeline, disk: number))
        }
        self.disks = disks
        cluster.atEnd { disks.forEach { $0.end() } }
    }

    /// The daemons and what serves their disks are gone; from now on there are only images.
    func end() throws {
        for (node, disk) in zip(cluster.nodes, disks) { try disk.cutPower(of: node) }
    }

    /// Puts in place what was left when all ended after the timeline's first `count` entries, with a new boot for who lost
    /// its power.
    /// - Returns: how many sectors are gone.
    func restore(_ count: Int, cutting victim: Victim, seed: UInt64) throws -> Int {
        var lost = 0
        for (number, node) in cluster.nodes.enumerated() {
            let isCut = victim.includes(node)
            lost += try disks[number].makeImage(
                isCut ? PowerLoss(seed: seed &* 2 &+ UInt64(number)) : .none, upTo: count)
            if isCut { node.reboot() }
        }
        return lost
    }
}
