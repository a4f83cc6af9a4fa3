import Formats
import LinuxIO
import Model

/// What `map` asks for.
struct DeviceWish: Equatable {
    /// nil: any that is free.
    var device: KernelBlockDevice?
    var attachment: KernelBlockDevice.Attachment
    /// Bytes.
    var blockSize: UInt64
}

/// Connected sockets, one end ours and one for the kernel.
struct SocketPair {
    let ours: Int32
    let theirs: Int32

    /// nil, with nothing left open, when there are not so many.
    static func make(_ count: Int) -> [SocketPair]? {
        var pairs: [SocketPair] = []
        for _ in 0..<count {
            guard let pair = try? Sockets.pair() else {
                for pair in pairs { Sockets.close(pair.ours) }
                closeTheirs(pairs)
                return nil
            }
            pairs.append(SocketPair(ours: pair.one, theirs: pair.other))
        }
        return pairs
    }

    static func closeTheirs(_ pairs: [SocketPair]) {
        for pair in pairs { Sockets.close(pair.theirs) }
    }
}

/// A kernel device on its way; all of it may block, and runs on a side thread.
struct MakingDevice: Sendable {
    let device: KernelBlockDevice?
    let blockSize: UInt64
    let size: UInt64
    let backend: String
    let timeout: UInt64
    /// The kernel's ends: it takes its own references, these are closed.
    let sockets: [Int32]
    let generation: GenerationID
    let notePath: String
    let udevLink: String

    func connect() -> Result<DeviceNote, KernelDeviceError> {
        defer { for socket in sockets { Sockets.close(socket) } }
        return Result { () throws(KernelDeviceError) in
            let made = try KernelBlockDevice.connect(
                NBDNetlinkRequest.Connection(
                    index: device?.index, size: size, blockSize: blockSize,
                    flags: UInt64(NBDServer.deviceFlags.rawValue), timeout: timeout,
                    deadConnectionTimeout: DevicePort.patience, backend: backend, sockets: sockets))
            let note = DeviceNote(
                device: made, attachment: .netlink, sockets: sockets.count, generation: generation)
            // At once: a daemon that ends here leaves a device that its successor must find.
            note.write(notePath)
            do throws(KernelDeviceError) {
                try made.awaitReady(size: size, link: udevLink)
            } catch {
                try? made.disconnect()
                throw error
            }
            return note
        }
    }

    /// The first half of the ioctl path: what follows is `NBDIoctlDevice.serve` on a thread of its own.
    func beginIoctl() -> Result<NBDIoctlDevice, KernelDeviceError> {
        defer { for socket in sockets { Sockets.close(socket) } }
        return Result { () throws(KernelDeviceError) in
            try NBDIoctlDevice(
                index: device?.index, size: size, blockSize: blockSize,
                flags: UInt64(NBDServer.deviceFlags.rawValue), socket: sockets[0])
        }
    }

    func awaitIoctl(_ begun: NBDIoctlDevice) -> Result<DeviceNote, KernelDeviceError> {
        Result { () throws(KernelDeviceError) in
            try begun.device.awaitReady(size: size, link: nil)
            let note = DeviceNote(device: begun.device, attachment: .ioctl, sockets: 1, generation: generation)
            note.write(notePath)
            return note
        }
    }
}
