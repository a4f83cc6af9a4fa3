import Formats
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
        withUnsafeTemporaryAllocation(byteCount: 128 << 10, alignment: 16) { bytes in
            var writer = FieldWriter(bytes, compact: true)
            var recollection = Recollection(time: 0, stamp: nil)
            writer.effect(effect, image: image, &recollection)
            return Array(writer.written)
        }
    }
}

/// What a recording holds, in order.
package enum RecordedItem: Sendable {
    /// `isWhole`: its metadata are there; else it cannot be executed again.
    case start(RecordedStart, isWhole: Bool, decisions: [RecordedDecision])
    case event(RecordedEvent)
    /// Events that the ring has lost.
    case missing(events: UInt64)
    /// A chunk that does not verify; what it held is missing.
    case damaged(String)
}
