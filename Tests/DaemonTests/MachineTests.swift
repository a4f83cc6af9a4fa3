import Daemon
import LinuxIO
import Testing

@Suite struct MachineTests {
    @Test func `without a wish the best ring that there is is taken, epoll last`() throws {
        #expect(try Machine.ringModes(nil) == Ring.Mode.allCases)
        #expect(try Machine.ringModes("") == Ring.Mode.allCases)
        #expect(Ring.Mode.allCases.last == .epoll)
    }

    @Test func `a wish is that ring or none, and one for none that there is says which there are`() throws {
        #expect(try Machine.ringModes("epoll") == [.epoll])
        #expect(try Machine.ringModes("deferred") == [.deferred])
        let error = #expect(throws: SystemError.self) { try Machine.ringModes("Epoll") }
        #expect(error?.description.contains("deferred, cooperative, plain, epoll") == true)
    }
}
