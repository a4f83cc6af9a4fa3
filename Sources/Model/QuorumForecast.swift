/// What would become of a volume if nodes were lost, by the rules of `6-protocol` as its status stands now: for whoever is
/// about to take a machine down.
package struct QuorumForecast: Equatable, Sendable {
    /// Raw values are words of JSON.
    package enum Outcome: String, Sendable {
        /// Clients notice nothing, or a pause until the lost are left out.
        case goesOn = "goes-on"
        /// The primary is lost, and another node can take over.
        case failsOver = "fails-over"
        /// Requests wait, or fail (`on-quorum-lost`), until one is back.
        case waits
        /// No primary is there, and none could be.
        case noPrimary = "no-primary"
    }

    package var outcome: Outcome
    /// Nodes that are left and could serve: the primary, or who could be promoted.
    package var candidates: [String]
    /// Voters that are left, in the order of the status.
    package var votes: [String]
    /// Votes that are needed; 0 without a majority.
    package var needed: Int
    /// In words, why.
    package var message: String

    /// - Parameters:
    ///   - status: of any node that runs.
    ///   - lost: names, as in the status; a node that is out of reach already counts as lost.
    package init(_ status: VolumeStatus, lost: [String]) {
        let copies = status.inStep.filter { !lost.contains($0) && Self.isThere($0, status) }
        let primary = Self.primary(status)
        let away = lost.joined(separator: ", ")
        guard let quorum = status.votes else {
            self.init(withoutQuorum: status, copies, primary: primary, lost: lost)
            return
        }
        let votes = quorum.present.filter { !lost.contains($0) }
        let needed = quorum.voters.count / 2 + 1
        let count = "\(votes.count) of \(quorum.voters.count) votes are left, \(needed) are needed"
        let hasMajority = votes.count >= needed
        if copies.isEmpty {
            self.init(
                primary == nil || lost.contains(primary ?? "") ? .noPrimary : .waits, [], votes, needed,
                "no copy that is in step is left (in step: \(status.inStep.joined(separator: ", "))): nothing that was "
                    + "acknowledged since can be served until one is back")
        } else if let primary, !lost.contains(primary) {
            let isWhole = status.inStep.allSatisfy { copies.contains($0) }
            if status.suspended.contains(.quorum) {
                self.init(
                    .waits, [], votes, needed,
                    "\(primary) waits for votes already: \(count) to leave out whom it misses")
            } else if isWhole {
                self.init(
                    .goesOn, [primary], votes, needed,
                    "\(primary) stays primary, and no copy in step is lost: \(count) to go on without the next one")
            } else if hasMajority {
                let left = status.inStep.filter { lost.contains($0) }
                let rest = left.isEmpty ? "nobody that holds data in step is lost" : "it goes on without \(away)"
                self.init(.goesOn, [primary], votes, needed, "\(primary) stays primary: \(count); \(rest)")
            } else {
                self.init(
                    .waits, [], votes, needed,
                    "\(primary) cannot leave anybody out: \(count); its requests wait (or fail, with "
                        + "`on-quorum-lost: error`) until one is back")
            }
        } else if hasMajority {
            let names = copies.joined(separator: " or ")
            self.init(
                primary == nil ? .goesOn : .failsOver, copies, votes, needed,
                "\(names) can be promoted: \(count)"
                    + (primary.map { "; after \($0)'s lease, unless it is fenced" } ?? ""))
        } else {
            self.init(.noPrimary, [], votes, needed, "nobody can be promoted: \(count)")
        }
    }

    /// `quorum: off`: two nodes, and nobody to ask.
    private init(withoutQuorum status: VolumeStatus, _ copies: [String], primary: String?, lost: [String]) {
        if let primary, !lost.contains(primary) {
            self.init(.goesOn, [primary], [], 0, "\(primary) stays primary and goes on alone: `quorum: off`")
        } else if copies.isEmpty {
            self.init(.noPrimary, [], [], 0, "no copy that is in step is left")
        } else {
            self.init(
                primary == nil ? .goesOn : .failsOver, copies, [], 0,
                "\(copies.joined(separator: " or ")) can be promoted: `quorum: off`, so fence the other first or a split "
                    + "brain may follow")
        }
    }

    private init(_ outcome: Outcome, _ candidates: [String], _ votes: [String], _ needed: Int, _ message: String) {
        self.outcome = outcome
        self.candidates = candidates
        self.votes = votes
        self.needed = needed
        self.message = message
    }

    private static func primary(_ status: VolumeStatus) -> String? {
        status.role == .primary ? status.node : status.peers.first { $0.role == .primary }?.node
    }

    private static func isThere(_ node: String, _ status: VolumeStatus) -> Bool {
        node == status.node || status.peers.contains { $0.node == node && $0.connection == .connected }
    }
}
