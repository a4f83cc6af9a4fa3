import Model

/// What will happen, ordered by time and, at the same time, by who came first.
struct EventHeap {
    struct Entry {
        var time: UInt64
        var order: UInt64
        var happening: Happening

        static func < (left: Entry, right: Entry) -> Bool {
            left.time != right.time ? left.time < right.time : left.order < right.order
        }
    }

    private var entries: [Entry] = []
    private var drawn: UInt64 = 0

    var isEmpty: Bool { entries.isEmpty }
    /// When the next one happens.
    var nextTime: UInt64? { entries.first?.time }

    mutating func push(_ happening: Happening, at time: UInt64) {
        drawn += 1
        let entry = Entry(time: time, order: drawn, happening: happening)
        entries.append(entry)
        entries.withUnsafeMutableBufferPointer { heap in
            var hole = heap.count - 1
            while hole > 0 {
                let parent = (hole - 1) / 2
                guard entry < heap[parent] else { break }
                heap[hole] = heap[parent]
                hole = parent
            }
            heap[hole] = entry
        }
    }

    mutating func pop() -> Entry? {
        guard let first = entries.first else { return nil }
        let last = entries.removeLast()
        if !entries.isEmpty { sink(last) }
        return first
    }

    /// Finds the place of what was the last entry, from the top.
    private mutating func sink(_ entry: Entry) {
        entries.withUnsafeMutableBufferPointer { heap in
            var hole = 0
            while true {
                let left = hole * 2 + 1
                guard left < heap.count else { break }
                let right = left + 1
                let child = right < heap.count && heap[right] < heap[left] ? right : left
                guard heap[child] < entry else { break }
                heap[hole] = heap[child]
                hole = child
            }
            heap[hole] = entry
        }
    }
}

/// One thing that will happen in a simulated cluster. `incarnation` counts a node's processes: what was meant for a dead
/// one does not reach the next.
enum Happening {
    case tick(node: Int, incarnation: Int, due: UInt64)
    case soon(node: Int, slot: Int)
    case diskDone(node: Int, incarnation: Int, slot: Int)
    case frame(session: Int, toward: Int)
    case dialArrives(node: Int, attempt: Int)
    case dialFails(node: Int, attempt: Int)
    case workload
    case administrator
    case task(Int)
    case duel(Int)
    case fault
    case moment(FaultKinds, node: Int)
    case restart(node: Int, incarnation: Int)
    case resume(node: Int, incarnation: Int)
    case heal(direction: Int, cut: Int)
    case watch
    case mishap
    case membership
    /// Disks are made larger, and the volume.
    case growth
    case prepared(node: Int, incarnation: Int, size: UInt64, outcome: GrowOutcome)
    case kept(node: Int, incarnation: Int, step: KeepingStep, succeeded: Bool)
    case turnover
    /// The copies are compared, perhaps after a difference was planted.
    case verify
    case fenced(node: Int, incarnation: Int, peer: NodeID, request: UInt64)
    /// The side hears that the session is closed, ahead of what is still on its way.
    case closed(session: Int, toward: Int)
}
