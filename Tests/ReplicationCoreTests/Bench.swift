import Model
import ReplicationCore
import Testing

/// What a disk does, and what the pool of buffers does: each kind can be held back or made to fail.
enum Work: Hashable { case superblock, log, page, write, read, flush, buffer, digest, preparation }

/// What happened, in order.
enum Moment: Equatable {
    case sent(PeerMessage)
    case replied(UInt32, ClientResult)
    /// Both copies say this.
    case stable(Superblock)
    case logged(Set<UInt32>)
    case pageWritten(UInt32)
    case writing(ByteRange)
    case wrote(ByteRange)
    case flushed
    case commandEnded(CommandID)
    case clientsClosed
    case diskReleased
    /// What was prepared is not wanted any more.
    case leftOff
    case sessionEnded(SessionID)
    case stopped
}

/// One replica, a disk that answers when it is let, and a peer that says what the test says.
final class Bench {
    let me: NodeID
    let peer: NodeID
    var core: Replica
    private var effects = EffectQueue()
    var now: MonotonicTime
    private(set) var moments: [Moment] = []

    var held: Set<Work> = []
    var failing: Set<Work> = []
    /// What the disk could hold.
    var room = RoomAnswer(.has, bytes: Bench.size)
    /// Blocks that hold something else here than the peer says that it has.
    var rotten: Set<UInt64> = []
    private var waiting: [(work: Work, answer: Event, moment: Moment?)] = []
    private var answers: [(answer: Event, moment: Moment?)] = []
    private(set) var stable: Superblock

    /// The number of the newest ping that was sent.
    private(set) var lastPing: UInt64 = 0
    var answersPings = true
    var peerRun = RunID(rawValue: 0x900)
    private(set) var session = SessionID.none
    private var sessions: UInt64 = 0x7000
    private(set) var dials = 0
    /// How often the fence command was called, and for what.
    private(set) var fenceRequests: [UInt64] = []
    private(set) var told: HandshakeState?

    private var nextBuffer: Int32 = 0
    private var nextCommand: UInt32 = 0
    private(set) var openTickets: Set<UInt32> = []
    private(set) var lent: Set<BufferID> = []
    private var readBuffers: [UInt32: BufferID] = [:]
    private(set) var outcomes: [CommandID: CommandOutcome] = [:]

    static let size: UInt64 = 32 << 20

    init(
        _ node: NodeID, superblock: Superblock, log: [UInt32] = [], bootID: (UInt64, UInt64) = (1, 1),
        fencing: ReplicaConfiguration.Fencing = .none, configured: (inout ReplicaConfiguration) -> Void = { _ in }
    ) {
        me = node
        peer = node == alpha ? beta : alpha
        leaveOutRule()
        now = MonotonicTime(nanoseconds: 1_000_000_000)
        stable = superblock
        var limits = Limits()
        limits.clientOperations = 8
        limits.peerOperations = 16
        limits.unconfirmedEntries = 64
        limits.resyncFlushBytes = 1 << 20
        var configuration = ReplicaConfiguration(
            volume: "vol", node: node, members: [.init(id: alpha, name: "alpha"), .init(id: beta, name: "beta")],
            limits: limits, timing: Timing(), resyncRate: nil)
        configuration.fencing = fencing
        configured(&configuration)
        core = Replica(
            configuration: configuration, run: RunID(rawValue: 0x800), seed: 7, wallClock: 1_700_000_000,
            metadata: foundMetadata(superblock, log: log, bootID: bootID), at: now,
            deciding: &effects)
        settle()
    }

    // MARK: Events

    func handle(_ event: Event) {
        core.handle(event, at: now, deciding: &effects)
        settle()
    }

    /// Performs what the core wants, and lets everything answer that is not held.
    private func settle() {
        while true {
            while let effect = effects.popFirst() { perform(effect) }
            guard !answers.isEmpty else { return }
            let next = answers.removeFirst()
            if let moment = next.moment { note(moment) }
            core.handle(next.answer, at: now, deciding: &effects)
        }
    }

    private func note(_ moment: Moment) {
        if case .stable(let superblock) = moment { stable = superblock }
        moments.append(moment)
    }

    /// Time goes by; the core is woken when it asked for it.
    func pass(milliseconds: UInt64) {
        let end = now + milliseconds * 1_000_000
        var wakeUps = 0
        while let deadline = core.nextDeadline, deadline < end {
            now = max(now, deadline)
            handle(.tick)
            wakeUps += 1
            guard wakeUps < 10_000 else {
                Issue.record("it is woken for nothing")
                return
            }
        }
        now = end
        handle(.tick)
    }

    /// What was held is done now; all of it, or the first of its kind.
    func letGo(_ work: Work, onlyFirst: Bool = false) {
        if !onlyFirst { held.remove(work) }
        while let index = waiting.firstIndex(where: { $0.work == work }) {
            let next = waiting.remove(at: index)
            answers.append((next.answer, next.moment))
            settle()
            if onlyFirst { return }
        }
    }

    func isHeld(_ work: Work) -> Bool { waiting.contains { $0.work == work } }
    func heldCount(_ work: Work) -> Int { waiting.count { $0.work == work } }

    // MARK: Effects

    private func perform(_ effect: Effect) {
        switch effect {
        case .send(let node, let stamp, let message): sent(message, stamp, to: node)
        case .reply(let ticket, let result): replied(ticket, result)
        case .releaseBuffer(let buffer): release(buffer)
        case .commandDone(let id, let outcome):
            #expect(outcomes[id] == nil, "a command ends once")
            outcomes[id] = outcome
            note(.commandEnded(id))
        case .dial: dials += 1
        case .fence(_, let request): fenceRequests.append(request)
        case .closeSession(_, let closed, _):
            if closed == session { session = .none }
            note(.sessionEnded(closed))
        case .closeClients: note(.clientsClosed)
        case .releaseDisk: note(.diskReleased)
        case .stopped: note(.stopped)
        case .cancelDial, .offerToDiscard, .note, .mergeEdge, .copyBuffer, .verified: break
        default: performAtDisk(effect)
        }
    }

    private func performAtDisk(_ effect: Effect) {
        switch effect {
        case .readData(let id, _, _, _): answer(.read, .dataDone(id, failing.contains(.read) ? .failed : .succeeded))
        case .fillEdges(let id, _, _): answer(.read, .dataDone(id, failing.contains(.read) ? .failed : .succeeded))
        case .writeData(let id, let range, _), .zeroData(let id, let range, _):
            note(.writing(range))
            let fails = failing.contains(.write)
            answer(.write, .dataDone(id, fails ? .failed : .succeeded), fails ? nil : .wrote(range))
        case .flushData(let id):
            let fails = failing.contains(.flush)
            answer(.flush, .dataDone(id, fails ? .failed : .succeeded), fails ? nil : .flushed)
        case .measureDisk: answer(.read, .diskMeasured(room))
        case .prepareDisk:
            answer(.preparation, .diskPrepared(failing.contains(.preparation) ? .failed : .done))
        case .leaveOffPreparing:
            note(.leftOff)
            for index in waiting.indices where waiting[index].work == .preparation {
                waiting[index].answer = .diskPrepared(.unchanged)
            }
        case .growDisk:
            let image = core.superblockImage
            answer(
                .superblock, .diskGrown(failing.contains(.superblock) ? .failed : .done),
                failing.contains(.superblock) ? nil : .stable(image))
        case .takeBuffer(let id, _): answer(.buffer, .bufferTaken(id, lend()))
        case .digestData(let id, let range, _): answer(.digest, .digested(id, digests(of: range)))
        case .writeSuperblock(let copy):
            let fails = failing.contains(.superblock)
            let image = core.superblockImage
            answer(
                .superblock, .superblockWritten(succeeded: !fails), copy == 1 && !fails ? .stable(image) : nil)
        case .writeLog:
            let fails = failing.contains(.log)
            let extents = Set(core.logImage.updates.compactMap(\.extent))
            answer(.log, .logWritten(succeeded: !fails), fails ? nil : .logged(extents))
        case .writeBitmapPage(let node, let page):
            let fails = failing.contains(.page)
            answer(
                .page, .bitmapPageWritten(node, page: page, succeeded: !fails), fails ? nil : .pageWritten(page))
        default: Issue.record("nobody performs \(effect)")
        }
    }

    private func answer(_ work: Work, _ event: Event, _ moment: Moment? = nil) {
        if held.contains(work) {
            waiting.append((work, event, moment))
        } else {
            answers.append((event, moment))
        }
    }

    private func sent(_ message: PeerMessage, _ stamp: FrameStamp, to node: NodeID) {
        #expect(node == peer)
        guard stamp.session == session else { return }
        note(.sent(message))
        if case .state(let state) = message { told = state }
        if case .ping(let number) = message {
            lastPing = number
            if answersPings { answers.append((frame(.pong(number)), nil)) }
        }
    }

    /// What this disk, or the peer's, has there: the number of the block, thirty-two times.
    func digests(of range: ByteRange, there: Bool = false) -> [UInt8] {
        range.blocks.flatMap { block in
            let isRotten = !there && rotten.contains(block)
            return [UInt8](repeating: isRotten ? 0xff : UInt8(block & 0x7f), count: Comparing.digestLength)
        }
    }

    // MARK: Buffers and clients

    private func lend() -> BufferID {
        let buffer = BufferID(index: nextBuffer)
        nextBuffer += 1
        lent.insert(buffer)
        return buffer
    }

    private func release(_ buffer: BufferID) {
        #expect(lent.remove(buffer) != nil, "buffer \(buffer.index) is released once")
    }

    private func replied(_ ticket: UInt32, _ result: ClientResult) {
        #expect(openTickets.remove(ticket) != nil, "ticket \(ticket) is answered once")
        if let buffer = readBuffers.removeValue(forKey: ticket) { release(buffer) }
        note(.replied(ticket, result))
    }

    /// A client's request for whole blocks, or for `bytes` within the first.
    func ask(
        _ ticket: UInt32, _ kind: ClientRequest.Kind, block: UInt64 = 0, count: UInt64 = 1, bytes: UInt64? = nil,
        forced: Bool = false
    ) {
        openTickets.insert(ticket)
        let buffer = kind == .read || kind == .write ? lend() : nil
        if kind == .read { readBuffers[ticket] = buffer }
        let range =
            kind == .flush
            ? ByteRange(offset: 0, length: 0)
            : ByteRange(offset: block * 4096, length: bytes ?? count * 4096)
        handle(.clientRequest(ClientRequest(ticket: ticket, kind: kind, range: range, forced: forced, buffer: buffer)))
    }

    func reply(to ticket: UInt32) -> ClientResult? {
        for case .replied(ticket, let result) in moments { return result }
        return nil
    }

    // MARK: The administrator

    @discardableResult func command(_ command: Command) -> CommandID {
        nextCommand += 1
        let id = CommandID(rawValue: nextCommand)
        handle(.command(id, command))
        return id
    }

    func promote(
        force: Bool = false, fenced: NodeID? = nil, dryRun: Bool = false, within milliseconds: UInt64 = 5000,
        acceptsLoss: Bool = false
    ) -> CommandID {
        command(
            .promote(
                force: force, peerFenced: fenced, deadline: now + milliseconds * 1_000_000, dryRun: dryRun,
                acceptsLoss: acceptsLoss))
    }

    func demote(force: Bool = false, within milliseconds: UInt64 = 5000) -> CommandID {
        command(.demote(force: force, deadline: now + milliseconds * 1_000_000))
    }

    /// The reason of a refusal, `done`, or nil while the command is under way.
    func end(of id: CommandID) -> String? {
        switch outcomes[id] {
        case .done: "done"
        case .refused(let refusal), .timedOut(let refusal): refusal.reason
        case nil: nil
        }
    }

    // MARK: The peer

    func open() {
        sessions += 1
        session = SessionID(rawValue: sessions)
        handle(.sessionOpened(peer, session, run: peerRun, dialedHere: true, discardsItsData: false))
    }

    func breakLink() {
        let old = session
        session = .none
        handle(.sessionClosed(peer, old, "the cable"))
    }

    private func frame(_ message: PeerMessage, of session: SessionID? = nil, record: RecordNumber? = nil) -> Event {
        let record0 = core.durableState.record
        let stamp = FrameStamp(
            session: session ?? self.session, lineage: record0.lineage, number: record ?? record0.number)
        return .message(peer, stamp, message)
    }

    func hear(_ message: PeerMessage, of session: SessionID? = nil, record: RecordNumber? = nil) {
        handle(frame(message, of: session, record: record))
    }

    func hearWrite(_ sequence: UInt64, block: UInt64, of session: SessionID? = nil, record: RecordNumber? = nil) {
        let buffer = lend()
        hear(
            .write(sequence: sequence, range: ByteRange(offset: block * 4096, length: 4096), buffer: buffer),
            of: session, record: record)
    }

    func hearPullData(_ id: UInt64, _ range: ByteRange) {
        hear(.pullData(id: id, range: range, buffer: lend()))
    }

    func hearReadData(_ id: UInt32, _ range: ByteRange) {
        hear(.readData(id: id, range: range, buffer: lend()))
    }

    /// The whole handshake with a peer that says this; what the core made of it.
    @discardableResult func meet(_ theirs: HandshakeState) -> HandshakeOutcome? {
        let start = moments.count
        open()
        hear(.state(theirs))
        for case .sent(.verdict(let outcome, let rule)) in moments[start...] {
            guard let verdict = HandshakeOutcome(rawValue: outcome) else { return nil }
            hear(.verdict(outcome: verdict.mirrored.rawValue, rule: rule))
            return verdict
        }
        return nil
    }

    // MARK: Looking back

    func position(after start: Int = 0, where isWanted: (Moment) -> Bool) -> Int? {
        moments.indices.first { $0 >= start && isWanted(moments[$0]) }
    }

    func position(of moment: Moment, after start: Int = 0) -> Int? { position(after: start) { $0 == moment } }

    func messages(since start: Int = 0) -> [PeerMessage] {
        moments[start...].compactMap { if case .sent(let message) = $0 { message } else { nil } }
    }

    /// The newest proposal that was sent.
    var proposal: Proposal? {
        messages().reversed().lazy.compactMap { if case .propose(let proposal) = $0 { proposal } else { nil } }.first
    }

    func accept(_ number: RecordNumber) { hear(.accepted(number, mark: StartMark(startNumber: 1, sequence: 50))) }

    /// Nothing is owed to anybody.
    func expectNothingLeft(location: SourceLocation = #_sourceLocation) {
        #expect(openTickets.isEmpty, "unanswered requests", sourceLocation: location)
        #expect(lent.isEmpty, "buffers kept", sourceLocation: location)
    }
}
