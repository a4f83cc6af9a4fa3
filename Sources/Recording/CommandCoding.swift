import Formats
import Model

// What administrators ask and hear. The numbers are the format.

extension RecordWriter {
    mutating func command(_ command: Command) {
        switch command {
        case .promote(let force, let fenced, let deadline, let dryRun, let acceptsLoss):
            u8(1)
            truth(force)
            optionalNode(fenced)
            u64(deadline.nanoseconds)
            truth(dryRun)
            truth(acceptsLoss)
        case .demote(let force, let deadline):
            u8(2)
            truth(force)
            u64(deadline.nanoseconds)
        case .connect(let peer, let discards, let dryRun, let deadline):
            u8(3)
            optionalNode(peer)
            truth(discards)
            truth(dryRun)
            u64(deadline.nanoseconds)
        case .disconnect(let peer, let force):
            u8(4)
            optionalNode(peer)
            truth(force)
        case .detach(let force):
            u8(5)
            truth(force)
        case .outdate(let force):
            u8(6)
            truth(force)
        case .invalidate(let peer, let force, let deadline):
            u8(7)
            optionalNode(peer)
            truth(force)
            u64(deadline.nanoseconds)
        case .pauseResync: u8(8)
        case .resumeResync: u8(9)
        case .resyncRate(let rate):
            u8(10)
            optional(rate)
        case .stop: u8(11)
        case .verify(let peer, let rate):
            u8(12)
            optionalNode(peer)
            optional(rate)
        case .stopVerify(let peer):
            u8(13)
            optionalNode(peer)
        case .repair(let peer, let source):
            u8(14)
            optionalNode(peer)
            optionalNode(source)
        case .resize(let size, let dryRun, let deadline):
            u8(15)
            optional(size)
            truth(dryRun)
            u64(deadline.nanoseconds)
        }
    }

    mutating func outcome(_ outcome: CommandOutcome) {
        switch outcome {
        case .done(let line):
            u8(1)
            text(line)
        case .refused(let refusal):
            u8(2)
            write(refusal)
        case .timedOut(let refusal):
            u8(3)
            write(refusal)
        }
    }

    private mutating func write(_ refusal: Refusal) {
        text(refusal.reason)
        text(refusal.message)
        text(refusal.remedy)
    }
}

extension FieldReader {
    mutating func command() throws(FieldError) -> Command {
        switch try u8() {
        case 1:
            .promote(
                force: try truth(), peerFenced: try nodeOrNone(), deadline: try time(), dryRun: try truth(),
                acceptsLoss: try truth())
        case 2: .demote(force: try truth(), deadline: try time())
        case 3:
            .connect(peer: try nodeOrNone(), discardMyData: try truth(), dryRun: try truth(), deadline: try time())
        case 4: .disconnect(peer: try nodeOrNone(), force: try truth())
        case 5: .detach(force: try truth())
        case 6: .outdate(force: try truth())
        case 7: .invalidate(peer: try nodeOrNone(), force: try truth(), deadline: try time())
        case 8: .pauseResync
        case 9: .resumeResync
        case 10: .resyncRate(try optional())
        case 11: .stop
        case 12: .verify(peer: try nodeOrNone(), rate: try optional())
        case 13: .stopVerify(peer: try nodeOrNone())
        case 14: .repair(peer: try nodeOrNone(), from: try nodeOrNone())
        case 15: .resize(size: try optional(), dryRun: try truth(), deadline: try time())
        default: throw .value(.reason)
        }
    }

    mutating func outcome() throws(FieldError) -> CommandOutcome {
        switch try u8() {
        case 1: .done(try text())
        case 2: .refused(try refusal())
        case 3: .timedOut(try refusal())
        default: throw .value(.reason)
        }
    }

    private mutating func refusal() throws(FieldError) -> Refusal {
        Refusal(reason: try text(), message: try text(), remedy: try text())
    }

    private mutating func time() throws(FieldError) -> MonotonicTime { MonotonicTime(nanoseconds: try u64()) }
}
