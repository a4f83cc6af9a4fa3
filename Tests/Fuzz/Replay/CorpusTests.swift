import Foundation
import FuzzTargets
import Testing

/// Replays what fuzzing found worth keeping, without libFuzzer.
@Suite struct CorpusTests {
    @Test(arguments: FuzzTarget.allCases) func `every kept input keeps every property`(target: FuzzTarget) throws {
        let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appendingPathComponent("Corpus/\(target.rawValue)")
        let files = try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
            .sorted { $0.lastPathComponent < $1.lastPathComponent }
        #expect(files.count >= 10, "the corpus of \(target.rawValue) is gone")
        var bytes = 0
        for file in files {
            let input = try Data(contentsOf: file)
            bytes += input.count
            do {
                try input.withUnsafeBytes { try target.run($0) }
            } catch {
                Issue.record("\(target.rawValue) \(file.lastPathComponent): \(error)")
            }
        }
        #expect(files.count <= 600 && bytes <= 500_000, "\(files.count) inputs of \(bytes) bytes: no longer small")
    }
}
