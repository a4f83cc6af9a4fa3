import Daemon
import Glibc
import Testing

@Suite struct WatchdogTests {
    @Test(arguments: [
        [:], ["WATCHDOG_USEC": "0"], ["WATCHDOG_USEC": "soon"], ["WATCHDOG_USEC": "9", "WATCHDOG_PID": "1"],
    ])
    func `nobody who did not ask is told`(variables: [String: String]) {
        var watchdog = Watchdog { variables[$0] }
        let isFed = watchdog.feed(at: .max - 1)
        #expect(!isFed && watchdog.next == .max)
    }

    @Test func `it is fed in half the time that is asked`() {
        var watchdog = Watchdog { ["WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "\(getpid())"][$0] }
        let fed = [5, 1_000_000_004, 1_000_000_005].map { watchdog.feed(at: $0) }
        #expect(fed == [true, false, true])
        #expect(watchdog.next == 2_000_000_005)
    }
}
