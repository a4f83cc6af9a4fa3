import Formats
import Glibc
package import Model
import ReplicationCore

/// What a witness remembers: a copy's metadata without data, in a file of about 350 KiB of which almost nothing is
/// written. Its superblock holds instance, promised term and record (`6-protocol`, DURABLE).
package enum WitnessState {
    /// Opens the state, or begins a new one: a witness that lost its memory is another instance, whose vote counts once
    /// a record names it (`protocol-reasons`).
    ///
    /// - Throws: as `LoadedCopy`; `refused` when the file is damaged: whether it is to be forgotten is for people to say.
    package static func load(
        _ configuration: Configuration, _ node: Configuration.Node, paths: RuntimePaths
    ) throws(CommandFailure) -> LoadedCopy {
        let (configuration, node) = standing(configuration, node, paths)
        if access(node.disk, F_OK) != 0, errno == ENOENT {
            if let slash = node.disk.lastIndex(of: "/"), slash != node.disk.startIndex {
                try RuntimePaths.createFolder(String(node.disk[..<slash]), mode: 0o700)
            }
            _ = try VolumeCreation.create(
                configuration: configuration, node: node, assumeIdentical: false, force: false)
        }
        do throws(CommandFailure) {
            return try LoadedCopy(configuration: configuration, node: node)
        } catch {
            guard error.refusal.reason == "metadata-damaged" || error.refusal.reason == "no-metadata" else {
                throw error
            }
            throw .refused(
                error.refusal.reason, error.refusal.message,
                remedy: "rm \(node.disk): it begins anew and votes once the data nodes' next record names it")
        }
    }

    /// The same volume as one whose disk is the state file: a single block of data, room for every peer.
    private static func standing(
        _ configuration: Configuration, _ node: Configuration.Node, _ paths: RuntimePaths
    ) -> (Configuration, Configuration.Node) {
        var configuration = configuration
        configuration.size = Geometry.blockSize
        configuration.activityLogExtents = 8
        return (configuration, located(node, of: configuration.volume, paths))
    }

    /// A witness's node with the path of its memory; any other as it is.
    package static func located(
        _ node: Configuration.Node, of volume: String, _ paths: RuntimePaths
    ) -> Configuration.Node {
        var node = node
        if node.isWitness, node.disk.isEmpty { node.disk = paths.witnessState(volume) }
        return node
    }
}
