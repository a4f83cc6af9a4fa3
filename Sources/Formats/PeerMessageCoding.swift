import Model

/// Lengths of the bodies that are not just a few numbers. The fields lie in the order in which they are read below.
enum PeerBody {
    static let generationLength = 17
    static let recordLength = 108
    /// volume, record, current
    static let proposalLength = 8 + recordLength + generationLength
    /// proposal, eight bases, number of generations; the history follows
    static let joinOfferLength = proposalLength + 8 * 9 + 1
    /// All of `HandshakeState` but the history, which follows.
    static let stateLength = 252
    static let standingLength = 8 + 8 + 9 + recordLength + 1

    static func allowsHistory(_ length: UInt32, behind fixed: Int) -> Bool {
        guard let rest = Int(exactly: length)?.subtractingReportingOverflow(fixed).partialValue, rest >= 0 else {
            return false
        }
        return rest % generationLength == 0 && rest / generationLength <= Superblock.historyLimit
    }

    /// Whole blocks, not none, not more than a frame of this kind moves, within the largest volume; what is applied to
    /// a disk lies within one extent, because the activity log is asked for one.
    static func isPossible(_ range: ByteRange, for kind: PeerFrameKind) -> Bool {
        let longest =
            kind == .zero || kind == .announce || kind == .pullZero
            ? Geometry.extentSize
            : kind == .digest ? Comparing.mostBlocks * Geometry.blockSize : Geometry.maximumPayload
        guard range.length > 0, range.length <= longest, range.isBlockAligned,
            range.offset <= Geometry.maximumVolumeSize, range.end <= Geometry.maximumVolumeSize
        else { return false }
        guard kind == .write || kind == .zero || kind == .announce || kind == .digest else { return true }
        return range.offset / Geometry.extentSize == (range.end - 1) / Geometry.extentSize
    }
}

extension FieldReader {
    /// The body of one message. Bodies that the header carries whole (`ping`) have none.
    mutating func readMessage(_ header: PeerFrameHeader, buffer: BufferID) throws(FieldError) -> PeerMessage {
        switch header.kind {
        case .write, .zero, .written, .received, .flush, .flushed, .confirm: try readWritePath(header, buffer)
        case .read, .readData, .readFailed, .pull, .pullData, .pullZero, .pullFailed: try readCopying(header, buffer)
        case .announce: .announce(try range(header))
        case .ping: .ping(try u64())
        case .pong: .pong(try u64())
        case .resyncReady: .resyncReady
        case .bitmapEnd: .bitmapEnd
        case .resyncComplete: .resyncComplete
        case .invalidate: .invalidate
        case .goodbye: .goodbye(try readReason())
        case .presence: .presence(try readPresence(header))
        case .state: .state(try readState())
        case .verdict: .verdict(outcome: try u8(), rule: try u8())
        case .propose: .propose(try readProposal())
        case .accepted: .accepted(try recordNumber(), mark: try mark())
        case .rejected: .rejected(try recordNumber(), try readReason())
        case .chosen: .chosen(try recordNumber())
        case .resyncBegin: .resyncBegin(try readProposal(), everything: header.isYes)
        case .bitmapRuns: .bitmapRuns(try readRuns(header.bodyLength / 16))
        case .resyncFlushed: .resyncFlushed(pulls: try counter(), writes: try counter())
        case .joinOffer: .joinOffer(try readJoinOffer())
        case .marksToward: .marksToward(try node(), try readRuns((header.bodyLength - 1) / 16))
        case .standing, .inquiry, .inquiryAnswer, .vote, .voteRuns, .voted: try readVoting(header)
        case .digest, .digests, .digestFailed: try readComparing(header)
        case .room, .roomAnswer: try readRoom(header)
        }
    }

    private mutating func readWritePath(
        _ header: PeerFrameHeader, _ buffer: BufferID
    ) throws(FieldError) -> PeerMessage {
        let number = try counter()
        switch header.kind {
        case .write: return .write(sequence: number, range: try dataRange(header), buffer: buffer)
        case .zero: return .zero(sequence: number, range: try range(header), trim: header.isYes)
        case .written: return .written(sequence: number, succeeded: header.isYes)
        case .received: return .received(sequence: number)
        case .flush: return .flush(round: number)
        case .flushed: return .flushed(round: number, succeeded: header.isYes, mark: try mark())
        case .confirm: return .confirm(sequence: number, mark: try mark(), settled: header.isYes)
        default: preconditionFailure("not of the write path")
        }
    }

    private mutating func readCopying(
        _ header: PeerFrameHeader, _ buffer: BufferID
    ) throws(FieldError) -> PeerMessage {
        switch header.kind {
        case .read: return .read(id: try u32(), range: try range(header))
        case .readData: return .readData(id: try u32(), range: try dataRange(header), buffer: buffer)
        case .readFailed: return .readFailed(id: try u32())
        case .pull: return .pull(id: try u64(), range: try range(header))
        case .pullData: return .pullData(id: try u64(), range: try dataRange(header), buffer: buffer)
        case .pullZero: return .pullZero(id: try u64(), range: try range(header))
        case .pullFailed: return .pullFailed(id: try u64())
        default: preconditionFailure("neither a read nor a pull")
        }
    }

    /// Offset and length.
    mutating func range(_ header: PeerFrameHeader) throws(FieldError) -> ByteRange {
        let offset = try u64()
        return try checked(ByteRange(offset: offset, length: UInt64(try u32())), header.kind)
    }

    /// An offset; the length is the payload's.
    private mutating func dataRange(_ header: PeerFrameHeader) throws(FieldError) -> ByteRange {
        try checked(ByteRange(offset: try u64(), length: UInt64(header.payloadLength)), header.kind)
    }

    private func checked(_ range: ByteRange, _ kind: PeerFrameKind) throws(FieldError) -> ByteRange {
        guard PeerBody.isPossible(range, for: kind) else { throw .range(range) }
        return range
    }

    private mutating func readReason<Reason: RawRepresentable>() throws(FieldError) -> Reason
    where Reason.RawValue == UInt8 {
        guard let reason = Reason(rawValue: try u8()) else { throw .value(.reason) }
        return reason
    }

    private mutating func readPresence(_ header: PeerFrameHeader) throws(FieldError) -> Presence {
        guard let role = Role(code: try u8()) else { throw .value(.role) }
        guard let disk = DiskState(code: try u8()) else { throw .value(.disk) }
        return Presence(role: role, disk: disk, mark: try mark(), resyncPaused: header.isYes)
    }

    private mutating func readProposal() throws(FieldError) -> Proposal {
        let volume = try identity(VolumeID.self)
        let record = try record()
        return Proposal(volume: volume, record: record, current: try generation())
    }

    private mutating func readJoinOffer() throws(FieldError) -> JoinOffer {
        let proposal = try readProposal()
        var bases = PerNode(repeating: BitmapBase.inStep)
        for node in NodeID.all { bases[node] = try base() }
        return JoinOffer(
            volume: proposal.volume, record: proposal.record, current: proposal.current, history: try history(),
            bases: bases)
    }

    mutating func readRuns(_ count: Int) throws(FieldError) -> [BlockRun] {
        let blocks = Geometry.maximumVolumeSize / Geometry.blockSize
        var runs: [BlockRun] = []
        runs.reserveCapacity(count)
        for _ in 0..<count {
            let run = BlockRun(first: try u64(), count: try u64())
            guard run.count > 0, run.count <= blocks, run.first <= blocks - run.count else { throw .value(.runs) }
            runs.append(run)
        }
        return runs
    }

    private mutating func readState() throws(FieldError) -> HandshakeState {
        let node = try node()
        let instance = try identity(InstanceID.self)
        let volume = try identity(VolumeID.self)
        let capacity = try size()
        let record = try record()
        let promised = try term()
        let required = try nodes()
        let current = try generation()
        let base = try base()
        let dirtyBlocks = try blockCount()
        let unconfirmedBlocks = try blockCount()
        let seenInstance = try identity(InstanceID.self)
        let seen = try mark()
        let mark = try mark()
        let flags = Superblock.Flags(rawValue: try u8())
        let truths = try u8()
        guard truths < 16 else { throw .value(.flags) }
        let run = try identity(RunID.self)
        let resumes = try identity(RunID.self)
        let foundSequence = try counter()
        return HandshakeState(
            node: node, instance: instance, volume: volume, capacity: capacity, record: record, promised: promised,
            required: required, current: current, history: try history(), base: base, dirtyBlocks: dirtyBlocks,
            unconfirmedBlocks: unconfirmedBlocks, seenInstance: seenInstance, seen: seen, mark: mark, flags: flags,
            hasDisk: truths & 1 != 0, isPrimary: truths & 2 != 0, isKeeper: truths & 8 != 0,
            discardMyData: truths & 4 != 0, run: run, resumes: resumes, foundSequence: foundSequence)
    }
}

extension FieldWriter {
    /// The body of a message; gives its kind and the header's flags.
    mutating func write(_ message: PeerMessage, payloadLength: Int) -> (PeerFrameKind, flags: UInt8) {
        switch message {
        case .write, .zero, .written, .received, .flush, .flushed, .confirm: writeWritePath(message, payloadLength)
        case .read, .readData, .readFailed, .pull, .pullData, .pullZero, .pullFailed:
            (writeCopying(message, payloadLength), 0)
        case .digest, .digests, .digestFailed: writeComparing(message)
        case .room, .roomAnswer: writeRoom(message)
        default: writeControl(message)
        }
    }

    private mutating func writeWritePath(
        _ message: PeerMessage, _ payloadLength: Int
    ) -> (PeerFrameKind, flags: UInt8) {
        switch message {
        case .write(let sequence, let range, _):
            u64(sequence)
            dataRange(range, .write, payloadLength)
            return (.write, 0)
        case .zero(let sequence, let range, let trim):
            u64(sequence)
            self.range(range, .zero)
            return (.zero, flag(trim))
        case .written(let sequence, let succeeded):
            u64(sequence)
            return (.written, flag(succeeded))
        case .received(let sequence):
            u64(sequence)
            return (.received, 0)
        case .flush(let round):
            u64(round)
            return (.flush, 0)
        case .flushed(let round, let succeeded, let mark):
            u64(round)
            self.mark(mark)
            return (.flushed, flag(succeeded))
        case .confirm(let sequence, let mark, let settled):
            u64(sequence)
            self.mark(mark)
            return (.confirm, flag(settled))
        default: preconditionFailure("not of the write path")
        }
    }

    private mutating func writeCopying(_ message: PeerMessage, _ payloadLength: Int) -> PeerFrameKind {
        switch message {
        case .read(let id, let range):
            u32(id)
            self.range(range, .read)
            return .read
        case .readData(let id, let range, _):
            u32(id)
            dataRange(range, .readData, payloadLength)
            return .readData
        case .readFailed(let id):
            u32(id)
            return .readFailed
        case .pull(let id, let range):
            u64(id)
            self.range(range, .pull)
            return .pull
        case .pullData(let id, let range, _):
            u64(id)
            dataRange(range, .pullData, payloadLength)
            return .pullData
        case .pullZero(let id, let range):
            u64(id)
            self.range(range, .pullZero)
            return .pullZero
        case .pullFailed(let id):
            u64(id)
            return .pullFailed
        default: preconditionFailure("neither a read nor a pull")
        }
    }

    private mutating func writeControl(_ message: PeerMessage) -> (PeerFrameKind, flags: UInt8) {
        switch message {
        case .ping(let number):
            u64(number)
            return (.ping, 0)
        case .pong(let number):
            u64(number)
            return (.pong, 0)
        case .announce(let range):
            self.range(range, .announce)
            return (.announce, 0)
        case .resyncReady: return (.resyncReady, 0)
        case .bitmapEnd: return (.bitmapEnd, 0)
        case .resyncComplete: return (.resyncComplete, 0)
        case .invalidate: return (.invalidate, 0)
        case .goodbye(let reason):
            u8(reason.rawValue)
            return (.goodbye, 0)
        case .presence(let presence):
            u8(presence.role.code)
            u8(presence.disk.code)
            mark(presence.mark)
            return (.presence, flag(presence.resyncPaused))
        case .state(let state):
            write(state)
            return (.state, 0)
        case .verdict(let outcome, let rule):
            u8(outcome)
            u8(rule)
            return (.verdict, 0)
        case .accepted(let number, let mark):
            recordNumber(number)
            self.mark(mark)
            return (.accepted, 0)
        case .rejected(let number, let reason):
            recordNumber(number)
            u8(reason.rawValue)
            return (.rejected, 0)
        default: return writeRecordAndResync(message)
        }
    }

    private mutating func writeRecordAndResync(_ message: PeerMessage) -> (PeerFrameKind, flags: UInt8) {
        switch message {
        case .propose(let proposal):
            write(proposal)
            return (.propose, 0)
        case .chosen(let number):
            recordNumber(number)
            return (.chosen, 0)
        case .resyncBegin(let proposal, let everything):
            write(proposal)
            return (.resyncBegin, flag(everything))
        case .bitmapRuns(let runs):
            write(runs)
            return (.bitmapRuns, 0)
        case .resyncFlushed(let pulls, let writes):
            u64(pulls)
            u64(writes)
            return (.resyncFlushed, 0)
        case .joinOffer(let offer):
            write(Proposal(volume: offer.volume, record: offer.record, current: offer.current))
            for node in NodeID.all { base(offer.bases[node]) }
            history(offer.history)
            return (.joinOffer, 0)
        case .marksToward(let node, let runs):
            self.node(node)
            write(runs)
            return (.marksToward, 0)
        default: return (writeVoting(message), 0)
        }
    }

    mutating func write(_ runs: [BlockRun]) {
        precondition(runs.count <= PeerFrame.maximumRuns, "more runs than one frame carries")
        for run in runs {
            u64(run.first)
            u64(run.count)
        }
    }

    private func flag(_ yes: Bool) -> UInt8 { yes ? PeerFrame.flagYes : 0 }

    mutating func range(_ range: ByteRange, _ kind: PeerFrameKind) {
        precondition(PeerBody.isPossible(range, for: kind), "a range that no frame can carry")
        u64(range.offset)
        u32(UInt32(range.length))
    }

    private mutating func dataRange(_ range: ByteRange, _ kind: PeerFrameKind, _ payloadLength: Int) {
        precondition(PeerBody.isPossible(range, for: kind), "a range that no frame can carry")
        precondition(range.length == UInt64(payloadLength), "a payload is not as long as its range")
        u64(range.offset)
    }

    private mutating func write(_ proposal: Proposal) {
        identity(proposal.volume)
        record(proposal.record)
        generation(proposal.current)
    }

    private mutating func write(_ state: HandshakeState) {
        node(state.node)
        identity(state.instance)
        identity(state.volume)
        u64(state.capacity)
        record(state.record)
        term(state.promised)
        nodes(state.required)
        generation(state.current)
        base(state.base)
        u64(state.dirtyBlocks)
        u64(state.unconfirmedBlocks)
        identity(state.seenInstance)
        mark(state.seen)
        mark(state.mark)
        u8(state.flags.rawValue)
        let truths = (state.hasDisk ? 1 : 0) | (state.isPrimary ? 2 : 0) | (state.discardMyData ? 4 : 0)
        u8(UInt8(truths | (state.isKeeper ? 8 : 0)))
        identity(state.run)
        identity(state.resumes)
        u64(state.foundSequence)
        history(state.history)
    }
}

// The words of `4-interface` stand in no frame: a byte each, which no renaming changes.

extension Role {
    var code: UInt8 {
        switch self {
        case .primary: 1
        case .secondary: 2
        case .unknown: 3
        case .witness: 4
        }
    }

    init?(code: UInt8) {
        guard let role = [Role.primary, .secondary, .unknown, .witness].first(where: { $0.code == code }) else {
            return nil
        }
        self = role
    }
}

extension DiskState {
    var code: UInt8 {
        switch self {
        case .attaching: 1
        case .diskless: 2
        case .failed: 3
        case .inconsistent: 4
        case .outdated: 5
        case .consistent: 6
        case .upToDate: 7
        case .unknown: 8
        }
    }

    init?(code: UInt8) {
        let all: [DiskState] = [
            .attaching, .diskless, .failed, .inconsistent, .outdated, .consistent, .upToDate, .unknown,
        ]
        guard let state = all.first(where: { $0.code == code }) else { return nil }
        self = state
    }
}
