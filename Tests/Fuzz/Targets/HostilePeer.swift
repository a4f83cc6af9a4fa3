import Formats
import Model
import ReplicationCore

/// What the hostile peer says.
extension HostileBench {
    func open(_ input: inout InputBytes) {
        let shape = input.u8()
        sessions += 1
        forgetSession()
        session = SessionID(rawValue: sessions)
        handle(
            .sessionOpened(
                peer, session, run: RunID(rawValue: shape & 2 == 0 ? 0x900 : 0x901), dialedHere: shape & 1 == 0,
                discardsItsData: shape & 4 != 0))
    }

    func close() {
        let old = session
        forgetSession()
        if !old.isNone { handle(.sessionClosed(peer, old, "the cable")) }
    }

    fileprivate func hear(_ message: PeerMessage, _ input: inout InputBytes) {
        var stamp = FrameStamp(
            session: session, lineage: core.durableState.record.lineage, number: core.durableState.record.number)
        switch input.u8() {
        case 0xff: stamp.session = SessionID(rawValue: session.rawValue &- 1)
        case 0xfe: stamp.number.index = stamp.number.index == 0 ? 0 : stamp.number.index - 1
        case 0xfd: stamp.number = number(&input)
        case 0xfc: stamp.lineage = LineageID(rawValue: UInt64(input.u8()))
        default: break
        }
        let payload = [UInt8](repeating: 0, count: message.payload?.count ?? 0)
        let bytes = encode(message, stamp, payload)
        if decodeFrame(bytes, payload, message.payload?.buffer) != message { fail("the target says what cannot be") }
        handle(.message(peer, stamp, message))
    }

    /// What an honest peer would say to the last thing it heard.
    func hearAnswer(_ input: inout InputBytes) {
        switch lastSent {
        case .state: hear(.state(state(&input)), &input)
        case .verdict(let outcome, let rule):
            guard let mine = HandshakeOutcome(rawValue: outcome) else { return }
            hear(.verdict(outcome: mine.mirrored.rawValue, rule: rule), &input)
        case .propose(let proposal): hear(.accepted(proposal.record.number, mark: mark(&input)), &input)
        case .joinOffer(let offer): hear(.accepted(offer.record.number, mark: mark(&input)), &input)
        case .resyncBegin, .bitmapRuns: hear(.resyncReady, &input)
        case .bitmapEnd: hear(.resyncComplete, &input)
        case .resyncReady: hear(.bitmapEnd, &input)
        case .write(let sequence, _, _), .zero(let sequence, _, _):
            hear(.written(sequence: sequence, succeeded: true), &input)
        case .flush(let round): hear(.flushed(round: round, succeeded: true, mark: mark(&input)), &input)
        case .pull(let id, let range): hear(.pullData(id: id, range: range, buffer: lend()), &input)
        case .read(let id, let range): hear(.readData(id: id, range: range, buffer: lend()), &input)
        case .ping(let number): hear(.pong(number), &input)
        case .digest(let id, let range): hear(.digests(id: id, digests(of: range, &input)), &input)
        default: hear(.state(state(&input)), &input)
        }
    }

    /// Any message at any time.
    func hearAny(_ kind: Int, _ input: inout InputBytes) {
        switch kind {
        case 0: hear(.state(state(&input)), &input)
        case 1: hear(.verdict(outcome: input.u8() % 13, rule: input.u8() % 40), &input)
        case 2...3: hear(.propose(proposal(&input)), &input)
        case 4: hear(.accepted(number(&input), mark: mark(&input)), &input)
        case 5: hear(.rejected(number(&input), input.pick(Array(RejectReason.allCases))), &input)
        case 6...7: hear(.chosen(number(&input)), &input)
        case 8...9:
            hear(.write(sequence: counter(&input), range: range(&input, within: true), buffer: lend()), &input)
        case 10:
            hear(.zero(sequence: counter(&input), range: range(&input, within: true), trim: input.flag()), &input)
        case 11: hear(.written(sequence: sequence(&input), succeeded: input.flag()), &input)
        case 12: hear(.flush(round: counter(&input)), &input)
        case 13: hear(.flushed(round: counter(&input), succeeded: input.flag(), mark: mark(&input)), &input)
        case 14: hear(.confirm(sequence: counter(&input), mark: mark(&input), settled: input.flag()), &input)
        case 15: hearReading(&input)
        case 16: hear(.resyncBegin(proposal(&input), everything: input.flag()), &input)
        case 17: hear(input.flag() ? .resyncReady : .resyncComplete, &input)
        case 18:
            let runs = (0..<input.below(8)).map { _ in
                run(&input)
            }
            hear(.bitmapRuns(runs), &input)
        case 19: hear(.bitmapEnd, &input)
        case 20: hear(.pull(id: counter(&input), range: range(&input, within: false)), &input)
        case 21: hearPulled(&input)
        case 22: hear(.resyncFlushed(pulls: counter(&input), writes: counter(&input)), &input)
        case 23: hear(.joinOffer(offer(&input)), &input)
        case 24: hearRare(&input)
        default:
            let presence = Presence(
                role: input.pick([.primary, .secondary, .unknown, .witness]),
                disk: input.pick([.upToDate, .inconsistent, .diskless, .failed, .outdated, .consistent]),
                mark: mark(&input), resyncPaused: input.flag())
            hear(.presence(presence), &input)
        }
    }

    private func hearRare(_ input: inout InputBytes) {
        let kind = input.u8()
        if kind & 0x18 == 0x18 { return hearComparing(&input) }
        if kind & 0x38 == 0x28 { return hear(.announce(range(&input, within: true)), &input) }
        switch kind & 7 {
        case 0: hear(.invalidate, &input)
        case 1: hear(.goodbye(input.pick(Array(GoodbyeReason.allCases))), &input)
        case 2: hear(.ping(counter(&input)), &input)
        case 3: hear(.pong(counter(&input)), &input)
        case 4: handle(.heard(peer, session))
        case 5: handle(.dialFailed(peer, "no route"))
        case 6: handle(.peerRefused(peer, reason: "mismatch", message: "another size"))
        default: handle(.peerRefused(peer, reason: "authentication", message: "another secret"))
        }
    }

    private func digests(of range: ByteRange, _ input: inout InputBytes) -> [UInt8] {
        let byte = input.u8()
        let count = byte < 0xf0 ? range.length / Geometry.blockSize : UInt64(byte & 7) + 1
        return [UInt8](repeating: byte & 1, count: Int(count) * Comparing.digestLength)
    }

    /// Room asked for, and answers to questions that were asked or not.
    private func hearRoom(_ shape: UInt8, _ input: inout InputBytes) {
        let bytes = UInt64(input.u8()) << (shape & 1 == 0 ? 12 : 20)
        guard shape & 2 == 0 else {
            return hear(.room(number: UInt64(input.u8()), size: bytes, make: input.flag()), &input)
        }
        let answer = RoomAnswer(input.pick(Array(RoomAnswer.Word.allCases)), bytes: bytes)
        hear(.roomAnswer(number: UInt64(input.u8()), answer), &input)
    }

    /// Questions, and answers to questions of ours, of others, and of the wrong length.
    private func hearComparing(_ input: inout InputBytes) {
        let shape = input.u8()
        if shape & 0xc0 == 0xc0 { return hearRoom(shape, &input) }
        let asked = sentDigests.isEmpty ? nil : sentDigests[Int(shape >> 3) % sentDigests.count]
        let id = shape & 4 == 0 ? asked?.id ?? 0 : UInt32(input.u8())
        let own = range(&input, within: true)
        switch shape & 3 {
        case 0: hear(.digest(id: id, range: own), &input)
        case 1: hear(.digestFailed(id: id, unreadable: input.flag()), &input)
        default: hear(.digests(id: id, digests(of: asked?.range ?? own, &input)), &input)
        }
    }

    private func hearReading(_ input: inout InputBytes) {
        let shape = input.u8()
        let asked = sentReads.isEmpty ? nil : sentReads[Int(shape >> 3) % sentReads.count]
        let id = shape & 4 == 0 ? asked?.id ?? 0 : UInt32(input.u8())
        let range = shape & 4 == 0 ? asked?.range ?? range(&input, within: false) : range(&input, within: false)
        switch shape & 3 {
        case 0: hear(.read(id: input.integer(UInt32.self), range: self.range(&input, within: false)), &input)
        case 1: hear(.readFailed(id: id), &input)
        default: hear(.readData(id: id, range: range, buffer: lend()), &input)
        }
    }

    private func hearPulled(_ input: inout InputBytes) {
        let shape = input.u8()
        let asked = sentPulls.isEmpty ? nil : sentPulls[Int(shape >> 3) % sentPulls.count]
        let id = shape & 4 == 0 ? asked?.id ?? 0 : counter(&input)
        let range = asked?.range ?? range(&input, within: false)
        switch shape & 3 {
        case 0: hear(.pullZero(id: id, range: range), &input)
        case 1: hear(.pullFailed(id: id), &input)
        default: hear(.pullData(id: id, range: range, buffer: lend()), &input)
        }
    }

    // MARK: Values: near what the core knows, and at the ends of what a frame can say

    private func counter(_ input: inout InputBytes) -> UInt64 {
        let byte = input.u8()
        switch byte {
        case 0xf8...0xfb: return (1 << 62) - UInt64(byte - 0xf8)
        case 0xfc...0xff: return UInt64(input.integer(UInt32.self))
        default: return UInt64(byte)
        }
    }

    private func sequence(_ input: inout InputBytes) -> UInt64 {
        let byte = input.u8()
        return byte & 1 == 0 && !sentWrites.isEmpty ? sentWrites[Int(byte >> 1) % sentWrites.count] : counter(&input)
    }

    private func mark(_ input: inout InputBytes) -> StartMark {
        switch input.u8() {
        case 0xff: StartMark(startNumber: counter(&input), sequence: counter(&input))
        case let byte: StartMark(startNumber: 2, sequence: 60 + UInt64(byte))
        }
    }

    private func number(_ input: inout InputBytes) -> RecordNumber {
        let own = core.durableState.record.number
        switch input.u8() & 7 {
        case 0: return own
        case 1: return RecordNumber(term: own.term, index: own.index + 1)
        case 2: return RecordNumber(term: Term(counter: own.term.counter + 1, node: peer), index: 1)
        case 3: return sentProposal?.record.number ?? own
        case 4: return sentOffer?.record.number ?? own
        case 5: return RecordNumber(term: core.durableState.promised, index: 1)
        default:
            return RecordNumber(
                term: Term(counter: counter(&input), node: input.flag() ? me : peer), index: counter(&input))
        }
    }

    private func range(_ input: inout InputBytes, within extent: Bool) -> ByteRange {
        let byte = input.u8()
        let all = Geometry.maximumVolumeSize / Geometry.blockSize
        let first = byte < 0xf0 ? UInt64(byte) * 67 : byte == 0xff ? all - 1 : UInt64(input.integer(UInt32.self))
        let place = first % all
        let rest = min(all - place, extent ? Geometry.blocksPerExtent - place % Geometry.blocksPerExtent : 256)
        return ByteRange(blocks: place..<place + min(UInt64(input.u8() & 15) + 1, rest))
    }

    /// Within the volume, across its end, or as long as a run can be.
    private func run(_ input: inout InputBytes) -> BlockRun {
        let byte = input.u8()
        let blocks = max(core.durableState.size / Geometry.blockSize, 1)
        let all = Geometry.maximumVolumeSize / Geometry.blockSize
        let first = byte < 0xc0 ? UInt64(byte) % blocks : blocks - min(blocks, UInt64(byte - 0xc0))
        let count = input.u8()
        return BlockRun(first: first, count: count < 0xf0 ? UInt64(count) + 1 : all >> UInt64(count - 0xef))
    }

    private func record(_ input: inout InputBytes) -> Record {
        var record = core.durableState.record
        let shape = input.u8()
        record.number = number(&input)
        if record.isEmpty || shape & 1 != 0 { record.lineage = LineageID(rawValue: UInt64(input.u8())) }
        if record.size == 0 { record.size = core.durableState.size }
        if shape & 2 != 0 { record.inStep = NodeSet(rawValue: input.u8()) } else { record.inStep = NodeSet(me, peer) }
        if shape & 4 != 0 { record.generation = GenerationID(rawValue: UInt64(input.u8())) }
        if shape & 8 != 0 { record.size = size(&input) }
        if shape & 16 != 0 { record.primary = input.flag() ? me : peer }
        if shape & 32 != 0 { record.voters = NodeSet(rawValue: input.u8()) }
        if shape & 64 == 0 {
            record.instances[me] = core.durableState.instance
            record.instances[peer] = InstanceID(rawValue: 0x101)
        }
        return record
    }

    private func size(_ input: inout InputBytes) -> UInt64 {
        switch input.u8() & 3 {
        case 0: Geometry.maximumVolumeSize
        case 1: UInt64(input.integer(UInt32.self))
        case 2: core.durableState.size + Geometry.blockSize
        default: UInt64(input.u8()) << 20
        }
    }

    private func generation(_ input: inout InputBytes) -> Generation {
        let own = core.durableState
        switch input.u8() & 3 {
        case 0: return own.current
        case 1: return own.history.first ?? own.current
        case 2: return sentProposal?.current ?? own.current
        default: return Generation(id: GenerationID(rawValue: UInt64(input.u8())), node: peer, began: 0)
        }
    }

    private func history(_ input: inout InputBytes) -> [Generation] {
        let byte = input.u8()
        if byte & 0x80 == 0 { return core.durableState.history }
        return (0..<Int(byte & 0x7f) % (Superblock.historyLimit + 1)).map { index in
            Generation(id: GenerationID(rawValue: UInt64(index)), node: peer, began: 0)
        }
    }

    private func proposal(_ input: inout InputBytes) -> Proposal {
        let volume = core.durableState.volume.isNone ? VolumeID(rawValue: 55) : core.durableState.volume
        return Proposal(
            volume: input.u8() == 0xff ? VolumeID(rawValue: 9) : volume, record: record(&input),
            current: generation(&input))
    }

    private func offer(_ input: inout InputBytes) -> JoinOffer {
        let proposal = proposal(&input)
        return JoinOffer(
            volume: proposal.volume, record: proposal.record, current: proposal.current, history: history(&input),
            bases: PerNode(repeating: base(&input)))
    }

    /// The mirror image of what the core says of itself: a pair in step.
    fileprivate var mirrored: HandshakeState {
        let own = core.durableState
        return HandshakeState(
            node: peer, instance: InstanceID(rawValue: 0x101), volume: own.volume, capacity: max(own.size, 1 << 20),
            record: own.record, promised: own.promised, required: own.required, current: own.current,
            history: own.history, base: .inStep,
            dirtyBlocks: 0, unconfirmedBlocks: 0, seenInstance: .none, seen: .none,
            mark: StartMark(startNumber: 2, sequence: 60), flags: [], hasDisk: true, isPrimary: false,
            isKeeper: false, discardMyData: false, run: RunID(rawValue: 0x900), resumes: .none, foundSequence: 60)
    }

    private func state(_ input: inout InputBytes) -> HandshakeState {
        let own = core.durableState
        let shape = input.integer(UInt16.self)
        var state = mirrored
        if shape & 1 != 0 { state.record = record(&input) }
        if shape & 2 != 0 { state.current = generation(&input) }
        if shape & 4 != 0 { state.history = history(&input) }
        if shape & 8 != 0 { state.flags = Superblock.Flags(rawValue: input.u8()) }
        if shape & 16 != 0 { state.isPrimary = true }
        if shape & 32 != 0 { state.hasDisk = false }
        if shape & 64 != 0 { state.required = NodeSet(rawValue: input.u8()) }
        if shape & 128 != 0 { state.base = base(&input) }
        if shape & 0x100 != 0 { state.capacity = size(&input) }
        if shape & 0x200 != 0 { state.instance = InstanceID(rawValue: UInt64(input.integer(UInt16.self))) }
        if shape & 0x400 != 0 { state.mark = mark(&input) }
        if shape & 0x800 != 0 { state.discardMyData = true }
        if shape & 0x1000 != 0 { state.resumes = RunID(rawValue: 0x800) }
        if shape & 0x2000 != 0 { state.seenInstance = own.instance }
        if shape & 0x4000 != 0 { state.dirtyBlocks = UInt64(input.u8()) }
        if shape & 0x8000 != 0 { state.volume = VolumeID(rawValue: UInt64(input.u8())) }
        return state
    }

    private func base(_ input: inout InputBytes) -> BitmapBase {
        switch input.u8() & 3 {
        case 0: .inStep
        case 1: .since(core.durableState.current.id)
        case 2: .since(GenerationID(rawValue: UInt64(input.u8())))
        default: .everything(core.durableState.instance)
        }
    }
}

/// What was said before the input begins: random bytes seldom find the way through a handshake.
enum Beginning: CaseIterable {
    case stranger, inStep, servesClients, isTarget, isSource
}

extension HostileBench {
    func begin(_ beginning: Beginning) throws(BrokenProperty) {
        try settle(holding: false)
        var none = InputBytes(UnsafeRawBufferPointer(start: nil, count: 0))
        var theirs = mirrored
        switch beginning {
        case .stranger: return
        case .inStep, .servesClients: break
        case .isTarget:
            theirs.history.insert(theirs.current, at: 0)
            theirs.base = .since(theirs.current.id)
            theirs.current = Generation(id: GenerationID(rawValue: 40), node: peer, began: 40)
            theirs.record.generation = theirs.current.id
            theirs.record.inStep = NodeSet(peer)
            theirs.required = NodeSet(peer)
            theirs.record.number = RecordNumber(term: Term(counter: 5, node: peer), index: 1)
            theirs.isPrimary = true
        case .isSource:
            theirs.current = theirs.history.removeFirst()
            theirs.record.inStep = NodeSet(me, peer)
            theirs.required = NodeSet(me, peer)
            theirs.record.generation = theirs.current.id
            theirs.record.number.index = 1
        }
        open(&none)
        try say(.state(theirs))
        if let verdict = sentVerdict, let mine = HandshakeOutcome(rawValue: verdict.outcome) {
            try say(.verdict(outcome: mine.mirrored.rawValue, rule: verdict.rule))
        }
        switch beginning {
        case .stranger, .inStep: break
        case .servesClients:
            nextCommand += 1
            handle(
                .command(
                    CommandID(rawValue: nextCommand),
                    .promote(force: false, peerFenced: nil, deadline: now + 1_000_000_000, dryRun: false)))
            try settle(holding: false)
            if let proposal = sentProposal {
                try say(.accepted(proposal.record.number, mark: StartMark(startNumber: 2, sequence: 61)))
            }
        case .isTarget:
            let proposal = Proposal(volume: theirs.volume, record: theirs.record, current: theirs.current)
            try say(.resyncBegin(proposal, everything: false))
        case .isSource: try say(.resyncReady)
        }
    }

    private func say(_ message: PeerMessage) throws(BrokenProperty) {
        var none = InputBytes(UnsafeRawBufferPointer(start: nil, count: 0))
        hear(message, &none)
        try settle(holding: false)
    }
}

extension PeerMessage {
    /// Its payload's buffer and length.
    var payload: (buffer: BufferID, count: Int)? {
        switch self {
        case .write(_, let range, let buffer), .readData(_, let range, let buffer), .pullData(_, let range, let buffer):
            (buffer, Int(range.length))
        default: nil
        }
    }
}
