import Model
import ReplicationCore
import Testing

/// A resync, a join and a demotion beside writes that are still on their way (`async`).
@Suite struct ModeResyncTests {
    private static let buffer: UInt64 = 64 << 10

    private static func primary(fallsBehind: Bool = false) -> Bench {
        Bench.primary(configured: { configuration in
            for index in configuration.members.indices { configuration.members[index].replication = .asynchronous }
            configuration.limits.sendBuffer = buffer
            configuration.fallsBehind = fallsBehind
        })
    }

    /// `alpha` fills `beta` with blocks 5 and 9.
    private func source(fallsBehind: Bool = false) -> Bench {
        let bench = Self.primary(fallsBehind: fallsBehind)
        bench.goOnAlone(writing: 5, 9)
        #expect(bench.meet(bench.stateLeftBehind()) == .sourceOfMarked)
        bench.hear(.presence(Presence(role: .secondary, disk: .inconsistent, mark: .none, resyncPaused: false)))
        bench.hear(.resyncReady)
        bench.hear(.resyncReady)
        return bench
    }

    private func answers(_ bench: Bench) -> [UInt64] {
        bench.messages().compactMap { if case .pullData(let id, _, _) = $0 { id } else { nil } }
    }

    private func offersJoin(_ bench: Bench) -> Bool {
        bench.messages().contains { if case .joinOffer = $0 { true } else { false } }
    }

    @Test func `a target that would fall behind for what it is filled with gets a piece now and then only`() {
        for fallsBehind in [true, false] {
            let bench = source(fallsBehind: fallsBehind)
            for block in 0..<8 { bench.ask(UInt32(block % 4), .write, block: UInt64(20 + block)) }
            let first = bench.lastSequence - 7
            for id in UInt64(1)...3 { bench.hear(.pull(id: id, range: ByteRange(blocks: 4 + id..<5 + id))) }
            // Half of the buffer is full. The link is the clients' then, but only where a full one means falling behind.
            #expect(answers(bench) == (fallsBehind ? [1] : [1, 2, 3]))
            guard fallsBehind else { continue }
            bench.hear(.ping(1))
            bench.pass(milliseconds: 600)
            bench.hear(.ping(2))
            bench.pass(milliseconds: 600)
            #expect(answers(bench) == [1, 2])
            bench.hear(.written(sequence: first, succeeded: true))
            #expect(answers(bench) == [1, 2, 3])
        }
    }

    /// Filled but for the join, with that many writes on their way.
    private func complete(writes: Int) -> (bench: Bench, first: UInt64) {
        let bench = source()
        bench.hear(.pull(id: 1, range: ByteRange(blocks: 5..<6)))
        bench.hear(.pull(id: 2, range: ByteRange(blocks: 9..<10)))
        for block in 0..<writes { bench.ask(UInt32(block % 4), .write, block: UInt64(20 + block)) }
        let first = bench.lastSequence + 1 - UInt64(writes)
        bench.hear(.resyncFlushed(pulls: 2, writes: 0))
        bench.hear(.resyncComplete)
        return (bench, first)
    }

    private func isWritten(_ bench: Bench, block: UInt64) -> Bool {
        let start = bench.moments.count
        bench.ask(UInt32(block % 8), .write, block: block)
        return bench.position(of: .wrote(ByteRange(blocks: block..<block + 1)), after: start) != nil
    }

    @Test func `a join holds writes only when little is on its way`() {
        let (bench, first) = complete(writes: 4)
        #expect(isWritten(bench, block: 30))
        for sequence in first..<first + 4 {
            bench.hear(.written(sequence: sequence, succeeded: true))
            #expect(!offersJoin(bench))
        }
        #expect(!isWritten(bench, block: 31))
        bench.hear(.written(sequence: first + 4, succeeded: true))
        #expect(offersJoin(bench))
    }

    @Test func `on a link that is always full a join begins after the cut-off time`() {
        let (bench, first) = complete(writes: 8)
        for second in UInt64(1)...6 {
            bench.pass(milliseconds: 1000)
            bench.hear(.written(sequence: first + second - 1, succeeded: true))
            #expect(isWritten(bench, block: 40 + second) == (second < 6))
        }
    }

    @Test func `a demotion in a blip of the link waits until what was answered has arrived, or the time is over`()
        throws
    {
        for returns in [true, false] {
            let bench = Self.primary()
            bench.ask(0, .write, block: 5)
            #expect(bench.reply(to: 0) == .done)
            bench.breakLink()
            let command = bench.demote(within: 20_000)
            #expect(bench.end(of: command) == nil)
            #expect(bench.core.isPrimary)
            guard returns else {
                bench.pass(milliseconds: 7000)
                #expect(bench.end(of: command) == "done")
                continue
            }
            #expect(bench.meet(bench.peerState { $0.resumes = RunID(rawValue: 0x800) }) == .resume)
            #expect(bench.end(of: command) == nil)
            bench.hear(.written(sequence: 1, succeeded: true))
            let round = bench.messages().reversed().lazy.compactMap {
                if case .flush(let round) = $0, round > 0 { round } else { nil }
            }.first
            bench.hear(.flushed(round: try #require(round), succeeded: true, mark: .none))
            bench.accept(try #require(bench.proposal).record.number)
            #expect(bench.end(of: command) == "done")
        }
    }
}
