import Foundation
import Simulation

/// Leaves out kinds of faults and requests for as long as the seed fails in the same way.
struct Shrink {
    let seed: UInt64
    let passedOn: [String]

    func run() {
        var faults = SimulationOptions(seed: seed).faults
        var operations = SimulationOptions(seed: seed).operations
        guard let failure = outcome(faults, operations) else { return say("seed \(seed) does not fail") }
        say("seed \(seed) fails by \(failure)")
        var changed = true
        while changed {
            changed = false
            for (kind, name) in FaultKinds.names where faults.contains(kind) {
                var fewer = faults
                fewer.remove(kind)
                guard outcome(fewer, operations) == failure else { continue }
                faults = fewer
                changed = true
                say("without \(name) it still fails")
            }
            for smaller in [operations / 4, operations / 2, operations * 3 / 4, operations - 1]
            where smaller > 0 && smaller < operations {
                guard outcome(faults, smaller) == failure else { continue }
                operations = smaller
                changed = true
                say("with \(operations) requests it still fails")
                break
            }
        }
        let kinds = faults.isEmpty ? "none" : faults.description
        say("shortest: simulate --seed \(seed) --only \(kinds) --operations \(operations) --trace")
    }

    /// What a failing run is called: its exit code and the invariant.
    private func outcome(_ faults: FaultKinds, _ operations: Int) -> String? {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        process.arguments = [
            "--seed", "\(seed)", "--only", faults.isEmpty ? "none" : faults.description, "--operations",
            "\(operations)",
        ]
        process.environment = ProcessInfo.processInfo.environment.merging(["SWIFT_BACKTRACE": "enable=no"]) { $1 }
        let output = Pipe()
        process.standardOutput = output
        process.standardError = FileHandle.nullDevice
        guard (try? process.run()) != nil else { return nil }
        var reader = LineReader(output.fileHandleForReading)
        var invariant = ""
        while let line = reader.next() {
            guard let failed = line.range(of: " FAILED ") else { continue }
            invariant = String(line[failed.upperBound...].prefix { $0 != ":" })
        }
        process.waitUntilExit()
        if process.terminationReason == .uncaughtSignal { return "a trap" }
        return process.terminationStatus == 0 ? nil : "\(process.terminationStatus) \(invariant)"
    }
}
