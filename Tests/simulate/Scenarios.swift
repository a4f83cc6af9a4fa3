import ArgumentParser
import Foundation
import Simulation

/// Stories in text files, run and compared with what they say, or written anew.
struct Scenarios: ParsableArguments {
    @Flag(name: .customLong("scenarios"), help: "Run the scenarios of FILES, or all of Tests/Scenarios.")
    var isWanted = false
    @Flag(help: "Write into the files what happens now. Expectations are not changed.") var rewrite = false
    @Argument(help: "Scenarios to run.") var files: [String] = []

    func run() throws {
        var failures = 0
        for path in try paths() {
            let url = URL(filePath: path)
            let text = try String(contentsOf: url, encoding: .utf8)
            let scenario = Scenario(name: url.deletingPathExtension().lastPathComponent, text: text)
            let result = scenario.run()
            failures += result.failures.count
            for failure in result.failures { say(failure) }
            guard result.text != text, !result.isTooLong else { continue }
            if rewrite {
                try result.text.write(to: url, atomically: true, encoding: .utf8)
                say("\(path): rewritten")
            } else {
                failures += 1
                let difference = firstDifference(text, result.text)
                say("\(path):\(difference.line): says `\(difference.old)`, but now: `\(difference.new)`")
            }
        }
        throw ExitCode(failures == 0 ? 0 : 1)
    }

    private func paths() throws -> [String] {
        if !files.isEmpty { return files }
        let folder = "Tests/Scenarios"
        let names = try FileManager.default.contentsOfDirectory(atPath: folder)
        return names.filter { $0.hasSuffix(".txt") }.sorted().map { "\(folder)/\($0)" }
    }

    private func firstDifference(_ old: String, _ new: String) -> (line: Int, old: Substring, new: Substring) {
        let olds = old.split(separator: "\n", omittingEmptySubsequences: false)
        let news = new.split(separator: "\n", omittingEmptySubsequences: false)
        let index = zip(olds, news).enumerated().first { $0.element.0 != $0.element.1 }?.offset
        let line = index ?? min(olds.count, news.count)
        return (line + 1, line < olds.count ? olds[line] : "", line < news.count ? news[line] : "")
    }
}
