package import Model

/// I1, C6, C14: what a read may see, sector by sector (`Shadow`).
extension Oracle {
    package func began(_ operation: ClientOperation) {
        guard operation.changesData else { return }
        if mode == .asynchronous { loss.began(operation) }
        for sector in operation.sectors {
            let value = operation.value(of: sector)
            for shadow in shadows.indices {
                shadows[shadow].begin(sector, value, write: operation.write, at: operation.began)
            }
            newest[sector] = operation.write
        }
    }

    package func read(
        _ operation: ClientOperation, _ values: ArraySlice<UInt64>, by primary: Int, required: NodeSet, at step: UInt64
    ) {
        checkedReads += 1
        if isByMajority { return readByMajority(operation, values, by: primary, at: step) }
        let members = sides(required)
        guard let judge = members.contains(primary) ? primary : members.first else { return }
        // Asked of a lone copy that lost its cache after it had answered: what was read is gone with the cache.
        if members == [judge], judge != primary, disks.lastPowerLoss(judge) > operation.began { return }
        for (sector, value) in zip(operation.sectors, values) {
            guard shadows[judge].read(sector, value, began: operation.began, ended: step) else {
                return fail(
                    "I1",
                    "node \(primary) read \(WriteValue.describe(value)) from sector \(sector) (\(operation.description), "
                        + "begun at \(operation.began)); it may hold: \(shadows[judge].describe(sector))")
            }
            // A copy that went on alone owes nothing to what is read here.
            for member in members
            where mode != .asynchronous && member != judge
                && self.required[member].contains(NodeID(unchecked: UInt8(judge)))
            {
                _ = shadows[member].read(sector, value, began: operation.began, ended: step)
            }
        }
    }
}
