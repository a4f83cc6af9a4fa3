import Model
import Testing

@Suite struct BitmapWordsTests {
    @Test func `Words are kept where any is set, and read as zero elsewhere`() {
        var words = BitmapWords(count: 3 * BitmapWords.perPage)
        #expect((0..<3).allSatisfy { words.isSurelyClean(page: $0) })
        words[BitmapWords.perPage + 7] = 5
        words[2 * BitmapWords.perPage] = 0
        #expect(words.isSurelyClean(page: 0) && !words.isSurelyClean(page: 1) && words.isSurelyClean(page: 2))
        #expect(words[BitmapWords.perPage + 7] == 5 && words[BitmapWords.perPage + 8] == 0 && words[0] == 0)
        #expect(words.page(0).isEmpty && words.page(1).count == BitmapWords.perPage)
        #expect(words.reduce(0) { $0 + $1.nonzeroBitCount } == 2)
    }

    @Test func `Equal is what has the same bits, however it is kept`() {
        var one = BitmapWords(count: 1000)
        let other = BitmapWords(count: 1000)
        one[999] = 1
        #expect(one != other)
        one[999] = 0
        #expect(!one.isSurelyClean(page: 2) && one == other)
        one.clear(page: 2)
        #expect(one.isSurelyClean(page: 2) && one == other && one != BitmapWords(count: 999))
        #expect(BitmapWords([1, 0, 3]) == [1, 0, 3] && BitmapWords([0]) != [1])
    }
}
