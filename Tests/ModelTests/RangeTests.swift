import Model
import Testing

@Suite struct RangeTests {
    @Test func `A range touches the blocks that it covers wholly or in part`() {
        #expect(ByteRange(offset: 0, length: 0).blocks.isEmpty)
        #expect(ByteRange(offset: 4096, length: 4096).blocks == 1..<2)
        #expect(ByteRange(offset: 4095, length: 2).blocks == 0..<2)
        #expect(ByteRange(offset: 1, length: 1).widenedToBlocks == ByteRange(offset: 0, length: 4096))
        #expect(ByteRange(blocks: 3..<5) == ByteRange(offset: 12288, length: 8192))
        #expect(ByteRange(offset: 12288, length: 8192).isBlockAligned)
        #expect(!ByteRange(offset: 512, length: 4096).isBlockAligned)
    }

    @Test func `Neighbours do not overlap`() {
        let range = ByteRange(offset: 4096, length: 4096)
        #expect(!range.overlaps(ByteRange(offset: 0, length: 4096)))
        #expect(!range.overlaps(ByteRange(offset: 8192, length: 1)))
        #expect(range.overlaps(ByteRange(offset: 8191, length: 100)))
        #expect(range.contains(range) && !range.contains(ByteRange(offset: 4096, length: 4097)))
    }

    @Test func `Extents of the largest volume can be numbered`() {
        let last = ByteRange(offset: Geometry.maximumVolumeSize - 1, length: 1)
        #expect(UInt64(last.extent) == Geometry.maximumVolumeSize / Geometry.extentSize - 1)
    }
}
