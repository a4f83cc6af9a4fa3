import Foundation
import Simulation
import Synchronization

/// Many seeds in several processes, each a range at a time: a process that traps names its seed by its last line, and
/// the rest of its range goes on in a new one.
final class Sweep: Sendable {
    private struct State {
        var next: UInt64
        var finished: UInt64 = 0
        var events = 0
        var failed: [(seed: UInt64, code: Int32)] = []
        var lastProgress = Date()
    }

    private static let piece: UInt64 = 200
    private let end: UInt64
    private let jobs: Int
    private let count: UInt64
    private let mostFailures: Int
    private let passedOn: [String]
    private let state: Mutex<State>
    private let began = Date()

    init(from: UInt64, count: UInt64, jobs: Int, mostFailures: Int, passedOn: [String]) {
        end = from + count
        self.count = count
        self.jobs = jobs
        self.mostFailures = mostFailures
        self.passedOn = passedOn
        state = Mutex(State(next: from))
    }

    /// The first failing seed that can be run again in a reasonable time.
    var firstToShrink: UInt64? { state.withLock { $0.failed.first { $0.code != ExitCodes.hang }?.seed } }

    /// - Returns: 0, or the worst exit code of a seed.
    func run() -> Int32 {
        let group = DispatchGroup()
        for _ in 0..<jobs {
            DispatchQueue.global().async(group: group) { self.takePieces() }
        }
        group.wait()
        return state.withLock { state in
            let seconds = Date().timeIntervalSince(began)
            let rate = Double(state.finished) / max(seconds, 0.001)
            say(
                "\(state.finished) seeds, \(state.events) events, \(state.failed.count) failed, "
                    + String(format: "%.1f s, %.0f seeds a second", seconds, rate))
            if !state.failed.isEmpty {
                say("failing seeds: " + state.failed.map { "\($0.seed)" }.joined(separator: " "))
            }
            return ExitCodes.worst(state.failed.map(\.code))
        }
    }

    private func takePieces() {
        while let piece = nextPiece() {
            var first = piece.lowerBound
            while first < piece.upperBound, !isOver { first = runWorker(first..<piece.upperBound) }
        }
    }

    private var isOver: Bool { state.withLock { $0.failed.count >= mostFailures } }

    private func nextPiece() -> Range<UInt64>? {
        state.withLock { state in
            guard state.next < end, state.failed.count < mostFailures else { return nil }
            let first = state.next
            state.next = min(end, first + Self.piece)
            return first..<state.next
        }
    }

    /// - Returns: the seed to go on with.
    private func runWorker(_ range: Range<UInt64>) -> UInt64 {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        process.arguments =
            ["--worker", "--seeds", "\(range.count)", "--from", "\(range.lowerBound)"] + passedOn
        process.environment = ProcessInfo.processInfo.environment.merging(["SWIFT_BACKTRACE": "enable=no"]) { $1 }
        let output = Pipe()
        process.standardOutput = output
        process.standardError = FileHandle.nullDevice
        do {
            try process.run()
        } catch {
            FileHandle.standardError.write(Data("a worker could not be started: \(error)\n".utf8))
            return range.upperBound
        }
        var reader = LineReader(output.fileHandleForReading)
        var current = range.lowerBound
        var hasEnded = false
        var isHung = false
        while let line = reader.next() {
            let words = line.split(separator: " ", maxSplits: 3, omittingEmptySubsequences: true)
            switch words.first {
            case "begin":
                if let seed = UInt64(words[1]) {
                    if seed > range.lowerBound { finish(1) }
                    current = seed
                }
            case "failed":
                let code = Int32(words[2]) ?? ExitCodes.safety
                isHung = code == ExitCodes.hang
                fail(current, code, String(words[3]))
            case "end":
                hasEnded = true
                finish(1, events: Int(words[1]) ?? 0)
            default: break
            }
            if isOver, !hasEnded {
                process.terminate()
                break
            }
        }
        process.waitUntilExit()
        guard !hasEnded, !isOver else { return range.upperBound }
        finish(1)
        if !isHung { fail(current, ExitCodes.trap, "the core trapped (signal \(process.terminationStatus))") }
        return current + 1
    }

    private func finish(_ seeds: UInt64, events: Int = 0) {
        state.withLock { state in
            state.finished += seeds
            state.events += events
            let now = Date()
            guard now.timeIntervalSince(state.lastProgress) > 5 else { return }
            state.lastProgress = now
            let rate = Double(state.finished) / now.timeIntervalSince(began)
            let progress = String(
                format: "%llu of %llu seeds, %.0f a second, %d failed\n", state.finished, count, rate,
                state.failed.count)
            FileHandle.standardError.write(Data(progress.utf8))
        }
    }

    private func description(of seed: UInt64) -> String {
        if passedOn.contains("--mixed") { return SimulationOptions(mixed: seed).description }
        if passedOn.contains("--quorum") { return SimulationOptions(quorum: seed).description }
        if passedOn.contains("--fencing") { return SimulationOptions(fencing: seed).description }
        if passedOn.contains("--growth") { return SimulationOptions(growing: seed).description }
        if passedOn.contains("--modes") { return SimulationOptions(modes: seed).description }
        if passedOn.contains("--split-brain") { return SimulationOptions(splitBrain: seed).description }
        return SimulationOptions(seed: seed).description
    }

    private func fail(_ seed: UInt64, _ code: Int32, _ text: String) {
        state.withLock { state in
            state.failed.append((seed, code))
            say("seed \(seed) FAILED: \(text)")
            say("  " + description(of: seed).split(separator: "\n").joined(separator: "\n  "))
            say("  replay: swift run -c release simulate --seed \(seed) --trace " + passedOn.joined(separator: " "))
        }
    }
}

/// Lines of a pipe, as they come.
struct LineReader {
    private let handle: FileHandle
    private var rest = Data()
    private var isAtEnd = false

    init(_ handle: FileHandle) { self.handle = handle }

    mutating func next() -> String? {
        while true {
            if let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
                let line = String(decoding: rest[rest.startIndex..<end], as: UTF8.self)
                rest = Data(rest[(end + 1)...])
                return line
            }
            if isAtEnd { return nil }
            let more = handle.availableData
            if more.isEmpty { isAtEnd = true } else { rest.append(more) }
        }
    }
}
