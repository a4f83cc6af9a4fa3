import Glibc
package import LinuxIO
package import Model
package import Recording
package import ReplicationCore

/// `V.blackbox`: all that happened to the replica of this run and what it decided, for `simulate --replay`.
///
/// It is a mapped file, so that it costs no system call and is whole after `kill -9` and after a trap: the kernel keeps
/// what was stored. It lies in the runtime folder, which is memory (tmpfs on /run): stores never wait there for pages
/// being written back, as they may in a file on a disk, and the volume's own disk must not be in the way of its witness.
/// The price is that a power loss takes it. Its space is taken and its pages are mapped before the start, so that a full
/// file system means no black box, and not a signal in the middle of a write.
package final class BlackBox {
    /// Of the run before, when it did not end in order; one is kept.
    package static let formerSuffix = ".old"

    package let path: String
    /// The run before this one left a recording without its end: it is kept beside this one's.
    package private(set) var hasKeptFormer = false
    private let memory: UnsafeMutableRawBufferPointer
    private var recorder: Recorder

    /// - Parameter layout: nil: as much as is fitting of what its file system has free.
    /// - Throws: when there is no room; a daemon runs without one.
    package init(_ path: String, _ head: RecordingHead, _ layout: RecordingLayout? = nil) throws(SystemError) {
        self.path = path
        let keeps = Self.endedInOrder(path) == false
        if keeps {
            guard rename(path, path + Self.formerSuffix) == 0 else { throw .last("keep the former \(path)") }
        } else if unlink(path) != 0, errno != ENOENT {
            throw .last("replace \(path)")
        }
        let file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard file >= 0 else { throw .last("create \(path)") }
        defer { close(file) }
        guard let layout = layout ?? .fitting(Self.room(file)) else {
            unlink(path)
            throw SystemError("find room for \(path)", code: ENOSPC)
        }
        guard fallocate(file, 0, 0, layout.length) == 0 else {
            let error = SystemError.last("take \(layout.length) bytes for \(path)")
            unlink(path)
            throw error
        }
        guard let base = mmap(nil, layout.length, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0), base != MAP_FAILED
        else {
            let error = SystemError.last("map \(path)")
            unlink(path)
            throw error
        }
        memory = UnsafeMutableRawBufferPointer(start: base, count: layout.length)
        // Each page is had now, not by a request's event. (MAP_POPULATE does nothing for memory locked when touched.)
        for page in stride(from: 0, to: memory.count, by: 4096) {
            memory.storeBytes(of: 0, toByteOffset: page, as: UInt8.self)
        }
        recorder = Recorder(head, layout, into: memory)
        hasKeptFormer = keeps
    }

    deinit { munmap(memory.baseAddress, memory.count) }

    package func record(_ start: RecordedStart) { recorder.record(start) }

    package func record(_ event: Event, at now: MonotonicTime) { recorder.record(event, at: now) }

    /// - Parameter image: as `Recorder` says it.
    package func record(_ effect: Effect, image: () -> UInt32) { recorder.record(effect, image: image) }

    /// The daemon stops because it was asked to, or says why it did not start: the next one need not keep this.
    package func end() { recorder.end() }

    /// Bytes that its file system has free; the most when that is not known, or without a limit.
    private static func room(_ file: Int32) -> UInt64 {
        var facts = statvfs()
        guard fstatvfs(file, &facts) == 0, facts.f_blocks > 0 else { return .max }
        let (bytes, isTooMany) = UInt64(facts.f_bavail).multipliedReportingOverflow(by: UInt64(facts.f_frsize))
        return isTooMany ? .max : bytes
    }

    /// Nil when there is nothing of ours.
    private static func endedInOrder(_ path: String) -> Bool? {
        let file = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        guard file >= 0 else { return nil }
        defer { close(file) }
        return withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 16) { bytes in
            guard read(file, bytes.baseAddress, bytes.count) == bytes.count else { return nil }
            return RecordingHead.endedInOrder(UnsafeRawBufferPointer(bytes))
        }
    }
}
