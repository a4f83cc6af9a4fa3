/// The rules of fencing without quorum that can be left out (`Mutant`).
enum FencingMutant {
    /// Nobody is left behind under `fencing: stonith` before it was fenced.
    case fencedBeforeLeft
    /// One that is heard is left out when it has said itself that it is out of step.
    case heardBeforeLeft
    /// Who is to be filled by a primary that fences says so at once.
    case targetSaysOutdated
    /// Who is promoted without its peer fences it first.
    case fencedBeforePromoted
    /// A fence command's answer counts for the absence that it was asked for.
    case fencedForOneAbsence
}

#if Mutants
    extension FencingMutant: CaseIterable {}
#endif
