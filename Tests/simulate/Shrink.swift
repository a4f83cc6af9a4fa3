import Foundation
import Simulation

/// Leaves out kinds of faults, requests and time for as long as the seed fails in the same way, and shows what is left.
struct Shrink {
    /// What the seed drew, with what the command line changed.
    let options: SimulationOptions
    /// `--plant` and the like, for each run.
    let passedOn: [String]

    /// A run that is tried.
    private struct Candidate {
        var faults: FaultKinds
        var operations: Int
        /// Milliseconds of faults.
        var until: UInt64

        var arguments: [String] {
            ["--only", faults.isEmpty ? "none" : faults.description, "--operations", "\(operations)"]
                + ["--until", "\(until)"]
        }
    }

    func run() {
        var best = Candidate(
            faults: options.faults, operations: options.operations, until: options.longestSafety / 1_000_000)
        guard let failure = outcome(best) else { return say("seed \(options.seed) does not fail") }
        say("shrinking seed \(options.seed), which fails by \(failure)")
        var changed = true
        while changed {
            changed = false
            for (smaller, what) in smaller(than: best) where isSmaller(smaller, best) {
                guard outcome(smaller) == failure else { continue }
                best = smaller
                changed = true
                say("  \(what), it still fails")
            }
        }
        let words = (["simulate", "--seed", "\(options.seed)"] + passedOn + best.arguments).joined(separator: " ")
        say("shortest: \(words) --trace")
        say("its last lines:")
        for line in start(best.arguments + ["--last", "30"]).lines { say("  " + line) }
    }

    private func smaller(than best: Candidate) -> [(Candidate, String)] {
        var all: [(Candidate, String)] = []
        for (kind, name) in FaultKinds.names where best.faults.contains(kind) {
            var fewer = best
            fewer.faults.remove(kind)
            all.append((fewer, "without \(name)"))
        }
        for count in [best.operations / 4, best.operations / 2, best.operations * 3 / 4, best.operations * 15 / 16]
        where count > 0 && count < best.operations {
            var fewer = best
            fewer.operations = count
            all.append((fewer, "with \(count) requests"))
        }
        for until in [best.until / 4, best.until / 2, best.until * 3 / 4, best.until * 15 / 16] where until > 100 {
            var shorter = best
            shorter.until = until
            all.append((shorter, "with faults for \(until) ms"))
        }
        return all
    }

    /// A candidate was made from an earlier best: it must not bring back what was left out since.
    private func isSmaller(_ candidate: Candidate, _ best: Candidate) -> Bool {
        candidate.faults.isSubset(of: best.faults) && candidate.operations <= best.operations
            && candidate.until <= best.until
    }

    /// What a failing run is called: its exit code and the invariant.
    private func outcome(_ candidate: Candidate) -> String? {
        let (lines, process) = start(candidate.arguments)
        if process.terminationReason == .uncaughtSignal { return "a trap" }
        guard process.terminationStatus != 0 else { return nil }
        var invariant = ""
        for line in lines {
            guard let failed = line.range(of: " FAILED ") else { continue }
            invariant = String(line[failed.upperBound...].prefix { $0 != ":" })
        }
        return "\(process.terminationStatus) \(invariant)"
    }

    private func start(_ arguments: [String]) -> (lines: [String], process: Process) {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        process.arguments = ["--seed", "\(options.seed)"] + passedOn + arguments
        process.environment = ProcessInfo.processInfo.environment.merging(["SWIFT_BACKTRACE": "enable=no"]) { $1 }
        let output = Pipe()
        process.standardOutput = output
        process.standardError = FileHandle.nullDevice
        do {
            try process.run()
        } catch {
            say("a run could not be started: \(error)")
            return ([], process)
        }
        var reader = LineReader(output.fileHandleForReading)
        var lines: [String] = []
        while let line = reader.next() { lines.append(line) }
        process.waitUntilExit()
        return (lines, process)
    }
}
