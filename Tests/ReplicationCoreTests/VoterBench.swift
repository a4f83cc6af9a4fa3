import Model
import ReplicationCore
import Testing

let gamma = NodeID(2)!

/// One voter of three (`quorum: majority`), a disk that answers at once unless it is held, and two others that say what the
/// test says.
final class VoterBench {
    let me: NodeID
    var core: Replica
    private var effects = EffectQueue()
    var now = MonotonicTime(nanoseconds: 1_000_000_000)
    private(set) var stable: Superblock
    private(set) var sent: [(to: NodeID, message: PeerMessage)] = []
    private(set) var replies: [UInt32: ClientResult] = [:]
    private(set) var outcomes: [CommandID: CommandOutcome] = [:]
    private var readBuffers: Set<BufferID> = []
    private var nextBuffer: Int32 = 0
    private var nextCommand: UInt32 = 0

    /// Toward whom.
    private(set) var pagesWritten: [NodeID] = []
    var held: Set<Work> = []
    var failing: Set<Work> = []
    /// Buffers that the core has.
    private(set) var lent: Set<BufferID> = []
    private var waiting: [(work: Work, answer: Event)] = []
    private var answers: [Event] = []
    private var sessions: [NodeID: SessionID] = [:]
    private var nextSession: UInt64 = 0x7000
    /// Whose pings are answered.
    var ponging: Set<NodeID> = [alpha, beta, gamma]

    /// A member of three copies in step, or what the test makes of it.
    static func superblock(_ node: NodeID, _ change: (inout Superblock) -> Void = { _ in }) -> Superblock {
        var made = Superblock(node: node, instance: instance(of: node), size: Bench.size, logExtents: 4, zeroes: true)
        var instances = PerNode(repeating: InstanceID.none)
        for member in [alpha, beta, gamma] { instances[member] = instance(of: member) }
        made.record = Record(
            lineage: .founding, number: RecordNumber(term: Term(counter: 4, node: alpha), index: 2),
            generation: GenerationID(rawValue: 9), primary: nil, inStep: NodeSet(alpha, beta).inserting(gamma),
            voters: NodeSet(alpha, beta).inserting(gamma), instances: instances, size: Bench.size)
        made.volume = VolumeID(rawValue: 55)
        made.required = made.record.inStep
        made.promised = made.record.number.term
        made.current = generation(9)
        made.history = [generation(8)]
        made.flags = [.clean, .founded]
        for other in [alpha, beta, gamma] where other != node { made.peers[other].base = .inStep }
        change(&made)
        return made
    }

    init(
        _ node: NodeID, confirmsReads: Bool = false, failsWithoutQuorum: Bool = false, log: [UInt32] = [],
        bootID: (UInt64, UInt64) = (1, 1), naming members: [NodeID] = [alpha, beta, gamma],
        modes: [NodeID: ReplicationMode] = [:], _ change: (inout Superblock) -> Void = { _ in }
    ) {
        leaveOutRule()
        me = node
        let superblock = Self.superblock(node, change)
        stable = superblock
        var configuration = Self.configuration(node, naming: members, modes)
        configuration.confirmsReads = confirmsReads
        configuration.failsWithoutQuorum = failsWithoutQuorum
        core = Replica(
            configuration: configuration, run: RunID(rawValue: 0x800), seed: 7, wallClock: 1_700_000_000,
            metadata: foundMetadata(superblock, log: log, bootID: bootID), at: now,
            deciding: &effects)
        settle()
    }

    private static func configuration(
        _ node: NodeID, naming members: [NodeID], _ modes: [NodeID: ReplicationMode] = [:]
    ) -> ReplicaConfiguration {
        let names = [alpha: "alpha", beta: "beta", gamma: "gamma"]
        var configuration = ReplicaConfiguration(
            volume: "vol", node: node,
            members: members.map { .init(id: $0, name: names[$0] ?? "\($0)", replication: modes[$0] ?? .sync) },
            limits: Limits(), timing: Timing(), resyncRate: nil)
        configuration.quorum = .majority
        return configuration
    }

    // MARK: Events and effects

    func handle(_ event: Event) {
        core.handle(event, at: now, deciding: &effects)
        settle()
    }

    private func settle() {
        while true {
            while let effect = effects.popFirst() { perform(effect) }
            guard !answers.isEmpty else { return }
            core.handle(answers.removeFirst(), at: now, deciding: &effects)
        }
    }

    private func perform(_ effect: Effect) {
        switch effect {
        case .send(let node, let stamp, let message):
            guard stamp.session == sessions[node] else { return }
            sent.append((node, message))
            if case .ping(let number) = message, ponging.contains(node) {
                answers.append(frame(.pong(number), from: node))
            }
        case .reply(let ticket, let result): replies[ticket] = result
        case .commandDone(let id, let outcome): outcomes[id] = outcome
        case .closeSession(let node, let session, _): if sessions[node] == session { sessions[node] = nil }
        case .writeSuperblock(let copy): answer(.superblock, .superblockWritten(succeeded: true), copy)
        case .writeLog: answer(.log, .logWritten(succeeded: true))
        case .writeBitmapPage(let node, let page):
            pagesWritten.append(node)
            answer(.page, .bitmapPageWritten(node, page: page, succeeded: true))
        case .flushData(let id): answer(.flush, id)
        case .readData(let id, _, _, _), .fillEdges(let id, _, _): answer(.read, id)
        case .writeData(let id, _, _), .zeroData(let id, _, _): answer(.write, id)
        case .takeBuffer(let id, _): answers.append(.bufferTaken(id, lend()))
        case .digestData(let id, let range, _):
            let count = Int(range.length / Geometry.blockSize) * Comparing.digestLength
            answers.append(.digested(id, [UInt8](repeating: 0, count: count)))
        case .releaseBuffer(let buffer): lent.remove(buffer)
        default: break
        }
    }

    private func answer(_ work: Work, _ id: OperationID) {
        answer(work, .dataDone(id, failing.contains(work) ? .failed : .succeeded))
    }

    private func answer(_ work: Work, _ event: Event, _ copy: Int = 0) {
        if work == .superblock, copy == 1, !held.contains(work) { stable = core.superblockImage }
        if held.contains(work) { waiting.append((work, event)) } else { answers.append(event) }
    }

    /// What was held is done now; all of it, or the first of its kind.
    func letGo(_ work: Work, onlyFirst: Bool = false) {
        if !onlyFirst { held.remove(work) }
        while let index = waiting.firstIndex(where: { $0.work == work }) {
            answers.append(waiting.remove(at: index).answer)
            settle()
            if onlyFirst { return }
        }
    }

    func pass(milliseconds: UInt64) {
        let end = now + milliseconds * 1_000_000
        var wakeUps = 0
        while let deadline = core.nextDeadline, deadline < end, wakeUps < 10_000 {
            now = max(now, deadline)
            wakeUps += 1
            handle(.tick)
        }
        #expect(wakeUps < 10_000, "it is woken for nothing")
        now = end
        handle(.tick)
    }

    private func lend() -> BufferID {
        nextBuffer += 1
        lent.insert(BufferID(index: nextBuffer))
        return BufferID(index: nextBuffer)
    }

    func ask(_ ticket: UInt32, _ kind: ClientRequest.Kind, block: UInt64 = 0) {
        let range = kind == .flush ? ByteRange(offset: 0, length: 0) : ByteRange(offset: block * 4096, length: 4096)
        handle(
            .clientRequest(
                ClientRequest(
                    ticket: ticket, kind: kind, range: range, forced: false, buffer: kind == .flush ? nil : lend())))
    }

    @discardableResult func command(_ command: Command) -> CommandID {
        nextCommand += 1
        let id = CommandID(rawValue: nextCommand)
        handle(.command(id, command))
        return id
    }

    /// The configuration names these from now on.
    @discardableResult func adjust(
        naming members: [NodeID], modes: [NodeID: ReplicationMode] = [:], resyncRate: UInt64? = nil
    ) -> CommandID {
        nextCommand += 1
        let id = CommandID(rawValue: nextCommand)
        var configuration = Self.configuration(me, naming: members, modes)
        configuration.resyncRate = resyncRate
        handle(.adjusted(configuration, id))
        return id
    }

    func promote(force: Bool = false, within milliseconds: UInt64 = 5000) -> CommandID {
        command(.promote(force: force, peerFenced: nil, deadline: now + milliseconds * 1_000_000, dryRun: false))
    }

    // MARK: The others

    private func frame(
        _ message: PeerMessage, from node: NodeID, under number: RecordNumber? = nil, of lineage: LineageID? = nil
    ) -> Event {
        let record = core.durableState.record
        return .message(
            node,
            FrameStamp(
                session: sessions[node] ?? .none, lineage: lineage ?? record.lineage, number: number ?? record.number),
            message)
    }

    func hear(
        _ message: PeerMessage, from node: NodeID, under number: RecordNumber? = nil, of lineage: LineageID? = nil
    ) {
        handle(frame(message, from: node, under: number, of: lineage))
    }

    /// What a node says of itself that knows what this one does.
    func standing(of node: NodeID, _ change: (inout Standing) -> Void = { _ in }) -> Standing {
        var standing = Standing(
            instance: instance(of: node), volume: stable.volume, promised: stable.record.number.term,
            record: stable.record, isPrimary: false)
        change(&standing)
        return standing
    }

    /// A session, and what the node says of itself.
    @discardableResult func open(_ node: NodeID, _ change: (inout Standing) -> Void = { _ in }) -> Standing {
        nextSession += 1
        let session = SessionID(rawValue: nextSession)
        sessions[node] = session
        handle(.sessionOpened(node, session, run: run(of: node), dialedHere: true, discardsItsData: false))
        let standing = standing(of: node, change)
        hear(.standing(standing), from: node)
        return standing
    }

    /// A session, and the whole handshake of a copy without marks.
    func meet(_ node: NodeID, flags: Superblock.Flags = [], _ change: (inout Standing) -> Void = { _ in }) {
        let standing = open(node, change)
        shakeHands(with: node, since: sent.count, standing, flags)
    }

    /// The handshake of an open session.
    func shakeHands(with node: NodeID, since start: Int, _ change: (inout Standing) -> Void) {
        shakeHands(with: node, since: start, standing(of: node, change))
    }

    private func shakeHands(
        with node: NodeID, since start: Int, _ standing: Standing, _ flags: Superblock.Flags = []
    ) {
        let mine = core.durableState
        let state = copyState(of: node) {
            $0.flags = flags
            $0.instance = standing.instance
            $0.volume = standing.volume
            $0.record = standing.record
            $0.promised = standing.promised
            $0.required = standing.record.inStep
            $0.current = mine.current
            $0.history = mine.history
            $0.seenInstance = .none
            $0.isPrimary = standing.isPrimary
        }
        hear(.state(state), from: node)
        for case (node, .verdict(let outcome, let rule)) in sent[start...] {
            guard let verdict = HandshakeOutcome(rawValue: outcome) else { continue }
            hear(.verdict(outcome: verdict.mirrored.rawValue, rule: rule), from: node)
        }
    }

    func hasSession(_ node: NodeID) -> Bool { sessions[node] != nil }

    func leave(_ node: NodeID) {
        guard let session = sessions.removeValue(forKey: node) else { return }
        handle(.sessionClosed(node, session, "the cable"))
    }

    func messages(to node: NodeID, since start: Int = 0) -> [PeerMessage] {
        sent[start...].compactMap { $0.to == node ? $0.message : nil }
    }

    /// The newest record that was offered.
    var proposal: Proposal? {
        sent.reversed().lazy.compactMap { if case .propose(let proposal) = $0.message { proposal } else { nil } }.first
    }

    /// The term for which `node` was asked to vote.
    func termAsked(of node: NodeID) -> Term? {
        messages(to: node).reversed().lazy.compactMap { if case .vote(let term) = $0 { term } else { nil } }.first
    }

    /// The term of the vote that this node gave last.
    var termVoted: Term? {
        sent.reversed().lazy.compactMap { if case .voted(let vote) = $0.message { vote.term } else { nil } }.first
    }

    func hasObjection(to node: NodeID) -> VoteObjection? {
        messages(to: node).reversed().lazy.compactMap {
            if case .inquiryAnswer(let answer) = $0 { answer } else { nil }
        }.first?.objection
    }

    func answerInquiry(
        from node: NodeID, _ objection: VoteObjection? = nil, _ change: (inout Standing) -> Void = { _ in }
    ) {
        for case .inquiry(let inquiry) in messages(to: node).suffix(20) {
            hear(
                .inquiryAnswer(
                    InquiryAnswer(round: inquiry.round, objection: objection, standing: standing(of: node, change))),
                from: node)
        }
    }

    func vote(
        from node: NodeID, isSuspect: Bool = false, unconfirmed runs: [BlockRun] = [],
        _ change: (inout Standing) -> Void = { _ in }
    ) {
        guard let term = termAsked(of: node) else { return }
        if !runs.isEmpty { hear(.voteRuns(runs), from: node) }
        let standing = standing(of: node) {
            $0.promised = term
            change(&$0)
        }
        hear(
            .voted(Vote(term: term, standing: standing, hasCopy: true, isSuspect: isSuspect, capacity: Bench.size)),
            from: node)
    }

    func accept(from node: NodeID) {
        guard let number = proposal?.record.number else { return }
        hear(.accepted(number, mark: StartMark(startNumber: 1, sequence: 50)), from: node)
    }

    /// `alpha`, primary by the votes of both others, who stay in step.
    static func primary(
        confirmsReads: Bool = false, failsWithoutQuorum: Bool = false, modes: [NodeID: ReplicationMode] = [:],
        unconfirmed runs: [BlockRun] = []
    ) -> VoterBench {
        let bench = VoterBench(
            alpha, confirmsReads: confirmsReads, failsWithoutQuorum: failsWithoutQuorum, modes: modes)
        // What is to be settled is not read yet.
        if !runs.isEmpty { bench.held = [.read] }
        for node in [beta, gamma] { bench.meet(node) }
        bench.becomePrimary(unconfirmed: runs)
        return bench
    }

    /// `alpha`, whose record that follows `beta`, primary until then and silent, is chosen with `gamma`, and whose lease is not over.
    static func successor() -> VoterBench {
        let bench = VoterBench(alpha) { $0.record.primary = beta }
        bench.meet(gamma)
        _ = bench.promote()
        bench.answerInquiry(from: gamma)
        bench.vote(from: gamma)
        bench.accept(from: gamma)
        #expect(bench.stable.record.primary == alpha)
        #expect(!bench.core.isPrimary)
        return bench
    }

    /// By the votes of both others; `beta` tells of what it has not heard confirmed.
    func becomePrimary(unconfirmed runs: [BlockRun] = []) {
        _ = promote()
        for node in [beta, gamma] { answerInquiry(from: node) }
        for node in [beta, gamma] { vote(from: node, unconfirmed: node == beta ? runs : []) }
        for node in [beta, gamma] { accept(from: node) }
        waitLeaseOut()
        #expect(core.isPrimary)
    }

    /// A lease that an earlier run of this node gave may run still.
    private func waitLeaseOut() {
        for _ in 0..<10 where !core.isPrimary {
            pass(milliseconds: 300)
            for node in [beta, gamma] { hear(.ping(1), from: node) }
        }
    }
}
