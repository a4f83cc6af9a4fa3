import ArgumentParser
import Foundation
import Recording
import Simulation

/// `--replay FILE`: what a daemon recorded, shown and executed again.
struct BlackBox: ParsableArguments {
    @Option(
        help: """
            Show a daemon's black box (V.blackbox), and let the core decide again on each event. Exit code 1: a decision \
            differs, 65: the file is damaged or something else, 66: there is none; a trap comes again after its event.
            """)
    var replay: String?

    var isWanted: Bool { replay != nil }

    /// - Parameter last: shows only so many of the newest events, with their decisions.
    /// - Returns: the exit code.
    func run(last: Int?) -> Int32 {
        let path = replay ?? ""
        guard let data = FileManager.default.contents(atPath: path) else {
            complain("\(path): cannot be read")
            return 66
        }
        let reader: RecordingReader
        do throws(RecordingError) {
            reader = try RecordingReader(Array(data))
        } catch {
            complain("\(path): \(error)")
            return 65
        }
        let head = reader.head
        say(
            "black box of \(head.volume) on \(head.nodeName) (\(head.node)), process \(head.processID), begun "
                + "\(time(head.startedAt)), "
                + (reader.endedInOrder ? "ended in order" : "not ended in order: killed, trapped, or running still"))
        var replay = BlackBoxReplay(reader, last: last) { say($0) }
        let outcome = replay.run()
        say(
            "\(outcome.events) events over \(seconds(outcome.span)), \(outcome.replayed) replayed"
                + (outcome.missing > 0 ? ", \(outcome.missing) not recorded any more" : ""))
        if let because = outcome.transcriptBecause { say("not all was replayed: \(because)") }
        if let divergence = outcome.divergence {
            say("DIFFERS at \(divergence)")
            say(
                "either this simulator is not of the daemon's build, or the core is not deterministic, or memory failed"
            )
        } else if outcome.damages > 0 {
            say("DAMAGED in \(outcome.damages) places; what verifies was shown")
        } else {
            say("no decision differs")
        }
        return outcome.exitCode
    }

    private func seconds(_ nanoseconds: UInt64) -> String { String(format: "%.3f s", Double(nanoseconds) / 1e9) }

    private func time(_ nanoseconds: UInt64) -> String {
        Date(timeIntervalSince1970: Double(nanoseconds) / 1e9).ISO8601Format(
            .iso8601WithTimeZone(includingFractionalSeconds: true))
    }

    private func complain(_ text: String) { FileHandle.standardError.write(Data((text + "\n").utf8)) }
}
