import Model

/// Which blocks a peer may lack: a bit per 4 KiB block, in memory where there are any, on disk in pages of 31 extents. Knows
/// which pages differ from what is on disk.
struct DirtyBitmap {
    static let blocksPerPage = UInt64(BitmapWords.perPage * 64)

    private enum PageState: UInt8 { case written, changed, writing, writingChanged }

    private var words: BitmapWords
    private var pageCounts: [UInt32]
    private var pageStates: [PageState]
    /// Blocks marked.
    private(set) var count: UInt64 = 0
    /// Pages that are not `written`.
    private(set) var unwrittenPages = 0
    private(set) var blocks: UInt64

    /// Below it no page is `changed`.
    private var firstChanged = 0

    /// - Parameters:
    ///   - room: blocks that there are pages for on disk, if that is more: a volume that grows finds them there.
    ///   - isOnDisk: all of its pages say on disk that they are clean; else they are to be written.
    init(blocks: UInt64, room: UInt64 = 0, isOnDisk: Bool = true) {
        self.blocks = blocks
        let pages = Self.pages(for: max(blocks, room))
        words = BitmapWords(count: pages * BitmapWords.perPage)
        pageCounts = Array(repeating: 0, count: pages)
        pageStates = Array(repeating: isOnDisk ? .written : .changed, count: pages)
        unwrittenPages = isOnDisk ? 0 : pages
    }

    private static func pages(for blocks: UInt64) -> Int { Int((blocks + blocksPerPage - 1) / blocksPerPage) }

    var pages: Int { pageStates.count }

    /// For another size of the volume. What lies behind a nearer end is forgotten.
    mutating func fit(to blocks: UInt64) {
        if blocks < self.blocks {
            let first = Self.page(of: blocks)
            for page in first..<Self.pages(for: self.blocks) where pageCounts[page] > 0 {
                let start = UInt64(page) * Self.blocksPerPage
                clear(max(start, blocks)..<min(start + Self.blocksPerPage, self.blocks))
            }
        }
        self.blocks = blocks
        makeRoom(for: blocks)
    }

    /// There are pages for so many blocks on disk now, all clean (`DiskMove`).
    mutating func makeRoom(for blocks: UInt64) {
        let more = Self.pages(for: blocks) - pages
        guard more > 0 else { return }
        pageCounts.append(contentsOf: Array(repeating: 0, count: more))
        pageStates.append(contentsOf: Array(repeating: .written, count: more))
        words.grow(to: pages * BitmapWords.perPage)
    }

    /// Takes what was on disk; bits beyond the volume's end are dropped.
    mutating func load(_ loaded: BitmapWords) {
        if loaded.count == words.count {
            words = loaded
        } else {
            for index in 0..<min(loaded.count, words.count) { words[index] = loaded[index] }
        }
        dropBeyondEnd()
        count = 0
        for page in 0..<pages {
            let inPage = words.page(page).reduce(0) { $0 + $1.nonzeroBitCount }
            if inPage == 0 { words.clear(page: page) }
            pageCounts[page] = UInt32(inPage)
            count += UInt64(inPage)
        }
    }

    /// They are on disk until their pages are written.
    private mutating func dropBeyondEnd() {
        let whole = Int(blocks / 64)
        if blocks % 64 != 0, words[whole] >> (blocks % 64) != 0 {
            words[whole] &= (1 << (blocks % 64)) - 1
            noteChange(whole / BitmapWords.perPage)
        }
        let rest = whole + (blocks % 64 == 0 ? 0 : 1)
        for page in rest / BitmapWords.perPage..<pages where !words.isSurelyClean(page: page) {
            let first = max(rest, page * BitmapWords.perPage)
            for index in first..<max(first, (page + 1) * BitmapWords.perPage) where words[index] != 0 {
                words[index] = 0
                noteChange(page)
            }
        }
    }

    func contains(_ block: UInt64) -> Bool { words[Int(block / 64)] & (1 << (block % 64)) != 0 }

    func containsAny(of range: Range<UInt64>) -> Bool {
        var block = range.lowerBound
        while block < range.upperBound {
            let span = Self.span(block, range.upperBound)
            if words[Int(block / 64)] & span.mask != 0 { return true }
            block = span.next
        }
        return false
    }

    mutating func mark(_ range: Range<UInt64>) { change(range, setting: true) }
    mutating func clear(_ range: Range<UInt64>) { change(range, setting: false) }

    /// Marks what the other one has marked.
    mutating func formUnion(_ other: DirtyBitmap) {
        var cursor: UInt64 = 0
        while let run = other.nextRun(from: cursor, limit: Self.blocksPerPage) {
            mark(run)
            cursor = run.upperBound
        }
    }

    mutating func markAll() { mark(0..<blocks) }

    mutating func clearAll() {
        for page in 0..<pages where pageCounts[page] > 0 {
            let first = UInt64(page) * Self.blocksPerPage
            clear(first..<min(first + Self.blocksPerPage, blocks))
        }
    }

    /// The first run of marked blocks at or after `start`, at most `limit` long.
    func nextRun(from start: UInt64, limit: UInt64) -> Range<UInt64>? {
        var block = start
        while block < blocks {
            if pageCounts[Int(block / Self.blocksPerPage)] == 0 {
                block = (block / Self.blocksPerPage + 1) * Self.blocksPerPage
                continue
            }
            let rest = words[Int(block / 64)] >> (block % 64)
            if rest == 0 {
                block = (block / 64 + 1) * 64
                continue
            }
            let first = block + UInt64(rest.trailingZeroBitCount)
            var end = first
            while end < blocks, end - first < limit, contains(end) { end += 1 }
            return first..<end
        }
        return nil
    }

    // MARK: Pages

    static func page(of block: UInt64) -> Int { Int(block / blocksPerPage) }

    /// Its words; fewer when it is clean.
    func page(_ page: Int) -> ArraySlice<UInt64> { words.page(page) }

    /// What says on disk at least what it says here: also one behind the end, where nothing is marked. (A log may name extents
    /// there: the volume was larger, before its record was given up.)
    func isWritten(page: Int) -> Bool { page >= pages || pageStates[page] == .written }
    func isWriting(page: Int) -> Bool {
        page < pages && (pageStates[page] == .writing || pageStates[page] == .writingChanged)
    }

    /// The page's present bits go to disk now.
    mutating func beginWriting(page: Int) {
        precondition(pageStates[page] == .changed, "a page is written once at a time")
        pageStates[page] = .writing
    }

    mutating func finishWriting(page: Int) {
        if pageStates[page] == .writing {
            pageStates[page] = .written
            unwrittenPages -= 1
        } else if pageStates[page] == .writingChanged {
            pageStates[page] = .changed
            firstChanged = min(firstChanged, page)
        }
    }

    /// Nobody looks at the same written pages again and again.
    mutating func firstUnwritten(from page: Int) -> Int? {
        let isFirst = page <= firstChanged
        var next = max(page, firstChanged)
        while next < pages, pageStates[next] != .changed { next += 1 }
        if isFirst { firstChanged = next }
        return next < pages ? next : nil
    }

    // MARK: Bits

    private static func span(_ block: UInt64, _ end: UInt64) -> (mask: UInt64, next: UInt64) {
        let first = block % 64
        let next = min((block / 64 + 1) * 64, end)
        let length = next - block
        let mask = length == 64 ? UInt64.max : ((1 << length) - 1) << first
        return (mask, next)
    }

    private mutating func change(_ range: Range<UInt64>, setting: Bool) {
        var block = range.lowerBound
        let end = min(range.upperBound, blocks)
        while block < end {
            let span = Self.span(block, end)
            let index = Int(block / 64)
            let old = words[index]
            let new = setting ? old | span.mask : old & ~span.mask
            if new != old {
                words[index] = new
                let difference = UInt32((new ^ old).nonzeroBitCount)
                let page = index / BitmapWords.perPage
                if setting {
                    pageCounts[page] += difference
                    count += UInt64(difference)
                } else {
                    pageCounts[page] -= difference
                    count -= UInt64(difference)
                    if pageCounts[page] == 0 { words.clear(page: page) }
                }
                noteChange(page)
            }
            block = span.next
        }
    }

    private mutating func noteChange(_ page: Int) {
        switch pageStates[page] {
        case .written:
            pageStates[page] = .changed
            firstChanged = min(firstChanged, page)
            unwrittenPages += 1
        case .writing: pageStates[page] = isLeftOut(.pageWrittenAgain) ? .writing : .writingChanged
        case .changed, .writingChanged: break
        }
    }
}
