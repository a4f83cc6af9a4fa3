import Glibc
import LinuxIO
import Testing

@Suite struct SocketsTests {
    let folder = TemporaryFolder()

    @Test func `a dead Unix socket is replaced`() throws {
        let path = folder.file("control")
        Sockets.close(try Sockets.listenUnix(path))
        #expect(access(path, F_OK) == 0, "closing leaves the name")
        let second = try Sockets.listenUnix(path)
        let client = try Sockets.connectUnix(path)
        Sockets.close(client)
        Sockets.close(second)
    }

    @Test func `a live Unix socket is refused, also when its backlog is full`() throws {
        let path = folder.file("control")
        let listener = try Sockets.listenUnix(path, backlog: 1)
        #expect(throws: SocketError.inUse(path)) { try Sockets.listenUnix(path) }
        // Each refused look and this client sit in the backlog, which nobody empties.
        for _ in 0..<4 { #expect(throws: SocketError.inUse(path)) { try Sockets.listenUnix(path) } }
        Sockets.close(listener)
    }

    @Test func `a Unix socket is its owner's alone`() throws {
        let path = folder.file("control")
        let listener = try Sockets.listenUnix(path)
        var status = stat()
        #expect(stat(path, &status) == 0)
        #expect(status.st_mode & 0o777 == 0o600)
        let client = try Sockets.connectUnix(path)
        let who = try #require(Sockets.peerCredentials(of: client))
        #expect(who.process == getpid() && who.user == getuid() && who.group == getgid())
        Sockets.close(client)
        Sockets.close(listener)
    }

    @Test func `a file that is no socket is left alone, and long paths are refused`() throws {
        let path = folder.file("control")
        try BlockFile.create(path, size: 0).close()
        #expect(throws: SocketError.inTheWay(path: path)) { try Sockets.listenUnix(path) }
        #expect(access(path, F_OK) == 0)
        let long = "/var/tmp/" + String(repeating: "x", count: 99)
        #expect(throws: SocketError.pathLength(path: long, bytes: 108)) { try Sockets.listenUnix(long) }
        #expect(throws: SocketError.pathLength(path: "", bytes: 0)) { try Sockets.connectUnix("") }
    }

    @Test func `an address that is taken is refused`() throws {
        let listener = try Sockets.listenTCP(SocketAddress("127.0.0.1:0"))
        let address = try #require(Sockets.localAddress(of: listener))
        #expect(address.port != 0)
        #expect(throws: SocketError.inUse(address.description)) { try Sockets.listenTCP(address) }
        Sockets.close(listener)
    }

    @Test func `what paces a connection is chosen by name, and a name that is none changes nothing`() throws {
        let socket = try Sockets.openTCP(for: SocketAddress("127.0.0.1:1"))
        #expect(Sockets.setCongestionControl(socket, "reno") == 0)
        #expect(Sockets.setCongestionControl(socket, "no_such_one") == ENOENT)
        #expect(Sockets.congestionControl(of: socket) == "reno")
        Sockets.close(socket)
    }

    @Test func `the options of TCP take`() throws {
        let socket = try Sockets.openTCP(for: SocketAddress("127.0.0.1:1"))
        #expect(Sockets.setNoDelay(socket))
        #expect(Sockets.setUserTimeout(socket, milliseconds: 6000))
        #expect(Sockets.setBuffers(socket, send: 65536, receive: 65536))
        Sockets.close(socket)
    }

    @Test func `names are looked up`() throws {
        let found = try Sockets.resolve(host: "localhost", port: 7789)
        #expect(found.contains { $0.host == "127.0.0.1" || $0.host == "::1" })
        #expect(found.allSatisfy { $0.port == 7789 })
        #expect(throws: SocketError.self) { try Sockets.resolve(host: "no such host", port: 1) }
    }

    @Test(
        arguments: [
            "1.2.3.4:7789", "[::1]:7789", "0.0.0.0:0", "[::]:65535", "[2001:db8::1:0:0:7]:1", "255.255.255.255:1",
            "[::ffff:1.2.3.4]:5",
        ])
    func `an address is printed as it is parsed`(text: String) throws {
        let address = try SocketAddress(text)
        #expect(address.description == text)
        #expect(try HostAndPort(text).literal == address)
    }

    @Test(
        arguments: [
            "", ":", "1.2.3.4", "1.2.3.4:", ":7789", "1.2.3.4:65536", "1.2.3.4:-1", "1.2.3.4:+1", "1.2.3.4: 1",
            "1.2.3.4:1x", "1.2.3:1", "1.2.3.256:1", "::1:7789", "[::1]", "[::1]7789", "[1.2.3.4]:1", "[]:1", "[::1:1",
            "::1]:1", "[:::1]:1", "alpha:7789", "1.2.3.4\u{0}:1", "[fe80::1%]:1", "[fe80::1%nosuchdevice]:1",
            "1.2.3.4:١", "[::1%0]:1", "1.2.3.4:99999999999999999999",
        ])
    func `what is no address is refused with a reason`(text: String) {
        let error = #expect(throws: AddressError.self) { try SocketAddress(text) }
        #expect(error.map { !$0.reason.isEmpty } == true)
    }

    @Test func `a name is split from its port`() throws {
        let name = try HostAndPort("alpha.example:7789")
        #expect(name.host == "alpha.example" && name.port == 7789 && name.literal == nil)
        #expect(throws: AddressError.self) { try HostAndPort("al pha:1") }
    }
}
