import Model
import ReplicationCore

/// Input: the copy that the core begins with, then what a peer says that is authenticated and hostile, and between it
/// what clients, the administrator, the disk and the clock do, which keep their contracts.
///
/// Holds: nothing traps; each buffer is given back once and each request answered once; whatever is sent or written to
/// the metadata can be encoded and is read back as it was; deciding ends.
func fuzzReplica(_ input: inout InputBytes) throws(BrokenProperty) {
    let beginning = input.pick(Beginning.allCases)
    let bench = HostileBench(beginning, &input)
    try bench.begin(beginning)
    for _ in 0..<256 where !input.isAtEnd { try bench.step(&input) }
    try bench.finish()
}

extension HostileBench {
    /// The next thing that happens; the highest bit holds the disk's answers back.
    fileprivate func step(_ input: inout InputBytes) throws(BrokenProperty) {
        let code = input.u8()
        switch code & 0x3f {
        case 0...1: open(&input)
        case 2: close()
        case 3...5: hearAnswer(&input)
        case 6...31: hearAny(Int(code & 0x3f) - 6, &input)
        case 32...35: ask(&input)
        case 36...38: command(&input)
        case 39: pass(nanoseconds: UInt64(input.integer(UInt16.self)) << 20)
        case 40: try answerOne(succeeding: true)
        case 41: try answerOne(succeeding: false)
        case 42:
            clients = UInt32(input.u8() & 3)
            handle(.clientsChanged(count: clients))
        default: hearAnswer(&input)
        }
        try settle(holding: code & 0x80 != 0)
    }

    /// The link breaks and the disk answers everything: then nothing of a peer's is kept.
    fileprivate func finish() throws(BrokenProperty) {
        close()
        try settle(holding: false)
        for _ in 0..<3 {
            pass(nanoseconds: 20_000_000_000)
            try settle(holding: false)
        }
        _ = core.status(at: now)
    }

    // MARK: Clients and administrators

    private func ask(_ input: inout InputBytes) {
        let size = core.volumeSize
        if core.diskState != .diskless, core.diskState != .failed, size > core.durableState.size {
            fail("a volume of \(size) bytes is served from a disk of \(core.durableState.size)")
        }
        guard size >= Geometry.blockSize, let ticket = (0..<UInt32(8)).first(where: { tickets[$0] == nil }) else {
            return
        }
        let kind: ClientRequest.Kind = input.pick([.write, .write, .read, .zero, .trim, .flush])
        let forced = input.flag()
        let blocks = size / Geometry.blockSize
        let first = UInt64(input.u8()) * 37 % blocks
        let count = min(
            UInt64(input.u8() & 7) + 1, blocks - first, Geometry.blocksPerExtent - first % Geometry.blocksPerExtent)
        var range = ByteRange(blocks: first..<first + count)
        let ragged = UInt64(input.u8())
        if kind == .read || kind == .write, ragged > 0 {
            range = ByteRange(offset: range.offset + ragged, length: range.length - ragged)
        }
        if kind == .flush { range = ByteRange(offset: 0, length: 0) }
        let buffer = kind == .read || kind == .write ? lend() : nil
        tickets[ticket] = .some(kind == .read ? buffer : nil)
        handle(
            .clientRequest(ClientRequest(ticket: ticket, kind: kind, range: range, forced: forced, buffer: buffer)))
    }

    private func command(_ input: inout InputBytes) {
        nextCommand += 1
        let id = CommandID(rawValue: nextCommand)
        let shape = input.u8()
        let force = shape & 0x80 != 0
        let named: NodeID? = shape & 0x40 != 0 ? peer : nil
        let dryRun = shape & 0x20 != 0
        let deadline = now + UInt64(input.u8()) * 100_000_000
        let command: Command
        switch shape & 0x0f {
        case 0...3: command = .promote(force: force, peerFenced: named, deadline: deadline, dryRun: dryRun)
        case 4...5: command = .demote(force: force, deadline: deadline)
        case 6: command = .connect(peer: named, discardMyData: force, dryRun: dryRun, deadline: deadline)
        case 7: command = .disconnect(peer: named, force: force)
        case 8: command = .detach(force: force)
        case 9: command = .outdate(force: force)
        case 10: command = .invalidate(peer: named, force: force, deadline: deadline)
        case 11: command = .pauseResync
        case 12 where force: command = .repair(peer: named, from: dryRun ? peer : me)
        case 12: command = .resumeResync
        case 13 where force: command = dryRun ? .stopVerify(peer: named) : .verify(peer: named, rate: nil)
        case 13: command = .resyncRate(dryRun ? nil : UInt64(input.u8()) << 16)
        case 14: return handle(.commandWithdrawn(CommandID(rawValue: UInt32(input.u8()))))
        default: command = .stop
        }
        handle(.command(id, command))
    }
}
