import Foundation

/// The targets of a manifest and what each depends on, read from its text.
func targetGraph(_ manifest: String) -> [String: Set<String>] {
    let text = manifest.split(separator: "\n", omittingEmptySubsequences: false)
        .map { $0.trimmingCharacters(in: .whitespaces).hasPrefix("//") ? "" : String($0) }.joined(separator: "\n")
    var graph: [String: Set<String>] = [:]
    for kind in [".target(", ".executableTarget(", ".testTarget(", ".systemLibrary("] {
        var rest = Substring(text)
        while let start = rest.range(of: kind) {
            rest = rest[start.upperBound...]
            let declaration = upToClosing(")", of: rest)
            guard let name = firstLiteral(after: "name:", in: declaration) else { continue }
            graph[name, default: []].formUnion(dependencies(declaration))
        }
    }
    return graph
}

private func dependencies(_ declaration: Substring) -> Set<String> {
    guard let start = declaration.range(of: "dependencies: [") else { return [] }
    var list = upToClosing("]", of: declaration[start.upperBound...])
    var found: Set<String> = []
    while let product = list.range(of: ".product(") {
        let inside = upToClosing(")", of: list[product.upperBound...])
        if let name = firstLiteral(after: "name:", in: inside) { found.insert(name) }
        list = list[..<product.lowerBound] + list[inside.endIndex...]
    }
    if list.contains("argumentParser") { found.insert("ArgumentParser") }
    for (index, piece) in list.split(separator: "\"", omittingEmptySubsequences: false).enumerated()
    where index % 2 == 1 {
        found.insert(String(piece))
    }
    return found
}

private func firstLiteral(after label: String, in text: Substring) -> String? {
    guard let start = text.range(of: label) else { return nil }
    let pieces = text[start.upperBound...].split(separator: "\"", maxSplits: 2, omittingEmptySubsequences: false)
    return pieces.count > 1 ? String(pieces[1]) : nil
}

/// `text` up to the bracket that closes the one before it.
private func upToClosing(_ close: Character, of text: Substring) -> Substring {
    let open: Character = close == ")" ? "(" : "["
    var depth = 1
    for index in text.indices {
        if text[index] == open { depth += 1 }
        if text[index] == close { depth -= 1 }
        if depth == 0 { return text[..<index] }
    }
    return text
}

/// All that `target` can reach.
func reachable(from target: String, in graph: [String: Set<String>]) -> Set<String> {
    var seen: Set<String> = []
    var open = [target]
    while let next = open.popLast() {
        for dependency in graph[next] ?? [] where seen.insert(dependency).inserted { open.append(dependency) }
    }
    return seen
}
