package import Model

// What `hablk status V --json` says of comparisons, and what a node remembers of them over a restart.

extension VolumeStatus.Verify {
    var json: JSONValue {
        .object([
            .init("done-bytes", .unsigned(doneBytes)), .init("total-bytes", .unsigned(totalBytes)),
            .init("bytes-per-second", .unsigned(bytesPerSecond)),
            .init("eta-seconds", etaSeconds.map { .number($0) } ?? .null),
            .init("differing-bytes", .unsigned(differingBytes)), .init("unreadable-bytes", .unsigned(unreadableBytes)),
        ])
    }

    init(json: JSONValue) throws(MalformedControlLine) {
        self.init(
            doneBytes: try json.unsigned("done-bytes"), totalBytes: try json.unsigned("total-bytes"),
            bytesPerSecond: try json.unsigned("bytes-per-second"), etaSeconds: try json.optionalNumber("eta-seconds"),
            differingBytes: try json.unsigned("differing-bytes"), unreadableBytes: try json.unsigned("unreadable-bytes")
        )
    }
}

extension VerifyResult.End {
    private var word: String {
        switch self {
        case .complete: "complete"
        case .stopped: "stopped"
        case .interrupted: "interrupted"
        }
    }

    fileprivate var json: JSONValue { .string(word) }

    fileprivate init(json: JSONValue) throws(MalformedControlLine) {
        let word = try json.string("end")
        guard let end = Self.allCases.first(where: { $0.word == word }) else {
            throw MalformedControlLine(problem: "`end` is not a word known here")
        }
        self = end
    }
}

extension VerifyResult {
    /// Runs that a status names; there may be more.
    package static let mostShown = 32

    package var json: JSONValue {
        let shown = runs.prefix(Self.mostShown).map { run in
            JSONValue.object([
                .init("offset", .unsigned(run.first * Geometry.blockSize)),
                .init("length", .unsigned(run.count * Geometry.blockSize)),
            ])
        }
        return .object([
            .init("result", .string(word)), .init("end", end.json), .init("began", .unsigned(began)),
            .init("ended", .unsigned(ended)), .init("reached-bytes", .unsigned(reached)),
            .init("compared-bytes", .unsigned(comparedBytes)), .init("differing-bytes", .unsigned(differingBytes)),
            .init("unreadable-bytes", .unsigned(unreadableBytes)), .init("skipped-bytes", .unsigned(skippedBytes)),
            .init("completed", completed == 0 ? .null : .unsigned(completed)), .init("message", .optional(reason)),
            .init("differing", .array(shown)),
        ])
    }

    package init(json: JSONValue) throws(MalformedControlLine) {
        self.init(
            end: try End(json: json), began: try json.unsigned("began"), ended: try json.unsigned("ended"))
        reached = try json.unsigned("reached-bytes")
        comparedBytes = try json.unsigned("compared-bytes")
        differingBytes = try json.unsigned("differing-bytes")
        unreadableBytes = try json.unsigned("unreadable-bytes")
        skippedBytes = try json.unsigned("skipped-bytes")
        completed = try json.optionalUnsigned("completed") ?? 0
        reason = try json.optionalString("message")
        for element in try json.elements("differing").prefix(Self.mostShown) {
            let offset: UInt64 = try element.unsigned("offset")
            let length: UInt64 = try element.unsigned("length")
            runs.append(BlockRun(first: offset / Geometry.blockSize, count: length / Geometry.blockSize))
        }
    }
}

/// What a node remembers of comparisons: one JSON object a line, each with the peer's name.
package enum VerifyMemory {
    /// No file of ours is longer.
    package static let maximumBytes = 128 << 10
    /// Beyond any disk's end, and bytes of all before it can be counted.
    private static let endOfBlocks: UInt64 = 1 << 48

    package static func text(_ results: [(node: String, result: VerifyResult)]) -> String {
        var text = ""
        for (node, result) in results {
            var shown = result
            shown.runs = []
            let runs = result.runs.prefix(Comparing.mostKept).map { "\($0.first)+\($0.count)" }.joined(separator: " ")
            let line =
                JSONValue.object([
                    .init("node", .string(node)), .init("verify", shown.json), .init("runs", .string(runs)),
                ]).text + "\n"
            if text.utf8.count + line.utf8.count <= maximumBytes { text += line }
        }
        return text
    }

    /// Lines that say nothing understandable are left out.
    package static func results(_ text: String) -> [(node: String, result: VerifyResult)] {
        var results: [(node: String, result: VerifyResult)] = []
        for line in text.split(separator: "\n").prefix(8) {
            guard let json = try? JSONParser.parse(Array(line.utf8)), let node = try? json.string("node"),
                let value = try? json.field("verify"), var result = try? VerifyResult(json: value)
            else { continue }
            // An earlier build named none.
            result.runs = runs((try? json.string("runs")) ?? "")
            results.removeAll { $0.node == node }
            results.append((node, result))
        }
        return results
    }

    /// None where one of them says nothing understandable.
    private static func runs(_ text: String) -> [BlockRun] {
        var runs: [BlockRun] = []
        for word in text.split(separator: " ").prefix(Comparing.mostKept) {
            let numbers = word.split(separator: "+", omittingEmptySubsequences: false).map { UInt64($0) }
            let end = runs.last.map { $0.first + $0.count } ?? 0
            guard numbers.count == 2, let first = numbers[0], let count = numbers[1], first >= end, count > 0,
                first < endOfBlocks, count <= endOfBlocks - first
            else { return [] }
            runs.append(BlockRun(first: first, count: count))
        }
        return runs
    }
}
