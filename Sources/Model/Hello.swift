/// What a node takes of its peers beyond what each of them must. A bit that is not known here means nothing.
package struct PeerCapabilities: OptionSet, Hashable, Sendable {
    package var rawValue: UInt32
    package init(rawValue: UInt32) { self.rawValue = rawValue }

    /// A payload of nothing but zeroes may be sent as a word.
    package static let zeroRuns = PeerCapabilities(rawValue: 1)
    package static let lz4 = PeerCapabilities(rawValue: 2)
    package static let zstandard = PeerCapabilities(rawValue: 4)
    /// Writes that wait for the sender's activity log may be announced.
    package static let announcements = PeerCapabilities(rawValue: 8)
    /// It is asked for room when the volume is to grow, and answers.
    package static let growth = PeerCapabilities(rawValue: 16)
    /// Blocks of zeroes may be left out of a payload.
    package static let zeroBlocks = PeerCapabilities(rawValue: 32)
    /// What this build takes.
    package static let all: PeerCapabilities = [.zeroRuns, .lz4, .zstandard, .announcements, .growth, .zeroBlocks]
}

/// The first message of a connection, in both directions, before anything is believed: who speaks, and the part of the
/// configuration that must be equal.
package struct Hello: Equatable, Sendable {
    /// Version 4 lacks `capabilities`, versions 4 and 5 lack `lease` and `fencing`; a conversation is held in the version of the
    /// hello that began it.
    package static let protocolVersion: UInt16 = 6
    package static let oldestVersion: UInt16 = 4
    /// From this version on a hello has `lease` and `fencing`.
    package static let versionWithLease: UInt16 = 6
    package static let nonceLength = 32

    package struct Node: Equatable, Sendable {
        package var id: NodeID
        package var name: String
        package var witness: Bool
        package init(id: NodeID, name: String, witness: Bool) {
            self.id = id
            self.name = name
            self.witness = witness
        }
    }

    package var version: UInt16
    package var volume: String
    package var node: NodeID
    /// Whom the sender means to speak to; nil when it accepted the connection and does not know yet.
    package var peer: NodeID?
    package var run: RunID
    /// Drawn by the side that dialed; the accepting side sends it back.
    package var session: SessionID
    /// Configured size in bytes; nil when the smallest disk decides.
    package var size: UInt64?
    package var replication: String
    package var quorum: String
    package var onQuorumLost: String
    /// The after-sb policies (`SplitBrainPolicies.describe`).
    package var afterSplitBrain: String
    /// Nanoseconds, with a majority: a successor waits for its own, and the former primary reads on by its own. 0: not told.
    package var lease: UInt64
    /// Without quorum: both or neither see to it that a lost peer is gone. Empty: not told.
    package var fencing: String
    package var nodes: [Node]
    package var discardMyData: Bool
    package var authenticates: Bool
    /// 32 random bytes.
    package var nonce: [UInt8]
    /// Not compared: each side sends what the other takes. Version 4 says nothing.
    package var capabilities: PeerCapabilities

    package init(
        version: UInt16 = Hello.protocolVersion, volume: String, node: NodeID, peer: NodeID?, run: RunID,
        session: SessionID, size: UInt64?, replication: String, quorum: String, onQuorumLost: String,
        afterSplitBrain: String, lease: UInt64, fencing: String, nodes: [Node], discardMyData: Bool,
        authenticates: Bool, nonce: [UInt8], capabilities: PeerCapabilities
    ) {
        self.version = version
        self.volume = volume
        self.node = node
        self.peer = peer
        self.run = run
        self.session = session
        self.size = size
        self.replication = replication
        self.quorum = quorum
        self.onQuorumLost = onQuorumLost
        self.afterSplitBrain = afterSplitBrain
        self.lease = lease
        self.fencing = fencing
        self.nodes = nodes
        self.discardMyData = discardMyData
        self.authenticates = authenticates
        self.nonce = nonce
        self.capabilities = capabilities
    }

    /// The first field in which two nodes' configurations differ, with both values; nil when they agree.
    package func firstDifference(from other: Hello) -> (field: String, mine: String, theirs: String)? {
        if version != other.version { return ("protocol version", "\(version)", "\(other.version)") }
        if volume != other.volume { return ("volume", volume, other.volume) }
        if size != other.size { return ("size", size.map { "\($0)" } ?? "none", other.size.map { "\($0)" } ?? "none") }
        if replication != other.replication { return ("replication", replication, other.replication) }
        if quorum != other.quorum { return ("quorum", quorum, other.quorum) }
        if onQuorumLost != other.onQuorumLost { return ("on-quorum-lost", onQuorumLost, other.onQuorumLost) }
        if afterSplitBrain != other.afterSplitBrain {
            return ("after-sb-0pri after-sb-1pri after-sb-2pri", afterSplitBrain, other.afterSplitBrain)
        }
        if lease != other.lease, lease > 0, other.lease > 0 {
            return ("lease", Self.milliseconds(lease), Self.milliseconds(other.lease))
        }
        if fencing != other.fencing, !fencing.isEmpty, !other.fencing.isEmpty {
            return ("fencing", fencing, other.fencing)
        }
        if nodes != other.nodes { return ("nodes", Self.describe(nodes), Self.describe(other.nodes)) }
        if node == other.node { return ("node", "\(node)", "\(other.node)") }
        if authenticates != other.authenticates {
            return ("secret-file", authenticates ? "set" : "not set", other.authenticates ? "set" : "not set")
        }
        return nil
    }

    private static func milliseconds(_ nanoseconds: UInt64) -> String {
        let whole = nanoseconds / 1_000_000
        return whole * 1_000_000 == nanoseconds ? "\(whole)ms" : "\(nanoseconds)ns"
    }

    private static func describe(_ nodes: [Node]) -> String {
        nodes.map { "\($0.name)=\($0.id.rawValue)\($0.witness ? " (witness)" : "")" }.joined(separator: " ")
    }
}
