import Glibc
import LinuxIO
import Testing

@Suite struct ProcessControlsTests {
    @Test func `the boot has one identity`() throws {
        let boot = try #require(ProcessControls.bootIdentity())
        #expect(boot == ProcessControls.bootIdentity())
        #expect(boot.high != 0 && boot.low != 0)
    }

    @Test func `random words differ`() {
        #expect(Set((0..<100).map { _ in ProcessControls.randomWord() }).count == 100)
    }

    @Test func `the resident size is a plausible number`() throws {
        let bytes = try #require(ProcessControls.residentBytes())
        #expect(bytes > 1 << 20 && bytes < 1 << 40)
    }

    @Test func `pages that the start needed are given back, and come again when they are touched`() async {
        await #expect(processExitsWith: .success) {
            guard let before = ProcessControls.residentBytes(), ProgramPages.giveBack() > 1 << 20 else { exit(1) }
            guard let after = ProcessControls.residentBytes(), after + 1 << 20 < before else { exit(2) }
            // Code and constants that are needed again, those of libraries too.
            guard "\(Set((0..<100).map { "\($0 % 7)" }).sorted())".count == 35, getenv("PATH") != nil else { exit(3) }
            exit(0)
        }
    }

    @Test func `what may be refused is done or says why`() async {
        await #expect(processExitsWith: .success) {
            for attempt in [ProcessControls.lockMemory(), ProcessControls.declareIOFlusher()] {
                if case .refused(let reason) = attempt, reason.isEmpty { exit(1) }
            }
            guard let files = ProcessControls.raiseFileLimit(to: 4096), files >= 256 else { exit(2) }
            // Locked memory must still leave room to work.
            let pool = BufferPool()
            guard pool.take(bytes: 4096) != nil else { exit(3) }
            exit(0)
        }
    }

    @Test(arguments: [false, true])
    func `the service manager hears of readiness`(isAbstract: Bool) throws {
        let folder = TemporaryFolder()
        let name = isAbstract ? "@hablk-\(ProcessControls.randomWord())" : folder.file("notify")
        let listener = try Sockets.listenDatagrams(name)
        defer { Sockets.close(listener) }
        #expect(ProcessControls.notify(name, "READY=1\nSTATUS=serving") == .done)
        var bytes = [UInt8](repeating: 0, count: 100)
        let count = read(listener, &bytes, bytes.count)
        #expect(String(decoding: bytes[..<max(0, count)], as: UTF8.self) == "READY=1\nSTATUS=serving")
    }

    @Test func `a service manager that is not there is no harm`() {
        #expect(ProcessControls.notify("/var/tmp/no/such/socket", "READY=1") != .done)
        #expect(ProcessControls.notify("relative", "READY=1") != .done)
    }
}
