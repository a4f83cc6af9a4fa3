import Formats
package import LinuxIO
package import Model
package import ReplicationCore
import Synchronization

/// Performs a `DiskMove` on a thread of its own: of a large volume it is gigabytes, and all else is to go on meanwhile.
package final class DiskMover {
    /// What the thread was given.
    package enum Task { case preparing, ending, marking }

    private let machine: Machine
    private var thread: SideThread<DiskMoved>?
    private var tasks: [(serial: UInt64, task: Task)] = []
    private var serial: UInt64 = 0
    /// Being prepared, or prepared.
    private(set) var move: DiskMove?
    /// Nobody may write metadata before it has ended.
    private(set) var isPrepared = false
    private var leavesOff = LeaveOff()
    /// How often pages that were written meanwhile were copied once more.
    private var rounds = 0
    var marks = EndMarks()

    /// The disk is let go of when no mark is on its way any more, and then these commands end.
    package private(set) var isReleasing = false
    private var answers: [(id: CommandID, outcome: CommandOutcome)] = []

    private static let mostRounds = 8
    private static let fewPages = 512

    package init(machine: Machine) { self.machine = machine }

    var isBusy: Bool { move != nil }
    var isMarking: Bool { tasks.contains { $0.task == .marking } }

    func prepare(_ move: DiskMove, _ work: DiskMoving) {
        self.move = move
        isPrepared = false
        rounds = 0
        leavesOff = LeaveOff()
        submit(.preparing, work.leavingOff(by: leavesOff))
    }

    /// More of the preparation, as long as much is written meanwhile. - Returns: false: little enough was.
    func goesOn(_ touched: Set<DiskMove.Page>, _ work: () -> DiskMoving?) -> Bool {
        guard let move, touched.count > Self.fewPages, rounds < Self.mostRounds, var work = work() else {
            isPrepared = true
            return false
        }
        rounds += 1
        work.steps = move.again(Array(touched)) + [.flush]
        submit(.preparing, work.leavingOff(by: leavesOff))
        return true
    }

    func end(_ work: DiskMoving) { submit(.ending, work) }
    package func mark(_ work: DiskMoving) { submit(.marking, work) }

    /// Not while the thread may still write there: it would be what somebody puts there next.
    package func release(_ disk: DiskStore) {
        if isMarking { isReleasing = true } else { disk.release() }
    }

    /// Whoever hears that the disk is free may put something else there. - Returns: false: it may be told now.
    package func delays(_ id: CommandID, _ outcome: CommandOutcome) -> Bool {
        if isReleasing { answers.append((id, outcome)) }
        return isReleasing
    }

    /// - Returns: who hears of it now; nil: nobody wanted it to be let go of.
    package func releaseAfterMarks(_ disk: DiskStore) -> [(id: CommandID, outcome: CommandOutcome)]? {
        guard isReleasing else { return nil }
        defer { answers = [] }
        isReleasing = false
        disk.release()
        return answers
    }

    /// As soon as the step that it is in is done.
    func leaveOff() { leavesOff.isWanted = true }

    func forget() {
        move = nil
        isPrepared = false
    }

    private func submit(_ task: Task, _ work: DiskMoving) {
        if thread == nil {
            guard let begun = try? SideThread<DiskMoved>() else {
                preconditionFailure("a process that runs can start a thread")
            }
            thread = begun
            machine.ring.await(begun.wakeUp, token: Token(.move))
        }
        serial += 1
        tasks.append((serial, task))
        thread?.submit(serial) { work.perform() }
    }

    package func complete(_ completion: Completion) -> [(task: Task, moved: DiskMoved)] {
        guard let thread else { return [] }
        machine.ring.await(thread.wakeUp, token: completion.token)
        var done: [(task: Task, moved: DiskMoved)] = []
        while let reply = thread.nextReply(), let place = tasks.firstIndex(where: { $0.serial == reply.number }) {
            done.append((tasks.remove(at: place).task, reply.answer))
        }
        return done
    }
}

/// Whether a device ends where its metadata, or marks that tell where they are, can be found.
package struct EndMarks {
    package enum Answer: Equatable {
        case marked(UInt64)
        /// They are tried once more.
        case again
        case failed
        /// The disk that they were for is gone, and so is what befell it.
        case ofAnother
    }

    /// Where it was found to end, and all is well.
    private var seen: UInt64 = 0
    /// It is looked at now and then.
    package private(set) var nextLook: UInt64 = 0
    /// Where marks are on their way to, and of which attachment of a disk.
    private var marking: (end: UInt64, attachment: Int) = (0, 0)

    package init() {}

    package mutating func isDue(at now: UInt64) -> Bool {
        guard now >= nextLook else { return false }
        nextLook = now + 1_000_000_000
        return true
    }

    package func isNew(_ end: UInt64) -> Bool { end != seen }

    /// None are needed there.
    package mutating func noteFound(_ end: UInt64) { seen = end }

    package mutating func began(_ end: UInt64, of attachment: Int) { marking = (end, attachment) }

    package mutating func ended(_ outcome: GrowOutcome, at attachment: Int) -> Answer {
        guard marking.attachment == attachment else { return .ofAnother }
        switch outcome {
        case .done:
            seen = marking.end
            return .marked(seen)
        case .unchanged: return .again
        case .failed: return .failed
        }
    }
}

/// Says to the thread that what it does is not wanted any more.
final class LeaveOff: Sendable {
    private let wanted = Atomic(false)

    var isWanted: Bool {
        get { wanted.load(ordering: .relaxed) }
        set { wanted.store(newValue, ordering: .relaxed) }
    }
}
