import LinuxIO
import Model
import ReplicationCore

/// Performs the core's `KeepingStep`s on a thread of its own.
final class DiscardedKeeper {
    typealias Answer = Result<String, DiscardedFile.Failure>

    private let machine: Machine
    private var thread: SideThread<Answer>?
    /// Being written, by the thread alone.
    private var file: DiscardedFile?
    /// Numbers of steps: of those that are answered, of the last one of a file, and of those that nobody waits for.
    private static let (answered, ending, silent): (UInt64, UInt64, UInt64) = (0, 1, 2)

    init(machine: Machine) { self.machine = machine }

    func begin(_ file: DiscardedFile, _ bytes: UInt64) {
        self.file = file
        submit(Self.answered) { file throws(DiscardedFile.Failure) in
            try file.begin(bytes)
            return ""
        }
    }

    func copy(_ runs: [BlockRun]) {
        submit(Self.answered) { file throws(DiscardedFile.Failure) in
            try file.copy(runs)
            return ""
        }
    }

    func end() {
        submit(Self.ending) { file throws(DiscardedFile.Failure) in try file.end() }
    }

    /// No step is under way. The disk is closed at once, since it may be let go of next; to remove gigabytes takes longer.
    func leaveOff() {
        file?.closeDisk()
        submit(Self.silent) { file throws(DiscardedFile.Failure) in
            file.leaveOff()
            return ""
        }
        file = nil
    }

    private func submit(
        _ number: UInt64, _ step: @escaping @Sendable (DiscardedFile) throws(DiscardedFile.Failure) -> String
    ) {
        guard let file else { return }
        if thread == nil {
            guard let begun = try? SideThread<Answer>() else {
                preconditionFailure("a process that runs can start a thread")
            }
            thread = begun
            machine.ring.await(begun.wakeUp, token: Token(.keeping))
        }
        thread?.submit(number) {
            do throws(DiscardedFile.Failure) {
                return .success(try step(file))
            } catch {
                return .failure(error)
            }
        }
    }

    func complete(_ completion: Completion) -> [Answer] {
        guard let thread else { return [] }
        machine.ring.await(thread.wakeUp, token: completion.token)
        var answers: [Answer] = []
        while let reply = thread.nextReply() {
            if reply.number != Self.silent { answers.append(reply.answer) }
            // Else its memory would stay until the next one; a failed one is removed yet.
            if reply.number == Self.ending, case .success = reply.answer { file = nil }
        }
        return answers
    }
}

/// What of this copy is kept aside, for the core.
extension VolumeLoop {
    func keepAside(_ step: KeepingStep) {
        switch step {
        case .begin(let peer, let generation, let bytes): beginKeeping(bytes, for: peer, generation)
        case .copy(let runs): discarded.copy(runs)
        case .end: discarded.end()
        case .leaveOff: discarded.leaveOff()
        }
    }

    private func beginKeeping(_ bytes: UInt64, for peer: NodeID, _ generation: Generation) {
        guard let copy = disk.copy, let again = copy.files.data.reopened() else {
            return events.append(.keptAside(succeeded: false, "\(node.disk) cannot be opened once more"))
        }
        let volume = configuration.volume
        do throws(CommandFailure) {
            try RuntimePaths.createFolder(paths.stateFolder, mode: 0o755)
        } catch {
            again.close()
            return events.append(.keptAside(succeeded: false, error.refusal.message))
        }
        let head = [
            "hablk: what \(node.name)'s copy of \(volume) held in these places before \(configuration.name(of: peer))'s took them,",
            "kept \(UTC.words(wallClockNow() / 1_000_000_000))",
            "generation \(generation.id), begun by \(configuration.name(of: generation.node)) \(UTC.words(generation.began))",
        ]
        discarded.begin(
            DiscardedFile(
                folder: paths.discarded(volume), name: "\(generation.id)", size: replica.volumeSize, disk: again,
                head: head), bytes)
    }

    func keptAside(_ completion: Completion) {
        for answer in discarded.complete(completion) {
            switch answer {
            case .success(let path): events.append(.keptAside(succeeded: true, path))
            case .failure(let failure): events.append(.keptAside(succeeded: false, failure.words))
            }
        }
    }
}
