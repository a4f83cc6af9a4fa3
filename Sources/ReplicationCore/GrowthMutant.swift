/// The rules of growing a volume that can be left out (`Mutant`).
enum GrowthMutant {
    /// Each copy has zeroes in the new part before a record names the new size.
    case newPartIsZeroed
    /// They are stable before it says so.
    case newPartIsFlushed
    /// All copies are asked, and one that is away keeps the volume from growing.
    case growsWithAll
    /// Clients are offered the new size when its record is chosen.
    case sizeIsChosen
    /// A copy that is at work on its room takes no larger record.
    case roomIsMadeFirst
    /// A copy that a larger record does not name is filled from the beginning.
    case unnamedIsUnknown
    /// One whose volume grew while it was away makes room for it.
    case tooSmallMayGrow
    /// A member that does not take the record of the new size is cut off.
    case growthIsAnswered
    /// One that was put back to before it grew says so before it makes room.
    case putBackIsSaidFirst
    /// The log and the bitmaps stand still while they are moved.
    case movedMetadataRests
}

#if Mutants
    extension GrowthMutant: CaseIterable {}
#endif
