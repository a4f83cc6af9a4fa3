import Daemon
import Model
import ReplicationCore
import Testing

/// When the kernel is told that its device is larger: while it waits for what is in flight, nothing else can be asked of it.
@Suite struct DeviceSizingTests {
    private static let second: UInt64 = 1_000_000_000
    private static let first: UInt64 = 64 << 20
    private static let larger: UInt64 = 128 << 20

    private func next(_ sizing: inout DeviceSizing, _ seconds: Double, isReady: Bool = true) -> DeviceSizing.Step {
        sizing.next(to: Self.larger, found: Self.first, isReady: isReady, at: UInt64(seconds * 1e9))
    }

    @Test func `first requests get more time, and what began before is waited for`() {
        var sizing = DeviceSizing()
        #expect(next(&sizing, 10) == .lengthen)
        #expect(next(&sizing, 10.1) == .rest, "it is being asked")
        sizing.timed(true, at: 10 * Self.second)
        #expect(!sizing.isDue(at: 10 * Self.second) && sizing.isDue(at: 11 * Self.second))
        #expect(next(&sizing, 10.3) == .rest && next(&sizing, 10.6) == .rest)
        #expect(next(&sizing, 10.8) == .resize)
        sizing.ended(Self.larger, at: 12 * Self.second)
        #expect(next(&sizing, 13) == .rest && sizing.retryAt == nil && sizing.present == Self.larger)
    }

    @Test
    func `nothing is asked while requests are held or sockets are missing, and their time is the usual one again`() {
        var sizing = DeviceSizing()
        #expect(next(&sizing, 10, isReady: false) == .rest)
        #expect(!sizing.isDue(at: 10 * Self.second) && sizing.isDue(at: 11 * Self.second), "it is looked at again")
        #expect(next(&sizing, 11) == .lengthen)
        sizing.timed(true, at: 11 * Self.second)
        #expect(next(&sizing, 13, isReady: false) == .shorten)
        #expect(!sizing.isDue(at: 14 * Self.second), "its answer is waited for, and nothing else")
        sizing.timed(false, at: 13 * Self.second)
        #expect(next(&sizing, 14, isReady: false) == .rest)
        #expect(next(&sizing, 15) == .lengthen, "from the beginning")
    }

    @Test func `fresh sockets bring the usual time, so that it is made longer once more`() {
        var sizing = DeviceSizing()
        #expect(next(&sizing, 10) == .lengthen)
        sizing.timed(true, at: 10 * Self.second)
        sizing.relinked()
        #expect(next(&sizing, 12) == .lengthen)
    }

    @Test func `a kernel that says no is asked again after a while`() {
        var sizing = DeviceSizing()
        #expect(next(&sizing, 10) == .lengthen)
        sizing.timed(true, at: 10 * Self.second)
        #expect(next(&sizing, 12) == .resize)
        sizing.ended(nil, at: 12 * Self.second)
        #expect(next(&sizing, 13) == .rest && next(&sizing, 23) == .lengthen)
    }

    @Test func `two sockets outlive the time in which a lost peer is left behind, or fenced`() {
        func patience(_ seconds: UInt64, _ isFencing: Bool = false, usual: UInt64 = 5) -> UInt64 {
            DeviceSizing.patience(cutOff: seconds * Self.second, isFencing: isFencing, usual: usual)
        }
        #expect(patience(6) == 20)
        #expect(patience(42) == 84)
        #expect(patience(6, true) == 180)
        #expect(patience(6, usual: 60) == 60)
        #expect(patience(120_000) == 3600)
    }

    private func delays(_ commands: inout ResizeCommands, _ id: CommandID, _ outcome: CommandOutcome = .done(""))
        -> Bool
    {
        commands.delays(id, outcome, isGrowing: true, at: 0)
    }

    private func ended(_ commands: inout ResizeCommands, isGrowing: Bool, _ seconds: UInt64) -> [CommandID] {
        commands.ended(isGrowing: isGrowing, at: seconds * Self.second).map(\.id)
    }

    @Test func `who made the volume larger hears of it when the device is, or after a while`() {
        var commands = ResizeCommands()
        let (one, other) = (CommandID(rawValue: 1), CommandID(rawValue: 2))
        #expect(!delays(&commands, one), "it is no resize")
        commands.note(one)
        commands.note(other)
        #expect(!delays(&commands, other, .refused(Refusal(reason: "busy", message: "", remedy: ""))))
        #expect(delays(&commands, one))
        #expect(ended(&commands, isGrowing: true, 9) == [])
        #expect(ended(&commands, isGrowing: false, 9) == [one])
        #expect(ended(&commands, isGrowing: false, 9) == [], "once")
        commands.note(other)
        #expect(delays(&commands, other))
        #expect(ended(&commands, isGrowing: true, 10) == [other])
        commands.note(one)
        #expect(delays(&commands, one))
        commands.forget(one)
        #expect(ended(&commands, isGrowing: false, 1) == [])
    }
}
