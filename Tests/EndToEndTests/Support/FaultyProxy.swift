import Foundation

/// Which bytes of a connection: towards the node that was dialled, or back.
enum Direction: Hashable, Sendable { case toTarget, fromTarget }

/// A TCP proxy that misbehaves on command. Held bytes wait in the sender's and its own buffers, as on a link that is
/// down; nothing is ever lost out of the middle of a stream, because TCP loses nothing there either.
final class FaultyProxy: @unchecked Sendable {
    private enum Greeting { case pass, refuse, stayMute }
    /// A fault for the bytes of one direction, once that many more have passed.
    private enum Accident { case cut, corrupt }

    let port: UInt16
    private let target: UInt16
    private let listener: Int32
    private let condition = NSCondition()
    // All below under `condition`.
    private var greeting = Greeting.pass
    private var held: Set<Direction> = []
    private var accidents: [Direction: (after: Int, what: Accident)] = [:]
    private var connections: [Connection] = []
    /// Bytes a second; 0: no bound.
    private var rate = 0
    private var isClosed = false
    private var passed = 0

    init(target: UInt16) throws {
        self.target = target
        listener = try listeningSocket(port: 0)
        port = try localPort(of: listener)
        Thread.detachNewThread { [self] in acceptLoop() }
    }

    /// No more faults: what was held is delivered, late as it is.
    func pass() {
        locked {
            greeting = .pass
            held = []
            accidents = [:]
            rate = 0
            endMute()
        }
    }

    /// Each connection gets no more than that through, each way.
    func slow(bytesPerSecond: Int) { locked { rate = bytesPerSecond } }

    /// Nothing arrives from now on, and nobody is told.
    func hold(_ directions: Set<Direction> = [.toTarget, .fromTarget]) {
        locked { held.formUnion(directions) }
    }

    /// Like `pass`, but what was held never arrives: its connections break.
    func passDroppingHeld() {
        locked {
            for connection in connections where !held.isEmpty { connection.abort() }
            greeting = .pass
            held = []
            endMute()
        }
    }

    /// All connections break, new ones are refused.
    func cut() {
        locked {
            greeting = .refuse
            for connection in connections { connection.abort() }
        }
    }

    /// New connections are accepted and never answered; the present ones break.
    func acceptAndStayMute() {
        locked {
            greeting = .stayMute
            for connection in connections { connection.abort() }
        }
    }

    /// After so many more bytes in a direction, most likely inside a frame, the connection breaks.
    func cutAfter(bytes: Int, _ direction: Direction) { locked { accidents[direction] = (bytes, .cut) } }

    /// After so many more bytes in a direction one bit is flipped.
    func corruptAfter(bytes: Int, _ direction: Direction) { locked { accidents[direction] = (bytes, .corrupt) } }

    /// Bytes that went through since the beginning, both ways.
    var bytesPassed: Int {
        condition.lock()
        defer { condition.unlock() }
        return passed
    }

    /// Whether the accident that was asked for has happened.
    var accidentHappened: Bool {
        condition.lock()
        defer { condition.unlock() }
        return accidents.isEmpty
    }

    func close() {
        locked {
            isClosed = true
            for connection in connections { connection.abort() }
        }
        shutdown(listener, Int32(SHUT_RDWR))
    }

    private func locked(_ change: () -> Void) {
        condition.lock()
        change()
        condition.broadcast()
        condition.unlock()
    }

    private func endMute() {
        for connection in connections where connection.target < 0 { connection.abort() }
    }

    private func acceptLoop() {
        while true {
            let client = accept4(listener, __SOCKADDR_ARG(__sockaddr__: nil), nil, Int32(SOCK_CLOEXEC.rawValue))
            condition.lock()
            let (mode, over) = (greeting, isClosed)
            condition.unlock()
            if client >= 0, over || mode == .refuse {
                abortConnection(client)
                Glibc.close(client)
            } else if client >= 0 {
                open(client, mute: mode == .stayMute)
            }
            if over { break }
        }
        Glibc.close(listener)
    }

    private func open(_ client: Int32, mute: Bool) {
        let upstream = mute ? -1 : (try? connectedSocket(port: target)) ?? nil
        guard let upstream else {
            abortConnection(client)
            Glibc.close(client)
            return
        }
        let connection = Connection(client: client, target: upstream)
        locked { connections.append(connection) }
        if mute {
            Thread.detachNewThread { [self] in
                while !connection.isAborted, !isReadable(client, milliseconds: 50) || drain(client) {}
                finish(connection)
            }
        } else {
            Thread.detachNewThread { [self] in pump(connection, .toTarget) }
            Thread.detachNewThread { [self] in pump(connection, .fromTarget) }
        }
    }

    private func drain(_ descriptor: Int32) -> Bool {
        var bytes = [UInt8](repeating: 0, count: 4096)
        return recv(descriptor, &bytes, bytes.count, 0) > 0
    }

    private func pump(_ connection: Connection, _ direction: Direction) {
        let (source, sink) =
            direction == .toTarget ? (connection.client, connection.target) : (connection.target, connection.client)
        var bytes = [UInt8](repeating: 0, count: 65536)
        var flows = true
        while flows {
            let count = recv(source, &bytes, bytes.count, 0)
            flows = count > 0 && deliver(&bytes, count, to: sink, connection, direction)
            if count > 0 { waitOnSlowLine(count) }
            if count == 0, waitWhileHeld(connection, direction) { shutdown(sink, Int32(SHUT_WR)) }
            if count < 0 { connection.abort() }
        }
        finish(connection)
    }

    private func deliver(
        _ bytes: inout [UInt8], _ count: Int, to sink: Int32, _ connection: Connection, _ direction: Direction
    ) -> Bool {
        guard waitWhileHeld(connection, direction) else { return false }
        var allowed = count
        var cut = false
        condition.lock()
        if let accident = accidents[direction] {
            if accident.after >= count {
                accidents[direction] = (accident.after - count, accident.what)
            } else {
                accidents[direction] = nil
                if accident.what == .corrupt { bytes[accident.after] ^= 0x10 }
                cut = accident.what == .cut
                if cut { allowed = accident.after }
            }
        }
        passed += allowed
        condition.unlock()
        let sent = bytes.withUnsafeBytes { sendAll(sink, UnsafeRawBufferPointer(rebasing: $0[..<allowed])) }
        if cut || !sent { connection.abort() }
        return sent && !cut
    }

    private func waitOnSlowLine(_ count: Int) {
        condition.lock()
        let rate = rate
        condition.unlock()
        if rate > 0 { pause(Double(count) / Double(rate)) }
    }

    /// False when the connection ended meanwhile.
    private func waitWhileHeld(_ connection: Connection, _ direction: Direction) -> Bool {
        condition.lock()
        defer { condition.unlock() }
        while held.contains(direction), !connection.isAborted { condition.wait() }
        return !connection.isAborted
    }

    /// The second of a connection's two ends closes it.
    private func finish(_ connection: Connection) {
        condition.lock()
        connection.ended += 1
        let last = connection.ended == (connection.target < 0 ? 1 : 2)
        if last { connections.removeAll { $0 === connection } }
        condition.unlock()
        guard last else { return }
        Glibc.close(connection.client)
        if connection.target >= 0 { Glibc.close(connection.target) }
    }
}

private final class Connection: @unchecked Sendable {
    let client: Int32
    let target: Int32
    var ended = 0
    private(set) var isAborted = false

    init(client: Int32, target: Int32) {
        self.client = client
        self.target = target
    }

    func abort() {
        isAborted = true
        abortConnection(client)
        if target >= 0 { abortConnection(target) }
    }
}

/// The link between two nodes: a proxy on the way to each, since either may dial.
final class FaultyLink {
    private let toAlpha: FaultyProxy
    private let toBravo: FaultyProxy

    init(alphaPort: UInt16, bravoPort: UInt16) throws {
        toAlpha = try FaultyProxy(target: alphaPort)
        toBravo = try FaultyProxy(target: bravoPort)
    }

    func proxy(to node: String) -> FaultyProxy { node == "alpha" ? toAlpha : toBravo }
    private var both: [FaultyProxy] { [toAlpha, toBravo] }

    func cut() { both.forEach { $0.cut() } }
    func pass() { both.forEach { $0.pass() } }
    func passDroppingHeld() { both.forEach { $0.passDroppingHeld() } }
    func acceptAndStayMute() { both.forEach { $0.acceptAndStayMute() } }
    func hold() { both.forEach { $0.hold() } }
    func slow(bytesPerSecond: Int) { both.forEach { $0.slow(bytesPerSecond: bytesPerSecond) } }
    func close() { both.forEach { $0.close() } }

    /// Nothing of what `node` says arrives; it still hears the other.
    func hold(from node: TestNode) {
        proxy(to: node.name).hold([.fromTarget])
        proxy(to: node.name == "alpha" ? "bravo" : "alpha").hold([.toTarget])
    }

    /// An accident on whichever connection carries what `node` says.
    func cutInMidFrame(from node: TestNode, afterBytes bytes: Int) {
        proxy(to: node.name).cutAfter(bytes: bytes, .fromTarget)
        proxy(to: node.name == "alpha" ? "bravo" : "alpha").cutAfter(bytes: bytes, .toTarget)
    }

    func corrupt(from node: TestNode, afterBytes bytes: Int) {
        proxy(to: node.name).corruptAfter(bytes: bytes, .fromTarget)
        proxy(to: node.name == "alpha" ? "bravo" : "alpha").corruptAfter(bytes: bytes, .toTarget)
    }

    var bytesPassed: Int { toAlpha.bytesPassed + toBravo.bytesPassed }

    /// Whether one of the two proxies had the accident that was asked for.
    var accidentHappened: Bool { toAlpha.accidentHappened || toBravo.accidentHappened }
}
