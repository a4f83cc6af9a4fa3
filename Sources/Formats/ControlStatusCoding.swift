package import Model

extension VolumeStatus {
    /// The object of `hablk status V --json`: every field, in the order of the interface page.
    package var json: JSONValue {
        .object([
            .init("version", .integer(1)), .init("running", .bool(true)), .init("volume", .string(volume)),
            .init("node", .string(node)), .init("role", .string(role.rawValue)),
            .init("disk", .string(disk.rawValue)), .init("size", .unsigned(size)),
            .init("generation", .optional(generation)), .init("term", .unsigned(term)),
            .init("in-step", .strings(inStep)), .init("quorum", .optional(quorum)),
            .init("suspended", .strings(suspended.map(\.rawValue))), .init("suspect", .bool(suspect)),
            .init("nbd", .optional(nbd.isEmpty ? nil : nbd)), .init("device", .optional(device)),
            .init("clients", .unsigned(clients)),
            .init("pid", .integer(Int64(pid))), .init("reason", .optional(reason)),
            .init("message", .optional(message)), .init("peers", .array(peers.map(\.json))),
            // Not on the interface page: who votes.
            .init("votes", votes?.json ?? .null),
        ])
    }

    init(json: JSONValue) throws(MalformedControlLine) {
        var suspended: [SuspendReason] = []
        for word in try json.strings("suspended") {
            guard let reason = SuspendReason(rawValue: word) else {
                throw MalformedControlLine(problem: "`suspended` is not a word known here")
            }
            suspended.append(reason)
        }
        var peers: [Peer] = []
        for element in try json.elements("peers") { peers.append(try Peer(json: element)) }
        let pid = try json.unsigned("pid", as: UInt32.self)
        self.init(
            volume: try json.string("volume"), node: try json.string("node"), role: try json.word("role"),
            disk: try json.word("disk"), size: try json.unsigned("size"),
            generation: try json.optionalString("generation"), term: try json.unsigned("term"),
            inStep: try json.strings("in-step"), quorum: try json.optionalFlag("quorum"), suspended: suspended,
            suspect: try json.flag("suspect"), nbd: try json.optionalString("nbd") ?? "",
            device: try json.optionalString("device"), clients: try json.unsigned("clients"),
            pid: Int32(clamping: pid), reason: try json.optionalString("reason"),
            message: try json.optionalString("message"), peers: peers)
        if let value = try json.present("votes") { votes = try Votes(json: value) }
    }
}

extension VolumeStatus.Votes {
    fileprivate var json: JSONValue {
        .object([
            .init("voters", .strings(voters)), .init("present", .strings(present)),
            .init("witnesses", .strings(witnesses)),
            .init("lease-seconds", leaseSeconds.map { .number($0) } ?? .null),
            .init("decided", isDecided.map { .bool($0) } ?? .null),
        ])
    }

    fileprivate init(json: JSONValue) throws(MalformedControlLine) {
        self.init(
            voters: try json.strings("voters"), present: try json.strings("present"),
            witnesses: try json.strings("witnesses"),
            leaseSeconds: try json.present("lease-seconds") == nil ? nil : try json.number("lease-seconds"),
            isDecided: try json.optionalFlag("decided"))
    }
}

extension VolumeStatus.Peer {
    fileprivate var json: JSONValue {
        .object([
            .init("node", .string(node)), .init("id", .unsigned(id)),
            .init("connection", .string(connection.rawValue)), .init("role", .string(role.rawValue)),
            .init("disk", .string(disk.rawValue)), .init("replication", .optional(replication?.rawValue)),
            .init("out-of-sync-bytes", .unsigned(outOfSyncBytes)), .init("lag-bytes", .unsigned(lagBytes)),
            .init("lag-seconds", .number(lagSeconds)), .init("resync", resync?.json ?? .null),
            .init("last-resync", lastResync?.json ?? .null), .init("verify", verify?.json ?? .null),
            .init("last-verify", lastVerify?.json ?? .null), .init("reason", .optional(reason)),
            .init("message", .optional(message)), .init("mode", .string(mode.rawValue)),
            .init("compression", .optional(compression?.rawValue)), .init("sent-bytes", .unsigned(sentBytes)),
            .init("wire-bytes", .unsigned(wireBytes)),
        ])
    }

    fileprivate init(json: JSONValue) throws(MalformedControlLine) {
        var replication: ReplicationState?
        if try json.present("replication") != nil { replication = try json.word("replication") }
        var resync: VolumeStatus.Resync?
        if let value = try json.present("resync") { resync = try VolumeStatus.Resync(json: value) }
        var lastResync: VolumeStatus.LastResync?
        if let value = try json.present("last-resync") { lastResync = try VolumeStatus.LastResync(json: value) }
        self.init(
            node: try json.string("node"), id: try json.unsigned("id"), connection: try json.word("connection"),
            role: try json.word("role"), disk: try json.word("disk"), replication: replication,
            outOfSyncBytes: try json.unsigned("out-of-sync-bytes"), lagBytes: try json.unsigned("lag-bytes"),
            lagSeconds: try json.number("lag-seconds"), resync: resync, lastResync: lastResync,
            reason: try json.optionalString("reason"), message: try json.optionalString("message"))
        // A daemon of an earlier release does not say it.
        if try json.present("mode") != nil { mode = try json.word("mode") }
        if try json.present("compression") != nil { compression = try json.word("compression") }
        if try json.present("sent-bytes") != nil { sentBytes = try json.unsigned("sent-bytes") }
        if try json.present("wire-bytes") != nil { wireBytes = try json.unsigned("wire-bytes") }
        if let value = try json.present("verify") { verify = try VolumeStatus.Verify(json: value) }
        if let value = try json.present("last-verify") { lastVerify = try VerifyResult(json: value) }
    }
}

extension VolumeStatus.Resync {
    fileprivate var json: JSONValue {
        .object([
            .init("done-bytes", .unsigned(doneBytes)), .init("total-bytes", .unsigned(totalBytes)),
            .init("bytes-per-second", .unsigned(bytesPerSecond)),
            .init("eta-seconds", etaSeconds.map { .number($0) } ?? .null), .init("paused", .strings(paused)),
        ])
    }

    fileprivate init(json: JSONValue) throws(MalformedControlLine) {
        self.init(
            doneBytes: try json.unsigned("done-bytes"), totalBytes: try json.unsigned("total-bytes"),
            bytesPerSecond: try json.unsigned("bytes-per-second"), etaSeconds: try json.optionalNumber("eta-seconds"),
            paused: try json.strings("paused"))
    }
}

extension VolumeStatus.LastResync {
    fileprivate var json: JSONValue {
        .object([
            .init("bytes", .unsigned(bytes)), .init("seconds", .number(seconds)), .init("because", .string(because)),
        ])
    }

    fileprivate init(json: JSONValue) throws(MalformedControlLine) {
        self.init(
            bytes: try json.unsigned("bytes"), seconds: try json.number("seconds"),
            because: try json.string("because"))
    }
}

extension ControlEvent {
    /// One line of `hablk events --json`.
    package var json: JSONValue {
        .object([
            .init("version", .integer(1)), .init("event", .string(kind.rawValue)), .init("time", .number(time)),
            .init("volume", .string(status.volume)), .init("node", .string(status.node)),
            .init("peer", .optional(peer)), .init("changes", .array(changes.map(\.json))),
            .init("status", status.json),
        ])
    }

    init(json: JSONValue) throws(MalformedControlLine) {
        var changes: [Change] = []
        for element in try json.elements("changes") { changes.append(try Change(json: element)) }
        self.init(
            kind: try json.word("event"), time: try json.number("time"), peer: try json.optionalString("peer"),
            changes: changes, status: try VolumeStatus(json: try json.field("status")))
    }
}

extension ControlEvent.Change {
    fileprivate var json: JSONValue {
        .object([.init("field", .string(field)), .init("from", .optional(from)), .init("to", .optional(to))])
    }

    fileprivate init(json: JSONValue) throws(MalformedControlLine) {
        self.init(
            field: try json.string("field"), from: try json.optionalString("from"), to: try json.optionalString("to"))
    }
}

extension CommandFailure {
    /// What `--json` prints of a command that did not do it.
    package var json: JSONValue {
        .object([
            .init("version", .integer(1)), .init("error", .string(kind.rawValue)),
            .init("reason", .string(refusal.reason)), .init("message", .string(refusal.message)),
            .init("remedy", .string(refusal.remedy)),
        ])
    }
}
