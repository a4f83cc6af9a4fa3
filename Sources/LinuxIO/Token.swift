/// What a submission carries and its completion brings back: who it belongs to.
///
/// The serial tells an answer to the present owner of a slot from an answer to an earlier one.
package struct Token: Equatable, Hashable, Sendable, BitwiseCopyable {
    /// The 64 bits as io_uring carries them: kind, owner, slot, serial from the top.
    package let rawValue: UInt64

    /// A submission whose completion nobody wants; `Ring.nextCompletion()` drops it. It takes kind 255.
    package static let unheard = Token(rawValue: UInt64(255) << 56)

    /// - Parameters:
    ///   - kind: what was asked; 0…254, 255 belongs to the ring.
    ///   - slot: which of the caller's objects asked; less than 2¹⁴.
    ///   - serial: which use of that slot; may wrap.
    package init(kind: UInt8, slot: Int, serial: UInt32 = 0) {
        precondition(kind != 255, "token kind 255 belongs to the ring")
        precondition(slot >= 0 && slot < 1 << 14, "a token's slot has 14 bits")
        rawValue = UInt64(kind) << 56 | UInt64(slot) << 32 | UInt64(serial)
    }

    /// A token as it came back.
    package init(rawValue: UInt64) { self.rawValue = rawValue }

    package var kind: UInt8 { UInt8(truncatingIfNeeded: rawValue >> 56) }
    package var slot: Int { Int(rawValue >> 32 & 0x3FFF) }
    /// Whose view of a shared ring asked (`Ring.init(sharing:owner:)`); 0: the ring's maker.
    package var owner: Int { Int(rawValue >> 46 & 0x3FF) }
    package static let owners = 1 << 10
    /// As its owner made it.
    package var asMade: Token { Token(rawValue: rawValue & ~(UInt64(0x3FF) << 46)) }

    static func bits(ofOwner owner: Int) -> UInt64 {
        precondition(owner >= 0 && owner < owners, "a ring has 1024 owners")
        return UInt64(owner) << 46
    }
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
