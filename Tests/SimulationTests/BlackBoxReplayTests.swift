import Model
import Recording
import ReplicationCore
import Simulation
import Testing

/// Recordings of simulated processes, by the daemon's recorder.
@Suite struct BlackBoxReplayTests {
    private static let layout = RecordingLayout(chunkLength: 64 << 10, beginning: 64, ring: 2)

    private func recordings(_ seed: UInt64) -> [[UInt8]] { recordings(SimulationOptions(seed: seed), Self.layout) }

    private func recordings(_ options: SimulationOptions, _ layout: RecordingLayout) -> [[UInt8]] {
        let cluster = Cluster(options: options)
        cluster.recordingLayout = layout
        #expect(cluster.run() == nil)
        return cluster.recordings.map(\.bytes)
    }

    private func replayed(_ bytes: [UInt8], _ say: @escaping (String) -> Void = { _ in }) throws -> BlackBoxOutcome {
        var replay = BlackBoxReplay(try RecordingReader(bytes), say: say)
        return replay.run()
    }

    @Test(arguments: [3, 14, 159, 2653] as [UInt64])
    func `each process of a seed decides again as it did`(seed: UInt64) throws {
        let all = recordings(seed)
        #expect(all.count >= 2)
        for bytes in all {
            let outcome = try replayed(bytes)
            #expect(outcome.divergence == nil)
            #expect(outcome.transcriptBecause == nil)
            #expect(outcome.replayed == outcome.events)
            #expect(outcome.events > 0)
        }
    }

    @Test func `a recorded run is the run that was not recorded`() {
        let options = SimulationOptions(seed: 42)
        let cluster = Cluster(options: options)
        cluster.recordingLayout = Self.layout
        #expect(cluster.run() == nil)
        #expect(cluster.trace.digest == runSimulation(options).digest)
    }

    @Test func `a longer run is replayed to the end of its beginning and then shown`() throws {
        let small = RecordingLayout(chunkLength: 64 << 10, beginning: 1, ring: 2)
        var options = SimulationOptions(seed: 3)
        options.faults = []
        options.operations = 1500
        let bytes = try #require(recordings(options, small).first)
        var lines: [String] = []
        let outcome = try replayed(bytes) { lines.append($0) }
        #expect(outcome.divergence == nil)
        #expect(outcome.replayed > 0 && outcome.missing > 0)
        #expect(outcome.replayed < outcome.events)
        #expect(lines.contains { $0.contains("  gap") })
    }

    @Test func `one event that was another is noticed at its place`() throws {
        let bytes = try #require(recordings(3).first)
        var reader = try RecordingReader(bytes)
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.layout.length, alignment: 16)
        defer { memory.deallocate() }
        memory.initializeMemory(as: UInt8.self, repeating: 0)
        var recorder = Recorder(reader.head, Self.layout, into: memory)
        var changed: UInt64?
        while let item = reader.next() {
            switch item {
            case .start(let start, _, let decisions):
                recorder.record(start)
                copy(decisions, to: &recorder)
            case .event(let event):
                guard case .event(var what) = event.kind else { continue }
                // A block that the disk wrote in truth.
                if changed == nil, event.number > 20, case .dataDone(let operation, .succeeded) = what {
                    what = .dataDone(operation, .failed)
                    changed = event.number
                }
                recorder.record(what, at: event.time)
                copy(event.decisions, to: &recorder)
            case .missing, .damaged: Issue.record("\(item)")
            }
        }
        let number = try #require(changed)
        var lines: [String] = []
        let outcome = try replayed(Array(memory)) { lines.append($0) }
        #expect(outcome.exitCode == 1)
        #expect(outcome.divergence?.hasPrefix("event \(number): ") == true, "\(outcome.divergence ?? "none")")
        #expect(outcome.replayed == number - 1)
        #expect(lines.contains { $0.contains("  differ") })
        #expect(outcome.events > number, "what comes after is shown")
    }

    private func copy(_ decisions: [RecordedDecision], to recorder: inout Recorder) {
        for decision in decisions { recorder.record(decision.effect) { decision.image } }
    }

    @Test func `only the newest items are shown when asked so`() throws {
        let bytes = try #require(recordings(3).first)
        var lines: [String] = []
        var replay = BlackBoxReplay(try RecordingReader(bytes), last: 5) { lines.append($0) }
        let outcome = replay.run()
        #expect(lines.filter { $0.contains("  event ") }.count == 5)
        #expect(outcome.replayed == outcome.events)
    }
}
