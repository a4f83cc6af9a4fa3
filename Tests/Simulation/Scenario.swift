import Model
package import ReplicationCore

/// A story as a text: commands at the beginning of a line, what happened indented beneath them, and comments that begin
/// with `#`. Running it gives the same text with what happens now; the lines that begin with `expect` are its point, and
/// say so whatever the text says.
package struct Scenario {
    package var name: String
    package var text: String

    package init(name: String, text: String) {
        self.name = name
        self.text = text
    }

    package struct Result {
        /// What the file should say.
        package var text: String
        /// Expectations that did not hold, promises that broke, commands that cannot be understood.
        package var failures: [String] = []
        /// How many times the file says `expect`.
        package var expectations = 0
        /// Nobody could read it.
        package var isTooLong: Bool { text.utf8.count { $0 == UInt8(ascii: "\n") } > Scenario.mostLines }
    }

    package static let mostLines = 500

    /// The word that `expect verdict` has for a rule.
    package static func name(of rule: HandshakeRule) -> String { Transcript.dashed(rule) }

    /// Spaces before what happened.
    private static let indent = "    "

    package func run() -> Result {
        var stage: ScriptedCluster?
        var result = Result(text: "")
        var isOver = false
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        for (number, line) in lines.enumerated() where !line.hasPrefix(Self.indent) {
            if number > 0 { result.text += "\n" }
            result.text += line
            let command = line.prefix { $0 != "#" }.split(separator: " ").map(String.init)
            guard !command.isEmpty, !isOver else { continue }
            if command[0] == "expect" { result.expectations += 1 }
            do throws(ScenarioError) {
                if command[0] == "create", command.count == 1 || command[1].contains("=") {
                    stage = ScriptedCluster(try ScriptedCluster.Shape(words: command.dropFirst()))
                } else if let stage {
                    try stage.perform(command)
                } else {
                    throw ScenarioError("a scenario begins with `create`")
                }
            } catch {
                result.failures.append("\(name).txt:\(number + 1): \(line): \(error.text)")
            }
            for said in stage?.transcript.take() ?? [] { result.text += "\n" + Self.indent + said }
            if let violation = stage?.violation {
                result.failures.append("\(name).txt:\(number + 1): \(violation.invariant): \(violation.text)")
                isOver = true
            }
        }
        if result.isTooLong { result.failures.append("\(name).txt: more than \(Self.mostLines) lines") }
        return result
    }
}

/// A command that cannot be done, or an expectation that did not hold.
struct ScenarioError: Error {
    var text: String
    init(_ text: String) { self.text = text }
}

extension ScriptedCluster.Shape {
    /// `blocks=64 log=4 unconfirmed=32 blank=b`.
    init(words: ArraySlice<String>) throws(ScenarioError) {
        self.init()
        for word in words {
            let parts = word.split(separator: "=").map(String.init)
            guard parts.count == 2 else { throw ScenarioError("`\(word)` is no option") }
            switch parts[0] {
            case "blocks": blocks = try ScriptedCluster.number(parts[1])
            case "from": growsFrom = try ScriptedCluster.number(parts[1])
            case "log": logExtents = UInt32(try ScriptedCluster.number(parts[1]))
            case "unconfirmed": unconfirmedEntries = Int(try ScriptedCluster.number(parts[1]))
            case "piece": resyncPiece = try ScriptedCluster.number(parts[1])
            case "window": resyncWindow = try ScriptedCluster.number(parts[1])
            case "blank": blank = Set(try parts[1].split(separator: ",").map(ScriptedCluster.copy))
            case "copies": copies = Int(try ScriptedCluster.number(parts[1]))
            case "witnesses": witnesses = Int(try ScriptedCluster.number(parts[1]))
            case "lease": lease = try ScriptedCluster.duration(parts[1])
            case "reads": confirmsReads = try Self.isSaid(word, "confirm")
            case "on-quorum-lost": failsWithoutQuorum = try Self.isSaid(word, "error")
            case "fencing":
                guard let policy = Self.policies[parts[1]] else { throw ScenarioError("`\(word)` is no policy") }
                fencing = policy
            case "replication": replication = try Self.modes(parts[1])
            case "send-buffer": sendBuffer = try ScriptedCluster.number(parts[1])
            case "on-congestion":
                guard parts[1] == "fall-behind" else { throw ScenarioError("`\(word)`: only fall-behind is said") }
                fallsBehind = true
            case "discarded-data": keepsDiscarded = try Self.isSaid(word, "keep")
            case "after-sb-0pri", "after-sb-1pri", "after-sb-2pri": try setPolicy(parts[0], parts[1])
            default: throw ScenarioError("no option is called `\(parts[0])`")
            }
        }
        guard blocks >= 32, blocks <= 1 << 16, logExtents >= 1 else {
            throw ScenarioError("too few or too many blocks")
        }
        guard (2...ScriptedCluster.copyLetters.count).contains(copies), witnesses <= 1 else {
            throw ScenarioError("two to four copies, and one witness at most")
        }
        guard replication.count == 1 || replication.count == copies else {
            throw ScenarioError("one mode, or one for each copy")
        }
    }

    private static let policies: [String: ReplicaConfiguration.Fencing] = [
        "none": .none, "resource": .resource, "stonith": .stonith,
    ]

    /// The only word that the option takes beside what it is without.
    private static func isSaid(_ word: String, _ only: String) throws(ScenarioError) -> Bool {
        guard word.hasSuffix("=\(only)") else { throw ScenarioError("`\(word)`: only \(only) is said") }
        return true
    }

    /// `async`, or for each copy `sync,async`.
    private static func modes(_ word: String) throws(ScenarioError) -> [ReplicationMode] {
        let words = word.split(separator: ",")
        let modes = words.compactMap { ReplicationMode(rawValue: String($0)) }
        guard !modes.isEmpty, modes.count == words.count else {
            throw ScenarioError("`\(word)` is no mode of replication")
        }
        return modes
    }

    private mutating func setPolicy(_ name: String, _ word: String) throws(ScenarioError) {
        switch name {
        case "after-sb-0pri":
            let node = word.hasPrefix("discard-node-") ? try ScriptedCluster.copy(word.suffix(1)) : nil
            let choice = SplitBrainPolicies.choices.first { $0.word == word }?.choice
            guard let choice = node.map({ .discardNode(NodeID(unchecked: UInt8($0))) }) ?? choice else { break }
            afterSplitBrain.withoutPrimary = choice
            return
        case "after-sb-1pri":
            guard let policy = SplitBrainPolicies.WithOnePrimary.allCases.first(where: { $0.word == word }) else {
                break
            }
            afterSplitBrain.withOnePrimary = policy
            return
        default:
            guard let policy = SplitBrainPolicies.WithTwoPrimaries.allCases.first(where: { $0.word == word }) else {
                break
            }
            afterSplitBrain.withTwoPrimaries = policy
            return
        }
        throw ScenarioError("`\(name)` cannot be `\(word)`")
    }
}

/// Words of scripts.
extension ScriptedCluster {
    static func number(_ word: String) throws(ScenarioError) -> UInt64 {
        guard let number = UInt64(word) else { throw ScenarioError("`\(word)` is no number") }
        return number
    }

    /// A node with a copy, before there is a cluster.
    static func copy(_ word: some StringProtocol) throws(ScenarioError) -> Int {
        guard let side = copyLetters.firstIndex(of: String(word)) else { throw ScenarioError("`\(word)` is no copy") }
        return side
    }

    func side(_ word: some StringProtocol) throws(ScenarioError) -> Int {
        guard let side = letters.firstIndex(of: String(word)) else {
            throw ScenarioError("`\(word)` is no node: \(letters.joined(separator: ", "))")
        }
        return side
    }

    func node(_ words: [String], _ index: Int) throws(ScenarioError) -> SimulatedNode {
        guard index < words.count else { throw ScenarioError("which node?") }
        return nodes[try side(words[index])]
    }

    /// `5s`, `300ms`.
    static func duration(_ word: String) throws(ScenarioError) -> UInt64 {
        if word.hasSuffix("ms") { return try number(String(word.dropLast(2))) * 1_000_000 }
        if word.hasSuffix("s") { return try number(String(word.dropLast())) * 1_000_000_000 }
        throw ScenarioError("`\(word)` is no time: 5s, 300ms")
    }

    /// `5` or `5+3`.
    func blocks(_ word: String) throws(ScenarioError) -> Range<UInt64> {
        let parts = word.split(separator: "+").map(String.init)
        let first = try Self.number(parts.first ?? word)
        let count = parts.count > 1 ? try Self.number(parts[1]) : 1
        guard count > 0, first + count <= cluster.options.blocks else {
            throw ScenarioError("`\(word)` is beyond the end")
        }
        return first..<first + count
    }
}
