import ArgumentParser
import Daemon
import Formats
import Model

struct Adjust: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Take the configuration file up as it is now, while the volume runs.",
        discussion: """
            Nodes come and go by the file: write the new one on every node, then say this on each that stays; a new node is \
            made with `hablk create` and started with `hablk up`, and is filled by itself. A node that goes is stopped with \
            `hablk down` before or after, and its disk is not touched. With a majority the primary's records take in or let go \
            of one vote at a time, and the vote of a copy that goes ends with it. Until the file is the same everywhere, nodes \
            with different ones do not connect anew.

            Addresses of other nodes, timeouts, rates and limits change at once. What all nodes must have alike, and where this \
            node's disk is, is read when a daemon starts: then nothing is changed, and this is refused (needs-restart).

            Examples: hablk adjust r0 --dry-run; hablk adjust r0
            """)
    @OptionGroup var options: VolumeOptions
    @Flag(name: .long, help: "Only say what would change.") var dryRun = false
    @OptionGroup var limit: TimeoutOption

    func run() throws {
        let volume = options.local
        let said = try perform(on: volume, until: Now.deadline(in: limit.timeout.nanoseconds))
        guard options.json else {
            let isNothing = said.isEmpty
            return Output.line(isNothing ? "nothing to change: \(volume.name) runs as its file says" : said)
        }
        Output.line(
            JSONValue.object([
                .init("version", .integer(1)), .init("result", .string("done")), .init("volume", .string(volume.name)),
                .init("dry-run", .bool(dryRun)),
                .init("changes", .array(said.split(separator: "\n").map { .string(String($0)) })),
            ]).text)
    }

    /// Votes may be away for a moment, as a witness's that was adjusted just before.
    private func perform(on volume: LocalVolume, until deadline: UInt64?) throws(CommandFailure) -> String {
        while true {
            do throws(CommandFailure) {
                return try volume.perform(.adjust(dryRun: dryRun), timeout: limit.timeout.nanoseconds)
            } catch {
                guard error.refusal.reason == ConfigurationChanges.noQuorum, !dryRun else { throw error }
                guard Now.nanoseconds < deadline ?? .max else { throw CommandFailure(.timedOut, error.refusal) }
                Now.sleep(milliseconds: 100)
            }
        }
    }
}
