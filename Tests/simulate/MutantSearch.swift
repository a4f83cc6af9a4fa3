import Foundation
import Simulation
import Synchronization

/// The checker checked: for each rule that the core can leave out, the seeds from 1 on until the oracle notices. One
/// process a mutant and never more than one seed behind another, so that the count is the same every time. What no seed
/// notices, a scenario or the crash points may.
final class MutantSearch: Sendable {
    /// What a mutant, or a planted fault, came to.
    private struct Row {
        var name: String
        var rule: String
        /// Whose seeds: `two nodes`, `quorum`, `fencing`, `modes` or `mixed`.
        var clusters: String
        var arguments: [String]
        /// Seeds that were needed; nil: not noticed.
        var seeds: UInt64?
        var noticedBy = "nothing"
        var isNoticed: Bool { noticedBy != "nothing" }

        var options: [String] { clusters == "two nodes" ? [] : ["--\(clusters)"] }

        /// As in the table.
        var line: String {
            "| \(name) | \(rule) | \(clusters) | \(seeds.map { "\($0)" } ?? "–") | \(noticedBy) |"
        }

        /// What an earlier search found, by its line of the table.
        mutating func take(_ line: some StringProtocol) {
            let cells = line.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
            guard cells.count == 5, cells[0] == name else { return }
            seeds = UInt64(cells[3])
            noticedBy = cells[4]
        }
    }

    private struct State {
        var next = 0
        var rows: [Row]
    }

    private let limit: UInt64
    private let jobs: Int
    private let names: [String]
    private let state: Mutex<State>

    /// - Parameters:
    ///   - limit: seeds after which a mutant counts as not noticed.
    ///   - names: only these; empty: all.
    ///   - known: an earlier table: of those that are not searched for, what it says is said again.
    init(limit: UInt64, jobs: Int, names: [String], known: String) {
        self.limit = limit
        self.jobs = jobs
        self.names = names
        var rows = MutantName.all.map {
            Row(name: $0.name, rule: $0.rule, clusters: $0.clusters, arguments: ["--mutant", $0.name])
        }
        rows += PlantedFault.allCases.map {
            Row(
                name: $0.rawValue, rule: "a disk that lies", clusters: "two nodes", arguments: ["--plant", $0.rawValue])
        }
        if !names.isEmpty, known.isEmpty { rows = rows.filter { names.contains($0.name) } }
        for line in known.split(separator: "\n") {
            for index in rows.indices { rows[index].take(line) }
        }
        state = Mutex(State(rows: rows))
    }

    private func isWanted(_ row: Row) -> Bool { names.isEmpty || names.contains(row.name) }

    /// - Returns: 0 when every mutant was noticed and the core that leaves nothing out passes the same seeds.
    func run() -> Int32 {
        let group = DispatchGroup()
        for _ in 0..<jobs {
            DispatchQueue.global().async(group: group) { while self.searchNext() {} }
        }
        group.wait()
        let rows = state.withLock { $0.rows }
        say("| mutant | rule | clusters | seeds | noticed by |\n|---|---|---|---|---|")
        for row in rows { say(row.line) }
        let needed = rows.compactMap(\.seeds)
        let elsewhere = rows.count { $0.seeds == nil && $0.isNoticed }
        let within = [100, 1000, 10_000].map { limit in "\(needed.count { $0 <= limit }) within \(limit)" }
        say(
            "\nOf \(rows.count) mutants the seeds noticed \(within.joined(separator: ", ")); something else noticed "
                + "\(elsewhere).")
        let survivors = rows.filter { !$0.isNoticed }
        if !survivors.isEmpty { say("NOT NOTICED: " + survivors.map(\.name).joined(separator: " ")) }
        return survivors.isEmpty && passesCanary(rows.filter(isWanted)) ? 0 : 1
    }

    /// The core that leaves nothing out passes the same seeds.
    private func passesCanary(_ rows: [Row]) -> Bool {
        var isPassed = true
        for clusters in Set(rows.map(\.clusters)).sorted() {
            let alike = rows.filter { $0.clusters == clusters }
            report("the canary: nothing left out, the same seeds of \(clusters)")
            let most = alike.compactMap(\.seeds).max() ?? 1
            guard let found = search(alike[0].options, limit: most) else { continue }
            report("the canary failed: seed \(found.seed), \(found.by)")
            isPassed = false
        }
        return isPassed
    }

    private func report(_ line: String) { FileHandle.standardError.write(Data((line + "\n").utf8)) }

    private func searchNext() -> Bool {
        let taken = state.withLock { state -> (index: Int, row: Row)? in
            while state.next < state.rows.count, !isWanted(state.rows[state.next]) { state.next += 1 }
            guard state.next < state.rows.count else { return nil }
            state.next += 1
            return (state.next - 1, state.rows[state.next - 1])
        }
        guard let taken else { return false }
        let found = search(taken.row.arguments + taken.row.options, limit: limit)
        let other = found == nil ? searchElsewhere(taken.row.name, taken.row.arguments) : nil
        state.withLock { state in
            state.rows[taken.index].seeds = found?.seed
            state.rows[taken.index].noticedBy = found?.by ?? other ?? "nothing"
            let row = state.rows[taken.index]
            report("\(row.name): \(row.seeds.map { "\($0) seeds, " } ?? "")by \(row.noticedBy)")
        }
        return true
    }

    /// Those that found that the rule was missing, before there was one; the first of them before there were duels.
    private static let knownSeeds: [String: UInt64] = [
        "carriersRecordIsNotChosen": 50_004_774, "newDiskIsNoMember": 50_002_354, "rolledBackUntilJoin": 50_002_848,
        "detachAwaitsCandidacy": 70_000_066,
    ]

    private func search(_ arguments: [String], limit: UInt64) -> (seed: UInt64, by: String)? {
        search(arguments, seeds: 1..<limit + 1)
    }

    private func search(_ arguments: [String], seeds: Range<UInt64>) -> (seed: UInt64, by: String)? {
        var seed: UInt64 = 0
        var hasEnded = false
        let said = said(
            by: ["--worker", "--seeds", "\(seeds.count)", "--from", "\(seeds.lowerBound)", "--failures", "1"]
                + arguments)
        for line in said.lines {
            let words = line.split(separator: " ", maxSplits: 4)
            switch words.first {
            case "begin": seed = UInt64(words[1]) ?? 0
            case "failed": return (seed, "\(words[4].prefix { $0 != ":" }), \(words[3])")
            case "end": hasEnded = true
            default: break
            }
        }
        return hasEnded ? nil : (seed, "a precondition of the core")
    }

    /// The scenario whose expectation does not hold, the core's own test that fails, the scenario that tells another story,
    /// or the crash points.
    private func searchElsewhere(_ mutant: String, _ arguments: [String]) -> String? {
        if let seed = Self.knownSeeds[mutant] {
            for kinds in [["--without", "duels"], []] {
                let found = search(["--quorum"] + kinds + arguments, seeds: seed..<seed + 1)
                if let found { return "seed \(seed), \(found.by)" }
            }
        }
        let scenarios = said(by: ["--scenarios"] + arguments)
        // `NAME.txt:LINE: …` is a broken promise or an expectation that does not hold, `FOLDER/NAME.txt:LINE: …` a text that
        // differs.
        if let found = violatedScenario(scenarios.lines) { return found }
        let files = scenarios.lines.compactMap { $0.split(separator: ":").first }.filter { $0.hasSuffix(".txt") }
        if let name = files.first(where: { !$0.contains("/") }) { return "scenario \(name.dropLast(4))" }
        if let test = failingTest(mutant) { return "test \(test)" }
        if let name = files.first?.split(separator: "/").last { return "what scenario \(name.dropLast(4)) says" }
        if scenarios.isTrapped { return "a scenario, a precondition of the core" }
        let points = said(by: ["--crash-points", "--length", "3"] + arguments)
        let isFound = points.isTrapped || points.lines.contains { !$0.hasPrefix("crash points, ") }
        return isFound ? "crash points" : nil
    }

    /// The first scenario in which the oracle saw a promise broken: `NAME.txt:LINE: I4: …`.
    private func violatedScenario(_ lines: [String]) -> String? {
        for line in lines {
            let parts = line.split(separator: ":", maxSplits: 3)
            guard parts.count == 4, parts[0].hasSuffix(".txt"), !parts[0].contains("/") else { continue }
            let invariant = parts[2].drop { $0 == " " }
            guard invariant.first == "I", Int(invariant.dropFirst()) != nil else { continue }
            return "scenario \(parts[0].dropLast(4)), \(invariant)"
        }
        return nil
    }

    /// Of the core's own tests, which `Tools/mutants` builds beside this program.
    private func failingTest(_ mutant: String) -> String? {
        let tests = Self.program.deletingLastPathComponent().appendingPathComponent("hablkPackageTests.xctest")
        guard FileManager.default.isExecutableFile(atPath: tests.path) else { return nil }
        let said = said(
            by: ["--testing-library", "swift-testing"], of: tests, environment: ["HABLK_LEAVE_OUT": mutant],
            errors: true)
        for line in said.lines where line.contains("Test \"") && line.contains(" failed after") {
            return line.split(separator: "\"").dropFirst().first.map { "`\($0)`" }
        }
        return said.isTrapped ? "run: a precondition of the core" : nil
    }

    private static let program = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()

    private func said(
        by arguments: [String], of program: URL = program, environment: [String: String] = [:],
        errors: Bool = false
    ) -> (lines: [String], isTrapped: Bool) {
        let process = Process()
        process.executableURL = program
        process.arguments = arguments
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
            .merging(["SWIFT_BACKTRACE": "enable=no"]) { $1 }
        let output = Pipe()
        process.standardOutput = output
        process.standardError = errors ? output as Any : FileHandle.nullDevice
        guard (try? process.run()) != nil else { return ([], false) }
        var reader = LineReader(output.fileHandleForReading)
        var lines: [String] = []
        while let line = reader.next() { lines.append(line) }
        process.waitUntilExit()
        return (lines, process.terminationReason == .uncaughtSignal)
    }

    /// For a worker: a mutant may take memory for ever.
    static func limitMemory() {
        var space = rlimit(rlim_cur: 2 << 30, rlim_max: 2 << 30)
        setrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &space)
    }
}

/// The simulator built once more, with the rules of the core at seams: what `--mutants` runs in an ordinary build.
struct MutantBuild {
    let arguments: [String]

    /// - Returns: the exit code of the search, or of the build that failed.
    func run() -> Int32 {
        guard let package = packageRoot else {
            FileHandle.standardError.write(Data("run this within the repository: mutants are built from source\n".utf8))
            return 64
        }
        let scratch = package.appendingPathComponent(".build/mutants")
        let build = [
            "swift", "build", "-c", "release", "--traits", "Mutants", "--scratch-path", scratch.path, "--product",
            "simulate",
        ]
        FileHandle.standardError.write(Data("building the core with its seams: \(build.joined(separator: " "))\n".utf8))
        let built = spawn("/usr/bin/env", build, in: package)
        guard built == 0 else { return built }
        return spawn(scratch.appendingPathComponent("release/simulate").path, arguments, in: package)
    }

    private var packageRoot: URL? {
        var folder = URL(fileURLWithPath: FileManager.default.currentDirectoryPath)
        while folder.path != "/" {
            if FileManager.default.fileExists(atPath: folder.appendingPathComponent("Tests/simulate").path) {
                return folder
            }
            folder.deleteLastPathComponent()
        }
        return nil
    }

    private func spawn(_ program: String, _ arguments: [String], in folder: URL) -> Int32 {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: program)
        process.arguments = arguments
        process.currentDirectoryURL = folder
        guard (try? process.run()) != nil else { return 1 }
        process.waitUntilExit()
        return process.terminationStatus
    }
}
