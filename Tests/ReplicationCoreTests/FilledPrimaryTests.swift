import Model
import ReplicationCore
import Testing

/// A primary that lives on its peer's disk while its own one is filled: what it asked there before it was in step.
@Suite struct FilledPrimaryTests {
    /// `alpha`, primary on `beta`'s disk, has half a block to write; `beta` is asked for the rest. Then `alpha`'s new disk is
    /// filled, and takes the join.
    private func filled() throws -> Bench {
        let bench = Bench.primary()
        bench.failing = [.write]
        bench.ask(0, .write, block: 5)
        bench.failing = []
        bench.hear(.written(sequence: bench.lastSequence, succeeded: true))
        bench.accept(try #require(bench.proposal).record.number)
        var record = bench.core.durableState.record
        bench.handle(
            .attached(foundMetadata(bench.stable, log: [], bootID: (1, 1)), CommandID(rawValue: 900)))
        let theirs = bench.peerState {
            $0.history = [generation(1)]
            $0.base = .since(.zero)
            $0.dirtyBlocks = 1
            $0.current = Generation(id: record.generation, node: alpha, began: 1)
        }
        #expect(bench.meet(theirs) == .targetOfEverything)
        bench.hear(.presence(Presence(role: .secondary, disk: .upToDate, mark: .none, resyncPaused: false)))
        record.number = RecordNumber(term: Term(counter: record.number.term.counter + 1, node: beta), index: 1)
        bench.hear(
            .resyncBegin(
                Proposal(volume: theirs.volume, record: record, current: theirs.current), everything: false))
        bench.ask(1, .write, block: 6, bytes: 512)
        #expect(bench.messages().contains(.read(id: 1, range: ByteRange(blocks: 6..<7))))
        bench.hear(.bitmapEnd)
        #expect(bench.messages().last == .resyncComplete)
        record.number.index += 1
        record.inStep = NodeSet(alpha, beta)
        record.instances[alpha] = instance(of: alpha)
        bench.hear(
            .joinOffer(
                JoinOffer(
                    volume: theirs.volume, record: record, current: theirs.current, history: theirs.history,
                    bases: PerNode(repeating: .inStep))))
        bench.hear(.chosen(record.number))
        #expect(bench.core.diskState == .upToDate)
        return bench
    }

    @Test func `half a block that was asked for at a peer that is left behind is read here`() throws {
        let bench = try filled()
        bench.hear(.presence(Presence(role: .secondary, disk: .failed, mark: .none, resyncPaused: false)))
        bench.ask(2, .write, block: 7)
        #expect(bench.stable.record.inStep == NodeSet(alpha))
        #expect(bench.reply(to: 2) == .done)
        #expect(bench.reply(to: 1) == .done)
        bench.expectNothingLeft()
    }

    @Test func `what the peer cannot read is read here once this copy is filled`() throws {
        let bench = try filled()
        bench.hear(.readFailed(id: 1))
        bench.hear(.written(sequence: bench.lastSequence, succeeded: true))
        #expect(bench.reply(to: 1) == .done)
    }
}
