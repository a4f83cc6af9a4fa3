import Foundation
import Testing

extension EndToEnd {
    /// The proxy does what its names say, tried on an echo.
    @Suite struct ProxyTests {
        /// Sends back what it gets, on every connection, until the listener is shut.
        private func withEcho(_ body: (FaultyProxy) throws -> Void) throws {
            signal(SIGPIPE, SIG_IGN)
            let listener = try listeningSocket(port: 0)
            Thread.detachNewThread {
                while true {
                    let client = accept4(listener, __SOCKADDR_ARG(__sockaddr__: nil), nil, Int32(SOCK_CLOEXEC.rawValue))
                    guard client >= 0 else { break }
                    Thread.detachNewThread {
                        var bytes = [UInt8](repeating: 0, count: 4096)
                        while true {
                            let count = recv(client, &bytes, bytes.count, 0)
                            guard count > 0, bytes[..<count].withUnsafeBytes({ sendAll(client, $0) }) else { break }
                        }
                        close(client)
                    }
                }
                close(listener)
            }
            defer { shutdown(listener, Int32(SHUT_RDWR)) }
            let proxy = try FaultyProxy(target: try localPort(of: listener))
            defer { proxy.close() }
            try body(proxy)
        }

        /// What came back of `bytes` within half a second; nil when the connection broke.
        private func echo(_ bytes: [UInt8], over descriptor: Int32) -> [UInt8]? {
            guard bytes.withUnsafeBytes({ sendAll(descriptor, $0) }) else { return nil }
            return receive(bytes.count, from: descriptor)
        }

        private func receive(_ count: Int, from descriptor: Int32) -> [UInt8]? {
            var answer: [UInt8] = []
            while answer.count < count, isReadable(descriptor, milliseconds: 500) {
                var piece = [UInt8](repeating: 0, count: count - answer.count)
                let got = recv(descriptor, &piece, piece.count, 0)
                guard got > 0 else { return answer.isEmpty ? nil : answer }
                answer += piece[..<got]
            }
            return answer
        }

        @Test func `passes, holds each way and delivers late`() throws {
            try withEcho { proxy in
                for direction in [Direction.toTarget, .fromTarget] {
                    let client = try #require(try connectedSocket(port: proxy.port))
                    defer { close(client) }
                    #expect(echo([1, 2, 3], over: client) == [1, 2, 3])
                    proxy.hold([direction])
                    #expect(echo([4, 5], over: client) == [])
                    proxy.pass()
                    #expect(receive(2, from: client) == [4, 5])
                }
            }
        }

        @Test func `cuts, refuses, and passes again`() throws {
            try withEcho { proxy in
                let client = try #require(try connectedSocket(port: proxy.port))
                defer { close(client) }
                #expect(echo([1], over: client) == [1])
                proxy.cut()
                #expect(receive(1, from: client) == nil)
                let refused = try connectedSocket(port: proxy.port)
                if let refused {
                    #expect(echo([1], over: refused) == nil)
                    close(refused)
                }
                proxy.pass()
                let next = try #require(try connectedSocket(port: proxy.port))
                defer { close(next) }
                #expect(echo([2], over: next) == [2])
            }
        }

        @Test func `cuts inside a message, and flips one bit`() throws {
            try withEcho { proxy in
                let client = try #require(try connectedSocket(port: proxy.port))
                defer { close(client) }
                proxy.corruptAfter(bytes: 5, .toTarget)
                #expect(echo([0, 0, 0, 0, 0, 0, 0], over: client) == [0, 0, 0, 0, 0, 0x10, 0])
                #expect(proxy.accidentHappened)
                proxy.cutAfter(bytes: 4, .toTarget)
                #expect((echo([1, 2, 3], over: client) ?? []).count == 3)
                #expect(echo([4, 5, 6], over: client) != [4, 5, 6])
                #expect(proxy.accidentHappened)
            }
        }

        @Test func `accepts and stays mute, and what was held can be lost`() throws {
            try withEcho { proxy in
                proxy.acceptAndStayMute()
                let mute = try #require(try connectedSocket(port: proxy.port))
                defer { close(mute) }
                #expect(echo([1], over: mute) == [])
                proxy.pass()
                #expect(receive(1, from: mute) == nil)
                let client = try #require(try connectedSocket(port: proxy.port))
                defer { close(client) }
                #expect(echo([1], over: client) == [1])
                proxy.hold()
                #expect(echo([2], over: client) == [])
                proxy.passDroppingHeld()
                #expect(receive(1, from: client) == nil)
            }
        }
    }
}
