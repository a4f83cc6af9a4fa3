import LinuxIO
import Model
import ReplicationCore

/// Who holds how much of what all clients share: tickets, and buffers by size class.
///
/// Each connection is sure of a few tickets and one buffer of `sureBytes`, whatever the others do; pieces are cut to that
/// when there is nothing larger. Of the rest a connection gets one more only while it holds fewer than are left, so that
/// one that hoards (a client that does not read its replies) slows nobody to a stop. A part of each class of buffers is
/// never a client's: replies of peers need memory for clients' requests to end at all.
struct NBDAllowance {
    /// Index 0: tickets; then the classes of buffers, smallest first.
    typealias Counts = [9 of Int32]

    static let sureTickets: Int32 = 4
    static let sureBytes = 64 << 10
    /// Of the largest buffers one connection may hold: so many are enough to keep a disk busy.
    static let mostOfLargest: Int32 = 8

    /// What may be taken beyond what is sure.
    private(set) var left = Counts(repeating: 0)
    private var sure = Counts(repeating: 0)
    private var most = Counts(repeating: .max)
    private var classBytes = [8 of Int](repeating: .max)
    private let classes: Int

    /// - Parameters:
    ///   - reserved: of each class, buffers that are nobody's before their write was answered.
    ///   - sessions: connections that are sure of something.
    ///   - share: of the rest of each class, in percent, that clients may hold together.
    init(
        tickets: Int, classes statistics: [BufferPool.Statistics], reserved: [Int], sessions: Int, share: Int = 70
    ) {
        classes = statistics.count
        for (number, size) in statistics.enumerated() {
            classBytes[number] = size.bytes
            left[number + 1] = Int32(max(1, (size.count - reserved[number]) * share / 100))
        }
        left[0] = Int32(tickets)
        sure[0] = Self.sureTickets
        let kind = index(bytes: Self.sureBytes)
        sure[kind] = 1
        if kind < classes { most[classes] = Self.mostOfLargest }
        for number in 0...classes { left[number] -= sure[number] * Int32(sessions) }
        precondition(left[0] >= 0 && left[kind] >= 0, "what every connection is sure of is not there")
    }

    /// The index of the smallest class that holds `bytes`.
    func index(bytes: Int) -> Int {
        for number in 0..<classes where classBytes[number] >= bytes { return number + 1 }
        preconditionFailure("a piece is larger than the largest buffer")
    }

    /// Whether a holder of `held` may take one more of the kind.
    func admits(_ held: Counts, _ kind: Int) -> Bool {
        let beyond = held[kind] - sure[kind]
        return beyond < 0 || (left[kind] > beyond && held[kind] < most[kind])
    }

    mutating func take(_ kind: Int, _ held: inout Counts) {
        if held[kind] >= sure[kind] { left[kind] -= 1 }
        held[kind] += 1
    }

    mutating func giveBack(_ kind: Int, _ held: inout Counts) {
        held[kind] -= 1
        if held[kind] >= sure[kind] { left[kind] += 1 }
    }

    /// Nothing is held.
    static func isEmpty(_ held: Counts) -> Bool {
        for number in held.indices where held[number] != 0 { return false }
        return true
    }
}

/// What one ticket of the core stands for.
struct NBDTicket {
    var session: Int32 = -1
    var serial: UInt32 = 0
    var request: Int32 = 0
    /// The how-manieth piece of its request.
    var number: Int32 = 0
    var buffer: Int32 = -1
    var piece = NBDPiece(kind: .flush, range: .init(offset: 0, length: 0))
}

/// Tickets in fixed slots.
struct NBDTickets {
    private var slots: [NBDTicket]
    private var free: [UInt32]

    init(count: Int) {
        slots = Array(repeating: NBDTicket(), count: count)
        free = (0..<UInt32(count)).reversed()
    }

    var inUse: Int { slots.count - free.count }

    subscript(number: UInt32) -> NBDTicket { slots[Int(number)] }

    mutating func take(_ ticket: NBDTicket) -> UInt32? {
        guard let number = free.popLast() else { return nil }
        slots[Int(number)] = ticket
        return number
    }

    mutating func giveBack(_ number: UInt32) -> NBDTicket {
        free.append(number)
        return slots[Int(number)]
    }
}
