import Model

/// With quorum there is one line of writes whatever happens: what was acknowledged binds whoever serves after, unless every
/// copy that had to have it lost its cache before a flush.
extension Oracle {
    func acknowledgedByMajority(_ operation: ClientOperation, _ required: NodeSet, at step: UInt64) {
        let isLost = required.allSatisfy { disks.lastPowerLoss(Int($0.rawValue)) > operation.began }
        for sector in operation.sectors where !isLost {
            shadows[0].acknowledge(sector, write: operation.write, at: step, durable: operation.forced)
        }
        if !operation.forced { unflushed.append((operation, step, required)) }
    }

    /// It may have been overwritten meanwhile, or read. When all who had it lose their caches, it is gone.
    func answeredLate(_ operation: ClientOperation, by primary: Int, _ required: NodeSet, at step: UInt64) {
        let owing = owing(required, primary)
        if owing != required {
            loss.acknowledged(operation, by: primary, at: step, owing.map { Int($0.rawValue) }, OracleLoss.Place())
        }
        if !operation.forced { unflushed.append((operation, step, owing)) }
    }

    func readByMajority(_ operation: ClientOperation, _ values: ArraySlice<UInt64>, by primary: Int, at step: UInt64) {
        for (sector, value) in zip(operation.sectors, values)
        where !shadows[0].read(sector, value, began: operation.began, ended: step) {
            return fail(
                "I1",
                "node \(primary) read \(WriteValue.describe(value)) from sector \(sector) (\(operation.description), "
                    + "begun at \(operation.began)); it may hold: \(shadows[0].describe(sector))")
        }
    }

    func lostPowerByMajority() {
        shadows[0].revive()
        unflushed.removeAll { write, _, required in
            guard required.allSatisfy({ disks.lastPowerLoss(Int($0.rawValue)) > write.began }) else { return false }
            for sector in write.sectors { shadows[0].unacknowledge(sector, write: write.write) }
            return true
        }
    }

    /// An administrator said that the others are off: a copy that lost its cache serves what it has (PROMOTE 5).
    private func forgetLost(by copy: Int) {
        let own = NodeID(unchecked: UInt8(copy))
        for (write, _, required) in unflushed
        where required.contains(own) && disks.lastPowerLoss(copy) > write.began {
            for sector in write.sectors { shadows[0].unacknowledge(sector, write: write.write) }
        }
    }

    /// What is neither settled nor on its way is what clients were told.
    func promotedByMajority(_ copy: Int, _ promotion: Promotion, at step: UInt64) {
        guard promotion.inStep else {
            return fail("I5", "node \(copy) was promoted without force though its copy is not in step")
        }
        if promotion.peerFenced { forgetLost(by: copy) }
        if promotion.acceptsLoss, promotion.isAlone { giveUp(at: copy, promotion, at: step) }
        for block in shadows[0].blocks where !promotion.unsettled(Int(block)) {
            for sector in Int(block) * 8..<Int(block) * 8 + 8 {
                let value = disks.value(copy, sector)
                if shadows[0].settle(sector, value) { continue }
                return fail(
                    "I2",
                    "node \(copy), promoted by a majority, holds \(WriteValue.describe(value)) in sector \(sector); "
                        + "it may hold: \(shadows[0].describe(sector))")
            }
        }
    }

    func checkAtRestByMajority(at step: UInt64) {
        for copy in 0..<copies {
            for block in shadows[0].blocks {
                for sector in Int(block) * 8..<Int(block) * 8 + 8 {
                    let value = disks.value(copy, sector)
                    if shadows[0].read(sector, value, began: step, ended: step + 1) { continue }
                    return fail(
                        "I2",
                        "at rest node \(copy) holds \(WriteValue.describe(value)) in sector \(sector); it may hold: "
                            + shadows[0].describe(sector))
                }
            }
        }
    }
}
