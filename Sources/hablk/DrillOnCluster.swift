import Daemon
import Glibc
import Model

/// A drill with a volume that a Pacemaker cluster serves, run where it is to be served next. It writes nothing to it.
struct DrillOnCluster {
    let volume: LocalVolume
    /// The promotable clone.
    let resource: String
    let scenario: DrillScenario
    /// Nanoseconds.
    let limit: UInt64
    private var primary = ""
    private var me = ""

    init(volume: LocalVolume, resource: String, scenario: DrillScenario, limit: UInt64) {
        self.volume = volume
        self.resource = resource
        self.scenario = scenario
        self.limit = limit
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
        return primary
    }

    mutating func play(_ report: inout DrillReport) throws(CommandFailure) {
        report.note("\(primary) is primary; \(me) is in step: it holds every acknowledged write")
        let began = Now.nanoseconds
        let command = try cause(&report)
        let isServed = serves(until: began + limit)
        report.wait = isServed ? Double(Now.nanoseconds - began) / 1e9 : nil
        report.check("\(me) serves the volume", isServed)
        if command.poll() == nil, !isServed { command.send(SIGKILL) }
        _ = command.wait()
        if scenario == .switchOver {
            let (code, text) = try ChildProcess.run("crm_resource", ["--resource", resource, "--clear"])
            report.check("Pacemaker is free to move it again\(code == 0 ? "" : ": \(text)")", code == 0)
        }
        let (code, _) = try ChildProcess.run(
            ChildProcess.ownPath, ["wait", volume.name, "--for", "primary,in-sync", "--timeout", "120s"])
        report.check("\(primary) is back, and both copies are in step", code == 0)
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
    private func serves(until deadline: UInt64) -> Bool {
        while Now.nanoseconds < deadline {
            if let client = try? DemoClient(socket: volume.paths.nbdSocket(volume.name), export: volume.name),
                (try? client.read(offset: 0, length: 4096)) != nil
            {
                client.disconnect()
                return true
            }
            Now.sleep(milliseconds: 20)
        }
        return false
    }
}
