import Foundation

/// One file of the repository, as text.
struct SourceFile: Sendable {
    /// From the top of the repository: `Sources/Model/Limits.swift`.
    let path: String
    let lines: [String]
    /// The lines with comments and the insides of string literals blanked, so that only code is judged.
    let code: [String]

    init(path: String, text: String) {
        self.path = path
        lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        code = path.hasSuffix(".swift") ? blankedCode(lines) : lines
    }

    var name: String { String(path.split(separator: "/").last ?? "") }
}

/// A rule that a line breaks. Line 0: the file as a whole.
struct Finding: CustomStringConvertible, Equatable {
    let path: String
    let line: Int
    let rule: String
    var description: String { line == 0 ? "\(path): \(rule)" : "\(path):\(line): \(rule)" }
}

/// The repository that this test was compiled from.
struct SourceTree: Sendable {
    /// Read once, for all tests.
    static let shared = Result { try SourceTree() }

    let top: URL
    let files: [SourceFile]
    /// Everything that is there, also what is not read.
    private(set) var sizes: [(path: String, bytes: Int)] = []

    init(filePath: String = #filePath) throws {
        top = URL(fileURLWithPath: filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        var found: [SourceFile] = []
        for folder in ["Sources", "Tests", "Kernel", "Tools", ".ci"] {
            let root = top.appendingPathComponent(folder)
            guard let walk = FileManager.default.enumerator(atPath: root.path) else { continue }
            for case let relative as String in walk {
                let url = root.appendingPathComponent(relative)
                let values = try url.resourceValues(forKeys: [.isRegularFileKey, .fileSizeKey])
                guard values.isRegularFile == true else { continue }
                sizes.append((path: folder + "/" + relative, bytes: values.fileSize ?? 0))
                guard Self.isText(relative) else { continue }
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
        guard !name.hasPrefix("."), !path.contains("__pycache__"), !path.contains("/Corpus/") else { return false }
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
    var scanner = CodeScanner()
    return lines.map { scanner.code(of: Array($0.utf8)) }
}

/// Where a line stands: in code, in a comment, in a literal.
private struct CodeScanner {
    private var inLongLiteral = false
    private var commentDepth = 0

    mutating func code(of line: [UInt8]) -> String {
        var kept: [UInt8] = []
        var inLiteral = false
        var index = 0
        func stands(_ token: StaticString) -> Bool {
            let count = token.utf8CodeUnitCount
            guard index + count <= line.count else { return false }
            return (0..<count).allSatisfy { line[index + $0] == token.utf8Start[$0] }
        }
        while index < line.count {
            if commentDepth > 0 {
                let ends = stands("*/")
                let begins = !ends && stands("/*")
                commentDepth += begins ? 1 : ends ? -1 : 0
                index += ends || begins ? 2 : 1
            } else if stands("\"\"\"") {
                inLongLiteral.toggle()
                kept += Array("\"\"\"".utf8)
                index += 3
            } else if inLongLiteral {
                index += 1
            } else if inLiteral {
                inLiteral = !stands("\"")
                if !inLiteral { kept.append(line[index]) }
                index += stands("\\") ? 2 : 1
            } else if stands("//") {
                break
            } else if stands("/*") {
                commentDepth = 1
                index += 2
            } else {
                inLiteral = stands("\"")
                kept.append(line[index])
                index += 1
            }
        }
        return String(decoding: kept, as: UTF8.self)
    }
}
