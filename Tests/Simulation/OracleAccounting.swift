package import Model
package import ReplicationCore

/// I7, C13: what the core holds and has under way stays within `Limits`; commands are answered in their time. (That each
/// request is answered once and each buffer given back once is seen where the cluster does what the core wants.)
package enum OracleAccounting {
    /// - Returns: what is too much.
    package static func excess(_ footprint: Footprint, _ limits: Limits, blocks: UInt64) -> String? {
        let clients = limits.clientOperations
        let bounds: [(name: String, count: Int, most: Int)] = [
            ("requests before the gate", footprint.waitingAtGate, clients),
            ("operations waiting for the log", footprint.waitingForLog, clients + limits.peerOperations),
            ("requests waiting for a flush", footprint.waitingForFlush, clients),
            ("sequences of writes", footprint.sequences, clients),
            ("unconfirmed writes", footprint.unconfirmed, limits.unconfirmedEntries + clients),
            ("flushes that peers wait for", footprint.peerFlushes, 64),
            ("pulls", footprint.pullsAsked, limits.resyncPulls),
            ("pulls without a flush", footprint.pullsUnflushed, Int(blocks) + limits.resyncPulls),
        ]
        guard let bound = bounds.first(where: { $0.count > $0.most }) else { return nil }
        return "has \(bound.count) \(bound.name), more than \(bound.most)"
    }

    /// What may be at the disk at once, by kind.
    package struct DiskQueue: Equatable, Sendable {
        package var data = 0
        package var flushes = 0
        package var superblocks = 0
        package var logs = 0
        package var pages = 0

        package init() {}

        /// - Returns: what is too much.
        package func excess(_ limits: Limits) -> String? {
            if superblocks > 1 { return "has \(superblocks) writes of its superblock under way" }
            if logs > 1 { return "has \(logs) writes of its log under way" }
            if flushes > 1 { return "has \(flushes) flushes under way" }
            if pages > 8 { return "has \(pages) writes of bitmap pages under way" }
            let most = limits.clientOperations + limits.peerOperations
            return data > most ? "has \(data) operations on data under way, more than \(most)" : nil
        }
    }
}

extension Cluster {
    /// Now and then.
    func checkAccounts() {
        for node in nodes {
            guard let live = node.live, oracle.violation == nil else { continue }
            let excess =
                OracleAccounting.excess(live.core.pointee.footprint(), options.limits, blocks: options.blocks)
                ?? node.disk.queue.excess(options.limits)
            if let excess { oracle.fail("I7", "node \(node.side) \(excess)") }
            let most = options.limits.clientOperations * 3 + options.limits.peerOperations
            if node.buffers.outstanding > most {
                oracle.fail("I7", "node \(node.side) holds \(node.buffers.outstanding) buffers, more than \(most)")
            }
        }
    }

    /// A command that was given long ago: its own time is over, and no pause excuses it.
    func checkCommands() {
        for node in nodes where node.isUp && !node.isPaused {
            for pending in node.commands where now > pending.mustEnd {
                let command = pending.command.map { "\($0)" } ?? "attach"
                oracle.fail(.liveness, "I7", "node \(node.side) did not answer \(command) in its time")
            }
        }
    }
}
