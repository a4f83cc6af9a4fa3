import ArgumentParser
import Daemon
import Formats
import Glibc
import Model

struct StatusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Show the state of one volume, or of all that have a file here.",
        discussion: """
            Of a volume that is not running: exit code 4 when it was named, a row when all were asked for. --json prints \
            one object for a named volume and an array for all.
            """)
    @OptionGroup var options: VolumesOptions

    func run() throws {
        guard options.volume == nil else { return try showOne(try options.volumes()[0]) }
        var table = StatusTable()
        var objects: [JSONValue] = []
        var failures: [CommandFailure] = []
        for volume in try options.volumes() {
            do throws(CommandFailure) {
                let status = try volume.runningStatus()
                table.add(status)
                objects.append(status.json)
            } catch {
                objects.append(.object([.init("volume", .string(volume.name)), .init("running", .bool(false))]))
                if error.kind == .notRunning {
                    table.add(stopped: volume.name)
                } else {
                    table.add(error, of: volume.name)
                    failures.append(error)
                }
            }
        }
        if options.json {
            Output.line(JSONValue.array(objects).text)
        } else if objects.isEmpty {
            Output.line("no volume has a file in \(RuntimePaths().configurationFolder)")
        } else {
            Output.line(table.text(coloured: Shade.isWanted(on: 1)))
        }
        guard let failure = Report.decisive(failures) else { return }
        Output.note(Report.lines(of: failure))
        throw ExitCode(failure.exitCode)
    }

    private func showOne(_ volume: LocalVolume) throws {
        do throws(CommandFailure) {
            let status = try volume.status()
            if options.json { return Output.line(status.json.text) }
            var table = StatusTable()
            table.add(status)
            Output.line(table.text(coloured: Shade.isWanted(on: 1)))
        } catch {
            guard error.kind == .notRunning, options.json else { throw error }
            // Nothing on standard output, so that `status V --json` gives a status or nothing.
            Output.note(error.json.text)
            throw ExitCode(error.exitCode)
        }
    }
}

struct Events: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print what is, then a line for each change.",
        discussion: """
            The first lines begin with `exists`, the later ones with `change`, the last one with `stopped`. With --json \
            each line is an object that names the fields that changed and carries the whole status.

            Example: hablk events r0 --json | jq -r 'select(.event == "change") | .status.role'
            """)
    @OptionGroup var options: VolumesOptions
    @Flag(name: .long, help: "Only print what is.") var now = false

    func run() throws {
        var sources: [(volume: LocalVolume, client: ControlClient)] = []
        for volume in try options.volumes() {
            do throws(CommandFailure) {
                let client = try volume.connect()
                try client.send(.events(now: now))
                sources.append((volume, client))
            } catch {
                guard error.kind == .notRunning, options.volume == nil else { throw error }
                printStopped(volume.name, kind: "exists")
            }
        }
        while !sources.isEmpty {
            var wishes = sources.map { pollfd(fd: $0.client.descriptor, events: Int16(POLLIN), revents: 0) }
            guard poll(&wishes, nfds_t(wishes.count), -1) > 0 else { continue }
            var ended: [Int] = []
            for index in sources.indices where wishes[index].revents != 0 {
                if try !drain(sources[index].client) { ended.append(index) }
            }
            for index in ended.reversed() {
                let source = sources.remove(at: index)
                if !now { printStopped(source.volume.name, kind: "stopped") }
            }
        }
    }

    /// Prints all that has arrived. False: nothing more will.
    private func drain(_ client: ControlClient) throws -> Bool {
        while true {
            switch try client.receive(until: 0) {
            case .response(.event(let event)): Output.line(options.json ? event.json.text : Self.line(of: event))
            case .response(.outcome(.failed(let failure))): throw failure
            case .response: continue
            case .nothing: return true
            case .end: return false
            }
        }
    }

    private func printStopped(_ volume: String, kind: String) {
        guard options.json else {
            return Output.line("\(Self.clock(nil)) \(kind) \(volume)\(kind == "exists" ? " running:no" : "")")
        }
        Output.line(
            JSONValue.object([
                .init("version", .integer(1)), .init("event", .string(kind)), .init("volume", .string(volume)),
                .init("running", .bool(false)),
            ]).text)
    }

    /// `12:00:01.250 change r0 bravo connection: connecting -> connected`
    static func line(of event: ControlEvent) -> String {
        let status = event.status
        var line = "\(clock(event.time)) \(event.kind.rawValue) \(status.volume)"
        if let peer = event.peer { line += " \(peer)" }
        switch event.kind {
        case .change:
            let changes = event.changes.map { "\($0.field): \($0.from ?? "-") -> \($0.to ?? "-")" }
            line += " " + changes.joined(separator: ", ")
        case .exists:
            if let peer = status.peers.first(where: { $0.node == event.peer }) {
                line += " connection:\(peer.connection.rawValue) role:\(peer.role.rawValue) disk:\(peer.disk.rawValue)"
                line += " replication:\(peer.replication?.rawValue ?? "-") out-of-sync:\(peer.outOfSyncBytes)"
            } else {
                line += " node:\(status.node) role:\(status.role.rawValue) disk:\(status.disk.rawValue)"
                line += " size:\(status.size) clients:\(status.clients)"
                if !status.suspended.isEmpty {
                    line += " suspended:\(status.suspended.map(\.rawValue).joined(separator: ","))"
                }
            }
        }
        return line
    }

    /// The time of day, with milliseconds; nil: now.
    private static func clock(_ seconds: Double?) -> String {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        let seconds = seconds ?? Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
        guard seconds.isFinite, (0..<1e11).contains(seconds) else { return "-" }
        var whole = time_t(seconds)
        var parts = tm()
        localtime_r(&whole, &parts)
        func padded(_ number: Int, _ width: Int) -> String {
            let digits = String(number)
            return String(repeating: "0", count: max(0, width - digits.count)) + digits
        }
        let milliseconds = Int((seconds - seconds.rounded(.down)) * 1000)
        return "\(padded(Int(parts.tm_hour), 2)):\(padded(Int(parts.tm_min), 2)):\(padded(Int(parts.tm_sec), 2))"
            + ".\(padded(milliseconds, 3))"
    }
}
