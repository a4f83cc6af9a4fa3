import ArgumentParser
import Foundation
import Simulation

/// `--crash-points`: short strings of deeds, each with every state that a crash at any moment of it may leave.
struct CrashPoints: ParsableArguments {
    @Flag(help: "Look at what a crash at each moment of short strings of deeds may leave on a disk.")
    var crashPoints = false
    @Option(help: "With --crash-points: strings of up to so many deeds.") var length = 4
    @Option(help: "With --crash-points: this string only, as `start promote write`.") var string: String?
    @Option(help: "With --crash-points: most subsets of one moment's sectors.") var subsets = 1024
    @Option(help: "With --crash-points: of a thousand moments, how many are gone on with.") var resumes: UInt64 = 50

    var isWanted: Bool { crashPoints || string != nil }

    /// - Returns: the exit code: 0 when every state was as cautious as the last flushed one, else 1.
    func run(from seed: UInt64, planted: PlantedFault?) throws -> Int32 {
        var strings: [CrashString] = []
        if let string {
            guard let parsed = CrashString(string) else {
                let known = CrashDeed.allCases.map(\.rawValue).joined(separator: " ")
                throw ValidationError("a string is made of: \(known)")
            }
            strings = [parsed]
        } else {
            strings = (1...max(1, length)).flatMap { CrashString.all(length: $0) }
        }
        var options = CrashRun.options(seed: seed)
        options.planted = planted
        let depth = CrashEnumeration.Depth(subsets: subsets, resumes: resumes)
        var total = CrashReport()
        let began = Date()
        for string in strings {
            let report = CrashEnumeration.run(string, options, depth)
            for finding in report.findings { say("\(finding)") }
            total.add(report)
            if total.findings.count >= 20 { break }
        }
        say(
            "crash points, seed \(seed): \(total.description), \(String(format: "%.1f", Date().timeIntervalSince(began))) s"
        )
        return total.findings.isEmpty ? 0 : 1
    }
}
