import ArgumentParser
import Daemon
import Formats
import Glibc
import Model

struct Drill: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Exercise a failover: how long clients wait, and what is lost. Writes a report.",
        discussion: """
            Without a volume: two nodes (and a witness) on loopback in a temporary folder, and a client that writes through \
            it all; no root, no cluster manager. With a volume: on the node that is to take over, in a Pacemaker cluster \
            that serves it. Then \(DrillScenario.live.map(\.rawValue).joined(separator: " and ")) can be tried. No data is \
            touched: nothing is written, the wait is from the event until this node serves, and lost writes are not \
            counted. With --write-area a client writes there all the time, over TCP where the primary is, and the wait \
            and the loss are its own. That area must hold nothing: a volume for tests, or its end behind the partition; \
            what is not zeroes is refused, and it is zeroes again afterwards. It asks before it hurts.

            Example: hablk drill --scenario primary-crash
                     hablk drill r0 --scenario switch-over --report /root/drill-r0.txt
                     hablk drill r0 --scenario primary-crash --write-area 9GiB+4MiB
            """)
    @Argument(help: "The volume; a throw-away one when it is left out.") var volume: String?
    @Option(name: .long, help: ArgumentHelp("\(DrillScenario.words).", valueName: "scenario")) var scenario:
        DrillScenario
    @Option(name: .long, help: ArgumentHelp("The clone of Pacemaker's; VOLUME-clone when left out.", valueName: "name"))
    var resource: String?
    @Option(
        name: .long,
        help: ArgumentHelp("Where the drill may write: 1MiB to 64MiB of zeroes.", valueName: "offset+length"))
    var writeArea: DrillArea?
    @Option(
        name: .long,
        help: ArgumentHelp("Where clients reach the primary; else what its entry `nbd` says.", valueName: "host:port"),
        transform: { text in
            guard let address = NetworkAddress(text) else { throw ValidationError("`\(text)` is not HOST:PORT.") }
            return address
        })
    var nbd: NetworkAddress?
    @Option(name: .long, help: ArgumentHelp("Write the report there as well.", valueName: "file")) var report: String?
    @Flag(name: .long, help: "Do not ask.") var yes = false
    @Flag(name: .long, help: "Print the report as one JSON object.") var json = false
    @OptionGroup var limit: TimeoutOption

    func validate() throws {
        guard volume == nil, writeArea != nil || nbd != nil else { return }
        throw ValidationError("A throw-away volume is written to all over: leave --write-area and --nbd out.")
    }

    func run() throws {
        var report = DrillReport(scenario: scenario, volume: volume)
        do throws(CommandFailure) {
            if let volume {
                var drill = DrillOnCluster(
                    volume: LocalVolume(name: volume, node: nil), resource: resource ?? "\(volume)-clone",
                    scenario: scenario, limit: limit.timeout.nanoseconds, area: writeArea, address: nbd)
                let peer = try drill.check()
                if !yes { try ask(volume, peer) }
                try drill.play(&report)
            } else {
                Interruption.hold()
                let cluster = try DemoCluster(directory: nil, hasWitness: scenario == .witnessLoss)
                defer { cluster.remove() }
                var drill = ThrowAwayDrill(cluster: cluster, scenario: scenario)
                try drill.play(&report)
            }
        } catch {
            guard report.hasBegun else { throw error }
            report.note("failed: \(error.refusal.message)")
            report.failure = error.refusal.message
        }
        let text = json ? report.json.text : report.text
        Output.line(text)
        if let path = self.report { try write(text + "\n", to: path) }
        if !report.isGood { throw ExitCode(CommandFailure.Kind.failed.exitCode) }
    }

    private func ask(_ volume: String, _ peer: String) throws(CommandFailure) {
        let area = writeArea.map { "; a client writes to \($0.words) of \(volume)" } ?? ""
        let words = scenario.words(volume, peer) + area
        guard Output.isTerminal(0) else {
            throw .refused("not-confirmed", words, remedy: "say --yes, or run it on a terminal")
        }
        Output.write("\(words). Type the volume's name to go on: ", to: 2)
        guard readLine() == volume else {
            throw .refused("not-confirmed", "nothing was done", remedy: "type \(volume) when it asks")
        }
    }

    private func write(_ text: String, to path: String) throws(CommandFailure) {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else {
            throw .failed("not-written", "\(path): \(String(cString: strerror(errno)))", remedy: "name another file")
        }
        Output.write(text, to: descriptor)
        close(descriptor)
    }
}

/// What is done to the cluster.
enum DrillScenario: String, CaseIterable, ExpressibleByArgument {
    case switchOver = "switch-over"
    case primaryCrash = "primary-crash"
    case linkCut = "link-cut"
    case isolatedPrimary = "isolated-primary"
    case witnessLoss = "witness-loss"

    static let words = allCases.map(\.rawValue).joined(separator: ", ")
    /// What can be done to a cluster that is in use.
    static let live: [DrillScenario] = [.switchOver, .primaryCrash]

    /// What is about to happen.
    func words(_ volume: String, _ primary: String) -> String {
        switch self {
        case .switchOver: "This moves \(volume) from \(primary) to this node under its clients"
        case .primaryCrash: "This has the cluster fence \(primary), which serves \(volume): everything on it ends"
        case .linkCut: "This cuts the replication link of \(volume)"
        case .isolatedPrimary: "This cuts \(primary) off"
        case .witnessLoss: "This ends a witness of \(volume)"
        }
    }
}
