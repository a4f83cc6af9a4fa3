/// The words of a bitmap, a bit per block, least significant first, in pages as they lie on disk. Pages that are clean take no
/// room: of a volume of 100 TiB whose copies are equal, 3 GiB of zeroes are not kept.
package struct BitmapWords: RandomAccessCollection, Equatable, Sendable, ExpressibleByArrayLiteral {
    package static let perPage = 496

    // An empty one is clean.
    private var pages: [[UInt64]]
    package private(set) var endIndex: Int

    /// All of them clean.
    package init(count: Int) {
        pages = Array(repeating: [], count: (count + Self.perPage - 1) / Self.perPage)
        endIndex = count
    }

    package init(_ words: some Collection<UInt64>) {
        self.init(count: words.count)
        for (index, word) in words.enumerated() where word != 0 { self[index] = word }
    }

    package init(arrayLiteral words: UInt64...) { self.init(words) }

    package var startIndex: Int { 0 }

    package subscript(index: Int) -> UInt64 {
        get {
            precondition(index < endIndex, "a word beyond the bitmap")
            let (page, place) = index.quotientAndRemainder(dividingBy: Self.perPage)
            return pages[page].isEmpty ? 0 : pages[page][place]
        }
        set {
            precondition(index < endIndex, "a word beyond the bitmap")
            let (page, place) = index.quotientAndRemainder(dividingBy: Self.perPage)
            if pages[page].isEmpty {
                guard newValue != 0 else { return }
                pages[page] = Array(repeating: 0, count: Self.perPage)
            }
            pages[page][place] = newValue
        }
    }

    /// Whether no bit of it is set, as far as that is to be had without looking.
    package func isSurelyClean(page: Int) -> Bool { pages[page].isEmpty }

    /// Its words; fewer than 496 when it is clean.
    package func page(_ page: Int) -> ArraySlice<UInt64> { pages[page][...] }

    /// Clean ones behind those that are there.
    package mutating func grow(to count: Int) {
        guard count > endIndex else { return }
        precondition(endIndex % Self.perPage == 0, "only whole pages have others behind them")
        let more = (count + Self.perPage - 1) / Self.perPage - pages.count
        pages.append(contentsOf: Array(repeating: [], count: more))
        endIndex = count
    }

    /// Clears it, and gives its room back.
    package mutating func clear(page: Int) { pages[page] = [] }

    package static func == (left: BitmapWords, right: BitmapWords) -> Bool {
        guard left.endIndex == right.endIndex else { return false }
        return zip(left.pages, right.pages).allSatisfy { one, other in
            one == other || (one.isEmpty || other.isEmpty) && (one + other).allSatisfy { $0 == 0 }
        }
    }
}
