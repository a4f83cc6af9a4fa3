/// Writes without pause, eight at a time, wherever the primary is, and remembers what was acknowledged.
struct DemoWriter {
    static let blockSize: UInt64 = 4096
    private static let depth = 8
    /// `hablkdrl`
    private static let mark: UInt64 = 0x6861_626c_6b64_726c

    /// What a block must hold.
    private struct Write {
        var block: UInt64
        var number: UInt64
    }

    /// Asked in this order.
    private let endpoints: [DemoEndpoint]
    private let export: String
    private let pause: UInt32
    /// The part of the volume that is ours, in blocks.
    private let blocks: Range<UInt64>
    private var client: DemoClient?
    private var outstanding: [Write] = []
    private var nextNumber: UInt64 = 1
    /// For each block of `blocks`, the number of the last acknowledged write; 0: none.
    private var acknowledged: [UInt64]
    private(set) var acknowledgedCount = 0
    private var lastAcknowledgement: UInt64?
    /// The longest time between two acknowledgements, nanoseconds.
    private(set) var longestWait: UInt64 = 0

    /// - Parameter pause: after each write, milliseconds.
    init(endpoints: [DemoEndpoint], export: String, blocks: Range<UInt64>, pause: UInt32 = 0) {
        self.endpoints = endpoints
        self.pause = pause
        self.export = export
        self.blocks = blocks
        acknowledged = Array(repeating: 0, count: blocks.count)
    }

    /// Sends what fits and takes one reply. With no primary in reach it tries again after a moment; what was not
    /// acknowledged is written again then.
    mutating func step() {
        do throws(DemoClientError) {
            if client == nil { try reconnect() }
            guard let client else { return Now.sleep(milliseconds: 5) }
            while outstanding.count < Self.depth {
                let write = Write(
                    block: blocks.lowerBound + nextNumber * 7919 % UInt64(blocks.count), number: nextNumber)
                outstanding.append(write)
                nextNumber += 1
                try begin(write, client)
            }
            let number = try client.takeReply()
            guard let index = outstanding.firstIndex(where: { $0.number == number }) else { return }
            note(outstanding.remove(at: index))
            if pause > 0 { Now.sleep(milliseconds: pause) }
        } catch {
            client = nil
        }
    }

    /// Takes the replies that are still to come, flushes and hangs up.
    mutating func finish() -> Bool {
        let deadline = Now.nanoseconds + 20_000_000_000
        while !outstanding.isEmpty, Now.nanoseconds < deadline {
            do throws(DemoClientError) {
                if client == nil { try reconnect() }
                guard let client else {
                    Now.sleep(milliseconds: 5)
                    continue
                }
                let number = try client.takeReply()
                guard let index = outstanding.firstIndex(where: { $0.number == number }) else { continue }
                note(outstanding.remove(at: index))
            } catch {
                client = nil
            }
        }
        guard outstanding.isEmpty, let client, (try? client.flush()) != nil else { return false }
        client.disconnect()
        self.client = nil
        return true
    }

    private mutating func note(_ write: Write) {
        acknowledged[Int(write.block - blocks.lowerBound)] = write.number
        acknowledgedCount += 1
        let now = Now.nanoseconds
        if let last = lastAcknowledgement { longestWait = max(longestWait, now - last) }
        lastAcknowledgement = now
    }

    private mutating func reconnect() throws(DemoClientError) {
        for endpoint in endpoints {
            guard let found = try? DemoClient(endpoint, export: export) else { continue }
            client = found
            for write in outstanding { try begin(write, found) }
            return
        }
    }

    private func begin(_ write: Write, _ client: DemoClient) throws(DemoClientError) {
        try client.begin(
            .write, cookie: write.number, offset: write.block * Self.blockSize, length: UInt32(Self.blockSize),
            payload: Self.content(write.block, write.number))
    }

    /// A block that says which write it came from, all over, and that it is nobody else's.
    static func content(_ block: UInt64, _ number: UInt64) -> [UInt8] {
        let stamp = DemoClient.bytes(block ^ Self.mark) + DemoClient.bytes(number)
        return (0..<Int(blockSize) / stamp.count).flatMap { _ in stamp }
    }

    /// How many acknowledged writes are not where they should be, read back from `client`.
    func countLost(_ client: DemoClient) throws(DemoClientError) -> Int {
        var lost = 0
        for (index, number) in acknowledged.enumerated() where number > 0 {
            let block = blocks.lowerBound + UInt64(index)
            let found = try client.read(offset: block * Self.blockSize, length: UInt32(Self.blockSize))
            if found != Self.content(block, number) { lost += 1 }
        }
        return lost
    }
}
