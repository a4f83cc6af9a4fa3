/// The kinds of faults and deeds that a seed may enable, each by itself.
package struct FaultKinds: OptionSet, Sendable {
    package let rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }

    /// A process dies, its machine lives: what was submitted may still land.
    package static let processCrash = FaultKinds(rawValue: 1 << 0)
    /// A machine dies: what was not flushed survives sector by sector, or not.
    package static let powerLoss = FaultKinds(rawValue: 1 << 1)
    /// A process is stopped past its time-outs and goes on.
    package static let pause = FaultKinds(rawValue: 1 << 2)
    /// Nothing passes, both ways.
    package static let cut = FaultKinds(rawValue: 1 << 3)
    /// Nothing passes, one way.
    package static let oneWay = FaultKinds(rawValue: 1 << 4)
    /// A connection breaks in mid-frame; its tail is lost.
    package static let reset = FaultKinds(rawValue: 1 << 5)
    /// Frames of a session that this side closed arrive anyhow.
    package static let lateFrames = FaultKinds(rawValue: 1 << 6)
    /// EIO at one node's disk.
    package static let diskErrors = FaultKinds(rawValue: 1 << 7)
    /// Both nodes lose power at once.
    package static let totalPowerLoss = FaultKinds(rawValue: 1 << 8)
    /// A cluster manager fails over.
    package static let failover = FaultKinds(rawValue: 1 << 9)
    /// An administrator switches over, disconnects, pauses, stops and starts.
    package static let administrator = FaultKinds(rawValue: 1 << 10)
    /// An administrator without sense or mercy.
    package static let reckless = FaultKinds(rawValue: 1 << 11)
    /// Requests that do not begin or end at a block.
    package static let unaligned = FaultKinds(rawValue: 1 << 12)
    /// Zeroes and trims.
    package static let zeroing = FaultKinds(rawValue: 1 << 13)
    /// The second copy begins blank.
    package static let blank = FaultKinds(rawValue: 1 << 14)
    /// The disk is now and then very slow.
    package static let slowDisk = FaultKinds(rawValue: 1 << 15)

    // The kinds above are what the first seeds drew from. Those below are drawn from a stream of their own: without them a
    // seed does what it did before they were there.

    /// A write of metadata is answered and is not on the platter: a superblock of the two, or what can be noticed later.
    package static let lostMetadata = FaultKinds(rawValue: 1 << 16)
    /// A write of metadata lands on another block of metadata.
    package static let misdirectedMetadata = FaultKinds(rawValue: 1 << 17)
    /// Bits of a block of metadata flip.
    package static let metadataRot = FaultKinds(rawValue: 1 << 18)
    /// Sectors of data cannot be read until they are written.
    package static let badSectors = FaultKinds(rawValue: 1 << 19)
    /// Everything fails for a long time, and a restart finds no disk.
    package static let deadDisk = FaultKinds(rawValue: 1 << 20)
    /// Writes of data fail for a while, all else works (ENOSPC).
    package static let noSpace = FaultKinds(rawValue: 1 << 21)
    /// The disk answers nothing for a while.
    package static let hungDisk = FaultKinds(rawValue: 1 << 22)
    /// A copy is put back as it was some time ago.
    package static let rolledBack = FaultKinds(rawValue: 1 << 23)
    /// A node finds the other's disk, or a clone of it, in place of its own.
    package static let foreignDisk = FaultKinds(rawValue: 1 << 24)
    /// A copy is made anew, on a new disk or over the old data.
    package static let newDisk = FaultKinds(rawValue: 1 << 25)
    /// One direction loses packets: TCP sends them again, late.
    package static let lossy = FaultKinds(rawValue: 1 << 26)
    /// A connection breaks, and what was on its way arrives long after, when another one is open.
    package static let heldBytes = FaultKinds(rawValue: 1 << 27)
    /// Bits of a frame flip.
    package static let corruption = FaultKinds(rawValue: 1 << 28)
    /// Dials and greetings take long: connections of both sides cross.
    package static let racing = FaultKinds(rawValue: 1 << 29)
    /// The nodes' clocks run at different speeds.
    package static let drift = FaultKinds(rawValue: 1 << 30)
    /// Disks detached by force, commands withdrawn, promotions only asked about.
    package static let meddling = FaultKinds(rawValue: 1 << 31)

    /// The first kinds fall at the steps of records and resyncs, too (`Cluster.tempt`). Drawn from a stream of its own.
    package static let steps = FaultKinds(rawValue: 1 << 32)

    /// With quorum: an administrator takes disks away and gives them back, and has copies filled anew.
    package static let unplugging = FaultKinds(rawValue: 1 << 33)

    /// A resync gives way to clients, as it does by default; without, it takes its window always.
    package static let givingWay = FaultKinds(rawValue: 1 << 34)

    /// With quorum: two nodes that want to lead at once (`Duel`).
    package static let duels = FaultKinds(rawValue: 1 << 35)
    /// In a duel: somebody goes, or is not heard, when a message of an election goes out.
    package static let temptation = FaultKinds(rawValue: 1 << 36)
    /// In a duel: some disks take very long for some of the data, and primaries are demoted while a member is away. Drawn from a
    /// stream of its own.
    package static let slowSpells = FaultKinds(rawValue: 1 << 37)

    /// One node's activity log is smaller than the others' (F22).
    package static let smallLog = FaultKinds(rawValue: 1 << 38)

    /// With quorum: a duel that leads exactly to one moment. Drawn from a stream of its own.
    package static let exactDuels = FaultKinds(rawValue: 1 << 39)

    /// An administrator has the copies compared, and plants differences where no client writes (`Comparisons`).
    package static let verifying = FaultKinds(rawValue: 1 << 40)

    /// With quorum: a node is taken into the running cluster and out of it again (`Memberships`). Drawn from a stream of its own.
    package static let membership = FaultKinds(rawValue: 1 << 41)

    /// Disks are made larger, and the volume (`Growths`). Drawn from a stream of its own.
    package static let growing = FaultKinds(rawValue: 1 << 42)

    /// Beside that one, a second node comes and goes by other administrators' files, its disk now and then made anew meanwhile
    /// (`Turnover`). Drawn from a stream of its own.
    package static let turnover = FaultKinds(rawValue: 1 << 45)

    /// No fault: with quorum, copies that writes need not wait for, or not for their disks (`--mixed`). Their options are drawn from a
    /// stream of their own; without, all copies are synchronous.
    package static let mixed = FaultKinds(rawValue: 1 << 46)

    /// No fault: what is given up is kept aside first (`Keepings`). Drawn from a stream of its own.
    package static let keeping = FaultKinds(rawValue: 1 << 47)

    /// No fault: the other nodes take announcements of writes that wait for a log. Drawn from a stream of its own.
    package static let announcing = FaultKinds(rawValue: 1 << 43)

    /// Those that the oracle of clusters with quorum understood first.
    package static let firstWithQuorum: FaultKinds = [
        .processCrash, .powerLoss, .totalPowerLoss, .pause, .cut, .oneWay, .reset, .lateFrames, .failover,
        .administrator, .unaligned, .zeroing, .slowDisk, .lossy, .heldBytes, .racing, .corruption, .steps, .drift,
        .blank,
    ]
    /// Those, and disks that fail, are taken away, given back and filled anew.
    package static let withQuorumDisks = firstWithQuorum.union([
        .diskErrors, .badSectors, .deadDisk, .noSpace, .hungDisk, .meddling, .unplugging,
    ])
    /// Those that it understands: also metadata damaged, and disks exchanged and put back.
    package static let withQuorum = withQuorumDisks.union(damagingMetadata).union([.rolledBack, .foreignDisk, .newDisk])

    /// And two nodes that want to lead at once.
    package static let withDuels = withQuorum.union([.givingWay, .duels, .temptation])
    /// And disks that take long meanwhile.
    package static let withSpells = withDuels.union(.slowSpells)

    /// And duels that lead exactly to one moment.
    package static let withExactDuels = withSpells.union(.exactDuels)
    package static let withMembers = withExactDuels.union([.verifying, .membership])

    /// The kinds that came second.
    package static let mishaps: FaultKinds = [
        .lostMetadata, .misdirectedMetadata, .metadataRot, .badSectors, .deadDisk, .noSpace, .hungDisk, .rolledBack,
        .foreignDisk, .newDisk, .lossy, .heldBytes, .corruption, .racing, .drift, .meddling,
    ]
    /// Those that came first.
    package static let first = FaultKinds(rawValue: (1 << 16) - 1)
    package static let untilMishaps = first.union(mishaps)
    package static let all = untilMishaps.union(.steps)
    /// With these a request may fail.
    static let failingDisks: FaultKinds = [.diskErrors, .badSectors, .deadDisk, .noSpace, .meddling, .unplugging]
    static let damagingMetadata: FaultKinds = [.lostMetadata, .misdirectedMetadata, .metadataRot]

    package static let names: [(FaultKinds, String)] = [
        (.processCrash, "process-crash"), (.powerLoss, "power-loss"), (.pause, "pause"), (.cut, "cut"),
        (.oneWay, "one-way"), (.reset, "reset"), (.lateFrames, "late-frames"), (.diskErrors, "disk-errors"),
        (.totalPowerLoss, "total-power-loss"), (.failover, "failover"), (.administrator, "administrator"),
        (.reckless, "reckless"), (.unaligned, "unaligned"), (.zeroing, "zeroing"), (.blank, "blank"),
        (.slowDisk, "slow-disk"), (.lostMetadata, "lost-metadata"), (.misdirectedMetadata, "misdirected-metadata"),
        (.metadataRot, "metadata-rot"), (.badSectors, "bad-sectors"), (.deadDisk, "dead-disk"), (.noSpace, "no-space"),
        (.hungDisk, "hung-disk"), (.rolledBack, "rolled-back"), (.foreignDisk, "foreign-disk"), (.newDisk, "new-disk"),
        (.lossy, "lossy"), (.heldBytes, "held-bytes"), (.corruption, "corruption"), (.racing, "racing"),
        (.drift, "drift"), (.meddling, "meddling"), (.steps, "steps"), (.unplugging, "unplugging"),
        (.givingWay, "giving-way"), (.duels, "duels"), (.temptation, "temptation"),
        (.slowSpells, "slow-spells"), (.smallLog, "small-log"), (.exactDuels, "exact-duels"), (.verifying, "verifying"),
        (.membership, "membership"), (.turnover, "turnover"), (.announcing, "announcing"), (.growing, "growing"),
        (.mixed, "mixed"), (.keeping, "keeping"),
    ]

    package init?(name: some StringProtocol) {
        // All of the second kinds by one word.
        if name == "mishaps" {
            self = .mishaps
            return
        }
        guard let found = Self.names.first(where: { $0.1 == name }) else { return nil }
        self = found.0
    }

    package var description: String {
        Self.names.filter { contains($0.0) }.map(\.1).joined(separator: ",")
    }
}

/// A fault that no correct core survives, put between the core and its disk: the oracle must find it, or it proves
/// nothing.
package enum PlantedFault: String, Sendable, CaseIterable {
    /// Flushes of data are answered and make nothing stable.
    case lostFlush = "lost-flush"
    /// One write of data in twenty is answered and never lands.
    case lostWrite = "lost-write"
    /// Log transactions are answered and never land.
    case lostLog = "lost-log"
    /// Bitmap pages are answered and never land.
    case lostPage = "lost-page"
    /// Superblocks are answered and never land.
    case lostSuperblock = "lost-superblock"
    /// Reads of data see what is stable, not what is in the cache.
    case staleRead = "stale-read"
    /// Superblocks are answered when they are submitted, and land later.
    case unawaitedSuperblock = "unawaited-superblock"
    /// Log transactions are answered when they are submitted, and land later: the data may be there before.
    case unawaitedLog = "unawaited-log"
    /// Bitmap pages are answered when they are submitted, and land later.
    case unawaitedPage = "unawaited-page"
    /// Both superblocks are written at once.
    case superblocksAtOnce = "superblocks-at-once"
}
