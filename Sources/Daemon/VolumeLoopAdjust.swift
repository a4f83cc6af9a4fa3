import Formats
import LinuxIO
import Model
import ReplicationCore

/// `adjust`: the file as it is now, taken up by a running volume, all of it or nothing.
extension VolumeLoop {
    func adjust(_ id: CommandID, dryRun: Bool) {
        do throws(CommandFailure) {
            let next = try Configuration.load(configuration.volume, paths: paths)
            let changes = try ConfigurationChanges(from: configuration, to: next, node: node)
            try changes.check(next, replica.status(at: MonotonicTime(nanoseconds: now)))
            let layout = try layout(with: changes.added)
            let isDone = !dryRun && !changes.isEmpty
            let lines = changes.lines(next, isDone: isDone)
            guard isDone else { return control?.finishCommand(id, .done(lines.joined(separator: "\n"))) ?? () }
            adjusting[id] = lines
            for line in lines { log.info("configuration: \(line)") }
            take(next, layout, id)
        } catch {
            control?.commandFailed(id, error)
        }
    }

    /// A bitmap for each new copy; nil without a disk.
    private func layout(with added: [Configuration.Node]) throws(CommandFailure) -> DiskLayout? {
        guard var layout = disk.copy?.layout else { return nil }
        guard !mover.isBusy || added.isEmpty else {
            throw .refused(
                "busy", "the metadata are being moved for a larger volume",
                remedy: "in a moment: hablk adjust \(configuration.volume)")
        }
        for new in added where !new.isWitness {
            guard let assigned = layout.assigning(new.id) else {
                throw LoadedCopy.noBitmap(for: new, disk.copy?.files.metadata.path ?? node.disk, configuration.volume)
            }
            layout = assigned
        }
        return layout
    }

    private func take(_ next: Configuration, _ layout: DiskLayout?, _ id: CommandID) {
        // Before the core writes the superblock that says whose bitmap lies where.
        if let layout { disk.assign(layout) }
        // One that leaves is still spoken of.
        let former = configuration
        log.nameOfNode = { next.node($0)?.name ?? former.name(of: $0) }
        configuration = next
        peers.adjust(to: next)
        control?.adjust(to: next)
        fencing.configuration = next
        events.append(.adjusted(next.replicaConfiguration(node: node.id), id))
    }

    /// What to say of a command that ended, if it was an `adjust` that the core took.
    func adjusted(_ id: CommandID, _ outcome: CommandOutcome) -> ControlOutcome {
        guard let lines = adjusting.removeValue(forKey: id), case .done = outcome else {
            return ControlOutcome(outcome)
        }
        return .done(lines.joined(separator: "\n"))
    }
}
