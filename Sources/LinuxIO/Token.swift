/// What a submission carries and its completion brings back: who it belongs to.
///
/// The serial tells an answer to the present owner of a slot from an answer to an earlier one.
package struct Token: Equatable, Hashable, Sendable, BitwiseCopyable {
    /// The 64 bits as io_uring carries them: kind, slot, serial from the top.
    package let rawValue: UInt64

    /// A submission whose completion nobody wants; `Ring.nextCompletion()` drops it. It takes kind 255.
    package static let unheard = Token(rawValue: UInt64(255) << 56)

    /// - Parameters:
    ///   - kind: what was asked; 0…254, 255 belongs to the ring.
    ///   - slot: which of the caller's objects asked; less than 2²⁴.
    ///   - serial: which use of that slot; may wrap.
    package init(kind: UInt8, slot: Int, serial: UInt32 = 0) {
        precondition(kind != 255, "token kind 255 belongs to the ring")
        precondition(slot >= 0 && slot < 1 << 24, "a token's slot has 24 bits")
        rawValue = UInt64(kind) << 56 | UInt64(slot) << 32 | UInt64(serial)
    }

    /// A token as it came back.
    package init(rawValue: UInt64) { self.rawValue = rawValue }

    package var kind: UInt8 { UInt8(truncatingIfNeeded: rawValue >> 56) }
    package var slot: Int { Int(rawValue >> 32 & 0xFF_FFFF) }
    package var serial: UInt32 { UInt32(truncatingIfNeeded: rawValue) }
}

/// How one submission ended.
package struct Completion: Sendable, BitwiseCopyable {
    package let token: Token
    /// What the system call would have returned: bytes or a descriptor, or a negated errno.
    package let result: Int32
    /// The IORING_CQE_F bits.
    package let flags: UInt32

    package init(token: Token, result: Int32, flags: UInt32 = 0) {
        self.token = token
        self.result = result
        self.flags = flags
    }

    /// The errno of a failure; nil when it succeeded.
    package var error: Int32? { result < 0 ? -result : nil }
}
