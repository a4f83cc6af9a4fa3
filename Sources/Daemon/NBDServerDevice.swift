import Formats
package import LinuxIO
import Model
import ReplicationCore

/// What makes a connection one of the kernel device's: it needs no handshake, and is no client that a demotion counts.
struct NBDDeviceLink {
    /// Reads no further than to the end of the request that it is in.
    var isQuiescing = false

    /// ECANCELED: a receive for the next request was called back.
    static let recalled: Int32 = 125
}

/// The kernel device's connections.
///
/// When the kernel takes one for dead it repeats its requests on the others, and a repeated request must not be overtaken by
/// the first. So the end of each is watched for apart from its data; what it had still to be read is dropped; and the
/// others are not read until all that was read from it is done.
extension NBDServer {
    /// What the kernel is told of the device: it sends what it is told of, and nothing else.
    static let deviceFlags: NBDTransmissionFlags = [
        .hasFlags, .sendFlush, .sendFUA, .sendTrim, .sendWriteZeroes, .canMultiConnection,
    ]

    /// POLLRDHUP alone: data that wait to be read are not news.
    private static let hangUp: Int16 = 0x2000

    /// Takes connected sockets whose other ends are the kernel's.
    /// - Returns: false, with all of them closed, when there are not as many free places.
    package func adoptDevice(_ sockets: [Int32], size: UInt64, _ events: inout EventQueue) -> Bool {
        let free = sessions.indices.filter { sessions[$0] == nil }
        guard free.count >= sockets.count else {
            for socket in sockets { Sockets.end(socket) }
            return false
        }
        for (socket, slot) in zip(sockets, free) {
            let session = seat(socket, at: slot)
            session.device = NBDDeviceLink()
            let terms = NBDConnectionTerms(
                exportSize: size, readOnly: false, structuredReplies: false, contextSelected: false)
            machine.ring.poll(
                socket, events: Self.hangUp, token: Token(.deviceHangUp, slot: slot, serial: session.serial))
            beginTransmission(session, terms, nil, &events)
        }
        return true
    }

    /// What is offered from now on. Who is connected may use it at once, as the kernel does when it is told; other clients learn of
    /// it when they connect anew.
    func resize(to size: UInt64) {
        offer.size = size
        for session in live where session.phase == .transmission {
            session.terms.exportSize = max(session.terms.exportSize, size)
        }
    }

    /// A connection ended at the kernel's side, whatever there still is to be read.
    package func completeHangUp(_ completion: Completion, into events: inout EventQueue) {
        guard let session = sessions[completion.token.slot], session.serial == completion.token.serial else { return }
        end(session, nil, &events)
    }

    private var deviceSessions: [NBDSession] { live.filter { $0.device != nil } }
    /// Connections that are there.
    package var deviceConnections: Int { deviceSessions.count { $0.phase == .transmission } }

    /// Nothing is read from the device.
    func isHeld(_ session: NBDSession) -> Bool {
        session.device != nil && (!isDeviceServed || endingDevices > 0)
    }

    package func serveDevice(_ isServed: Bool) {
        isDeviceServed = isServed
        resumeDevice()
    }

    /// They go on in the next round of those who wait.
    func resumeDevice() {
        for session in deviceSessions where !isHeld(session) { wait(session) }
        somethingCameFree = true
    }

    /// All of the device's connections end; the kernel repeats elsewhere what was not answered.
    package func endDevice(_ events: inout EventQueue) {
        for session in deviceSessions { end(session, nil, &events) }
    }

    // MARK: Handing the sockets on

    /// From now on each connection only finishes what it has begun to read.
    package func quiesceDevice(_ events: inout EventQueue) {
        for session in deviceSessions where session.phase == .transmission {
            session.device?.isQuiescing = true
            if case .header = session.input, session.stream.isReceiving {
                machine.ring.cancel(session.stream.receiveToken)
            } else {
                pump(session, &events)
            }
        }
    }

    /// Each stands between two requests, and all that were read are answered.
    package var isDeviceQuiet: Bool { deviceSessions.allSatisfy(isQuiet) }

    private func isQuiet(_ session: NBDSession) -> Bool {
        guard session.phase == .transmission, case .header = session.input else {
            return session.phase != .transmission
        }
        return session.openRequests == 0 && session.stream.received.isEmpty && session.stream.isIdle
    }

    /// Takes the sockets out, to be handed to another process; only when quiet.
    package func takeDeviceSockets(_ events: inout EventQueue) -> [Int32] {
        var sockets: [Int32] = []
        for session in deviceSessions where session.phase == .transmission {
            sockets.append(session.stream.detach())
            leaveTransmission(session, &events)
            reapIfFinished(session)
        }
        return sockets
    }
}
