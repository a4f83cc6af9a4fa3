import ArgumentParser
import Model

/// A command that the running daemon does: what is asked, how long, and whether a resync may follow.
protocol DaemonCommand: ParsableCommand {
    var options: VolumeOptions { get }
    var limit: TimeoutOption { get }
    var command: ControlCommand { get }
    /// On a terminal its progress is shown then.
    var beginsResync: Bool { get }
}

extension DaemonCommand {
    var beginsResync: Bool { false }

    func run() throws {
        let deadline = Now.deadline(in: limit.timeout.nanoseconds)
        let line = try options.local.perform(command, timeout: limit.timeout.nanoseconds)
        Report.done(line, volume: options.volume, json: options.json)
        if beginsResync, !options.json { ResyncProgress.follow(options.local, until: deadline) }
    }
}

struct Promote: DaemonCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make this node the primary.",
        discussion: """
            Waits while the obstacle can pass, and is refused at once when it cannot: a peer answers that it is primary, \
            this copy is not in step, split brain. When time is over (exit code 2) the attempt is withdrawn.

            Example: hablk promote r0 --timeout 10s
            """)
    @OptionGroup var options: VolumeOptions
    @Flag(name: .long, help: "Make this copy the volume whatever others hold: begins a new line of writes.")
    var force = false
    @Option(name: .long, help: ArgumentHelp("That node is known to be off.", valueName: "node"))
    var peerFenced: String?
    @Flag(name: .long, help: "Go on without what an asynchronous primary answered and did not get here.")
    var acceptDataLoss = false
    @Flag(name: .long, help: "Only say whether it could be.") var dryRun = false
    @OptionGroup var limit: TimeoutOption

    var command: ControlCommand {
        .promote(force: force, peerFenced: peerFenced, dryRun: dryRun, acceptsLoss: acceptDataLoss)
    }
}

struct Demote: DaemonCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make this node a secondary.",
        discussion: "Refused while a client could write. With --force their I/O fails instead.")
    @OptionGroup var options: VolumeOptions
    @OptionGroup var forced: ForceFlag
    @OptionGroup var limit: TimeoutOption

    var command: ControlCommand { .demote(force: forced.force) }
}

struct Connect: DaemonCommand {
    static let configuration = CommandConfiguration(
        abstract: "Connect to the peers; with --discard-my-data heal a split brain by giving up this side's writes.",
        discussion: """
            Exit code 0: connected; 2: time is over, it goes on trying; 3: the verdict parted them.

            Example: hablk connect r0 --discard-my-data     (on the loser, which must be secondary)
            """)
    @OptionGroup var options: VolumeOptions
    @OptionGroup var toward: PeerOption
    @Flag(name: .long, help: "What only this copy has may be overwritten by the peer's.") var discardMyData = false
    @Flag(name: .long, help: "Only say what would be lost.") var dryRun = false
    @OptionGroup var limit: TimeoutOption

    var command: ControlCommand { .connect(peer: toward.peer, discardMyData: discardMyData, dryRun: dryRun) }
    var beginsResync: Bool { !dryRun }
}

struct Disconnect: DaemonCommand {
    static let configuration = CommandConfiguration(abstract: "Disconnect from the peers until `connect`.")
    @OptionGroup var options: VolumeOptions
    @OptionGroup var toward: PeerOption
    @OptionGroup var forced: ForceFlag
    @OptionGroup var limit: TimeoutOption

    var command: ControlCommand { .disconnect(peer: toward.peer, force: forced.force) }
}

struct Attach: DaemonCommand {
    static let configuration = CommandConfiguration(
        abstract: "Use the backing disk again, after `detach` or a failure.")
    @OptionGroup var options: VolumeOptions
    @OptionGroup var limit: TimeoutOption

    var command: ControlCommand { .attach }
    var beginsResync: Bool { true }
}

struct Detach: DaemonCommand {
    static let configuration = CommandConfiguration(
        abstract: "Stop using the backing disk; a primary goes on with its peer's copy.")
    @OptionGroup var options: VolumeOptions
    @OptionGroup var forced: ForceFlag
    @OptionGroup var limit: TimeoutOption

    var command: ControlCommand { .detach(force: forced.force) }
}

struct Outdate: DaemonCommand {
    static let configuration = CommandConfiguration(
        abstract: "Say that others went on without this copy: it will not be promoted until it was resynced.")
    @OptionGroup var options: VolumeOptions
    @OptionGroup var forced: ForceFlag
    @OptionGroup var limit: TimeoutOption

    var command: ControlCommand { .outdate(force: forced.force) }
}

struct Invalidate: DaemonCommand {
    static let configuration = CommandConfiguration(
        abstract: "Throw this copy away and fill it from a peer; with --peer throw that node's copy away.")
    @OptionGroup var options: VolumeOptions
    @Option(name: .long, help: ArgumentHelp("That node's copy, not this one.", valueName: "node")) var peer: String?
    @OptionGroup var forced: ForceFlag
    @OptionGroup var limit: TimeoutOption

    var command: ControlCommand { .invalidate(peer: peer, force: forced.force) }
    var beginsResync: Bool { true }
}
