import Formats
import Model
package import Recording
import ReplicationCore

/// Two nodes or more, their disks, the links between them, clients and administrators, in one deterministic process.
///
/// Law: time passes only from one happening to the next; whatever a node wants (`Effect`) is answered by a later
/// happening, never within the same call.
package final class Cluster {
    package enum Phase: Sendable { case safety, liveness }

    let options: SimulationOptions
    let layout: DiskLayout
    var nodes: [SimulatedNode] = []
    var network: SimulatedNetwork
    var payloads = Payloads()
    let copies: Copies
    var oracle: Oracle!
    package internal(set) var trace: Trace

    var heap = EventHeap()
    /// Nanoseconds.
    var now: UInt64 = 1_000_000_000
    /// Everything is ordered by it.
    var step: UInt64 = 1
    var phase = Phase.safety
    var effects = EffectQueue(capacity: 256)
    let scratch: UnsafeMutableRawBufferPointer

    // One stream a subject.
    var networkRandom: SplitMix
    var diskRandoms: [SplitMix]
    var workloadRandom: SplitMix
    var administratorRandom: SplitMix
    var faultRandom: SplitMix
    var momentRandom: SplitMix
    var nodeRandoms: [SplitMix]
    var fencingRandom: SplitMix
    /// Who was fenced and has not met its peer since.
    var endedNodes: Set<Int> = []
    /// Somebody said `promote --force`.
    var hasForced = false
    /// A copy was made anew, at any time.
    var hasMadeAnew = false
    /// With quorum: who was told `promote --force`, and serves or served by it.
    var ruler: (side: Int, hasServed: Bool)?
    var mishaps: Mishaps
    var memberships: Memberships
    var turnover: Memberships
    var comparisons: Comparisons
    var growths: Growths
    var keepings: Keepings
    var duels: DuelState

    /// Events on their way to a node.
    var soon: [(event: Event, incarnation: Int)] = []

    // The workload.
    var operationsLeft: Int
    var nextWrite: UInt64 = 1
    var thinkBurst = 0
    var recentWrites: [ByteRange] = []
    var recentRandom: SplitMix
    // The administrators.
    /// The only node that may be promoted before both copies met.
    var founder: Int?
    var tasks: [AdministratorTask] = []
    /// Disk errors still to come.
    var errorsLeft = 3
    var liveness = LivenessState()
    var coverageCursor = 0
    var eventsHandled = 0
    var nextBustleCheck: UInt64 = 0
    /// There were no faults when it was last looked at.
    var wasQuiet = false
    /// Each process is recorded so, when it is not nil, into `recordings`.
    package var recordingLayout: RecordingLayout?
    package var recordings: [NodeRecording] = []
    var isDone = false
    /// A script sits where clients, administrators and faults would be drawn.
    var witness: (any ClusterWitness)?

    package init(options: SimulationOptions, trace: Trace = Trace()) {
        self.options = options
        self.trace = trace
        let seed = options.seed
        networkRandom = SplitMix(seed: seed, subject: "network")
        network = SimulatedNetwork(nodes: options.nodes)
        diskRandoms = (0..<options.nodes).map { SplitMix(seed: seed, subject: "disk \($0)") }
        workloadRandom = SplitMix(seed: seed, subject: "workload")
        recentRandom = SplitMix(seed: seed, subject: "recent writes")
        administratorRandom = SplitMix(seed: seed, subject: "administrator")
        faultRandom = SplitMix(seed: seed, subject: "faults")
        momentRandom = SplitMix(seed: seed, subject: "moments")
        nodeRandoms = (0..<options.nodes).map { SplitMix(seed: seed, subject: "node \($0)") }
        mishaps = Mishaps(seed: seed, nodes: options.nodes)
        memberships = Memberships(seed: seed, options: options)
        turnover = Memberships(besides: memberships, seed: seed, options: options)
        comparisons = Comparisons(seed: seed)
        growths = Growths(seed: seed, options: options)
        keepings = Keepings(nodes: options.nodes, seed: seed)
        duels = DuelState(seed: seed)
        fencingRandom = SplitMix(seed: seed, subject: "fencing")
        operationsLeft = options.operations
        copies = Copies(sectors: options.sectors, count: options.copies)
        copies.begin(with: Int(options.firstBlocks))
        if options.faults.contains(.keeping) { copies.rememberAll() }
        scratch = .allocate(byteCount: PeerFrame.maximumEncodedLength, alignment: 16)
        layout = MetadataBytes.layout(options)
        for side in 0..<options.nodes {
            let isWitness = side >= options.copies
            let disk = SimulatedDisk(side: side, copies: copies, metadataBytes: Int(layout.deviceEnd))
            let boot = (nodeRandoms[side].next(), nodeRandoms[side].next())
            let node = SimulatedNode(
                side: side, disk: disk, clockOffset: options.clockOffsets[side],
                drift: options.faults.contains(.drift) ? options.clockDrifts[side] : 0, bootID: boot,
                tickets: options.limits.clientOperations, isWitness: isWitness, nodes: options.nodes)
            nodes.append(node)
            MetadataBytes.create(
                on: node, layout: layout, options: options,
                instance: InstanceID(rawValue: nodeRandoms[side].next() | 1),
                isBlank: isWitness || (side == 1 && options.faults.contains(.blank)), blocks: options.firstBlocks)
        }
        oracle = Oracle(
            sectors: options.sectors, disks: self, copies: options.copies, nodes: options.nodes,
            isByMajority: options.isByMajority, mode: options.mode, options: options,
            mostLost: options.limits.sendBuffer + Geometry.extentSize)
    }

    deinit { scratch.deallocate() }

    /// Of two nodes the other one; of more, one of the others.
    func other(_ node: SimulatedNode) -> SimulatedNode { nodes[node.side == 0 ? 1 : 0] }

    /// Nodes with a copy.
    var copyNodes: ArraySlice<SimulatedNode> { nodes[..<options.copies] }

    // MARK: Running

    /// The whole simulation; nil when everything held.
    package func run() -> Violation? {
        beginMemberships()
        beginGrowths()
        beginTurnover()
        for node in nodes { start(node) }
        heap.push(.workload, at: now + 50_000_000)
        heap.push(.administrator, at: now + 20_000_000)
        heap.push(.fault, at: now + 400_000_000)
        heap.push(.watch, at: now + 1_000_000_000)
        if options.duel != nil { after(options.duel == .founding ? 0 : 30_000_000, .begin) }
        if !mishapKinds.isEmpty { heap.push(.mishap, at: now + 300_000_000) }
        if options.faults.contains(.verifying) { heap.push(.verify, at: now + 250_000_000) }
        while !isDone, oracle.violation == nil, happensNext() {
            if let watched = options.watched { watch(watched) }
            if step > 4_000_000 { oracle.fail(.liveness, "I7", "four million steps and no end") }
        }
        return oracle.violation
    }

    /// The next happening; false when there is none.
    func happensNext() -> Bool {
        guard let entry = heap.pop() else { return false }
        now = max(now, entry.time)
        step += 1
        happens(entry.happening)
        return true
    }

    private func watch(_ sector: Int) {
        for node in nodes {
            let seen = (copies[node.side, sector], node.disk.stable[sector])
            guard seen != node.watched else { continue }
            node.watched = seen
            trace.add(
                now, node.side, "sector",
                "\(sector): \(WriteValue.describe(seen.0)), stable \(WriteValue.describe(seen.1))")
        }
    }

    private func happens(_ happening: Happening) {
        switch happening {
        case .tick(let node, let incarnation, let due): tick(nodes[node], incarnation, due)
        case .soon(let node, let slot):
            if soon[slot].incarnation == nodes[node].incarnation { deliver(soon[slot].event, to: nodes[node]) }
            soon[slot].event = .tick
        case .diskDone(let node, let incarnation, let slot): diskDone(nodes[node], incarnation, slot)
        case .frame(let session, let toward): arrives(session, toward)
        case .dialArrives(let node, let attempt): dialArrives(nodes[node], attempt)
        case .dialFails(let node, let attempt): dialFails(nodes[node], attempt)
        case .workload: workload()
        case .administrator: administrator()
        case .task(let task): performTask(task)
        case .duel(let step): duel(step)
        case .fault: fault()
        case .restart(let node, let incarnation):
            if nodes[node].incarnation == incarnation, !nodes[node].isHeldDown { start(nodes[node]) }
        case .resume(let node, let incarnation):
            if nodes[node].incarnation == incarnation { resume(nodes[node]) }
        case .heal(let direction, let cut): heal(direction, cut)
        case .moment(let kind, let node): moment(kind, nodes[node])
        case .watch: watch()
        case .mishap: mishap()
        case .membership: changeMembership()
        case .growth: grow()
        case .prepared(let node, let incarnation, let size, let outcome):
            prepared(nodes[node], incarnation, size, outcome)
        case .kept(let node, let incarnation, let step, let succeeded):
            kept(nodes[node], incarnation, step, succeeded)
        case .turnover: changeTurnover()
        case .verify: verify()
        case .fenced(let node, let incarnation, let peer, let request):
            fenced(nodes[node], incarnation, peer, request)
        case .closed(let session, let toward): closedEarly(session, toward)
        }
    }

    private func tick(_ node: SimulatedNode, _ incarnation: Int, _ due: UInt64) {
        guard node.incarnation == incarnation, node.scheduledTick == due else { return }
        node.scheduledTick = .max
        node.idleTicks = now > node.lastTick + 1000 ? 0 : node.idleTicks + 1
        node.lastTick = now
        if node.idleTicks > 2000 {
            oracle.fail(.liveness, "I7", "node \(node.side) asks for a tick at a time that is past, again and again")
        }
        deliver(.tick, to: node)
    }

    // MARK: Events in, effects out

    /// Gives an event to a node's process, or keeps it for when the process goes on.
    func deliver(_ event: Event, to node: SimulatedNode) {
        guard let live = node.live else { return }
        if node.isPaused {
            node.inbox.append(event)
            return
        }
        witness?.heard(event, at: node)
        eventsHandled += 1
        node.bustle.heard(event)
        step += 1
        if case .message = event {
            node.heardAt = now
            if !node.isWaking { node.mustHear = false }
            if options.isByMajority { notesElection(event, at: node) }
        }
        if eventsHandled % options.deepCheckEvery == 0 { checkDeeply() }
        if eventsHandled % 16 == 0 { checkAccounts() }
        if trace.isOn { trace.add(now, node.side, "event", TraceText.of(event)) }
        trace.mix(UInt64(node.side) << 60 ^ now)
        node.recording?.recorder.record(event, at: node.localTime(now))
        live.core.pointee.handle(event, at: node.localTime(now), deciding: &effects)
        settle(node, live)
    }

    /// Performs what the core wants, and then looks at what it has become.
    func settle(_ node: SimulatedNode, _ live: LiveReplica) {
        while let effect = effects.popFirst() {
            if trace.isOn { trace.add(now, node.side, "effect", TraceText.of(effect)) }
            witness?.saw(effect, of: node)
            node.bustle.saw(effect)
            node.recording?.recorder.record(effect) { live.core.pointee.imageChecksum(of: effect) }
            perform(effect, node, live)
        }
        guard node.live === live else { return }
        if node.stopsNow { return finishStop(node) }
        let before = node.glimpse
        node.glimpse = live.core.pointee.glimpse()
        checkComparison(node, live)
        noteOffered(node, live)
        // All members of a record without a primary hold the same.
        let isHandedOver = node.glimpse.hasRecord && node.glimpse.primary == nil && node.glimpse.number != before.number
        oracle.requires(
            node.side, node.glimpse.required, inStep: node.glimpse.inStep,
            isHandedOver: isHandedOver && options.mode == .asynchronous)
        if node.glimpse.number != before.number { checkRecord(node) }
        checkReason(node, before)
        if node.glimpse.isPrimary, !before.isPrimary { promoted(node, live, before) }
        // Whoever is promoted after the pause is so like any copy whose peer is away: what may have happened meanwhile is its
        // administrator's to know.
        if !node.glimpse.isPrimary { node.mustHear = false }
        node.lastPromotion = []
        if let deadline = node.glimpse.deadline { scheduleTick(node, deadline) }
        checkCoverage()
    }

    /// Who is away is not left behind, and no generation begins, unless a reply waits for it. (One that came back is, before it
    /// is filled.)
    private func checkReason(_ node: SimulatedNode, _ before: Glimpse) {
        guard !options.isByMajority, before.isPrimary, node.glimpse.isPrimary,
            before.required.contains(other(node).id),
            node.glimpse.required == NodeSet(node.id), node.operationsInFlight == 0, node.closedClientsAt == 0,
            !node.isRepairing,
            now > node.heardAt + options.timing.cutOff
        else { return }
        oracle.fail("I8", "node \(node.side) leaves the other behind though no client waits")
    }

    private func scheduleTick(_ node: SimulatedNode, _ deadline: MonotonicTime) {
        let due = max(node.globalTime(deadline), now + 1)
        guard due < node.scheduledTick else { return }
        node.scheduledTick = due
        heap.push(.tick(node: node.side, incarnation: node.incarnation, due: due), at: due)
    }

    private func perform(_ effect: Effect, _ node: SimulatedNode, _ live: LiveReplica) {
        switch effect {
        case .readData, .fillEdges, .writeData, .zeroData, .flushData: submitData(effect, node)
        case .writeSuperblock, .writeLog, .writeBitmapPage:
            checkRest(effect, node)
            submitMetadata(effect, node, live)
        case .measureDisk: measureDisk(node)
        case .prepareDisk(let size): prepareDisk(for: size, node)
        case .leaveOffPreparing: node.prepared = nil
        case .growDisk(let size): growDisk(to: size, node, live)
        case .keepAside(let step): keepAside(step, node)
        case .takeBuffer, .mergeEdge, .copyBuffer, .releaseBuffer: performOnBuffers(effect, node)
        case .digestData(let id, let range, let buffer): digest(id, range, buffer, node)
        case .verified(let peer): verified(with: peer, node, live)
        case .send(let peer, let stamp, let message):
            if case .verdict(let outcome, let rule) = message { verdictSent(outcome, rule, by: node) }
            checkRoom(message, of: node)
            checkKept(message, stamp.session, to: peer, from: node)
            if case .digest(_, let range) = message { node.asks(of: peer, range, at: step) }
            send(message, stamp, to: peer, from: node)
        case .dial(let peer): dial(peer, from: node)
        case .cancelDial(let peer): node.dialing[Int(peer.rawValue)] = nil
        case .offerToDiscard(_, let offers): offered(offers, by: node)
        case .closeSession(_, let session, let reason): closeSession(session, reason, by: node)
        case .reply(let ticket, let result): replied(ticket, result, node)
        case .closeClients: clientsClosed(node)
        case .commandDone(let id, let outcome): commandDone(id, outcome, node)
        case .note(let note): noted(note, node)
        case .releaseDisk:
            node.usesDisk = false
            if forgetsWithProcess(node) { losesMemory(node) }
        case .fence(let peer, let request): fence(peer, request, by: node)
        case .stopped: stopped(node)
        }
    }

    private func promoted(_ node: SimulatedNode, _ live: LiveReplica, _ before: Glimpse) {
        if trace.isOn { trace.add(now, node.side, "oracle", "is primary now") }
        oracle.elections.begins(node.side)
        let promotions =
            node.commands.compactMap { pending -> (force: Bool, fenced: NodeID?, acceptsLoss: Bool)? in
                guard case .promote(let force, let fenced, _, _, let acceptsLoss) = pending.command else { return nil }
                return (force, fenced, acceptsLoss)
            } + node.lastPromotion
        if let ruler, ruler.side == node.side, !ruler.hasServed, !isFormerLine(node.glimpse.lineage) {
            return beginsLine(node)
        }
        let isOutlived = oracle.terms.hasOutlived(node.glimpse.number.term)
        if options.isByMajority { oracle.terms.serves(under: node.glimpse.number.term) }
        guard node.usesDisk, node.glimpse.required.contains(node.id), !options.isByMajority || !isOutlived else {
            return
        }
        oracle.promoted(
            node.side,
            Oracle.Promotion(
                forced: promotions.contains { $0.force }, peerFenced: promotions.contains { $0.fenced != nil },
                inStep: before.isInStep, beginsLine: node.forcedFrom != node.glimpse.lineage,
                acceptsLoss: promotions.contains { $0.acceptsLoss }, isAlone: node.glimpse.inStep == NodeSet(node.id),
                unsettled: { block in live.core.pointee.isInFlight(block: UInt64(block)) }), at: step)
    }
}

extension Cluster: DiskView {
    package func value(_ copy: Int, _ sector: Int) -> UInt64 { copies[copy, sector] }
    package func stableValue(_ copy: Int, _ sector: Int) -> UInt64 { nodes[copy].disk.stable[sector] }
    package func hasForgotten(_ copy: Int, _ sector: Int) -> Bool { nodes[copy].disk.hasForgotten(sector) }
    package func lastPowerLoss(_ copy: Int) -> UInt64 { nodes[copy].lastPowerLoss }
    package func isServing(_ copy: Int) -> Bool { nodes[copy].isPrimary }
    package func isPaused(_ copy: Int) -> Bool { nodes[copy].isPaused }
}
