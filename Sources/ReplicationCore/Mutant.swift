/// The rules that a build for the simulator can leave out, one at a time: a mutant of the core for each. The simulator must
/// notice that one is missing (`simulate --mutants`), or it proves nothing about the core that has it. Each stands at one
/// seam or a few, `isLeftOut(.rule)`: a constant in builds without the package's trait `Mutants`.
enum Mutant {
    // MARK: Found at once, or the search itself is broken
    /// A write is answered after the work, not on arrival.
    case workBeforeReply
    // MARK: F1 to F14, in this order
    /// The records of one term are numbered.
    case recordsAreNumbered
    /// Of two records of one term the newer took the place of the older.
    case supersededRecordYields
    /// A number belongs to one record, also to one that was only offered.
    case offeredNumbersCount
    /// A term is on the disk of its maker, or its records are never taken back.
    case termIsOnItsMakersDisk
    /// A joining copy is required before it is offered the record.
    case requiredBeforeJoin
    /// The join waits for what was sent, and holds new writes.
    case joinHoldsWrites
    /// A promotion apart from a peer that may differ makes its record before it answers a read.
    case settledBeforeRead
    /// A copy that lost its cache with a log not empty is suspect.
    case powerLossMakesSuspect
    /// A suspect copy is not promoted unless the peer is vouched to be off.
    case suspectIsNotPromoted
    /// Of equal copies the suspect one is the target.
    case suspectIsTarget
    /// A copy that lost its cache is filled by the other, be that called outdated.
    case suspectIsFilledByOutdated
    /// What this copy has is flushed before a record of its own.
    case flushBeforeRecord
    /// What this copy has is flushed before it accepts a record or a join.
    case flushBeforeAccepting
    /// A record that never became durable takes its consequences back.
    case lostRecordIsTakenBack
    /// A target says durably that it is inconsistent before it is written to.
    case inconsistentBeforeResync
    /// A record without the target comes before the resync.
    case excludedBeforeResync
    /// An outdated copy is a source where the data of the other was given away.
    case givenAwayMakesSource
    /// An outdated copy is a source for one that was thrown away, where both records name both.
    case outdatedByMistakeIsSource
    /// A copy that is half-filled, outdated or out of its record is no source.
    case sourceIsWholeInStep
    /// A copy that is half-filled, outdated or out of its record is not promoted.
    case promotedIsWholeInStep
    /// That everything is marked was said of one instance.
    case fullCopyKnowsInstance
    /// Marks were made for one instance: another gets everything.
    case marksKnowInstance
    /// Whose marks they are is durable before the first of them goes.
    case instanceBeforeMarksGo
    /// A generation begins only if a reply waits for it.
    case goesOnOnlyForReplies
    /// A source without clients keeps its target required, and the line as it is.
    case idleSourceKeepsTarget
    /// The line keeps the generations that ended.
    case lineKeepsGenerations
    /// The generation of nothing but zeroes ends with the first record.
    case zeroEndsWithRecord
    /// Two lines that parted are a split brain; no heuristic picks one.
    case splitBrainStops
    /// A generation begins when a required copy is lost, whether or not the record names it.
    case requiredDecidesGeneration
    /// A generation begins when a required copy is lost.
    case generationForLostMember
    /// Of equal copies the primary is the source.
    case primaryLeads
    /// The source tells what it has marked.
    case sourceAddsItsMarks
    /// The target copies also what it has marked itself.
    case targetAddsItsMarks
    /// Who applies a write marks it toward a copy that is out.
    case receiverMarksAbsent
    /// Who applies a write keeps it unconfirmed until told.
    case receiverKeepsUnconfirmed
    /// What a primary sends to the source of its new disk is marked durably first.
    case sentAgainIsMarked
    /// What is unconfirmed at a target is copied as well.
    case targetAddsUnconfirmed
    /// Marks are enough only if both reach back to the common generation.
    case marksReachBack
    /// The source's mark goes with a flush of the target, not with its answer.
    case targetFlushClearsMarks
    /// The target tells of a flush when it is done.
    case targetFlushesBeforeTelling
    /// The source's mark goes with a flush of its own, too.
    case sourceFlushClearsMarks
    /// A flush of the target covers what it had written when it began.
    case flushCoversDonePulls
    /// A flush of the target covers frames that it had written when it began.
    case flushCoversDoneFrames
    /// Frames sent after that flush keep their marks.
    case laterFramesKeepMarks
    /// The writes of an old session have ended, or are dropped, before the first of a new one.
    case oldWritesEndFirst
    /// A frame of an old session that comes late is not taken.
    case onlyLiveSession
    // MARK: F15
    /// A copy older than its peer remembers it is refused.
    case rollbackIsNoticed
    /// A copy that was found older says so until it is filled.
    case rollbackIsRemembered
    /// A node without a disk knows a copy that was rolled back, too.
    case disklessRemembersNumbers
    // MARK: F16
    /// A forced promotion begins a new lineage.
    case forceBeginsLineage
    // MARK: F17
    /// A record's term is above both sides' terms.
    case termAboveBoth
    // MARK: F18
    /// A process that stood still hears its peer before it answers anything.
    case pauseMakesDoubt
    /// After a pause only what was said since counts.
    case pausedNewsIsOld
    // MARK: F19
    /// A primary refuses another's record of promotion.
    case primaryRefusesCandidates
    /// A peer whose session ends to begin anew is waited for, not left.
    case restartIsNoLoss
    /// Of two candidates the higher yields.
    case higherCandidateYields
    // MARK: F20
    /// A copy whose write failed leaves the record before the reply.
    case failedDiskLeavesBeforeReply
    /// An offer to leave of which nothing was heard is replaced by a newer record.
    case undecidedLeaveIsReplaced
    /// A primary that leaves its disk is named by the record.
    case leavingPrimaryIsNamed
    // MARK: F22
    /// A secondary makes room in its log without waiting for the primary.
    case secondaryMakesRoom
    /// An extent that leaves early has its blocks marked.
    case spilledIsMarked
    // MARK: F23
    /// A read waits for overlapping writes in flight.
    case readsWaitForWrites
    // MARK: F25
    /// A trim is replicated.
    case trimReplicated
    // MARK: Section 2: the wording that decides
    /// A secondary's log names the extent before its write.
    case secondaryLogs
    /// A running primary is not overwritten.
    case primaryIsNotOverwritten
    /// A flush is answered by a round that began after it came.
    case flushBeginsAfterRequest
    /// A flush waits for the peer's.
    case flushAtPeer
    /// A flush waits for the local one.
    case flushHere
    /// A forced write waits for a round.
    case forcedWaitsForFlush
    /// The pages of an extent are written before its slot is used again.
    case pagesBeforeReuse
    /// A demotion waits for what is in flight.
    case demotionDrains
    /// A hand-over leaves nothing unflushed.
    case demotionConfirms
    // MARK: From the history of replicated storage
    /// A write is answered when it is on the own disk.
    case diskBeforeReply
    /// A write is answered when it is on the peer's disk.
    case peerBeforeReply
    /// The peer answers when the write is on its disk.
    case diskBeforePeerAnswers
    /// A reply that a peer lacks waits for the record without it.
    case recordBeforeReply
    /// The replies that wait for a lost peer are held.
    case repliesHeldAtLoss
    /// The peer answers a flush when it is done.
    case flushBeforeAnswer
    /// A flush under way does not cover what ended after it began.
    case flushCoversOnlyEarlier
    /// A failed flush fails the disk; it is not tried again.
    case failedFlushIsFinal
    /// A disk whose flush failed is told that it is suspect.
    case failedFlushMakesSuspect
    /// Marks stay when the peer connects.
    case marksSurviveConnect
    /// Equal generations with marks are a resync.
    case equalIDsProveNothing
    /// A write that a peer does not get is marked toward it.
    case absentIsMarked
    /// What was unconfirmed when a peer is left out is marked toward it.
    case unconfirmedMarkedAtLoss
    /// A primary keeps what is not confirmed.
    case primaryKeepsUnconfirmed
    /// Only writes that are complete everywhere are confirmed.
    case confirmOnlyComplete
    /// An epoch is closed only for what its flushes can newly confirm.
    case epochConfirmsMore
    /// What a source cannot read is asked for later, in the same session.
    case unreadableIsAskedLater
    /// A new primary's numbers confirm nothing of the old one's.
    case primariesNumberApart
    /// A frame counts as sent only in the session that lives.
    case sentEndsWithSession
    /// A resync ends when nothing is marked any more.
    case resyncEndsUnmarked
    /// Resync and writes to one range wait for each other.
    case resyncLocksRanges
    /// A primary that is filled locks the ranges it asks for.
    case filledPrimaryLocksRanges
    /// A full copy begins with all marks set.
    case fullCopyMarksAll
    /// The log names the extent durably before the write.
    case logBeforeWrite
    /// What the log names is marked at a start.
    case logIsReplayed
    /// What a start replayed stays until a flush.
    case replayIsFlushed
    /// A start takes the word clean back.
    case cleanEndsAtStart
    /// The pages are written before the superblock says clean.
    case pagesBeforeClean
    /// What is unconfirmed at a stop is marked.
    case stopMarksUnconfirmed
    /// A page that changed while it was written is written again.
    case pageWrittenAgain
    /// Both copies of the superblock are written.
    case bothCopiesAreWritten
    /// What depends on a superblock waits until it is durable.
    case superblockIsAwaited
    /// Frames under an older record are refused.
    case olderRecordHasNoRight
    /// Only the same two processes resume a session.
    case resumesSameRun
    /// A resumed session sends again what was not answered.
    case unansweredIsSentAgain
    /// Nothing is resumed across an attach.
    case attachEndsResume
    /// What is unanswered goes to the carrier anew at each handshake.
    case carrierGetsAllAgain
    /// What was to be read at a peer that is left behind is read elsewhere.
    case lostReadsAreAskedAgain
    /// Writes that were given up are made equal by a handshake.
    case givenUpMeansHandshake
    /// Overlapping writes run one after the other.
    case overlappingWritesWait
    /// A buffer is kept until the disk has read it.
    case bufferKeptUntilWritten
    /// A primary does not read from its own copy while that is out of step.
    case readsNeedStep
    /// A copy that meets a newer line says durably that it is outdated.
    case behindSaysOutdated
    /// No record is taken that the disk has no room for.
    case recordFitsDisk
    /// A copy that took a join is not promoted before it hears that this is so.
    case joinIsHeardFirst
    /// A disk that knows less than its run is outdated.
    case attachedSaysOutdated
    /// An offer to discard ends with its command.
    case discardEndsWithCommand
    /// A detach by force lets the superblock in flight arrive.
    case detachAwaitsSuperblock
    /// A primary that lives on its peer takes no disk of another line.
    case servedTakesNoOtherLine
    /// A primary whose new disk is filled gives way to a record without it.
    case filledPrimaryIsSuperseded
    /// A diskless primary is known by its record, not by a disk that was there for a moment.
    case disklessActsUnderItsRecord
    /// A node without a disk is not served by a copy that lacks what it wrote.
    case disklessKnowsItsLine
    /// A record without a primary that is being filled keeps naming it.
    case servedStaysNamed
    /// Whoever acknowledges beside another copy is named by the record.
    case whoServesIsNamed
    // MARK: With voters, F1
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
    // MARK: With voters, F2
    /// A record that is not chosen yet lets nobody go whom the one before it required.
    case undecidedLetsNobodyGo
    /// A record is chosen by a majority of its voters.
    case majorityChooses
    /// While a record that loses a member is undecided nothing is acknowledged.
    case changeHoldsReplies
    // MARK: With voters, F3
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
    // MARK: With voters, F4
    /// A copy that lost its cache does not stay in step with a new primary.
    case suspectIsNotKept
    /// A copy that lost its cache is not promoted while a member may hold what it lost.
    case suspectIsNotElected
    // MARK: With voters, F5
    /// A voter flushes what it has before it answers.
    case flushBeforeVote
    /// A candidate flushes what it has before it asks for votes.
    case candidateFlushes
    // MARK: With voters, F7
    /// A disk or a memory made anew counts for nobody until a record names it.
    case newInstanceIsNobody
    /// A disk made anew does not vouch for what the copy before it held.
    case newDiskIsNoMember
    // MARK: With voters, F8
    /// With quorum the newest record decides who is source.
    case recordDecidesSource
    // MARK: With voters, F11
    /// Who joins takes over what its source has marked toward those that stay out.
    case joinTakesMarks
    /// Who joins takes over its source's bases.
    case joinTakesBases
    /// Who is left out marks toward everybody what it had not heard confirmed.
    case outsiderMarks
    /// A copy that is being filled marks what it is sent toward the other members, too.
    case targetMarksTowardMembers
    // MARK: With voters, F13
    /// The writes of the old term have ended when a voter answers.
    case writesEndBeforeVote
    /// Frames of a term below the promise are refused.
    case olderTermHasNoRight
    // MARK: With voters, F15
    /// What a member with no older record remembers of a copy's numbers counts, and nothing else.
    case membersRememberNumbers
    /// A copy that was put back as it was says so until it is filled to the end, whoever fills it.
    case rolledBackUntilJoin
    /// A copy that knows that it was put back as it was has no vote.
    case rolledBackHasNoVote
    // MARK: With voters, F16
    /// Who is promoted by force is the only voter of the new line.
    case forceVotesAlone
    // MARK: With voters, F18
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
    /// A candidate gives no lease.
    case candidateGivesNoLease
    /// A successor waits for the old primary's lease.
    case successorWaits
    /// A node that was started waits as if it had given a lease just before.
    case startCountsAsPong
    // MARK: With voters, F19
    /// A candidate asks without effect first.
    case askedBeforePromise
    /// An answer is one to the present question, not to that of a former candidacy.
    case answersAreToThisQuestion
    /// A voter that heard a primary within a lease objects.
    case heardPrimaryObjects
    /// A primary tells the voters that it serves from now on.
    case servingIsTold
    /// A primary that hears of a higher promise wins its term again.
    case primaryWinsAgain
    /// A newer record that names another primary deposes one.
    case newerRecordDeposes
    /// A candidate that hears of a higher term begins anew.
    case higherTermEndsAttempt
    /// Who voted for another waits before it is a candidate itself.
    case candidatesGiveWay
    // MARK: With voters, F20
    /// Who has no disk keeps one of the members that may differ.
    case disklessKeepsOne
    /// A primary whose disk fails before all is settled goes on with one member.
    case leaverKeepsOne
    /// Who has no disk founds no volume.
    case disklessFoundsNothing
    /// A primary whose disk goes leaves the volume to members of its record, not to who is about to join.
    case heirIsMember
    /// A record that a member of a primary without a disk has is not chosen by that.
    case carriersRecordIsNotChosen
    /// A primary without a disk fails no write that it sent.
    case disklessFailsNoWrite
    // MARK: With voters, F21
    /// One voter is added or taken away by each record.
    case oneVoterAtATime
    /// A record needs a majority of the voters before it, too.
    case formerVotersChoose
    /// The vote of a memory that was replaced goes before the new one's comes.
    case oldVoteGoesFirst
    /// All nodes of the configuration are voters of the first record.
    case configuredNodesVoteFirst
    /// All first records of a volume are of one line.
    case firstRecordsAreOfOneLine
    // MARK: With voters, section 2
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
    // MARK: With voters, found by seeds
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
    // MARK: Fencing
    /// Nobody is left behind under `fencing: stonith` before it was fenced.
    case fencedBeforeLeft
    /// What is acknowledged without one that is heard waits until it says itself that it is out of step.
    case heardBeforeLeft
    /// Who is promoted without its peer fences it first.
    case fencedBeforePromoted
    /// A fence command's answer counts for the absence that it was asked for.
    case fencedForOneAbsence
    // MARK: Memory and async
    /// A flush that a client was told of lies between the writes on an asynchronous link.
    case flushIsBetween
    /// What is held counts as incomplete.
    case heldIsNotConfirmed
    /// What is held is sent again after a blip.
    case heldIsSentAgain
    /// No write begins while the send buffer is full.
    case sendBufferIsBounded
    /// A flush in `memory` waits until what was answered is on the peer's disk.
    case flushWaitsForHeld
    /// A join waits for what is held.
    case joinWaitsForHeld
    /// A demotion waits for what is held.
    case demotionDrainsHeld
    /// A disk is left when its heir has what is held.
    case leaverDrainsHeld
    /// A restart in `memory` makes suspect.
    case memoryMakesSuspect
    /// What was received in memory is written though the session ended.
    case receivedIsWritten
    /// What came is on disk before a promotion.
    case framesEndBeforePromotion
    /// An asynchronous primary that crashed is the source.
    case crashedPrimaryLeads
    /// What an asynchronous primary may have acknowledged is given up on a word only.
    case lossIsAccepted
}

#if Mutants
    extension Mutant: CaseIterable {}
#endif
