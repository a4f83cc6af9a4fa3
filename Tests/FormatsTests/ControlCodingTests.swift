import Formats
import Model
import Testing

private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }
private func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

/// The example of the interface page.
private let example = { () -> VolumeStatus in
    var status = bare
    status.peers[0].mode = .asynchronous
    status.peers[0].compression = .off
    return status
}()

private let bare = VolumeStatus(
    volume: "r0", node: "alpha", role: .primary, disk: .upToDate, size: 10_737_418_240, generation: "3f0c9a0000000001",
    term: 7, inStep: ["alpha", "bravo"], quorum: true, suspended: [], suspect: false, nbd: "/run/hablk/r0.nbd",
    device: "/dev/nbd0", clients: 1, pid: 4711, reason: nil, message: nil,
    peers: [
        .init(
            node: "bravo", id: 1, connection: .connected, role: .secondary, disk: .upToDate, replication: .established,
            outOfSyncBytes: 0, lagBytes: 0, lagSeconds: 0, resync: nil,
            lastResync: .init(bytes: 1_048_576, seconds: 0.4, because: "peer-was-away"), reason: nil, message: nil)
    ])

/// Everything set that the example leaves empty.
private let busy = { () -> VolumeStatus in
    var status = idle
    status.peers[0].verify = .init(
        doneBytes: 4096, totalBytes: 8192, bytesPerSecond: 7, etaSeconds: 1.5, differingBytes: 4096, unreadableBytes: 0)
    var last = VerifyResult(end: .stopped, began: 1, ended: 2)
    last.runs = [BlockRun(first: 3, count: 2)]
    last.differingBytes = 8192
    status.peers[0].lastVerify = last
    status.peers[0].compression = .zstd
    status.peers[0].sentBytes = 1 << 40
    status.peers[0].wireBytes = 12345
    return status
}()

private let idle = VolumeStatus(
    volume: "r0", node: "alpha", role: .secondary, disk: .inconsistent, size: 0, generation: nil, term: 0, inStep: [],
    quorum: nil, suspended: [.noData, .user], suspect: true, nbd: "/tmp/\"quoted\"\n/r0.nbd", device: nil, clients: 0,
    pid: 1, reason: "split-brain", message: "zwei Köpfe",
    peers: [
        .init(
            node: "bravo", id: 7, connection: .connecting, role: .unknown, disk: .outdated, replication: .resyncTarget,
            outOfSyncBytes: 4096, lagBytes: 12, lagSeconds: 1.25,
            resync: .init(doneBytes: 1, totalBytes: 3, bytesPerSecond: 9, etaSeconds: nil, paused: ["bravo"]),
            lastResync: nil, reason: "mismatch", message: "size")
    ])

@Suite struct ControlCodingTests {
    @Test func theStatusHasExactlyTheFieldsOfTheInterfacePageInItsOrder() {
        #expect(
            example.json.text == """
                {"version": 1, "running": true, "volume": "r0", "node": "alpha", "role": "primary", \
                "disk": "up-to-date", "size": 10737418240, "generation": "3f0c9a0000000001", "term": 7, \
                "in-step": ["alpha", "bravo"], "quorum": true, "suspended": [], "suspect": false, \
                "nbd": "/run/hablk/r0.nbd", "device": "/dev/nbd0", "clients": 1, "pid": 4711, "reason": null, \
                "message": null, "peers": [{"node": "bravo", "id": 1, "connection": "connected", \
                "role": "secondary", "disk": "up-to-date", "replication": "established", "out-of-sync-bytes": 0, \
                "lag-bytes": 0, "lag-seconds": 0, "resync": null, "last-resync": {"bytes": 1048576, \
                "seconds": 0.4, "because": "peer-was-away"}, "verify": null, "last-verify": null, "reason": null, \
                "message": null, "mode": "async", "compression": "off", "sent-bytes": 0, "wire-bytes": 0}], \
                "votes": null}
                """)
    }

    @Test func votesAreShownWithAMajorityAndAWitnessHasNoExport() throws {
        var status = example
        status.votes = .init(
            voters: ["alpha", "bravo", "charlie"], present: ["alpha", "charlie"], witnesses: ["charlie"],
            leaseSeconds: 1.5, isDecided: true)
        status.nbd = ""
        let votes = #""votes": {"voters": ["alpha", "bravo", "charlie"], "present": ["alpha", "charlie"], "#
        #expect(
            status.json.text.contains(votes + #""witnesses": ["charlie"], "lease-seconds": 1.5, "decided": true}}"#))
        #expect(status.json.text.contains(#""nbd": null"#))
        var line = ControlCoding.encode(ControlResponse.status(status))
        line.removeLast()
        #expect(try ControlCoding.decodeResponse(line) == .status(status))
    }

    @Test func aComparisonShowsItsProgressAndWhatTheLastOneFound() {
        let verify = #""verify": {"done-bytes": 4096, "total-bytes": 8192, "bytes-per-second": 7, "eta-seconds": 1.5, "#
        #expect(busy.json.text.contains(verify + #""differing-bytes": 4096, "unreadable-bytes": 0}"#))
        let last =
            #""last-verify": {"result": "differs", "end": "stopped", "began": 1, "ended": 2, "reached-bytes": 0, "#
        #expect(busy.json.text.contains(last))
        #expect(busy.json.text.contains(#""differing": [{"offset": 12288, "length": 8192}]}"#))
    }

    @Test func aResyncShowsItsProgressAndWhoPausedIt() {
        let resync = #""resync": {"done-bytes": 1, "total-bytes": 3, "bytes-per-second": 9, "eta-seconds": null, "#
        #expect(busy.json.text.contains(resync + #""paused": ["bravo"]}"#))
        #expect(busy.json.text.contains(#""suspended": ["no-data", "user"]"#))
    }

    @Test func everyRequestComesBackAsItWas() throws {
        let commands: [ControlCommand] = [
            .promote(force: true, peerFenced: "bravo", dryRun: true),
            .promote(force: false, peerFenced: nil, dryRun: false, acceptsLoss: true),
            .demote(force: true), .connect(peer: "b", discardMyData: true, dryRun: true),
            .disconnect(peer: nil, force: true), .attach, .detach(force: true), .outdate(force: false),
            .invalidate(peer: "bravo", force: true), .pauseResync, .resumeResync, .resyncRate(nil),
            .resyncRate(100 << 20), .verify(peer: nil, rate: nil), .verify(peer: "bravo", rate: 1 << 20),
            .stopVerify(peer: nil), .repair(peer: "bravo", from: nil), .repair(peer: nil, from: "alpha"),
            .map(device: "/dev/nbd3", blockSize: 512, ioctl: true),
            .map(device: nil, blockSize: 4096, ioctl: false), .unmap, .stop,
        ]
        var requests: [ControlRequest] = [.status, .events(now: true), .events(now: false)]
        for command in commands {
            for timeout in [nil, 0, 30_000_000_000] as [UInt64?] {
                requests.append(.command(command, timeout: timeout))
            }
        }
        for request in requests {
            let line = ControlCoding.encode(request)
            #expect(line.last == UInt8(ascii: "\n"))
            #expect(try ControlCoding.decodeRequest(line) == request)
        }
    }

    @Test func everyResponseComesBackAsItWas() throws {
        var responses: [ControlResponse] = [.status(example), .status(busy), .outcome(.done("r0 is primary"))]
        for kind in CommandFailure.Kind.allCases {
            responses.append(.outcome(.failed(CommandFailure(kind, "why", "words \u{1}\u{7f} 🧱", remedy: "do"))))
        }
        responses += ControlEvent.between(nil, example, at: 12.5).map { .event($0) }
        responses += ControlEvent.between(example, busy, at: 13).map { .event($0) }
        for response in responses {
            #expect(try ControlCoding.decodeResponse(ControlCoding.encode(response)) == response)
        }
    }

    @Test func aRequestOfANewerCommandIsUnderstoodWithoutItsUnknownFields() throws {
        let line = #"{"later": {"a": [1, 2.5e3, null]}, "request": "demote", "force": true, "color": "red"}"#
        #expect(try ControlCoding.decodeRequest(bytes(line)) == .command(.demote(force: true), timeout: nil))
    }

    @Test(arguments: [
        #"{"request": "frobnicate"}"#, #"{"request": 7}"#, #"{"force": true}"#, "[]", "7", "null", "", "{",
        #"{"request": "demote", "force": "yes"}"#, #"{"request": "demote", "timeout-nanoseconds": -1}"#,
        #"{"request": "demote", "timeout-nanoseconds": 0.5}"#, #"{"request": "connect", "peer": 3}"#,
        #"{"request": "resync-rate", "bytes-per-second": "1M"}"#, #"{"request": "status"} {}"#,
        #"{"request": "sta\ud800tus"}"#, #"{"request": "status", "x": 1e999}"#, #"{"request": "status", "x": 01}"#,
        #"{"request": "status", "x": -}"#, #"{"request": "status", "x": "\q"}"#, #"{"request": "status",}"#,
        #"{"request": "status" "x": 1}"#, "{\"request\": \"sta\ntus\"}", #"{"request": "\u12"}"#,
        #"{"request": "\u+123"}"#, "nul", #"{"request": "status", "x": [1}"#,
    ])
    func aMalformedRequestIsRefused(_ line: String) {
        #expect(throws: MalformedControlLine.self) { try ControlCoding.decodeRequest(bytes(line)) }
    }

    @Test func deepNestingAndInvalidTextAreRefused() {
        #expect(throws: MalformedControlLine.self) {
            try ControlCoding.decodeRequest(Array(repeating: UInt8(ascii: "["), count: 60_000))
        }
        #expect(throws: MalformedControlLine.self) {
            try ControlCoding.decodeRequest(bytes("{\"request\": \"") + [0xff, 0xfe] + bytes("\"}"))
        }
        #expect(throws: MalformedControlLine.self) {
            try ControlCoding.decodeRequest(Array(repeating: UInt8(ascii: " "), count: ControlCoding.maximumLine + 1))
        }
    }

    @Test func noCutOrChangedLineTraps() {
        let line = ControlCoding.encode(ControlResponse.status(busy))
        for length in 0..<line.count - 1 {
            #expect(throws: MalformedControlLine.self) { try ControlCoding.decodeResponse(Array(line[..<length])) }
        }
        for index in line.indices {
            for byte in [0, 0x22, 0x5c, 0x7b, 0x80, 0xff] as [UInt8] {
                var changed = line
                changed[index] = byte
                _ = try? ControlCoding.decodeResponse(changed)
            }
        }
    }

    @Test func anAnswerThatWouldBeTooLongSaysSo() throws {
        var status = busy
        status.message = String(repeating: "x", count: ControlCoding.maximumLine)
        let line = ControlCoding.encode(ControlResponse.status(status))
        #expect(line.count < ControlCoding.maximumLine)
        guard case .outcome(.failed(let failure)) = try ControlCoding.decodeResponse(line) else {
            Issue.record("no failure")
            return
        }
        #expect(failure.refusal.reason == "too-long")
    }

    @Test func linesAreCutHoweverTheyArrive() throws {
        var lines = ControlLines()
        lines.append(bytes("{\"a\""))
        #expect(try lines.next() == nil)
        lines.append(bytes(": 1}\n\nrest"))
        #expect(try lines.next() == bytes("{\"a\": 1}"))
        #expect(try lines.next() == [])
        #expect(try lines.next() == nil)
        lines.append(bytes("\n"))
        #expect(try lines.next() == bytes("rest"))
        lines.append(Array(repeating: UInt8(ascii: "x"), count: ControlCoding.maximumLine))
        #expect(throws: MalformedControlLine.self) { try lines.next() }
    }

    @Test func jsonEscapesAreUnderstood() throws {
        #expect(try JSONParser.parse(bytes(#""\ud83e\uddf1\u00e9\n\/""#)) == .string("🧱é\n/"))
        #expect(
            try JSONParser.parse(bytes(" [1, -2, 3.5, 1e2, 9223372036854775807] ")).text
                == "[1, -2, 3.5, 100, 9223372036854775807]")
        #expect(JSONValue.number(.infinity).text == "null")
        #expect(JSONValue.number(0.1 + 0.2).text == "0.3")
        #expect(JSONValue.unsigned(UInt64.max).text == "9223372036854775807")
    }

    @Test func eventsTellWhatIsAndThenWhatChanges() {
        let first = ControlEvent.between(nil, example, at: 1)
        #expect(first.map(\.kind) == [.exists, .exists])
        #expect(first.map(\.peer) == [nil, "bravo"])
        #expect(ControlEvent.between(example, example, at: 2) == [])

        var later = example
        later.role = .secondary
        later.peers[0].outOfSyncBytes = 4096
        let change = ControlEvent.between(example, later, at: 3)
        #expect(
            change.map(\.changes) == [
                [.init(field: "role", from: "primary", to: "secondary")],
                [.init(field: "out-of-sync", from: "no", to: "yes")],
            ])
        #expect(
            change[0].json.text.hasPrefix(
                #"{"version": 1, "event": "change", "time": 3, "volume": "r0", "node": "alpha", "peer": null, "#
                    + #""changes": [{"field": "role", "from": "primary", "to": "secondary"}], "status": {"version": 1"#)
        )

        var running = later
        running.peers[0].outOfSyncBytes = 8192
        #expect(ControlEvent.between(later, running, at: 4) == [])
    }

    @Test func namesOfNodesAreResolvedOrRefused() throws {
        let nodes = [
            Hello.Node(id: NodeID(0)!, name: "alpha", witness: false),
            Hello.Node(id: NodeID(1)!, name: "bravo", witness: false),
        ]
        let deadline = MonotonicTime(nanoseconds: 5)
        let command = ControlCommand.promote(force: false, peerFenced: "bravo", dryRun: false)
        #expect(
            try command.resolved(among: nodes, deadline: deadline)
                == .promote(force: false, peerFenced: NodeID(1), deadline: deadline, dryRun: false))
        #expect(try ControlCommand.attach.resolved(among: nodes, deadline: deadline) == nil)
        #expect {
            try ControlCommand.disconnect(peer: "carol", force: false).resolved(among: nodes, deadline: deadline)
        } throws: { ($0 as? CommandFailure)?.refusal.reason == "no-such-node" }
    }
}
