import Formats
import Model
import ReplicationCore

/// A network that is worse than slow and cut: it loses, holds back, crosses and corrupts.
extension Cluster {
    /// TCP sends again what was lost, later and later; all that is behind waits.
    func retransmission(_ toward: Int) -> UInt64 {
        guard now < mishaps.lossyUntil[toward], mishaps.network.chance(1, in: 3) else { return 0 }
        return 200_000_000 << mishaps.network.below(UInt64(4))
    }

    /// What a dial or a greeting takes beyond the way.
    func crossing() -> UInt64 {
        guard options.faults.contains(.racing), phase == .safety, mishaps.network.chance(1, in: 3) else { return 0 }
        return mishaps.network.below(UInt64(1_500_000_000))
    }

    func damaged(_ item: SimulatedNetwork.Item) -> SimulatedNetwork.Item {
        guard options.faults.contains(.corruption), phase == .safety, case .frame(var head, var payload) = item,
            mishaps.network.chance(1, in: 400)
        else { return item }
        // Bits next to each other, within one byte: never none.
        let place = mishaps.network.below(head.count + payload.count)
        let bits = UInt8(mishaps.network.within(1...255))
        if place < head.count { head[place] ^= bits } else { payload[place - head.count] ^= bits }
        return .damagedFrame(head: head, payload: payload)
    }

    /// What the daemon does with a frame that does not verify: the connection ends here and there.
    func receivedDamaged(_ head: [UInt8], _ payload: [UInt8], _ index: Int, _ node: SimulatedNode) {
        guard case .failure(let error) = decode(head, payload, node) else {
            return oracle.fail("I7", "node \(node.side) took a damaged frame for a whole one")
        }
        if trace.isOn { trace.add(now, node.side, "fault", "a damaged frame is refused: \(error)") }
        closeSession(network[index].id, "\(error)", by: node)
        deliver(.sessionClosed(peer(of: index, at: node.side).id, network[index].id, "\(error)"), to: node)
    }

    /// All connections break; what is on its way arrives late, when others may be open.
    func holdBytes() {
        if trace.isOn { trace.add(now, Trace.world, "fault", "connections break, their bytes are held") }
        for index in network.openSessions {
            for toward in network[index].ends where !network[index].ended[toward] {
                network[index].lanes[toward].heldUntil =
                    now + options.timing.reconnectMinimum + drawDuration(&mishaps.network)
                heap.push(.closed(session: index, toward: toward), at: now + delay())
            }
        }
    }

    func closedEarly(_ index: Int, _ toward: Int) {
        let node = nodes[toward]
        guard !network[index].ended[toward], network[index].incarnations[toward] == node.incarnation else { return }
        network[index].ended[toward] = true
        guard network[index].opened[toward] else { return }
        deliver(.sessionClosed(peer(of: index, at: toward).id, network[index].id, "connection reset"), to: node)
    }
}
