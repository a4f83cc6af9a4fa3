import CLinuxURing
import Glibc

/// Nanoseconds of CLOCK_BOOTTIME: never set back, and it goes on while the machine sleeps, so that a lease that
/// ended during a suspend is seen to have ended.
package func monotonicNow() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_BOOTTIME, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

/// Nanoseconds since 1970 by the wall clock, for logs only: it may jump either way.
package func wallClockNow() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

/// Not on the ring's thread: a second at most.
package func sleepBriefly(nanoseconds: UInt64) { usleep(UInt32(min(nanoseconds / 1000, 999_999))) }
