import Model
import Testing

@Suite struct IdentityTests {
    private func node(_ id: UInt8) -> NodeID { NodeID(unchecked: id) }

    @Test func `There are eight nodes`() {
        #expect(NodeID(7) != nil && NodeID(8) == nil)
        #expect(NodeID.all.map(\.rawValue) == Array(0..<8))
    }

    @Test func `A set of nodes is what the same set of numbers is`() {
        for left in UInt8.min...UInt8.max {
            let set = NodeSet(rawValue: left)
            let numbers = Set(set.map(\.rawValue))
            #expect(set.count == numbers.count && set.isEmpty == numbers.isEmpty)
            #expect(set.first?.rawValue == numbers.min())
            for other in [UInt8](arrayLiteral: 0, 1, 0x80, 0x55, 0xf0, 0xff) {
                let second = NodeSet(rawValue: other)
                let others = Set(second.map(\.rawValue))
                #expect(Set(set.union(second).map(\.rawValue)) == numbers.union(others))
                #expect(Set(set.intersection(second).map(\.rawValue)) == numbers.intersection(others))
                #expect(Set(set.subtracting(second).map(\.rawValue)) == numbers.subtracting(others))
                #expect(set.isSubset(of: second) == numbers.isSubset(of: others))
            }
        }
        var set = NodeSet(node(1), node(3))
        set.insert(node(0))
        set.remove(node(3))
        #expect(set == NodeSet().inserting(node(1)).inserting(node(0)) && set.removing(node(1)) == NodeSet(node(0)))
        #expect("\(set)" == "{0,1}")
    }

    @Test func `Identities are sixteen digits, and zero is none`() {
        #expect(VolumeID(rawValue: 0x1f).description == "000000000000001f")
        #expect(RunID(rawValue: .max).description == "ffffffffffffffff")
        #expect(SessionID.none.isNone && !GenerationID.zero.isNone)
    }

    @Test func `No two candidates share a term, and a newer term beats a longer one`() {
        let first = Term(counter: 3, node: node(0))
        let second = Term(counter: 3, node: node(1))
        #expect(first != second && first < second && second < Term(counter: 4, node: node(0)))
        #expect(RecordNumber(term: first, index: 99) < RecordNumber(term: second, index: 0))
        #expect(RecordNumber(term: first, index: 1) < RecordNumber(term: first, index: 2))
    }
}
