package import Formats
package import Model

/// What this node says of itself to every peer, and how it judges them.
package struct PeerIdentity: Sendable {
    package var configuration: Configuration
    package var node: NodeID
    package var run: RunID
    /// Nil: whoever reaches the port is believed ("trusted network only").
    package var secret: PeerSecret?
    /// What the configuration named before it was adjusted, oldest first: a peer whose file still says so is met, or the nodes could
    /// be adjusted in one order only, and a link that breaks meanwhile would stay so.
    package private(set) var formerNodes: [[Hello.Node]] = []
    private static let mostFormer = 8

    package init(configuration: Configuration, node: NodeID, run: RunID, secret: PeerSecret?) {
        self.configuration = configuration
        self.node = node
        self.run = run
        self.secret = secret
    }

    func name(_ node: NodeID) -> String { configuration.node(node)?.name ?? node.description }

    /// The configuration is another one from now on.
    package mutating func adjust(to next: Configuration) {
        if next.helloNodes != configuration.helloNodes { remember([configuration.helloNodes]) }
        configuration = next
    }

    /// As an earlier run of this witness knew them.
    package mutating func remember(_ former: [[Hello.Node]]) {
        formerNodes = Array((formerNodes + former).suffix(Self.mostFormer))
    }

    func isFormer(_ nodes: [Hello.Node]) -> Bool {
        nodes != configuration.helloNodes && formerNodes.contains(nodes)
    }

    /// - Parameter nodes: to be named instead of the configuration's; former ones.
    func hello(
        to peer: NodeID?, session: SessionID, discardMyData: Bool, version: UInt16, nodes: [Hello.Node]? = nil
    ) -> Hello {
        // The system's generator draws from the kernel.
        let nonce = (0..<Hello.nonceLength).map { _ in UInt8.random(in: 0...255) }
        var hello = configuration.hello(
            from: node, to: peer, run: run, session: session, discardMyData: discardMyData, nonce: nonce,
            version: version)
        if let nodes { hello.nodes = nodes }
        return hello
    }
}

/// Why a greeting did not become a session.
package struct PeerRefusal: Error, Equatable, Sendable {
    /// A name for scripts: `mismatch`, `authentication`.
    package var reason: String
    package var message: String
    /// Whose verdict it is.
    package var isOurs = true
    /// The other side is who it says, as far as this volume can know: a secret was proved, or none is asked for.
    package var isProven = false
}

/// The conversation before a session, without any I/O: messages in, bytes out. Nothing that the other side says of its
/// configuration is acted on before it has proved the secret, if there is one.
///
///     dialer                              acceptor
///     hello (draws the session id) →
///                                       ← hello (echoes it)
///     proof →
///                                       ← proof, verdict        refused ends it
///     verdict →                           open
///     open
///
/// All of it is in the version of the dialer's hello. An acceptor of an earlier version says so, and is dialed anew in that.
///
/// Without a secret both proofs are left out. The dialer proves first: who merely reaches the port gets nothing that he
/// could guess a secret by.
package struct PeerGreeting: Sendable {
    package enum Step: Equatable, Sendable {
        case wait
        case open
        case refuse(PeerRefusal)
        /// The other side speaks only that earlier version, which this one speaks too.
        case dialAgain(version: UInt16)
    }

    private enum Stage { case hello, proof, verdict, over }

    package let role: Authentication.Role
    private let identity: PeerIdentity
    /// Whom this side dialed; nil when it accepted.
    private let dialed: NodeID?
    /// Drawn by the acceptor only once it knows the session.
    package private(set) var mine: Hello?
    package private(set) var theirs: Hello?
    /// Toward whom this node offers to throw its data away.
    private let discards: NodeSet
    private var stage = Stage.hello
    private var version: UInt16
    private var isProven: Bool
    /// Bytes that are to be sent, in order; whoever sends them takes them away.
    package var output: [UInt8] = []

    /// The dialer's side: its hello is in `output` at once.
    /// - Parameter nodes: the former ones that this peer was heard to know, if any.
    package init(
        dialing peer: NodeID, as identity: PeerIdentity, session: SessionID, discards: NodeSet,
        version: UInt16 = Hello.protocolVersion, nodes: [Hello.Node]? = nil
    ) {
        role = .dialer
        self.identity = identity
        dialed = peer
        self.discards = discards
        self.version = version
        isProven = identity.secret == nil
        let hello = identity.hello(
            to: peer, session: session, discardMyData: discards.contains(peer), version: version, nodes: nodes)
        mine = hello
        output = HelloFrame.encode(.hello(hello))
    }

    /// The acceptor's side.
    package init(acceptingAs identity: PeerIdentity, discards: NodeSet) {
        role = .acceptor
        self.identity = identity
        dialed = nil
        self.discards = discards
        version = Hello.protocolVersion
        isProven = identity.secret == nil
    }

    /// The other side broke the form of a hello, or speaks another version: it is told, if it can understand.
    package mutating func refuse(_ error: HelloError) -> Step {
        if case .otherVersion(let theirs) = error {
            let me = identity.name(identity.node)
            return refuse(
                "mismatch", "`protocol version` is \(Hello.protocolVersion) on \(me) and \(theirs) on the peer")
        }
        stage = .over
        return .refuse(PeerRefusal(reason: "malformed", message: error.description))
    }

    /// - Parameter version: of the message's frame.
    package mutating func receive(_ message: HelloMessage, version: UInt16) -> Step {
        if role == .acceptor, stage == .hello { self.version = version }
        if version != self.version {
            stage = .over
            guard case .verdict(.refused) = message, role == .dialer, theirs == nil, version < self.version else {
                return refuse("malformed", "a \(message.kind) in another version than the hello's")
            }
            return .dialAgain(version: version)
        }
        switch (message, stage) {
        case (.verdict(.refused(let reason, let text)), let stage) where stage != .over:
            self.stage = .over
            return .refuse(PeerRefusal(reason: reason, message: text, isOurs: false, isProven: isProven))
        case (.hello(let hello), .hello): return receive(hello)
        case (.proof(let proof), .proof): return receive(proof)
        case (.verdict(.accepted), .verdict): return receiveAcceptance()
        default:
            stage = .over
            return .refuse(
                PeerRefusal(reason: "malformed", message: "a \(message.kind) out of turn"))
        }
    }

    // MARK: The steps

    private mutating func receive(_ hello: Hello) -> Step {
        theirs = hello
        if role == .acceptor {
            guard !hello.session.isNone else { return refuse("malformed", "a hello without a session id") }
            let answer = identity.hello(
                to: hello.node, session: hello.session, discardMyData: discards.contains(hello.node),
                version: version, nodes: identity.isFormer(hello.nodes) ? hello.nodes : nil)
            mine = answer
            output += HelloFrame.encode(.hello(answer))
        }
        guard let mine else { preconditionFailure("a greeting without a hello") }
        if hello.nonce == mine.nonce { return refuse("authentication", "this side's own challenge came back") }
        // Before any proof, because without agreement on it there is no proof to wait for.
        if mine.authenticates != hello.authenticates { return judge() ?? .wait }
        if identity.secret == nil { return exchangeVerdicts() }
        stage = .proof
        if role == .dialer { sendProof() }
        return .wait
    }

    private mutating func receive(_ proof: HelloProof) -> Step {
        guard let secret = identity.secret, let (dialer, acceptor) = hellos else {
            return refuse("malformed", "a proof that nobody asked for")
        }
        guard secret.accepts(proof, of: role.other, dialer: dialer, acceptor: acceptor) else {
            let them = identity.name(role == .dialer ? acceptor.node : dialer.node)
            return refuse(
                "authentication",
                "\(identity.name(identity.node)) and what says to be \(them) do not have the same secret")
        }
        isProven = true
        if role == .acceptor { sendProof() }
        return exchangeVerdicts()
    }

    /// The acceptor gives its verdict, the dialer waits for it.
    private mutating func exchangeVerdicts() -> Step {
        if let refused = judge() { return refused }
        stage = .verdict
        if role == .acceptor { output += HelloFrame.encode(.verdict(.accepted), version: version) }
        return .wait
    }

    private mutating func receiveAcceptance() -> Step {
        stage = .over
        if role == .dialer { output += HelloFrame.encode(.verdict(.accepted), version: version) }
        return .open
    }

    private mutating func sendProof() {
        guard let secret = identity.secret, let (dialer, acceptor) = hellos else { return }
        output += HelloFrame.encode(
            .proof(secret.proof(of: role, dialer: dialer, acceptor: acceptor)), version: version)
    }

    private var hellos: (dialer: Hello, acceptor: Hello)? {
        guard let mine, let theirs else { return nil }
        return role == .dialer ? (mine, theirs) : (theirs, mine)
    }

    /// Whether the two may speak for this volume; the refusal, already told, if not.
    private mutating func judge() -> Step? {
        guard let mine, let theirs else { preconditionFailure("a judgement without hellos") }
        let me = identity.name(mine.node)
        if let (field, here, there) = mine.firstDifference(from: theirs) {
            if field == "node" {
                return refuse("mismatch", "both sides are \(me): two daemons run as the same node, or it dialed itself")
            }
            let them = field == "nodes" || field == "volume" ? "the peer" : identity.name(theirs.node)
            return refuse("mismatch", "`\(field)` is \(here) on \(me) and \(there) on \(them)")
        }
        guard let known = identity.configuration.helloNodes.first(where: { $0.id == theirs.node }) else {
            return refuse("unknown-node", "no \(theirs.node) is in the configuration of \(me)")
        }
        // By a former file it may be one that was taken out since, and whose id another node has now.
        guard let said = theirs.nodes.first(where: { $0.id == theirs.node }), said == known else {
            return refuse(
                "unknown-node",
                "\(known.id) is \(known.name) in the configuration of \(me), which has no such node any more")
        }
        if let dialed, theirs.node != dialed {
            return refuse(
                "mismatch",
                "\(identity.name(theirs.node)) answers where \(identity.name(dialed)) should be: see `address`")
        }
        if let meant = theirs.peer, meant != mine.node {
            return refuse(
                "mismatch", "\(identity.name(theirs.node)) means to speak to \(identity.name(meant)), this is \(me)")
        }
        if theirs.session != mine.session || theirs.session.isNone {
            return refuse("malformed", "the session's id did not come back as it was sent")
        }
        return nil
    }

    private mutating func refuse(_ reason: String, _ message: String) -> Step {
        stage = .over
        output += HelloFrame.encode(.verdict(.refused(reason: reason, message: message)), version: version)
        return .refuse(PeerRefusal(reason: reason, message: message, isProven: isProven))
    }
}
