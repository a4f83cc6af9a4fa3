import Formats
import Model
import ReplicationCore

/// Where the metadata are that an event or a start brings.
enum MetadataPlace: UInt8 {
    case none = 0
    /// In the parts recorded just before.
    case before = 1
    /// Too much of it: nothing after it can be replayed.
    case leftOut = 2
}

private let requestKinds: [ClientRequest.Kind] = [.read, .write, .zero, .trim, .flush]
private let diskResults: [DiskResult] = [.succeeded, .zeroes, .failed]

// The numbers are the format.

extension RecordWriter {
    mutating func event(_ event: Event, _ metadata: MetadataPlace, _ recollection: inout Recollection) {
        switch event {
        case .tick: u8(1)
        case .dataDone(let operation, let result):
            u8(2)
            u32(operation.rawValue)
            u8(result == .succeeded ? 0 : result == .zeroes ? 1 : 2)
        case .clientRequest(let request):
            u8(3)
            write(request)
        case .message(let node, let stamp, let message):
            u8(4)
            self.node(node)
            self.stamp(stamp, &recollection)
            self.message(message)
        case .bufferTaken(let operation, let buffer):
            u8(5)
            u32(operation.rawValue)
            self.buffer(buffer)
        case .heard(let node, let session):
            u8(6)
            self.node(node)
            identity(session)
        case .superblockWritten(let succeeded):
            u8(7)
            truth(succeeded)
        case .logWritten(let succeeded):
            u8(8)
            truth(succeeded)
        case .bitmapPageWritten(let node, let page, let succeeded):
            u8(9)
            self.node(node)
            u32(page)
            truth(succeeded)
        case .clientsChanged(let count):
            u8(10)
            u32(count)
        case .attached(_, let id):
            u8(11)
            u32(id.rawValue)
            u8(metadata.rawValue)
        case .command(let id, let command):
            u8(12)
            u32(id.rawValue)
            self.command(command)
        case .commandWithdrawn(let id):
            u8(13)
            u32(id.rawValue)
        case .sessionOpened, .sessionClosed, .dialFailed, .peerRefused: writeSession(event)
        case .fenceAnswered(let node, let request, let outcome):
            u8(18)
            self.node(node)
            u64(request)
            u32(UInt32(outcome.exitCode))
        case .digested(let operation, let digests):
            u8(19)
            u32(operation.rawValue)
            u64(UInt64(digests.count / Comparing.digestLength))
            fields { $0.bytes(digests) }
        case .adjusted(let configuration, let id):
            u8(20)
            u32(id.rawValue)
            self.configuration(configuration)
        case .diskMeasured, .diskPrepared, .diskGrown: writeRoom(event)
        case .keptAside(let succeeded, let words):
            u8(24)
            truth(succeeded)
            text(words)
        }
    }

    private mutating func writeRoom(_ event: Event) {
        switch event {
        case .diskMeasured(let answer):
            u8(21)
            u8(answer.word.rawValue)
            u64(answer.bytes)
        case .diskGrown(let outcome):
            u8(22)
            u8(outcome.rawValue)
        case .diskPrepared(let outcome):
            u8(23)
            u8(outcome.rawValue)
        default: preconditionFailure("an event without a coding")
        }
    }

    private mutating func writeSession(_ event: Event) {
        switch event {
        case .sessionOpened(let node, let session, let run, let dialedHere, let discards):
            u8(14)
            self.node(node)
            identity(session)
            identity(run)
            truth(dialedHere)
            truth(discards)
        case .sessionClosed(let node, let session, let why):
            u8(15)
            self.node(node)
            identity(session)
            text(why)
        case .dialFailed(let node, let why):
            u8(16)
            self.node(node)
            text(why)
        case .peerRefused(let node, let reason, let message):
            u8(17)
            self.node(node)
            text(reason)
            text(message)
        default: preconditionFailure("an event without a coding")
        }
    }

    private mutating func write(_ request: ClientRequest) {
        let kind: UInt8 =
            switch request.kind {
            case .read: 0
            case .write: 1
            case .zero: 2
            case .trim: 3
            case .flush: 4
            }
        u8(kind | (request.forced ? 8 : 0) | (request.buffer == nil ? 0 : 16))
        u32(request.ticket)
        range(request.range)
        if let buffer = request.buffer { self.buffer(buffer) }
    }
}

extension FieldReader {
    /// - Parameter metadata: what the parts before it held, asked for only where an event brings some.
    mutating func event(
        _ recollection: inout Recollection, metadata: (MetadataPlace) -> LoadedMetadata?
    ) throws(FieldError) -> RecordedEvent.Kind {
        switch try u8() {
        case 1: return .event(.tick)
        case 2:
            return .event(.dataDone(OperationID(rawValue: try u32()), try choice(diskResults, .reason)))
        case 3: return .event(.clientRequest(try request()))
        case 4:
            let node = try node()
            let stamp = try stamp(&recollection)
            return .event(.message(node, stamp, try recordedMessage()))
        case 5: return .event(.bufferTaken(OperationID(rawValue: try u32()), try buffer()))
        case 6: return .event(.heard(try node(), try identity()))
        case 7: return .event(.superblockWritten(succeeded: try truth()))
        case 8: return .event(.logWritten(succeeded: try truth()))
        case 9: return .event(.bitmapPageWritten(try node(), page: try u32(), succeeded: try truth()))
        case 10: return .event(.clientsChanged(count: try u32()))
        case 11:
            let id = CommandID(rawValue: try u32())
            guard let place = MetadataPlace(rawValue: try u8()) else { throw .value(.reason) }
            guard let found = metadata(place) else { return .attachedUnknown(id) }
            return .event(.attached(found, id))
        case 12: return .event(.command(CommandID(rawValue: try u32()), try command()))
        case 13: return .event(.commandWithdrawn(CommandID(rawValue: try u32())))
        case 14:
            return .event(
                .sessionOpened(
                    try node(), try identity(), run: try identity(), dialedHere: try truth(),
                    discardsItsData: try truth()))
        case 15: return .event(.sessionClosed(try node(), try identity(), try text()))
        case 16: return .event(.dialFailed(try node(), try text()))
        case 17: return .event(.peerRefused(try node(), reason: try text(), message: try text()))
        case 18:
            let (node, request, code) = (try node(), try u64(), try u32())
            guard let code = UInt16(exactly: code) else { throw .value(.reason) }
            return .event(.fenceAnswered(node, request: request, FencingOutcome(exitCode: code)))
        case 19:
            let (operation, count) = (OperationID(rawValue: try u32()), try u64())
            guard (1...Comparing.mostBlocks).contains(count) else { throw .value(.size) }
            return .event(.digested(operation, Array(try bytes(Int(count) * Comparing.digestLength))))
        case 20:
            let id = CommandID(rawValue: try u32())
            return .event(.adjusted(try configuration(), id))
        case 21:
            guard let word = RoomAnswer.Word(rawValue: try u8()) else { throw .value(.reason) }
            return .event(.diskMeasured(RoomAnswer(word, bytes: try u64())))
        case 22:
            guard let outcome = GrowOutcome(rawValue: try u8()) else { throw .value(.reason) }
            return .event(.diskGrown(outcome))
        case 23:
            guard let outcome = GrowOutcome(rawValue: try u8()) else { throw .value(.reason) }
            return .event(.diskPrepared(outcome))
        case 24: return .event(.keptAside(succeeded: try truth(), try text()))
        default: throw .value(.reason)
        }
    }

    private mutating func request() throws(FieldError) -> ClientRequest {
        let bits = try u8()
        guard bits & 7 < requestKinds.count, bits < 32 else { throw .value(.flags) }
        let ticket = try u32()
        let range = try range()
        return ClientRequest(
            ticket: ticket, kind: requestKinds[Int(bits & 7)], range: range, forced: bits & 8 != 0,
            buffer: bits & 16 != 0 ? try buffer() : nil)
    }

    mutating func stamp(_ recollection: inout Recollection) throws(FieldError) -> FrameStamp {
        if try truth() {
            recollection.stamp = FrameStamp(
                session: try identity(), lineage: try identity(), number: try recordNumber())
            recollection.hasStamp = true
        }
        guard recollection.hasStamp else { throw .value(.flags) }
        return recollection.stamp
    }
}
