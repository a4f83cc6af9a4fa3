import ArgumentParser
import Daemon
import Glibc
import Model

struct Create: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Write a volume's configuration when there is none, then this node's metadata.",
        discussion: """
            Say the same words on every node: ids are given in the order of the nodes, and the same file results. A file \
            that is there wins; options that contradict it are refused.

            A regular file that `create` makes is all zeroes and so is its copy: up-to-date at once. So is every copy with \
            --assume-identical, said on every node. Any other disk is inconsistent until it is filled.

            Example:
              hablk create r0 --size 10GiB \\
                --node alpha=10.0.0.1:7789,/dev/vg0/r0 \\
                --node bravo=10.0.0.2:7789,/dev/vg0/r0 \\
                --witness charlie=10.0.0.3:7789
            """)

    @Argument(help: "The volume's name.") var volume: String
    @Option(
        name: .long,
        help: ArgumentHelp(
            "A data node; repeat it for each. A bare name says which of them this machine is.",
            valueName: "name=address,disk[,metadata]"))
    var node: [String] = []
    @Option(
        name: .long,
        help: ArgumentHelp("A node that votes and holds no data; repeat it for each.", valueName: "name=address"))
    var witness: [String] = []
    @Option(
        name: .long,
        help: ArgumentHelp(
            "As 512MiB or 10GiB; the smallest disk decides when left out. Where the file is there and names none: of this copy.",
            valueName: "size"))
    var size: String?
    @Option(name: .long, help: ArgumentHelp("sync; memory or async need --quorum off.", valueName: "mode"))
    var replication: String?
    @Option(
        name: .long,
        help: ArgumentHelp(
            "Needed with two nodes and no witness: off. Else a majority of the nodes decides.",
            valueName: "majority|off"))
    var quorum: String?
    @Flag(name: .long, help: "The disks of all nodes hold the same: nothing needs to be copied.")
    var assumeIdentical = false
    @Flag(name: .long, help: "Also on a disk that bears data.") var force = false
    @Flag(name: .long, help: "Print one JSON object, failures too.") var json = false

    private var ownName: String? { node.last { !$0.contains("=") } }

    func validate() throws {
        guard Configuration.isName(volume) else {
            throw ValidationError("`\(volume)` is no name for a volume: letters, digits, `_`, `.` and `-`, at most 64.")
        }
        guard node.filter({ !$0.contains("=") }).count <= 1 else {
            throw ValidationError("--node NAME says which node this machine is: once.")
        }
        _ = try entries()
        for text in witness where text.split(separator: "=", maxSplits: 1).count != 2 {
            throw ValidationError("--witness is NAME=ADDRESS, not `\(text)`.")
        }
        if let size, ConfigurationScalar.size(size) == nil {
            throw ValidationError("`\(size)` is no size: write 512MiB, 10GiB, or bytes.")
        }
    }

    func run() throws {
        let local = LocalVolume(name: volume, node: ownName)
        let isThere = Configuration.exists(volume, paths: local.paths)
        var configuration = isThere ? try local.configuration() : try drafted(local)
        if isThere { try compare(with: configuration) }
        // A disk as large as the others', whose metadata have fewer bitmaps, has room for the volume with fewer of its own.
        if configuration.size == nil, let size { configuration.size = ConfigurationScalar.size(size) }
        let node = try local.ownNode(of: configuration)
        if !isThere { try write(try draft().text, to: configuration.file, paths: local.paths) }
        guard !node.isWitness else {
            let line =
                "\(node.name) is a witness of \(volume): it needs no metadata, and votes once `hablk witness` runs"
            return Report.done(line, volume: volume, json: json)
        }
        do {
            let line = try VolumeCreation.create(
                configuration: configuration, node: node, assumeIdentical: assumeIdentical, force: force)
            // What comparisons of the copy before it found says nothing of this one.
            unlink(local.paths.verifyMemory(volume))
            Report.done(line, volume: volume, json: json)
        } catch {
            // Refused means that nothing changed.
            if !isThere { unlink(configuration.file) }
            throw error
        }
    }

    private func entries() throws -> [ConfigurationWriter.Node] {
        try node.filter { $0.contains("=") }.map { text in
            let sides = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let values = sides[1].split(separator: ",", omittingEmptySubsequences: false)
            guard !sides[0].isEmpty, values.count == 2 || values.count == 3, values.allSatisfy({ !$0.isEmpty }) else {
                throw ValidationError("--node is NAME=ADDRESS,DISK[,METADATA], not `\(text)`.")
            }
            for path in values.dropFirst() where !path.hasPrefix("/") {
                throw ValidationError("`\(path)` is no absolute path: the file is the same on every node.")
            }
            return ConfigurationWriter.Node(
                name: String(sides[0]), address: String(values[0]), disk: String(values[1]),
                metadata: values.count == 3 ? String(values[2]) : nil)
        }
    }

    private func draft() throws -> ConfigurationWriter {
        var writer = ConfigurationWriter(
            volume: volume, size: size, replication: replication, quorum: quorum, nodes: try entries())
        writer.witnesses = witness.map { text in
            let sides = text.split(separator: "=", maxSplits: 1)
            return (name: String(sides[0]), address: String(sides[1]))
        }
        return writer
    }

    /// The options as a configuration, judged as the file would be.
    private func drafted(_ local: LocalVolume) throws -> Configuration {
        let writer = try draft()
        guard !writer.nodes.isEmpty else {
            throw CommandFailure(
                .configuration, "no-configuration",
                "\(local.paths.configuration(volume)): there is no such file, and no --node to write one from",
                remedy:
                    "hablk create \(volume) --node NAME=ADDRESS,DISK --node NAME=ADDRESS,DISK --witness NAME=ADDRESS")
        }
        return try writer.configuration(paths: local.paths)
    }

    /// A file that is there wins: options may repeat what it says.
    private func compare(with configuration: Configuration) throws {
        func contradiction(_ what: String) -> CommandFailure {
            CommandFailure.refused(
                "contradicts-configuration", "\(configuration.file) is there already and has another \(what)",
                remedy: "leave that option out, or remove the file when the volume is nowhere in use")
        }
        if let size, let said = configuration.size, ConfigurationScalar.size(size) != said {
            throw contradiction("size")
        }
        if let replication, replication != configuration.replication.rawValue { throw contradiction("replication") }
        if let quorum {
            let word = ConfigurationScalar.isOff(quorum) ? "off" : quorum
            if word != configuration.quorum { throw contradiction("quorum") }
        }
        let witnesses = try draft().witnesses
        let entries = try entries()
        guard !entries.isEmpty || !witnesses.isEmpty else { return }
        guard witnesses.count == configuration.nodes.count - configuration.dataNodes.count else {
            throw contradiction("number of witnesses")
        }
        for (index, entry) in witnesses.enumerated() {
            guard let node = configuration.node(named: entry.name), node.isWitness,
                Int(node.id.rawValue) == configuration.dataNodes.count + index,
                node.address == NetworkAddress(entry.address)
            else { throw contradiction("witness `\(entry.name)`") }
        }
        guard entries.count == configuration.dataNodes.count else { throw contradiction("number of nodes") }
        for (id, entry) in entries.enumerated() {
            guard let node = configuration.node(named: entry.name), Int(node.id.rawValue) == id else {
                throw contradiction("node `\(entry.name)`")
            }
            guard node.address == NetworkAddress(entry.address) else {
                throw contradiction("address of `\(entry.name)`")
            }
            guard node.disk == entry.disk else { throw contradiction("disk of `\(entry.name)`") }
            guard node.metadata == entry.metadata else { throw contradiction("metadata of `\(entry.name)`") }
        }
    }

    /// Whole or not at all, and never over another file.
    private func write(_ text: String, to file: String, paths: RuntimePaths) throws(CommandFailure) {
        try RuntimePaths.createFolder(paths.configurationFolder, mode: 0o755)
        let draft = "\(file).\(getpid())"
        let descriptor = open(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw Self.unwritten(file, errno) }
        defer { unlink(draft) }
        let bytes = Array(text.utf8)
        let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
        let isWhole = count == bytes.count && fsync(descriptor) == 0
        let code = count < 0 || !isWhole ? errno : 0
        close(descriptor)
        guard isWhole else { throw Self.unwritten(file, code == 0 ? ENOSPC : code) }
        guard link(draft, file) == 0 else { throw Self.unwritten(file, errno) }
        let folder = open(paths.configurationFolder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        if folder >= 0 {
            fsync(folder)
            close(folder)
        }
    }

    private static func unwritten(_ file: String, _ code: Int32) -> CommandFailure {
        CommandFailure(
            code == EACCES || code == EPERM || code == EROFS ? .notPermitted : .failed, "not-written",
            "\(file): \(String(cString: strerror(code)))", remedy: "run it as root, or set HABLK_CONFIG_DIR")
    }
}
