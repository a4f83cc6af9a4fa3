import Glibc
import LinuxIO
import Model
import ReplicationCore

/// Runs `fence-command` for the core and tells what came of it, also of a run that the core does not wait for any more. It
/// has the variables of DRBD's handlers beside our own, so that existing scripts serve.
final class FenceCommand {
    private struct Run {
        let node: NodeID
        let request: UInt64
        let command: BoundedCommand
        let deadline: UInt64
        var isEnded = false
    }

    /// A command that took longer is ended, and counts as failed. Nanoseconds.
    static let patience: UInt64 = 90_000_000_000

    /// As of the last `adjust`.
    var configuration: Configuration
    private let own: Configuration.Node
    private let machine: Machine
    private let log: DaemonLog
    private var runs: [Run] = []

    init(configuration: Configuration, node: Configuration.Node, machine: Machine, log: DaemonLog) {
        self.configuration = configuration
        own = node
        self.machine = machine
        self.log = log
    }

    func fence(_ node: NodeID, _ request: UInt64, at now: UInt64, _ events: inout EventQueue) {
        guard let path = configuration.fenceCommand, let peer = configuration.node(node) else {
            return events.append(.fenceAnswered(node, request: request, .notStarted))
        }
        let variables = [
            "HABLK_VOLUME": configuration.volume, "HABLK_NODE": own.name, "HABLK_PEER": peer.name,
            "HABLK_PEER_ADDRESS": peer.address.description, "DRBD_RESOURCE": configuration.volume,
            "DRBD_PEER": peer.name, "DRBD_PEERS": peer.name, "DRBD_PEER_ADDRESS": peer.address.host,
            "DRBD_NODE_ID": "\(own.id.rawValue)", "DRBD_PEER_NODE_ID": "\(node.rawValue)",
        ]
        do throws(SystemError) {
            let command = try BoundedCommand(
                path, arguments: [configuration.volume, peer.name], environment: variables)
            runs.append(Run(node: node, request: request, command: command, deadline: now + Self.patience))
            command.await(machine.ring, token: token(of: runs[runs.count - 1]))
        } catch {
            log.error("fencing: \(error)")
            events.append(.fenceAnswered(node, request: request, .notStarted))
        }
    }

    private func token(of run: Run) -> Token {
        Token(.fence, slot: Int(run.node.rawValue), serial: UInt32(truncatingIfNeeded: run.request))
    }

    func complete(_ completion: Completion, into events: inout EventQueue) {
        guard let index = runs.firstIndex(where: { token(of: $0) == completion.token }) else { return }
        let run = runs[index]
        guard let ending = run.command.ending() else {
            run.command.await(machine.ring, token: completion.token)
            return
        }
        runs.remove(at: index)
        let outcome: FencingOutcome =
            switch ending {
            case .exited(let code): FencingOutcome(exitCode: UInt16(code))
            case .killed: run.isEnded ? .notInTime : .killed
            }
        log.info("fencing: \(configuration.fenceCommand ?? "?") for \(name(run.node)): \(outcome.words)")
        events.append(.fenceAnswered(run.node, request: run.request, outcome))
    }

    private func name(_ node: NodeID) -> String { configuration.node(node)?.name ?? node.description }

    /// Asked each turn of the loop.
    var nextDeadline: UInt64 {
        var earliest = UInt64.max
        for run in runs where !run.isEnded { earliest = min(earliest, run.deadline) }
        return earliest
    }

    func tick(at now: UInt64) {
        for index in runs.indices where !runs[index].isEnded && runs[index].deadline <= now {
            runs[index].isEnded = true
            runs[index].command.end()
        }
    }
}
