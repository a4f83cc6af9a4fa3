import Daemon
import Formats
import Glibc

/// What came of a drill, for who was there and for who was not.
struct DrillReport {
    let scenario: DrillScenario
    /// Nil: a throw-away one.
    let volume: String?
    private let began = Now.nanoseconds
    private let date = UTC.timestamp(UInt64(max(time(nil), 0)))
    private(set) var steps: [(seconds: Double, what: String)] = []
    private(set) var checks: [(what: String, held: Bool)] = []
    /// The longest that a client waited for an answer, or until the volume was served again; seconds.
    var wait: Double?
    /// Of the drill's own client; nil: it had none.
    var acknowledgedWrites: Int?
    var lostWrites: Int?
    var failure: String?

    init(scenario: DrillScenario, volume: String?) {
        self.scenario = scenario
        self.volume = volume
    }

    var hasBegun: Bool { !steps.isEmpty }
    var isGood: Bool { failure == nil && !checks.isEmpty && checks.allSatisfy(\.held) }

    mutating func note(_ what: String) { steps.append((Double(Now.nanoseconds - began) / 1e9, what)) }

    mutating func check(_ what: String, _ held: Bool) {
        checks.append((what, held))
        note("\(held ? "held" : "NOT SO"): \(what)")
    }

    private static func host() -> String {
        var host = [CChar](repeating: 0, count: 256)
        gethostname(&host, host.count - 1)
        return String(decoding: host.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    var text: String {
        let place = volume.map { "volume \($0), from \(Self.host())" } ?? "a throw-away volume on \(Self.host())"
        let seconds = { (value: Double) in JSONValue.number(value).text }
        let first: [String] = [
            "Failover exercise: \(scenario.rawValue)", "", "date       \(date)", "where      \(place)",
            "software   hablk \(Hablk.release)", "result     \(isGood ? "passed" : "FAILED")",
            "waited     \(wait.map { "\(seconds($0)) s" } ?? "not measured")  (recovery time)",
            lostWrites.map { "lost       \($0) of \(acknowledgedWrites ?? 0) acknowledged writes  (recovery point)" }
                ?? "lost       not measured by writes: see what held  (recovery point)",
            "",
        ]
        let last = steps.map { step in
            let time = seconds((step.seconds * 10).rounded() / 10)
            return String(repeating: " ", count: max(0, 7 - time.count)) + "\(time) s  \(step.what)"
        }
        return (first + last).joined(separator: "\n")
    }

    var json: JSONValue {
        .object([
            .init("version", .integer(1)), .init("result", .string(isGood ? "passed" : "failed")),
            .init("scenario", .string(scenario.rawValue)), .init("date", .string(date)),
            .init("volume", .optional(volume)), .init("node", .string(Self.host())),
            .init("software", .string("hablk \(Hablk.release)")),
            .init("waited-seconds", wait.map { .number($0) } ?? .null),
            .init("acknowledged-writes", acknowledgedWrites.map { .integer(Int64($0)) } ?? .null),
            .init("lost-writes", lostWrites.map { .integer(Int64($0)) } ?? .null),
            .init("message", .optional(failure)),
            .init(
                "steps",
                .array(
                    steps.map { .object([.init("seconds", .number($0.seconds)), .init("what", .string($0.what))]) })),
            .init(
                "checks",
                .array(checks.map { .object([.init("what", .string($0.what)), .init("held", .bool($0.held))]) })),
        ])
    }
}
