import Formats
import Model
import ReplicationCore

/// A replica with a disk and clients that keep their contracts, and a peer that keeps none.
final class HostileBench {
    static let size: UInt64 = 64 << 20
    private static let room: UInt64 = 400 << 20
    let me: NodeID
    let peer: NodeID
    var core: Replica
    private var effects = EffectQueue(capacity: 64)
    var now = MonotonicTime(nanoseconds: 1_000_000_000)
    private let layout: DiskLayout

    /// What the disk and the pool have yet to answer, in order; the second is the answer of a failure.
    private var answers: [(done: Event, failed: Event)] = []
    private var broken: BrokenProperty?

    var session = SessionID.none
    var sessions: UInt64 = 0x7000
    /// The last of each kind that the core sent in this session.
    var sentState: HandshakeState?
    var sentVerdict: (outcome: UInt8, rule: UInt8)?
    var sentProposal: Proposal?
    var sentOffer: JoinOffer?
    var sentReads: [(id: UInt32, range: ByteRange)] = []
    var sentPulls: [(id: UInt64, range: ByteRange)] = []
    var sentDigests: [(id: UInt32, range: ByteRange)] = []
    var sentWrites: [UInt64] = []
    var sentRound: UInt64 = 0
    var lastSent: PeerMessage?

    private var nextBuffer: Int32 = 0
    private var lent: Set<BufferID> = []
    /// Requests that wait for their answer; of a read its buffer.
    var tickets: [UInt32: BufferID?] = [:]
    var clients: UInt32 = 0
    var nextCommand: UInt32 = 0

    init(_ beginning: Beginning, _ input: inout InputBytes) {
        var shape = input.u8()
        if beginning != .stranger { shape = shape & 0x83 | 8 }
        if beginning == .isSource { shape |= 0x20 }
        me = NodeID(unchecked: shape & 1)
        peer = NodeID(unchecked: 1 - (shape & 1))
        let size = shape & 2 == 0 ? Self.size : UInt64(3) * Geometry.blockSize
        // There is room to grow into, of some pages of the bitmap.
        layout = Self.layout(size: size + Self.room, peer: peer)
        let metadata = shape & 0x40 != 0 ? nil : Self.metadata(shape, me: me, peer: peer, size: size, &input)
        core = Replica(
            configuration: ReplicaConfiguration(
                volume: "r0", node: me, members: [.init(id: me, name: "alpha"), .init(id: peer, name: "bravo")],
                limits: .small, timing: Timing(), resyncRate: nil),
            run: RunID(rawValue: 0x800), seed: 7, wallClock: 1_700_000_000, metadata: metadata, at: now,
            deciding: &effects)
    }

    private static func layout(size: UInt64, peer: NodeID) -> DiskLayout {
        do {
            let needed = try DiskLayout.externalSize(dataSize: size, logExtents: 4, peerSlots: 1)
            return try DiskLayout.external(
                metadataSize: needed + 20 * DiskLayout.blockSize, dataSize: size, logExtents: 4, peers: [peer])
        } catch {
            preconditionFailure("the layout of the bench cannot be: \(error)")
        }
    }

    /// A copy as `create` leaves it, or one of a pair that was in step.
    private static func metadata(
        _ shape: UInt8, me: NodeID, peer: NodeID, size: UInt64, _ input: inout InputBytes
    ) -> LoadedMetadata {
        var superblock = Superblock(
            node: me, instance: InstanceID(rawValue: 0x100), size: size, logExtents: 4, zeroes: shape & 4 == 0)
        if shape & 8 != 0 {
            superblock.volume = VolumeID(rawValue: 55)
            superblock.sequence = 100
            superblock.startNumber = 3
            superblock.bootID = (shape & 0x10 == 0 ? 1 : 2, 1)
            superblock.promised = Term(counter: 4, node: NodeID(unchecked: 0))
            superblock.current = Generation(id: GenerationID(rawValue: 9), node: me, began: 9)
            superblock.history = [Generation(id: GenerationID(rawValue: 8), node: me, began: 8)]
            superblock.flags = Superblock.Flags(rawValue: shape & 4 == 0 ? 1 : input.u8() & 0x0f)
            let inStep = shape & 0x20 == 0 ? NodeSet(me, peer) : NodeSet(me)
            superblock.required = inStep
            superblock.record = Record(
                lineage: LineageID(rawValue: 77),
                number: RecordNumber(term: Term(counter: 4, node: NodeID(unchecked: 0)), index: 2),
                generation: GenerationID(rawValue: 9), primary: nil, inStep: inStep, voters: NodeSet(me, peer),
                instances: PerNode(repeating: .none), size: size)
            superblock.record.instances[me] = superblock.instance
            superblock.record.instances[peer] = InstanceID(rawValue: 0x101)
            superblock.peers[peer] = PeerSlot(
                base: shape & 0x20 == 0 ? .inStep : .since(GenerationID(rawValue: 8)),
                seenInstance: InstanceID(rawValue: 0x101), seen: StartMark(startNumber: 2, sequence: 60))
        }
        let extents = (size + Geometry.extentSize - 1) / Geometry.extentSize
        let hot = shape & 0x80 == 0 ? nil : UInt32(UInt64(input.u8()) % extents)
        let log = LogReplay(
            table: [hot, nil, nil, nil], lastNumber: 1, lastSequence: superblock.sequence,
            seen: PerNode(repeating: .none), damaged: false)
        return LoadedMetadata(
            superblock: superblock, log: log, bitmaps: [(peer, [UInt64(input.u8()) & (size == Self.size ? 0xff : 7)])],
            bootID: (1, 1))
    }

    // MARK: Events

    func handle(_ event: Event) {
        core.handle(event, at: now, deciding: &effects)
        var performed = 0
        while let effect = effects.popFirst() {
            perform(effect)
            performed += 1
        }
        if performed > 20_000 { fail("one event has \(performed) effects") }
    }

    /// Performs what is left, and lets the disk answer unless its answers are held back.
    func settle(holding: Bool) throws(BrokenProperty) {
        while let effect = effects.popFirst() { perform(effect) }
        var steps = 0
        while !holding, !answers.isEmpty {
            try answerOne(succeeding: true)
            steps += 1
            try require(steps < 20_000, "the disk is asked without end")
        }
        if let broken { throw broken }
    }

    func answerOne(succeeding: Bool) throws(BrokenProperty) {
        guard !answers.isEmpty else { return }
        let next = answers.removeFirst()
        handle(succeeding ? next.done : next.failed)
        if let broken { throw broken }
    }

    /// Time goes by; the core is woken when it asked for it, at most some times.
    func pass(nanoseconds: UInt64) {
        let end = now + nanoseconds
        for _ in 0..<64 {
            guard let deadline = core.nextDeadline, deadline < end else { break }
            now = max(now, deadline)
            handle(.tick)
        }
        now = end
        handle(.tick)
    }

    func fail(_ words: String) { if broken == nil { broken = BrokenProperty(words) } }

    // MARK: Effects

    private func perform(_ effect: Effect) {
        switch effect {
        case .readData(let id, let range, _, _), .writeData(let id, let range, _), .zeroData(let id, let range, _),
            .fillEdges(let id, let range, _):
            if range.isEmpty || range.end > layout.dataSize { fail("the disk is asked for \(range)") }
            answers.append((.dataDone(id, .succeeded), .dataDone(id, .failed)))
        case .flushData(let id): answers.append((.dataDone(id, .succeeded), .dataDone(id, .failed)))
        case .takeBuffer(let id, let bytes):
            if bytes == 0 || UInt64(bytes) > Geometry.maximumPayload { fail("a buffer of \(bytes) bytes") }
            let event = Event.bufferTaken(id, lend())
            answers.append((event, event))
        case .digestData(let id, let range, let buffer):
            if !lent.contains(buffer) { fail("a digest of a buffer that was given back") }
            let count = Int(range.length / Geometry.blockSize) * Comparing.digestLength
            if count > Int(Comparing.mostBlocks) * Comparing.digestLength { return fail("a digest of \(range)") }
            let event = Event.digested(id, [UInt8](repeating: 1, count: count))
            answers.append((event, event))
        case .writeSuperblock(let copy): writeSuperblock(copy)
        case .writeLog: writeLog()
        case .writeBitmapPage(let node, let page):
            if layout.bitmapPageOffset(of: node, page: page) == nil { fail("page \(page) of \(node)'s bitmap") }
            answers.append(
                (
                    .bitmapPageWritten(node, page: page, succeeded: true),
                    .bitmapPageWritten(node, page: page, succeeded: false)
                ))
        case .measureDisk:
            let event = Event.diskMeasured(RoomAnswer(.has, bytes: layout.dataSize))
            answers.append((event, event))
        case .prepareDisk(let size):
            answers.append(
                (.diskPrepared(size > layout.dataSize ? .unchanged : .done), .diskPrepared(.unchanged)))
        case .leaveOffPreparing, .keepAside(.leaveOff): break
        case .keepAside: answers.append((.keptAside(succeeded: true, ""), .keptAside(succeeded: false, "full")))
        case .growDisk(let size):
            if size > layout.dataSize { fail("room for \(size) bytes that the disk has not") }
            if core.superblockImage.size != size { fail("a superblock of another size than \(size)") }
            answers.append((.diskGrown(.done), .diskGrown(.unchanged)))
        case .send(let node, let stamp, let message): sent(message, stamp, to: node)
        case .reply(let ticket, _):
            guard let buffer = tickets.removeValue(forKey: ticket) else {
                return fail("ticket \(ticket) answered twice")
            }
            if let buffer { release(buffer) }
        case .releaseBuffer(let buffer): release(buffer)
        case .closeSession(_, let closed, _): if closed == session { forgetSession() }
        case .mergeEdge(let from, _, _, let into), .copyBuffer(let from, let into, _):
            if !lent.contains(from) || !lent.contains(into) { fail("bytes of a buffer that was given back") }
        case .dial, .cancelDial, .offerToDiscard, .closeClients, .commandDone, .note, .releaseDisk, .fence, .verified,
            .stopped:
            break
        }
    }

    private func writeSuperblock(_ copy: Int) {
        let image = core.superblockImage
        var block = [UInt8](repeating: 0, count: SuperblockCoding.blockLength)
        block.withUnsafeMutableBytes { SuperblockCoding.encode(image, layout, copy: copy, into: $0) }
        let back = block.withUnsafeBytes {
            try? SuperblockCoding.decode($0, copy: copy, placement: .external, deviceSize: layout.deviceEnd)
        }
        if back?.superblock != image { fail("a superblock is written that cannot be read back: \(image)") }
        answers.append((.superblockWritten(succeeded: true), .superblockWritten(succeeded: false)))
    }

    private func writeLog() {
        let image = core.logImage
        var block = [UInt8](repeating: 0, count: LogCoding.blockLength)
        block.withUnsafeMutableBytes { LogCoding.encode(image, into: $0) }
        let back = block.withUnsafeBytes { try? LogCoding.decode($0, instance: image.instance) }
        if back != image { fail("a log block is written that cannot be read back: \(image)") }
        answers.append((.logWritten(succeeded: true), .logWritten(succeeded: false)))
    }

    private func sent(_ message: PeerMessage, _ stamp: FrameStamp, to node: NodeID) {
        requireCoding(message, stamp)
        if let buffer = message.payload?.buffer, !lent.contains(buffer) { fail("a buffer is sent that was given back") }
        if case .pull(_, let range) = message, range.end > layout.dataSize { fail("\(range) is pulled") }
        if case .read(_, let range) = message, range.end > layout.dataSize { fail("\(range) is read") }
        guard node == peer, stamp.session == session else { return }
        lastSent = message
        switch message {
        case .state(let state): sentState = state
        case .verdict(let outcome, let rule): sentVerdict = (outcome, rule)
        case .propose(let proposal), .resyncBegin(let proposal, _): sentProposal = proposal
        case .joinOffer(let offer): sentOffer = offer
        case .read(let id, let range): sentReads.append((id, range))
        case .pull(let id, let range): sentPulls.append((id, range))
        case .digest(let id, let range): sentDigests.append((id, range))
        case .write(let sequence, _, _), .zero(let sequence, _, _): sentWrites.append(sequence)
        case .flush(let round): sentRound = round
        default: break
        }
    }

    /// Whatever is sent can be said, and is understood as it was meant.
    private func requireCoding(_ message: PeerMessage, _ stamp: FrameStamp) {
        let payload = [UInt8](repeating: 0, count: message.payload?.count ?? 0)
        let bytes = encode(message, stamp, payload)
        if decodeFrame(bytes, payload, message.payload?.buffer) != message {
            fail("sent, and not understood: \(message)")
        }
    }

    // MARK: Buffers

    func lend() -> BufferID {
        let buffer = BufferID(index: nextBuffer)
        nextBuffer += 1
        lent.insert(buffer)
        return buffer
    }

    private func release(_ buffer: BufferID) {
        if lent.remove(buffer) == nil { fail("buffer \(buffer.index) is given back twice") }
    }

    func forgetSession() {
        session = .none
        sentState = nil
        sentVerdict = nil
        sentReads.removeAll()
        sentPulls.removeAll()
        sentDigests.removeAll()
        sentWrites.removeAll()
    }
}
