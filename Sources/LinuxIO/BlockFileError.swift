/// Why a file or device cannot be had or used; the description is a sentence for an administrator.
package enum BlockFileError: Error, Equatable, Sendable, CustomStringConvertible {
    case missing(path: String)
    case exists(path: String)
    case permission(path: String)
    /// Another process has it: another daemon, a mounted file system, LVM, md, a swap area.
    case inUse(path: String)
    /// A directory, a character device, a socket, …: `kind` says which.
    case notAFileOrDevice(path: String, kind: String)
    case readOnly(path: String)
    /// - bytes: how many were asked for.
    case noSpace(path: String, bytes: UInt64)
    /// An access beyond the end: nothing was transferred there.
    case pastEnd(path: String, offset: UInt64, count: Int, size: UInt64)
    /// O_DIRECT needs multiples of `alignment`.
    case misaligned(path: String, alignment: Int)
    case cannotPreallocate(path: String)
    case failed(path: String, SystemError)

    package var description: String {
        switch self {
        case .missing(let path): "\(path) does not exist"
        case .exists(let path): "\(path) exists already"
        case .permission(let path): "\(path) may not be opened for reading and writing by this user"
        case .inUse(let path): "\(path) is in use by another process (a daemon, a mount, LVM, RAID or swap)"
        case .notAFileOrDevice(let path, let kind): "\(path) is \(kind), not a regular file or block device"
        case .readOnly(let path): "\(path) is read-only"
        case .noSpace(let path, let bytes): "there is no space for \(bytes) bytes in \(path)"
        case .pastEnd(let path, let offset, let count, let size):
            "\(path) ends at byte \(size): bytes \(offset) up to \(offset + UInt64(count)) are not there"
        case .misaligned(let path, let alignment):
            "\(path) is opened for direct I/O, which needs multiples of \(alignment) bytes"
        case .cannotPreallocate(let path): "the file system of \(path) cannot reserve space"
        case .failed(let path, let error): "\(path): \(error)"
        }
    }
}
