import ArgumentParser
import Formats
import Glibc
import Model

struct Demo: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show it all on this machine: a volume on two nodes, a crash, a failover, a resync, a split brain.",
        discussion: """
            Two daemons on loopback in a temporary folder, an ext4 file system with real files, live writes, `kill -9` of \
            the primary. Needs e2fsprogs and libnbd-bin, no root, under a minute. Exit code 0 only if every check held.
            """)
    @Flag(name: .long, help: "Leave both nodes running, and say how to play with them.") var keep = false
    @Option(name: .long, help: ArgumentHelp("A new or empty folder to work in.", valueName: "folder"))
    var directory: String?
    @Flag(name: .long, help: "Print one JSON object instead of the story.") var json = false

    func run() throws {
        setenv("PATH", (Environment["PATH"] ?? "/usr/bin:/bin") + ":/usr/sbin:/sbin", 1)
        try DemoFiles.checkPrograms()
        Interruption.hold()
        let cluster = try DemoCluster(directory: directory)
        var story = DemoStory(cluster: cluster, isTold: !json)
        var failure: CommandFailure?
        do throws(CommandFailure) {
            try story.play()
        } catch {
            failure = error
            if !json { Output.note(cluster.logs()) }
        }
        let isLeft = keep && failure?.refusal.reason != Interruption.reason
        if !isLeft { cluster.remove() }
        if failure == nil, !story.isGood {
            failure = .failed("demo", "not every check held", remedy: "hablk demo --keep, then look into the logs")
        }
        if let failure { throw failure }
        if json {
            Output.line(story.json.text)
        } else {
            story.tellResult()
            if isLeft { story.tellHowToPlay() }
        }
    }
}

/// SIGINT and SIGTERM wait until the demo looks for them, so that it can clean up.
enum Interruption {
    static let reason = "interrupted"

    private static var signals: sigset_t {
        var signals = sigset_t()
        sigemptyset(&signals)
        sigaddset(&signals, SIGINT)
        sigaddset(&signals, SIGTERM)
        return signals
    }

    static func hold() {
        var signals = signals
        sigprocmask(SIG_BLOCK, &signals, nil)
    }

    static func check() throws(CommandFailure) {
        var signals = signals
        var none = timespec()
        guard sigtimedwait(&signals, nil, &none) > 0 else { return }
        throw .failed(reason, "interrupted", remedy: "run it again")
    }
}
