import Model
import ReplicationCore
import Testing

/// `fencing: resource` and `stonith` (`6-protocol`, QUORUM OFF): what waits for the fence command, and for how long its answer counts.
@Suite struct FencingTests {
    private func presence(_ disk: DiskState) -> PeerMessage {
        .presence(Presence(role: .secondary, disk: disk, mark: .none, resyncPaused: false))
    }

    @Test(arguments: [ReplicaConfiguration.Fencing.resource, .stonith])
    func `who is promoted without its peer fences it first`(policy: ReplicaConfiguration.Fencing) throws {
        let bench = Bench.established(alpha, fencing: policy)
        bench.breakLink()
        bench.pass(milliseconds: 10_000)
        let command = bench.promote()
        #expect(bench.end(of: command) == nil)
        #expect(!bench.core.isPrimary)
        bench.handle(.fenceAnswered(beta, request: try #require(bench.fenceRequests.last), .peerFenced))
        #expect(bench.end(of: command) == "done")
        #expect(bench.fenceRequests.count == 1)
    }

    /// `alpha`, primary, with a write that `beta` did not answer before its link broke.
    private func waiting() -> Bench {
        let bench = Bench.primary(fencing: .stonith)
        bench.ask(0, .write, block: 5)
        bench.breakLink()
        bench.pass(milliseconds: 10_000)
        #expect(bench.fenceRequests.count == 1)
        #expect(bench.reply(to: 0) == nil)
        return bench
    }

    private func isLeftOut(_ bench: Bench) -> Bool { bench.stable.record.inStep == NodeSet(alpha) }

    @Test func `no record leaves out who is there until it says that it is outdated`() {
        let bench = waiting()
        bench.peerRun = RunID(rawValue: 0x901)
        #expect(bench.meet(bench.peerState()) == .sourceOfMarked)
        bench.hear(presence(.upToDate))
        bench.hear(presence(.consistent))
        bench.pass(milliseconds: 1000)
        #expect(!isLeftOut(bench))
        #expect(bench.reply(to: 0) == nil)
        bench.hear(presence(.outdated))
        #expect(isLeftOut(bench))
        #expect(bench.reply(to: 0) == .done)
    }

    @Test func `so a daemon that is started again before that fences it, as it would any member`() throws {
        let before = waiting()
        before.peerRun = RunID(rawValue: 0x901)
        #expect(before.meet(before.peerState()) == .sourceOfMarked)
        before.pass(milliseconds: 100)
        // The peer may be promoted now, having fenced this node.
        let bench = Bench(alpha, superblock: before.stable, fencing: .stonith)
        let command = bench.promote()
        #expect(!bench.core.isPrimary)
        bench.handle(.fenceAnswered(beta, request: try #require(bench.fenceRequests.last), .peerFenced))
        #expect(bench.end(of: command) == "done")
    }

    @Test func `who left before that is fenced like a member, and an answer for an earlier absence does not count`()
        throws
    {
        let bench = waiting()
        let first = try #require(bench.fenceRequests.last)
        bench.peerRun = RunID(rawValue: 0x901)
        #expect(bench.meet(bench.peerState()) == .sourceOfMarked)
        bench.breakLink()
        bench.pass(milliseconds: 100)
        #expect(bench.fenceRequests.count == 1)
        bench.pass(milliseconds: 10_000)
        #expect(bench.fenceRequests.count == 2)
        bench.handle(.fenceAnswered(beta, request: first, .peerFenced))
        #expect(bench.reply(to: 0) == nil)
        #expect(!isLeftOut(bench))
        let second = try #require(bench.fenceRequests.dropFirst().first)
        bench.handle(.fenceAnswered(beta, request: second, .peerFenced))
        #expect(bench.reply(to: 0) == .done)
        #expect(isLeftOut(bench))
    }

    @Test func `who leaves while the record without it is on its way to disk has said it, and is not fenced`() {
        let bench = waiting()
        bench.peerRun = RunID(rawValue: 0x901)
        #expect(bench.meet(bench.peerState()) == .sourceOfMarked)
        bench.held = [.superblock]
        bench.hear(presence(.outdated))
        bench.breakLink()
        #expect(bench.reply(to: 0) == nil)
        bench.letGo(.superblock)
        #expect(isLeftOut(bench))
        #expect(bench.reply(to: 0) == .done)
        bench.pass(milliseconds: 15_000)
        #expect(bench.fenceRequests.count == 1)
    }

    @Test func `and who stays, and never says it, is fenced too`() throws {
        let bench = waiting()
        bench.peerRun = RunID(rawValue: 0x901)
        #expect(bench.meet(bench.peerState()) == .sourceOfMarked)
        bench.pass(milliseconds: 20_000)
        #expect(bench.session.isNone)
        #expect(!isLeftOut(bench))
        let second = try #require(bench.fenceRequests.dropFirst().first)
        bench.handle(.fenceAnswered(beta, request: second, .peerFenced))
        #expect(bench.reply(to: 0) == .done)
    }

    @Test func `who did not take the record without a disk that is left is asked for nothing more once it is in step`()
        throws
    {
        let bench = Bench.primary(fencing: .stonith)
        _ = bench.command(.detach(force: false))
        #expect(try #require(bench.proposal).record.inStep == NodeSet(beta))
        bench.breakLink()
        let asked = bench.fenceRequests.count
        bench.peerRun = RunID(rawValue: 0x901)
        #expect(bench.meet(bench.peerState()) == .inSync)
        bench.accept(try #require(bench.proposal).record.number)
        #expect(bench.stable.record.inStep == NodeSet(alpha, beta))
        bench.hear(presence(.upToDate))
        bench.breakLink()
        bench.pass(milliseconds: 100)
        #expect(bench.fenceRequests.count == asked)
    }

    @Test func `a peer that is connected is not taken for fenced, and the answer says so`() {
        let bench = waiting()
        bench.peerRun = RunID(rawValue: 0x901)
        #expect(bench.meet(bench.peerState()) == .sourceOfMarked)
        let command = bench.promote(fenced: beta)
        #expect(bench.outcomes[command] == .done("already primary; beta is connected: it is not taken for fenced"))
        #expect(bench.reply(to: 0) == nil)
    }

    @Test func `half a copy that comes back and goes is not fenced: it knows`() {
        let bench = waiting()
        bench.peerRun = RunID(rawValue: 0x901)
        #expect(bench.meet(bench.peerState { $0.flags.insert(.inconsistent) }) == .sourceOfMarked)
        bench.breakLink()
        bench.pass(milliseconds: 15_000)
        #expect(bench.fenceRequests.count == 1)
        #expect(bench.reply(to: 0) == .done)
    }

    /// In one generation too: nobody went on without it, and the primary may once it has said so.
    @Test(arguments: [false, true])
    func `who is to be filled by a primary says that it is outdated once that is durable`(
        isBehind: Bool
    ) {
        let bench = Bench.established(beta, fencing: .stonith)
        bench.breakLink()
        bench.peerRun = RunID(rawValue: 0x901)
        bench.held = [.superblock]
        let start = bench.moments.count
        let theirs = bench.peerState {
            if isBehind { $0.goesOnAlone(in: 40) } else { $0.unconfirmedBlocks = 1 }
            $0.isPrimary = true
        }
        #expect(bench.meet(theirs) == .targetOfMarked)
        let isTold: () -> Bool = {
            bench.messages(since: start).contains {
                if case .presence(let presence) = $0 { presence.disk == .outdated } else { false }
            }
        }
        #expect(!isTold())
        bench.letGo(.superblock)
        #expect(bench.stable.flags.contains(.outdated))
        #expect(isTold())
        #expect(bench.end(of: bench.promote()) != "done")
    }

    @Test func `without fencing a copy of the same generation stays one that may be promoted`() {
        let bench = Bench.established(beta)
        bench.breakLink()
        bench.peerRun = RunID(rawValue: 0x901)
        let theirs = bench.peerState {
            $0.unconfirmedBlocks = 1
            $0.isPrimary = true
        }
        #expect(bench.meet(theirs) == .targetOfMarked)
        #expect(!bench.stable.flags.contains(.outdated))
    }

    @Test(arguments: [false, true]) func `a disk that is detached while the peer is primary is outdated`(isServed: Bool)
    {
        let bench = Bench.established(beta, fencing: .stonith)
        let role = isServed ? Role.primary : .secondary
        bench.hear(.presence(Presence(role: role, disk: .upToDate, mark: .none, resyncPaused: false)))
        let command = bench.command(.detach(force: false))
        #expect(bench.end(of: command) == "done")
        #expect(bench.stable.flags.contains(.outdated) == isServed)
        #expect(bench.stable.flags.contains(.clean))
    }
}
