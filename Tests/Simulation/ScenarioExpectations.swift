import Model
import ReplicationCore

/// The points of stories: what must be so, whatever the file's text says.
extension ScriptedCluster {
    func expect(_ words: [String]) throws(ScenarioError) {
        switch words[0] {
        case _ where letters.contains(words[0]): try expectWords(try node(words, 0), words.dropFirst())
        case "read", "disk", "stable", "kept": try expectContent(words)
        case "answered", "waiting", "failed", "not-primary": try expectAnswer(words)
        case "done", "refused": try expectOutcome(words)
        case "verdict": try expectVerdict(words)
        case "equal": try expectEqual()
        case "differ": try expectDiffering(words)
        case "marked", "unmarked", "unconfirmed", "confirmed", "hot", "cold": try expectKnown(words)
        case "copied": try expectCopied(words)
        case "generations": try expectGenerations(words)
        case "note", "no-note": try expectNote(words)
        default: throw ScenarioError("nothing expects `\(words[0])`")
        }
    }

    private func sightOf(_ node: SimulatedNode) throws(ScenarioError) -> NodeSight {
        guard let sight = sight(of: node) else { throw ScenarioError("its metadata cannot be read") }
        return sight
    }

    /// `expect a primary up-to-date connected established`; `not-X` for what must not be so.
    private func expectWords(_ node: SimulatedNode, _ words: ArraySlice<String>) throws(ScenarioError) {
        let found = try sightOf(node).words(letters)
        for word in words {
            let isDenied = word.hasPrefix("not-") && word != "not-connected"
            let bare = isDenied ? String(word.dropFirst("not-".count)) : word
            if found.contains(bare) == isDenied {
                throw ScenarioError("it is \(found.sorted().joined(separator: " "))")
            }
        }
    }

    /// `expect read a 5 = 1` asks as a client does; `disk` and `stable` look at the copy.
    private func expectContent(_ words: [String]) throws(ScenarioError) {
        guard words.count == 5, words[3] == "=" else { throw ScenarioError("expect \(words[0]) NODE BLOCK = VALUE") }
        let node = try node(words, 1)
        for block in try blocks(words[2]) {
            let found: String
            switch words[0] {
            case "disk": found = content(node, block).now
            case "stable": found = content(node, block).stable
            case "kept": found = kept(node, block)
            default:
                guard request(node, .read, ByteRange(blocks: block..<block + 1), forced: false, label: "") else {
                    throw ScenarioError("\(words[1]) is down")
                }
                run(for: Self.moment)
                guard case .some(.some(.done)) = answer(to: "read \(block)") else {
                    throw ScenarioError("block \(block) was not read")
                }
                found = transcript.seen[node.side].first ?? "nothing"
            }
            guard found == words[4] else { throw ScenarioError("block \(block) is \(found)") }
        }
    }

    private func expectAnswer(_ words: [String]) throws(ScenarioError) {
        let text = words.dropFirst().joined(separator: " ")
        guard let answer = answer(to: text) else { throw ScenarioError("nobody asked for `\(text)`") }
        let found: String
        switch answer {
        case nil: found = "waiting"
        case .done?: found = "answered"
        case .failed?: found = "failed"
        case .notPrimary?: found = "not-primary"
        }
        guard found == words[0] else { throw ScenarioError("it is \(found)") }
    }

    /// `expect refused REASON COMMAND…`, `expect done COMMAND…`.
    private func expectOutcome(_ words: [String]) throws(ScenarioError) {
        let isRefusal = words[0] == "refused"
        let command = Array(words.dropFirst(isRefusal ? 2 : 1))
        guard command.count >= 2 else { throw ScenarioError("which command?") }
        let node = try node(command, 1)
        try perform(command)
        switch transcript.outcomes[node.side] {
        case .done(let text)? where isRefusal: throw ScenarioError("it was done: \(text)")
        case .refused(let refusal)?, .timedOut(let refusal)?:
            if !isRefusal || refusal.reason != words[1] { throw ScenarioError("it was refused: \(refusal.reason)") }
        case .done?: break
        case nil: throw ScenarioError("it was not answered")
        }
    }

    /// `expect verdict a target-of-marked because contains-generation`: that node's newest.
    private func expectVerdict(_ words: [String]) throws(ScenarioError) {
        guard words.count == 5, words[3] == "because" else {
            throw ScenarioError("expect verdict NODE OUTCOME because RULE")
        }
        let side = try side(words[1])
        guard let verdict = transcript.verdicts[side] else { throw ScenarioError("there was no verdict") }
        let found = "\(Transcript.dashed(verdict.outcome)) because \(Transcript.dashed(verdict.rule))"
        guard found == words.dropFirst(2).joined(separator: " ") else { throw ScenarioError("it was \(found)") }
    }

    private func expectEqual() throws(ScenarioError) {
        let count = cluster.copies.differing.count
        guard count == 0 else { throw ScenarioError("\(count) blocks differ") }
        for node in cluster.copyNodes {
            guard let live = node.live, live.core.pointee.glimpse().required.count == cluster.options.copies else {
                return
            }
        }
        cluster.oracle.checkAtRest(primary: nodes.first { $0.isPrimary }?.side, at: cluster.step)
    }

    private func expectDiffering(_ words: [String]) throws(ScenarioError) {
        for word in words.dropFirst() {
            for block in try blocks(word) where !cluster.copies.differing.contains(Int(block)) {
                throw ScenarioError("block \(block) is equal")
            }
        }
    }

    private func expectKnown(_ words: [String]) throws(ScenarioError) {
        guard words.count == 3 || words.count == 5 && words[3] == "toward" else {
            throw ScenarioError("expect \(words[0]) NODE BLOCK [toward NODE]")
        }
        let node = try node(words, 1)
        let sight = try sightOf(node)
        let peer = words.count == 5 ? try side(words[4]) : cluster.other(node).side
        let wanted: [UInt64]
        switch words[0] {
        case "marked", "unmarked": wanted = sight.marked[peer]
        case "unconfirmed", "confirmed": wanted = sight.unconfirmed
        default: wanted = sight.hot
        }
        let isThere = ["marked", "unconfirmed", "hot"].contains(words[0])
        for number in try blocks(words[2]) where wanted.contains(number) != isThere {
            throw ScenarioError("\(number) is \(isThere ? "not " : "")among \(ranges(wanted))")
        }
    }

    /// `expect copied a 4096`: what that node's newest resync took.
    private func expectCopied(_ words: [String]) throws(ScenarioError) {
        guard words.count == 3 else { throw ScenarioError("expect copied NODE BYTES") }
        let found = try sightOf(try node(words, 1)).status?.peers.first?.lastResync?.bytes
        guard found == (try Self.number(words[2])) else {
            throw ScenarioError("it was \(found.map { "\($0)" } ?? "none")")
        }
    }

    /// `expect generations a 2`: so many are in its line; the zeroes it began with count.
    private func expectGenerations(_ words: [String]) throws(ScenarioError) {
        guard words.count == 3 else { throw ScenarioError("expect generations NODE COUNT") }
        let superblock = try sightOf(try node(words, 1)).superblock
        let count = UInt64(superblock.history.count + 1)
        guard count == (try Self.number(words[2])) else { throw ScenarioError("there are \(count)") }
    }

    /// `expect note a left behind`: some line of its log says so; or `no-note`, none does.
    private func expectNote(_ words: [String]) throws(ScenarioError) {
        guard words.count > 2 else { throw ScenarioError("expect note NODE WORDS") }
        let text = words.dropFirst(2).joined(separator: " ")
        let isSaid = transcript.notes[try side(words[1])].contains { $0.contains(text) }
        guard isSaid == (words[0] == "note") else {
            throw ScenarioError("its log \(isSaid ? "says" : "does not say") so")
        }
    }
}
