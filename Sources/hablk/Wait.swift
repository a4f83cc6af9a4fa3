import ArgumentParser
import Daemon
import Model

struct Wait: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Wait until something is so.",
        discussion: """
            Conditions, several with commas between (all must hold): \(WaitCondition.words). Waits for the daemon too. \
            Without --timeout it waits for ever; exit code 2 when time is over. A resync shows its progress on a terminal.

            Example: hablk wait r0 --for connected,in-sync --timeout 5min
            """)
    @OptionGroup var options: VolumeOptions
    @Option(
        name: .customLong("for"), help: ArgumentHelp("What to wait for.", valueName: "condition,..."),
        transform: WaitCondition.list)
    var conditions: [WaitCondition]
    @Option(name: .long, help: ArgumentHelp("Only look at this node.", valueName: "node")) var peer: String?
    @Option(name: .long, help: ArgumentHelp("500ms, 30s, 2min, or bare seconds; 0: look once.", valueName: "time"))
    var timeout: TimeSpan?

    func run() throws {
        let volume = options.local
        let deadline = Now.deadline(in: timeout?.nanoseconds)
        try checkPeer(volume)
        var progress = ResyncProgress()
        var status: VolumeStatus?
        repeat {
            if try follow(volume, &status, &progress, until: deadline) {
                progress.clear()
                let words = conditions.map(\.rawValue).joined(separator: ", ")
                return Report.done("\(volume.name) is \(words)", volume: volume.name, json: options.json)
            }
            // Nobody answers, or hung up: try again in a moment.
            Now.sleep(milliseconds: 100)
        } while deadline ?? .max > Now.nanoseconds
        progress.clear()
        let words = conditions.map(\.rawValue).joined(separator: ", ")
        throw CommandFailure(
            .timedOut, "not-in-time",
            "\(volume.name) is not \(words): \(WaitCondition.describe(status, peer: peer))",
            remedy: "hablk status \(volume.name)")
    }

    /// Follows one connection until all conditions hold (true), the daemon is gone or time is over (false).
    private func follow(
        _ volume: LocalVolume, _ status: inout VolumeStatus?, _ progress: inout ResyncProgress, until deadline: UInt64?
    ) throws -> Bool {
        let client: ControlClient
        do throws(CommandFailure) {
            client = try volume.connect()
            try client.send(.events(now: false))
        } catch {
            if error.kind == .configuration || error.kind == .notPermitted { throw error }
            status = nil
            return hold(nil, volume)
        }
        let pause: UInt64 = progress.isVisible ? 250_000_000 : 1_000_000_000
        while true {
            let next = min(deadline ?? .max, Now.nanoseconds + pause)
            switch try client.receive(until: next) {
            case .response(.event(let event)): status = event.status
            case .response(.outcome(.failed(let failure))): throw failure
            case .response: continue
            case .end:
                status = nil
                return hold(nil, volume)
            // Counters run without an event.
            case .nothing:
                if let latest = try? volume.status(within: 1_000_000_000) { status = latest }
            }
            if let status, hold(status, volume) { return true }
            progress.draw(status)
            if deadline ?? .max <= Now.nanoseconds { return false }
        }
    }

    private func hold(_ status: VolumeStatus?, _ volume: LocalVolume) -> Bool {
        conditions.allSatisfy { condition in
            condition.holds(status, peer: peer) {
                (try? volume.perform(.promote(force: false, peerFenced: nil, dryRun: true), timeout: 0)) != nil
            }
        }
    }

    /// A peer that is not in the file would be waited for for ever.
    private func checkPeer(_ volume: LocalVolume) throws {
        guard let peer, let configuration = try? volume.configuration(), configuration.node(named: peer) == nil else {
            return
        }
        throw CommandFailure(
            .configuration, "no-such-node",
            "\(configuration.file): no node is called `\(peer)`; there are: "
                + configuration.nodes.map(\.name).joined(separator: ", "), remedy: "name one of them with --peer")
    }
}

extension WaitCondition {
    static var words: String { allCases.map(\.rawValue).joined(separator: " ") }

    /// `connected,in-sync`
    static func list(_ text: String) throws -> [WaitCondition] {
        try text.split(separator: ",", omittingEmptySubsequences: false).map { word in
            guard let condition = WaitCondition(rawValue: String(word)) else {
                throw ValidationError("`\(word)` cannot be waited for; there are: \(words)")
            }
            return condition
        }
    }
}
