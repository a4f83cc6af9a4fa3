import CLinuxNBD
import CLinuxURing
import Glibc

/// What the kernel's NBD client is asked over generic netlink. All of it needs CAP_SYS_ADMIN.
package enum NBDNetlinkRequest: Equatable, Sendable {
    /// A device begins: the kernel takes the sockets, which are in transmission already.
    case connect(Connection)
    /// Fresh sockets take the place of dead ones, one for one; the kernel silently drops those for which none is dead.
    /// - Parameter timeout: seconds for one request from now on; nil: as it was.
    case reconfigure(index: UInt32, sockets: [Int32], backend: String, timeout: UInt64?)
    /// Another size. The kernel waits until nothing is in flight.
    case resize(index: UInt32, size: UInt64, backend: String)
    /// Requests in flight and later ones fail with EIO.
    case disconnect(index: UInt32)

    package struct Connection: Equatable, Sendable {
        /// nil: the kernel finds a free device or makes one.
        package var index: UInt32?
        package var size: UInt64
        package var blockSize: UInt64
        /// As `NBDTransmissionFlags` has them. Several sockets need CAN_MULTI_CONN.
        package var flags: UInt64
        /// Seconds until the kernel gives a socket up that did not answer one request.
        package var timeout: UInt64
        /// Seconds that requests wait without any socket; 0 would fail them at once.
        package var deadConnectionTimeout: UInt64
        /// Shown by /sys/block/nbdN/backend; every later `reconfigure` must say the same.
        package var backend: String
        package var sockets: [Int32]

        package init(
            index: UInt32?, size: UInt64, blockSize: UInt64, flags: UInt64, timeout: UInt64,
            deadConnectionTimeout: UInt64, backend: String, sockets: [Int32]
        ) {
            self.index = index
            self.size = size
            self.blockSize = blockSize
            self.flags = flags
            self.timeout = timeout
            self.deadConnectionTimeout = deadConnectionTimeout
            self.backend = backend
            self.sockets = sockets
        }
    }

    /// - Parameter family: what the kernel calls "nbd".
    package func message(family: UInt16, sequence: UInt32) -> NetlinkMessage {
        var message = NetlinkMessage(
            family: family, command: command, version: UInt8(NBD_GENL_VERSION), sequence: sequence)
        switch self {
        case .connect(let device):
            if let index = device.index { message.add(UInt16(NBD_ATTR_INDEX), index) }
            message.add(UInt16(NBD_ATTR_SIZE_BYTES), device.size)
            message.add(UInt16(NBD_ATTR_BLOCK_SIZE_BYTES), device.blockSize)
            message.add(UInt16(NBD_ATTR_SERVER_FLAGS), device.flags)
            message.add(UInt16(NBD_ATTR_TIMEOUT), device.timeout)
            message.add(UInt16(NBD_ATTR_DEAD_CONN_TIMEOUT), device.deadConnectionTimeout)
            message.add(UInt16(NBD_ATTR_BACKEND_IDENTIFIER), device.backend)
            message.addSockets(device.sockets)
        case .reconfigure(let index, let sockets, let backend, let timeout):
            message.add(UInt16(NBD_ATTR_INDEX), index)
            message.add(UInt16(NBD_ATTR_BACKEND_IDENTIFIER), backend)
            if let timeout { message.add(UInt16(NBD_ATTR_TIMEOUT), timeout) }
            if !sockets.isEmpty { message.addSockets(sockets) }
        case .resize(let index, let size, let backend):
            message.add(UInt16(NBD_ATTR_INDEX), index)
            message.add(UInt16(NBD_ATTR_SIZE_BYTES), size)
            message.add(UInt16(NBD_ATTR_BACKEND_IDENTIFIER), backend)
        case .disconnect(let index):
            message.add(UInt16(NBD_ATTR_INDEX), index)
        }
        return message
    }

    private var command: UInt8 {
        switch self {
        case .connect: UInt8(NBD_CMD_CONNECT)
        case .reconfigure, .resize: UInt8(NBD_CMD_RECONFIGURE)
        case .disconnect: UInt8(NBD_CMD_DISCONNECT)
        }
    }
}

extension NetlinkMessage {
    /// NBD_ATTR_SOCKETS { NBD_SOCK_ITEM { NBD_SOCK_FD } … }
    fileprivate mutating func addSockets(_ sockets: [Int32]) {
        addNested(UInt16(NBD_ATTR_SOCKETS)) { list in
            for socket in sockets {
                list.addNested(UInt16(NBD_SOCK_ITEM)) { $0.add(UInt16(NBD_SOCK_FD), UInt32(bitPattern: socket)) }
            }
        }
    }
}

/// A netlink socket to the kernel's NBD client. Each call blocks until the kernel has done it: on a `SideThread`.
package struct NBDNetlink: ~Copyable {
    private let socket: Int32
    private let family: UInt16

    /// - Throws: ENOENT when the kernel has no such family: the module is not loaded, or older than netlink (Linux 4.12).
    package init() throws(SystemError) {
        socket = hablk_socket_netlink(NETLINK_GENERIC)
        guard socket >= 0 else { throw .last("open a netlink socket") }
        var question = NetlinkMessage(
            family: NetlinkReply.controlFamily, command: UInt8(CTRL_CMD_GETFAMILY), version: 1, sequence: 1)
        question.add(UInt16(CTRL_ATTR_FAMILY_NAME), NBD_GENL_FAMILY_NAME)
        do throws(SystemError) {
            let answer = try Self.ask(socket, question, sequence: 1, "find the kernel's netlink family nbd")
            guard let number = answer.first(where: { $0.type == UInt16(CTRL_ATTR_FAMILY_ID) })?.halfWord else {
                throw SystemError("find the kernel's netlink family nbd", code: ENOENT)
            }
            family = number
        } catch {
            close(socket)
            throw error
        }
    }

    deinit { close(socket) }

    /// - Returns: the device's number, for `connect`.
    @discardableResult
    package func ask(_ request: NBDNetlinkRequest, _ attempt: String) throws(SystemError) -> UInt32? {
        let answer = try Self.ask(socket, request.message(family: family, sequence: 2), sequence: 2, attempt)
        return answer.first { $0.type == UInt16(NBD_ATTR_INDEX) }?.word
    }

    private static func ask(
        _ socket: Int32, _ message: NetlinkMessage, sequence: UInt32, _ attempt: String
    ) throws(SystemError) -> [NetlinkReply.Attribute] {
        let bytes = message.bytes
        guard send(socket, bytes, bytes.count, 0) == bytes.count else { throw .last(attempt) }
        var found: [NetlinkReply.Attribute] = []
        var datagram = [UInt8](repeating: 0, count: 32 << 10)
        while true {
            let count = recv(socket, &datagram, datagram.count, 0)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw .last(attempt) }
            for reply in NetlinkReply.decode(Array(datagram[..<count])) {
                switch reply {
                case .data(sequence, let attributes): found += attributes
                case .end(sequence, 0): return found
                case .end(sequence, let code): throw SystemError(attempt, code: code)
                case .data, .end: break
                }
            }
        }
    }
}
