import Glibc
package import LinuxIO

/// What every part of the daemon works with: one ring, one pool of buffers. One for each process; one thread.
package final class Machine {
    package let ring: Ring
    package let pool: BufferPool
    /// Whose ring this one shares, so that it lives as long.
    private let base: Machine?
    /// Of each class of buffers, smallest first, so many are for writes that were answered: no client's and no peer's.
    package private(set) var reserved: [Int]

    /// 54 MiB of address space, of which only what was used is resident.
    package static let buffers = [
        BufferPool.SizeClass(bytes: 8 << 10, count: 512), BufferPool.SizeClass(bytes: 64 << 10, count: 160),
        BufferPool.SizeClass(bytes: 128 << 10, count: 64), BufferPool.SizeClass(bytes: 1 << 20, count: 32),
    ]

    /// Beside these a volume whose writes are answered early (`memory`, `async`) holds them until its peers have them:
    /// `sendBuffer` bytes in whole blocks, whatever their sizes. A buffer is less than twice as large as what lies in it,
    /// so that of each class twice the bytes are enough. Address space too: what was never used is not resident.
    package static func buffers(holding sendBuffer: UInt64) -> [BufferPool.SizeClass] {
        var classes: [BufferPool.SizeClass] = []
        var bytes = 8 << 10
        while bytes <= 1 << 20 {
            let count = Self.buffers.first { $0.bytes == bytes }?.count ?? max(16, (4 << 20) / bytes)
            classes.append(BufferPool.SizeClass(bytes: bytes, count: count + held(sendBuffer, bytes)))
            bytes *= 2
        }
        return classes
    }

    private static func held(_ sendBuffer: UInt64, _ bytes: Int) -> Int { Int(sendBuffer) * 2 / bytes + 1 }

    /// - Parameter sendBuffer: bytes; 0: every write is on all disks before it is answered.
    /// - Throws: when the ring that `HABLK_RING` asks for is not to be had.
    package convenience init(sendBuffer: UInt64) throws(SystemError) {
        try self.init(classes: sendBuffer == 0 ? Self.buffers : Self.buffers(holding: sendBuffer))
        if sendBuffer > 0 { reserved = pool.statistics.map { Self.held(sendBuffer, $0.bytes) } }
    }

    /// - Throws: when the ring that `HABLK_RING` asks for is not to be had.
    package init(entries: Int = 1024, classes: [BufferPool.SizeClass] = Machine.buffers) throws(SystemError) {
        ring = try Ring(entries: entries, modes: Self.ringModes(getenv("HABLK_RING").map { String(cString: $0) }))
        pool = BufferPool(classes: classes)
        base = nil
        reserved = classes.map { _ in 0 }
    }

    /// - Parameter wish: `HABLK_RING`, of the environment: a mode of the ring by its name. Nil or empty: the best that there is.
    package static func ringModes(_ wish: String?) throws(SystemError) -> [Ring.Mode] {
        guard let wish, !wish.isEmpty else { return Ring.Mode.allCases }
        guard let mode = Ring.Mode(rawValue: wish) else {
            let names = Ring.Mode.allCases.map(\.rawValue).joined(separator: ", ")
            throw SystemError("use HABLK_RING=\(wish.prefix(40)), which is none of \(names)", code: EINVAL)
        }
        return [mode]
    }

    /// How the daemon's log names what does the I/O.
    package var ringWords: String {
        ring.mode == .epoll
            ? "epoll and threads in place of io_uring, slower"
            : "ring \(ring.mode.rawValue)"
    }

    /// For one of many volumes that need no speed: the same ring, and one buffer for what a peer may send.
    ///
    /// - Parameter owner: as `Ring.init(sharing:owner:)` has it; completions bear it.
    package init(sharing machine: Machine, owner: Int) {
        ring = Ring(sharing: machine.ring, owner: owner)
        pool = BufferPool(classes: [BufferPool.SizeClass(bytes: 1 << 20, count: 1)])
        base = machine
        reserved = [0]
    }
}

/// Whose completion it is: the kind of its token. Slot and serial belong to the owner.
package enum TokenKind: UInt8, Sendable {
    // The volume.
    case disk = 1
    case nbdListener = 2
    case nbd = 3
    case wake = 4
    case signal = 5
    /// The threads of the kernel's device.
    case device = 7
    case deviceHangUp = 8
    /// The end of a fence command.
    case fence = 9
    /// Blocks that were kept aside.
    case keeping = 11
    /// What comparisons found was written.
    case comparing = 12
    /// Metadata that moved.
    case move = 10
    // The peers.
    case peerListener = 16
    case peer = 17
    // The witness's doors.
    case door = 24
    case visitor = 25
    // The administrator.
    case controlListener = 32
    case control = 33
}

extension Token {
    package init(_ kind: TokenKind, slot: Int = 0, serial: UInt32 = 0) {
        self.init(kind: kind.rawValue, slot: slot, serial: serial)
    }
}
