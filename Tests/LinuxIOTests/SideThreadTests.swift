import LinuxIO
import Testing

@Suite struct SideThreadTests {
    @Test func `jobs run in order on one other thread`() throws {
        let ring = try Ring(entries: 8)
        let thread = try SideThread<Int>()
        for number in 0..<100 { thread.submit(UInt64(number)) { number * 2 } }
        var replies: [Int] = []
        let token = Token(kind: 1, slot: 0)
        while replies.count < 100 {
            ring.await(thread.wakeUp, token: token)
            _ = try completion(of: token, ring)
            while let reply = thread.nextReply() {
                #expect(reply.number == UInt64(replies.count))
                replies.append(reply.answer)
            }
        }
        #expect(replies == (0..<100).map { $0 * 2 })
    }

    @Test func `names are looked up aside`() throws {
        let ring = try Ring(entries: 8)
        let thread = try SideThread<Result<[SocketAddress], SocketError>>()
        thread.submit(1) {
            do throws(SocketError) { return .success(try Sockets.resolve(host: "127.0.0.1", port: 7)) } catch {
                return .failure(error)
            }
        }
        let token = Token(kind: 1, slot: 0)
        ring.await(thread.wakeUp, token: token)
        _ = try completion(of: token, ring)
        let reply = try #require(thread.nextReply())
        #expect(try reply.answer.get() == [try SocketAddress("127.0.0.1:7")])
    }

    @Test func `a thread that is given up while it works does no harm`() throws {
        for _ in 0..<50 {
            let thread = try SideThread<Int>()
            for number in 0..<10 { thread.submit(UInt64(number)) { number } }
        }
    }
}
