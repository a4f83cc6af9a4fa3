import Model
import ReplicationCore

/// One step of a task; what waits is looked at again a little later.
extension Cluster {
    func performTask(_ index: Int) {
        guard !tasks[index].isOver else { return }
        if now > tasks[index].ends || phase == .liveness { tasks[index].isOver = true }
        let isGivenUp = tasks[index].isOver
        switch tasks[index].kind {
        case .failover(let survivor, let dead): failover(index, survivor, dead, isGivenUp)
        case .switchover(let from): switchover(index, from, isGivenUp)
        case .restart(let side): restart(index, side, isGivenUp)
        case .replug(let side): replug(index, side, isGivenUp)
        case .both(let side, let first, let second): both(index, side, first, second, isGivenUp)
        }
        if !tasks[index].isOver {
            heap.push(.task(index), at: now + 20_000_000 + administratorRandom.below(40_000_000))
        }
    }

    /// The answer to the task's command: nil while there is none; a process that died answers nothing any more.
    private func answer(_ index: Int, _ node: SimulatedNode) -> (isThere: Bool, isDone: Bool) {
        guard let command = tasks[index].command, node.incarnation == tasks[index].incarnation else {
            return (true, false)
        }
        guard let outcome = node.outcomes[command] else { return (false, false) }
        if case .done = outcome { return (true, true) }
        return (true, false)
    }

    private func ask(_ index: Int, _ node: SimulatedNode, _ command: Command) {
        tasks[index].incarnation = node.incarnation
        tasks[index].command = ask(node, command)
        tasks[index].stage += 1
    }

    private func failover(_ index: Int, _ survivor: Int, _ lost: Int, _ isGivenUp: Bool) {
        let node = nodes[survivor]
        let dead = nodes[lost]
        if tasks[index].stage == 0 {
            guard !dead.isUp, node.isUp, !node.isPaused, !isGivenUp else {
                tasks[index].isOver = true
                return
            }
            dead.isHeldDown = true
            return ask(
                index, node, .promote(force: false, peerFenced: dead.id, deadline: deadline(node), dryRun: false))
        }
        guard isGivenUp || answer(index, node).isThere else { return }
        tasks[index].isOver = true
        if duels.heldDown.contains(lost) { return }
        dead.isHeldDown = false
        heap.push(
            .restart(node: dead.side, incarnation: dead.incarnation),
            at: now + administratorRandom.below(options.faultGap))
    }

    private func switchover(_ index: Int, _ from: Int, _ isGivenUp: Bool) {
        let old = nodes[from]
        let new = options.isByMajority ? nodes[(from + 1) % options.copies] : other(old)
        switch tasks[index].stage {
        case 0:
            guard old.isUp, !old.isPaused, !isGivenUp else {
                tasks[index].isOver = true
                old.clientLeaves = false
                return
            }
            guard letClientGo(old), old.isUp else { return }
            ask(index, old, .demote(force: false, deadline: deadline(old)))
        case 1:
            let answer = answer(index, old)
            guard answer.isThere || isGivenUp else { return }
            guard answer.isDone, new.isUp, !isGivenUp else {
                tasks[index].isOver = true
                return
            }
            ask(index, new, .promote(force: false, peerFenced: nil, deadline: deadline(new), dryRun: false))
        default: if answer(index, new).isThere { tasks[index].isOver = true }
        }
    }

    private func restart(_ index: Int, _ side: Int, _ isGivenUp: Bool) {
        let node = nodes[side]
        if tasks[index].stage == 0 {
            guard node.isUp, !node.isPaused, !isGivenUp else {
                tasks[index].isOver = true
                return
            }
            return ask(index, node, .stop)
        }
        guard !node.isUp || isGivenUp else { return }
        tasks[index].isOver = true
        heap.push(
            .restart(node: side, incarnation: node.incarnation), at: now + administratorRandom.below(options.faultGap))
    }

    private func replug(_ index: Int, _ side: Int, _ isGivenUp: Bool) {
        let node = nodes[side]
        switch tasks[index].stage {
        case 0:
            guard node.isUp, !node.isPaused, node.usesDisk, !isGivenUp else {
                tasks[index].isOver = true
                return
            }
            ask(index, node, .detach(force: false))
        case 1:
            guard answer(index, node).isThere || isGivenUp else { return }
            tasks[index].stage = 2
        default:
            guard node.incarnation == tasks[index].incarnation, node.isUp, !node.usesDisk else {
                tasks[index].isOver = true
                return
            }
            if isGivenUp || administratorRandom.chance(1, in: 20), attach(node) != nil { tasks[index].isOver = true }
        }
    }

    private func both(_ index: Int, _ side: Int, _ first: Command, _ second: Command, _ isGivenUp: Bool) {
        let node = nodes[side]
        switch tasks[index].stage {
        case 0:
            guard node.isUp, !node.isPaused, !isGivenUp else {
                tasks[index].isOver = true
                return
            }
            ask(index, node, first)
        case 1:
            guard answer(index, node).isThere || isGivenUp else { return }
            tasks[index].stage = 2
        default:
            guard isGivenUp || administratorRandom.chance(1, in: 12) else { return }
            tasks[index].isOver = true
            var second = second
            if case .connect = second {
                second = .connect(peer: nil, discardMyData: false, dryRun: false, deadline: deadline(node))
            }
            ask(node, second)
        }
    }
}
