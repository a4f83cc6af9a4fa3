import Foundation
import Testing

/// The shape of the tree, held by tests: each of these limits was a large file or a wrong dependency once, elsewhere.
@Suite struct TidyTests {
    let tree: SourceTree

    init() throws { tree = try SourceTree.shared.get() }

    @Test func `the tree is found and is not empty`() {
        #expect(tree.swift(under: "Sources").count > 10)
        #expect(tree.swift(under: "Tests").count > 10)
    }

    @Test func `files stay short`() {
        expectNone(tree.swift.flatMap(filesTooLong))
    }

    @Test func `no file is large, whatever it holds`() {
        #expect(tree.sizes.count > tree.files.count)
        expectNone(tree.sizes.flatMap(fileTooLarge))
    }

    @Test func `functions stay short`() {
        expectNone(tree.swift.flatMap(functionsTooLong))
    }

    @Test func `the core decides and does nothing else`() {
        let core = tree.swift(under: "Sources/ReplicationCore") + tree.swift(under: "Sources/Model")
        expectNone(core.flatMap(impureCode))
    }

    @Test(
        arguments: [
            ("Sources/Model", []),
            ("Sources/ReplicationCore", ["Model"]),
            ("Sources/Formats", ["Model", "CChecksum"]),
            ("Sources/Recording", ["Model", "Formats", "ReplicationCore"]),
            ("Sources/LinuxIO", ["CLinuxNBD", "CLinuxURing", "Glibc", "Synchronization"]),
        ] as [(String, Set<String>)])
    func `each target imports only what its place allows`(folder: String, allowed: Set<String>) {
        expectNone(tree.swift(under: folder).flatMap { importsOutside(allowed, $0) })
    }

    @Test func `the simulator never meets the machine`() {
        let machine: Set<String> = [
            "LinuxIO", "Daemon", "CLinuxNBD", "CLinuxURing", "COpenSSL", "CLZ4", "CZstandard", "Foundation",
        ]
        let found = tree.swift(under: "Tests/Simulation").flatMap { file in
            imports(file).filter { machine.contains($0.module) }.map {
                Finding(path: file.path, line: $0.line, rule: "must not import \($0.module)")
            }
        }
        expectNone(found)
    }

    @Test func `the target graph is the one of the README`() {
        let graph = targetGraph(tree.manifest)
        let expected: [String: Set<String>] = [
            "CLinuxURing": [], "CLinuxNBD": [], "COpenSSL": [], "CLZ4": [], "CZstandard": [], "CChecksum": [],
            "Model": [],
            "Formats": ["Model", "CChecksum"],
            "ReplicationCore": ["Model"],
            "Recording": ["Model", "Formats", "ReplicationCore"],
            "LinuxIO": ["CLinuxNBD", "CLinuxURing"],
            "Daemon": [
                "Model", "Formats", "ReplicationCore", "Recording", "LinuxIO", "COpenSSL", "CLZ4", "CZstandard",
                "Logging", "Yams",
            ],
            "hablk": ["Daemon", "Formats", "Model", "ArgumentParser"],
            "Simulation": ["Model", "Formats", "ReplicationCore", "Recording"],
            "simulate": ["Simulation", "Recording", "ArgumentParser"],
            "FuzzTargets": ["Model", "Formats", "ReplicationCore", "LinuxIO", "Daemon"],
            "fuzz": ["FuzzTargets"],
        ]
        for (target, dependencies) in expected {
            #expect(graph[target] == dependencies, "\(target) depends on other things than the README says")
        }
        let unexpected = graph.keys.filter { expected[$0] == nil && !$0.hasSuffix("Tests") }
        #expect(unexpected.isEmpty, "targets that the README does not name: \(unexpected)")
        #expect(reachable(from: "SimulationTests", in: graph).isDisjoint(with: ["LinuxIO", "Daemon"]))
        #expect(reachable(from: "ReplicationCoreTests", in: graph).isDisjoint(with: ["LinuxIO", "Daemon", "Formats"]))
    }

    @Test func `names say what a thing is`() {
        expectNone(tree.swift.flatMap(forbiddenNames))
    }

    @Test func `a file is named after what it holds`() {
        expectNone((tree.swift(under: "Sources") + tree.swift(under: "Tests")).flatMap(misnamedFile))
    }

    @Test func `each rule that can be left out has words, a seam and a line in the table`() throws {
        let core = tree.swift(under: "Sources/ReplicationCore")
        let table = try #require(tree.files.first { $0.path == "Tests/Simulation/Mutants.md" })
        let declared = mutantFiles(core)
        #expect(declared.count == 5)
        #expect(declared.flatMap(mutantNames).count > 200)
        expectNone(declared.flatMap { looseMutants($0, core: core, table: table) })
    }

    @Test func `the daemon has no seam where a rule could be left out`() throws {
        let tests = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        let path = URL(fileURLWithPath: tests).deletingLastPathComponent().appendingPathComponent("hablk")
        let program = try Data(contentsOf: path)
        let core = tree.swift(under: "Sources/ReplicationCore")
        #expect(program.range(of: Data("15ReplicationCore7ReplicaV".utf8)) != nil, "the core's symbols are not in it")
        for declared in mutantFiles(core) {
            let name = declared.name.dropLast(".swift".count)
            #expect(program.range(of: Data("15ReplicationCore\(name.utf8.count)\(name)".utf8)) == nil)
            for rule in mutantNames(declared).prefix(10) { #expect(program.range(of: Data(rule.utf8)) == nil) }
        }
    }

    @Test func `nothing unfinished is left behind`() {
        expectNone(tree.files.flatMap(leftOvers))
    }

    @Test func `no test is silenced`() {
        expectNone(tree.swift(under: "Tests").flatMap(silencedTests))
    }

    @Test func `nothing depends on one machine`() {
        expectNone(tree.files.flatMap(privatePlaces))
    }

    @Test func `the top of the repository is a short list`() {
        let needed: Set<String> = [
            ".ci", ".gitignore", ".swift-format", "Kernel", "Package.swift", "README.md",
            "Sources", "Tests", "Tools",
        ]
        let allowed = needed.union(["Package.resolved", "LICENSE", ".git", ".build", ".swiftpm", ".gitattributes"])
        let present = Set(tree.topLevel)
        #expect(needed.subtracting(present).isEmpty)
        #expect(present.subtracting(allowed).isEmpty)
    }

    @Test func `the commands can be run`() {
        for name in [
            "Tools/install", "Tools/build", "Tools/demo", "Tools/test", "Tools/soak", "Tools/fuzz", "Tools/mutants",
            "Tools/vm/run", "Tools/vm/pair", "Tests/Kernel/run", "Tools/cluster/cluster", "Tools/ocf/hablk",
            "Tests/Pacemaker/run", ".ci/run",
        ] {
            let path = tree.top.appendingPathComponent(name).path
            #expect(FileManager.default.isExecutableFile(atPath: path), "\(name) is missing or has no run bit")
        }
    }

    private func expectNone(_ findings: [Finding], sourceLocation: SourceLocation = #_sourceLocation) {
        for finding in findings { Issue.record("\(finding)", sourceLocation: sourceLocation) }
    }
}
