import Testing

/// A checker that never found anything has proved nothing: each rule meets a planted fault and its innocent twin.
@Suite struct RulesTests {
    private func file(_ text: String, path: String = "Sources/Model/Planted.swift") -> SourceFile {
        SourceFile(path: path, text: text)
    }

    @Test func `a file of 501 lines is too long, of 500 it is not`() {
        #expect(filesTooLong(file(String(repeating: "\n", count: 501))).count == 1)
        #expect(filesTooLong(file(String(repeating: "\n", count: 500))).isEmpty)
    }

    @Test func `a file of more than 128 KiB is too large`() {
        #expect(fileTooLarge(path: "Tests/Scenarios/endless.txt", bytes: 131_073).count == 1)
        #expect(fileTooLarge(path: "Tests/Scenarios/endless.txt", bytes: 131_072).isEmpty)
    }

    @Test(arguments: [
        "func plain() {", "package mutating func plain(a: Int) throws(Trouble) -> Int {", "init() {", "deinit {",
        "@Test func `a sentence, with (brackets)`() {", "@inline(__always) static func plain() {",
        "func wide(\n    a: Int, b: Int\n) -> Int {", "func generic<T>(a: T) -> Int\nwhere T: Equatable {",
        "package subscript(index: Int) -> Int {", "var computed: Int {", "private init?(_ text: String) {",
    ])
    func `a function of more than 70 lines is too long, however it is written`(head: String) {
        let headLines = head.split(separator: "\n").count
        func planted(_ total: Int, indent: String) -> SourceFile {
            let body = Array(repeating: "    call { $0 }", count: total - headLines - 1)
            let all = (head.split(separator: "\n").map(String.init) + body + ["}"]).map { indent + $0 }
            return file(all.joined(separator: "\n"))
        }
        guard !head.contains("where") else { return }
        #expect(functionsTooLong(planted(71, indent: "")).map(\.line) == [1])
        #expect(functionsTooLong(planted(71, indent: "    ")).count == 1)
        #expect(functionsTooLong(planted(70, indent: "    ")).isEmpty)
    }

    @Test func `many short functions and requirements are not one long one`() {
        let short = String(repeating: "    func short() {\n        work()\n    }\n", count: 40)
        #expect(functionsTooLong(file("struct Many {\n\(short)}")).isEmpty)
        let requirements = String(repeating: "    func asked() -> Int\n    var known: Int { get }\n", count: 80)
        #expect(functionsTooLong(file("protocol Wanted {\n\(requirements)}")).isEmpty)
    }

    @Test func `comments and literals are not code`() {
        let lines = [
            "let a = \"class // no\" // class", "/* class", "class */ let b = 1", "let c = \"\"\"", "class", "\"\"\"",
        ]
        let code = blankedCode(lines)
        #expect(!code.joined().contains("class"))
        #expect(code[0].hasPrefix("let a = \"\""))
        #expect(code[2].contains("let b = 1"))
        #expect(blankedCode(["let d = \"a\\\"b\"; class X"])[0].contains("class X"))
    }

    @Test(arguments: [
        "func f() async {", "await f()", "let x: any Sequence = y", "final class Box {", "actor Shared {",
        "import Glibc",
    ])
    func `impure code is found`(line: String) {
        #expect(impureCode(file(line)).count == 1)
        #expect(impureCode(file("// " + line)).isEmpty)
    }

    @Test func `ordinary words are not impure`() {
        #expect(impureCode(file("let classes = company.many; let asynchronous = 1; if any { }")).isEmpty)
    }

    @Test func `imports are seen in every form`() {
        let text =
            "import Model\npackage import Formats\n@preconcurrency import LinuxIO\nimport struct Foundation.Data\n"
        #expect(imports(file(text)).map(\.module) == ["Model", "Formats", "LinuxIO", "Foundation"])
        #expect(importsOutside(["Model", "Formats"], file(text)).map(\.line) == [3, 4])
    }

    @Test(arguments: [
        "struct SessionManager {", "enum ByteUtils {", "final class PeerHandlers {", "struct RequestContext {",
    ])
    func `empty names are found`(line: String) {
        #expect(forbiddenNames(file(line)).count == 1)
    }

    @Test func `the right names pass`() {
        #expect(forbiddenNames(file("struct PeerHandshake {\nstruct Commonplace {")).isEmpty)
        #expect(forbiddenNames(file("", path: "Sources/Daemon/SocketHelpers.swift")).count == 1)
        #expect(forbiddenNames(file("struct MetaContext {", path: "Sources/Formats/NBDMetaContexts.swift")).isEmpty)
    }

    @Test func `left-overs are found`() {
        #expect(leftOvers(file("// TO" + "DO: later")).count == 1)
        #expect(leftOvers(file("fatal" + "Error(\"no\")")).count == 1)
        #expect(leftOvers(file("throw Trouble(\"not " + "implemented\")")).count == 1)
        #expect(leftOvers(file("preconditionFailure(\"a slot is free\")")).isEmpty)
    }

    @Test func `silenced tests are found`() {
        #expect(silencedTests(file("@Test(.dis" + "abled(\"flaky\")) func f() {")).count == 1)
        #expect(silencedTests(file("#if " + "false")).count == 1)
        #expect(silencedTests(file("@Test func f() {")).isEmpty)
    }

    @Test func `places of one machine are found`() {
        #expect(privatePlaces(file("cd /ho" + "me/me/hablk")).count == 1)
        #expect(privatePlaces(file("/usr/lib/hablk /var/lib/hablk")).isEmpty)
    }

    @Test func `a file that holds something else is found`() {
        #expect(misnamedFile(file("struct Other {}", path: "Sources/Model/ByteRange.swift")).count == 1)
        #expect(misnamedFile(file("struct DiskState {}", path: "Sources/Model/VolumeStates.swift")).isEmpty)
        #expect(misnamedFile(file("extension Replica {", path: "Sources/Model/Replica+Resync.swift")).isEmpty)
        #expect(camelCaseWords("NBDHandshakeOptions") == ["NBD", "Handshake", "Options"])
    }

    @Test func `a mutant without words, seam or line is found`() {
        let declared = file(
            "enum Mutant {\n    /// Said.\n    case good\n    case silent\n    /// Said.\n    case nowhere\n}",
            path: "Sources/ReplicationCore/Mutant.swift")
        let core = file("if isLeftOut(.good) || isLeftOut(.silent) { return }", path: "Sources/ReplicationCore/A.swift")
        let table = file("| good | F1 |\n| nowhere | F2 |", path: "Tests/Simulation/Mutants.md")
        let found = looseMutants(declared, core: [declared, core], table: table)
        #expect(found.map(\.line) == [4, 4, 6])
    }

    @Test func `the graph is read from a manifest`() {
        let manifest = """
            let one: Target.Dependency = .product(name: "ArgumentParser", package: "p")
            targets: [
                // .target(name: "Ghost"),
                .systemLibrary(name: "CRing", path: "Kernel/CRing", providers: [.apt(["x"])]),
                .target(name: "Model", cSettings: gnu),
                .executableTarget(name: "tool", dependencies: ["Model", .product(name: "Logging", package: "l"),
                    argumentParser], cSettings: gnu),
                .testTarget(name: "ToolTests", dependencies: ["tool"]),
            ]
            """
        let graph = targetGraph(manifest)
        #expect(
            graph == [
                "CRing": [], "Model": [], "tool": ["Model", "Logging", "ArgumentParser"], "ToolTests": ["tool"],
            ])
        #expect(reachable(from: "ToolTests", in: graph) == ["tool", "Model", "Logging", "ArgumentParser"])
    }
}
