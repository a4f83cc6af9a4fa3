import Simulation

/// Seeds that failed once. A failing seed stays for ever, with a sentence on what it found.
enum RegressionSeeds {
    struct Seed: Sendable, CustomStringConvertible {
        var seed: UInt64
        var found: String
        /// What it may draw from: the kinds of faults that were there when it failed.
        var kinds = FaultKinds.first
        /// Whatever it would draw.
        var duel: Duel?
        var description: String { "\(seed): \(found)" }
    }

    static let all: [Seed] = [
        Seed(seed: 4, found: "a copy that began as zeroes met a line, and blocks were marked on neither side"),
        Seed(seed: 12, found: "a promotion whose time was over asked for ticks at a time that was past, for ever"),
        Seed(seed: 40, found: "a detach that waited kept the peer's handshake waiting, and so itself"),
        Seed(seed: 15, found: "a primary promoted while its peer was away resumed under a record that named nobody"),
        Seed(seed: 106, found: "a source promoted apart joined its target under a record that named nobody"),
        Seed(seed: 205, found: "a stop left a promotion unanswered"),
        Seed(seed: 251, found: "a read was answered while the disk still wrote into its buffer"),
        Seed(seed: 278, found: "a restart on a disk whose flush had failed overwrote the good copy"),
        Seed(seed: 388, found: "a promotion went on while its node stopped, and founded a second volume"),
        Seed(seed: 469, found: "a diskless primary whose carrier had become primary kept its clients waiting for ever"),
        Seed(seed: 635, found: "a handshake that ended with what came before a pause let a read be answered after it"),
        Seed(seed: 967, found: "a bit was cleared while the source itself had not flushed the block that it gave away"),
        Seed(seed: 979, found: "a peer was left behind between an equal verdict and the record that names both"),
        Seed(seed: 1115, found: "an outdated copy stayed established, in step and outdated"),
        Seed(seed: 2585, found: "a source stayed suspect, became primary, and its peer wanted to overwrite it"),
        Seed(seed: 3384, found: "a primary to be filled waited for its log, and the log for the filling"),
        Seed(seed: 4135, found: "the first flush of a new primary left the peer behind that had just been found equal"),
        Seed(seed: 6056, found: "a detach was overtaken by a promotion and never answered"),
        Seed(seed: 10070, found: "an attached disk did not hear what its run knew: it had been left out"),
        Seed(seed: 13234, found: "a source that nobody could vouch for stayed suspect after others took its word"),
        Seed(seed: 14208, found: "a copy outdated while away came back by a resume and stayed outdated"),
        Seed(seed: 15341, found: "an outdated copy and a whole one, equal but for marks, did nothing"),
        Seed(
            seed: 44, found: "a record left out the primary that was being filled, and no longer named it",
            kinds: .untilMishaps),
        Seed(
            seed: 578, found: "a rolled-back copy was refused, and passed for equal at the next try",
            kinds: .untilMishaps),
        Seed(
            seed: 896, found: "a copy heard from a diskless peer that it was left behind, and forgot it",
            kinds: .untilMishaps),
        Seed(
            seed: 1_000_693, found: "a primary promoted apart left its disk under a record that named nobody",
            kinds: .untilMishaps),
        Seed(
            seed: 1_004_470, found: "a disk of zeroes got only what its predecessor's resync had not copied yet",
            kinds: .untilMishaps),
        Seed(
            seed: 5_021_598, found: "a source that could read nothing was asked for each block at once", kinds: .all),
        Seed(
            seed: 3_010_960, found: "a disk whose flush failed before anybody was served stayed suspect in step",
            kinds: .untilMishaps),
        Seed(
            seed: 3275, found: "a record without a peer failed on its way to the disk, and its consequences stayed",
            kinds: .untilMishaps),
        Seed(
            seed: 51630, found: "a primary took back the disk on which it had acknowledged alone, and had it filled",
            kinds: .untilMishaps),
        Seed(
            seed: 51832, found: "writes waited for a record whose acceptance came only with the next handshake",
            kinds: .untilMishaps),
        Seed(seed: 51862, found: "the same, and the pulls of the new disk waited for the writes", kinds: .untilMishaps),
        Seed(seed: 53145, found: "the only copy that was not given away was outdated, and filled nobody"),
        Seed(
            seed: 54081, found: "a disk of zeroes took the place of one half filled, and was given the other half only",
            kinds: .untilMishaps),
        Seed(seed: 54509, found: "an offer to throw data away outlived the command, which was answered as refused"),
        Seed(seed: 55276, found: "a primary heard late that a join was taken by a copy that had gone on since"),
        Seed(seed: 60098, found: "a node stopped before the buffer came that it had asked for", kinds: .untilMishaps),
        Seed(
            seed: 72359, found: "a write that began before its primary's new disk was marked on it in memory only",
            kinds: .untilMishaps),
        Seed(seed: 70693, found: "a session was resumed though a disk had been away meanwhile"),
        Seed(
            seed: 73974, found: "a primary whose disk was to be filled waited for a line that had ended",
            kinds: .untilMishaps),
        Seed(
            seed: 66807, found: "a primary that no record named resumed, and after a power loss was not suspect",
            kinds: .untilMishaps),
        Seed(
            seed: 1_009_732,
            found: "a copy that an administrator called outdated was filled by one that had lost its cache",
            kinds: .untilMishaps),
        Seed(
            seed: 2_017_305, found: "a waiting promotion took a new disk, and began a second volume on it",
            kinds: .untilMishaps),
        Seed(
            seed: 2_024_432,
            found: "a target that took the join was promoted by force before it heard that it was chosen",
            kinds: .untilMishaps),
        Seed(
            seed: 2_027_972, found: "the same, after a longer wait",
            kinds: .untilMishaps),
        Seed(
            seed: 2_033_106, found: "a new disk began a second volume by force, beside the peer that served the first",
            kinds: .untilMishaps),
        Seed(
            seed: 3_009_152,
            found: "a node without a disk was served by a rolled-back copy, in a generation that its disk had too",
            kinds: .untilMishaps),
        Seed(
            seed: 3_009_532,
            found: "a node without a disk was promoted on a rolled-back copy, whose numbers it remembered",
            kinds: .untilMishaps),
        Seed(
            seed: 3_010_121,
            found: "a term that a primary made after its disk had failed was made again by the next run on that disk",
            kinds: .untilMishaps),
        Seed(
            seed: 1_003_970,
            found: "a node whose forced copy was detached was carried by the copy that it had parted from",
            kinds: .untilMishaps),
        Seed(
            seed: 4_018_731,
            found: "a primary that was filled was told again and again that it lacked what it had written itself",
            kinds: .untilMishaps),
        Seed(
            seed: 4_009_470, found: "a volume that one disk began, and forgot, was looked for for ever",
            kinds: .untilMishaps),
        Seed(
            seed: 4_021_859, found: "a copy that was being detached resumed, and answered writes behind its last flush",
            kinds: .untilMishaps),
        Seed(
            seed: 4_033_499, found: "the oracle asked of a disk whose flush had failed what only its peer could give",
            kinds: .all),
        Seed(
            seed: 4_034_505, found: "a node without a disk asked a suspect carrier for its record without end",
            kinds: .all),
        Seed(
            seed: 6_011_095,
            found: "a copy that had taken a join was told what is confirmed, and left; both became primary for ever",
            kinds: .all),
        Seed(
            seed: 6_033_536, found: "the oracle asked a node promoted after a pause to hear its peer first", kinds: .all
        ),
        Seed(seed: 6_051_641, found: "the same, where the demotion before had timed out", kinds: .all),
        Seed(
            seed: 6_035_262,
            found: "the oracle did not know that a carrier's newer write may overtake an answer of who was called dead",
            kinds: .all),
        Seed(
            seed: 6_048_426, found: "a join ended after its session, and a promotion asked a peer that was not there",
            kinds: .all),
        Seed(
            seed: 8_062_623,
            found:
                "a disk was attached and promoted after its run had offered a record without it, whose answer was lost",
            kinds: .all),
        Seed(
            seed: 8_043_694,
            found: "the oracle held what a promotion settled that acknowledged nothing and ended", kinds: .all),
        Seed(
            seed: 6_051_104, found: "nobody in the simulation said that a rolled-back copy is all there is",
            kinds: .all),
        Seed(
            seed: 12_018_277,
            found: "a disk back in its node was outdated for an offer that nobody took, and its blank peer not filled",
            kinds: .all),
        Seed(
            seed: 12_080_903,
            found: "half a block was asked for at a peer that was left behind, and the write waited for ever",
            kinds: .all),
        Seed(
            seed: 12_085_183, found: "the oracle took an offer to join for the join of a copy promoted by force",
            kinds: .all),
        Seed(
            seed: 12_097_630, found: "nobody in the simulation said which half counts when the whole copy was put back",
            kinds: .all.union(.givingWay)),
        Seed(
            seed: 13_002_903,
            found: "the oracle held a copy that took a join to what its source had lost, since that died at once",
            kinds: .all.union(.givingWay)),
        Seed(
            seed: 12_207_523, found: "the oracle took a disk that was put in for one that takes a join now", kinds: .all
        ),
        Seed(
            seed: 12_327_447,
            found:
                "two nodes whose link broke before the first record each made one, and the oracle took a record that was "
                + "lost with its disk for a copy taken in"),
        Seed(
            seed: 12_341_571,
            found:
                "the oracle held a write that came later to what a node promoted alone, which served nobody, had found"
        ),
        Seed(
            seed: 12_465_208,
            found:
                "the oracle took a record before a resync, begun before a pause, for one that left a peer behind for nothing",
            kinds: .all),
        Seed(
            seed: 12_749_575,
            found: "a source that saw that its target was put back wrote down the new numbers, died, and knew no more",
            kinds: .all.union(.givingWay)),
        Seed(
            seed: 12_444_281,
            found: "nobody in the simulation said which copy counts when both were thrown away and one was put back",
            kinds: .all),
        Seed(
            seed: 12_800_947,
            found:
                "a copy made anew and promoted by force is another volume for ever, and the simulation waited for rest",
            kinds: .all.union(.givingWay)),
        Seed(
            seed: 12_880_279,
            found: "the oracle ended a line where a promotion by force had needed no force, and what waited came later",
            kinds: .all),
        Seed(
            seed: 12_411_961,
            found: "the oracle forgot how long a disk that is healed goes on hanging with what it has",
            kinds: .all.union(.givingWay)),
    ]

    /// Of two nodes that fence each other.
    static let fencing: [Seed] = [
        Seed(
            seed: 31_700_217,
            found:
                "a record left out a peer that had not heard of it, and a restart forgot that nobody served under it"
        )
    ]

    /// Of `memory` and `async`.
    static let modes: [Seed] = [
        Seed(
            seed: 427, found: "what a peer that went away lacked was let go, and a full log waited for a round for ever"
        ),
        Seed(seed: 726, found: "a flush was answered under a record that named nobody"),
        Seed(seed: 1933, found: "a target told of frames as stable that waited behind a flush"),
        Seed(seed: 3736, found: "a read for a primary without a disk overtook the writes before it"),
        Seed(seed: 4276, found: "an offer that nobody took made its maker the source of what another acknowledged"),
        Seed(
            seed: 13_400_243,
            found: "a copy that had answered from memory, and died before its log was written, was not suspect"),
        Seed(
            seed: 42_002_543,
            found: "a flush waited for a write that hung and was held no more, and round followed round meanwhile"),
        Seed(
            seed: 33_700_157,
            found: "a volume that cannot be copied in four minutes over the link that was drawn had no more than these"),
    ]

    /// Of copies that writes need not wait for, beside a majority.
    static let mixed: [Seed] = [
        Seed(
            seed: 138,
            found: "a copy was filled with what an asynchronous member lacked, and nothing was marked between the two"),
        Seed(seed: 249, found: "a primary whose disk was detached read from an asynchronous member what that lacked"),
        Seed(
            seed: 5005,
            found:
                "the word that writes are confirmed was lost with its session, and the list of unconfirmed ones stayed full for ever"
        ),
        Seed(
            seed: 30338,
            found: "a copy was filled with what a member had in memory only, and nothing was marked between the two"),
        Seed(
            seed: 910_140_120,
            found:
                "a primary without a disk went on with a copy whose promotion with loss did not end, and that led next"),
    ]
}
