import CChecksum

/// A CRC32C (Castagnoli) over bytes that arrive in parts.
package struct CRC32C {
    /// The checksum of all bytes so far.
    package private(set) var value: UInt32 = 0

    package init() {}

    package mutating func update(_ bytes: UnsafeRawBufferPointer) {
        value = hablk_crc32c(value, bytes.baseAddress, bytes.count)
    }

    package static func checksum(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
        hablk_crc32c(0, bytes.baseAddress, bytes.count)
    }

    /// By tables, without the processor's instruction: what the fast one is compared with.
    package static func portableChecksum(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
        hablk_crc32c_portable(0, bytes.baseAddress, bytes.count)
    }

    /// What computes it on this machine, for the log.
    package static var implementation: String { String(cString: hablk_crc32c_implementation()) }
}

/// Whether all bytes are zero; true for none.
package func isAllZero(_ bytes: UnsafeRawBufferPointer) -> Bool {
    hablk_is_zero(bytes.baseAddress, bytes.count)
}
