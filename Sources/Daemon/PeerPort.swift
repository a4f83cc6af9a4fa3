import Formats
package import LinuxIO
package import Model
package import ReplicationCore

/// How long, how many, how much: bounds of the peer link. Nanoseconds.
package struct PeerPortLimits: Sendable {
    /// From the accept or the connect to the open session.
    package var greetingTimeout: UInt64 = 3_000_000_000
    /// A frame that takes long to arrive, or waits for a buffer, is told as a sign of life so often.
    package var signOfLifeInterval: UInt64 = 200_000_000
    /// From the dial to the connected socket; all addresses of a name together.
    package var dialTimeout: UInt64 = 2_000_000_000
    /// A `confirm` waits so long for a frame to travel with.
    package var confirmDelay: UInt64 = 2_000_000
    /// What was queued before a session was closed may take so long to leave.
    package var partingTimeout: UInt64 = 1_000_000_000
    /// Accepted connections that have not proved anything yet; the oldest makes room for a new one.
    package var halfOpen = 16
    /// Connections of all kinds.
    package var sessions = 64
    /// Bytes that wait for one peer to take them, payloads counted: beyond it the peer is not worth waiting for.
    package var queuedBytes = 64 << 20
    package var stream = ByteStream.Limits(
        queuedBytes: 64 << 20, headerBytes: 512 << 10, segments: 8192, receiveBytes: 128 << 10)
    /// For tests: sizes of the kernel's socket buffers; nil: the kernel's own tuning.
    package var socketBuffers: Int?

    package init() {}

    /// Beside what was queued at once, `sendBuffer` bytes that were answered may wait for one peer.
    package init(sendBuffer: UInt64) {
        queuedBytes += Int(sendBuffer)
        stream.queuedBytes = queuedBytes
        stream.segments += 2 * Int(sendBuffer >> 12)
    }
}

/// All connections to peers: dials, accepts, greets, and then carries frames. Decides nothing about replication.
///
/// Events for the core come out of `complete`, `tick` and `buffersAvailable` only, in the order in which things happened.
/// One thread. On the data path nothing is allocated and no closure is made.
package final class PeerPort {
    struct Dial {
        var serial: UInt32
        var deadline: UInt64
        /// In which the peer is greeted.
        var version: UInt16
        /// Addresses not yet tried, in order.
        var candidates: [SocketAddress]
        var problem: String
    }

    package private(set) var identity: PeerIdentity
    /// Peers that were heard to know former nodes, and which: the next dial speaks so.
    var knownFormer = PerNode<[Hello.Node]?>(repeating: nil)
    let own: Configuration.Node
    let machine: Machine
    let limits: PeerPortLimits
    let note: (Note) -> Void
    var slots: [PeerSession?]
    /// The slots' sessions, without the holes.
    var live: [PeerSession] = []
    var dials: [Dial?] = Array(repeating: nil, count: Int(NodeSet.capacity))
    var resolver: SideThread<Result<[SocketAddress], SocketError>>?
    var discards = NodeSet()
    /// Whoever said that it speaks an earlier version only is greeted in that the next time.
    var earlierVersions: [UInt16?] = Array(repeating: nil, count: Int(NodeSet.capacity))
    /// Payloads for each node since the start.
    var traffic: [PeerTraffic] = Array(repeating: PeerTraffic(), count: Int(NodeSet.capacity))
    var serial: UInt32 = 0
    var listener: Int32 = -1
    var isAccepting = false
    /// `stop` was called.
    var isLeaving = false
    /// Accepting failed (no descriptors): again then.
    var acceptAgain: UInt64?
    /// Events that arose where there was no queue for them.
    var pending: [Event] = []
    /// Why the last dial of each node failed, so that the log says it once.
    var lastProblems: [String?] = Array(repeating: nil, count: Int(NodeSet.capacity))
    var complaints = Complaints()
    /// What the kernel did not take, once it was said.
    var unknownCongestionControl: String?
    let scratch: UnsafeMutableRawBufferPointer

    /// - Throws: `configuration` or `notPermitted` when the secret cannot be used.
    package init(
        configuration: Configuration, node: Configuration.Node, run: RunID, machine: Machine,
        limits: PeerPortLimits = PeerPortLimits(), note: @escaping (Note) -> Void
    ) throws(CommandFailure) {
        let secret = try configuration.secret().map { PeerSecret(key: $0) }
        identity = PeerIdentity(configuration: configuration, node: node.id, run: run, secret: secret)
        own = node
        self.machine = machine
        self.limits = limits
        self.note = note
        slots = Array(repeating: nil, count: limits.sessions)
        live.reserveCapacity(limits.sessions)
        scratch = .allocate(byteCount: PeerFrame.maximumEncodedLength, alignment: 16)
    }

    deinit { scratch.deallocate() }

    // MARK: Beginning and end

    /// Listens where the configuration says.
    /// - Throws: `configuration` when the address is not this machine's, `refused` when it is taken.
    package func start() throws(CommandFailure) {
        listener = try Self.listen(for: own)
        tellHowOpen()
        note(Note(.info, "connection", "listening for peers at \(own.bindAddress)"))
        accept()
    }

    /// A socket that listens where the configuration says a node does.
    static func listen(for node: Configuration.Node) throws(CommandFailure) -> Int32 {
        let address = node.bindAddress
        do throws(SocketError) {
            if let numeric = SocketAddress(host: address.host, port: address.port) {
                return try Sockets.listenTCP(numeric)
            }
            return try Sockets.listenTCP(try Sockets.resolve(host: address.host, port: address.port)[0])
        } catch {
            if case .inUse = error {
                throw .refused(
                    "address-in-use", error.description,
                    remedy: node.isWitness
                        ? "when `hablk witness` runs here, have it take the volume up: systemctl reload hablk-witness, or "
                            + "SIGHUP; else stop what listens there"
                        : "stop what listens there, or give `\(node.name)` another `address` or `listen`")
            }
            throw CommandFailure(
                .configuration, "no-such-address", error.description,
                remedy: "give `\(node.name)` an address of this machine, or say `listen: \"0.0.0.0:\(address.port)\"`")
        }
    }

    /// From the next dial and greeting on; sessions that are open are the core's to end, and have the new patience at once.
    package func adjust(to configuration: Configuration) {
        identity.adjust(to: configuration)
        knownFormer = PerNode(repeating: nil)
        for session in live where session.phase == .greeting || session.phase == .open { setPatience(session) }
    }

    /// Nodes that an earlier run of this witness knew.
    package func remember(_ former: [[Hello.Node]]) { identity.remember(former) }

    func tellHowOpen() {
        guard identity.secret == nil else { return }
        note(
            Note(
                .warning, "connection", "no `secret-file`: peers are believed without proof; for a trusted network only"
            ))
    }

    /// Closes the listener and all connections, queued frames first; `isStopped` when nothing is left, at the latest
    /// after `partingTimeout`.
    package func stop() {
        isLeaving = true
        if listener >= 0 {
            if isAccepting { machine.ring.cancel(Token(.peerListener)) }
            Sockets.close(listener)
            listener = -1
        }
        for node in NodeID.all { cancelDial(node) }
        for session in live where session.phase != .parting { part(session) }
    }

    /// After `stop`: nobody's last words are waited for any more. `isStopped` follows when the kernel is done.
    package func abandon() { for session in live { end(session) } }

    package var isStopped: Bool { listener < 0 && !isAccepting && live.isEmpty }

    /// Whether this node's next hello to `node` offers to throw its data away.
    package func setDiscards(_ discards: Bool, for node: NodeID) {
        if discards { self.discards.insert(node) } else { self.discards.remove(node) }
    }

    // MARK: What happened

    package func complete(_ completion: Completion, into events: inout EventQueue) {
        flushPending(into: &events)
        if completion.token.kind == TokenKind.peerListener.rawValue { return accepted(completion) }
        let place = completion.token.slot / PeerSession.Operation.count
        guard place < slots.count else { return resolved(into: &events) }
        guard let session = slots[place], session.serial == completion.token.serial else { return }
        switch PeerSession.Operation(rawValue: completion.token.slot % PeerSession.Operation.count) {
        case .connect: connected(session, completion, into: &events)
        case .send:
            guard let stream = session.stream else { break }
            sent(session, stream, stream.finishSend(completion, machine.ring), into: &events)
        case .receive: received(session, completion, into: &events)
        case nil: break
        }
        if session.phase == .ended { reap(session) }
    }

    /// The earliest moment at which `tick` has something to do.
    package var nextDeadline: UInt64? {
        if !pending.isEmpty { return 0 }
        var earliest = acceptAgain ?? .max
        for session in live {
            earliest = min(earliest, session.deadline ?? .max)
            if session.sendsAt > 0 { earliest = min(earliest, session.sendsAt) }
            if session.isStalled { earliest = min(earliest, session.lastTold + limits.signOfLifeInterval) }
        }
        for case .some(let dial) in dials { earliest = min(earliest, dial.deadline) }
        return earliest == .max ? nil : earliest
    }

    package func tick(now: UInt64, into events: inout EventQueue) {
        flushPending(into: &events)
        if let again = acceptAgain, again <= now {
            acceptAgain = nil
            accept()
        }
        for session in live where session.isStalled { tellAlive(session, now, into: &events) }
        for session in live {
            guard let deadline = session.deadline, deadline <= now else { continue }
            timeOut(session, into: &events)
            if session.phase == .ended { reap(session) }
        }
        for node in NodeID.all {
            guard let dial = dials[Int(node.rawValue)], dial.deadline <= now else { continue }
            dialFailed(node, dial.problem, into: &events)
        }
    }

    private func timeOut(_ session: PeerSession, into events: inout EventQueue) {
        switch session.phase {
        case .connecting: connectTimedOut(session, into: &events)
        case .greeting:
            fail(session, "it did not greet within \(seconds(limits.greetingTimeout))", into: &events)
        case .open: session.deadline = nil
        case .parting, .ended: end(session)
        }
    }

    func seconds(_ nanoseconds: UInt64) -> String { ConfigurationScalar.describe(nanoseconds: nanoseconds) }

    func flushPending(into events: inout EventQueue) {
        guard !pending.isEmpty else { return }
        for event in pending { events.append(event) }
        pending.removeAll(keepingCapacity: true)
    }

    /// A stranger can cause lines in the log; not more than a few a second.
    struct Complaints {
        private var second: UInt64 = 0
        private var told = 0
        private var suppressed = 0

        /// What to add to the line; nil: say nothing.
        mutating func admit(at now: UInt64) -> String? {
            if now / 1_000_000_000 != second {
                second = now / 1_000_000_000
                told = 0
            }
            guard told < 5 else {
                suppressed += 1
                return nil
            }
            told += 1
            defer { suppressed = 0 }
            return suppressed == 0 ? "" : " (\(suppressed) more like this were not told)"
        }
    }
}
