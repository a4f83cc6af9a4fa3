import Model

/// `resize` at the primary: all copies are asked what they can hold; each makes room and has zeroes there; then a record names
/// the new size. It is an ordinary record of the primary that loses nobody: with quorum chosen by the voters and every member,
/// without by both copies. A witness votes for it and needs no room.
///
/// A death at any point leaves one size: before the record, that of before, with copies that could hold more; a record that was
/// offered and not chosen is taken up or passed over by the next one like any other, and nothing was acknowledged in the
/// new part, because clients are offered the size only when it is chosen (`formerSize`).
struct Growth {
    enum Phase: Equatable {
        /// What can each copy hold?
        case asking
        /// Each is being given room.
        case making
        /// The record waits for others, or is under way.
        case recording
    }

    let command: CommandID
    /// Nil: as much as every copy can hold.
    let wanted: UInt64?
    let dryRun: Bool
    let deadline: MonotonicTime
    /// Nobody who is busy is waited for.
    let triesOnce: Bool
    var phase = Phase.asking
    /// The newest question.
    var number: UInt64 = 0
    /// Who has not answered it.
    var pending = NodeSet()
    /// Decided once all have said what they can hold.
    var size: UInt64 = 0
    var rooms: [(node: NodeID, answer: RoomAnswer)] = []
    /// Somebody is busy: when all are asked again.
    var askAgain: MonotonicTime?
    /// Who asked is gone. What was begun without a record ends by itself.
    var isWithdrawn = false
}

extension Replica {
    // MARK: The command

    mutating func performResize(_ id: CommandID, _ size: UInt64?, dryRun: Bool, _ deadline: MonotonicTime) {
        let volume = configuration.volume
        guard growth == nil else {
            return refuse(id, "busy", "\(volume) is being resized already", "wait for it: hablk status \(volume)")
        }
        guard role == .primary else {
            let place = knownPrimary.map { "on \(name($0)): " } ?? "promote a node first, then there: "
            return refuse(
                id, "not-primary", "only the primary can give the volume another size",
                "\(place)hablk resize \(volume)")
        }
        if let obstacle = obstacleToGrowing() {
            return refuse(id, obstacle.reason, obstacle.message, obstacle.remedy)
        }
        if let size {
            guard size >= volumeSize else {
                return refuse(
                    id, "would-shrink",
                    "\(volume) has \(volumeSize) bytes: \(size) are fewer, and it is never made smaller",
                    "make a smaller volume beside it, and copy what is needed")
            }
            guard size % Geometry.blockSize == 0, size <= Geometry.maximumVolumeSize else {
                let whole = min(size, Geometry.maximumVolumeSize - 1) / Geometry.blockSize + 1
                return refuse(
                    id, "wrong-size", "a volume of \(size) bytes cannot be: whole 4 KiB blocks, at most 1 PiB",
                    "hablk resize \(volume) --size \(whole * Geometry.blockSize)")
            }
            guard size > volumeSize || formerSize != nil else {
                emit(.commandDone(id, .done("\(volume) has \(size) bytes already")))
                return
            }
        }
        // Tried once: as long as a peer that is there takes to answer.
        let triesOnce = deadline <= now + 10_000_000
        growth = Growth(
            command: id, wanted: size, dryRun: dryRun,
            deadline: triesOnce ? now + configuration.timing.cutOff : deadline, triesOnce: triesOnce)
        ask(size: size ?? 0, make: false)
    }

    /// Every copy of the configuration is connected, attached and in step, and this primary leads.
    private func obstacleToGrowing() -> Refusal? {
        let volume = configuration.volume
        guard hasDisk, required.contains(me), superblock.record.inStep.contains(me) else {
            return Refusal(
                reason: "no-disk", message: "this primary has no copy in step of its own, and all copies grow together",
                remedy: "hablk promote \(volume) on a node whose copy is up to date, then resize there")
        }
        guard demotion == nil, !isByMajority || holdsTerm && candidacy == nil else {
            return Refusal(
                reason: "no-quorum", message: "this primary is about to go, or has no majority",
                remedy: "hablk status \(volume)")
        }
        for node in others where !isLeftOut(.growsWithAll) {
            let words = obstacle(at: node)
            guard let words else { continue }
            return Refusal(
                reason: words.reason,
                message: "\(name(node)) \(words.what), and \(volume) grows only with all its copies",
                remedy: words.remedy)
        }
        return nil
    }

    private func obstacle(at node: NodeID) -> (reason: String, what: String, remedy: String)? {
        let volume = configuration.volume
        let there = "on \(name(node))"
        if hasDeparted(node) {
            // Tracked as before, and no copy of the record's any more: it is filled from the beginning should it come again.
            guard superblock.record.inStep.contains(node) || required.contains(node) else { return nil }
            return ("leaving", "is leaving, and the record still names it", "try again in a moment")
        }
        guard self[peer: node].isConnected else {
            return (
                "not-connected", "is not connected",
                "hablk connect \(volume), hablk up \(volume) \(there); or take it out of the file: hablk adjust \(volume)"
            )
        }
        if let disk = self[peer: node].presence?.disk, disk == .diskless || disk == .failed {
            return ("no-disk", "has no disk", "hablk attach \(volume) \(there)")
        }
        guard self[peer: node].relation == .established, required.contains(node),
            superblock.record.inStep.contains(node)
        else {
            return ("not-in-step", "is not up to date", "wait for its resync: hablk wait \(volume) --for in-sync")
        }
        return nil
    }

    // MARK: Questions

    private mutating func ask(size: UInt64, make: Bool) {
        roomQuestions += 1
        let number = roomQuestions
        growth?.number = number
        growth?.rooms = []
        growth?.askAgain = nil
        growth?.pending = NodeSet(me)
        for node in others where self[peer: node].relation == .established {
            growth?.pending.insert(node)
            send(.room(number: number, size: size, make: make), to: node)
        }
        if make {
            makeRoom(size, for: nil, .none, number)
        } else {
            measure(size, Measure(asker: nil, session: .none, number: number))
        }
        attention = true
    }

    mutating func roomAnswered(_ number: UInt64, _ answer: RoomAnswer, by node: NodeID) {
        guard let current = growth, current.number == number, current.pending.contains(node) else { return }
        growth?.pending.remove(node)
        growth?.rooms.append((node, answer))
        attention = true
    }

    /// A copy that was asked is away: whether it has the room, and zeroes in it, is not known.
    mutating func interruptGrowth(_ node: NodeID) {
        guard let current = growth, others.contains(node), required.contains(node),
            current.phase != .recording || change == nil
        else { return }
        endGrowth(
            .refused(
                Refusal(
                    reason: "not-connected",
                    message: "the connection to \(name(node)) ended meanwhile; nothing has changed",
                    remedy: "hablk status \(configuration.volume), then again")))
    }

    // MARK: Steps

    mutating func advanceGrowth() {
        guard let current = growth else { return }
        let volume = configuration.volume
        if case .grow? = change?.purpose {
            guard now >= current.deadline else { return }
            return endGrowth(
                .timedOut(
                    Refusal(
                        reason: "not-in-time",
                        message:
                            "the record of the new size waits for other nodes, and may come to hold when they are there",
                        remedy: "hablk status \(volume), then again")))
        }
        if current.isWithdrawn { return endGrowth(nil) }
        if role != .primary || stopping != nil || detaching != nil {
            return endGrowth(
                .refused(
                    Refusal(
                        reason: "not-primary", message: "this node is not primary any more, or stops",
                        remedy: "on the primary: hablk resize \(volume)")))
        }
        if let obstacle = obstacleToGrowing() { return endGrowth(.refused(obstacle)) }
        if current.pending.isEmpty, current.phase != .recording, !awaitsBusy(current) { takeAnswers(current) }
        guard let current = growth else { return }
        if current.phase == .recording, change == nil, acceptance == nil, !isHandshaking {
            begin(
                .grow(current.size), losing: NodeSet(), offeringTo: isByMajority ? NodeSet() : required.removing(me))
            return
        }
        guard now >= current.deadline else { return }
        endGrowth(
            .timedOut(
                Refusal(
                    reason: "not-in-time",
                    message: "not all copies have made room yet: each goes on, and the volume has its former size",
                    remedy: "the same again, with a longer --timeout: hablk resize \(volume)")))
    }

    /// One that takes a record just now, or still makes room for an earlier wish, is asked again in a moment.
    private mutating func awaitsBusy(_ current: Growth) -> Bool {
        guard current.rooms.contains(where: { $0.answer.word == .notNow }), now < current.deadline, !current.triesOnce
        else { return false }
        guard let again = current.askAgain else {
            growth?.askAgain = now + configuration.timing.pingInterval
            return true
        }
        if now >= again {
            ask(size: current.phase == .making ? current.size : current.wanted ?? 0, make: current.phase == .making)
        }
        return true
    }

    private mutating func takeAnswers(_ current: Growth) {
        switch current.phase {
        case .asking:
            guard let size = decideSize(current) else { return }
            if current.dryRun {
                endGrowth(.done("\(configuration.volume) would grow from \(volumeSize) to \(size) bytes"))
                return
            }
            growth?.size = size
            growth?.phase = .making
            ask(size: size, make: true)
        case .making:
            if let (node, answer) = current.rooms.first(where: { $0.answer.word != .made }) {
                let why = answer.word == .failed ? "could not make room: see its log" : "is busy with another wish"
                endGrowth(
                    .refused(
                        Refusal(
                            reason: answer.word == .failed ? "no-room" : "busy",
                            message: "\(name(node)) \(why); the volume has its former size",
                            remedy: "hablk resize \(configuration.volume) again, when that is seen to")))
                return
            }
            growth?.phase = .recording
        case .recording: break
        }
    }

    /// Nil: the command has its answer.
    private mutating func decideSize(_ current: Growth) -> UInt64? {
        var largest = Geometry.maximumVolumeSize
        var narrowest: (node: NodeID, answer: RoomAnswer)?
        for (node, answer) in current.rooms {
            if answer.word == .notNow || answer.word == .failed || answer.word == .made {
                endGrowth(
                    .refused(
                        Refusal(
                            reason: "busy", message: "\(name(node)) could not say what it can hold",
                            remedy: "try again in a moment: hablk resize \(configuration.volume)")))
                return nil
            }
            let bytes = answer.bytes / Geometry.blockSize * Geometry.blockSize
            if bytes < largest {
                largest = bytes
                narrowest = (node, answer)
            }
        }
        // One that was offered and is not known to be chosen comes first.
        let size = max(current.wanted ?? largest, superblock.record.size)
        if let narrowest, size > largest {
            endGrowth(.refused(lackOfRoom(narrowest.node, narrowest.answer, size)))
            return nil
        }
        guard size > volumeSize else {
            let place = narrowest.map { ": \(name($0.node)) \(lack($0.answer))" } ?? ""
            endGrowth(.done("\(configuration.volume) has \(volumeSize) bytes, as many as all copies can hold\(place)"))
            return nil
        }
        return size
    }

    private func lack(_ answer: RoomAnswer) -> String {
        switch answer.word {
        case .hasMetadata: "has no more room in its metadata"
        case .hasUnmoved: "has a disk that grew by too little to move its metadata"
        case .hasTooMuch: "has more metadata than can be moved in its place while it is in use"
        default: "has no more room on its disk"
        }
    }

    private func lackOfRoom(_ node: NodeID, _ answer: RoomAnswer, _ size: UInt64) -> Refusal {
        let remedy =
            switch answer.word {
            case .hasMetadata: "make `metadata` of \(name(node)) larger, then again"
            case .hasTooMuch:
                "make `disk` of \(name(node)) larger still, by as much as its metadata takes; or, with `metadata` of its own, "
                    + "make that copy anew for the larger size: hablk detach there, then hablk create --force, and attach"
            case .hasUnmoved: "make `disk` of \(name(node)) larger still, by as much as its metadata takes, then again"
            default: "make `disk` of \(name(node)) larger (as by lvextend), then again; or a smaller --size"
            }
        return Refusal(
            reason: "no-room",
            message: "\(name(node)) has room for \(answer.bytes) bytes, \(size) are asked for: it \(lack(answer))",
            remedy: remedy)
    }

    // MARK: The end

    mutating func grown() {
        let size = superblock.record.size
        note(.info, "record", "the volume has \(size) bytes now")
        endGrowth(.done("\(configuration.volume) has \(size) bytes"))
    }

    /// It may be taken up by the next record, or was not heard of.
    mutating func growthRecordAborted() {
        guard growth != nil else { return }
        endGrowth(
            .refused(
                Refusal(
                    reason: "not-chosen",
                    message: "a copy went away before all had the record of the new size: it is decided when they meet",
                    remedy: "hablk resize \(configuration.volume) again, when all are connected")))
    }

    /// Whoever still makes room need not go on; but for one who comes again with more patience, and finds what was made.
    private mutating func leaveOffMaking(_ outcome: CommandOutcome?) {
        if case .timedOut? = outcome { return }
        roomQuestions += 1
        for node in others where self[peer: node].relation == .established {
            send(.room(number: roomQuestions, size: 0, make: true), to: node)
        }
        if room?.asker == nil { giveRoomUp() }
    }

    private mutating func endGrowth(_ outcome: CommandOutcome?) {
        guard let ended = growth else { return }
        growth = nil
        if ended.phase == .making { leaveOffMaking(outcome) }
        attention = true
        noteStatus()
        if let outcome, !ended.isWithdrawn { emit(.commandDone(ended.command, outcome)) }
    }
}
