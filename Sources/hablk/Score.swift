import ArgumentParser
import Formats
import Model

struct Score: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Say how good a primary this node would be, for a cluster manager.",
        discussion: """
            One line: role, score, how it stands with its peers, and why. Scores: 10000 primary, or in step with nothing \
            unknown; 1000 in step, but apart from its peer; 10 the last resort; 0 not to be promoted; `-` about to change, \
            keep the earlier one. Peers: `together`, `apart` (one is not connected), `between`. With --follow a line now \
            and one for each change, until the daemon ends (exit code 4).

            Example: hablk score r0
            """)
    @OptionGroup var options: VolumeOptions
    @Flag(name: .long, help: "As if promoted with that word.") var acceptDataLoss = false
    @Flag(name: .long, help: "Go on printing, a line for each change.") var follow = false

    func run() throws {
        guard follow else { return Output.line(line(of: try options.local.status())) }
        let client = try options.local.connect()
        try client.send(.events(now: false))
        var last = ""
        while true {
            switch try client.receive(until: nil) {
            case .response(.event(let event)):
                let line = line(of: event.status)
                if line != last { Output.line(line) }
                last = line
            case .response(.outcome(.failed(let failure))): throw failure
            case .response, .nothing: continue
            case .end:
                throw CommandFailure(
                    .notRunning, "not-running", "the daemon of \(options.volume) ended",
                    remedy: "hablk up \(options.volume)")
            }
        }
    }

    /// `secondary 1000 apart in step; unknown: bravo`
    private func line(of status: VolumeStatus) -> String {
        let score = PromotionScore(of: status, acceptsLoss: acceptDataLoss)
        guard options.json else {
            let value = score.value.map { String($0) } ?? "-"
            return "\(status.role.rawValue) \(value) \(score.peers.rawValue) \(score.because)"
        }
        return JSONValue.object([
            .init("version", .integer(1)), .init("volume", .string(status.volume)),
            .init("role", .string(status.role.rawValue)),
            .init("score", score.value.map { .unsigned(UInt64($0)) } ?? .null),
            .init("peers", .string(score.peers.rawValue)), .init("because", .string(score.because)),
        ]).text
    }
}
