import Model
import ReplicationCore
import Testing

@Suite struct SecondaryTests {
    private func answers(_ bench: Bench, since start: Int = 0) -> [UInt64] {
        bench.messages(since: start).compactMap { if case .written(let sequence, true) = $0 { sequence } else { nil } }
    }

    @Test func `a secondary logs before it writes, and answers after its disk`() throws {
        let bench = Bench.secondary()
        bench.held = [.log]
        bench.hearWrite(1, block: 2 * 1024)
        let range = ByteRange(blocks: 2048..<2049)
        #expect(bench.position(of: .writing(range)) == nil)
        bench.held = [.write]
        bench.letGo(.log)
        #expect(bench.position(of: .writing(range)) != nil)
        #expect(answers(bench).isEmpty)
        bench.letGo(.write)
        #expect(answers(bench) == [1])
        let logged = try #require(bench.position(of: .logged([2])))
        #expect(try logged < #require(bench.position(of: .writing(range))))
        #expect(bench.core.isUnconfirmed(block: 2048))
        bench.expectNothingLeft()
    }

    @Test func `overlapping frames are applied in the order of their arrival`() {
        let bench = Bench.secondary()
        bench.held = [.write]
        bench.hearWrite(1, block: 5)
        bench.hearWrite(2, block: 5)
        bench.hearWrite(3, block: 6)
        let begun = bench.moments.filter { if case .writing = $0 { true } else { false } }
        #expect(begun.count == 2)
        bench.letGo(.write)
        #expect(answers(bench) == [1, 3, 2] || answers(bench) == [1, 2, 3])
    }

    @Test func `a flush is answered after the disk's flush, and covers what was answered before`() throws {
        let bench = Bench.secondary()
        bench.hearWrite(1, block: 5)
        bench.held = [.flush]
        bench.hear(.flush(round: 4))
        #expect(!isFlushAnswered(bench, 4))
        bench.hear(.flush(round: 5))
        bench.letGo(.flush, onlyFirst: true)
        #expect(isFlushAnswered(bench, 4))
        #expect(!isFlushAnswered(bench, 5))
        bench.letGo(.flush)
        #expect(isFlushAnswered(bench, 5))
    }

    private func isFlushAnswered(_ bench: Bench, _ round: UInt64) -> Bool {
        bench.messages().contains { if case .flushed(round, true, _) = $0 { true } else { false } }
    }

    @Test func `what is confirmed is forgotten, no more`() {
        let bench = Bench.secondary()
        for sequence in 1...4 as ClosedRange<UInt64> { bench.hearWrite(sequence, block: sequence * 8) }
        bench.hear(.confirm(sequence: 2, mark: .none, settled: true))
        #expect(!bench.core.isUnconfirmed(block: 8))
        #expect(!bench.core.isUnconfirmed(block: 16))
        #expect(bench.core.isUnconfirmed(block: 24))
        #expect(bench.core.isUnconfirmed(block: 32))
    }

    @Test func `a failed disk is said of the write, and the peers are met anew without one`() {
        let bench = Bench.secondary()
        bench.failing = [.write]
        bench.hearWrite(1, block: 5)
        #expect(bench.messages().contains(.written(sequence: 1, succeeded: false)))
        #expect(bench.core.diskState == .diskless)
        #expect(bench.moments.contains(.diskReleased))
        #expect(bench.session.isNone)
        let primary = bench.peerState {
            $0.isPrimary = true
            $0.resumes = RunID(rawValue: 0x800)
        }
        #expect(bench.meet(primary) == .carried)
        #expect(bench.told?.hasDisk == false)
        bench.expectNothingLeft()
    }

    @Test func `while a failed disk still has something, all that needs it is answered with no`() {
        let bench = Bench.secondary()
        bench.held = [.write]
        bench.hearWrite(1, block: 5)
        bench.held = []
        bench.failing = [.write]
        bench.hearWrite(2, block: 6)
        #expect(bench.core.diskState == .failed)
        bench.hearWrite(3, block: 7)
        bench.hear(.flush(round: 9))
        bench.hear(.read(id: 1, range: ByteRange(blocks: 8..<9)))
        #expect(bench.messages().contains(.written(sequence: 2, succeeded: false)))
        #expect(bench.messages().contains(.written(sequence: 3, succeeded: false)))
        #expect(bench.messages().contains { if case .flushed(9, false, _) = $0 { true } else { false } })
        #expect(bench.messages().contains(.readFailed(id: 1)))
        #expect(!bench.moments.contains(.diskReleased))
        bench.letGo(.write)
        #expect(bench.moments.contains(.diskReleased))
        bench.expectNothingLeft()
    }

    @Test func `a failed flush fails the disk`() {
        let bench = Bench.secondary()
        bench.hearWrite(1, block: 5)
        bench.held = [.write]
        bench.hearWrite(2, block: 6)
        bench.failing = [.flush]
        bench.hear(.flush(round: 1))
        #expect(bench.messages().contains { if case .flushed(1, false, _) = $0 { true } else { false } })
        bench.failing = []
        bench.hear(.flush(round: 2))
        #expect(bench.messages().contains { if case .flushed(2, false, _) = $0 { true } else { false } })
    }

    @Test func `frames under an older record end the session`() {
        let bench = Bench.secondary()
        var old = bench.core.durableState.record.number
        old.index -= 1
        bench.hearWrite(1, block: 5, record: old)
        #expect(bench.session.isNone)
        #expect(bench.position(of: .writing(ByteRange(blocks: 5..<6))) == nil)
        bench.expectNothingLeft()
    }

    @Test func `a write from a node that is not in step with this one is not applied`() {
        let bench = Bench.created(beta)
        bench.open()
        bench.hearWrite(1, block: 5)
        #expect(bench.position(of: .writing(ByteRange(blocks: 5..<6))) == nil)
        bench.expectNothingLeft()
    }

    @Test func `an offered record is durable before it is accepted, and an older one is not`() throws {
        let bench = Bench.secondary()
        let mine = bench.core.durableState
        var record = mine.record
        record.number.index += 1
        record.primary = nil
        bench.held = [.superblock]
        bench.hear(.propose(Proposal(volume: mine.volume, record: record, current: mine.current)))
        #expect(!isAccepted(bench, record.number))
        bench.letGo(.superblock)
        #expect(isAccepted(bench, record.number))
        #expect(bench.stable.record == record)
        bench.hear(.propose(Proposal(volume: mine.volume, record: mine.record, current: mine.current)))
        #expect(bench.messages().contains(.rejected(mine.record.number, .olderTerm)))
    }

    @Test func `before a record without a member is accepted, this copy's writes are flushed`() throws {
        let bench = Bench.secondary()
        bench.held = [.write, .flush]
        bench.hearWrite(1, block: 5)
        let mine = bench.core.durableState
        var record = mine.record
        record.number.index += 1
        record.inStep = NodeSet(beta)
        record.generation = GenerationID(rawValue: 30)
        let start = bench.moments.count
        bench.hear(.propose(Proposal(volume: mine.volume, record: record, current: generation(30))))
        bench.letGo(.write)
        #expect(!isAccepted(bench, record.number))
        bench.letGo(.flush)
        #expect(isAccepted(bench, record.number))
        let flushed = try #require(bench.position(of: .flushed, after: start))
        let wrote = try #require(bench.position(of: .wrote(ByteRange(blocks: 5..<6)), after: start))
        #expect(wrote < flushed)
        #expect(bench.stable.history.first == mine.current)
        #expect(bench.stable.peers[alpha].base == .since(mine.current.id))
        #expect(bench.core.isMarked(block: 5, toward: alpha))
    }

    private func isAccepted(_ bench: Bench, _ number: RecordNumber) -> Bool {
        bench.messages().contains { if case .accepted(number, _) = $0 { true } else { false } }
    }

    @Test func `the next handshake waits until every write of the old session is done`() {
        let bench = Bench.secondary()
        bench.held = [.write]
        bench.hearWrite(1, block: 5)
        bench.breakLink()
        let start = bench.moments.count
        bench.open()
        #expect(bench.messages(since: start).isEmpty)
        bench.letGo(.write)
        #expect(bench.messages(since: start).contains { if case .state = $0 { true } else { false } })
        #expect(bench.told?.resumes == bench.peerRun)
        #expect(bench.told?.unconfirmedBlocks == 1)
    }

    @Test func `a frame that had not reached the disk when its session ended never does`() {
        let bench = Bench.secondary()
        bench.held = [.log]
        bench.hearWrite(1, block: 5)
        bench.breakLink()
        bench.letGo(.log)
        #expect(bench.position(of: .writing(ByteRange(blocks: 5..<6))) == nil)
        bench.expectNothingLeft()
    }

    @Test func `a log that is full of unconfirmed blocks makes room by marks that are durable`() throws {
        let bench = Bench.secondary()
        for extent in 0..<4 as Range<UInt64> { bench.hearWrite(extent + 1, block: extent * 1024) }
        bench.held = [.page]
        bench.hearWrite(5, block: 6 * 1024)
        #expect(answers(bench) == [1, 2, 3, 4])
        bench.letGo(.page)
        #expect(answers(bench) == [1, 2, 3, 4, 5])
        #expect(bench.core.isMarked(block: 0, toward: alpha))
        #expect(!bench.core.isHot(extent: 0))
        // Once confirmed, the mark goes again.
        bench.hear(.confirm(sequence: 5, mark: .none, settled: true))
        #expect(!bench.core.isMarked(block: 0, toward: alpha))
        #expect(!bench.core.isUnconfirmed(block: 6 * 1024))
    }

    @Test func `reads for a node without a disk are served by a whole copy that is in step`() throws {
        let bench = Bench.secondary()
        bench.hear(.read(id: 3, range: ByteRange(blocks: 4..<6)))
        let message = try #require(bench.messages().last)
        guard case .readData(3, ByteRange(blocks: 4..<6), _) = message else {
            Issue.record("\(message)")
            return
        }
        bench.hear(.read(id: 4, range: ByteRange(offset: Bench.size, length: 4096)))
        #expect(bench.messages().last == .readFailed(id: 4))
        bench.expectNothingLeft()
    }

    @Test func `pings are answered in any state`() {
        let bench = Bench.created(alpha, zeroes: false)
        bench.open()
        bench.hear(.ping(41))
        #expect(bench.messages().last == .pong(41))
    }

    @Test(arguments: [Bench.size + 4096, 0, 1000]) func `a record of a size that the disk cannot have is refused`(
        size: UInt64
    ) {
        let bench = Bench.secondary()
        let before = bench.core.durableState
        var record = before.record
        record.number.index += 1
        record.size = size
        bench.hear(.propose(Proposal(volume: before.volume, record: record, current: before.current)))
        #expect(bench.messages().last == .rejected(record.number, .notNow))
        #expect(bench.core.durableState.record == before.record)
        #expect(bench.core.volumeSize == Bench.size)
    }

    @Test func `a number that leaves none above it is not taken, nor met`() {
        let bench = Bench.secondary()
        let before = bench.core.durableState
        var record = before.record
        record.number = RecordNumber(term: Term(counter: 1 << 62, node: alpha), index: 1)
        bench.hear(.propose(Proposal(volume: before.volume, record: record, current: before.current)))
        #expect(bench.messages().last == .rejected(record.number, .notNow))
        bench.breakLink()
        bench.open()
        bench.hear(.state(bench.peerState { $0.record = record }))
        #expect(bench.session.isNone)
        #expect(bench.core.durableState.promised == before.promised)
    }
}
