package import Model
package import ReplicationCore

/// A client's request, from when it was given to the core to its one answer.
package struct ClientOperation: Sendable {
    package var ticket: UInt32
    package var kind: ClientRequest.Kind
    package var range: ByteRange
    package var forced: Bool
    package var buffer: BufferID?
    /// The write's number; its sectors hold `WriteValue.of(write:sector:)`, or zero.
    package var write: UInt64
    /// The step at which it began.
    package var began: UInt64
    /// Simulated nanoseconds.
    package var beganAt: UInt64

    package init(
        ticket: UInt32, kind: ClientRequest.Kind, range: ByteRange, forced: Bool, buffer: BufferID?, write: UInt64,
        began: UInt64, beganAt: UInt64
    ) {
        self.ticket = ticket
        self.kind = kind
        self.range = range
        self.forced = forced
        self.buffer = buffer
        self.write = write
        self.began = began
        self.beganAt = beganAt
    }

    package var changesData: Bool { kind == .write || kind == .zero || kind == .trim }

    package var sectors: Range<Int> { Int(range.offset / 512)..<Int(range.end / 512) }

    package func value(of sector: Int) -> UInt64 { kind == .write ? WriteValue.of(write: write, sector: sector) : 0 }

    package var description: String {
        let blocks = range.blocks
        return "\(kind)\(forced ? " forced" : "") #\(write) blocks \(blocks.lowerBound)..<\(blocks.upperBound) "
            + "(\(range.offset)+\(range.length)) ticket \(ticket)"
    }
}
