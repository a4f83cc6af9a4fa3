import Glibc
import Model

/// A drill with two nodes of its own on this machine: it is the cluster manager, and its client writes all the time.
struct ThrowAwayDrill {
    private let cluster: DemoCluster
    private let scenario: DrillScenario
    private var writer: DemoWriter

    private var volume: String { DemoCluster.volume }
    private var alpha: DemoNode { cluster.alpha }
    private var bravo: DemoNode { cluster.bravo }

    init(cluster: DemoCluster, scenario: DrillScenario) {
        self.cluster = cluster
        self.scenario = scenario
        writer = DemoWriter(
            endpoints: [.socket(cluster.alpha.socket), .socket(cluster.bravo.socket)], export: DemoCluster.volume,
            blocks: 0..<DemoCluster.size / DemoWriter.blockSize)
    }

    mutating func play(_ report: inout DrillReport) throws(CommandFailure) {
        let quorum = cluster.charlie == nil ? "quorum off" : "charlie their witness"
        report.note("two nodes, alpha and bravo, in step; \(quorum); timeout 6 s; this drill is their cluster manager")
        try cluster.create()
        try alpha.must("promote", volume)
        report.note("alpha is primary, a client writes")
        try write(for: 1_000_000_000)
        let before = writer.acknowledgedCount
        let command = try cause(&report)
        try goOn(beyond: before + 200, command, &report)
        // What nobody waits for must not be waited for later either.
        if scenario == .witnessLoss { try write(for: 3_000_000_000) }
        report.wait = Double(writer.longestWait) / 1e9
        report.check("the client went on", writer.acknowledgedCount >= before + 200)
        try heal(&report)
    }

    /// What happens, and the command that answers it, if one is needed.
    private func cause(_ report: inout DrillReport) throws(CommandFailure) -> ChildProcess? {
        switch scenario {
        case .switchOver:
            report.note("alpha is demoted, bravo promoted")
            try alpha.must("demote", volume, "--force")
            return try bravo.begin("promote", volume, "--timeout", "20s")
        case .primaryCrash:
            report.note("alpha's process is killed; bravo is promoted")
            alpha.kill()
            return try bravo.begin("promote", volume, "--timeout", "20s")
        case .linkCut:
            report.note("bravo is silent, as with the replication link cut; alpha may go on without it after 6 s")
            bravo.signal(SIGSTOP)
            return nil
        case .isolatedPrimary:
            report.note("alpha is cut off (it stands still); after 2 s it is fenced, then bravo is promoted")
            alpha.signal(SIGSTOP)
            return try bravo.begin(after: alpha.fencing(in: 2), "promote", volume, "--timeout", "20s")
        case .witnessLoss:
            report.note("the witness's process is killed: two of three votes are left")
            cluster.charlie?.kill()
            return nil
        }
    }

    /// Writes until so many are acknowledged and the command has ended.
    private mutating func goOn(
        beyond count: Int, _ command: ChildProcess?, _ report: inout DrillReport
    ) throws(CommandFailure) {
        let deadline = Now.nanoseconds + 40_000_000_000
        var code: Int32? = command == nil ? 0 : nil
        while Now.nanoseconds < deadline, code == nil || code == 0 && writer.acknowledgedCount < count {
            writer.step()
            if code == nil { code = command?.poll() }
            try Interruption.check()
        }
        if code == nil, let command {
            command.send(SIGKILL)
            _ = command.wait()
        }
        if command != nil { report.check("bravo was promoted", code == 0) }
    }

    /// Both nodes again, in step; then what was acknowledged is read back and the copies are compared.
    private mutating func heal(_ report: inout DrillReport) throws(CommandFailure) {
        let primary = [.linkCut, .witnessLoss].contains(scenario) ? alpha : bravo
        switch scenario {
        case .switchOver: break
        case .linkCut:
            bravo.signal(SIGCONT)
            report.note("bravo is back")
        case .primaryCrash, .isolatedPrimary:
            alpha.kill()
            try alpha.start()
            report.note("alpha is back")
        case .witnessLoss:
            try cluster.charlie?.start()
            report.note("the witness is back")
        }
        try write(for: 500_000_000)
        let (code, _) = try primary.hablk("wait", volume, "--for", "in-sync", "--timeout", "30s")
        report.check("both copies are in step again", code == 0)
        report.check("the client's last writes and a flush", writer.finish())
        report.acknowledgedWrites = writer.acknowledgedCount
        do {
            let client = try primary.client()
            report.lostWrites = try writer.countLost(client)
            client.disconnect()
        } catch {
            throw .failed("drill", "the writes could not be read back", remedy: "run it again")
        }
        report.check("every acknowledged write is there", report.lostWrites == 0)
        report.check("both copies are equal, byte for byte", try cluster.copiesAreEqual())
    }

    private mutating func write(for span: UInt64) throws(CommandFailure) {
        let end = Now.nanoseconds + span
        while Now.nanoseconds < end {
            writer.step()
            try Interruption.check()
        }
    }
}
