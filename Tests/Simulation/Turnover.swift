import Model

/// A second node that comes and goes, by administrators who know nothing of those of the first (`Memberships`): at one time the
/// nodes' files may be four different ones, and a vote go while another's is still to go.
extension Memberships {
    /// - Parameter first: whose guest is another one.
    init(besides first: Memberships, seed: UInt64, options: SimulationOptions) {
        random = SplitMix(seed: seed, subject: "turnover")
        // The first node stays always.
        let others = (1..<max(options.nodes, 3)).filter { $0 != first.guest }
        guest = random.pick(others)
        // Two that all others' files miss, and that know each other, would found a volume beside theirs.
        isWanted = true
    }
}

extension Cluster {
    /// Before the first start.
    func beginTurnover() {
        guard options.faults.contains(.turnover) else { return }
        heap.push(.turnover, at: now + 250_000_000)
    }

    func changeTurnover() {
        guard phase == .safety else { return }
        heap.push(.turnover, at: now + 1_000_000 + turnover.random.skewed(mean: options.administratorGap / 3))
        let late = late(for: turnover)
        if let node = late.isEmpty ? nil : turnover.random.pick(late) {
            adjust(node, misses: misses(node, of: turnover))
        } else if turnover.random.chance(1, in: 3) {
            turnover.isWanted.toggle()
            let guest = nodes[turnover.guest]
            if turnover.isWanted {
                if options.faults.contains(.newDisk), turnover.random.chance(1, in: 3) {
                    makeAnew(guest, isBlank: true)
                }
                start(guest)
            } else if guest.isUp, turnover.random.chance(2, in: 3) {
                ask(guest, .stop)
            }
        }
    }
}
