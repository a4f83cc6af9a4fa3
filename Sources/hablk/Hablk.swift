import ArgumentParser
import Glibc
import Model

/// The command line. `run` is the daemon; everything else asks it over `V.control`, or works on files.
@main struct Hablk: ParsableCommand {
    static let release = "0.1.0"

    static let configuration = CommandConfiguration(
        commandName: "hablk",
        abstract: "Replicated block devices in user space: a copy on each node, one primary, served through NBD.",
        discussion: """
            A first volume, the same words on each node; charlie only votes (there: hablk witness):

              hablk create r0 \\
                --node alpha=10.0.0.1:7789,/dev/vg0/r0 \\
                --node bravo=10.0.0.2:7789,/dev/vg0/r0 \\
                --witness charlie=10.0.0.3:7789
              hablk up r0
              hablk promote r0 --force    (on one node, once: its data counts)
              hablk wait r0 --for in-sync

            Sizes: 4096 (bytes), 512MiB, 10GiB, 1TiB. Times: 500ms, 30s, 2min; a bare number means seconds.
            Exit codes: 0 done, 1 failed, 2 not so in time, 3 refused, 4 not running here, 64 usage, 77 not permitted, \
            78 configuration.
            Files: /etc/hablk/V.yaml (HABLK_CONFIG_DIR), /run/hablk/ (HABLK_RUNTIME_DIR). This node's name: --node, else \
            HABLK_NODE, else the host name.
            """,
        version: "hablk \(release)",
        subcommands: [
            Create.self, Run.self, Up.self, Down.self, Promote.self, Demote.self, Map.self, Unmap.self, Connect.self,
            Disconnect.self, Attach.self, Detach.self, Outdate.self, Invalidate.self, StatusCommand.self, Score.self,
            Events.self, Wait.self, Resync.self, Verify.self, Adjust.self, Resize.self, Quorum.self, Witness.self,
            Metadata.self,
            Config.self, Drill.self,
            Demo.self,
        ])

    static func main() {
        signal(SIGPIPE, SIG_IGN)
        let arguments = optionsLast(Array(CommandLine.arguments.dropFirst()))
        do {
            var command = try parseAsRoot(arguments)
            try command.run()
        } catch let failure as CommandFailure {
            Report.failure(failure, json: asksForJSON(arguments))
            Glibc.exit(failure.exitCode)
        } catch {
            endParsing(error, json: asksForJSON(arguments))
        }
    }

    private static func asksForJSON(_ arguments: [String]) -> Bool {
        arguments.prefix { $0 != "--" }.contains("--json")
    }

    /// `hablk --node alpha status` is `hablk status --node alpha`.
    private static func optionsLast(_ arguments: [String]) -> [String] {
        var rest = arguments[...]
        var moved: [String] = []
        while let first = rest.first {
            if first == "--node", rest.count >= 2 {
                moved += [first, rest[rest.startIndex + 1]]
                rest = rest.dropFirst(2)
            } else if first == "--json" || first.hasPrefix("--node=") {
                moved.append(first)
                rest = rest.dropFirst()
            } else {
                break
            }
        }
        return rest.isEmpty ? moved : Array(rest) + moved
    }

    /// Help and versions go to stdout with 0; what was not understood is 64.
    private static func endParsing(_ error: any Error, json: Bool) -> Never {
        let code = exitCode(for: error).rawValue
        let message = fullMessage(for: error)
        if code == 0 {
            if !message.isEmpty { Output.line(message) }
        } else if json, code == CommandFailure.Kind.usage.exitCode {
            let failure = CommandFailure(.usage, "usage", self.message(for: error), remedy: "hablk help")
            Report.failure(failure, json: true)
        } else if !message.isEmpty {
            Output.note(message)
        }
        Glibc.exit(code)
    }
}
