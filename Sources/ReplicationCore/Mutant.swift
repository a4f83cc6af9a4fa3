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
    /// What showed that a copy was put back is kept until everything is marked for it.
    case putBackIsKeptInMind
    /// A copy that hears that it was put back raises its numbers above the remembered ones.
    case putBackOutbids
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
    /// A range that is compared is locked against writes.
    case compareLocksRange
    /// What a comparison finds is kept when it finds it, not only when it ends.
    case findingsAreKept
    /// One that did not go through keeps what an earlier one found behind.
    case earlierFindingsStay
}

#if Mutants
    extension Mutant: CaseIterable {}
#endif
