import Simulation
import Testing

/// Whole simulations. More of them: `swift run -c release simulate --seeds 10000`.
struct SweepTests {
    private static let sweep: [UInt64] = Array(0..<12)

    @Test(arguments: sweep) func `every promise holds under twenty-five seeds`(piece: UInt64) {
        for seed in 1_000_000 + piece * 25..<1_000_000 + piece * 25 + 25 {
            let result = runSimulation(SimulationOptions(seed: seed))
            #expect(result.violation == nil, "simulate --seed \(seed) --trace\n\(result.options.description)")
        }
    }

    @Test(arguments: RegressionSeeds.all) func `a seed that failed once holds`(regression: RegressionSeeds.Seed) {
        let result = runSimulation(SimulationOptions(seed: regression.seed))
        #expect(result.violation == nil, "\(regression.found): \(result.options.description)")
    }

    @Test func `the same seed does the same twice`() {
        let first = runSimulation(SimulationOptions(seed: 7))
        let second = runSimulation(SimulationOptions(seed: 7))
        #expect(first.digest == second.digest)
        #expect(first.events == second.events)
    }

    /// The canary: what cannot be survived must be noticed.
    @Test(arguments: PlantedFault.allCases) func `a planted fault is found`(fault: PlantedFault) {
        let found = (UInt64(1)...200).first { seed in
            var options = SimulationOptions(seed: seed)
            options.planted = fault
            return runSimulation(options).violation != nil
        }
        #expect(found != nil, "two hundred seeds did not notice \(fault.rawValue)")
    }
}
