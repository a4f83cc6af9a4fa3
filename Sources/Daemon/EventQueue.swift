package import ReplicationCore

/// Events for the core, gathered in the order in which they happened and handed to it one by one. It keeps its memory:
/// after warm-up, gathering allocates nothing.
package struct EventQueue: ~Copyable {
    private var slots: [Event?]
    private var head = 0
    package private(set) var count = 0

    package init(capacity: Int = 1024) {
        var size = 16
        while size < capacity { size *= 2 }
        slots = Array(repeating: nil, count: size)
    }

    package var isEmpty: Bool { count == 0 }

    package mutating func append(_ event: Event) {
        if count == slots.count { grow() }
        slots[(head + count) & (slots.count - 1)] = event
        count += 1
    }

    package mutating func popFirst() -> Event? {
        guard count > 0 else { return nil }
        let event = slots[head]
        slots[head] = nil
        head = (head + 1) & (slots.count - 1)
        count -= 1
        return event
    }

    /// Bounded by what the parts can have in flight at once.
    private mutating func grow() {
        var larger: [Event?] = Array(repeating: nil, count: slots.count * 2)
        for index in 0..<count { larger[index] = slots[(head + index) & (slots.count - 1)] }
        slots = larger
        head = 0
    }
}
