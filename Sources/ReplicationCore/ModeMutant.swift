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
}

#if Mutants
    extension ModeMutant: CaseIterable {}
#endif
