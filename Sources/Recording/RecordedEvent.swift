package import Model
package import ReplicationCore

/// An event with when it came, and what was decided on it.
package struct RecordedEvent: Sendable {
    package enum Kind: Sendable {
        case event(Event)
        /// An `attach` whose metadata are not in the recording.
        case attachedUnknown(CommandID)
    }

    /// The how-manieth of its run, from 1 on.
    package var number: UInt64
    package var time: MonotonicTime
    package var kind: Kind
    package var decisions: [RecordedDecision]
}

package struct RecordedDecision: Sendable {
    package var effect: Effect
    /// `imageChecksum` of a metadata write; zero for all others.
    package var image: UInt32

    package init(effect: Effect, image: UInt32) {
        self.effect = effect
        self.image = image
    }

    /// The bytes that stand for it: equal decisions have equal ones.
    package var code: [UInt8] {
        withUnsafeTemporaryAllocation(byteCount: Recorder.scratchLength, alignment: 16) { bytes in
            var writer = RecordWriter(bytes, from: 0)
            var recollection = Recollection(time: 0)
            writer.effect(effect, image: { image }, &recollection)
            return Array(bytes[..<writer.count])
        }
    }
}

/// What a recording holds, in order.
package enum RecordedItem: Sendable {
    /// `isWhole`: its metadata are there; else it cannot be executed again.
    case start(RecordedStart, isWhole: Bool, decisions: [RecordedDecision])
    case event(RecordedEvent)
    /// Events that the ring has lost, and maybe decisions of the one before.
    case missing(events: UInt64)
    /// A chunk that does not verify; what it held is missing.
    case damaged(String)
}
