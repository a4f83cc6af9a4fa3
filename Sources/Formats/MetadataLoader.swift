package import Model

/// A copy's durable state as two blocks said it.
package struct FoundSuperblock: Equatable, Sendable {
    package var superblock: Superblock
    package var layout: DiskLayout
    /// The block it came from.
    package var copy: Int
    /// A block that is not to be believed, or is older, and is to be written anew before anything else is: the next
    /// write may be torn, and what was found once must not be lost by that. Nil: both say the same.
    package var repair: Int?
    /// What is wrong with it; nil: nothing, a crash came between the two.
    package var repairReason: BlockFault?
}

/// Why no superblock is believed.
package enum MetadataError: Error, Equatable, CustomStringConvertible {
    /// Nothing of ours is there.
    case neverCreated
    case damaged(BlockFault, BlockFault)
    /// A newer hablk wrote here.
    case newerVersion(theirs: UInt16)
    /// An interrupted `create`, or two disks mixed up.
    case twoInstances(InstanceID, InstanceID)
    /// Two different states that both call themselves the newest.
    case contradiction(sequence: UInt64)

    package var description: String {
        switch self {
        case .neverCreated: "there is no hablk metadata here"
        case .damaged(let first, let second):
            "no superblock can be believed: of copy 0, \(first); of copy 1, \(second)"
        case .newerVersion(let theirs):
            "the metadata has format version \(theirs), this hablk knows version \(SuperblockCoding.version)"
        case .twoInstances(let first, let second):
            "the two superblocks belong to different copies (\(first) and \(second))"
        case .contradiction(let sequence):
            "the two superblocks differ, but both have sequence \(sequence)"
        }
    }
}

/// Chooses between the two superblocks.
package enum MetadataLoader {
    /// - Parameters:
    ///   - deviceSize: of the metadata's device, as it is now.
    ///   - copy0: the 4 KiB at `DiskLayout.superblockOffsets(…).0`; `copy1` likewise.
    package static func load(
        _ placement: DiskLayout.Placement, deviceSize: UInt64, copy0: UnsafeRawBufferPointer,
        copy1: UnsafeRawBufferPointer
    ) throws(MetadataError) -> FoundSuperblock {
        let first = read(copy0, 0, placement, deviceSize)
        let second = read(copy1, 1, placement, deviceSize)
        // Whoever wrote a newer format wrote it last, whatever the other block says.
        for case .failure(.version(let version)) in [first, second] where version > SuperblockCoding.version {
            throw .newerVersion(theirs: version)
        }
        switch (first, second) {
        case (.success(let first), .success(let second)):
            return try newest(first, second)
        case (.success(let first), .failure(let fault)):
            return FoundSuperblock(
                superblock: first.superblock, layout: first.layout, copy: 0, repair: 1, repairReason: fault)
        case (.failure(let fault), .success(let second)):
            return FoundSuperblock(
                superblock: second.superblock, layout: second.layout, copy: 1, repair: 0, repairReason: fault)
        case (.failure(let first), .failure(let second)):
            if isNothing(first), isNothing(second) { throw .neverCreated }
            throw .damaged(first, second)
        }
    }

    private static func newest(
        _ first: StoredSuperblock, _ second: StoredSuperblock
    ) throws(MetadataError) -> FoundSuperblock {
        guard first.superblock.instance == second.superblock.instance else {
            throw .twoInstances(first.superblock.instance, second.superblock.instance)
        }
        let sequence = first.superblock.sequence
        if sequence == second.superblock.sequence, first != second { throw .contradiction(sequence: sequence) }
        let copy = sequence >= second.superblock.sequence ? 0 : 1
        let chosen = copy == 0 ? first : second
        return FoundSuperblock(
            superblock: chosen.superblock, layout: chosen.layout, copy: copy,
            repair: first == second ? nil : 1 - copy, repairReason: nil)
    }

    private static func isNothing(_ fault: BlockFault) -> Bool { fault == .zero || fault == .foreign }

    private static func read(
        _ bytes: UnsafeRawBufferPointer, _ copy: Int, _ placement: DiskLayout.Placement, _ deviceSize: UInt64
    ) -> Result<StoredSuperblock, BlockFault> {
        do throws(BlockFault) {
            return .success(
                try SuperblockCoding.decode(bytes, copy: copy, placement: placement, deviceSize: deviceSize))
        } catch {
            return .failure(error)
        }
    }
}
