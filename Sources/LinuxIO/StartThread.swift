import CLinuxURing
import Glibc

/// Starts a thread that nobody joins: a stop must not wait for a name server, or for a disk that hangs.
func startThread(_ what: String, _ work: @escaping @Sendable () -> Void) throws(SystemError) {
    let boxed = Unmanaged.passRetained(ThreadWork(work))
    var attributes = pthread_attr_t()
    pthread_attr_init(&attributes)
    pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
    // Address space counts against a limit of locked memory, even when it is never touched.
    pthread_attr_setstacksize(&attributes, 512 << 10)
    defer { pthread_attr_destroy(&attributes) }
    var thread = pthread_t()
    let code = pthread_create(&thread, &attributes, { runWork($0) }, boxed.toOpaque())
    guard code == 0 else {
        boxed.release()
        throw SystemError(what, code: code)
    }
}

/// A thread's work, across the C boundary.
private final class ThreadWork {
    let work: @Sendable () -> Void
    init(_ work: @escaping @Sendable () -> Void) { self.work = work }
}

private func runWork(_ box: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    if let box { Unmanaged<ThreadWork>.fromOpaque(box).takeRetainedValue().work() }
    return nil
}
