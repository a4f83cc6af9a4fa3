import Formats
import LinuxIO
import Model
import ReplicationCore

/// What comparisons of the copies need of the daemon: digests, and a memory of their results over a restart.
extension VolumeLoop {
    /// SHA-256 of each block.
    func digest(_ operation: OperationID, _ range: ByteRange, _ buffer: BufferID) {
        events.append(.digested(operation, Digests.of(blocks: machine.pool.pointer(buffer.index), range: range)))
    }

    func rememberComparisons() {
        let results = configuration.nodes.compactMap { peer in
            replica.verifyResult(of: peer.id).map { (node: peer.name, result: $0) }
        }
        let path = paths.verifyMemory(configuration.volume)
        do throws(CommandFailure) {
            try RuntimePaths.createFolder(paths.stateFolder, mode: 0o755)
        } catch {
            return log.warning("verify: its result is forgotten at a restart: \(error.refusal.message)")
        }
        if !RuntimeFile.write(VerifyMemory.text(results), to: path) {
            log.warning("verify: its result is forgotten at a restart: \(path) cannot be written")
        }
    }

    /// What earlier runs of this node remember.
    static func rememberedComparisons(
        _ configuration: Configuration, _ paths: RuntimePaths
    ) -> [ReplicaConfiguration.Compared] {
        guard let text = RuntimeFile.contents(paths.verifyMemory(configuration.volume)) else { return [] }
        return VerifyMemory.results(text).compactMap { node, result in
            configuration.node(named: node).map { .init(node: $0.id, result: result) }
        }
    }
}
