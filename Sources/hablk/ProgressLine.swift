import Daemon

/// A line that is drawn again and again on a terminal.
struct ProgressLine {
    private var isDrawn = false

    /// Whether there is anybody to look at it.
    let isVisible = Output.isTerminal(2)

    mutating func draw(_ text: String) {
        guard isVisible else { return }
        Output.write("\r\u{1b}[K" + text, to: 2)
        isDrawn = true
    }

    mutating func clear() {
        guard isDrawn else { return }
        Output.write("\r\u{1b}[K", to: 2)
        isDrawn = false
    }

    /// `[##########..............]  45%  120 MiB of 256 MiB`
    static func bar(_ done: UInt64, of total: UInt64) -> String {
        let part = min(1, Double(done) / Double(max(total, 1)))
        let width = 24
        let full = Int(part * Double(width))
        let bar = String(repeating: "#", count: full) + String(repeating: ".", count: width - full)
        let percent = String(Int(part * 100))
        return "[\(bar)] " + String(repeating: " ", count: 3 - min(3, percent.count)) + percent + "%  "
            + ConfigurationScalar.describe(bytes: done) + " of " + ConfigurationScalar.describe(bytes: total)
    }

    /// `  80 MiB/s  2s left`
    static func pace(_ bytesPerSecond: UInt64, etaSeconds: Double?) -> String {
        let pace = "  \(ConfigurationScalar.describe(bytes: bytesPerSecond))/s"
        guard let etaSeconds, etaSeconds >= 0, etaSeconds < 1e9 else { return pace }
        return pace + "  \(ConfigurationScalar.describe(nanoseconds: UInt64(etaSeconds * 1e9))) left"
    }
}
