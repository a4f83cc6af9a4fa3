import CLinuxURing
import Glibc

/// Wakes a ring from another thread (an eventfd). Signals that come before the ring listens are kept, as one.
package final class WakeUp: @unchecked Sendable {
    // Unchecked: the descriptor never changes; the memory is the kernel's, and only the ring's thread asks it to write.
    package let descriptor: Int32
    let memory: UnsafeMutableRawPointer

    /// - Parameter counting: each signal wakes one reader once.
    package init(counting: Bool = false) throws(SystemError) {
        // Blocking on purpose: io_uring answers EAGAIN at once for non-blocking descriptors instead of waiting.
        descriptor = hablk_eventfd(counting)
        guard descriptor >= 0 else { throw .last("make an eventfd") }
        memory = .allocate(byteCount: 8, alignment: 8)
    }

    deinit {
        Glibc.close(descriptor)
        memory.deallocate()
    }

    /// From any thread, at any time.
    package func signal() {
        var one: UInt64 = 1
        while write(descriptor, &one, 8) < 0 && errno == EINTR {}
    }
}
