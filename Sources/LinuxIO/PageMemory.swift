import Glibc

/// Page-aligned, zeroed memory of its own mapping: fit for O_DIRECT, resident only where touched.
package struct PageMemory: ~Copyable {
    package let bytes: UnsafeMutableRawBufferPointer

    /// - Parameter count: bytes, more than 0; rounded up to whole pages. Traps when the address space is used up.
    package init(count: Int) {
        precondition(count > 0, "memory of no bytes")
        let page = Int(sysconf(Int32(_SC_PAGESIZE)))
        let length = (count + page - 1) / page * page
        let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
        guard let base = mmap(nil, length, PROT_READ | PROT_WRITE, flags, -1, 0), base != MAP_FAILED else {
            preconditionFailure("no memory for \(length) bytes: \(errorText(errno))")
        }
        // A huge page would make 2 MiB resident for one touched byte.
        madvise(base, length, MADV_NOHUGEPAGE)
        bytes = UnsafeMutableRawBufferPointer(start: base, count: length)
    }

    deinit { munmap(bytes.baseAddress, bytes.count) }

    package var start: UnsafeMutableRawPointer { bytes.baseAddress! }
}
