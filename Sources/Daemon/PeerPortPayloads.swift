import Formats
import LinuxIO
package import Model
import ReplicationCore

/// The payloads that were queued for a peer, and what of them went onto the wire.
package struct PeerTraffic: Equatable, Sendable {
    /// As they lie on the disk.
    package var payloadBytes: UInt64 = 0
    /// Of their frames, headers too.
    package var wireBytes: UInt64 = 0
    /// By what they are made shorter now; nil: nobody is connected.
    package var compression: Compression?
}

/// How payloads are carried, to a peer and from it. The core and its buffers only know them as they lie on the disk.
extension PeerPort {
    // MARK: Sending

    /// As soon as it is known what the other side takes. A witness is sent no payloads, and sends none.
    /// Whether that node is connected and would not understand a question for room.
    func cannotGrow(_ node: NodeID) -> Bool {
        live.contains { session in
            if case .open = session.phase { session.node == node && !session.takes.contains(.growth) } else { false }
        }
    }

    func prepareToSend(_ session: PeerSession, to node: NodeID, _ takes: PeerCapabilities) {
        session.takes = takes
        let wanted = identity.configuration.compression
        guard wanted != .off, !own.isWitness, identity.configuration.node(node)?.isWitness == false else { return }
        guard takes.contains(wanted.needs) else {
            return note(
                Note(.info, "session", "it does not take \(wanted.rawValue): it is sent plain data", peer: node))
        }
        session.compressor = PayloadCompressor(wanted)
        if session.compressor == nil {
            note(Note(.warning, "session", "no memory for \(wanted.rawValue): plain data is sent", peer: node))
        }
    }

    /// Encodes a frame with its payload into the stream's queue, in the shortest way that the other side takes.
    /// - Returns: false when there is no room.
    func queue(
        _ session: PeerSession, _ stream: ByteStream, _ stamp: FrameStamp, _ message: PeerMessage,
        _ payload: (buffer: BufferID, count: Int)
    ) -> Bool {
        // Before the payload is read for its checksum.
        guard stream.hasRoom(headerBytes: 128, payloads: 1, payloadBytes: payload.count) else { return false }
        let index = payload.buffer.index
        precondition(payload.count <= machine.pool.capacity(index), "a payload is longer than its buffer")
        let bytes = UnsafeRawBufferPointer(start: machine.pool.pointer(index), count: payload.count)
        var (carried, source, tag) = (CarriedPayload.plain, UnsafeRawPointer(machine.pool.pointer(index)), index)
        if session.compressor == nil, payload.count > Geometry.blockSize, session.takes.contains(.zeroBlocks) {
            let zeroes = ZeroBlocks(bytes)
            if zeroes.isWorthLeavingOut, !zeroes.isAll {
                return queue(session, stream, stamp, message, index, bytes, without: zeroes)
            }
        }
        // With anything in it this ends at its first bytes.
        if session.takes.contains(.zeroRuns), isAllZero(bytes) {
            carried = .zeroes
        } else if let compressor = session.compressor {
            switch compressor.compress(bytes) {
            case .busy: return false
            case .notWorthIt: break
            case .shorter(let buffer, let how):
                (carried, source, tag) = (how, UnsafeRawPointer(compressor.pool.pointer(buffer)), tagBase + buffer)
            }
        }
        let length = PeerFrame.encode(message, stamp, payload: bytes, carried: carried, into: scratch)
        let header = UnsafeRawBufferPointer(rebasing: scratch[..<length])
        let wire = carried.wireLength(of: payload.count)
        let isQueued = wire == 0 ? stream.append(header) : stream.append(header, payload: source, count: wire, tag: tag)
        precondition(isQueued, "a stream that has room takes a frame")
        if carried == .plain { machine.pool.retain(index) }
        count(session, payload: payload.count, wire: length + wire)
        return true
    }

    /// Each run of blocks with data is sent from where it lies, behind the mask that says which they are.
    private func queue(
        _ session: PeerSession, _ stream: ByteStream, _ stamp: FrameStamp, _ message: PeerMessage, _ index: Int32,
        _ bytes: UnsafeRawBufferPointer, without zeroes: ZeroBlocks
    ) -> Bool {
        let wire = zeroes.maskLength + zeroes.dataLength
        // Each run asks again, when header and runs before it are there, and for a header that may come behind it.
        let payloads = zeroes.runs + 2
        guard
            stream.hasRoom(
                headerBytes: 128 + ZeroBlocks.maximumMaskLength, payloads: payloads, payloadBytes: zeroes.dataLength)
        else { return false }
        let length = PeerFrame.encode(message, stamp, payload: bytes, carried: .sparse(wire), into: scratch)
        let end = length + zeroes.maskLength
        zeroes.writeMask(into: UnsafeMutableRawBufferPointer(rebasing: scratch[length..<end]))
        var isQueued = stream.append(UnsafeRawBufferPointer(rebasing: scratch[..<end]))
        var place = 0
        while let run = zeroes.nextRun(from: place) {
            isQueued =
                stream.append(payload: bytes.baseAddress! + run.lowerBound, count: run.count, tag: index) && isQueued
            machine.pool.retain(index)
            place = run.upperBound
        }
        precondition(isQueued, "a stream that has room takes a frame")
        count(session, payload: bytes.count, wire: length + wire)
        return true
    }

    private func count(_ session: PeerSession, payload: Int, wire: Int) {
        guard let node = session.node else { return }
        traffic[Int(node.rawValue)].payloadBytes += UInt64(payload)
        traffic[Int(node.rawValue)].wireBytes += UInt64(wire)
    }

    /// Tags from here on are buffers of the session's compressor.
    private var tagBase: Int32 { Int32(machine.pool.count) }

    /// Gives back the memory of a payload that was sent or dropped.
    func release(_ session: PeerSession, _ tag: Int32) {
        guard tag >= tagBase else {
            machine.pool.release(tag)
            return
        }
        session.compressor?.pool.release(tag - tagBase)
    }

    /// Since the start, over all sessions.
    package func traffic(to node: NodeID) -> PeerTraffic {
        var traffic = traffic[Int(node.rawValue)]
        for session in live where session.node == node && session.phase == .open {
            traffic.compression = session.compressor?.compression ?? .off
        }
        return traffic
    }

    // MARK: Receiving

    /// Where the bytes of the wire go: the payload's own buffer, or where they wait for what makes a payload of them.
    func landing(_ session: PeerSession, _ header: PeerFrameHeader) -> UnsafeMutableRawPointer {
        guard header.carried != .plain else { return machine.pool.pointer(session.buffer) }
        if session.expander == nil { session.expander = PayloadExpander() }
        guard let expander = session.expander else { preconditionFailure("it was made above") }
        return expander.place
    }

    /// All that a frame has on the wire is there: its payload then lies in the session's buffer.
    func expand(_ session: PeerSession, _ header: PeerFrameHeader) throws(PeerFrameError) {
        let output = UnsafeMutableRawBufferPointer(
            start: machine.pool.pointer(session.buffer), count: header.payloadLength)
        switch header.carried {
        case .plain: break
        case .zeroes: output.initializeMemory(as: UInt8.self, repeating: 0)
        case .lz4, .zstandard, .sparse:
            guard session.expander?.expand(header.carried, into: output) == true else {
                throw .expansion(header.kind)
            }
        }
    }
}
