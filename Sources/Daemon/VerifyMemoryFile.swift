import Formats
import Glibc
import LinuxIO
import Model
import ReplicationCore
import Synchronization

/// What comparisons found, in a file that outlives this run and the machine's loss of power: written anew, flushed and renamed, by a
/// thread beside the loop. While one is being written the newest waits; those between are skipped.
final class ComparisonMemory {
    /// What a write may fail with, in words.
    typealias Answer = String?

    /// Shared with the thread.
    private final class File: Sendable {
        private let path: String
        private let waiting = Mutex<String?>(nil)
        /// One writes at a time.
        private let writing = Mutex<Void>(())

        init(path: String) { self.path = path }

        /// - Returns: whether nobody is about to write it.
        func wait(_ text: String) -> Bool {
            waiting.withLock { newest in
                let isFirst = newest == nil
                newest = text
                return isFirst
            }
        }

        func writeNewest() -> Answer {
            writing.withLock { _ in
                let newest = waiting.withLock { text in
                    defer { text = nil }
                    return text
                }
                return newest.flatMap { RuntimeFile.replace(path, with: $0) }
            }
        }
    }

    private let machine: Machine
    private let file: File
    private var thread: SideThread<Answer>?

    init(path: String, machine: Machine) {
        file = File(path: path)
        self.machine = machine
    }

    func keep(_ text: String) {
        guard file.wait(text) else { return }
        if thread == nil {
            guard let begun = try? SideThread<Answer>() else {
                preconditionFailure("a process that runs can start a thread")
            }
            thread = begun
            machine.ring.await(begun.wakeUp, token: Token(.comparing))
        }
        thread?.submit(0) { [file] in file.writeNewest() }
    }

    /// What waits is written before the process ends.
    func end() -> Answer { file.writeNewest() }

    func complete(_ completion: Completion) -> [Answer] {
        guard let thread else { return [] }
        machine.ring.await(thread.wakeUp, token: completion.token)
        var answers: [Answer] = []
        while let reply = thread.nextReply() { answers.append(reply.answer) }
        return answers
    }
}

/// What comparisons of the copies need of the daemon: digests, and a memory of what they found over a restart.
extension VolumeLoop {
    /// SHA-256 of each block.
    func digest(_ operation: OperationID, _ range: ByteRange, _ buffer: BufferID) {
        events.append(.digested(operation, Digests.of(blocks: machine.pool.pointer(buffer.index), range: range)))
    }

    func rememberComparisons() {
        let results = configuration.nodes.compactMap { peer in
            replica.keptVerifyResult(of: peer.id).map { (node: peer.name, result: $0) }
        }
        do throws(CommandFailure) {
            try RuntimePaths.createFolder(paths.stateFolder, mode: 0o755)
        } catch {
            return noteKept(error.refusal.message)
        }
        compared.keep(VerifyMemory.text(results))
    }

    func comparisonsKept(_ completion: Completion) {
        for failure in compared.complete(completion) { noteKept(failure) }
    }

    /// At the end of this process.
    func keepComparisons() { noteKept(compared.end()) }

    private func noteKept(_ failure: String?) {
        if let failure { log.warning("verify: what it found is forgotten at a restart: \(failure)") }
    }

    /// What earlier runs of this node remember.
    static func rememberedComparisons(
        _ configuration: Configuration, _ paths: RuntimePaths
    ) -> [ReplicaConfiguration.Compared] {
        let path = paths.verifyMemory(configuration.volume)
        guard let text = RuntimeFile.contents(path, upTo: VerifyMemory.maximumBytes) else { return [] }
        return VerifyMemory.results(text).compactMap { node, result in
            configuration.node(named: node).map { .init(node: $0.id, result: result) }
        }
    }
}
