#if Mutants
    /// The rule that this process leaves out: in one of the five at most. Set once, before the first replica is made.
    private struct LeftOut {
        var own: Mutant?
        var voting: VotingMutant?
        var fencing: FencingMutant?
        var mode: ModeMutant?
        var growth: GrowthMutant?
    }

    nonisolated(unsafe) private var leftOut = LeftOut()

    /// Every replica of this process leaves the rule called `name` out from now on. False: there is no such rule.
    package func leaveOut(_ name: String) -> Bool {
        leftOut.own = Mutant.allCases.first { "\($0)" == name }
        leftOut.voting = VotingMutant.allCases.first { "\($0)" == name }
        leftOut.fencing = FencingMutant.allCases.first { "\($0)" == name }
        leftOut.mode = ModeMutant.allCases.first { "\($0)" == name }
        leftOut.growth = GrowthMutant.allCases.first { "\($0)" == name }
        return leftOut.own != nil || leftOut.voting != nil || leftOut.fencing != nil || leftOut.mode != nil
            || leftOut.growth != nil
    }

    /// What can be left out, by name; why each rule is there: its execution in the reasons of the protocol (F and a number, or a
    /// point of section 2), or what others shipped without it; and the clusters whose seeds show that it is missing.
    package var rulesOfMutants: [(name: String, rule: String, clusters: String)] {
        Mutant.allCases.map { ("\($0)", $0.rule, Mutant.clusters) }
            + VotingMutant.allCases.map { ("\($0)", $0.rule, VotingMutant.clusters) }
            + FencingMutant.allCases.map { ("\($0)", $0.rule, FencingMutant.clusters) }
            + ModeMutant.allCases.map { ("\($0)", $0.rule, $0.clusters) }
            + GrowthMutant.allCases.map { ("\($0)", $0.rule, GrowthMutant.clusters) }
    }

    @inline(__always) func isLeftOut(_ rule: Mutant) -> Bool { leftOut.own == rule }
    @inline(__always) func isLeftOut(_ rule: VotingMutant) -> Bool { leftOut.voting == rule }
    @inline(__always) func isLeftOut(_ rule: FencingMutant) -> Bool { leftOut.fencing == rule }
    @inline(__always) func isLeftOut(_ rule: ModeMutant) -> Bool { leftOut.mode == rule }
    @inline(__always) func isLeftOut(_ rule: GrowthMutant) -> Bool { leftOut.growth == rule }

    extension Mutant {
        fileprivate static let clusters = "two nodes"

        /// Why the rule is there.
        fileprivate var rule: String {
            switch self {
            case .workBeforeReply: "canary"
            case .recordsAreNumbered, .offeredNumbersCount, .supersededRecordYields, .termIsOnItsMakersDisk: "F1"
            case .requiredBeforeJoin, .joinHoldsWrites: "F2"
            case .settledBeforeRead: "F3"
            case .powerLossMakesSuspect, .suspectIsNotPromoted: "F4"
            case .suspectIsTarget, .suspectIsFilledByOutdated: "F4, F10"
            case .flushBeforeRecord, .flushBeforeAccepting, .lostRecordIsTakenBack: "F5"
            case .inconsistentBeforeResync, .excludedBeforeResync: "F6"
            case .sourceIsWholeInStep, .promotedIsWholeInStep, .givenAwayMakesSource, .outdatedByMistakeIsSource: "F6"
            case .fullCopyKnowsInstance, .marksKnowInstance, .instanceBeforeMarksGo: "F7"
            case .goesOnOnlyForReplies, .lineKeepsGenerations, .zeroEndsWithRecord, .idleSourceKeepsTarget: "F8"
            case .splitBrainStops: "F8, F16"
            case .requiredDecidesGeneration, .generationForLostMember: "F9"
            case .primaryLeads: "F10"
            case .sourceAddsItsMarks, .targetAddsItsMarks, .receiverMarksAbsent, .receiverKeepsUnconfirmed: "F11"
            case .marksReachBack, .targetAddsUnconfirmed, .sentAgainIsMarked: "F11"
            case .targetFlushClearsMarks, .targetFlushesBeforeTelling, .sourceFlushClearsMarks: "F12"
            case .flushCoversDonePulls, .flushCoversDoneFrames, .laterFramesKeepMarks: "F12"
            case .oldWritesEndFirst, .onlyLiveSession: "F13"
            case .rollbackIsNoticed, .rollbackIsRemembered, .disklessRemembersNumbers, .putBackIsKeptInMind,
                .putBackOutbids:
                "F15"
            case .forceBeginsLineage: "F16"
            case .termAboveBoth: "F17"
            case .pauseMakesDoubt, .pausedNewsIsOld: "F18"
            case .primaryRefusesCandidates, .higherCandidateYields, .restartIsNoLoss: "F19"
            case .failedDiskLeavesBeforeReply, .leavingPrimaryIsNamed, .undecidedLeaveIsReplaced: "F20"
            case .secondaryMakesRoom, .spilledIsMarked: "F22"
            case .readsWaitForWrites: "F23"
            case .trimReplicated: "F25"
            case .secondaryLogs: "2.2"
            case .primaryIsNotOverwritten: "2.8"
            case .flushBeginsAfterRequest, .flushAtPeer, .flushHere, .forcedWaitsForFlush: "2.5"
            case .pagesBeforeReuse: "2.6"
            case .demotionDrains, .demotionConfirms: "2.9"
            default: history
            }
        }

        /// What others shipped without it.
        private var history: String {
            switch self {
            case .diskBeforeReply, .peerBeforeReply, .diskBeforePeerAnswers: "early acknowledgement"
            case .recordBeforeReply, .repliesHeldAtLoss: "reply before the record"
            case .flushBeforeAnswer: "flush answered before it is done"
            case .flushCoversOnlyEarlier: "flush shared too late"
            case .failedFlushIsFinal, .failedFlushMakesSuspect: "retried fsync"
            case .marksSurviveConnect, .equalIDsProveNothing: "bits cleared at connect"
            case .absentIsMarked, .unconfirmedMarkedAtLoss, .primaryKeepsUnconfirmed: "marks toward an absent peer"
            case .confirmOnlyComplete, .primariesNumberApart, .sentEndsWithSession: "confirmed too early"
            case .epochConfirmsMore, .unreadableIsAskedLater: "busy for nothing"
            case .resyncEndsUnmarked: "resync declared ended too early"
            case .resyncLocksRanges, .filledPrimaryLocksRanges: "resync against writes"
            case .fullCopyMarksAll: "full copy interrupted"
            case .logBeforeWrite: "activity log not awaited"
            case .logIsReplayed, .replayIsFlushed: "activity log not replayed"
            case .cleanEndsAtStart, .pagesBeforeClean, .stopMarksUnconfirmed: "clean by mistake"
            case .pageWrittenAgain: "bitmap page changed while written"
            case .bothCopiesAreWritten, .detachAwaitsSuperblock: "stale superblock copy"
            case .superblockIsAwaited: "said before it is durable"
            case .olderRecordHasNoRight: "deposed primary"
            case .resumesSameRun, .unansweredIsSentAgain, .carrierGetsAllAgain, .attachEndsResume:
                "resume after a restart"
            case .givenUpMeansHandshake: "given-up writes"
            case .overlappingWritesWait: "overlap not held"
            case .bufferKeptUntilWritten: "buffer released early"
            case .readsNeedStep: "read from a stale copy"
            case .behindSaysOutdated, .attachedSaysOutdated: "stale copy chosen"
            case .discardEndsWithCommand: "discard of the wrong copy"
            case .joinIsHeardFirst: "promotion between two records"
            case .recordFitsDisk: "hostile peer"
            case .servedStaysNamed, .disklessKnowsItsLine, .disklessActsUnderItsRecord: "diskless primary"
            case .servedTakesNoOtherLine, .filledPrimaryIsSuperseded, .lostReadsAreAskedAgain: "diskless primary"
            case .whoServesIsNamed: "suspect copy promoted"
            case .compareLocksRange: "verify: false alarms"
            case .findingsAreKept, .earlierFindingsStay: "verify: what is found stays known"
            default: ""
            }
        }
    }

    extension VotingMutant {
        fileprivate static let clusters = "quorum"

        /// Why the rule is there.
        fileprivate var rule: String {
            switch self {
            case .newestRecordCounts, .refutedRecordIsNone, .votesRise, .votedRecordsAreNumbered,
                .olderTermMakesNoRecord:
                "F1"
            case .undecidedLetsNobodyGo, .majorityChooses, .changeHoldsReplies: "F2"
            case .onlyWhoAnsweredIsKept, .unconfirmedIsSettled, .votersUnconfirmedIsSettled, .ownUnconfirmedIsSettled,
                .unsettledIsNotServed, .settledForRecordAtHand:
                "F3"
            case .suspectIsNotKept, .suspectIsNotElected: "F4"
            case .flushBeforeVote, .candidateFlushes: "F5"
            case .newInstanceIsNobody, .newDiskIsNoMember: "F7"
            case .recordDecidesSource: "F8"
            case .joinTakesMarks, .joinTakesBases, .outsiderMarks, .targetMarksTowardMembers, .departedIsUnknown,
                .newBitmapIsWritten, .firstRecordForgetsMarks:
                "F11"
            case .writesEndBeforeVote, .olderTermHasNoRight: "F13"
            case .membersRememberNumbers, .rolledBackUntilJoin, .rolledBackHasNoVote, .putBackTwiceBeginsAnew,
                .forgottenTermTells, .forcedGuestIsJudged:
                "F15"
            case .forceVotesAlone, .forcedHalfFillsAll, .offerWaitsForLeader, .secondVoterAcceptsFirst,
                .linesHaveTheirTerms:
                "F16"
            case .leaseBeginsWithPing, .readsNeedLease, .repliesNeedLease, .leaseOfEachMember, .readsNeedTheTerm,
                .repliesNeedTheTerm, .confirmedReadsAsk, .promiseEndsLease, .candidateGivesNoLease, .successorWaits,
                .startCountsAsPong, .disklessWaitsForMembers, .recordCountsAsPong:
                "F18"
            case .askedBeforePromise, .answersAreToThisQuestion, .latePrimaryIsHeeded, .heardPrimaryObjects,
                .servingIsTold, .waitingOneObjects,
                .primaryWinsAgain, .newerRecordDeposes, .higherTermEndsAttempt, .candidatesGiveWay:
                "F19"
            case .disklessKeepsOne, .leaverKeepsOne, .disklessFoundsNothing, .heirIsMember, .carriersRecordIsNotChosen,
                .disklessOffersVolume,
                .disklessFailsNoWrite:
                "F20"
            case .oneVoterAtATime, .formerVotersChoose, .oldVoteGoesFirst, .configuredNodesVoteFirst,
                .firstRecordsAreOfOneLine, .departedIsLetGo, .departedVoteGoesToo, .restHasVotes:
                "F21"
            case .membersChoose: "2.1"
            case .candidatePromises, .promiseIsKept, .promiseBeforeVote: "rule 0"
            case .handOverIsStable, .takenHandOverIsFlushed, .joinConfirmsNothing: "2.9, F4"
            case .keeperWaitsFirst: "keeper"
            case .failedIsUnsettled, .outdatedVoterHasNoSay, .offeredAgain, .undecidedEstablishesNobody,
                .acceptanceComesFirst, .stuckCandidacyEnds, .metAnewByPrimary, .deposedSettlesNothing,
                .followerFillsNobody, .givenUpFillsNobody, .detachAwaitsCandidacy,
                .giverKeepsNothing:
                "found by seeds"
            }
        }
    }

    extension FencingMutant {
        fileprivate static let clusters = "fencing"

        /// Why the rule is there.
        fileprivate var rule: String {
            switch self {
            case .fencedBeforeLeft, .heardBeforeLeft, .targetSaysOutdated, .fencedBeforePromoted, .fencedForOneAbsence:
                "fencing"
            }
        }
    }

    extension ModeMutant {
        /// Whose seeds show it.
        fileprivate var clusters: String {
            switch self {
            case .laggardNeedsWord, .lossNeedsFormerOff, .lossKeepsNobody, .lossWaitsALease, .unfinishedLossIsAsked,
                .unfinishedCarriesNobody,
                .laggingIsDurable, .laggardsAreFilled, .disklessKeepsHolders, .keeperHoldsAll, .holdersVouch,
                .laggardsGiveNoLease, .arrivalsEndBeforePromise, .nearMembersFlush, .flushWaitsForNear,
                .laggardsHoldNoExtent, .disklessReadsFromLevel, .disklessWaitsForAll, .pulledIsMarked,
                .confirmedIsToldAgain, .laggardsAnswerInTime, .recordGoesFirst, .laggardsAskToBeFilled,
                .modeComesWithNode, .leaverDrainsHeld:
                "mixed"
            default: "modes"
            }
        }

        /// Why the rule is there.
        fileprivate var rule: String {
            switch self {
            case .flushIsBetween: "F24"
            case .discardedIsKept: "discarded-data: keep"
            case .keepingHoldsDisk: "discarded-data: keep, detach"
            case .heldIsNotConfirmed, .heldIsSentAgain, .joinWaitsForHeld: "F6, F12"
            case .memoryMakesSuspect, .receivedIsWritten, .framesEndBeforePromotion, .flushWaitsForHeld,
                .knownIsNotWritten:
                "F4, F14"
            case .crashedPrimaryLeads, .lossIsAccepted: "F10, F24"
            case .sendBufferIsBounded, .demotionDrainsHeld, .leaverDrainsHeld: "async"
            case .digestBehindFrames: "verify: false alarms"
            case .laggardNeedsWord, .lossKeepsNobody, .unfinishedLossIsAsked, .unfinishedCarriesNobody,
                .laggingIsDurable, .keeperHoldsAll:
                "F24"
            case .lossNeedsFormerOff, .lossWaitsALease, .laggardsGiveNoLease: "F18, F24"
            case .laggardsAreFilled: "I10"
            case .disklessKeepsHolders, .disklessReadsFromLevel, .disklessWaitsForAll: "F20"
            case .pulledIsMarked: "F11"
            case .holdersVouch: "F4"
            case .arrivalsEndBeforePromise: "F13"
            case .nearMembersFlush: "2.5"
            case .flushWaitsForNear, .laggardsHoldNoExtent, .laggardsAnswerInTime, .recordGoesFirst: "async"
            case .confirmedIsToldAgain: "liveness"
            case .modeComesWithNode: "F24"
            case .laggardsAskToBeFilled: "F17"
            }
        }
    }

    extension GrowthMutant {
        fileprivate static let clusters = "growth"

        /// Why the rule is there.
        fileprivate var rule: String {
            switch self {
            case .tooSmallMayGrow: "resize: a copy that was away"
            case .growsWithAll, .sizeIsChosen, .roomIsMadeFirst: "resize: a size on which not all agree"
            case .newPartIsZeroed, .newPartIsFlushed, .unnamedIsUnknown: "resize: what copies hold in the new part"
            case .movedMetadataRests: "resize: metadata written where it was"
            case .putBackIsSaidFirst: "F15"
            case .growthIsAnswered: "resize: a disk that hangs"
            }
        }
    }
#else
    @inline(__always) func isLeftOut(_ rule: Mutant) -> Bool { false }
    @inline(__always) func isLeftOut(_ rule: VotingMutant) -> Bool { false }
    @inline(__always) func isLeftOut(_ rule: FencingMutant) -> Bool { false }
    @inline(__always) func isLeftOut(_ rule: ModeMutant) -> Bool { false }
    @inline(__always) func isLeftOut(_ rule: GrowthMutant) -> Bool { false }
#endif
