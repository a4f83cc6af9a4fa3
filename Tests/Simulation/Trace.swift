import Model
import ReplicationCore

/// One line for each event and effect, in fixed columns; and always a digest of what happened, so that two runs of a
/// seed can be compared.
package struct Trace {
    package var isOn: Bool
    /// Takes each line at once, so that a trap does not lose the last; nil: the newest `keeps` are kept.
    package var sink: ((String) -> Void)?
    package var keeps: Int
    package private(set) var lines: [String] = []
    package private(set) var digest: UInt64 = 0xCBF2_9CE4_8422_2325

    package init(isOn: Bool = false, keeps: Int = 200, sink: ((String) -> Void)? = nil) {
        self.isOn = isOn
        self.sink = sink
        self.keeps = keeps
    }

    mutating func mix(_ value: UInt64) { digest = (digest ^ value) &* 0x100_0000_01B3 }

    /// What concerns no single node.
    static let world = -1

    /// Nodes have a column each.
    mutating func add(_ now: UInt64, _ node: Int, _ kind: String, _ text: @autoclosure () -> String) {
        guard isOn else { return }
        let place = node == Trace.world ? "world " : String(repeating: " ", count: node * 13) + "node \(node)"
        let line = TraceText.line(now, place, kind, text())
        if let sink { return sink(line) }
        lines.append(line)
        if lines.count > keeps * 2 { lines.removeFirst(lines.count - keeps) }
    }
}

enum TraceText {
    static func padded(_ text: String, _ width: Int) -> String {
        text.count >= width ? text : text + String(repeating: " ", count: width - text.count)
    }

    /// The fixed columns: when, where, what, and then in words.
    static func line(_ now: UInt64, _ place: String, _ kind: String, _ text: String) -> String {
        "\(time(now))  \(place)  \(padded(kind, 7))\(text)"
    }

    /// Seconds with six digits behind the point.
    static func time(_ nanoseconds: UInt64) -> String {
        let whole = "\(nanoseconds / 1_000_000_000)"
        let micro = "\(nanoseconds % 1_000_000_000 / 1000)"
        return String(repeating: " ", count: max(0, 4 - whole.count)) + whole + "."
            + String(repeating: "0", count: 6 - micro.count) + micro
    }

    static func of(_ range: ByteRange) -> String {
        let blocks = range.blocks
        return "\(blocks.lowerBound)..<\(blocks.upperBound)"
            + (range.isBlockAligned ? "" : " (\(range.offset)+\(range.length))")
    }

    static func of(_ event: Event) -> String {
        switch event {
        case .attached(_, let command): "attached command \(command.rawValue)"
        case .clientRequest(let request):
            "client \(request.kind)\(request.forced ? " forced" : "") \(of(request.range)) ticket \(request.ticket)"
        case .digested(let operation, _): "digested \(operation.rawValue)"
        case .dataDone(let operation, let result): "data done \(operation.rawValue) \(result)"
        case .bufferTaken(let operation, let buffer): "buffer \(buffer.index) taken for \(operation.rawValue)"
        case .message(_, let stamp, let message): "from peer \(of(message)) [\(stamp.number) \(short(stamp.session))]"
        case .sessionOpened(_, let session, _, let dialed, let discards):
            "session \(short(session)) opened\(dialed ? ", dialed here" : "")\(discards ? ", peer discards" : "")"
        case .sessionClosed(_, let session, let why): "session \(short(session)) closed: \(why)"
        case .command(let id, let command): "command \(id.rawValue): \(command)"
        default: "\(event)"
        }
    }

    static func of(_ effect: Effect) -> String {
        switch effect {
        case .readData(let operation, let range, let buffer, _):
            "read data \(operation.rawValue) \(of(range)) into buffer \(buffer.index)"
        case .fillEdges(let operation, let exact, let buffer):
            "fill edges \(operation.rawValue) \(of(exact)) in buffer \(buffer.index)"
        case .writeData(let operation, let range, let buffer):
            "write data \(operation.rawValue) \(of(range)) from buffer \(buffer.index)"
        case .zeroData(let operation, let range, let trim):
            "\(trim ? "trim" : "zero") data \(operation.rawValue) \(of(range))"
        case .flushData(let operation): "flush data \(operation.rawValue)"
        case .send(_, let stamp, let message): "to peer \(of(message)) [\(stamp.number) \(short(stamp.session))]"
        case .closeSession(_, let session, let why): "close session \(short(session)): \(why)"
        case .reply(let ticket, let result): "reply \(ticket) \(result)"
        case .releaseBuffer(let buffer): "release buffer \(buffer.index)"
        case .commandDone(let id, let outcome): "command \(id.rawValue) \(outcome)"
        case .note(let note): "note \(note.level) \(note.subject): \(note.text)"
        default: "\(effect)"
        }
    }

    static func of(_ message: PeerMessage) -> String {
        switch message {
        case .write(let sequence, let range, let buffer): "write \(sequence) \(of(range)) buffer \(buffer.index)"
        case .zero(let sequence, let range, let trim): "\(trim ? "trim" : "zero") \(sequence) \(of(range))"
        case .digest(let id, let range): "digest \(id) \(of(range))"
        case .digests(let id, let digests): "digests \(id), \(digests.count) bytes"
        case .pull(let id, let range): "pull \(id) \(of(range))"
        case .pullData(let id, let range, let buffer): "pullData \(id) \(of(range)) buffer \(buffer.index)"
        case .pullZero(let id, let range): "pullZero \(id) \(of(range))"
        case .bitmapRuns(let runs): "bitmapRuns " + runs.map { "\($0.first)+\($0.count)" }.joined(separator: " ")
        case .presence(let presence): "presence \(presence.role.rawValue) \(presence.disk.rawValue)"
        case .state(let state): of(state)
        case .propose(let proposal): "propose \(of(proposal.record))"
        case .resyncBegin(let proposal, let everything): "resyncBegin \(of(proposal.record)) everything \(everything)"
        default: "\(message)"
        }
    }

    static func of(_ state: HandshakeState) -> String {
        "state \(of(state.record)) required \(state.required) current \(short(state.current.id)) history "
            + "\(state.history.map { short($0.id) }) base \(state.base) dirty \(state.dirtyBlocks) unconfirmed "
            + "\(state.unconfirmedBlocks) flags \(state.flags.rawValue) primary \(state.isPrimary) disk \(state.hasDisk)"
    }

    static func of(_ record: Record) -> String {
        "record \(record.number) \(short(record.lineage)) in step \(record.inStep) generation \(short(record.generation))"
            + " primary \(record.primary.map { "\($0.rawValue)" } ?? "none") size \(record.size / Geometry.blockSize)"
    }

    static func short(_ identity: some RandomIdentity) -> String { String(identity.description.prefix(6)) }
}
