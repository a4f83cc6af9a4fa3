/// What a copy says when it is asked for room (`resize`).
package struct RoomAnswer: Equatable, Sendable {
    package enum Word: UInt8, Sendable, CaseIterable {
        /// `bytes` is what its disk can hold.
        case has = 1
        /// The same; a larger disk would not help, because its metadata has no room for more.
        case hasMetadata = 2
        /// The same; the disk is larger, but not by enough to move the metadata behind the data.
        case hasUnmoved = 3
        /// The same; a larger volume's bitmaps would be moved over each other, and that would take too long while it is in use.
        case hasTooMuch = 7
        /// There is room for what was asked for, and zeroes, and both are durable.
        case made = 4
        /// The disk refused.
        case failed = 5
        /// It is no copy in step that follows the asker, or is at work on another wish.
        case notNow = 6
    }

    package var word: Word
    /// Whole blocks.
    package var bytes: UInt64

    package init(_ word: Word, bytes: UInt64 = 0) {
        self.word = word
        self.bytes = bytes
    }
}

/// What came of moving a copy's metadata to make room (`Effect.growDisk`).
package enum GrowOutcome: UInt8, Sendable, CaseIterable {
    case done = 0
    /// All is as it was.
    case unchanged = 1
    /// What the metadata is nobody knows.
    case failed = 2
}
