/// What is done to keep blocks aside that this copy gives away (`discarded-data: keep`), one step at a time.
package enum KeepingStep: Equatable, Sendable {
    /// For that peer's data, by a copy of that generation; so many bytes may follow.
    case begin(NodeID, Generation, bytes: UInt64)
    /// These blocks as the disk has them now; `mostRuns` and `mostBlocks` at most.
    case copy([BlockRun])
    /// All were copied: they are stable, under their name, when that is answered.
    case end
    /// They are not wanted any more. Answered by nothing.
    case leaveOff

    package static let mostRuns = 256
    package static let mostBlocks: UInt64 = 4096
}
