import Foundation

/// One file of the repository, as text.
struct SourceFile {
    /// From the top of the repository: `Sources/Model/Limits.swift`.
    let path: String
    let lines: [String]

    init(path: String, text: String) {
        self.path = path
        lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    }

    var name: String { String(path.split(separator: "/").last ?? "") }
    /// The lines with comments and the insides of string literals blanked, so that only code is judged.
    var code: [String] { blankedCode(lines) }
}

/// A rule that a line breaks. Line 0: the file as a whole.
struct Finding: CustomStringConvertible, Equatable {
    let path: String
    let line: Int
    let rule: String
    var description: String { line == 0 ? "\(path): \(rule)" : "\(path):\(line): \(rule)" }
}

/// The repository that this test was compiled from.
struct SourceTree {
    let top: URL
    let files: [SourceFile]

    init(filePath: String = #filePath) throws {
        top = URL(fileURLWithPath: filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        var found: [SourceFile] = []
        for folder in ["Sources", "Tests", "Kernel", "Tools", ".ci"] {
            let root = top.appendingPathComponent(folder)
            guard let walk = FileManager.default.enumerator(atPath: root.path) else { continue }
            for case let relative as String in walk where Self.isText(relative) {
                let url = root.appendingPathComponent(relative)
                var isDirectory: ObjCBool = false
                guard FileManager.default.fileExists(atPath: url.path, isDirectory: &isDirectory),
                    !isDirectory.boolValue
                else { continue }
                let text = String(decoding: try Data(contentsOf: url), as: UTF8.self)
                found.append(SourceFile(path: folder + "/" + relative, text: text))
            }
        }
        for name in ["Package.swift", "README.md"] {
            let text = String(decoding: try Data(contentsOf: top.appendingPathComponent(name)), as: UTF8.self)
            found.append(SourceFile(path: name, text: text))
        }
        files = found.sorted { $0.path < $1.path }
    }

    private static func isText(_ path: String) -> Bool {
        let name = path.split(separator: "/").last.map(String.init) ?? path
        guard !name.hasPrefix("."), !path.contains("__pycache__"), !path.contains("/corpus/") else { return false }
        return !name.contains(".")
            || [".swift", ".c", ".h", ".md", ".sh", ".modulemap"].contains { name.hasSuffix($0) }
    }

    var swift: [SourceFile] { files.filter { $0.path.hasSuffix(".swift") } }
    func swift(under folder: String) -> [SourceFile] { swift.filter { $0.path.hasPrefix(folder + "/") } }
    var topLevel: [String] { (try? FileManager.default.contentsOfDirectory(atPath: top.path)) ?? [] }
    var manifest: String { files.first { $0.path == "Package.swift" }?.lines.joined(separator: "\n") ?? "" }
}

/// Comments and the insides of string literals replaced by nothing; what remains keeps its line and its indentation.
func blankedCode(_ lines: [String]) -> [String] {
    var inLongLiteral = false
    var commentDepth = 0
    return lines.map { line in
        var kept = ""
        var inLiteral = false
        var rest = Substring(line)
        while !rest.isEmpty {
            if commentDepth > 0 {
                if rest.hasPrefix("*/") { commentDepth -= 1 } else if rest.hasPrefix("/*") { commentDepth += 1 }
                rest = rest.dropFirst(rest.hasPrefix("*/") || rest.hasPrefix("/*") ? 2 : 1)
            } else if rest.hasPrefix("\"\"\"") {
                inLongLiteral.toggle()
                kept += "\"\"\""
                rest = rest.dropFirst(3)
            } else if inLongLiteral {
                rest = rest.dropFirst()
            } else if inLiteral {
                if rest.hasPrefix("\"") {
                    inLiteral = false
                    kept += "\""
                }
                rest = rest.dropFirst(rest.hasPrefix("\\") ? 2 : 1)
            } else if rest.hasPrefix("//") {
                break
            } else if rest.hasPrefix("/*") {
                commentDepth = 1
                rest = rest.dropFirst(2)
            } else {
                if rest.hasPrefix("\"") { inLiteral = true }
                kept.append(rest.removeFirst())
            }
        }
        return kept
    }
}
