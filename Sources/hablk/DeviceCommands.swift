import ArgumentParser
import Formats
import Model

struct Map: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make the volume a block device of this machine, on the primary; print its path.",
        discussion: """
            The device outlives its daemon: while that is killed, restarted or upgraded its I/O waits. udev names it \
            /dev/hablk/by-volume/VOLUME as well. It needs the kernel's module: modprobe nbd nbds_max=0

            Example: mount $(hablk map r0) /srv
            """)
    @OptionGroup var options: VolumeOptions
    @Option(name: .long, help: ArgumentHelp("Which device; a free one when left out.", valueName: "/dev/nbdN"))
    var device: String?
    @Option(
        name: .long,
        help: ArgumentHelp(
            "Bytes of the device's sectors: 512 for what was partitioned or formatted so, else 4096.",
            valueName: "bytes"))
    var blockSize: UInt64 = 4096
    @Flag(
        name: .long,
        help: "Use ioctls, for kernels without netlink for NBD (before 4.12): such a device ends with its daemon.")
    var ioctl = false
    @OptionGroup var limit: TimeoutOption

    func run() throws {
        let command = ControlCommand.map(device: device, blockSize: blockSize, ioctl: ioctl)
        let path = try options.local.perform(command, timeout: limit.timeout.nanoseconds)
        guard options.json else { return Output.line(path) }
        Output.line(
            JSONValue.object([
                .init("version", .integer(1)), .init("result", .string("done")),
                .init("volume", .string(options.volume)), .init("device", .string(path)),
                .init("message", .string("\(options.volume) is \(path)")),
            ]).text)
    }
}

struct Unmap: DaemonCommand {
    static let configuration = CommandConfiguration(
        abstract: "Give the block device up; refused while it is mounted or open, with whoever has it.")
    @OptionGroup var options: VolumeOptions
    @OptionGroup var limit: TimeoutOption

    var command: ControlCommand { .unmap }
}
