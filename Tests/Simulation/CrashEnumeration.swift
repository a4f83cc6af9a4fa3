import Model

/// What an enumeration came to.
package struct CrashReport: Sendable {
    package var strings = 0
    package var moments = 0
    package var states = 0
    /// States from which both nodes went on to rest.
    package var resumed = 0
    package var corruptions = 0
    package var findings: [CrashFinding] = []

    package init() {}

    package mutating func add(_ other: CrashReport) {
        strings += other.strings
        moments += other.moments
        states += other.states
        resumed += other.resumed
        corruptions += other.corruptions
        findings += other.findings
    }

    package var description: String {
        "\(strings) strings, \(moments) moments, \(states) crash states, \(resumed) gone on with, "
            + "\(corruptions) corruptions, \(findings.count) findings"
    }
}

/// Every moment of a string's last deed (the deeds before are other strings'), every crash state of each node's disk at
/// each; from some of them both nodes go on; and when the deed is done, each block of metadata is corrupted in turn.
package final class CrashEnumeration {
    /// How much is looked at.
    package struct Depth: Sendable {
        /// Most subsets of a moment's unstable sectors of metadata, and of data.
        package var subsets: Int
        /// Of a thousand moments, how many are gone on with after a crash.
        package var resumes: UInt64
        /// After such a crash: how many moments of the way back are looked at in the same way.
        package var nested: Int
        /// Whether metadata blocks are corrupted.
        package var corrupts: Bool
        /// False: planted, the loader finds zeroes where the second superblock is.
        package var hasSecondSuperblock: Bool

        package init(
            subsets: Int = 1024, resumes: UInt64 = 50, nested: Int = 20, corrupts: Bool = true,
            hasSecondSuperblock: Bool = true
        ) {
            self.hasSecondSuperblock = hasSecondSuperblock
            self.subsets = subsets
            self.resumes = resumes
            self.nested = nested
            self.corrupts = corrupts
        }
    }

    private let options: SimulationOptions
    private let string: CrashString
    private let depth: Depth
    private var random: SplitMix
    private var report = CrashReport()
    /// The disks' revisions when they were last looked at.
    private var seen = [-1, -1]
    /// Moments after which a crash is gone on with.
    private var resumable: [Int] = []
    private var earlier = EarlierBlocks()

    private init(_ string: CrashString, _ options: SimulationOptions, _ depth: Depth) {
        self.string = string
        self.options = options
        self.depth = depth
        random = SplitMix(seed: options.seed, subject: "crash points")
    }

    package static func run(_ string: CrashString, _ options: SimulationOptions, _ depth: Depth) -> CrashReport {
        let enumeration = CrashEnumeration(string, options, depth)
        enumeration.report.strings = 1
        enumeration.enumerate()
        for happening in enumeration.resumable where enumeration.report.findings.isEmpty {
            enumeration.goOn(after: happening)
        }
        return enumeration.report
    }

    // MARK: States

    private func enumerate() {
        var script = CrashScript(options)
        let scripted = script.scripted
        do throws(CrashRunStuck) {
            for (index, deed) in string.deeds.enumerated() {
                let isLast = index == string.deeds.count - 1
                scripted.witness = { [unowned scripted] in
                    for side in 0...1 { self.earlier.note(scripted.cluster.nodes[side]) }
                    guard isLast, self.look(at: scripted) else { return }
                    if self.random.chance(self.depth.resumes, in: 1000) { self.resumable.append(scripted.happenings) }
                }
                try script.perform(deed)
            }
        } catch {
            find(CrashFinding(rule: "script", text: error.description), scripted)
        }
        scripted.witness = nil
        guard depth.corrupts, report.findings.isEmpty else { return }
        for side in 0...1 {
            let corruption = CrashCorruption(
                scripted, side: side, earlier, hasSecondSuperblock: depth.hasSecondSuperblock)
            report.corruptions += corruption?.run { find($0, scripted, "node \(side)") } ?? 0
        }
    }

    /// Looks at each disk that changed; false when none did.
    private func look(at scripted: CrashRun) -> Bool {
        guard report.findings.isEmpty else { return false }
        var hasLooked = false
        for side in 0...1 where scripted.cluster.nodes[side].disk.revision != seen[side] {
            seen[side] = scripted.cluster.nodes[side].disk.revision
            hasLooked = true
            report.moments += 1
            do throws(CrashFinding) {
                try examine(try CrashJudge(scripted, side: side))
            } catch {
                find(error, scripted, "node \(side)")
            }
        }
        return hasLooked
    }

    /// Every subset of the metadata with every subset of the data, or, where these are too many, each of the ones with a
    /// few of the others.
    private func examine(_ judge: CrashJudge) throws(CrashFinding) {
        let moment = judge.moment
        let metadata = moment.subsets(of: moment.metadata, limit: depth.subsets, &random)
        let data = moment.subsets(of: moment.data, limit: depth.subsets, &random)
        let isWhole = metadata.count * data.count <= depth.subsets
        for (index, kept) in metadata.enumerated() {
            let view: DurableView
            switch judge.judge(metadata: kept) {
            case .success(let judged): view = judged
            case .failure(let finding): throw finding.with("metadata sectors \(kept) of \(moment.metadata)")
            }
            let looks = isWhole || index < 2 ? data : [[], moment.data, random.pick(data), random.pick(data)]
            for chosen in looks {
                report.states += 1
                if let finding = judge.judge(view, data: chosen) {
                    throw finding.with(
                        "metadata sectors \(kept) of \(moment.metadata), data \(chosen) of \(moment.data)")
                }
            }
        }
    }

    // MARK: Going on

    /// Runs the string again up to this moment, crashes one node or both with one of the states, and lets them meet.
    private func goOn(after happening: Int) {
        var script = CrashScript(options)
        let scripted = script.scripted
        let cluster = scripted.cluster
        scripted.haltsAfter = happening
        do throws(CrashRunStuck) {
            for deed in string.deeds { try script.perform(deed) }
        } catch {
            guard scripted.isHalted else {
                return find(CrashFinding(rule: "script", text: error.description), scripted)
            }
        }
        var words: [String] = []
        let sides = random.pick([[0], [1], [0, 1], [1, 0]])
        for side in sides {
            let node = cluster.nodes[side]
            let losesPower = random.chance(2, in: 3)
            let share = random.pick([0, 50, 100] as [UInt64])
            let kept = node.disk.unstable.filter { (losesPower || $0.isInFlight) && random.chance(share, in: 100) }
            words.append("node \(side) \(losesPower ? "power" : "process") keeps \(kept.count) sectors")
            cluster.crash(node, losesPower: losesPower, keeping: kept)
        }
        cluster.beginLiveness()
        cluster.heap.push(.watch, at: cluster.now + 250_000_000)
        var looks = depth.nested
        seen = cluster.nodes.map(\.disk.revision)
        while !cluster.isDone, scripted.violation == nil, cluster.happensNext() {
            guard looks > 0, report.findings.isEmpty else { continue }
            if look(at: scripted) { looks -= 1 }
        }
        report.resumed += 1
        if let violation = scripted.violation {
            find(
                CrashFinding(rule: violation.invariant, text: violation.text), scripted,
                "gone on after happening \(happening) with " + words.joined(separator: ", "))
        }
    }

    private func find(_ finding: CrashFinding, _ scripted: CrashRun, _ detail: String = "") {
        report.findings.append(
            finding.with(
                "\(detail) (`\(string)`, seed \(options.seed), happening \(scripted.happenings))"))
    }
}

extension CrashFinding {
    func with(_ detail: String) -> CrashFinding { CrashFinding(rule: rule, text: "\(text) — \(detail)") }
}
