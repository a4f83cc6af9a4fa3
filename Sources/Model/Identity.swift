/// A member of a volume: 0 to 7, as the configuration's `id` says.
package struct NodeID: Equatable, Hashable, Comparable, Sendable, CustomStringConvertible {
    package let rawValue: UInt8

    /// Nil when `rawValue` is over 7.
    package init?(_ rawValue: UInt8) {
        guard rawValue < NodeSet.capacity else { return nil }
        self.rawValue = rawValue
    }

    package static let all: [NodeID] = (0..<UInt8(NodeSet.capacity)).map { NodeID(unchecked: $0) }

    package init(unchecked rawValue: UInt8) { self.rawValue = rawValue }
    // Said here, as for the others that each frame is compared by: in another module the compiler's own is called through a
    // table of witnesses that is looked up each time.
    package static func == (left: NodeID, right: NodeID) -> Bool { left.rawValue == right.rawValue }
    package static func != (left: NodeID, right: NodeID) -> Bool { left.rawValue != right.rawValue }
    package static func < (left: NodeID, right: NodeID) -> Bool { left.rawValue < right.rawValue }
    package var description: String { "node \(rawValue)" }
}

/// A set of nodes in one byte.
package struct NodeSet: Equatable, Hashable, Sendable, Sequence, CustomStringConvertible {
    package static let capacity: UInt8 = 8
    package var rawValue: UInt8

    package init(rawValue: UInt8 = 0) { self.rawValue = rawValue }
    /// Of one, which asks for no memory.
    package init(_ node: NodeID) { rawValue = 1 << node.rawValue }
    package init(_ nodes: NodeID...) {
        rawValue = 0
        for node in nodes { insert(node) }
    }

    package static func == (left: NodeSet, right: NodeSet) -> Bool { left.rawValue == right.rawValue }
    package var isEmpty: Bool { rawValue == 0 }
    package var count: Int { rawValue.nonzeroBitCount }
    package func contains(_ node: NodeID) -> Bool { rawValue & (1 << node.rawValue) != 0 }
    package mutating func insert(_ node: NodeID) { rawValue |= 1 << node.rawValue }
    package mutating func remove(_ node: NodeID) { rawValue &= ~(1 << node.rawValue) }
    package func union(_ other: NodeSet) -> NodeSet { NodeSet(rawValue: rawValue | other.rawValue) }
    package func intersection(_ other: NodeSet) -> NodeSet { NodeSet(rawValue: rawValue & other.rawValue) }
    package func subtracting(_ other: NodeSet) -> NodeSet { NodeSet(rawValue: rawValue & ~other.rawValue) }
    package func inserting(_ node: NodeID) -> NodeSet { NodeSet(rawValue: rawValue | 1 << node.rawValue) }
    package func removing(_ node: NodeID) -> NodeSet { NodeSet(rawValue: rawValue & ~(1 << node.rawValue)) }
    package func isSubset(of other: NodeSet) -> Bool { rawValue & ~other.rawValue == 0 }
    package var first: NodeID? { isEmpty ? nil : NodeID(unchecked: UInt8(rawValue.trailingZeroBitCount)) }

    package struct Iterator: IteratorProtocol {
        var rest: UInt8
        package mutating func next() -> NodeID? {
            guard rest != 0 else { return nil }
            let lowest = UInt8(rest.trailingZeroBitCount)
            rest &= rest - 1
            return NodeID(unchecked: lowest)
        }
    }
    package func makeIterator() -> Iterator { Iterator(rest: rawValue) }
    package var description: String { "{" + map { String($0.rawValue) }.joined(separator: ",") + "}" }
}

/// One value for each of the eight node slots.
package struct PerNode<Element> {
    private var slots: [8 of Element]

    package init(repeating element: Element) { slots = .init(repeating: element) }

    package subscript(node: NodeID) -> Element {
        get { slots[Int(node.rawValue)] }
        set { slots[Int(node.rawValue)] = newValue }
    }
}

extension PerNode: Sendable where Element: Sendable {}

extension PerNode: Equatable where Element: Equatable {
    package static func == (left: PerNode, right: PerNode) -> Bool {
        for index in 0..<8 where left.slots[index] != right.slots[index] { return false }
        return true
    }
}

/// A random 64-bit name; zero means "none".
package protocol RandomIdentity: Equatable, Hashable, Sendable, CustomStringConvertible {
    var rawValue: UInt64 { get }
    init(rawValue: UInt64)
}

extension RandomIdentity {
    package static var none: Self { Self(rawValue: 0) }
    package var isNone: Bool { rawValue == 0 }
    package var description: String {
        let digits = String(rawValue, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}

/// What a volume is; drawn at the first handshake of empty sides or the first promotion, never changed.
package struct VolumeID: RandomIdentity {
    package let rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// One copy on one disk, drawn by `create`: a re-created disk is another copy.
package struct InstanceID: RandomIdentity {
    package let rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }
    package static func == (left: InstanceID, right: InstanceID) -> Bool { left.rawValue == right.rawValue }
}

/// A line of records; `promote --force` begins a new one.
package struct LineageID: RandomIdentity {
    package let rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }
    package static func == (left: LineageID, right: LineageID) -> Bool { left.rawValue == right.rawValue }
    package static func != (left: LineageID, right: LineageID) -> Bool { left.rawValue != right.rawValue }
}

extension LineageID {
    /// With quorum, where every volume begins: its first records are votes of one ballot after the other.
    package static let founding = LineageID(rawValue: 1)
}

/// One run of a daemon, drawn at its start.
package struct RunID: RandomIdentity {
    package let rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// One TCP connection between two nodes.
package struct SessionID: RandomIdentity {
    package let rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }
    package static var none: SessionID { SessionID(rawValue: 0) }
    package var isNone: Bool { rawValue == 0 }
    package static func == (left: SessionID, right: SessionID) -> Bool { left.rawValue == right.rawValue }
}

/// The identity of a line of writes.
package struct GenerationID: RandomIdentity {
    package let rawValue: UInt64
    package init(rawValue: UInt64) { self.rawValue = rawValue }
    /// What every copy that is known to be all zeroes begins with.
    package static let zero = GenerationID(rawValue: 1)
}

/// A generation with who began it and when. Only the id is ever compared; the rest is for people.
package struct Generation: Equatable, Hashable, Sendable {
    package var id: GenerationID
    package var node: NodeID
    /// Seconds since 1970, by the clock of the node that began it.
    package var began: UInt64

    package init(id: GenerationID, node: NodeID, began: UInt64) {
        self.id = id
        self.node = node
        self.began = began
    }
}
