import Model
import ReplicationCore

/// A run cannot go on: what it waited for did not come.
package struct CrashRunStuck: Error, CustomStringConvertible {
    package var description: String
}

/// A cluster in which nothing happens but what a string of deeds asks for: no faults, no clients and no administrators of
/// their own. The same deeds and seed do the same every time, and something may look on after each happening.
package final class CrashRun {
    let cluster: Cluster
    /// Called after each happening.
    var witness: (() -> Void)?
    /// Happenings so far; the script ends with `halted` after this one.
    private(set) var happenings = 0
    var haltsAfter: Int?
    var isHalted: Bool { haltsAfter.map { happenings >= $0 } ?? false }
    /// Blocks that the script wrote.
    private(set) var touched = BlockSet(capacity: 0)

    /// Nanoseconds that a script waits for anything.
    private static let patience: UInt64 = 60_000_000_000

    package init(_ options: SimulationOptions, trace: Trace = Trace()) {
        cluster = Cluster(options: options, trace: trace)
        touched = BlockSet(capacity: Int(options.blocks))
    }

    /// Options without faults: a small volume of several extents and a log that has no room for all of them.
    package static func options(seed: UInt64) -> SimulationOptions {
        var options = SimulationOptions(seed: seed)
        options.faults = []
        options.blocks = 3 * Geometry.blocksPerExtent + 8
        options.logExtents = 2
        options.diskLatency = 100_000
        options.networkDelay = 100_000
        options.timing = Timing()
        options.limits = Limits()
        options.limits.clientOperations = 16
        options.limits.peerOperations = 64
        options.limits.unconfirmedEntries = 64
        options.limits.coolAfter = 2_000_000_000
        options.resyncRate = nil
        options.planted = nil
        return options
    }

    var violation: Violation? { cluster.oracle.violation }

    // MARK: Time

    private func happened() throws(CrashRunStuck) {
        happenings += 1
        witness?()
        if isHalted { throw CrashRunStuck(description: "halted") }
    }

    /// Lets things happen until `condition` holds.
    func run(until what: String, _ condition: () -> Bool) throws(CrashRunStuck) {
        let end = cluster.now + Self.patience
        while !condition() {
            guard violation == nil else { throw CrashRunStuck(description: "the oracle objects before \(what)") }
            guard cluster.now < end, cluster.happensNext() else {
                throw CrashRunStuck(description: "waited in vain for \(what)")
            }
            try happened()
        }
    }

    /// Lets things happen for a time.
    func run(nanoseconds: UInt64) throws(CrashRunStuck) {
        let end = cluster.now + nanoseconds
        // No cut has this number: it only makes time pass.
        cluster.heap.push(.heal(direction: 0, cut: -1), at: end)
        while cluster.now < end, violation == nil, cluster.happensNext() { try happened() }
    }

    // MARK: Deeds

    func start(_ side: Int) throws(CrashRunStuck) {
        cluster.start(cluster.nodes[side])
        try happened()
    }

    /// Gives a command and waits for its answer, which must be that it was done.
    func perform(_ side: Int, _ what: String, _ command: (Cluster, SimulatedNode) -> Command) throws(CrashRunStuck) {
        let node = cluster.nodes[side]
        let incarnation = node.incarnation
        guard let id = cluster.ask(node, command(cluster, node)) else {
            throw CrashRunStuck(description: "node \(side) cannot be asked to \(what)")
        }
        try happened()
        // Whoever stops is gone before its answer can be read.
        try run(until: "\(what) on node \(side)") { node.outcomes[id] != nil || node.incarnation != incarnation }
        guard let outcome = node.outcomes[id] else { return }
        guard case .done = outcome else {
            throw CrashRunStuck(description: "node \(side) did not \(what): \(outcome)")
        }
    }

    func promote(_ side: Int) throws(CrashRunStuck) {
        try perform(side, "promote") { cluster, node in
            .promote(
                force: false, peerFenced: nil, deadline: node.localTime(cluster.now + 10_000_000_000), dryRun: false)
        }
    }

    func demote(_ side: Int) throws(CrashRunStuck) {
        try letClientGo(side)
        try perform(side, "demote") { cluster, node in
            .demote(force: false, deadline: node.localTime(cluster.now + 10_000_000_000))
        }
    }

    func stop(_ side: Int) throws(CrashRunStuck) {
        try letClientGo(side)
        try perform(side, "stop") { _, _ in .stop }
    }

    private func letClientGo(_ side: Int) throws(CrashRunStuck) {
        let node = cluster.nodes[side]
        try run(until: "the clients of node \(side) to go") { cluster.letClientGo(node) }
    }

    /// Nothing arrives anywhere until `heal`.
    func cut() {
        for toward in 0...1 { cluster.block(toward, for: 1 << 50) }
    }

    func heal() {
        for toward in 0...1 { cluster.heal(toward: toward) }
    }

    // MARK: Clients

    /// Gives requests to a primary at once, and waits until each is answered.
    func request(
        _ side: Int, _ kind: ClientRequest.Kind, _ ranges: [ByteRange], forced: Bool = false
    ) throws(CrashRunStuck) {
        let node = cluster.nodes[side]
        if node.clients == 0 {
            node.clients = 1
            cluster.deliver(.clientsChanged(count: 1), to: node)
        }
        for range in ranges {
            guard cluster.give(node, kind, range, forced: forced) != nil else {
                throw CrashRunStuck(description: "node \(side) has no ticket left")
            }
            for block in range.blocks where kind != .read && kind != .flush { touched.insert(Int(block)) }
            try happened()
        }
        try run(until: "answers of node \(side)") { node.operationsInFlight == 0 }
    }

    // MARK: Conditions

    /// Both see each other in step with nothing to copy.
    var isEstablished: Bool {
        cluster.nodes.allSatisfy { node in
            guard let status = cluster.status(node), let peer = status.peers.first else { return false }
            return peer.replication == .established && peer.connection == .connected && peer.resync == nil
                && peer.outOfSyncBytes == 0 && status.disk == .upToDate
        }
    }

    var isConnected: Bool {
        cluster.nodes.allSatisfy { cluster.status($0)?.peers.first?.connection == .connected }
    }

    var isParted: Bool {
        cluster.nodes.allSatisfy { cluster.status($0)?.peers.first?.connection != .connected }
    }
}
