package import ReplicationCore

/// Events for the core, gathered in the order in which they happened and handed to it one by one. It keeps its memory:
/// after warm-up, gathering allocates nothing.
package struct EventQueue: ~Copyable {
    // Not an array: an event moves in and out, nothing is copied.
    private var slots: UnsafeMutablePointer<Event>
    private var capacity: Int
    private var head = 0
    package private(set) var count = 0

    package init(capacity: Int = 1024) {
        var size = 16
        while size < capacity { size *= 2 }
        slots = .allocate(capacity: size)
        self.capacity = size
    }

    deinit {
        for index in 0..<count { (slots + (head + index) & (capacity - 1)).deinitialize(count: 1) }
        slots.deallocate()
    }

    package var isEmpty: Bool { count == 0 }

    package mutating func append(_ event: consuming Event) {
        if count == capacity { grow() }
        (slots + (head + count) & (capacity - 1)).initialize(to: event)
        count += 1
    }

    package mutating func popFirst() -> Event? {
        guard count > 0 else { return nil }
        let place = head
        head = (head + 1) & (capacity - 1)
        count -= 1
        return (slots + place).move()
    }

    /// Bounded by what the parts can have in flight at once.
    private mutating func grow() {
        let larger = UnsafeMutablePointer<Event>.allocate(capacity: capacity * 2)
        for index in 0..<count {
            (larger + index).moveInitialize(from: slots + (head + index) & (capacity - 1), count: 1)
        }
        slots.deallocate()
        slots = larger
        capacity *= 2
        head = 0
    }
}
