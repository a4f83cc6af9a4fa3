/// What an administrator asks of a running replica.
package enum Command: Equatable, Sendable {
    /// Waits until `deadline` while the obstacle can pass. `peerFenced`: that node is known to be off. `acceptsLoss`: what an
    /// asynchronous primary had not sent is given up.
    case promote(
        force: Bool, peerFenced: NodeID?, deadline: MonotonicTime, dryRun: Bool, acceptsLoss: Bool = false)
    case demote(force: Bool, deadline: MonotonicTime)
    case connect(peer: NodeID?, discardMyData: Bool, dryRun: Bool, deadline: MonotonicTime)
    case disconnect(peer: NodeID?, force: Bool)
    case detach(force: Bool)
    case outdate(force: Bool)
    case invalidate(peer: NodeID?, force: Bool, deadline: MonotonicTime)
    case pauseResync
    case resumeResync
    /// Bytes a second; nil: as fast as it goes.
    case resyncRate(UInt64?)
    /// Compares this primary's copy with the peer's, or with each that is in step; bytes a second, nil: as configured.
    case verify(peer: NodeID?, rate: UInt64?)
    case stopVerify(peer: NodeID?)
    /// What the last comparison with the peer found to differ gets, everywhere, what the source has: this node or that peer.
    case repair(peer: NodeID?, from: NodeID?)
    /// Grows the volume to `size` bytes, or as far as every copy allows. `dryRun`: says what that would be.
    case resize(size: UInt64?, dryRun: Bool, deadline: MonotonicTime)
    /// Demote, flush, leave: afterwards the effect `.stopped`.
    case stop
}

/// Why something was not done, and what to do instead.
package struct Refusal: Equatable, Sendable {
    /// A name for scripts: `peer-is-primary`.
    package var reason: String
    /// A sentence.
    package var message: String
    /// A command, or a sentence.
    package var remedy: String

    package init(reason: String, message: String, remedy: String) {
        self.reason = reason
        self.message = message
        self.remedy = remedy
    }
}

package enum CommandOutcome: Equatable, Sendable {
    /// What was done, in one line.
    case done(String)
    case refused(Refusal)
    case timedOut(Refusal)
}
