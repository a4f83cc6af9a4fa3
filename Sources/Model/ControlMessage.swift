/// What the command line asks of a daemon over `V.control`: one request a connection (`Formats/ControlCoding` has the
/// bytes). A connection that ends before its answer withdraws what it asked for.
package enum ControlRequest: Equatable, Sendable {
    /// Answered by one `.status`.
    case status
    /// Answered by `.event`s: first what is, then, unless `now`, each change until the asker hangs up.
    case events(now: Bool)
    /// Answered by one `.outcome`. `timeout` in nanoseconds, 0: try once, nil: no limit.
    case command(ControlCommand, timeout: UInt64?)
}

/// A `Command` as it is spoken: nodes by name, no deadline yet.
package enum ControlCommand: Equatable, Sendable {
    case promote(force: Bool, peerFenced: String?, dryRun: Bool, acceptsLoss: Bool = false)
    case demote(force: Bool)
    case connect(peer: String?, discardMyData: Bool, dryRun: Bool)
    case disconnect(peer: String?, force: Bool)
    /// Opens the backing disk again; the core hears of it as `Event.attached`.
    case attach
    case detach(force: Bool)
    case outdate(force: Bool)
    case invalidate(peer: String?, force: Bool)
    case pauseResync
    case resumeResync
    /// Bytes a second; nil: as fast as it goes.
    case resyncRate(UInt64?)
    /// Compares the copies; bytes a second, nil: as configured.
    case verify(peer: String?, rate: UInt64?)
    case stopVerify(peer: String?)
    /// Overwrites what differs with what one copy has.
    case repair(peer: String?, from: String?)
    /// Makes the kernel's device. `device`: /dev/nbdN, nil: a free one; `blockSize` in bytes; `ioctl`: by the old way.
    case map(device: String?, blockSize: UInt64, ioctl: Bool)
    case unmap
    /// Takes the configuration file up as it is now; `dryRun`: says what that would change.
    case adjust(dryRun: Bool)
    /// Grows the volume; bytes, nil: as far as every copy allows.
    case resize(size: UInt64?, dryRun: Bool)
    case stop

    /// The command for the core; nil for what the daemon does: `attach`, which begins at the disk, `adjust`, which begins at the
    /// file, `map` and `unmap`.
    /// - Throws: a refusal when a named node is not in `nodes`.
    package func resolved(
        among nodes: [Hello.Node], deadline: MonotonicTime
    ) throws(CommandFailure) -> Command? {
        func id(_ name: String?) throws(CommandFailure) -> NodeID? {
            guard let name else { return nil }
            if let node = nodes.first(where: { $0.name == name }) { return node.id }
            throw .refused(
                "no-such-node", "no node is called `\(name)`; there are: \(nodes.map(\.name).joined(separator: ", "))",
                remedy: "name one of them")
        }
        switch self {
        case .promote(let force, let fenced, let dryRun, let acceptsLoss):
            return .promote(
                force: force, peerFenced: try id(fenced), deadline: deadline, dryRun: dryRun, acceptsLoss: acceptsLoss)
        case .demote(let force): return .demote(force: force, deadline: deadline)
        case .connect(let peer, let discard, let dryRun):
            return .connect(peer: try id(peer), discardMyData: discard, dryRun: dryRun, deadline: deadline)
        case .disconnect(let peer, let force): return .disconnect(peer: try id(peer), force: force)
        case .attach, .map, .unmap, .adjust: return nil
        case .detach(let force): return .detach(force: force)
        case .outdate(let force): return .outdate(force: force)
        case .invalidate(let peer, let force):
            return .invalidate(peer: try id(peer), force: force, deadline: deadline)
        case .pauseResync: return .pauseResync
        case .resumeResync: return .resumeResync
        case .resyncRate(let rate): return .resyncRate(rate)
        case .verify(let peer, let rate):
            if let rate, !Comparing.rates.contains(rate) {
                throw .refused(
                    "wrong-value", "a comparison at \(rate) bytes a second cannot be",
                    remedy: "name a rate from 4KiB/s to 1TiB/s")
            }
            return .verify(peer: try id(peer), rate: rate)
        case .stopVerify(let peer): return .stopVerify(peer: try id(peer))
        case .repair(let peer, let source): return .repair(peer: try id(peer), from: try id(source))
        case .resize(let size, let dryRun): return .resize(size: size, dryRun: dryRun, deadline: deadline)
        case .stop: return .stop
        }
    }
}

package enum ControlResponse: Equatable, Sendable {
    case status(VolumeStatus)
    case event(ControlEvent)
    case outcome(ControlOutcome)
}

/// How a command ended.
package enum ControlOutcome: Equatable, Sendable {
    /// What was done, in one line.
    case done(String)
    case failed(CommandFailure)

    package init(_ outcome: CommandOutcome) {
        switch outcome {
        case .done(let line): self = .done(line)
        case .refused(let refusal): self = .failed(CommandFailure(.refused, refusal))
        case .timedOut(let refusal): self = .failed(CommandFailure(.timedOut, refusal))
        }
    }
}

/// Why a command did not do it: a kind, which decides the exit code, and the refusal's three parts.
package struct CommandFailure: Error, Equatable, Sendable {
    /// Raw values are the words of the JSON field `error`.
    package enum Kind: String, Sendable, CaseIterable {
        case failed
        case timedOut = "timed-out"
        case refused
        case notRunning = "not-running"
        case usage
        case notPermitted = "not-permitted"
        case configuration

        package var exitCode: Int32 {
            switch self {
            case .failed: 1
            case .timedOut: 2
            case .refused: 3
            case .notRunning: 4
            case .usage: 64
            case .notPermitted: 77
            case .configuration: 78
            }
        }

        /// When several hold, the first of these decides.
        package static let byPrecedence: [Kind] = [
            .usage, .notPermitted, .configuration, .notRunning, .refused, .timedOut, .failed,
        ]
    }

    package var kind: Kind
    package var refusal: Refusal

    package init(_ kind: Kind, _ refusal: Refusal) {
        self.kind = kind
        self.refusal = refusal
    }

    package init(_ kind: Kind, _ reason: String, _ message: String, remedy: String) {
        self.init(kind, Refusal(reason: reason, message: message, remedy: remedy))
    }

    package static func refused(_ reason: String, _ message: String, remedy: String) -> CommandFailure {
        CommandFailure(.refused, reason, message, remedy: remedy)
    }

    package static func failed(_ reason: String, _ message: String, remedy: String) -> CommandFailure {
        CommandFailure(.failed, reason, message, remedy: remedy)
    }

    package var exitCode: Int32 { kind.exitCode }
}

/// One line of `events`: what is, or what became different, of the volume here or of one peer.
package struct ControlEvent: Equatable, Sendable {
    package enum Kind: String, Sendable {
        /// It was so when the asker came.
        case exists
        case change
    }

    /// A field of the status that became different; nil where it had or has no meaning.
    package struct Change: Equatable, Sendable {
        package var field: String
        package var from: String?
        package var to: String?
        package init(field: String, from: String?, to: String?) {
            self.field = field
            self.from = from
            self.to = to
        }
    }

    package var kind: Kind
    /// Seconds since 1970.
    package var time: Double
    /// The peer it is about; nil: the volume on this node.
    package var peer: String?
    /// Empty for `.exists`.
    package var changes: [Change]
    package var status: VolumeStatus

    package init(kind: Kind, time: Double, peer: String?, changes: [Change], status: VolumeStatus) {
        self.kind = kind
        self.time = time
        self.peer = peer
        self.changes = changes
        self.status = status
    }

    /// What to tell an asker who knows `previous` (nil: nothing yet). Counters that run (bytes of a resync) are not told, but
    /// whether they are zero is; a lag at each doubling of its seconds.
    package static func between(
        _ previous: VolumeStatus?, _ status: VolumeStatus, at time: Double
    ) -> [ControlEvent] {
        guard let previous else {
            return ([nil] + status.peers.map(\.node)).map {
                ControlEvent(kind: .exists, time: time, peer: $0, changes: [], status: status)
            }
        }
        var events: [ControlEvent] = []
        func tell(_ peer: String?, _ old: [Change], _ new: [Change]) {
            let changes = zip(old, new).filter { $0.to != $1.to }.map {
                Change(field: $1.field, from: $0.to, to: $1.to)
            }
            guard !changes.isEmpty else { return }
            events.append(ControlEvent(kind: .change, time: time, peer: peer, changes: changes, status: status))
        }
        tell(nil, previous.told, status.told)
        for peer in status.peers {
            if let old = previous.peers.first(where: { $0.id == peer.id && $0.node == peer.node }) {
                tell(peer.node, old.told, peer.told)
            } else {
                // It was added (`adjust`).
                events.append(ControlEvent(kind: .exists, time: time, peer: peer.node, changes: [], status: status))
            }
        }
        return events
    }
}

extension VolumeStatus {
    /// The fields whose changes are events, with their present values.
    fileprivate var told: [ControlEvent.Change] {
        [
            .init("role", role.rawValue), .init("disk", disk.rawValue), .init("size", String(size)),
            .init("generation", generation), .init("term", String(term)),
            .init("in-step", inStep.joined(separator: ",")), .init("quorum", quorum.map { $0 ? "true" : "false" }),
            .init("votes", votes?.present.joined(separator: ",")),
            .init("suspended", suspended.map(\.rawValue).joined(separator: ",")),
            .init("peers", peers.map(\.node).joined(separator: ",")),
            .init("suspect", suspect ? "true" : "false"), .init("device", device), .init("clients", String(clients)),
            .init("reason", reason), .init("message", message),
        ]
    }
}

extension VolumeStatus.Peer {
    fileprivate var told: [ControlEvent.Change] {
        let step = Self.lagStep(nanoseconds: UInt64(max(0, lagSeconds) * 1e9))
        let last = lastResync.map { "\($0.bytes) bytes because \($0.because)" }
        return [
            .init("connection", connection.rawValue), .init("role", role.rawValue), .init("disk", disk.rawValue),
            .init("replication", replication?.rawValue),
            .init("out-of-sync", outOfSyncBytes == 0 ? "no" : "yes"),
            .init("lag", step == 0 ? nil : "over \(1 << (step - 1)) s"),
            .init("resync", resync.map { $0.paused.isEmpty ? "running" : "paused" }), .init("last-resync", last),
            .init("verify", verify.map { $0.differingBytes > 0 ? "differs" : "running" }),
            .init("last-verify", lastVerify.map { "\($0.word), \($0.differingBytes) bytes differ, ended \($0.ended)" }),
            .init("reason", reason), .init("message", message),
        ]
    }
}

extension ControlEvent.Change {
    fileprivate init(_ field: String, _ value: String?) { self.init(field: field, from: nil, to: value) }
}
