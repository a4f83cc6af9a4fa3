/// The rules of fencing without quorum that can be left out (`Mutant`).
enum FencingMutant {
    /// Nobody is left behind under `fencing: stonith` before it was fenced.
    case fencedBeforeLeft
    /// What is acknowledged without one that is heard waits until it says itself that it is out of step.
    case heardBeforeLeft
    /// Who is promoted without its peer fences it first.
    case fencedBeforePromoted
    /// A fence command's answer counts for the absence that it was asked for.
    case fencedForOneAbsence
}

#if Mutants
    extension FencingMutant: CaseIterable {}
#endif
