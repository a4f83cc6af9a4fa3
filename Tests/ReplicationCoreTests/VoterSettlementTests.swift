import Model
import ReplicationCore
import Testing

/// Blocks in which members may differ, requests that fail for want of a quorum, and a primary whose disk goes, among three voters.
@Suite struct VoterSettlementTests {
    private static let apart = [BlockRun(first: 10, count: 1)]

    private func writes(_ bench: VoterBench, to node: NodeID, since start: Int = 0) -> [UInt64] {
        bench.messages(to: node, since: start).compactMap {
            if case .write(let sequence, _, _) = $0 { sequence } else { nil }
        }
    }

    /// What the newest frame that was sent is numbered.
    private func answerWrites(_ bench: VoterBench, since start: Int = 0) {
        for node in [beta, gamma] {
            for sequence in writes(bench, to: node, since: start) {
                bench.hear(.written(sequence: sequence, succeeded: true), from: node)
            }
        }
    }

    @Test func `who leads no more has nothing to settle`() {
        let bench = VoterBench.primary(unconfirmed: Self.apart)
        bench.letGo(.read)
        // The block is on its way to both, which do not answer.
        #expect(!writes(bench, to: beta).isEmpty)
        var record = bench.stable.record
        record.number = RecordNumber(term: Term(counter: 9, node: gamma), index: 1)
        record.primary = gamma
        bench.hear(
            .standing(
                bench.standing(of: gamma) {
                    $0.record = record
                    $0.promised = record.number.term
                    $0.isPrimary = true
                }), from: gamma)
        #expect(!bench.core.isPrimary)
        #expect(bench.lent.isEmpty)
    }

    @Test func `what was read to be settled before a demotion is not sent after the next promotion`() {
        let bench = VoterBench.primary(unconfirmed: Self.apart)
        #expect(bench.core.unsettledBlocks == 1)
        bench.command(.demote(force: true, deadline: bench.now + 1_000_000_000))
        bench.pass(milliseconds: 100)
        #expect(!bench.core.isPrimary)
        for node in [beta, gamma] { bench.meet(node) }
        let command = bench.promote()
        bench.becomePrimary()
        _ = command
        let start = bench.sent.count
        bench.letGo(.read, onlyFirst: true)
        #expect(writes(bench, to: beta, since: start).isEmpty)
        bench.letGo(.read)
        #expect(!writes(bench, to: beta, since: start).isEmpty)
        answerWrites(bench, since: start)
        #expect(bench.core.unsettledBlocks == 0)
    }

    @Test func `what a request that failed for want of a quorum would have written is unsettled`() {
        let bench = VoterBench.primary(failsWithoutQuorum: true)
        bench.ask(0, .write, block: 7)
        #expect(!writes(bench, to: beta).isEmpty)
        for node in [beta, gamma] { bench.leave(node) }
        bench.pass(milliseconds: 10_000)
        #expect(bench.replies[0] == .failed)
        #expect(bench.core.unsettledBlocks == 1)
    }

    @Test func `a primary whose disk fails before all is settled goes on with one member`() {
        for isApart in [false, true] {
            let bench = VoterBench(alpha)
            for node in [beta, gamma] { bench.meet(node) }
            bench.failing = [.read]
            bench.becomePrimary(unconfirmed: isApart ? Self.apart : [])
            if !isApart { bench.ask(0, .read) }
            #expect(bench.core.diskState == .diskless)
            #expect(bench.proposal?.record.inStep.contains(alpha) == false)
            #expect(bench.proposal?.record.inStep.count == (isApart ? 1 : 2))
        }
    }

    @Test func `what is not settled is not given to a copy that is filled`() {
        let bench = VoterBench.primary(unconfirmed: Self.apart)
        bench.leave(gamma)
        bench.pass(milliseconds: 8000)
        bench.accept(from: beta)
        #expect(bench.core.durableState.record.inStep == NodeSet(alpha, beta))
        bench.meet(gamma)
        bench.hear(.resyncReady, from: gamma)
        let start = bench.sent.count
        bench.hear(.pull(id: 1, range: ByteRange(blocks: 10..<11)), from: gamma)
        bench.hear(.pull(id: 2, range: ByteRange(blocks: 12..<13)), from: gamma)
        let answered: () -> [UInt64] = {
            bench.messages(to: gamma, since: start).compactMap {
                if case .pullData(let id, _, _) = $0 { id } else { nil }
            }
        }
        bench.letGo(.read)
        #expect(answered().isEmpty)
        answerWrites(bench)
        #expect(bench.core.unsettledBlocks == 0)
        #expect(answered() == [1, 2])
    }

    /// `alpha`, secondary, whose disk failed.
    private func diskless() -> VoterBench {
        let bench = VoterBench(alpha)
        for node in [beta, gamma] { bench.meet(node) }
        bench.command(.detach(force: true))
        #expect(bench.core.diskState == .diskless)
        for node in [beta, gamma] { bench.open(node) }
        return bench
    }

    @Test func `who has no disk is served by one of those that may differ`() {
        for isApart in [false, true] {
            let bench = diskless()
            _ = bench.promote()
            for node in [beta, gamma] { bench.answerInquiry(from: node) }
            for node in [beta, gamma] { bench.vote(from: node, unconfirmed: isApart ? Self.apart : []) }
            #expect(bench.proposal?.record.inStep.contains(alpha) == false)
            #expect(bench.proposal?.record.inStep.count == (isApart ? 1 : 2))
        }
    }

    @Test func `a write without a disk here does not fail for want of a quorum: its members may have it`() {
        let bench = VoterBench.primary(failsWithoutQuorum: true)
        bench.ask(1, .write, block: 7)
        #expect(!writes(bench, to: beta).isEmpty)
        bench.failing = [.read]
        bench.ask(2, .read, block: 8)
        #expect(bench.core.diskState == .diskless)
        for node in [beta, gamma] { bench.leave(node) }
        bench.pass(milliseconds: 10_000)
        #expect(bench.replies[1] == nil)
        #expect(bench.replies[2] == .failed)
    }

    @Test func `without a disk and without members, requests fail for want of a quorum as well`() {
        let bench = VoterBench.primary(failsWithoutQuorum: true)
        bench.failing = [.read]
        bench.ask(0, .read)
        #expect(bench.core.diskState == .diskless)
        for node in [beta, gamma] { bench.accept(from: node) }
        #expect(bench.core.durableState.record.inStep == NodeSet(beta, gamma))
        bench.ask(1, .read, block: 8)
        #expect(bench.replies[1] == nil)
        for node in [beta, gamma] { bench.leave(node) }
        bench.pass(milliseconds: 10_000)
        #expect(bench.replies[1] == .failed)
    }

    @Test func `a hand-over is offered only when everything is stable on all members`() {
        for isStable in [false, true] {
            let bench = VoterBench.primary()
            bench.ask(0, .write, block: 7)
            answerWrites(bench)
            #expect(bench.replies[0] == .done)
            if !isStable { bench.leave(gamma) }
            bench.command(.demote(force: false, deadline: bench.now + 1_000_000_000))
            for case .flush(let round) in bench.messages(to: beta) {
                for node in [beta, gamma] {
                    bench.hear(
                        .flushed(round: round, succeeded: true, mark: StartMark(startNumber: 1, sequence: 50)),
                        from: node)
                }
            }
            bench.pass(milliseconds: 300)
            #expect((bench.proposal?.record.primary == nil) == isStable)
        }
    }
}
