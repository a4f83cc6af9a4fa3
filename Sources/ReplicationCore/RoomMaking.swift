import Model

/// Room for a larger volume at this copy, and zeroes in it: for this node's own `resize`, another primary's, or because the volume
/// grew while this copy was away.
///
/// What is stable before the word that it is made: the metadata at its new place with the new size, in both superblocks; then
/// zeroes from the volume's end to the new one, flushed. Nobody writes there before a record names the larger size, and that one
/// is formed only when all copies said so. So the copies are equal there, and nothing is marked.
///
/// What may take long is done beside all else, a piece at a time, and ends when it is not wanted any more: what of the move can be
/// prepared, and the zeroes. Metadata wait for the switch alone.
struct RoomMaking {
    enum Phase: Equatable {
        /// The disk copies what it can copy while it is in use.
        case preparing
        /// No write of metadata begins; those that are out end.
        case resting
        /// The metadata is being switched to the new place.
        case moving
        /// Up to `end` is on its way to be zeroes, since `began`.
        case zeroing(end: UInt64, began: MonotonicTime)
        /// The next piece waits until others had the disk for a while.
        case pausing(next: UInt64, until: MonotonicTime)
        case flushing(UInt64)
    }

    /// Who is told; nil: this node's own.
    var asker: NodeID?
    var session: SessionID
    var number: UInt64
    let size: UInt64
    /// The volume's end when it began.
    let from: UInt64
    var phase: Phase
    /// Bytes of zeroes at once: fewer where they are written, more where the disk makes them of nothing.
    var piece: UInt64 = 4 << 20
    /// It ends when what is out has come back.
    var isGivenUp = false
    /// Since when who asked has another session, or none.
    var alone: MonotonicTime?

    /// An operation of the disk is out.
    var isOut: Bool {
        switch phase {
        case .preparing, .moving, .zeroing: true
        case .resting, .pausing, .flushing: false
        }
    }
}

/// Zeroes behind the volume's end that this copy has made in this run, from `from` on.
struct MadeRoom {
    var from: UInt64 = 0
    /// As far as they were made.
    var zeroed: UInt64 = 0
    /// As far as they are stable.
    var stable: UInt64 = 0
}

/// A question what the disk can hold, in the order in which the disk answers.
struct Measure {
    /// Nil: this node's own.
    var asker: NodeID?
    var session: SessionID
    var number: UInt64
}

extension Replica {
    static var roomOperation: OperationID { OperationID(rawValue: .max - 1) }
    private static let smallestPiece: UInt64 = 1 << 20
    private static let largestPiece: UInt64 = 1 << 30
    /// A piece that took less is nothing to others.
    private static let shortTime: UInt64 = 4_000_000
    private static let longTime: UInt64 = 50_000_000

    /// Of the volume, as far as this copy knows how large it is.
    var volumeBlocks: UInt64 {
        let record = superblock.record
        return (record.isEmpty ? superblock.size : min(record.size, superblock.size)) / Geometry.blockSize
    }

    /// Where the volume ends, of what this disk can hold: nothing of a peer's reaches behind it.
    var volumeEnd: UInt64 { volumeBlocks * Geometry.blockSize }

    /// The record names more than this disk can hold: this copy was not asked.
    var lacksRoom: Bool { hasDisk && !isWitness && superblock.record.size > superblock.size }

    /// While room is being made for a larger volume, nobody gives it one: what is on its way to be zeroes would be data.
    var toldCapacity: UInt64 {
        guard hasDisk else { return 0 }
        guard let room, !isLeftOut(.roomIsMadeFirst) else { return superblock.size }
        return min(superblock.size, room.from)
    }

    /// The bitmaps are for the volume, not for what the disk could hold: what lies behind its end is no difference.
    mutating func fitBitmaps() {
        let blocks = volumeBlocks
        guard hasDisk, fittedBlocks != blocks else { return }
        fittedBlocks = blocks
        // What lay behind the former end may have been written meanwhile, and be given up again.
        madeRoom = MadeRoom()
        for node in others { self[bitmap: node].fit(to: blocks) }
        if unsettled.blocks > 0 { unsettled.fit(to: blocks) }
    }

    /// A record names a larger size than the one that was here. All its copies have zeroes in the new part; of one that it does not name
    /// nobody knows what lies there, and no bitmap says so: it is filled from the beginning when it comes again. In the same superblock
    /// as the record.
    mutating func distrustUnnamed(_ record: Record) {
        guard !superblock.record.isEmpty, record.size > superblock.record.size, !isLeftOut(.unnamedIsUnknown) else {
            return
        }
        let hasZeroes =
            record.inStep.contains(me)
            || madeRoom.from == superblock.record.size && madeRoom.stable >= record.size
        for node in others where !hasZeroes || !record.inStep.contains(node) {
            superblock.peers[node].base = .everything(.none)
        }
    }

    /// No log transaction and no page is written while what lies around them is moved.
    var restsForMove: Bool {
        guard let room, !isLeftOut(.movedMetadataRests) else { return false }
        return room.phase == .resting || room.phase == .moving
    }

    // MARK: Asked by a primary

    mutating func roomAsked(_ number: UInt64, _ size: UInt64, make: Bool, _ stamp: FrameStamp, by node: NodeID) {
        if make, size == 0 {
            if let room, room.asker == node { giveRoomUp() }
            return
        }
        let follows =
            self[peer: node].relation == .established && hasDisk && superblock.record.inStep.contains(me)
            && stamp.lineage == superblock.record.lineage && stamp.number >= superblock.record.number
            && superblock.record.primary == node && role != .primary
            && acceptance == nil && detaching == nil && stopping == nil
        guard follows, size % Geometry.blockSize == 0, size <= Geometry.maximumVolumeSize else {
            return send(.roomAnswer(number: number, RoomAnswer(.notNow)), to: node)
        }
        let session = self[peer: node].session
        if make {
            makeRoom(size, for: node, session, number)
        } else {
            measure(size, Measure(asker: node, session: session, number: number))
        }
    }

    mutating func measure(_ wanted: UInt64, _ question: Measure) {
        guard measures.count < 8 else { return }
        measures.append(question)
        emit(.measureDisk(wanted: wanted))
    }

    mutating func diskMeasured(_ answer: RoomAnswer) {
        guard !measures.isEmpty else { return }
        tell(answer, of: measures.removeFirst())
    }

    private mutating func tell(_ answer: RoomAnswer, of question: Measure) {
        guard let asker = question.asker else { return roomAnswered(question.number, answer, by: me) }
        guard self[peer: asker].session == question.session else { return }
        send(.roomAnswer(number: question.number, answer), to: asker)
    }

    // MARK: Making it

    /// A wish for the same that comes while it is being made (its asker's patience ended, or its session) hears of this work's end.
    /// Another one ends it, and comes again.
    mutating func makeRoom(_ size: UInt64, for asker: NodeID?, _ session: SessionID, _ number: UInt64) {
        let question = Measure(asker: asker, session: session, number: number)
        let from = superblock.record.size
        if let room {
            guard room.size == size, room.from == from, !room.isGivenUp else {
                giveRoomUp()
                return tell(RoomAnswer(.notNow), of: question)
            }
            self.room?.asker = asker
            self.room?.session = session
            self.room?.number = number
            return
        }
        let isThere = size <= from || madeRoom.from == from && size <= madeRoom.stable
        if isThere, size <= superblock.size { return tell(RoomAnswer(.made, bytes: size), of: question) }
        note(.info, "disk", "making room for \(size) bytes")
        room = RoomMaking(
            asker: asker, session: session, number: number, size: size, from: from, phase: .preparing)
        attention = true
        if size <= superblock.size { return beginZeroes() }
        outstanding += 1
        emit(.prepareDisk(size: size))
    }

    /// Ends as soon as what is out has come back.
    mutating func giveRoomUp() {
        guard let current = room, !current.isGivenUp else { return }
        room?.isGivenUp = true
        attention = true
        if current.phase == .preparing || current.phase == .resting { emit(.leaveOffPreparing) }
    }

    mutating func advanceRoom() {
        guard let current = room else { return }
        if !hasDisk || detaching != nil || stopping != nil { giveRoomUp() }
        if superblock.record.size != current.from {
            giveRoomUp()
            // The record that it lacks room for came as one that does not name it: it begins anew at once (seed 885000395 of `--growth`).
            if current.asker == nil { nextOwnRoom = now }
        }
        noteAsker(current)
        if room?.isGivenUp == true {
            if !current.isOut { endRoom(RoomAnswer(.notNow)) }
            return
        }
        switch current.phase {
        case .resting:
            guard metadata.phase == .idle, !log.isWriting, metadata.pagesInFlight == 0 || !restsForMove else { return }
            moveMetadata(current.size)
        case .pausing(let next, let until):
            if now >= until { zero(from: next) }
        case .flushing(let number):
            guard isFlushed(number) || isLeftOut(.newPartIsFlushed) else { return }
            madeRoom.stable = current.size
            note(.info, "disk", "there is room for \(current.size) bytes")
            endRoom(RoomAnswer(.made, bytes: current.size))
        case .preparing, .moving, .zeroing: break
        }
    }

    /// Who asked may come again and find it under way; a wish that nobody has any more ends. What was made of zeroes stays known.
    private mutating func noteAsker(_ current: RoomMaking) {
        guard let asker = current.asker else { return }
        if self[peer: asker].hasSession, self[peer: asker].session == current.session {
            room?.alone = nil
        } else if let alone = current.alone {
            if now.since(alone) > configuration.timing.cutOff { giveRoomUp() }
        } else {
            room?.alone = now
        }
    }

    mutating func diskPrepared(_ outcome: GrowOutcome) {
        guard room?.phase == .preparing else { return }
        outstanding -= 1
        attention = true
        // Nothing is out any more.
        room?.phase = .resting
        if outcome == .failed {
            endRoom(RoomAnswer(.failed))
            return flushFailed("a flush failed while its metadata were copied")
        }
        if outcome == .unchanged { return endRoom(RoomAnswer(room?.isGivenUp == true ? .notNow : .failed)) }
        if room?.isGivenUp == true || !hasDisk { emit(.leaveOffPreparing) }
    }

    /// The superblock that says so is written with it; what else waits to become durable in it does, too.
    private mutating func moveMetadata(_ size: UInt64) {
        metadata.sequence += 1
        superblock.sequence = metadata.sequence
        metadata.image = superblock
        // Here it is so when it is durable: nothing is said that is not.
        metadata.image.size = size
        metadata.writing = metadata.wanted
        metadata.phase = .moving
        room?.phase = .moving
        outstanding += 1
        emit(.growDisk(size: size))
    }

    mutating func diskGrown(_ outcome: GrowOutcome) {
        guard room?.phase == .moving else {
            // Nobody asked: the disk says that it lost writes.
            if outcome == .failed { flushFailed("a flush failed") }
            return
        }
        outstanding -= 1
        attention = true
        guard disk != .failed else {
            room = nil
            // The disk's last word goes where it looks first now: the smaller size is as true.
            return writeLastWord(after: outcome == .done)
        }
        switch outcome {
        case .done:
            superblock.size = metadata.image.size
            for node in others { self[bitmap: node].makeRoom(for: superblock.size / Geometry.blockSize) }
            imageIsDurable()
            // What is behind the end of another record is not this room's to zero.
            guard let room, !room.isGivenUp, room.from == superblock.record.size else {
                return endRoom(RoomAnswer(.notNow))
            }
            beginZeroes()
        case .unchanged:
            metadata.phase = .idle
            endRoom(RoomAnswer(.failed))
        case .failed:
            metadata.phase = .idle
            endRoom(RoomAnswer(.failed))
            flushFailed("its metadata cannot be moved")
        }
    }

    // MARK: Zeroes

    private mutating func beginZeroes() {
        guard let current = room else { return }
        if isLeftOut(.newPartIsZeroed) {
            let number = requestFlush()
            room?.phase = .flushing(number)
            return
        }
        if madeRoom.from != current.from { madeRoom = MadeRoom(from: current.from) }
        zero(from: max(current.from, madeRoom.zeroed))
    }

    private mutating func zero(from start: UInt64) {
        guard let current = room else { return }
        guard start < current.size else {
            let number = requestFlush()
            room?.phase = .flushing(number)
            return
        }
        let end = min(start + current.piece, current.size)
        room?.phase = .zeroing(end: end, began: now)
        outstanding += 1
        emit(.zeroData(Self.roomOperation, ByteRange(offset: start, length: end - start), trim: true))
    }

    /// As much time as a piece took is left to others.
    mutating func roomZeroed(_ result: DiskResult) {
        outstanding -= 1
        attention = true
        guard let current = room, case .zeroing(let end, let began) = current.phase else { return }
        let took = now.nanoseconds - min(began.nanoseconds, now.nanoseconds)
        room?.phase = .pausing(next: end, until: now)
        if result == .failed || !hasDisk { return endRoom(RoomAnswer(.failed)) }
        if madeRoom.from == current.from { madeRoom.zeroed = max(madeRoom.zeroed, end) }
        if took < Self.shortTime {
            room?.piece = min(current.piece * 2, Self.largestPiece)
            if !current.isGivenUp { zero(from: end) }
            return
        }
        if took > Self.longTime { room?.piece = max(current.piece / 2, Self.smallestPiece) }
        room?.phase = .pausing(next: end, until: now + min(took, 1_000_000_000))
    }

    private mutating func endRoom(_ answer: RoomAnswer) {
        guard let ended = room else { return }
        room = nil
        attention = true
        if answer.word != .made { note(.warning, "disk", "no room was made for \(ended.size) bytes") }
        tell(answer, of: Measure(asker: ended.asker, session: ended.session, number: ended.number))
    }

    /// The disk is gone, or another one: what was known of it is void. What is out comes back.
    mutating func forgetRoom() {
        madeRoom = MadeRoom()
        giveRoomUp()
        if let current = room, !current.isOut { endRoom(RoomAnswer(.failed)) }
    }

    // MARK: A volume that grew without this copy

    /// A copy that was put back as it was, or was taken out of the file for a while, has the size of before: it makes room for itself, if
    /// its disk has any, and the next handshake finds it. At once: the other side ends the session, which may be before what is written
    /// here meanwhile is stable (seed 607 of `--growth`: a record was offered again and again, and the two never came to an end).
    mutating func lacksRoom(_ theirs: HandshakeState) {
        guard hasDisk, role != .primary, detaching == nil, stopping == nil, superblock.volume == theirs.volume,
            superblock.record.lineage == theirs.record.lineage, superblock.record.number <= theirs.record.number,
            theirs.record.size <= Geometry.maximumVolumeSize,
            // Whose memory of this copy's numbers counts.
            !isByMajority || theirs.record.inStep.contains(theirs.node)
        else { return }
        // Room for a wish that nobody has any more would keep the two apart.
        if let room, room.from < theirs.record.size, room.size != theirs.record.size { giveRoomUp() }
        guard room == nil, now >= nextOwnRoom, superblock.size < theirs.record.size else { return }
        nextOwnRoom = now + min(30_000_000_000, 5 * configuration.timing.cutOff)
        makeRoom(theirs.record.size, for: nil, .none, 0)
    }
}
