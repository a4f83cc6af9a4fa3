import Formats
import LinuxIO
package import Model
import ReplicationCore

/// One node of one volume, running: `hablk run`.
package enum VolumeDaemon {
    /// Runs until it is told to stop.
    /// - Returns: the exit code after it was ready.
    /// - Throws: why it did not become ready.
    package static func run(
        configuration: Configuration, node: Configuration.Node, paths: RuntimePaths
    ) throws(CommandFailure) -> Int32 {
        let log = DaemonLog(volume: configuration.volume, node: node.name) {
            configuration.node($0)?.name ?? $0.description
        }
        let signals: Signals
        let machine: Machine
        do throws(SystemError) {
            // Before anything that may start a thread: threads inherit which signals are blocked.
            signals = try Signals()
            prepareProcess(log)
            machine = try Machine(sendBuffer: configuration.isRelaxed ? configuration.sendBuffer : 0)
        } catch {
            throw .failed("kernel", error.description, remedy: "without HABLK_RING it takes the best that there is")
        }
        try paths.createRuntimeFolder()
        let predecessor = Predecessor(
            controlSocket: paths.controlSocket(configuration.volume), signals: signals, log: log)
        let open: (LoadedCopy) throws(CommandFailure) -> VolumeLoop = { copy throws(CommandFailure) in
            for remark in copy.remarks { log.warning("disk: \(remark)") }
            return try VolumeLoop(
                configuration: configuration, node: node, paths: paths, copy: copy, machine: machine, signals: signals,
                log: log)
        }
        // What was read of the disk lives no longer than this: the bitmaps of a large volume are large.
        let volume = try open(
            predecessor.outwait { () throws(CommandFailure) in
                try LoadedCopy(configuration: configuration, node: node)
            })
        try volume.start(after: predecessor)
        volume.run()
        Successor.inherit(volume.device.handedOver, restarting: volume.isRestarting, log)
        return 0
    }

    private static func prepareProcess(_ log: DaemonLog) {
        ProcessControls.raiseFileLimit()
        for (what, attempt) in [
            ("memory is kept from being paged out", ProcessControls.lockMemory()),
            ("writes go ahead of memory reclaim", ProcessControls.declareIOFlusher()),
        ] {
            switch attempt {
            case .done: log.info("process: \(what)")
            case .refused(let why): log.warning("process: not so: \(what): \(why)")
            }
        }
    }
}
