import Formats
package import Model

/// What `create` writes: the same words give the same file on every node.
package struct ConfigurationWriter: Equatable, Sendable {
    package struct Node: Equatable, Sendable {
        package var name: String
        package var address: String
        package var disk: String
        package var metadata: String?
        package init(name: String, address: String, disk: String, metadata: String?) {
            self.name = name
            self.address = address
            self.disk = disk
            self.metadata = metadata
        }
    }

    package var volume: String
    package var size: String?
    package var replication: String?
    package var quorum: String?
    /// Extents; nil: what holds without a word.
    package var activityLog: UInt32?
    /// Ids are given in this order.
    package var nodes: [Node]
    /// Their ids follow those of the data nodes.
    package var witnesses: [(name: String, address: String)] = []

    package init(volume: String, size: String?, replication: String?, quorum: String?, nodes: [Node]) {
        self.volume = volume
        self.size = size
        self.replication = replication
        self.quorum = quorum
        self.nodes = nodes
    }

    package static func == (left: ConfigurationWriter, right: ConfigurationWriter) -> Bool { left.text == right.text }

    package var text: String {
        func quoted(_ text: String) -> String { JSONValue.string(text).text }
        var lines = [
            "# The volume \(volume), as `hablk create` wrote it: the same file on every node.", "volume: \(volume)",
        ]
        if let size { lines.append("size: \(size)") }
        lines.append("replication: \(replication ?? "sync")")
        if let quorum { lines.append("quorum: \(quorum)") }
        if let activityLog { lines.append("activity-log: \(activityLog)") }
        lines.append("nodes:")
        for (id, node) in nodes.enumerated() {
            var entry = "  \(node.name): {id: \(id), address: \(quoted(node.address)), disk: \(quoted(node.disk))"
            if let metadata = node.metadata { entry += ", metadata: \(quoted(metadata))" }
            lines.append(entry + "}")
        }
        for (index, witness) in witnesses.enumerated() {
            let address = quoted(witness.address)
            lines.append("  \(witness.name): {id: \(nodes.count + index), address: \(address), witness: true}")
        }
        return lines.joined(separator: "\n") + "\n"
    }

    /// The file as it would be read back.
    /// - Throws: `configuration`, without a place: the file is not written then.
    package func configuration(paths: RuntimePaths) throws(CommandFailure) -> Configuration {
        guard Configuration.isName(volume) else { throw Configuration.badName(volume) }
        try paths.checkSocketPaths(volume)
        var reader = ConfigurationReader(file: paths.configuration(volume), expectedVolume: volume)
        reader.isOfOptions = true
        return try reader.read(text)
    }
}
