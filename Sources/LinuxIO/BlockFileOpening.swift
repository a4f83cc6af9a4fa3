import CLinuxURing
import Glibc

extension BlockFile {
    /// Opens what is there, with O_DIRECT where the file system takes it, and takes it for this process alone.
    ///
    /// - Parameter waits: a moment for udev, which locks a device while it looks at it; else one attempt is all.
    package static func open(_ path: String, waits: Bool = true) throws(BlockFileError) -> BlockFile {
        let kind = try kindOfFile(path)
        return try open(path, kind, waits: waits)
    }

    /// Makes a regular file of `size` bytes without space of its own (sparse, all zeroes, mode 0600); opens it.
    /// - Throws: `exists` when anything bears that name.
    package static func create(_ path: String, size: UInt64) throws(BlockFileError) -> BlockFile {
        let descriptor = hablk_open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw openingFailure(path) }
        guard ftruncate(descriptor, Int(clamping: size)) == 0, fsync(descriptor) == 0 else {
            let error = errno
            Glibc.close(descriptor)
            unlink(path)
            if error == ENOSPC || error == EFBIG || error == EDQUOT { throw .noSpace(path: path, bytes: size) }
            throw .failed(path: path, SystemError("make a file of \(size) bytes", code: error))
        }
        Glibc.close(descriptor)
        makeNameDurable(path)
        return try open(path)
    }

    private enum Kind { case regularFile, blockDevice }

    private static func kindOfFile(_ path: String) throws(BlockFileError) -> Kind {
        var status = stat()
        guard stat(path, &status) == 0 else { throw openingFailure(path) }
        switch status.st_mode & S_IFMT {
        case S_IFREG: return .regularFile
        case S_IFBLK: return .blockDevice
        case S_IFDIR: throw .notAFileOrDevice(path: path, kind: "a directory")
        case S_IFCHR: throw .notAFileOrDevice(path: path, kind: "a character device")
        case S_IFSOCK: throw .notAFileOrDevice(path: path, kind: "a socket")
        case S_IFIFO: throw .notAFileOrDevice(path: path, kind: "a pipe")
        default: throw .notAFileOrDevice(path: path, kind: "something unknown")
        }
    }

    private static func open(_ path: String, _ kind: Kind, waits: Bool) throws(BlockFileError) -> BlockFile {
        let flags = O_RDWR | O_CLOEXEC | (kind == .blockDevice ? O_EXCL : 0)
        var notDirectBecause: String?
        var descriptor = hablk_open(path, flags | HABLK_O_DIRECT, 0)
        if descriptor < 0 && errno == EINVAL {
            notDirectBecause = "the file system does not take direct I/O"
            descriptor = hablk_open(path, flags, 0)
        }
        guard descriptor >= 0 else { throw openingFailure(path) }
        do {
            // udev takes a shared flock of a device after each close of a writer.
            try lock(descriptor, path, attempts: waits && kind == .blockDevice ? 20 : 1)
            let blockSize = try blockSize(descriptor, path, kind, &notDirectBecause)
            return BlockFile(
                path: path, descriptor: descriptor, isBlockDevice: kind == .blockDevice,
                identity: try identity(descriptor, path, kind), logicalBlockSize: blockSize,
                notDirectBecause: notDirectBecause, size: try sizeInBytes(of: descriptor, path))
        } catch {
            Glibc.close(descriptor)
            throw error
        }
    }

    private static func lock(_ descriptor: Int32, _ path: String, attempts: Int) throws(BlockFileError) {
        for attempt in 1...attempts {
            if hablk_lock_exclusively(descriptor) == 0 { return }
            guard errno == EWOULDBLOCK || errno == EINTR else { throw .failed(path: path, .last("lock it")) }
            if attempt < attempts { usleep(50_000) }
        }
        throw .inUse(path: path)
    }

    private static func blockSize(
        _ descriptor: Int32, _ path: String, _ kind: Kind, _ notDirectBecause: inout String?
    ) throws(BlockFileError) -> Int {
        if kind == .blockDevice {
            var bytes: Int32 = 0
            guard hablk_device_sector_size(descriptor, &bytes) == 0, bytes > 0 else {
                throw .failed(path: path, .last("ask for the sector size"))
            }
            return Int(bytes)
        }
        guard notDirectBecause == nil else { return 512 }
        let alignment = hablk_direct_alignment(descriptor)
        // A kernel that does not say (before 6.1, or this file system): 4096 is a multiple of every real sector size.
        if alignment < 0 { return 4096 }
        if alignment > 0 { return max(Int(alignment), 512) }
        notDirectBecause = "the file system does not take direct I/O for this file"
        let flags = fcntl(descriptor, F_GETFL)
        guard flags >= 0, fcntl(descriptor, F_SETFL, flags & ~HABLK_O_DIRECT) == 0 else {
            throw .failed(path: path, .last("leave direct I/O"))
        }
        return 512
    }

    private static func identity(
        _ descriptor: Int32, _ path: String, _ kind: Kind
    ) throws(BlockFileError) -> Identity {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw .failed(path: path, .last("look at it")) }
        // The name may have been given to something else since it was looked at; O_EXCL would then be missing.
        let isDevice = status.st_mode & S_IFMT == S_IFBLK
        guard isDevice == (kind == .blockDevice) else { throw .inUse(path: path) }
        if isDevice { return Identity(device: UInt64(status.st_rdev), inode: 0) }
        return Identity(device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
    }

    private static func openingFailure(_ path: String) -> BlockFileError {
        switch errno {
        case ENOENT, ENOTDIR, ENXIO, ENODEV: .missing(path: path)
        case EEXIST: .exists(path: path)
        case EACCES, EPERM: .permission(path: path)
        case EBUSY, ETXTBSY: .inUse(path: path)
        case EROFS: .readOnly(path: path)
        case EISDIR: .notAFileOrDevice(path: path, kind: "a directory")
        default: .failed(path: path, .last("open it"))
        }
    }

    /// A file that was made is there after a crash only when its folder is durable too.
    private static func makeNameDurable(_ path: String) {
        let folder = path.lastIndex(of: "/").map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
        let descriptor = hablk_open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0)
        guard descriptor >= 0 else { return }
        fsync(descriptor)
        Glibc.close(descriptor)
    }
}
