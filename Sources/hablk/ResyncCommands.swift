import ArgumentParser
import Daemon
import Model

struct Resync: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Pause, resume or pace a resync.", subcommands: [Pause.self, Resume.self, Rate.self])

    struct Pause: DaemonCommand {
        static let configuration = CommandConfiguration(abstract: "Pause the resync until `resume`.")
        @OptionGroup var options: VolumeOptions
        @OptionGroup var limit: TimeoutOption
        var command: ControlCommand { .pauseResync }
    }

    struct Resume: DaemonCommand {
        static let configuration = CommandConfiguration(abstract: "Go on with the resync.")
        @OptionGroup var options: VolumeOptions
        @OptionGroup var limit: TimeoutOption
        var command: ControlCommand { .resumeResync }
        var beginsResync: Bool { true }
    }

    struct Rate: DaemonCommand {
        static let configuration = CommandConfiguration(
            abstract: "Set the resync's rate until the daemon stops.",
            discussion: "Examples: hablk resync rate r0 100MiB/s; hablk resync rate r0 auto")
        @OptionGroup var options: VolumeOptions
        @Argument(help: "Bytes a second, as 100MiB/s; `auto`: as fast as it goes.") var rate: String
        @OptionGroup var limit: TimeoutOption

        func validate() throws {
            guard rate != "auto", ConfigurationScalar.rate(rate) == nil else { return }
            throw ValidationError("`\(rate)` is no rate: write `auto`, or as `100MiB/s`.")
        }

        var command: ControlCommand { .resyncRate(ConfigurationScalar.rate(rate)) }
    }
}

/// How far a resync is, how fast, how long yet.
struct ResyncProgress {
    private var line = ProgressLine()

    /// Whether there is anybody to look at it.
    var isVisible: Bool { line.isVisible }

    mutating func draw(_ status: VolumeStatus?) {
        guard let peer = status?.peers.first(where: { $0.resync != nil }), let resync = peer.resync else {
            return clear()
        }
        line.draw(Self.line(resync, peer))
    }

    mutating func clear() { line.clear() }

    /// `resync from bravo [#####>    ]  45%  120 MiB of 256 MiB  80 MiB/s  2s left`
    static func line(_ resync: VolumeStatus.Resync, _ peer: VolumeStatus.Peer) -> String {
        let direction = peer.replication == .resyncSource ? "to" : "from"
        let line = "resync \(direction) \(peer.node) " + ProgressLine.bar(resync.doneBytes, of: resync.totalBytes)
        if !resync.paused.isEmpty { return line + "  paused by \(resync.paused.joined(separator: ", "))" }
        return line + ProgressLine.pace(resync.bytesPerSecond, etaSeconds: resync.etaSeconds)
    }

    /// Shows a resync that a command began, on a terminal, until it ends or time is over. It goes on either way.
    static func follow(_ volume: LocalVolume, until deadline: UInt64?) {
        var progress = ResyncProgress()
        guard progress.isVisible else { return }
        // A moment for it to begin.
        var idle = 0
        while idle < 4, deadline ?? .max > Now.nanoseconds, let status = try? volume.status() {
            let isRunning = status.peers.contains { $0.resync != nil }
            idle = isRunning ? 0 : idle + 1
            progress.draw(status)
            Now.sleep(milliseconds: 250)
        }
        progress.clear()
        guard let status = try? volume.status() else { return }
        if status.peers.contains(where: { $0.resync != nil }) {
            Output.line("the resync goes on: hablk wait \(volume.name) --for in-sync")
        } else if let last = status.peers.compactMap(\.lastResync).first {
            Output.line("resynced \(ConfigurationScalar.describe(bytes: last.bytes)) in \(last.seconds)s")
        }
    }
}
