import Model

/// Finds a copy's superblocks on a device, also on one that grew since they were written there.
package enum MetadataSearch {
    /// - Parameter read: the 4 KiB at an offset.
    /// - Returns: nil: the device is too small to have any.
    package static func find<Failure: Error>(
        _ placement: DiskLayout.Placement, deviceSize: UInt64, read: (UInt64) throws(Failure) -> [UInt8]
    ) throws(Failure) -> Result<FoundSuperblock, MetadataError>? {
        guard let places = DiskLayout.superblockOffsets(placement, deviceSize: deviceSize) else { return nil }
        let first = try read(places.0)
        let second = try read(places.1)
        // As long as a mark is there, the metadata lie where it says, whatever else is found: a move that did not end, or what another
        // copy left at the new end. The last block is the last to lose its mark.
        for (block, place) in [(second, places.1), (first, places.0)] {
            guard let mark = block.withUnsafeBytes({ try? MovedMark($0, offset: place) }),
                let former = DiskLayout.superblockOffsets(placement, deviceSize: mark.formerEnd)
            else { continue }
            let found = load(placement, mark.formerEnd, try read(former.0), try read(former.1))
            if case .success(let found) = found, found.superblock.instance == mark.instance { return .success(found) }
        }
        if placement == .external, let nearer = nearerEnd(first, second, deviceSize) {
            let known = DiskLayout.superblockOffsets(placement, deviceSize: nearer)
            if let known { return load(placement, nearer, first, try read(known.1)) }
        }
        return load(placement, deviceSize, first, second)
    }

    /// The first superblock of a device of its own is found whatever that has grown to: where the other one lies it says itself, unless
    /// a newer one lies at the present end.
    private static func nearerEnd(_ first: [UInt8], _ second: [UInt8], _ deviceSize: UInt64) -> UInt64? {
        func decode(_ block: [UInt8], _ copy: Int) -> StoredSuperblock? {
            block.withUnsafeBytes {
                try? SuperblockCoding.decode($0, copy: copy, placement: .external, deviceSize: deviceSize)
            }
        }
        guard let one = decode(first, 0),
            one.layout.deviceEnd < deviceSize / DiskLayout.blockSize * DiskLayout.blockSize
        else { return nil }
        if let other = decode(second, 1), other.superblock.instance == one.superblock.instance,
            other.superblock.sequence > one.superblock.sequence
        {
            return nil
        }
        return one.layout.deviceEnd
    }

    private static func load(
        _ placement: DiskLayout.Placement, _ deviceSize: UInt64, _ first: [UInt8], _ second: [UInt8]
    ) -> Result<FoundSuperblock, MetadataError> {
        first.withUnsafeBytes { first in
            second.withUnsafeBytes { second in
                do throws(MetadataError) {
                    return .success(
                        try MetadataLoader.load(placement, deviceSize: deviceSize, copy0: first, copy1: second))
                } catch {
                    return .failure(error)
                }
            }
        }
    }
}
