import ArgumentParser
import Formats
import Model

struct Quorum: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Tell who votes, and what would happen if nodes were lost.",
        discussion: """
            Changes nothing. Exit code 0: clients would go on, or another node could take over; 3: they would wait, or \
            nobody could be promoted.

            Example, before alpha is taken down: hablk quorum r0 --if-lost alpha
            """)
    @OptionGroup var options: VolumeOptions
    @Option(
        name: .long,
        help: ArgumentHelp("These are lost, or are about to be; nobody when left out.", valueName: "node,…"))
    var ifLost: String?

    func run() throws {
        let volume = options.local
        let status = try volume.status()
        let lost = ifLost?.split(separator: ",").map { String($0) } ?? []
        let names = [status.node] + status.peers.map(\.node)
        for name in lost where !names.contains(name) {
            throw CommandFailure.refused(
                "no-such-node", "no node is called `\(name)`; there are: \(names.joined(separator: ", "))",
                remedy: "name one of them")
        }
        let forecast = QuorumForecast(status, lost: lost)
        if options.json {
            Output.line(json(of: forecast, status, lost).text)
        } else {
            Output.line("\(status.volume): \(forecast.outcome.rawValue): \(forecast.message)")
        }
        switch forecast.outcome {
        case .goesOn, .failsOver: return
        case .waits, .noPrimary: throw ExitCode(3)
        }
    }

    private func json(of forecast: QuorumForecast, _ status: VolumeStatus, _ lost: [String]) -> JSONValue {
        .object([
            .init("version", .integer(1)), .init("volume", .string(status.volume)),
            .init("if-lost", .strings(lost)), .init("outcome", .string(forecast.outcome.rawValue)),
            .init("candidates", .strings(forecast.candidates)), .init("votes", .strings(forecast.votes)),
            .init("voters", .strings(status.votes?.voters ?? [])), .init("needed", .integer(Int64(forecast.needed))),
            .init("message", .string(forecast.message)),
        ])
    }
}
