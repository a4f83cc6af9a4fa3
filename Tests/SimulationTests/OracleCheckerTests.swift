import Model
import ReplicationCore
import Simulation
import Testing

/// A canary for each checker that judges records, messages and accounts: what is wrong is found, its counterpart passes.
struct OracleCheckerTests {
    private static let alpha = NodeID(unchecked: 0)
    private static let beta = NodeID(unchecked: 1)
    private static let both = NodeSet(alpha, beta)
    private static let line = LineageID(rawValue: 5)

    private func number(_ counter: UInt64, _ index: UInt64 = 1) -> RecordNumber {
        RecordNumber(term: Term(counter: counter, node: Self.alpha), index: index)
    }

    private func held(_ number: RecordNumber, line: LineageID = line) -> OracleTerms.Held {
        OracleTerms.Held(lineage: line, number: number)
    }

    private func superblock(_ change: (inout Superblock) -> Void = { _ in }) -> Superblock {
        var superblock = Superblock(
            node: Self.alpha, instance: InstanceID(rawValue: 1), size: 1 << 20, logExtents: 2, zeroes: true)
        superblock.volume = VolumeID(rawValue: 9)
        superblock.startNumber = 3
        superblock.current = Generation(id: GenerationID(rawValue: 77), node: Self.alpha, began: 0)
        superblock.record = Record(
            lineage: Self.line, number: number(4), generation: superblock.current.id, primary: Self.alpha,
            inStep: Self.both, voters: Self.both, instances: PerNode(repeating: .none), size: 1 << 20)
        superblock.required = Self.both
        superblock.promised = number(4).term
        change(&superblock)
        return superblock
    }

    private func objection(
        to message: PeerMessage, isMarkedWhole: Bool = true, _ change: (inout Superblock) -> Void = { _ in }
    ) -> String? {
        OracleAssertions.objection(to: message, superblock(change)) { isMarkedWhole }
    }

    // MARK: Terms

    @Test func `a record that goes back is found, unless the process or the lineage is another`() {
        var terms = OracleTerms()
        #expect(terms.holds(0, held(number(3))) == nil)
        #expect(terms.holds(0, held(number(3, 2))) == nil)
        #expect(terms.holds(0, held(number(2), line: LineageID(rawValue: 6))) == nil)
        #expect(terms.holds(0, held(number(1), line: LineageID(rawValue: 6))) != nil)
        terms.forget(0)
        #expect(terms.holds(0, held(number(1), line: LineageID(rawValue: 6))) == nil)
    }

    @Test func `who acknowledges is the primary of the record, and a record has one`() {
        var terms = OracleTerms()
        #expect(terms.acknowledged(by: 0, under: held(number(3)), primary: Self.alpha, inStep: Self.both) == nil)
        #expect(terms.acknowledged(by: 0, under: held(number(3)), primary: Self.beta, inStep: Self.both) != nil)
        #expect(terms.acknowledged(by: 0, under: held(number(3)), primary: nil, inStep: Self.both) != nil)
        #expect(terms.acknowledged(by: 0, under: held(number(4)), primary: nil, inStep: NodeSet(Self.alpha)) == nil)
        #expect(terms.acknowledged(by: 1, under: held(number(3)), primary: Self.beta, inStep: Self.both) != nil)
    }

    @Test func `two copies that go on alone in one generation are found`() {
        let generation = GenerationID(rawValue: 7)
        var terms = OracleTerms()
        #expect(terms.acknowledgedAlone(at: 0, in: generation, others: GenerationID(rawValue: 6)) == nil)
        #expect(terms.acknowledgedAlone(at: 0, in: generation, others: nil) == nil)
        #expect(terms.acknowledgedAlone(at: 0, in: generation, others: generation) != nil)
        #expect(terms.acknowledgedAlone(at: 1, in: generation, others: nil) != nil)
        terms.met()
        #expect(terms.acknowledgedAlone(at: 1, in: generation, others: nil) == nil)
    }

    // MARK: Assertions

    @Test func `an acceptance of a record that is not on disk is found`() {
        let mark = StartMark(startNumber: 3, sequence: 1)
        #expect(objection(to: .accepted(number(4), mark: mark)) == nil)
        #expect(objection(to: .accepted(number(4, 2), mark: mark)) != nil)
        #expect(objection(to: .accepted(number(4), mark: mark)) { $0.promised = .zero } != nil)
        #expect(objection(to: .accepted(number(4), mark: StartMark(startNumber: 4, sequence: 1))) != nil)
        #expect(objection(to: .chosen(number(4))) == nil)
        #expect(objection(to: .chosen(number(5))) != nil)
    }

    @Test func `a start number that is not on disk is found in every mark`() {
        let next = StartMark(startNumber: 4, sequence: 1)
        #expect(objection(to: .flushed(round: 1, succeeded: true, mark: next)) != nil)
        #expect(objection(to: .confirm(sequence: 1, mark: next, settled: true)) != nil)
        #expect(objection(to: .confirm(sequence: 1, mark: next, settled: true)) { $0.startNumber = 4 } == nil)
    }

    @Test func `a target that is not durably inconsistent is found`() {
        #expect(objection(to: .resyncReady) != nil)
        #expect(objection(to: .resyncReady) { $0.flags.insert(.inconsistent) } != nil)
        let isRight = objection(to: .resyncReady) {
            $0.flags.insert(.inconsistent)
            $0.record.inStep = NodeSet(Self.beta)
        }
        #expect(isRight == nil)
    }

    @Test func `a resync begun before its record, base or marks are on disk is found`() {
        let here = superblock { $0.record.inStep = NodeSet(Self.alpha) }
        let proposal = Proposal(volume: here.volume, record: here.record, current: here.current)
        let some = PeerMessage.resyncBegin(proposal, everything: false)
        let all = PeerMessage.resyncBegin(proposal, everything: true)
        let whole: (inout Superblock) -> Void = {
            $0.record.inStep = NodeSet(Self.alpha)
            $0.peers[Self.beta].base = .everything(InstanceID(rawValue: 2))
        }
        #expect(OracleAssertions.objection(to: some, here) { false } == nil)
        #expect(objection(to: some) != nil)
        #expect(OracleAssertions.objection(to: all, here) { true } != nil)
        #expect(objection(to: all, whole) == nil)
        #expect(objection(to: all, isMarkedWhole: false, whole) != nil)
    }

    @Test func `a join offered before it is required on disk is found`() {
        let here = superblock()
        let offer = JoinOffer(
            volume: here.volume, record: here.record, current: here.current, history: [],
            bases: PerNode(repeating: .inStep))
        #expect(objection(to: .joinOffer(offer)) == nil)
        #expect(objection(to: .joinOffer(offer)) { $0.required = NodeSet(Self.alpha) } != nil)
    }

    @Test func `a state that the disk does not know is found`() {
        let here = superblock()
        let state = HandshakeState(
            node: here.node, instance: here.instance, volume: here.volume, capacity: here.size, record: here.record,
            promised: here.promised, required: here.required, current: here.current, history: here.history,
            base: .inStep, dirtyBlocks: 0,
            unconfirmedBlocks: 0, seenInstance: .none, seen: .none, mark: StartMark(startNumber: 3, sequence: 1),
            flags: here.flags, hasDisk: true, isPrimary: true, isKeeper: false, discardMyData: false,
            run: RunID(rawValue: 1),
            resumes: .none, foundSequence: 0)
        #expect(objection(to: .state(state)) == nil)
        let older: [(inout Superblock) -> Void] = [
            { $0.record.number = number(3) }, { $0.required = NodeSet(Self.alpha) }, { $0.flags.insert(.suspect) },
            { $0.current = Generation(id: GenerationID(rawValue: 70), node: Self.alpha, began: 0) },
            { $0.history = [$0.current] }, { $0.startNumber = 2 },
        ]
        for (index, change) in older.enumerated() {
            #expect(objection(to: .state(state), change) != nil, "change \(index)")
        }
    }

    @Test func `only a whole copy in step is a source`() {
        #expect(OracleAssertions.isSource(superblock()))
        #expect(!OracleAssertions.isSource(superblock { $0.flags.insert(.inconsistent) }))
        #expect(!OracleAssertions.isSource(superblock { $0.record.inStep = NodeSet(Self.beta) }))
    }

    @Test func `a flush is answered once, and owes what had landed when it was asked for first`() {
        var assertions = OracleAssertions()
        #expect(assertions.confirms(0) == nil)
        assertions.asks(0, round: 1, marks: [4, 5])
        assertions.asks(0, round: 1, marks: [8, 9])
        #expect(assertions.confirms(0) == [4, 5])
        let (session, next) = (SessionID(rawValue: 1), SessionID(rawValue: 2))
        assertions.isAsked(1, in: session, round: 1, mark: 6)
        #expect(assertions.answers(1, in: session, round: 1) == 6)
        #expect(assertions.answers(1, in: session, round: 1) == nil)
        assertions.isAsked(1, in: session, round: 2, mark: 6)
        #expect(assertions.answers(1, in: next, round: 2) == nil, "asked in another session")
        assertions.forget(0)
        #expect(assertions.confirms(0) == nil)
    }

    // MARK: Equality

    @Test func `a difference that nobody marked is found, unless everything is copied or both refuse by name`() {
        let one = superblock()
        var other = one
        other.node = Self.beta
        #expect(OracleEquality.objection(one, other) != nil)
        let excuses: [(inout Superblock) -> Void] = [
            { $0.volume = VolumeID(rawValue: 10) },
            { $0.current = Generation(id: .none, node: Self.beta, began: 0) },
            { $0.current = Generation(id: GenerationID(rawValue: 78), node: Self.beta, began: 0) },
        ]
        for (index, excuse) in excuses.enumerated() {
            var parted = other
            excuse(&parted)
            #expect(OracleEquality.objection(one, parted) == nil, "excuse \(index)")
        }
        var descendant = other
        descendant.history = [one.current]
        descendant.current = Generation(id: GenerationID(rawValue: 78), node: Self.beta, began: 0)
        descendant.peers[Self.alpha].base = .since(one.current.id)
        #expect(OracleEquality.objection(one, descendant) != nil)
    }

    // MARK: Accounts

    @Test func `memory beyond the limits is found`() {
        let limits = Limits()
        #expect(OracleAccounting.excess(Footprint(), limits, blocks: 64) == nil)
        let changes: [(inout Footprint) -> Void] = [
            { $0.waitingAtGate = limits.clientOperations + 1 },
            { $0.waitingForLog = limits.clientOperations + limits.peerOperations + 1 },
            { $0.waitingForFlush = limits.clientOperations + 1 }, { $0.sequences = limits.clientOperations + 1 },
            { $0.unconfirmed = limits.unconfirmedEntries + limits.clientOperations + 1 },
            { $0.peerFlushes = 65 }, { $0.pullsAsked = limits.resyncPulls + 1 },
            { $0.pullsUnflushed = 64 + limits.resyncPulls + 1 },
        ]
        for (index, change) in changes.enumerated() {
            var footprint = Footprint()
            change(&footprint)
            #expect(OracleAccounting.excess(footprint, limits, blocks: 64) != nil, "change \(index)")
        }
    }

    @Test func `a node that keeps itself busy is found, one that is kept busy is not`() {
        let (limits, timing) = (Limits(), Timing())
        var storm = OracleAccounting.Bustle()
        for _ in 0..<2000 {
            storm.saw(.flushData(OperationID(rawValue: .max)))
            storm.heard(.dataDone(OperationID(rawValue: .max), .succeeded))
        }
        #expect(storm.deeds == 2000 && storm.occasions == 0)
        #expect(storm.excess(limits, timing, seconds: 4) != nil)
        for _ in 0..<500 { storm.heard(.dataDone(OperationID(rawValue: 3), .succeeded)) }
        #expect(storm.excess(limits, timing, seconds: 4) == nil)
        for _ in 0..<16 {
            storm.heard(.sessionOpened(Self.beta, .none, run: .none, dialedHere: true, discardsItsData: false))
        }
        #expect(storm.excessSessions(seconds: 4) == nil)
        storm.heard(.sessionOpened(Self.beta, .none, run: .none, dialedHere: true, discardsItsData: false))
        #expect(storm.excessSessions(seconds: 4) != nil)
    }

    @Test func `more at the disk than may be is found`() {
        let limits = Limits()
        var queue = OracleAccounting.DiskQueue()
        queue.superblocks = 1
        queue.logs = 1
        queue.flushes = 1
        queue.pages = 8
        queue.data = limits.clientOperations + limits.peerOperations + 1
        #expect(queue.excess(limits) == nil)
        let changes: [(inout OracleAccounting.DiskQueue) -> Void] = [
            { $0.superblocks += 1 }, { $0.logs += 1 }, { $0.flushes += 1 }, { $0.pages += 1 }, { $0.data += 1 },
        ]
        for (index, change) in changes.enumerated() {
            var more = queue
            change(&more)
            #expect(more.excess(limits) != nil, "change \(index)")
        }
    }
}
