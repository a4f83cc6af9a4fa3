import Model
import Recording
import ReplicationCore

/// Something of every kind that a recording can hold.
enum RecordedSamples {
    static let session = SessionID(rawValue: 0xfedc_ba98_7654_3210)
    static let peer = NodeID(unchecked: 5)
    static let range = ByteRange(offset: 12_288, length: 8192)
    static let buffer = BufferID(index: 77)
    static let operation = OperationID(rawValue: .max)
    static let command = CommandID(rawValue: 3)
    static let mark = StartMark(startNumber: 9, sequence: 1 << 62)
    static let number = RecordNumber(term: Term(counter: 1 << 62, node: peer), index: 300)
    static let deadline = MonotonicTime(nanoseconds: .max)

    static func stamp(_ lineage: UInt64) -> FrameStamp {
        FrameStamp(session: session, lineage: LineageID(rawValue: lineage), number: number)
    }

    static var superblock: Superblock {
        var block = Superblock(
            node: NodeID(unchecked: 2), instance: InstanceID(rawValue: 11), size: 64 << 20, logExtents: 7, zeroes: true)
        block.volume = VolumeID(rawValue: 12)
        block.sequence = 13
        block.startNumber = 14
        block.bootID = (15, .max)
        block.flags = [.suspect, .outdated]
        block.mayHoldMore = true
        block.promised = Term(counter: 16, node: peer)
        block.record.lineage = LineageID(rawValue: 17)
        block.record.number = number
        block.record.primary = peer
        block.record.inStep = NodeSet(rawValue: 0x24)
        block.record.instances[peer] = InstanceID(rawValue: 18)
        block.record.size = 64 << 20
        block.required = NodeSet(rawValue: 0x24)
        block.history = (1...64).map { Generation(id: GenerationID(rawValue: $0), node: peer, began: $0 * 7) }
        block.peers[peer] = PeerSlot(
            base: .since(GenerationID(rawValue: 19)), seenInstance: InstanceID(rawValue: 20), seen: mark)
        block.logBase = 21
        return block
    }

    static var metadata: LoadedMetadata {
        var seen = PerNode(repeating: StartMark.none)
        seen[peer] = mark
        let log = LogReplay(
            table: [nil, 0, 4_294_967_294, nil], lastNumber: 5, lastSequence: 6, seen: seen, damaged: true, spoiled: 7,
            mend: LogTransaction(
                instance: InstanceID(rawValue: 8), sequence: 9, number: 10,
                updates: [.init(slot: 11, extent: nil), .init(slot: 12, extent: 0)], contextStart: 13,
                context: [nil, 14], seen: seen))
        var words = [UInt64](repeating: 0, count: 62)
        words[3] = 0x8000_0000_0000_0001
        words[4] = 5
        for index in 20..<40 { words[index] = .max }
        return LoadedMetadata(
            superblock: superblock, log: log, bitmaps: [(peer, BitmapWords(words)), (NodeID(unchecked: 1), [])],
            bootID: (1, 2))
    }

    static var start: RecordedStart {
        var limits = Limits()
        limits.clientOperations = 101
        limits.peerOperations = 102
        limits.unconfirmedEntries = 103
        limits.epochBytes = 104
        limits.epochIdle = 105
        limits.coolAfter = 106
        limits.resyncWindow = 107
        limits.resyncPiece = 108
        limits.resyncWindowUnderLoad = 120
        limits.resyncPieceUnderLoad = 121
        limits.resyncGivesWay = 122
        limits.resyncFlushBytes = 109
        limits.logRingBlocks = 110
        var timing = Timing()
        timing.cutOff = 111
        timing.pingInterval = 112
        timing.pingTimeout = 113
        timing.reconnectMinimum = 114
        timing.reconnectMaximum = 115
        var configuration = ReplicaConfiguration(
            volume: "r0", node: NodeID(unchecked: 2),
            members: [.init(id: NodeID(unchecked: 2), name: "alpha"), .init(id: peer, name: "brävo")], limits: limits,
            timing: timing, resyncRate: 116)
        configuration.verifyEvery = 119
        configuration.keepsDiscarded = true
        var result = VerifyResult(end: .interrupted, began: 120, ended: 121)
        result.completed = 122
        result.reason = "the connection ended"
        result.runs = [BlockRun(first: 123, count: 124), BlockRun(first: 1 << 51, count: 1)]
        configuration.compared = [.init(node: peer, result: result)]
        return RecordedStart(
            configuration: configuration, run: RunID(rawValue: 117), seed: .max, wallClock: 118, metadata: metadata,
            time: MonotonicTime(nanoseconds: 1000))
    }

    static var messages: [PeerMessage] {
        let generation = Generation(id: GenerationID(rawValue: 30), node: peer, began: 31)
        let proposal = Proposal(volume: VolumeID(rawValue: 32), record: superblock.record, current: generation)
        var bases = PerNode(repeating: BitmapBase.inStep)
        bases[peer] = .since(GenerationID(rawValue: 55))
        let offer = JoinOffer(
            volume: VolumeID(rawValue: 33), record: superblock.record, current: generation,
            history: superblock.history, bases: bases)
        let runs = (0..<2000).map { BlockRun(first: UInt64($0) << 27, count: 1 << 27) }
        return [
            .ping(50), .pong(51), .goodbye(.parted), .state(state), .verdict(outcome: 7, rule: 255), .propose(proposal),
            .presence(Presence(role: .primary, disk: .upToDate, mark: mark, resyncPaused: true)),
            .accepted(number, mark: mark), .rejected(number, .notNow), .chosen(number),
            .write(sequence: 1, range: range, buffer: buffer), .zero(sequence: 2, range: range, trim: true),
            .written(sequence: 1 << 40, succeeded: true), .flush(round: 3),
            .flushed(round: 4, succeeded: false, mark: mark), .confirm(sequence: 5, mark: mark, settled: true),
            .read(id: 6, range: range), .readData(id: 7, range: range, buffer: buffer), .readFailed(id: 8),
            .resyncBegin(proposal, everything: true), .resyncReady, .bitmapRuns(runs), .bitmapRuns([]), .bitmapEnd,
            .pull(id: .max, range: range), .pullData(id: 9, range: range, buffer: buffer),
            .pullZero(id: 10, range: range), .pullFailed(id: 11), .announce(range),
            .resyncFlushed(pulls: 12, writes: 13),
            .resyncComplete, .marksToward(peer, Array(runs.prefix(1000))), .joinOffer(offer), .invalidate,
            .digest(id: 16, range: range), .digests(id: 17, [UInt8](repeating: 200, count: 64 * 32)),
            .digestFailed(id: 18, unreadable: true), .room(number: 19, size: 20 << 12, make: true),
            .roomAnswer(number: 21, RoomAnswer(.hasUnmoved, bytes: 22 << 12)),
            .standing(standing),
            .inquiry(Inquiry(round: 14, instance: InstanceID(rawValue: 52), isDiskless: true, fenced: peer)),
            .inquiryAnswer(InquiryAnswer(round: 15, objection: .heardPrimary, standing: standing)),
            .vote(number.term), .voteRuns(runs),
            .voted(Vote(term: number.term, standing: standing, hasCopy: true, isSuspect: false, capacity: 53)),
        ]
    }

    private static var standing: Standing {
        Standing(
            instance: InstanceID(rawValue: 54), volume: VolumeID(rawValue: 56), promised: number.term,
            record: superblock.record, isPrimary: true)
    }

    private static var state: HandshakeState {
        HandshakeState(
            node: peer, instance: InstanceID(rawValue: 40), volume: VolumeID(rawValue: 41), capacity: 42,
            record: superblock.record, promised: number.term, required: NodeSet(rawValue: 3),
            current: superblock.current,
            history: superblock.history, base: .everything(InstanceID(rawValue: 43)), dirtyBlocks: 44,
            unconfirmedBlocks: 45, seenInstance: InstanceID(rawValue: 46), seen: mark, mark: mark, flags: [.clean],
            hasDisk: true, isPrimary: false, isKeeper: true, discardMyData: true, run: RunID(rawValue: 47),
            resumes: RunID(rawValue: 48), foundSequence: 49)
    }

    static var commands: [Command] {
        [
            .promote(force: true, peerFenced: peer, deadline: deadline, dryRun: false),
            .demote(force: false, deadline: deadline),
            .connect(peer: nil, discardMyData: true, dryRun: true, deadline: deadline),
            .disconnect(peer: peer, force: true), .detach(force: true), .outdate(force: false),
            .invalidate(peer: peer, force: true, deadline: deadline), .pauseResync, .resumeResync, .resyncRate(nil),
            .resyncRate(50), .stop, .verify(peer: peer, rate: 51), .verify(peer: nil, rate: nil),
            .stopVerify(peer: peer),
            .repair(peer: nil, from: peer), .resize(size: 52, dryRun: true, deadline: deadline),
            .resize(size: nil, dryRun: false, deadline: deadline),
        ]
    }

    static var events: [Event] {
        let requests = [ClientRequest.Kind.read, .write, .zero, .trim, .flush].map { kind in
            ClientRequest(
                ticket: 511, kind: kind, range: range, forced: kind == .write, buffer: kind == .trim ? nil : buffer)
        }
        return [
            .tick, .dataDone(operation, .succeeded), .dataDone(operation, .zeroes), .dataDone(operation, .failed),
            .bufferTaken(operation, BufferID(index: -1)), .superblockWritten(succeeded: true),
            .logWritten(succeeded: false), .bitmapPageWritten(peer, page: 3, succeeded: true),
            .clientsChanged(count: 4), .heard(peer, session), .attached(metadata, command),
            .sessionOpened(peer, session, run: RunID(rawValue: 5), dialedHere: true, discardsItsData: false),
            .sessionClosed(peer, session, "Warum? 因为"), .dialFailed(peer, ""),
            .peerRefused(peer, reason: "mismatch", message: "size"), .commandWithdrawn(command),
            .fenceAnswered(peer, request: 3, .failed(code: 258)), .fenceAnswered(peer, request: 4, .peerFenced),
            .digested(operation, [UInt8](repeating: 201, count: 64 * 32)),
            .diskMeasured(RoomAnswer(.hasMetadata, bytes: 57)), .diskGrown(.unchanged), .diskPrepared(.done),
            .keptAside(succeeded: true, "r0.img"),
        ] + requests.map { .clientRequest($0) } + commands.map { .command(command, $0) }
            + messages.enumerated().map { .message(peer, stamp(UInt64($0 / 2)), $1) }
    }

    static var effects: [Effect] {
        let refusal = Refusal(reason: "a", message: "b", remedy: "c")
        return [
            .readData(operation, range, buffer, detectZeroes: true), .fillEdges(operation, exact: range, buffer),
            .writeData(operation, range, buffer), .zeroData(operation, range, trim: true), .flushData(operation),
            .takeBuffer(operation, bytes: 1 << 20),
            .mergeEdge(from: buffer, covering: range, exact: range, into: BufferID(index: 1)),
            .copyBuffer(from: buffer, into: BufferID(index: 2), bytes: 3), .writeSuperblock(copy: 1), .writeLog,
            .writeBitmapPage(peer, page: 4), .dial(peer), .cancelDial(peer), .offerToDiscard(peer, true),
            .closeSession(peer, session, "why"), .reply(1, .done), .reply(2, .failed), .reply(3, .notPrimary),
            .releaseBuffer(buffer), .closeClients("demoted"), .commandDone(command, .done("it is")),
            .commandDone(command, .refused(refusal)), .commandDone(command, .timedOut(refusal)),
            .note(Note(.info, "role", "one")), .note(Note(.warning, "disk", "two", peer: peer)),
            .note(Note(.error, "io", String(repeating: "x", count: 4096))), .releaseDisk, .stopped,
            .fence(peer, request: 3), .digestData(operation, range, buffer), .verified(peer),
            .measureDisk(wanted: 58), .growDisk(size: 59),
            .prepareDisk(size: 60), .leaveOffPreparing,
            .keepAside(.begin(peer, Generation(id: GenerationID(rawValue: 61), node: peer, began: 62), bytes: 63)),
            .keepAside(.copy([BlockRun(first: 64, count: 65)])), .keepAside(.end), .keepAside(.leaveOff),
        ] + messages.enumerated().map { .send(peer, stamp(UInt64($0 / 2)), $1) }
    }
}
