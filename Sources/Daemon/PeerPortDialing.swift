import Formats
import LinuxIO
package import Model
import ReplicationCore

/// From `.dial` to a connected socket: one attempt, all addresses of the peer in turn, and one answer.
extension PeerPort {
    /// Tries once; `.sessionOpened` or `.dialFailed` follows, unless it is called off.
    package func dial(_ node: NodeID) {
        cancelDial(node)
        guard let peer = identity.configuration.node(node), node != identity.node else {
            pending.append(.dialFailed(node, "\(node) is no peer of this one"))
            return
        }
        serial &+= 1
        var dial = Dial(
            serial: serial, deadline: monotonicNow() + limits.dialTimeout,
            version: earlierVersions[Int(node.rawValue)] ?? Hello.protocolVersion, candidates: [],
            problem: "connect to \(peer.address): no answer within \(seconds(limits.dialTimeout))")
        earlierVersions[Int(node.rawValue)] = nil
        if let literal = SocketAddress(host: peer.address.host, port: peer.address.port) {
            dial.candidates = [literal]
            dials[Int(node.rawValue)] = dial
            connectNext(node)
        } else {
            dials[Int(node.rawValue)] = dial
            resolve(peer.address, dial.serial)
        }
    }

    /// Calls an attempt off: nothing more is heard of it, unless its session is open already.
    package func cancelDial(_ node: NodeID) {
        guard dials[Int(node.rawValue)] != nil else { return }
        dials[Int(node.rawValue)] = nil
        for session in live where session.dialed == node {
            if session.phase == .connecting || session.phase == .greeting { end(session) }
        }
    }

    // MARK: Names

    /// The slot of the resolver's token: behind those of all sessions.
    private var resolverToken: Token { Token(.peer, slot: slots.count * PeerSession.Operation.count) }

    private func resolve(_ address: NetworkAddress, _ serial: UInt32) {
        if resolver == nil {
            resolver = try? SideThread<Result<[SocketAddress], SocketError>>()
            if let resolver { machine.ring.await(resolver.wakeUp, token: resolverToken) }
        }
        resolver?.submit(UInt64(serial)) {
            Result { () throws(SocketError) in try Sockets.resolve(host: address.host, port: address.port) }
        }
    }

    func resolved(into events: inout EventQueue) {
        guard let resolver else { return }
        machine.ring.await(resolver.wakeUp, token: resolverToken)
        while let reply = resolver.nextReply() {
            let node = NodeID.all.first { dials[Int($0.rawValue)]?.serial == UInt32(truncatingIfNeeded: reply.number) }
            guard let node else { continue }
            switch reply.answer {
            case .success(let addresses):
                dials[Int(node.rawValue)]?.candidates = addresses
                connectNext(node)
            case .failure(let error): dialFailed(node, error.description, into: &events)
            }
        }
        flushPending(into: &events)
    }

    // MARK: Connecting

    /// Begins with the next address of the attempt; when there is none, the attempt failed.
    func connectNext(_ node: NodeID) {
        guard var dial = dials[Int(node.rawValue)] else { return }
        guard !dial.candidates.isEmpty else {
            dials[Int(node.rawValue)] = nil
            noteProblem(node, dial.problem)
            pending.append(.dialFailed(node, dial.problem))
            return
        }
        let address = dial.candidates.removeFirst()
        dials[Int(node.rawValue)] = dial
        // An address that swallows everything leaves the others their share of the time.
        let now = monotonicNow()
        let share = (dial.deadline > now ? dial.deadline - now : 0) / UInt64(dial.candidates.count + 1)
        do throws(SocketError) {
            let socket = try Sockets.openTCP(for: address)
            let greeting = PeerGreeting(
                dialing: node, as: identity, session: SessionID(rawValue: .random(in: 1...UInt64.max)),
                discards: discards, version: dial.version, nodes: knownFormer[node])
            knownFormer[node] = nil
            guard
                let session = adopt(
                    socket, dialed: node, address: address.description, greeting: greeting, deadline: now + share)
            else {
                Sockets.close(socket)
                dials[Int(node.rawValue)]?.problem = "too many connections"
                return connectNext(node)
            }
            machine.ring.connect(socket, to: address, token: session.token(.connect))
        } catch {
            dials[Int(node.rawValue)]?.problem = error.description
            connectNext(node)
        }
    }

    /// An address did not answer in its share of the time.
    func connectTimedOut(_ session: PeerSession, into events: inout EventQueue) {
        guard let node = session.dialed else { preconditionFailure("a connect that nobody dialed") }
        end(session)
        dials[Int(node.rawValue)]?.problem = "connect to \(session.address): no answer in time"
        connectNext(node)
        flushPending(into: &events)
    }

    func connected(_ session: PeerSession, _ completion: Completion, into events: inout EventQueue) {
        defer { flushPending(into: &events) }
        guard session.phase == .connecting, completion.error == nil else {
            Sockets.close(session.socket)
            session.socket = -1
            let wasWanted = session.phase == .connecting
            session.phase = .ended
            guard wasWanted, let node = session.dialed else { return }
            let why = errorText(completion.error ?? 0)
            dials[Int(node.rawValue)]?.problem = "connect to \(session.address): \(why)"
            connectNext(node)
            return
        }
        guard let node = session.dialed else { return }
        // From here on the other side's time counts, and only this address is tried.
        let deadline = monotonicNow() + limits.greetingTimeout
        session.deadline = deadline
        dials[Int(node.rawValue)]?.candidates = []
        dials[Int(node.rawValue)]?.deadline = deadline + limits.partingTimeout
        setUp(session)
        speak(session)
        session.stream?.receive(machine.ring)
    }

    /// The attempt is over without a session: told once, to the core and, when it is news, to the log.
    func dialFailed(_ node: NodeID, _ why: String, into events: inout EventQueue) {
        guard dials[Int(node.rawValue)] != nil else { return }
        noteProblem(node, why)
        cancelDial(node)
        events.append(.dialFailed(node, why))
    }

    private func noteProblem(_ node: NodeID, _ why: String) {
        guard lastProblems[Int(node.rawValue)] != why else { return }
        lastProblems[Int(node.rawValue)] = why
        note(Note(.info, "connection", "no connection yet: \(why)", peer: node))
    }
}
