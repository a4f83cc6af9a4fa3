import Glibc

/// The pages of this program and its libraries that lie in memory.
package enum ProgramPages {
    /// Most of them were needed to start only, and the kernel maps sixteen around each that is. What is touched again comes from its
    /// file again, as at first: only mappings go that nothing was ever written to.
    ///
    /// - Returns: bytes of mappings that were given back.
    @discardableResult
    package static func giveBack() -> Int {
        let bytes = TextFile.bytes("/proc/self/smaps")
        var given = 0
        var mapping: Range<UInt>?
        var first = 0
        while first < bytes.count {
            var end = first
            while end < bytes.count, bytes[end] != UInt8(ascii: "\n") { end += 1 }
            let line = bytes[first..<end]
            first = end + 1
            if let byte = line.first, digit(byte) != nil {
                mapping = programMapping(line)
            } else if line.starts(with: "Anonymous:".utf8) {
                let isClean = !line.contains { (UInt8(ascii: "1")...UInt8(ascii: "9")).contains($0) }
                if isClean, let mapping, giveBack(mapping) { given += mapping.count }
            }
        }
        return given
    }

    private static func giveBack(_ mapping: Range<UInt>) -> Bool {
        guard let start = UnsafeMutableRawPointer(bitPattern: mapping.lowerBound) else { return false }
        return madvise(start, mapping.count, MADV_DONTNEED) == 0
    }

    /// `7f2bde600000-7f2bde6c0000 r--p 00000000 fe:00 1234   /usr/lib/…`: of a file, and never to be written.
    private static func programMapping(_ line: ArraySlice<UInt8>) -> Range<UInt>? {
        let words = line.split(separator: UInt8(ascii: " "))
        guard words.count >= 6, words[5].first == UInt8(ascii: "/"), words[1].count == 4 else { return nil }
        let rights = Array(words[1])
        let isReadOnly = rights[0] == UInt8(ascii: "r") && rights[1] == UInt8(ascii: "-")
        let ends = words[0].split(separator: UInt8(ascii: "-")).compactMap(number)
        guard isReadOnly, rights[3] == UInt8(ascii: "p"), ends.count == 2, ends[0] < ends[1] else { return nil }
        return ends[0]..<ends[1]
    }

    private static func number(_ digits: ArraySlice<UInt8>) -> UInt? {
        var number: UInt = 0
        for byte in digits {
            guard let digit = digit(byte), number >> 60 == 0 else { return nil }
            number = number << 4 | digit
        }
        return number
    }

    private static func digit(_ byte: UInt8) -> UInt? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt(byte - UInt8(ascii: "0"))
        case UInt8(ascii: "a")...UInt8(ascii: "f"): UInt(byte - UInt8(ascii: "a") + 10)
        default: nil
        }
    }
}
