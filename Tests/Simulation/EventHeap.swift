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
        entries.append(Entry(time: time, order: drawn, happening: happening))
        var child = entries.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard entries[child] < entries[parent] else { break }
            entries.swapAt(child, parent)
            child = parent
        }
    }

    mutating func pop() -> Entry? {
        guard let first = entries.first else { return nil }
        let last = entries.removeLast()
        if !entries.isEmpty {
            entries[0] = last
            sink()
        }
        return first
    }

    private mutating func sink() {
        var parent = 0
        while true {
            let left = parent * 2 + 1
            guard left < entries.count else { return }
            let right = left + 1
            let child = right < entries.count && entries[right] < entries[left] ? right : left
            guard entries[child] < entries[parent] else { return }
            entries.swapAt(child, parent)
            parent = child
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
    case fault
    case restart(node: Int, incarnation: Int)
    case resume(node: Int, incarnation: Int)
    case heal(direction: Int, cut: Int)
    case watch
}
