import Daemon
import Formats
import Glibc
import LinuxIO
import Model
import ReplicationCore
import Testing

/// The test is the kernel: it holds the other ends of the device's sockets.
@Suite struct NBDServerDeviceTests {
    private final class Rig {
        let machine: Machine
        let server: NBDServer
        var events = EventQueue()
        /// What the core was asked, in order.
        var asked: [ClientRequest] = []
        var clients: [UInt32] = []
        /// For each connection that ended, how many of its requests were not answered.
        var ended: [Int] = []

        init() throws {
            machine = try Machine(entries: 64)
            let offer = NBDExportOffer(name: "r0", size: 1 << 20, state: .available)
            server = NBDServer(
                offer: offer, machine: machine, operations: 512, log: DaemonLog(volume: "r0", node: "alpha"))
            server.deviceEnded = { [unowned self] in self.ended.append($0) }
        }

        func adopt(_ count: Int) throws -> [Int32] {
            let pairs = try (0..<count).map { _ in try Sockets.pair() }
            #expect(server.adoptDevice(pairs.map(\.one), size: 1 << 20, &events))
            return pairs.map(\.other)
        }

        /// Some turns: whatever can happen has happened.
        func turn() {
            for _ in 0..<20 {
                server.resourcesAvailable(into: &events)
                server.flushSends()
                machine.ring.submitAndWait(until: monotonicNow() + 500_000)
                while let completion = machine.ring.nextCompletion() {
                    if completion.token.kind == TokenKind.deviceHangUp.rawValue {
                        server.completeHangUp(completion, into: &events)
                    } else {
                        server.complete(completion, into: &events)
                    }
                }
                while let event = events.popFirst() {
                    switch event {
                    case .clientRequest(let request): asked.append(request)
                    case .clientsChanged(let count): clients.append(count)
                    default: break
                    }
                }
            }
        }

        /// The core's part of a write.
        func answer(_ request: ClientRequest) {
            server.reply(request.ticket, .done, into: &events)
            if let buffer = request.buffer {
                server.noteReleased(buffer)
                machine.pool.release(buffer.index)
            }
        }

        func end(_ sockets: [Int32]) {
            for socket in sockets { close(socket) }
            server.endDevice(&events)
            for request in asked { answer(request) }
            asked = []
            turn()
        }
    }

    private func write(_ cookie: UInt64, at offset: UInt64) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 28)
        bytes.withUnsafeMutableBytes {
            var writer = ByteWriter($0)
            try? NBDRequest(.write, cookie: cookie, offset: offset, length: 4096).write(to: &writer)
        }
        return bytes + [UInt8](repeating: UInt8(truncatingIfNeeded: cookie), count: 4096)
    }

    private func send(_ bytes: ArraySlice<UInt8>, to socket: Int32) {
        #expect(Glibc.send(socket, Array(bytes), bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count)
    }

    private func reply(_ socket: Int32) -> UInt64? {
        var bytes = [UInt8](repeating: 0, count: 16)
        guard recv(socket, &bytes, 16, Int32(MSG_DONTWAIT)) == 16 else { return nil }
        return bytes[8...].reduce(0) { $0 << 8 | UInt64($1) }
    }

    @Test func `the device's connections need no handshake, and are no clients`() throws {
        let rig = try Rig()
        rig.server.serveDevice(true)
        let sockets = try rig.adopt(2)
        send(write(7, at: 0)[...], to: sockets[1])
        rig.turn()
        #expect(rig.asked.map(\.range) == [ByteRange(offset: 0, length: 4096)])
        rig.answer(rig.asked.removeFirst())
        rig.turn()
        #expect(reply(sockets[1]) == 7)
        #expect(rig.clients.isEmpty)
        rig.end(sockets)
        #expect(rig.ended == [0, 0])
    }

    @Test func `nothing is read of a device that is not served yet`() throws {
        let rig = try Rig()
        let sockets = try rig.adopt(1)
        send(write(1, at: 0)[...], to: sockets[0])
        rig.turn()
        #expect(rig.asked.isEmpty)
        rig.server.serveDevice(true)
        rig.turn()
        #expect(rig.asked.count == 1)
        rig.end(sockets)
    }

    @Test func `a repeated request waits until the first is done`() throws {
        let rig = try Rig()
        rig.server.serveDevice(true)
        let sockets = try rig.adopt(2)
        send(write(1, at: 0)[...], to: sockets[0])
        rig.turn()
        #expect(rig.asked.count == 1)
        // The kernel takes the connection for dead, and repeats the request on another.
        close(sockets[0])
        send(write(1, at: 0)[...], to: sockets[1])
        rig.turn()
        #expect(rig.ended == [1])
        #expect(rig.server.deviceConnections == 1)
        #expect(rig.asked.count == 1)
        rig.answer(rig.asked.removeFirst())
        rig.turn()
        #expect(rig.asked.count == 1)
        rig.end([sockets[1]])
    }

    @Test func `what an ended connection still had in its socket is never done`() throws {
        let rig = try Rig()
        let sockets = try rig.adopt(1)
        send(write(1, at: 0)[...], to: sockets[0])
        rig.turn()
        // Seen although nothing is read.
        close(sockets[0])
        rig.turn()
        #expect(rig.ended == [0])
        rig.server.serveDevice(true)
        rig.turn()
        #expect(rig.asked.isEmpty)
        #expect(rig.server.deviceConnections == 0)
    }

    @Test(arguments: [0, 5, 28, 1000, 4124])
    func `sockets are handed over between two requests`(begun: Int) throws {
        let rig = try Rig()
        rig.server.serveDevice(true)
        let sockets = try rig.adopt(1)
        let second = write(2, at: 8192)
        send((write(1, at: 0) + second.prefix(begun))[...], to: sockets[0])
        rig.turn()
        rig.server.quiesceDevice(&rig.events)
        rig.turn()
        #expect(!rig.server.isDeviceQuiet)
        // The rest of what was begun, and one more that the next daemon is to read.
        if begun > 0 { send(second.dropFirst(begun), to: sockets[0]) }
        let last = write(3, at: 16384)
        send(last[...], to: sockets[0])
        rig.turn()
        #expect(rig.asked.count == (begun > 0 ? 2 : 1))
        for request in rig.asked { rig.answer(request) }
        rig.asked = []
        rig.turn()
        #expect(rig.server.isDeviceQuiet)
        let kept = rig.server.takeDeviceSockets(&rig.events)
        #expect(kept.count == 1)
        var bytes = [UInt8](repeating: 0, count: 8192)
        #expect(recv(kept[0], &bytes, bytes.count, Int32(MSG_DONTWAIT)) == last.count)
        #expect(Array(bytes[..<last.count]) == last)
        // The connection lives: what was answered can be read, and nothing says that it ended.
        #expect(reply(sockets[0]) == 1)
        #expect(begun == 0 || reply(sockets[0]) == 2)
        #expect(recv(sockets[0], &bytes, 1, Int32(MSG_DONTWAIT)) == -1 && errno == EAGAIN)
        close(kept[0])
        rig.end(sockets)
    }
}
