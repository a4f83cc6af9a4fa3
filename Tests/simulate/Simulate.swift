import ArgumentParser
import Foundation
import Simulation

/// Whole clusters in one deterministic process: `--seed N` replays one, `--seeds COUNT` sweeps.
@main struct Simulate: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "simulate",
        abstract:
            "Runs two replicas or more with virtual disks, network and clocks from a seed, and checks every promise.",
        discussion: ExitCodes.explanation)

    @Option(help: "Replay this seed.") var seed: UInt64?
    @Option(help: "Sweep so many seeds.") var seeds: UInt64?
    @Option(help: "The first seed of a sweep.") var from: UInt64 = 1
    @Option(help: "Processes of a sweep.") var jobs = 2
    @Flag(help: "Two nodes without quorum that fence each other.") var fencing = false
    @Flag(help: "Two nodes without quorum that heal their split brains by after-sb policies.") var splitBrain = false
    @Flag(help: "Two nodes that replicate in `memory` or `async`, one of them or both.") var modes = false
    @Flag(help: "Volumes that are made larger, on two nodes or more.") var growth = false
    @Flag(help: "Clusters with quorum: two to four copies and perhaps a witness.") var quorum = false
    @Flag(help: "Clusters with quorum, and copies in `memory` or `async` in them.") var mixed = false
    @Option(help: "With --quorum: have this duel in each seed.") var duel: String?
    @Flag(help: "Print every event and effect of the replayed seed.") var trace = false
    @Option(help: "Print only so many of the newest lines.") var last: Int?
    @Option(help: "Leave out kinds of faults, by commas; `mishaps` for all of the second kind.") var without: String?
    @Option(help: "Have only these kinds of faults, by commas; `none` for none.") var only: String?
    @Option(help: "Client requests, instead of what the seed drew.") var operations: Int?
    @Option(help: "Milliseconds of simulated time after which no more faults come.") var until: UInt64?
    @Option(help: "Seconds that a seed may take; not with --trace.") var limit = 120.0
    @Option(help: "Plant a fault that must be found: \(PlantedFault.allCases.map(\.rawValue).joined(separator: ", ")).")
    var plant: String?
    @Option(help: "Show in the trace each change of this sector on both disks.") var sector: Int?
    @Flag(help: "Look for a simpler run that fails as well.") var shrink = false
    @Option(help: "Stop a sweep after so many failing seeds.") var failures = 20
    @Flag(help: "The checker checked: leave out each rule of the core in turn, until a seed shows it.") var mutants =
        false
    @Option(help: "Leave out this rule of the core (in a build with the trait Mutants; with --mutants: by commas).")
    var mutant: String?
    @Option(help: "With --mutants and some of them: an earlier table, of which the other rows are printed again.")
    var table: String?
    @Flag(help: .hidden) var worker = false
    @OptionGroup var scenarios: Scenarios
    @OptionGroup var crashPoints: CrashPoints
    @OptionGroup var blackBox: BlackBox

    func run() throws {
        if mutants { throw ExitCode(try searchMutants()) }
        try leaveOut()
        if scenarios.isWanted { return try scenarios.run() }
        if blackBox.isWanted { throw ExitCode(blackBox.run(last: last)) }
        if crashPoints.isWanted { throw ExitCode(try crashPoints.run(from: from, planted: planted())) }
        guard let seed else {
            guard let seeds else { throw ValidationError("say --seed N or --seeds COUNT") }
            if worker { return try work(from..<from + seeds) }
            let sweep = Sweep(from: from, count: seeds, jobs: max(1, jobs), mostFailures: failures, passedOn: passedOn)
            let worst = sweep.run()
            if let first = sweep.firstToShrink { Shrink(options: try options(first), passedOn: whatRuns).run() }
            throw ExitCode(worst)
        }
        if shrink { return Shrink(options: try options(seed), passedOn: whatRuns).run() }
        try replay(seed)
    }

    /// In a build without mutants: builds one that has them, and runs that.
    private func searchMutants() throws -> Int32 {
        let limit = seeds ?? 20_000
        if MutantName.all.isEmpty {
            let names = (mutant.map { ["--mutant", $0] } ?? []) + (table.map { ["--table", $0] } ?? [])
            return MutantBuild(arguments: ["--mutants", "--seeds", "\(limit)", "--jobs", "\(jobs)"] + names).run()
        }
        let names = mutant?.split(separator: ",").map(String.init) ?? []
        let known = try table.map { try String(contentsOfFile: $0, encoding: .utf8) } ?? ""
        return MutantSearch(limit: limit, jobs: max(1, jobs), names: names, known: known).run()
    }

    private func leaveOut() throws {
        guard let mutant, !MutantName.leaveOut(mutant) else { return }
        if MutantName.all.isEmpty { throw ValidationError("this build has no mutants: --traits Mutants, or --mutants") }
        throw ValidationError("no rule of the core is called `\(mutant)`")
    }

    private func drawn(from seed: UInt64) throws -> SimulationOptions {
        if growth { return SimulationOptions(growing: seed) }
        if mixed { return SimulationOptions(mixed: seed) }
        if quorum {
            return SimulationOptions(
                quorum: seed, duels: try has(.duels), exact: try has(.exactDuels), duel: try wantedDuel())
        }
        if fencing { return SimulationOptions(fencing: seed) }
        if splitBrain { return SimulationOptions(splitBrain: seed) }
        return modes ? SimulationOptions(modes: seed) : SimulationOptions(seed: seed)
    }

    private func options(_ seed: UInt64) throws -> SimulationOptions {
        var options = try drawn(from: seed)
        if let only { options.faults = try kinds(only) }
        if mixed { options.faults.insert(.mixed) }
        if let without { options.faults.subtract(try kinds(without)) }
        if let planted = try planted() { options.planted = planted }
        if let sector, sector < options.sectors { options.watched = sector }
        if let operations { options.operations = operations }
        if let until { options.longestSafety = until * 1_000_000 }
        return options
    }

    /// Without duels, or exact ones, a seed does what it did before there were any.
    private func has(_ kind: FaultKinds) throws -> Bool {
        if let without, try kinds(without).contains(kind) { return false }
        return try only.map { try kinds($0).contains(kind) } ?? true
    }

    private func wantedDuel() throws -> Duel? {
        guard let duel else { return nil }
        guard let wanted = Duel(rawValue: duel) else {
            let known = Duel.allCases.map(\.rawValue).joined(separator: ", ")
            throw ValidationError("no duel is called `\(duel)`; there are \(known)")
        }
        return wanted
    }

    private func planted() throws -> PlantedFault? {
        guard let plant else { return nil }
        guard let planted = PlantedFault(rawValue: plant) else {
            let known = PlantedFault.allCases.map(\.rawValue).joined(separator: ", ")
            throw ValidationError("nothing called `\(plant)` can be planted; there are \(known)")
        }
        return planted
    }

    private func kinds(_ list: String) throws -> FaultKinds {
        var kinds: FaultKinds = []
        for name in list.split(separator: ",") where name != "none" {
            guard let kind = FaultKinds(name: name) else {
                let known = FaultKinds.names.map(\.1).joined(separator: ", ")
                throw ValidationError("no kind of fault is called `\(name)`; there are \(known)")
            }
            kinds.insert(kind)
        }
        return kinds
    }

    private var passedOn: [String] {
        var words: [String] = []
        if let without { words += ["--without", without] }
        if let only { words += ["--only", only] }
        if let operations { words += ["--operations", "\(operations)"] }
        if let until { words += ["--until", "\(until)"] }
        return words + whatRuns + ["--limit", "\(limit)"]
    }

    /// The clusters, and what is wrong with them: the same in each run that a shorter one is looked for.
    private var whatRuns: [String] {
        var words: [String] = []
        if quorum { words += ["--quorum"] }
        if mixed { words += ["--mixed"] }
        if let duel { words += ["--duel", duel] }
        if fencing { words += ["--fencing"] }
        if splitBrain { words += ["--split-brain"] }
        if modes { words += ["--modes"] }
        if growth { words += ["--growth"] }
        if let mutant { words += ["--mutant", mutant] }
        if let plant { words += ["--plant", plant] }
        return words
    }

    private func replay(_ seed: UInt64) throws {
        let options = try options(seed)
        say(options.description)
        let sink: ((String) -> Void)? = last == nil ? { say($0) } : nil
        if !trace {
            watchdog { say("seed \($0) FAILED (hang) I7: no end in \(limit) seconds") }.begins(seed)
        }
        let trace = Trace(isOn: trace || last != nil, keeps: last ?? 1, sink: sink)
        let result = runSimulation(options, trace: trace)
        for line in result.lines.suffix(last ?? 0) { say(line) }
        say(
            "\(result.events) events in \(result.simulated / 1_000_000_000) simulated seconds, "
                + "\(result.acknowledgedWrites) writes acknowledged, \(result.checkedReads) reads checked, "
                + "\(result.promotions) promotions, digest \(String(result.digest, radix: 16))")
        if let violation = result.violation {
            say("seed \(seed) FAILED (\(violation.kind)) \(violation.invariant): \(violation.text)")
        } else {
            say("seed \(seed) held")
        }
        throw ExitCode(result.exitCode)
    }

    private func watchdog(_ report: @escaping @Sendable (UInt64) -> Void) -> Watchdog {
        Watchdog(limit: limit, endsWithParent: worker, report: report)
    }

    /// One process of a sweep: a line when a seed begins, so that a trap can be told from its last line, and one when it
    /// has failed.
    private func work(_ range: Range<UInt64>) throws {
        var events = 0
        let watchdog = watchdog { say("failed \($0) \(ExitCodes.hang) hang I7: no end in \(limit) seconds") }
        if mutant != nil { MutantSearch.limitMemory() }
        for seed in range {
            say("begin \(seed)")
            watchdog.begins(seed)
            let result = runSimulation(try options(seed))
            events += result.events
            if let violation = result.violation {
                say("failed \(seed) \(result.exitCode) \(violation.kind) \(violation.invariant): \(violation.text)")
                if mutant != nil || plant != nil { break }
            }
        }
        say("end \(events)")
    }
}

/// Writes a line at once: what was said before a trap is there.
func say(_ line: String) { FileHandle.standardOutput.write(Data((line + "\n").utf8)) }
