/// What a node says of itself as a voter (`quorum: majority`): sent when a session to a witness begins, with every answer,
/// and to whoever acts under a term that this node has outlived.
package struct Standing: Equatable, Sendable {
    package var instance: InstanceID
    /// Goes with the record: whoever follows a record follows it in its volume.
    package var volume: VolumeID
    package var promised: Term
    package var record: Record
    package var isPrimary: Bool

    package init(instance: InstanceID, volume: VolumeID, promised: Term, record: Record, isPrimary: Bool) {
        self.instance = instance
        self.volume = volume
        self.promised = promised
        self.record = record
        self.isPrimary = isPrimary
    }
}

/// Asks without effect whether this node would get votes (PROMOTE 1).
package struct Inquiry: Equatable, Sendable {
    package var round: UInt64
    package var instance: InstanceID
    /// The candidate has no disk: a member's copy will serve.
    package var isDiskless: Bool
    /// Known to be off: whatever was heard of it does not count.
    package var fenced: NodeID?

    package init(round: UInt64, instance: InstanceID, isDiskless: Bool, fenced: NodeID?) {
        self.round = round
        self.instance = instance
        self.isDiskless = isDiskless
        self.fenced = fenced
    }
}

/// Why a voter would not vote for who asked.
package enum VoteObjection: UInt8, Sendable, CaseIterable {
    /// It is primary itself.
    case isPrimary = 1
    /// It heard the primary within the lease.
    case heardPrimary = 2
    /// Its record leaves the candidate's copy out.
    case notInStep = 3
    /// The candidate belongs to another line of records (`promote --force` began one).
    case otherLineage = 4
    /// It cannot make anything durable now.
    case cannotVote = 5
}

package struct InquiryAnswer: Equatable, Sendable {
    package var round: UInt64
    /// Nil: it would vote.
    package var objection: VoteObjection?
    package var standing: Standing

    package init(round: UInt64, objection: VoteObjection?, standing: Standing) {
        self.round = round
        self.objection = objection
        self.standing = standing
    }
}

/// A promise, durable before it is sent, with what the voter knows (PROMOTE 3). Its unconfirmed blocks went before it.
package struct Vote: Equatable, Sendable {
    package var term: Term
    package var standing: Standing
    /// Holds a copy that is whole and stable.
    package var hasCopy: Bool
    package var isSuspect: Bool
    /// Bytes that its disk can hold.
    package var capacity: UInt64

    package init(term: Term, standing: Standing, hasCopy: Bool, isSuspect: Bool, capacity: UInt64) {
        self.term = term
        self.standing = standing
        self.hasCopy = hasCopy
        self.isSuspect = isSuspect
        self.capacity = capacity
    }
}
