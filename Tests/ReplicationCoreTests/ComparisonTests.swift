import Model
import ReplicationCore
import Testing

/// `verify`: both copies of a range are read while no write to it is under way.
@Suite struct ComparisonTests {
    private struct Question {
        var id: UInt32
        var range: ByteRange
    }

    private func questions(_ bench: Bench, since start: Int = 0) -> [Question] {
        bench.messages(since: start).compactMap {
            if case .digest(let id, let range) = $0 { Question(id: id, range: range) } else { nil }
        }
    }

    private func answer(_ question: Question, _ bench: Bench) {
        bench.hear(.digests(id: question.id, bench.digests(of: question.range, there: true)))
    }

    private func status(_ bench: Bench) -> VolumeStatus.Peer? { bench.core.status(at: bench.now).peers.first }

    /// Answers whatever is asked until the comparison ends.
    private func finish(_ bench: Bench) {
        var answered: Set<UInt32> = []
        for _ in 0..<10_000 where status(bench)?.verify != nil {
            let open = questions(bench).filter { !answered.contains($0.id) }
            for question in open {
                answered.insert(question.id)
                answer(question, bench)
            }
            if open.isEmpty { bench.pass(milliseconds: 20) }
        }
    }

    @Test func `equal copies are compared block by block, each once, and nothing is written`() {
        let bench = Bench.primary()
        let start = bench.moments.count
        #expect(bench.end(of: bench.command(.verify(peer: nil, rate: nil))) == "done")
        #expect(status(bench)?.replication == .verify && status(bench)?.verify?.totalBytes == Bench.size)
        finish(bench)
        let result = bench.core.verifyResult(of: beta)
        #expect(result?.word == "equal" && result?.comparedBytes == Bench.size && result?.completed == result?.ended)
        #expect(questions(bench).reduce(0) { $0 + $1.range.length } == Bench.size)
        #expect(questions(bench).allSatisfy { $0.range.length <= Comparing.mostBlocks * 4096 })
        #expect(bench.position(after: start) { if case .writing = $0 { true } else { false } } == nil)
        #expect(status(bench)?.replication == .established && status(bench)?.lastVerify == result)
        bench.expectNothingLeft()
    }

    @Test func `it reads no more than its rate`() {
        let bench = Bench.primary()
        bench.command(.verify(peer: beta, rate: 1 << 20))
        let began = bench.now
        finish(bench)
        let seconds = bench.now.since(began) / 1_000_000_000
        #expect((31...34).contains(seconds), "32 MiB at 1 MiB/s took \(seconds) s")
    }

    @Test func `what differs is counted and remembered, also when it is on this side`() {
        let bench = Bench.primary()
        bench.rotten = [3, 4, 4095]
        bench.command(.verify(peer: nil, rate: nil))
        finish(bench)
        let result = bench.core.verifyResult(of: beta)
        #expect(result?.word == "differs" && result?.differingBytes == 3 * 4096)
        #expect(result?.runs == [BlockRun(first: 3, count: 2), BlockRun(first: 4095, count: 1)])
        #expect(result?.end == .complete && result?.comparedBytes == Bench.size)
    }

    @Test func `a write waits for the answer, and a comparison waits for a write`() throws {
        let bench = Bench.primary()
        bench.command(.verify(peer: nil, rate: nil))
        let first = try #require(questions(bench).first { $0.range.offset == 0 })
        let start = bench.moments.count
        bench.ask(0, .write, block: 5)
        bench.ask(1, .read, block: 5)
        #expect(bench.frames(since: start).isEmpty, "its range is locked")
        #expect(bench.reply(to: 1) == nil, "it waits for the write")
        bench.ask(2, .write, block: 5000)
        #expect(bench.frames(since: start).count == 1, "another range is not")
        answer(first, bench)
        #expect(bench.frames(since: start).count == 2)
        bench.hear(.written(sequence: bench.lastSequence, succeeded: true))
        #expect(bench.reply(to: 0) == .done && bench.reply(to: 1) == .done)

        // The write to block 5000 is still unanswered: its range is not asked for.
        for _ in 0..<2000 {
            let open = questions(bench, since: start)
            #expect(!open.contains { $0.range.blocks.contains(5000) })
            guard let next = open.last, next.range.blocks.lowerBound < 4900 else { break }
            answer(next, bench)
            bench.pass(milliseconds: 20)
        }
        bench.hear(.written(sequence: bench.lastSequence - 1, succeeded: true))
        finish(bench)
        #expect(bench.core.verifyResult(of: beta)?.word == "equal")
        bench.expectNothingLeft()
    }

    @Test func `what cannot be read is asked for block by block, and is no difference`() {
        let bench = Bench.primary()
        bench.command(.verify(peer: nil, rate: nil))
        let all = questions(bench)
        guard let first = all.first else { return #expect(Bool(false), "nothing is asked") }
        bench.hear(.digestFailed(id: first.id, unreadable: true))
        var singles = 0
        for _ in 0..<10_000 where status(bench)?.verify != nil {
            let open = questions(bench).filter { question in question.range.length == 4096 }
            if open.count > singles {
                for question in open[singles...] {
                    // Only one of them is bad.
                    if question.range.blocks.lowerBound == 7 {
                        bench.hear(.digestFailed(id: question.id, unreadable: true))
                    } else {
                        answer(question, bench)
                    }
                }
                singles = open.count
                continue
            }
            for question in questions(bench).suffix(8) where question.range.length > 4096 && question.id != first.id {
                answer(question, bench)
            }
            bench.pass(milliseconds: 20)
        }
        let result = bench.core.verifyResult(of: beta)
        #expect(singles == 64 && result?.word == "unreadable" && result?.unreadableBytes == 4096)
        #expect(result?.comparedBytes == Bench.size - 4096 && result?.differingBytes == 0)
        #expect(bench.core.diskState == .upToDate)
    }

    @Test func `the end of the link interrupts it, and lets the writes go`() {
        let bench = Bench.primary()
        bench.command(.verify(peer: nil, rate: nil))
        bench.ask(0, .write, block: 5)
        bench.breakLink()
        let result = bench.core.verifyResult(of: beta)
        #expect(result?.word == "interrupted" && result?.reached == 0 && result?.completed == 0)
        #expect(bench.meet(bench.peerState { $0.resumes = RunID(rawValue: 0x800) }) != nil)
        bench.pass(milliseconds: 100)
        #expect(!bench.frames().isEmpty, "the write is on its way")
    }

    @Test func `a question that nobody answers is given up in time, and then the comparison`() {
        let bench = Bench.primary()
        bench.command(.verify(peer: nil, rate: nil))
        bench.ask(0, .write, block: 5)
        let start = bench.moments.count
        bench.pass(milliseconds: 7000)
        #expect(bench.frames(since: start).count == 1, "the write goes on")
        bench.hear(.written(sequence: bench.lastSequence, succeeded: true))
        bench.pass(milliseconds: 30_000)
        #expect(bench.core.verifyResult(of: beta)?.reason == "beta does not answer")
        bench.expectNothingLeft()
    }

    @Test func `who does not follow this primary now is asked again`() throws {
        let bench = Bench.primary()
        bench.command(.verify(peer: nil, rate: nil))
        let first = try #require(questions(bench).first)
        bench.hear(.digestFailed(id: first.id, unreadable: false))
        bench.ask(0, .write, block: first.range.blocks.lowerBound)
        bench.hear(.written(sequence: bench.lastSequence, succeeded: true))
        #expect(bench.reply(to: 0) == .done)
        finish(bench)
        #expect(bench.core.verifyResult(of: beta)?.word == "equal")
        #expect(questions(bench).count { $0.range.overlaps(first.range) } >= 2)
    }

    @Test func `digests of another length end the session`() throws {
        let bench = Bench.primary()
        bench.command(.verify(peer: nil, rate: nil))
        let first = try #require(questions(bench).first)
        let session = bench.session
        bench.hear(.digests(id: first.id, [UInt8](repeating: 0, count: 32)))
        #expect(bench.position(of: .sessionEnded(session)) != nil)
        #expect(bench.core.verifyResult(of: beta)?.word == "interrupted")
    }

    @Test func `only a primary whose peer is in step compares, one at a time, until it is stopped`() {
        let secondary = Bench.secondary()
        #expect(secondary.end(of: secondary.command(.verify(peer: nil, rate: nil))) == "not-primary")
        let bench = Bench.primary()
        #expect(bench.end(of: bench.command(.verify(peer: alpha, rate: nil))) == "no-such-peer")
        #expect(bench.end(of: bench.command(.stopVerify(peer: nil))) == "done")
        #expect(bench.core.verifyResult(of: beta) == nil)
        bench.command(.verify(peer: nil, rate: nil))
        #expect(bench.end(of: bench.command(.verify(peer: beta, rate: nil))) == "busy")
        #expect(bench.end(of: bench.command(.stopVerify(peer: nil))) == "done")
        #expect(bench.core.verifyResult(of: beta)?.word == "stopped")
        bench.expectNothingLeft()
        bench.breakLink()
        #expect(bench.end(of: bench.command(.verify(peer: beta, rate: nil))) == "not-connected")
    }

    @Test func `a demotion ends it`() {
        let bench = Bench.primary()
        bench.command(.verify(peer: nil, rate: nil))
        let demotion = bench.demote()
        for message in bench.messages() {
            if case .flush(let round) = message {
                bench.hear(.flushed(round: round, succeeded: true, mark: StartMark(startNumber: 1, sequence: 60)))
            }
        }
        if let number = bench.proposal?.record.number { bench.accept(number) }
        #expect(bench.end(of: demotion) == "done")
        #expect(bench.core.verifyResult(of: beta)?.reason == "this node is no longer primary")
        bench.expectNothingLeft()
    }

    @Test func `it begins by itself when the last one is too long ago`() {
        let bench = Bench.primary(configured: { $0.verifyEvery = 100 })
        bench.pass(milliseconds: 1000)
        #expect(status(bench)?.verify != nil, "none is remembered")
        finish(bench)
        bench.pass(milliseconds: 90_000)
        #expect(status(bench)?.verify == nil)
        bench.pass(milliseconds: 12_000)
        #expect(status(bench)?.verify != nil)
        bench.command(.stopVerify(peer: nil))
        bench.pass(milliseconds: 90_000)
        #expect(status(bench)?.verify == nil, "an administrator did not want it")
    }

    @Test func `what an earlier run compared is remembered`() {
        var earlier = VerifyResult(end: .complete, began: 1_699_999_900, ended: 1_699_999_990)
        earlier.completed = earlier.ended
        let bench = Bench.primary(configured: {
            $0.verifyEvery = 100
            $0.compared = [.init(node: beta, result: earlier)]
        })
        #expect(status(bench)?.lastVerify == earlier)
        bench.pass(milliseconds: 60_000)
        #expect(status(bench)?.verify == nil)
        bench.pass(milliseconds: 35_000)
        #expect(status(bench)?.verify != nil)
    }

    // MARK: The other side

    @Test func `a secondary reads behind the writes that it was sent`() {
        let bench = Bench.secondary()
        bench.held = [.write]
        bench.hearWrite(1, block: 5)
        let start = bench.moments.count
        let range = ByteRange(blocks: 4..<8)
        bench.hear(.digest(id: 9, range: range))
        #expect(!bench.messages(since: start).contains { if case .digests = $0 { true } else { false } })
        bench.hearWrite(2, block: 6)
        bench.letGo(.write)
        let sent = bench.messages(since: start)
        let written = sent.firstIndex { if case .written(1, _) = $0 { true } else { false } }
        let answered = sent.firstIndex(of: .digests(id: 9, bench.digests(of: range)))
        let later = sent.firstIndex { if case .written(2, _) = $0 { true } else { false } }
        #expect(written != nil && answered != nil && later != nil)
        if let written, let answered, let later { #expect(written < answered && answered < later) }
        bench.expectNothingLeft()
    }

    @Test func `a secondary says what it cannot read, and answers to no other record and no stranger`() {
        let bench = Bench.secondary()
        bench.failing = [.read]
        bench.hear(.digest(id: 1, range: ByteRange(blocks: 4..<8)))
        #expect(bench.messages().last == .digestFailed(id: 1, unreadable: true))
        bench.failing = []
        var older = bench.core.durableState.record.number
        older.index += 1
        bench.hear(.digest(id: 2, range: ByteRange(blocks: 4..<8)), record: older)
        #expect(bench.messages().last == .digestFailed(id: 2, unreadable: false))
        let primary = Bench.primary()
        primary.hear(.digest(id: 3, range: ByteRange(blocks: 4..<8)))
        #expect(primary.messages().last == .digestFailed(id: 3, unreadable: false))
    }
}
