import Model
import ReplicationCore
import Testing

/// `verify --repair`: what differs gets, on all copies, what the named copy has.
@Suite struct RepairTests {
    /// Blocks 3 and 4 differ, and a comparison has found that out.
    private func differing() -> Bench {
        let bench = Bench.primary()
        bench.rotten = [3, 4]
        bench.command(.verify(peer: nil, rate: 1 << 40))
        var answered: Set<UInt32> = []
        for _ in 0..<2000 where bench.core.verifyResult(of: beta) == nil {
            let open = bench.messages().compactMap { message -> (id: UInt32, range: ByteRange)? in
                guard case .digest(let id, let range) = message, !answered.contains(id) else { return nil }
                return (id, range)
            }
            for question in open {
                answered.insert(question.id)
                bench.hear(.digests(id: question.id, bench.digests(of: question.range, there: true)))
            }
            if open.isEmpty { bench.pass(milliseconds: 20) }
        }
        #expect(bench.core.verifyResult(of: beta)?.runs == [BlockRun(first: 3, count: 2)])
        return bench
    }

    private func writes(_ bench: Bench, since start: Int) -> [UInt64] {
        bench.messages(since: start).compactMap {
            if case .write(_, let range, _) = $0 { range.blocks.lowerBound } else { nil }
        }
    }

    private func reads(_ bench: Bench, since start: Int) -> [(id: UInt32, range: ByteRange)] {
        bench.messages(since: start).compactMap {
            if case .read(let id, let range) = $0 { (id, range) } else { nil }
        }
    }

    private func position(_ bench: Bench, writing block: UInt64, after start: Int) -> Int? {
        bench.position(of: .wrote(ByteRange(blocks: block..<block + 1)), after: start)
    }

    /// The peer has written it; and it answers the flush that follows, since a repair is stable before it counts.
    private func written(_ sequence: UInt64, _ bench: Bench) {
        let start = bench.moments.count
        bench.hear(.written(sequence: sequence, succeeded: true))
        for message in bench.messages(since: start) {
            if case .flush(let round) = message {
                bench.hear(.flushed(round: round, succeeded: true, mark: StartMark(startNumber: 1, sequence: 60)))
            }
        }
    }

    @Test func `from this copy each block is written here and there, one after the other`() {
        let bench = differing()
        let start = bench.moments.count
        let command = bench.command(.repair(peer: nil, from: alpha))
        #expect(writes(bench, since: start) == [3])
        let flushes = { bench.messages(since: start).count { if case .flush = $0 { true } else { false } } }
        bench.hear(.written(sequence: bench.lastSequence, succeeded: true))
        #expect(writes(bench, since: start) == [3] && flushes() == 1, "it is stable before the next")
        #expect(bench.core.verifyResult(of: beta)?.runs == [BlockRun(first: 3, count: 2)])
        guard case .flush(let round) = bench.messages(since: start).last else {
            Issue.record("no flush")
            return
        }
        bench.hear(.flushed(round: round, succeeded: true, mark: StartMark(startNumber: 1, sequence: 60)))
        #expect(writes(bench, since: start) == [3, 4])
        #expect(bench.core.verifyResult(of: beta)?.runs == [BlockRun(first: 4, count: 1)])
        #expect(bench.end(of: command) == nil)
        written(bench.lastSequence, bench)
        #expect(bench.end(of: command) == "done")
        #expect(position(bench, writing: 3, after: start) != nil && position(bench, writing: 4, after: start) != nil)
        #expect(bench.core.verifyResult(of: beta)?.runs.isEmpty == true)
        #expect(bench.core.verifyResult(of: beta)?.differingBytes == 8192, "what the comparison found stays said")
        #expect(bench.end(of: bench.command(.repair(peer: nil, from: alpha))) == "nothing-to-repair")
        bench.expectNothingLeft()
    }

    @Test func `from the peer each block is read there, and no client's write comes between`() throws {
        let bench = differing()
        let start = bench.moments.count
        let command = bench.command(.repair(peer: beta, from: beta))
        let first = try #require(reads(bench, since: start).first)
        #expect(first.range == ByteRange(blocks: 3..<4) && writes(bench, since: start).isEmpty)
        bench.ask(0, .write, block: 3)
        #expect(writes(bench, since: start).isEmpty, "it waits for the repair")
        bench.hearReadData(first.id, first.range)
        #expect(writes(bench, since: start) == [3])
        written(bench.lastSequence, bench)
        #expect(bench.reply(to: 0) == nil && writes(bench, since: start) == [3, 3])
        let second = try #require(reads(bench, since: start).last)
        bench.hearReadData(second.id, second.range)
        for sequence in bench.frames(since: start).dropFirst() {
            written(sequence, bench)
        }
        #expect(bench.reply(to: 0) == .done && bench.end(of: command) == "done")
        bench.expectNothingLeft()
    }

    @Test func `nothing is overwritten without a source, nor from a copy that was not compared`() {
        let bench = differing()
        let start = bench.moments.count
        #expect(bench.end(of: bench.command(.repair(peer: nil, from: nil))) == "source-unnamed")
        #expect(bench.end(of: bench.command(.repair(peer: beta, from: NodeID(unchecked: 5)))) == "wrong-source")
        #expect(writes(bench, since: start).isEmpty && reads(bench, since: start).isEmpty)
        let secondary = Bench.secondary()
        #expect(secondary.end(of: secondary.command(.repair(peer: nil, from: beta))) == "not-primary")
    }

    @Test func `a block that the source cannot read stays, and is said`() throws {
        let bench = differing()
        let start = bench.moments.count
        let command = bench.command(.repair(peer: beta, from: beta))
        let first = try #require(reads(bench, since: start).first)
        bench.hear(.readFailed(id: first.id))
        let second = try #require(reads(bench, since: start).last)
        #expect(second.range == ByteRange(blocks: 4..<5))
        bench.hearReadData(second.id, second.range)
        written(bench.lastSequence, bench)
        #expect(bench.end(of: command) == "unreadable" && bench.core.diskState == .upToDate)
        #expect(bench.core.verifyResult(of: beta)?.runs == [BlockRun(first: 3, count: 1)])
        bench.expectNothingLeft()
    }

    @Test func `the end of the link ends it, and what waits for it goes on`() {
        let bench = differing()
        let start = bench.moments.count
        let command = bench.command(.repair(peer: beta, from: beta))
        bench.ask(0, .write, block: 3)
        bench.breakLink()
        #expect(bench.end(of: command) == "interrupted")
        #expect(writes(bench, since: start).isEmpty)
        #expect(bench.core.verifyResult(of: beta)?.runs == [BlockRun(first: 3, count: 2)])
        #expect(bench.lent.count == 1, "the client's")
    }

    @Test func `who asked and is gone is not obeyed any longer`() {
        let bench = differing()
        let start = bench.moments.count
        let command = bench.command(.repair(peer: nil, from: alpha))
        bench.handle(.commandWithdrawn(command))
        written(bench.lastSequence, bench)
        #expect(writes(bench, since: start) == [3])
        #expect(bench.core.verifyResult(of: beta)?.runs == [BlockRun(first: 4, count: 1)])
        bench.expectNothingLeft()
    }

    @Test func `a demotion lets the write end, and no other begins`() {
        let bench = differing()
        let start = bench.moments.count
        let command = bench.command(.repair(peer: nil, from: alpha))
        let demotion = bench.demote()
        #expect(bench.end(of: demotion) == nil)
        written(bench.lastSequence, bench)
        #expect(bench.end(of: command) == "interrupted" && writes(bench, since: start) == [3])
        for message in bench.messages(since: start) {
            if case .flush(let round) = message {
                bench.hear(.flushed(round: round, succeeded: true, mark: StartMark(startNumber: 1, sequence: 60)))
            }
        }
        if let number = bench.proposal?.record.number { bench.accept(number) }
        #expect(bench.end(of: demotion) == "done")
        bench.expectNothingLeft()
    }
}
