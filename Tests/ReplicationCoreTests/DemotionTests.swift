import Model
import ReplicationCore
import Testing

@Suite struct DemotionTests {
    private func flushRound(_ bench: Bench) -> UInt64? {
        bench.messages().reversed().lazy.compactMap { if case .flush(let round) = $0 { round } else { nil } }.first
    }

    @Test func `a demotion confirms everything, then hands over by a record without a primary`() throws {
        let bench = Bench.primary()
        bench.completeWrite(0, block: 5)
        let command = bench.demote()
        let round = try #require(flushRound(bench))
        #expect(bench.end(of: command) == nil)
        bench.hear(.flushed(round: round, succeeded: true, mark: .none))
        #expect(!bench.core.isUnconfirmed(block: 5))
        let proposal = try #require(bench.proposal)
        #expect(proposal.record.primary == nil)
        #expect(proposal.record.inStep == NodeSet(alpha, beta))
        #expect(bench.core.isPrimary)
        bench.accept(proposal.record.number)
        #expect(bench.end(of: command) == "done")
        #expect(!bench.core.isPrimary)
        #expect(bench.core.diskState == .upToDate)
        let confirmed = try #require(bench.position { if case .sent(.confirm) = $0 { true } else { false } })
        #expect(try confirmed < #require(bench.position(of: .sent(.propose(proposal)))))
    }

    @Test func `what is in flight finishes first, and nothing new begins`() throws {
        let bench = Bench.primary()
        bench.ask(0, .write, block: 5)
        let command = bench.demote()
        bench.ask(1, .write, block: 6)
        #expect(bench.reply(to: 1) == .notPrimary)
        #expect(bench.reply(to: 0) == nil)
        bench.hear(.written(sequence: 1, succeeded: true))
        #expect(bench.reply(to: 0) == .done)
        bench.hear(.flushed(round: try #require(flushRound(bench)), succeeded: true, mark: .none))
        bench.accept(try #require(bench.proposal).record.number)
        #expect(bench.end(of: command) == "done")
        bench.expectNothingLeft()
    }

    @Test func `a volume in use is demoted only by force`() {
        let bench = Bench.primary()
        bench.handle(.clientsChanged(count: 1))
        #expect(bench.end(of: bench.demote()) == "in-use")
        bench.ask(0, .write, block: 5)
        #expect(bench.end(of: bench.demote(force: true)) == "done")
        #expect(bench.reply(to: 0) == .notPrimary)
        #expect(!bench.core.isPrimary)
        #expect(bench.moments.contains(.clientsClosed))
        bench.expectNothingLeft()
    }

    @Test func `a read at the disk keeps its buffer and its ticket until the disk has answered`() {
        let bench = Bench.primary()
        bench.held = [.read]
        bench.ask(0, .read, block: 5)
        #expect(bench.end(of: bench.demote(force: true)) == "done")
        #expect(bench.reply(to: 0) == nil)
        #expect(bench.lent.count == 1)
        bench.letGo(.read)
        #expect(bench.reply(to: 0) == .notPrimary)
        bench.expectNothingLeft()
    }

    @Test func `writes given up by force are made equal by the next handshake`() {
        let bench = Bench.primary()
        bench.ask(0, .write, block: 5)
        _ = bench.demote(force: true)
        #expect(bench.session.isNone)
        let verdict = bench.meet(bench.peerState { $0.resumes = RunID(rawValue: 0x800) })
        #expect(verdict == .sourceOfMarked)
    }

    @Test func `alone or with the link down, a demotion is done all the same`() {
        let bench = Bench.primary()
        bench.completeWrite(0, block: 5)
        bench.breakLink()
        #expect(bench.end(of: bench.demote()) == "done")
        #expect(!bench.core.isPrimary)
        let alone = Bench.created(alpha)
        _ = alone.promote()
        #expect(alone.end(of: alone.demote()) == "done")
        #expect(alone.stable.record.primary == nil)
    }

    @Test func `a link that breaks during the hand-over ends the demotion`() {
        let bench = Bench.primary()
        let command = bench.demote()
        #expect(bench.end(of: command) == nil)
        bench.breakLink()
        #expect(bench.end(of: command) == "done")
        #expect(!bench.core.isPrimary)
        let again = bench.promote()
        bench.pass(milliseconds: 100)
        #expect(bench.end(of: again) == "done")
    }

    @Test func `a demotion that cannot finish in time is withdrawn, and service goes on`() {
        let bench = Bench.primary()
        bench.held = [.write]
        bench.ask(0, .write, block: 5)
        bench.hear(.written(sequence: 1, succeeded: true))
        let command = bench.demote()
        bench.pass(milliseconds: 6000)
        #expect(bench.end(of: command) == "busy")
        #expect(bench.core.isPrimary)
        bench.letGo(.write)
        #expect(bench.reply(to: 0) == .done)
        bench.ask(1, .read, block: 9)
        #expect(bench.reply(to: 1) == .done)
    }

    @Test func `after a change of primary in one session, what is written is confirmed again`() {
        let bench = Bench.primary()
        bench.completeWrite(0, block: 5)
        #expect(bench.end(of: bench.demote(force: true)) == "done")
        _ = bench.promote()
        if let number = bench.proposal?.record.number { bench.accept(number) }
        #expect(bench.core.isPrimary)
        bench.completeWrite(1, block: 6)
        bench.ask(2, .flush)
        if let round = flushRound(bench) { bench.hear(.flushed(round: round, succeeded: true, mark: .none)) }
        #expect(bench.reply(to: 2) == .done)
        #expect(!bench.core.isUnconfirmed(block: 5))
        #expect(!bench.core.isUnconfirmed(block: 6))
    }

    // MARK: Stop

    @Test func `a clean stop of a secondary leaves nothing to replay`() throws {
        let bench = Bench.secondary()
        bench.hearWrite(1, block: 5)
        let command = bench.command(.stop)
        #expect(bench.end(of: command) == "done")
        #expect(bench.moments.last == .stopped)
        #expect(bench.stable.flags.contains(.clean))
        // What was unconfirmed is marked durably before that is said.
        let page = try #require(bench.position { if case .pageWritten = $0 { true } else { false } })
        let clean = try #require(
            bench.position { if case .stable(let state) = $0 { state.flags.contains(.clean) } else { false } }
        )
        #expect(page < clean)
        #expect(bench.messages().contains(.goodbye(.stopping)))
    }

    @Test func `a stop of the primary demotes it first`() throws {
        let bench = Bench.primary()
        bench.completeWrite(0, block: 5)
        let command = bench.command(.stop)
        bench.hear(.flushed(round: try #require(flushRound(bench)), succeeded: true, mark: .none))
        bench.accept(try #require(bench.proposal).record.number)
        #expect(bench.end(of: command) == "done")
        #expect(bench.stable.record.primary == nil)
        #expect(bench.stable.flags.contains(.clean))
    }

    @Test func `a stop ends although the peer's flush hangs`() {
        let bench = Bench.primary()
        bench.completeWrite(0, block: 5)
        let command = bench.command(.stop)
        bench.pass(milliseconds: 20_000)
        #expect(bench.end(of: command) == "done")
    }

    @Test func `commands that come while it stops are refused, with a reason`() {
        let bench = Bench.secondary()
        bench.held = [.superblock]
        _ = bench.command(.stop)
        #expect(bench.end(of: bench.promote()) == "stopping")
    }

    // MARK: Detach

    @Test func `a secondary's disk is let go after everything is written back`() {
        let bench = Bench.secondary()
        bench.hearWrite(1, block: 5)
        bench.hear(.presence(Presence(role: .primary, disk: .upToDate, mark: .none, resyncPaused: false)))
        let command = bench.command(.detach(force: false))
        #expect(bench.end(of: command) == "done")
        #expect(bench.moments.contains(.diskReleased))
        #expect(bench.stable.flags.contains(.clean))
        #expect(bench.core.diskState == .diskless)
    }

    @Test func `a handshake under way does not end in step behind the last flush of a disk that is let go`() {
        let bench = Bench.secondary()
        bench.breakLink()
        bench.open()
        let theirs = bench.peerState { $0.resumes = bench.told?.run ?? .none }
        bench.held = [.flush]
        let command = bench.command(.detach(force: true))
        #expect(bench.session.isNone)
        bench.open()
        let start = bench.moments.count
        bench.hear(.state(theirs))
        #expect(bench.messages(since: start).isEmpty)
        bench.held = []
        bench.letGo(.flush)
        #expect(bench.end(of: command) == "done")
        #expect(bench.stable.flags.contains(.clean))
    }

    @Test func `a primary's disk is let go after the record without it, and service goes on`() throws {
        let bench = Bench.primary()
        let command = bench.command(.detach(force: false))
        let proposal = try #require(bench.proposal)
        #expect(proposal.record.inStep == NodeSet(beta))
        #expect(bench.end(of: command) == nil)
        bench.accept(proposal.record.number)
        #expect(bench.end(of: command) == "done")
        #expect(bench.core.durableState.required == NodeSet(beta))
        bench.ask(0, .write, block: 5)
        bench.hear(.written(sequence: bench.lastSequence, succeeded: true))
        #expect(bench.reply(to: 0) == .done)
    }

    @Test func `a detach that its peer cannot follow is given up, and the handshake is made`() {
        let bench = Bench.primary()
        let command = bench.command(.detach(force: false))
        bench.breakLink()
        bench.pass(milliseconds: 1000)
        #expect(bench.end(of: command).map { $0 != "done" } == true)
        let start = bench.moments.count
        bench.open()
        #expect(bench.messages(since: start).contains { if case .state = $0 { true } else { false } })
    }

    @Test func `the last good copy is neither detached nor thrown away nor outdated without force`() {
        let bench = Bench.created(alpha)
        _ = bench.promote()
        _ = bench.demote()
        #expect(bench.end(of: bench.command(.detach(force: false))) == "last-copy")
        #expect(bench.end(of: bench.command(.outdate(force: false))) == "last-copy")
        let throwing = Command.invalidate(peer: nil, force: false, deadline: bench.now)
        #expect(bench.end(of: bench.command(throwing)) == "last-copy")
        #expect(bench.core.diskState == .upToDate)
    }

    @Test func `a copy that serves a peer without a disk is not outdated`() {
        let bench = Bench.established(beta)
        bench.breakLink()
        #expect(bench.meet(bench.peerState { $0.hasDisk = false }) == .carrier)
        #expect(bench.end(of: bench.command(.outdate(force: false))) == "in-step")
        #expect(bench.core.diskState != .outdated)
    }

    @Test func `who hears that others went on says so, also where nothing is copied`() {
        let bench = Bench.established(beta)
        bench.breakLink()
        bench.peerRun = RunID(rawValue: 0x901)
        // An administrator outdated the copy that they went on with.
        let theirs = bench.peerState {
            $0.history.insert($0.current, at: 0)
            $0.current = generation(40)
            $0.record.generation = $0.current.id
            $0.record.number.index += 1
            $0.record.inStep = NodeSet(alpha)
            $0.required = NodeSet(alpha)
            $0.flags = [.outdated]
        }
        #expect(bench.meet(theirs) == .nothing)
        #expect(bench.stable.flags.contains(.outdated))
        #expect(bench.end(of: bench.promote()) == "outdated")
    }
}
