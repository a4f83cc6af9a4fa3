/// SplitMix64 (Steele, Lea, Flood 2014): all chance of a run from one seed.
struct Randomness: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }

    /// Neither zero (none) nor one (`GenerationID.zero`).
    mutating func identity() -> UInt64 {
        while true {
            let value = next()
            if value > 1 { return value }
        }
    }
}
