import ArgumentParser
import Daemon
import Model

/// What every command about one volume takes.
struct VolumeOptions: ParsableArguments {
    @Argument(help: "The volume's name.") var volume: String
    @Option(name: .long, help: ArgumentHelp("This node's name.", valueName: "name")) var node: String?
    @Flag(name: .long, help: "Print one JSON object, failures too.") var json = false

    func validate() throws { try checkName(volume) }

    var local: LocalVolume { LocalVolume(name: volume, node: node) }
}

/// The same for commands about one volume or all.
struct VolumesOptions: ParsableArguments {
    @Argument(help: "The volume's name; all volumes when it is left out.") var volume: String?
    @Option(name: .long, help: ArgumentHelp("This node's name.", valueName: "name")) var node: String?
    @Flag(name: .long, help: "Print JSON, failures too.") var json = false

    func validate() throws { if let volume { try checkName(volume) } }

    /// The one that was named, or all that have a file.
    func volumes() throws -> [LocalVolume] {
        if let volume { return [LocalVolume(name: volume, node: node)] }
        return try RuntimePaths().volumes().map { LocalVolume(name: $0, node: node) }
    }
}

private func checkName(_ volume: String) throws {
    guard !Configuration.isName(volume) else { return }
    throw ValidationError("`\(volume)` is no name for a volume: letters, digits, `_`, `.` and `-`, at most 64.")
}

/// A time on the command line; a bare number means seconds.
struct TimeSpan: ExpressibleByArgument {
    var nanoseconds: UInt64
    var defaultValueDescription: String { ConfigurationScalar.describe(nanoseconds: nanoseconds) }

    init(seconds: UInt64) { nanoseconds = seconds * 1_000_000_000 }

    init?(argument: String) {
        guard let nanoseconds = ConfigurationScalar.duration(argument, bareSeconds: true) else { return nil }
        self.nanoseconds = nanoseconds
    }
}

struct TimeoutOption: ParsableArguments {
    @Option(
        name: .long,
        help: ArgumentHelp("How long to wait: 500ms, 30s, 2min, or bare seconds; 0: try once.", valueName: "time"))
    var timeout = TimeSpan(seconds: 30)
}

struct ForceFlag: ParsableArguments {
    @Flag(name: .long, help: "Do it although it loses something; the refusal says what.") var force = false
}

struct PeerOption: ParsableArguments {
    @Option(name: .long, help: ArgumentHelp("Only toward this node; toward all when left out.", valueName: "node"))
    var peer: String?
}
