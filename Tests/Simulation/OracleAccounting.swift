package import Model
package import ReplicationCore

/// I7, C13: what the core holds and has under way stays within `Limits`; commands are answered in their time. (That each
/// request is answered once and each buffer given back once is seen where the cluster does what the core wants.)
package enum OracleAccounting {
    /// - Parameters:
    ///   - settling: copies of blocks under way to settle them.
    ///   - repairs: writes of an administrator's beside those of clients.
    /// - Returns: what is too much.
    package static func excess(
        _ footprint: Footprint, _ limits: Limits, blocks: UInt64, settling: Int = 0, repairs: Int = 0
    ) -> String? {
        let clients = limits.clientOperations + repairs
        func words(_ count: Int, _ name: String, _ most: Int) -> String { "has \(count) \(name), more than \(most)" }
        if footprint.waitingAtGate > clients {
            return words(footprint.waitingAtGate, "requests before the gate", clients)
        }
        if footprint.waitingForLog > clients + limits.peerOperations {
            return words(
                footprint.waitingForLog, "operations waiting for the log", clients + limits.peerOperations)
        }
        if footprint.waitingForFlush > clients {
            return words(footprint.waitingForFlush, "requests waiting for a flush", clients)
        }
        // With quorum what a former primary had in flight is sent again, some at a time.
        let sequences = clients + settling
        if footprint.sequences > sequences { return words(footprint.sequences, "sequences of writes", sequences) }
        if footprint.unconfirmed > limits.unconfirmedEntries + clients {
            return words(footprint.unconfirmed, "unconfirmed writes", limits.unconfirmedEntries + clients)
        }
        if footprint.peerFlushes > 64 { return words(footprint.peerFlushes, "flushes that peers wait for", 64) }
        if footprint.pullsAsked > limits.resyncPulls {
            return words(footprint.pullsAsked, "pulls", limits.resyncPulls)
        }
        if footprint.pullsUnflushed > Int(blocks) + limits.resyncPulls {
            return words(footprint.pullsUnflushed, "pulls without a flush", Int(blocks) + limits.resyncPulls)
        }
        return nil
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
            // And one that makes room.
            let most = limits.clientOperations + limits.peerOperations + 1
            return data > most ? "has \(data) operations on data under way, more than \(most)" : nil
        }
    }

    /// What a node does in a time, and what it may do it for. A node that does more has nothing to do it for but its own
    /// doings: flushes whose answers cause the next, at the speed of the network.
    package struct Bustle: Equatable, Sendable {
        /// Messages sent and flushes of the disk begun.
        package var deeds = 0
        /// Requests and commands that came, and operations on data and metadata that ended; no flushes.
        package var occasions = 0
        package var sessions = 0

        package init() {}

        package mutating func heard(_ event: Event) {
            switch event {
            case .dataDone(let operation, _): if operation.rawValue != .max { occasions += 1 }
            case .clientRequest, .command, .attached, .superblockWritten, .logWritten, .bitmapPageWritten:
                occasions += 1
            case .sessionOpened: sessions += 1
            default: break
            }
        }

        package mutating func saw(_ effect: Effect) {
            switch effect {
            case .send, .flushData: deeds += 1
            default: break
            }
        }

        /// - Parameters:
        ///   - seconds: how long this went on, at least one.
        ///   - peers: how many nodes each thing is told to.
        /// - Returns: what is too much.
        package func excess(_ limits: Limits, _ timing: Timing, seconds: Int, peers: Int = 1) -> String? {
            // Each session brings a handshake, and what was unanswered again; a resync asks ahead.
            let mostSession = 32 + limits.clientOperations + limits.resyncPulls
            // Three without disks that are all to be promoted ask each other twice a ping (seed 70922 of `--mixed`).
            let asked = peers > 1 ? 4 : 3
            let pings = asked * seconds * Int(1_000_000_000 / max(timing.pingInterval, 1) + 1)
            let most = (200 + pings) * peers + 6 * occasions * peers + mostSession * (peers + sessions)
            guard deeds > most else { return nil }
            return "sent \(deeds) messages and flushes in \(seconds) s for \(occasions) occasions, more than \(most)"
        }

        /// While nothing breaks, and an administrator does something each half second at most: sessions that end only to
        /// begin anew, each handshake for the reason of the last one.
        /// - Parameter dials: how often each peer dials one that is told to refuse it.
        package func excessSessions(seconds: Int, peers: Int = 1, dials: Int = 0) -> String? {
            let most = (4 * seconds + dials) * peers
            return sessions > most ? "began \(sessions) sessions in \(seconds) s without faults" : nil
        }
    }
}

extension Cluster {
    /// Each so many seconds a node's doings are weighed.
    private static let bustleSeconds = 4

    func checkBustle() {
        guard now >= nextBustleCheck else { return }
        nextBustleCheck = now + UInt64(Self.bustleSeconds) * 1_000_000_000
        // Who stops takes nobody in: a primary that has nobody to hand over to, for three seconds. And who did not cut it off from
        // itself looks for it as often as after a blip (seed 88300372, as it was drawn before there was `turnover`).
        let isStopping = nodes.contains { node in node.commands.contains { $0.command == .stop } }
        let isQuiet = phase == .liveness && wasQuiet && !isStopping
        wasQuiet = phase == .liveness && !isStopping
        for node in nodes {
            let dials = Self.bustleSeconds * Int(1_000_000_000 / options.timing.reconnectMaximum)
            if isQuiet,
                let excess = node.bustle.excessSessions(
                    seconds: Self.bustleSeconds, peers: options.nodes - 1, dials: dials)
            {
                oracle.fail(.liveness, "I7", "node \(node.side) \(excess)")
            }
            if let excess = node.bustle.excess(
                options.limits, options.timing, seconds: Self.bustleSeconds, peers: options.nodes - 1)
            {
                oracle.fail(.liveness, "I7", "node \(node.side) \(excess)")
            }
            node.bustle = OracleAccounting.Bustle()
        }
    }

    /// Now and then.
    func checkAccounts() {
        for node in nodes {
            guard let live = node.live, oracle.violation == nil else { continue }
            let excess =
                OracleAccounting.excess(
                    live.core.pointee.footprint(), options.limits, blocks: options.blocks,
                    settling: options.isByMajority ? 8 : 0, repairs: options.faults.contains(.verifying) ? 1 : 0)
                ?? node.disk.queue.excess(options.limits)
            if let excess { oracle.fail("I7", "node \(node.side) \(excess)") }
            // What is held for a peer, and what came and waits.
            let held =
                options.mode == .sync ? 0 : (options.limits.unconfirmedEntries + options.limits.clientOperations) * 3
            let most = options.limits.clientOperations * 3 + options.limits.peerOperations + held
            if node.buffers.outstanding > most {
                oracle.fail("I7", "node \(node.side) holds \(node.buffers.outstanding) buffers, more than \(most)")
            }
        }
    }

    /// Nanoseconds in which what a disk kept waiting must come to its end.
    private static let slack: UInt64 = 30_000_000_000

    /// A command that was given long ago: its own time is over, and no pause excuses it, nor a disk that hangs.
    func checkCommands() {
        for node in nodes where node.isUp && !node.isPaused {
            let hung = max(node.disk.faults.hungUntil, node.disk.faults.answeredBy) + Self.slack
            for pending in node.commands where now > max(pending.mustEnd, hung) {
                let command = pending.command.map { "\($0)" } ?? "attach"
                oracle.fail(.liveness, "I7", "node \(node.side) did not answer \(command) in its time")
            }
        }
    }
}
