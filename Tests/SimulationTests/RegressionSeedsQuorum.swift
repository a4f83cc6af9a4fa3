import Simulation

/// Of clusters with quorum.
extension RegressionSeeds {
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
        Seed(
            seed: 640_211,
            found:
                "a copy was put back, and who remembered it was taken out of the file: the others' record of it told nothing",
            kinds: .withMembers),
    ]

    /// Of volumes that are made larger.
    static let growth: [Seed] = [
        Seed(
            seed: 881_001_040,
            found: "a vote was taken away on the word of a copy that was put back, and of two voters one was none"),
        Seed(seed: 885_000_403, found: "a founder kept what it had marked before the first record, toward members"),
    ]
}
