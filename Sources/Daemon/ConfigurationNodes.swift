import Model
import Yams

/// The table of nodes.
extension ConfigurationReader {
    func readNodes(_ value: Node) throws(CommandFailure) -> [Configuration.Node] {
        guard let mapping = value.mapping else {
            throw failure(
                value.mark, "wrong-value", "`nodes` is a mapping of names to nodes",
                remedy: "write `NAME: {id: 0, address: \"HOST:PORT\", disk: PATH}` below it")
        }
        var nodes: [Configuration.Node] = []
        for (key, value) in mapping {
            let name = try scalar(key, of: "nodes")
            guard Configuration.isName(name) else {
                throw failure(
                    key.mark, "wrong-value", "`\(name)` is no name for a node",
                    remedy: "use letters, digits, `_`, `.` and `-`, at most 64 of them, a letter or digit first")
            }
            let node = try readNode(name, key.mark, value)
            if let twin = nodes.first(where: { $0.id == node.id }) {
                throw failure(
                    place(of: "id", in: value), "doubled-id",
                    "`\(twin.name)` has the id \(node.id.rawValue) already",
                    remedy: "give `\(name)` an id of its own, 0 to 7")
            }
            if let twin = nodes.first(where: { $0.address == node.address }) {
                throw failure(
                    place(of: "address", in: value), "doubled-address",
                    "`\(twin.name)` has the address \(node.address) already",
                    remedy: "give `\(name)` an address of its own")
            }
            nodes.append(node)
        }
        return nodes
    }

    private func place(of key: String, in node: Node) -> Mark? {
        node.mapping?.first { $0.key.scalar?.string == key }?.value.mark ?? node.mark
    }

    private func readNode(
        _ name: String, _ mark: Mark?, _ value: Node
    ) throws(CommandFailure) -> Configuration.Node {
        guard let mapping = value.mapping else {
            throw failure(
                value.mark, "wrong-value", "a node is a mapping",
                remedy: "write `\(name): {id: 0, address: \"HOST:PORT\", disk: PATH}`")
        }
        var id: NodeID?
        var address: NetworkAddress?
        var disk: String?
        var metadata: String?
        var listen: NetworkAddress?
        var nbdListen: NetworkAddress?
        var isWitness = false
        var state: String?
        var replication: ReplicationMode?
        for (key, value) in mapping {
            let word = try scalar(key, of: "a key")
            switch word {
            case "id": id = try nodeID(value)
            case "address": address = try self.address(value, of: word)
            case "disk": disk = try path(value, of: word)
            case "metadata": metadata = try path(value, of: word)
            case "listen": listen = try self.address(value, of: word)
            case "nbd": nbdListen = try readNBD(value)
            case "witness": isWitness = try flag(value, of: word)
            case "replication": replication = try replicationMode(value)
            case "state": state = try path(value, of: word)
            default: throw unknown(key.mark, word, among: Self.nodeKeys)
            }
        }
        func missing(_ key: String, _ example: String) -> CommandFailure {
            failure(mark, "missing-key", "the node `\(name)` has no `\(key)`", remedy: "add `\(key): \(example)`")
        }
        guard let id else { throw missing("id", "0") }
        guard let address else { throw missing("address", "\"HOST:PORT\"") }
        if isWitness {
            for key in ["disk", "metadata", "nbd", "replication"] where mapping[key] != nil {
                throw failure(
                    place(of: key, in: value), "wrong-value",
                    "`\(name)` is a witness: it holds no data, and has no `\(key)`",
                    remedy: "leave `\(key)` out, or `witness: true`")
            }
            var node = Configuration.Node(id: id, name: name, address: address, disk: state ?? "", listen: listen)
            node.isWitness = true
            return node
        }
        guard state == nil else {
            throw failure(
                place(of: "state", in: value), "wrong-value", "`\(name)` is no witness, and has no `state`",
                remedy: "leave `state` out: a data node's state lies in its metadata")
        }
        guard let disk else { throw missing("disk", "/dev/…") }
        if metadata == disk {
            throw failure(
                place(of: "metadata", in: value), "wrong-value", "`metadata` names the data disk itself",
                remedy: "leave it out: the metadata then lies at the end of the disk")
        }
        if let nbdListen, nbdListen == listen ?? address {
            throw failure(
                place(of: "nbd", in: value), "doubled-address", "NBD and the peers cannot share \(nbdListen)",
                remedy: "give NBD a port of its own, as 10809")
        }
        var node = Configuration.Node(
            id: id, name: name, address: address, disk: disk, metadata: metadata, listen: listen, nbdListen: nbdListen)
        node.replication = replication
        return node
    }

    private func nodeID(_ value: Node) throws(CommandFailure) -> NodeID {
        let text = try scalar(value, of: "id")
        guard text.utf8.count == 1, let number = UInt8(text), let id = NodeID(number) else {
            throw wrong(value, "id", text, remedy: "write a number from 0 to 7, each once, and never change it")
        }
        return id
    }

    private func flag(_ value: Node, of key: String) throws(CommandFailure) -> Bool {
        let text = try scalar(value, of: key)
        guard let flag = ConfigurationScalar.flag(text) else {
            throw wrong(value, key, text, remedy: "write `\(key): true` or leave it out")
        }
        return flag
    }

    private func readNBD(_ value: Node) throws(CommandFailure) -> NetworkAddress {
        guard let mapping = value.mapping else {
            throw failure(
                value.mark, "wrong-value", "`nbd` is a mapping", remedy: "write `nbd: {listen: \"HOST:PORT\"}`")
        }
        var listen: NetworkAddress?
        for (key, value) in mapping {
            let word = try scalar(key, of: "a key")
            guard word == "listen" else { throw unknown(key.mark, word, among: ["listen"]) }
            listen = try address(value, of: word)
        }
        guard let listen else {
            throw failure(
                value.mark, "missing-key", "`nbd` has no `listen`", remedy: "write `nbd: {listen: \"HOST:PORT\"}`")
        }
        return listen
    }
}

/// From text to nodes of YAML.
extension ConfigurationReader {
    /// Aliases beyond this are refused: each may stand for a list of two of the one before it, and whoever walks over
    /// them, as the parser does over keys, never ends.
    private static var maximumAliases: Int { 16 }

    func compose(_ text: String) throws(CommandFailure) -> Node? {
        guard Self.possibleAliases(in: text) <= Self.maximumAliases else {
            throw failure(
                nil, "malformed", "more than \(Self.maximumAliases) aliases (`*name`)", remedy: "write the values out")
        }
        do {
            return try Yams.compose(yaml: text)
        } catch {
            throw failure(of: error, in: text)
        }
    }

    /// Stars right before something, outside lines of comment: every alias, and perhaps a word of a string.
    private static func possibleAliases(in text: String) -> Int {
        let space = Set(" \t\r\n".utf8)
        var count = 0
        for line in text.utf8.split(separator: UInt8(ascii: "\n")) {
            guard line.first(where: { !space.contains($0) }) != UInt8(ascii: "#") else { continue }
            for (byte, next) in zip(line, line.dropFirst())
            where byte == UInt8(ascii: "*") && !space.contains(next) { count += 1 }
        }
        return count
    }

    private func failure(of error: any Error, in text: String) -> CommandFailure {
        let remedy = "correct the YAML there"
        switch error as? YamlError {
        case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
            .composer(_, let problem, let mark, _):
            return failure(mark, "malformed", "this is no YAML: \(problem)", remedy: remedy)
        case .duplicatedKeysInMapping(let names, let context):
            let first = context.mark
            let name = names.first ?? "?"
            return failure(
                secondPlace(of: name, first: first, in: text) ?? first, "doubled-key",
                "`\(name)` stands here again, first in line \(first.line)", remedy: "keep one of them")
        default:
            return failure(nil, "malformed", "this is no YAML", remedy: remedy)
        }
    }

    /// Where a doubled key stands the second time: Yams tells the first place only. So the first is given a name that
    /// nothing else has, as long as its own, and the text is read again.
    private func secondPlace(of name: String, first: Mark, in text: String) -> Mark? {
        var lines = text.split(separator: "\n", omittingEmptySubsequences: false).map { Array($0.unicodeScalars) }
        guard first.line >= 1, first.line <= lines.count else { return nil }
        var column = first.column - 1
        let length = name.unicodeScalars.count
        if lines[first.line - 1].indices.contains(column), "\"'".unicodeScalars.contains(lines[first.line - 1][column])
        {
            column += 1
        }
        guard length > 0, column >= 0, column + length <= lines[first.line - 1].count else { return nil }
        for letter in "QXZJ".unicodeScalars {
            for index in column..<(column + length) { lines[first.line - 1][index] = letter }
            let text = lines.map { line in String(String.UnicodeScalarView(line)) }.joined(separator: "\n")
            do {
                if let root = try Yams.compose(yaml: text) { return twin(of: name, beside: first, in: root) }
            } catch YamlError.duplicatedKeysInMapping(let names, let context) where names.first == name {
                // Three of them: the second is the first of the rest.
                return context.mark
            } catch {
                continue
            }
        }
        return nil
    }

    private func twin(of name: String, beside first: Mark, in node: Node) -> Mark? {
        guard let mapping = node.mapping else { return nil }
        if mapping.contains(where: { $0.key.mark?.line == first.line && $0.key.mark?.column == first.column }) {
            return mapping.first { $0.key.scalar?.string == name }?.key.mark
        }
        for (_, value) in mapping {
            if let mark = twin(of: name, beside: first, in: value) { return mark }
        }
        return nil
    }
}
