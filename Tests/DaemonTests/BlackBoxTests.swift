import Daemon
import Foundation
import LinuxIO
import Model
import Recording
import ReplicationCore
import Testing

/// The file: what of a run survives it, and which runs' recordings are kept.
@Suite struct BlackBoxTests {
    private static let layout = RecordingLayout(chunkLength: 64 << 10, beginning: 1, ring: 2)

    private func head(_ process: UInt32) -> RecordingHead {
        RecordingHead(
            volume: "r0", nodeName: "alpha", node: NodeID(unchecked: 0), processID: process, startedAt: 1,
            startedAtMonotonic: MonotonicTime(nanoseconds: 2))
    }

    private func begin(_ path: String, _ process: UInt32) throws -> BlackBox {
        try BlackBox(path, head(process), Self.layout)
    }

    private func process(_ path: String) throws -> UInt32 {
        try RecordingReader(Array(try #require(FileManager.default.contents(atPath: path)))).head.processID
    }

    @Test func `what was recorded is in the file at once, without an end`() throws {
        let folder = try CopyFolder()
        let path = folder.path + "/r0.blackbox"
        let blackBox = try begin(path, 1)
        blackBox.record(.tick, at: MonotonicTime(nanoseconds: 3))
        var reader = try RecordingReader(Array(try #require(FileManager.default.contents(atPath: path))))
        guard case .event(let event) = reader.next() else {
            Issue.record("the event is not in the file")
            return
        }
        #expect(event.time.nanoseconds == 3)
        #expect(reader.next() == nil)
        #expect(!reader.endedInOrder)
    }

    @Test func `two hundred volumes, and what their former runs left, do not fill a small runtime folder`() {
        var (free, recordings) = (UInt64(1) << 30, 0)
        while let layout = RecordingLayout.fitting(free) {
            #expect(layout.length <= RecordingLayout.standard.length)
            free -= UInt64(layout.length)
            recordings += 1
        }
        #expect(recordings >= 400)
        #expect(free > 15 << 20)
        #expect(RecordingLayout.fitting(64 << 30) == .standard)
        #expect(RecordingLayout.fitting(.max) == .standard)
    }

    @Test func `the recording of a run that did not end in order outlives runs that did`() throws {
        let folder = try CopyFolder()
        let path = folder.path + "/r0.blackbox"
        let former = path + BlackBox.formerSuffix
        let first = try begin(path, 1)
        #expect(!first.hasKeptFormer)
        // It was killed.
        let second = try begin(path, 2)
        #expect(second.hasKeptFormer)
        #expect(try process(former) == 1)
        second.end()
        let third = try begin(path, 3)
        #expect(!third.hasKeptFormer)
        #expect(try process(former) == 1 && process(path) == 3)
        // Killed too: the newest of those is the one to ask.
        _ = try begin(path, 4)
        #expect(try process(former) == 3 && process(path) == 4)
    }

    @Test func `what is no recording is replaced, and what cannot be made is an error`() throws {
        let folder = try CopyFolder()
        let path = folder.path + "/r0.blackbox"
        try "something else".write(toFile: path, atomically: true, encoding: .utf8)
        #expect(try begin(path, 1).hasKeptFormer == false)
        #expect(try process(path) == 1)
        #expect(throws: SystemError.self) { _ = try begin(folder.path + "/absent/r0.blackbox", 1) }
    }
}
