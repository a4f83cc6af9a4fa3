import Daemon
import Glibc
import Testing

@Suite struct WatchdogTests {
    @Test(arguments: [
        [:], ["WATCHDOG_USEC": "0"], ["WATCHDOG_USEC": "soon"], ["WATCHDOG_USEC": "9", "WATCHDOG_PID": "1"],
    ])
    func `nobody who did not ask is told`(variables: [String: String]) {
        var watchdog = Watchdog { variables[$0] }
        #expect(watchdog.next == .max)
        #expect(!watchdog.feed(at: .max - 1))
    }

    @Test func `it is fed in half the time that is asked`() {
        var watchdog = Watchdog { ["WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "\(getpid())"][$0] }
        #expect(watchdog.feed(at: 5))
        #expect(watchdog.next == 1_000_000_005)
        #expect(!watchdog.feed(at: 1_000_000_004))
        #expect(watchdog.feed(at: 1_000_000_005))
    }
}
