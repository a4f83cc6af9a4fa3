/// What one seed came to.
package struct SimulationResult: Sendable {
    package var options: SimulationOptions
    package var violation: Violation?
    package var events: Int
    package var digest: UInt64
    /// Nanoseconds that passed in the simulation.
    package var simulated: UInt64
    package var acknowledgedWrites: Int
    package var checkedReads: Int
    package var promotions: Int
    /// The newest lines, when a trace was kept.
    package var lines: [String]

    /// 0: all held; 1: a safety violation; 2: no rest.
    package var exitCode: Int32 {
        guard let violation else { return 0 }
        return violation.kind == .safety ? 1 : 2
    }
}

/// Runs one seed to its end.
package func runSimulation(_ options: SimulationOptions, trace: Trace = Trace()) -> SimulationResult {
    let cluster = Cluster(options: options, trace: trace)
    let violation = cluster.run()
    return SimulationResult(
        options: options, violation: violation, events: cluster.eventsHandled, digest: cluster.trace.digest,
        simulated: cluster.now, acknowledgedWrites: cluster.oracle.acknowledgedWrites,
        checkedReads: cluster.oracle.checkedReads, promotions: cluster.oracle.promotions, lines: cluster.trace.lines)
}
