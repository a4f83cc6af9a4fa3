import Formats
import Glibc
import LinuxIO
import Model

/// Where peers knock. All volumes of a witness may name one address: the first words of a connection say which volume is
/// meant, and they are only looked at here. The volume reads and judges them itself.
final class WitnessDoors {
    /// Accepted connections that have not said yet what they want.
    private static let visitorLimit = 64
    private static let patience: UInt64 = 3_000_000_000
    /// Between two looks at a hello that came in pieces.
    private static let pause: UInt64 = 20_000_000
    private static let peekBytes = HelloFrame.headerLength + HelloFrame.maximumBodyLength

    private struct Door {
        let address: NetworkAddress
        let socket: Int32
        var isAccepting = false
    }

    private struct Visitor {
        let socket: Int32
        let address: NetworkAddress
        let serial: UInt32
        let deadline: UInt64
        /// Half of a hello is there: looked at again then.
        var again: UInt64?
        var isPolled = false
    }

    enum Wish {
        case volume(String)
        /// It speaks another version of the protocol: any volume can tell it so.
        case otherVersion
        case notYet
        case nonsense
    }

    private let machine: Machine
    private let deliver: (Int32, NetworkAddress, Wish) -> Void
    private var doors: [Door] = []
    private var visitors: [Visitor?] = Array(repeating: nil, count: visitorLimit)
    private var serial: UInt32 = 0

    /// - Parameter deliver: takes over a connection, the door's address, and what its hello says.
    init(machine: Machine, deliver: @escaping (Int32, NetworkAddress, Wish) -> Void) {
        self.machine = machine
        self.deliver = deliver
    }

    /// Listens where a node is to be reached, unless another volume does so already.
    /// - Throws: as `PeerPort.start`.
    func open(for node: Configuration.Node) throws(CommandFailure) {
        guard !doors.contains(where: { $0.address == node.bindAddress && $0.socket >= 0 }) else { return }
        doors.append(Door(address: node.bindAddress, socket: try PeerPort.listen(for: node)))
        accept(doors.count - 1)
    }

    func close() {
        for (index, door) in doors.enumerated() {
            if door.isAccepting { machine.ring.cancel(Token(.door, slot: index)) }
            Sockets.close(door.socket)
        }
        doors = []
        for place in visitors.indices { dismiss(place) }
    }

    private func accept(_ index: Int) {
        guard doors.indices.contains(index), !doors[index].isAccepting else { return }
        doors[index].isAccepting = true
        machine.ring.accept(doors[index].socket, token: Token(.door, slot: index))
    }

    // MARK: What happened

    func complete(_ completion: Completion, at now: UInt64) {
        let slot = completion.token.slot
        if completion.token.kind == TokenKind.door.rawValue {
            guard doors.indices.contains(slot) else {
                if completion.error == nil { Sockets.close(completion.result) }
                return
            }
            doors[slot].isAccepting = false
            if completion.error == nil { welcome(completion.result, doors[slot].address, now) }
            accept(slot)
        } else if visitors.indices.contains(slot), visitors[slot]?.serial == completion.token.serial {
            visitors[slot]?.isPolled = false
            look(slot, now)
        }
    }

    var nextDeadline: UInt64 {
        var earliest = UInt64.max
        for case .some(let visitor) in visitors { earliest = min(earliest, visitor.again ?? visitor.deadline) }
        return earliest
    }

    func tick(at now: UInt64) {
        for place in visitors.indices {
            guard let visitor = visitors[place] else { continue }
            if visitor.deadline <= now {
                dismiss(place)
            } else if let again = visitor.again, again <= now {
                look(place, now)
            }
        }
    }

    // MARK: Visitors

    private func welcome(_ socket: Int32, _ address: NetworkAddress, _ now: UInt64) {
        // Whoever holds a place without saying anything loses it to the next one.
        let oldest = visitors.indices.min { visitors[$0]?.deadline ?? 0 < visitors[$1]?.deadline ?? 0 } ?? 0
        let place = visitors.firstIndex { $0 == nil } ?? oldest
        dismiss(place)
        serial &+= 1
        visitors[place] = Visitor(socket: socket, address: address, serial: serial, deadline: now + Self.patience)
        poll(place)
    }

    private func poll(_ place: Int) {
        guard let visitor = visitors[place], !visitor.isPolled else { return }
        visitors[place]?.isPolled = true
        visitors[place]?.again = nil
        machine.ring.poll(
            visitor.socket, events: Int16(POLLIN), token: Token(.visitor, slot: place, serial: visitor.serial))
    }

    private func dismiss(_ place: Int) {
        guard let visitor = visitors[place] else { return }
        visitors[place] = nil
        if visitor.isPolled {
            machine.ring.cancel(Token(.visitor, slot: place, serial: visitor.serial))
        }
        Sockets.close(visitor.socket)
    }

    private func look(_ place: Int, _ now: UInt64) {
        guard let visitor = visitors[place], !visitor.isPolled else { return }
        var bytes = [UInt8](repeating: 0, count: Self.peekBytes)
        let count = recv(visitor.socket, &bytes, bytes.count, Int32(MSG_PEEK) | Int32(MSG_DONTWAIT))
        guard count > 0 else {
            if count < 0, errno == EAGAIN || errno == EINTR { return poll(place) }
            return dismiss(place)
        }
        let wish = bytes[..<count].withUnsafeBytes { Self.wish(in: $0) }
        if case .notYet = wish {
            visitors[place]?.again = now + Self.pause
            return
        }
        visitors[place] = nil
        deliver(visitor.socket, visitor.address, wish)
    }

    /// What a connection's first bytes ask for.
    static func wish(in bytes: UnsafeRawBufferPointer) -> Wish {
        guard bytes.count >= HelloFrame.headerLength else { return .notYet }
        do throws(HelloError) {
            let header = try HelloFrame.decodeHeader(
                UnsafeRawBufferPointer(rebasing: bytes[..<HelloFrame.headerLength]))
            let end = HelloFrame.headerLength + header.bodyLength
            guard bytes.count >= end else { return .notYet }
            let body = UnsafeRawBufferPointer(rebasing: bytes[HelloFrame.headerLength..<end])
            guard case .hello(let hello) = try HelloFrame.decode(header, body: body) else { return .nonsense }
            return .volume(hello.volume)
        } catch {
            if case .otherVersion = error { return .otherVersion }
            return .nonsense
        }
    }
}
