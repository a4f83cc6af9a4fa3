import Daemon
import Glibc
import Model

/// A drill with a volume that a Pacemaker cluster serves, run where it is to be served next. It writes nothing to it, but
/// where it was told to.
struct DrillOnCluster {
    let volume: LocalVolume
    /// The promotable clone.
    let resource: String
    let scenario: DrillScenario
    /// Nanoseconds.
    let limit: UInt64
    /// Where its client may write, through NBD over TCP while the peer is primary; nil: it only reads, here, afterwards.
    let area: DrillArea?
    /// Where clients reach the primary; nil: as the configuration says.
    private let address: NetworkAddress?
    private var primary = ""
    private var me = ""
    private var writer: DemoWriter?

    private var here: DemoEndpoint { .socket(volume.paths.nbdSocket(volume.name)) }

    init(
        volume: LocalVolume, resource: String, scenario: DrillScenario, limit: UInt64, area: DrillArea?,
        address: NetworkAddress?
    ) {
        self.volume = volume
        self.resource = resource
        self.scenario = scenario
        self.limit = limit
        self.area = area
        self.address = address
    }

    /// Whether it can be done from here, now.
    /// - Returns: the primary's name.
    mutating func check() throws(CommandFailure) -> String {
        guard DrillScenario.live.contains(scenario) else {
            throw .refused(
                "only-throw-away", "\(scenario.rawValue) is not done to a cluster in use",
                remedy: "hablk drill --scenario \(scenario.rawValue)")
        }
        guard let quorum = try? ChildProcess.run("crm_node", ["-q"]), quorum.code == 0, quorum.text.hasPrefix("1")
        else {
            throw .refused(
                "no-cluster", "Pacemaker does not run here, or has no quorum",
                remedy: "crm_mon -1; or leave the volume out")
        }
        let status = try volume.status()
        guard let peer = status.peers.first(where: { $0.role == .primary }), status.role == .secondary else {
            throw .refused(
                "not-the-successor", "\(status.node) is \(status.role.rawValue), and no peer is seen to be primary",
                remedy: "run it on the node that is to take over: hablk status \(volume.name)")
        }
        let score = PromotionScore(of: status)
        guard score.value == PromotionScore.best, score.peers == .together else {
            throw .refused(
                "not-in-step", "\(status.node)'s copy: \(score.because), \(score.peers.rawValue)",
                remedy: "hablk wait \(volume.name) --for in-sync")
        }
        (primary, me) = (peer.node, status.node)
        if let area { try reach(area) }
        return primary
    }

    /// The drill's own client: far enough apart from each other that others' requests hardly notice it.
    private mutating func reach(_ area: DrillArea) throws(CommandFailure) {
        let served = try served()
        guard let there = address ?? served else {
            throw .refused(
                "no-way-to-write", "\(primary) serves no NBD over TCP, so nothing here can write before it fails",
                remedy: "say where clients reach it with --nbd HOST:PORT, or leave --write-area out")
        }
        let client: DemoClient
        do throws(DemoClientError) {
            client = try DemoClient(.address(there), export: volume.name)
        } catch {
            throw .refused(
                "no-way-to-write", "\(volume.name) at \(there): \(error.message)",
                remedy: "say where clients reach it with --nbd HOST:PORT")
        }
        try area.check(client)
        client.disconnect()
        writer = DemoWriter(
            endpoints: [here, .address(there)], export: volume.name, blocks: area.blocks, pause: 2)
    }

    /// Where the primary's entry of the configuration has it served.
    private func served() throws(CommandFailure) -> NetworkAddress? {
        guard let node = try volume.configuration().nodes.first(where: { $0.name == primary }),
            var address = node.nbdListen
        else { return nil }
        if ["0.0.0.0", "::"].contains(address.host) { address.host = node.address.host }
        return address
    }

    mutating func play(_ report: inout DrillReport) throws(CommandFailure) {
        report.note("\(primary) is primary; \(me) is in step: it holds every acknowledged write")
        write(for: 2_000_000_000, &report)
        let began = Now.nanoseconds
        let command = try cause(&report)
        let isServed = serves(until: began + limit)
        report.wait = isServed ? Double(Now.nanoseconds - began) / 1e9 : nil
        report.check("\(me) serves the volume", isServed)
        write(for: 2_000_000_000, &report)
        if let writer, isServed { report.wait = Double(writer.longestWait) / 1e9 }
        if command.poll() == nil, !isServed { command.send(SIGKILL) }
        _ = command.wait()
        if scenario == .switchOver {
            let (code, text) = try ChildProcess.run("crm_resource", ["--resource", resource, "--clear"])
            report.check("Pacemaker is free to move it again\(code == 0 ? "" : ": \(text)")", code == 0)
        }
        let (code, _) = try ChildProcess.run(
            ChildProcess.ownPath, ["wait", volume.name, "--for", "primary,in-sync", "--timeout", "120s"])
        report.check("\(primary) is back, and both copies are in step", code == 0)
        if area != nil { readBack(&report) }
    }

    private mutating func write(for span: UInt64, _ report: inout DrillReport) {
        guard let area else { return }
        let before = writer?.acknowledgedCount ?? 0
        let end = Now.nanoseconds + span
        while Now.nanoseconds < end { writer?.step() }
        let count = (writer?.acknowledgedCount ?? 0) - before
        report.check("the client writes to \(area.words): \(count) were acknowledged", count > 0)
    }

    /// What was acknowledged is looked for where the volume is served now; then the area is zeroes again.
    private mutating func readBack(_ report: inout DrillReport) {
        report.check("the client's last writes and a flush", writer?.finish() == true)
        do throws(DemoClientError) {
            let client = try DemoClient(here, export: volume.name)
            report.acknowledgedWrites = writer?.acknowledgedCount
            report.lostWrites = try writer?.countLost(client)
            report.check("every acknowledged write is there", report.lostWrites == 0)
            try area?.clear(client)
            client.disconnect()
            report.note("the area is zeroes again")
        } catch {
            report.check("what was written is read back here: \(error.message)", false)
        }
    }

    private func cause(_ report: inout DrillReport) throws(CommandFailure) -> ChildProcess {
        if scenario == .primaryCrash {
            report.note("stonith_admin --reboot \(primary)")
            return try ChildProcess("stonith_admin", ["--reboot", primary], output: .null, errors: .inherit)
        }
        report.note("crm_resource --resource \(resource) --move --promoted --node \(me)")
        return try ChildProcess(
            "crm_resource", ["--resource", resource, "--move", "--promoted", "--node", me], output: .null,
            errors: .inherit)
    }

    /// Whether a read was answered here in time.
    private mutating func serves(until deadline: UInt64) -> Bool {
        while Now.nanoseconds < deadline {
            if let client = try? DemoClient(here, export: volume.name),
                (try? client.read(offset: 0, length: 4096)) != nil
            {
                client.disconnect()
                return true
            }
            let next = Now.nanoseconds + 20_000_000
            repeat { writer?.step() } while writer != nil && Now.nanoseconds < next
            if writer == nil { Now.sleep(milliseconds: 20) }
        }
        return false
    }
}
