import Model
import ReplicationCore
import Testing

@Suite struct PromotionTests {
    private func superblock(_ change: (inout Superblock) -> Void) -> Superblock {
        var made = Superblock(node: alpha, instance: instance(of: alpha), size: Bench.size, logExtents: 4, zeroes: true)
        let state = copyState(of: alpha)
        made.volume = state.volume
        made.record = state.record
        made.required = state.required
        made.promised = state.record.number.term
        made.current = state.current
        made.history = state.history
        made.sequence = 40
        made.startNumber = 3
        change(&made)
        return made
    }

    @Test func `the first promotion, alone: record and generation are durable before the answer`() throws {
        let bench = Bench.created(alpha)
        let command = bench.promote()
        #expect(bench.end(of: command) == "done")
        let durable = try #require(
            bench.position { if case .stable(let state) = $0 { state.record.primary == alpha } else { false } })
        let answered = try #require(bench.position(of: .commandEnded(command)))
        #expect(durable < answered)
        #expect(bench.stable.record.inStep == NodeSet(alpha))
        #expect(bench.stable.required == NodeSet(alpha))
        #expect(bench.stable.current.id != .zero)
        #expect(bench.stable.history.map(\.id) == [.zero])
        #expect(bench.stable.peers[beta].base == .since(.zero))
        #expect(!bench.stable.volume.isNone)
    }

    @Test func `the answer waits for the superblock`() {
        let bench = Bench.created(alpha)
        bench.held = [.superblock]
        let command = bench.promote()
        #expect(bench.end(of: command) == nil)
        #expect(!bench.core.isPrimary)
        bench.letGo(.superblock)
        #expect(bench.end(of: command) == "done")
    }

    @Test func `whose link broke before the first record waits for the other a moment: it may have made that record`() {
        for isThere in [true, false] {
            let bench = Bench.created(beta)
            #expect(bench.meet(emptyState(of: alpha, zeroes: true)) == .inSync)
            bench.breakLink()
            let command = bench.promote()
            #expect(bench.end(of: command) == nil)
            if isThere {
                #expect(bench.meet(emptyState(of: alpha, zeroes: true)) == .inSync)
                #expect(bench.end(of: command) == nil)
                #expect(bench.stable.record.isEmpty)
            } else {
                bench.handle(.dialFailed(alpha, "connection refused"))
                #expect(bench.end(of: command) == "done")
            }
        }
    }

    @Test func `a blank copy is promoted only by force`() {
        let bench = Bench.created(alpha, zeroes: false)
        #expect(bench.end(of: bench.promote()) == "no-good-copy")
        #expect(bench.end(of: bench.promote(force: true)) == "done")
        #expect(bench.stable.flags.isDisjoint(with: [.inconsistent, .suspect, .outdated]))
    }

    @Test(arguments: [
        (Superblock.Flags.inconsistent, "inconsistent"), (.outdated, "outdated"),
    ]) func `a copy that is not whole or not current is refused at once`(flag: Superblock.Flags, reason: String) {
        let bench = Bench(alpha, superblock: superblock { $0.flags = [.clean, flag] })
        #expect(bench.end(of: bench.promote()) == reason)
        #expect(bench.end(of: bench.promote(force: true)) == "done")
    }

    @Test func `a copy that may have lost its cache waits for its peer, or for the word that it is off`() {
        let suspect = superblock {
            $0.flags = []
            $0.record.primary = beta
            $0.bootID = (1, 1)
        }
        let bench = Bench(alpha, superblock: suspect, log: [3], bootID: (2, 2))
        #expect(bench.stable.flags.contains(.suspect))
        let command = bench.promote(within: 700)
        #expect(bench.end(of: command) == nil)
        bench.pass(milliseconds: 1000)
        #expect(bench.end(of: command) == "suspect")
        #expect(bench.end(of: bench.promote(fenced: beta)) == "done")
    }

    @Test func `a copy that no record names is not suspect, though a flush of it failed`() {
        let superblock = superblock {
            $0.record = .empty
            $0.required = NodeSet()
            $0.flags.insert(.suspect)
        }
        #expect(!Bench(alpha, superblock: superblock).stable.flags.contains(.suspect))
    }

    @Test func `a promotion is answered in its time, whatever its disk does, and may be asked for again`() {
        let bench = Bench.created(alpha)
        bench.held = [.flush]
        let first = bench.promote(within: 1000)
        bench.pass(milliseconds: 5900)
        #expect(bench.end(of: first) == nil)
        bench.pass(milliseconds: 200)
        #expect(bench.end(of: first) == "busy")
        bench.letGo(.flush)
        bench.pass(milliseconds: 5000)
        #expect(!bench.core.isPrimary)
        #expect(bench.stable.record.isEmpty)
        let second = bench.promote()
        #expect(bench.end(of: second) == "done")
        #expect(bench.core.isPrimary)
    }

    @Test func `a restart without a power loss makes nobody suspect`() {
        let crashed = superblock {
            $0.flags = []
            $0.bootID = (1, 1)
        }
        #expect(!Bench(alpha, superblock: crashed, log: [3], bootID: (1, 1)).stable.flags.contains(.suspect))
        let clean = superblock { $0.bootID = (1, 1) }
        #expect(!Bench(alpha, superblock: clean, log: [3], bootID: (2, 2)).stable.flags.contains(.suspect))
    }

    @Test func `the start number is durable before any word is said`() {
        let bench = Bench(alpha, superblock: superblock { _ in })
        #expect(bench.stable.startNumber == 4)
        #expect(!bench.stable.flags.contains(.clean))
        let held = Bench.created(alpha)
        #expect(held.stable.startNumber == 1)
    }

    @Test func `what the log names is marked toward the peer after a crash, and nothing after a clean stop`() {
        let crashed = Bench(alpha, superblock: superblock { $0.flags = [] }, log: [3])
        #expect(crashed.core.isMarked(block: 3 * 1024, toward: beta))
        #expect(crashed.core.isMarked(block: 4 * 1024 - 1, toward: beta))
        #expect(!crashed.core.isMarked(block: 4 * 1024, toward: beta))
        let clean = Bench(alpha, superblock: superblock { _ in }, log: [3])
        #expect(!clean.core.isMarked(block: 3 * 1024, toward: beta))
    }

    @Test func `alone with its peer's fate unknown, a copy changes nothing durable before a reply waits`() {
        let bench = Bench(alpha, superblock: superblock { _ in })
        let before = bench.stable
        #expect(bench.end(of: bench.promote()) == "done")
        #expect(bench.stable == before)
        bench.ask(0, .read, block: 9)
        #expect(bench.reply(to: 0) == .done)
        #expect(bench.stable == before)
        bench.ask(1, .write, block: 9)
        #expect(bench.reply(to: 1) == .done)
        #expect(bench.stable.record.inStep == NodeSet(alpha))
        #expect(bench.stable.current.id != before.current.id)
        #expect(bench.stable.peers[beta].base == .since(before.current.id))
        bench.expectNothingLeft()
    }

    @Test func `alone with blocks that may differ, a read waits for the new generation`() throws {
        let bench = Bench(alpha, superblock: superblock { $0.flags = [] }, log: [0])
        #expect(bench.end(of: bench.promote()) == "done")
        bench.held = [.superblock]
        bench.ask(0, .read, block: 9)
        #expect(bench.reply(to: 0) == nil)
        bench.letGo(.superblock)
        #expect(bench.reply(to: 0) == .done)
        #expect(bench.stable.record.inStep == NodeSet(alpha))
    }

    @Test func `with a peer in step the promotion is its decision too`() throws {
        let bench = Bench.established(alpha)
        let start = bench.moments.count
        let command = bench.promote()
        let proposal = try #require(bench.proposal)
        #expect(proposal.record.primary == alpha)
        #expect(proposal.record.inStep == NodeSet(alpha, beta))
        #expect(bench.end(of: command) == nil)
        // Durable here before it is offered.
        let durable = bench.position(after: start) {
            if case .stable(let state) = $0 { state.record == proposal.record } else { false }
        }
        let offered = bench.position(of: .sent(.propose(proposal)), after: start)
        #expect(try #require(durable) < #require(offered))
        bench.accept(proposal.record.number)
        #expect(bench.end(of: command) == "done")
        #expect(bench.messages(since: start).contains(.chosen(proposal.record.number)))
    }

    @Test func `what two copies write together is never generation zero, which says that there is nothing`() {
        for node in [alpha, beta] {
            let bench = Bench.established(node)
            #expect(bench.stable.current.id != .zero)
            #expect(bench.stable.history.map(\.id) == [.zero])
            #expect(bench.stable.record.generation == bench.stable.current.id)
        }
    }

    @Test func `a refusal of the peer ends the attempt or begins the handshake anew`() throws {
        let primary = Bench.established(alpha)
        let refused = primary.promote()
        let number = try #require(primary.proposal?.record.number)
        primary.hear(.rejected(number, .isPrimary))
        #expect(primary.end(of: refused) == "peer-is-primary")
        // The number was behind: only a handshake tells the newer one.
        let behind = Bench.established(alpha)
        _ = behind.promote()
        let tried = try #require(behind.proposal?.record.number)
        let start = behind.moments.count
        behind.hear(.rejected(tried, .olderTerm))
        let retries = behind.messages(since: start).filter { if case .propose = $0 { true } else { false } }
        #expect(retries.isEmpty)
        #expect(behind.session.isNone)
    }

    @Test func `a link that breaks while the record is being written or offered ends only the attempt`() throws {
        for isOffered in [false, true] {
            let bench = Bench.established(alpha)
            bench.held = isOffered ? [] : [.superblock]
            let command = bench.promote()
            bench.breakLink()
            bench.letGo(.superblock)
            // Nothing is stuck: the next handshake is made, or the copy is promoted alone.
            bench.pass(milliseconds: 7000)
            #expect(bench.end(of: command) == "done")
            bench.open()
            #expect(bench.messages().last.map { if case .state = $0 { true } else { false } } == true)
        }
    }

    @Test func `of two candidates at once the lower one goes on`() throws {
        let bench = Bench.established(alpha)
        let command = bench.promote()
        let mine = try #require(bench.proposal)
        var theirs = mine
        theirs.record.primary = beta
        theirs.record.number = RecordNumber(term: Term(counter: 9, node: beta), index: 1)
        bench.hear(.propose(theirs))
        #expect(bench.messages().contains(.rejected(theirs.record.number, .candidateToo)))
        bench.accept(mine.record.number)
        #expect(bench.end(of: command) == "done")
    }

    @Test func `while the peer is primary the promotion is refused`() {
        let bench = Bench.secondary()
        #expect(bench.end(of: bench.promote()) == "peer-is-primary")
    }

    @Test func `a copy that was just told that it is behind is not promoted, nor after the link is gone`() {
        let bench = Bench(alpha, superblock: superblock { _ in })
        let verdict = bench.meet(bench.peerState { $0.goesOnAlone(in: 10) })
        #expect(verdict == .targetOfMarked)
        let refused = bench.promote(within: 100)
        bench.pass(milliseconds: 200)
        #expect(bench.end(of: refused).map { $0 != "done" } == true)
        bench.breakLink()
        let again = bench.promote(within: 100)
        bench.pass(milliseconds: 200)
        #expect(bench.end(of: again) == "outdated")
    }

    @Test func `a dry run says what would be, and nothing happens`() {
        let bench = Bench.created(alpha)
        let before = bench.stable
        #expect(bench.end(of: bench.promote(dryRun: true)) == "done")
        #expect(!bench.core.isPrimary)
        #expect(bench.stable == before)
    }
}
