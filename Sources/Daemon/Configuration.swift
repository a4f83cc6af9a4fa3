package import Model
package import ReplicationCore

/// One volume as `V.yaml` describes it, validated: whoever holds a value need not check it again.
package struct Configuration: Equatable, Sendable {
    package struct Node: Equatable, Sendable {
        package var id: NodeID
        package var name: String
        /// Where the peers reach it.
        package var address: NetworkAddress
        /// Absolute path of a block device or regular file; of a witness its state file's, empty: the usual place
        /// (`RuntimePaths.witnessState`).
        package var disk: String
        /// Absolute path; nil: at the end of `disk`.
        package var metadata: String?
        /// Where it binds; nil: `address`.
        package var listen: NetworkAddress?
        /// Where NBD is served over TCP beside the Unix socket.
        package var nbdListen: NetworkAddress?
        /// Votes, and holds no data.
        package var isWitness = false
        /// When a write counts as done at this copy; nil: as the file says for all.
        package var replication: ReplicationMode?

        package init(
            id: NodeID, name: String, address: NetworkAddress, disk: String, metadata: String? = nil,
            listen: NetworkAddress? = nil, nbdListen: NetworkAddress? = nil
        ) {
            self.id = id
            self.name = name
            self.address = address
            self.disk = disk
            self.metadata = metadata
            self.listen = listen
            self.nbdListen = nbdListen
        }

        package var bindAddress: NetworkAddress { listen ?? address }
    }

    package static let maximumFileBytes = 1 << 20
    /// Bytes that a send buffer may have.
    package static let sendBuffers: ClosedRange<UInt64> = 1 << 20...256 << 20

    /// The file it came from, for messages.
    package var file: String
    package var volume: String
    /// Bytes, a multiple of the block size; nil: the smallest disk decides.
    package var size: UInt64?
    /// When a write counts as done at a copy whose node says nothing else.
    package var replication = ReplicationMode.sync
    // Words of the file.
    /// `majority` or `off`.
    package var quorum = "off"
    /// `suspend` or `error`.
    package var onQuorumLost = "suspend"
    /// `lease` or `confirm`: what a read at the primary rests on, with a majority.
    package var reads = "lease"
    /// `none`, `resource` or `stonith`.
    package var fencing = "none"
    /// Absolute path of the command that fences a lost peer.
    package var fenceCommand: String?
    /// `after-sb-0pri`, `after-sb-1pri`, `after-sb-2pri`.
    package var afterSplitBrain = SplitBrainPolicies()
    /// Bytes that clients were told are written and that some peer has not on its disk (`memory`, `async`).
    package var sendBuffer: UInt64 = Limits().sendBuffer
    /// `block` or `fall-behind`: what happens to a write that finds no room there.
    package var onCongestion = "block"
    /// Nanoseconds: writes wait while the oldest of those is older; 0: no limit.
    package var maximumLag: UInt64 = 0
    package var timing = Timing()
    package var epochBytes: UInt64 = Limits().epochBytes
    /// Slots of the activity log, of 4 MiB each.
    package var activityLogExtents: UInt32 = 4096
    /// `drop` or `keep`: what becomes of blocks that clients were told are written, and that another copy's take the place of.
    package var discardedData = "drop"
    /// How what is sent to peers that take it is made shorter.
    package var compression = Compression.off
    /// The kernel's name of what paces the sending to peers (`tcp-congestion-control`), for links where the system's choice is not
    /// the best; nil: the system's.
    package var congestionControl: String?
    /// Bytes a second, as they lie on the disk; nil: as fast as it goes.
    package var resyncRate: UInt64?
    /// Bytes a second that a comparison of the copies reads.
    package var verifyRate = Comparing.rate
    /// Seconds between scheduled comparisons; 0: none.
    package var verifyEvery: UInt64 = 0
    /// Absolute path of the file with the peers' common secret.
    package var secretFile: String?
    /// In order of their ids.
    package var nodes: [Node]

    package init(file: String, volume: String, nodes: [Node]) {
        self.file = file
        self.volume = volume
        self.nodes = nodes.sorted { $0.id < $1.id }
    }

    /// Names of volumes and nodes: `[A-Za-z0-9][A-Za-z0-9_.-]{0,63}`.
    package static func isName(_ text: String) -> Bool {
        guard (1...64).contains(text.utf8.count), let first = text.first, first.isASCII,
            first.isLetter || first.isNumber
        else { return false }
        return text.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_" || $0 == "." || $0 == "-") }
    }

    /// Nodes with a copy.
    package var dataNodes: [Node] { nodes.filter { !$0.isWitness } }

    /// When a write counts as done at that copy.
    package func mode(of node: Node) -> ReplicationMode { node.replication ?? replication }

    /// Clients are answered before every copy has a write on its disk.
    package var isRelaxed: Bool { dataNodes.contains { mode(of: $0) != .sync } }

    package func node(named name: String) -> Node? { nodes.first { $0.name == name } }
    package func name(of id: NodeID) -> String { node(id)?.name ?? id.description }
    package func node(_ id: NodeID) -> Node? { nodes.first { $0.id == id } }

    /// Which node of the file this machine is: `--node`, else HABLK_NODE, else the host name, short and then full.
    package func ownNode(
        option: String?, variable: String?, hostName: String
    ) throws(CommandFailure) -> Node {
        let names = nodes.map(\.name).joined(separator: ", ")
        for (source, name) in [("--node", option), ("HABLK_NODE", variable)] {
            guard let name, !name.isEmpty else { continue }
            if let node = node(named: name) { return node }
            throw CommandFailure(
                .configuration, "no-such-node", "\(file): no node is called `\(name)` (\(source)); there are: \(names)",
                remedy: "name one of them with --node or HABLK_NODE")
        }
        let short = String(hostName.prefix { $0 != "." })
        if let node = node(named: short) ?? node(named: hostName) { return node }
        throw CommandFailure(
            .configuration, "no-such-node",
            "\(file): no node is called `\(short)`, as this host is; there are: \(names)",
            remedy: "name one of them with --node or HABLK_NODE")
    }

    /// What the core needs to know of it.
    package func replicaConfiguration(node: NodeID) -> ReplicaConfiguration {
        var limits = Limits()
        limits.epochBytes = epochBytes
        limits.sendBuffer = sendBuffer
        if isRelaxed {
            // By the largest send buffer that a peer may have, not by the own one: what it sends must have room here before a
            // flush that lies behind it, or the session ends and all is sent again, for ever.
            limits.unconfirmedEntries = Int(Self.sendBuffers.upperBound / Geometry.blockSize) * 2
        }
        var core = ReplicaConfiguration(
            volume: volume, node: node,
            members: nodes.map {
                .init(id: $0.id, name: $0.name, isWitness: $0.isWitness, replication: mode(of: $0))
            },
            limits: limits, timing: timing, resyncRate: resyncRate)
        core.quorum = quorum == "majority" ? .majority : .off
        core.failsWithoutQuorum = onQuorumLost == "error"
        core.confirmsReads = reads == "confirm"
        core.fencing = fencing == "stonith" ? .stonith : fencing == "resource" ? .resource : .none
        core.afterSplitBrain = afterSplitBrain
        core.maximumLag = maximumLag
        core.verifyRate = verifyRate
        core.verifyEvery = verifyEvery
        core.fallsBehind = onCongestion == "fall-behind"
        core.keepsDiscarded = discardedData == "keep"
        return core
    }

    /// `replication` as the peers compare it: one word, or the nodes' own where they differ (names of any length would not
    /// fit, and are compared beside it).
    package var replicationWords: String {
        let modes = dataNodes.map { mode(of: $0) }
        guard let first = modes.first, modes.contains(where: { $0 != first }) else {
            return (modes.first ?? replication).rawValue
        }
        return dataNodes.map { "\($0.id) \(mode(of: $0).rawValue)" }.joined(separator: ", ")
    }

    /// The nodes as the peers compare them.
    package var helloNodes: [Hello.Node] {
        nodes.map { Hello.Node(id: $0.id, name: $0.name, witness: $0.isWitness) }
    }

    /// The first message of a connection: all that must be equal on both sides, and who speaks.
    package func hello(
        from node: NodeID, to peer: NodeID?, run: RunID, session: SessionID, discardMyData: Bool, nonce: [UInt8],
        version: UInt16 = Hello.protocolVersion
    ) -> Hello {
        let isTold = version >= Hello.versionWithLease
        let votes = quorum == "majority"
        return Hello(
            version: version, volume: volume, node: node, peer: peer, run: run, session: session, size: size,
            replication: replicationWords,
            quorum: quorum, onQuorumLost: onQuorumLost, afterSplitBrain: afterSplitBrain.describe { name(of: $0) },
            lease: isTold && votes ? timing.lease : 0, fencing: isTold && !votes ? fencing : "", nodes: helloNodes,
            discardMyData: discardMyData, authenticates: secretFile != nil, nonce: nonce,
            capabilities: version == Hello.oldestVersion ? [] : .all)
    }
}
