import Glibc
import LinuxIO
package import Model
package import ReplicationCore

/// The daemon's log: one line for each state that changed, on standard error.
///
/// It never blocks: a reader that does not read costs lines, which are counted and told once it reads again. Control
/// plane only: nothing on the data path writes here.
package final class DaemonLog {
    /// Lines are cut to this, because a pipe that polls writable takes so many bytes without blocking.
    static let longestLine = 4096
    static let longestBacklog = 64 << 10

    private let descriptor: Int32
    private let prefix: String
    /// As the configuration says it.
    var nameOfNode: (NodeID) -> String
    private var backlog: [UInt8] = []
    private var lost = 0

    /// - Parameters:
    ///   - descriptor: standard error, but for tests.
    ///   - volume: and `node` begin each line's text.
    ///   - nameOfNode: as the configuration says it.
    package init(
        descriptor: Int32 = 2, volume: String, node: String, nameOfNode: @escaping (NodeID) -> String = \.description
    ) {
        self.descriptor = descriptor
        prefix = "\(volume) \(node): "
        self.nameOfNode = nameOfNode
    }

    package func info(_ text: String) { line("info", text) }
    package func warning(_ text: String) { line("warning", text) }
    package func error(_ text: String) { line("error", text) }

    /// A decision of the core.
    package func note(_ note: Note) {
        let peer = note.peer.map { "peer \(nameOfNode($0)): " } ?? ""
        line(Self.word(note.level), "\(peer)\(note.subject): \(note.text)")
    }

    private static func word(_ level: Note.Level) -> String {
        switch level {
        case .info: "info"
        case .warning: "warning"
        case .error: "error"
        }
    }

    private func line(_ level: String, _ text: String) {
        // What a peer said may be quoted here: no line of its making.
        let clean = text.contains { $0.isNewline } ? String(text.map { $0.isNewline ? " " : $0 }) : text
        var bytes = Array("\(Self.time()) \(level) \(prefix)\(clean)".utf8.prefix(Self.longestLine - 1))
        bytes.append(UInt8(ascii: "\n"))
        guard backlog.count + bytes.count <= Self.longestBacklog else {
            lost += 1
            return
        }
        backlog.append(contentsOf: bytes)
        flush()
    }

    /// Writes what the reader takes now; called once in a while, since it may not have taken all.
    package func flush() {
        while !backlog.isEmpty {
            var waiting = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
            guard poll(&waiting, 1, 0) == 1, waiting.revents & Int16(POLLOUT) != 0 else { return }
            let count = write(descriptor, backlog, min(backlog.count, Self.longestLine))
            guard count > 0 else {
                if errno == EINTR { continue }
                if errno == EAGAIN { return }
                // Nobody will ever read: a closed pipe, a full disk.
                backlog.removeAll(keepingCapacity: true)
                return
            }
            backlog.removeFirst(count)
            if backlog.isEmpty, lost > 0 {
                let count = lost
                lost = 0
                warning("log: \(count) lines were lost, because nobody read them")
            }
        }
    }

    /// UTC, as in 2026-01-31T12:34:56.789Z.
    private static func time() -> String {
        let now = wallClockNow()
        return UTC.timestamp(now / 1_000_000_000, milliseconds: now / 1_000_000)
    }
}
