import CLinuxNBD
import CLinuxURing
import Glibc

/// Why a kernel device is not had, or not given up; the description is a sentence.
package enum KernelDeviceError: Error, Equatable, Sendable, CustomStringConvertible {
    case moduleMissing
    /// Somebody else's, or not disconnected yet.
    case taken(path: String)
    case noSuchDevice(path: String)
    /// Mounted or open; who, in words.
    case inUse(path: String, holders: [String])
    case failed(SystemError)

    package var description: String {
        switch self {
        case .moduleMissing: "the kernel's module nbd is not loaded"
        case .taken(let path): "\(path) is in use by something else"
        case .noSuchDevice(let path): "there is no \(path)"
        case .inUse(let path, let holders): "\(path) is in use: \(holders.joined(separator: "; "))"
        case .failed(let error): error.description
        }
    }

    /// The kernel refuses whoever lacks CAP_SYS_ADMIN.
    package var isLackOfPrivilege: Bool {
        if case .failed(let error) = self { return error.code == EPERM || error.code == EACCES }
        return false
    }
}

/// One device of the kernel's NBD client: /dev/nbdN. Its functions block, some of them on I/O to the device itself, which
/// the ring's thread serves: never call them there.
package struct KernelBlockDevice: Equatable, Sendable {
    /// How the kernel was told of it.
    package enum Attachment: String, Sendable {
        /// The kernel keeps the device while nobody serves it, and takes fresh sockets.
        case netlink
        /// The device ends with the process that serves it: for kernels before Linux 4.12.
        case ioctl
    }

    package let index: UInt32

    package init(index: UInt32) { self.index = index }

    /// - Parameter path: /dev/nbdN.
    package init?(path: String) {
        let prefix = "/dev/nbd"
        guard path.hasPrefix(prefix), let index = UInt32(path.dropFirst(prefix.count)), index < 1 << 20,
            path == "\(prefix)\(index)"
        else { return nil }
        self.index = index
    }

    package var path: String { "/dev/nbd\(index)" }
    var folder: String { "/sys/block/nbd\(index)" }

    package static var isModuleLoaded: Bool { access("/sys/module/nbd", F_OK) == 0 }

    // What the kernel says of it.

    /// What CONNECT named, while the kernel has the device; nil for others.
    package var backend: String? { TextFile.firstLine("\(folder)/backend") }
    /// Bytes; 0 while it is not connected.
    package var size: UInt64 { (TextFile.firstLine("\(folder)/size").flatMap { UInt64($0) } ?? 0) * 512 }
    private var isConfigured: Bool { access("\(folder)/pid", F_OK) == 0 }

    /// A device that nobody uses, for the ioctl path; netlink finds its own.
    static func firstFree() -> KernelBlockDevice? {
        let numbers = TextFile.names(in: "/sys/block").compactMap { KernelBlockDevice(path: "/dev/\($0)")?.index }
        return numbers.sorted().map(KernelBlockDevice.init).first { !$0.isConfigured && $0.size == 0 }
    }

    // Netlink.

    /// Makes a device; its sockets must be served already, because whoever sees it opens it at once.
    package static func connect(
        _ connection: NBDNetlinkRequest.Connection
    ) throws(KernelDeviceError) -> KernelBlockDevice {
        guard isModuleLoaded else { throw .moduleMissing }
        let wanted = connection.index.map { KernelBlockDevice(index: $0).path } ?? "a free device"
        do throws(SystemError) {
            let netlink = try NBDNetlink()
            guard let index = try netlink.ask(.connect(connection), "connect \(wanted)") else {
                throw SystemError("connect \(wanted)", code: EPROTO)
            }
            return KernelBlockDevice(index: index)
        } catch {
            if error.code == EBUSY { throw .taken(path: wanted) }
            throw .failed(error)
        }
    }

    /// Fresh sockets for dead ones, or only another time-out. The kernel drops them without a word where the old ones live: then they end at once.
    package func reconfigure(sockets: [Int32], backend: String, timeout: UInt64) throws(KernelDeviceError) {
        guard self.backend == backend else { throw .noSuchDevice(path: path) }
        do throws(SystemError) {
            let netlink = try NBDNetlink()
            try netlink.ask(
                .reconfigure(index: index, sockets: sockets, backend: backend, timeout: timeout),
                "give \(path) fresh sockets")
        } catch {
            throw .failed(error)
        }
    }

    /// A larger size, while it is in use. Waits for what is in flight: on a thread that serves none of it.
    package func resize(to bytes: UInt64, backend: String) throws(KernelDeviceError) {
        guard self.backend == backend else { throw .noSuchDevice(path: path) }
        do throws(SystemError) {
            let netlink = try NBDNetlink()
            try netlink.ask(
                .resize(index: index, size: bytes, backend: backend), "give \(path) \(bytes) bytes")
        } catch {
            throw .failed(error)
        }
    }

    /// Ends the device: what is queued fails. Does not look who uses it, and waits for nobody's I/O.
    package func disconnect() throws(KernelDeviceError) {
        do throws(SystemError) {
            let netlink = try NBDNetlink()
            try netlink.ask(.disconnect(index: index), "disconnect \(path)")
        } catch {
            // Not connected any more.
            if error.code == EINVAL || error.code == ENODEV { return }
            throw .failed(error)
        }
    }

    // Life.

    /// After a device was made: waits until it can be opened and has its size, and opens it once, by which the kernel
    /// reads its partitions.
    /// - Parameter link: a symbolic link that udev makes, to be waited for as well when udev runs.
    package func awaitReady(size: UInt64, link: String?) throws(KernelDeviceError) {
        let latest = monotonicNow() + 5_000_000_000
        while true {
            let file = hablk_open(path, O_RDONLY | O_CLOEXEC, 0)
            let code = errno
            if file >= 0 {
                var bytes: UInt64 = 0
                let isRead = hablk_device_size(file, &bytes) == 0
                close(file)
                if isRead, bytes == size { break }
            }
            guard monotonicNow() < latest else {
                throw .failed(SystemError("open \(path)", code: file >= 0 ? ENXIO : code))
            }
            usleep(5000)
        }
        tune()
        guard let link, access("/run/udev/control", F_OK) == 0 else { return }
        let patience = monotonicNow() + 2_000_000_000
        while access(link, F_OK) != 0, monotonicNow() < patience { usleep(5000) }
    }

    /// The kernel's own defaults cut large requests into pieces of 128 KiB and sort what a network will not keep sorted.
    private func tune() {
        TextFile.write("none", to: "\(folder)/queue/scheduler")
        let most = TextFile.firstLine("\(folder)/queue/max_hw_sectors_kb").flatMap { UInt64($0) } ?? 0
        if most > 0 { TextFile.write(String(min(most, 1024)), to: "\(folder)/queue/max_sectors_kb") }
    }

    /// Gives the device up in order: nobody has it open, everything is written, and nobody can mount it meanwhile.
    /// - Parameters:
    ///   - patience: nanoseconds for whoever only looks into a new device, as udev does.
    ///   - end: disconnects it.
    /// - Throws: `inUse`, with nothing changed.
    package func release(
        patience: UInt64, by end: () throws(KernelDeviceError) -> Void
    ) throws(KernelDeviceError) {
        let latest = monotonicNow() + patience
        var claim: Int32 = -1
        while true {
            let holders = DeviceHolders.of(self)
            if holders.isEmpty {
                claim = hablk_open_exclusively(path)
                if claim >= 0 { break }
                // Gone with its last user, or never there.
                guard errno == EBUSY else { break }
            }
            guard monotonicNow() < latest, holders.allSatisfy(\.mayPass) else {
                let words = holders.isEmpty ? ["something that is not seen from here"] : holders.map(\.description)
                throw .inUse(path: path, holders: words)
            }
            usleep(20_000)
        }
        defer { if claim >= 0 { close(claim) } }
        if claim >= 0 { fsync(claim) }
        try end()
    }

    /// After it was disconnected: until the kernel has let go of it, so that it can be used again.
    package func awaitGone() {
        let latest = monotonicNow() + 5_000_000_000
        while size > 0 || isConfigured, monotonicNow() < latest { usleep(5000) }
    }
}

/// The ioctl path: one socket, and a thread that sits in the kernel for as long as the device lives.
package struct NBDIoctlDevice: Sendable {
    package let device: KernelBlockDevice
    private let file: Int32

    /// Tells the kernel all that it must know; `serve` begins.
    /// - Parameter socket: the kernel's end; it may be closed afterwards.
    package init(
        index: UInt32?, size: UInt64, blockSize: UInt64, flags: UInt64, socket: Int32
    ) throws(KernelDeviceError) {
        guard KernelBlockDevice.isModuleLoaded else { throw .moduleMissing }
        guard let device = index.map({ KernelBlockDevice(index: $0) }) ?? KernelBlockDevice.firstFree() else {
            throw .noSuchDevice(path: "free /dev/nbdN")
        }
        self.device = device
        let file = hablk_open(device.path, O_RDWR | O_CLOEXEC, 0)
        guard file >= 0 else {
            if errno == ENOENT || errno == ENXIO { throw .noSuchDevice(path: device.path) }
            throw .failed(.last("open \(device.path)"))
        }
        self.file = file
        for (request, value, what) in [
            (HABLK_NBD_SET_BLOCK_SIZE, blockSize, "set the block size of"),
            (HABLK_NBD_SET_BLOCKS, size / blockSize, "set the size of"),
            (HABLK_NBD_SET_FLAGS, flags, "set the flags of"),
            (HABLK_NBD_SET_SOCKET, UInt64(socket), "give a socket to"),
        ] {
            guard hablk_ioctl(file, request, UInt(value)) != 0 else { continue }
            let code = errno
            close(file)
            if code == EBUSY { throw .taken(path: device.path) }
            throw .failed(SystemError("\(what) \(device.path)", code: code))
        }
    }

    /// Returns when the device has ended.
    package func serve() {
        _ = hablk_ioctl(file, HABLK_NBD_DO_IT, 0)
        _ = hablk_ioctl(file, HABLK_NBD_CLEAR_SOCKET, 0)
        close(file)
    }

    package func disconnect() { _ = hablk_ioctl(file, HABLK_NBD_DISCONNECT, 0) }
}
