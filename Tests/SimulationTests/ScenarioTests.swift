import Foundation
import ReplicationCore
import Simulation
import Testing

/// The stories of `Tests/Scenarios`: each does today what its text says, and its expectations hold. A text is made anew with
/// `simulate --scenarios --rewrite FILE`; expectations are not.
struct ScenarioTests {
    private static let folder = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: "Scenarios")

    private static let names: [String] = {
        let found = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
        return found.filter { $0.hasSuffix(".txt") }.map { String($0.dropLast(".txt".count)) }.sorted()
    }()

    private static func text(_ name: String) throws -> String {
        try String(contentsOf: folder.appending(path: "\(name).txt"), encoding: .utf8)
    }

    @Test func `there are scenarios`() { #expect(Self.names.count >= 60) }

    @Test(arguments: names) func `a story goes as it is told`(name: String) throws {
        let text = try Self.text(name)
        let result = Scenario(name: name, text: text).run()
        for failure in result.failures { Issue.record("\(failure)") }
        #expect(result.expectations > 0, "a story has a point: say `expect`")
        #expect(
            result.text == text, "review the difference: simulate --scenarios --rewrite Tests/Scenarios/\(name).txt")
    }

    /// Rules that no story can reach; the index says why.
    private static let unreachable: Set<HandshakeRule> = [.crossedLines, .unrelatedLines]

    @Test func `each rule of the verdict has a story`() throws {
        let all = try Self.names.map(Self.text).joined(separator: "\n")
        for rule in HandshakeRule.allCases {
            let isTold = all.contains("because \(Scenario.name(of: rule))\n")
            #expect(isTold != Self.unreachable.contains(rule), "\(rule)")
        }
    }

    @Test func `the index names each story, and only those`() throws {
        let index = try String(contentsOf: Self.folder.appending(path: "README.md"), encoding: .utf8)
        for name in Self.names { #expect(index.contains("`\(name)`"), "\(name) is not in the index") }
        let named = index.split(separator: "`").filter { word in
            ["verdict-", "story-", "nasty-"].contains { word.hasPrefix($0) } && !word.contains(" ")
        }
        for name in named { #expect(Self.names.contains(String(name)), "the index names \(name), which is not there") }
    }

    @Test func `a scenario that expects what is not so fails, whatever its text says`() {
        let result = Scenario(name: "wrong", text: "create\nstart a\nexpect a primary\nexpect read a 5 = 1\nnonsense\n")
            .run()
        #expect(result.failures.count == 3)
    }

    @Test func `a scenario that nobody could read fails, and ends`() {
        let endless = String(repeating: "show\n", count: Scenario.mostLines)
        let result = Scenario(name: "endless", text: "create\nquietly start a b\nexpect a primary\n" + endless).run()
        #expect(result.isTooLong && result.failures.contains { $0.contains("more than") })
        #expect(!Scenario(name: "short", text: "create\nstart a b\n").run().isTooLong)
    }

    @Test func `a scenario fails when the oracle finds a violation`() {
        // Both machines lose power, and the one disk loses what it had flushed.
        let text = """
            create
            start a b
            promote a
            write a 5 = 1
            flush a
            crash a b
            forge a 5
            start a
            promote a --peer-fenced
            """
        let result = Scenario(name: "forged", text: text).run()
        #expect(result.failures.contains { $0.contains("I11") || $0.contains("I2") })
    }
}
