import Foundation

// Each rule is a function from a file to its findings, so that it can be tried on planted text.

let longestFile = 500
let longestFunction = 70
/// Bytes of any file, stories and the fuzzers' corpora included.
let largestFile = 128 << 10

func filesTooLong(_ file: SourceFile) -> [Finding] {
    let count = file.lines.last == "" ? file.lines.count - 1 : file.lines.count
    guard count > longestFile else { return [] }
    return [Finding(path: file.path, line: 0, rule: "\(count) lines; at most \(longestFile)")]
}

/// Whoever fetches the repository fetches this for ever, and nobody reads it.
func fileTooLarge(path: String, bytes: Int) -> [Finding] {
    bytes > largestFile ? [Finding(path: path, line: 0, rule: "\(bytes) bytes; at most \(largestFile)")] : []
}

/// Formatted source needs no parser: a declaration's body ends at the next `}` at the declaration's own indentation.
func functionsTooLong(_ file: SourceFile) -> [Finding] {
    let code = file.code
    var findings: [Finding] = []
    for (start, line) in code.enumerated() where declaresCode(line) {
        let indent = indentation(line)
        guard let open = bodyOpening(code, from: start, indent: indent) else { continue }
        let close = code.indices.dropFirst(open + 1).first { index in
            indentation(code[index]) == indent && code[index].dropFirst(indent).hasPrefix("}")
        }
        guard let close, close - start + 1 > longestFunction else { continue }
        let rule = "a function of \(close - start + 1) lines; at most \(longestFunction)"
        findings.append(Finding(path: file.path, line: start + 1, rule: rule))
    }
    return findings
}

private func declaresCode(_ line: String) -> Bool {
    let words = line.split(separator: " ").prefix { !$0.contains("{") && !$0.contains("=") }
    guard let keyword = words.firstIndex(where: { ["func", "subscript", "var"].contains($0) || isInitializer($0) })
    else { return false }
    let before = words[..<keyword].joined(separator: " ")
    return before.allSatisfy { $0.isLetter || " @()_:,\"".contains($0) }
        && !["if", "guard", "while", "for", "case", "return", "let"].contains(words.first ?? "")
}

private func isInitializer(_ word: Substring) -> Bool {
    word == "deinit" || ["init(", "init?(", "init<", "subscript("].contains { word.hasPrefix($0) }
}

private func indentation(_ line: String) -> Int { line.prefix { $0 == " " }.count }

/// The line that ends with the body's `{`; nil for one-line bodies and requirements without one.
private func bodyOpening(_ code: [String], from start: Int, indent: Int) -> Int? {
    for index in start..<min(start + 30, code.count) {
        let line = code[index].trimmingCharacters(in: .whitespaces)
        if index > start {
            let continues = indentation(code[index]) > indent || line.hasPrefix(")") || line == "{"
            guard continues else { return nil }
        }
        if line.hasSuffix("{") { return index }
        if line.hasSuffix("}") { return nil }
    }
    return nil
}

/// The modules that a file imports, with their lines.
func imports(_ file: SourceFile) -> [(module: String, line: Int)] {
    file.code.enumerated().compactMap { index, line in
        let words = line.split(separator: " ")
        guard let keyword = words.firstIndex(of: "import"), keyword < 3, keyword + 1 < words.count else { return nil }
        let kinds: Set<Substring> = ["struct", "class", "enum", "protocol", "func", "let", "var", "typealias"]
        let name = kinds.contains(words[keyword + 1]) ? words.last : words[keyword + 1]
        return name.map { (module: String($0.split(separator: ".")[0]), line: index + 1) }
    }
}

func importsOutside(_ allowed: Set<String>, _ file: SourceFile) -> [Finding] {
    imports(file).filter { !allowed.contains($0.module) }.map {
        Finding(path: file.path, line: $0.line, rule: "must not import \($0.module)")
    }
}

/// What would make the core impure or slow: waiting, boxes, shared objects.
func impureCode(_ file: SourceFile) -> [Finding] {
    let forbidden = [#"\basync\b"#, #"\bawait\b"#, #"\bany [A-Z(]"#, #"\bclass\b"#, #"\bactor\b"#, #"\bGlibc\b"#]
    return findings(of: forbidden, in: file.code, file) { "`\($0)` has no place here" }
}

func forbiddenNames(_ file: SourceFile) -> [Finding] {
    let names = "(Manager|Handler|Helper|Utils|Util|Utilities|Context|Common)"
    // A context is the NBD protocol's own noun.
    let isNBD = file.name.hasPrefix("NBD")
    let code = isNBD ? file.code.map { $0.replacingOccurrences(of: "Context", with: "") } : file.code
    let declared = #"\b(struct|class|enum|actor|protocol|typealias) \w*"# + names + #"s?(?![a-z])\w*"#
    var all = findings(of: [declared], in: code, file) { "`\($0)`: name it after what it is" }
    if !allMatches(names + #"s?(?![a-z])"#, [isNBD ? "" : file.name]).isEmpty {
        all.append(Finding(path: file.path, line: 0, rule: "name the file after what it holds"))
    }
    return all
}

func leftOvers(_ file: SourceFile) -> [Finding] {
    // In pieces, so that this file does not find itself.
    let words = ["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK", "un" + "implemented", "not " + "implemented"]
    let patterns = words.map { #"\b"# + $0 + #"\b"# } + [#"fatal"# + #"Error\("#, #"in the "# + "making"]
    return findings(of: patterns, in: file.lines, file) { "`\($0)`: finish it or take it out" }
}

func silencedTests(_ file: SourceFile) -> [Finding] {
    let patterns = [
        #"\.dis"# + #"abled\("#, #"\.ena"# + #"bled\(if"#, "withKnown" + "Issue", "XCT" + "Skip", "#if " + "false",
    ]
    return findings(of: patterns, in: file.lines, file) { "`\($0)`: a test without its means fails and names it" }
}

/// Paths of one machine and addresses of its package sources.
func privatePlaces(_ file: SourceFile) -> [Finding] {
    let patterns = [
        "/wo" + "rk/", "/ho" + "me/[a-z]", "/Us" + "ers/[a-z]", "/op" + "t/swift", "apt-" + "get .*https?://",
    ]
    return findings(of: patterns, in: file.lines, file) { "`\($0)` is only true on one machine" }
}

/// Some declaration bears one of the words of the file's name.
func misnamedFile(_ file: SourceFile) -> [Finding] {
    let base = String(file.name.dropLast(".swift".count).prefix { $0 != "+" })
    let declaration = #"\b(struct|class|enum|actor|protocol|extension|typealias|func|let|var|case) .*"#
    let declared = allMatches(declaration, file.code).map { $0.text.lowercased() }
    let words = camelCaseWords(base).map(stem)
    guard !declared.contains(where: { name in words.contains { name.contains($0) } }) else { return [] }
    return [Finding(path: file.path, line: 0, rule: "nothing in it is called like the file")]
}

/// The files of the core that declare rules to be left out.
func mutantFiles(_ core: [SourceFile]) -> [SourceFile] { core.filter { $0.name.hasSuffix("Mutant.swift") } }

func mutantNames(_ declared: SourceFile) -> [String] {
    declared.code.filter { $0.hasPrefix("    case ") }.map { $0.trimmingCharacters(in: .whitespaces).dropFirst(5) }
        .map(String.init)
}

/// Rules of the core that can be left out (`Mutant`), but are not said in words, stand at no seam, or are missing from the
/// table of what noticed them.
func looseMutants(_ declared: SourceFile, core: [SourceFile], table: SourceFile) -> [Finding] {
    let seams = core.filter { $0.path != declared.path }.flatMap(\.code).joined(separator: "\n")
    var findings: [Finding] = []
    for (index, line) in declared.code.enumerated() where line.hasPrefix("    case ") {
        let name = line.dropFirst("    case ".count).trimmingCharacters(in: .whitespaces)
        func report(_ rule: String) {
            findings.append(Finding(path: declared.path, line: index + 1, rule: "`\(name)` \(rule)"))
        }
        if index == 0 || !declared.lines[index - 1].hasPrefix("    /// ") { report("has no rule in words") }
        if !seams.contains("isLeftOut(.\(name))") { report("stands at no seam") }
        if !table.lines.contains(where: { $0.hasPrefix("| \(name) |") }) { report("is not in \(table.path)") }
    }
    return findings
}

func camelCaseWords(_ name: String) -> [String] {
    var words: [String] = []
    let characters = Array(name)
    for (index, character) in characters.enumerated() {
        let previousIsUpper = index > 0 && characters[index - 1].isUppercase
        let nextIsLower = index + 1 < characters.count && characters[index + 1].isLowercase
        if words.isEmpty || character.isUppercase && (!previousIsUpper || nextIsLower) {
            words.append(String(character))
        } else {
            words[words.count - 1].append(character)
        }
    }
    return words
}

/// A word as it may stand inside a name: `Replies` in `appendReply`, `Confirmation` in `confirm`.
private func stem(_ word: String) -> String {
    let lower = word.lowercased()
    let singular = lower.hasSuffix("ies") ? lower.dropLast(3) : lower.hasSuffix("s") ? lower.dropLast() : lower[...]
    return String(singular.prefix(6))
}

/// What matches in these lines, and where.
func allMatches(_ pattern: String, _ lines: [String]) -> [(text: String, line: Int)] {
    guard let expression = try? NSRegularExpression(pattern: pattern) else {
        preconditionFailure("not a regular expression: \(pattern)")
    }
    let text = lines.joined(separator: "\n")
    var line = 1
    var counted = text.startIndex
    return expression.matches(in: text, range: NSRange(text.startIndex..., in: text)).compactMap { match in
        guard let range = Range(match.range, in: text) else { return nil }
        line += text[counted..<range.lowerBound].utf8.count { $0 == 10 }
        counted = range.lowerBound
        return (text: String(text[range]), line: line)
    }
}

private func findings(
    of patterns: [String], in lines: [String], _ file: SourceFile, rule: (String) -> String
) -> [Finding] {
    patterns.flatMap { allMatches($0, lines) }.map { Finding(path: file.path, line: $0.line, rule: rule($0.text)) }
}
