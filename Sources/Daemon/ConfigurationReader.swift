package import Model
import Yams

/// Reads the text of a `V.yaml`: every key known, once, and with a value that can be; else the place and the remedy.
package struct ConfigurationReader {
    /// For messages.
    let file: String
    /// What the file is named after; nil: not compared.
    let expectedVolume: String?
    /// The text was made of options and stands in no file: no place is named.
    var isOfOptions = false

    package init(file: String, expectedVolume: String?) {
        self.file = file
        self.expectedVolume = expectedVolume
    }

    /// The keys of the top level, for suggestions.
    static let keys = [
        "volume", "size", "replication", "quorum", "on-quorum-lost", "fencing", "fence-command",
        "after-sb-0pri", "after-sb-1pri", "after-sb-2pri", "timeout", "ko-count",
        "ping-interval", "ping-timeout", "reconnect", "lease", "reads", "epoch", "activity-log", "send-buffer",
        "on-congestion", "max-lag", "discarded-data", "compression", "tcp-congestion-control",
        "resync-rate", "verify-rate", "verify-every",
        "secret-file", "nodes",
    ]
    static let nodeKeys = ["id", "address", "disk", "metadata", "listen", "nbd", "witness", "state", "replication"]

    /// What has been read so far.
    private struct Draft {
        var volume: String?
        var nodes: [Configuration.Node] = []
        var nodesMark: Mark?
        /// What the file says of `quorum`, and where.
        var quorum: (word: String, mark: Mark?)?
        var fencingMark: Mark?
        var replicationMark: Mark?
        var congestionMark: Mark?
        var policies = SplitBrainDraft()
        var timeout: UInt64 = 6_000_000_000
        var koCount: UInt64 = 1
        var values = Configuration(file: "", volume: "", nodes: [])
    }

    package func read(_ text: String) throws(CommandFailure) -> Configuration {
        guard let root = try compose(text) else {
            throw failure(nil, "empty", "the file is empty", remedy: "hablk create VOLUME … writes one")
        }
        guard let mapping = root.mapping else {
            throw failure(
                root.mark, "wrong-value", "a configuration is `key: value` lines", remedy: "see `hablk create --help`")
        }
        var draft = Draft()
        for (key, value) in mapping {
            let name = try scalar(key, of: "a key")
            if try readIdentity(name, value, into: &draft) { continue }
            if try readPolicy(name, value, into: &draft.policies) { continue }
            if try readWord(name, value, into: &draft) { continue }
            if try readAmount(name, value, into: &draft) { continue }
            throw unknown(key.mark, name, among: Self.keys)
        }
        return try finish(draft, end: mapping.mark)
    }

    private func finish(_ draft: Draft, end: Mark?) throws(CommandFailure) -> Configuration {
        guard let volume = draft.volume else {
            throw failure(
                end, "missing-key", "`volume` is missing", remedy: "add `volume: \(expectedVolume ?? "r0")`")
        }
        guard let nodesMark = draft.nodesMark else {
            throw failure(
                end, "missing-key", "`nodes` is missing",
                remedy: "add `nodes:` with `NAME: {id: 0, address: \"HOST:PORT\", disk: PATH}` for each node")
        }
        let copies = draft.nodes.filter { !$0.isWitness }
        guard copies.count >= 2 else {
            throw failure(
                nodesMark, "missing-node",
                "a volume has two data nodes or more; there is only `\(copies.first?.name ?? "none")`",
                remedy: "add the second node; it may be built later, the first one runs without it")
        }
        var configuration = draft.values
        configuration.quorum = try quorum(draft, nodesMark)
        if configuration.fencing != "none" {
            guard configuration.quorum == "off" else {
                throw failure(
                    draft.fencingMark, "wrong-value",
                    "with a majority nobody needs to be fenced: who lost it acknowledges nothing",
                    remedy: "leave `fencing` out; a cluster manager's fencing only makes a failover faster")
            }
            guard configuration.fenceCommand != nil else {
                throw failure(
                    draft.fencingMark, "missing-key", "`fencing: \(configuration.fencing)` and no `fence-command`",
                    remedy: "add `fence-command: /usr/lib/hablk/fence`, as Tools/fence has it")
            }
        }
        configuration.afterSplitBrain = try policies(draft.policies, configuration.quorum, copies)
        let timing = configuration.timing
        if configuration.quorum == "majority", timing.lease < 2 * timing.pingInterval {
            throw failure(
                nodesMark, "wrong-value",
                "`lease` is shorter than two `ping-interval`s: each read would wait for a ping of its own",
                remedy: "lengthen `lease`, or shorten `ping-interval`; `reads: confirm` asks before each read")
        }
        configuration.file = file
        configuration.volume = volume
        configuration.nodes = draft.nodes.sorted { $0.id < $1.id }
        try checkModes(configuration, draft.replicationMark ?? nodesMark, draft.congestionMark)
        configuration.timing.cutOff = draft.timeout * draft.koCount
        return configuration
    }

    /// Who may go on when some are out of sight: said by the file, or a majority where three or more vote.
    private func quorum(_ draft: Draft, _ nodesMark: Mark) throws(CommandFailure) -> String {
        let voters = draft.nodes.count
        let witness = draft.nodes.first(where: \.isWitness)
        let remedy =
            isOfOptions
            ? "add --witness NAME=HOST:PORT, or --quorum off and let the cluster manager fence"
            : "add a witness: `NAME: {id: \(min(voters, 7)), address: \"HOST:PORT\", witness: true}`, or write "
                + "`quorum: off` and let the cluster manager fence"
        guard let said = draft.quorum else {
            if voters >= 3 { return "majority" }
            throw failure(
                nodesMark, "quorum-undecided",
                "two nodes vote and `quorum` is not said: neither could tell a dead peer from a cut cable",
                remedy: remedy)
        }
        if said.word == "majority" {
            guard voters >= 3 else {
                throw failure(
                    said.mark, "wrong-value",
                    "of two voters each is needed for a majority: the first failure stops both",
                    remedy: remedy)
            }
        } else if let witness {
            throw failure(
                said.mark, "wrong-value", "with `quorum: off` nobody votes, and `\(witness.name)` is a witness",
                remedy: "leave `quorum` out, or `\(witness.name)`")
        } else if voters > 2 {
            throw failure(
                said.mark, "wrong-value", "`quorum: off` is for two data nodes, and here are \(voters)",
                remedy: "leave `quorum` out: \(voters / 2 + 1) of \(voters) votes then decide")
        }
        return said.word
    }

    /// `volume`, `size`, `secret-file` and `nodes`. False: another key.
    private func readIdentity(_ name: String, _ value: Node, into draft: inout Draft) throws(CommandFailure) -> Bool {
        switch name {
        case "volume":
            let volume = try scalar(value, of: "volume")
            guard Configuration.isName(volume) else {
                throw failure(
                    value.mark, "wrong-value", "`\(volume)` is no name for a volume",
                    remedy: "use letters, digits, `_`, `.` and `-`, at most 64 of them, a letter or digit first")
            }
            if let expectedVolume, volume != expectedVolume {
                throw failure(
                    value.mark, "wrong-value",
                    "the volume is `\(volume)`, but the file is named \(expectedVolume).yaml",
                    remedy: "write `volume: \(expectedVolume)`, or rename the file to \(volume).yaml")
            }
            draft.volume = volume
        case "size": draft.values.size = try size(value)
        case "secret-file": draft.values.secretFile = try path(value, of: "secret-file")
        case "nodes":
            draft.nodesMark = value.mark
            draft.nodes = try readNodes(value)
        default: return false
        }
        return true
    }

    /// Keys whose value is a word.
    private func readWord(_ name: String, _ value: Node, into draft: inout Draft) throws(CommandFailure) -> Bool {
        switch name {
        case "replication":
            draft.values.replication = try replicationMode(value)
            draft.replicationMark = value.mark
        case "quorum":
            let text = try scalar(value, of: name)
            guard text == "majority" || ConfigurationScalar.isOff(text) else {
                throw wrong(value, name, text, remedy: "write `quorum: majority` or `quorum: off`")
            }
            draft.quorum = (text == "majority" ? text : "off", value.mark)
        case "on-quorum-lost":
            draft.values.onQuorumLost = try scalar(value, of: name)
            try word(value, name, is: ["suspend", "error"], remedy: "write `suspend` or `error`")
        case "reads":
            draft.values.reads = try scalar(value, of: name)
            try word(value, name, is: ["lease", "confirm"], remedy: "write `lease` or `confirm`")
        case "on-congestion":
            draft.values.onCongestion = try scalar(value, of: name)
            draft.congestionMark = value.mark
            try word(value, name, is: ["block", "fall-behind"], remedy: "write `block` or `fall-behind`")
        case "discarded-data":
            draft.values.discardedData = try scalar(value, of: name)
            try word(value, name, is: ["drop", "keep"], remedy: "write `drop` or `keep`")
        case "compression": draft.values.compression = try compression(value)
        case "tcp-congestion-control": draft.values.congestionControl = try congestionControl(value)
        case "fencing":
            let text = try scalar(value, of: name)
            draft.values.fencing = ConfigurationScalar.isOff(text) ? "none" : text
            draft.fencingMark = value.mark
            if !ConfigurationScalar.isOff(text) {
                try word(
                    value, name, is: ["none", "resource", "stonith"],
                    remedy: "write `none`, `resource` or `stonith`")
            }
        case "fence-command": draft.values.fenceCommand = try path(value, of: name)
        default: return false
        }
        return true
    }

    /// Keys whose value is a number, a time, a size or a rate.
    private func readAmount(_ name: String, _ value: Node, into draft: inout Draft) throws(CommandFailure) -> Bool {
        switch name {
        case "timeout": draft.timeout = try duration(value, name, in: 100...600_000)
        case "ko-count": draft.koCount = try number(value, name, in: 1...200)
        case "ping-interval": draft.values.timing.pingInterval = try duration(value, name, in: 10...120_000)
        case "lease": draft.values.timing.lease = try duration(value, name, in: 100...60_000)
        case "ping-timeout": draft.values.timing.pingTimeout = try duration(value, name, in: 10...120_000)
        case "reconnect":
            let text = try scalar(value, of: name)
            guard let range = ConfigurationScalar.durationRange(text), range.lowerBound >= 1_000_000,
                range.upperBound <= 600_000_000_000
            else {
                throw wrong(
                    value, name, text, remedy: "write the least and the longest pause as `100ms..5s`, 1ms to 10min")
            }
            draft.values.timing.reconnectMinimum = range.lowerBound
            draft.values.timing.reconnectMaximum = range.upperBound
        case "epoch":
            let text = try scalar(value, of: name)
            guard let bytes = ConfigurationScalar.size(text), (64 << 10...1 << 30).contains(bytes) else {
                throw wrong(value, name, text, remedy: "write a size from 64KiB to 1GiB, as `8MiB`")
            }
            draft.values.epochBytes = bytes
        case "send-buffer":
            let text = try scalar(value, of: name)
            guard let bytes = ConfigurationScalar.size(text), Configuration.sendBuffers.contains(bytes) else {
                throw wrong(value, name, text, remedy: "write a size from 1MiB to 256MiB, as `16MiB`")
            }
            draft.values.sendBuffer = bytes
        case "max-lag":
            let isOff = ConfigurationScalar.isOff(try scalar(value, of: name))
            draft.values.maximumLag = isOff ? 0 : try duration(value, name, in: 10...3_600_000)
        case "activity-log":
            draft.values.activityLogExtents = UInt32(try number(value, name, in: 8...32_768))
        case "resync-rate":
            let text = try scalar(value, of: name)
            if text == "auto" {
                draft.values.resyncRate = nil
            } else if let rate = ConfigurationScalar.rate(text) {
                draft.values.resyncRate = rate
            } else {
                throw wrong(value, name, text, remedy: "write `auto`, or a rate as `100MiB/s`")
            }
        case "verify-rate":
            let text = try scalar(value, of: name)
            guard let rate = ConfigurationScalar.rate(text), Comparing.rates.contains(rate) else {
                throw wrong(value, name, text, remedy: "write a rate from 4KiB/s to 1TiB/s, as `32MiB/s`")
            }
            draft.values.verifyRate = rate
        case "verify-every":
            let text = try scalar(value, of: name)
            let isOff = ConfigurationScalar.isOff(text)
            guard let seconds = isOff ? 0 : ConfigurationScalar.days(text),
                isOff || Comparing.intervals.contains(seconds)
            else {
                throw wrong(value, name, text, remedy: "write `off`, or a time as `7d`, `12h` or `90min`, up to 3660d")
            }
            draft.values.verifyEvery = seconds
        default: return false
        }
        return true
    }
}

/// Values of one kind each, and what is said when they are not.
extension ConfigurationReader {
    func failure(_ mark: Mark?, _ name: String, _ reason: String, remedy: String) -> CommandFailure {
        let place = isOfOptions ? "with these options" : mark.map { "\(file):\($0.line):\($0.column)" } ?? file
        return CommandFailure(.configuration, name, "\(place): \(reason)", remedy: remedy)
    }

    func wrong(_ value: Node, _ key: String, _ text: String, remedy: String) -> CommandFailure {
        failure(
            value.mark, "wrong-value", text.isEmpty ? "`\(key)` has no value" : "`\(key)` cannot be `\(text)`",
            remedy: remedy)
    }

    func unknown(_ mark: Mark?, _ name: String, among keys: [String]) -> CommandFailure {
        let nearest = keys.map { ($0, Self.distance($0, name)) }.min { $0.1 < $1.1 }
        if let nearest, nearest.1 <= 2 {
            return failure(
                mark, "unknown-key", "there is no key `\(name)`", remedy: "did you mean `\(nearest.0)`?")
        }
        return failure(
            mark, "unknown-key", "there is no key `\(name)`",
            remedy: "leave it out; the keys here are: \(keys.joined(separator: ", "))")
    }

    /// Levenshtein's, of short names.
    private static func distance(_ left: String, _ right: String) -> Int {
        let right = Array(right.prefix(64))
        var row = Array(0...right.count)
        for (index, character) in left.enumerated() {
            var diagonal = row[0]
            row[0] = index + 1
            for column in right.indices {
                let above = row[column + 1]
                row[column + 1] = min(
                    above + 1, row[column] + 1, diagonal + (right[column] == character ? 0 : 1))
                diagonal = above
            }
        }
        return row[right.count]
    }

    func scalar(_ node: Node, of key: String) throws(CommandFailure) -> String {
        guard let scalar = node.scalar else {
            throw failure(
                node.mark, "wrong-value", "`\(key)` is one value, no list and no mapping", remedy: "write one value")
        }
        return scalar.string
    }

    func path(_ node: Node, of key: String) throws(CommandFailure) -> String {
        let path = try scalar(node, of: key)
        guard path.hasPrefix("/"), path.count > 1, path.utf8.count < 4096, !path.utf8.contains(0) else {
            throw wrong(node, key, path, remedy: "write an absolute path")
        }
        return path
    }

    func address(_ node: Node, of key: String) throws(CommandFailure) -> NetworkAddress {
        let text = try scalar(node, of: key)
        guard let address = NetworkAddress(text) else {
            throw wrong(node, key, text, remedy: "write \"HOST:PORT\", an IPv6 address as \"[fd00::3]:7789\"")
        }
        return address
    }

    private func size(_ node: Node) throws(CommandFailure) -> UInt64 {
        let text = try scalar(node, of: "size")
        guard let size = ConfigurationScalar.size(text) else {
            throw wrong(node, "size", text, remedy: "write a size as `10GiB`, `512MiB` or in bytes")
        }
        guard (Geometry.minimumVolumeSize...Geometry.maximumVolumeSize).contains(size) else {
            throw wrong(node, "size", text, remedy: "a volume has from 4KiB to 1024TiB")
        }
        guard size % Geometry.blockSize == 0 else {
            throw wrong(
                node, "size", text,
                remedy: "use a multiple of 4KiB: \(size / Geometry.blockSize * Geometry.blockSize)")
        }
        return size
    }

    /// `limits` in milliseconds.
    private func duration(
        _ node: Node, _ key: String, in limits: ClosedRange<UInt64>
    ) throws(CommandFailure) -> UInt64 {
        let text = try scalar(node, of: key)
        guard let time = ConfigurationScalar.duration(text), limits.contains(time / 1_000_000) else {
            let low = ConfigurationScalar.describe(nanoseconds: limits.lowerBound * 1_000_000)
            let high = ConfigurationScalar.describe(nanoseconds: limits.upperBound * 1_000_000)
            throw wrong(node, key, text, remedy: "write a time as `500ms`, `6s` or `2min`, from \(low) to \(high)")
        }
        return time
    }

    private func number(
        _ node: Node, _ key: String, in limits: ClosedRange<UInt64>
    ) throws(CommandFailure) -> UInt64 {
        let text = try scalar(node, of: key)
        guard text.utf8.allSatisfy({ UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0 }), let number = UInt64(text),
            limits.contains(number)
        else {
            throw wrong(
                node, key, text, remedy: "write a number from \(limits.lowerBound) to \(limits.upperBound)")
        }
        return number
    }

    func word(_ node: Node, _ key: String, is words: [String], remedy: String) throws(CommandFailure) {
        let text = try scalar(node, of: key)
        guard words.contains(text) else { throw wrong(node, key, text, remedy: remedy) }
    }
}
