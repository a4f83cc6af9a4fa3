import CLinuxURing
import Glibc

/// A regular file or block device that this process alone has open for reading and writing.
///
/// Exclusive by flock (also against a second daemon on this machine) and, for devices, by the kernel's own claim
/// (against mounts, LVM, RAID). The data path uses `descriptor` through a `Ring`; what is here blocks and is for start,
/// stop and metadata.
package final class BlockFile {
    /// The same file under whichever name: the device and inode numbers, for a block device its own number and 0.
    package struct Identity: Equatable, Hashable, Sendable {
        package let device: UInt64
        package let inode: UInt64
    }

    package let path: String
    /// Open until `close()` or the end of this object; with nothing in flight then.
    package private(set) var descriptor: Int32
    package let isBlockDevice: Bool
    package let identity: Identity
    /// Offsets, counts and memory addresses of all I/O are multiples of this when `isDirect`; 512, 4096, …
    package let logicalBlockSize: Int
    /// Why it is opened through the page cache; nil when O_DIRECT took. Durability is the same, memory use is not.
    package let notDirectBecause: String?
    /// The kernel forgets RWF_DSYNC of direct writes that are not waited for in a user's file system (seen with Linux
    /// 6.18): such a write needs an `fdatasync` behind it before it counts as durable.
    package let forgetsDurableWrites: Bool
    /// Bytes; as of the opening or the last `refreshSize()`.
    package private(set) var size: UInt64

    package var isDirect: Bool { notDirectBecause == nil }

    init(
        path: String, descriptor: Int32, isBlockDevice: Bool, identity: Identity, logicalBlockSize: Int,
        notDirectBecause: String?, size: UInt64
    ) {
        self.path = path
        self.descriptor = descriptor
        self.isBlockDevice = isBlockDevice
        self.identity = identity
        self.logicalBlockSize = logicalBlockSize
        self.notDirectBecause = notDirectBecause
        self.size = size
        forgetsDurableWrites = !isBlockDevice && hablk_is_fuse(descriptor)
    }

    deinit { close() }

    /// Gives the file and its locks back. Nothing may be in flight; a second call does nothing.
    package func close() {
        guard descriptor >= 0 else { return }
        Glibc.close(descriptor)
        descriptor = -1
    }

    /// The same file, opened once more for a thread that may outlive this object: without its locks, and with a record of its own of what
    /// writes the kernel lost, so that neither takes the other's word for it. Nil: it cannot be.
    package func reopened() -> BlockFile? {
        let flags = O_RDWR | O_CLOEXEC | (isDirect ? HABLK_O_DIRECT : 0)
        let second = hablk_open("/proc/self/fd/\(descriptor)", flags, 0)
        guard second >= 0 else { return nil }
        return BlockFile(
            path: path, descriptor: second, isBlockDevice: isBlockDevice, identity: identity,
            logicalBlockSize: logicalBlockSize, notDirectBecause: notDirectBecause, size: size)
    }

    /// Looks at the size again, after somebody grew the device or file.
    @discardableResult
    package func refreshSize() throws(BlockFileError) -> UInt64 {
        size = try Self.sizeInBytes(of: descriptor, path)
        return size
    }

    /// As it is now; `size` stays.
    package func presentSize() throws(BlockFileError) -> UInt64 { try Self.sizeInBytes(of: descriptor, path) }

    /// Writes a block at `offset`, which a regular file may end before: then it grows to hold it.
    package func append(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(BlockFileError) {
        if !isBlockDevice, offset + UInt64(bytes.count) > size { size = offset + UInt64(bytes.count) }
        defer { if let present = try? presentSize() { size = present } }
        try write(bytes, at: offset)
    }

    /// Makes a regular file longer (sparse) or shorter. A device's size is not ours to set.
    package func truncate(to bytes: UInt64) throws(BlockFileError) {
        precondition(!isBlockDevice, "a device cannot be truncated")
        guard ftruncate(descriptor, Int(bytes)) == 0 else { throw failure("set the size", asked: bytes) }
        try refreshSize()
    }

    /// Reserves the space of a range so that later writes there cannot fail for want of it; the file grows to hold it.
    /// A block device has its space: nothing is done.
    /// - Throws: `noSpace`, or `cannotPreallocate` where the file system has no such call.
    package func preallocate(offset: UInt64, length: UInt64) throws(BlockFileError) {
        guard !isBlockDevice else { return }
        // Not posix_fallocate: where the file system cannot, it writes single bytes, which O_DIRECT refuses.
        while Glibc.fallocate(descriptor, 0, Int(offset), Int(length)) != 0 {
            if errno == EINTR { continue }
            if errno == EOPNOTSUPP { throw .cannotPreallocate(path: path) }
            throw failure("reserve space", asked: length)
        }
        try refreshSize()
    }

    /// Fills `bytes` from `offset` on; waits.
    package func read(_ bytes: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(BlockFileError) {
        try checkRange(UnsafeRawBufferPointer(bytes), offset)
        var done = 0
        while done < bytes.count {
            let count = pread(descriptor, bytes.baseAddress! + done, bytes.count - done, Int(offset) + done)
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw failure("read \(bytes.count) bytes at \(offset)", asked: 0) }
            guard count > 0 else { throw pastEnd(offset, bytes.count) }
            done += count
        }
    }

    /// Writes all of `bytes` at `offset`; waits until the file has them, not until they are durable. Never makes the
    /// file longer.
    package func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(BlockFileError) {
        try checkRange(bytes, offset)
        var done = 0
        while done < bytes.count {
            let count = pwrite(descriptor, bytes.baseAddress! + done, bytes.count - done, Int(offset) + done)
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else {
                throw failure("write \(bytes.count) bytes at \(offset)", asked: UInt64(bytes.count))
            }
            guard count > 0 else { throw pastEnd(offset, bytes.count) }
            done += count
        }
    }

    /// Waits until all writes that have completed are on stable storage.
    package func fdatasync() throws(BlockFileError) {
        while Glibc.fdatasync(descriptor) != 0 {
            // Not after EIO: the kernel reports a lost write once, a second call would say that all is well.
            guard errno == EINTR else { throw failure("make writes durable", asked: 0) }
        }
    }

    private func checkRange(_ bytes: UnsafeRawBufferPointer, _ offset: UInt64) throws(BlockFileError) {
        guard offset <= size, UInt64(bytes.count) <= size - offset else { throw pastEnd(offset, bytes.count) }
        guard isDirect else { return }
        let address = UInt(bitPattern: bytes.baseAddress)
        let all = UInt64(address) | offset | UInt64(bytes.count)
        guard all & UInt64(logicalBlockSize - 1) == 0 else {
            throw .misaligned(path: path, alignment: logicalBlockSize)
        }
    }

    private func pastEnd(_ offset: UInt64, _ count: Int) -> BlockFileError {
        .pastEnd(path: path, offset: offset, count: count, size: size)
    }

    private func failure(_ attempt: String, asked bytes: UInt64) -> BlockFileError {
        switch errno {
        case ENOSPC, EDQUOT, EFBIG: .noSpace(path: path, bytes: bytes)
        default: .failed(path: path, .last(attempt))
        }
    }

    static func sizeInBytes(of descriptor: Int32, _ path: String) throws(BlockFileError) -> UInt64 {
        let end = lseek(descriptor, 0, SEEK_END)
        guard end >= 0 else { throw .failed(path: path, .last("find the size")) }
        return UInt64(end)
    }
}
