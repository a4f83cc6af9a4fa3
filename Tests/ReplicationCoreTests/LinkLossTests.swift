import Model
import ReplicationCore
import Testing

@Suite struct LinkLossTests {
    @Test func `a held write goes on only after the peer's time is over and the new record is durable`() throws {
        let bench = Bench.primary()
        let before = bench.stable
        bench.ask(0, .write, block: 5)
        bench.breakLink()
        let start = bench.moments.count
        bench.pass(milliseconds: 5000)
        #expect(bench.reply(to: 0) == nil)
        #expect(bench.stable == before)
        bench.held = [.superblock]
        bench.pass(milliseconds: 2000)
        #expect(bench.reply(to: 0) == nil)
        bench.letGo(.superblock)
        #expect(bench.reply(to: 0) == .done)
        let durable = try #require(
            bench.position(after: start) {
                if case .stable(let state) = $0 { state.record.inStep == NodeSet(alpha) } else { false }
            })
        #expect(try durable < #require(bench.position(of: .replied(0, .done))))
        #expect(bench.stable.current.id != before.current.id)
        #expect(bench.stable.history.first == before.current)
        #expect(bench.stable.peers[beta].base == .since(before.current.id))
        #expect(bench.core.isMarked(block: 5, toward: beta))
        bench.expectNothingLeft()
    }

    @Test func `what was acknowledged and not confirmed is marked when a copy is left behind`() {
        let bench = Bench.primary()
        bench.completeWrite(0, block: 5)
        bench.breakLink()
        bench.ask(1, .write, block: 9)
        bench.pass(milliseconds: 8000)
        #expect(bench.reply(to: 1) == .done)
        #expect(bench.core.isMarked(block: 5, toward: beta))
        #expect(bench.core.isMarked(block: 9, toward: beta))
    }

    @Test func `nobody is left behind while nothing waits`() {
        let bench = Bench.primary()
        let before = bench.stable.record
        bench.breakLink()
        bench.pass(milliseconds: 60_000)
        #expect(bench.stable.record == before)
        bench.ask(0, .read, block: 5)
        #expect(bench.reply(to: 0) == .done)
        #expect(bench.stable.record == before)
        bench.ask(1, .flush)
        #expect(bench.reply(to: 1) == .done)
        #expect(bench.stable.record.inStep == NodeSet(alpha))
    }

    @Test func `a peer that said goodbye is not waited for`() {
        let bench = Bench.primary()
        bench.hear(.goodbye(.stopping))
        bench.ask(0, .write, block: 5)
        #expect(bench.reply(to: 0) == .done)
        #expect(bench.stable.record.inStep == NodeSet(alpha))
    }

    @Test func `a session between the same runs is resumed: frames not answered go again, in order`() {
        let bench = Bench.primary()
        let before = bench.stable
        for ticket in 0..<4 as Range<UInt32> { bench.ask(ticket, .write, block: UInt64(ticket) * 8) }
        bench.hear(.written(sequence: 2, succeeded: true))
        bench.breakLink()
        bench.ask(4, .write, block: 100)
        #expect(bench.frames() == [1, 2, 3, 4])
        let start = bench.moments.count
        let verdict = bench.meet(bench.peerState { $0.resumes = RunID(rawValue: 0x800) })
        #expect(verdict == .resume)
        #expect(bench.frames(since: start) == [1, 3, 4, 5])
        for sequence in [1, 3, 4, 5] as [UInt64] { bench.hear(.written(sequence: sequence, succeeded: true)) }
        #expect((0..<5).allSatisfy { bench.reply(to: $0) == .done })
        #expect(bench.stable.record == before.record)
        #expect(bench.stable.current == before.current)
        bench.expectNothingLeft()
    }

    @Test func `a flush under way is asked for again, also when the session could not be resumed`() {
        for isResumed in [true, false] {
            let bench = Bench.primary()
            bench.ask(0, .flush)
            bench.breakLink()
            if !isResumed {
                // A second blip in the middle of the handshake.
                bench.open()
                bench.breakLink()
                bench.peerRun = RunID(rawValue: 0x901)
            }
            let start = bench.moments.count
            let verdict = bench.meet(bench.peerState { if isResumed { $0.resumes = RunID(rawValue: 0x800) } })
            #expect(verdict == (isResumed ? .resume : .inSync))
            if !isResumed, let number = bench.proposal?.record.number { bench.accept(number) }
            let again = bench.messages(since: start).compactMap {
                if case .flush(let round) = $0 { round } else { nil }
            }
            #expect(again.count == 1)
            for round in again { bench.hear(.flushed(round: round, succeeded: true, mark: .none)) }
            #expect(bench.reply(to: 0) == .done)
        }
    }

    @Test func `two blips in a row lose nothing that one would not`() {
        let bench = Bench.primary()
        bench.ask(0, .write, block: 5)
        bench.breakLink()
        bench.open()
        bench.breakLink()
        let start = bench.moments.count
        #expect(bench.meet(bench.peerState { $0.resumes = RunID(rawValue: 0x800) }) == .resume)
        #expect(bench.frames(since: start) == [1])
    }

    @Test func `frames of a session that is gone do nothing, and their buffers come back`() {
        let bench = Bench.secondary()
        let old = bench.session
        bench.breakLink()
        bench.hearWrite(1, block: 3, of: old)
        bench.open()
        bench.hearWrite(1, block: 3, of: old)
        #expect(bench.position(of: .writing(ByteRange(blocks: 3..<4))) == nil)
        bench.expectNothingLeft()
    }

    @Test func `a write that nobody answers cuts off a peer that answers pings`() {
        let bench = Bench.primary()
        bench.ask(0, .write, block: 5)
        bench.pass(milliseconds: 5500)
        #expect(bench.reply(to: 0) == nil)
        bench.pass(milliseconds: 2500)
        #expect(bench.reply(to: 0) == .done)
        #expect(bench.stable.record.inStep == NodeSet(alpha))
    }

    @Test func `a flush that nobody answers cuts off a peer that answers pings`() {
        let bench = Bench.primary()
        bench.ask(0, .flush)
        bench.pass(milliseconds: 20_000)
        #expect(bench.reply(to: 0) == .done)
        #expect(bench.stable.record.inStep == NodeSet(alpha))
    }

    @Test func `a peer that answers pings and never tells its state does not hold the clients up for ever`() {
        let bench = Bench.primary()
        bench.breakLink()
        bench.open()
        bench.ask(0, .write, block: 5)
        bench.pass(milliseconds: 20_000)
        #expect(bench.reply(to: 0) == .done)
    }

    @Test func `a silent peer is given up after the ping time-out, and dialed again`() {
        let bench = Bench.primary()
        bench.answersPings = false
        let dials = bench.dials
        bench.pass(milliseconds: 4000)
        #expect(bench.session.isNone)
        #expect(bench.dials > dials)
    }

    @Test func `a process that stood still answers nothing before its peer was heard`() {
        let bench = Bench.primary()
        bench.answersPings = false
        bench.now = bench.now + 60_000_000_000
        bench.ask(0, .read, block: 3)
        #expect(bench.reply(to: 0) == nil)
        bench.hear(.pong(bench.lastPing))
        #expect(bench.reply(to: 0) == .done)
    }

    @Test func `a handshake that ended while the process stood still is no news of the peer`() {
        let bench = Bench.primary()
        bench.breakLink()
        bench.open()
        bench.hear(.state(bench.peerState { $0.resumes = RunID(rawValue: 0x800) }))
        let verdict = bench.messages().last { if case .verdict = $0 { true } else { false } }
        guard case .verdict(let outcome, let rule)? = verdict else {
            Issue.record("no verdict")
            return
        }
        #expect(HandshakeOutcome(rawValue: outcome) == .resume)
        bench.answersPings = false
        bench.now = bench.now + 60_000_000_000
        bench.hear(.verdict(outcome: outcome, rule: rule))
        bench.ask(0, .read, block: 3)
        #expect(bench.reply(to: 0) == nil)
        bench.hear(.pong(bench.lastPing))
        #expect(bench.reply(to: 0) == .done)
    }

    @Test func `the old primary, behind its successor, fails what it holds and follows`() {
        let bench = Bench.primary()
        bench.ask(0, .write, block: 5)
        bench.breakLink()
        bench.meet(
            bench.peerState {
                $0.goesOnAlone(in: 40); $0.isPrimary = true
            })
        #expect(bench.reply(to: 0) == .notPrimary)
        #expect(!bench.core.isPrimary)
        #expect(bench.moments.contains(.clientsClosed))
        #expect(bench.stable.flags.contains(.outdated))
        let again = bench.promote(within: 100)
        bench.pass(milliseconds: 200)
        #expect(bench.end(of: again) == "outdated")
        bench.expectNothingLeft()
    }

    @Test func `split brain is said, and both stay up`() {
        let bench = Bench.primary()
        bench.breakLink()
        bench.ask(0, .write, block: 5)
        bench.pass(milliseconds: 8000)
        var theirs = bench.peerState()
        theirs.current = generation(40)
        theirs.history = [bench.core.durableState.history[0]]
        theirs.record.inStep = NodeSet(beta)
        #expect(bench.meet(theirs) == .parted)
        let status = bench.core.status(at: bench.now)
        #expect(status.peers.first?.connection == .standalone)
        #expect(status.peers.first?.reason == "split-brain")
        #expect(bench.core.isPrimary)
        bench.ask(1, .write, block: 6)
        #expect(bench.reply(to: 1) == .done)
    }

    @Test func `a peer is dialed each second at least until it is cut off, and seldom after that`() {
        let bench = Bench.primary()
        bench.breakLink()
        func dials(inSeconds seconds: Int) -> Int {
            let before = bench.dials
            for _ in 0..<seconds * 20 {
                let known = bench.dials
                bench.pass(milliseconds: 50)
                if bench.dials > known { bench.handle(.dialFailed(beta, "refused")) }
            }
            return bench.dials - before
        }
        #expect(dials(inSeconds: 2) >= 4)
        #expect(dials(inSeconds: 4) >= 4, "the cut-off is 6 s")
        _ = dials(inSeconds: 20)
        #expect(dials(inSeconds: 60) <= 30)
    }

    @Test func `an offer to throw data away ends with the command that was refused`() {
        let bench = Bench.established(alpha)
        bench.breakLink()
        let deadline = bench.now + 60_000_000_000
        let offer = bench.command(.connect(peer: nil, discardMyData: true, dryRun: false, deadline: deadline))
        bench.command(.disconnect(peer: nil, force: false))
        #expect(bench.end(of: offer) == "parted")
        bench.command(.connect(peer: nil, discardMyData: false, dryRun: false, deadline: deadline))
        bench.open()
        #expect(bench.told?.discardMyData == false)
    }

    @Test func `an offer to throw data away ends with whoever made it`() {
        let bench = Bench.established(alpha)
        bench.breakLink()
        let deadline = bench.now + 60_000_000_000
        let offer = bench.command(.connect(peer: nil, discardMyData: true, dryRun: false, deadline: deadline))
        bench.handle(.commandWithdrawn(offer))
        bench.open()
        #expect(bench.told?.discardMyData == false)
    }
}
