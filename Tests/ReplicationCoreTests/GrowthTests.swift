import Model
import ReplicationCore
import Testing

/// `resize`: all copies are asked, all make room, then a record says so.
@Suite struct GrowthTests {
    private static let larger = Bench.size + (8 << 20)

    private struct Question: Equatable {
        var number: UInt64
        var size: UInt64
        var make: Bool
    }

    private func question(_ bench: Bench) -> Question? {
        bench.messages().compactMap {
            if case .room(let number, let size, let make) = $0 {
                Question(number: number, size: size, make: make)
            } else {
                nil
            }
        }.last
    }

    private func proposal(_ bench: Bench) -> Proposal? {
        bench.messages().compactMap { message -> Proposal? in
            guard case .propose(let proposal) = message, proposal.record.size > Bench.size else { return nil }
            return proposal
        }.last
    }

    private func resize(_ bench: Bench, _ size: UInt64?, dryRun: Bool = false) -> CommandID {
        bench.command(
            .resize(
                size: size, dryRun: dryRun, deadline: MonotonicTime(nanoseconds: bench.now.nanoseconds + 5_000_000_000))
        )
    }

    private func reason(_ bench: Bench, _ id: CommandID) -> String? {
        switch bench.outcomes[id] {
        case .refused(let refusal), .timedOut(let refusal): refusal.reason
        case .done: "done"
        case nil: nil
        }
    }

    /// Up to the peer's word that it has made room; `bench.room` is what this disk can hold.
    private func makeRoom(_ bench: Bench, _ size: UInt64 = larger) -> CommandID {
        bench.room = RoomAnswer(.has, bytes: size)
        let id = resize(bench, size)
        if let asked = question(bench) { bench.hear(.roomAnswer(number: asked.number, RoomAnswer(.has, bytes: size))) }
        return id
    }

    private func peerMade(_ bench: Bench) {
        guard let asked = question(bench), asked.make else { return }
        bench.hear(.roomAnswer(number: asked.number, RoomAnswer(.made, bytes: asked.size)))
    }

    @Test func `the record comes when both copies have room and zeroes, and clients see the size when it is chosen`()
        throws
    {
        let bench = Bench.primary()
        let start = bench.moments.count
        let id = makeRoom(bench)
        #expect(question(bench) == Question(number: 2, size: Self.larger, make: true))
        // The own copy: the superblock with the size, then zeroes, then a flush.
        let stable = try #require(
            bench.position(after: start) {
                if case .stable(let image) = $0 { image.size == Self.larger } else { false }
            })
        let zeroed = try #require(
            bench.position(after: start) {
                if case .wrote(let range) = $0 { range.end == Self.larger } else { false }
            })
        let flushed = try #require(bench.position(after: zeroed) { $0 == .flushed })
        #expect(stable < zeroed && zeroed < flushed)
        #expect(proposal(bench) == nil, "the other copy has not said that it has room")
        peerMade(bench)
        let proposed = try #require(proposal(bench))
        #expect(proposed.record.size == Self.larger && proposed.record.inStep == NodeSet(alpha, beta))
        #expect(bench.core.volumeSize == Bench.size && bench.outcomes[id] == nil)
        bench.hear(.accepted(proposed.record.number, mark: StartMark(startNumber: 1, sequence: 50)))
        #expect(bench.core.volumeSize == Self.larger && reason(bench, id) == "done")
        bench.expectNothingLeft()
    }

    @Test func `a copy that is away keeps the volume from growing, and is named`() {
        let bench = Bench.primary()
        bench.breakLink()
        let id = resize(bench, Self.larger)
        #expect(reason(bench, id) == "not-connected")
        guard case .refused(let refusal)? = bench.outcomes[id] else { return }
        #expect(refusal.message.hasPrefix("beta is not connected"), "\(refusal.message)")
    }

    @Test func `the smallest copy decides, and what it lacks is told`() {
        let bench = Bench.primary()
        bench.room = RoomAnswer(.has, bytes: Self.larger)
        let tried = resize(bench, Self.larger)
        bench.hear(
            .roomAnswer(number: question(bench)?.number ?? 0, RoomAnswer(.hasMetadata, bytes: Bench.size + 4096)))
        #expect(reason(bench, tried) == "no-room")
        let dry = resize(bench, nil, dryRun: true)
        bench.hear(.roomAnswer(number: question(bench)?.number ?? 0, RoomAnswer(.has, bytes: Bench.size + 8192)))
        #expect(bench.outcomes[dry] == .done("vol would grow from \(Bench.size) to \(Bench.size + 8192) bytes"))
        let same = resize(bench, nil)
        bench.hear(.roomAnswer(number: question(bench)?.number ?? 0, RoomAnswer(.has, bytes: Bench.size)))
        #expect(reason(bench, same) == "done" && question(bench)?.make == false)
        #expect(bench.core.volumeSize == Bench.size && proposal(bench) == nil)
    }

    @Test(arguments: [(Bench.size - 4096, "would-shrink"), (Bench.size + 1, "wrong-size"), (Bench.size, "done")])
    func `sizes that cannot be, or are so already, change nothing`(size: UInt64, expected: String) {
        let bench = Bench.primary()
        #expect(reason(bench, resize(bench, size)) == expected)
        #expect(question(bench) == nil)
    }

    @Test func `a secondary refuses, and says where`() {
        let bench = Bench.secondary()
        #expect(reason(bench, resize(bench, Self.larger)) == "not-primary")
    }

    @Test func `a connection that ends meanwhile ends it, with the size that was`() {
        let bench = Bench.primary()
        let id = makeRoom(bench)
        bench.breakLink()
        #expect(reason(bench, id) == "not-connected" && bench.core.volumeSize == Bench.size)
    }

    @Test func `a record that was offered and not answered is not offered to clients`() {
        let bench = Bench.primary()
        let id = makeRoom(bench)
        peerMade(bench)
        #expect(proposal(bench) != nil)
        bench.breakLink()
        #expect(reason(bench, id) == "not-chosen" && bench.core.volumeSize == Bench.size)
    }

    @Test func `a follower says that it has room when its zeroes are stable`() throws {
        let bench = Bench.secondary()
        let start = bench.moments.count
        bench.held = [.flush]
        bench.hear(.room(number: 7, size: Self.larger, make: true))
        #expect(bench.messages(since: start).isEmpty)
        bench.letGo(.flush)
        let told = PeerMessage.roomAnswer(number: 7, RoomAnswer(.made, bytes: Self.larger))
        #expect(bench.messages(since: start) == [told])
        // Once more: it is so already.
        let again = bench.moments.count
        bench.hear(.room(number: 8, size: Self.larger, make: true))
        #expect(bench.messages(since: again) == [.roomAnswer(number: 8, RoomAnswer(.made, bytes: Self.larger))])
        #expect(bench.position(after: again) { if case .writing = $0 { true } else { false } } == nil)
    }

    @Test func `a follower at work on its room takes no larger record`() throws {
        let bench = Bench.secondary()
        bench.held = [.write]
        bench.hear(.room(number: 7, size: Self.larger, make: true))
        #expect(bench.isHeld(.write))
        let mine = bench.core.durableState
        var record = mine.record
        record.number.index += 1
        record.size = Self.larger
        let start = bench.moments.count
        bench.hear(.propose(Proposal(volume: mine.volume, record: record, current: mine.current)))
        #expect(bench.messages(since: start).contains(.rejected(record.number, .notNow)))
        #expect(bench.core.durableState.record.size == Bench.size)
    }

    @Test func `a follower that cannot move its metadata says so and goes on without the disk`() {
        let bench = Bench.secondary()
        bench.failing = [.superblock]
        let start = bench.moments.count
        bench.hear(.room(number: 7, size: Self.larger, make: true))
        #expect(bench.messages(since: start).contains(.roomAnswer(number: 7, RoomAnswer(.failed))))
        #expect(bench.core.status(at: bench.now).disk != .upToDate)
    }

    @Test func `no log transaction is written while the metadata are moved`() throws {
        let bench = Bench.secondary()
        bench.held = [.superblock]
        bench.hear(.room(number: 7, size: Self.larger, make: true))
        let start = bench.moments.count
        bench.hearWrite(1, block: 5 << 10)
        let isLogged: (Moment) -> Bool = { if case .logged = $0 { true } else { false } }
        #expect(bench.position(after: start, where: isLogged) == nil)
        bench.held = []
        bench.letGo(.superblock)
        #expect(bench.position(after: start, where: isLogged) != nil)
    }

    // MARK: Beside all else

    private func isLogged(_ moment: Moment) -> Bool { if case .logged = moment { true } else { false } }

    @Test func `while the disk prepares, writes are logged and records are taken`() throws {
        let bench = Bench.secondary()
        bench.held = [.preparation]
        bench.hear(.room(number: 7, size: Self.larger, make: true))
        let start = bench.moments.count
        bench.hearWrite(1, block: 5 << 10)
        #expect(bench.position(after: start, where: isLogged) != nil)
        let mine = bench.core.durableState
        var record = mine.record
        record.number.index += 1
        bench.takeRecord(Proposal(volume: mine.volume, record: record, current: mine.current))
        bench.letGo(.preparation)
        #expect(bench.messages(since: start).contains(.roomAnswer(number: 7, RoomAnswer(.made, bytes: Self.larger))))
    }

    @Test func `a wish for another size ends the one under way, and so does one for none`() {
        let bench = Bench.secondary()
        bench.held = [.preparation]
        bench.hear(.room(number: 7, size: Self.larger, make: true))
        let start = bench.moments.count
        bench.hear(.room(number: 8, size: Self.larger + 4096, make: true))
        #expect(bench.messages(since: start) == [.roomAnswer(number: 8, RoomAnswer(.notNow))])
        #expect(bench.position(after: start) { $0 == .leftOff } != nil)
        bench.letGo(.preparation)
        #expect(bench.messages(since: start).contains(.roomAnswer(number: 7, RoomAnswer(.notNow))))
        #expect(bench.core.durableState.size == Bench.size)
        let again = bench.moments.count
        bench.held = [.write]
        bench.hear(.room(number: 9, size: Self.larger + 4096, make: true))
        #expect(bench.isHeld(.write))
        bench.hear(.room(number: 10, size: 0, make: true))
        bench.letGo(.write)
        #expect(bench.messages(since: again) == [.roomAnswer(number: 9, RoomAnswer(.notNow))])
        // Its zeroes stay, and are not made twice.
        let last = bench.moments.count
        bench.hear(.room(number: 11, size: Self.larger + 4096, make: true))
        #expect(
            bench.messages(since: last) == [.roomAnswer(number: 11, RoomAnswer(.made, bytes: Self.larger + 4096))])
        let zeroed = bench.moments[last...].compactMap { moment -> UInt64? in
            if case .writing(let range) = moment { range.offset } else { nil }
        }
        #expect(zeroed.allSatisfy { $0 > Bench.size })
    }

    @Test func `a disk that writes zeroes slowly has time for others between two pieces`() {
        let bench = Bench.secondary()
        let size = Bench.size + (64 << 20)
        bench.held = [.write]
        bench.hear(.room(number: 7, size: size, make: true))
        var pieces = 0
        while bench.isHeld(.write) {
            pieces += 1
            bench.pass(milliseconds: 100)
            bench.letGo(.write, onlyFirst: true)
            #expect(!bench.isHeld(.write), "the next piece waits")
            bench.pass(milliseconds: 120)
        }
        #expect(pieces > 16, "and pieces get smaller")
        #expect(bench.messages().contains(.roomAnswer(number: 7, RoomAnswer(.made, bytes: size))))
    }

    @Test func `a withdrawn resize leaves the others' work off`() {
        let bench = Bench.primary()
        let id = makeRoom(bench)
        #expect(question(bench)?.make == true)
        bench.handle(.commandWithdrawn(id))
        #expect(question(bench) == Question(number: 3, size: 0, make: true))
        #expect(bench.outcomes[id] == nil)
    }

    /// The kernel's device is told a size only then.
    @Test func `clients are answered while nothing holds them`() {
        let bench = Bench.primary()
        #expect(answers(bench))
        bench.held = [.write]
        bench.ask(1, .write, block: 5)
        #expect(answers(bench), "a moment is nothing")
        bench.pass(milliseconds: 1500)
        #expect(!answers(bench), "a disk that is slow just now")
        bench.held = []
        bench.letGo(.write)
        bench.hear(.written(sequence: 1, succeeded: true))
        #expect(answers(bench))
        bench.breakLink()
        #expect(!answers(bench), "a peer is away")
        #expect(!answers(Bench.secondary()))
    }

    private func answers(_ bench: Bench) -> Bool { bench.core.answersClients }

    @Test func `tried once, a peer that is busy is not asked again`() {
        let bench = Bench.primary()
        bench.room = RoomAnswer(.has, bytes: Self.larger)
        let id = bench.command(.resize(size: Self.larger, dryRun: false, deadline: bench.now))
        #expect(bench.outcomes[id] == nil, "it may answer")
        bench.hear(.roomAnswer(number: question(bench)?.number ?? 0, RoomAnswer(.notNow)))
        #expect(reason(bench, id) == "busy")
    }

    // MARK: Disks that fail

    @Test func `a flush that failed beside the daemon fails the disk, and its copy is suspect`() {
        for isAsked in [true, false] {
            let bench = Bench.secondary()
            let start = bench.moments.count
            if isAsked {
                bench.failing = [.preparation]
                bench.hear(.room(number: 7, size: Self.larger, make: true))
                #expect(bench.messages(since: start).contains(.roomAnswer(number: 7, RoomAnswer(.failed))))
            } else {
                bench.handle(.diskGrown(.failed))
            }
            #expect(bench.core.diskState != .upToDate)
            let suspect = bench.position(after: start) {
                if case .stable(let image) = $0 { image.flags.contains(.suspect) } else { false }
            }
            #expect(suspect != nil, "asked: \(isAsked)")
        }
    }

    // MARK: What a volume that was larger left

    @Test func `a log that names extents behind the volume's end makes room for others`() {
        let bench = Bench.created(beta)
        let behind = (0..<4).map { UInt32(Bench.size / Geometry.extentSize) + 40 + $0 }
        var superblock = bench.core.durableState
        superblock.bootID = (1, 1)
        let again = Bench(beta, superblock: superblock, log: behind)
        var theirs = again.peerState { $0.mark = StartMark(startNumber: 1, sequence: 1) }
        theirs.volume = .none
        _ = again.meet(theirs)
        if let proposal = Self.firstProposal(again) { again.takeRecord(proposal) }
        let start = again.moments.count
        for sequence in 1...3 { again.hearWrite(UInt64(sequence), block: UInt64(sequence) << 10) }
        #expect(again.position(after: start, where: isLogged) != nil)
    }

    private static func firstProposal(_ bench: Bench) -> Proposal? {
        let theirs = Bench.created(alpha)
        let mine = bench.core.durableState
        _ = theirs.meet(
            copyState(of: beta) {
                $0.volume = .none
                $0.record = .empty
                $0.required = NodeSet()
                $0.current = mine.current
                $0.history = []
                $0.seenInstance = .none
            })
        return theirs.proposal
    }

    /// `gamma` is in nobody's file any more; this member still tracks it.
    @Test func `a copy that a larger record does not name is filled from the beginning`() throws {
        let bench = VoterBench(beta) {
            $0.size = Self.larger
            $0.record.inStep = NodeSet(alpha, beta)
            $0.required = NodeSet(alpha, beta)
            $0.peers[gamma].base = .since(GenerationID(rawValue: 8))
        }
        bench.meet(alpha) { $0.isPrimary = true }
        var record = bench.stable.record
        record.number.index += 1
        record.primary = alpha
        record.size = Self.larger
        bench.hear(
            .propose(Proposal(volume: bench.stable.volume, record: record, current: bench.stable.current)), from: alpha)
        #expect(bench.stable.record.size == Self.larger)
        #expect(bench.stable.peers[gamma].base == .everything(.none))
        #expect(bench.stable.peers[alpha].base == .inStep)
    }

    @Test func `a copy whose volume grew while it was away makes room, and then takes part`() throws {
        let bench = Bench.secondary()
        bench.breakLink()
        bench.peerRun = RunID(rawValue: 0x901)
        bench.room = RoomAnswer(.has, bytes: Self.larger)
        let theirs = bench.peerState {
            $0.record.number.index += 1
            $0.record.size = Self.larger
            $0.record.inStep = NodeSet(alpha)
            $0.required = NodeSet(alpha)
            $0.capacity = Self.larger
            $0.isPrimary = true
            $0.base = .everything(.none)
        }
        #expect(bench.meet(theirs) == .refused)
        #expect(bench.stable.size == Self.larger, "its disk had the room")
        #expect(bench.meet(theirs) == .targetOfEverything)
    }

    @Test func `a copy makes room though the other side ends the session before both have judged`() {
        let bench = Bench.secondary()
        bench.breakLink()
        bench.peerRun = RunID(rawValue: 0x901)
        bench.room = RoomAnswer(.has, bytes: Self.larger)
        let theirs = bench.peerState {
            $0.record.number.index += 1
            $0.record.size = Self.larger
            $0.record.inStep = NodeSet(alpha)
            $0.required = NodeSet(alpha)
            $0.capacity = Self.larger
            $0.isPrimary = true
            $0.base = .everything(.none)
        }
        bench.open()
        bench.hear(.state(theirs))
        bench.breakLink()
        #expect(bench.stable.size == Self.larger)
    }

    @Test
    func `blocks of several pages are taken behind the former end, and none behind that of a record that names less`()
        throws
    {
        let bench = Bench.secondary()
        let size: UInt64 = 600 << 20
        bench.room = RoomAnswer(.has, bytes: size)
        bench.hear(.room(number: 7, size: size, make: true))
        bench.pass(milliseconds: 3000)
        let mine = bench.core.durableState
        #expect(mine.size == size)
        var record = mine.record
        record.number.index += 1
        record.size = size
        bench.takeRecord(Proposal(volume: mine.volume, record: record, current: mine.current))
        let start = bench.moments.count
        let blocks = [31_744, 63_487, 100_000, size / 4096 - 1]
        for (index, block) in blocks.enumerated() { bench.hearWrite(UInt64(index) + 1, block: block) }
        for block in blocks {
            #expect(bench.position(of: .wrote(ByteRange(blocks: block..<block + 1)), after: start) != nil, "\(block)")
        }
        // What a hostile peer says next is smaller again: its log names extents, and its bitmaps have pages, behind the end.
        record.number.index += 1
        record.size = Bench.size
        bench.takeRecord(Proposal(volume: mine.volume, record: record, current: mine.current))
        #expect(bench.core.durableState.record.size == Bench.size)
        for sequence in 10...18 { bench.hearWrite(UInt64(sequence), block: UInt64(sequence) << 9 & 8191) }
        let end = bench.moments.count
        bench.hearWrite(30, block: 100_000)
        #expect(bench.position(after: end) { if case .writing = $0 { true } else { false } } == nil)
    }

    /// Its voters chose a larger record without it: what it is given behind the former end would be zeroed by what is still out.
    @Test func `a piece of zeroes that is out keeps a copy from being filled`() {
        let bench = Bench.secondary()
        bench.held = [.write]
        bench.room = RoomAnswer(.has, bytes: Self.larger)
        bench.hear(.room(number: 7, size: Self.larger, make: true))
        #expect(bench.isHeld(.write) && bench.core.durableState.size == Self.larger)
        bench.breakLink()
        bench.peerRun = RunID(rawValue: 0x901)
        let theirs = bench.peerState {
            $0.record.number.index += 1
            $0.record.size = Self.larger
            $0.record.inStep = NodeSet(alpha)
            $0.required = NodeSet(alpha)
            $0.capacity = Self.larger
            $0.isPrimary = true
            $0.base = .everything(.none)
        }
        #expect(bench.meet(theirs) == .refused)
        #expect(bench.isHeld(.write))
        bench.letGo(.write)
        bench.pass(milliseconds: 3000)
        #expect(bench.meet(theirs) == .targetOfEverything)
    }

    @Test func `a copy without the room that its record names is not promoted by force`() {
        let bench = Bench(
            alpha,
            superblock: VoterBench.superblock(alpha) {
                $0.record.size = Self.larger
                $0.record.inStep = NodeSet(beta)
                $0.required = NodeSet(beta)
                $0.peers[beta].base = .inStep
                $0.flags.insert(.outdated)
            })
        let id = bench.promote(force: true)
        #expect(reason(bench, id) == "mismatch")
        #expect(!bench.core.isPrimary)
    }
}
