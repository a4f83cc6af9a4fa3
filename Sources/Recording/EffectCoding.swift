import Formats
import Model
import ReplicationCore

private let clientResults: [ClientResult] = [.done, .failed, .notPrimary]
private let noteLevels: [Note.Level] = [.info, .warning, .error]

// The numbers are the format.

extension RecordWriter {
    /// - Parameter image: the checksum of what a metadata write writes; asked for nothing else.
    mutating func effect(_ effect: Effect, image: () -> UInt32, _ recollection: inout Recollection) {
        switch effect {
        case .send(let node, let stamp, let message):
            u8(1)
            self.node(node)
            self.stamp(stamp, &recollection)
            self.message(message)
        case .reply(let ticket, let result):
            u8(2)
            u32(ticket)
            u8(result == .done ? 0 : result == .failed ? 1 : 2)
        case .releaseBuffer(let buffer):
            u8(3)
            self.buffer(buffer)
        case .writeSuperblock(let copy):
            u8(4)
            u8(UInt8(copy))
            u32(image())
        case .writeLog:
            u8(5)
            u32(image())
        case .writeBitmapPage(let node, let page):
            u8(6)
            self.node(node)
            u32(page)
            u32(image())
        case .measureDisk(let wanted):
            u8(27)
            u64(wanted)
        case .prepareDisk(let size):
            u8(29)
            u64(size)
        case .leaveOffPreparing: u8(30)
        case .growDisk(let size):
            u8(28)
            u64(size)
            u32(image())
        case .keepAside(let step):
            u8(31)
            self.step(step)
        case .commandDone(let id, let outcome):
            u8(7)
            u32(id.rawValue)
            self.outcome(outcome)
        case .note(let note):
            u8(8)
            u8(note.level == .info ? 0 : note.level == .warning ? 1 : 2)
            optionalNode(note.peer)
            text(note.subject)
            text(note.text)
        case .releaseDisk: u8(9)
        case .stopped: u8(10)
        case .verified(let node):
            u8(26)
            self.node(node)
        case .fence(let node, let request):
            u8(24)
            self.node(node)
            u64(request)
        case .readData, .fillEdges, .writeData, .zeroData, .flushData, .takeBuffer, .mergeEdge, .copyBuffer,
            .digestData:
            writeData(effect)
        case .dial, .cancelDial, .offerToDiscard, .closeSession, .closeClients: writeSession(effect)
        }
    }

    private mutating func writeData(_ effect: Effect) {
        switch effect {
        case .writeData(let operation, let range, let buffer):
            u8(11)
            u32(operation.rawValue)
            self.range(range)
            self.buffer(buffer)
        case .readData(let operation, let range, let buffer, let detectZeroes):
            u8(12)
            u32(operation.rawValue)
            self.range(range)
            self.buffer(buffer)
            truth(detectZeroes)
        case .fillEdges(let operation, let exact, let buffer):
            u8(13)
            u32(operation.rawValue)
            range(exact)
            self.buffer(buffer)
        case .zeroData(let operation, let range, let trim):
            u8(14)
            u32(operation.rawValue)
            self.range(range)
            truth(trim)
        case .flushData(let operation):
            u8(15)
            u32(operation.rawValue)
        case .takeBuffer(let operation, let bytes):
            u8(16)
            u32(operation.rawValue)
            u32(bytes)
        case .mergeEdge(let source, let covering, let exact, let target):
            u8(17)
            buffer(source)
            range(covering)
            range(exact)
            buffer(target)
        case .copyBuffer(let source, let target, let bytes):
            u8(18)
            buffer(source)
            buffer(target)
            u32(bytes)
        case .digestData(let operation, let range, let buffer):
            u8(25)
            u32(operation.rawValue)
            self.range(range)
            self.buffer(buffer)
        default: preconditionFailure("an effect without a coding")
        }
    }

    private mutating func step(_ step: KeepingStep) {
        switch step {
        case .begin(let node, let generation, let bytes):
            u8(0)
            self.node(node)
            fields { $0.generation(generation) }
            u64(bytes)
        case .copy(let runs):
            u8(1)
            u32(UInt32(runs.count))
            for run in runs {
                u64(run.first)
                u64(run.count)
            }
        case .end: u8(2)
        case .leaveOff: u8(3)
        }
    }

    private mutating func writeSession(_ effect: Effect) {
        switch effect {
        case .dial(let node):
            u8(19)
            self.node(node)
        case .cancelDial(let node):
            u8(20)
            self.node(node)
        case .offerToDiscard(let node, let discards):
            u8(21)
            self.node(node)
            truth(discards)
        case .closeSession(let node, let session, let why):
            u8(22)
            self.node(node)
            identity(session)
            text(why)
        case .closeClients(let why):
            u8(23)
            text(why)
        default: preconditionFailure("an effect without a coding")
        }
    }
}

extension FieldReader {
    mutating func decision(_ recollection: inout Recollection) throws(FieldError) -> RecordedDecision {
        let code = try u8()
        guard (4...6).contains(code) || code == 28 else {
            return RecordedDecision(effect: try effect(code, &recollection), image: 0)
        }
        let effect: Effect =
            switch code {
            case 4: .writeSuperblock(copy: Int(try u8()))
            case 5: .writeLog
            case 28: .growDisk(size: try u64())
            default: .writeBitmapPage(try node(), page: try u32())
            }
        return RecordedDecision(effect: effect, image: try u32())
    }

    private mutating func effect(_ code: UInt8, _ recollection: inout Recollection) throws(FieldError) -> Effect {
        switch code {
        case 1:
            let node = try node()
            let stamp = try stamp(&recollection)
            return .send(node, stamp, try recordedMessage())
        case 2: return .reply(try u32(), try choice(clientResults, .reason))
        case 3: return .releaseBuffer(try buffer())
        case 7: return .commandDone(CommandID(rawValue: try u32()), try outcome())
        case 8:
            let level = try choice(noteLevels, .reason)
            let peer = try nodeOrNone()
            return .note(Note(level, try text(), try text(), peer: peer))
        case 9: return .releaseDisk
        case 10: return .stopped
        case 11...18: return try dataEffect(code)
        case 19: return .dial(try node())
        case 20: return .cancelDial(try node())
        case 21: return .offerToDiscard(try node(), try truth())
        case 22: return .closeSession(try node(), try identity(), try text())
        case 23: return .closeClients(try text())
        case 24: return .fence(try node(), request: try u64())
        case 25: return .digestData(OperationID(rawValue: try u32()), try range(), try buffer())
        case 26: return .verified(try node())
        case 27: return .measureDisk(wanted: try u64())
        case 29: return .prepareDisk(size: try u64())
        case 30: return .leaveOffPreparing
        case 31: return .keepAside(try step())
        default: throw .value(.reason)
        }
    }

    private mutating func step() throws(FieldError) -> KeepingStep {
        switch try u8() {
        case 0: return .begin(try node(), try generation(), bytes: try u64())
        case 1:
            let count = try u32()
            guard count <= KeepingStep.mostRuns else { throw .value(.size) }
            var runs: [BlockRun] = []
            for _ in 0..<count { runs.append(BlockRun(first: try u64(), count: try u64())) }
            return .copy(runs)
        case 2: return .end
        case 3: return .leaveOff
        default: throw .value(.reason)
        }
    }

    private mutating func dataEffect(_ code: UInt8) throws(FieldError) -> Effect {
        if code == 17 {
            return .mergeEdge(from: try buffer(), covering: try range(), exact: try range(), into: try buffer())
        }
        if code == 18 { return .copyBuffer(from: try buffer(), into: try buffer(), bytes: try u32()) }
        let operation = OperationID(rawValue: try u32())
        switch code {
        case 11: return .writeData(operation, try range(), try buffer())
        case 12: return .readData(operation, try range(), try buffer(), detectZeroes: try truth())
        case 13: return .fillEdges(operation, exact: try range(), try buffer())
        case 14: return .zeroData(operation, try range(), trim: try truth())
        case 15: return .flushData(operation)
        default: return .takeBuffer(operation, bytes: try u32())
        }
    }
}
