import Model

/// The virtual pool of a node: a buffer is an array of sector values, eight a block. Numbers are given out again at once,
/// last in first out, so that a use after release meets another's data.
struct BufferStore {
    enum Owner: Equatable {
        case free
        /// The core's from the request to the reply.
        case clientRead
        /// The core's until it is released.
        case clientWrite
        /// A payload that came from a peer.
        case payload
        /// Taken with `.takeBuffer`.
        case taken
    }

    private struct Slot {
        var owner = Owner.free
        /// Operations at the disk that refer to it.
        var inUse = 0
        var sectors: [UInt64] = []
    }

    /// A value that no write ever had.
    static let poison: UInt64 = .max

    private var slots: [Slot] = []
    private var free: [Int32] = []

    /// Buffers that the core has now.
    var outstanding: Int { slots.count - free.count }

    mutating func take(_ owner: Owner, blocks: Int) -> BufferID {
        take(owner, sectors: Array(repeating: Self.poison, count: blocks * 8))
    }

    mutating func take(_ owner: Owner, sectors: [UInt64]) -> BufferID {
        let index: Int32
        if let last = free.popLast() {
            index = last
        } else {
            index = Int32(slots.count)
            slots.append(Slot())
        }
        slots[Int(index)].owner = owner
        slots[Int(index)].sectors = sectors
        return BufferID(index: index)
    }

    func owner(of buffer: BufferID) -> Owner {
        slots.indices.contains(Int(buffer.index)) ? slots[Int(buffer.index)].owner : .free
    }

    func isInUse(_ buffer: BufferID) -> Bool { slots[Int(buffer.index)].inUse > 0 }

    func sectors(of buffer: BufferID) -> [UInt64] { slots[Int(buffer.index)].sectors }

    func count(of buffer: BufferID) -> Int { slots[Int(buffer.index)].sectors.count }

    mutating func begin(_ buffer: BufferID) { slots[Int(buffer.index)].inUse += 1 }
    mutating func end(_ buffer: BufferID) { slots[Int(buffer.index)].inUse -= 1 }

    mutating func set(_ buffer: BufferID, _ index: Int, to value: UInt64) {
        slots[Int(buffer.index)].sectors[index] = value
    }

    mutating func fill(_ buffer: BufferID, from index: Int, with values: ArraySlice<UInt64>) {
        slots[Int(buffer.index)].sectors.replaceSubrange(index..<index + values.count, with: values)
    }

    mutating func release(_ buffer: BufferID) {
        slots[Int(buffer.index)].owner = .free
        slots[Int(buffer.index)].sectors = []
        free.append(buffer.index)
    }
}
