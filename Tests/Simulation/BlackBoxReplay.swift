import Model
package import Recording
import ReplicationCore

extension Replica {
    /// As a process began.
    init(_ start: RecordedStart, deciding effects: inout EffectQueue) {
        self.init(
            configuration: start.configuration, run: start.run, seed: start.seed, wallClock: start.wallClock,
            metadata: start.metadata, at: start.time, deciding: &effects)
    }
}

/// What a black box came to.
package struct BlackBoxOutcome: Sendable {
    package var events: UInt64 = 0
    /// Of them, those that the core of this build was given again, and decided on in the same way.
    package var replayed: UInt64 = 0
    /// Nanoseconds between the first event and the last.
    package var span: UInt64 = 0
    package var missing: UInt64 = 0
    package var damages = 0
    /// What differed first.
    package var divergence: String?
    /// Why the rest was shown only; nil when all was replayed.
    package var transcriptBecause: String?

    package init() {}

    /// 0: nothing differed; 1: a decision did; 65: damaged.
    package var exitCode: Int32 { divergence != nil ? 1 : damages > 0 ? 65 : 0 }
}

/// Shows a daemon's black box, a line for each event and decision, and for as long as the recording is whole lets the
/// core of this build handle each event again: the first decision that differs is shown at its event, and so is a trap,
/// which ends this process as it ended the daemon.
package struct BlackBoxReplay {
    private var reader: RecordingReader
    private let say: (String) -> Void
    private let place: String
    private let began: UInt64
    private var replica: Replica?
    private var effects = EffectQueue(capacity: 256)
    private var outcome = BlackBoxOutcome()
    private var firstTime: UInt64?
    private var itemsToSkip: Int

    /// - Parameter last: show only so many items (events with their decisions); all are replayed.
    package init(_ reader: RecordingReader, last: Int? = nil, say: @escaping (String) -> Void) {
        self.reader = reader
        self.say = say
        place = "node \(reader.head.node.rawValue)"
        began = reader.head.startedAtMonotonic.nanoseconds
        itemsToSkip = 0
        guard let last else { return }
        // Counted before: what is shown is shown at once, so that a trap takes no line with it.
        var counting = reader
        var count = 0
        while counting.next() != nil { count += 1 }
        itemsToSkip = max(0, count - last)
    }

    package mutating func run() -> BlackBoxOutcome {
        var upcoming = reader.next()
        while let item = upcoming {
            upcoming = reader.next()
            show(item, isCut: isCut(before: upcoming))
            if itemsToSkip > 0 { itemsToSkip -= 1 }
        }
        return outcome
    }

    /// Decisions of what came before may be missing: of a process that was killed in the middle of them, or lost.
    private func isCut(before upcoming: RecordedItem?) -> Bool {
        switch upcoming {
        case .missing, .damaged: true
        case .start, .event: false
        case nil: !reader.endedInOrder
        }
    }

    private mutating func show(_ item: RecordedItem, isCut: Bool) {
        switch item {
        case .start(let start, let isWhole, let decisions): begin(start, isWhole, decisions, isCut)
        case .event(let event): happened(event, isCut)
        case .missing(let events):
            outcome.missing += events
            line(nil, "gap", "\(events) events are not in the recording any more")
            stopReplaying("the ring went round: what is between the beginning and the newest events is lost")
        case .damaged(let what):
            outcome.damages += 1
            line(nil, "damage", what)
            stopReplaying("the recording is damaged")
        }
    }

    private mutating func begin(
        _ start: RecordedStart, _ isWhole: Bool, _ decisions: [RecordedDecision], _ isCut: Bool
    ) {
        let found = start.metadata.map {
            "\(TraceText.of($0.superblock.record)) required \($0.superblock.required) current "
                + "\(TraceText.short($0.superblock.current.id)) flags \($0.superblock.flags.rawValue) hot "
                + "\($0.log.table.compactMap { $0 })"
        }
        line(start.time.nanoseconds, "start", found ?? (isWhole ? "without a disk" : "metadata not recorded"))
        guard isWhole else {
            stopReplaying("the metadata found at the start were too large for it")
            return told(decisions, start.time.nanoseconds)
        }
        replica = Replica(start, deciding: &effects)
        compare(decisions, at: start.time.nanoseconds, number: 0, isCut)
    }

    private mutating func happened(_ event: RecordedEvent, _ isCut: Bool) {
        outcome.events += 1
        let time = event.time.nanoseconds
        firstTime = firstTime ?? time
        outcome.span = time &- (firstTime ?? time)
        switch event.kind {
        case .attachedUnknown(let id):
            line(time, "event", "attached command \(id.rawValue), its metadata not recorded")
            stopReplaying("the metadata found at an attach were too large for it")
            told(event.decisions, time)
        case .event(let what):
            // Before it is handled: of a trap this is the last line.
            line(time, "event", TraceText.of(what))
            guard replica != nil else { return told(event.decisions, time) }
            replica?.handle(what, at: event.time, deciding: &effects)
            compare(event.decisions, at: time, number: event.number, isCut)
        }
    }

    /// Decisions of now beside those of then.
    private mutating func compare(
        _ recorded: [RecordedDecision], at time: UInt64, number: UInt64, _ isCut: Bool
    ) {
        var present: [RecordedDecision] = []
        while let effect = effects.popFirst() {
            present.append(RecordedDecision(effect: effect, image: replica?.imageChecksum(of: effect) ?? 0))
        }
        var index = 0
        while index < recorded.count, index < present.count, recorded[index].code == present[index].code {
            index += 1
        }
        told(Array(recorded[..<index]), time)
        if index == recorded.count, index == present.count || isCut {
            if index < present.count {
                line(time, "cut", "the recording ends here within what was decided; the core of this build decides:")
                told(Array(present[index...]), time, "replay")
            }
            outcome.replayed += number > 0 ? 1 : 0
            return
        }
        told(Array(recorded[index...]), time)
        told(Array(present[index...]), time, "REPLAY")
        let then = index < recorded.count ? Self.text(recorded[index]) : "nothing more"
        let now = index < present.count ? Self.text(present[index]) : "nothing more"
        outcome.divergence = "\(number == 0 ? "start" : "event \(number)"): recorded `\(then)`, replayed `\(now)`"
        line(time, "differ", "recorded `\(then)`, replayed `\(now)`")
        stopReplaying("a decision differed")
    }

    private mutating func stopReplaying(_ why: String) {
        outcome.transcriptBecause = outcome.transcriptBecause ?? why
        replica = nil
    }

    private func told(_ decisions: [RecordedDecision], _ time: UInt64, _ kind: String = "effect") {
        for decision in decisions { line(time, kind, Self.text(decision)) }
    }

    private static func text(_ decision: RecordedDecision) -> String {
        let image = decision.image == 0 ? "" : " (image \(String(decision.image, radix: 16)))"
        return TraceText.of(decision.effect) + image
    }

    private func line(_ time: UInt64?, _ kind: String, _ text: @autoclosure () -> String) {
        guard itemsToSkip == 0 else { return }
        let since = time.map { $0 > began ? $0 - began : 0 } ?? outcome.span
        say(TraceText.line(since, place, kind, text()))
    }
}
