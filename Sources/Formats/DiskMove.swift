package import Model

/// How a copy's metadata get from one layout to one with room for more data, on the same disk: what the daemon writes, in order.
///
/// `preparation` leaves the former place as it is, which goes on being used meanwhile; it may take as long as it will, and may be left
/// off after any step. During `final` nothing else writes metadata: it is short. A crash between any two steps, or in the
/// middle of one, leaves the former layout or the new one, whole but for pages of bitmaps, which then do not verify and count as
/// dirty:
///
/// * Behind the data, at the new end of a device that grew (`isBeside`): nothing of the former place is touched. All pages are copied
///   beforehand, and those again that were written meanwhile. Marks where superblocks are to be tell where the former
///   ones lie: until both new ones stand there, the former layout holds.
/// * Behind the data, where the device has room already: bitmap pages move downward, over each other, and the superblocks stay.
/// * On a device of their own: the first bitmap stays and gets longer, the others move upward, over the second superblock perhaps,
///   when that device grew. The second is written at the new end first, while the first stands where it always is.
///
/// What moves over itself cannot be prepared, and is limited instead (`mostAtOnce`).
package struct DiskMove: Equatable, Sendable {
    package enum Step: Equatable, Sendable {
        /// The block in the place of a superblock that says where the former ones are; makes a file that long.
        case mark(offset: UInt64)
        /// Room that a file must have.
        case reserve(Range<UInt64>)
        /// Bytes as they are, from one place to another.
        case copy(from: UInt64, to: UInt64, count: UInt64)
        /// Clean pages of the bitmap toward a node.
        case clean(NodeID, pages: Range<UInt32>)
        /// The new superblock.
        case superblock(copy: Int)
        /// Everything so far is stable before the next step begins.
        case flush
    }

    /// A page of the bitmap toward a node.
    package struct Page: Hashable, Sendable {
        package var node: NodeID
        package var page: UInt32

        package init(_ node: NodeID, _ page: UInt32) {
            self.node = node
            self.page = page
        }
    }

    package let from: DiskLayout
    package let to: DiskLayout
    /// No block of the new place is one of the former.
    package var isBeside: Bool { Self.isBeside(from, to) }

    /// Bytes of pages that are moved while no metadata can be written: a second or two of a slow disk. Two bitmaps of 1 TiB.
    package static let mostAtOnce: UInt64 = 64 << 20
    private static let pagesAtOnce: UInt32 = 256
    /// Where the device ends now, or will.
    package let end: UInt64
    /// Pages of each bitmap that were in use; those behind may say anything.
    private let usedPages: UInt32

    /// - Parameters:
    ///   - size: bytes of data that the copy could hold, as its superblock says it.
    ///   - deviceSize: of the metadata's device as it is now.
    package init(from: DiskLayout, to: DiskLayout, size: UInt64, deviceSize: UInt64) {
        self.from = from
        self.to = to
        end = Swift.max(to.deviceEnd, deviceSize / DiskLayout.blockSize * DiskLayout.blockSize)
        let blocks = size / DiskLayout.blockSize
        usedPages = UInt32((blocks + BitmapPage.blocksPerPage - 1) / BitmapPage.blocksPerPage)
    }

    /// What is done beside all else.
    package var preparation: [Step] {
        var steps = marks
        switch from.placement {
        case .internal:
            steps.append(.reserve(to.bitmapOffset..<to.deviceEnd))
            steps += pages(descending: false).filter { isBeside || isPreparable($0) }
        case .external:
            steps.append(.reserve(0..<to.deviceEnd))
            steps += pages(descending: true).filter(isPreparable)
        }
        return steps + [.flush]
    }

    /// What is done while nobody else writes metadata.
    /// - Parameter touched: pages that were written since their copying may have begun.
    package func final(touched: [Page]) -> [Step] {
        var steps: [Step] = []
        switch from.placement {
        case .internal:
            if isBeside {
                steps.append(.copy(from: from.logOffset, to: to.logOffset, count: from.logLength))
                steps += again(touched)
            } else {
                steps += pages(descending: false).filter { !isPreparable($0) }
            }
            steps += [.flush, .superblock(copy: 0), .flush, .superblock(copy: 1), .flush]
        case .external:
            steps += pages(descending: true).filter { !isPreparable($0) }
            steps += [.flush, .superblock(copy: 1), .flush, .superblock(copy: 0), .flush]
        }
        return steps
    }

    /// Pages that were written while they were copied.
    package func again(_ touched: [Page]) -> [Step] {
        touched.compactMap { page in
            guard let source = from.bitmapPageOffset(of: page.node, page: page.page),
                let target = to.bitmapPageOffset(of: page.node, page: page.page), page.page < usedPages
            else { return nil }
            return .copy(from: source, to: target, count: DiskLayout.blockSize)
        }
    }

    /// What tells where the metadata lie while the device is larger than they know: in the place of both superblocks, so that neither
    /// a spoilt block nor what another volume left there hides them.
    package var marks: [Step] {
        guard end > from.deviceEnd, let places = DiskLayout.superblockOffsets(from.placement, deviceSize: end) else {
            return []
        }
        var steps: [Step] = [.mark(offset: places.1)]
        if from.placement == .internal, places.0 >= from.deviceEnd { steps.append(.mark(offset: places.0)) }
        return steps + [.flush]
    }

    /// Whether the former layout is whole no more, or not the one that holds, should this be done in part.
    package func endsFormer(_ step: Step) -> Bool {
        let target: Range<UInt64>
        switch step {
        case .mark, .reserve, .flush: return false
        case .superblock: return true
        case .copy(_, let to, let count): target = to..<to + count
        case .clean(let node, let pages):
            guard let first = to.bitmapPageOffset(of: node, page: pages.lowerBound) else { return false }
            target = first..<first + UInt64(pages.count) * DiskLayout.blockSize
        }
        return former.contains { $0.overlaps(target) }
    }

    /// What of the former place is in use: the superblocks, the log, and of each bitmap that is given away the pages that are.
    private var former: [Range<UInt64>] {
        let block = DiskLayout.blockSize
        let superblocks = (0...1).map { from.superblockOffset(copy: $0) }.map { $0..<$0 + block }
        let bitmaps = from.peers.compactMap { from.bitmapOffset(of: $0) }.map { $0..<$0 + UInt64(usedPages) * block }
        return superblocks + bitmaps + [from.logOffset..<from.logOffset + from.logLength]
    }

    /// A page that was in no use may be made clean beside all else: nothing that is copied later is read from there.
    private func isPreparable(_ step: Step) -> Bool {
        if case .clean = step { !endsFormer(step) } else { false }
    }

    static func isBeside(_ from: DiskLayout, _ to: DiskLayout) -> Bool {
        from.placement == .internal && to.bitmapOffset >= from.deviceEnd
    }

    /// Of pages that are written while no metadata can be.
    static func bytesAtOnce(_ from: DiskLayout, _ to: DiskLayout) -> UInt64 {
        let move = DiskMove(from: from, to: to, size: from.dataSize, deviceSize: 0)
        guard !move.isBeside else { return 0 }
        return move.final(touched: []).reduce(0) { sum, step in
            switch step {
            case .copy(_, _, let count): sum + count
            case .clean(_, let pages): sum + UInt64(pages.count) * DiskLayout.blockSize
            default: sum
            }
        }
    }

    /// The bitmaps in the order in which no page is written over before it was read.
    private func pages(descending: Bool) -> [Step] {
        guard from.bitmapOffset != to.bitmapOffset || from.bitmapLength != to.bitmapLength || usedPages < to.bitmapPages
        else { return [] }
        var all: [[Step]] = []
        for node in to.peers {
            guard let target = to.bitmapOffset(of: node) else { continue }
            let source = from.bitmapOffset(of: node)
            var own: [Step] = []
            var page: UInt32 = 0
            let used = Swift.min(usedPages, from.bitmapPages)
            while let source, page < used, source != target {
                let count = Swift.min(Self.pagesAtOnce, used - page)
                let offset = UInt64(page) * DiskLayout.blockSize
                own.append(
                    .copy(from: source + offset, to: target + offset, count: UInt64(count) * DiskLayout.blockSize))
                page += count
            }
            page = Swift.max(page, Swift.min(used, to.bitmapPages))
            while page < to.bitmapPages {
                let last = Swift.min(page + Self.pagesAtOnce, to.bitmapPages)
                own.append(.clean(node, pages: page..<last))
                page = last
            }
            all.append(descending ? own.reversed() : own)
        }
        return (descending ? all.reversed() : all).flatMap { $0 }
    }
}
