import Model
import ReplicationCore

/// In a duel: data that the disks take long for, so that it is on its way there when a term ends, a vote is asked for or a lease runs
/// out; and a primary that is demoted while a member is away.
extension Cluster {
    func castSpells(_ former: Int) {
        guard options.faults.contains(.slowSpells) else { return }
        let lease = options.timing.lease
        for node in copyNodes where duels.spells.chance(1, in: 3) {
            node.disk.faults.slowUntil = now + duels.spells.below(4 * lease)
        }
        guard duels.spells.chance(1, in: 3) else { return }
        let members = copyNodes.map(\.side).filter { $0 != former }
        let away = duels.spells.pick(members)
        let moment = duels.spells.below(2 * lease)
        let duration = lease + duels.spells.below(2 * lease)
        after(0, .requests(20))
        after(moment, .cut([former], [away], for: duration))
        after(moment, .cut([away], [former], for: duration))
        after(moment + duels.spells.below(lease), .demote(former))
    }

    /// Nanoseconds.
    func delayInSpell(_ deed: SimulatedDisk.Deed, _ node: SimulatedNode) -> UInt64 {
        guard phase == .safety, now < max(node.disk.faults.slowUntil, node.disk.faults.dataHeldUntil) else { return 0 }
        switch deed {
        case .read where now < node.disk.faults.dataHeldUntil, .write where now < node.disk.faults.dataHeldUntil:
            return node.disk.faults.dataHeldUntil - now
        case .read, .write: return duels.spells.chance(1, in: 4) ? duels.spells.below(3 * options.timing.lease) : 0
        case .fill, .flush, .metadata: return 0
        }
    }
}
