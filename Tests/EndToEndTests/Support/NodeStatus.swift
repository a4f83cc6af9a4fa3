import Foundation

/// `hablk status V --json`, as a script would read it.
struct NodeStatus: Decodable {
    struct LastResync: Decodable {
        let bytes: UInt64
        let seconds: Double
        let because: String
    }

    struct Resync: Decodable {
        let doneBytes: UInt64
        let totalBytes: UInt64
        enum CodingKeys: String, CodingKey {
            case doneBytes = "done-bytes"
            case totalBytes = "total-bytes"
        }
    }

    struct Verify: Decodable {
        let doneBytes: UInt64
        enum CodingKeys: String, CodingKey { case doneBytes = "done-bytes" }
    }

    struct LastVerify: Decodable {
        struct Run: Decodable, Equatable {
            let offset: UInt64
            let length: UInt64
        }

        let result: String
        let ended: UInt64
        let reachedBytes: UInt64
        let comparedBytes: UInt64
        let differingBytes: UInt64
        let completed: UInt64?
        let message: String?
        let differing: [Run]
        enum CodingKeys: String, CodingKey {
            case result, ended, completed, message, differing
            case reachedBytes = "reached-bytes"
            case comparedBytes = "compared-bytes"
            case differingBytes = "differing-bytes"
        }
    }

    struct Peer: Decodable {
        let node: String
        let connection: String
        let role: String
        let disk: String
        let replication: String?
        let outOfSyncBytes: UInt64
        let lagBytes: UInt64
        let lagSeconds: Double
        let mode: String
        let compression: String?
        let sentBytes: UInt64
        let wireBytes: UInt64
        let resync: Resync?
        let lastResync: LastResync?
        let verify: Verify?
        let lastVerify: LastVerify?
        let reason: String?
        let message: String?
        enum CodingKeys: String, CodingKey {
            case node, connection, role, disk, replication, resync, verify, reason, message, mode, compression
            case sentBytes = "sent-bytes"
            case wireBytes = "wire-bytes"
            case lastVerify = "last-verify"
            case lagBytes = "lag-bytes"
            case lagSeconds = "lag-seconds"
            case outOfSyncBytes = "out-of-sync-bytes"
            case lastResync = "last-resync"
        }
    }

    struct Votes: Decodable {
        let voters: [String]
        let present: [String]
        let witnesses: [String]
    }

    let version: Int
    let running: Bool
    let volume: String
    let node: String
    let role: String
    let disk: String
    let size: UInt64
    let generation: String?
    let inStep: [String]
    let quorum: Bool?
    let votes: Votes?
    let suspended: [String]
    let suspect: Bool
    let nbd: String?
    let clients: Int
    let pid: Int32
    let reason: String?
    let message: String?
    let peers: [Peer]
    enum CodingKeys: String, CodingKey {
        case version, running, volume, node, role, disk, size, generation, suspended, suspect, nbd, clients, pid
        case reason, message, peers, quorum, votes
        case inStep = "in-step"
    }

    /// The other node of two.
    var peer: Peer {
        get throws {
            guard let first = peers.first else { throw Trouble("no peer in the status of \(node)") }
            return first
        }
    }

    init(json: String) throws {
        do {
            self = try JSONDecoder().decode(NodeStatus.self, from: Data(json.utf8))
        } catch {
            throw Trouble("not a status: \(error)\n\(json)")
        }
    }
}
