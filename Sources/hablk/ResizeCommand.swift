import ArgumentParser
import Daemon
import Formats
import Model

struct Resize: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make a running volume larger.",
        discussion: """
            First make the disks of all nodes larger (as by lvextend; a regular file is made longer by itself), then say this on the \
            primary. Without --size the volume becomes as large as the smallest copy allows. All copies must be connected and up to \
            date: one that is away keeps the volume from growing. A volume is never made smaller.

            Each copy moves its metadata, if they lie behind the data, and writes zeroes over the new part; only when all have done so \
            does the volume have its new size, everywhere at once. A node that dies meanwhile comes back with the same size as the \
            others; then say it again. The new part reads as zeroes. NBD clients see it when they connect anew; /dev/nbdN has it when this command ends.

            `size:` in the file is what `hablk create` makes: put the new size there for copies to come, and `hablk adjust` \
            on every node.

            Examples: hablk resize r0 --dry-run; hablk resize r0; hablk resize r0 --size 20GiB
            """)
    @OptionGroup var options: VolumeOptions
    @Option(name: .long, help: ArgumentHelp("The new size, as 20GiB; more than it has.", valueName: "size"))
    var size: String?
    @Flag(name: .long, help: "Only say what it would become.") var dryRun = false
    @OptionGroup var limit: TimeoutOption

    func validate() throws {
        if let size, ConfigurationScalar.size(size) == nil {
            throw ValidationError("`\(size)` is no size: write 512MiB, 10GiB, or bytes.")
        }
    }

    func run() throws {
        let volume = options.local
        let line = try volume.perform(
            .resize(size: size.flatMap { ConfigurationScalar.size($0) }, dryRun: dryRun),
            timeout: limit.timeout.nanoseconds)
        Report.done(line, volume: volume.name, json: options.json)
    }
}
