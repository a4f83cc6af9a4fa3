/// The rules of a majority of voters that can be left out (`Mutant`).
enum VotingMutant {
    // MARK: F1
    /// A candidate goes on from the newest record that a voter has.
    case newestRecordCounts
    /// A record that one of its members does not have when it votes was never chosen.
    case refutedRecordIsNone
    /// A voter promises no term that is not above the one that it promised.
    case votesRise
    /// The records of a term that was voted for are numbered.
    case votedRecordsAreNumbered
    /// A voter takes no record of a term below its promise, and none older than its own.
    case olderTermMakesNoRecord
    // MARK: F2
    /// A record that is not chosen yet lets nobody go whom the one before it required.
    case undecidedLetsNobodyGo
    /// A record is chosen by a majority of its voters.
    case majorityChooses
    /// While a record that loses a member is undecided nothing is acknowledged.
    case changeHoldsReplies
    // MARK: F3
    /// In step after a promotion is who answered.
    case onlyWhoAnsweredIsKept
    /// What members had not heard confirmed is copied to all after a promotion.
    case unconfirmedIsSettled
    /// What the voters had not heard confirmed is part of it.
    case votersUnconfirmedIsSettled
    /// What the new primary had not heard confirmed is part of it.
    case ownUnconfirmedIsSettled
    /// A block that may differ is copied before it is served.
    case unsettledIsNotServed
    /// A copy of an unsettled block that began for an earlier record settles nothing.
    case settledForRecordAtHand
    // MARK: F4
    /// A copy that lost its cache does not stay in step with a new primary.
    case suspectIsNotKept
    /// A copy that lost its cache is not promoted while a member may hold what it lost.
    case suspectIsNotElected
    // MARK: F5
    /// A voter flushes what it has before it answers.
    case flushBeforeVote
    /// A candidate flushes what it has before it asks for votes.
    case candidateFlushes
    // MARK: F7
    /// A disk or a memory made anew counts for nobody until a record names it.
    case newInstanceIsNobody
    /// A disk made anew does not vouch for what the copy before it held.
    case newDiskIsNoMember
    // MARK: F8
    /// With quorum the newest record decides who is source.
    case recordDecidesSource
    // MARK: F11
    /// Who joins takes over what its source has marked toward those that stay out.
    case joinTakesMarks
    /// Who joins takes over its source's bases.
    case joinTakesBases
    /// Who is left out marks toward everybody what it had not heard confirmed.
    case outsiderMarks
    /// A copy that is being filled marks what it is sent toward the other members, too.
    case targetMarksTowardMembers
    // MARK: F13
    /// The writes of the old term have ended when a voter answers.
    case writesEndBeforeVote
    /// Frames of a term below the promise are refused.
    case olderTermHasNoRight
    // MARK: F15
    /// What a member with no older record remembers of a copy's numbers counts, and nothing else.
    case membersRememberNumbers
    /// A copy that was put back as it was says so until it is filled to the end, whoever fills it.
    case rolledBackUntilJoin
    /// A copy that knows that it was put back as it was has no vote.
    case rolledBackHasNoVote
    /// A copy that is put back while it is filled from the beginning is filled from the beginning once more.
    case putBackTwiceBeginsAnew
    /// A copy that is told of a record of its own, in a term that its disk does not know, was put back as it was.
    case forgottenTermTells
    /// Nor is a copy that was put back filled by marks because it gives another line up.
    case forcedGuestIsJudged
    // MARK: F16
    /// Who is promoted by force is the only voter of the new line.
    case forceVotesAlone
    // MARK: F18
    /// A lease counts from the sending of the ping.
    case leaseBeginsWithPing
    /// A read is answered under a lease only.
    case readsNeedLease
    /// A write or a flush is answered under a lease only: its last part may be what this node's own disk kept waiting.
    case repliesNeedLease
    /// The lease is from each required member.
    case leaseOfEachMember
    /// A candidate without a disk, whom nobody asks for a lease, waits for that of the members that voted.
    case disklessWaitsForMembers
    /// A record that names a primary counts as an answer to its ping: one may have come before.
    case recordCountsAsPong
    /// The right to the term is checked just before the data of a read is answered.
    case readsNeedTheTerm
    /// The right to the term is checked just before a write or a flush is answered.
    case repliesNeedTheTerm
    /// With `reads: confirm` a round of pings begins after the read came.
    case confirmedReadsAsk
    /// Who promised a higher term gives no lease to the primary of an older one.
    case promiseEndsLease
    /// A candidate gives no lease. (Its own promise ends those of older terms, and a primary of a newer one asks members only.)
    case candidateGivesNoLease
    /// A successor waits for the old primary's lease.
    case successorWaits
    /// A node that was started waits as if it had given a lease just before.
    case startCountsAsPong
    // MARK: F19
    /// A candidate asks without effect first.
    case askedBeforePromise
    /// An answer is one to the present question, not to that of a former candidacy.
    case answersAreToThisQuestion
    /// A primary that answers late is not deposed.
    case latePrimaryIsHeeded
    /// A voter that heard a primary within a lease objects.
    case heardPrimaryObjects
    /// A voter objects while whom its record names may wait for a lease before it serves.
    case waitingOneObjects
    /// A primary tells the voters that it serves from now on. (So does its presence, in the same turn, but amid a handshake.)
    case servingIsTold
    /// A primary that hears of a higher promise wins its term again.
    case primaryWinsAgain
    /// A newer record that names another primary deposes one.
    case newerRecordDeposes
    /// A candidate that hears of a higher term begins anew.
    case higherTermEndsAttempt
    /// Who voted for another waits before it is a candidate itself.
    case candidatesGiveWay
    // MARK: F20
    /// Who has no disk keeps one of the members that may differ.
    case disklessKeepsOne
    /// A primary whose disk fails before all is settled goes on with one member.
    case leaverKeepsOne
    /// Who has no disk founds no volume.
    case disklessFoundsNothing
    /// Who has no disk offers a first record that nobody chose yet with its volume.
    case disklessOffersVolume
    /// A primary whose disk goes leaves the volume to members of its record, not to who is about to join.
    case heirIsMember
    /// A record that a member of a primary without a disk has is not chosen by that.
    case carriersRecordIsNotChosen
    /// A primary without a disk fails no write that it sent.
    case disklessFailsNoWrite
    // MARK: F21
    /// One voter is added or taken away by each record.
    case oneVoterAtATime
    /// A record needs a majority of the voters before it, too. (Majorities of two sets that differ by one voter meet, and one record
    /// is chosen before the next is made: left out, a record is chosen sooner, and no promise breaks by it alone.)
    case formerVotersChoose
    /// The vote of a memory that was replaced goes before the new one's comes.
    case oldVoteGoesFirst
    /// All nodes of the configuration are voters of the first record.
    case configuredNodesVoteFirst
    /// All first records of a volume are of one line.
    case firstRecordsAreOfOneLine
    /// A record of the leader's lets go of a node that the configuration does not name any more.
    case departedIsLetGo
    /// The vote of a departed copy goes with the record that leaves it out.
    case departedVoteGoesToo
    /// A vote is taken away only while a majority of the rest has votes: who was put back as it was has none.
    case restHasVotes
    /// What was marked before the first record is forgotten with it.
    case firstRecordForgetsMarks
    /// A copy that was not tracked is filled from the beginning when it comes again.
    case departedIsUnknown
    /// A bitmap that is given to a node that comes is written, or it would count as dirty after the next start.
    case newBitmapIsWritten
    // MARK: Section 2
    /// A record is chosen when each copy that it names has it, too.
    case membersChoose
    /// A candidate has its promise on disk before it asks for votes.
    case candidatePromises
    /// No promise is taken back by a resync or a join that was under way.
    case promiseIsKept
    /// A promise is durable before it is told.
    case promiseBeforeVote
    /// A record without a primary says that nothing is unflushed.
    case handOverIsStable
    /// A join confirms nothing that a third member was sent.
    case joinConfirmsNothing
    /// Who takes a hand-over flushes first.
    case takenHandOverIsFlushed
    /// A keeper waits for the old lease before it makes a record.
    case keeperWaitsFirst
    // MARK: Found by seeds
    /// What a request that failed for want of a quorum would have written is unsettled.
    case failedIsUnsettled
    /// A voter that missed the newest record says nothing against a copy that this one names.
    case outdatedVoterHasNoSay
    /// A record is offered again until it is chosen.
    case offeredAgain
    /// A record that was given up undecided establishes nobody.
    case undecidedEstablishesNobody
    /// A record of the leader's that is being taken is answered before a handshake with it ends.
    case acceptanceComesFirst
    /// A candidacy whose record nobody can choose any more begins anew.
    case stuckCandidacyEnds
    /// Who was met while the old lease ran out is met anew by the primary.
    case metAnewByPrimary
    /// Who follows another node fills nobody any more.
    case followerFillsNobody
    /// Who gives writes up fills nobody with what they left.
    case givenUpFillsNobody
    /// A disk is not written back to be let go while its node may become primary.
    case detachAwaitsCandidacy
    /// Who leads no more has nothing to settle.
    case deposedSettlesNothing
    /// Who gives its data away keeps nothing with it.
    case giverKeepsNothing
    /// A copy that was promoted by force when it was half filled, or put back, fills the others from the beginning.
    case forcedHalfFillsAll
    /// What is given away to another line stays offered until a node of that line leads.
    case offerWaitsForLeader
    /// The second voter has the record that adds it before the first, or none could be made without it.
    case secondVoterAcceptsFirst
    /// The terms of another line are no terms of this one.
    case linesHaveTheirTerms
}

#if Mutants
    extension VotingMutant: CaseIterable {}
#endif
