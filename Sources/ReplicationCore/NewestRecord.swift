import Model

/// Which record a candidate goes on from (PROMOTE 4).
extension Replica {
    /// The newest that those who answered know, but for one that was never chosen.
    /// - Returns: also who told it; nil: it is this copy's own.
    func newestRecord(told: (NodeID) -> Standing?) -> (record: Record, teller: NodeID?) {
        var newest = superblock.record
        var teller: NodeID?
        for node in everyone {
            guard let record = told(node)?.record, !record.isEmpty else { continue }
            if isLeftOut(.newestRecordCounts), !newest.isEmpty { break }
            guard newest.isEmpty || (record.lineage == newest.lineage && newest.number < record.number) else {
                continue
            }
            newest = record
            teller = node
        }
        while superblock.record.number < newest.number, isRefuted(newest, told), !isLeftOut(.refutedRecordIsNone) {
            let refuted = newest.number
            newest = superblock.record
            teller = nil
            for node in everyone {
                guard let record = told(node)?.record, record.lineage == newest.lineage, record.number < refuted,
                    newest.number < record.number
                else { continue }
                newest = record
                teller = node
            }
        }
        return (newest, teller)
    }

    /// A record is chosen only when each copy that it names has it. One of them answers and has an older one; and who votes takes no
    /// record of an older term any more: so it never was chosen, and never will be. Nothing was acknowledged that rests on it,
    /// and whoever it leaves out was let go by nobody. (A dead leader's offer may lie anywhere: seed 117026.) Its own record must name
    /// that one: then it was a member since, and has whatever was chosen until the record in question was made. A copy that was
    /// about to join may be named by it, and lack a record chosen before, which the voter that tells of this one has no more.
    private func isRefuted(_ record: Record, _ told: (NodeID) -> Standing?) -> Bool {
        guard !superblock.record.isEmpty else { return false }
        if hasDisk, isInStep(me, superblock.instance, by: record),
            isInStep(me, superblock.instance, by: superblock.record)
        {
            return true
        }
        return everyone.contains { node in
            guard let standing = told(node), !standing.record.isEmpty else { return false }
            return isInStep(node, standing.instance, by: record)
                && isInStep(node, standing.instance, by: standing.record)
                && standing.record.lineage == record.lineage && standing.record.number < record.number
        }
    }
}
