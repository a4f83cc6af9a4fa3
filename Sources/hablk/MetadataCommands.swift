import ArgumentParser
import Daemon
import Formats
import Model

struct Metadata: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Look at this copy's metadata, or destroy it.", subcommands: [Show.self, Wipe.self])

    struct Show: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Print what the metadata on disk says.")
        @OptionGroup var options: VolumeOptions

        func run() throws {
            let volume = options.local
            let configuration = try volume.configuration()
            let node = WitnessState.located(
                try volume.ownNode(of: configuration), of: volume.name, volume.paths)
            let fields = try MetadataTool.show(configuration: configuration, node: node)
            if options.json { return Output.line(JSONValue.object([.init("version", .integer(1))] + fields).text) }
            let width = fields.map(\.name.count).max() ?? 0
            for field in fields {
                let space = String(repeating: " ", count: width - field.name.count)
                var value = field.value.text
                if case .string(let text) = field.value { value = text }
                Output.line("\(field.name)\(space)  \(value)")
            }
        }
    }

    struct Wipe: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Destroy this copy's metadata: the disk is no member of the volume any more. Data stays.")
        @OptionGroup var options: VolumeOptions

        func run() throws {
            let volume = options.local
            let configuration = try volume.configuration()
            let node = WitnessState.located(
                try volume.ownNode(of: configuration), of: volume.name, volume.paths)
            guard !volume.isRunning else {
                throw CommandFailure.refused(
                    "in-use", "\(volume.name) is running here", remedy: "hablk down \(volume.name)")
            }
            let line = try MetadataTool.wipe(configuration: configuration, node: node)
            Report.done(line, volume: volume.name, json: options.json)
        }
    }
}

struct Config: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Look at configuration files.", subcommands: [Check.self])

    struct Check: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Check the file of one volume, or of all.",
            discussion: "Prints file:line:column, the reason and the remedy of the first fault of each; 78 then.")
        @OptionGroup var options: VolumesOptions

        func run() throws {
            var failures: [CommandFailure] = []
            for volume in try options.volumes() {
                do throws(CommandFailure) {
                    let configuration = try volume.configuration()
                    _ = try volume.ownNode(of: configuration)
                    Report.done("\(configuration.file) is good", volume: volume.name, json: options.json)
                } catch {
                    Report.failure(error, json: options.json)
                    failures.append(error)
                }
            }
            if let failure = Report.decisive(failures) { throw ExitCode(failure.exitCode) }
        }
    }
}
