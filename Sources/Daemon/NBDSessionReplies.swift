import Formats
import LinuxIO
import Model
package import ReplicationCore

extension NBDServer {
    /// The core's answer to a piece.
    package func reply(_ number: UInt32, _ result: ClientResult, into events: inout EventQueue) {
        let (ticket, session) = giveBackTicket(number)
        // A write's buffer is given back after its reply, perhaps when a peer has it: the client may go on.
        if ticket.piece.kind == .write { uncount(ticket.buffer) }
        guard let session else {
            // Nobody waits for it; a read's buffer is ours with the reply, a write's comes by itself.
            if ticket.piece.kind == .read { release(ticket.buffer) }
            return
        }
        let place = Int(ticket.request)
        session.requests[place].outstanding -= 1
        switch result {
        case .done: break
        case .failed: session.requests[place].error = session.requests[place].error ?? .inputOutput
        case .notPrimary: session.requests[place].error = session.requests[place].error ?? .shutdown
        }
        if ticket.piece.kind == .read {
            if session.requests[place].isOrdered {
                hold(session, place, ticket, succeeded: result == .done)
                sendInOrder(session, place, mustGoOn: false, &events)
            } else {
                sendChunk(session, place, ticket, succeeded: result == .done, &events)
            }
        }
        // It may be gone by now, or its answer complete.
        guard session.phase != .closing, !session.requests[place].isFree else { return }
        settle(session, place, &events)
        if session.phase == .transmission, case .cutting = session.input, session.current == place {
            pump(session, &events)
        }
    }

    /// Answers a request whose pieces are all made and back, unless its payload is still coming.
    func settle(_ session: NBDSession, _ place: Int, _ events: inout EventQueue) {
        let open = session.requests[place]
        guard open.isComplete, !isArriving(session, place) else { return }
        if open.isOrdered, open.error == nil || open.headerIsSent {
            // Its bytes are its answer; `sendInOrder` ends it.
            guard open.request.length == 0 else { return }
        }
        let isChunked = session.terms.structuredReplies && open.request.command == .read && !open.isOrdered
        session.closeRequest(place)
        // The last chunk of a structured read said that it is the last.
        if !(isChunked && open.error == nil && open.request.length > 0) {
            let count: Int
            do throws(OutputFull) {
                count = try answer(open, session)
            } catch {
                preconditionFailure("a reply fits its memory")
            }
            guard session.stream.append(UnsafeRawBufferPointer(rebasing: scratch[..<count])) else {
                return end(session, "its replies do not fit their queue", &events)
            }
        }
        if session.waitsForSends { resume(session, &events) }
        partWhenAnswered(session, &events)
    }

    /// Writes into `scratch`; gives the number of bytes.
    private func answer(_ open: NBDOpenRequest, _ session: NBDSession) throws(OutputFull) -> Int {
        let isStructured = session.terms.structuredReplies
        if open.error == nil, open.request.command == .blockStatus, let id = session.baseAllocation {
            // "Data" is always true: nobody skips what it does not know to be a hole.
            var status = try NBDBlockStatusWriter(scratch, answering: open.request, contextID: id)
            return status.finish()
        }
        var writer = ByteWriter(scratch)
        if let error = open.error {
            try writer.writeErrorReply(error, to: open.request, structuredReplies: isStructured)
        } else {
            try writer.writeEmptyReply(to: open.request, structuredReplies: isStructured)
        }
        return writer.count
    }

    /// More bytes of the request's payload are to come: it is answered behind them.
    private func isArriving(_ session: NBDSession, _ place: Int) -> Bool {
        guard session.current == place else { return false }
        switch session.input {
        case .none, .header: return false
        case .discarding(let left): return left > 0
        case .cutting, .filling: return !session.requests[place].isFree
        }
    }

    private func resume(_ session: NBDSession, _ events: inout EventQueue) {
        // Not from here: the caller may be in the middle of this session. The next round of the line takes it.
        session.waitsForSends = false
        somethingCameFree = true
        wait(session)
    }

    // MARK: Reads

    /// One piece of a structured read: a chunk of its own.
    private func sendChunk(
        _ session: NBDSession, _ place: Int, _ ticket: NBDTicket, succeeded: Bool, _ events: inout EventQueue
    ) {
        guard succeeded else { return release(ticket.buffer) }
        let open = session.requests[place]
        let length = UInt32(ticket.piece.range.length)
        var writer = ByteWriter(scratch)
        do throws(OutputFull) {
            try writer.writeDataChunkHeader(
                cookie: open.request.cookie, offset: ticket.piece.range.offset, length: length,
                done: open.isComplete && open.error == nil)
        } catch {
            preconditionFailure("a reply fits its memory")
        }
        queue(session, writer.written, ticket.buffer, ticket.piece.bufferOffset, Int(length), &events)
    }

    private func hold(_ session: NBDSession, _ place: Int, _ ticket: NBDTicket, succeeded: Bool) {
        let index = Int(ticket.number % NBDOpenRequest.window)
        if !succeeded { release(ticket.buffer) }
        session.requests[place].held[index] = NBDHeldPiece(
            state: succeeded ? .ready : .failed, buffer: succeeded ? ticket.buffer : -1,
            offset: Int32(ticket.piece.bufferOffset), length: UInt32(ticket.piece.range.length))
    }

    /// Sends the pieces of a read that have their turn. The header says that all went well, so it waits until all is
    /// here, or as much as is held at once, or until `mustGoOn`: a piece that fails behind it ends the connection.
    func sendInOrder(_ session: NBDSession, _ place: Int, mustGoOn: Bool, _ events: inout EventQueue) {
        guard session.requests[place].isOrdered else { return }
        if !session.requests[place].headerIsSent {
            let open = session.requests[place]
            if open.error != nil {
                dropHeld(session, place)
                return
            }
            let isReady = open.outstanding == 0 && open.issued > open.head
            guard isReady, open.pieces.isAtEnd || open.windowIsFull || mustGoOn else { return }
            sendReadHeader(session, place, &events)
        }
        while session.phase != .closing, session.requests[place].head < session.requests[place].issued {
            let index = Int(session.requests[place].head % NBDOpenRequest.window)
            let piece = session.requests[place].held[index]
            if piece.state == .failed { return end(session, "a read failed behind the head of its reply", &events) }
            guard piece.state == .ready else { return }
            session.requests[place].held[index].state = .empty
            session.requests[place].head += 1
            queue(
                session, UnsafeRawBufferPointer(start: nil, count: 0), piece.buffer, Int(piece.offset),
                Int(piece.length), &events)
        }
        guard session.phase != .closing, session.requests[place].isComplete else { return }
        session.closeRequest(place)
        if session.waitsForSends { resume(session, &events) }
        partWhenAnswered(session, &events)
    }

    private func sendReadHeader(_ session: NBDSession, _ place: Int, _ events: inout EventQueue) {
        session.requests[place].headerIsSent = true
        let request = session.requests[place].request
        var writer = ByteWriter(scratch)
        do throws(OutputFull) {
            if session.terms.structuredReplies {
                try writer.writeDataChunkHeader(
                    cookie: request.cookie, offset: request.offset, length: request.length, done: true)
            } else {
                try writer.writeSimpleReply(cookie: request.cookie)
            }
        } catch {
            preconditionFailure("a reply fits its memory")
        }
        guard session.stream.append(writer.written) else {
            return end(session, "its replies do not fit their queue", &events)
        }
    }

    /// The buffer is the stream's until it was sent.
    private func queue(
        _ session: NBDSession, _ header: UnsafeRawBufferPointer, _ buffer: Int32, _ offset: Int, _ count: Int,
        _ events: inout EventQueue
    ) {
        let start = UnsafeRawPointer(machine.pool.pointer(buffer) + offset)
        guard session.stream.append(header, payload: start, count: count, tag: buffer) else {
            release(buffer)
            return end(session, "its replies do not fit their queue", &events)
        }
    }

    // MARK: Requests that end otherwise

    private func dropHeld(_ session: NBDSession, _ place: Int) {
        for index in 0..<Int(NBDOpenRequest.window) where session.requests[place].held[index].state == .ready {
            release(session.requests[place].held[index].buffer)
            session.requests[place].held[index].state = .empty
        }
    }

    /// The request whose pieces are not all made is answered with an error, if it can be.
    func refuseUnfinished(_ session: NBDSession, _ error: NBDError, _ events: inout EventQueue) {
        guard case .cutting = session.input, !session.requests[session.current].isFree else { return }
        let place = session.current
        session.requests[place].pieces.takeAll()
        session.requests[place].error = session.requests[place].error ?? error
        session.input = .none
        dropHeld(session, place)
        settle(session, place, &events)
    }

    /// A session that goes: gives back what only it knows of.
    func dropUnfinished(_ session: NBDSession) {
        if case .filling(let ticket, let buffer) = session.input {
            _ = giveBackTicket(ticket)
            release(buffer)
        }
        session.input = .none
        for place in session.requests.indices where !session.requests[place].isFree && session.requests[place].isOrdered
        {
            dropHeld(session, place)
        }
    }
}
