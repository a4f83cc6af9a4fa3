import Simulation
import Testing

/// What a crash at any moment of short strings of deeds may leave, sector by sector (`CrashJudge` says what is asked of
/// it). More: `swift run -c release simulate --crash-points --length 6`.
struct CrashPointTests {
    private static let seed: UInt64 = 1

    private static func run(_ strings: [CrashString], _ depth: CrashEnumeration.Depth) -> CrashReport {
        var total = CrashReport()
        for string in strings { total.add(CrashEnumeration.run(string, CrashRun.options(seed: seed), depth)) }
        print("crash points: \(total.description)")
        return total
    }

    @Test(arguments: 1...4) func `every state of every short string is as cautious as the last flushed one`(length: Int)
    {
        let report = Self.run(CrashString.all(length: length), CrashEnumeration.Depth(resumes: 100))
        #expect(report.findings.isEmpty, "\(report.findings.map(\.description))")
        #expect(report.states > 40 && report.corruptions > 100)
        #expect(length < 3 || report.resumed > 0)
    }

    @Test(arguments: [
        "start promote evict lose resync resynced write stop", "start promote write stop start promote evict demote",
        "start promote write lose evict resync stop start",
    ]) func `and of some longer ones`(text: String) throws {
        let string = try #require(CrashString(text))
        let prefixes = (5...string.deeds.count).map { CrashString(Array(string.deeds.prefix($0))) }
        let report = Self.run(prefixes, CrashEnumeration.Depth(subsets: 256, resumes: 100))
        #expect(report.findings.isEmpty, "\(report.findings.map(\.description))")
        #expect(report.states > 1000 && report.resumed > 0)
    }

    /// What cannot be survived must be found.
    @Test(arguments: [
        PlantedFault.lostFlush, .lostLog, .lostPage, .lostSuperblock, .unawaitedSuperblock, .unawaitedLog,
        .unawaitedPage, .superblocksAtOnce,
    ]) func `a planted fault is found`(planted: PlantedFault) {
        var options = CrashRun.options(seed: Self.seed)
        options.planted = planted
        let found = (1...4).lazy.flatMap { CrashString.all(length: $0) }.contains { string in
            let depth = CrashEnumeration.Depth(subsets: 256, corrupts: false)
            return !CrashEnumeration.run(string, options, depth).findings.isEmpty
        }
        #expect(found)
    }

    @Test func `a copy without a second superblock is found`() throws {
        let string = try #require(CrashString("start promote"))
        let depth = CrashEnumeration.Depth(subsets: 1, resumes: 0, hasSecondSuperblock: false)
        let report = CrashEnumeration.run(string, CrashRun.options(seed: Self.seed), depth)
        #expect(report.findings.contains { $0.rule == "corruption" })
    }

    @Test(arguments: [nil, "start promote evict write", "start promote write lose"])
    func `an interrupted create leaves the old copy, the new one, or none`(over text: String?) {
        let string = text.flatMap { CrashString($0) }
        let options = CrashRun.options(seed: Self.seed)
        let report = CrashCreation.run(over: string, options)
        #expect(report.findings.isEmpty, "\(report.findings.map(\.description))")
        #expect(report.states > 200)
        // Planted: no flush between its steps.
        #expect(!CrashCreation.run(over: string, options, flushes: false).findings.isEmpty)
    }
}
