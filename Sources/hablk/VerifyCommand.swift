import ArgumentParser
import Daemon
import Formats
import Glibc
import Model

struct Verify: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Compare the copies of a running volume by strong digests, and say what differs.",
        discussion: """
            Run it on the primary. The volume stays in use, and what differs for a moment only because it is being written \
            is not reported. Nothing is changed. Without --wait it returns when the comparison has begun; its result is in \
            `hablk status`.

            With --repair what differed gets, on all copies, what the copy named with --from has: an ordinary write of the \
            primary, block by block, which no client's write comes between. The blocks are remembered by the primary until it \
            stops or is demoted.

            Exit codes with --wait: 0 all copies are equal; 1 they differ, or something could not be read or compared.

            Example: hablk verify r0 --wait --rate 100MiB/s
            """)
    @OptionGroup var options: VolumeOptions
    @OptionGroup var toward: PeerOption
    @Option(name: .long, help: ArgumentHelp("Bytes a second, as 100MiB/s.", valueName: "rate")) var rate: String?
    @Flag(name: .long, help: "Wait for the end and show the progress.") var wait = false
    @Flag(name: .long, help: "End a comparison that is under way.") var stop = false
    @Flag(name: .long, help: "Overwrite what the last comparison found to differ; needs --from.") var repair = false
    @Option(name: .long, help: ArgumentHelp("The copy that is right: with --repair.", valueName: "node"))
    var from: String?
    @OptionGroup var limit: TimeoutOption

    func validate() throws {
        if let rate, ConfigurationScalar.rate(rate).map(Comparing.rates.contains) != true {
            throw ValidationError("`\(rate)` is no rate from 4KiB/s to 1TiB/s: write as `100MiB/s`.")
        }
        if stop || repair, wait || rate != nil || stop && repair {
            throw ValidationError("--stop and --repair take neither --wait nor --rate, nor each other.")
        }
        if from != nil, !repair { throw ValidationError("--from says what --repair writes.") }
    }

    func run() throws {
        let volume = options.local
        if stop {
            let line = try volume.perform(.stopVerify(peer: toward.peer), timeout: limit.timeout.nanoseconds)
            return Report.done(line, volume: volume.name, json: options.json)
        }
        if repair {
            let command = ControlCommand.repair(peer: toward.peer, from: from)
            let line = try volume.perform(command, timeout: limit.timeout.nanoseconds)
            return Report.done(line, volume: volume.name, json: options.json)
        }
        let command = ControlCommand.verify(peer: toward.peer, rate: rate.flatMap(ConfigurationScalar.rate))
        let asked = UInt64(max(time(nil), 0))
        let line = try volume.perform(command, timeout: limit.timeout.nanoseconds)
        guard wait else { return Report.done(line, volume: volume.name, json: options.json) }
        let results = try VerifyWait.follow(volume, since: asked)
        if options.json {
            Output.line(VerifyWait.json(results, volume: volume.name).text)
        } else {
            for (node, result) in results { Output.line("\(node): \(VerifyWords.line(result))") }
        }
        guard results.allSatisfy({ $0.result.word == "equal" }), !results.isEmpty else {
            throw ExitCode(CommandFailure.Kind.failed.exitCode)
        }
    }
}

/// Follows what `verify` began, until it ends.
enum VerifyWait {
    /// - Parameter asked: when, in seconds since 1970: an earlier comparison, with another peer, is no result of this one.
    static func follow(
        _ volume: LocalVolume, since asked: UInt64
    ) throws(CommandFailure) -> [(node: String, result: VerifyResult)] {
        var line = ProgressLine()
        var nodes: Set<String> = []
        while true {
            let status: VolumeStatus
            do throws(CommandFailure) {
                status = try volume.status()
            } catch {
                line.clear()
                throw error
            }
            let running = status.peers.filter { $0.verify != nil }
            nodes.formUnion(running.map(\.node))
            if running.isEmpty {
                line.clear()
                // It may have ended before it was looked at.
                return status.peers.compactMap { one in
                    guard let last = one.lastVerify, nodes.contains(one.node) || last.ended >= asked else { return nil }
                    return (one.node, last)
                }
            }
            if let one = running.first, let verify = one.verify { line.draw(VerifyWords.progress(verify, one.node)) }
            Now.sleep(milliseconds: 100)
        }
    }

    static func json(_ results: [(node: String, result: VerifyResult)], volume: String) -> JSONValue {
        .object([
            .init("version", .integer(1)), .init("result", .string("done")), .init("volume", .string(volume)),
            .init(
                "peers",
                .array(
                    results.map { node, result in
                        .object([.init("node", .string(node)), .init("last-verify", result.json)])
                    })),
        ])
    }
}

/// Comparisons in the words of `status` and `verify --wait`.
enum VerifyWords {
    /// `verify with bravo [#####...]  45%  120 MiB of 256 MiB  32 MiB/s  4s left`
    static func progress(_ verify: VolumeStatus.Verify, _ node: String) -> String {
        var line = "verify with \(node) " + ProgressLine.bar(verify.doneBytes, of: verify.totalBytes)
        line += ProgressLine.pace(verify.bytesPerSecond, etaSeconds: verify.etaSeconds)
        if verify.differingBytes > 0 {
            line += "  \(ConfigurationScalar.describe(bytes: verify.differingBytes)) differ"
        }
        return line
    }

    /// `equal: 256 MiB compared`
    static func line(_ result: VerifyResult) -> String {
        var line = result.word
        if result.word != "interrupted", result.end == .interrupted { line += ", interrupted" }
        if result.end != .complete { line += " at \(result.reached)" }
        if let reason = result.reason { line += ": \(reason)" }
        line += "; \(ConfigurationScalar.describe(bytes: result.comparedBytes)) compared"
        if result.differingBytes > 0 {
            line += ", \(ConfigurationScalar.describe(bytes: result.differingBytes)) differ"
        }
        if result.unreadableBytes > 0 {
            line += ", \(ConfigurationScalar.describe(bytes: result.unreadableBytes)) cannot be read"
        }
        if result.skippedBytes > 0 {
            line += ", \(ConfigurationScalar.describe(bytes: result.skippedBytes)) are marked and were left out"
        }
        let shown = result.runs.prefix(4).map { run in
            let first = run.first * Geometry.blockSize
            return "\(first)+\(run.count * Geometry.blockSize)"
        }
        if !shown.isEmpty {
            line += " (at \(shown.joined(separator: ", "))\(result.runs.count > shown.count ? ", ..." : ""))"
        }
        return line
    }

    /// The same with its time, as UTC.
    static func status(_ result: VerifyResult) -> String { "\(UTC.words(result.ended)): \(line(result))" }
}
