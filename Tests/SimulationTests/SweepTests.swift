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
        var options = SimulationOptions(seed: regression.seed)
        options.faults.formIntersection(regression.kinds)
        let result = runSimulation(options)
        #expect(result.violation == nil, "\(regression.found): \(result.options.description)")
    }

    @Test(arguments: [0, 1, 2, 3]) func `every promise holds when cold writes are announced`(piece: UInt64) {
        for seed in 140_000_000 + piece * 25..<140_000_000 + piece * 25 + 25 {
            let options = SimulationOptions(seed: seed)
            let result = runSimulation(options)
            #expect(result.violation == nil, "simulate --seed \(seed) --trace\n\(result.options.description)")
        }
    }

    @Test(arguments: [0, 1, 2, 3]) func `every promise holds in memory and async under twenty-five seeds`(piece: UInt64)
    {
        for seed in 1_000_000 + piece * 25..<1_000_000 + piece * 25 + 25 {
            let result = runSimulation(SimulationOptions(modes: seed))
            #expect(result.violation == nil, "simulate --modes --seed \(seed) --trace\n\(result.options.description)")
        }
    }

    @Test(arguments: [0, 1]) func `every promise holds while volumes grow under twenty seeds`(piece: UInt64) {
        for seed in 1_000_000 + piece * 20..<1_000_000 + piece * 20 + 20 {
            let result = runSimulation(SimulationOptions(growing: seed))
            #expect(result.violation == nil, "simulate --growth --seed \(seed) --trace\n\(result.options.description)")
        }
    }

    @Test(arguments: [0, 1, 2, 3]) func `every promise holds beside copies that writes need not wait for`(
        piece: UInt64
    ) {
        for seed in 1_000_000 + piece * 15..<1_000_000 + piece * 15 + 15 {
            let result = runSimulation(SimulationOptions(mixed: seed))
            #expect(result.violation == nil, "simulate --mixed --seed \(seed) --trace\n\(result.options.description)")
        }
    }

    @Test(arguments: RegressionSeeds.mixed) func `a seed of mixed copies that failed once holds`(
        regression: RegressionSeeds.Seed
    ) {
        var options = SimulationOptions(mixed: regression.seed)
        options.faults.remove(.keeping)
        let result = runSimulation(options)
        #expect(result.violation == nil, "\(regression.found): \(result.options.description)")
    }

    @Test(arguments: RegressionSeeds.growth) func `a seed of growing volumes that failed once holds`(
        regression: RegressionSeeds.Seed
    ) {
        let result = runSimulation(SimulationOptions(growing: regression.seed))
        #expect(result.violation == nil, "\(regression.found): \(result.options.description)")
    }

    @Test(arguments: RegressionSeeds.modes) func `a seed of memory or async that failed once holds`(
        regression: RegressionSeeds.Seed
    ) {
        var options = SimulationOptions(modes: regression.seed)
        options.faults.remove(.keeping)
        let result = runSimulation(options)
        #expect(result.violation == nil, "\(regression.found): \(result.options.description)")
    }

    @Test(arguments: RegressionSeeds.fencing) func `a seed of fencing that failed once holds`(
        regression: RegressionSeeds.Seed
    ) {
        let result = runSimulation(SimulationOptions(fencing: regression.seed))
        #expect(result.violation == nil, "\(regression.found): \(result.options.description)")
    }

    @Test(arguments: [0, 1, 2, 3]) func `every promise holds with quorum under fifteen seeds`(piece: UInt64) {
        for seed in 1_000_000 + piece * 15..<1_000_000 + piece * 15 + 15 {
            let result = runSimulation(SimulationOptions(quorum: seed))
            #expect(result.violation == nil, "simulate --quorum --seed \(seed) --trace\n\(result.options.description)")
        }
    }

    @Test(arguments: Duel.allCases) func `a duel that is drawn is fought`(duel: Duel) {
        var promotions = 0
        for seed in UInt64(1)...200 {
            let options = SimulationOptions(quorum: seed)
            if options.duel == duel { promotions = max(promotions, runSimulation(options).promotions) }
            if promotions > 1 { break }
        }
        #expect(promotions > 1, "no seed had a duel \(duel.rawValue) with two promotions")
    }

    @Test(arguments: RegressionSeeds.quorum) func `a seed with quorum that failed once holds`(
        regression: RegressionSeeds.Seed
    ) {
        var options = SimulationOptions(
            quorum: regression.seed, duels: regression.kinds.contains(.duels),
            exact: regression.kinds.contains(.exactDuels), duel: regression.duel)
        options.faults.formIntersection(regression.kinds)
        let result = runSimulation(options)
        #expect(result.violation == nil, "\(regression.found): \(result.options.description)")
    }

    @Test func `the same seed does the same twice`() {
        let first = runSimulation(SimulationOptions(seed: 7))
        let second = runSimulation(SimulationOptions(seed: 7))
        #expect(first.digest == second.digest)
        #expect(first.events == second.events)
    }

    /// What the trace says when a fault of the second kind happens.
    private static let signs: [(FaultKinds, String)] = [
        (.lostMetadata, "is lost"), (.misdirectedMetadata, "lands at"), (.metadataRot, "rots"),
        (.badSectors, "cannot be read"), (.deadDisk, "the disk is dead"), (.noSpace, "no space for this write"),
        (.hungDisk, "the disk hangs"), (.rolledBack, "put back as it was"), (.foreignDisk, "the other node's disk"),
        (.newDisk, "made anew"), (.lossy, "are lost"), (.heldBytes, "bytes are held"),
        (.corruption, "a damaged frame is refused"), (.meddling, "detach(force: true)"),
    ]

    @Test(arguments: signs) func `a fault that is enabled happens`(kind: FaultKinds, sign: String) {
        let found = (UInt64(1)...200).first { seed in
            var options = SimulationOptions(seed: seed)
            options.faults = [.processCrash, kind]
            var happened = false
            let trace = Trace(isOn: true) { line in happened = happened || line.contains(sign) }
            #expect(runSimulation(options, trace: trace).violation == nil, "seed \(seed) with \(kind.description)")
            return happened
        }
        #expect(found != nil, "two hundred seeds had no \(kind.description)")
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
