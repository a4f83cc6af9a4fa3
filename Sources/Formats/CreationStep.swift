package import Model

/// What `create` writes, one after the other: the daemon to a disk, the simulator to a simulated one.
package enum CreationStep: Equatable, Sendable {
    /// Zeroes.
    case erase(Range<UInt64>)
    /// All pages of the bitmap toward a node, clean.
    case bitmap(NodeID)
    case superblock(copy: Int)
    /// Everything so far is stable before the next step begins.
    case flush
}

extension DiskLayout {
    /// A creation that a crash interrupts leaves the copy that was there as it was, or a disk that is refused by name, or
    /// the new copy: what was there is not to be believed before any of it goes, and the new one not before all of it
    /// is there.
    package var creation: [CreationStep] {
        var steps: [CreationStep] = (0...1).map { copy in
            let place = superblockOffset(copy: copy)
            return .erase(place..<place + Self.blockSize)
        }
        steps += [.flush, .erase(areaToZero)]
        steps += peers.map { .bitmap($0) }
        return steps + [.flush, .superblock(copy: 0), .superblock(copy: 1), .flush]
    }
}
