import ArgumentParser
import Daemon
import Formats
import Model

struct Witness: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Vote for every volume that names this node as a witness, in the foreground.",
        discussion: """
            One process serves them all: it holds no data, keeps its memory in V.witness in /var/lib/hablk (HABLK_STATE_DIR) \
            and may be far away. Volumes can share one address and port. After a file was added: SIGHUP. SIGTERM ends it.

            `hablk status V` shows what it knows of a volume, `hablk down V` ends its part in one.

            Example, on the witness's machine:
              hablk witness
            """)
    @Option(name: .long, help: ArgumentHelp("Which node this machine is.", valueName: "name")) var node: String?
    @Flag(name: .long, help: "Print failures as a JSON object.") var json = false

    func run() throws {
        do throws(CommandFailure) {
            try WitnessDaemon.run(volume: nil, paths: RuntimePaths(), nodeOption: node) {
                (configuration) throws(CommandFailure) in
                try LocalVolume(name: configuration.volume, node: node).ownNode(of: configuration)
            }
        } catch {
            Output.note(json ? error.json.text : Report.lines(of: error))
            throw ExitCode(error.exitCode)
        }
    }
}
