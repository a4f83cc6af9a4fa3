import Model
package import Recording
import ReplicationCore

/// The black box of one simulated process, as its daemon would have left it.
package final class NodeRecording {
    private let memory: UnsafeMutableRawBufferPointer
    package var recorder: Recorder

    init(_ head: RecordingHead, _ layout: RecordingLayout) {
        memory = .allocate(byteCount: layout.length, alignment: 16)
        memory.initializeMemory(as: UInt8.self, repeating: 0)
        recorder = Recorder(head, layout, into: memory)
    }

    deinit { memory.deallocate() }

    package var bytes: [UInt8] { Array(memory) }
}

extension Cluster {
    /// A replica's beginning.
    func record(_ start: RecordedStart, in layout: RecordingLayout, _ node: SimulatedNode) {
        let head = RecordingHead(
            volume: start.configuration.volume, nodeName: start.configuration.name(of: node.id), node: node.id,
            processID: UInt32(node.incarnation), startedAt: start.wallClock * 1_000_000_000,
            startedAtMonotonic: start.time)
        let recording = NodeRecording(head, layout)
        recording.recorder.record(start)
        recordings.append(recording)
        node.recording = recording
    }
}
