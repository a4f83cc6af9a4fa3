/// SplitMix64: one seed, one stream. Every subject of a simulation has a child stream of its own, so that a draw added
/// in one place does not shift what another place draws.
package struct SplitMix: Sendable {
    private var state: UInt64

    package init(seed: UInt64) { state = seed }

    /// A stream that depends on the seed and the name of its subject only.
    package init(seed: UInt64, subject: String) {
        var mixed = seed
        for byte in subject.utf8 { mixed = (mixed ^ UInt64(byte)) &* 0x100_0000_01B3 }
        var parent = SplitMix(seed: mixed)
        state = parent.next() ^ seed
    }

    package mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }

    /// `0 ..< bound`; zero when `bound` is zero.
    package mutating func below(_ bound: UInt64) -> UInt64 {
        bound == 0 ? 0 : next().multipliedFullWidth(by: bound).high
    }

    package mutating func below(_ bound: Int) -> Int { Int(below(UInt64(max(0, bound)))) }

    package mutating func within(_ range: ClosedRange<UInt64>) -> UInt64 {
        range.lowerBound + below(range.upperBound - range.lowerBound + 1)
    }

    package mutating func within(_ range: ClosedRange<Int>) -> Int {
        range.lowerBound + below(range.upperBound - range.lowerBound + 1)
    }

    /// True `times` in `outOf`.
    package mutating func chance(_ times: UInt64, in outOf: UInt64) -> Bool { below(outOf) < times }

    /// Many small values and a long tail: what latencies look like. The mean is about `mean`.
    package mutating func skewed(mean: UInt64) -> UInt64 {
        let first = below(mean + 1)
        switch below(16) {
        case 0: return first * 8
        case 1...4: return first * 2
        default: return first
        }
    }

    package mutating func pick<Element>(_ elements: [Element]) -> Element { elements[below(elements.count)] }
}
