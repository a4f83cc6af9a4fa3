package import Model

/// What is different between the configuration that a daemon runs with and its file as it is now, and what of it a running
/// volume can take (`hablk adjust`).
package struct ConfigurationChanges: Equatable, Sendable {
    /// The only refusal that may pass by itself.
    package static let noQuorum = "no-quorum"

    /// Nodes that come, and nodes that go, in order of their ids.
    package private(set) var added: [Configuration.Node] = []
    package private(set) var removed: [Configuration.Node] = []
    /// Values that are taken up at once: a sentence each, as `resync-rate: from auto to 50MiB/s`.
    package private(set) var settings: [String] = []
    /// Keys that are read when a daemon starts, in words.
    package private(set) var atStart: [String] = []

    package var isEmpty: Bool { added.isEmpty && removed.isEmpty && settings.isEmpty && atStart.isEmpty }

    /// - Throws: refused (`own-node`, `two-steps`) when the files do not describe one step of this node's volume.
    package init(
        from former: Configuration, to next: Configuration, node: Configuration.Node
    ) throws(CommandFailure) {
        guard let own = next.node(node.id), own.name == node.name, own.isWitness == node.isWitness else {
            throw .refused(
                "own-node", "\(next.file) does not name \(node.name) any more, or as another kind of node",
                remedy:
                    "to take this node out of the volume: hablk down \(former.volume) here, then hablk adjust on the others"
            )
        }
        try compareNodes(former, next)
        compareOwnNode(node, own)
        compareSettings(former, next)
    }

    private mutating func compareNodes(_ former: Configuration, _ next: Configuration) throws(CommandFailure) {
        added = next.nodes.filter { former.node($0.id) == nil }
        removed = former.nodes.filter { next.node($0.id) == nil }
        try refuseBesideModes(former, next)
        for new in added {
            guard former.node(named: new.name) == nil else {
                throw Self.twoSteps("\(new.name) had another id", next)
            }
        }
        for new in next.nodes {
            guard let old = former.node(new.id) else { continue }
            guard old.name == new.name else {
                throw Self.twoSteps("id \(new.id.rawValue) is \(old.name)'s, and \(new.name) is to have it", next)
            }
            guard old.isWitness == new.isWitness else {
                throw Self.twoSteps("\(new.name) was \(old.isWitness ? "a witness" : "a data node")", next)
            }
        }
        if next.isRelaxed, !former.isRelaxed {
            atStart.append("`replication`: from \(former.replicationWords) to \(next.replicationWords)")
        } else {
            for new in next.dataNodes {
                guard let old = former.node(new.id), former.mode(of: old) != next.mode(of: new) else { continue }
                atStart.append(
                    "`replication` of \(new.name): from \(former.mode(of: old).rawValue) to \(next.mode(of: new).rawValue)"
                )
            }
        }
    }

    /// The records of a majority say of a copy that it is in step, and the files of which mode it is: a copy must not come or go, or come
    /// back in another mode, under records that were made by another file.
    private func refuseBesideModes(_ former: Configuration, _ next: Configuration) throws(CommandFailure) {
        guard former.quorum == "majority", former.isRelaxed || next.isRelaxed,
            let node = (added + removed).first(where: { !$0.isWitness })
        else { return }
        throw .refused(
            "not-in-this-release",
            "\(next.file): \(node.name) comes or goes, and beside a majority that is not taken up where a copy is `memory` or `async`",
            remedy: "demote, then hablk down \(former.volume) on all nodes, and start them with the file as it is to be"
        )
    }

    private static func twoSteps(_ what: String, _ next: Configuration) -> CommandFailure {
        .refused(
            "two-steps", "\(next.file): \(what)",
            remedy: "take the former node out first and adjust all nodes, then add the new one with an id that is free")
    }

    private mutating func compareOwnNode(_ former: Configuration.Node, _ next: Configuration.Node) {
        let named: [(String, String?, String?)] = [
            ("disk", former.disk, next.disk), ("metadata", former.metadata, next.metadata),
            ("listen", former.bindAddress.description, next.bindAddress.description),
            ("nbd", former.nbdListen?.description, next.nbdListen?.description),
        ]
        for (key, old, new) in named where old != new {
            atStart.append(Self.words("`\(key)` of \(next.name)", old, new))
        }
    }

    private mutating func compareSettings(_ former: Configuration, _ next: Configuration) {
        for new in next.nodes {
            guard let old = former.node(new.id), old.address != new.address else { continue }
            settings.append(Self.words("address of \(new.name)", old.address.description, new.address.description))
        }
        for (key, old, new) in zip(Self.taken(former), Self.taken(next)).map({ ($0.0, $0.1, $1.1) }) where old != new {
            settings.append(Self.words(key, old, new))
        }
        for (key, old, new) in zip(Self.kept(former), Self.kept(next)).map({ ($0.0, $0.1, $1.1) }) where old != new {
            atStart.append(Self.words("`\(key)`", old, new))
        }
    }

    /// Values that a running daemon takes up.
    private static func taken(_ value: Configuration) -> [(String, String)] {
        let timing = value.timing
        let rate: (UInt64) -> String = { ConfigurationScalar.exact(bytes: $0) + "/s" }
        let time: (UInt64) -> String = { ConfigurationScalar.describe(nanoseconds: $0) }
        return [
            ("timeout × ko-count", time(timing.cutOff)), ("ping-interval", time(timing.pingInterval)),
            ("ping-timeout", time(timing.pingTimeout)),
            ("reconnect", "\(time(timing.reconnectMinimum))..\(time(timing.reconnectMaximum))"),
            ("reads", value.reads), ("on-congestion", value.onCongestion),
            ("discarded-data", value.discardedData),
            ("max-lag", value.maximumLag == 0 ? "off" : time(value.maximumLag)),
            ("resync-rate", value.resyncRate.map(rate) ?? "auto"), ("verify-rate", rate(value.verifyRate)),
            ("verify-every", value.verifyEvery == 0 ? "off" : time(value.verifyEvery * 1_000_000_000)),
            ("fence-command", value.fenceCommand ?? "none"),
            ("compression from the next connection on", value.compression.rawValue),
            ("tcp-congestion-control from the next connection on", value.congestionControl ?? "system"),
            // The volume's own is in its record, and grows by `resize`.
            (
                "size of copies to come",
                value.size.map { ConfigurationScalar.exact(bytes: $0) } ?? "that of the smallest disk"
            ),
        ]
    }

    /// Values that all nodes must have alike, or that memory was laid out for.
    private static func kept(_ value: Configuration) -> [(String, String)] {
        let policies = value.afterSplitBrain.describe { value.name(of: $0) }
        return [
            ("quorum", value.quorum), ("on-quorum-lost", value.onQuorumLost), ("fencing", value.fencing),
            ("after-sb policies", policies), ("lease", ConfigurationScalar.describe(nanoseconds: value.timing.lease)),
            ("epoch", ConfigurationScalar.exact(bytes: value.epochBytes)),
            ("send-buffer", ConfigurationScalar.exact(bytes: value.sendBuffer)),
            ("secret-file", value.secretFile ?? "none"),
        ]
    }

    private static func words(_ key: String, _ former: String?, _ next: String?) -> String {
        "\(key): from \(former ?? "none") to \(next ?? "none")"
    }

    // MARK: Judgement

    /// Whether the running volume can take all of it, as it stands.
    /// - Throws: refused, with nothing changed.
    package func check(_ next: Configuration, _ status: VolumeStatus) throws(CommandFailure) {
        let volume = next.volume
        guard atStart.isEmpty else {
            throw .refused(
                "needs-restart", "read when the daemon starts: \(atStart.joined(separator: "; "))",
                remedy: "hablk down \(volume), then hablk up \(volume), on each node; or write what it was back")
        }
        // The nodes of the file vote about the first record: all must name the same ones.
        guard status.term > 0 || added.isEmpty && removed.isEmpty || next.quorum == "off" else {
            throw .refused(
                "not-founded",
                "\(volume) never had a primary: its first one is chosen by the nodes that the file names",
                remedy: "hablk down \(volume), then hablk up \(volume), on each node")
        }
        for node in removed {
            let peer = status.peers.first { $0.node == node.name }
            if peer?.role == .primary {
                throw .refused(
                    "peer-is-primary", "\(node.name) is primary and is not taken out",
                    remedy: "hablk demote \(volume) on \(node.name) first")
            }
            if next.quorum == "off", peer?.connection == .connected {
                throw .refused(
                    "still-running", "\(node.name) runs, and without quorum it could go on by itself",
                    remedy: "hablk down \(volume) on \(node.name) first")
            }
        }
        try checkCopies(volume, status)
        try checkVotes(volume, status)
    }

    /// A good copy is left: of those in step one that is away may be, and one that is heard, or this one, says what it is.
    private func checkCopies(_ volume: String, _ status: VolumeStatus) throws(CommandFailure) {
        let isRemoved: (String) -> Bool = { name in removed.contains { $0.name == name } }
        guard status.inStep.contains(where: isRemoved) else { return }
        let isWhole: (DiskState) -> Bool = { $0 == .upToDate || $0 == .consistent }
        let isLeft = status.inStep.contains { name in
            if isRemoved(name) { return false }
            if name == status.node { return isWhole(status.disk) && !status.suspect }
            guard let peer = status.peers.first(where: { $0.node == name }), peer.connection == .connected else {
                return true
            }
            return peer.disk == .unknown || isWhole(peer.disk)
        }
        guard !isLeft else { return }
        if status.suspect, status.inStep.contains(status.node) {
            let others = status.inStep.filter(isRemoved).joined(separator: ", ")
            throw .refused(
                "suspect", "this copy may have lost its cache, and \(others) may hold what it lost",
                remedy:
                    "connect it first; or, when it is gone for good, promote this copy before: hablk promote \(volume) "
                    + "--peer-fenced \(status.inStep.first(where: isRemoved) ?? "NODE")")
        }
        throw .refused(
            "no-good-copy", "only \(status.inStep.filter(isRemoved).joined(separator: ", ")) has all data",
            remedy: "wait until another copy is in step: hablk wait \(volume) --for in-sync")
    }

    /// Who is left can choose the records that take the votes away, one by one.
    private func checkVotes(_ volume: String, _ status: VolumeStatus) throws(CommandFailure) {
        guard let votes = status.votes, !removed.isEmpty else { return }
        let isRemoved: (String) -> Bool = { name in removed.contains { $0.name == name } }
        guard votes.voters.contains(where: isRemoved) else { return }
        let there = votes.present.filter { !isRemoved($0) }.count
        let needed = votes.voters.count / 2 + 1
        guard there >= needed else {
            let names = removed.map(\.name).joined(separator: ", ")
            throw .refused(
                Self.noQuorum,
                "without \(names) \(there) of \(votes.voters.count) votes are here, \(needed) are needed",
                remedy: "bring the others back first: hablk status \(volume)")
        }
    }

    // MARK: In words

    /// One line for each change, none when there is nothing to change; `isDone`: of what was done, not of what would be.
    /// - Parameter takesAll: also what is read at a start; a witness begins anew.
    package func lines(_ next: Configuration, isDone: Bool, takesAll: Bool = false) -> [String] {
        let (add, remove, set) =
            isDone ? ("added", "removed", "set") : ("would add", "would remove", "would set")
        var lines: [String] = []
        let votes = next.quorum == "majority"
        for node in added {
            let kind = node.isWitness ? "a witness" : votes ? "a copy; it votes" : "a copy"
            lines.append("\(add) \(node.name) (id \(node.id.rawValue), \(node.address)): \(kind)")
        }
        for node in removed {
            let what = node.isWitness ? "its vote" : votes ? "its copy and its vote" : "its copy"
            lines.append("\(remove) \(node.name): \(what)")
        }
        return lines + (settings + (takesAll ? atStart : [])).map { "\(set) \($0)" }
    }
}
