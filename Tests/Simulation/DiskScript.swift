import Model
import ReplicationCore

/// What a script decides about a disk where a seed would draw.
struct DiskScript {
    enum Survival {
        case nothing, everything
        case blocks(Set<Int>)
    }

    /// Of what a crash finds on its way or in the cache: what is there afterwards.
    var survival = Survival.nothing
    /// Kinds of operations that begin and do not end until they are released.
    var holds: Set<String> = []
    /// Slots of those that wait.
    var held: [Int] = []
    /// What held reads have read already (`answer`).
    var answers: [Int: [UInt64]] = [:]
    /// How many operations of each kind are still to fail.
    var failures: [String: Int] = [:]

    func keeps(_ sector: Int) -> Bool {
        switch survival {
        case .nothing: false
        case .everything: true
        case .blocks(let blocks): blocks.contains(sector / 8)
        }
    }

    var keepsMetadata: Bool {
        if case .everything = survival { return true }
        return false
    }

    mutating func takesFailure(_ deed: SimulatedDisk.Deed) -> Bool {
        guard let left = failures[deed.scriptKind], left > 0 else { return false }
        failures[deed.scriptKind] = left - 1
        return true
    }
}

/// What is on a disk, taken off it and put on one.
struct DiskImage {
    var values: [UInt64]
    var metadata: [UInt8]
}

extension SimulatedDisk.Deed {
    static let scriptKinds: Set<String> = ["read", "write", "flush", "superblock", "log", "page"]
    /// Those that can be held: of an `answer` the read is done, and only its word waits; `zeroes` are writes that bring no bytes.
    static let heldKinds = scriptKinds.union(["answer", "zeroes"])

    func isOf(_ kinds: Set<String>) -> Bool {
        if case .write(_, _, _, nil, _) = self, kinds.contains("zeroes") { return true }
        return kinds.contains(scriptKind)
    }

    /// The word that scripts have for it.
    var scriptKind: String {
        switch self {
        case .read, .fill: "read"
        case .write: "write"
        case .flush: "flush"
        case .metadata(_, _, let answer):
            switch answer {
            case .superblockWritten: "superblock"
            case .logWritten: "log"
            default: "page"
            }
        }
    }
}
