package import Model

/// A line of the control protocol that says nothing we understand.
package struct MalformedControlLine: Error, Equatable {
    package var problem: String
}

/// Lines of `V.control`: newline-delimited JSON, one request and then its answers. Unknown fields are ignored, so that
/// a newer command can ask an older daemon; a field of the wrong type is refused.
package enum ControlCoding {
    /// The longest line, newline included.
    package static let maximumLine = 64 << 10

    package static func encode(_ request: ControlRequest) -> [UInt8] { line(request.json) }

    /// Never longer than `maximumLine`: words of a peer or an error are the only unbounded part, and are cut.
    package static func encode(_ response: ControlResponse) -> [UInt8] {
        let bytes = line(response.json)
        guard bytes.count > maximumLine else { return bytes }
        return line(
            ControlResponse.outcome(
                .failed(
                    .failed(
                        "too-long", "the answer is longer than \(maximumLine) bytes",
                        remedy: "look into the daemon's log"))
            ).json)
    }

    package static func decodeRequest(_ line: [UInt8]) throws(MalformedControlLine) -> ControlRequest {
        try ControlRequest(json: try parse(line))
    }

    package static func decodeResponse(_ line: [UInt8]) throws(MalformedControlLine) -> ControlResponse {
        try ControlResponse(json: try parse(line))
    }

    private static func line(_ json: JSONValue) -> [UInt8] {
        var bytes = Array(json.text.utf8)
        bytes.append(UInt8(ascii: "\n"))
        return bytes
    }

    private static func parse(_ line: [UInt8]) throws(MalformedControlLine) -> JSONValue {
        guard line.count <= maximumLine else {
            throw MalformedControlLine(problem: "a line of more than \(maximumLine) bytes")
        }
        do {
            return try JSONParser.parse(line)
        } catch {
            throw MalformedControlLine(problem: "no JSON: \(error.problem) at byte \(error.offset)")
        }
    }
}

/// Cuts arriving bytes into lines, and refuses one that does not end in time.
package struct ControlLines: Sendable {
    private var pending: [UInt8] = []
    /// Of `pending`, searched without finding a newline.
    private var searched = 0

    package init() {}

    package mutating func append(_ bytes: some Sequence<UInt8>) { pending.append(contentsOf: bytes) }

    /// The next whole line without its newline; nil: more bytes are needed.
    package mutating func next() throws(MalformedControlLine) -> [UInt8]? {
        guard let end = pending[searched...].firstIndex(of: UInt8(ascii: "\n")) else {
            searched = pending.count
            guard pending.count < ControlCoding.maximumLine else {
                throw MalformedControlLine(problem: "a line of more than \(ControlCoding.maximumLine) bytes")
            }
            return nil
        }
        let line = Array(pending[..<end])
        pending.removeSubrange(...end)
        searched = 0
        guard line.count < ControlCoding.maximumLine else {
            throw MalformedControlLine(problem: "a line of more than \(ControlCoding.maximumLine) bytes")
        }
        return line
    }
}

extension ControlRequest {
    fileprivate var json: JSONValue {
        switch self {
        case .status: .object([.init("request", .string("status"))])
        case .events(let now): .object([.init("request", .string("events")), .init("now", .bool(now))])
        case .command(let command, let timeout):
            .object(
                [.init("request", .string(command.word))] + command.options
                    + [.init("timeout-nanoseconds", timeout.map { .unsigned($0) } ?? .null)])
        }
    }

    fileprivate init(json: JSONValue) throws(MalformedControlLine) {
        let word = try json.string("request")
        switch word {
        case "status": self = .status
        case "events": self = .events(now: try json.flag("now"))
        default:
            self = .command(
                try ControlCommand(word, json), timeout: try json.optionalUnsigned("timeout-nanoseconds"))
        }
    }
}

extension ControlCommand {
    fileprivate var word: String {
        switch self {
        case .promote: "promote"
        case .demote: "demote"
        case .connect: "connect"
        case .disconnect: "disconnect"
        case .attach: "attach"
        case .detach: "detach"
        case .outdate: "outdate"
        case .invalidate: "invalidate"
        case .pauseResync: "resync-pause"
        case .resumeResync: "resync-resume"
        case .resyncRate: "resync-rate"
        case .verify: "verify"
        case .stopVerify: "verify-stop"
        case .repair: "verify-repair"
        case .map: "map"
        case .unmap: "unmap"
        case .adjust: "adjust"
        case .resize: "resize"
        case .stop: "stop"
        }
    }

    fileprivate var options: [JSONValue.Member] {
        switch self {
        case .promote(let force, let fenced, let dryRun, let acceptsLoss):
            [
                .init("force", .bool(force)), .init("peer-fenced", .optional(fenced)),
                .init("dry-run", .bool(dryRun)), .init("accept-data-loss", .bool(acceptsLoss)),
            ]
        case .demote(let force), .detach(let force), .outdate(let force): [.init("force", .bool(force))]
        case .connect(let peer, let discard, let dryRun):
            [
                .init("peer", .optional(peer)), .init("discard-my-data", .bool(discard)),
                .init("dry-run", .bool(dryRun)),
            ]
        case .disconnect(let peer, let force), .invalidate(let peer, let force):
            [.init("peer", .optional(peer)), .init("force", .bool(force))]
        case .resyncRate(let rate): [.init("bytes-per-second", rate.map { .unsigned($0) } ?? .null)]
        case .verify(let peer, let rate):
            [.init("peer", .optional(peer)), .init("bytes-per-second", rate.map { .unsigned($0) } ?? .null)]
        case .stopVerify(let peer): [.init("peer", .optional(peer))]
        case .repair(let peer, let source): [.init("peer", .optional(peer)), .init("from", .optional(source))]
        case .map(let device, let blockSize, let ioctl):
            [
                .init("device", .optional(device)), .init("block-size", .unsigned(blockSize)),
                .init("ioctl", .bool(ioctl)),
            ]
        case .adjust(let dryRun): [.init("dry-run", .bool(dryRun))]
        case .resize(let size, let dryRun):
            [.init("size", size.map { .unsigned($0) } ?? .null), .init("dry-run", .bool(dryRun))]
        case .attach, .pauseResync, .resumeResync, .unmap, .stop: []
        }
    }

    fileprivate init(_ word: String, _ json: JSONValue) throws(MalformedControlLine) {
        switch word {
        case "promote":
            self = .promote(
                force: try json.flag("force"), peerFenced: try json.optionalString("peer-fenced"),
                dryRun: try json.flag("dry-run"),
                // Not in the words of an earlier release's command line.
                acceptsLoss: try json.optionalFlag("accept-data-loss") ?? false)
        case "demote": self = .demote(force: try json.flag("force"))
        case "connect":
            self = .connect(
                peer: try json.optionalString("peer"), discardMyData: try json.flag("discard-my-data"),
                dryRun: try json.flag("dry-run"))
        case "disconnect":
            self = .disconnect(peer: try json.optionalString("peer"), force: try json.flag("force"))
        case "attach": self = .attach
        case "detach": self = .detach(force: try json.flag("force"))
        case "outdate": self = .outdate(force: try json.flag("force"))
        case "invalidate":
            self = .invalidate(peer: try json.optionalString("peer"), force: try json.flag("force"))
        case "resync-pause": self = .pauseResync
        case "resync-resume": self = .resumeResync
        case "resync-rate": self = .resyncRate(try json.optionalUnsigned("bytes-per-second"))
        case "verify":
            self = .verify(
                peer: try json.optionalString("peer"), rate: try json.optionalUnsigned("bytes-per-second"))
        case "verify-repair":
            self = .repair(peer: try json.optionalString("peer"), from: try json.optionalString("from"))
        case "verify-stop": self = .stopVerify(peer: try json.optionalString("peer"))
        case "map":
            self = .map(
                device: try json.optionalString("device"), blockSize: try json.unsigned("block-size"),
                ioctl: try json.flag("ioctl"))
        case "unmap": self = .unmap
        case "adjust": self = .adjust(dryRun: try json.flag("dry-run"))
        case "resize":
            self = .resize(size: try json.optionalUnsigned("size"), dryRun: try json.flag("dry-run"))
        case "stop": self = .stop
        default: throw MalformedControlLine(problem: "an unknown request")
        }
    }
}

extension ControlResponse {
    fileprivate var json: JSONValue {
        switch self {
        case .status(let status):
            .object([.init("response", .string("status")), .init("status", status.json)])
        case .event(let event):
            .object([.init("response", .string("event")), .init("event", event.json)])
        case .outcome(.done(let line)):
            .object([
                .init("response", .string("outcome")), .init("outcome", .string("done")),
                .init("message", .string(line)),
            ])
        case .outcome(.failed(let failure)):
            .object([
                .init("response", .string("outcome")), .init("outcome", .string(failure.kind.rawValue)),
                .init("exit-code", .integer(Int64(failure.exitCode))),
                .init("reason", .string(failure.refusal.reason)), .init("message", .string(failure.refusal.message)),
                .init("remedy", .string(failure.refusal.remedy)),
            ])
        }
    }

    fileprivate init(json: JSONValue) throws(MalformedControlLine) {
        switch try json.string("response") {
        case "status": self = .status(try VolumeStatus(json: try json.field("status")))
        case "event": self = .event(try ControlEvent(json: try json.field("event")))
        case "outcome":
            let outcome = try json.string("outcome")
            let message = try json.string("message")
            if outcome == "done" {
                self = .outcome(.done(message))
            } else if let kind = CommandFailure.Kind(rawValue: outcome) {
                self = .outcome(
                    .failed(
                        CommandFailure(
                            kind, try json.string("reason"), message, remedy: try json.string("remedy"))))
            } else {
                throw MalformedControlLine(problem: "an unknown outcome")
            }
        default: throw MalformedControlLine(problem: "an unknown response")
        }
    }
}

/// Typed access to the fields of an object.
extension JSONValue {
    func field(_ name: String) throws(MalformedControlLine) -> JSONValue {
        guard case .object = self else { throw MalformedControlLine(problem: "not an object") }
        guard let value = self[name] else { throw MalformedControlLine(problem: "`\(name)` is missing") }
        return value
    }

    /// Absent and null are one.
    func present(_ name: String) throws(MalformedControlLine) -> JSONValue? {
        guard case .object = self else { throw MalformedControlLine(problem: "not an object") }
        guard let value = self[name], value != .null else { return nil }
        return value
    }

    private func wrong(_ name: String, _ expected: String) -> MalformedControlLine {
        MalformedControlLine(problem: "`\(name)` is not \(expected)")
    }

    func string(_ name: String) throws(MalformedControlLine) -> String {
        guard case .string(let text) = try field(name) else { throw wrong(name, "a string") }
        return text
    }

    func optionalString(_ name: String) throws(MalformedControlLine) -> String? {
        try present(name) == nil ? nil : try string(name)
    }

    /// Absent is false.
    func flag(_ name: String) throws(MalformedControlLine) -> Bool {
        guard let value = try present(name) else { return false }
        guard case .bool(let flag) = value else { throw wrong(name, "true or false") }
        return flag
    }

    func optionalFlag(_ name: String) throws(MalformedControlLine) -> Bool? {
        try present(name) == nil ? nil : try flag(name)
    }

    func unsigned<Number: UnsignedInteger & FixedWidthInteger>(
        _ name: String, as type: Number.Type = Number.self
    ) throws(MalformedControlLine) -> Number {
        guard case .integer(let integer) = try field(name), let number = Number(exactly: integer) else {
            throw wrong(name, "a whole number from 0 to \(Number.max)")
        }
        return number
    }

    func optionalUnsigned(_ name: String) throws(MalformedControlLine) -> UInt64? {
        try present(name) == nil ? nil : try unsigned(name)
    }

    func number(_ name: String) throws(MalformedControlLine) -> Double {
        switch try field(name) {
        case .integer(let integer): return Double(integer)
        case .number(let number): return number
        default: throw wrong(name, "a number")
        }
    }

    func optionalNumber(_ name: String) throws(MalformedControlLine) -> Double? {
        try present(name) == nil ? nil : try number(name)
    }

    func elements(_ name: String) throws(MalformedControlLine) -> [JSONValue] {
        guard case .array(let elements) = try field(name) else { throw wrong(name, "a list") }
        return elements
    }

    func strings(_ name: String) throws(MalformedControlLine) -> [String] {
        var texts: [String] = []
        for element in try elements(name) {
            guard case .string(let text) = element else { throw wrong(name, "a list of strings") }
            texts.append(text)
        }
        return texts
    }

    /// One of the words that are the raw values of `Word`.
    func word<Word: RawRepresentable<String>>(
        _ name: String, as type: Word.Type = Word.self
    ) throws(MalformedControlLine) -> Word {
        guard let word = Word(rawValue: try string(name)) else { throw wrong(name, "a word known here") }
        return word
    }
}
