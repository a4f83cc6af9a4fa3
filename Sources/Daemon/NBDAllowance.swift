import LinuxIO
import Model
import ReplicationCore

/// Who holds how much of what all clients share: tickets, and buffers by size class.
///
/// A connection gets one more only while it holds fewer than are left. So one that hoards (a client that does not read
/// its replies) ends with half, two with a third each, and there is always something for the next. A part of each class
/// of buffers is never a client's: replies of peers need memory for clients' requests to end at all.
struct NBDAllowance {
    /// Index 0: tickets; then the classes of buffers, smallest first.
    typealias Counts = [9 of Int32]

    private(set) var left = Counts(repeating: 0)
    private var classBytes = [8 of Int](repeating: .max)
    private let classes: Int

    /// - Parameter share: of each class, in percent, that clients may hold together.
    init(tickets: Int, classes statistics: [BufferPool.Statistics], share: Int = 70) {
        classes = statistics.count
        left[0] = Int32(tickets)
        for (number, size) in statistics.enumerated() {
            classBytes[number] = size.bytes
            left[number + 1] = Int32(max(1, size.count * share / 100))
        }
    }

    /// The index of the smallest class that holds `bytes`.
    func index(bytes: Int) -> Int {
        for number in 0..<classes where classBytes[number] >= bytes { return number + 1 }
        preconditionFailure("a piece is larger than the largest buffer")
    }

    /// Whether a holder of `held` may take one more of the kind.
    func admits(_ held: Counts, _ kind: Int) -> Bool { left[kind] > held[kind] }

    mutating func take(_ kind: Int, _ held: inout Counts) {
        left[kind] -= 1
        held[kind] += 1
    }

    mutating func giveBack(_ kind: Int) { left[kind] += 1 }
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
