import Model
import ReplicationCore

/// Which copy, or which voter's memory, may be lost for good in a cluster with quorum, and which may be put back as it was.
extension Cluster {
    /// What the node would find at a start, or nil: it holds no record yet.
    private func remembered(_ node: SimulatedNode) -> Superblock? {
        let state = durableSuperblock(node)
        return state.record.isEmpty ? nil : state
    }

    /// Without `node` there is a majority of the very voters of each record that lies anywhere (the newest need not be chosen), and
    /// each of them knows all that `node` promised and took: nothing was decided by its word alone, nor will need it.
    func isVoteSpared(_ node: SimulatedNode) -> Bool {
        guard let own = remembered(node) else { return false }
        return nodes.compactMap { remembered($0)?.record }.allSatisfy { record in
            guard record.lineage == own.record.lineage else { return false }
            var others = NodeSet()
            for other in nodes where other !== node && !other.isRestored && record.voters.contains(other.id) {
                guard let state = remembered(other), state.instance == record.instances[other.id],
                    own.promised <= state.promised, own.record.number <= state.record.number,
                    // It has no vote before it is filled to the end.
                    !state.flags.contains(.rolledBack)
                else { continue }
                others.insert(other.id)
            }
            return others.count * 2 > record.voters.count
        }
    }

    /// Of the voters of each record that lies anywhere, as that names them, a majority is left.
    private func isQuorateWithout(_ node: SimulatedNode) -> Bool {
        let records = nodes.compactMap { remembered($0)?.record }
        return !records.isEmpty
            && records.allSatisfy { record in
                let left = copyNodes.filter { other in
                    guard let state = remembered(other), !other.isRestored else { return false }
                    return other !== node && record.voters.contains(other.id)
                        && state.instance == record.instances[other.id] && !state.flags.contains(.rolledBack)
                }
                return left.count * 2 > record.voters.count
            }
    }

    /// Every other copy, alive or started anew, remembers more of the node than `found` has: whoever it meets must tell.
    func isNoticedByAll(_ found: LoadedMetadata, of node: SimulatedNode) -> Bool {
        copyNodes.allSatisfy { other in
            guard other !== node else { return true }
            guard case .success(let lying) = MetadataBytes.load(other, layout: layout, repairing: false) else {
                return false
            }
            let kept = lying.superblock.peers[node.id]
            guard kept.seenInstance == found.superblock.instance, kept.base != .everything(kept.seenInstance),
                isNoticeable(found, kept.seen.merged(with: lying.log.seen[node.id]))
            else { return false }
            guard let live = other.live, other.usesDisk else { return true }
            return isNoticeable(found, live.core.pointee.durableState.peers[node.id].seen)
        }
    }

    /// A witness's state file is deleted: its next process is another instance, and votes for nobody until it is named.
    /// - Parameter isSure: its word need not be spared: a record that it had a part in lies at its proposer, too, and no majority is
    ///   found without that one.
    func forgetWitness(isSure: Bool = false, isOfFormerLine: Bool = false) {
        guard let witness = nodes.first(where: \.isWitness),
            isOfFormerLine || (isSure ? isQuorateWithout(witness) : isVoteSpared(witness))
        else { return }
        if witness.isUp {
            crash(witness, losesPower: true)
            heap.push(
                .restart(node: witness.side, incarnation: witness.incarnation),
                at: now + 1_000_000 + drawDuration(&mishaps.disk))
        }
        witness.disk.landMetadata(offset: 0, bytes: [UInt8](repeating: 0, count: witness.disk.metadata.count))
        MetadataBytes.create(
            on: witness, layout: layout, options: options, instance: InstanceID(rawValue: mishaps.disk.next() | 1),
            isBlank: true)
        replaced(witness, "the witness's memory is gone")
    }
}
