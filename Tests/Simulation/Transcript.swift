import Model
import ReplicationCore

/// What a script's cluster says, one line each, in words that do not change from run to run: identities have short names
/// in the order of their appearance, and nothing tells the time.
final class Transcript: ClusterWitness {
    /// Of the nodes, in the order of their numbers.
    let letters: [String]
    var names: ShortNames
    private var lines: [String] = []
    /// Everything that is worth a line, and what is written to disk, counts.
    private(set) var activity = 0
    /// The values that a script gave to its writes, by their numbers.
    var labels: [UInt64: String] = [:]
    private(set) var answers: [UInt64: ClientResult] = [:]
    /// What each node's newest read saw.
    private(set) var seen: [[String]]
    private(set) var verdicts: [HandshakeVerdict?]
    private(set) var notes: [[String]]
    private(set) var outcomes: [CommandOutcome?]
    /// Fence commands that are under way, the newest of each node.
    var fencing: [(peer: NodeID, request: UInt64)?]
    /// Whether frames of the first node toward the second wait.
    var isHeld: (Int, Int) -> Bool = { _, _ in false }

    /// - Parameter letters: what each node is called.
    init(letters: [String]) {
        self.letters = letters
        names = ShortNames(letters: letters)
        seen = letters.map { _ in [] }
        verdicts = letters.map { _ in nil }
        notes = letters.map { _ in [] }
        outcomes = letters.map { _ in nil }
        fencing = letters.map { _ in nil }
    }

    func name(_ side: Int) -> String { letters[side] }

    /// One command made the cluster say more than a whole story may: it is caught in a loop. Nothing more is kept, and
    /// time stands still.
    var isFull: Bool { lines.count > Scenario.mostLines }

    func say(_ line: String) {
        if !isFull { lines.append(line) }
    }

    func take() -> [String] {
        defer { lines.removeAll() }
        return lines
    }

    // MARK: What is heard

    func heard(_ event: Event, at node: SimulatedNode) {
        switch event {
        case .dataDone(_, .failed): say("\(name(node.side))  the disk fails")
        case .superblockWritten(false), .logWritten(false), .bitmapPageWritten(_, _, false):
            say("\(name(node.side))  the disk fails to take metadata")
        default: break
        }
    }

    func saw(_ effect: Effect, of node: SimulatedNode) {
        let who = name(node.side)
        switch effect {
        case .send(let peer, _, let message): sent(message, node, to: Int(peer.rawValue))
        case .note(let note): noted(note, node)
        case .reply(let ticket, let result): replied(Int(ticket), result, node)
        case .commandDone(let id, let outcome):
            activity += 1
            outcomes[node.side] = outcome
            let pending = node.commands.first { $0.id == id }
            let bare = pending?.isAdjustment == true ? "adjust" : "attach"
            say("\(who)  \(pending?.command.map(Self.word) ?? bare): \(text(of: outcome))")
        case .closeClients(let why):
            activity += 1
            say("\(who)  ends its clients: \(names.replacing(in: why))")
        case .stopped: say("\(who)  is down")
        case .fence(let peer, let request):
            activity += 1
            fencing[node.side] = (peer, request)
            say("\(who)  runs the fence command: is \(name(Int(peer.rawValue))) off?")
        case .writeSuperblock, .writeBitmapPage, .writeData, .zeroData: activity += 1
        default: break
        }
    }

    private func sent(_ message: PeerMessage, _ node: SimulatedNode, to: Int) {
        if case .verdict(let outcome, let rule) = message, let outcome = HandshakeOutcome(rawValue: outcome),
            let rule = HandshakeRule(rawValue: rule)
        {
            verdicts[node.side] = HandshakeVerdict(outcome, because: rule)
        }
        guard let text = text(of: message, node) else { return }
        // Said to each ping of who is left out.
        if case .standing = message {} else { activity += 1 }
        say("\(name(node.side)) -> \(name(to))  \(text)\(isHeld(node.side, to) ? "  (waits)" : "")")
    }

    private func noted(_ note: Note, _ node: SimulatedNode) {
        let mark = note.level == .error ? "! " : note.level == .warning ? "* " : ""
        let text = "\(mark)\(note.subject): \(names.replacing(in: note.text))"
        notes[node.side].append(text)
        activity += 1
        // The message with the verdict has just said the same.
        if !text.hasPrefix("handshake: verdict:") { say("\(name(node.side))  \(text)") }
    }

    private func replied(_ ticket: Int, _ result: ClientResult, _ node: SimulatedNode) {
        activity += 1
        guard let operation = node.operations[ticket] else { return }
        answers[operation.write] = result
        var words: String
        switch result {
        case .done: words = "done"
        case .failed: words = "FAILED"
        case .notPrimary: words = "FAILED, not primary"
        }
        if operation.kind == .read, result == .done, let buffer = operation.buffer {
            let values = node.buffers.sectors(of: buffer)
            seen[node.side] = (0..<operation.range.blocks.count).map { block(values, $0) }
            words = seen[node.side].joined(separator: " ")
        }
        say("\(name(node.side))  client: \(text(of: operation)): \(words)")
    }

    // MARK: Words

    /// The value of a block as the script called it; `torn` when its sectors come from several writes.
    func block(_ sectors: [UInt64], _ index: Int) -> String {
        let values = sectors[index * 8..<index * 8 + 8].map(label)
        return Set(values).count == 1 ? values[0] : "torn(" + values.joined(separator: " ") + ")"
    }

    func label(_ value: UInt64) -> String { value == 0 ? "0" : labels[value >> 20] ?? "?" }

    func text(of operation: ClientOperation) -> String {
        let blocks = operation.range.isEmpty ? "" : Self.text(of: operation.range)
        let forced = operation.forced ? "fua-" : ""
        switch operation.kind {
        case .read: return "read \(blocks)"
        case .write: return "\(forced)write \(blocks) = \(labels[operation.write] ?? "?")"
        case .zero: return "\(forced)zero \(blocks)"
        case .trim: return "\(forced)trim \(blocks)"
        case .flush: return "flush"
        }
    }

    static func text(of range: ByteRange) -> String { text(of: range.blocks) }

    static func text(of blocks: Range<UInt64>) -> String {
        blocks.count == 1 ? "\(blocks.lowerBound)" : "\(blocks.lowerBound)-\(blocks.upperBound - 1)"
    }

    func text(of outcome: CommandOutcome) -> String {
        switch outcome {
        case .done(let words): names.replacing(in: words)
        case .refused(let refusal):
            "REFUSED \(refusal.reason): \(names.replacing(in: refusal.message)); \(names.replacing(in: refusal.remedy))"
        case .timedOut(let refusal):
            "NOT IN TIME \(refusal.reason): \(names.replacing(in: refusal.message)); "
                + names.replacing(in: refusal.remedy)
        }
    }

    static func word(_ command: Command) -> String {
        switch command {
        case .promote: "promote"
        case .demote: "demote"
        case .connect: "connect"
        case .disconnect: "disconnect"
        case .detach: "detach"
        case .outdate: "outdate"
        case .invalidate: "invalidate"
        case .pauseResync: "pause-resync"
        case .resumeResync: "resume-resync"
        case .resyncRate: "resync-rate"
        case .verify: "verify"
        case .stopVerify: "stop-verify"
        case .repair: "repair"
        case .resize: "resize"
        case .stop: "down"
        }
    }

    func text(of set: NodeSet) -> String {
        "{" + set.map { name(Int($0.rawValue)) }.joined(separator: " ") + "}"
    }

    func text(of number: RecordNumber) -> String {
        "\(number.term.counter)@\(name(Int(number.term.node.rawValue))).\(number.index)"
    }

    /// `sourceOfMarked` as `source-of-marked`.
    static func dashed(_ value: some Any) -> String {
        var text = ""
        for character in "\(value)" {
            if character.isUppercase { text += "-" }
            text += character.lowercased()
        }
        return text
    }
}

/// `g1`, `g2` for generations, `l1` for lineages, as they turn up.
struct ShortNames {
    let letters: [String]
    private var nodes: [String: String] = [:]
    private var known: [String: String] = [
        GenerationID.none.description: "none", GenerationID.zero.description: "zero",
    ]
    private var counts: [Character: Int] = [:]

    init(letters: [String]) {
        self.letters = letters
        for (name, letter) in zip(Cluster.nodeNames, letters) { nodes[name] = letter }
    }

    mutating func of(_ identity: some RandomIdentity, _ letter: Character = "g") -> String {
        of(identity.description, letter)
    }

    private mutating func of(_ digits: String, _ letter: Character) -> String {
        if let name = known[digits] { return name }
        counts[letter, default: 0] += 1
        let name = "\(letter)\(counts[letter, default: 0])"
        known[digits] = name
        return name
    }

    /// A log line with short names in place of identities, nodes and moments.
    mutating func replacing(in text: String) -> String {
        var result = ""
        var word = ""
        var before: Character = " "
        for character in text + " " {
            if character.isLetter || character.isNumber {
                word.append(character)
                continue
            }
            result += replaced(word, behind: before)
            result.append(character)
            before = character
            word = ""
        }
        result.removeLast()
        return result
    }

    private mutating func replaced(_ word: String, behind before: Character) -> String {
        if let letter = nodes[word] { return letter }
        if before == "@", let side = Int(word), letters.indices.contains(side) { return letters[side] }
        if word.count == 16, word.allSatisfy(\.isHexDigit) { return of(word, "g") }
        if word.count == 10, word.hasPrefix("17"), word.allSatisfy(\.isNumber) { return "some time" }
        return word
    }
}
