import Foundation

/// Writes numbered blocks over NBD at a queue depth and remembers what was acknowledged. When its connection breaks it
/// tries again, on whichever node it was last pointed at. Reads in between are judged at once.
final class LoadClient: @unchecked Sendable {
    struct Report {
        var acknowledgedWrites = 0
        var checkedReads = 0
        var connections = 0
        /// The longest time without an acknowledgement while some request waited for one.
        var longestStall = 0.0
        var mismatches: [String] = []
    }

    private enum Operation {
        case write(block: Int, number: UInt64, forced: Bool)
        case read(block: Int)
        /// `covers`: the last acknowledged write of each block when it was sent.
        case flush(covers: [UInt64])
    }

    private let depth: Int
    private let firstByte: UInt64
    private let spacing: UInt64
    private let timeline: PowerTimeline?
    private let lock = NSLock()
    private let finished = DispatchSemaphore(value: 0)
    // Under `lock`.
    private var target: TestNode
    private var counted = Report()
    private var stopping = false
    private var abandoned = false
    // The worker's alone while it runs.
    private var histories: [BlockHistory]
    private var inFlight: [UInt64: Operation] = [:]
    private var busyBlocks: Set<Int> = []
    private var lastAnswer = now()
    private var nextNumber: UInt64 = 1
    private var nextCookie: UInt64 = 1
    private var random: SeededGenerator
    private var isRunning = false

    /// `blocks` blocks of 4 KiB from `firstByte` on, one each `spacing` bytes. `timeline` gets what is sent and heard.
    init(
        _ node: TestNode, blocks: Int = 1024, firstByte: UInt64 = 0, spacing: UInt64 = 4096, depth: Int = 16,
        seed: UInt64 = 1, timeline: PowerTimeline? = nil
    ) {
        target = node
        self.depth = depth
        self.firstByte = firstByte
        self.spacing = spacing
        self.timeline = timeline
        histories = Array(repeating: BlockHistory(), count: blocks)
        random = SeededGenerator(seed: seed)
    }

    deinit { precondition(!isRunning, "a load must be stopped") }

    var report: Report { locked { counted } }

    func start() {
        locked { (stopping, abandoned) = (false, false) }
        isRunning = true
        lastAnswer = now()
        Thread.detachNewThread { [self] in
            work()
            finished.signal()
        }
    }

    /// From now on to that node.
    func redirect(to node: TestNode) { locked { target = node } }

    /// Starts anew to measure stalls.
    func forgetStalls() { locked { counted.longestStall = 0 } }

    /// Lets requests in flight end, for at most `seconds`; then their fate stays open.
    @discardableResult
    func stop(seconds: Double = 10) -> Report {
        guard isRunning else { return report }
        locked { stopping = true }
        if finished.wait(timeout: .now() + seconds) == .timedOut {
            locked { abandoned = true }
            finished.wait()
        }
        isRunning = false
        return report
    }

    /// Waits until `count` more writes were acknowledged.
    func makeProgress(_ count: Int = 200, seconds: Double = 20) throws {
        let before = report.acknowledgedWrites
        try until("\(count) more acknowledged writes", seconds: seconds) {
            report.acknowledgedWrites >= before + count
        }
    }

    /// Reads every block from `node`: each holds its last acknowledged write or a later one that was open.
    func verify(on node: TestNode) throws {
        precondition(!isRunning, "verify when the load has stopped")
        try verify(&histories, on: node)
    }

    /// The same for what held at another moment; what is found is remembered in `histories`.
    func verify(_ histories: inout [BlockHistory], on node: TestNode) throws {
        let connection = try NBDConnection(node: node)
        var wrong = report.mismatches
        for block in histories.indices {
            let content = try connection.read(at: offset(of: block), length: NumberedBlock.bytes)
            if let mismatch = histories[block].judge(content, block: block) { wrong.append(mismatch) }
        }
        connection.disconnect()
        guard wrong.isEmpty else {
            throw Trouble("\(wrong.count) wrong blocks on \(node.name):\n" + wrong.prefix(10).joined(separator: "\n"))
        }
    }

    /// What each block holds, as far as the client knows; when the load has stopped.
    var presentHistories: [BlockHistory] {
        precondition(!isRunning, "ask when the load has stopped")
        return histories
    }

    /// How many blocks of a plain image are not as `histories` say.
    func wrongBlocks(_ histories: [BlockHistory], inImage path: String) throws -> Int {
        guard let image = FileHandle(forReadingAtPath: path) else { throw Trouble("no image at \(path)") }
        return try histories.indices.count(where: { block in
            try image.seek(toOffset: offset(of: block))
            var history = histories[block]
            return history.judge(Array(try image.read(upToCount: NumberedBlock.bytes) ?? Data()), block: block) != nil
        })
    }

    // MARK: the worker

    private func work() {
        while !locked({ stopping }) {
            do {
                let node = locked { target }
                let connection = try NBDConnection(node: node)
                locked { counted.connections += 1 }
                try drive(connection, on: node)
                connection.disconnect()
            } catch {
                // What was in flight may or may not have been applied.
                inFlight = [:]
                busyBlocks = []
                pause(0.02)
            }
        }
    }

    private func drive(_ connection: NBDConnection, on node: TestNode) throws {
        while true {
            let (stops, gone) = locked { (stopping, abandoned || target !== node) }
            if gone { throw Trouble("pointed elsewhere") }
            if stops && inFlight.isEmpty { return }
            while !stops && inFlight.count < depth { try sendNext(connection) }
            if isReadable(connection.descriptor, milliseconds: 50) { try receiveNext(connection) }
        }
    }

    private func sendNext(_ connection: NBDConnection) throws {
        let cookie = nextCookie
        nextCookie += 1
        let chance = random.next() % 100
        if chance < 1 {
            inFlight[cookie] = .flush(covers: histories.map(\.acknowledged))
            return try connection.sendRequest(.flush, cookie: cookie)
        }
        var block = Int.random(in: histories.indices, using: &random)
        while busyBlocks.contains(block) { block = Int.random(in: histories.indices, using: &random) }
        busyBlocks.insert(block)
        let length = UInt32(NumberedBlock.bytes)
        if chance < 20 {
            inFlight[cookie] = .read(block: block)
            try connection.sendRequest(.read, cookie: cookie, offset: offset(of: block), length: length)
        } else {
            let number = nextNumber
            nextNumber += 1
            let forced = chance < 25
            inFlight[cookie] = .write(block: block, number: number, forced: forced)
            note(.sent(block: block, write: number))
            let payload = NumberedBlock.content(write: number, block: block)
            try connection.sendRequest(
                .write, flags: forced ? 1 : 0, cookie: cookie, offset: offset(of: block), length: length,
                payload: payload)
        }
    }

    private func receiveNext(_ connection: NBDConnection) throws {
        let reply = try connection.receiveReply()
        guard let operation = inFlight[reply.cookie] else { throw Trouble("a reply to nothing: \(reply.cookie)") }
        guard reply.error == 0 else { throw NBDTrouble(code: reply.error, description: "error \(reply.error)") }
        var mismatch: String?
        if case .read(let block) = operation {
            let content = try connection.receive(NumberedBlock.bytes)
            mismatch = histories[block].judge(content, block: block)
            busyBlocks.remove(block)
        }
        inFlight[reply.cookie] = nil
        switch operation {
        case .write(let block, let number, let forced):
            note(.acknowledged(block: block, write: number, forced: forced))
            busyBlocks.remove(block)
        case .flush(let covers): note(.flushed(covers: covers))
        case .read: break
        }
        let time = now()
        locked {
            counted.longestStall = max(counted.longestStall, time - lastAnswer)
            if case .write = operation { counted.acknowledgedWrites += 1 }
            if case .read = operation { counted.checkedReads += 1 }
            if let mismatch { counted.mismatches.append(mismatch) }
        }
        lastAnswer = time
    }

    private func note(_ event: ClientEvent) {
        event.apply(to: &histories)
        timeline?.note(event)
    }

    private func offset(of block: Int) -> UInt64 { firstByte + UInt64(block) * spacing }

    private func locked<Result>(_ body: () -> Result) -> Result {
        lock.lock()
        defer { lock.unlock() }
        return body()
    }
}

/// Runs `body` while a load runs on `node`, and stops the load whatever happens.
func withLoad(_ load: LoadClient, _ body: () throws -> Void) throws {
    load.start()
    defer { load.stop() }
    try load.makeProgress()
    try body()
}
