/// The rules of `memory` and `async` that can be left out (`Mutant`).
enum ModeMutant {
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
    /// What is sent again, and was written before the connection broke, is not written over what came after it.
    case knownIsNotWritten
    /// What came is on disk before a promotion.
    case framesEndBeforePromotion
    /// An asynchronous primary that crashed is the source.
    case crashedPrimaryLeads
    /// What an asynchronous primary may have acknowledged is given up on a word only.
    case lossIsAccepted
    /// A peer reads what is compared behind the frames that it was sent.
    case digestBehindFrames

    /// What is given up is kept aside first, where that is asked for.
    case discardedIsKept
    /// The disk is let go of behind what is read of it for that.
    case keepingHoldsDisk

    // Beside a majority.

    /// A copy that may lack what was acknowledged is not elected without a word.
    case laggardNeedsWord
    /// Nor on that word while the former primary may serve.
    case lossNeedsFormerOff
    /// A promotion on that word goes on with this copy alone.
    case lossKeepsNobody
    /// It waits for a lease that others may have given.
    case lossWaitsALease
    /// One that did not come to serve needs the word again.
    case unfinishedLossIsAsked
    /// Nor does it carry a primary without a disk before that.
    case unfinishedCarriesNobody
    /// That a copy lags is durable.
    case laggingIsDurable
    /// Where something is to be settled an asynchronous copy is left out, and filled.
    case laggardsAreFilled
    /// A primary without a disk goes on with those that hold everything.
    case disklessKeepsHolders
    /// A keeper holds everything.
    case keeperHoldsAll
    /// Only a copy that holds everything vouches for one that lost its cache.
    case holdersVouch
    /// Answers rest on no lease of an asynchronous copy.
    case laggardsGiveNoLease
    /// A promise waits for frames that lie behind a flush.
    case arrivalsEndBeforePromise
    /// A flush waits for the members that writes wait for.
    case nearMembersFlush
    /// And for these alone.
    case flushWaitsForNear
    /// What an asynchronous copy lacks holds no extent of the log.
    case laggardsHoldNoExtent
    /// A primary without a disk reads from a copy that has all that was answered.
    case disklessReadsFromLevel
    /// Under a record of a primary without a disk each member holds everything.
    case disklessWaitsForAll
    /// What fills a copy is marked toward those that may lack it.
    case pulledIsMarked
    /// What was confirmed is said again in a session that goes on with the one before.
    case confirmedIsToldAgain
    /// A record goes on without an asynchronous copy that does not answer in time.
    case laggardsAnswerInTime
    /// It does not lie behind what is on its way to such a copy.
    case recordGoesFirst
    /// A lagging copy is filled without a primary only when it means to serve.
    case laggardsAskToBeFilled
    /// A node that is taken in again by another mode goes by that.
    case modeComesWithNode
}

#if Mutants
    extension ModeMutant: CaseIterable {}
#endif
