/// Seeds that failed once. A failing seed stays for ever, with a sentence on what it found.
enum RegressionSeeds {
    struct Seed: Sendable, CustomStringConvertible {
        var seed: UInt64
        var found: String
        var description: String { "\(seed): \(found)" }
    }

    static let all: [Seed] = []
}
