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

    /// Of `SimulationOptions(quorum:)`.
    static let quorum: [Seed] = [
        Seed(
            seed: 845_361,
            found: "a leader that saw that a copy was put back forgot it with the session, before all was marked",
            kinds: .withSpells),
        Seed(seed: 426, found: "a read was answered from blocks that were not settled", kinds: .firstWithQuorum),
        Seed(
            seed: 597, found: "a copy met while the old lease ran out heard that nobody leads, and waited for ever",
            kinds: .firstWithQuorum),
        Seed(
            seed: 696, found: "voters that had missed the newest record spoke against the copies that it named",
            kinds: .firstWithQuorum),
        Seed(seed: 930, found: "who had led sent again what it had been settling", kinds: .firstWithQuorum),
        Seed(seed: 1681, found: "buffers of what was being settled were kept for ever", kinds: .firstWithQuorum),
        Seed(seed: 1722, found: "a session was cut off for writes of another session", kinds: .firstWithQuorum),
        Seed(
            seed: 2685, found: "a leader met a copy with a newer record of its own, and left it alone",
            kinds: .firstWithQuorum),
        Seed(
            seed: 2792, found: "a join waited for a write, its answer for a handshake, and that for the join",
            kinds: .firstWithQuorum),
        Seed(seed: 13_710, found: "a demotion waited for ever for its hand-over's record", kinds: .firstWithQuorum),
        Seed(
            seed: 14_058, found: "a promotion waited for ever for a term that was to re-admit copies",
            kinds: .firstWithQuorum),
        Seed(
            seed: 15_404,
            found: "a copy being filled took a write that its next source lacked, and both were called equal",
            kinds: .firstWithQuorum),
        Seed(seed: 16_378, found: "a promotion waited for ever for voters of its record", kinds: .firstWithQuorum),
        Seed(
            seed: 16_442,
            found: "the oracle forgot what a stopped node had been asked in a session that ended meanwhile",
            kinds: .firstWithQuorum),
        Seed(
            seed: 17_094, found: "what was sent again with each session filled the list of what is unconfirmed",
            kinds: .firstWithQuorum),
        Seed(
            seed: 18_229, found: "a record waited for ever for a member that came back without its cache",
            kinds: .firstWithQuorum),
        Seed(
            seed: 100_007, found: "a candidate without a disk gave the members the line that its disk had once",
            kinds: .withQuorumDisks),
        Seed(
            seed: 100_070, found: "a voter without a disk refused a record, and its candidate waited for ever",
            kinds: .withQuorumDisks),
        Seed(seed: 100_352, found: "a candidacy waited for a flush of a disk that was gone", kinds: .withQuorumDisks),
        Seed(
            seed: 100_421, found: "a primary without a disk refused the voters that hold no copy of its record",
            kinds: .withQuorumDisks),
        Seed(
            seed: 100_559, found: "a read that failed while blocks were settled ended the copy twice",
            kinds: .withQuorumDisks),
        Seed(
            seed: 100_819, found: "a primary that left its disk was left out by a record of another kind, and kept it",
            kinds: .withQuorumDisks),
        Seed(seed: 100_822, found: "a node without a disk founded a volume of no generation", kinds: .withQuorumDisks),
        Seed(
            seed: 101_061, found: "a primary without a disk said that members held the same, and they did not",
            kinds: .withQuorumDisks),
        Seed(
            seed: 101_395, found: "a copy was called rolled back for what it had said in the same session",
            kinds: .withQuorumDisks),
        Seed(
            seed: 102_210, found: "a disk came back, and extents of the former one were taken out of its log",
            kinds: .withQuorumDisks),
        Seed(
            seed: 102_868,
            found:
                "a record without a primary was made though not all was stable, and a copy that lost its cache promoted",
            kinds: .withQuorumDisks),
        Seed(
            seed: 103_247, found: "a log full of what was not settled held the settling of the rest",
            kinds: .withQuorumDisks),
        Seed(seed: 103_373, found: "a detach by force waited for ever for its record", kinds: .withQuorumDisks),
        Seed(seed: 105_061, found: "a keeper threw its data away and went on as the source", kinds: .withQuorumDisks),
        Seed(
            seed: 106_134, found: "a copy thrown away while it was a candidate made a record that names nobody",
            kinds: .withQuorumDisks),
        Seed(
            seed: 540, found: "two first records found majorities apart from each other",
            kinds: .withQuorumDisks),
        Seed(
            seed: 107_675,
            found:
                "a copy that lost its cache was promoted under a record that was never chosen, beside one that had it all",
            kinds: .withQuorumDisks),
        Seed(
            seed: 109_618, found: "what was read to be settled went out after a client's newer write",
            kinds: .withQuorumDisks),
        Seed(
            seed: 110_951, found: "the same as 107675, where the good copy had been called outdated",
            kinds: .withQuorumDisks),
        Seed(
            seed: 2398, found: "a record without a primary's own copy was taken back when its disk went",
            kinds: .withQuorumDisks),
        Seed(
            seed: 114_752, found: "a primary without a disk failed what only some members had, and called it confirmed",
            kinds: .withQuorumDisks),
        Seed(
            seed: 40_003_934, found: "a primary without a disk took a record for chosen that one member alone had",
            kinds: .withQuorumDisks),
        Seed(
            seed: 117_026, found: "a dead leader's offer left out the only good copy, and nobody was promoted",
            kinds: .withQuorumDisks),
        Seed(
            seed: 50_004_774,
            found: "a primary without a disk went back behind the record that was written when its disk failed",
            kinds: .withQuorum),
        Seed(
            seed: 50_001_040,
            found: "a copy that had been put back and filled was called rolled back by one who was away",
            kinds: .withQuorum),
        Seed(
            seed: 50_002_354, found: "members that had lost their caches waited for a disk that was made anew",
            kinds: .withQuorum),
        Seed(
            seed: 50_002_848,
            found: "the source of a rolled-back copy died, and the next one filled only what it had marked",
            kinds: .withQuorum),
        Seed(
            seed: 80_001_990,
            found: "a target forgot toward its next source what it had taken and nobody confirmed",
            kinds: .withQuorum),
        Seed(
            seed: 3090, found: "a join confirmed what a third member had in its cache, and a hand-over rested on that",
            kinds: .withDuels),
        Seed(
            seed: 137,
            found: "a voter did not know that the primary whom it heard served already, and voted for another",
            kinds: .withDuels),
        Seed(
            seed: 279, found: "a flush that only the own disk kept waiting was answered after a successor's answer",
            kinds: .withDuels),
        Seed(
            seed: 311, found: "a keeper of the line before a promotion by force could not give its data away",
            kinds: .withDuels),
        Seed(
            seed: 40738, found: "a resync that began took back what its target had promised as a candidate",
            kinds: .withDuels),
        Seed(
            seed: 80806, found: "who led without ever serving did not wait for the lease of the primary before it",
            kinds: .withDuels),
        Seed(
            seed: 82863,
            found: "a copy that was half filled and then forced did not know where it differed from a third",
            kinds: .withDuels),
        Seed(
            seed: 80075,
            found: "what was given away to a line that nobody led was taken back, and the two parted for ever",
            kinds: .withDuels),
        Seed(
            seed: 80791, found: "an administrator forced a copy that no chosen record had ever named: another volume",
            kinds: .withDuels),
        Seed(seed: 82319, found: "the same as 80806 where a line was forced", kinds: .withDuels),
        Seed(
            seed: 90115, found: "a copy that gave its data away had a record of its own on its way, and took no other",
            kinds: .withDuels, duel: .forced),
        Seed(
            seed: 94381,
            found: "a voter of another line was added to a single one, which could make no record any more",
            kinds: .withDuels, duel: .forced),
        Seed(
            seed: 93535, found: "an answer to the question of a former candidacy counted for the next one",
            kinds: .withDuels, duel: .forced),
        Seed(
            seed: 95378, found: "a copy was filled with what was not settled, and nobody had marked it toward a member",
            kinds: .withDuels, duel: .forced),
        Seed(
            seed: 421,
            found: "the record that adds a second voter and the handshake with it ended each other, for ever",
            kinds: .withSpells),
        Seed(
            seed: 200_417, found: "a copy that had taken another line's data was still offered, and given away again",
            kinds: .withDuels, duel: .forced),
        Seed(
            seed: 301_406, found: "a copy was filled under a record without it that was given up undecided",
            kinds: .withSpells, duel: .forced),
        Seed(
            seed: 300_937, found: "the oracle held a voter to what it had promised to another line",
            kinds: .withSpells, duel: .forced),
        Seed(
            seed: 500_174, found: "a simulated clock that had stood still was asked for a time before its zero",
            kinds: .withSpells),
        Seed(
            seed: 104, found: "a primary whose disk went left the volume to a copy that was about to join",
            kinds: .withSpells, duel: .diskless),
        Seed(
            seed: 400_509, found: "the word that a record is chosen was not heard while that was answered once more",
            kinds: .withSpells, duel: .forced),
        Seed(
            seed: 821_425,
            found: "a candidate took in a copy that it had told it would be filled, which waited for that",
            kinds: .withSpells),
        Seed(
            seed: 841_750,
            found:
                "a primary whose disk went kept two members that differed in what it had failed for want of a quorum",
            kinds: .withSpells),
        Seed(
            seed: 931_003, found: "a primary that answered while the candidate wrote its promise down was deposed",
            kinds: .withExactDuels),
        Seed(
            seed: 931_808, found: "a demoted source that was being filled itself went on filling another copy",
            kinds: .withExactDuels),
        Seed(
            seed: 3036, found: "a candidate without a disk had a first record chosen that was of no volume",
            kinds: .withExactDuels),
        Seed(
            seed: 59_000_232, found: "the oracle took an answer from before a pause for one about the disks of now",
            kinds: .withExactDuels.union(.verifying)),
        Seed(
            seed: 32, found: "the oracle took a ping of an earlier service for one of the present primary's",
            kinds: .withExactDuels, duel: .unheardStart),
        Seed(
            seed: 68, found: "the oracle took an answer to a former question for one to the present",
            kinds: .withExactDuels, duel: .unheardStart),
        Seed(
            seed: 45_001_192, found: "a superseded primary filled a copy with what its withdrawn writes had left",
            kinds: .withExactDuels),
        Seed(
            seed: 80_000_026, found: "a frame that waited for a comparison's read was written behind a promise",
            kinds: .withExactDuels.union(.verifying)),
        Seed(
            seed: 80_000_090, found: "a primary without a disk asked for votes without end, as often as it could",
            kinds: .withExactDuels.union(.verifying), duel: .diskless),
        Seed(
            seed: 70_000_066, found: "a disk was called clean by a detach while its node became primary",
            kinds: .withExactDuels),
        Seed(
            seed: 640_156, found: "frames came to a member that was taking the record it had told of, in each session",
            kinds: .withExactDuels.union(.smallLog)),
        Seed(seed: 691_513, found: "a join's base spoke of marks that were not taken", kinds: .withMembers),
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
    ]
}
